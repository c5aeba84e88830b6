"""What old runs left goes; what is synced and what is open stays."""

from __future__ import annotations

import time
from pathlib import Path

from sterna.journal import questions
from sterna.journal.prune import Keep, prune
from sterna.model.outcomes import Outcome, Status
from sterna.model.synced import Seen
from sterna.model.transfers import OpenDownload, OpenUpload
from tests.journal.made import asked, database, flushed, kept, opened, summary, synced

DAY_S = 86_400


def _history(state: Path, runs: int) -> None:
    """So many runs, each with ten failures, a flight and a key of the tree."""
    journal = opened(state)
    for number in range(1, runs + 1):
        run = journal.begin(is_durable=number != 2)
        run.depart([f"in-hand-{number}"])
        run.record([Outcome("upload", f"{number}/{at}", Status.FAILED, error="x" * 100) for at in range(10)])
        run.done([synced(f"key-{number}")])
        if number == 1:
            journal.upload_begun(OpenUpload("big", "t", Seen(5), 1, "MD5"))
        if number == 3:
            journal.download_begun(OpenDownload("big", "tmp", Seen(5), "MD5"))
        run.end(summary())
    assert journal.close()


def _failures(state: Path, keep: Keep, now_s: float) -> tuple[int, list[int], list[int]]:
    journal = opened(state)
    removed = asked(journal, prune, keep, now_s)
    kept_by = asked(journal, lambda connection: connection.execute("SELECT DISTINCT run FROM outcomes").fetchall())
    runs = [run.number for run in asked(journal, questions.runs)]
    assert len(asked(journal, questions.open_uploads)) == 1
    assert len(asked(journal, questions.open_downloads)) == 1
    assert journal.close()
    assert len(kept(state)) == 6
    return removed, [row[0] for row in kept_by], runs


def test_what_is_young_and_small_stays(tmp_path: Path) -> None:
    _history(tmp_path, 6)
    assert _failures(tmp_path, Keep(), time.time()) == (0, [1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1])


def test_by_age_all_but_the_last_runs_outcomes_go(tmp_path: Path) -> None:
    _history(tmp_path, 6)
    later = time.time() + 91 * DAY_S
    assert _failures(tmp_path, Keep(), later) == (50, [6], [6, 5, 4, 3, 2, 1])


def test_by_size_the_oldest_go_first(tmp_path: Path) -> None:
    _history(tmp_path, 6)
    assert _failures(tmp_path, Keep(outcome_bytes=4_000), time.time())[:2] == (40, [5, 6])
    assert _failures(tmp_path, Keep(outcome_bytes=1), time.time())[:2] == (10, [6])


def test_runs_go_but_not_those_that_something_refers_to(tmp_path: Path) -> None:
    _history(tmp_path, 6)
    later = time.time() + 91 * DAY_S
    # 1 has an open upload, 3 an open download, 2 flushed nothing, 6 is the last
    assert _failures(tmp_path, Keep(runs=1), later) == (50, [6], [6, 3, 2, 1])


def test_the_room_is_given_back(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    run = journal.begin()
    run.record([Outcome("upload", str(at), Status.FAILED, error="x" * 200) for at in range(5000)])
    run.end(summary())
    journal.begin()
    assert flushed(journal)
    assert journal.close()
    before = database(tmp_path).stat().st_size
    journal = opened(tmp_path)
    assert asked(journal, prune, Keep(outcomes_s=0)) == 5000
    assert journal.close()
    assert database(tmp_path).stat().st_size < before / 10
