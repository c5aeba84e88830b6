"""The gate: how many requests may be in flight, and who is next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from sterna.model.events import Tally
from sterna.wire import pace
from sterna.wire.pace import START, TICK_S, Gate


class FakeTime:
    """The clocks that the gate reads. Processor time stands still: the loop's thread is idle."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def perf_counter(self) -> float:
        self.now += 1e-6
        return self.now

    def thread_time(self) -> float:
        return 0.0


def _no_stat(*_: object, **__: object) -> object:
    raise OSError


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    """A clock of the test's own, on a machine whose idle time nobody can tell."""
    clock = FakeTime()
    monkeypatch.setattr(pace, "time", clock)
    monkeypatch.setattr(pace, "open", _no_stat, raising=False)
    return clock


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_it_starts_small_and_never_above_its_most() -> None:
    assert Gate(256, Tally()).limit == START
    assert Gate(3, Tally()).limit == 3
    assert Gate(0, Tally()).limit == 1
    assert Gate(-5, Tally()).limit == 1


def test_closing_ends_the_task_that_adapts_the_limit() -> None:
    async def test() -> None:
        gate = Gate(3, Tally())
        async with gate:
            assert len(asyncio.all_tasks()) == 2
        await gate.aclose()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(test())


def test_no_more_than_the_limit_are_inside() -> None:
    async def test() -> None:
        tally = Tally()
        gate = Gate(3, tally)
        inside = most = 0

        async def request() -> None:
            nonlocal inside, most
            async with gate:
                inside += 1
                most = max(most, inside)
                assert gate.in_flight == tally.in_flight == inside <= 3
                await asyncio.sleep(0)
                inside -= 1

        await asyncio.gather(*(request() for _ in range(50)))
        assert most == 3
        assert (gate.in_flight, tally.in_flight) == (0, 0)
        assert repr(gate) == "<Gate 0/3 of 3, 0 waiting>"
        await gate.aclose()

    run(test)


def test_a_place_is_given_back_when_a_request_fails() -> None:
    async def test() -> None:
        gate = Gate(1, Tally())
        with pytest.raises(ZeroDivisionError):
            async with gate:
                raise ZeroDivisionError
        assert gate.in_flight == 0
        await gate.aclose()

    run(test)


def test_who_waits_longest_is_next() -> None:
    async def test() -> None:
        gate = Gate(1, Tally())
        order: list[int] = []

        async def request(number: int) -> None:
            async with gate:
                order.append(number)
                await asyncio.sleep(0)

        await asyncio.gather(*(request(number) for number in range(10)))
        assert order == list(range(10))
        await gate.aclose()

    run(test)


def test_a_waiter_that_is_cancelled_takes_no_place() -> None:
    async def test() -> None:
        gate = Gate(1, Tally())
        await gate.enter()
        first, second = (asyncio.create_task(gate.enter()) for _ in range(2))
        await turns()
        first.cancel()
        await turns()
        gate.leave()
        await second
        assert gate.in_flight == 1
        assert first.cancelled()
        await gate.aclose()

    run(test)


def test_a_waiter_that_is_cancelled_when_its_turn_comes_passes_it_on() -> None:
    async def test() -> None:
        gate = Gate(1, Tally())
        await gate.enter()
        first, second = (asyncio.create_task(gate.enter()) for _ in range(2))
        await turns()
        gate.leave()  # it is the first one's turn …
        first.cancel()  # … which never comes to know it
        await second
        assert first.cancelled()
        assert gate.in_flight == 1
        await gate.aclose()

    run(test)


def test_slow_down_halves_at_most_once_a_second_and_never_below_one(clock: FakeTime) -> None:
    tally = Tally()
    gate = Gate(256, tally)
    seen = []
    for _ in range(7):
        for _ in range(20):
            gate.slow_down()
        seen.append(gate.limit)
        clock.now += 0.999
        gate.slow_down()
        assert gate.limit == seen[-1]
        clock.now += 0.002
    assert seen == [8, 4, 2, 1, 1, 1, 1]
    assert gate.halvings == 7
    assert tally.lanes == 1


def test_a_halved_gate_lets_nobody_in_until_enough_have_left(clock: FakeTime) -> None:
    async def test() -> None:
        gate = Gate(8, Tally())
        for _ in range(8):
            await gate.enter()
        waiter = asyncio.create_task(gate.enter())
        await turns()
        gate.slow_down()
        for _ in range(4):
            gate.leave()
            await turns()
            assert not waiter.done()
        gate.leave()
        await waiter
        assert gate.in_flight == gate.limit == 4
        await gate.aclose()

    run(test)


