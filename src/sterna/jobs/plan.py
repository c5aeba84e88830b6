"""Write what a sync would do into a file, and do nothing of it."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path

from sterna import __version__
from sterna.jobs.carriers import Carrier
from sterna.jobs.identity import identity
from sterna.jobs.job import Opened, planned, would_be
from sterna.jobs.ledger import Ledger
from sterna.jobs.review import Reviewer
from sterna.jobs.settings import Settings
from sterna.jobs.sync import sync
from sterna.model.actions import Action, Verb
from sterna.model.errors import Interrupted, PlanUnusable, WrongSetting
from sterna.model.events import Emit, Event, RunEnded, Summary, Tally, ignore
from sterna.model.location import LocalPath, Location
from sterna.model.outcomes import Outcome
from sterna.model.plans import Review
from sterna.model.stop import Stop
from sterna.model.units import printable
from sterna.planning.estimate import Prices
from sterna.planning.planfile import Header, PlanFile, PlanWriter
from sterna.reporting.plan import plan_verdict
from sterna.stores.folder import translate_given
from sterna.stores.store import Store

_AHEAD = 8  # pages whose LOOKs are under way at once: it bounds what planning holds


async def plan(
    source: Location,
    destination: Location,
    settings: Settings,
    path: Path,
    *,
    words: Mapping[str, str] | None = None,
    prices: Prices | None = None,
    emit: Emit = ignore,
    tally: Tally | None = None,
    stop: Stop | None = None,
) -> tuple[Summary, Review | None]:
    """Write a plan of ``sync`` into a file, which is there when it is whole, or not at all: with a guard's refusal or a
    request to stop there is none, and no review.

    ``words`` are the settings that ``apply`` has to be given again, as the caller calls them. What a listing does not
    decide is looked at now, so that the plan says what would be done. Keys of a customer (SSE-C) are in no plan.
    """
    _refuse_to_replace(path)
    writing = _Writing(source, destination, settings, path, dict(words or {}), prices)

    def told(event: Event) -> None:
        if isinstance(event, RunEnded) and writing.review is not None:
            event.summary.verdict = plan_verdict(event.summary, str(path))
        emit(event)

    stop = stop or Stop()
    run = asyncio.create_task(
        sync(
            source, destination, settings, emit=told, tally=tally, stop=stop, dry_run=True, flow=writing, command="plan"
        )
    )

    def end() -> None:
        run.cancel()  # nothing is under way that would have to end well

    stop.on_request(end)
    try:
        return await run, writing.review
    except asyncio.CancelledError:
        if not stop.is_requested:
            run.cancel()
            raise
        told_of = "no plan was written" if writing.review is None else "the plan is written"
        raise Interrupted(f"{stop.reason}; {told_of}.") from None


class _Writing:
    """One plan while it is written: list → compare → plan → look → write → guard → write the deletions."""

    def __init__(
        self,
        source: Location,
        destination: Location,
        settings: Settings,
        path: Path,
        words: dict[str, str],
        prices: Prices | None,
    ) -> None:
        self.review: Review | None = None
        self._ends = (source, destination)
        self._settings = settings
        self._path = path
        self._words = words
        self._prices = prices

    async def __call__(self, run: Opened) -> Summary:
        carrier, ledger, stop, deleter = run.carrier, run.ledger, run.stop, run.deleter
        header = await self._header(run.source, run.target)
        reviewer = Reviewer(header, self._prices)
        pages = settled(planned(run), carrier, ledger)
        with PlanWriter(self._path, header) as writer:
            async with aclosing(pages):
                async for page in pages:
                    writer.write(page)
                    reviewer.add(page)
                    if stop.is_requested:
                        break
            if deleter is not None and not stop.is_requested:
                for batch in deleter.due(ledger):
                    writer.write(batch)
                    reviewer.add(batch)
                    ledger.planned(len(batch), 0)
                    ledger.record(would_be(batch))
            ledger.tally.planning_done = True
            if not stop.is_requested:
                review = reviewer.review(ledger.summary.kept, ledger.summary.there_bytes)
                writer.finish(
                    requests=review.estimate.requests,
                    kept=review.kept,
                    kept_bytes=review.kept_bytes,
                    source_entries=run.memory.source_entries,
                )
                self.review = review
        return await ledger.settle()

    async def _header(self, source: Store, target: Store) -> Header:
        here, there = self._ends
        return Header(
            sterna=__version__,
            source=_absolute(here),
            destination=_absolute(there),
            created_s=int(time.time()),
            settings=self._words,
            filters=self._settings.filters.fingerprint,
            storage_class=self._settings.upload.storage_class,
            source_at=await identity(source, here),
            destination_at=await identity(target, there),
        )


async def settled(
    plans: AsyncGenerator[Sequence[Action], None], carrier: Carrier, ledger: Ledger
) -> AsyncGenerator[list[Action], None]:
    """The same pages with what only a look tells decided, several pages at once, in their order. What comes to nothing
    is recorded: it is kept, or could not be looked at.
    """

    async def look(page: Sequence[Action]) -> tuple[Sequence[Action], list[Action], list[Outcome]]:
        return page, *await carrier.resolve(page)

    def ended(page: Sequence[Action], actions: list[Action], outcomes: list[Outcome]) -> list[Action]:
        ledger.record(outcomes)
        ledger.record(would_be(actions))
        return sorted(
            [*actions, *(one for one in page if one.verb is Verb.REFUSE)], key=lambda action: action.key
        )  # fmt: skip

    ahead: deque[asyncio.Task[tuple[Sequence[Action], list[Action], list[Outcome]]]] = deque()
    try:
        async with aclosing(plans):
            async for page in plans:
                ahead.append(asyncio.create_task(look(page)))
                if len(ahead) == _AHEAD:
                    yield ended(*await ahead.popleft())
        while ahead:
            yield ended(*await ahead.popleft())
    finally:
        for task in ahead:
            task.cancel()
        await asyncio.gather(*ahead, return_exceptions=True)


def _absolute(location: Location) -> str:
    """A path that means the same from another folder; not resolved, so that a link that leads elsewhere is noticed."""
    return os.path.abspath(location.path) if isinstance(location, LocalPath) else str(location)


def _refuse_to_replace(path: Path) -> None:
    """An older plan may be written over; what is none was not meant, nor is a folder that is not there."""
    try:
        status = path.stat()
    except FileNotFoundError:
        if not os.path.isdir(os.path.dirname(path) or "."):
            words = (
                f"The folder of {printable(str(path))} does not exist, so no plan can be written there; check the path."
            )
            raise WrongSetting(words) from None
        return
    except OSError as error:
        raise translate_given(error, "write the plan", str(path)) from error
    if not stat.S_ISREG(status.st_mode):
        raise WrongSetting(f"{printable(str(path))} is no regular file; give another name for the plan.")
    if not status.st_size:
        return
    try:
        PlanFile.open(path).close()
    except PlanUnusable as error:
        raise WrongSetting(
            f"{printable(str(path))} is there already, and is no plan; give the plan another name."
        ) from error
