"""Do disk work where it disturbs least: in the loop's thread while the disk answers from memory, in threads otherwise."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sterna.wire.tap import until_ended

T = TypeVar("T")

_SLOW_S = 0.002  # a read from the page cache takes 10 to 50 µs; a millisecond and more is a disk
_STRIKES = 3  # slow calls among the last _WARY: a single one may be the scheduler's doing
_WARY = 256  # so many calls go to threads then, before the loop's thread tries again
_THREADS = 4  # enough to keep two parts being read while two are being sent, on any disk


class Disk:
    """Runs calls that read or write files.

    Small reads from the page cache take less time than a hop to a thread costs (10 µs against 30, and the two threads
    would fight for the interpreter's lock), so they are done in place as long as none of them takes long.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="disk")
        self._loop = asyncio.get_running_loop()
        self._wary = 0
        self._strikes = 0
        self._calls = 0

    async def quick(self, call: Callable[..., T], *arguments: Any) -> T:
        """Run a call that is quick unless the disk is slow."""
        if self._wary > 0:
            self._wary -= 1
            return await self.slow(call, *arguments)
        began = time.perf_counter()
        try:
            return call(*arguments)
        finally:
            self._calls += 1
            if time.perf_counter() - began > _SLOW_S:
                self._strikes += 1
                if self._strikes >= _STRIKES:
                    self._wary, self._strikes = _WARY, 0
            elif self._calls % _WARY == 0:
                self._strikes = 0

    async def slow(self, call: Callable[..., T], *arguments: Any) -> T:
        """Run a call in a thread. Cancelled, it waits until that has ended: what the call was lent, it uses no more."""
        running = self._pool.submit(call, *arguments)
        try:
            return await asyncio.wrap_future(running, loop=self._loop)
        except asyncio.CancelledError:
            if not running.cancel():  # it has begun
                ending = asyncio.wrap_future(running, loop=self._loop)
                ending.add_done_callback(asyncio.Future.exception)  # nobody asks for it any more
                await until_ended(ending)
            raise

    async def opened(self, let_go: Callable[[T], object], call: Callable[..., T], *arguments: Any) -> T:
        """``slow`` for a call that opens something. Cancelled meanwhile, nobody is given that: ``let_go`` closes it."""
        given: list[T] = []
        try:
            await self.slow(lambda: given.append(call(*arguments)))
        except asyncio.CancelledError:
            for one in given:
                let_go(one)
            raise
        return given[0]

    def close(self) -> None:
        """Wait for the threads to end."""
        self._pool.shutdown(wait=True, cancel_futures=True)
