"""Join the journal to a run: what earlier runs saw goes into its plan, and what it sees is kept for later ones."""

from __future__ import annotations

import asyncio
import os
from bisect import bisect_right
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from sterna.jobs.identity import AWS, identity
from sterna.jobs.ledger import Ledger
from sterna.jobs.settings import Settings
from sterna.model.errors import JournalUnusable, SternaError, WrongSetting
from sterna.model.location import BucketPath, Location
from sterna.model.outcomes import Outcome, Status
from sterna.model.synced import Seen, Synced, mark
from sterna.planning.compare import Compare
from sterna.planning.guard import Remembered
from sterna.planning.known import SAME, Known, Same
from sterna.planning.merge import Pair
from sterna.stores.local import LocalStore
from sterna.stores.store import Store

if TYPE_CHECKING:
    from sterna.journal.journal import Journal
    from sterna.journal.route import Route
    from sterna.journal.run import Run
    from sterna.journal.values import PastRun

_SOURCE_ENTRIES, _SOURCE_AT, _TARGET_AT, _COULD_DELETE = "source_entries", "source_at", "target_at", "could_delete"
_READ_AT_ONCE = 10_000  # rows; each time the file is opened anew
_PAST = 100  # runs that are looked through for what the guards ask

T = TypeVar("T")


class Tree(Protocol):
    """The last-synced tree, in key order."""

    def marks(self) -> AsyncGenerator[tuple[list[str], list[bytes]], None]:
        """Its keys, and by what each is known, page by page."""

    async def rows_between(self, first: str, last: str) -> list[Synced]:
        """What both sides had, from one key to another, both included."""


