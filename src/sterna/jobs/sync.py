"""Make a destination like its source: open both sides, and run the flow between them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sterna.jobs.carriers import Carrier, download_carrier, trash_of, upload_carrier
from sterna.jobs.crew import crew
from sterna.jobs.job import Flow, Opened, carry_over, flow_of
from sterna.jobs.ledger import Ledger
from sterna.jobs.memory import remembering
from sterna.jobs.places import check_places, refused_by_memory, with_trash, without_state
from sterna.jobs.repeat import words_of
from sterna.jobs.settings import Settings
from sterna.jobs.sides import open_bucket, open_folder
from sterna.jobs.source import must_hold_something
from sterna.jobs.standby import Standby, scout_for
from sterna.model.actions import Verb
from sterna.model.errors import WrongSetting
from sterna.model.events import Emit, Notice, Summary, Tally, ignore
from sterna.model.location import BucketPath, LocalPath, Location
from sterna.model.stop import Stop
from sterna.planning.guard import Refusal, Remembered
from sterna.stores.local import LocalStore
from sterna.stores.s3 import S3Store

if TYPE_CHECKING:
    from sterna.jobs.deleting import Deleter, Eraser

_ONE = ", or use sterna copy for one object"
View = Callable[[S3Store], Awaitable[S3Store]]


async def sync(
    source: Location,
    destination: Location,
    settings: Settings | None = None,
    *,
    emit: Emit = ignore,
    tally: Tally | None = None,
    stop: Stop | None = None,
    dry_run: bool = False,
    standby: Standby | None = None,
    flow: Flow = carry_over,
    command: str = "sync",
    decided_by: str = "",
    view: View | None = None,
    words: Mapping[str, str] | None = None,
) -> Summary:
    """Bring every file or object below ``source`` that ``destination`` lacks or has in another version; what the source
    lacks is deleted there where ``settings.deletion`` says so.

    ``standby``: where helper processes come from, if any may be had. ``flow``: what is done between the two once they
    are open, and ``command`` what it is called; planning and applying a plan are other flows than a sync's. ``decided_by``
    is the fingerprint of the filters by which it was decided what is done, if not the settings'. ``view``: as what a
    bucket is seen that goes into a folder; it raises SourceUnknown where there is nothing to go by. ``words``: what the
    journal keeps of what the run was told, if not the settings' own.

    Raises SternaError where the run cannot be established (no such folder, bucket, permission); what happens to
    single objects stands in the summary.
    """
    settings = settings or Settings()
    words = words_of(settings, source, destination) if words is None else words
    settings = without_state(with_trash(settings, source, destination), source, destination)
    if isinstance(source, LocalPath) or isinstance(destination, LocalPath):
        check_places(settings, source, destination)  # of two buckets it must be known first whether they share a server
    if flow is carry_over:
        flow = flow_of(settings, source, destination)
    tally = tally if tally is not None else Tally()
    stop = stop or Stop()
    ledger = Ledger(command, str(source), str(destination), emit=emit, tally=tally, stop=stop)
    try:
        if isinstance(source, LocalPath) and isinstance(destination, BucketPath):
            sides = _up(source, destination, settings, ledger, stop, standby)
        elif isinstance(source, BucketPath) and isinstance(destination, LocalPath):
            sides = _down(source, destination, settings, ledger, stop, standby, dry_run=dry_run, view=view)
        elif isinstance(source, BucketPath) and isinstance(destination, BucketPath):
            sides = _across(source, destination, settings, ledger, stop, dry_run=dry_run)
        else:
            raise WrongSetting("Neither location is in a bucket; write one of them as s3://bucket/prefix.")
        async with (
            sides as (left, right, carrier),
            remembering(
                (source, destination),
                (left, right),
                settings,
                ledger,
                command,
                dry_run=dry_run,
                filters=decided_by,
                options=words,
            ) as memory,
        ):
            refusals = refused_by_memory(settings, (source, destination), (left, right), memory.remembered, decided_by)
            with _deleter(settings, carrier, stop, memory.remembered, refusals) as deleter:
                return await flow(
                    Opened(left, right, carrier, ledger, stop, memory, settings.filters, deleter, dry_run)
                )
    finally:
        await ledger.close()


class _Sides(NamedTuple):
    """Both ends of a run, and what carries between them."""

    source: LocalStore | S3Store
    target: LocalStore | S3Store
    carrier: Carrier


@asynccontextmanager
async def _up(
    source: LocalPath,
    destination: BucketPath,
    settings: Settings,
    ledger: Ledger,
    stop: Stop,
    standby: Standby | None,
) -> AsyncIterator[_Sides]:
    tally = ledger.tally
    async with open_bucket(destination, settings.destination, settings, tally, emit=ledger.heard) as bucket:
        with open_folder(source, settings, create=False) as folder:
            scout_for(standby, folder, settings)
            async with (
                upload_carrier(folder, bucket, settings, tally, stop) as carrier,
                crew(standby, carrier, source, settings, tally, stop),
            ):
                yield _Sides(folder, bucket, carrier)


@asynccontextmanager
async def _down(
    source: BucketPath,
    destination: LocalPath,
    settings: Settings,
    ledger: Ledger,
    stop: Stop,
    standby: Standby | None,
    *,
    dry_run: bool,
    view: View | None,
) -> AsyncIterator[_Sides]:
    tally = ledger.tally
    async with open_bucket(source, settings.source, settings, tally, emit=ledger.heard) as bucket:
        if view is not None:
            bucket = await view(bucket)
        elif settings.deletion is None or not os.path.lexists(destination.path):  # else the guards ask
            await must_hold_something(bucket, instead=_ONE)
        with _target_folder(destination, settings, dry_run=dry_run) as folder:
            scout_for(standby, folder, settings)
            async with (
                download_carrier(bucket, folder, settings, tally, stop) as carrier,
                crew(standby, carrier, destination, settings, tally, stop),
            ):
                yield _Sides(bucket, folder, carrier)


@asynccontextmanager
async def _across(
    source: BucketPath, destination: BucketPath, settings: Settings, ledger: Ledger, stop: Stop, *, dry_run: bool
) -> AsyncIterator[_Sides]:
    from sterna.jobs.between import are_on_one_server, open_buckets, refuse_overlap
    from sterna.jobs.copying import copy_carrier

    tally = ledger.tally
    async with open_buckets(source, destination, settings, tally, emit=ledger.heard) as (left, right, obstacle):
        if obstacle is not None and dry_run:
            ledger.heard(Notice(f"{obstacle.sentence} Here they are only compared.", "warning", "obstacle"))
        if settings.deletion is None:
            refuse_overlap(left, right)
            await must_hold_something(left, instead=_ONE)
        else:
            check_places(settings, source, destination, same_server=are_on_one_server(left, right))
        async with copy_carrier(left, right, settings, tally, stop, obstacle) as carrier:
            yield _Sides(left, right, carrier)


def _deleter(
    settings: Settings, carrier: Carrier, stop: Stop, remembered: Remembered, already: Sequence[Refusal]
) -> AbstractContextManager[Deleter | None]:
    """What deletes in the destination, where that is asked for."""
    if settings.deletion is None:
        return nullcontext()
    from sterna.jobs.deleting import Deleter
    from sterna.moving.delete import BucketEraser, FolderEraser

    eraser: Eraser
    if carrier.verb is Verb.DOWNLOAD:
        assert carrier.folder is not None
        eraser = FolderEraser(carrier.folder.folder, stop=stop)
    else:
        eraser = BucketEraser(carrier.bucket, trash=trash_of(carrier.bucket, settings), stop=stop)
    return Deleter(
        eraser,
        settings.filters,
        settings.deletion.allowed,
        remembered,
        already=already,
        stop=stop,
        keeps_markers=carrier.verb is not Verb.COPY,
    )


@contextmanager
def _target_folder(location: LocalPath, settings: Settings, *, dry_run: bool) -> Iterator[LocalStore]:
    """The folder that is to be written to, made where it is missing. A dry run makes nothing of the user's: where there
    is no such folder yet, it compares with an empty one elsewhere.
    """
    if not dry_run:
        with open_folder(location, settings, create=True) as folder:
            yield folder
    elif os.path.lexists(location.path):
        with open_folder(location, settings, create=False) as folder:
            yield folder
    else:
        from tempfile import TemporaryDirectory

        with TemporaryDirectory(prefix="sterna-") as empty, LocalStore.open(Path(empty)) as folder:
            yield folder
