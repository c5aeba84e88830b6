"""The one thread that writes: when it commits, what it does with a slow disk, and how it ends."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import msgspec
import pytest

from sterna.journal import questions
from sterna.journal.journal import Journal
from sterna.journal.writer import Pace
from sterna.model.errors import JournalUnusable, Locked
from sterna.model.synced import Seen, Synced
from tests.journal.made import asked, flushed, kept, keys, opened, python, summary, synced

NEVER = Pace(rows=10**9, seconds=1e6, most=10**9)


def _until(state: Path, count: int) -> None:
    end = time.monotonic() + 30
    while len(kept(state)) != count:
        assert time.monotonic() < end
        time.sleep(0.002)


async def _busy(journal: Journal, go: threading.Event) -> asyncio.Future[bool]:
    """Keep the journal's thread busy, as a slow disk does, until ``go`` is set."""
    is_busy = threading.Event()

    def wait(_: object) -> bool:
        is_busy.set()
        return go.wait(30)

    busy = asyncio.ensure_future(journal.ask(wait))
    await asyncio.to_thread(is_busy.wait)
    return busy


def test_rows_are_committed_by_themselves_after_a_while(tmp_path: Path) -> None:
    journal = opened(tmp_path, pace=msgspec.structs.replace(NEVER, seconds=0.01))
    journal.begin().done([synced("a")])
    _until(tmp_path, 1)
    assert journal.close()


def test_rows_are_committed_by_themselves_when_they_are_many(tmp_path: Path) -> None:
    journal = opened(tmp_path, pace=msgspec.structs.replace(NEVER, rows=100))
    run = journal.begin()
    run.done([synced(name) for name in keys(50)])
    assert kept(tmp_path) == []
    run.done([synced(name) for name in keys(50, 50)])
    _until(tmp_path, 100)
    assert journal.close()


def test_the_end_commits_what_is_left(tmp_path: Path) -> None:
    journal = opened(tmp_path, pace=NEVER)
    run = journal.begin()
    run.done([synced(name) for name in keys(50)])
    run.end(summary())
    assert kept(tmp_path) == []
    assert asyncio.run(journal.closed())
    assert len(kept(tmp_path)) == 50


def test_what_is_asked_does_not_wait_for_a_commit_and_does_not_make_one(tmp_path: Path) -> None:
    journal = opened(tmp_path, pace=NEVER)
    journal.begin()
    assert asked(journal, questions.runs) == []
    assert flushed(journal)
    assert len(asked(journal, questions.runs)) == 1
    assert journal.close()


def test_H106_a_run_waits_where_the_disk_does_not_keep_up(tmp_path: Path) -> None:
    journal = opened(tmp_path, pace=Pace(rows=10, seconds=0.01, most=100))
    run = journal.begin()
    go = threading.Event()

    async def fill() -> None:
        slow = await _busy(journal, go)
        run.done([synced(name) for name in keys(50)])
        await asyncio.wait_for(journal.room(), 5)
        run.done([synced(name) for name in keys(50, 50)])
        waiting = asyncio.ensure_future(journal.room())
        await asyncio.sleep(0.02)
        assert not waiting.done()
        go.set()
        await asyncio.wait_for(waiting, 30)
        await slow

    asyncio.run(fill())
    assert journal.close()
    assert len(kept(tmp_path)) == 100


def test_whoever_no_longer_waits_is_in_nobodys_way(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.begin().done([synced("a")])
    go = threading.Event()

    async def give_up() -> None:
        slow = await _busy(journal, go)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(journal.flushed(), 0.01)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(journal.ask(questions.runs), 0.01)
        go.set()
        await slow

    asyncio.run(give_up())
    assert flushed(journal)
    assert journal.close()
    assert len(kept(tmp_path)) == 1


def test_H109_a_disk_that_hangs_does_not_hold_the_end_and_the_lock_stays_till_it_answers(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    go = threading.Event()

    async def hang() -> None:
        waiting = await _busy(journal, go)
        assert not await journal.closed(0.01)
        with pytest.raises(Locked):
            opened(tmp_path)
        go.set()
        await waiting

    asyncio.run(hang())
    assert "does not answer" in journal.trouble


def test_a_value_that_no_row_can_hold_ends_the_journal_and_not_the_run(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    run = journal.begin()
    assert flushed(journal)
    run.done([synced("a"), Synced("b", Seen(2**70), None)])
    assert not flushed(journal)
    assert "cannot keep what it was given" in journal.trouble
    assert not journal.close()
    assert kept(tmp_path) == []  # all of a commit, or nothing


def test_a_question_that_fails_is_its_askers_business(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    with pytest.raises(ZeroDivisionError):
        asked(journal, lambda _: 1 // 0)
    assert journal.is_kept
    assert journal.close()
    assert journal.close()
    assert not flushed(journal)
    with pytest.raises(JournalUnusable, match="closed"):
        asked(journal, questions.runs)


def test_what_is_long_lived_can_speak(tmp_path: Path) -> None:
    journal = opened(tmp_path, pace=NEVER)
    run = journal.begin()
    run.done([synced("a")])
    assert repr(journal).endswith("0 commits, 2 rows wait>>")
    assert run.name in repr(run)
    assert journal.close()
    assert repr(journal).endswith("1 commits, closed>>")


def test_the_package_costs_nothing_until_it_is_used() -> None:
    script = "import sys, sterna, sterna.journal; print([name for name in sys.modules if 'sterna.journal.' in name])"
    out, _ = python(script).communicate(timeout=30)
    assert out == "[]\n"
