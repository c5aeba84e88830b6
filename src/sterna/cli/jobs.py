"""Name the jobs that commands start, each imported when it is called."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
    from pathlib import Path

    from sterna.config.finding import Finding
    from sterna.jobs.history import History, Past
    from sterna.jobs.holding import HeldAgainst
    from sterna.jobs.listing import Listed
    from sterna.jobs.looking import Depth
    from sterna.jobs.retry import Repeatable
    from sterna.jobs.settings import Settings
    from sterna.jobs.standby import Standby
    from sterna.jobs.thaw import Thawing
    from sterna.jobs.uploads import Choice, Found
    from sterna.jobs.usage import Usage
    from sterna.jobs.verify import Verified
    from sterna.jobs.why import Reason
    from sterna.journal.values import PastOutcome
    from sterna.model.actions import Action
    from sterna.model.events import Emit, Summary, Tally
    from sterna.model.location import BucketPath, LocalPath, Location
    from sterna.model.plans import Review
    from sterna.model.stop import Stop
    from sterna.planning.estimate import Prices
    from sterna.planning.holding import Holding, Sample
    from sterna.planning.moments import Moment
    from sterna.planning.planfile import PlanFile
    from sterna.planning.verify import Finding as Compared
    from sterna.wire.side import Side

T = TypeVar("T")


class Jobs:
    """All that the command line has done by others. Tests pass a twin of it with the same methods.

    The imports are inside the methods, so that help, version and usage errors do not pay for event loop and wire.
    """

    def __init__(self) -> None:
        self._standby: Standby | None = None

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        from sterna.cli.speech import calm_libraries
        from sterna.wire.loop import run

        calm_libraries()
        try:
            return run(main)
        finally:
            main.close()  # where no loop could be made, it was never begun, and Python would say so

    def run_helped(self, main: Coroutine[Any, Any, T]) -> T:
        """``run``, with helper processes for the jobs in it. They are forked before there are threads or a loop."""
        from sterna.jobs.standby import Standby
        from sterna.wire.loop import load

        load()
        gc.freeze()  # what was imported is never looked at again by the collector, and so not copied for each process
        self._standby = Standby.make()
        try:
            return self.run(main)
        finally:
            if self._standby is not None:
                self._standby.close()

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

        return await sync(
            source,
            destination,
            settings,
            emit=emit,
            tally=tally,
            stop=stop,
            dry_run=dry_run,
            standby=self._standby,
        )

    async def copy(
        self, source: Location, destination: Location, settings: Settings, *, emit: Emit, tally: Tally, stop: Stop
    ) -> Summary:
        from sterna.jobs.copy import copy

        return await copy(source, destination, settings, emit=emit, tally=tally, stop=stop, standby=self._standby)

    async def restore(
        self,
        source: BucketPath,
        destination: LocalPath,
        settings: Settings,
        *,
        at: Moment | None,
        how: Thawing,
        is_held: bool,
        emit: Emit,
        tally: Tally,
        stop: Stop,
        dry_run: bool = False,
    ) -> Summary:
        from sterna.jobs.restore import restore

        return await restore(
            source, destination, settings, at=at, how=how, is_held=is_held, emit=emit, tally=tally, stop=stop,
            dry_run=dry_run, standby=self._standby,
        )  # fmt: skip

    async def plan(
        self,
        source: Location,
        destination: Location,
        settings: Settings,
        path: Path,
        *,
        words: Mapping[str, str],
        prices: Prices | None,
        emit: Emit,
        tally: Tally,
        stop: Stop,
    ) -> tuple[Summary, Review | None]:
        from sterna.jobs.plan import plan

        return await plan(
            source, destination, settings, path, words=words, prices=prices, emit=emit, tally=tally, stop=stop
        )

    def review(
        self, file: PlanFile, *, prices: Prices | None, each: Callable[[Sequence[Action]], object] | None
    ) -> Review:
        from sterna.jobs.review import review

        return review(file, prices, each)

    async def apply(self, file: PlanFile, settings: Settings, *, emit: Emit, tally: Tally, stop: Stop) -> Summary:
        from sterna.jobs.apply import apply

        return await apply(file, settings, emit=emit, tally=tally, stop=stop, standby=self._standby)

    def list_objects(self, location: BucketPath, side: Side, *, recursive: bool) -> AsyncIterator[list[Listed]]:
        from sterna.jobs.listing import list_objects

        return list_objects(location, side, recursive=recursive)

    def list_buckets(self, side: Side) -> AsyncIterator[list[Listed]]:
        from sterna.jobs.buckets import list_buckets

        return list_buckets(side)

    async def usage(self, location: BucketPath, side: Side) -> Usage:
        from sterna.jobs.usage import usage

        return await usage(location, side)

    async def verify(
        self,
        left: Location,
        right: Location,
        settings: Settings,
        *,
        depth: Depth,
        found: Callable[[Sequence[Compared]], None],
    ) -> Verified:
        from sterna.jobs.verify import verify

        return await verify(left, right, settings, depth=depth, found=found)

    async def hold(
        self,
        manifest: Location,
        location: Location,
        settings: Settings,
        *,
        depth: Depth,
        sample: Sample | None,
        seed: int,
        found: Callable[[Sequence[Holding]], None],
    ) -> HeldAgainst:
        from sterna.jobs.holding import hold

        return await hold(manifest, location, settings, depth=depth, sample=sample, seed=seed, found=found)

    async def why(self, key: str, source: Location, destination: Location, settings: Settings) -> Reason:
        from sterna.jobs.why import why

        return await why(key, source, destination, settings)

    async def make_bucket(self, location: BucketPath, side: Side) -> str:
        from sterna.jobs.buckets import make_bucket

        return await make_bucket(location, side)

    async def remove(
        self, location: BucketPath, side: Side, *, recursive: bool, emit: Emit, tally: Tally, stop: Stop
    ) -> Summary:
        from sterna.jobs.remove import remove

        return await remove(location, side, recursive=recursive, emit=emit, tally=tally, stop=stop)

    def list_uploads(
        self, location: BucketPath, side: Side, state: str, choice: Choice, *, emit: Emit | None = None,
        to_abort: bool = False,
    ) -> AsyncIterator[list[Found]]:  # fmt: skip
        from sterna.jobs.uploads import list_uploads
        from sterna.journal.places import state_directory
        from sterna.model.events import ignore

        state_folder = state_directory(state)
        return list_uploads(location, side, state_folder, choice, emit=emit or ignore, to_abort=to_abort)

    async def abort_uploads(
        self, location: BucketPath, side: Side, state: str, choice: Choice, *, emit: Emit, tally: Tally, stop: Stop
    ) -> Summary:
        from sterna.jobs.uploads import abort_uploads
        from sterna.journal.places import state_directory

        return await abort_uploads(location, side, state_directory(state), choice, emit=emit, tally=tally, stop=stop)

    def check(self, location: Location, side: Side) -> AsyncIterator[Finding]:
        from sterna.config.check import check

        return check(location, side)

    def demo(self, emit_line: Callable[[str], None]) -> int:
        from sterna.jobs.demo import demo

        return demo(emit_line)

    async def backup(
        self,
        source: Location,
        destination: Location,
        settings: Settings,
        *,
        state_file: str,
        retry_failed: bool,
        emit: Emit,
        tally: Tally,
        stop: Stop,
    ) -> Summary:
        from sterna.jobs.backup import Backup, backup

        told = Backup(state_file, retry_failed)
        return await backup(
            source, destination, settings, told, emit=emit, tally=tally, stop=stop, standby=self._standby
        )

    def repeatable(self, state: str, name: str, state_file: str) -> Repeatable:
        from sterna.jobs.retry import repeatable

        return repeatable(state, name, state_file)

    async def retry(
        self, what: Repeatable, settings: Settings, *, state_file: str, emit: Emit, tally: Tally, stop: Stop
    ) -> Summary:
        from sterna.jobs.retry import retry

        return await retry(what, settings, path=state_file, emit=emit, tally=tally, stop=stop, standby=self._standby)

    def history(self, state: str, most: int) -> History:
        from sterna.jobs.history import history
        from sterna.journal.places import state_directory

        return history(state_directory(state), most)

    def run_called(self, state: str, name: str) -> Past:
        from sterna.jobs.history import run_called
        from sterna.journal.places import state_directory

        return run_called(state_directory(state), name)

    def not_done(self, past: Past, statuses: Sequence[str]) -> Iterator[PastOutcome]:
        from sterna.jobs.history import not_done

        return not_done(past, statuses)

    def in_hand(self, past: Past) -> list[str]:
        from sterna.jobs.history import in_hand

        return in_hand(past)
