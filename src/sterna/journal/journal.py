"""The memory of one route: opened by the run that holds its lock, written by a thread, asked by anybody."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from sterna.journal import questions, rows
from sterna.journal.database import broken, open_database, reading
from sterna.journal.lock import Lock
from sterna.journal.places import SUFFIX, is_there, private_folder
from sterna.journal.prune import Keep, prune
from sterna.journal.route import Route
from sterna.journal.rows import key_bytes
from sterna.journal.run import Run, begin
from sterna.journal.volume import network_file_system
from sterna.journal.writer import Pace, Writer
from sterna.model.errors import JournalUnusable
from sterna.model.synced import Synced
from sterna.model.transfers import OpenDownload, OpenUpload, SentPart, WrittenRange
from sterna.model.units import printable

T = TypeVar("T")
P = TypeVar("P")

_PARTING_S = 5.0  # a run that is asked to end has so long to write down where it stands (H109)


class Journal:
    """One route's journal, open to write. ``lost``, ``trouble`` and ``news`` are described in the package's docstring."""

    def __init__(
        self,
        route: Route | None,
        writer: Writer | None,
        lock: Lock | None,
        *,
        lost: str = "",
        command: str = "",
        last_run: int = 0,
        doubtful: frozenset[int] = frozenset(),
        beside: Path | None = None,
    ) -> None:
        self.route = route
        self._beside = beside  # the file, where it may be read beside the thread that writes it
        self.lost = lost
        self._writer = writer
        self._lock = lock
        self._command = command
        self._run = last_run
        self._doubtful = doubtful
        self._told: set[str] = set()

    def __repr__(self) -> str:
        return f"<Journal of {self.route}, {self._writer or 'not kept'}>"

    @classmethod
    def open(
        cls, route: Route, state: Path, *, command: str, network: str | None = None, pace: Pace | None = None
    ) -> Journal:
        """Take the route's lock, and open its journal or begin one. Blocks. Raises as the package's docstring says.

        ``command`` is kept, and shown to those who meet the lock: no secrets in it. ``network`` is the kind of network
        file system that the state directory is on, empty for none; None looks.
        """
        path = private_folder(state) / f"{route.name}{SUFFIX}"
        network = network_file_system(path.parent) if network is None else network
        lock = Lock.take(path.with_suffix(".lock"), command)
        try:
            opened = open_database(path, route, network=network)
            try:
                connection = opened.connection
                connection.execute(rows.INTERRUPT_RUNS)  # we hold the lock: nobody runs
                (last,) = connection.execute("SELECT coalesce(max(number), 0) FROM runs").fetchone()
                status, doubtful = os.stat(path), questions.doubtful_runs(connection)

                def check() -> None:
                    if not (is_there(path, status) and lock.is_whole):
                        shown = printable(str(path))
                        raise JournalUnusable(
                            f"The journal {shown} was removed while the run goes on; the run keeps no journal any more.",
                            key=str(path),
                        )

                writer = Writer(connection, path, check, pace)
            except BaseException:
                opened.connection.close()
                raise
        except sqlite3.Error as error:
            lock.release()
            raise broken(error, path) from error
        except BaseException:
            lock.release()
            raise
        return cls(
            route, writer, lock, lost=opened.lost, command=command, last_run=int(last), doubtful=doubtful,
            beside=None if network else path,
        )  # fmt: skip

    @classmethod
    def without(cls, sentence: str) -> Journal:
        """A journal that keeps nothing and knows nothing, for a run that goes on without; ``sentence`` says why."""
        return cls(None, None, None, lost=sentence)

    @property
    def is_kept(self) -> bool:
        """Whether what is given to it stays."""
        return self._writer is not None and not self._writer.trouble

    @property
    def trouble(self) -> str:
        """Why nothing is kept any more, though it was at first."""
        return self._writer.trouble if self._writer is not None else ""

    def news(self) -> list[str]:
        """What the user is to be told of the journal, each sentence once."""
        fresh = [one for one in (self.lost, self.trouble) if one and one not in self._told]
        self._told.update(fresh)
        return fresh

    def begin(
        self,
        *,
        source: str = "",
        target: str = "",
        filters: str = "",
        options: Mapping[str, str] | None = None,
        is_durable: bool = True,
    ) -> Run:
        """Begin a run. The two places are as the user wrote them, the options without secrets; ``filters`` is their
        fingerprint. ``is_durable``: the files that this run writes are flushed before they are called done.
        """
        self._run += 1
        route = self.route or Route(source, target)
        places = (source or route.source, target or route.target)
        return begin(
            self._writer,
            self._run,
            self._command,
            places,
            filters=filters,
            options=options or {},
            is_durable=is_durable,
        )

    # Transfers that can be taken up again

    def upload_begun(self, upload: OpenUpload) -> None:
        """An upload is about to begin (without ``id``: flush before it is asked for), or has (with it). The same token
        replaces what was kept under it; its parts stay.
        """
        self._put(rows.BEGIN_UPLOAD, msgspec.structs.replace(upload, run=self._run), lasting=True)

    def part_sent(self, token: str, part: SentPart) -> None:
        """The server has a part."""
        self._put(rows.SEND_PART, (token, part))

    def upload_ended(self, token: str) -> None:
        """Joined and proved, or given up for good: the server has no such upload any more."""
        self._put(rows.END_PARTS, (token,))
        self._put(rows.END_UPLOAD, (token,))

    def download_begun(self, download: OpenDownload) -> None:
        """An unfinished file is about to be made."""
        self._put(rows.BEGIN_DOWNLOAD, msgspec.structs.replace(download, run=self._run))

    def range_written(self, temporary: str, written: WrittenRange) -> None:
        """A range was received, checked and written."""
        self._put(rows.WRITE_RANGE, (temporary, written))

    def download_ended(self, temporary: str) -> None:
        """The file has its name, or is gone."""
        self._put(rows.END_RANGES, temporary)
        self._put(rows.END_DOWNLOAD, temporary)

    # Asking

    async def ask(self, question: Callable[..., T], *arguments: Any) -> T:
        """What a question of ``questions`` gives, of what is committed; raises JournalUnusable where it cannot be asked.

        A question that gives an iterator is to be asked through ``list``, in a function: it runs in the journal's thread.
        """
        if self._writer is None:
            raise JournalUnusable(self.lost)
        return await asyncio.wrap_future(self._writer.ask(question, *arguments))

    async def tree(self, start_after: str = "") -> AsyncGenerator[list[Synced], None]:
        """The last-synced tree in key order, by pages; it ends or raises. It is empty where nothing is kept.

        What this run adds while it is read may be seen or not. The next page is read while one is used.
        """
        async for page in self._pages(questions.tree_page, start_after):
            yield page

    async def marks(self) -> AsyncGenerator[tuple[list[str], list[bytes]], None]:
        """The same as keys and their marks.

        Of a file of this machine they are read here, 0.7 ms a page, and not by the journal's thread: it would want the
        interpreter's lock once for each row, from a loop that is busy with the other two listings.
        """
        if self._beside is None:
            async for page in self._pages(questions.marks_page, ""):
                yield page
            return
        with reading(self._beside) as connection:
            after, to = b"", b""
            while True:
                page, to = questions.marks_page(connection, after, self._doubtful)
                if to == after:
                    return
                after = to
                yield page

    async def rows_between(self, first: str, last: str) -> list[Synced]:
        """The rows of the tree from one key to another, both included."""
        return await self.ask(questions.rows_between, first, last, self._doubtful)

    async def _pages(
        self, question: Callable[[sqlite3.Connection, bytes, frozenset[int]], tuple[P, bytes]], start_after: str
    ) -> AsyncGenerator[P, None]:
        writer = self._writer
        if writer is None:
            return
        after = key_bytes(start_after)
        following = writer.ask(question, after, self._doubtful)
        try:
            while True:
                page, to = await asyncio.wrap_future(following)
                if to == after:
                    return
                after = to
                following = writer.ask(question, after, self._doubtful)
                yield page
        finally:
            following.cancel()

    # Keeping

    async def flushed(self, *, lasting: bool = True) -> bool:
        """Wait until all that was given so far is kept; False if it will never be.

        ``lasting``: a power cut leaves it too, which costs a flush of the disk. Without, it survives whatever ends the
        process, which is enough for a range's ``depart``.
        """
        if self._writer is None:
            return False
        return await asyncio.wrap_future(self._writer.flush(lasting=lasting))

    async def room(self) -> None:
        """Wait, if more is waiting for the disk than memory should hold. To be called once for each range."""
        if self._writer is not None:
            await asyncio.wrap_future(self._writer.room())

    async def pruned(self, keep: Keep | None = None) -> int:
        """Let go of what old runs left; gives how many outcomes went. To be called at the end of a run, if at all."""
        return await self.ask(prune, keep)

    async def closed(self, within_s: float = _PARTING_S) -> bool:
        """Keep what is left and close; False if that did not succeed. Then the route is free for others."""
        return await asyncio.to_thread(self.close, within_s)

    def close(self, within_s: float = _PARTING_S) -> bool:
        """The same, blocking. May be called twice."""
        writer, lock, self._lock = self._writer, self._lock, None
        if writer is None:
            return False
        is_kept = writer.close(within_s)
        if lock is not None and writer.is_closed:  # else the thread still writes: the lock goes with the process
            lock.release()
        return is_kept

    def _put(self, statement: rows.Statement, value: object, *, lasting: bool = False) -> None:
        if self._writer is not None:
            values: Sequence[object] = [value]
            self._writer.put(statement, values, lasting=lasting)
