"""Turn the keys of a list that the source does not have into outcomes: nothing that was asked for is passed over."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from sterna.jobs.ledger import Ledger
from sterna.model.entry import Trouble
from sterna.model.errors import SternaError
from sterna.planning.missing import Missing
from sterna.stores.local import LocalStore
from sterna.stores.store import Store

_BATCH = 1000
_ABSENT = (
    "is named by a list of --files-from, and the source does not have it; a list names whole keys below the location"
)
_FOLDER = "is a folder, and in a list of --files-from a folder does not stand for what is in it"


async def name_missing(missing: Missing, source: Store, ledger: Ledger, verb: str, *, gone: str = "") -> None:
    """Record what the listings did not show as failed, and folders of this machine, which ``find`` lists, as skipped; all
    of it as skipped where ``gone`` says why that is no failure.
    """
    keys = missing.keys()
    for at in range(0, len(keys), _BATCH):
        batch = keys[at : at + _BATCH]
        if gone:
            ledger.summary.gone += len(batch)
            ledger.troubles([Trouble(key, gone, skipped=True) for key in batch], verb)
        else:
            ledger.troubles(await asyncio.to_thread(lambda some: list(_troubles(some, source)), batch), verb)


def _troubles(keys: Sequence[str], source: Store) -> Iterator[Trouble]:
    for key in keys:
        if isinstance(source, LocalStore) and _is_folder(source, key):
            yield Trouble(key, _FOLDER, skipped=True)
        else:
            yield Trouble(key, _ABSENT)


def _is_folder(source: LocalStore, key: str) -> bool:
    try:
        entry = source.folder.look(key.rstrip("/"))
    except (SternaError, ValueError):
        return False
    return entry is not None and entry.is_directory_marker
