"""Carry what is to be kept into the file: one thread, one connection, many rows to a commit."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from sterna.journal.database import UNREADABLE, broken, close_database, is_damage, mark_damaged
from sterna.journal.rows import Row, Statement
from sterna.model.errors import JournalUnusable, SternaError

T = TypeVar("T")

_by_key = itemgetter(0)


class Pace(msgspec.Struct, frozen=True):
    """When rows are committed: so many wait, or the first has waited so long.

    A commit costs 0.1 to 0.2 ms of CPU, so beyond a thousand rows larger batches save little; and what was not committed
    when a process is killed is only looked at again. ``most`` rows may wait while the disk does not keep up, about 50 MB.
    """

    rows: int = 4096
    seconds: float = 0.5
    most: int = 100_000


class _Write(NamedTuple):
    statement: Statement
    values: Sequence[Any]
    lasting: bool


class _Ask(NamedTuple):
    question: Callable[..., Any]
    arguments: tuple[Any, ...]
    answer: Future[Any]


class Writer:
    """Takes rows from any thread, without waiting, and commits them in the order in which they came.

    It is the only user of its connection, for reading too. The first thing that goes wrong is the end: what was committed
    stays, ``trouble`` says what happened, and what comes later is dropped. ``check`` raises where the file is no longer the
    one that others would open; it is asked after each commit, before that is acknowledged.
    """

    def __init__(
        self, connection: sqlite3.Connection, path: Path, check: Callable[[], None], pace: Pace | None = None
    ) -> None:
        self.trouble = ""
        self.commits = 0
        self._connection = connection
        self._path = path
        self._check = check
        self._pace = pace or Pace()
        self._changed = threading.Condition()
        self._writes: list[_Write] = []
        self._asks: list[_Ask] = []
        self._flushes: list[tuple[Future[bool], bool]] = []
        self._room: list[Future[None]] = []
        self._rows = 0
        self._since = 0.0
        self._closing = False
        self._is_behind = True  # something is committed of which nobody knows whether it is on disk
        self._is_gone = False
        (self._usual,) = connection.execute("PRAGMA synchronous").fetchone()
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        state = self.trouble or ("closed" if self.is_closed else f"{self._rows} rows wait")
        return f"<Writer {self._path.name}, {self.commits} commits, {state}>"

    @property
    def is_closed(self) -> bool:
        return not self._thread.is_alive()

    def put(self, statement: Statement, values: Sequence[Any], *, lasting: bool = False) -> None:
        """Have a row kept for each value. ``lasting``: the commit waits for the disk, so that a power cut leaves it."""
        with self._changed:
            if not values or self._closing or self.trouble:
                return
            if not self._writes:
                self._since = time.monotonic()
                self._changed.notify()
            self._writes.append(_Write(statement, values, lasting))
            self._rows += len(values)
            if self._rows >= self._pace.rows:
                self._changed.notify()

    def flush(self, *, lasting: bool = True) -> Future[bool]:
        """Have all committed that was put so far; True once it is, False if it will never be.

        What is committed survives the end of this process, however it ends; what is ``lasting``, a power cut as well.
        """
        done: Future[bool] = Future()
        with self._changed:
            if self._closing or self.trouble:
                done.set_result(False)
            else:
                self._flushes.append((done, lasting))
                self._changed.notify()
        return done

    def ask(self, question: Callable[..., T], *arguments: Any) -> Future[T]:
        """What a function of the connection gives; of what is committed, which need not be all that was put."""
        answer: Future[T] = Future()
        with self._changed:
            if self._closing or self.trouble:
                answer.set_exception(JournalUnusable(self.trouble or "The journal is closed.", key=str(self._path)))
            else:
                self._asks.append(_Ask(question, arguments, answer))
                self._changed.notify()
        return answer

    def room(self) -> Future[None]:
        """Done as soon as fewer rows wait than may."""
        done: Future[None] = Future()
        with self._changed:
            if self._rows < self._pace.most or self.trouble:
                done.set_result(None)
            else:
                self._room.append(done)
        return done

    def close(self, within_s: float) -> bool:
        """Commit what is left and close; False if not all is kept, or it takes longer: a disk may hang (H109)."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(within_s)
        if self._thread.is_alive():
            self.trouble = self.trouble or "The journal's disk does not answer; what the run did last may not be in it."
        return not self.trouble

    def _work(self) -> None:
        ended = False
        while not ended:
            with self._changed:
                while not self._is_due():
                    self._changed.wait(self._wait_s())
                asks, self._asks = self._asks, []
                writes: list[_Write] = []
                flushes: list[tuple[Future[bool], bool]] = []
                room: list[Future[None]] = []
                if self._must_commit():
                    writes, self._writes, self._rows = self._writes, [], 0
                    flushes, self._flushes = self._flushes, []
                    room, self._room = self._room, []
                ended = self._closing and not self._asks
            for ask in asks:
                self._answer(ask)
            is_kept = self._keep(writes, lasting=ended or any(lasting for _, lasting in flushes))
            for done, _ in flushes:
                _settle(done, is_kept)
            for waiting in room:
                _settle(waiting, None)
        try:
            if self._is_gone:
                _abandon(self._connection)
            else:
                close_database(self._connection, is_whole=not self.trouble)
        except sqlite3.Error as error:
            self._end(broken(error, self._path))

    def _is_due(self) -> bool:
        return bool(self._asks) or self._must_commit()

    def _must_commit(self) -> bool:
        if self._flushes or self._closing or self._rows >= self._pace.rows:
            return True
        return bool(self._writes) and time.monotonic() - self._since >= self._pace.seconds

    def _wait_s(self) -> float | None:
        return max(0.0, self._since + self._pace.seconds - time.monotonic()) if self._writes else None

    def _answer(self, ask: _Ask) -> None:
        if not ask.answer.set_running_or_notify_cancel():
            return
        try:
            if self.trouble:
                raise JournalUnusable(self.trouble, key=str(self._path))
            ask.answer.set_result(ask.question(self._connection, *ask.arguments))
        except UNREADABLE as error:
            unusable = broken(error, self._path)
            if is_damage(error):
                mark_damaged(self._connection)
            self._end(unusable)
            ask.answer.set_exception(unusable)
        except Exception as error:  # whoever asked has to know, whatever it is
            ask.answer.set_exception(error)

    def _keep(self, writes: Sequence[_Write], *, lasting: bool) -> bool:
        if self.trouble:
            return False
        try:
            self._commit(writes, lasting=lasting)
            self._check()
        except sqlite3.Error as error:
            self._end(broken(error, self._path))
        except SternaError as error:
            self._is_gone = True
            self._end(error)
        except Exception as error:  # a value that no row can hold: a fault of ours, and no reason to end the run
            self._end(JournalUnusable(f"The journal cannot keep what it was given: {error}.", key=str(self._path)))
        return not self.trouble

    def _commit(self, writes: Sequence[_Write], *, lasting: bool) -> None:
        """One transaction. In WAL a commit is on disk only if it waits for that; where there is no WAL, always."""
        lasting = lasting or any(write.lasting for write in writes)
        if not writes and not (lasting and self._is_behind):
            return
        connection = self._connection
        if lasting:
            connection.execute("PRAGMA synchronous = FULL")
        with atomic(connection):
            if not writes:  # what was committed before reaches the disk with the next commit: there must be one
                connection.execute("UPDATE meta SET value = '0' WHERE name = 'closed'")
            for statement, rows in _grouped(writes):
                statement.run(connection, rows)
        if lasting:
            connection.execute(f"PRAGMA synchronous = {self._usual}")
        self._is_behind = not lasting
        self.commits += 1

    def _end(self, error: SternaError) -> None:
        with self._changed:
            self.trouble = self.trouble or error.sentence
            self._writes, self._rows = [], 0
            room, self._room = self._room, []
        for waiting in room:
            _settle(waiting, None)


class atomic:  # noqa: N801 - reads as a word: with atomic(connection)
    """All that is written in this block is kept, or nothing of it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.rollback()


def _grouped(writes: Sequence[_Write]) -> Iterator[tuple[Statement, list[Row]]]:
    """Rows by statement, in the order in which they were put; what goes in by key is sorted as far as that leaves it.

    In random order a tree of a million keys takes ten times as long: each commit rewrites a page for nearly every row.
    """
    at = 0
    while at < len(writes):
        statement = writes[at].statement
        rows: list[Row] = []
        while at < len(writes) and writes[at].statement.sql == statement.sql:
            rows += map(writes[at].statement.row, writes[at].values)
            at += 1
        if statement.by_key:
            rows.sort(key=_by_key)  # stable: of two rows of one key the later one stays the later
        yield statement, rows


def _abandon(connection: sqlite3.Connection) -> None:
    """Leave a connection open for good: SQLite, when it closes one, removes the WAL beside the path, and what stands there
    now may be another run's.
    """
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def _settle(future: Future[T], result: T) -> None:
    if future.set_running_or_notify_cancel():
        future.set_result(result)
