"""Open a journal's file: checked, of our version and of this route; one that is damaged is set aside."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from sterna import __version__
from sterna.journal.places import SUFFIX, flush_file, flush_folder, make_private, private_folder, unusable
from sterna.journal.route import Route
from sterna.journal.schema import APPLICATION, STEPS, VERSION, create, migrate
from sterna.model.errors import Corrupt, JournalUnusable
from sterna.model.units import printable

_PATIENCE_S = 10.0  # for a reader that holds the file for a moment, where there is no WAL
_ALWAYS_CHECKED = 1 << 30  # a larger one is checked only if it was not closed: 0.14 µs a key, and all of it is read
_SMALLEST = 512  # bytes of a page
_FOUND_DAMAGED = "damaged"
_BESIDE = ("-wal", "-shm", "-journal")
_UNFINISHED = ".new"  # in the place of the suffix
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT)


# What comes out of reading a journal that is damaged, or cannot be read.
UNREADABLE = (sqlite3.Error, msgspec.MsgspecError, UnicodeDecodeError, Corrupt)


class Opened(NamedTuple):
    """An open file, and a sentence where what an earlier one knew is lost."""

    connection: sqlite3.Connection
    lost: str


class _Damaged(Exception):
    """The file cannot be trusted; why, in a few words."""


def open_database(path: Path, route: Route, *, network: str, steps: Sequence[str] = STEPS) -> Opened:
    """Open the journal of a route to write, under its lock; a new one where there is none.

    A damaged file is renamed, never deleted, and a new one begun. A newer schema, or the file of another route, raises
    JournalUnusable and stays as it is.
    """
    if not os.path.lexists(path):
        _begin(path, route)
    make_private(path)  # for us alone; SQLite gives its other files the same mode
    is_emptied = not path.stat().st_size and not path.with_name(path.name + "-wal").exists()
    try:
        emptied = f"The journal of {printable(str(route))} was empty: what earlier runs saw is not known any more."
        return Opened(_open(path, route, network, steps), emptied if is_emptied else "")
    except _Damaged as error:
        aside = _set_aside(path)
        lost = (
            f"The journal of {printable(str(route))} was damaged ({error}) and is now {printable(aside.name)}: what earlier"
            " runs saw is not known any more, so everything is compared anew, and nothing deleted on its word."
        )
    make_private(path)
    try:
        return Opened(_open(path, route, network, steps), lost)
    except _Damaged as error:
        raise JournalUnusable(
            f"A new journal is damaged at once ({error}); look at the disk.", key=str(path)
        ) from error


@contextmanager
def reading(path: Path, steps: Sequence[str] = STEPS) -> Iterator[sqlite3.Connection]:
    """A journal to be asked only, without its lock and beside the run that holds it. Raises JournalUnusable.

    It never moves anything from the WAL into the file: with SQLite before 3.51.3 two processes must not do that at once
    (https://sqlite.org/wal.html#walresetbug).
    """
    try:
        with closing(_connect(path, "ro")) as connection:
            version = _number(connection, "user_version")
            if version > len(steps) + 1:
                raise _newer(connection, path, version, steps)
            if version < len(steps) + 1:
                sentence = (
                    f"{printable(str(path))} is of an older version of Sterna; the next run brings it up to date."
                )
                raise JournalUnusable(sentence, key=str(path))
            yield connection
    except UNREADABLE as error:
        raise broken(error, path) from error


def journals(state: Path) -> list[Path]:
    """The journals below a state directory; ``questions.route_of`` tells whose each is."""
    return sorted(path for path in private_folder(state).glob(f"*{SUFFIX}") if "." not in path.stem)


def close_database(connection: sqlite3.Connection, *, is_whole: bool) -> None:
    """Close; ``is_whole`` says that all went well, so that even a large file need not be read through next time."""
    if is_whole:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("UPDATE meta SET value = '1' WHERE name = 'closed'")
    connection.close()


def mark_damaged(connection: sqlite3.Connection) -> None:
    """Have the next run set the file aside: a row that cannot be read is nothing that quick_check would find."""
    try:
        connection.execute("UPDATE meta SET value = ? WHERE name = 'closed'", (_FOUND_DAMAGED,))
    except sqlite3.Error:
        pass  # then it is so damaged that quick_check does find it, or cannot be written anyway


def is_damage(error: BaseException) -> bool:
    """Whether this is what one meets in a damaged file: SQLite's own word, or a row that cannot be read."""
    cannot_decode = isinstance(error, sqlite3.OperationalError) and not hasattr(error, "sqlite_errorcode")
    not_sqlite = isinstance(error, UNREADABLE) and not isinstance(error, sqlite3.Error)
    return cannot_decode or not_sqlite or _primary(error) in _DAMAGE


def broken(error: Exception, path: Path) -> JournalUnusable:
    """What SQLite said, as an error that says what to do."""
    code = _primary(error)
    if is_damage(error):
        advice = "it is damaged; the next run sets it aside and begins a new one"
    elif code == sqlite3.SQLITE_FULL:
        advice = "no space is left for it; make room"
    elif code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        advice = "it, or its folder, cannot be written or read; --state-dir names another place"
    elif code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        advice = "another program holds it"
    elif code == sqlite3.SQLITE_IOERR:
        advice = "its disk did not take or give what it should; make room, or look at the system log"
    else:
        advice = str(error)
    name = getattr(error, "sqlite_errorname", "")
    return JournalUnusable(
        f"The journal {printable(str(path))} cannot be used: {advice}.", key=str(path), code=name, words=str(error)
    )


def _begin(path: Path, route: Route) -> None:
    """Make a journal that knows nothing yet, beside its place, and put it there when it is whole.

    Else a run that is killed at its beginning would leave an empty file, and the next one take it for a journal that was
    emptied, and refuse to delete.
    """
    beside = path.with_suffix(_UNFINISHED)
    try:
        for leftover in (beside, *(beside.with_name(beside.name + end) for end in _BESIDE)):
            leftover.unlink(missing_ok=True)
        make_private(beside)
        with closing(_connect(beside, "rw")) as connection:
            connection.execute("PRAGMA journal_mode = MEMORY")  # one flush, once it is whole, is enough
            connection.execute("PRAGMA synchronous = OFF")
            _fill(connection, route)
        flush_file(beside)
        beside.rename(path)
    except OSError as error:
        raise unusable(error, "make", path) from error
    except UNREADABLE as error:
        raise broken(error, path) from error
    flush_folder(path.parent)


def _fill(connection: sqlite3.Connection, route: Route) -> None:
    """Tables into an empty file."""
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # before the first of them: so that pruning gives room back
    create(connection, _introduction(route))


def _open(path: Path, route: Route, network: str, steps: Sequence[str]) -> sqlite3.Connection:
    """Open and check; raises _Damaged, JournalUnusable."""
    connection = None
    try:
        connection = _connect(path, "rw")
        _open_connection(connection, path, route, network, steps)
    except BaseException as error:
        if connection is not None:
            connection.close()
        if not isinstance(error, UNREADABLE):
            raise
        if is_damage(error):
            words = str(error) if isinstance(error, sqlite3.Error) else "it cannot be read"
            raise _Damaged(words) from error
        raise broken(error, path) from error
    return connection


def _open_connection(
    connection: sqlite3.Connection, path: Path, route: Route, network: str, steps: Sequence[str]
) -> None:
    if network:  # a file in WAL mode cannot even be read there, except by one process that keeps it to itself
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    version = _number(connection, "user_version")
    is_new = not version and not connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    if is_new and 0 < path.stat().st_size < _SMALLEST:
        raise _Damaged("it was cut")
    if is_new:
        _fill(connection, route)
        flush_folder(path.parent)
        version = VERSION
    facts = _facts(connection, version)
    if path.stat().st_size <= _ALWAYS_CHECKED or facts["closed"] != "1":
        found = [row[0] for row in connection.execute("PRAGMA quick_check(1)")]
        if found != ["ok"]:
            raise _Damaged(str(found[0]).replace("*** in database main ***", "").strip())
    if version > len(steps) + 1:
        raise _newer(connection, path, version, steps)
    if facts["route"] != route.name:
        raise JournalUnusable(
            f"{printable(str(path))} belongs to other locations ({printable(facts['source'])} → "
            f"{printable(facts['target'])}); move it away.",
            key=str(path),
        )
    _set_journal_mode(connection, network)  # not before all this: one that is damaged, or not for us, stays as it was
    migrate(connection, version, steps)
    connection.execute("UPDATE meta SET value = '0' WHERE name = 'closed'")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(os.fsencode(path))}?mode={mode}",
        uri=True,
        timeout=_PATIENCE_S,
        isolation_level=None,  # transactions are ours to begin
        check_same_thread=False,  # opened in one thread, used by another
    )
    connection.execute("PRAGMA cache_size = -8000")
    connection.execute("PRAGMA trusted_schema = OFF")  # the file is data: what it defines may call nothing
    return connection


