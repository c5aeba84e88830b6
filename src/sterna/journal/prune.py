"""Let go of what old runs left in a journal; what is synced and what is open stays."""

from __future__ import annotations

import sqlite3
import time

import msgspec

from sterna.journal.writer import atomic

_DAY_S = 86_400
_ROW = 80  # bytes of an outcome beside its texts


class Keep(msgspec.Struct, frozen=True):
    """What is kept of runs: their outcomes for so long, and the newest ones up to so many bytes; the runs themselves for
    as long, and at least the last thousand, since a row each is little.

    The last run's outcomes stay in any case: they are what a retry needs.
    """

    outcomes_s: float = 90 * _DAY_S
    outcome_bytes: int = 256 << 20
    runs: int = 1000


def prune(connection: sqlite3.Connection, keep: Keep | None = None, now_s: float | None = None) -> int:
    """Remove what need not be kept; gives how many outcomes went. Blocks, and rewrites little.

    The last-synced tree, open uploads and open downloads are never touched; neither are runs that did not flush what they
    wrote, by which the tree's rows are known to be unsure.
    """
    keep = keep or Keep()
    before_ns = int(((time.time() if now_s is None else now_s) - keep.outcomes_s) * 1e9)
    old = _old_runs(connection, keep, before_ns)
    with atomic(connection):
        removed = 0
        for run in old:
            removed += connection.execute("DELETE FROM outcomes WHERE run = ?", (run,)).rowcount
            connection.execute("DELETE FROM flights WHERE run = ?", (run,))
        connection.execute(
            "DELETE FROM runs WHERE durable AND started_ns < ?"
            " AND number <= (SELECT max(number) FROM runs) - ?"
            " AND number NOT IN (SELECT run FROM uploads) AND number NOT IN (SELECT run FROM downloads)",
            (before_ns, max(1, keep.runs)),
        )
    connection.executescript("PRAGMA incremental_vacuum;")  # execute would end after one page
    return removed


def _old_runs(connection: sqlite3.Connection, keep: Keep, before_ns: int) -> list[int]:
    """The runs whose outcomes go: those that are too old, and of the others those beyond the size."""
    sizes: dict[int, int] = dict(
        connection.execute(
            "SELECT run, sum(length(key) + length(because) + length(error) + length(error_words)"
            f" + length(request_id) + {_ROW}) FROM outcomes GROUP BY run"
        ).fetchall()
    )
    old = []
    total = 0
    for at, (run, started_ns) in enumerate(
        connection.execute("SELECT number, started_ns FROM runs ORDER BY number DESC").fetchall()
    ):
        total += sizes.get(run, 0)
        if at and (started_ns < before_ns or total > keep.outcome_bytes):
            old.append(run)
    return old
