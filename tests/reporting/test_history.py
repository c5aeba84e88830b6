"""What is told of an outcome of the past: the words that the run itself had for it."""

from __future__ import annotations

from sterna.journal.values import PastOutcome
from sterna.model.events import Summary
from sterna.model.outcomes import Outcome, Status
from sterna.reporting.history import outcome_line
from sterna.reporting.summary import brief_lines, verdict
from sterna.reporting.words import failure_line, reason_words


def refused(status: Status = Status.FAILED) -> Outcome:
    return Outcome(
        "upload", "d/a", status, attempts=3, because="is not there", error="The server refused it.",
        error_code="EntityTooLarge", error_words="Your proposed upload is too large", request_id="R1",
    )  # fmt: skip


def past(one: Outcome) -> PastOutcome:
    return PastOutcome(
        one.verb, one.key, one.status.value, one.size, one.attempts, one.because, one.error, one.error_kind,
        one.error_code, one.error_words, one.request_id, one.exit_code, 0,
    )  # fmt: skip


def test_a_failure_has_the_same_words_afterwards_as_on_the_screen() -> None:
    one = refused()
    assert outcome_line(past(one)) == f"failed   upload {failure_line(one)}"
    assert "R1" in outcome_line(past(one))


def test_what_a_signal_left_undone_says_so() -> None:
    left = Outcome("upload", "d/a", Status.LEFT, because="is not there", error="by SIGTERM")
    assert reason_words(left) == "left, since the run was ended by SIGTERM"
    assert outcome_line(past(left)) == "left     upload d/a: left, since the run was ended by SIGTERM"
    full = Outcome("upload", "d/a", Status.LEFT, error="The disk is full.")
    assert reason_words(full) == "The disk is full"


def test_what_is_gone_since_is_not_skipped_by_rule() -> None:
    summary = Summary(command="sync", source="a", destination="b", skipped=3, gone=2, filtered=True)
    assert verdict(summary) == (
        "There was nothing to move. 2 objects are skipped: not at the source any more. 1 object is skipped by rule."
    )
    summary.uploaded = 1
    assert "in place: 1 uploaded and proved, 0 unchanged. 2 objects are skipped: not at the" in verdict(summary)


def test_of_a_run_that_had_nothing_to_do_the_verdict_says_all() -> None:
    summary = Summary(command="backup", source="a", destination="b", verdict="Nothing is left to do.", requests=2)
    assert brief_lines(summary) == ["Nothing is left to do."]
    summary.kept = 1
    assert len(brief_lines(summary)) > 1
