"""The flow, once, in full: list, compare, plan, guard, move, prove, record, report; what is to be deleted goes last."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from sterna.jobs.carriers import Carrier
from sterna.jobs.ledger import Ledger
from sterna.jobs.source import as_source
from sterna.model.actions import Action, Verb
from sterna.model.entry import Entry, Trouble
from sterna.model.errors import SternaError, out_of
from sterna.model.events import Summary
from sterna.model.outcomes import Outcome, Status
from sterna.model.stop import Stop
from sterna.planning.filters import EVERYTHING, Filter
from sterna.planning.merge import Pair, pairs
from sterna.stores.store import Store

if TYPE_CHECKING:
    from sterna.jobs.deleting import Deleter

_RANGES = 8  # of up to 1,000 keys each that are moved and proved at once: it bounds what a run remembers


async def carry_over(
    source: Store,
    target: Store,
    carrier: Carrier,
    ledger: Ledger,
    stop: Stop,
    *,
    filters: Filter = EVERYTHING,
    deleter: Deleter | None = None,
    dry_run: bool = False,
) -> Summary:
    """list → compare → plan → guard → move → prove → record → report, range by range, several ranges at a time.

    Without a ``deleter`` ranges move while later ones are still listed. With one, all is listed and guarded first, so
    that a refusal finds nothing changed; and what is to be deleted goes when everything else has arrived.
    """
    plans = planned(source, target, carrier, ledger, filters, deleter, dry_run=dry_run)
    if deleter is not None:
        plans = deleter.guarded(plans)
    await carry(plans, carrier, ledger, stop, deleter, dry_run=dry_run)
    return await ledger.settle(durable=carrier.is_durable)


async def carry(
    plans: AsyncGenerator[Sequence[Action], None],
    carrier: Carrier,
    ledger: Ledger,
    stop: Stop,
    deleter: Deleter | None = None,
    *,
    dry_run: bool = False,
) -> None:
    """plan → move → prove → record, and at the end the deletions."""
    ranges = asyncio.Semaphore(_RANGES)

    async def move(plan: Sequence[Action]) -> None:
        try:
            actions, settled = await carrier.resolve(plan)
            ledger.record(settled)
            outcomes = await carrier.move(actions) if not dry_run else would_be(actions)
            if not dry_run:
                await carrier.prove(outcomes)
            ledger.record(outcomes)
        finally:
            ranges.release()

    try:
        async with asyncio.TaskGroup() as moving, aclosing(plans):
            async for plan in plans:
                if deleter is not None and not dry_run:
                    await carrier.tidy()  # not before: a guard that refuses finds nothing changed
                await ranges.acquire()
                moving.create_task(move(plan))
                if stop.is_requested:
                    break
            ledger.tally.planning_done = True
        if deleter is not None:
            if not dry_run:
                await carrier.tidy()
            await deleter.delete(ledger, stop, would_be if dry_run else None)
    except BaseExceptionGroup as errors:
        raise out_of(errors) from None


async def planned(
    source: Store,
    target: Store,
    carrier: Carrier,
    ledger: Ledger,
    filters: Filter,
    deleter: Deleter | None,
    *,
    dry_run: bool,
) -> AsyncGenerator[Sequence[Action], None]:
    """list → compare → plan: the actions of a page of pairs at a time."""
    now_ns = time.time_ns()
    sources = entries(source, ledger, carrier.verb, filters, deleter)
    targets = entries(target, ledger, carrier.verb, filters, deleter, quiet=True)
    async with aclosing(sources), aclosing(targets):
        async for page in carrier.settled(chosen(pairs(sources, targets), filters), dry_run=dry_run):
            if not dry_run and deleter is None:
                await carrier.tidy()
            if deleter is not None and not deleter.see(page):
                return  # the run is to end; what was listed so far is not all there is
            plan = carrier.plan(page, now_ns)
            ledger.kept(plan.kept, plan.kept_bytes)
            ledger.planned(len(plan.actions), sum(action.size for action in plan.actions))
            if plan.actions:
                yield plan.actions
    if not dry_run and deleter is None:
        await carrier.tidy()


async def chosen(pages: AsyncIterator[list[Pair]], filters: Filter) -> AsyncGenerator[list[Pair], None]:
    """The pairs without what the filters leave out by what the listings say of it."""
    async for page in pages:
        yield filters.chosen(page)


async def entries(
    store: Store,
    ledger: Ledger,
    verb: Verb,
    filters: Filter = EVERYTHING,
    deleter: Deleter | None = None,
    *,
    quiet: bool = False,
) -> AsyncGenerator[Sequence[Entry], None]:
    """A store's pages, without what the filters leave out by name; what was met and cannot be carried becomes outcomes
    at once, and what is below it is unknown: never deleted.
    """
    try:
        async for page in store.pages():
            if page.troubles:
                if deleter is not None:
                    deleter.unknown(page.troubles)
                if not quiet and (told := concerned(page.troubles, filters)):
                    ledger.troubles(told, verb.value)
            shown = filters.visible(page.entries)
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


def concerned(troubles: Sequence[Trouble], filters: Filter) -> list[Trouble]:
    """The troubles that concern what the filters let pass."""
    return [trouble for trouble in troubles if filters.concerns(trouble)]


def would_be(actions: Sequence[Action]) -> list[Outcome]:
    """What a dry run says of its actions."""
    return [
        Outcome(one.verb.value, one.key, Status.PLANNED, size=one.bytes_concerned, because=one.because)
        for one in actions
    ]
