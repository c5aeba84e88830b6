"""Runs, what became of their actions, and what can be taken up again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from sterna import __version__
from sterna.journal import questions
from sterna.journal.database import journals, reading
from sterna.journal.values import PastOutcome, State
from sterna.model.errors import NotProven
from sterna.model.outcomes import Outcome, Status
from sterna.model.synced import Seen
from sterna.model.transfers import OpenDownload, OpenUpload, SentPart, WrittenRange
from tests.journal.made import ROUTE, asked, database, flushed, keys, opened, summary, synced


def test_a_run_is_kept_with_what_was_asked_and_what_came_of_it(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    run = journal.begin(source="photos", target="s3://archive/photos", filters="f1", options={"--delete": "yes"})
    assert flushed(journal)
    assert asked(journal, questions.runs)[0].state is State.RUNNING
    run.end(summary(1), {"source_entries": 17, "source_file_system": "abc"})
    assert flushed(journal)
    [found] = asked(journal, questions.runs)
    assert found == asked(journal, questions.run_named, run.name)
    assert (found.name, found.command, found.source, found.filters) == (run.name, "sync", "photos", "f1")
    assert (found.state, found.exit_code, found.verdict, found.sterna) == (State.ENDED, 1, "well", __version__)
    assert found.options == {"--delete": "yes"}
    assert found.notes == {"source_entries": 17, "source_file_system": "abc"}
    assert found.counts["uploaded"] == 3
    assert found.started_ns <= found.ended_ns
    assert asked(journal, questions.run_named, "another") is None
    assert journal.close()


def test_words_that_sqlite_cannot_hold_are_written_out(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    run = journal.begin(source="bad-\udcff", options={"--exclude": "\udc80"})
    run.record([Outcome("upload", "k", Status.FAILED, error="bad-\udcff vanished"),
                Outcome("upload", "windows-\ud800", Status.FAILED)])  # fmt: skip
    run.end(summary(), {"note": "\udc80"})
    assert flushed(journal)
    assert asked(journal, questions.runs)[0].source == r"bad-\udcff"
    assert journal.close()


@pytest.mark.parametrize("code", [129, 130, 143])
def test_a_run_that_was_told_to_end_is_interrupted(tmp_path: Path, code: int) -> None:
    journal = opened(tmp_path)
    journal.begin().end(summary(code))
    assert flushed(journal)
    assert asked(journal, questions.runs)[0].state is State.INTERRUPTED
    assert journal.close()


def test_what_was_not_done_is_found_again(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    run = journal.begin()
    failed = Outcome("upload", "a/b", Status.DONE, size=5, attempts=2, because="new", started_s=10, seconds=2)
    failed.fail(NotProven("It is not there.", code="absent", words="404", request_id="r1"))
    run.record([failed, Outcome("upload", "done", Status.DONE), Outcome("upload", "kept", Status.KEPT)])
    run.record([Outcome("upload", "link", Status.SKIPPED), Outcome("delete", "left", Status.LEFT)])
    other = journal.begin()
    other.record([Outcome("upload", "z", Status.FAILED)])
    assert flushed(journal)

    def found(*arguments: object) -> list[PastOutcome]:
        return asked(journal, lambda connection: list(questions.outcomes(connection, *arguments)))  # type: ignore[arg-type]

    assert [one.key for one in found(run.number)] == ["a/b", "left"]
    assert [one.key for one in found(run.number, ("skipped",))] == ["link"]
    assert [one.key for one in found(other.number)] == ["z"]
    assert found(run.number)[0] == PastOutcome(
        "upload", "a/b", "failed", 5, 2, "new", "It is not there.", "NotProven", "absent", "404", "r1", 1, 12 * 10**9
    )
    assert journal.close()


def test_H54_what_a_run_had_in_hand_when_it_died_is_known(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    run = journal.begin()
    first, second = run.depart(keys(3)), run.depart(["b\udcff", "a", "c", "d"])
    run.done([synced(name) for name in keys(3)])
    run.land(first)
    run.done([synced("c")])
    run.record([Outcome("upload", "d", Status.FAILED)])
    assert journal.close()  # no end of the run: as after kill -9
    journal = opened(tmp_path)
    assert asked(journal, questions.runs)[0].state is State.INTERRUPTED
    assert asked(journal, questions.unfinished, run.number) == ["a", "b\udcff"]
    assert second == 2
    assert journal.close()


UPLOAD = OpenUpload("big/\udcff", "t0", Seen(100, 5, inode=7, ctime_ns=6), 40, "CRC64NVME", begun_ns=9)


def test_H94_an_upload_is_known_from_before_it_is_asked_for_until_it_is_gone(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    run = journal.begin()
    journal.upload_begun(UPLOAD)
    assert flushed(journal)
    assert asked(journal, questions.open_uploads) == [msgspec.structs.replace(UPLOAD, run=run.number)]
    journal.upload_begun(begun := msgspec.structs.replace(UPLOAD, id="u1"))
    parts = (SentPart(1, 40, "e1", 2**64 - 1), SentPart(2, 40, "e2", 0), SentPart(3, 20, "e3"))
    for part in reversed(parts):
        journal.part_sent("t0", part)
    journal.part_sent("t0", parts[0])  # sent again
    copy = OpenUpload("a", "t1", Seen(5, 0, "etag", version="v"), 256, "MD5", "u2", is_copy=True)
    journal.upload_begun(copy)
    assert journal.close()
    journal = opened(tmp_path)
    assert asked(journal, questions.open_uploads) == [
        msgspec.structs.replace(copy, run=1),
        msgspec.structs.replace(begun, run=1, parts=parts),
    ]
    journal.upload_ended("t0")
    assert flushed(journal)
    assert [one.token for one in asked(journal, questions.open_uploads)] == ["t1"]
    assert asked(journal, lambda connection: connection.execute("SELECT count(*) FROM parts").fetchone()) == (0,)
    assert journal.close()


def test_H94_the_commit_of_an_upload_waits_for_the_disk_and_that_of_outcomes_does_not(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    seen: list[str] = []
    asked(journal, lambda connection: connection.set_trace_callback(seen.append))
    run = journal.begin()
    assert flushed(journal)
    seen.clear()
    run.done([synced("a")])
    assert asyncio.run(journal.flushed(lasting=False))
    assert not [one for one in seen if "FULL" in one]
    journal.upload_begun(UPLOAD)
    assert asyncio.run(journal.flushed(lasting=False))
    assert "PRAGMA synchronous = FULL" in seen
    assert seen[-1] == "PRAGMA synchronous = 1"
    assert journal.close()


def test_an_unfinished_download_is_known_with_its_ranges(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    run = journal.begin()
    download = OpenDownload("big", "folder/.sterna-x.part", Seen(100, 5, "etag", version="v"), "CRC32C", 9)
    journal.download_begun(download)
    ranges = (WrittenRange(0, 40, 2**63), WrittenRange(60, 100, 7))
    for one in ranges[::-1]:
        journal.range_written(download.temporary, one)
    assert flushed(journal)
    assert asked(journal, questions.open_downloads) == [
        msgspec.structs.replace(download, run=run.number, ranges=ranges)
    ]
    journal.download_ended(download.temporary)
    assert flushed(journal)
    assert asked(journal, questions.open_downloads) == []
    assert asked(journal, lambda connection: connection.execute("SELECT count(*) FROM ranges").fetchone()) == (0,)
    assert journal.close()


def test_journals_are_found_and_say_whose_they_are(tmp_path: Path) -> None:
    other = type(ROUTE)("/home/ann/music", "s3://archive/music")
    for route in (ROUTE, other):
        assert opened(tmp_path, route).close()
    (database(tmp_path).parent / f"{ROUTE.name}.damaged-20260101T000000Z.sqlite3").write_bytes(b"")
    found = []
    for path in journals(tmp_path):
        with reading(path) as connection:
            found.append(questions.route_of(connection))
    assert sorted(found, key=str) == sorted([ROUTE, other], key=str)
