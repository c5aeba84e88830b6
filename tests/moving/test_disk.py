"""Disk work in the loop's thread while the disk is quick, in threads when it is not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sterna.model.errors import ObjectChanged
from sterna.moving import disk as module
from sterna.moving.buffers import Buffers
from sterna.moving.disk import Disk
from sterna.moving.upload import together


class FakeTime:
    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    clock = FakeTime()
    monkeypatch.setattr(module, "time", clock)
    return clock


@contextmanager
def opened() -> Iterator[Disk]:
    disk = Disk()
    try:
        yield disk
    finally:
        disk.close()


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


def test_a_quick_call_runs_in_place_and_a_slow_one_in_a_thread(clock: FakeTime) -> None:
    async def test() -> None:
        with opened() as disk:
            here = threading.get_ident()
            assert await disk.quick(threading.get_ident) == here
            assert await disk.slow(threading.get_ident) != here

    run(test)


def test_after_slow_calls_the_next_go_to_threads_and_then_it_tries_again(clock: FakeTime) -> None:
    async def test() -> None:
        with opened() as disk:

            def slow() -> None:
                clock.now += 0.1

            here, hops = threading.get_ident(), 0
            for _ in range(10):
                await disk.quick(slow)
            while await disk.quick(threading.get_ident) != here:
                hops += 1
                assert hops < 1000
            assert hops >= 100

    run(test)


@pytest.mark.parametrize("way", ["quick", "slow"])
def test_arguments_and_errors_pass_through(way: str) -> None:
    async def test() -> None:
        with opened() as disk:
            assert await getattr(disk, way)(divmod, 7, 2) == (3, 1)
            with pytest.raises(ZeroDivisionError):
                await getattr(disk, way)(divmod, 1, 0)

    run(test)


def test_a_buffer_is_lent_again_only_when_no_thread_fills_it_any_more() -> None:
    """One part of a file fails while another is still being read: the next file gets that one's buffer."""

    async def test() -> None:
        buffers = Buffers(1 << 20)
        is_filling, go_on = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()
        numbers = iter((1, 2))

        def fill(view: memoryview) -> None:
            loop.call_soon_threadsafe(is_filling.set)
            assert go_on.wait(30)
            view[:] = b"A" * len(view)

        async def part() -> None:
            if next(numbers) == 1:
                await is_filling.wait()
                loop.call_later(0.05, go_on.set)
                raise ObjectChanged("The file became shorter.")
            with await buffers.lend(1000) as lease:
                await disk.slow(fill, lease.view)

        with opened() as disk:
            with pytest.raises(ObjectChanged):
                await together(part, 2)
            with await buffers.lend(1000) as lease:
                lease.view[:] = b"B" * 1000
                await asyncio.sleep(0.1)
                assert lease.view == b"B" * 1000, "another file's bytes"

    run(test)


def test_whoever_gives_up_waits_for_the_thread_however_often_it_is_told() -> None:
    async def test() -> None:
        go_on = threading.Event()
        begun: list[str] = []

        def work(name: str) -> None:
            begun.append(name)
            assert go_on.wait(30)
            raise ZeroDivisionError  # of which nobody hears

        with opened() as disk:
            calls = [asyncio.ensure_future(disk.slow(work, str(number))) for number in range(10)]
            while len(begun) < 4:  # noqa: ASYNC110 - as many as there are threads
                await asyncio.sleep(0.001)
            for _ in range(3):
                for call in calls:
                    call.cancel()
                await asyncio.sleep(0.01)
            assert [call.done() for call in calls] == [False] * 4 + [True] * 6, "those that have not begun never will"
            go_on.set()
            ends = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(end, asyncio.CancelledError) for end in ends)
            assert len(begun) == 4

    run(test)


def test_what_a_thread_opens_for_one_who_has_given_up_is_let_go() -> None:
    async def test() -> None:
        may_open = threading.Event()
        begun = threading.Event()
        let_go: list[str] = []

        def open_it(name: str) -> str:
            begun.set()
            assert may_open.wait(30)
            return name

        with opened() as disk:
            call = asyncio.ensure_future(disk.opened(let_go.append, open_it, "given up"))
            while not begun.is_set():  # noqa: ASYNC110 - a thread sets it
                await asyncio.sleep(0.001)
            call.cancel()
            await asyncio.sleep(0.001)
            may_open.set()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert let_go == ["given up"]
            assert await disk.opened(let_go.append, open_it, "taken") == "taken"
            assert let_go == ["given up"]

    run(test)
