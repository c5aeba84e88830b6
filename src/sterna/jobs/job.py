"""The flow, once, in full: list, compare, plan, move, prove, record, report."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

from sterna.jobs.carriers import Carrier
from sterna.jobs.ledger import Ledger
from sterna.model.actions import Action, Verb
from sterna.model.entry import Entry
from sterna.model.errors import AccessDenied, SourceUnknown, SternaError, out_of
from sterna.model.events import Summary
from sterna.model.outcomes import Outcome, Status
from sterna.model.stop import Stop
from sterna.planning.compare import Plan
from sterna.planning.merge import pairs
from sterna.stores.store import Store

_RANGES = 8  # of up to 1,000 keys each that are moved and proved at once: it bounds what a run remembers


async def carry_over(
    source: Store, target: Store, carrier: Carrier, ledger: Ledger, stop: Stop, *, dry_run: bool = False
) -> Summary:
    """list → compare → plan → move → prove → record → report, range by range, several ranges at a time."""
    ranges = asyncio.Semaphore(_RANGES)

    async def move(plan: Plan) -> None:
        try:
            actions, settled = await carrier.resolve(plan.actions)
            ledger.record(settled)
            outcomes = await carrier.move(actions) if not dry_run else would_be(actions)
            if not dry_run:
                await carrier.prove(outcomes)
            ledger.record(outcomes)
        finally:
            ranges.release()

    try:
        async with asyncio.TaskGroup() as moving:
            sources = entries(source, ledger, carrier.verb)
            targets = entries(target, ledger, carrier.verb, quiet=True)
            now_ns = time.time_ns()
            async for page in pairs(sources, targets):
                if not dry_run:
                    await carrier.tidy()
                plan = carrier.plan(page, now_ns)
                ledger.kept(plan.kept, plan.kept_bytes)
                ledger.planned(len(plan.actions), sum(action.size for action in plan.actions))
                if plan.actions:
                    await ranges.acquire()
                    moving.create_task(move(plan))
                if stop.is_requested:
                    break
            if not dry_run:
                await carrier.tidy()
            ledger.tally.planning_done = True
    except BaseExceptionGroup as errors:
        raise out_of(errors) from None
    return await ledger.settle(durable=carrier.is_durable)


async def entries(store: Store, ledger: Ledger, verb: Verb, *, quiet: bool = False) -> AsyncIterator[Sequence[Entry]]:
    """A store's pages; what was met and cannot be carried becomes outcomes at once."""
    try:
        async for page in store.pages():
            if page.troubles and not quiet:
                ledger.troubles(page.troubles, verb.value)
            if quiet:
                ledger.tally.listed_target += len(page.entries)
            else:
                ledger.tally.listed_source += len(page.entries)
            if page.entries:
                yield page.entries
    except SternaError as error:
        told = error if quiet else as_source(error)
        if told is error:
            raise
        raise told from error


def as_source(error: SternaError) -> SternaError:
    """An error of a listing as that of a source: the same words, and another meaning: there is nothing to go by."""
    if error.exit_code in (SourceUnknown.exit_code, AccessDenied.exit_code):
        return error
    return SourceUnknown(error.sentence, **error.facts())


def would_be(actions: Sequence[Action]) -> list[Outcome]:
    """What a dry run says of its actions."""
    return [Outcome(one.verb.value, one.key, Status.PLANNED, size=one.size, because=one.because) for one in actions]
