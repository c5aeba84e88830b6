"""Back a folder up into a bucket, made where it is absent: all is proved, and nothing is deleted."""

from __future__ import annotations

import asyncio
import sqlite3

import msgspec
from msgspec.structs import replace

from sterna.jobs.again import Undoing, between
from sterna.jobs.binding import state_file
from sterna.jobs.buckets import made_if_absent
from sterna.jobs.job import Opened
from sterna.jobs.keeping import Keeper
from sterna.jobs.repeat import words_of
from sterna.jobs.settings import Settings
from sterna.jobs.standby import Standby
from sterna.jobs.sync import sync
from sterna.jobs.undone import Undone, everything, undone_by, undone_in
from sterna.journal import questions
from sterna.model.errors import WrongSetting
from sterna.model.events import Emit, Notice, Summary, Tally, ignore
from sterna.model.location import BucketPath, LocalPath, Location
from sterna.model.stop import Stop
from sterna.planning.compare import Compare
from sterna.reporting.fanout import fanout
from sterna.reporting.statefile import StateFile

BACKUP = "backup"
_RUNS = 1000  # back, in which the last backup is looked for among other runs of its route


class Backup(msgspec.Struct, frozen=True):
    """What a backup is told beside the settings of every run.

    ``state_file``: where to keep a JSON list of what became of each file; empty for none. ``retries_failed``: only what
    the last backup of the same folder to the same place did not do is looked at, by the state file where one is named, else
    by the journal; all, where neither is there yet.
    """

    state_file: str = ""
    retries_failed: bool = False


async def backup(
    source: Location,
    destination: Location,
    settings: Settings | None = None,
    told: Backup | None = None,
    *,
    emit: Emit = ignore,
    tally: Tally | None = None,
    stop: Stop | None = None,
    standby: Standby | None = None,
) -> Summary:
    """Bring every file below the folder ``source`` that ``destination`` lacks, or has in another version, to that bucket.

    What is in place counts as such only where an earlier run has proved it and both sides are that version still, or where
    its content is the same. Nothing is deleted. Raises as ``sync`` does; WrongSetting also where the bucket is somebody
    else's, and where the state file is of another folder or goes to another place.
    """
    settings, told = settings or Settings(), told or Backup()
    if not isinstance(source, LocalPath) or not isinstance(destination, BucketPath) or source.is_stream:
        raise WrongSetting("A backup is of a folder, and goes into a bucket: sterna backup FOLDER s3://bucket/prefix.")
    _refuse(settings, told)
    file = await state_file(told.state_file, source, destination, settings)
    undone = await asyncio.to_thread(_undone_by_file, file, told) if file is not None else None
    side, made = await made_if_absent(destination, settings.destination)
    if made:
        emit(Notice(made, code="bucket"))
        undone = everything("The bucket is new, so nothing is in it yet")
    settings = replace(settings, destination=side)
    undoing: Undoing | None = None
    if told.retries_failed:

        async def undoing(run: Opened) -> Undone:
            return undone or await _undone_by_journal(run)

    keeper = Keeper(file) if file is not None else None
    try:
        return await sync(
            source,
            destination,
            replace(settings, manifest=None),
            emit=fanout(keeper.hear, emit) if keeper is not None else emit,
            tally=tally,
            stop=stop,
            standby=standby,
            flow=between(source, destination, settings, keeper, undoing, is_thorough=True),
            command=BACKUP,
            words=words_of(settings, source, destination, told.state_file),
        )
    finally:
        if file is not None:
            file.close()


def _refuse(settings: Settings, told: Backup) -> None:
    if settings.deletion is not None:
        raise WrongSetting("A backup never deletes; leave --delete off.")
    if settings.compare not in (Compare.AUTO, Compare.CHECKSUM):
        raise WrongSetting(
            f"--compare {settings.compare.value} proves nothing of what is there already, and a backup verifies every"
            " object; take auto or checksum."
        )
    if told.retries_failed and not told.state_file and not settings.journal.is_kept:
        raise WrongSetting(
            "--retry-failed goes by the journal or by a state file; leave --no-journal off, or add --state-file."
        )


def _undone_by_file(file: StateFile, told: Backup) -> Undone | None:
    """What the state file says is to be done; None where that is not asked. It is read in any case: it is written over."""
    if told.retries_failed:
        return undone_in(file)
    file.look()
    return None


async def _undone_by_journal(run: Opened) -> Undone:
    kept_by = run.memory.kept_by
    if kept_by is None:
        return everything("There is no journal that knows the last backup")
    journal, this = kept_by
    return await journal.ask(_undone_by_last, this.number)


def _undone_by_last(connection: sqlite3.Connection, before: int) -> Undone:
    for past in questions.runs(connection, _RUNS):
        if past.number < before and past.command == BACKUP:
            return undone_by(connection, past)
    return everything("No earlier backup of this folder to this place is known")
