"""Put together what carries one direction: its plan, its mover and its proof."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sterna.jobs.settings import Settings
from sterna.model.actions import Action, Verb
from sterna.model.errors import Refused, SternaError
from sterna.model.events import Tally
from sterna.model.outcomes import Outcome, Status
from sterna.model.stop import Stop
from sterna.moving.buffers import Buffers
from sterna.moving.disk import Disk
from sterna.moving.download import Downloader
from sterna.moving.mover import Mover
from sterna.moving.prove import Prover
from sterna.moving.upload import Uploader
from sterna.moving.writer import Writer
from sterna.planning.collide import Collisions
from sterna.planning.compare import Plan, plan_downloads, plan_uploads, same_time
from sterna.planning.merge import Pair
from sterna.stores.local import LocalStore
from sterna.stores.names import components
from sterna.stores.s3 import S3Store


@dataclass(frozen=True, slots=True)
class Carrier:
    """One direction of a run."""

    verb: Verb
    bucket: S3Store
    mover: Mover
    buffers: Buffers
    folder: LocalStore
    planner: Callable[[Sequence[Pair], int], Plan]
    prover: Prover | None
    is_durable: bool = True

    def plan(self, page: Sequence[Pair], now_ns: int) -> Plan:
        """Actions for a page of pairs."""
        return self.planner(page, now_ns)

    async def resolve(self, actions: Sequence[Action]) -> tuple[list[Action], list[Outcome]]:
        """Look at the objects of which the listing did not say enough; gives what is to be moved, and what is settled."""
        todo = [action for action in actions if action.verb is self.verb]
        looks = [action for action in actions if action.verb is Verb.LOOK]
        settled = [_refused(action) for action in actions if action.verb is Verb.REFUSE]
        if looks:
            for one in await asyncio.gather(*(self._look(action) for action in looks)):
                if isinstance(one, Outcome):
                    settled.append(one)
                else:
                    todo.append(one)
        return todo, settled

    async def _look(self, action: Action) -> Action | Outcome:
        assert action.source is not None
        assert action.target is not None
        local, remote = (action.source, action.target) if self.verb is Verb.UPLOAD else (action.target, action.source)
        try:
            found = await self.bucket.head(action.key)
        except SternaError as error:
            return Outcome(self.verb.value, action.key, Status.FAILED, size=action.size, because=action.because).fail(
                error
            )
        if (
            found is not None
            and found.entry.size == local.size
            and found.entry.etag == remote.etag
            and found.mtime_ns is not None
            and same_time(found.mtime_ns, local.mtime_ns)
        ):
            return Outcome(self.verb.value, action.key, Status.KEPT, size=action.size, because="same size and time")
        keeps = found is None or found.mtime_ns is not None
        why = (
            "same size, and another time"
            if keeps
            else f"{action.because}, and the object does not keep its file's time"
        )
        return Action(self.verb, action.key, why, action.source, action.target)

    async def move(self, actions: Sequence[Action]) -> list[Outcome]:
        """Carry the actions; an outcome for each."""
        return await self.mover.run(actions)

    async def tidy(self) -> None:
        """Remove the unfinished files of dead runs that the listing of the target has met so far (H48).

        As soon as they are met: they may be what fills the disk.
        """
        if self.verb is Verb.DOWNLOAD and self.folder.abandoned:
            abandoned, self.folder.abandoned = self.folder.abandoned, []
            await asyncio.to_thread(self.folder.folder.remove_abandoned, abandoned)

    async def prove(self, outcomes: Sequence[Outcome]) -> None:
        """Look again at what was written."""
        if self.prover is not None:
            await self.prover.prove(outcomes)


@asynccontextmanager
async def upload_carrier(
    folder: LocalStore, bucket: S3Store, settings: Settings, tally: Tally, stop: Stop
) -> AsyncIterator[Carrier]:
    """From a folder into a bucket."""
    disk = Disk()
    buffers = Buffers(settings.limits.max_memory)
    uploader = Uploader(folder.folder, bucket, settings.upload, settings.limits, buffers, disk, tally)
    mover = Mover(uploader.carry, bucket.client.gate, stop, settings.limits.part_threshold)
    try:
        yield Carrier(Verb.UPLOAD, bucket, mover, buffers, folder, plan_uploads, Prover(bucket))
    finally:
        await mover.aclose()
        disk.close()


@asynccontextmanager
async def download_carrier(
    bucket: S3Store,
    folder: LocalStore,
    settings: Settings,
    tally: Tally,
    stop: Stop,
    *,
    more_comes: Callable[[], bool] = lambda: False,
) -> AsyncIterator[Carrier]:
    """From a bucket into a folder. ``more_comes`` tells that a mover without work will have some in a moment."""
    disk = Disk()
    buffers = Buffers(settings.limits.max_memory)
    durable = settings.download.durable
    gate = bucket.client.gate
    writer = Writer(folder.folder, durable=durable, is_quiet=lambda: mover.is_quiet and not more_comes(), stop=stop)
    downloader = Downloader(
        bucket, folder.folder, settings.download, settings.limits, buffers, disk, writer, tally, stop
    )
    mover = Mover(downloader.carry, gate, stop, settings.limits.part_threshold)
    collisions = Collisions(_cannot_hold)

    def planner(page: Sequence[Pair], now_ns: int) -> Plan:
        return plan_downloads(page, collisions)

    try:
        yield Carrier(Verb.DOWNLOAD, bucket, mover, buffers, folder, planner, None, durable)
    finally:
        await mover.aclose()
        await writer.aclose()
        disk.close()


def _cannot_hold(key: str) -> str | None:
    """Why no file, or folder where it ends in a slash, can have this key; None where one can."""
    try:
        components(key.removesuffix("/"))
    except Refused as error:
        return error.sentence
    return None


def _refused(action: Action) -> Outcome:
    return Outcome("refuse", action.key, Status.FAILED, size=action.size, because=action.because,
                   error=action.because, error_kind="Refused", exit_code=1)  # fmt: skip
