"""The flow, once, in full: list, compare, plan, guard, move, prove, record, report; what is to be deleted goes last."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, NamedTuple

from sterna.jobs.carriers import Carrier
from sterna.jobs.ledger import Ledger
from sterna.jobs.memory import Memory
from sterna.jobs.source import as_source
from sterna.model.actions import Action
from sterna.model.entry import Entry, Trouble
from sterna.model.errors import SternaError, out_of
from sterna.model.events import Summary
from sterna.model.outcomes import Outcome, Status
from sterna.model.stop import Stop
from sterna.model.units import printable
from sterna.planning.doubt import NONE, doubted
from sterna.planning.filters import EVERYTHING, Filter
from sterna.planning.merge import Pair, pairs
from sterna.stores.store import Store

if TYPE_CHECKING:
    from sterna.jobs.deleting import Deleter
    from sterna.jobs.settings import Settings
    from sterna.model.location import Location
    from sterna.planning.missing import Missing

_RANGES = 8  # of up to 1,000 keys each that are moved and proved at once: it bounds what a run remembers


class Opened(NamedTuple):
    """A run with both of its sides open: what a flow is given. ``deleter`` is there where the destination may lose what
    the source lacks. ``gone`` is what is said of a key of the filters' list that the source does not have, and then that
    is no failure.
    """

    source: Store
    target: Store
    carrier: Carrier
    ledger: Ledger
    stop: Stop
    memory: Memory
    filters: Filter = EVERYTHING
    deleter: Deleter | None = None
    dry_run: bool = False
    gone: str = ""


# What a run does between its two sides, up to the summary: a sync's flow is ``carry_over``.
Flow = Callable[[Opened], Awaitable[Summary]]


async def carry_over(run: Opened) -> Summary:
    """list → compare → plan → guard → move → prove → record → report, range by range, several ranges at a time."""
    await carried(run)
    return await run.ledger.settle(durable=run.carrier.is_durable)


def flow_of(settings: Settings, source: Location, destination: Location) -> Flow:
    """``carry_over``, with a manifest before the report where that is asked for. Raises WrongSetting where there can be
    none."""
    if settings.manifest is None:
        return carry_over
    from sterna.jobs.evidence import with_manifest

    return with_manifest(settings, source, destination)


async def carried(run: Opened) -> None:
    """The same without the report.

    Without a deleter ranges move while later ones are still listed. With one, all is listed and guarded first, so that a
    refusal finds nothing changed; and what is to be deleted goes when everything else has arrived.
    """
    plans = planned(run)
    if run.deleter is not None:
        plans = run.deleter.guarded(plans)
    await carry(plans, run)


async def carry(plans: AsyncGenerator[Sequence[Action], None], run: Opened) -> None:
    """plan → move → prove → record, and at the end the deletions."""
    carrier, ledger, deleter, memory = run.carrier, run.ledger, run.deleter, run.memory
    ranges = asyncio.Semaphore(_RANGES)
    if carrier.resumable is not None and memory.notebook is not None:
        carrier.resumable.keep_in(memory.notebook)

    async def move(plan: Sequence[Action]) -> None:
        try:
            actions, settled = await carrier.resolve(plan)
            ledger.record(settled)
            if run.dry_run:
                ledger.record(would_be(actions))
                return
            if deleter is not None:
                await deleter.clear(actions, ledger)
            flight = await memory.depart([action.key for action in actions])
            outcomes = await carrier.move(actions)
            await carrier.prove(outcomes)
            ledger.record(outcomes)
            await memory.land(flight)
        finally:
            ranges.release()

    try:
        async with asyncio.TaskGroup() as moving, aclosing(plans):
            async for plan in plans:
                if deleter is not None and not run.dry_run:
                    await carrier.tidy()  # not before: a guard that refuses finds nothing changed
                await ranges.acquire()
                moving.create_task(move(plan))
                if run.stop.is_requested:
                    break
            else:
                ledger.tally.planning_done = True
        if deleter is not None:
            if not run.dry_run:
                await carrier.tidy()
            await deleter.delete(ledger, run.stop, would_be if run.dry_run else None)
        if carrier.resumable is not None and not run.dry_run and not run.stop.is_requested:
            await carrier.resumable.clear(*memory.unfinished())
    except BaseExceptionGroup as errors:
        raise out_of(errors) from None


async def planned(run: Opened) -> AsyncGenerator[Sequence[Action], None]:
    """list → compare → plan: the actions of a page of pairs at a time."""
    now_ns = time.time_ns()
    carrier, ledger, filters, deleter, memory = run.carrier, run.ledger, run.filters, run.deleter, run.memory
    ledger.summary.filtered = not filters.takes_everything
    if deleter is not None:
        deleter.begin()
    missing = None
    if filters.listed is not None:
        from sterna.planning.missing import Missing

        missing = Missing(filters)
    sources = entries(run.source, run, missing=missing)
    # What only the destination has of a list is asked for where it is to be deleted for lack of a source.
    targets = entries(run.target, run, quiet=True, missing=missing if deleter is not None else None)
    async with aclosing(sources), aclosing(targets):
        async for page in carrier.settled(chosen(pairs(sources, targets), filters), dry_run=run.dry_run):
            if not run.dry_run and deleter is None:
                await carrier.tidy()
            if deleter is not None and not deleter.see(page):
                return  # the run is to end; what was listed so far is not all there is
            known = await memory.known(page)
            plan = carrier.plan(page, now_ns, known)
            if memory.doubts is not NONE:
                plan = doubted(page, plan, known, memory.doubts, carrier.verb)
            memory.found(plan.found)
            ledger.kept(plan.kept, plan.kept_bytes)
            ledger.planned(len(plan.actions), sum(action.size for action in plan.actions))
            if plan.actions:
                yield plan.actions
        await memory.listed()
        if missing is not None:
            from sterna.jobs.missing import name_missing

            await name_missing(missing, run.source, ledger, carrier.verb.value, gone=run.gone)
    if not run.dry_run and deleter is None:
        await carrier.tidy()


async def chosen(pages: AsyncIterator[list[Pair]], filters: Filter) -> AsyncGenerator[list[Pair], None]:
    """The pairs without what the filters leave out by what the listings say of it."""
    async for page in pages:
        yield filters.chosen(page)


async def entries(
    store: Store, run: Opened, *, quiet: bool = False, missing: Missing | None = None
) -> AsyncGenerator[Sequence[Entry], None]:
    """A store's pages, without what the filters leave out by name; what was met and cannot be carried becomes outcomes
    at once, and what is below it is unknown: never deleted.
    """
    ledger, filters = run.ledger, run.filters
    try:
        async for page in store.pages():
            if page.troubles:
                run.memory.doubt(is_trouble=not all(one.skipped for one in page.troubles))
                if run.deleter is not None:
                    run.deleter.unknown(page.troubles)
                told = concerned(page.troubles, filters)
                if not quiet:
                    ledger.troubles(told, run.carrier.verb.value)
                elif run.deleter is not None:
                    _tell_left(told, ledger)
            shown = filters.visible(page.entries)
            if missing is not None:
                missing.see(shown, page.troubles)
            if quiet:
                ledger.tally.listed_target += len(page.entries)
            else:
                ledger.tally.listed_source += len(page.entries)
            if shown:
                yield shown
    except SternaError as error:
        told_of = error if quiet else as_source(error)
        if told_of is error:
            raise
        raise told_of from error


def _tell_left(troubles: Sequence[Trouble], ledger: Ledger) -> None:
    """Say what a run that is to make both sides the same cannot see at the destination, and therefore leaves there."""
    for one in troubles:
        if not one.skipped:
            ledger.notice(
                f"At the destination {printable(one.key)} {one.reason}; it is left there.", "warning", "unseen"
            )


def concerned(troubles: Sequence[Trouble], filters: Filter) -> list[Trouble]:
    """The troubles that concern what the filters let pass."""
    return [trouble for trouble in troubles if filters.concerns(trouble)]


def would_be(actions: Sequence[Action]) -> list[Outcome]:
    """What a dry run says of its actions."""
    return [
        Outcome(one.verb.value, one.key, Status.PLANNED, size=one.bytes_concerned, because=one.because)
        for one in actions
    ]