class Memory:
    """What a run knows of earlier ones on its route, and what it leaves to later ones.

    ``tree`` is the last-synced tree, read along with the two listings; None where the run goes by something else. Without
    a journal nothing is known, and nothing kept.
    """

    def __init__(
        self,
        ledger: Ledger,
        journal: Journal | None = None,
        *,
        tree: Tree | None = None,
        remembered: Remembered | None = None,
        filters: str = "",
        is_durable: bool = True,
    ) -> None:
        self.remembered = remembered or Remembered()
        self._ledger = ledger
        self._journal = journal
        self._tree = tree
        self._marks = tree.marks() if tree is not None else _nothing()
        self._page: tuple[list[str], list[bytes]] = ([], [])
        self._at = 0
        self._hides = False  # something of the two places is not seen: what is not met may be there all the same
        self._sources = 0
        self._is_whole = False  # both sides were listed to their end
        self._run: Run | None = None
        if journal is not None:
            self._run = journal.begin(
                source=ledger.summary.source,
                target=ledger.summary.destination,
                filters=filters,
                is_durable=is_durable,
            )
            ledger.remember = self._record

    # What earlier runs saw

    async def known(self, page: Sequence[Pair]) -> Known | None:
        """What the tree has of the next pairs; None where nothing is to be decided by it.

        Nearly all of most pages is as it was, and known by its mark; rows are read only where something is not.
        """
        if self._run is not None:
            self._sources += sum(1 for source, _ in page if source is not None)
        if self._tree is None:
            return None
        keys = [(source or target).key for source, target in page]  # type: ignore[union-attr]  # one of them is there
        marks = [b"-" if source is None or target is None else mark(source, target) for source, target in page]
        saw_keys, saw_marks = await self._up_to(keys[-1])
        if saw_keys == keys and saw_marks == marks and all(marks):
            return dict.fromkeys(keys, SAME)
        saw = dict(zip(saw_keys, saw_marks, strict=True))
        self._gone(saw.keys() - set(keys))
        known: dict[str, Synced | Same] = {}
        others = []
        for key, now in zip(keys, marks, strict=True):
            if now and saw.get(key) == now:
                known[key] = SAME
            elif key in saw:
                others.append(key)
        if others and self._tree is not None:
            known.update((row.key, row) for row in await self._rows(others[0], others[-1]) if row.key not in known)
        return known

    async def listed(self) -> None:
        """Both sides are listed to their end: what the tree has beyond is on neither any more."""
        self._is_whole = True
        while self._tree is not None and not self._hides and (keys := (await self._next())[0]):
            self._gone(set(keys))

    def doubt(self) -> None:
        """A listing left something out: of a key that does not come, nothing is known."""
        self._hides = True

    async def _up_to(self, last: str) -> tuple[list[str], list[bytes]]:
        """The keys of the tree up to this one, and their marks."""
        found_keys: list[str] = []
        found_marks: list[bytes] = []
        while True:
            keys, marks = self._page
            end = bisect_right(keys, last, lo=self._at) if keys and keys[-1] > last else len(keys)
            found_keys += keys[self._at : end]
            found_marks += marks[self._at : end]
            self._at = end
            if end < len(keys):
                return found_keys, found_marks
            self._page, self._at = await self._next(), 0
            if not self._page[0]:
                return found_keys, found_marks

    async def _next(self) -> tuple[list[str], list[bytes]]:
        """What follows in the tree; a journal that cannot be read any more ends it, and no more is decided by it."""
        (keys, marks), at, self._page, self._at = self._page, self._at, ([], []), 0
        if at < len(keys):
            return keys[at:], marks[at:]
        if self._tree is None:
            return [], []
        try:
            page = await anext(self._marks, None)  # a tuple as the default is a SystemError in Python 3.11
            return page or ([], [])
        except JournalUnusable as error:
            self._lose(error)
            return [], []

    async def _rows(self, first: str, last: str) -> list[Synced]:
        assert self._tree is not None
        try:
            return await self._tree.rows_between(first, last)
        except JournalUnusable as error:
            self._lose(error)
            return []

    def _lose(self, error: JournalUnusable) -> None:
        self._tree, self._hides = None, True
        self._ledger.notice(f"{error.sentence} The rest is compared as if there were no journal.", "warning", "journal")

    # What this one sees

    def found(self, pairs: Sequence[Pair]) -> None:
        """These were found to be the same on both sides, and are not in the tree as they are."""
        if self._run is not None and pairs:
            self._run.done([
                Synced(source.key, Seen.of(source), Seen.of(target))
                for source, target in pairs
                if source is not None and target is not None
            ])  # fmt: skip

    def depart(self, keys: Sequence[str]) -> int:
        """These keys are in hand from now on; gives the number to ``land`` with."""
        return 0 if self._run is None else self._run.depart(keys)

    async def land(self, flight: int) -> None:
        """All of a flight has its outcome. Waits where the disk of the journal does not keep up."""
        if self._run is not None and self._journal is not None:
            self._run.land(flight)
            await self._journal.room()
            self._tell()

    def _record(self, outcomes: Sequence[Outcome]) -> None:
        if self._run is None:
            return
        synced, gone = [], []
        for one in outcomes:
            if one.status is Status.DONE and one.verb == "delete":
                gone.append(one.key)
            elif (one.status is Status.DONE or one.status is Status.KEPT) and (row := _row(one)) is not None:
                synced.append(row)
        self._run.done(synced)
        self._run.gone(gone)
        self._run.record(outcomes)

    def _gone(self, keys: set[str]) -> None:
        if keys and not self._hides and self._run is not None:
            self._run.gone(sorted(keys))

    def _tell(self) -> None:
        for sentence in self._journal.news() if self._journal is not None else ():
            self._ledger.notice(sentence, "warning", "journal")

    # The end

    async def close(self, error: SternaError | None, *, could_delete: bool, places: dict[str, str]) -> None:
        """Keep how the run ended, and let go of the route. A run that was torn off is kept as interrupted."""
        await self._marks.aclose()
        if self._journal is None or self._run is None:
            return
        summary = self._ledger.summary
        if error is not None:
            summary.exit_code, summary.verdict = summary.exit_code or error.exit_code, summary.verdict or error.sentence
        if summary.verdict:
            notes: dict[str, str | int] = {}
            if self._is_whole and error is None:  # what a guard refused is nothing to measure the next run by
                notes = {_SOURCE_ENTRIES: self._sources, **places, **({_COULD_DELETE: 1} if could_delete else {})}
            self._run.end(summary, notes)
        await self._journal.closed()
        self._tell()


def _row(one: Outcome) -> Synced | None:
    """What an outcome says of both sides; None where it does not say it of each."""
    source, target = one.source, one.target
    if one.status is Status.DONE:
        as_stored = Seen(one.size, 0, one.etag, one.checksum, one.version)
        source, target = (as_stored, target) if one.verb == "download" else (source, as_stored)
    return Synced(one.key, source, target) if isinstance(source, Seen) and isinstance(target, Seen) else None


