"""Name the jobs that commands start, each imported when it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from sterna.config.check import Finding
    from sterna.jobs.objects import Listed, Usage
    from sterna.jobs.settings import Settings
    from sterna.model.events import Emit, Summary, Tally
    from sterna.model.location import BucketPath, Location
    from sterna.model.stop import Stop
    from sterna.wire.side import Side

T = TypeVar("T")


class Jobs:
    """All that the command line has done by others. Tests pass a twin of it with the same methods.

    The imports are inside the methods, so that help, version and usage errors do not pay for event loop and wire.
    """

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        from sterna.wire.loop import run

        return run(main)

    async def sync(
        self,
        source: Location,
        destination: Location,
        settings: Settings,
        *,
        emit: Emit,
        tally: Tally,
        stop: Stop,
        dry_run: bool = False,
    ) -> Summary:
        from sterna.jobs.sync import sync

        return await sync(source, destination, settings, emit=emit, tally=tally, stop=stop, dry_run=dry_run)

    async def copy(
        self, source: Location, destination: Location, settings: Settings, *, emit: Emit, tally: Tally, stop: Stop
    ) -> Summary:
        from sterna.jobs.copy import copy

        return await copy(source, destination, settings, emit=emit, tally=tally, stop=stop)

    def list_objects(self, location: BucketPath | None, side: Side, *, recursive: bool) -> AsyncIterator[list[Listed]]:
        from sterna.jobs.objects import list_objects

        return list_objects(location, side, recursive=recursive)

    async def usage(self, location: BucketPath, side: Side) -> Usage:
        from sterna.jobs.objects import usage

        return await usage(location, side)

    async def count(self, location: BucketPath, side: Side) -> Usage:
        from sterna.jobs.objects import count

        return await count(location, side)

    async def make_bucket(self, location: BucketPath, side: Side) -> str:
        from sterna.jobs.objects import make_bucket

        return await make_bucket(location, side)

    async def remove(
        self, location: BucketPath, side: Side, *, recursive: bool, emit: Emit, tally: Tally, stop: Stop
    ) -> Summary:
        from sterna.jobs.objects import remove

        return await remove(location, side, recursive=recursive, emit=emit, tally=tally, stop=stop)

    def check(self, location: Location, side: Side) -> AsyncIterator[Finding]:
        from sterna.config.check import check

        return check(location, side)

    def demo(self, emit_line: Callable[[str], None]) -> int:
        from sterna.jobs.demo import demo

        return demo(emit_line)
