"""Join the journal to a run: what earlier runs saw goes into its plan, and what it sees is kept for later ones."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec
from msgspec.structs import replace

from sterna.jobs.identity import AWS, identity
from sterna.jobs.ledger import Ledger
from sterna.jobs.notebook import JournalNotebook
from sterna.jobs.settings import Settings
from sterna.jobs.usual import Usual, places_now
from sterna.model.errors import JournalUnusable, SternaError, WrongSetting
from sterna.model.location import BucketPath, Location
from sterna.model.outcomes import Outcome, Status
from sterna.model.synced import GUESSED as GUESSED_MARK
from sterna.model.synced import Seen, Synced, mark
from sterna.model.transfers import OpenDownload, OpenUpload
from sterna.planning.compare import Compare
from sterna.planning.doubt import NONE, Doubts
from sterna.planning.known import GUESSED, SAME, AllSame, Known, Same
from sterna.planning.merge import Pair
from sterna.stores.local import LocalStore
from sterna.stores.store import Store

if TYPE_CHECKING:
    from sterna.journal.journal import Journal
    from sterna.journal.route import Route
    from sterna.journal.run import Run

_READ_AT_ONCE = 10_000  # rows; each time the file is opened anew

T = TypeVar("T")

_NOTHING_KNOWN: Known = {}

PLANNED_ALL = "planned_all"
"""The note of a run that has listed both sides to their end: what it did not do is all in its journal."""


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
        usual: Usual | None = None,
        now: Usual | None = None,
        filters: str = "",
        is_durable: bool = True,
        notebook: JournalNotebook | None = None,
        options: Mapping[str, str] | None = None,
        doubts: Doubts = NONE,
    ) -> None:
        self.notebook = notebook
        self.doubts = doubts if tree is not None else NONE
        self._usual = usual or Usual()
        self._now = now or Usual(filters=filters)
        self.remembered = self._usual.remembered(filters)
        self._ledger = ledger
        self._journal = journal
        self._tree = tree
        self._marks = tree.marks() if tree is not None else _nothing()
        self._page: tuple[list[str], list[bytes]] = ([], [])
        self._at = 0
        self._has_ended = False  # the tree has nothing beyond this page
        self._hides = False  # something of the two places is not seen: what is not met may be there all the same
        self._sources = 0
        self._is_whole = False  # both sides were listed to their end
        self._has_planned_all = False  # so that all that was to be done is known, of the keys that were looked at
        self._is_doubtful = False  # and something of them could not be
        self._run: Run | None = None
        if journal is not None:
            self._run = journal.begin(
                source=ledger.summary.source,
                target=ledger.summary.destination,
                filters=filters,
                options=options,
                is_durable=is_durable,
            )
            ledger.remember = self._record
            if self._usual.is_lost:  # stays so, whatever becomes of this run
                self._run.usual(msgspec.json.encode(self._usual).decode())

    # What earlier runs saw

    async def known(self, page: Sequence[Pair]) -> Known | None:
        """What the tree has of the next pairs; None where nothing is to be decided by it.

        Nearly all of most pages is as it was, and known by its mark; rows are read only where something is not.
        """
        self._sources += sum(1 for source, _ in page if source is not None)
        if self._tree is None:
            return None
        if not page or (self._has_ended and self._at == len(self._page[0])):
            return _NOTHING_KNOWN  # also of a first run, which would look for each of its keys in vain
        keys = [(source or target).key for source, target in page]  # type: ignore[union-attr]  # one of them is there
        marks = [b"-" if source is None or target is None else mark(source, target) for source, target in page]
        saw_keys, saw_marks = await self._up_to(keys[-1])
        if saw_keys == keys and saw_marks == marks and all(marks):
            return AllSame.fromkeys(keys, SAME)
        saw = dict(zip(saw_keys, saw_marks, strict=True))
        self._gone(saw.keys() - set(keys))
        known: dict[str, Synced | Same] = {}
        others = []
        for key, now in zip(keys, marks, strict=True):
            if now and (before := saw.get(key)) and before.endswith(now) and before in (now, GUESSED_MARK + now):
                known[key] = SAME if before == now else GUESSED
            elif key in saw:
                others.append(key)
        if others and self._tree is not None:
            known.update((row.key, row) for row in await self._rows(others[0], others[-1]) if row.key not in known)
        return known

    async def known_alone(self, key: str) -> Known | None:
        """What the tree has of one key, whatever comes before it."""
        return None if self._tree is None else {row.key: row for row in await self._rows(key, key)}

    async def rows_between(self, first: str, last: str) -> list[Synced]:
        """What the tree has from one key to another, both included; nothing where there is none to go by."""
        return [] if self._tree is None else await self._rows(first, last)

    async def listed(self) -> None:
        """Both sides are listed to their end: what the tree has beyond is on neither any more."""
        self._is_whole = self._has_planned_all = True
        while self._tree is not None and not self._hides and (keys := (await self._next())[0]):
            self._gone(set(keys))

    def doubt(self, *, is_trouble: bool = False) -> None:
        """A listing left something out: of a key that does not come, nothing is known. ``is_trouble``: not by a rule."""
        self._hides = True
        self._is_doubtful |= is_trouble

    @property
    def source_entries(self) -> int | None:
        """How many entries the source has; None where it was not listed to its end, or something of it could not be."""
        return self._sources if self._is_whole and not self._is_doubtful else None

    def goes_by(self, source_entries: int | None) -> None:
        """What is done was decided by a plan that saw so many entries of the source; None: it could not tell."""
        self._sources, self._is_whole = source_entries or 0, source_entries is not None

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
        except JournalUnusable as error:
            self._lose(error)
            return [], []
        self._has_ended = page is None
        return page or ([], [])

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

    def unfinished(self) -> tuple[list[OpenUpload], list[OpenDownload]]:
        """Transfers that nobody will go on with: of keys that this run, which saw all there is, had no use for."""
        if self.notebook is None or not self._is_whole or self._hides:
            return [], []
        summary = self._ledger.summary
        return self.notebook.left(is_all_done=not (summary.failed or summary.left))

    # What this one sees

    @property
    def kept_by(self) -> tuple[Journal, Run] | None:
        """Who keeps what this run sees, for those who ask it back; None where nothing is kept."""
        return None if self._journal is None or self._run is None else (self._journal, self._run)

    def found(self, pairs: Sequence[Pair]) -> None:
        """These were found to be the same on both sides, and are not in the tree as they are."""
        if self._run is not None and pairs:
            now_ns = time.time_ns()
            self._run.done([
                Synced(source.key, Seen.of(source, now_ns), Seen.of(target, now_ns, is_guess=True))
                for source, target in pairs
                if source is not None and target is not None
            ])  # fmt: skip

    async def depart(self, keys: Sequence[str]) -> int:
        """These keys are in hand from now on; gives the number to ``land`` with. The next run will know it, whatever ends
        this one.
        """
        if self._run is None or self._journal is None:
            return 0
        flight = self._run.depart(keys)
        await self._journal.flushed(lasting=False)
        return flight

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
            if one.verb == "delete" and one.status in (Status.DONE, Status.KEPT):  # kept: it was gone already
                gone.append(one.key)
            elif one.status in (Status.DONE, Status.KEPT) and (row := _row(one)) is not None:
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

    async def close(self, error: Exception | None, *, is_over: bool, could_delete: bool) -> None:
        """Keep how the run ended, and let go of the route. A run that was torn off is kept as interrupted; ``is_over``:
        this one was not, also not by a cancellation, and no ``error`` ended it.
        """
        await self._marks.aclose()
        if self._journal is None or self._run is None:
            return
        summary = self._ledger.summary
        if isinstance(error, SternaError):
            summary.exit_code, summary.verdict = summary.exit_code or error.exit_code, summary.verdict or error.sentence
        elif error is not None:
            summary.exit_code, summary.verdict = 1, f"An unexpected error ended the run: {type(error).__name__}."
        entries = self.source_entries
        if is_over and entries is not None and summary.exit_code in (0, 1):
            could_delete = could_delete and not summary.exit_code
            usual = self._usual.after(self._now, entries, could_delete=could_delete)
            self._run.usual(msgspec.json.encode(usual).decode())
        if summary.verdict:
            notes = {PLANNED_ALL: 1} if self._has_planned_all and error is None else {}
            self._run.end(summary, notes if entries is None else {**notes, "source_entries": entries})
        if is_over:  # whoever interrupts does not wait for it
            with suppress(JournalUnusable):  # which is told of below
                await self._journal.pruned()
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
    filters: str = "",
    options: Mapping[str, str] | None = None,
) -> AsyncIterator[Memory]:
    """The memory of a run whose two sides are open; it holds the lock of the route. A dry run only reads, and locks
    nothing.

    Raises Locked where another run works between the same two places. A journal that cannot be kept is told of, and the
    run goes on without, unless the user named its place; one that deletes then knows that it knows nothing. ``filters`` is
    the fingerprint of those that decided what is done, if not the settings'; ``options`` what the run was told, as words.
    """
    if not settings.journal.is_kept:
        yield Memory(ledger)
        return
    from sterna.journal import questions
    from sterna.journal.journal import Journal
    from sterna.journal.places import SUFFIX, journals_folder, state_directory

    state = state_directory(settings.journal.directory)
    route = await route_of(ends, stores, state)
    by_tree = settings.compare is Compare.AUTO
    journal: Journal | None = None
    notebook: JournalNotebook | None = None
    doubts = NONE
    try:
        if dry_run:
            beside = _Beside(journals_folder(state) / f"{route.name}{SUFFIX}")
            tree: Tree = beside
            kept = await beside.usual()
        else:
            tree = journal = await _opened(Journal, route, state, command)
            kept = await journal.ask(questions.usual)
            notebook = JournalNotebook(
                journal, await journal.ask(questions.open_uploads), await journal.ask(questions.open_downloads)
            )
            doubts = notebook.doubts(await journal.ask(questions.in_doubt), stores[1])
    except (JournalUnusable, WrongSetting) as error:
        if journal is not None:
            await journal.closed()
        if settings.journal.directory:
            raise WrongSetting(error.sentence) from error
        ledger.notice(f"{error.sentence} The run goes on without a journal.", "warning", "journal")
        yield Memory(ledger, usual=Usual(is_lost=True))
        return
    usual = Usual.read(kept)
    if journal is not None and journal.lost:
        usual = Usual(is_lost=True)
    fingerprint = filters or settings.filters.fingerprint
    memory = Memory(
        ledger,
        journal,
        tree=tree if by_tree else None,
        usual=usual,
        now=replace(places_now(ends, stores, one_file_system=settings.one_file_system), filters=fingerprint),
        filters=fingerprint,
        is_durable=settings.download.durable or not isinstance(stores[1], LocalStore),
        notebook=notebook,
        options=options,
        doubts=doubts,
    )
    if journal is not None:
        await journal.flushed(lasting=False)  # whoever asks for the last run, when this one was killed, must hear of it
    if not settings.filters.takes_everything:
        memory.doubt()
    told: Exception | None = None
    is_over = False
    try:
        yield memory
        is_over = True
    except Exception as error:
        told = error
        raise
    finally:
        await memory.close(told, is_over=is_over, could_delete=settings.deletion is not None)


async def route_of(ends: tuple[Location, Location], stores: Sequence[Store | None], state: Path) -> Route:
    """The route between two places, of which those in a bucket are open; its journal is below ``state``."""
    from sterna.journal.route import route_between
    from sterna.journal.volume import is_shared

    endpoints: list[list[str]] = []
    for location, store in zip(ends, stores, strict=True):
        place = await identity(store, location) if isinstance(location, BucketPath) and store is not None else AWS
        endpoints.append(place.split() if place != AWS else [])
    return route_between(
        *ends, source_endpoints=endpoints[0], target_endpoints=endpoints[1], is_shared=is_shared(state)
    )


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

    async def usual(self) -> str:
        """What is usual here; to be asked first."""

        def read() -> str:
            self._is_there = self._path.exists()
            if not self._is_there:
                return ""
            with reading(self._path) as connection:
                self._doubtful = questions.doubtful_runs(connection)
                return questions.usual(connection)

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

        if not self._is_there:
            return []
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
