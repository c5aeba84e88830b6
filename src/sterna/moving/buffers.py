"""Lend memory within one budget: buffers for parts and slices, and room for small objects."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Self

SMALL = 64 * 1024  # what is smaller is not counted: there is at most one for each request in flight


class Lease:
    """Memory lent until ``release``, which may be called twice."""

    __slots__ = ("_buffer", "_lender", "size", "view")

    def __init__(self, lender: Buffers, size: int, buffer: bytearray | None) -> None:
        self._lender = lender
        self._buffer = buffer
        self.size = size
        self.view = memoryview(buffer) if buffer is not None else memoryview(b"")

    def release(self) -> None:
        """Give the memory back; the view must not be used any more."""
        lender, self._lender = self._lender, None  # type: ignore[assignment]
        if lender is not None:
            lender.take_back(self.size, self._buffer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Buffers:
    """``most`` bytes for everything that a run holds of objects at once (``--max-memory``), lent first come, first served.

    Buffers are kept and lent again: fresh memory costs a page fault for each 4 KiB, as much as copying into it. A
    request larger than everything is granted when nothing else is lent.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.lent = 0
        self._kept: dict[int, list[bytearray]] = {}
        self._kept_bytes = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def __repr__(self) -> str:
        return f"<Buffers {self.lent} of {self.most} lent, {self._kept_bytes} kept, {len(self._waiting)} waiting>"

    async def lend(self, size: int) -> Lease:
        """A buffer of exactly ``size`` bytes, with whatever content."""
        await self.reserve(size)
        kept = self._kept.get(size)
        if kept:
            self._kept_bytes -= size
            return Lease(self, size, kept.pop())
        self._drop_surplus()
        return Lease(self, size, bytearray(size))

    async def room(self, size: int) -> Lease:
        """Room for ``size`` bytes that the caller allocates itself."""
        await self.reserve(size)
        self._drop_surplus()
        return Lease(self, size, None)

    async def reserve(self, size: int) -> None:
        """Wait until ``size`` bytes may be held, and count them as held."""
        if self._waiting or not self._fits(size):
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append((size, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self.take_back(size, None)
                else:
                    self._waiting = deque(item for item in self._waiting if item[1] is not turn)
                    self._grant()  # those behind may fit where this one did not
                raise
        else:
            self.lent += size

    def take_back(self, size: int, buffer: bytearray | None) -> None:
        """What ``Lease.release`` calls."""
        self.lent -= size
        if buffer is not None:
            self._kept.setdefault(size, []).append(buffer)
            self._kept_bytes += size
        self._grant()

    def resize(self, most: int) -> None:
        """Lend up to ``most`` bytes from now on; what is lent stays so until it comes back."""
        self.most = most
        self._drop_surplus()
        self._grant()

    def _grant(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            wanted, turn = self._waiting.popleft()
            if not turn.done():
                self.lent += wanted
                turn.set_result(None)

    def _fits(self, size: int) -> bool:
        return self.lent == 0 or self.lent + size <= self.most

    def _drop_surplus(self) -> None:
        """What is kept for the next borrower must not stand beside a full budget."""
        while self._kept_bytes and self.lent + self._kept_bytes > self.most:
            size = next(size for size, kept in self._kept.items() if kept)
            self._kept[size].pop()
            self._kept_bytes -= size
