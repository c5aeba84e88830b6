"""Files that are damaged: that is noticed, they are kept, and a new journal is begun."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sterna.journal import questions
from sterna.journal.database import journals
from sterna.journal.journal import Journal
from sterna.model.errors import JournalUnusable, SternaError
from sterna.model.outcomes import Outcome, Status
from sterna.model.synced import Synced
from tests.journal.made import ROUTE, asked, database, fill, flushed, kept, keys, opened, summary, synced

PAGE = 4096


def _made(state: Path, count: int = 300) -> bytes:
    """A closed journal with something in every table; gives its bytes."""
    journal = opened(state)
    run = journal.begin()
    run.depart(keys(50))
    run.record([Outcome("upload", name, Status.FAILED, error="no") for name in keys(100)])
    run.done([synced(name) for name in keys(count)])
    run.end(summary())
    assert journal.close()
    return database(state).read_bytes()


def _asides(state: Path) -> list[Path]:
    return sorted(path for path in database(state).parent.iterdir() if ".damaged-" in path.name)


def _failures(connection: sqlite3.Connection) -> list[str]:
    return [one.key for one in questions.outcomes(connection, 1)]


async def _tree(journal: Journal) -> list[Synced]:
    return [one async for page in journal.tree() for one in page]


def _must_have_begun_anew(state: Path, damaged: bytes) -> None:
    journal = opened(state)
    assert "was damaged" in journal.lost
    assert str(ROUTE) in journal.lost
    assert journal.news() == [journal.lost]
    assert journal.news() == []
    (aside,) = [path for path in _asides(state) if path.suffix == ".sqlite3"]
    assert aside.read_bytes() == damaged
    assert aside.name in journal.lost
    assert asyncio.run(_tree(journal)) == []
    journal.begin().done([synced("new")])
    assert flushed(journal)
    assert journal.close()
    again = opened(state)
    assert not again.lost
    assert again.close()
    assert [one.key for one in kept(state)] == ["new"]
    assert journals(state) == [database(state)]


def test_H57_every_page_that_is_zeroed_or_overwritten_is_noticed(tmp_path: Path) -> None:
    whole = _made(tmp_path)
    noise = random.Random(57).randbytes(PAGE)
    pages = len(whole) // PAGE
    assert pages > 15
    missed = []
    journal = opened(tmp_path)
    expected = asyncio.run(_tree(journal)), asked(journal, _failures)
    assert journal.close()
    for number in range(pages):
        for content in (bytes(PAGE), noise):
            database(tmp_path).write_bytes(whole[: number * PAGE] + content + whole[(number + 1) * PAGE :])
            journal = opened(tmp_path)
            if not journal.lost and (asyncio.run(_tree(journal)), asked(journal, _failures)) != expected:
                missed.append(number)  # it is no page that holds nothing
            assert journal.close()
    assert missed == []


@pytest.mark.parametrize("length", [1, 15, 99, 100, 511, PAGE - 1, PAGE, PAGE + 1, 10 * PAGE, -PAGE])
def test_H57_a_file_that_was_cut_is_set_aside_and_a_new_one_begun(tmp_path: Path, length: int) -> None:
    whole = _made(tmp_path)
    damaged = whole[:length]
    database(tmp_path).write_bytes(damaged)
    _must_have_begun_anew(tmp_path, damaged)


@pytest.mark.parametrize("content", [b"no database", b"\xff" * 10_000, b"SQLite format 3\x00", b"\x00" * PAGE * 3])
def test_H57_what_is_no_database_is_set_aside(tmp_path: Path, content: bytes) -> None:
    _made(tmp_path)
    database(tmp_path).write_bytes(content)
    _must_have_begun_anew(tmp_path, content)


def test_H57_an_empty_file_is_a_new_journal_and_nothing_is_known_of_the_old_one(tmp_path: Path) -> None:
    _made(tmp_path)
    database(tmp_path).write_bytes(b"")
    journal = opened(tmp_path)
    assert "was empty" in journal.lost
    assert journal.close()


@pytest.mark.parametrize("length", [0, 100, PAGE, -1])
def test_H54_a_run_that_was_killed_while_it_began_a_journal_leaves_none(tmp_path: Path, length: int) -> None:
    whole = _made(tmp_path)
    database(tmp_path).unlink()
    database(tmp_path).with_suffix(".new").write_bytes(whole[:length])
    journal = opened(tmp_path)
    assert not journal.lost
    assert journal.close()
    assert sorted(path.suffix for path in database(tmp_path).parent.iterdir()) == [".lock", ".sqlite3"]


def test_H57_whatever_byte_is_changed_the_tree_is_read_whole_or_refused(tmp_path: Path) -> None:
    whole = _made(tmp_path, 200)
    chance = random.Random(5757)
    for at in [*range(16, 100, 3), *(chance.randrange(len(whole)) for _ in range(70))]:
        damaged = bytearray(whole)
        damaged[at] ^= chance.randrange(1, 256)
        database(tmp_path).write_bytes(damaged)
        try:
            journal = opened(tmp_path)
        except SternaError:
            continue  # refused by name: it seems newer, or another route's
        try:
            if not journal.lost:
                assert len(asyncio.run(_tree(journal))) == 200
        except SternaError:
            pass
        finally:
            journal.close()


def test_another_applications_database_is_set_aside_and_kept(tmp_path: Path) -> None:
    database(tmp_path).parent.mkdir(mode=0o700)
    with closing(sqlite3.connect(database(tmp_path))) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    _must_have_begun_anew(tmp_path, database(tmp_path).read_bytes())


@pytest.mark.parametrize(
    "sql",
    ["DROP TABLE meta", "DELETE FROM meta WHERE name = 'route'", "PRAGMA user_version = 0", "PRAGMA user_version = 7"],
)
def test_a_journal_that_contradicts_itself_is_set_aside(tmp_path: Path, sql: str) -> None:
    fill(tmp_path, keys(3))
    with closing(sqlite3.connect(database(tmp_path), isolation_level=None)) as connection:
        connection.execute(sql)
    _must_have_begun_anew(tmp_path, database(tmp_path).read_bytes())


def test_what_was_set_aside_in_the_same_second_stays(tmp_path: Path) -> None:
    for number in range(1, 4):
        database(tmp_path).parent.mkdir(mode=0o700, exist_ok=True)
        database(tmp_path).write_bytes(b"no database")
        assert opened(tmp_path).close()
        assert len([path for path in _asides(tmp_path) if path.suffix == ".sqlite3"]) == number


def test_a_wal_of_a_damaged_file_goes_aside_with_it(tmp_path: Path) -> None:
    whole = _made(tmp_path)
    database(tmp_path).write_bytes(whole[: 7 * PAGE])
    wal = database(tmp_path).with_suffix(".sqlite3-wal")
    wal.write_bytes(b"not empty")
    journal = opened(tmp_path)
    assert journal.lost
    assert journal.close()
    assert [path.name.rpartition(".")[2] for path in _asides(tmp_path)] == ["sqlite3", "sqlite3-shm", "sqlite3-wal"]


def test_damage_that_shows_in_mid_run_ends_the_reading_and_not_the_run(tmp_path: Path) -> None:
    whole = _made(tmp_path, 3000)
    journal = opened(tmp_path)
    damaged = whole[: 5 * PAGE] + random.Random(1).randbytes(len(whole) - 5 * PAGE)
    with database(tmp_path).open("r+b") as file:
        file.write(damaged)
    asked(journal, lambda connection: connection.execute("PRAGMA shrink_memory").fetchall())
    with pytest.raises(SternaError):
        asyncio.run(_tree(journal))
    run = journal.begin()
    run.done([synced(name) for name in keys(3000)])
    assert not flushed(journal)
    assert "damaged" in journal.trouble
    assert journal.news() == [journal.trouble]
    assert not journal.close()
    again = opened(tmp_path)
    assert again.lost
    assert again.close()


def test_a_row_that_cannot_be_read_has_the_file_set_aside_by_the_next_run(tmp_path: Path) -> None:
    fill(tmp_path, keys(3))
    with closing(sqlite3.connect(database(tmp_path))) as connection, connection:
        connection.execute("UPDATE tree SET source = x'ff' WHERE key = ?", (keys(3)[1].encode(),))
    with pytest.raises(JournalUnusable, match="it is damaged"):
        kept(tmp_path)
    journal = opened(tmp_path)
    assert not journal.lost
    with pytest.raises(JournalUnusable, match="it is damaged"):
        asyncio.run(_tree(journal))
    assert not journal.close()
    journal = opened(tmp_path)
    assert "an earlier run found it so" in journal.lost
    assert journal.close()
