"""Limits of bytes and requests a second: the law of the bucket, who is next, and how a throttle is set."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sterna.wire.limits import Allowance, Held, Throttle, TokenBucket, Turnstile, places_at, shares, slice_at
from tests.wire.clock import FakeLoop

MIB = 1 << 20


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


# The bucket


@given(
    rate=st.floats(1, 1e9),
    steps=st.lists(st.tuples(st.floats(0, 3), st.floats(0, 2)), min_size=1, max_size=60),
)
def test_no_more_passes_than_came_and_one_burst_and_the_last_taking(
    rate: float, steps: Sequence[tuple[float, float]]
) -> None:
    most = rate / 10
    bucket = TokenBucket(rate, most, 0.0)
    taken: list[tuple[float, float]] = []
    now_s = 0.0
    for wait_s, part in steps:
        now_s += wait_s
        if not bucket.shut_s(now_s):
            bucket.take(part * rate, now_s)
            taken.append((now_s, part * rate))
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            since_s = taken[last][0] - taken[first][0]
            between = sum(count for _, count in taken[first:last])
            assert between <= (rate * since_s + most) * (1 + 1e-6) + 1e-3


@given(rate=st.floats(1, 1e9), parts=st.lists(st.floats(0.001, 3), min_size=20, max_size=60))
def test_whoever_always_waits_gets_the_whole_rate(rate: float, parts: Sequence[float]) -> None:
    bucket = TokenBucket(rate, rate / 10, 0.0)
    now_s = total = 0.0
    for part in parts:
        now_s += bucket.shut_s(now_s)
        bucket.take(part * rate, now_s)
        total += part * rate
    assert total >= rate * now_s * (1 - 1e-6)


def test_what_was_not_used_is_kept_up_to_a_burst_and_never_beyond_it() -> None:
    bucket = TokenBucket(100, 10, 0.0)
    assert bucket.level(1000.0) == 10
    bucket.take(-50, 1000.0)
    assert bucket.level(1000.0) == 10


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket = TokenBucket(100, 10, 5.0)
    bucket.take(10, 5.0)
    assert bucket.level(1.0) == 0
    assert bucket.level(5.05) == pytest.approx(5)


def test_what_is_owed_remains_when_the_rate_changes() -> None:
    bucket = TokenBucket(100, 10, 0.0)
    bucket.take(110, 0.0)
    assert bucket.shut_s(0.0) == pytest.approx(1.0)
    bucket.retune(1000, 100, 0.0)
    assert bucket.shut_s(0.0) == pytest.approx(0.1)


# Who is next


def test_turns_are_given_in_the_order_in_which_they_were_asked_for() -> None:
    async def test() -> None:
        loop = FakeLoop()
        stile = Turnstile(100, 10, loop.as_loop)
        assert stile.reserve(20) is None  # ten more than there were
        turns = [stile.reserve(10) for _ in range(3)]
        done = []
        for _ in range(6):
            loop.pass_s(0.0501)
            done.append([turn is not None and turn.done() for turn in turns])
        assert done[0] == [False, False, False]
        assert done[1] == [True, False, False]
        assert done[3] == [True, True, False]
        assert done[5] == [True, True, True]

    run(test)


def test_a_turn_that_was_given_up_is_not_paid_for() -> None:
    async def test() -> None:
        loop = FakeLoop()
        stile = Turnstile(100, 10, loop.as_loop)
        assert stile.reserve(10) is None
        gone, ended, waits = stile.reserve(1000), stile.reserve(1000), stile.reserve(10)
        assert gone is not None
        assert ended is not None
        assert waits is not None
        gone.cancel()
        ended.set_result(None)
        loop.pass_s(0.01)
        assert waits.done()

    run(test)


def test_a_higher_rate_is_felt_by_those_who_wait_and_none_lets_all_go() -> None:
    async def test() -> None:
        loop = FakeLoop()
        stile = Turnstile(1, 1, loop.as_loop)
        assert stile.reserve(1001) is None
        first, second = stile.reserve(100_000), stile.reserve(1)
        assert first is not None
        assert second is not None
        stile.retune(10_000, 1000)
        loop.pass_s(0.2)
        assert (first.done(), second.done()) == (True, False)
        stile.open()
        assert second.done()
        assert loop.pending == 0

    run(test)


def test_it_is_narrow_while_somebody_waits_and_a_moment_longer() -> None:
    async def test() -> None:
        loop = FakeLoop()
        stile = Turnstile(100, 10, loop.as_loop)
        assert not stile.is_narrow
        assert stile.reserve(10) is None
        assert not stile.is_narrow
        assert stile.reserve(5) is not None
        assert stile.is_narrow
        loop.pass_s(0.1)
        assert stile.is_narrow
        loop.pass_s(1.0)
        assert not stile.is_narrow

    run(test)


# The throttle of an endpoint


def test_an_unlimited_endpoint_keeps_nobody_waiting_and_cuts_nothing() -> None:
    async def test() -> None:
        throttle = Throttle(FakeLoop().as_loop, MIB)
        assert (throttle.is_set, throttle.up_slice, throttle.held()) == (False, MIB, Held())
        assert throttle.down_slice > 1 << 60
        throttle.allow(Allowance(8, MIB))
        assert not throttle.is_set
        throttle.allow(Allowance(8, MIB, up=MIB))
        throttle.allow(Allowance(8, MIB))
        assert (throttle.is_set, throttle.up, throttle.up_slice) == (False, None, MIB)

    run(test)


@pytest.mark.parametrize("rate", (256, 1024, 100_000, MIB, 1 << 40))
def test_a_slice_is_short_enough_for_all_places_to_have_their_turn(rate: int) -> None:
    each, places = slice_at(rate), places_at(rate)
    assert places >= 1
    assert places * each / rate <= 5 or places == 1
    assert places >= 16 or rate < 10_000


def test_requests_and_first_slices_wait_before_there_is_a_connection() -> None:
    async def test() -> None:
        loop = FakeLoop()
        throttle = Throttle(loop.as_loop, MIB)
        throttle.allow(Allowance(8, MIB, up=100_000, requests=100))
        assert not await throttle.admit("PUT", "k", 1 << 30)  # the first slice of a large body alone
        assert throttle.up is not None
        waiting = [asyncio.create_task(throttle.admit("PUT", "k", 20_000)) for _ in range(2)]
        await asyncio.sleep(0)
        assert await throttle.admit("GET", "k", None)  # what is sent does not hold up what is received
        assert not await throttle.admit("POST", "", 50_000)  # no object
        assert [task.done() for task in waiting] == [True, False]
        loop.pass_s(0.2)
        assert await waiting[1] is False
        assert throttle.held() == Held(up=True)

    run(test)


# Shares


@given(
    total=st.floats(1, 1e9),
    states=st.lists(st.tuples(st.floats(0, 2e9), st.booleans()), min_size=1, max_size=8),
)
def test_shares_are_the_total_together_and_who_wants_more_has_most(
    total: float, states: Sequence[tuple[float, bool]]
) -> None:
    wants = [more for _, more in states]
    parts = shares(total, [used for used, _ in states], wants)
    assert sum(parts) == pytest.approx(total)
    assert min(parts) > 0
    if any(wants):
        least = min(part for part, more in zip(parts, wants, strict=True) if more)
        assert all(part <= least * (1 + 1e-9) for part, more in zip(parts, wants, strict=True) if not more)


def test_one_who_has_nothing_to_do_leaves_nearly_all_to_the_others() -> None:
    assert shares(90, [80, 0, 0], [True, False, False]) == [84, 3, 3]
    assert shares(90, [10, 10, 10], [False, False, False]) == [30, 30, 30]
