"""Put together what carries between a folder and a bucket: its plan, its mover and its proof."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from sterna.jobs.bycontent import Looker, comparing
from sterna.jobs.settings import Settings
from sterna.jobs.settling import settled
from sterna.model.actions import Action, Verb
from sterna.model.errors import Refused, SternaError
from sterna.model.events import Tally
from sterna.model.outcomes import Outcome, Status
from sterna.model.stop import Stop
from sterna.model.synced import Seen
from sterna.moving.buffers import Buffers
from sterna.moving.disk import Disk
from sterna.moving.mover import Carry, Mover
from sterna.moving.notebook import Resumable
from sterna.moving.prove import Prover
from sterna.planning.collide import Collisions, OnCollision
from sterna.planning.compare import Compare, Plan, difference, plan_downloads, plan_uploads
from sterna.planning.known import OTHER_TIME, Known
from sterna.planning.merge import Pair
from sterna.stores.local import LocalStore
from sterna.stores.names import components
from sterna.stores.s3 import S3Store
from sterna.stores.timestep import time_step_ns
from sterna.stores.trash import BucketTrash, FolderTrash

_BY_TIME = "same size and time"


class Carrier(msgspec.Struct, frozen=True):
    """One direction of a run."""

    verb: Verb
    bucket: S3Store
    mover: Mover
    buffers: Buffers
    folder: LocalStore | None  # none of a run from bucket to bucket
    planner: Callable[[Sequence[Pair], int, Known | None], Plan]
    prover: Prover | None
    is_durable: bool = True
    looker: Looker | None = None  # by which a LOOK is settled, if not as below
    comparer: Looker | None = None  # by which a COMPARE is
    step_ns: int = 1  # how finely the folder keeps times
    settler: Callable[[AsyncIterator[list[Pair]], bool], AsyncIterator[list[Pair]]] | None = None  # of a folder's names
    tells_same: bool = True  # what a look keeps is the same on both sides, and not only of the same time
    resumable: Resumable | None = None  # what begins transfers that another run may go on with
    skips: bool = False  # what is refused by its name is left out, and fails nothing

    def settled(self, pages: AsyncIterator[list[Pair]], *, dry_run: bool) -> AsyncIterator[list[Pair]]:
        """The pairs, each when it is known whether the destination can hold its name."""
        return pages if self.settler is None else self.settler(pages, dry_run)

    def plan(self, page: Sequence[Pair], now_ns: int, known: Known | None = None) -> Plan:
        """Actions for a page of pairs, of which earlier runs knew this; None where nothing is kept."""
        return self.planner(page, now_ns, known)

    async def resolve(self, actions: Sequence[Action]) -> tuple[list[Action], list[Outcome]]:
        """Look at the objects of which the listing did not say enough; gives what is to be moved, and what is settled."""
        todo = [action for action in actions if action.verb is self.verb]
        looks = [action for action in actions if action.verb in (Verb.LOOK, Verb.COMPARE)]
        settled = [_refused(action, self.skips) for action in actions if action.verb is Verb.REFUSE]
        if self.verb is Verb.DOWNLOAD and (folders := [action for action in todo if action.key[-1] == "/"]):
            there = await asyncio.to_thread(self._folders_there, folders)
            settled += there
            in_place = {outcome.key for outcome in there}
            todo = [action for action in todo if action.key not in in_place]
        if looks:
            found = await asyncio.gather(*(self._settle(action) for action in looks))
            for action, one in zip(looks, found, strict=True):
                if isinstance(one, Outcome):
                    if one.status is Status.KEPT and self.tells_same and action.source and action.target:
                        now_ns = time.time_ns()
                        is_guess = one.because == _BY_TIME
                        one.source = Seen.of(action.source, now_ns)
                        one.target = Seen.of(action.target, now_ns, is_guess=is_guess)
                    settled.append(one)
                else:
                    todo.append(one)
        return todo, settled

    def _folders_there(self, actions: Sequence[Action]) -> list[Outcome]:
        """Of keys that stand for folders, those whose folder is there: the listing of a folder does not tell (H68)."""
        assert self.folder is not None
        there = []
        for action in actions:
            try:
                self.folder.folder.directory(action.place or action.key)
            except SternaError:
                continue
            there.append(Outcome(self.verb.value, action.key, Status.KEPT, because="the folder is there"))
        return there

    async def _settle(self, action: Action) -> Action | Outcome:
        if action.verb is Verb.LOOK:
            return await (self.looker or self._look)(action)
        assert self.comparer is not None, "a plan that remembers is made where contents can be compared"
        if action.because == OTHER_TIME:
            one = await self._look(action)
            if isinstance(one, Action) or one.status is not Status.KEPT:
                return one  # what was edited is not read twice
        return await self.comparer(action)

    async def _look(self, action: Action) -> Action | Outcome:
        assert action.source is not None
        assert action.target is not None
        local, remote = (action.source, action.target) if self.verb is Verb.UPLOAD else (action.target, action.source)
        try:
            found = await self.bucket.head(action.key, version=remote.version)
        except SternaError as error:
            return Outcome(self.verb.value, action.key, Status.FAILED, size=action.size, because=action.because).fail(
                error
            )
        entry, own_ns = (found.entry, found.mtime_ns) if found is not None else (None, None)
        because = difference(self.verb, local, remote, entry, own_ns, step_ns=self.step_ns)
        if because is None:
            return Outcome(self.verb.value, action.key, Status.KEPT, size=action.size, because=_BY_TIME)
        return Action(self.verb, action.key, because, action.source, action.target)

    async def move(self, actions: Sequence[Action]) -> list[Outcome]:
        """Carry the actions; an outcome for each."""
        return await self.mover.run(actions)

    async def tidy(self) -> None:
        """Remove the unfinished files of dead runs that the listing of the target has met so far (H48).

        As soon as they are met: they may be what fills the disk.
        """
        if self.verb is Verb.DOWNLOAD and self.folder is not None and self.folder.abandoned:
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
    from sterna.moving.upload import Uploader

    disk = Disk()
    buffers = Buffers(settings.limits.max_memory)
    uploader = Uploader(folder.folder, bucket, settings.upload, settings.limits, buffers, disk, tally)
    mover = Mover(
        kept_first(uploader.carry, trash_of(bucket, settings)),
        bucket.client.gate,
        stop,
        settings.limits.part_threshold,
    )
    compare, step_ns = settings.compare, time_step_ns(folder.folder.root.device)

    def planner(page: Sequence[Pair], now_ns: int, known: Known | None) -> Plan:
        return plan_uploads(page, now_ns, compare, step_ns=step_ns, known=known)

    try:
        with comparing(Verb.UPLOAD, folder, bucket, buffers, bucket.client.emit, stop) as comparer:
            yield Carrier(
                Verb.UPLOAD, bucket, mover, buffers, folder, planner, Prover(bucket), step_ns=step_ns,
                looker=comparer if compare is Compare.CHECKSUM else None, comparer=comparer,
                tells_same=compare is not Compare.MTIME, resumable=uploader,
            )  # fmt: skip
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
    from sterna.moving.download import Downloader
    from sterna.moving.writer import Writer

    disk = Disk()
    buffers = Buffers(settings.limits.max_memory)
    durable = settings.download.durable
    gate = bucket.client.gate
    trash = FolderTrash(folder.folder, Path(settings.trash)) if settings.trash else None
    folder.folder.trash = trash
    writer = Writer(folder.folder, durable=durable, is_quiet=lambda: mover.is_quiet and not more_comes(), stop=stop)
    downloader = Downloader(
        bucket, folder.folder, settings.download, settings.limits, buffers, disk, writer, tally, stop
    )
    mover = Mover(downloader.carry, gate, stop, settings.limits.part_threshold)
    collisions = Collisions(
        _cannot_hold, settings.on_collision, links=settings.symlinks == "store", windows=os.name == "nt"
    )

    compare, step_ns = settings.compare, time_step_ns(folder.folder.root.device)

    def planner(page: Sequence[Pair], now_ns: int, known: Known | None) -> Plan:
        plan = plan_downloads(page, collisions, compare, step_ns=step_ns, known=known)
        return plan._replace(actions=collisions.placed(plan.actions))

    def settler(pages: AsyncIterator[list[Pair]], dry_run: bool) -> AsyncIterator[list[Pair]]:
        return settled(pages, collisions, bucket, settings.filters, None if dry_run else folder.folder)

    try:
        with comparing(Verb.DOWNLOAD, bucket, folder, buffers, bucket.client.emit, stop) as comparer:
            yield Carrier(
                Verb.DOWNLOAD, bucket, mover, buffers, folder, planner, None, durable, step_ns=step_ns,
                looker=comparer if compare is Compare.CHECKSUM else None, comparer=comparer,
                tells_same=compare is not Compare.MTIME, resumable=downloader, settler=settler,
                skips=settings.on_collision is OnCollision.SKIP,
            )  # fmt: skip
    finally:
        await mover.aclose()
        await writer.aclose()
        disk.close()
        if trash is not None:
            trash.close()


def trash_of(store: S3Store, settings: Settings) -> BucketTrash | None:
    """Where objects of the destination go, if there is such a place."""
    return BucketTrash(store, settings.trash) if settings.trash else None


def kept_first(carry: Carry, trash: BucketTrash | None) -> Carry:
    """Carry what writes over something when that is in the trash, and not where it cannot be."""
    if trash is None:
        return carry

    async def keep_and_carry(action: Action) -> Outcome | asyncio.Future[Outcome]:
        if action.target is not None:
            try:
                await trash.keep(action.key)
            except SternaError as error:
                outcome = Outcome(
                    action.verb.value, action.key, Status.FAILED, size=action.size, because=action.because
                )
                return outcome.fail(error)
        return await carry(action)

    return keep_and_carry


def _cannot_hold(key: str) -> str | None:
    """Why no file, or folder where it ends in a slash, can have this key; None where one can."""
    try:
        components(key.removesuffix("/"))
    except Refused as error:
        return error.sentence
    return None


def _refused(action: Action, skips: bool) -> Outcome:
    if skips:
        return Outcome("refuse", action.key, Status.SKIPPED, size=action.size, error=action.because)
    return Outcome("refuse", action.key, Status.FAILED, size=action.size, because=action.because,
                   error=action.because, error_kind="Refused", exit_code=1)  # fmt: skip
