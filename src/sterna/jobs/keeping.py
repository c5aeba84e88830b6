"""Keep a state file true while a run goes on: what became of each file is in it a moment later."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

from sterna.jobs.job import Opened
from sterna.model.actions import Verb
from sterna.model.entry import Entry
from sterna.model.events import Event, ObjectsEnded
from sterna.model.outcomes import Outcome, Status
from sterna.reporting.statefile import StateFile
from sterna.reporting.words import reason_words

_EVERY_S = 2.0  # a list of some thousands is written in milliseconds
_SHARE = 20  # one that takes a second is written every twenty: it costs a twentieth of the run at most
_MOST = 50_000  # changes that wait, or an eighth of the list: memory stays bounded, and so does the work for each file
_OF_FILES = (Verb.UPLOAD.value, Verb.REFUSE.value)
_IN_PLACE = (Status.DONE, Status.KEPT)
UNREADABLE = "unreadable: "  # so begins the error of what a listing could not see: more than this key may be missing


class Keeper:
    """Hears a run, and writes what it hears into the file, a thread at a time and never the loop's.

    It is told of nothing before ``begin``; what comes before is another run's or none's.
    """

    def __init__(self, file: StateFile) -> None:
        self.file = file
        self._run: Opened | None = None
        self._changes: dict[bytes, bytes] = {}
        self._kept: list[Sequence[Entry]] = []
        self._waiting = 0
        self._has_changes, self._has_many = asyncio.Event(), asyncio.Event()
        self._publishing = asyncio.Lock()
        self._is_whole = False
        self._took_s = 0.0

    def __repr__(self) -> str:
        return f"<Keeper of {self.file!r}, {self._waiting} changes wait>"

    def hear(self, event: Event) -> None:
        """Note what became of objects."""
        if self._run is not None and isinstance(event, ObjectsEnded):
            for one in event.outcomes:
                self._note(one)

    def kept(self, entries: Sequence[Entry]) -> None:
        """Note files that were found in place, and are as they were when they were proved."""
        if self._run is not None and entries:
            self._kept.append(entries)
            self._count(len(entries))

    def _note(self, one: Outcome) -> None:
        if one.verb not in _OF_FILES or (one.status is Status.SKIPPED and self._is_whole):
            return  # a manifest; or left out by rule: it is no file of the list
        is_there = one.status in _IN_PLACE
        error = "" if is_there else reason_words(one) or one.status.value
        if one.error_kind == "Unreadable":
            error = f"{UNREADABLE}{error}"
        checksum = one.checksum if is_there else ""
        head, line = self.file.changed(one.key, is_uploaded=is_there, size=one.size, checksum=checksum, error=error)
        self._changes[head] = line
        self._count(1)

    def _count(self, more: int) -> None:
        self._waiting += more
        self._has_changes.set()
        if self._waiting >= max(_MOST, self.file.records // 8):
            self._has_many.set()

    @asynccontextmanager
    async def keeping(self, run: Opened, *, is_whole: bool) -> AsyncIterator[None]:
        """Keep the file true from now until the end of the block, however that comes. ``is_whole``: the run looks at all
        of the source, and the list begins anew with all that is there; else it goes on from what is there.

        Raises WrongSetting where the file cannot be written.
        """
        if is_whole:
            await asyncio.to_thread(self.file.clear)
            if not await self._list(run):
                yield  # the end was asked for before all was listed: an empty list says that nothing is known
                return
        else:
            await asyncio.to_thread(self.file.go_on)
        self._run, self._is_whole = run, is_whole
        work = asyncio.create_task(self._keep())
        try:
            yield
        finally:
            work.cancel()
            await asyncio.wait([work])
            await self._publish()  # after one that is still under way
            self._run = None
            if not work.cancelled():
                work.result()  # it ends by itself only where something is wrong with it

    async def _list(self, run: Opened) -> bool:
        """Write down all that the source has, before anything moves; False where the end was asked for meanwhile.

        The folder is walked once more for that. Else a run that is killed would leave a list in which what it has not come
        to is missing, and nobody could tell.
        """
        pages = run.source.pages()
        try:
            async for page in pages:
                self.file.plan((entry.key, entry.size) for entry in page.entries if run.filters.takes(entry))
                if run.stop.is_requested:
                    return False
        finally:
            if isinstance(pages, AsyncGenerator):
                await pages.aclose()  # a walk that is not at its end
        await asyncio.to_thread(self.file.planned)
        return True

    async def _keep(self) -> None:
        while True:
            await self._has_changes.wait()
            try:
                async with asyncio.timeout(max(_EVERY_S, self._took_s * _SHARE)):
                    await self._has_many.wait()
            except TimeoutError:
                pass
            await asyncio.shield(asyncio.ensure_future(self._publish()))

    async def _publish(self) -> None:
        async with self._publishing:
            began = time.monotonic()
            changes, self._changes = self._changes, {}
            kept, self._kept = self._kept, []
            self._waiting = 0
            self._has_changes.clear()
            self._has_many.clear()
            if not (changes or kept):
                return
            assert self._run is not None
            for entries in kept:
                rows = await self._run.memory.rows_between(entries[0].key, entries[-1].key)
                sums = {row.key: row.target.checksum for row in rows if row.target is not None}
                for entry in entries:
                    head, line = self.file.changed(
                        entry.key, is_uploaded=True, size=entry.size, checksum=sums.get(entry.key, "")
                    )
                    changes.setdefault(head, line)
            await asyncio.to_thread(self.file.publish, changes)
            self._took_s = time.monotonic() - began
