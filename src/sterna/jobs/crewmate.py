"""A process that only carries: it is given actions, and gives outcomes back."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import socket
import threading
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import msgspec

from sterna.jobs.carriers import Carrier, download_carrier, upload_carrier
from sterna.jobs.settings import Settings
from sterna.jobs.sides import open_bucket, open_folder
from sterna.model.actions import Verb
from sterna.model.errors import AccessDenied, SourceUnknown, SternaError
from sterna.model.events import Event, Notice, Tally
from sterna.model.location import BucketPath, LocalPath
from sterna.model.outcomes import Outcome
from sterna.model.stop import Stop
from sterna.moving.messages import Allow, AskKeys, Begin, End, Keys, Link, Report, Rest, Work
from sterna.stores.learned import Learned
from sterna.wire.credentials import Credentials
from sterna.wire.limits import Allowance, Held
from sterna.wire.loop import run
from sterna.wire.side import Side

_REPORT_S = 0.01  # a report costs some 50 µs at both ends
_QUIET_S = 0.1  # so often where no action has ended, for the bytes that passed
_LEAVE_S = 3.0  # what is in flight when there is nobody left to report to may be given up for so long


class Task(msgspec.Struct, frozen=True):
    """All that a helper is told: one direction between a bucket and a folder, and what was found out so far.

    ``root`` are device and inode of the folder: under its path may stand another by now. ``side`` has region and
    endpoints filled in, ``credentials`` are those of now; later ones are asked for.
    """

    verb: Verb
    bucket: BucketPath
    folder: LocalPath
    root: tuple[int, int]
    side: Side
    settings: Settings
    credentials: Credentials | None
    learned: Learned


def serve(connected: socket.socket) -> int:
    """Carry until whoever directs closes the socket; gives an exit status."""
    return run(_serve(connected))


async def _serve(connected: socket.socket) -> int:
    link = await Link.over(connected)
    first = await link.to_helper()
    if not isinstance(first, Begin):
        return 0  # whoever directs is gone already
    task: Task = pickle.loads(first.task)
    mate = _Mate(link, task)
    try:
        await mate.work()
    except SternaError:
        return 1  # no help from here: whoever directs does it alone, and meets the reason if there still is one
    except BaseException:
        mate.report(fault=traceback.format_exc())
        return 1
    finally:
        await link.aclose()
    return 0


class _Mate:
    """The helper's end of one task. It is the taker of its mover's outcomes."""

    def __init__(self, link: Link, task: Task) -> None:
        self._link = link
        self._task = task
        self._tally, self._stop = Tally(), Stop()
        self._told = Tally()
        self._carried_before = 0
        self._outcomes: list[Outcome] = []
        self._notices: list[Notice] = []
        self._resting = False
        self._keys = _Keys(link, task.credentials)
        self._carrier: Carrier | None = None
        self._last_s = 0.0

    async def work(self) -> None:
        async with self._open() as carrier:
            self._carrier = carrier
            reporting = asyncio.create_task(self._keep_reporting())
            try:
                while (message := await self._link.to_helper()) is not None:
                    if isinstance(message, Work):
                        self._resting = False
                        carrier.mover.feed(message.actions, self)
                    elif isinstance(message, Rest):
                        self._resting = True
                    elif isinstance(message, Allow):
                        self._allow(carrier, message)
                    elif isinstance(message, End):
                        self._stop.request(message.reason, message.exit_code)
                    elif isinstance(message, Keys):
                        self._keys.came(message.pickled)
            finally:
                self._keys.came(pickle.dumps(AccessDenied("The run has ended.")))
                _leave_soon()
                reporting.cancel()
                await asyncio.wait([reporting])

    def _allow(self, carrier: Carrier, message: Allow) -> None:
        carrier.buffers.resize(message.memory)
        carrier.bucket.client.allow(
            Allowance(message.workers, message.memory, message.up, message.down, message.requests)
        )

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Carrier]:
        task, settings = self._task, self._task.settings
        async with open_bucket(
            task.bucket, task.side, settings, self._tally, emit=self._heard, keys=self._keys
        ) as bucket:
            bucket.learned = task.learned
            with open_folder(task.folder, settings, create=False) as folder:
                if (folder.folder.root.device, folder.folder.root.inode) != task.root:
                    raise SourceUnknown("The folder was replaced.")
                carrying: AbstractAsyncContextManager[Carrier]
                if task.verb is Verb.UPLOAD:
                    carrying = upload_carrier(folder, bucket, settings, self._tally, self._stop)
                else:
                    carrying = download_carrier(
                        bucket, folder, settings, self._tally, self._stop, more_comes=lambda: not self._resting
                    )
                async with carrying as carrier:
                    yield carrier

    def _heard(self, event: Event) -> None:
        if isinstance(event, Notice):
            self._notices.append(event)

    def ended(self, outcome: Outcome) -> None:
        """An action has ended."""
        self._outcomes.append(outcome)

    def ended_later(self, future: asyncio.Future[Outcome]) -> None:
        """An action whose outcome others have settled."""
        error = asyncio.CancelledError() if future.cancelled() else future.exception()
        if error is not None:
            self.failed(error)
        else:
            self._outcomes.append(future.result())

    def failed(self, error: BaseException) -> None:
        """An error of ours: whoever directs fails the run."""
        self.report(fault="".join(traceback.format_exception(error)))

    async def _keep_reporting(self) -> None:
        while True:
            await asyncio.sleep(_REPORT_S)
            self.report()

    def report(self, fault: str = "") -> None:
        """Tell what has happened since the last report, if anything has."""
        tally, told, now_s = self._tally, self._told, time.monotonic()
        carried = self._carrier.mover.carried if self._carrier is not None else 0
        if not (fault or self._outcomes or self._notices or carried != self._carried_before) and (
            now_s - self._last_s < _QUIET_S
        ):
            return
        self._last_s = now_s
        held = self._carrier.bucket.client.held() if self._carrier is not None else Held()
        self._link.send(
            Report(
                carried=carried - self._carried_before,
                outcomes=self._outcomes,
                moved_bytes=tally.moved_bytes - told.moved_bytes,
                wasted_bytes=tally.wasted_bytes - told.wasted_bytes,
                requests=tally.requests - told.requests,
                retries=tally.retries - told.retries,
                in_flight=tally.in_flight - told.in_flight,
                lanes=tally.lanes - told.lanes,
                cpu_s=time.thread_time(),
                pid=os.getpid(),
                notices=self._notices,
                stop_reason=self._stop.reason,
                stop_code=self._stop.exit_code,
                wants_bytes=held.up or held.down,
                wants_requests=held.requests,
                fault=fault,
            )
        )
        for name in ("moved_bytes", "wasted_bytes", "requests", "retries", "in_flight", "lanes"):
            setattr(told, name, getattr(tally, name))
        self._carried_before = carried
        self._outcomes, self._notices = [], []


class _Keys:
    """Credentials, as the wire asks for them in its threads; fresh ones come from whoever directs, who alone may look
    for them: it asks for a second factor once, and runs what gives credentials once.
    """

    def __init__(self, link: Link, current: Credentials | None) -> None:
        self._link = link
        self._current = current
        self._loop = asyncio.get_running_loop()
        self._asking = threading.Lock()
        self._answer: Credentials | SternaError | None = None
        self._has_answer = threading.Event()
        self._first = True

    def now(self) -> Credentials | None:
        """The keys that came with the task; asked later, fresher ones."""
        if self._first or self._current is None:
            self._first = False
            return self._current
        return self._asked(b"")

    def refreshed(self, old: Credentials) -> Credentials:
        """Other keys than ``old``; raises what whoever directs met in looking for them."""
        found = self._asked(pickle.dumps(old))
        assert found is not None, "keys that have ended are followed by others or an error"
        return found

    def region(self) -> str | None:
        """Settled before the task came."""
        return None

    def endpoint_url(self) -> str | None:
        """Settled before the task came."""
        return None

    def came(self, pickled: bytes) -> None:
        """The answer."""
        self._answer = pickle.loads(pickled)
        self._has_answer.set()

    def _asked(self, ended: bytes) -> Credentials | None:
        with self._asking:
            self._has_answer.clear()
            self._loop.call_soon_threadsafe(self._link.send, AskKeys(ended))
            self._has_answer.wait()
            answer = self._answer
        if isinstance(answer, SternaError):
            raise answer
        self._current = answer
        return answer


def _leave_soon() -> None:
    """Nobody waits for this process any more; a thread that hangs in the kernel does not keep it."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, _LEAVE_S)  # not a thread: there may be none to be had
