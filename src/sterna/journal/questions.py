"""What a journal can be asked: a function for each question, of a connection and of what is committed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from operator import lt

from sterna.journal.boot import boot_id
from sterna.journal.route import Route
from sterna.journal.rows import (
    OUTCOME_COLUMNS,
    Row,
    flight_keys,
    key_bytes,
    key_text,
    open_download,
    open_upload,
    past_outcome,
    past_run,
    synced,
)
from sterna.journal.values import PastOutcome, PastRun
from sterna.model.errors import Corrupt
from sterna.model.synced import Synced
from sterna.model.transfers import OpenDownload, OpenUpload

PAGE = 1000
_UPLOADS = "SELECT token, run, key, id, source, part_size, checksum, copy, begun_ns FROM uploads"
_DOWNLOADS = "SELECT temporary, run, key, source, checksum, begun_ns FROM downloads"
_RUNS = (
    "SELECT number, name, command, source, target, started_ns, ended_ns, state, exit_code, verdict, counts, notes, filters,"
    " options, durable, boot, sterna FROM runs"
)


def route_of(connection: sqlite3.Connection) -> Route:
    """Whose journal this is. Of a path that is not UTF-8 the other bytes are written out."""
    facts = dict(connection.execute("SELECT name, value FROM meta").fetchall())
    return Route(facts["source"], facts["target"], facts.get("source_endpoint", ""), facts.get("target_endpoint", ""))


def usual(connection: sqlite3.Connection) -> str:
    """What the last run that kept it said of what is usual here; empty where none did."""
    row = connection.execute("SELECT value FROM meta WHERE name = 'usual'").fetchone()
    return str(row[0]) if row else ""


# Runs


def runs(connection: sqlite3.Connection, most: int = 100) -> list[PastRun]:
    """The last runs, the newest first."""
    return [past_run(row) for row in connection.execute(f"{_RUNS} ORDER BY number DESC LIMIT ?", (most,))]


def run_named(connection: sqlite3.Connection, name: str) -> PastRun | None:
    """The run of this name, if it was one of these locations."""
    row = connection.execute(f"{_RUNS} WHERE name = ?", (name,)).fetchone()
    return past_run(row) if row else None


def outcomes(
    connection: sqlite3.Connection, run: int, statuses: Sequence[str] = ("failed", "left")
) -> Iterator[PastOutcome]:
    """What a run did not do, in the order in which it ended; reads on as it is asked."""
    marks = ", ".join("?" * len(statuses))
    sql = f"SELECT {OUTCOME_COLUMNS} FROM outcomes WHERE run = ? AND status IN ({marks}) ORDER BY number"
    return map(past_outcome, connection.execute(sql, (run, *statuses)))


def unfinished(connection: sqlite3.Connection, run: int) -> list[str]:
    """Keys that a run had in hand when it died, and of which nothing came that the journal knows, in key order.

    What it deleted in its last moments may be among them. There are some thousands at most: the ranges in flight.
    """
    ended = {key for (key,) in connection.execute("SELECT key FROM outcomes WHERE run = ?", (run,))}
    keys = []
    for (data,) in connection.execute("SELECT keys FROM flights WHERE run = ?", (run,)).fetchall():
        for key in flight_keys(data):
            row = connection.execute("SELECT run FROM tree WHERE key = ?", (key,)).fetchone()
            if key not in ended and (row is None or row[0] < run):
                keys.append(key)
    return [key_text(key) for key in sorted(keys)]


def not_done_between(connection: sqlite3.Connection, run: int, after: str, last: str) -> dict[str, str]:
    """How the keys ended that a run did not do, from behind one key to another, included; empty for the last: to the end."""
    sql = "SELECT key, status FROM outcomes WHERE run = ? AND key > ?"
    bounds: tuple[int | bytes, ...] = (run, key_bytes(after))
    if last:
        sql, bounds = f"{sql} AND key <= ?", (*bounds, key_bytes(last))
    return {key_text(key): status for key, status in connection.execute(sql, bounds)}


def in_doubt(connection: sqlite3.Connection, most: int = 100_000) -> set[str]:
    """Keys that runs had in hand when they died, or did not bring to an end, and that no later run has seen to be the same:
    what stands there may have come when nobody waited for it any more. The last ones, where there are very many.
    """
    sql = (
        "SELECT DISTINCT key FROM outcomes AS o WHERE status IN ('failed', 'left') AND verb != 'delete' AND NOT EXISTS"
        " (SELECT 1 FROM tree WHERE tree.key = o.key AND tree.run > o.run) ORDER BY run DESC, number DESC LIMIT ?"
    )
    keys = {key_text(key) for (key,) in connection.execute(sql, (most,))}
    for (run,) in connection.execute("SELECT DISTINCT run FROM flights").fetchall():
        keys.update(unfinished(connection, run))
    return keys


def doubtful_runs(connection: sqlite3.Connection) -> frozenset[int]:
    """Runs that did not flush what they wrote, before the last start of this machine."""
    now = boot_id()
    rows = connection.execute("SELECT number, boot FROM runs WHERE durable = 0")
    return frozenset(number for number, boot in rows if not now or boot != now)


# The last-synced tree


def tree_page(
    connection: sqlite3.Connection, after: bytes, doubtful: frozenset[int], most: int = PAGE
) -> tuple[list[Synced], bytes]:
    """The next keys of the last-synced tree in the order of their bytes, and where to go on; empty at the end.

    By pages, since one long read would keep SQLite from emptying its WAL. Raises Corrupt where keys do not ascend.
    """
    sql = "SELECT key, run, source, target FROM tree WHERE key > ? ORDER BY key LIMIT ?"
    rows: list[Row] = connection.execute(sql, (after, most)).fetchall()
    if not rows:
        return [], after
    keys = [row[0] for row in rows]
    _must_ascend(after, keys)
    return synced(rows, doubtful), keys[-1]


def _must_ascend(after: bytes, keys: Sequence[bytes]) -> None:
    if not (after < keys[0] and all(map(lt, keys, keys[1:]))):
        raise Corrupt("The journal gives keys out of order: it is damaged, and nothing is decided by it.")


def marks_page(
    connection: sqlite3.Connection, after: bytes, doubtful: frozenset[int], most: int = PAGE
) -> tuple[tuple[list[str], list[bytes]], bytes]:
    """The next keys of the tree, the mark of each, and where to go on. A row that is in doubt has none.

    0.7 µs a key, where whole rows take 1.7: most runs find nearly all as it was, and need no more.
    """
    unsure = (
        f"CASE WHEN run IN ({', '.join(map(str, sorted(doubtful)))}) THEN x'' ELSE mark END" if doubtful else "mark"
    )
    sql = f"SELECT key, {unsure} FROM tree WHERE key > ? ORDER BY key LIMIT ?"
    rows: list[Row] = connection.execute(sql, (after, most)).fetchall()
    if not rows:
        return ([], []), after
    keys = [row[0] for row in rows]
    _must_ascend(after, keys)
    try:
        texts = [key.decode() for key in keys]
    except UnicodeDecodeError:
        texts = list(map(key_text, keys))
    return (texts, [row[1] for row in rows]), keys[-1]


def rows_between(connection: sqlite3.Connection, first: str, last: str, doubtful: frozenset[int]) -> list[Synced]:
    """The rows of the tree from one key to another, both included: of a stretch of a listing, some thousands at most."""
    sql = "SELECT key, run, source, target FROM tree WHERE key BETWEEN ? AND ? ORDER BY key"
    return synced(connection.execute(sql, (key_bytes(first), key_bytes(last))).fetchall(), doubtful)


def tree(connection: sqlite3.Connection, start_after: str = "") -> Iterator[list[Synced]]:
    """The whole tree, page by page."""
    doubtful, after = doubtful_runs(connection), key_bytes(start_after)
    while True:
        page, after = tree_page(connection, after, doubtful)
        if not page:
            return
        yield page


def last_synced(connection: sqlite3.Connection, key: str) -> Synced | None:
    """What both sides had under one key when they were last the same."""
    row = connection.execute("SELECT key, run, source, target FROM tree WHERE key = ?", (key_bytes(key),)).fetchone()
    return synced([row], doubtful_runs(connection))[0] if row else None


# Transfers that can be taken up again


def open_uploads(connection: sqlite3.Connection) -> list[OpenUpload]:
    """Multipart uploads and copies in parts that may be open on the server, in key order, with the parts it has."""
    sql = "SELECT number, size, etag, crc FROM parts WHERE token = ? ORDER BY number"
    return [
        open_upload(row, connection.execute(sql, (row[0],)).fetchall())
        for row in connection.execute(f"{_UPLOADS} ORDER BY key").fetchall()
    ]


def open_downloads(connection: sqlite3.Connection) -> list[OpenDownload]:
    """Downloads without their final names, in key order, with the ranges that are written."""
    sql = "SELECT start, end, crc FROM ranges WHERE temporary = ? ORDER BY start"
    return [
        open_download(row, connection.execute(sql, (row[0],)).fetchall())
        for row in connection.execute(f"{_DOWNLOADS} ORDER BY key").fetchall()
    ]