def _set_journal_mode(connection: sqlite3.Connection, network: str) -> None:
    """WAL, in which a commit waits for no disk unless it is told to; DELETE where processes cannot share memory.

    See docs/journal.md for what a power cut leaves of either.
    """
    wanted = "delete" if network else "wal"
    (mode,) = connection.execute(f"PRAGMA journal_mode = {wanted}").fetchone()
    connection.execute(f"PRAGMA synchronous = {'NORMAL' if mode == 'wal' else 'FULL'}")
    if network:
        connection.execute("PRAGMA locking_mode = NORMAL")
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()  # the exclusive lock goes with the next access


def _introduction(route: Route) -> dict[str, str]:
    facts = {
        "sterna": __version__,
        "route": route.name,
        "source": route.source,
        "target": route.target,
        "source_endpoint": route.source_endpoint,
        "target_endpoint": route.target_endpoint,
        "closed": "0",
    }
    return {name: text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            for name, text in facts.items()}  # fmt: skip


def _facts(connection: sqlite3.Connection, version: int) -> Mapping[str, str]:
    """What the file says of itself, in two places that must agree."""
    if _number(connection, "application_id") != APPLICATION:
        raise _Damaged("it is no journal")
    try:
        facts = dict(connection.execute("SELECT name, value FROM meta").fetchall())
    except sqlite3.OperationalError as error:
        if _primary(error) != sqlite3.SQLITE_ERROR:
            raise
        raise _Damaged("it does not say whose it is") from error
    if facts.get("closed") == _FOUND_DAMAGED:
        raise _Damaged("an earlier run found it so")
    missing = {"schema", "route", "source", "target", "closed"} - facts.keys()
    if missing or facts["schema"] != str(version):
        raise _Damaged("what it says of itself does not agree")
    return facts


def _newer(connection: sqlite3.Connection, path: Path, version: int, steps: Sequence[str]) -> JournalUnusable:
    row = connection.execute("SELECT value FROM meta WHERE name = 'sterna'").fetchone()
    return JournalUnusable(
        f"{printable(str(path))} was written by a newer Sterna ({printable(str(row[0])) if row else 'unknown'}, schema"
        f" {version}); this is {__version__}, which knows {len(steps) + 1}. Use the newer one, or another --state-dir.",
        key=str(path),
        code="newer-journal",
    )


def _set_aside(path: Path) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    number = 0
    while (aside := path.with_name(f"{path.stem}.damaged-{stamp}{f'-{number}' if number else ''}{SUFFIX}")).exists():
        number += 1
    try:
        path.rename(aside)
        for end in _BESIDE:
            beside = path.with_name(path.name + end)
            if beside.exists():
                beside.rename(aside.with_name(aside.name + end))
    except OSError as error:
        raise unusable(error, "set aside", path) from error
    return aside


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


def _primary(error: BaseException) -> int:
    """SQLite's result code without its details."""
    return getattr(error, "sqlite_errorcode", -1) & 0xFF
