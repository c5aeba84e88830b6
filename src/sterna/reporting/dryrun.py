"""Turn the outcomes of a dry run into the lines of what would be done."""

from __future__ import annotations

from collections import Counter

from sterna.model.events import Event, ObjectsEnded, Summary
from sterna.model.outcomes import Outcome
from sterna.model.units import printable, size_words
from sterna.reporting.summary import NAMED
from sterna.reporting.words import count_words, failure_line

_WOULD_BE = "dry run"  # the error that a planned action's outcome carries where nothing was carried out


class DryRun:
    """A listener that counts what would be done; what fails even in a dry run is counted by the summary."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    def __call__(self, event: Event) -> None:
        if isinstance(event, ObjectsEnded):
            for outcome in event.outcomes:
                if is_planned(outcome):
                    self._counts[outcome.verb] += 1
                    self._bytes[outcome.verb] += outcome.size

    def verdict(self, summary: Summary) -> str:
        """The last line."""
        would = [
            f"{verb} {count_words(count)}" + (f" ({size_words(self._bytes[verb])})" if self._bytes[verb] else "")
            for verb, count in sorted(self._counts.items())
        ]
        sentence = "Dry run, nothing was changed: it would " + (" and ".join(would) if would else "change nothing")
        sentence += f"; {count_words(summary.kept)} would stay as {'it is' if summary.kept == 1 else 'they are'}"
        if summary.failed:
            sentence += (
                f"; {count_words(summary.failed)} would fail and {'is' if summary.failed == 1 else 'are'} named above"
            )
        return sentence + "."

    def lines(self, summary: Summary) -> list[str]:
        """What ends a dry run."""
        failures = [f"would fail: {failure_line(outcome)}" for outcome in summary.failures[:NAMED]]
        return [*failures, self.verdict(summary)]


def is_planned(outcome: Outcome) -> bool:
    """Whether an outcome stands for an action that was planned and deliberately not carried out."""
    return outcome.error == _WOULD_BE


def planned_line(outcome: Outcome) -> str:
    """``would upload notes.txt (12 B): not there yet``."""
    because = f": {outcome.because}" if outcome.because else ""
    return printable(f"would {outcome.verb} {outcome.key} ({size_words(outcome.size)}){because}")
