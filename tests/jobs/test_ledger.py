"""What a run counts, and the verdict and exit code that follow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterna.jobs.ledger import Ledger
from sterna.model.entry import Trouble
from sterna.model.events import (
    FAILURES_KEPT,
    Event,
    Notice,
    ObjectsEnded,
    Planned,
    RunEnded,
    RunStarted,
    Summary,
    Tally,
)
from sterna.model.outcomes import Outcome, Status
from sterna.model.stop import Stop
from sterna.reporting.summary import exit_code_of


def one(status: Status, verb: str = "upload", exit_code: int = 0, size: int = 1, key: str = "a") -> Outcome:
    return Outcome(verb, key, status, size=size, exit_code=exit_code)


def settled(
    *outcomes: Outcome, planned: int | None = None, then: Callable[[Ledger, Stop], None] | None = None
) -> tuple[Summary, list[Event]]:
    events: list[Event] = []

    async def test() -> Summary:
        stop = Stop()
        ledger = Ledger("sync", "here", "there", emit=events.append, tally=Tally(), stop=stop)
        ledger.planned(len(outcomes) if planned is None else planned, 0)
        ledger.record(outcomes)
        if then is not None:
            then(ledger, stop)
        return await ledger.settle()

    return asyncio.run(test()), events


def test_what_ended_counts_as_finished_however_it_ended_and_what_was_not_planned_does_not() -> None:
    async def test() -> Tally:
        tally = Tally()
        ledger = Ledger("sync", "here", "there", emit=lambda _: None, tally=tally, stop=Stop())
        ledger.planned(6, 50)
        done = [one(Status.DONE, "upload", size=10), one(Status.DONE, "delete", size=99)]
        ledger.record([*done, *(one(status, size=10) for status in (Status.KEPT, Status.FAILED, Status.SKIPPED))])
        ledger.record([one(Status.LEFT, size=10)])
        ledger.troubles(
            [Trouble("socket", "a socket", skipped=True), Trouble("d/", "unreadable", subtree=True)], "upload"
        )
        await ledger.settle()
        return tally

    tally = asyncio.run(test())
    assert (tally.ended_objects, tally.unmoved_bytes, tally.done_by_verb) == (6, 40, {"upload": 1, "delete": 1})


def test_all_done_is_exit_0() -> None:
    summary, events = settled(
        one(Status.DONE),
        one(Status.DONE, "download"),
        one(Status.DONE, "delete"),
        one(Status.DONE, "copy"),
        one(Status.KEPT),
    )
    assert summary.exit_code == 0
    assert (summary.uploaded, summary.downloaded, summary.deleted, summary.copied, summary.kept) == (1, 1, 1, 1, 1)
    assert summary.done == 4
    assert [type(event) for event in events] == [RunStarted, ObjectsEnded, RunEnded]


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ([], 0),
        ([one(Status.SKIPPED)], 0),
        ([one(Status.PLANNED)], 0),
        ([one(Status.PLANNED), one(Status.FAILED, exit_code=3)], 3),
        ([one(Status.FAILED, exit_code=1)], 1),
        ([one(Status.FAILED, exit_code=3), one(Status.FAILED, exit_code=3)], 3),  # all for one reason
        ([one(Status.FAILED, exit_code=3), one(Status.FAILED, exit_code=1)], 1),
        ([one(Status.FAILED, exit_code=3), one(Status.DONE)], 1),
        ([one(Status.FAILED, exit_code=3), one(Status.KEPT)], 3),
        ([one(Status.FAILED, exit_code=0)], 1),
    ],
)
def test_the_exit_code_says_what_failed(outcomes: list[Outcome], code: int) -> None:
    assert settled(*outcomes)[0].exit_code == code


@pytest.mark.parametrize(("planned", "missing"), [(3, 1), (1, -1)])
def test_H108_what_was_planned_and_has_no_outcome_fails_the_run_and_is_said(planned: int, missing: int) -> None:
    summary, events = settled(one(Status.DONE), one(Status.DONE), planned=planned)
    assert summary.exit_code == 1
    assert any(f"{missing} planned" in event.sentence for event in events if isinstance(event, Notice))
    assert "INCOMPLETE" in summary.verdict


def test_what_a_dry_run_plans_is_counted_by_itself_and_the_verdict_speaks_of_it() -> None:
    summary, _ = settled(one(Status.PLANNED, size=1024), one(Status.PLANNED, "delete"), one(Status.KEPT))
    assert (summary.planned, summary.skipped, summary.done) == (2, 0, 0)
    assert summary.planned_by_verb == {"upload": Planned(1, 1024), "delete": Planned(1, 1)}
    assert summary.verdict == (
        "Dry run, nothing was changed: it would delete 1 object (1 B) and upload 1 object (1.0 KiB); "
        "1 object would stay as it is."
    )


def test_a_dry_run_that_was_interrupted_says_so() -> None:
    summary, _ = settled(one(Status.PLANNED), then=lambda ledger, stop: stop.request("Interrupted.", 130))
    assert summary.verdict.startswith("INTERRUPTED")


def test_what_is_left_is_never_success() -> None:
    summary, _ = settled(one(Status.DONE), one(Status.LEFT))
    assert exit_code_of(summary) == 1
    assert "INCOMPLETE" in summary.verdict
    assert "1 object is left" in summary.verdict


def test_the_library_too_is_told_that_something_is_left() -> None:
    summary, _ = settled(one(Status.DONE), one(Status.LEFT))
    assert summary.exit_code != 0


@pytest.mark.parametrize("code", [130, 143])
def test_an_interrupted_run_has_the_code_of_its_signal_and_says_what_is_left(code: int) -> None:
    summary, _ = settled(
        one(Status.DONE),
        one(Status.LEFT),
        one(Status.LEFT),
        then=lambda ledger, stop: stop.request("Interrupted.", code),
    )
    assert summary.exit_code == code
    assert (summary.done, summary.left) == (1, 2)
    assert summary.verdict.startswith("INTERRUPTED")
    assert "2 objects are left" in summary.verdict


def test_names_that_a_listing_could_not_carry_are_outcomes_of_their_own() -> None:
    troubles = [Trouble("socket", "a socket", skipped=True), Trouble("dir", "unreadable", subtree=True)]
    summary, _ = settled(one(Status.DONE), then=lambda ledger, stop: ledger.troubles(troubles, "upload"))
    assert (summary.skipped, summary.failed, summary.exit_code) == (1, 1, 1)
    assert [failure.error for failure in summary.failures] == ["unreadable"]
    assert [skip.error for skip in summary.skips] == ["a socket"]


def test_a_notice_is_told_each_time_and_kept_once() -> None:
    def notices(ledger: Ledger, stop: Stop) -> None:
        ledger.notice("Mind this.")
        ledger.notice("Mind this.")
        ledger.heard("no event of ours")

    summary, events = settled(then=notices)
    assert summary.notices == ["Mind this."]
    assert sum(isinstance(event, Notice) for event in events) == 2


def test_a_summary_stays_bounded_and_counts_all_failures() -> None:
    summary, _ = settled(*[one(Status.FAILED, exit_code=1)] * (FAILURES_KEPT + 5))
    assert summary.failed == FAILURES_KEPT + 5
    assert len(summary.failures) == FAILURES_KEPT


def test_bytes_of_failed_attempts_are_not_moved_bytes() -> None:
    def work(ledger: Ledger, stop: Stop) -> None:
        ledger.tally.moved_bytes += 100
        ledger.tally.wasted_bytes += 30

    summary, _ = settled(then=work)
    assert (summary.moved_bytes, summary.wasted_bytes) == (70, 30)


@settings(deadline=None)
@given(st.lists(st.sampled_from(list(Status)), max_size=20), st.integers(-2, 2))
def test_H108_planned_is_done_kept_failed_skipped_and_left_or_the_run_says_so(statuses: list[Status], off: int) -> None:
    outcomes = [one(status, exit_code=1 if status is Status.FAILED else 0) for status in statuses]
    summary, _ = settled(*outcomes, planned=len(outcomes) + off)
    ended = summary.done + summary.kept + summary.planned + summary.failed + summary.skipped + summary.left
    assert ended == len(outcomes)
    good = off == 0 and Status.FAILED not in statuses and Status.LEFT not in statuses
    assert (exit_code_of(summary) == 0) == good
    assert ("INCOMPLETE" in summary.verdict or "would fail" in summary.verdict) == (not good)
