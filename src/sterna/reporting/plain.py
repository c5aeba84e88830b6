"""Turn the tally into a line now and then, for where no terminal is."""

from __future__ import annotations

from collections.abc import Callable

from sterna.model.events import Tally
from sterna.model.units import duration_words, size_words
from sterna.reporting.meter import Reading, finished_objects, useful_bytes

FIRST_S = 5.0  # a run that is over by then needs no line
EVERY_S = 30.0  # a night of eight hours makes 960 lines


class PlainLines:
    """Says where a run stands, first after five seconds, then every thirty. The clock is the caller's."""

    def __init__(self, say: Callable[[str], None], now_s: float) -> None:
        self._say = say
        self._next_s = now_s + FIRST_S

    def tick(self, tally: Tally, reading: Reading, now_s: float) -> None:
        """Say a line if one is due."""
        if now_s < self._next_s:
            return
        self._next_s = max(self._next_s + EVERY_S, now_s + 1.0)  # after a pause of the machine: one line, not many
        self._say(f"{duration_words(reading.elapsed_s)}  " + ", ".join(standing(tally, reading)))


def standing(tally: Tally, reading: Reading) -> list[str]:
    """Where a run stands, in pieces, the most telling first; a ``+`` says that planning still goes on."""
    more = "" if tally.planning_done else "+"
    if not tally.planned_objects and not tally.planning_done:
        pieces = [f"listing, {max(tally.listed_source, tally.listed_target):,} seen"]
    else:
        pieces = [
            f"{finished_objects(tally):,} of {tally.planned_objects:,}{more} objects",
            f"{size_words(useful_bytes(tally) + tally.resumed_bytes)} of {size_words(tally.planned_bytes)}{more}",
            f"{size_words(reading.now)}/s",
            f"mean {size_words(reading.mean)}/s",
        ]
        if reading.left_s is not None:
            pieces.append(f"{duration_words(reading.left_s)} left")
    if tally.failed_objects:
        pieces.append(f"{tally.failed_objects:,} failed")
    if tally.retries:
        pieces.append(f"{tally.retries:,} retries" if tally.retries > 1 else "1 retry")
    if tally.resumed_bytes:
        pieces.append(f"{size_words(tally.resumed_bytes)} by earlier runs")
    if tally.there_objects:
        pieces.append(f"{tally.there_objects:,} unchanged")
    if tally.skipped_objects:
        pieces.append(f"{tally.skipped_objects:,} skipped")
    if tally.in_flight or tally.lanes:
        pieces.append(f"{tally.in_flight} of {tally.lanes} lanes")
    if tally.limited_by and tally.in_flight:  # with nothing under way, it is none of what the wire knows
        pieces.append(f"limited by {tally.limited_by}")
    return pieces
