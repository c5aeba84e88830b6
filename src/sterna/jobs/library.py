"""The jobs as functions of a library: paths and addresses as text in, a typed summary out; nothing prints."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

from sterna.jobs import copy as _copy
from sterna.jobs import sync as _sync
from sterna.jobs.settings import Settings
from sterna.model.errors import WrongSetting
from sterna.model.events import Emit, Summary, Tally, ignore
from sterna.model.location import BucketPath, LocalPath, Location, parse_location
from sterna.model.stop import Stop
from sterna.wire.loop import run

if TYPE_CHECKING:
    from sterna.jobs.thaw import Thawing


async def async_sync(
    source: str | PathLike[str],
    destination: str | PathLike[str],
    *,
    settings: Settings | None = None,
    on_event: Emit | None = None,
    tally: Tally | None = None,
    stop: Stop | None = None,
    dry_run: bool = False,
) -> Summary:
    """Bring what ``source`` has and ``destination`` lacks, or has in another version, there; what ``source`` lacks is
    deleted where ``Settings.deletion`` says so, and else stays.

    At least one of the two is ``s3://bucket/prefix``, the other one may be a folder. ``on_event`` hears RunStarted,
    ObjectsEnded, Notice and RunEnded (``sterna.model.events``); ``tally`` counts while the run goes on; ``stop`` ends it
    early. Raises SternaError (``sterna.model.errors``) where the run cannot be established; objects that failed stand in
    the summary, whose ``exit_code`` is that of the command.
    """
    return await _sync.sync(
        _location(source),
        _location(destination),
        settings,
        emit=on_event or ignore,
        tally=tally,
        stop=stop,
        dry_run=dry_run,
    )


async def async_copy(
    source: str | PathLike[str],
    destination: str | PathLike[str],
    *,
    settings: Settings | None = None,
    on_event: Emit | None = None,
    tally: Tally | None = None,
    stop: Stop | None = None,
) -> Summary:
    """Copy a file, folder, object or prefix; otherwise as ``async_sync``."""
    return await _copy.copy(
        _location(source), _location(destination), settings, emit=on_event or ignore, tally=tally, stop=stop
    )


async def async_restore(
    source: str | PathLike[str],
    folder: str | PathLike[str],
    *,
    at: str | None = None,
    how: Thawing | None = None,
    is_held: bool = True,
    settings: Settings | None = None,
    on_event: Emit | None = None,
    tally: Tally | None = None,
    stop: Stop | None = None,
    dry_run: bool = False,
) -> Summary:
    """Bring what is below ``source`` in a bucket into a folder; ``at`` a moment, where the bucket keeps versions. ``how``
    says what is done about archived objects; with ``is_held`` what has come is held against the newest manifest beside
    it, if there is one. Otherwise as ``async_sync``.
    """
    from sterna.jobs.restore import moment_at, restore

    here, there = _location(source), _location(folder)
    if not isinstance(here, BucketPath) or not isinstance(there, LocalPath):
        raise WrongSetting("restore brings what is in a bucket into a folder; write s3://bucket/prefix and a path.")
    return await restore(
        here,
        there,
        settings,
        at=moment_at(at) if at is not None else None,
        how=how,
        is_held=is_held,
        emit=on_event or ignore,
        tally=tally,
        stop=stop,
        dry_run=dry_run,
    )


async def async_backup(
    source: str | PathLike[str],
    destination: str | PathLike[str],
    *,
    settings: Settings | None = None,
    state_file: str | PathLike[str] = "",
    retry_failed: bool = False,
    on_event: Emit | None = None,
    tally: Tally | None = None,
    stop: Stop | None = None,
) -> Summary:
    """Back the folder ``source`` up into a bucket, which is made where it is absent: all is proved, what is in place as
    well, and nothing is deleted. ``state_file`` is kept true meanwhile; with ``retry_failed`` only what the last backup did
    not do is looked at, by that file or else by the journal. Otherwise as ``async_sync``.
    """
    from sterna.jobs.backup import Backup, backup

    told = Backup(fspath(state_file), retry_failed)
    ends = _location(source), _location(destination)
    return await backup(*ends, settings, told, emit=on_event or ignore, tally=tally, stop=stop)


async def async_retry(
    run: str = "",
    *,
    settings: Settings | None = None,
    state_file: str | PathLike[str] = "",
    on_event: Emit | None = None,
    tally: Tally | None = None,
    stop: Stop | None = None,
) -> Summary:
    """Do what an earlier sync, copy or backup did not: what failed, was left, or was in hand when it died. ``run`` is its
    name, or as much of that as is needed; without one it is the last that kept ``state_file``, or the last of all. With
    ``state_file``, what that says is not uploaded; it is kept true meanwhile.

    Of ``settings`` count who we are, limits, a customer's key, and where the journals are; the rest is what that run was
    told. Nothing is deleted. Otherwise as ``async_sync``.
    """
    from sterna.jobs.retry import repeatable, retry

    settings = settings or Settings()
    path = fspath(state_file)
    what = await asyncio.to_thread(repeatable, settings.journal.directory, run, path)
    return await retry(what, settings, path=path, emit=on_event or ignore, tally=tally, stop=stop)


def _run(main: Coroutine[Any, Any, Summary]) -> Summary:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return run(main)
    main.close()
    raise RuntimeError(
        "sterna.sync and its like run a loop of their own; inside one, await sterna.async_sync and its like"
    )


def sync(
    source: str | PathLike[str],
    destination: str | PathLike[str],
    *,
    settings: Settings | None = None,
    on_event: Emit | None = None,
    dry_run: bool = False,
) -> Summary:
    """``async_sync`` in a loop of its own, run to the end."""
    return _run(async_sync(source, destination, settings=settings, on_event=on_event, dry_run=dry_run))


def copy(
    source: str | PathLike[str],
    destination: str | PathLike[str],
    *,
    settings: Settings | None = None,
    on_event: Emit | None = None,
) -> Summary:
    """``async_copy`` in a loop of its own, run to the end."""
    return _run(async_copy(source, destination, settings=settings, on_event=on_event))


def restore(
    source: str | PathLike[str],
    folder: str | PathLike[str],
    *,
    at: str | None = None,
    how: Thawing | None = None,
    is_held: bool = True,
    settings: Settings | None = None,
    on_event: Emit | None = None,
    dry_run: bool = False,
) -> Summary:
    """``async_restore`` in a loop of its own, run to the end."""
    return _run(
        async_restore(
            source, folder, at=at, how=how, is_held=is_held, settings=settings, on_event=on_event, dry_run=dry_run
        )
    )


def backup(
    source: str | PathLike[str],
    destination: str | PathLike[str],
    *,
    settings: Settings | None = None,
    state_file: str | PathLike[str] = "",
    retry_failed: bool = False,
    on_event: Emit | None = None,
) -> Summary:
    """``async_backup`` in a loop of its own, run to the end."""
    return _run(
        async_backup(
            source, destination, settings=settings, state_file=state_file, retry_failed=retry_failed, on_event=on_event
        )
    )


def retry(
    run: str = "",
    *,
    settings: Settings | None = None,
    state_file: str | PathLike[str] = "",
    on_event: Emit | None = None,
) -> Summary:
    """``async_retry`` in a loop of its own, run to the end."""
    return _run(async_retry(run, settings=settings, state_file=state_file, on_event=on_event))


def _location(text: str | PathLike[str]) -> Location:
    return parse_location(fspath(text))
