"""Hold what a restore has brought against the newest manifest that stands beside its source."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec.structs import replace

from sterna.jobs.carriers import download_carrier
from sterna.jobs.holding import hold
from sterna.jobs.job import Opened
from sterna.jobs.ledger import Ledger
from sterna.jobs.looking import Depth
from sterna.jobs.settings import Settings
from sterna.model.actions import Action, Verb
from sterna.model.entry import Entry
from sterna.model.errors import NotProven, ObjectGone, SternaError
from sterna.model.events import ObjectsEnded, Tally
from sterna.model.location import BucketPath, LocalPath
from sterna.model.outcomes import Outcome, Status
from sterna.model.units import printable
from sterna.moving.prove import just_before
from sterna.planning.filters import Filter
from sterna.planning.holding import Held, Holding, is_unread_folder
from sterna.planning.manifest import FAILED, ManifestFile
from sterna.planning.merge import pairs
from sterna.reporting.words import count_words, unread_words
from sterna.stores.beside import FOLDER, is_manifest
from sterna.stores.local import LocalStore
from sterna.stores.mtime import mtime_of
from sterna.stores.s3 import S3Store

_VERB = "verify"
_LOOKS = 200  # at once at objects that are not as the manifest says; the gate lets through what it can
_MOST = 100_000  # of those that are looked at, about 60 MB: of more it is enough to know their number

_NAMED = 5  # of what was stored later, in the sentence


async def hold_against_manifest(run: Opened, folder: LocalPath, settings: Settings) -> None:
    """Record as failed what the newest manifest says otherwise of, and say what it vouches for; nothing where there is none.

    Every file that it names is read and summed. What was stored after it, it does not know: that is told, and no failure.
    What did not arrive has its outcome already, so that a run which lacks something is held against nothing.
    """
    assert isinstance(run.source, S3Store)
    ledger, source = run.ledger, run.source
    try:
        manifest = await _newest(source)
    except SternaError as error:
        ledger.record([_failed(FOLDER, error)], unplanned=True)
        return
    if manifest is None:
        return
    shown = printable(manifest.key.rpartition("/")[2])
    if ledger.not_arrived or ledger.summary.failed:
        ledger.notice(
            f"Not held against the manifest {shown}, since not all of it is here; a later restore does that.",
            code="manifest",
        )
        return
    compared = _Compared(run, source, manifest)
    address = BucketPath(source.bucket, source.key_of(manifest.key))
    try:
        with TemporaryDirectory(prefix="sterna-") as temporary:
            path = await _fetched(run, source, manifest, Path(temporary), settings)
            own = replace(settings, filters=run.filters)
            held = await hold(
                LocalPath(path), folder, own, depth=Depth.CHECKSUM, found=compared.see, emit=ledger.heard,
                fetched_from=address,
            )  # fmt: skip
            if held.extra:
                await compared.find_added(path, run.filters)
        await compared.settle()
    except SternaError as error:
        ledger.record([_failed(manifest.key, error)], unplanned=True)
        return
    lacking = "" if held.is_complete else ", which says itself that it is not complete"
    told = f"Held against the manifest {shown} of {held.created}{lacking}: {count_words(held.equal)} as it says"
    for later in (compared.replaced, compared.added):
        told += f"; {later}" if later.count else ""
    if compared.not_vouched:
        told += f"; {count_words(compared.not_vouched)} that it does not vouch for"
    if held.unread_folders:
        told += f"; at the backup {unread_words(held.unread_folders)}"
    ledger.notice(f"{told}. Its root is {held.root}.", "info" if held.is_complete else "warning", "manifest")


class _Later:
    """What was stored after the manifest: how many objects, and the first of their names. Log and JSON have each."""

    def __init__(self, ledger: Ledger, what: str) -> None:
        self._ledger = ledger
        self._what = what
        self._names: list[str] = []
        self.count = 0

    def __str__(self) -> str:
        more = f" and {self.count - len(self._names):,} more" if self.count > len(self._names) else ""
        return f"{count_words(self.count)} {self._what} ({', '.join(self._names)}{more})"

    def tell(self, entries: Sequence[Entry]) -> None:
        """Tell of these; they have been counted as what they are: downloaded, or kept."""
        self._names += [printable(one.key) for one in entries[: _NAMED - len(self._names)]]
        self.count += len(entries)
        because = f"{self._what}, which says nothing of it"
        told = [Outcome(_VERB, one.key, Status.KEPT, size=one.size, because=because) for one in entries]
        if told:
            self._ledger.emit(ObjectsEnded(told))


class _Compared:
    """What is not as the manifest says, until it is known whether it could be."""

    def __init__(self, run: Opened, source: S3Store, manifest: Entry) -> None:
        self._ledger = run.ledger
        self._source = source
        self._manifest = manifest
        self._others: list[Holding] = []
        self._beyond = 0
        self.replaced = _Later(run.ledger, "replaced since the manifest")
        self.added = _Later(run.ledger, "new since the manifest")
        self.not_vouched = 0  # which the run that wrote it could not bring, or not prove

    def see(self, findings: Sequence[Holding]) -> None:
        """Keep what is to be looked at. What the folder alone has was there before, or was stored later."""
        for one in findings:
            if one.row is not None and one.row.state == FAILED:
                self.not_vouched += not is_unread_folder(one.row)
            elif one.verdict in (Held.EQUAL, Held.EXTRA):
                continue
            elif len(self._others) < _MOST:
                self._others.append(one)
            else:
                self._beyond += 1

    async def settle(self) -> None:
        """Record what the manifest says otherwise of as failed."""
        for at in range(0, len(self._others), _LOOKS):
            settled = await asyncio.gather(*(self._settled(one) for one in self._others[at : at + _LOOKS]))
            self._ledger.record([one for one in settled if isinstance(one, Outcome)], unplanned=True)
            self.replaced.tell([one for one in settled if isinstance(one, Entry)])
        if self._beyond:
            more = (
                f"{count_words(self._beyond)} more are not what the manifest says; sterna verify --manifest names them."
            )
            self._ledger.record([_failed(self._manifest.key, NotProven(more))], unplanned=True)

    async def find_added(self, path: Path, filters: Filter) -> None:
        """Find what the bucket has and the manifest does not name, by another listing: what else the folder has may be
        files that never were in the bucket."""
        with ManifestFile.open(path) as file:
            said, there = _named(file, filters), _listed(self._source, filters)
            async with aclosing(said), aclosing(there):
                async for page in pairs(said, there):
                    chosen = filters.chosen(page)
                    self.added.tell([entry for row, entry in chosen if row is None and entry is not None])

    async def _settled(self, one: Holding) -> Outcome | Entry:
        """What is wrong with it, or the object that has come in its place."""
        try:
            there = await self._looked(one.key)
        except SternaError as error:
            return _failed(one.key, error)
        name = printable(one.key)
        if there is None:
            gone = (
                f"{name}: the manifest names it, and the bucket does not have it; --at TIME brings it back where the bucket"
                " keeps versions, and if it is to be gone, --no-manifest leaves this off until a new backup."
            )
            return _failed(one.key, ObjectGone(gone))
        if there.mtime_ns >= self._manifest.mtime_ns:  # a manifest is written when all that it names was seen
            return there
        because = one.because if one.entry is not None else "it is not there"
        return _failed(one.key, NotProven(f"{name} is not what the manifest says: {because}."))

    async def _looked(self, key: str) -> Entry | None:
        """The object by a listing, whose times can be compared with the manifest's: a HEAD tells whole seconds."""
        entries, _ = await self._source.list_some(just_before(key), most=2)
        return next((entry for entry in entries if entry.key == key), None) or await self._source.look(key)


