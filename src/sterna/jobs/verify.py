"""Compare two places key by key, and tell what is equal, different, only on one side or unknown; nothing is moved."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from functools import partial

import msgspec

from sterna.jobs.contents import Contents, Place
from sterna.jobs.looking import Depth, Shown, open_place
from sterna.jobs.settings import Settings
from sterna.jobs.source import must_hold_something
from sterna.model.entry import Entry, Trouble
from sterna.model.errors import SternaError
from sterna.model.events import Emit, Tally, ignore
from sterna.model.location import Location
from sterna.moving.buffers import Buffers
from sterna.planning.merge import Pair, pairs
from sterna.planning.verify import Comparison, Finding, Verdict
from sterna.stores.local import LocalStore
from sterna.stores.s3 import S3Store


class Verified(msgspec.Struct, kw_only=True):
    """What came of it. ``skipped`` names were left out by rule (links, sockets); nothing is known of them."""

    left: str
    right: str
    depth: Depth
    equal: int = 0
    different: int = 0
    only_left: int = 0
    only_right: int = 0
    unknown: int = 0
    skipped: int = 0
    equal_bytes: int = 0
    requests: int = 0
    elapsed_s: float = 0.0
    is_equal: bool = False


async def verify(
    left: Location,
    right: Location,
    settings: Settings | None = None,
    *,
    depth: Depth = Depth.LISTED,
    found: Callable[[Sequence[Finding]], None],
    emit: Emit = ignore,
) -> Verified:
    """Compare what is below two locations, each a folder or a prefix. ``found`` is told every key, in order of the keys
    as far as they could be listed; memory does not grow with their number.

    Raises SternaError where one of the two cannot be listed to its end: SourceUnknown where it is the left one.
    """
    settings = settings or Settings()
    began, tally = time.perf_counter(), Tally()
    async with AsyncExitStack() as opened:
        one = await opened.enter_async_context(open_place(left, settings.source, settings, tally, emit))
        other = await opened.enter_async_context(open_place(right, settings.destination, settings, tally, emit))
        if isinstance(one, S3Store):
            await must_hold_something(one)
        run = _Run(one, other, settings, depth, found)
        try:
            await run.compare()
        finally:
            run.contents.close()
    counts = run.comparison.counts
    return Verified(
        left=str(left),
        right=str(right),
        depth=depth,
        equal=counts[Verdict.EQUAL],
        different=counts[Verdict.DIFFERENT],
        only_left=counts[Verdict.ONLY_LEFT],
        only_right=counts[Verdict.ONLY_RIGHT],
        unknown=counts[Verdict.UNKNOWN],
        skipped=run.skipped,
        equal_bytes=run.comparison.equal_bytes,
        requests=tally.requests,
        elapsed_s=time.perf_counter() - began,
        is_equal=run.comparison.is_equal,
    )


class _Run:
    """One comparison of two open places."""

    def __init__(
        self, left: Place, right: Place, settings: Settings, depth: Depth, found: Callable[[Sequence[Finding]], None]
    ) -> None:
        self._filters = settings.filters
        self._left = Shown(left, settings.filters, partial(self._tell_unlisted, "left"))
        self._right = Shown(right, settings.filters, partial(self._tell_unlisted, "right"))
        self._depth = depth
        self._found = found
        # A folder's listing has no folders: an empty object that stands for one is no file.
        self._has_markers = not (isinstance(left, LocalStore) or isinstance(right, LocalStore))
        self.comparison = Comparison(self._left.unknown, self._right.unknown, sizes_suffice=depth is Depth.LISTED)
        self.contents = Contents(
            left,
            right,
            Buffers(settings.limits.max_memory),
            may_download=depth is Depth.READ,
            reads_all=depth is Depth.READ,
        )

    @property
    def skipped(self) -> int:
        """How many names were left out by rule."""
        return self._left.skipped + self._right.skipped

    async def compare(self) -> None:
        left = self._left.pages(is_source=True, has_markers=self._has_markers)
        right = self._right.pages(is_source=False, has_markers=self._has_markers)
        async with aclosing(left), aclosing(right):
            async for both in pairs(left, right):
                page = self._filters.chosen(both)
                if page:
                    self._found([self.comparison.counted(one) for one in await self._judged(page)])

    async def _judged(self, page: Sequence[Pair]) -> list[Finding]:
        """The findings of a page in its order, as many at once as gates and memory allow."""
        if self._depth is Depth.LISTED:
            return [self.comparison.judged(left, right) for left, right in page]
        return await asyncio.gather(*(self._looked_into(left, right) for left, right in page))

    async def _looked_into(self, left: Entry | None, right: Entry | None) -> Finding:
        if left is None or right is None:
            return self.comparison.judged(left, right)
        try:
            verdict, because = await self.contents.compared(left, right)
        except SternaError as error:
            verdict, because = Verdict.UNKNOWN, error.sentence
        return Finding(verdict, left.key, because, left, right)

    def _tell_unlisted(self, side: str, troubles: Sequence[Trouble]) -> None:
        for one in troubles:
            because = f"the {side} side could not be listed here: {one.reason}"
            self._found([self.comparison.counted(Finding(Verdict.UNKNOWN, one.key, because))])
