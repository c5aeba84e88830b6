"""Make a destination like its source: the flow, in full."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from sterna.jobs.carriers import Carrier, download_carrier, upload_carrier
from sterna.jobs.ledger import Ledger
from sterna.jobs.settings import Settings
from sterna.jobs.sides import open_bucket, open_folder
from sterna.model.actions import Action, Verb
from sterna.model.entry import Entry, Trouble
from sterna.model.errors import SternaError, WrongSetting
from sterna.model.events import Emit, Summary, Tally, ignore
from sterna.model.location import BucketPath, LocalPath, Location
from sterna.model.outcomes import Outcome, Status
from sterna.model.stop import Stop
from sterna.planning.compare import Plan
from sterna.planning.merge import pairs
from sterna.stores.local import LocalStore
from sterna.stores.store import Store

_RANGES = 8  # of up to 1,000 keys each that are moved and proved at once: it bounds what a run remembers


async def sync(
    source: Location,
    destination: Location,
    settings: Settings | None = None,
    *,
    emit: Emit = ignore,
    tally: Tally | None = None,
    stop: Stop | None = None,
    dry_run: bool = False,
) -> Summary:
    """Bring every file or object below ``source`` that ``destination`` lacks or has in another version; delete nothing.

    Raises SternaError where the run cannot be established (no such folder, bucket, permission); what happens to
    single objects stands in the summary.
    """
    settings = settings or Settings()
    tally = tally if tally is not None else Tally()
    stop = stop or Stop()
    ledger = Ledger("sync", str(source), str(destination), emit=emit, tally=tally, stop=stop)
    try:
        if isinstance(source, LocalPath) and isinstance(destination, BucketPath):
            async with open_bucket(destination, settings.destination, settings, tally, ledger) as bucket:
                with open_folder(source, settings, create=False) as folder:
                    async with upload_carrier(folder, bucket, settings, tally, stop) as carrier:
                        return await carry_over(folder, bucket, carrier, ledger, stop, dry_run=dry_run)
        if isinstance(source, BucketPath) and isinstance(destination, LocalPath):
            async with open_bucket(source, settings.source, settings, tally, ledger) as bucket:
                with _target_folder(destination, settings, dry_run=dry_run) as folder:
                    async with download_carrier(bucket, folder, settings, tally, stop) as carrier:
                        return await carry_over(bucket, folder, carrier, ledger, stop, dry_run=dry_run)
        raise WrongSetting("sync works between a folder and s3://bucket/prefix; one side must be each.")
    finally:
        await ledger.close()


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
        with TemporaryDirectory(prefix="sterna-") as empty, LocalStore.open(Path(empty)) as folder:
            yield folder


async def carry_over(
    source: Store, target: Store, carrier: Carrier, ledger: Ledger, stop: Stop, *, dry_run: bool = False
) -> Summary:
    """list → compare → plan → move → prove → record → report, range by range, several ranges at a time."""
    ranges = asyncio.Semaphore(_RANGES)

    async def move(plan: Plan) -> None:
        try:
            actions, settled = await carrier.resolve(plan.actions)
            ledger.record(settled)
            outcomes = await carrier.move(actions) if not dry_run else would_be(actions)
            if not dry_run:
                await carrier.prove(outcomes)
            ledger.record(outcomes)
        finally:
            ranges.release()

    try:
        async with asyncio.TaskGroup() as moving:
            sources = entries(source, ledger, carrier.verb)
            targets = entries(target, ledger, carrier.verb, quiet=True)
            now_ns = time.time_ns()
            async for page in pairs(sources, targets):
                if not dry_run:
                    await carrier.tidy()
                plan = carrier.plan(page, now_ns)
                ledger.kept(plan.kept, plan.kept_bytes)
                ledger.planned(len(plan.actions), sum(action.size for action in plan.actions))
                if plan.actions:
                    await ranges.acquire()
                    moving.create_task(move(plan))
                if stop.is_requested:
                    break
            if not dry_run:
                await carrier.tidy()
            ledger.tally.planning_done = True
    except* SternaError as errors:
        raise first_of(errors) from None
    return await ledger.settle(durable=carrier.is_durable)


async def entries(store: Store, ledger: Ledger, verb: Verb, *, quiet: bool = False) -> AsyncIterator[Sequence[Entry]]:
    """A store's pages; what was met and cannot be carried becomes outcomes at once."""
    async for page in store.pages():
        troubles: Sequence[Trouble] = page.troubles
        if troubles and not quiet:
            ledger.troubles(troubles, verb.value)
        if quiet:
            ledger.tally.listed_target += len(page.entries)
        else:
            ledger.tally.listed_source += len(page.entries)
        if page.entries:
            yield page.entries


def would_be(actions: Sequence[Action]) -> list[Outcome]:
    """What a dry run says of its actions."""
    return [
        Outcome(one.verb.value, one.key, Status.SKIPPED, size=one.size, because=one.because, error="dry run")
        for one in actions
    ]


def first_of(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of a group of groups."""
    first: BaseException = errors
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first
