"""The jobs as functions of a library: paths and addresses as text in, a typed summary out; nothing prints."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from os import PathLike, fspath
from typing import Any

from sterna.jobs import copy as _copy
from sterna.jobs import sync as _sync
from sterna.jobs.settings import Settings
from sterna.model.events import Emit, Summary, Tally, ignore
from sterna.model.location import Location, parse_location
from sterna.model.stop import Stop
from sterna.wire.loop import run


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


def _run(main: Coroutine[Any, Any, Summary]) -> Summary:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return run(main)
    main.close()
    raise RuntimeError(
        "sterna.sync and sterna.copy run a loop of their own; inside one, await sterna.async_sync or async_copy"
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


def _location(text: str | PathLike[str]) -> Location:
    return parse_location(fspath(text))