def _failed(key: str, error: SternaError) -> Outcome:
    outcome = Outcome(_VERB, key, Status.FAILED).fail(error)
    outcome.exit_code = 1  # the objects are here, whatever is wrong with what vouches for them
    return outcome


async def _newest(source: S3Store) -> Entry | None:
    """The manifest of the last run that left one: their names are times."""
    newest, after = None, FOLDER
    while True:
        entries, more = await source.list_some(after)
        ours = [entry for entry in entries if is_manifest(entry.key)]
        newest = ours[-1] if ours else newest
        if not more or not entries or not entries[-1].key.startswith(FOLDER):
            return newest
        after = entries[-1].key


async def _named(file: ManifestFile, filters: Filter) -> AsyncGenerator[Sequence[Entry], None]:
    """The keys of a manifest that the filters let pass, as entries."""
    for page in file.pages():
        if shown := filters.visible([Entry(row.key, row.size or 0, mtime_of(row.mtime) or 0) for row in page]):
            yield shown


async def _listed(source: S3Store, filters: Filter) -> AsyncGenerator[Sequence[Entry], None]:
    """The objects of a bucket that the filters let pass."""
    async for page in source.pages():
        if shown := filters.visible(page.entries):
            yield shown


async def _fetched(run: Opened, source: S3Store, manifest: Entry, folder: Path, settings: Settings) -> Path:
    """The manifest as a file of this machine."""
    with LocalStore.open(folder) as store:
        async with download_carrier(source, store, settings, Tally(), run.stop) as carrier:  # it is none of the data
            [outcome] = await carrier.move([Action(Verb.DOWNLOAD, manifest.key, "the manifest", manifest)])
    if outcome.status is not Status.DONE:
        raise NotProven(f"The manifest could not be fetched: {outcome.error}", code=outcome.error_code)
    return folder / manifest.key
