"""Decide how many requests may be in flight: climb while the server is what we wait for, halve when it says slow down."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from sterna.model.events import Tally

TICK_S: Final = 0.02  # how often the limit is looked at; a round trip to a near region takes as long
START: Final = 16  # enough to saturate one core against a server without latency, and kind to a small one
BUSY: Final = 0.85  # of the loop's thread: above it, more requests in flight would only wait in our own queue


def _never() -> bool:
    return False


class Gate:
    """A count of requests in flight that adapts (AIMD): entered before, left after each.

    While work waits at the gate and the loop's thread has time to spare, the limit doubles each tick up to ``most``;
    after the first SlowDown it climbs by one a tick instead. A SlowDown halves it, once a second at most, since one
    burst of refusals is one message. ``limit`` is never below 1.
    """

    def __init__(self, most: int, tally: Tally) -> None:
        self.most = max(1, most)
        self.limit = min(START, self.most)
        self.in_flight = 0
        self.halvings = 0
        self.demand: Callable[[], bool] = _never  # whether somebody has work who has not come to the gate yet
        self.on_growth: Callable[[], object] = _never  # called when the limit has grown
        self._tally = tally
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._slowed_s = -1.0
        self._task: asyncio.Task[None] | None = None
        self._starved = False

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
        self.limit = max(1, self.limit // 2)
        self._tally.lanes = self.limit

    def _wake(self, count: int) -> None:
        while count > 0 and self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                count -= 1

    async def _adapt(self) -> None:
        """Look at the limit each tick; ends by itself when nobody has waited for a second."""
        wall, busy = time.perf_counter(), time.thread_time()
        quiet = 0
        while quiet < 1.0 / TICK_S:
            await asyncio.sleep(TICK_S)
            now, spent = time.perf_counter(), time.thread_time()
            load = (spent - busy) / (now - wall)
            wall, busy = now, spent
            if not self._starved and not self._waiting and not self.demand():
                quiet += 1
                continue
            quiet, self._starved = 0, False
            slowed = time.monotonic() - self._slowed_s < 1.0
            self._tally.limited_by = (
                "the server's rate" if slowed else "CPU" if load > BUSY else "the server or network"
            )
            if load > BUSY or slowed or self.limit >= self.most:
                continue
            grown = self.limit + 1 if self.halvings else self.limit * 2
            self._wake(min(grown, self.most) - self.limit)
            self.limit = min(grown, self.most)
            self._tally.lanes = self.limit
            self.on_growth()

    def close(self) -> None:
        """End the adapting task."""
        if self._task is not None:
            self._task.cancel()
