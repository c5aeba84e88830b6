"""Look up what earlier runs did, in all journals below a state directory, without taking anybody's lock."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sterna.journal import questions
from sterna.journal.database import journals, reading
from sterna.journal.lock import holder_of
from sterna.journal.values import PastOutcome, PastRun, State
from sterna.model.errors import JournalUnusable, WrongSetting
from sterna.model.units import printable

LAST = "last"
REPEATABLE = ("sync", "copy", "backup")
_MOST = 1_000_000  # of one journal: it keeps no more than some thousands


class Past(NamedTuple):
    """A run, and the file that remembers it. One of which nobody says how it ended goes on, or was torn off."""

    run: PastRun
    path: Path


class History(NamedTuple):
    """Runs, the newest first, and a sentence for each journal that could not be read."""

    runs: list[Past]
    unreadable: list[str]


def history(state: Path, most: int = _MOST) -> History:
    """The last runs of all routes."""
    found: list[Past] = []
    unreadable: list[str] = []
    for path in journals(state):
        try:
            with reading(path) as connection:
                found += [Past(_as_it_stands(run, path), path) for run in questions.runs(connection, most)]
        except JournalUnusable as error:
            unreadable.append(error.sentence)
    found.sort(key=lambda past: (past.run.started_ns, past.run.name), reverse=True)
    return History(found[:most], unreadable)


def run_called(state: Path, name: str) -> Past:
    """The run of that name, of which its beginning will do, or the last of all; raises WrongSetting."""
    runs = history(state).runs
    chosen = runs[:1] if name == LAST else [past for past in runs if past.run.name.startswith(name)]
    shown = printable(name)
    if not chosen:
        raise WrongSetting(f"No journal below {printable(str(state))} knows a run {shown}; sterna runs lists them.")
    if len(chosen) > 1:
        raise WrongSetting(f"{len(chosen)} runs begin with {shown}; give more of the name, as sterna runs lists it.")
    return chosen[0]


def can_be_retried(run: PastRun) -> bool:
    """Whether a run left something that ``sterna retry`` does, or may have."""
    is_over = run.state is not State.RUNNING and (run.exit_code != 0 or run.state is State.INTERRUPTED)
    return is_over and run.command in REPEATABLE and not os.path.isfile(run.source)


def not_done(past: Past, statuses: Sequence[str]) -> Iterator[PastOutcome]:
    """What a run did not do, in the order in which it ended."""
    with reading(past.path) as connection:
        yield from questions.outcomes(connection, past.run.number, statuses)


def in_hand(past: Past) -> list[str]:
    """The keys of which nobody knows what became, since the run was torn off while it had them in hand."""
    if past.run.state is State.RUNNING:
        return []
    with reading(past.path) as connection:
        return questions.unfinished(connection, past.run.number)


def _as_it_stands(run: PastRun, path: Path) -> PastRun:
    """A run that says that it goes on, and whose lock nobody holds, was torn off."""
    if run.state is State.RUNNING and holder_of(path) is None:
        from msgspec.structs import replace

        return replace(run, state=State.INTERRUPTED)
    return run