async def pass_through(gate: Gate, clock: FakeTime, rate: float, ticks: int) -> list[int]:
    """For some ticks, a server that answers ``rate`` requests a second, asked by more than the gate lets in. Gives each
    limit that the gate had, in their order."""
    queue = [asyncio.create_task(gate.enter()) for _ in range(64)]
    limits = [gate.limit]

    def note() -> None:
        """Between any two looks of the gate, which takes its looks when it likes: the machine may be slow."""
        if gate.limit != limits[-1]:
            limits.append(gate.limit)

    for _ in range(ticks):
        for _ in range(70):
            clock.now += 1 / rate
            await turns(1)
            note()
            gate.leave()
            queue.append(asyncio.create_task(gate.enter()))
        await asyncio.sleep(TICK_S * 1.1)
        note()
    for task in queue:
        task.cancel()
    await asyncio.gather(*queue, return_exceptions=True)
    while gate.in_flight:
        gate.leave()
    return limits


def test_it_climbs_while_work_waits_and_the_processor_does_not(clock: FakeTime) -> None:
    async def test() -> None:
        tally = Tally()
        gate = Gate(64, tally)
        grown: list[int] = []
        gate.on_growth = lambda: grown.append(gate.limit)
        await pass_through(gate, clock, 200, 4)
        assert grown[0] == 32
        assert tally.lanes == gate.limit
        assert tally.limited_by == "the server or network"
        await gate.aclose()

    run(test)


def test_growth_wakes_those_who_wait(clock: FakeTime) -> None:
    async def test() -> None:
        gate = Gate(64, Tally())
        waiting = [asyncio.create_task(gate.enter()) for _ in range(64)]
        await turns()
        assert gate.in_flight == START
        for _ in range(6):
            clock.now += 1.5
            await asyncio.sleep(TICK_S * 1.1)
        assert gate.limit > START
        assert gate.in_flight == gate.limit  # nobody left, and yet more came in
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await gate.aclose()

    run(test)


def test_a_step_that_brings_nothing_is_taken_back(clock: FakeTime) -> None:
    async def test() -> None:
        gate = Gate(64, Tally())
        limits = await pass_through(gate, clock, 200, 8)
        assert 32 in limits
        assert 16 in limits[limits.index(32) :]
        assert max(limits) == 32
        await gate.aclose()

    run(test)


def test_after_a_slow_down_it_climbs_by_one(clock: FakeTime) -> None:
    async def test() -> None:
        gate = Gate(64, Tally())
        gate.slow_down()
        assert gate.limit == 8
        clock.now += 5
        limits = await pass_through(gate, clock, 100, 5)
        assert 9 in limits
        assert set(limits) <= {8, 9}
        await gate.aclose()

    run(test)


@pytest.mark.parametrize("has_work", [True, False])
def test_it_climbs_only_where_somebody_has_work(clock: FakeTime, has_work: bool) -> None:
    async def test() -> None:
        gate = Gate(64, Tally())
        gate.demand = lambda: has_work
        for _ in range(6):
            for _ in range(START):
                async with gate:
                    pass
            clock.now += 0.5
            await asyncio.sleep(TICK_S * 1.1)
        assert (gate.limit > START) == has_work
        await gate.aclose()

    run(test)


def test_a_closed_gate_leaves_no_task_behind() -> None:
    async def test() -> None:
        gate = Gate(4, Tally())
        before = asyncio.all_tasks()
        await gate.aclose()
        async with gate:
            pass
        assert len(asyncio.all_tasks()) == len(before) + 1
        await gate.aclose()
        await turns()
        assert asyncio.all_tasks() == before

    run(test)


def test_its_most_can_be_told_anew(clock: FakeTime) -> None:
    gate = Gate(256, Tally())
    gate.set_most(3)
    assert (gate.limit, gate.most) == (3, 3)
    gate.set_most(0)
    assert (gate.limit, gate.most) == (1, 1)
    gate.set_most(100)
    assert (gate.limit, gate.most) == (START, 100)
    gate.slow_down()
    gate.set_most(200)
    assert gate.limit == START // 2  # the server has said that it is enough


def test_it_does_not_climb_while_a_limit_is_what_requests_wait_for(clock: FakeTime) -> None:
    async def test() -> None:
        tally = Tally()
        gate = Gate(64, tally)
        gate.held_by = lambda: "--bwlimit"
        limits = await pass_through(gate, clock, 200, 4)
        assert set(limits) == {START}
        assert tally.limited_by == "--bwlimit"
        await gate.aclose()

    run(test)
