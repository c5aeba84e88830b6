"""A call that a pipe holds is waited for, or left alone."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from sterna.moving.pipe import held


def test_what_a_call_gives_or_raises_comes_back() -> None:
    async def ask() -> int:
        with pytest.raises(OSError, match="Bad file descriptor"):
            await held(os.read, -1, 1)
        return await held(max, 3, 7)

    assert asyncio.run(ask()) == 7


def test_a_call_that_does_not_end_holds_neither_who_leaves_it_nor_the_loop() -> None:
    reading, writing = os.pipe()

    async def leave() -> None:
        task = asyncio.ensure_future(held(os.read, reading, 1))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(leave())
    (left,) = (thread for thread in threading.enumerate() if thread.name == "pipe")
    assert left.daemon
    os.write(writing, b"x")
    left.join(10)
    assert not left.is_alive()
    os.close(reading)
    os.close(writing)
