"""Count the objects and bytes below a path."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from sterna.jobs.listing import itself, nothing, opened
from sterna.model.entry import Entry
from sterna.model.location import BucketPath
from sterna.wire.side import Side


class Usage(msgspec.Struct, frozen=True):
    """How much there is; ``by_class`` has objects and bytes of each storage class."""

    objects: int
    bytes: int
    by_class: dict[str, tuple[int, int]]


async def usage(location: BucketPath, side: Side) -> Usage:
    """Objects and bytes of a location, the object that it names and markers of folders included.

    Raises ObjectGone where there is nothing at a path; an empty bucket is no error.
    """
    classes: dict[str, tuple[int, int]] = {}

    def add(entries: Sequence[Entry]) -> None:
        for kind in {entry.storage_class for entry in entries}:
            sizes = [entry.size for entry in entries if entry.storage_class == kind]
            objects, size = classes.get(kind or "STANDARD", (0, 0))
            classes[kind or "STANDARD"] = (objects + len(sizes), size + sum(sizes))

    async with opened(location, side) as store:
        add(await itself(store))
        async for page in store.pages():
            add(page.entries)
    if not classes and location.path:
        raise nothing(location)
    return Usage(sum(one[0] for one in classes.values()), sum(one[1] for one in classes.values()), classes)
