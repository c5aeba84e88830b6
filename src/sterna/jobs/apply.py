"""Carry a plan out, as far as source and destination still are what it was made for."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import os
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from msgspec.structs import replace

from sterna.jobs.carriers import Carrier
from sterna.jobs.deleting import Deleter
from sterna.jobs.identity import identity, is_one_place
from sterna.jobs.job import Opened, carry
from sterna.jobs.ledger import Ledger
from sterna.jobs.settings import Settings
from sterna.jobs.standby import Standby
from sterna.jobs.sync import sync
from sterna.model.actions import Action, Verb
from sterna.model.entry import Entry
from sterna.model.errors import Drifted, ObjectChanged, SternaError, WrongSetting
from sterna.model.events import Emit, Event, ObjectsEnded, RunEnded, Summary, Tally, ignore
from sterna.model.location import Location, parse_location
from sterna.model.outcomes import Outcome, Status
from sterna.model.stop import Stop
from sterna.model.units import MIB, printable
from sterna.moving.aside import InTheWay, deleted
from sterna.moving.delete import GONE_ALREADY
from sterna.moving.looks import as_they_are
from sterna.planning.blockers import Blockers
from sterna.planning.deletions import BATCH, BECAUSE
from sterna.planning.drift import change, drift
from sterna.planning.merge import Pair
from sterna.planning.planfile import PlanFile
from sterna.reporting.summary import drifted_verdict
from sterna.stores.folder import NO_FOLDER
from sterna.stores.local import LocalStore
from sterna.stores.names import is_abandoned
from sterna.stores.s3 import S3Store
from sterna.stores.store import Store

_BYTES = 64 * MIB  # of the actions that are looked at together: what is looked at is carried soon
_DRIFT = (Drifted.__name__, ObjectChanged.__name__)


async def apply(
    file: PlanFile,
    settings: Settings,
    *,
    emit: Emit = ignore,
    tally: Tally | None = None,
    stop: Stop | None = None,
    standby: Standby | None = None,
) -> Summary:
    """Do what the plan says between its two places, and nothing else; deletions last, if all else ended well.

    Each action is looked at again before it is carried out, and what then is read and written hangs on that: on the ETag
    that was planned for, on nothing being there, on size and time of a file. Where the destination has what it would
    bring already, as after an earlier try that was ended, it is kept. Where source or destination is otherwise than the
    plan says, the action is not carried out, and named (Drifted). ``settings`` are those that the plan was made with, by
    its header.

    Raises Drifted where one of the places is another one, WrongSetting where the settings are for another server.
    """
    source, destination = parse_location(file.header.source), parse_location(file.header.destination)
    if file.footer.counts.get(Verb.DELETE.value) and settings.deletion is None:
        raise WrongSetting(
            "The plan deletes, and the settings are without deletions; give those that it was made with."
        )
    settings = replace(
        settings,
        upload=replace(settings.upload, as_planned=True),
        download=replace(settings.download, as_planned=True),
    )
    stop = stop or Stop()
    applying = _Applying(file, source, destination)
    drifted = 0

    def told(event: Event) -> None:
        nonlocal drifted
        if isinstance(event, ObjectsEnded):
            for one in event.outcomes:
                if one.status is Status.FAILED and one.error_kind in _DRIFT:
                    one.exit_code = Drifted.exit_code
                    drifted += 1
        elif isinstance(event, RunEnded) and drifted and not stop.is_requested:
            if drifted == event.summary.failed:
                event.summary.exit_code = Drifted.exit_code
            event.summary.verdict = drifted_verdict(event.summary, drifted)
        emit(event)

    return await sync(
        source, destination, settings, emit=told, tally=tally, stop=stop, standby=standby, flow=applying, command="apply",
        decided_by=file.header.filters,
    )  # fmt: skip


class _Looked(NamedTuple):
    """What came of looking at some actions again."""

    still: list[Action]  # as they were planned
    elsewise: list[Outcome]  # drifted, in place already, or not to be looked at


class _Applying:
    """One plan while it is carried out: read → look → move → prove → record, then the deletions."""

    def __init__(self, file: PlanFile, source: Location, destination: Location) -> None:
        self._file = file
        self._ends = (source, destination)
        self._pages = file.pages()
        self._deletions: list[Action] = []  # of the page in which they begin
        self._blockers = Blockers()
        self._folders: set[str] = set()  # that are needed where a file is in the way
        self._tidied: set[str] = set()  # folders in which nothing of a dead run is left

    async def __call__(self, run: Opened) -> Summary:
        source, target, ledger = run.source, run.target, run.ledger
        await self._check_places(source, target)
        run.memory.goes_by(self._file.footer.source_entries)
        if run.deleter is not None:
            run.deleter.begin()
        if run.deleter is not None and isinstance(target, LocalStore):
            await asyncio.to_thread(_find_blockers, self._file, self._blockers)
        moves = self._moves(source, target, run.carrier, ledger, run.deleter)
        await carry(moves, run._replace(deleter=None))  # what the plan deletes is looked at again first
        if run.deleter is not None:
            await self._delete(source, target, run.deleter, ledger, run.stop)
        return await ledger.settle(durable=run.carrier.is_durable)

    async def _check_places(self, source: Store, target: Store) -> None:
        """Source and destination must be those that the plan was made for, before anything is looked at."""
        header = self._file.header
        here, there = self._ends
        for role, store, location, then in (
            ("source", source, here, header.source_at),
            ("destination", target, there, header.destination_at),
        ):
            if not then:
                continue  # a folder that was not there yet: what is in it by now, each action sees
            now = await identity(store, location)
            if is_one_place(then, now):
                continue
            shown = printable(str(location))
            if isinstance(store, S3Store):
                remedy = "say so with --endpoint-url" if then != "AWS" else "leave --endpoint-url off"
                raise WrongSetting(
                    f"The plan was made for {shown} at {printable(then)}, and the {role} is at {printable(now)} here;"
                    f" if it is to be the first, {remedy}, else make another plan."
                )
            raise Drifted(
                f"The {role} {shown} is not the folder that the plan was made for: it was replaced, or another file"
                " system is mounted there, or none. Nothing was changed; make another plan, if that is right."
            )

    # Moving.

    async def _moves(
        self, source: Store, target: Store, carrier: Carrier, ledger: Ledger, deleter: Deleter | None
    ) -> AsyncGenerator[Sequence[Action], None]:
        while (page := await asyncio.to_thread(next, self._pages, None)) is not None:
            for at, action in enumerate(page):
                if action.verb is Verb.DELETE:
                    page, self._deletions = page[:at], page[at:]
                    break
            for batch in _batches(page):
                ledger.planned(len(batch), sum(action.size for action in batch))
                if isinstance(target, LocalStore):
                    target.abandoned += await asyncio.to_thread(_abandoned, target, batch, self._tidied)
                    await carrier.tidy()
                looked = await _look_again(batch, source, target, carrier)
                ledger.record(looked.elsewise)
                if deleter is not None and (self._blockers.found or self._blockers.below):
                    await self._clear(looked.still, source, target, deleter, ledger)
                if looked.still:
                    yield looked.still
            if self._deletions:
                return

    # Deleting.

    async def _clear(
        self, actions: Sequence[Action], source: Store, target: Store, deleter: Deleter, ledger: Ledger
    ) -> None:
        """Put aside what cannot wait for the end (see ``Deleter.clear``), where the source still lacks it."""
        for action in actions:
            place = action.place or action.key
            due = [InTheWay(one.key, [_deletion(one)]) for one in self._blockers.above(place)]
            if below := self._blockers.below.get(place):
                due.append(InTheWay(place, [_deletion(one) for one in below], is_folder=True))
            if due and action.key[-1] == "/":
                self._folders.add(action.key)
            for one in due:
                if any(deletion.key in deleter.cleared for deletion in one.deletions):
                    continue
                failed: dict[str, SternaError] = {}
                keys = [deletion.key for deletion in one.deletions]
                here, there = await asyncio.gather(_now(source, keys, failed), _now(target, keys, failed))
                if there and not here and not failed:
                    left = [deletion for deletion in one.deletions if deletion.key in there]
                    await deleter.set_aside([one._replace(deletions=left)], ledger)

    async def _delete(self, source: Store, target: Store, deleter: Deleter, ledger: Ledger, stop: Stop) -> None:
        await deleter.settle(ledger, self._folders.__contains__)
        due = self._file.footer.counts.get(Verb.DELETE.value, 0) - len(deleter.cleared)
        if not due or stop.is_requested:
            return
        if failed := ledger.summary.failed + ledger.summary.left:
            were = "1 deletion was" if due == 1 else f"{due:,} deletions were"
            ledger.notice(
                f"{were} not carried out, since {failed:,} of what was to be carried first failed.",
                "warning",
                "deletions-left",
            )
            return
        while self._deletions and not stop.is_requested:
            for start in range(0, len(self._deletions), BATCH):
                if stop.is_requested:
                    return
                batch = [one for one in self._deletions[start : start + BATCH] if one.key not in deleter.cleared]
                if batch:
                    ledger.planned(len(batch), 0)
                    ledger.record(await _delete_again(batch, source, target, deleter))
            self._deletions = await asyncio.to_thread(next, self._pages, [])


def _abandoned(store: LocalStore, actions: Sequence[Action], tidied: set[str]) -> list[str]:
    """What killed runs left unfinished where these files go: nothing else of this job reads the folders (H48)."""
    found = []
    places = (action.place or action.key for action in actions)
    for parent in {place[: place.rfind("/") + 1] for place in places} - tidied:
        tidied.add(parent)
        with suppress(OSError, SternaError):  # a folder that is still to be made, or that one may write and not read
            names = os.listdir(store.folder.directory(parent).fd)
            found += [parent + name for name in names if is_abandoned(name)]
    return found


def _find_blockers(file: PlanFile, blockers: Blockers) -> None:
    """Merge what the plan moves with what it deletes: one more reading of the file, in constant memory."""

    def moves() -> Iterator[Pair]:
        for page in file.pages():
            for action in page:
                if action.verb is Verb.DELETE:
                    return
                if action.source is not None:
                    yield action.source, action.target

    def deletions() -> Iterator[Pair]:
        for page in file.pages():
            yield from ((None, action.target) for action in page if action.verb is Verb.DELETE)

    def key_of(pair: Pair) -> str:
        one = pair[0] or pair[1]
        assert one is not None, "a pair of nothing"
        return one.key

    together = heapq.merge(moves(), deletions(), key=key_of)
    while page := list(itertools.islice(together, BATCH)):
        blockers.see(page)


async def _look_again(batch: Sequence[Action], source: Store, target: Store, carrier: Carrier) -> _Looked:
    """Hold actions against what both sides show now."""
    keys = [action.key for action in batch if action.verb is not Verb.REFUSE]
    failed: dict[str, SternaError] = {}
    here, there = await asyncio.gather(_now(source, keys, failed), _now(target, keys, failed))
    still: list[Action] = []
    elsewise: list[Outcome] = []
    maybe: dict[str, tuple[Action, str]] = {}
    for action in batch:
        key = action.key
        if key in failed:
            elsewise.append(_outcome(action).fail(failed[key]))
            continue
        if action.verb is Verb.REFUSE:
            still.append(action)
            continue
        now, standing = here.get(key), there.get(key)
        how = drift(action, now, standing)
        if how is None:
            still.append(action)
        elif change(action.source, now) is None and standing is not None and standing.size == action.size:
            maybe[key] = action, how
        else:
            elsewise.append(_drifted(action, how))
    if maybe:
        looks = [
            replace(action, verb=Verb.LOOK, source=here[key], target=there[key]) for key, (action, _) in maybe.items()
        ]
        others, told = await carrier.resolve(looks)
        elsewise += told
        elsewise += [_drifted(*maybe[one.key]) for one in others]
    return _Looked(still, elsewise)


async def _delete_again(batch: Sequence[Action], source: Store, target: Store, deleter: Deleter) -> list[Outcome]:
    """Delete what the source still lacks and what still stands at the destination as it was; what is gone is gone."""
    failed: dict[str, SternaError] = {}
    keys = [action.key for action in batch]
    folders = sorted({key[: at + 1] for key in keys for at, letter in enumerate(key) if letter == "/"})
    here = await _now(source, keys, failed)
    unseen: dict[str, SternaError] = {}
    there = await _now(target, keys, unseen) if isinstance(target, LocalStore) else dict.fromkeys(keys)
    marked = await _now(source, folders, failed) if isinstance(source, S3Store) else {}
    still, outcomes = [], []
    for action in batch:
        if action.key in failed:
            outcomes.append(_outcome(action).fail(failed[action.key]))
        elif (how := change(None, here.get(action.key))) is not None:
            outcomes.append(_drifted(action, f"the source {how}"))
        elif action.key not in there and action.key not in unseen:
            outcomes.append(deleted(action, GONE_ALREADY))  # it made room for a folder, or a file, which stands there
        else:
            still.append(action)
    if still:
        outcomes += await deleter.erase(still, lambda path: path.rstrip("/") + "/" in marked)
    for one in outcomes:
        if one.status is Status.DONE and one.proof == GONE_ALREADY:  # by an earlier try, or by somebody else
            one.status, one.size, one.because = Status.KEPT, 0, GONE_ALREADY
    return outcomes


async def _now(store: Store, keys: Sequence[str], failed: dict[str, SternaError]) -> dict[str, Entry]:
    """The entries of those keys that a store has at this moment."""
    if isinstance(store, S3Store):
        return await as_they_are(store, keys, failed)
    assert isinstance(store, LocalStore)
    return await asyncio.to_thread(_files_now, store, keys, failed)


def _files_now(store: LocalStore, keys: Sequence[str], failed: dict[str, SternaError]) -> dict[str, Entry]:
    found = {}
    for key in keys:
        try:
            entry = store.folder.look(key)
        except SternaError as error:
            if error.code != NO_FOLDER:  # else a file stands above it, and so nothing here
                failed[key] = error
            continue
        if entry is not None and not entry.is_directory_marker:  # of folders a listing says nothing
            found[key] = entry
    return found


def _batches(page: Sequence[Action]) -> Iterator[Sequence[Action]]:
    """Actions to be looked at together: a thousand at most, and few where they are large."""
    start = size = 0
    for at, action in enumerate(page):
        if at > start and (at - start == BATCH or size + action.size > _BYTES):
            yield page[start:at]
            start, size = at, 0
        size += action.size
    if start < len(page):
        yield page[start:]


def _deletion(entry: Entry) -> Action:
    return Action(Verb.DELETE, entry.key, BECAUSE, None, entry)


def _drifted(action: Action, how: str) -> Outcome:
    return _outcome(action).fail(Drifted(f"{how[:1].upper()}{how[1:]}.", key=action.key, code="drifted"))


def _outcome(action: Action) -> Outcome:
    return Outcome(
        action.verb.value, action.key, Status.FAILED, size=action.bytes_concerned, because=action.because
    )  # fmt: skip
