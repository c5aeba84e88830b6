"""Try again what an earlier run did not do, out of its journal or of a state file."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import NamedTuple

from msgspec.structs import replace

from sterna.jobs.again import between
from sterna.jobs.backup import BACKUP, state_file
from sterna.jobs.history import LAST, Past, run_called
from sterna.jobs.job import Opened
from sterna.jobs.keeping import Keeper
from sterna.jobs.memory import route_of
from sterna.jobs.repeat import filters_of, folder_of, settings_of
from sterna.jobs.settings import Settings
from sterna.jobs.sides import open_bucket
from sterna.jobs.standby import Standby
from sterna.jobs.sync import sync
from sterna.jobs.undone import Undone, undone_by, undone_in
from sterna.journal import questions
from sterna.journal.database import reading
from sterna.journal.places import state_directory
from sterna.journal.values import State
from sterna.model.errors import Locked, WrongSetting
from sterna.model.events import Emit, RunEnded, RunStarted, Summary, Tally, ignore
from sterna.model.location import BucketPath, LocalPath, Location, parse_location
from sterna.model.stop import Stop
from sterna.model.units import printable
from sterna.reporting.fanout import fanout
from sterna.reporting.statefile import StateFile

_COMMANDS = ("sync", "copy", BACKUP)


class Repeatable(NamedTuple):
    """An earlier run, and where it went from and to."""

    past: Past
    source: Location
    destination: Location


def repeatable(state: str, name: str = LAST) -> Repeatable:
    """The run of that name, of which its beginning will do, or the last of all. Raises WrongSetting where there is none, or
    none that can be tried again; Locked where it goes on.
    """
    past = run_called(state_directory(state), name)
    run = past.run
    if run.command not in _COMMANDS:
        raise WrongSetting(
            f"{run.name} was sterna {run.command}, of which nothing is tried again by itself; give that command again, or"
            " name another run: sterna runs lists them."
        )
    if run.state is State.RUNNING:
        raise Locked(f"{run.name} goes on; wait for its end.")
    ends = [
        parse_location(folder_of(run.options, role) or text)
        for role, text in (("source", run.source), ("destination", run.target))
    ]
    if isinstance(ends[0], LocalPath) and ends[0].path.is_file():
        raise WrongSetting(f"{run.name} copied one file; give its command again.")
    return Repeatable(past, *ends)


async def retry(
    what: Repeatable,
    settings: Settings | None = None,
    *,
    path: str = "",
    emit: Emit = ignore,
    tally: Tally | None = None,
    stop: Stop | None = None,
    standby: Standby | None = None,
) -> Summary:
    """Do what ``what`` did not: the keys that failed or were left, and what it had in hand when it died; all that it looked
    at, where it ended before all was listed. With the state file ``path``, what that says is not uploaded.

    It is told what that run was told, but for who we are and how fast it goes: that is ``settings``, as are sides that say
    where they are. Nothing is deleted. It is kept as another run of the same command. Raises as ``sync`` does.
    """
    run = what.past.run
    now = settings or Settings()
    if not now.journal.is_kept:
        raise WrongSetting("What is tried again stands in the journal; leave --no-journal off.")
    told = settings_of(run.options, now, run.name)
    file = state_file(path, what.source, told)
    undone = await asyncio.to_thread(_undone, what.past, file)
    if undone.keys is not None and not undone.keys:
        return _nothing(what, undone, emit)
    if undone.keys is None:
        told = replace(told, filters=filters_of(run.options, run.name))
    await _must_be_there(what, told)

    async def undoing(_: Opened) -> Undone:
        return undone

    keeper = Keeper(file) if file is not None else None
    try:
        return await sync(
            what.source,
            what.destination,
            replace(told, manifest=None),
            emit=fanout(keeper.hear, emit) if keeper is not None else emit,
            tally=tally,
            stop=stop,
            standby=standby,
            flow=between(
                what.source, what.destination, told, keeper, undoing, is_thorough=run.command == BACKUP
            ),
            command=run.command,
        )  # fmt: skip
    finally:
        if file is not None:
            file.close()


def _undone(past: Past, file: StateFile | None) -> Undone:
    if file is not None:
        return undone_in(file)
    with reading(past.path) as connection:
        return undone_by(connection, past.run)


def _nothing(what: Repeatable, undone: Undone, emit: Emit) -> Summary:
    """Nothing is to be done, so nobody is asked for anything."""
    run = what.past.run
    summary = Summary(
        command=run.command,
        source=str(what.source),
        destination=str(what.destination),
        verdict=undone.sentence,
        started_s=time.time(),
    )
    emit(RunStarted(summary.command, summary.source, summary.destination, summary.started_s))
    emit(RunEnded(summary))
    return summary


async def _must_be_there(what: Repeatable, settings: Settings) -> None:
    """Raise WrongSetting where the same words mean another place now: a server may have stood in the environment then."""
    ends, sides = (what.source, what.destination), (settings.source, settings.destination)
    async with AsyncExitStack() as stack:
        stores = [
            await stack.enter_async_context(open_bucket(end, side, settings, Tally()))
            if isinstance(end, BucketPath)
            else None
            for end, side in zip(ends, sides, strict=True)
        ]
        now = await route_of(ends, stores, what.past.path.parent.parent)
    if now.name != what.past.path.stem:
        with reading(what.past.path) as connection:
            then = questions.route_of(connection)
        raise WrongSetting(
            f"{what.past.run.name} was {printable(str(then))}, and this would be {printable(str(now))}; give the"
            " --endpoint-url of then, or the command for this one."
        )
