"""Put received files in place: small ones written in batches by a thread, all of them made durable in groups."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec

from sterna.model.entry import Entry
from sterna.model.errors import DiskFull, SternaError
from sterna.model.outcomes import Outcome
from sterna.model.stop import Stop
from sterna.moving.buffers import Lease
from sterna.stores.draft import Draft, write_small
from sterna.stores.folder import Folder
from sterna.stores.syncing import Committer, Syncing

_BATCH = 64  # files a hop to the thread: it costs 30 µs, a file 40
_FLUSH_EVERY_S = 0.5  # each flush makes the disk write everything: rarely is cheap, and a done file waits for it
_POLL_S = 0.005


class _Job(msgspec.Struct):
    key: str
    data: bytes | bytearray
    mtime_ns: int | None
    expect: Entry | None
    ticket: Ticket
    lease: Lease


class Ticket(msgspec.Struct):
    """An outcome that waits for its file, the ``draft``, to be in place."""

    outcome: Outcome
    done: asyncio.Future[Outcome]
    began: float
    draft: Draft | None = None

    def settle(self, error: SternaError | None) -> None:
        """The file is in place, and durable where that was asked for; or it is not."""
        if error is not None:
            self.outcome.fail(error)
        elif self.draft is not None and self.draft.published is not None:
            self.outcome.target = self.draft.published
        self.outcome.seconds = time.perf_counter() - self.began
        if not self.done.done():
            self.done.set_result(self.outcome)

    def failed(self, error: BaseException) -> None:
        """A fault of ours: whoever waits for the outcome must not wait for ever."""
        if not self.done.done():
            self.done.set_exception(error)


class Writer:
    """Writes and publishes what was downloaded. ``is_quiet`` tells that nothing more is on its way: then a flush need
    not wait for company. A full disk stops the run: what would come next would fail as well (H49).
    """

    def __init__(self, folder: Folder, *, durable: bool, is_quiet: Callable[[], bool], stop: Stop) -> None:
        self._folder = folder
        self._stop = stop
        self._durable = durable
        self._is_quiet = is_quiet
        self._loop = asyncio.get_running_loop()
        self._committer: Committer[Ticket] = Committer(Syncing(folder, durable))
        self._pending: list[_Job] = []
        self._writing: asyncio.Task[None] | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._write_thread = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._flush_thread = ThreadPoolExecutor(1, thread_name_prefix="flush")

    def __repr__(self) -> str:
        return f"<Writer {len(self._pending)} pending, {self._committer!r}>"

    def ticket(self, outcome: Outcome, began: float) -> Ticket:
        """A ticket for an outcome; its ``done`` resolves when the file is in place."""
        return Ticket(outcome, self._loop.create_future(), began)

    def put(
        self,
        key: str,
        data: bytes | bytearray,
        mtime_ns: int | None,
        expect: Entry | None,
        ticket: Ticket,
        lease: Lease,
    ) -> None:
        """Take a small file; its memory is given back when it is written."""
        self._pending.append(_Job(key, data, mtime_ns, expect, ticket, lease))
        if self._writing is None:
            self._writing = self._loop.create_task(self._write_all())

    def stage(self, draft: Draft, expect: Entry | None, ticket: Ticket) -> None:
        """Take a sealed draft. With ``durable`` it gets its name after the flush of its data."""
        ticket.draft = draft
        self._committer.stage(draft, expect, ticket)
        self._begin_flushing()

    async def _write_all(self) -> None:
        try:
            while self._pending:
                batch, self._pending = self._pending[:_BATCH], self._pending[_BATCH:]
                try:
                    errors = await self._loop.run_in_executor(self._write_thread, self._write_batch, batch)
                except Exception as fault:  # memory, a thread, or something of ours: the run ends by it
                    for job in batch:
                        job.lease.release()
                        job.ticket.failed(fault)
                    continue
                for job, error in zip(batch, errors, strict=True):
                    job.lease.release()
                    if error is not None or not self._durable:
                        self._settle(job.ticket, error)
        finally:
            self._writing = None
        if self._durable:
            self._begin_flushing()

    def _write_batch(self, batch: list[_Job]) -> list[SternaError | None]:
        errors: list[SternaError | None] = []
        for job in batch:
            try:
                draft = write_small(self._folder, job.key, job.data, job.mtime_ns, replaces=job.expect is not None)
                job.ticket.draft = draft
                if self._durable:
                    self._committer.stage(draft, job.expect, job.ticket)
                else:
                    draft.publish(job.expect)
                errors.append(None)
            except SternaError as error:
                errors.append(error)
        return errors

    def _begin_flushing(self) -> None:
        if self._flushing is None and not self._committer.is_idle:
            self._flushing = self._loop.create_task(self._flush_all())

    async def _flush_all(self) -> None:
        try:
            while not self._committer.is_idle:
                since = self._loop.time()
                while self._durable and self._loop.time() - since < _FLUSH_EVERY_S and not self._quiet():  # noqa: ASYNC110
                    await asyncio.sleep(_POLL_S)
                try:
                    results = await self._loop.run_in_executor(self._flush_thread, self._committer.cycle)
                except Exception as fault:  # as above; what it had in hand is with the committer again
                    for ticket in self._committer.drop():
                        ticket.failed(fault)
                    continue
                for ticket, error in results:
                    self._settle(ticket, error)
        finally:
            self._flushing = None

    def _settle(self, ticket: Ticket, error: SternaError | None) -> None:
        ticket.settle(error)
        if isinstance(error, DiskFull):
            self._stop.request(error.sentence, 1)

    def _quiet(self) -> bool:
        return not self._pending and self._writing is None and self._is_quiet()

    async def aclose(self) -> None:
        """Wait for the threads; what is not in place yet is discarded with its drafts by the next run."""
        for task in (self._writing, self._flushing):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await asyncio.to_thread(self._write_thread.shutdown, wait=True, cancel_futures=True)
        await asyncio.to_thread(self._flush_thread.shutdown, wait=True, cancel_futures=True)
        for draft in self._committer.abandon():
            draft.discard()
