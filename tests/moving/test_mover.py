"""Every action gets an outcome, whatever happens to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from sterna.model.actions import Action, Verb
from sterna.model.entry import Entry
from sterna.model.events import Tally
from sterna.model.outcomes import Outcome, Status
from sterna.model.stop import Stop
from sterna.moving import mover as module
from sterna.moving.mover import Mover
from sterna.wire.pace import Gate


def actions(count: int, first: int = 0) -> list[Action]:
    return [Action(Verb.UPLOAD, f"k{n:03}", "new", Entry(f"k{n:03}", n, 0)) for n in range(first, first + count)]


def done(action: Action) -> Outcome:
    return Outcome("upload", action.key, Status.DONE, size=action.size)


def keys(outcomes: list[Outcome]) -> list[str]:
    return sorted(outcome.key for outcome in outcomes)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_every_action_gets_an_outcome_and_no_more_are_carried_than_the_gate_lets_through() -> None:
    async def test() -> None:
        carried = most = 0

        async def carry(action: Action) -> Outcome:
            nonlocal carried, most
            carried += 1
            most = max(most, carried)
            await asyncio.sleep(0)
            carried -= 1
            return done(action)

        gate = Gate(4, Tally())
        mover = Mover(carry, gate, Stop())
        batches = [actions(30), [], actions(1, 30), actions(19, 31)]
        results = await asyncio.gather(*(mover.run(batch) for batch in batches))
        for batch, outcomes in zip(batches, results, strict=True):
            assert keys(outcomes) == [action.key for action in batch]
        assert most == 4
        await turns()
        assert mover.is_quiet
        assert repr(mover) == "<Mover 0 lanes, 0 queued>"
        await mover.aclose()

    run(test)


def test_actions_are_taken_in_the_order_of_the_calls() -> None:
    async def test() -> None:
        order: list[str] = []

        async def carry(action: Action) -> Outcome:
            order.append(action.key)
            await asyncio.sleep(0)
            return done(action)

        mover = Mover(carry, Gate(1, Tally()), Stop())
        await asyncio.gather(mover.run(actions(5)), mover.run(actions(5, 5)))
        assert order == [action.key for action in actions(10)]

    run(test)


def test_an_outcome_that_others_settle_later_holds_up_no_lane() -> None:
    async def test() -> None:
        later: dict[str, asyncio.Future[Outcome]] = {}

        async def carry(action: Action) -> asyncio.Future[Outcome]:
            later[action.key] = asyncio.get_running_loop().create_future()
            if action.key == "k000":
                later[action.key].set_result(done(action))
            return later[action.key]

        mover = Mover(carry, Gate(1, Tally()), Stop())
        task = asyncio.create_task(mover.run(actions(5)))
        await turns()
        assert len(later) == 5
        assert not task.done()
        for action in actions(5)[1:]:
            later[action.key].set_result(done(action))
        assert keys(await task) == sorted(later)

    run(test)


@pytest.mark.parametrize("settled", ["now", "later"])
def test_the_error_of_an_outcome_that_others_settle_surfaces(settled: str) -> None:
    async def test() -> None:
        async def carry(action: Action) -> asyncio.Future[Outcome]:
            future = asyncio.get_running_loop().create_future()
            if settled == "now":
                future.set_exception(ZeroDivisionError())
            else:
                asyncio.get_running_loop().call_soon(future.set_exception, ZeroDivisionError())
            return future

        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        mover = Mover(carry, Gate(1, Tally()), Stop())
        with pytest.raises(ZeroDivisionError):
            await mover.run(actions(1))

    run(test)


@pytest.mark.parametrize("lanes", [1, 4])
def test_an_exception_in_carry_surfaces_and_does_not_hang(lanes: int) -> None:
    async def test() -> None:
        async def carry(action: Action) -> Outcome:
            await asyncio.sleep(0)
            if action.key == "k002":
                raise ZeroDivisionError
            return done(action)

        mover = Mover(carry, Gate(lanes, Tally()), Stop())
        with pytest.raises(ZeroDivisionError):
            await mover.run(actions(10))
        await mover.aclose()

    run(test)


def test_an_exception_in_one_batch_leaves_the_others_to_end() -> None:
    async def test() -> None:
        async def carry(action: Action) -> Outcome:
            await asyncio.sleep(0)
            if action.key == "k000":
                raise ZeroDivisionError
            return done(action)

        mover = Mover(carry, Gate(1, Tally()), Stop())
        results = await asyncio.gather(mover.run(actions(2)), mover.run(actions(3, 2)), return_exceptions=True)
        assert isinstance(results[0], ZeroDivisionError)
        assert isinstance(results[1], list)
        assert keys(results[1]) == ["k002", "k003", "k004"]

    run(test)


def test_stop_leaves_the_rest_and_lets_what_is_in_flight_end() -> None:
    async def test() -> None:
        release = asyncio.Event()

        async def carry(action: Action) -> Outcome:
            await release.wait()
            return done(action)

        stop = Stop()
        mover = Mover(carry, Gate(2, Tally()), stop)
        task = asyncio.create_task(mover.run(actions(10)))
        await turns()
        stop.request("Ctrl-C", 130)
        await turns()
        assert not task.done()
        release.set()
        outcomes = await task
        by = {status: keys([one for one in outcomes if one.status is status]) for status in Status}
        assert by[Status.DONE] == ["k000", "k001"]
        assert by[Status.LEFT] == [action.key for action in actions(8, 2)]
        assert {one.error for one in outcomes if one.status is Status.LEFT} == {"Ctrl-C"}
        assert await mover.run(actions(2, 20)) != []
        await mover.aclose()

    run(test)


def test_after_a_stop_nothing_more_is_carried() -> None:
    async def test() -> None:
        async def carry(action: Action) -> Outcome:
            raise AssertionError("carried after the stop")

        stop = Stop()
        mover = Mover(carry, Gate(2, Tally()), stop)
        stop.request("Ctrl-C", 130)
        outcomes = await mover.run(actions(3))
        assert [one.status for one in outcomes] == [Status.LEFT] * 3
        assert [one.size for one in outcomes] == [0, 1, 2]

    run(test)


def test_what_stalls_after_a_stop_is_cancelled_and_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE_S", 0.005)

    async def test() -> None:
        async def carry(action: Action) -> Outcome:
            await asyncio.Event().wait()
            return done(action)

        stop = Stop()
        mover = Mover(carry, Gate(2, Tally()), stop)
        task = asyncio.create_task(mover.run(actions(3)))
        await turns()
        stop.request("Ctrl-C", 130)
        outcomes = await task
        assert keys(outcomes) == ["k000", "k001", "k002"]
        assert {one.status for one in outcomes} == {Status.LEFT}

    run(test)


def test_a_gate_that_grows_gets_more_lanes() -> None:
    async def test() -> None:
        carried = 0

        async def carry(action: Action) -> Outcome:
            nonlocal carried
            carried += 1
            await asyncio.Event().wait()
            return done(action)

        gate = Gate(2, Tally())
        mover = Mover(carry, gate, Stop())
        task = asyncio.create_task(mover.run(actions(10)))
        await turns()
        assert carried == 2
        assert gate.demand()
        gate.limit = 5
        gate.on_growth()
        await turns()
        assert carried == 5
        await mover.aclose()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(test)


def test_a_halved_gate_has_fewer_lanes() -> None:
    async def test() -> None:
        carried = most = 0
        gate = Gate(8, Tally())

        async def carry(action: Action) -> Outcome:
            nonlocal carried, most
            carried += 1
            if int(action.key[1:]) == 7:
                gate.slow_down()
            await asyncio.sleep(0)
            if int(action.key[1:]) > 20:
                most = max(most, carried)
            carried -= 1
            return done(action)

        mover = Mover(carry, gate, Stop())
        assert len(await mover.run(actions(60))) == 60
        assert most <= 4

    run(test)


def sized(key: str, size: int) -> Action:
    return Action(Verb.DOWNLOAD, key, "new", Entry(key, size, 0))


def test_few_large_actions_are_begun_together_and_small_ones_pass_them() -> None:
    async def test() -> None:
        begun: list[str] = []
        go_on = asyncio.Event()

        async def carry(action: Action) -> Outcome:
            begun.append(action.key)
            if action.size > 10:
                await go_on.wait()
            return done(action)

        mover = Mover(carry, Gate(32, Tally()), Stop(), large=10)
        large = [sized(f"large {n}", module._LARGE_BYTES // 2) for n in range(6)]
        running = asyncio.create_task(mover.run([*large, sized("small", 1)]))
        await turns(20)
        assert begun == ["large 0", "large 1", "small"]
        assert mover.queued_bytes == 4 * (module._LARGE_BYTES // 2)
        go_on.set()
        assert keys(await running) == sorted(action.key for action in [*large, sized("small", 1)])
        assert mover.queued_bytes == 0

    run(test)


def test_what_was_taken_for_somebody_else_is_not_carried_here_unless_it_is_put_back() -> None:
    async def test() -> None:
        stop = Stop()
        carried: list[str] = []

        async def carry(action: Action) -> Outcome:
            carried.append(action.key)
            return done(action)

        mover = Mover(carry, Gate(1, Tally()), stop, large=10)
        running = asyncio.create_task(mover.run([sized("a", 1), sized("b", 50), sized("c", 2), sized("d", 3)]))
        await asyncio.sleep(0)  # queued, and no lane has begun
        taken = mover.take(2, 100, largest=10)
        assert [action.key for action, _ in taken] == ["a", "c"]
        assert mover.queued_bytes == 53
        assert [action.key for action, _ in mover.take(9, 1, largest=100)] == ["b"]
        await turns(20)
        assert carried == ["d"]
        mover.put_back(taken)
        await turns(20)
        assert carried == ["d", "a", "c"]
        stop.request("enough", 1)
        running.cancel()
        await mover.aclose()

    run(test)
