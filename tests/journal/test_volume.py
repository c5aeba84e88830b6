"""What file systems SQLite's WAL is used on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sterna.journal import questions
from sterna.journal.database import reading
from sterna.journal.volume import is_shared, network_file_system
from tests.journal.made import asked, database, fill, flushed, kept, keys, opened, synced


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere nobody is asked")
def test_H57_local_file_systems_are_known_and_nothing_is_unknown(tmp_path: Path) -> None:
    assert network_file_system(Path("/proc")) == ""
    assert network_file_system(tmp_path) in ("", "fuse", "nfs", "9p")
    assert network_file_system(tmp_path / "not" / "made yet") == network_file_system(tmp_path)
    assert not is_shared(Path("/proc"))


def _mode(state: Path) -> tuple[str, int]:
    journal = opened(state)
    assert journal.close()
    with reading(database(state)) as connection:
        return connection.execute("PRAGMA journal_mode").fetchone()[0], len(kept(state))


def test_H57_on_a_network_the_journal_has_no_wal_and_is_read_beside_the_run(tmp_path: Path) -> None:
    fill(tmp_path, keys(5))
    journal = opened(tmp_path, network="nfs")
    run = journal.begin()
    run.done([synced("another")])
    assert flushed(journal)
    assert not database(tmp_path).with_suffix(".sqlite3-wal").exists()
    assert len(kept(tmp_path)) == 6  # while the run goes on
    with reading(database(tmp_path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert questions.runs(connection)[0].name == run.name
    assert journal.close()
    assert _mode(tmp_path) == ("wal", 6)  # and back, on a disk


def test_H57_without_wal_every_commit_waits_for_the_disk(tmp_path: Path) -> None:
    journal = opened(tmp_path, network="nfs")
    journal.begin()
    assert flushed(journal)
    assert asked(journal, lambda connection: connection.execute("PRAGMA synchronous").fetchone()) == (2,)
    assert journal.close()
