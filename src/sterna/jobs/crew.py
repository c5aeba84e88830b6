"""Have more processes carry, when this one's interpreter is all that a run waits for."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import msgspec
from msgspec.structs import replace

from sterna.jobs.carriers import Carrier
from sterna.jobs.crewmate import Task
from sterna.jobs.settings import Settings
from sterna.jobs.standby import Role, Standby, processors
from sterna.model.actions import Verb
from sterna.model.errors import SternaError
from sterna.model.events import Notice, Tally
from sterna.model.location import LocalPath
from sterna.model.outcomes import Status
from sterna.model.stop import Stop
from sterna.model.units import MIB
from sterna.moving.messages import Allow, AskKeys, Begin, End, FromHelper, Keys, Link, Report, Rest, Work
from sterna.moving.mover import Item
from sterna.wire.limits import Allowance, shares
from sterna.wire.pace import idle_seconds
from sterna.wire.timetable import UNLIMITED

MOST = 4  # processes: with each, the planning process has more to hand out and to count
_LOOK_S = 0.06  # the system counts idle time in hundredths of a second
_BUSY = 0.85  # of a processor's time in the loop's thread
_IDLE = 0.3  # of a processor must be left to start on
_CHUNK = 128  # actions handed over at once
_LOW = 64  # what a helper still has when it gets the next
_ENOUGH = 512  # actions waiting: fewer are done before a helper has its first connections
_CHUNK_BYTES = _LOW_BYTES = _ENOUGH_BYTES = 512 * MIB  # the same in bytes, for large ones
_SILENT_S = 30.0  # a helper reports ten times a second while it lives
_AFTER_SLEEP_S = 2.0  # once more: all of us may have been stopped (Ctrl-Z, a closed lid), and only the time went on
_LEAST_MEMORY = 64 * MIB  # for each process
_LEAST_PLACES = 8
_BALANCE_S = 0.25  # between two looks at who needs how much of what is limited


class Share(msgspec.Struct, frozen=True):
    """What a crew takes from: the carrier's queue, and the memory and places of the process that directs."""

    carrier: Carrier
    folder: LocalPath
    settings: Settings
    tally: Tally
    stop: Stop

    @property
    def lends_large(self) -> bool:
        """Whether helpers are given large objects too: what one interpreter cannot do alone, and nothing is lost by.

        The parts of an upload that a killed helper had begun would stay in the bucket, and cost money (H94). The bodies
        of downloads are read by threads, as far as they are, which need no second interpreter.
        """
        return self.carrier.verb is Verb.DOWNLOAD and not self.carrier.bucket.client.taps_bodies

    def task(self, settings: Settings) -> Task:
        """What a helper is told; all that has been found out by now is part of it."""
        bucket = self.carrier.bucket
        client = bucket.client
        assert self.carrier.folder is not None, "between buckets there are no helpers"
        root = self.carrier.folder.folder.root
        return Task(
            self.carrier.verb,
            bucket.location,
            self.folder,
            (root.device, root.inode),
            client.settled_side,
            settings,
            client.credentials,
            bucket.learned,
        )


