"""Disk work in the loop's thread while the disk is quick, in threads when it is not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sterna.moving import disk as module
from sterna.moving.disk import Disk


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
            assert not disk.is_slow

    run(test)


def test_after_slow_calls_the_next_go_to_threads_and_then_it_tries_again(clock: FakeTime) -> None:
    async def test() -> None:
        with opened() as disk:

            def slow() -> None:
                clock.now += 0.1

            for _ in range(10):
                await disk.quick(slow)
                if disk.is_slow:
                    break
            assert disk.is_slow
            here, hops = threading.get_ident(), 0
            while await disk.quick(threading.get_ident) != here:
                hops += 1
                assert hops < 1000
            assert hops >= 100
            assert not disk.is_slow

    run(test)


@pytest.mark.parametrize("way", ["quick", "slow"])
def test_arguments_and_errors_pass_through(way: str) -> None:
    async def test() -> None:
        with opened() as disk:
            assert await getattr(disk, way)(divmod, 7, 2) == (3, 1)
            with pytest.raises(ZeroDivisionError):
                await getattr(disk, way)(divmod, 1, 0)

    run(test)
