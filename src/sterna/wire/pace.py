"""Decide how many requests may be in flight: climb while the server is what we wait for, halve when it says slow down."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from sterna.model.events import Tally

TICK_S: Final = 0.02  # how often the limit is looked at; a round trip to a near region takes as long
START: Final = 16  # enough to saturate one core against a server without latency, and kind to a small one
BUSY: Final = 0.85  # of the loop's thread: above it, more requests in flight would only wait in our own queue
GAIN: Final = 1.25  # a doubled limit must bring a quarter more, or it is taken back
HOLD_S: Final = 2.0  # and so long nothing more is tried
_HZ: Final = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_REQUEST_WEIGHT: Final = 4096  # bytes that a request counts for beside those it moves
_LEAST_IDLE: Final = 0.15  # of one processor: less is none


def idle_seconds() -> float:
    """How long all processors together have had nothing to do; a number that always grows where nobody can tell."""
    try:
        with open("/proc/stat", "rb", buffering=0) as stat:
            fields = stat.read(200).split(maxsplit=6)
    except OSError:
        return time.perf_counter()
    return (int(fields[4]) + int(fields[5])) / _HZ


def _never() -> bool:
    return False


def _by_nothing() -> str:
    return ""


class Gate:
    """A count of requests in flight that adapts (AIMD): entered before, left after each.

    While work waits, and the loop's thread has time to spare, the limit doubles, up to ``most``, as long as each step
    moves more than the one before; a step that does not is taken back. After the first SlowDown it climbs by one at a
    time instead. A SlowDown halves it, once a second at most, since one burst of refusals is one message. It is never
    below 1. While a limit that the user has set is what requests wait for, it stays as it is.
    """

    def __init__(self, most: int, tally: Tally) -> None:
        self.most = max(1, most)
        self.limit = min(START, self.most)
        tally.lanes += self.limit
        self.in_flight = 0
        self.halvings = 0
        self.demand: Callable[[], bool] = _never  # whether somebody has work who has not come to the gate yet
        self.held_by: Callable[[], str] = _by_nothing  # names the limit, if one is what requests wait for
        self.on_growth: Callable[[], object] = _never  # called when the limit has grown
        self._tally = tally
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._slowed_s = -1.0
        self._task: asyncio.Task[None] | None = None
        self._starved = False
        self._ended = 0

    def __repr__(self) -> str:
        return f"<Gate {self.in_flight}/{self.limit} of {self.most}, {len(self._waiting)} waiting>"

    async def enter(self) -> None:
        """Wait for a place. Each enter needs a leave, whatever happens between."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._adapt())
        while self.in_flight >= self.limit:
            self._starved = True
            place = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            try:
                await place
            except asyncio.CancelledError:
                if place.done() and not place.cancelled():
                    self._wake(1)  # our turn came with the cancellation: pass it on
                raise
        self.in_flight += 1
        self._tally.in_flight += 1

    def leave(self) -> None:
        """Give the place back."""
        self.in_flight -= 1
        self._ended += 1
        self._tally.in_flight -= 1
        if self._waiting and self.in_flight < self.limit:
            self._wake(1)

    async def __aenter__(self) -> None:
        await self.enter()

    async def __aexit__(self, *_: object) -> None:
        self.leave()

    def slow_down(self) -> None:
        """The server refused for load: halve the limit."""
        now = time.monotonic()
        if now - self._slowed_s < 1.0:
            return
        self._slowed_s = now
        self.halvings += 1
        self._set(max(1, self.limit // 2))

    def set_most(self, most: int) -> None:
        """Let so many in at most from now on. One is always let in; of more, some are tried as at the beginning."""
        self.most = max(1, most)
        if self.limit > self.most:
            self._set(self.most)
        elif self.limit < min(START, self.most) and not self.halvings:
            self._set(min(START, self.most))

    def _wake(self, count: int) -> None:
        while count > 0 and self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                count -= 1

    async def _adapt(self) -> None:
        """Look at the limit again and again; ends by itself when nobody has waited for a second."""
        tally = self._tally
        quiet, hold_s, before, rate_before, fresh = 0, 0.0, 0, 0.0, True
        wall, busy, ended, moved = time.perf_counter(), time.thread_time(), self._ended, tally.moved_bytes
        idle = idle_seconds()
        while quiet < 1.0 / TICK_S:
            await asyncio.sleep(TICK_S)
            if not self._starved and not self._waiting and not self.demand():
                quiet += 1
                tally.limited_by = ""
                continue
            quiet = 0
            now = time.perf_counter()
            if self._ended - ended < self.limit and now - wall < 1.0:
                continue  # not every place was taken anew: too early to tell
            load = (time.thread_time() - busy) / (now - wall)
            idle_now = idle_seconds()
            if idle_now - idle < _LEAST_IDLE * (now - wall):
                load = 1.0  # other threads and processes have what is left: more in flight would only queue
            idle = idle_now
            rate = (tally.moved_bytes - moved + (self._ended - ended) * _REQUEST_WEIGHT) / (now - wall)
            wall, busy, ended, moved = now, time.thread_time(), self._ended, tally.moved_bytes
            self._starved = False
            slowed = time.monotonic() - self._slowed_s < 1.0
            if fresh and load < BUSY and not slowed:
                fresh = False  # what was under way when the limit changed says little about it
                continue
            held_by = self.held_by()
            tally.limited_by = held_by or (
                "the server's rate" if slowed else "CPU" if load > BUSY else "the server or network"
            )
            if held_by:
                before = 0  # more in flight would only wait with the others
            elif before and not slowed and rate < rate_before * GAIN:
                self._set(max(before, 1))
                before, hold_s, fresh = 0, now + HOLD_S, True
            elif load > BUSY or slowed or now < hold_s or self.limit >= self.most:
                before = 0
            else:
                before, rate_before, fresh = self.limit, rate, True
                self._set(min(self.most, self.limit + 1 if self.halvings else self.limit * 2))

    def _set(self, limit: int) -> None:
        grown = limit - self.limit
        self.limit = limit
        self._tally.lanes += grown
        if grown > 0:
            self._wake(grown)
            self.on_growth()

    async def aclose(self) -> None:
        """End the adapting task."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
