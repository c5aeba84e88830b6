"""Hold back ranges that would only stand in line: where the machine itself is what they wait for, few are enough."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final

from sterna.wire.pace import idle_seconds

ENOUGH: Final = 5  # four threads take what comes, and one more is at hand
FEW: Final = 2  # where each byte is decrypted as well, more threads only wait for the interpreter's lock
LOOK_S: Final = 0.06  # the system counts idle time in hundredths of a second
_LEAST_IDLE: Final = 0.15  # of one processor: less is none


class Crowd:
    """Counts the ranges on their way. More than a few are let in only while a processor has time to spare.

    Each connection fills buffers of the system of up to 6 MB: 2 GiB through 16 of them took a seventh more of the
    processor than through 5 where server and disk were as fast as this machine (Linux 6.18, loopback). Where the
    network is what is waited for, processors are idle, and nobody waits here. ``enough`` says how many a few are.
    """

    def __init__(
        self,
        idle: Callable[[], float] = idle_seconds,
        clock: Callable[[], float] = time.monotonic,
        enough: Callable[[], int] = lambda: ENOUGH,
    ) -> None:
        self._enough = enough
        self._idle = idle
        self._clock = clock
        self._seen_s = self._seen_idle_s = 0.0
        self._is_saturated = True
        self._inside = 0
        self._waiting: set[asyncio.Future[None]] = set()

    async def __aenter__(self) -> None:
        if not self._inside:  # nothing is known yet of what these will wait for
            self._seen_s, self._seen_idle_s, self._is_saturated = self._clock(), self._idle(), True
        while self._inside >= self._enough() and self._saturated():
            left = asyncio.get_running_loop().create_future()
            self._waiting.add(left)
            try:
                await asyncio.wait((left,), timeout=LOOK_S)
            finally:
                self._waiting.discard(left)
        self._inside += 1

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inside -= 1
        for left in self._waiting:
            if not left.done():
                left.set_result(None)

    def _saturated(self) -> bool:
        now = self._clock()
        if (passed := now - self._seen_s) >= LOOK_S:
            idle = self._idle()
            self._is_saturated = idle - self._seen_idle_s < _LEAST_IDLE * passed
            self._seen_s, self._seen_idle_s = now, idle
        return self._is_saturated
