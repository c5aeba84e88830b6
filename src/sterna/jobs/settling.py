"""Hold pairs back until it is known which of their names the folder can hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from sterna.planning.collide import Collisions, Fold, Folds
from sterna.planning.filters import Filter
from sterna.planning.merge import Pair
from sterna.stores.folder import Folder
from sterna.stores.folding import folding_of, usual_folding
from sterna.stores.s3 import S3Store


async def settled(
    pages: AsyncIterator[list[Pair]], collisions: Collisions, bucket: S3Store, filters: Filter, folder: Folder | None
) -> AsyncGenerator[list[Pair], None]:
    """The same pairs in the same order, a little later; after them ``collisions`` knows what becomes of each.

    Where the folder folds names, the bucket is listed once before: which of its keys are one name there cannot be known
    of the first of them otherwise. Whether it does is tried out, unless no ``folder`` is given.
    """
    folding = usual_folding() if folder is None else await asyncio.to_thread(folding_of, folder)
    fold = folding.fold
    if fold is not None:
        collisions.folded = await _folded(bucket, filters, fold)
    async for page in pages:
        if known := collisions.settled(page):
            yield known
        while doubtful := collisions.overdue:
            is_there = filters.may_hold(doubtful) and await _is_there(bucket, doubtful)
            if known := collisions.answer(doubtful, is_there=is_there):
                yield known
    if known := collisions.rest():
        yield known


async def _is_there(bucket: S3Store, folder: str) -> bool:
    found, _ = await bucket.list_some(folder, most=1)
    return bool(found and found[0].key.startswith(folder)) or await bucket.look(folder) is not None


async def _folded(bucket: S3Store, filters: Filter, fold: Fold) -> dict[str, str]:
    folds = Folds(fold)
    async for page in bucket.pages():
        for entry in filters.visible(page.entries):
            folds.see(entry.key)
    return folds.found