class Crew:
    """The helpers of one mover. They are started one at a time, while the loop's thread is busy, actions wait, and a
    processor is idle; with ``settings.limits.processes`` as soon as an action waits.

    What a helper had in hand when it died is done again here.
    """

    def __init__(self, standby: Standby, share: Share) -> None:
        limits = share.settings.limits
        self._standby = standby
        self._share = share
        self._forced = limits.processes is not None
        self._most = min(
            limits.processes or min(processors(), MOST),
            limits.max_memory // _LEAST_MEMORY if not self._forced else MOST,
            max(1, limits.workers // _LEAST_PLACES) if not self._forced else MOST,
        )
        self._hands: list[_Hand] = []
        self._watch: asyncio.Task[None] | None = None
        self._balancing: asyncio.Task[None] | None = None
        self._parts = _Parts([1.0], [1.0])
        share.carrier.bucket.client.divide = self._divide
        share.stop.on_request(self._end_early)
        if self._most > 1:
            share.carrier.mover.on_work = self._has_work

    def _has_work(self) -> None:
        if self._watch is None:
            self._watch = asyncio.get_running_loop().create_task(self._keep_looking())
        self._hand_out()

    def _hand_out(self) -> None:
        for hand in self._hands:
            hand.fill()

    def _end_early(self) -> None:
        for hand in self._hands:
            hand.link.send(End(self._share.stop.reason, self._share.stop.exit_code))

    async def _keep_looking(self) -> None:
        """Start helpers while that is worth it."""
        while len(self._hands) + 1 < self._most and not self._share.stop.is_requested:
            if self._forced:
                await asyncio.sleep(0)
                worth = self._share.carrier.mover.queued > 0
            else:
                worth = await self._is_worth_it()
            if worth:
                try:
                    await self._start()
                except OSError:
                    return  # no process or descriptor to be had: this one does it alone
            elif self._forced:
                self._watch = None
                return

    async def _is_worth_it(self) -> bool:
        """Look for a moment at who is busy."""
        wall, busy, idle = time.perf_counter(), time.thread_time(), idle_seconds()
        hands = [hand.cpu_s for hand in self._hands]
        mover = self._share.carrier.mover
        await asyncio.sleep(_LOOK_S)
        passed = time.perf_counter() - wall
        return (
            (mover.queued >= _ENOUGH or (self._share.lends_large and mover.queued_bytes >= _ENOUGH_BYTES))
            and time.thread_time() - busy > _BUSY * passed
            and idle_seconds() - idle > _IDLE * passed
            and all(hand.cpu_s - before > _BUSY * passed for hand, before in zip(self._hands, hands, strict=True))
        )

    async def _start(self) -> None:
        share = self._share
        limits = share.settings.limits
        client = share.carrier.bucket.client
        total = client.allowance or Allowance(limits.workers, limits.max_memory)
        memory, places = total.memory // self._most, max(1, total.workers // self._most)
        # What is limited beside them it is told in a moment, and again whenever that changes.
        own = replace(limits, max_memory=memory, workers=places, bwlimit=UNLIMITED, max_requests_per_second=None)
        link = await Link.over(self._standby.start(Role.CARRY))
        hand = _Hand(link, share)
        link.send(Begin(pickle.dumps(share.task(replace(share.settings, limits=own, control=None)))))
        self._hands.append(hand)
        self._parts = _Parts.equal(len(self._hands) + 1)
        client.allow(total)
        if self._balancing is None:
            self._balancing = asyncio.get_running_loop().create_task(self._keep_balance())
        hand.begin()

    def _divide(self, total: Allowance) -> Allowance:
        """Tell the helpers what each may use of it; gives what is left for this process."""
        count = len(self._hands)
        memory, workers = total.memory // self._most, total.workers // self._most
        for number, hand in enumerate(self._hands, 1):
            places = workers or int(number < total.workers)  # one is always this process's
            hand.allow(self._parts.of(number, total, max(1, places), memory), rests=not places)
        own = self._parts.of(0, total, max(1, total.workers - workers * count), total.memory - memory * count)
        self._share.carrier.buffers.resize(own.memory)
        return own

    async def _keep_balance(self) -> None:
        """While something is limited, give those more of it who can use it."""
        client = self._share.carrier.bucket.client
        before = self._used()
        while True:
            await asyncio.sleep(_BALANCE_S)
            used = self._used()
            if len(used) == len(before) and client.allowance is not None and client.allowance.is_limited:
                held = client.held()
                self._parts = _Parts.by_need(
                    [(now[0] - then[0]) / _BALANCE_S for now, then in zip(used, before, strict=True)],
                    [(now[1] - then[1]) / _BALANCE_S for now, then in zip(used, before, strict=True)],
                    [held.up or held.down, *(hand.wants_bytes for hand in self._hands)],
                    [held.requests, *(hand.wants_requests for hand in self._hands)],
                    client.allowance,
                )
                client.allow(client.allowance)
            before = used

    def _used(self) -> list[tuple[int, int]]:
        """Bytes and requests of each process so far, this one first."""
        tally = self._share.tally
        hands = [(hand.moved_bytes, hand.requests) for hand in self._hands]
        return [
            (tally.moved_bytes - sum(hand[0] for hand in hands), tally.requests - sum(hand[1] for hand in hands)),
            *hands,
        ]

    async def aclose(self) -> None:
        """Let the helpers go. All that they had in hand has come back, unless the run failed."""
        try:
            for task in (self._watch, self._balancing):
                if task is not None:
                    await _ended(task)
        finally:  # a fault in one of them is told, and nobody left behind for it
            for hand in self._hands:
                hand.link.close()
            for hand in self._hands:
                await hand.aclose()


class _Parts(msgspec.Struct, frozen=True):
    """How what is limited is divided among processes, the first of which is this one: parts of one."""

    bytes: list[float]
    requests: list[float]

    @classmethod
    def equal(cls, count: int) -> _Parts:
        """To each the same."""
        return cls([1 / count] * count, [1 / count] * count)

    @classmethod
    def by_need(
        cls,
        moved: Sequence[float],
        asked: Sequence[float],
        want_bytes: Sequence[bool],
        want_requests: Sequence[bool],
        total: Allowance,
    ) -> _Parts:
        """By what each used in a second, and who wants more."""
        speed = total.up if total.up is not None else total.down if total.down is not None else 1.0
        requests = total.requests or 1.0
        return cls(
            shares(1.0, [used / speed for used in moved], want_bytes),
            shares(1.0, [used / requests for used in asked], want_requests),
        )

    def of(self, number: int, total: Allowance, workers: int, memory: int) -> Allowance:
        """The allowance of one of them."""
        mine, asks = self.bytes[number], self.requests[number]
        up, down, requests = total.up, total.down, total.requests
        return Allowance(
            workers,
            memory,
            None if up is None else up * mine,
            None if down is None else down * mine,
            None if requests is None else requests * asks,
        )


class _Hand:
    """One helper, seen from here."""

    def __init__(self, link: Link, share: Share) -> None:
        self.link = link
        self.cpu_s = 0.0
        self.moved_bytes = self.requests = 0
        self.wants_bytes = self.wants_requests = False
        self._share = share
        self._allowed: Allow | None = None
        self._is_off = False  # there are fewer requests in flight allowed than processes
        self._in_hand: dict[str, Item] = {}
        self._waiting = 0  # of them, not carried yet
        self._waiting_bytes = 0  # of them, not ended yet
        self._largest = sys.maxsize if share.lends_large else share.settings.limits.part_threshold
        self._in_flight = self._lanes = 0
        self._gone = self._rests = False
        self._pid = 0  # known with its first report
        self._listening: asyncio.Task[None] | None = None
        self._answering: set[asyncio.Task[None]] = set()

    def begin(self) -> None:
        """Hand out the first actions, and listen."""
        self._listening = asyncio.get_running_loop().create_task(self._listen())
        self.fill()

    def fill(self) -> None:
        """Hand over more where the helper runs low; never the last half of what waits, which is done here meanwhile."""
        mover = self._share.carrier.mover
        if self._gone or self._is_off or self._share.stop.is_requested:
            return
        if self._waiting < _LOW and self._waiting_bytes < _LOW_BYTES:
            items = mover.take(min(_CHUNK, (mover.queued + 1) // 2), _CHUNK_BYTES, self._largest)
            if items:
                self._in_hand.update((item[0].key, item) for item in items)
                self._waiting += len(items)
                self._waiting_bytes += sum(action.size for action, _ in items)
                self.link.send(Work([action for action, _ in items]))
                self._rests = False
            elif self._in_hand and not mover.queued and not self._rests:
                self._rests = True
                self.link.send(Rest())

    def allow(self, part: Allowance, *, rests: bool) -> None:
        """Tell the helper what it may use, if that is something else than before."""
        allowed = Allow(part.workers, part.memory, part.up, part.down, part.requests)
        self._is_off = rests
        if allowed != self._allowed and not self._gone:
            self._allowed = allowed
            self.link.send(allowed)

    async def _listen(self) -> None:
        share = self._share
        try:
            while (message := await self._next()) is not None:
                if isinstance(message, AskKeys):
                    answering = asyncio.get_running_loop().create_task(self._answer(message))
                    self._answering.add(answering)
                    answering.add_done_callback(self._answering.discard)
                else:
                    self._take(message)
        except Exception as error:
            self._fail(error)
            raise
        finally:
            self._gone = True
            self.wants_bytes = self.wants_requests = False
            share.tally.in_flight -= self._in_flight
            share.tally.lanes -= self._lanes
        if self._in_hand:
            share.carrier.bucket.client.emit(
                Notice(
                    "A helper process ended before its work; what it had in hand is done again.", "warning", "helper"
                )
            )
            items, self._in_hand = list(self._in_hand.values()), {}
            share.carrier.mover.put_back([item for item in items if not await self._is_there(item)])

    async def _next(self) -> FromHelper | None:
        """What the helper says next; None when it is gone, or silent for so long that it stands still: then it is ended,
        since nothing that it still did could be told from what is done again.
        """
        hearing = asyncio.get_running_loop().create_task(self.link.from_helper())
        try:
            for patience_s in (_SILENT_S, _AFTER_SLEEP_S):
                if hearing in (await asyncio.wait({hearing}, timeout=patience_s))[0]:
                    return await hearing
        finally:
            hearing.cancel()
        self.link.close()
        if self._pid:
            with contextlib.suppress(OSError):
                os.kill(self._pid, signal.SIGKILL)
        return None

    async def _is_there(self, item: Item) -> bool:
        """Whether a file that the helper had in hand stands in place, put there by it before it could tell: one of the
        object's size and time. Any other file there is somebody's, and the action meets it as it is.
        """
        action, taker = item
        folder = self._share.carrier.folder
        if action.verb is not Verb.DOWNLOAD or folder is None:
            return False
        try:
            found = folder.folder.look(action.place or action.key)
            if found is None or found.size != action.size or found == action.target:
                return False
            _, settled = await self._share.carrier.resolve([replace(action, verb=Verb.LOOK, target=found)])
        except SternaError:
            return False
        if settled and settled[0].status is Status.KEPT:
            taker.ended(settled[0])
            return True
        return False

    def _take(self, report: Report) -> None:
        share, tally = self._share, self._share.tally
        self._waiting -= report.carried
        self.cpu_s = report.cpu_s
        self.moved_bytes += report.moved_bytes
        self.requests += report.requests
        self.wants_bytes, self.wants_requests = report.wants_bytes, report.wants_requests
        self._pid = report.pid
        tally.moved_bytes += report.moved_bytes
        tally.wasted_bytes += report.wasted_bytes
        tally.requests += report.requests
        tally.retries += report.retries
        tally.in_flight += report.in_flight
        tally.lanes += report.lanes
        self._in_flight += report.in_flight
        self._lanes += report.lanes
        for notice in report.notices:
            if notice.code != "credentials":  # this process found them, and has told of it
                share.carrier.bucket.client.emit(notice)
        for outcome in report.outcomes:
            item = self._in_hand.pop(outcome.key, None)
            if item is not None:
                self._waiting_bytes -= item[0].size
                item[1].ended(outcome)
        if report.fault:
            self._fail(RuntimeError(f"in a helper process: {report.fault}"))
        if report.stop_reason:
            share.stop.request(report.stop_reason, report.stop_code)
        self.fill()

    def _fail(self, error: Exception) -> None:
        takers = {id(taker): taker for _, taker in self._in_hand.values()}
        self._in_hand = {}
        for taker in takers.values():
            taker.failed(error)

    async def _answer(self, message: AskKeys) -> None:
        """Look for keys on a helper's behalf, in a thread: it may take a while."""
        keys = self._share.carrier.bucket.client.keys
        try:
            found = await asyncio.to_thread(
                keys.refreshed if message.ended else keys.now, *([pickle.loads(message.ended)] if message.ended else [])
            )
            self.link.send(Keys(pickle.dumps(found)))
        except SternaError as error:
            self.link.send(Keys(pickle.dumps(type(error)(error.sentence))))
        except Exception as error:  # whatever it is: the helper waits for an answer, and would for ever
            sentence = (
                f"Looking for credentials failed in a way that was not foreseen ({type(error).__name__}: {error})."
            )
            self.link.send(Keys(pickle.dumps(SternaError(sentence))))

    async def aclose(self) -> None:
        """The helper has been let go: listen no more."""
        self._in_hand = {}
        for task in (self._listening, *self._answering):
            if task is not None:
                await _ended(task)


async def _ended(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for it; what it failed by is raised."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _undivided(carrier: Carrier, total: Allowance) -> Allowance:
    carrier.buffers.resize(total.memory)
    return total


@asynccontextmanager
async def crew(
    standby: Standby | None, carrier: Carrier, folder: LocalPath, settings: Settings, tally: Tally, stop: Stop
) -> AsyncIterator[None]:
    """Have a carrier helped while this lasts, where there is somebody to help."""
    client = carrier.bucket.client
    if standby is None:
        client.divide = partial(_undivided, carrier)
        yield
        return
    helped = Crew(standby, Share(carrier, folder, settings, tally, stop))
    try:
        yield
    finally:
        await helped.aclose()
        client.divide = partial(_undivided, carrier)
