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
        for entry in entries:
            name = entry.storage_class or "STANDARD"
            objects, size = classes.get(name, (0, 0))
            classes[name] = (objects + 1, size + entry.size)

    async with opened(location, side) as store:
        add(await itself(store))
        async for page in store.pages():
            add(page.entries)
    if not classes and location.path:
        raise nothing(location)
    return Usage(sum(one[0] for one in classes.values()), sum(one[1] for one in classes.values()), classes)
