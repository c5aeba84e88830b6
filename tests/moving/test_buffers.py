"""Memory lent within one budget: never more, first come first served, given back whatever happens."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterna.moving.buffers import Buffers, Lease


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def held(buffers: Buffers) -> int:
    """What the budget has lent or keeps, as its own words say it."""
    words = repr(buffers).split()
    return int(words[1]) + int(words[5])


def test_a_buffer_has_its_size_and_is_lent_again() -> None:
    async def test() -> None:
        buffers = Buffers(100)
        with await buffers.lend(40) as lease:
            assert len(lease.view) == 40
            lease.view[:3] = b"abc"
            assert repr(buffers) == "<Buffers 40 of 100 lent, 0 kept, 0 waiting>"
        assert repr(buffers) == "<Buffers 0 of 100 lent, 40 kept, 0 waiting>"
        again = await buffers.lend(40)
        assert bytes(again.view[:3]) == b"abc"  # the same memory
        again.release()
        again.release()
        assert buffers.lent == 0

    run(test)


def test_what_is_kept_makes_room_for_another_size_and_for_what_others_allocate() -> None:
    async def test() -> None:
        for ask in (Buffers.lend, Buffers.room):
            buffers = Buffers(100)
            for lease in [await buffers.lend(50), await buffers.lend(50)]:
                lease.release()
            assert held(buffers) == 100
            with await ask(buffers, 60):
                assert held(buffers) <= 100

    run(test)


def test_room_is_counted_and_has_no_memory() -> None:
    async def test() -> None:
        buffers = Buffers(100)
        with await buffers.room(70) as lease:
            assert (lease.size, len(lease.view), buffers.lent) == (70, 0, 70)
        assert held(buffers) == 0

    run(test)


def test_a_request_larger_than_everything_is_granted_alone() -> None:
    async def test() -> None:
        buffers = Buffers(100)
        small = await buffers.lend(10)
        large = asyncio.create_task(buffers.lend(500))
        await turns()
        assert not large.done()
        small.release()
        lease = await large
        assert (buffers.lent, held(buffers)) == (500, 500)
        waiting = asyncio.create_task(buffers.lend(1))
        await turns()
        assert not waiting.done()
        lease.release()
        (await waiting).release()
        assert held(buffers) <= 100

    run(test)


def test_who_came_first_is_served_first_even_where_a_later_one_would_fit() -> None:
    async def test() -> None:
        buffers = Buffers(100)
        first = await buffers.lend(60)
        order: list[str] = []

        async def ask(name: str, size: int) -> Lease:
            lease = await buffers.lend(size)
            order.append(name)
            return lease

        tasks = [asyncio.create_task(ask(name, size)) for name, size in (("large", 80), ("small", 20), ("tiny", 1))]
        await turns()
        assert order == []
        first.release()
        leases = await asyncio.gather(*tasks[:2])
        assert order == ["large", "small"]
        leases[0].release()
        await tasks[2]
        assert order == ["large", "small", "tiny"]

    run(test)


def test_one_who_gives_up_waiting_lets_those_behind_pass() -> None:
    async def test() -> None:
        buffers = Buffers(100)
        held_all_along = await buffers.lend(60)
        large, small = (asyncio.create_task(buffers.lend(size)) for size in (80, 20))
        await turns()
        large.cancel()
        lease = await small  # nothing was released, and yet it fits now
        assert buffers.lent == 80
        lease.release()
        held_all_along.release()
        assert buffers.lent == 0

    run(test)


def test_one_who_is_cancelled_when_granted_gives_the_memory_back() -> None:
    async def test() -> None:
        buffers = Buffers(100)
        lease = await buffers.lend(100)
        first, second = (asyncio.create_task(buffers.lend(100)) for _ in range(2))
        await turns()
        lease.release()  # it is the first one's …
        first.cancel()  # … who never comes to know it
        (await second).release()
        assert first.cancelled()
        assert buffers.lent == 0

    run(test)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(10, 100))
def test_the_budget_holds_whatever_is_asked_and_cancelled(seed: int, most: int) -> None:
    async def test() -> None:
        chance = random.Random(seed)
        buffers = Buffers(most)
        lent: dict[int, int] = {}

        async def borrower(number: int) -> None:
            size = chance.randint(1, most)
            ask = buffers.lend if chance.random() < 0.5 else buffers.room
            with await ask(size):
                lent[number] = size
                assert sum(lent.values()) <= buffers.lent <= most
                # What was granted a moment ago is counted already, and not yet allocated.
                assert sum(lent.values()) + held(buffers) - buffers.lent <= most
                try:
                    for _ in range(chance.randint(0, 4)):
                        await asyncio.sleep(0)
                finally:
                    del lent[number]

        tasks = [asyncio.create_task(borrower(number)) for number in range(20)]
        for _ in range(10):
            await asyncio.sleep(0)
            if chance.random() < 0.5:
                tasks[chance.randrange(20)].cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert result is None or isinstance(result, asyncio.CancelledError), result
        assert buffers.lent == 0
        assert repr(buffers).endswith("0 waiting>")

    run(test)


def test_an_error_inside_a_lease_gives_it_back() -> None:
    async def test() -> None:
        buffers = Buffers(10)
        with pytest.raises(ZeroDivisionError), await buffers.lend(10):
            raise ZeroDivisionError
        assert buffers.lent == 0

    run(test)
