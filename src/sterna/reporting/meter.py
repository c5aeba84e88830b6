"""Turn samples of the tally into speeds, the share that is done and the time that is left."""

from __future__ import annotations

from collections import deque

import msgspec

from sterna.model.events import Tally
from sterna.model.units import KIB

SPEED_WINDOW_S = 2.0  # "current" is over the last two seconds: shorter jitters with parts of 8 MiB, longer lags
PEAK_WINDOW_S = 1.0  # a peak over less than a second measures the socket buffers of this machine
_PROGRESS_WINDOW_S = 20.0  # the time left is judged by the last twenty seconds: steadier than the current speed
_KEEP_S = _PROGRESS_WINDOW_S + PEAK_WINDOW_S
_CLOSEST_S = 0.05  # samples closer than this replace each other, so that the window stays short

# What an object costs beside its bytes, said in bytes, so that 20,000 tiny files and one huge file share one scale.
_BYTES_OF_AN_OBJECT = 64 * KIB


class Reading(msgspec.Struct, frozen=True):
    """What the meter shows at one moment. Speeds are bytes per second; None means not known yet."""

    elapsed_s: float = 0.0
    now: float = 0.0
    mean: float = 0.0
    peak: float = 0.0
    left_s: float | None = None
    fraction: float | None = None


class _Sample(msgspec.Struct, frozen=True):
    at_s: float
    moved: int
    work: float


class Meter:
    """Takes samples, in order of time; the clock is the caller's. Keeps some twenty seconds of them."""

    def __init__(self, now_s: float) -> None:
        self._start_s = now_s
        self._samples: deque[_Sample] = deque([_Sample(now_s, 0, 0.0)])
        self._peak = 0.0

    def __repr__(self) -> str:
        return f"<Meter {len(self._samples)} samples, peak {self._peak:.0f} B/s>"

    def sample(self, tally: Tally, now_s: float) -> Reading:
        """Note where the tally stands now, and say what follows from it."""
        newest = _Sample(now_s, tally.moved_bytes, _work_done(tally))
        samples = self._samples
        if len(samples) > 1 and now_s - samples[-2].at_s < _CLOSEST_S:
            samples.pop()
        samples.append(newest)
        while now_s - samples[0].at_s > _KEEP_S and now_s - samples[1].at_s > _PROGRESS_WINDOW_S:
            samples.popleft()

        elapsed_s = now_s - self._start_s
        mean = tally.moved_bytes / elapsed_s if elapsed_s > 0 else 0.0
        over_peak_window = self._last_older_than(now_s - PEAK_WINDOW_S)
        if over_peak_window is not None:
            self._peak = max(self._peak, _speed(over_peak_window, newest), mean)
        return Reading(
            elapsed_s=elapsed_s,
            now=_speed(self._last_older_than(now_s - SPEED_WINDOW_S) or samples[0], newest),
            mean=mean,
            peak=max(self._peak, mean),  # a run of under a second has no other peak than its mean
            left_s=self._left_s(tally, newest),
            fraction=_fraction(tally, newest.work),
        )

    def _last_older_than(self, at_s: float) -> _Sample | None:
        return next((sample for sample in reversed(self._samples) if sample.at_s <= at_s), None)

    def _left_s(self, tally: Tally, newest: _Sample) -> float | None:
        """None while planning goes on: the time for a part of the work would be taken for that of the whole."""
        if not tally.planning_done:
            return None
        left = max(0.0, _work_planned(tally) - newest.work)
        if not left:
            return 0.0
        oldest = self._last_older_than(newest.at_s - _PROGRESS_WINDOW_S) or self._samples[0]
        seconds = newest.at_s - oldest.at_s
        if seconds < PEAK_WINDOW_S or newest.work <= oldest.work:
            return None
        return left * seconds / (newest.work - oldest.work)


def _speed(older: _Sample, newer: _Sample) -> float:
    seconds = newer.at_s - older.at_s
    return (newer.moved - older.moved) / seconds if seconds > 0 else 0.0


def finished_objects(tally: Tally) -> int:
    """Planned objects that need nothing more in this run or another, unless they failed."""
    return tally.ended_objects - tally.left_objects


def useful_bytes(tally: Tally) -> int:
    """Bytes that count towards the plan: those of failed attempts are sent again."""
    return max(0, tally.moved_bytes - tally.wasted_bytes)


def _work_done(tally: Tally) -> float:
    return (
        useful_bytes(tally) + tally.resumed_bytes + tally.unmoved_bytes + _BYTES_OF_AN_OBJECT * finished_objects(tally)
    )


def _work_planned(tally: Tally) -> float:
    return tally.planned_bytes + _BYTES_OF_AN_OBJECT * tally.planned_objects


def _fraction(tally: Tally, work_done: float) -> float | None:
    planned = _work_planned(tally)
    if not planned:
        return 1.0 if tally.planning_done else None
    if tally.planning_done and finished_objects(tally) >= tally.planned_objects:
        return 1.0
    return min(0.999, work_done / planned)  # the last object is not done before it is counted
