"""Try again what an earlier run did not do, out of its journal or of a state file."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from sterna.jobs.again import between
from sterna.jobs.backup import BACKUP
from sterna.jobs.binding import route_now, state_file
from sterna.jobs.history import LAST, REPEATABLE, Past, history, run_called
from sterna.jobs.job import Opened
from sterna.jobs.keeping import Keeper
from sterna.jobs.repeat import STATE_FILE, filters_of, path_of, settings_of, words_of
from sterna.jobs.settings import Settings
from sterna.jobs.standby import Standby
from sterna.jobs.sync import sync
from sterna.jobs.undone import Undone, undone_by, undone_in
from sterna.journal import questions
from sterna.journal.database import reading
from sterna.journal.places import state_directory
from sterna.journal.route import Route
from sterna.journal.values import State
from sterna.model.errors import Locked, WrongSetting
from sterna.model.events import Emit, Notice, RunEnded, RunStarted, Summary, Tally, ignore
from sterna.model.location import LocalPath, Location, parse_location
from sterna.model.stop import Stop
from sterna.model.units import printable
from sterna.reporting.fanout import fanout
from sterna.reporting.statefile import Counts, StateFile


class Repeatable(NamedTuple):
    """An earlier run, and where it went from and to."""

    past: Past
    source: Location
    destination: Location


def repeatable(state: str, name: str = "", path: str = "") -> Repeatable:
    """The run of that name, of which its beginning will do. Without a name, the last one that kept the state file ``path``,
    where that is given, else the last of all. Raises WrongSetting where there is none, or none that can be tried again;
    Locked where it goes on.
    """
    journals = state_directory(state)
    past = run_called(journals, name or LAST) if name or not path else _run_that_kept(path, journals)
    run = past.run
    if run.command not in REPEATABLE:
        raise WrongSetting(
            f"{run.name} was sterna {run.command}, of which nothing is tried again by itself; give that command again, or"
            " name another run: sterna runs lists them."
        )
    if run.state is State.RUNNING:
        raise Locked(f"{run.name} goes on; wait for its end.")
    ends = [
        parse_location(path_of(run.options, role) or text)
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
    at, where it ended before all was listed. With the state file ``path``, what that says is not uploaded; it must be of
    the same folder and go to the same place. The state file that ``what`` kept is brought up to date in any case.

    It is told what that run was told, but for who we are and how fast it goes: that is ``settings``, as are sides that say
    where they are. Nothing is deleted. It is kept as another run of the same command. Raises as ``sync`` does.
    """
    run = what.past.run
    now = settings or Settings()
    if not now.journal.is_kept:
        raise WrongSetting("What is tried again stands in the journal; leave --no-journal off.")
    told = settings_of(run.options, now, run.name)
    route = await _route(what, told)
    emit(Notice(f"The {run.command} {run.name} is tried again: {printable(str(route))}.", code="retry"))
    file = await state_file(path, what.source, what.destination, told, route)
    undone = await asyncio.to_thread(_undone, what.past, file)
    if file is None:
        file = await _its_own_file(what, told, route, emit)
    if undone.keys is not None and not undone.keys:
        return _nothing(what, undone, emit)
    looked = told
    if undone.keys is None:
        looked = replace(told, filters=filters_of(run.options, run.name))

    async def undoing(_: Opened) -> Undone:
        return undone

    keeper = Keeper(file) if file is not None else None
    try:
        return await sync(
            what.source,
            what.destination,
            replace(looked, manifest=None),
            emit=fanout(keeper.hear, emit) if keeper is not None else emit,
            tally=tally,
            stop=stop,
            standby=standby,
            flow=between(
                what.source, what.destination, looked, keeper, undoing, is_thorough=run.command == BACKUP
            ),
            command=run.command,
            words=words_of(
                told, what.source, what.destination, str(file.path) if file is not None else "", again=run.options
            ),
        )  # fmt: skip
    finally:
        if file is not None:
            file.close()


def _run_that_kept(path: str, state: Path) -> Past:
    """The last run that kept this state file true."""
    wanted = os.path.realpath(path)
    for past in history(state).runs:
        if path_of(past.run.options, STATE_FILE) == wanted:
            return past
    shown = printable(path)
    raise WrongSetting(
        f"No journal below {printable(str(state))} knows a run that kept the state file {shown}, so nobody knows from where"
        f" to where it was; give the command of the backup again, with --state-file {shown} --retry-failed."
    )


async def _its_own_file(what: Repeatable, told: Settings, route: Route, emit: Emit) -> StateFile | None:
    """The state file that the run kept, if it kept one that can be gone on with; else the user hears why not."""
    path = path_of(what.past.run.options, STATE_FILE)
    if not path:
        return None
    try:
        file = await state_file(path, what.source, what.destination, told, route)
        why = _why_not(await asyncio.to_thread(file.look)) if file is not None else ""
    except WrongSetting as error:
        file, why = None, error.sentence
    if not why:
        return file
    sentence = f"The state file of that run, {printable(path)}, is not brought up to date: {why}"
    emit(Notice(sentence, "warning", "state_file"))
    return None


def _why_not(counts: Counts | None) -> str:
    """Why a state file cannot be gone on with; empty where it can."""
    if counts is None:
        return "it is not there any more."
    if not counts.records:
        return "it is empty, since a later run ended before it had listed the folder."
    return "it does not say to where its files were uploaded." if counts.unbound else ""


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


async def _route(what: Repeatable, settings: Settings) -> Route:
    """The route of the run. Raises WrongSetting where the same words mean another place now: a server may have stood in the
    environment then.
    """
    now = await route_now(what.source, what.destination, settings)
    if now.name != what.past.path.stem:
        with reading(what.past.path) as connection:
            then = questions.route_of(connection)
        raise WrongSetting(
            f"{what.past.run.name} was {printable(str(then))}, and this would be {printable(str(now))}; give the"
            " --endpoint-url of then, or the command for this one."
        )
    return now
