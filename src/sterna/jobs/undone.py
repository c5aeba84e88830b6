"""Find out which keys a run did not do, and have another one look at those alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from msgspec.structs import replace

from sterna.jobs.job import Opened
from sterna.jobs.keeping import UNREADABLE
from sterna.jobs.memory import PLANNED_ALL
from sterna.jobs.scout import pruning
from sterna.journal import questions
from sterna.journal.values import PastRun
from sterna.model.units import printable
from sterna.reporting.statefile import StateFile
from sterna.reporting.words import count_words
from sterna.stores.local import LocalStore

_GONE = "is not at the source any more, so nothing was sent"
_UNSEEN = "Unreadable"  # the kind of error of what a listing could not see: below it may be more


class Undone(NamedTuple):
    """What is to be done again: some keys, or all where ``keys`` is None, since nobody knows which; and a sentence that
    says so, for the user.
    """

    keys: frozenset[str] | None
    sentence: str


def undone_by(connection: sqlite3.Connection, run: PastRun) -> Undone:
    """What a run left undone, out of its journal. Deletions are not among it: they are never repeated."""
    shown = f"the run {run.name}"
    if not run.notes.get(PLANNED_ALL):
        return everything(f"{_capital(shown)} ended before all was listed, so what it left is not known")
    keys = set(questions.unfinished(connection, run.number))
    for one in questions.outcomes(connection, run.number):
        if one.error_kind == _UNSEEN:
            return _unseen(shown, one.key)
        if one.verb not in ("delete", "manifest"):
            keys.add(one.key)
    return _undone(keys, shown)


def undone_in(file: StateFile) -> Undone:
    """What a state file says is not uploaded: all, where it does not say to where. Raises WrongSetting where it is none,
    or that of other places.
    """
    path = printable(str(file.path))
    shown = f"the state file {path}"
    found = file.look()
    if found is None:
        return everything(f"There is no state file {path} yet, so it is begun")
    if found.unbound:
        return everything(f"{_capital(shown)} does not say to where its files were uploaded")
    if not found.records:
        return everything(f"{_capital(shown)} is empty, since the last run ended before it had listed the folder")
    keys = set()
    for key, error in file.undone():
        if error.startswith(UNREADABLE):
            return _unseen(shown, key)
        keys.add(key)
    return _undone(keys, shown)


def everything(why: str) -> Undone:
    """All, for this reason."""
    return Undone(None, f"{why}: everything is looked at.")


def only(run: Opened, keys: Iterable[str]) -> Opened:
    """The run as one that looks at these keys and no others, as far as its filters let them pass. What is not met is not
    thereby gone, so nothing is decided by what it does not see.
    """
    listed = frozenset(keys)
    if run.filters.listed is not None:
        listed &= run.filters.listed
    filters = replace(run.filters, listed=listed)
    if isinstance(run.source, LocalStore):
        run.source.may_hold = pruning(filters)
    run.memory.doubt()
    return run._replace(filters=filters, deleter=None, gone=_GONE)


def _unseen(shown: str, key: str) -> Undone:
    return everything(f"By {shown} {printable(key)} could not be read, so what is in it is not known")


def _undone(keys: set[str], shown: str) -> Undone:
    if not keys:
        return Undone(frozenset(), f"Nothing is left to do of {shown}: nothing failed, and nothing was left.")
    return Undone(
        frozenset(keys), f"{count_words(len(keys))} that failed or {_was(len(keys))} left by {shown} {_is(len(keys))} tried"
        " again.",
    )  # fmt: skip


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _was(count: int) -> str:
    return "was" if count == 1 else "were"


def _is(count: int) -> str:
    return "is" if count == 1 else "are"
