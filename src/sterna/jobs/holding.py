"""Hold a bucket or a folder against a manifest, and tell every difference; nothing is moved."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from sterna.jobs.carriers import download_carrier
from sterna.jobs.contents import Place, sums_of_object
from sterna.jobs.looking import Depth, Shown, open_place
from sterna.jobs.settings import Settings
from sterna.jobs.sides import open_bucket
from sterna.jobs.summing import hexadecimal, sums_of_file
from sterna.model.actions import Action, Verb
from sterna.model.entry import Entry, Trouble
from sterna.model.errors import ManifestUnusable, ObjectChanged, SourceUnknown, SternaError
from sterna.model.events import Emit, Tally, ignore
from sterna.model.location import BucketPath, LocalPath, Location
from sterna.model.outcomes import Status
from sterna.model.stop import Stop
from sterna.model.units import printable
from sterna.moving.buffers import Buffers
from sterna.moving.disk import Disk
from sterna.planning.holding import (
    Chooser,
    Held,
    Holding,
    Judgement,
    Sample,
    by_listing,
    by_sums,
    is_unread_folder,
    not_vouched,
)
from sterna.planning.manifest import FAILED, KEPT, Head, ManifestFile, Row
from sterna.planning.merge import Pair, pairs
from sterna.stores.local import LocalStore
from sterna.stores.mtime import mtime_of
from sterna.stores.s3 import OneObject, S3Store


class HeldAgainst(msgspec.Struct, kw_only=True):
    """What came of it. ``gone`` is absent in the manifest's own source, from which it was deleted before that backup: that
    is no difference. ``skipped`` are names left out by rule, ``unread_folders`` those that the backup could not read.
    ``sampled`` were read back, chosen by ``seed``; ``is_complete`` is what the manifest says of itself.
    """

    manifest: str
    location: str
    depth: Depth
    root: str
    count: int
    is_complete: bool
    run: str
    created: str
    equal: int = 0
    different: int = 0
    missing: int = 0
    extra: int = 0
    unknown: int = 0
    gone: int = 0
    unread_folders: int = 0
    skipped: int = 0
    sampled: int = 0
    seed: int | None = None
    equal_bytes: int = 0
    requests: int = 0
    elapsed_s: float = 0.0
    is_equal: bool = False


async def hold(
    manifest: Location,
    location: Location,
    settings: Settings | None = None,
    *,
    depth: Depth = Depth.LISTED,
    sample: Sample | None = None,
    seed: int = 0,
    found: Callable[[Sequence[Holding]], None],
    emit: Emit = ignore,
    fetched_from: BucketPath | None = None,
) -> HeldAgainst:
    """Compare what is below a location with a manifest, which is found whole first. ``found`` is told every key.

    ``sample`` of the objects are read back, whatever the ``depth``; the same ``seed`` chooses the same. The manifest is
    reached by the settings' source, the location by their destination; ``fetched_from`` is where a file that is one for
    the moment only came from. Raises ManifestUnusable for a manifest that is not
    whole, SourceUnknown where there is none or the location cannot be listed.
    """
    settings = settings or Settings()
    began, tally = time.perf_counter(), Tally()
    async with AsyncExitStack() as opened:
        path = await opened.enter_async_context(_here(manifest, settings, tally, emit))
        file = opened.enter_context(await asyncio.to_thread(_whole, path, fetched_from or manifest))
        place = await opened.enter_async_context(open_place(location, settings.destination, settings, tally, emit))
        chooser = Chooser(sample.of(file.end.count) if sample else 0, file.end.count, seed)
        run = _Run(file, place, settings, depth, chooser, found)
        run.is_own_source = _is_source(location, file.head)
        try:
            await run.compare()
        finally:
            run.close()
        head: Head = file.head
        counts = run.counts
        return HeldAgainst(
            manifest=str(manifest),
            location=str(location),
            depth=depth,
            root=file.root,
            count=file.end.count,
            is_complete=file.end.complete,
            run=head.run,
            created=head.created,
            equal=counts[Held.EQUAL],
            different=counts[Held.DIFFERENT],
            missing=counts[Held.MISSING],
            extra=counts[Held.EXTRA],
            unknown=counts[Held.UNKNOWN],
            gone=counts[Held.GONE],
            unread_folders=run.unread_folders,
            skipped=run.skipped,
            sampled=run.sampled,
            seed=seed if sample else None,
            equal_bytes=run.equal_bytes,
            requests=tally.requests,
            elapsed_s=time.perf_counter() - began,
            is_equal=run.is_equal,
        )


def _whole(path: Path, manifest: Location) -> ManifestFile:
    """A manifest, checked. Raises ManifestUnusable by the name that its user knows it by, and with where another copy of
    one in a bucket may be."""
    try:
        return ManifestFile.open(path)
    except ManifestUnusable as error:
        if isinstance(manifest, LocalPath):
            raise
        sentence = error.sentence.replace(printable(str(path)), printable(str(manifest)))
        name = printable(manifest.path.rpartition("/")[2])
        raise ManifestUnusable(
            f"{sentence.rstrip('.')}: the machine that wrote it keeps one in its state folder, manifests/{name}."
        ) from error


class _Run:
    """One comparison of an open place with a manifest. Memory holds a page of each."""

    def __init__(
        self,
        file: ManifestFile,
        place: Place,
        settings: Settings,
        depth: Depth,
        chooser: Chooser,
        found: Callable[[Sequence[Holding]], None],
    ) -> None:
        self._file = file
        self._place = place
        self._shown = Shown(place, settings.filters, self._tell_unlisted)
        self._filters = settings.filters
        self._depth = depth
        self._chooser = chooser
        self._found = found
        self._rows: dict[str, tuple[Row, bool]] = {}  # those in the merge, and whether they are chosen
        self._buffers = Buffers(settings.limits.max_memory)
        self._disk = Disk()
        self._ended = threading.Event()
        self._folders = 0  # rows that stand for folders, of which none is a file
        self.is_own_source = False  # the manifest's: what was deleted there before may be absent
        self.counts = dict.fromkeys(Held, 0)
        self.equal_bytes = self.sampled = self.unread_folders = 0

    @property
    def skipped(self) -> int:
        """How many names were left out by rule."""
        return self._shown.skipped + self._folders

    @property
    def is_equal(self) -> bool:
        """All is equal, or absent as it was before; and what could not be listed was left out by rule."""
        counts = self.counts
        return sum(counts.values()) == counts[Held.EQUAL] + counts[Held.GONE] and not self._shown.unknown.failed

    def close(self) -> None:
        """End what is still being read, and wait for it."""
        self._ended.set()
        self._disk.close()

    async def compare(self) -> None:
        said, there = self._said(), self._shown.pages(is_source=True)
        async with aclosing(said), aclosing(there):
            async for both in pairs(said, there):
                page = self._filters.chosen(both)
                held = await asyncio.gather(*(self._held(pair) for pair in page))
                self._tell([one for one in held if one is not None])
                for entry, _ in both:
                    if entry is not None:
                        del self._rows[entry.key]

    def _tell(self, held: Sequence[Holding]) -> None:
        for one in held:
            self.counts[one.verdict] += 1
            if one.verdict is Held.EQUAL and one.entry is not None:
                self.equal_bytes += one.entry.size
        if held:
            self._found(held)

    def _tell_unlisted(self, troubles: Sequence[Trouble]) -> None:
        self._tell([Holding(Held.UNKNOWN, one.key, f"it could not be listed here: {one.reason}") for one in troubles])

    async def _said(self) -> AsyncGenerator[Sequence[Entry], None]:
        """The manifest's rows as entries."""
        for page in self._file.pages():
            entries = []
            for row in page:
                is_chosen = row.state != FAILED and self._chooser.takes_next()
                self._rows[row.key] = row, is_chosen
                entries.append(Entry(row.key, row.size or 0, mtime_of(row.mtime) or 0, row.etag))
            visible = self._filters.visible(entries)
            if len(visible) < len(entries):
                for key in {entry.key for entry in entries} - {entry.key for entry in visible}:
                    del self._rows[key]
            if visible:
                yield visible

    async def _held(self, pair: Pair) -> Holding | None:
        """What is known of one key; None where that stands for a folder, and the place is one."""
        said, entry = pair
        if said is None:
            assert entry is not None
            return Holding(Held.EXTRA, entry.key, "the manifest does not name it", None, entry)
        row, is_chosen = self._rows[said.key]
        self.unread_folders += is_unread_folder(row)
        if entry is None:
            return self._lacking(row)
        try:
            verdict, because = await self._judged(row, entry, reads=is_chosen or self._depth is Depth.READ)
        except SternaError as error:
            verdict, because = Held.UNKNOWN, error.sentence
        self.sampled += is_chosen
        return Holding(verdict, row.key, because, row, entry, is_chosen)

    def _lacking(self, row: Row) -> Holding | None:
        if row.state == FAILED:
            verdict, because = not_vouched(row)
            return Holding(verdict, row.key, because, row)
        if self._shown.unknown.covers(row.key):
            return Holding(Held.UNKNOWN, row.key, "it could not be listed here", row)
        if isinstance(self._place, LocalStore) and row.key.endswith("/"):
            self._folders += 1
            return None
        if self.is_own_source and row.state == KEPT:
            return Holding(Held.GONE, row.key, "it was deleted from the source before that backup", row)
        return Holding(Held.MISSING, row.key, "the manifest names it, and it is not there", row)

    async def _judged(self, row: Row, entry: Entry, *, reads: bool) -> Judgement:
        listed = by_listing(row, entry)
        if listed is not None and (listed[0] is not Held.EQUAL or not entry.size):
            return listed
        if isinstance(self._place, LocalStore):
            if listed is not None and not reads and self._depth is Depth.LISTED:
                return listed
            names = [name for name, value in (("CRC64NVME", row.crc64nvme), ("SHA256", row.sha256)) if value]
            sums, identity = await self._disk.slow(sums_of_file, self._place, entry.key, names, self._ended)
            if identity.size != entry.size:
                raise _changed(entry.key)
            verdict, because = by_sums(row, _written(sums))
            another = "" if listed is not None else "; its time is another"
            return verdict, because + another
        if reads:
            return by_sums(row, await self._read(self._place, entry, row))
        if listed is not None and self._depth is Depth.LISTED:
            return listed
        return await self._looked(self._place, row, entry, is_same_etag=listed is not None)

    async def _looked(self, bucket: S3Store, row: Row, entry: Entry, *, is_same_etag: bool) -> Judgement:
        """By the sums that the server shows of an object."""
        look = await bucket.head(entry.key)
        if look is None or look.entry.size != entry.size:
            raise _changed(entry.key)
        sums = {look.checksum_name: look.checksum} if look.whole else {}
        sha256 = look.headers.get(b"x-amz-checksum-sha256", b"").decode("latin-1")
        if sha256 and "-" not in sha256:
            sums["SHA256"] = hexadecimal(sha256)
        verdict, because = by_sums(row, sums)
        is_same_etag |= look.entry.etag == row.etag  # some servers list other ETags than their objects have
        if verdict is Held.UNKNOWN and is_same_etag:
            return Held.EQUAL, "same size and ETag; the server shows no checksum that the manifest has"
        another = "" if is_same_etag else "; its ETag is another"
        if row.version and look.version and row.version != look.version:
            another += "; it is another version"
        return verdict, because + another

    async def _read(self, bucket: S3Store, entry: Entry, row: Row) -> dict[str, str]:
        """The sums of what an object holds."""
        names = [name for name, value in (("CRC64NVME", row.crc64nvme), ("SHA256", row.sha256)) if value]
        return _written(await sums_of_object(bucket, entry, names, self._buffers, self._disk))


