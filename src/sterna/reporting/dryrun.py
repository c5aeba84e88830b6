"""Turn the outcomes and the summary of a dry run into the lines of what would be done."""

from __future__ import annotations

from sterna.model.events import Summary
from sterna.model.outcomes import Outcome, Status
from sterna.model.units import printable, size_words
from sterna.reporting.summary import NAMED, dry_run_verdict, verdict
from sterna.reporting.words import failure_line


def end_verdict(summary: Summary) -> str:
    """The last line of a dry run."""
    if summary.exit_code and not summary.failures:  # an error or a signal ended it: that is what there is to say
        return summary.verdict or verdict(summary)
    return dry_run_verdict(summary)


def end_lines(summary: Summary) -> list[str]:
    """What ends a dry run."""
    failures = [f"would fail: {failure_line(outcome)}" for outcome in summary.failures[:NAMED]]
    skips = [f"would skip: {failure_line(outcome)}" for outcome in summary.skips[:NAMED]]
    return [*skips, *failures, end_verdict(summary)]


def is_planned(outcome: Outcome) -> bool:
    """Whether an outcome stands for an action that was planned and deliberately not carried out."""
    return outcome.status is Status.PLANNED


def planned_line(outcome: Outcome) -> str:
    """``would upload notes.txt (12 B): not there yet``."""
    because = f": {outcome.because}" if outcome.because else ""
    return printable(f"would {outcome.verb} {outcome.key} ({size_words(outcome.size)}){because}")
