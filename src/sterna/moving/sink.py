"""Pour the body of a ranged answer into a file, slice by slice, summing as it goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sterna.model.errors import ConnectionLost, Corrupt, SternaError
from sterna.model.events import Tally
from sterna.model.units import MIB
from sterna.moving.buffers import Buffers, Lease
from sterna.moving.disk import Disk
from sterna.stores.draft import Draft
from sterna.wire.checksum import Algorithm

SLICE = (
    MIB  # small enough to be summed and written out of the processor's cache, large enough to make a thread's hop cheap
)
_AT_ONCE = 16 * MIB  # before other ranges have their turn with the thread
_TOLD_EVERY = 4 * MIB
_SLICES = 2  # one is filled while the other is written


class RangeSink:
    """Receives ``length`` bytes that belong at ``start`` of a draft; ``crc`` is their sum when ``settle`` returns.

    Two slices take turns: the connection fills one while a thread sums and writes the other. Where the disk is slower
    than the network both are full, and the connection stops reading until one is free. ``restart`` empties it for
    another attempt at the same range. All sinks of a file share a ``turn``: the kernel lets one write into a file at a
    time, and others who try spin for it, which doubled the CPU of a download.

    ``begun`` is the sum of what another run has written before ``start``, which is gone on with; ``on_progress`` is told
    how many bytes are written, and their sum, some megabytes at a time, from any thread.
    """

    def __init__(
        self,
        draft: Draft,
        start: int,
        length: int,
        kind: Algorithm | None,
        disk: Disk,
        tally: Tally,
        turn: asyncio.Lock,
        *,
        writeback: bool,
        begun: int = 0,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self._begun = begun
        self._on_progress = on_progress
        self._told = 0
        self._draft = draft
        self._start = start
        self._length = length
        self._kind = kind
        self._disk = disk
        self._tally = tally
        self._turn = turn
        self._writeback = writeback
        self._free: list[memoryview] = []
        self._filling: memoryview | None = None
        self._filled = 0
        self.received = 0
        self._attempt = 0
        self._writes: asyncio.Task[None] | None = None
        self._error: SternaError | None = None
        self._leases: list[Lease] = []
        self._resume: Callable[[], object] = bool
        self.crc = begun

    async def open(self, buffers: Buffers) -> None:
        """Borrow the slices. ``close`` gives them back."""
        lease = await buffers.lend(_SLICES * SLICE)  # at once: with one slice each, many would wait for the second
        self._leases.append(lease)
        self._free += [lease.view[start : start + SLICE] for start in range(0, lease.size, SLICE)]
        self._filling = self._free.pop()

    def close(self) -> None:
        """Give the slices back; nothing may be in flight any more."""
        for lease in self._leases:
            lease.release()
        self._leases.clear()

    # What the connection calls.

    def on_room(self, resume: Callable[[], None]) -> None:
        self._resume = resume

    @property
    def is_full(self) -> bool:
        return self._filling is None and self._error is None

    def room(self) -> memoryview:
        if self._error is not None:
            raise self._error
        assert self._filling is not None
        return self._filling[self._filled :]

    def wrote(self, count: int) -> None:
        if self._error is not None:
            raise self._error
        self._filled += count
        self.received += count
        self._tally.moved_bytes += count
        if self.received > self._length:
            raise _too_much(self._draft.key)
        assert self._filling is not None
        if self._filled == len(self._filling) or self.received == self._length:
            self._write()

    async def drain(self, take: Callable[[memoryview, int], int], left: int) -> int:
        await self.quiet()  # what is still to be written, perhaps of an attempt before, must not land on what comes now
        if self._error is not None:
            raise self._error
        if left > self._length - self.received:  # before any of it lands where another range's bytes are
            raise _too_much(self._draft.key)
        count = 0
        before = self.received
        try:
            await self._disk.slow(self._drain, take, left)
        except SternaError as error:
            if not isinstance(error, ConnectionLost):
                self._error = error
            raise
        finally:
            count = self.received - before
            self._tally.moved_bytes += count
        return count

    def _drain(self, take: Callable[[memoryview, int], int], left: int) -> None:
        """Read, write and sum in one thread, while the bytes are in its processor's cache; no loop has to be asked."""
        slice_ = self._filling
        assert slice_ is not None
        until = self.received + min(left, _AT_ONCE)
        while self.received < until:
            count = take(slice_[self._filled :][:left], left)
            if not count:
                return
            left -= count
            self.received += count
            self._filled += count
            if self._filled == len(slice_) or self.received == self._length:
                offset = self.received - self._filled
                self.crc = self._sum_and_write(slice_[: self._filled], offset, self.crc if offset else self._begun)
                self._filled = 0

    # What the download calls.

    def restart(self) -> None:
        """Begin anew: the last attempt broke off."""
        self._tally.wasted_bytes += self.received
        self._attempt += 1
        self.received = self._filled = 0

    async def settle(self) -> None:
        """Wait until all that came is written; raises the disk's error, or Corrupt where bytes are missing."""
        while self._writes is not None:
            await asyncio.shield(self._writes)
        if self._error is not None:
            raise self._error
        if self.received != self._length:
            raise Corrupt(f"{self.received} of {self._length} bytes came.", operation="Get", key=self._draft.key)

    async def quiet(self) -> None:
        """Wait for the disk only: the slices are ours again."""
        while self._writes is not None:
            await asyncio.shield(self._writes)

    def _write(self) -> None:
        assert self._filling is not None
        full, count = self._filling, self._filled
        offset = self.received - count
        self._filled = 0
        self._filling = self._free.pop() if self._free else None
        before = self._writes
        self._writes = asyncio.get_running_loop().create_task(self._put(full, count, offset, self._attempt, before))

    async def _put(
        self, full: memoryview, count: int, offset: int, attempt: int, before: asyncio.Task[None] | None
    ) -> None:
        if before is not None:
            await before  # in order: the sum needs it, and a repeated range must land after what it replaces
        try:
            if self._error is None:
                crc = self.crc if offset else self._begun
                async with self._turn:
                    crc = await self._disk.quick(self._sum_and_write, full[:count], offset, crc)
                if attempt == self._attempt:
                    self.crc = crc
        except SternaError as error:
            self._error = error
        if self._writes is asyncio.current_task():
            self._writes = None
        if self._filling is None:
            self._filling, self._filled = full, 0
            self._resume()
        else:
            self._free.append(full)

    def _sum_and_write(self, data: memoryview, offset: int, crc: int) -> int:
        if offset + len(data) > self._length:  # where another range's bytes are, and its sum is known to be right
            raise _too_much(self._draft.key)
        self._draft.write_at(data, self._start + offset)
        if self._writeback:
            self._draft.begin_writeback(self._start + offset, len(data))
        if self._kind is None:
            return 0
        crc = self._kind.update(data, crc)
        written = offset + len(data)
        if self._on_progress is not None and written >= self._told + _TOLD_EVERY:
            self._told = written  # not less, where the range is begun anew: the same bytes are written again
            self._on_progress(written, crc)
        return crc


def _too_much(key: str) -> Corrupt:
    return Corrupt("The server sent more bytes than were asked for.", operation="Get", key=key)
