"""Copy a file, a folder, an object, a prefix or a stream, between this machine and a bucket or between buckets."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

from msgspec.structs import replace

from sterna.jobs.carriers import Carrier, download_carrier, upload_carrier
from sterna.jobs.crew import crew
from sterna.jobs.job import Opened, carry, flow_of
from sterna.jobs.ledger import Ledger
from sterna.jobs.memory import remembering
from sterna.jobs.places import without_state
from sterna.jobs.repeat import words_of
from sterna.jobs.settings import Settings
from sterna.jobs.sides import open_bucket, open_folder
from sterna.jobs.standby import Standby, scout_for
from sterna.model.actions import Action, Verb
from sterna.model.entry import Entry
from sterna.model.errors import SourceUnknown, SternaError, WrongSetting
from sterna.model.events import Emit, Summary, Tally, ignore
from sterna.model.location import BucketPath, LocalPath, Location
from sterna.model.outcomes import Outcome, Status
from sterna.model.stop import Stop
from sterna.model.units import printable
from sterna.moving.buffers import Buffers
from sterna.moving.disk import Disk
from sterna.moving.prove import Prover
from sterna.planning.compare import Compare
from sterna.stores.folder import translate
from sterna.stores.local import LocalStore
from sterna.stores.names import is_abandoned
from sterna.stores.s3 import OneObject, S3Store
from sterna.stores.store import Store


async def copy(
    source: Location,
    destination: Location,
    settings: Settings | None = None,
    *,
    emit: Emit = ignore,
    tally: Tally | None = None,
    stop: Stop | None = None,
    standby: Standby | None = None,
) -> Summary:
    """Copy what ``source`` names: a file or object under the name that ``destination`` gives (below it, where that is a
    folder or ends in a slash), a folder or prefix with everything below it. What is there already is not moved again;
    nothing is deleted. A ``-`` is standard input or output. Raises as ``sync`` does.
    """
    settings = settings or Settings()
    flow_of(settings, source, destination)  # refuses what cannot be, before anything is opened
    if any(isinstance(end, LocalPath) and end.is_stream for end in (source, destination)):
        _refuse_for_a_stream(settings)
    tally = tally if tally is not None else Tally()
    stop = stop or Stop()
    ledger = Ledger("copy", str(source), str(destination), emit=emit, tally=tally, stop=stop)
    try:
        if isinstance(source, LocalPath) and isinstance(destination, BucketPath):
            async with open_bucket(destination, settings.destination, settings, tally, emit=ledger.heard) as bucket:
                return await _up(source, bucket, settings, ledger, stop, standby)
        if isinstance(source, BucketPath) and isinstance(destination, LocalPath):
            async with open_bucket(source, settings.source, settings, tally, emit=ledger.heard) as bucket:
                return await _down(bucket, destination, settings, ledger, stop, standby)
        if isinstance(source, BucketPath) and isinstance(destination, BucketPath):
            from sterna.jobs.between import open_buckets

            async with open_buckets(source, destination, settings, tally, emit=ledger.heard) as (left, right, obstacle):
                if obstacle is not None:
                    raise obstacle
                return await _across(left, right, settings, ledger, stop)
        raise WrongSetting("Neither location is in a bucket; write one of them as s3://bucket/prefix.")
    finally:
        await ledger.close()


async def _up(
    source: LocalPath, bucket: S3Store, settings: Settings, ledger: Ledger, stop: Stop, standby: Standby | None
) -> Summary:
    location = bucket.location
    if source.is_stream:
        if location.says_folder:
            raise WrongSetting(f"{location}: standard input needs a whole key; add the object's name.")
        return await _stream_up(bucket, settings, ledger, stop)
    path = source.path
    mode = _mode(path, SourceUnknown)
    if stat.S_ISDIR(mode):
        settings = without_state(settings, source, location)
        with open_folder(source, settings, create=False) as folder:
            scout_for(standby, folder, settings)
            async with (
                upload_carrier(folder, bucket, settings, ledger.tally, stop) as carrier,
                crew(standby, carrier, source, settings, ledger.tally, stop),
            ):
                return await _tree(folder, bucket, carrier, (source, location), settings, ledger, stop)
    if not mode:
        raise SourceUnknown(f"{printable(str(path))} does not exist; check the path.")
    _refuse_filters(settings, f"{printable(str(path))} is one file")
    full = bucket.prefix + path.name if location.says_folder else location.path
    single = OneObject(bucket.client, location, bucket.own_headers, full=full)
    # A file that was named is meant, also where its name is a symbolic link.
    with LocalStore.open(_folder_of(path, SourceUnknown), symlinks="follow") as folder:
        async with upload_carrier(folder, single, settings, ledger.tally, stop) as carrier:
            entry = folder.folder.look(path.name)
            if entry is None or entry.is_directory_marker:
                raise SourceUnknown(f"{printable(str(path))} does not exist; check the path.")
            found = await single.look(path.name)
            action = _named(carrier, settings, path.name, entry, found)
            return await _carry_one((source, location), (folder, single), carrier, action, settings, ledger, stop)


async def _down(
    bucket: S3Store, destination: LocalPath, settings: Settings, ledger: Ledger, stop: Stop, standby: Standby | None
) -> Summary:
    location = bucket.location
    single = OneObject(bucket.client, location, bucket.own_headers, full=location.path)
    found = await single.look(location.path) if location.path and not location.says_folder else None
    if found is None:
        return await _below(bucket, destination, settings, ledger, stop, standby)
    _refuse_filters(settings, f"{printable(str(location))} is one object")
    if destination.is_stream:
        return await _stream_down(single, settings, ledger, stop)
    path = destination.path
    name = location.path.rpartition("/")[2]
    if destination.says_folder or stat.S_ISDIR(_mode(path, WrongSetting)):
        path = path / name
    with LocalStore.open(_folder_of(path, WrongSetting), create=True) as folder:
        folder.abandoned = await asyncio.to_thread(_abandoned, folder)
        async with download_carrier(single, folder, settings, ledger.tally, stop) as carrier:
            target = folder.folder.look(path.name)
            entry = Entry(path.name, found.size, found.mtime_ns, found.etag, found.storage_class)
            action = _named(carrier, settings, path.name, entry, target)
            ends = (location, destination)
            return await _carry_one(ends, (single, folder), carrier, action, settings, ledger, stop)


async def _across(left: S3Store, right: S3Store, settings: Settings, ledger: Ledger, stop: Stop) -> Summary:
    """From bucket to bucket: the object of that name, or, where there is none, what is below the prefix."""
    from sterna.jobs.between import refuse_overlap
    from sterna.jobs.copying import copy_carrier

    source, destination = left.location, right.location
    one = OneObject(left.client, source, left.own_headers, full=source.path)
    found = await one.look(source.path) if source.path and not source.says_folder else None
    if found is None:
        refuse_overlap(left, right)
        await _must_hold_something(left)
        async with copy_carrier(left, right, settings, ledger.tally, stop) as carrier:
            return await _tree(left, right, carrier, (source, destination), settings, ledger, stop)
    _refuse_filters(settings, f"{printable(str(source))} is one object")
    name = source.path.rpartition("/")[2]
    full = right.prefix + name if destination.says_folder else destination.path
    if (right.bucket, full) == (left.bucket, source.path):
        raise WrongSetting(f"{printable(str(source))} would be copied onto itself; give another name.")
    other = OneObject(right.client, destination, right.own_headers, full=full)
    async with copy_carrier(one, other, settings, ledger.tally, stop) as carrier:
        entry = replace(found, key=name)
        plan = carrier.plan([(entry, await other.look(name))], time.time_ns())
        ledger.kept(plan.kept, plan.kept_bytes)
        if not plan.actions:
            ledger.tally.planning_done = True
            return await ledger.settle()
        ends = (source, destination)
        return await _carry_one(ends, (one, other), carrier, plan.actions[0], settings, ledger, stop)


async def _tree(
    source: Store,
    target: Store,
    carrier: Carrier,
    ends: tuple[Location, Location],
    settings: Settings,
    ledger: Ledger,
    stop: Stop,
) -> Summary:
    flow, words = flow_of(settings, *ends), words_of(settings, *ends)
    async with remembering(ends, (source, target), settings, ledger, "copy", options=words) as memory:
        return await flow(Opened(source, target, carrier, ledger, stop, memory, settings.filters))


def _refuse_for_a_stream(settings: Settings) -> None:
    if settings.compare is not Compare.AUTO:
        raise WrongSetting(
            f"--compare {settings.compare.value} has nothing to compare a stream (-) with, which is always carried; leave"
            " it off."
        )
    _refuse_filters(settings, "a stream (-) is one object")


def _refuse_filters(settings: Settings, what: str) -> None:
    """Filters choose among many: what was named itself is meant, and an option without effect is refused."""
    if not settings.filters.takes_everything:
        raise WrongSetting(
            f"Options that include, exclude or limit choose among what is below a folder or prefix, and {what}; leave"
            " them off."
        )


def _folder_of(path: Path, kind: type[SternaError]) -> Path:
    """The folder that holds a path; ``kind`` is raised where the path begins in a current folder that is no more."""
    try:
        return path.absolute().parent
    except OSError:
        raise kind(
            f"{printable(str(path))}: the current folder has been deleted; change into another, or give the whole path."
        ) from None


def _mode(path: Path, kind: type[SternaError]) -> int:
    """What stands at a path, links followed; 0 for nothing. ``kind`` is raised where that cannot be known."""
    try:
        return path.stat().st_mode
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return 0
        raise kind(translate(error, "look at", str(path)).sentence) from error


def _abandoned(store: LocalStore) -> list[str]:
    """What killed runs left unfinished beside the target: nothing else of this job reads the folder (H48)."""
    try:
        with os.scandir(store.folder.path) as names:
            return [item.name for item in names if is_abandoned(item.name)]
    except OSError:
        return []  # a folder that one may write and not read


async def _must_hold_something(bucket: S3Store) -> None:
    entries, more = await bucket.list_some("", most=2)  # the first may be the prefix's own marker
    if not entries and not more:
        name = printable(str(bucket.location))
        raise SourceUnknown(f"{name} is neither an object nor a prefix with objects below it.")


async def _below(
    bucket: S3Store, destination: LocalPath, settings: Settings, ledger: Ledger, stop: Stop, standby: Standby | None
) -> Summary:
    await _must_hold_something(bucket)
    if destination.is_stream:
        raise WrongSetting(f"{bucket.location} is a prefix; only one object can go to standard output.")
    settings = without_state(settings, bucket.location, destination)
    with open_folder(destination, settings, create=True) as folder:
        scout_for(standby, folder, settings)
        async with (
            download_carrier(bucket, folder, settings, ledger.tally, stop) as carrier,
            crew(standby, carrier, destination, settings, ledger.tally, stop),
        ):
            return await _tree(bucket, folder, carrier, (bucket.location, destination), settings, ledger, stop)


def _named(carrier: Carrier, settings: Settings, name: str, source: Entry, target: Entry | None) -> Action:
    """What is to be done about a single file or object that was named: one of the same size is always looked at, unless
    the user chose by what it is compared."""
    if settings.compare is not Compare.AUTO:
        for action in carrier.plan([(source, target)], time.time_ns()).actions:
            return action
        return Action(Verb.KEEP, name, "the destination has it", source, target)
    is_other = target is None or target.size != source.size
    return Action(carrier.verb if is_other else Verb.LOOK, name, "named", source, target)


async def _carry_one(
    ends: tuple[Location, Location],
    stores: tuple[LocalStore | S3Store, LocalStore | S3Store],
    carrier: Carrier,
    action: Action,
    settings: Settings,
    ledger: Ledger,
    stop: Stop,
) -> Summary:
    ledger.planned(1, action.size)
    ledger.tally.planning_done = True
    async with remembering(ends, stores, settings, ledger, "copy") as memory:
        memory.goes_by(1)  # there is nothing else between these two places
        run = Opened(*stores, carrier, ledger, stop, memory)
        if action.verb is Verb.KEEP:
            kept = Outcome(carrier.verb.value, action.key, Status.KEPT, size=action.size, because=action.because)
            ledger.record([kept])
        await carry(_alone([] if action.verb is Verb.KEEP else [action], carrier), run)
        return await ledger.settle(durable=carrier.is_durable)


async def _alone(actions: Sequence[Action], carrier: Carrier) -> AsyncGenerator[Sequence[Action], None]:
    """One page of a plan."""
    await carrier.tidy()
    if actions:
        yield actions


async def _stream_up(bucket: S3Store, settings: Settings, ledger: Ledger, stop: Stop) -> Summary:
    from sterna.moving.media import guess_type
    from sterna.moving.stream import StreamUploader
    from sterna.moving.upload import upload_headers

    full = bucket.location.path
    single = OneObject(bucket.client, bucket.location, bucket.own_headers, full=full)
    headers = upload_headers(settings.upload)
    if settings.upload.guess_mime_type and "content-type" not in headers and (kind := guess_type(full)):
        headers["content-type"] = kind
    disk = Disk()
    try:
        if sys.stdin is None:
            raise WrongSetting("Standard input is closed; there is nothing to upload.")
        uploader = StreamUploader(
            single, headers, settings.limits, Buffers(settings.limits.max_memory), disk, ledger.tally
        )
        ledger.planned(1, 0)
        outcome = await uploader.carry(sys.stdin.fileno(), full, stop)
        await Prover(single).prove([outcome])
        return await _settle_one(outcome, ledger)
    finally:
        disk.close()


async def _stream_down(single: S3Store, settings: Settings, ledger: Ledger, stop: Stop) -> Summary:
    from sterna.moving.stream import StreamDownloader

    disk = Disk()
    try:
        if sys.stdout is None:
            raise WrongSetting("Standard output is closed; there is nowhere to write to.")
        downloader = StreamDownloader(single, settings.limits, Buffers(settings.limits.max_memory), disk, ledger.tally)
        ledger.planned(1, 0)
        return await _settle_one(await downloader.carry(single.location.path, sys.stdout.fileno(), stop), ledger)
    finally:
        disk.close()


async def _settle_one(outcome: Outcome, ledger: Ledger) -> Summary:
    ledger.tally.planning_done = True
    ledger.record([outcome])
    summary = await ledger.settle()
    if outcome.status is Status.FAILED and outcome.exit_code not in (0, 1):
        summary.exit_code = outcome.exit_code
    return summary
