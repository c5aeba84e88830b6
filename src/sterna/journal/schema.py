"""Bring a journal from the version of its schema to ours, one step after the other."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from sterna import __version__

APPLICATION = 0x5374726E  # PRAGMA application_id: "Strn"

# The step at place n leads from version n + 1 to n + 2, as SQL. Steps are never changed once they were released; what is
# new is changed in schema.sql as well, which is what a new file begins with.
STEPS: Sequence[str] = ()
VERSION = len(STEPS) + 1


def create(connection: sqlite3.Connection, facts: Mapping[str, str]) -> None:
    """Fill an empty file, and have it say whose it is, in one transaction: a crash leaves it empty."""
    from importlib.resources import files  # 10 ms that only a new journal needs

    script = files(__package__ or "sterna.journal").joinpath("schema.sql").read_text("utf-8")
    _run(connection, f"{script}\nPRAGMA application_id = {APPLICATION};", VERSION, facts)


def migrate(connection: sqlite3.Connection, version: int, steps: Sequence[str] = STEPS) -> int:
    """Take the steps that lead from ``version`` to the last one, each in a transaction; gives how many were taken.

    A crash between two leaves a file of a version in between, from which the next run goes on.
    """
    todo = range(version - 1, len(steps))
    for at in todo:
        _run(connection, steps[at], at + 2, {"sterna": __version__})
    return len(todo)


def _run(connection: sqlite3.Connection, script: str, version: int, facts: Mapping[str, str]) -> None:
    try:
        connection.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {version};")
        connection.executemany(
            "INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", [*facts.items(), ("schema", str(version))]
        )
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.rollback()
        raise
