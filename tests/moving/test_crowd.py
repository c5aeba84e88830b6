"""Few ranges at once where the machine is what they wait for, any number where it is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from sterna.moving.crowd import ENOUGH, LOOK_S, Crowd


class Machine:
    """A clock, and processors that are idle for a part of it."""

    def __init__(self, spare: float) -> None:
        self.now_s = 100.0
        self.idle_s = 5000.0
        self.spare = spare

    def passes(self, seconds: float) -> None:
        self.now_s += seconds
        self.idle_s += seconds * self.spare

    def crowd(self) -> Crowd:
        return Crowd(lambda: self.idle_s, lambda: self.now_s)


class Visitors:
    """Ranges that stay inside until they are told to leave."""

    def __init__(self, crowd: Crowd, count: int) -> None:
        self.inside = self.most = 0
        self._leave = [asyncio.Event() for _ in range(count)]
        self._tasks = [asyncio.ensure_future(self._visit(crowd, leave)) for leave in self._leave]

    async def _visit(self, crowd: Crowd, leave: asyncio.Event) -> None:
        async with crowd:
            self.inside += 1
            self.most = max(self.most, self.inside)
            await leave.wait()
            self.inside -= 1

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def leave(self, count: int) -> None:
        for leave in self._leave[:count]:
            leave.set()
        del self._leave[:count]
        await self.settle()

    async def all(self) -> None:
        await self.leave(len(self._leave))
        await asyncio.gather(*self._tasks)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


def test_on_a_machine_without_spare_time_a_few_are_inside_and_all_have_their_turn() -> None:
    async def test() -> None:
        machine = Machine(spare=0.0)
        visitors = Visitors(machine.crowd(), 20)
        await visitors.settle()
        for _ in range(20):
            assert visitors.inside <= ENOUGH
            machine.passes(LOOK_S)
            await visitors.leave(1)
        await visitors.all()
        assert visitors.most == ENOUGH

    run(test)


def test_where_processors_are_idle_nobody_waits_for_others_to_leave() -> None:
    async def test() -> None:
        machine = Machine(spare=1.5)
        visitors = Visitors(machine.crowd(), 50)
        await visitors.settle()
        assert visitors.inside == ENOUGH, "nothing is known yet"
        machine.passes(LOOK_S)
        while visitors.inside < 50:  # noqa: ASYNC110 - it is this that is tried
            await asyncio.sleep(LOOK_S)  # they look again by themselves
        await visitors.all()

    run(test)


def test_whoever_gives_up_takes_no_place() -> None:
    async def test() -> None:
        machine = Machine(spare=0.0)
        crowd = machine.crowd()
        visitors = Visitors(crowd, ENOUGH)
        await visitors.settle()
        waiting = [asyncio.ensure_future(crowd.__aenter__()) for _ in range(3)]
        await visitors.settle()
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await visitors.all()
        more = Visitors(crowd, ENOUGH)
        await more.settle()
        assert more.inside == ENOUGH
        await more.all()

    run(test)