@asynccontextmanager
async def remembering(
    ends: tuple[Location, Location],
    stores: tuple[Store, Store],
    settings: Settings,
    ledger: Ledger,
    command: str,
    *,
    dry_run: bool = False,
) -> AsyncIterator[Memory]:
    """The memory of a run whose two sides are open; it holds the lock of the route. A dry run only reads, and locks
    nothing.

    Raises Locked where another run works between the same two places. A journal that cannot be kept is told of, and the
    run goes on without, unless the user named its place.
    """
    if not settings.journal.is_kept:
        yield Memory(ledger)
        return
    from sterna.journal import questions
    from sterna.journal.journal import Journal
    from sterna.journal.places import SUFFIX, journals_folder, state_directory
    from sterna.journal.route import route_between
    from sterna.journal.volume import is_shared

    state = state_directory(settings.journal.directory)
    is_here = [await identity(store, location) for store, location in zip(stores, ends, strict=True)]
    endpoints = [
        place.split() if isinstance(location, BucketPath) and place != AWS else []
        for place, location in zip(is_here, ends, strict=True)
    ]
    route = route_between(
        *ends, source_endpoints=endpoints[0], target_endpoints=endpoints[1], is_shared=is_shared(state)
    )
    by_tree = settings.compare is Compare.AUTO
    journal: Journal | None = None
    try:
        if dry_run:
            beside = _Beside(journals_folder(state) / f"{route.name}{SUFFIX}")
            tree: Tree = beside
            runs = await beside.runs()
        else:
            tree = journal = await _opened(Journal, route, state, command)
            runs = await journal.ask(questions.runs, _PAST)
    except (JournalUnusable, WrongSetting) as error:
        if journal is not None:
            await journal.closed()
        if settings.journal.directory and isinstance(error, WrongSetting):
            raise
        ledger.notice(f"{error.sentence} The run goes on without a journal.", "warning", "journal")
        yield Memory(ledger)
        return
    fingerprint = settings.filters.fingerprint
    memory = Memory(
        ledger,
        journal,
        tree=tree if by_tree else None,
        remembered=_remembered(runs, fingerprint, is_lost=journal is not None and bool(journal.lost)),
        filters=fingerprint,
        is_durable=settings.download.durable or not isinstance(stores[1], LocalStore),
    )
    if not settings.filters.takes_everything:
        memory.doubt()
    places = {
        name: number
        for name, store in zip((_SOURCE_AT, _TARGET_AT), stores, strict=True)
        if isinstance(store, LocalStore) and (number := file_system(store)) is not None
    }
    told: SternaError | None = None
    try:
        yield memory
    except SternaError as error:
        told = error
        raise
    finally:
        await memory.close(told, could_delete=settings.deletion is not None, places=places)


async def _opened(kind: type[Journal], route: Route, state: Path, command: str) -> Journal:
    """The journal, under its lock. It is opened in a thread, since it waits for the disk; who is cancelled meanwhile lets
    go of it again.
    """
    opening = asyncio.ensure_future(asyncio.to_thread(kind.open, route, state, command=command))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        await asyncio.wait([opening])
        if not opening.cancelled() and opening.exception() is None:
            await opening.result().closed()
        raise


class _Beside:
    """A journal that somebody else may be writing: the file is opened anew for each look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._doubtful: frozenset[int] = frozenset()
        self._is_there = False

    async def runs(self) -> list[PastRun]:
        """The last runs; to be asked first."""

        def read() -> list[PastRun]:
            self._is_there = self._path.exists()
            if not self._is_there:
                return []
            with reading(self._path) as connection:
                self._doubtful = questions.doubtful_runs(connection)
                return questions.runs(connection, _PAST)

        from sterna.journal import questions
        from sterna.journal.database import reading

        return await asyncio.to_thread(read)

    async def marks(self) -> AsyncGenerator[tuple[list[str], list[bytes]], None]:
        from sterna.journal import questions

        after, to = b"", b""
        while self._is_there:
            page, to = await self._asked(questions.marks_page, after, self._doubtful, _READ_AT_ONCE)
            if to == after:
                return
            after = to
            yield page

    async def rows_between(self, first: str, last: str) -> list[Synced]:
        from sterna.journal import questions

        return await self._asked(questions.rows_between, first, last, self._doubtful)

    async def _asked(self, question: Callable[..., T], *arguments: object) -> T:
        from sterna.journal.database import reading

        def read() -> T:
            with reading(self._path) as connection:
                return question(connection, *arguments)

        return await asyncio.to_thread(read)


async def _nothing() -> AsyncGenerator[tuple[list[str], list[bytes]], None]:
    return
    yield [], []


def _remembered(runs: Sequence[PastRun], filters: str, *, is_lost: bool) -> Remembered:
    """What the guards ask of earlier runs, which come newest first. Of the source counts the most that it had since the
    last run that could delete: one that cannot must not make them forget what is missing.
    """
    noted = [run for run in runs if run.notes]
    last = next((run for run in noted if _COULD_DELETE in run.notes), None)
    since = noted[: noted.index(last) + 1] if last is not None else noted
    counts = [int(run.notes[_SOURCE_ENTRIES]) for run in since if run.filters == filters]
    places = (last or noted[0]).notes if noted else {}
    return Remembered(
        source_entries=max(counts, default=None),
        source_file_system=str(places[_SOURCE_AT]) if _SOURCE_AT in places else None,
        target_file_system=str(places[_TARGET_AT]) if _TARGET_AT in places else None,
        filters=last.filters if last is not None else None,
        is_lost=is_lost,
    )


def file_system(folder: LocalStore) -> str | None:
    """What a file system is known by, also after it was mounted again; None where it has no such number (NFS)."""
    try:
        number = os.statvfs(folder.folder.path).f_fsid
    except OSError:
        return None
    return f"{number:x}" if number else None
