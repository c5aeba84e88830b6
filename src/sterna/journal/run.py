"""Turn what one run does into what is kept of it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence

import msgspec

from sterna import __version__
from sterna.journal.boot import boot_id
from sterna.journal.rows import (
    BEGIN_RUN,
    DEPART,
    END_RUN,
    FORGET,
    KEEP_USUAL,
    LAND,
    Statement,
    json_text,
    keep_outcomes,
    keep_synced,
    text,
)
from sterna.journal.values import State
from sterna.journal.writer import Writer
from sterna.model.events import Summary
from sterna.model.outcomes import Outcome, Status
from sterna.model.stop import SIGNALLED
from sterna.model.synced import Synced

_NEEDS_NO_ROW = (Status.DONE, Status.KEPT, Status.PLANNED)
_TOLD_ELSEWHERE = ("exit_code", "started_s", "elapsed_s")


class Run:
    """One run, from ``Journal.begin`` to ``end``. Nothing here waits; ``Journal.flushed`` does.

    ``name`` is what users call it by. Order matters: an observation is given to ``done`` when it was made, and, of files
    that this run wrote, when they were flushed; a range's ``land`` comes after what came of it.
    """

    def __init__(self, writer: Writer | None, number: int, name: str) -> None:
        self.number = number
        self.name = name
        self._writer = writer
        self._keep_synced = keep_synced(number)
        self._outcomes = 0
        self._flights = 0

    def __repr__(self) -> str:
        return f"<Run {self.name}, {self._outcomes} outcomes, {self._flights} flights>"

    def depart(self, keys: Sequence[str]) -> int:
        """These keys are in hand from now on: a run that dies now may or may not have changed each. Gives a number."""
        self._flights += 1
        self._put(DEPART, [(self.number, self._flights, keys)])
        return self._flights

    def land(self, flight: int) -> None:
        """All of a flight has its outcome."""
        self._put(LAND, [(self.number, flight)])

    def done(self, synced: Sequence[Synced]) -> None:
        """Proved to be the same on both sides, as shown; also of what was found in place and is not known yet."""
        self._put(self._keep_synced, synced)

    def gone(self, keys: Sequence[str]) -> None:
        """Proved to be on neither side any more."""
        self._put(FORGET, keys)

    def record(self, outcomes: Sequence[Outcome]) -> None:
        """Keep what came of actions, where it was not what was wanted; the others are counted by the summary."""
        kept = [one for one in outcomes if one.status not in _NEEDS_NO_ROW]
        self._put(keep_outcomes(self.number, self._outcomes), kept)
        self._outcomes += len(kept)

    def usual(self, facts: str) -> None:
        """Keep, in the words of whoever asks for it, what is usual between these places."""
        self._put(KEEP_USUAL, [facts])

    def end(self, summary: Summary, notes: Mapping[str, str | int] | None = None) -> None:
        """The run's own end. ``notes`` are what else is to be told of it."""
        state = State.INTERRUPTED if summary.exit_code in SIGNALLED else State.ENDED
        counts = {
            name: int(value)
            for name, value in msgspec.structs.asdict(summary).items()
            if isinstance(value, (int, float)) and not isinstance(value, bool) and name not in _TOLD_ELSEWHERE
        }
        row = (
            time.time_ns(), state.value, summary.exit_code, text(summary.verdict), json_text(counts),
            json_text(notes or {}), self.number,
        )  # fmt: skip
        if self._writer is not None:
            self._writer.put(END_RUN, [row], lasting=True)

    def _put(self, statement: Statement, values: Sequence[object]) -> None:
        if self._writer is not None:
            self._writer.put(statement, values)


def begin(
    writer: Writer | None,
    number: int,
    command: str,
    places: tuple[str, str],
    *,
    filters: str,
    options: Mapping[str, str],
    is_durable: bool,
) -> Run:
    """The first row of a run."""
    name = run_name()
    if writer is not None:
        source, target = places
        row = (
            number, name, text(command), text(source), text(target), time.time_ns(), filters,
            json_text(options), is_durable, boot_id(), __version__,
        )  # fmt: skip
        writer.put(BEGIN_RUN, [row], lasting=True)
    return Run(writer, number, name)


def run_name() -> str:
    """A name that no other run has: when it began, and a few random digits; ordered by time."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.urandom(3).hex()}"
