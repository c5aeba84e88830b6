"""A loop's clock that only the test moves."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import cast


class FakeLoop:
    """What a turnstile asks of its loop: the time, timers, futures. ``pass_s`` lets time pass, and timers come."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self._timers: list[tuple[float, int, FakeTimer]] = []
        self._numbers = itertools.count()

    def time(self) -> float:
        return self.now_s

    def create_future(self) -> asyncio.Future[None]:
        return asyncio.get_running_loop().create_future()

    def call_later(self, delay_s: float, function: Callable[[], object]) -> FakeTimer:
        timer = FakeTimer(function)
        heapq.heappush(self._timers, (self.now_s + delay_s, next(self._numbers), timer))
        return timer

    def pass_s(self, seconds: float) -> None:
        until_s = self.now_s + seconds
        while self._timers and self._timers[0][0] <= until_s:
            self.now_s, _, timer = heapq.heappop(self._timers)
            if not timer.cancelled:
                timer.function()
        self.now_s = until_s

    @property
    def pending(self) -> int:
        """Timers that somebody still waits for."""
        return sum(not timer.cancelled for _, _, timer in self._timers)

    @property
    def as_loop(self) -> asyncio.AbstractEventLoop:
        return cast(asyncio.AbstractEventLoop, self)


class FakeTimer:
    """One timer."""

    def __init__(self, function: Callable[[], object]) -> None:
        self.function = function
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True
