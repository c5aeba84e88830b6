"""Versions of the schema: forward step by step, never back."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sterna.journal.database import open_database, reading
from sterna.journal.schema import STEPS, VERSION, create, migrate
from sterna.model.errors import JournalUnusable
from tests.journal.made import ROUTE, database, fill, kept, keys, opened

# What later versions might do: these are made up, to show that the way there works.
LATER = (
    *STEPS,
    "ALTER TABLE runs ADD COLUMN mood TEXT NOT NULL DEFAULT 'calm';",
    "CREATE TABLE weather (day TEXT); INSERT INTO weather VALUES ('fair; mostly');",
)


def test_an_older_journal_is_brought_up_to_date_and_keeps_what_it_knew(tmp_path: Path) -> None:
    fill(tmp_path, keys(5))
    opened_ = open_database(database(tmp_path), ROUTE, network="", steps=LATER)
    with closing(opened_.connection) as connection:
        assert not opened_.lost
        assert connection.execute("PRAGMA user_version").fetchone() == (len(LATER) + 1,)
        assert connection.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone() == (str(len(LATER) + 1),)
        assert connection.execute("SELECT mood FROM runs").fetchall() == [("calm",)]
        assert connection.execute("SELECT day FROM weather").fetchall() == [("fair; mostly",)]
        assert connection.execute("SELECT count(*) FROM tree").fetchone() == (5,)


def test_a_step_that_fails_leaves_the_version_before_it_whole(tmp_path: Path) -> None:
    steps = (*LATER, "CREATE TABLE half (a); INSERT INTO half VALUES (1); SELECT no_such_function();")
    with closing(sqlite3.connect(tmp_path / "a", isolation_level=None)) as connection:
        create(connection, {})
        with pytest.raises(sqlite3.OperationalError):
            migrate(connection, VERSION, steps)
        assert connection.execute("PRAGMA user_version").fetchone() == (len(LATER) + 1,)
        assert not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'half'").fetchall()
        assert migrate(connection, len(LATER) + 1, LATER) == 0


def test_H57_a_newer_journal_is_refused_by_name_and_left_as_it_is(tmp_path: Path) -> None:
    fill(tmp_path, keys(5))
    open_database(database(tmp_path), ROUTE, network="", steps=LATER).connection.close()
    before = database(tmp_path).read_bytes()
    with pytest.raises(JournalUnusable, match=rf"written by a newer Sterna .*schema {len(LATER) + 1}"):
        opened(tmp_path)
    with pytest.raises(JournalUnusable, match="newer"), reading(database(tmp_path)):
        pass
    assert database(tmp_path).read_bytes() == before


def test_an_older_journal_is_not_read_beside_the_lock(tmp_path: Path) -> None:
    fill(tmp_path, keys(1))
    with pytest.raises(JournalUnusable, match="older version"), reading(database(tmp_path), LATER):
        pass
    assert len(kept(tmp_path)) == 1


def test_every_column_says_what_it_is() -> None:
    text = (Path(open_database.__code__.co_filename).parent / "schema.sql").read_text("utf-8")
    tables = [line for line in text.splitlines() if line.startswith("CREATE TABLE")]
    assert len(tables) == 9
    assert all("--" in line or "runs" in line for line in tables)
