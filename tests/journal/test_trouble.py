"""Journals that are full, gone, held or somebody else's: it is said once, and a run goes on."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from sterna.journal import questions
from sterna.journal.database import reading
from sterna.journal.journal import Journal
from sterna.model.errors import JournalUnusable, Locked
from sterna.model.outcomes import Outcome, Status
from tests.journal.made import ROUTE, asked, database, fill, flushed, kept, keys, opened, python, summary, synced


def test_another_program_that_holds_the_file_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, keys(3))
    monkeypatch.setattr("sterna.journal.database._PATIENCE_S", 0.01)
    with closing(sqlite3.connect(database(tmp_path), isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        for _ in range(2):
            with pytest.raises(JournalUnusable, match="another program holds it"):
                opened(tmp_path)
        connection.execute("ROLLBACK")
    assert opened(tmp_path).close()


def test_the_journal_of_other_locations_is_refused_by_name_and_left(tmp_path: Path) -> None:
    other = type(ROUTE)("/home/ann/music", "s3://archive/music")
    fill(tmp_path, keys(3))
    database(tmp_path).rename(database(tmp_path, other))
    before = database(tmp_path, other).read_bytes()
    with pytest.raises(JournalUnusable, match=r"belongs to other locations .*/home/ann/photos → s3://archive/photos"):
        opened(tmp_path, other)
    assert database(tmp_path, other).read_bytes() == before
    with pytest.raises(JournalUnusable):  # and the lock is free again
        opened(tmp_path, other)


def _must_go_on_without(journal: Journal, words: str) -> None:
    """A run whose journal broke: nothing raises, it is said once, and nothing is acknowledged."""
    run = journal.begin()
    run.done([synced("late")])
    assert not flushed(journal)
    assert not journal.is_kept
    assert words in journal.trouble
    assert journal.news() == [journal.trouble]
    run.record([Outcome("upload", "x", Status.FAILED)])
    run.end(summary())
    asyncio.run(journal.room())
    assert journal.news() == []
    with pytest.raises(JournalUnusable):
        asked(journal, questions.runs)
    assert not journal.close()


def test_H49_H57_a_full_disk_ends_the_journal_and_not_the_run(tmp_path: Path) -> None:
    fill(tmp_path, keys(10))
    journal = opened(tmp_path)
    asked(journal, lambda connection: connection.execute("PRAGMA max_page_count = 20").fetchone())
    run = journal.begin()
    assert flushed(journal)
    run.done([synced(name) for name in keys(2000)])
    _must_go_on_without(journal, "no space is left")
    assert [one.key for one in kept(tmp_path)] == keys(10)
    again = opened(tmp_path)
    assert not again.lost
    assert again.close()


@contextmanager
def _largest_file(size: int) -> Iterator[None]:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("network", ["", "nfs"])
def test_H50_H57_a_write_that_fails_ends_the_journal_and_not_the_run(tmp_path: Path, network: str) -> None:
    fill(tmp_path, keys(10))
    journal = opened(tmp_path, network=network)
    with _largest_file(200_000):
        run = journal.begin()
        run.done([synced(name) for name in keys(5000)])
        _must_go_on_without(journal, "make room")
    assert [one.key for one in kept(tmp_path)] == keys(10)
    again = opened(tmp_path)
    assert not again.lost
    assert again.close()


def test_H49_no_room_for_a_new_journal_is_said(tmp_path: Path) -> None:
    with _largest_file(1000), pytest.raises(JournalUnusable, match=r"make room|cannot be used"):
        opened(tmp_path)
    journal = opened(tmp_path)
    assert not journal.lost
    assert journal.close()


def test_H57_a_journal_that_is_deleted_in_mid_run_is_noticed(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.begin().done([synced("a")])
    assert flushed(journal)
    for path in database(tmp_path).parent.iterdir():
        if path.suffix != ".lock":
            path.unlink()
    _must_go_on_without(journal, "was removed")


def test_H55_H57_a_run_whose_lock_was_deleted_keeps_nothing_more_and_harms_no_other(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.begin().done([synced("a")])
    assert flushed(journal)
    for path in database(tmp_path).parent.iterdir():
        path.unlink()
    other = opened(tmp_path)
    other.begin().done([synced("theirs")])
    assert flushed(other)
    _must_go_on_without(journal, "was removed")
    assert database(tmp_path).with_suffix(".sqlite3-wal").exists(), "closing the old one took the new one's WAL away"
    with pytest.raises(Locked):
        opened(tmp_path)
    assert other.close()
    assert [one.key for one in kept(tmp_path)] == ["theirs"]


READ_ONLY = """
import sys, os
from pathlib import Path
from tests.journal.made import opened, keys, fill, database
state = Path(sys.argv[1])
fill(state, keys(3))
what = database(state) if sys.argv[2] == "file" else database(state).parent if sys.argv[2] == "folder" else state
if sys.argv[2] == "state":
    for path in what.iterdir():
        for file in path.iterdir(): file.unlink()
        path.rmdir()
what.chmod(0o400 if sys.argv[2] == "file" else 0o500)
try:
    journal = opened(state)
    print("opened")
    journal.close()
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.slow
def test_H57_a_state_directory_that_cannot_be_written_is_said() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)  # for whoever we are then
        out, _ = python(READ_ONLY, f"{folder}/state", "state", as_nobody=True).communicate(timeout=60)
    assert out.startswith("JournalUnusable Cannot make ")
    assert "permission denied; --state-dir names another place" in out


@pytest.mark.slow
@pytest.mark.parametrize("what", ["file", "folder"])
def test_rights_that_were_taken_from_what_is_ours_are_put_back(what: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        out, _ = python(READ_ONLY, f"{folder}/state", what, as_nobody=True).communicate(timeout=60)
    assert out.startswith("opened" if what == "folder" else "JournalUnusable Cannot open")


def test_a_journal_that_is_not_there_is_no_empty_one(tmp_path: Path) -> None:
    with pytest.raises(JournalUnusable, match="cannot be written or read"), reading(tmp_path / "none.sqlite3"):
        pass
    assert not (tmp_path / "none.sqlite3").exists()
