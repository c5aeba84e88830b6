"""The body of a range, poured into a file by the loop and by threads."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sterna.model.errors import DiskFull
from sterna.model.events import Tally
from sterna.model.units import MIB
from sterna.moving.buffers import Buffers
from sterna.moving.disk import Disk
from sterna.moving.sink import SLICE, RangeSink
from sterna.stores.folder import Folder
from sterna.wire.checksum import algorithm

SIZE = 3 * MIB
KIND = algorithm("CRC32C")


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


@asynccontextmanager
async def opened(path: Path, turn: asyncio.Lock) -> AsyncIterator[tuple[RangeSink, Callable[[], bytes]]]:
    """A sink, and what is in its file so far."""
    folder, disk = Folder.open(path), Disk()
    with folder.create("file", SIZE) as draft:
        sink = RangeSink(draft, 0, SIZE, KIND, disk, Tally(), turn, writeback=False)
        await sink.open(Buffers(1 << 30))
        yield sink, (path / draft.temporary).read_bytes
        sink.close()
    disk.close()
    folder.close()


def fills(letter: bytes) -> Callable[[memoryview, int], int]:
    def take(view: memoryview, left: int) -> int:
        view[:] = letter * len(view)
        return len(view)

    return take


@pytest.mark.parametrize("slices", [1, 2])
def test_what_a_broken_attempt_left_to_be_written_never_lands_on_the_next_one(tmp_path: Path, slices: int) -> None:
    """The first came by the loop, the next by a thread; meanwhile another range has its turn with the file."""

    async def test() -> None:
        turn = asyncio.Lock()
        async with opened(tmp_path, turn) as (sink, written):
            await turn.acquire()
            for _ in range(slices):
                sink.room()[:] = b"o" * SLICE
                sink.wrote(SLICE)
                await asyncio.sleep(0)
            assert sink.is_full == (slices == 2)
            sink.restart()
            draining = asyncio.ensure_future(sink.drain(fills(b"n"), SIZE))
            await asyncio.sleep(0.01)
            turn.release()
            assert await draining == SIZE
            await sink.settle()
            assert written() == b"n" * SIZE
            assert sink.crc == KIND.update(b"n" * SIZE, 0)

    run(test)


def test_H49_what_the_disk_said_of_bytes_before_is_said_to_the_thread_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        turn = asyncio.Lock()
        async with opened(tmp_path, turn) as (sink, written):
            await turn.acquire()
            sink.room()[:] = b"o" * SLICE
            with monkeypatch.context() as patched:
                real = os.pwrite

                def full(*_: object) -> int:
                    patched.setattr(os, "pwrite", real)  # somebody has made room
                    raise OSError(errno.ENOSPC, "No space left on device")

                patched.setattr(os, "pwrite", full)
                sink.wrote(SLICE)
                await asyncio.sleep(0)
                draining = asyncio.ensure_future(sink.drain(fills(b"n"), SIZE - SLICE))
                await asyncio.sleep(0)
                turn.release()
                with pytest.raises(DiskFull):
                    await draining
            assert written().strip(b"\0") == b""

    run(test)
