"""Open a place that is to be compared, and list it without what the filters leave out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from enum import Enum

from sterna.jobs.contents import Place
from sterna.jobs.settings import Settings
from sterna.jobs.sides import open_bucket, open_folder
from sterna.jobs.source import as_source
from sterna.model.entry import Entry, Trouble
from sterna.model.errors import SternaError
from sterna.model.events import Emit, Tally
from sterna.model.location import BucketPath, Location
from sterna.planning.filters import Filter
from sterna.planning.unknown import Unknown
from sterna.wire.side import Side


class Depth(str, Enum):
    """How much is looked at: what the listings say, the checksums that servers keep, or every byte of both sides."""

    LISTED = "listed"
    CHECKSUM = "checksum"
    READ = "read"


@asynccontextmanager
async def open_place(
    location: Location, side: Side, settings: Settings, tally: Tally, emit: Emit
) -> AsyncIterator[Place]:
    """A bucket's prefix or a folder, to be listed and read."""
    if isinstance(location, BucketPath):
        async with open_bucket(location, side, settings, tally, emit=emit) as bucket:
            yield bucket
    else:
        with open_folder(location, settings, create=False) as folder:
            yield folder


class Shown:
    """What a place shows of itself: its pages, without what the filters leave out by name.

    What could not be listed is in ``unknown``, and ``tell`` gets it as it is met; ``skipped`` counts the names that were
    left out by rule.
    """

    def __init__(self, place: Place, filters: Filter, tell: Callable[[Sequence[Trouble]], None]) -> None:
        self.unknown = Unknown()
        self.skipped = 0
        self._place = place
        self._filters = filters
        self._tell = tell

    async def pages(self, *, is_source: bool, has_markers: bool = True) -> AsyncGenerator[Sequence[Entry], None]:
        """The pages; ``has_markers``: with the empty objects that stand for folders. Raises SternaError where the place
        cannot be listed to its end: SourceUnknown where it ``is_source``.
        """
        filters = self._filters
        try:
            async for page in self._place.pages():
                if page.troubles:
                    self.unknown.add(page.troubles, filters.concerns)
                    concerned = [one for one in page.troubles if filters.concerns(one)]
                    self.skipped += sum(one.skipped for one in concerned)
                    self._tell([one for one in concerned if not one.skipped])
                shown = filters.visible(page.entries)
                if not has_markers:
                    shown = [entry for entry in shown if entry.size or not entry.is_directory_marker]
                if shown:
                    yield shown
        except SternaError as error:
            told = as_source(error) if is_source else error
            if told is error:
                raise
            raise told from error
