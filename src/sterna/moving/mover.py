"""Take actions in batches, carry many at once, and give each batch's outcomes back together."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from sterna.model.actions import Action
from sterna.model.errors import CredentialsExpired
from sterna.model.outcomes import Outcome, Status
from sterna.model.stop import Stop
from sterna.model.units import GIB, MIB
from sterna.wire.pace import Gate

Carry = Callable[[Action], Awaitable[Outcome | asyncio.Future[Outcome]]]
_NO_KEYS = CredentialsExpired.__name__
_LARGE_COUNT = 2  # large ones that are begun at once at least; more while they come to
_LARGE_BYTES = 1 * GIB  # which is some hundred parts in flight and to come
_FURTHER = 64  # actions that are looked at behind large ones which wait
GRACE_S = 2.0  # what is in flight when the end is asked for may end by itself so long


class Taker(Protocol):
    """Whoever is told of the end of each action."""

    def ended(self, outcome: Outcome) -> None: ...

    def ended_later(self, future: asyncio.Future[Outcome]) -> None: ...

    def failed(self, error: BaseException) -> None: ...


Item = tuple[Action, Taker]


class _Batch:
    """Actions that came together. ``done`` is set with the last outcome."""

    __slots__ = ("done", "left", "outcomes")

    def __init__(self, count: int) -> None:
        self.outcomes: list[Outcome] = []
        self.left = count
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def ended_later(self, future: asyncio.Future[Outcome]) -> None:
        error = asyncio.CancelledError() if future.cancelled() else future.exception()
        if error is not None:
            self.failed(error)
        else:
            self.ended(future.result())

    def failed(self, error: BaseException) -> None:
        """A fault of ours: the batch must not wait for ever, and the run must fail."""
        if not self.done.done():
            self.done.set_exception(error)

    def ended(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.left -= 1
        if not self.left and not self.done.done():
            self.done.set_result(None)


class Mover:
    """Carries actions in lanes: as many as the gate lets requests through, so that none waits there for long.

    ``carry`` gives an outcome, or a future of one that others will settle; the lane does not wait for it. ``run`` may
    be called for several batches at once; their actions queue in the order of the calls. Actions above ``large`` bytes
    go in parts, many of each at once: so few of them are begun together, and others may take the rest. When the end is
    asked for, what is queued is left, and what is in flight is cancelled after a grace.
    """

    def __init__(self, carry: Carry, gate: Gate, stop: Stop, large: int = 8 * MIB) -> None:
        self._carry = carry
        self._large = large
        self._large_count = self._large_bytes = 0  # in lanes now
        self._gate = gate
        self._stop = stop
        self._queue: deque[Item] = deque()
        self._lanes: set[asyncio.Task[None]] = set()
        self.queued_bytes = 0
        self.carried = 0  # actions that have left their lane
        self.on_work: Callable[[], object] = _nothing  # called when more is queued
        gate.demand = self._has_demand
        gate.on_growth = self._add_lanes
        stop.on_request(self._leave_the_rest)

    def __repr__(self) -> str:
        return f"<Mover {len(self._lanes)} lanes, {len(self._queue)} queued>"

    @property
    def is_quiet(self) -> bool:
        """Nothing is queued, and nothing is being carried."""
        return not self._queue and not self._lanes

    @property
    def queued(self) -> int:
        """Actions that no lane has taken yet."""
        return len(self._queue)

    async def run(self, actions: Sequence[Action]) -> list[Outcome]:
        """Carry all, and give an outcome for each, in the order in which they ended."""
        if not actions:
            return []
        batch = _Batch(len(actions))
        self.feed(actions, batch)
        await batch.done
        return batch.outcomes

    def feed(self, actions: Sequence[Action], taker: Taker) -> None:
        """Queue actions, and have ``taker`` told of the end of each."""
        self._queue.extend([(action, taker) for action in actions])
        self.queued_bytes += sum(action.size for action in actions)
        if self._stop.is_requested:
            self._leave_the_rest()
        self._add_lanes()
        self.on_work()

    def take(self, most: int, most_bytes: int, largest: int) -> list[Item]:
        """Take up to ``most`` of the first actions out of the queue, for somebody else, and not many more than
        ``most_bytes``; none above ``largest`` bytes.
        """
        taken: list[Item] = []
        passed: list[Item] = []
        queue, size = self._queue, 0
        while queue and len(taken) < most and size < most_bytes and len(passed) < most:
            item = queue.popleft()
            if item[0].size <= largest:
                taken.append(item)
                size += item[0].size
            else:
                passed.append(item)
        queue.extendleft(reversed(passed))
        self.queued_bytes -= size
        return taken

    def put_back(self, items: Sequence[Item]) -> None:
        """What was taken, and not carried: it comes next."""
        self._queue.extendleft(reversed(items))
        self.queued_bytes += sum(action.size for action, _ in items)
        if self._stop.is_requested:
            self._leave_the_rest()
        self._add_lanes()

    def _has_demand(self) -> bool:
        return bool(self._queue)

    def _add_lanes(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(min(self._gate.limit - len(self._lanes), len(self._queue))):
            if self._first_to_start() is None:
                return
            lane = loop.create_task(self._lane())
            self._lanes.add(lane)
            lane.add_done_callback(self._lanes.discard)

    def _first_to_start(self) -> int | None:
        """Where in the queue the next action is: the first, or a small one behind large ones that must wait."""
        for at, (action, _) in enumerate(itertools.islice(self._queue, _FURTHER)):
            if action.size <= self._large or self._large_count < _LARGE_COUNT:
                return at
            if self._large_bytes + action.size <= _LARGE_BYTES:
                return at
        return None

    async def _lane(self) -> None:
        queue, carry, gate = self._queue, self._carry, self._gate
        while queue and len(self._lanes) <= gate.limit:
            at = self._first_to_start()
            if at is None:
                break
            action, batch = queue[at]
            del queue[at]
            size = action.size
            self.queued_bytes -= size
            is_large = size > self._large
            if is_large:
                self._large_count += 1
                self._large_bytes += size
            try:
                outcome = await carry(action)
            except asyncio.CancelledError:
                batch.ended(_left(action, self._stop.reason or "cancelled"))
                if not self._stop.is_requested:
                    raise
                return
            except BaseException as error:
                batch.failed(error)
                continue
            finally:
                self.carried += 1
                if is_large:
                    self._large_count -= 1
                    self._large_bytes -= size
            if isinstance(outcome, Outcome):
                if outcome.error_kind == _NO_KEYS:
                    self._stop.request(outcome.error, outcome.exit_code)  # nothing more can be sent or received
                batch.ended(outcome)
            elif outcome.done():
                batch.ended_later(outcome)
            else:
                outcome.add_done_callback(batch.ended_later)
        if (lane := asyncio.current_task()) is not None:
            self._lanes.discard(lane)
        self._add_lanes()

    def _leave_the_rest(self) -> None:
        while self._queue:
            action, batch = self._queue.popleft()
            self.queued_bytes -= action.size
            batch.ended(_left(action, self._stop.reason))
        if self._lanes:
            asyncio.get_running_loop().call_later(GRACE_S, self._cancel)

    def _cancel(self) -> None:
        for lane in self._lanes:
            lane.cancel()

    async def aclose(self) -> None:
        """End the lanes that are still there."""
        lanes = list(self._lanes)
        self._cancel()
        await asyncio.gather(*lanes, return_exceptions=True)


def _nothing() -> None:
    pass


def _left(action: Action, reason: str) -> Outcome:
    return Outcome(action.verb.value, action.key, Status.LEFT, size=action.size, because=action.because, error=reason)