def _written(sums: dict[str, str]) -> dict[str, str]:
    """Sums as the manifest writes them."""
    return {name: hexadecimal(value) if name == "SHA256" else value for name, value in sums.items()}


def _is_source(location: Location, head: Head) -> bool:
    """Whether a place is the folder that a manifest was made from."""
    return isinstance(location, LocalPath) and os.path.realpath(location.path) == os.path.realpath(head.source)


@asynccontextmanager
async def _here(manifest: Location, settings: Settings, tally: Tally, emit: Emit) -> AsyncIterator[Path]:
    """A manifest as a file of this machine; one in a bucket is fetched for as long as it is used."""
    if isinstance(manifest, LocalPath):
        yield manifest.path
        return
    shown = printable(str(manifest))
    name = manifest.path.rpartition("/")[2] or "manifest"
    async with open_bucket(manifest, settings.source, settings, tally, emit=emit) as bucket:
        single = OneObject(bucket.client, manifest, bucket.own_headers, full=manifest.path)
        found = await single.look(manifest.path) if manifest.path else None
        if found is None:
            raise SourceUnknown(f"{shown} is no object; give the whole key of a manifest.")
        with TemporaryDirectory(prefix="sterna-") as folder, LocalStore.open(Path(folder)) as store:
            async with download_carrier(single, store, settings, tally, Stop()) as carrier:
                entry = msgspec.structs.replace(found, key=name)
                [outcome] = await carrier.move([Action(Verb.DOWNLOAD, name, "the manifest", entry)])
            if outcome.status is not Status.DONE:
                raise SourceUnknown(f"The manifest {shown} could not be fetched: {outcome.error}")
            yield Path(folder) / name


def _changed(key: str) -> ObjectChanged:
    return ObjectChanged(f"{printable(key)} was changed while it was compared.", key=key)
