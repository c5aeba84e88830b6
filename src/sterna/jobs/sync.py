"""Make a destination like its source: open both sides, and run the flow between them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sterna.jobs.carriers import Carrier, download_carrier, trash_of, upload_carrier
from sterna.jobs.crew import crew
from sterna.jobs.job import carry_over
from sterna.jobs.ledger import Ledger
from sterna.jobs.places import check_places, with_trash
from sterna.jobs.settings import Settings
from sterna.jobs.sides import open_bucket, open_folder
from sterna.jobs.source import must_hold_something
from sterna.jobs.standby import Standby, scout_for
from sterna.model.errors import WrongSetting
from sterna.model.events import Emit, Notice, Summary, Tally, ignore
from sterna.model.location import BucketPath, LocalPath, Location
from sterna.model.stop import Stop
from sterna.planning.filters import Filter
from sterna.stores.local import LocalStore
from sterna.stores.s3 import S3Store
from sterna.stores.store import Store

if TYPE_CHECKING:
    from sterna.jobs.deleting import Deleter, Eraser

_ONE = ", or use sterna copy for one object"


class Flow(Protocol):
    """What a run does between its two sides, both of them open, up to the summary."""

    async def __call__(
        self,
        source: Store,
        target: Store,
        carrier: Carrier,
        ledger: Ledger,
        stop: Stop,
        *,
        filters: Filter,
        deleter: Deleter | None,
        dry_run: bool,
    ) -> Summary: ...


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
) -> Summary:
    """Bring every file or object below ``source`` that ``destination`` lacks or has in another version; what the source
    lacks is deleted there where ``settings.deletion`` says so.

    ``standby``: where helper processes come from, if any may be had. ``flow``: what is done between the two once they
    are open, and ``command`` what it is called; planning and applying a plan are other flows than a sync's.

    Raises SternaError where the run cannot be established (no such folder, bucket, permission); what happens to
    single objects stands in the summary.
    """
    settings = with_trash(settings or Settings(), source, destination)
    check_places(settings, source, destination)
    tally = tally if tally is not None else Tally()
    stop = stop or Stop()
    ledger = Ledger(command, str(source), str(destination), emit=emit, tally=tally, stop=stop)
    try:
        if isinstance(source, LocalPath) and isinstance(destination, BucketPath):
            async with open_bucket(destination, settings.destination, settings, tally, emit=ledger.heard) as bucket:
                with open_folder(source, settings, create=False) as folder:
                    scout_for(standby, folder, settings)
                    async with (
                        upload_carrier(folder, bucket, settings, tally, stop) as carrier,
                        crew(standby, carrier, source, settings, tally, stop),
                    ):
                        with _deleter(settings, bucket, stop) as deleter:
                            return await flow(
                                folder, bucket, carrier, ledger, stop,
                                filters=settings.filters, deleter=deleter, dry_run=dry_run,
                            )  # fmt: skip
        if isinstance(source, BucketPath) and isinstance(destination, LocalPath):
            async with open_bucket(source, settings.source, settings, tally, emit=ledger.heard) as bucket:
                if settings.deletion is None or not os.path.lexists(destination.path):  # else the guards ask
                    await must_hold_something(bucket, instead=_ONE)
                with _target_folder(destination, settings, dry_run=dry_run) as folder:
                    scout_for(standby, folder, settings)
                    async with (
                        download_carrier(bucket, folder, settings, tally, stop) as carrier,
                        crew(standby, carrier, destination, settings, tally, stop),
                    ):
                        with _deleter(settings, folder, stop) as deleter:
                            return await flow(
                                bucket, folder, carrier, ledger, stop,
                                filters=settings.filters, deleter=deleter, dry_run=dry_run,
                            )  # fmt: skip
        if isinstance(source, BucketPath) and isinstance(destination, BucketPath):
            from sterna.jobs.between import open_buckets, refuse_overlap
            from sterna.jobs.copying import copy_carrier

            if settings.deletion is None:  # with it, the guards ask
                refuse_overlap(source, destination)
            async with open_buckets(source, destination, settings, tally, emit=ledger.heard) as (left, right, obstacle):
                if obstacle is not None and dry_run:
                    ledger.heard(Notice(f"{obstacle.sentence} Here they are only compared.", "warning", "obstacle"))
                if settings.deletion is None:
                    await must_hold_something(left, instead=_ONE)
                async with copy_carrier(left, right, settings, tally, stop, obstacle) as carrier:
                    with _deleter(settings, right, stop, keeps_markers=False) as deleter:
                        return await flow(
                            left, right, carrier, ledger, stop,
                            filters=settings.filters, deleter=deleter, dry_run=dry_run,
                        )  # fmt: skip
        raise WrongSetting("Neither location is in a bucket; write one of them as s3://bucket/prefix.")
    finally:
        await ledger.close()


def _deleter(
    settings: Settings, target: S3Store | LocalStore, stop: Stop, *, keeps_markers: bool = True
) -> AbstractContextManager[Deleter | None]:
    """What deletes in the destination, where that is asked for."""
    if settings.deletion is None:
        return nullcontext()
    from sterna.jobs.deleting import Deleter
    from sterna.moving.delete import BucketEraser, FolderEraser

    eraser: Eraser
    if isinstance(target, LocalStore):
        eraser = FolderEraser(target.folder, stop=stop)
    else:
        eraser = BucketEraser(target, trash=trash_of(target, settings), stop=stop)
    return Deleter(eraser, settings.filters, settings.deletion.allowed, stop=stop, keeps_markers=keeps_markers)


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
