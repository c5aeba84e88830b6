"""Put together what a backup, or a run that is tried again, does between its two sides."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence

from msgspec.structs import replace

from sterna.jobs.job import Flow, Opened, carry_over
from sterna.jobs.keeping import Keeper
from sterna.jobs.settings import Settings
from sterna.jobs.undone import Undone, only
from sterna.model.events import Summary
from sterna.model.location import LocalPath, Location
from sterna.planning.compare import Compare, Plan
from sterna.planning.known import Known
from sterna.planning.merge import Pair
from sterna.planning.patterns import Sequence as Pattern
from sterna.planning.patterns import Wild
from sterna.planning.rules import Rule
from sterna.planning.thorough import kept_of, thorough
from sterna.reporting.statefile import StateFile

_NO_MANIFEST = "A run that tries again what was left writes no manifest; the next {} does."
Undoing = Callable[[Opened], Awaitable[Undone]]
"""Gives what an earlier run left undone, when both sides are open."""


def between(
    source: Location,
    destination: Location,
    settings: Settings,
    keeper: Keeper | None,
    undoing: Undoing | None,
    *,
    is_thorough: bool,
) -> Flow:
    """The flow of a run that looks at what ``undoing`` names, or at all, keeps a state file true, and, where that is asked
    for and it looks at all, leaves a manifest. ``is_thorough``: what is in place counts only where that is proved.
    """
    whole: Flow = carry_over
    if settings.manifest is not None:
        from sterna.jobs.evidence import with_manifest

        whole = with_manifest(settings, source, destination)

    async def flow(run: Opened) -> Summary:
        undone = await undoing(run) if undoing is not None else None
        keys = undone.keys if undone is not None else None
        if keys is not None:
            run = only(run, keys)
        if undone is not None and keys is not None and not keys:
            return await _nothing(run, undone)
        if undone is not None:
            run.ledger.notice(undone.sentence, code="retry")
        if keeper is not None and isinstance(source, LocalPath):
            run = _without(run, keeper.file, source)
        run = _watched(run, keeper, is_thorough=is_thorough and settings.compare is Compare.AUTO)
        carried = whole if keys is None else carry_over
        if keeper is None:
            summary = await carried(run)
        else:
            async with keeper.keeping(run, is_whole=keys is None):
                summary = await carried(run)
            _tell_of(keeper.file, summary)
        if keys is not None:
            if settings.manifest is not None:
                run.ledger.notice(_NO_MANIFEST.format(run.ledger.summary.command), code="manifest")
            run.memory.goes_by(None)  # how much the source has, this run has not seen
        return summary

    return flow


async def _nothing(run: Opened, undone: Undone) -> Summary:
    await run.memory.listed()
    run.memory.goes_by(None)
    run.ledger.tally.planning_done = True
    summary = await run.ledger.settle(durable=run.carrier.is_durable)
    summary.verdict = undone.sentence
    return summary


def _watched(run: Opened, keeper: Keeper | None, *, is_thorough: bool) -> Opened:
    """The run with its plan made thorough, and with the keeper told of what is kept."""
    plain = run.carrier.planner

    def planner(page: Sequence[Pair], now_ns: int, known: Known | None) -> Plan:
        plan = plain(page, now_ns, known)
        if is_thorough:
            plan = thorough(page, plan, known)
        if keeper is not None:
            keeper.kept(kept_of(page, plan))
        return plan

    return run._replace(carrier=replace(run.carrier, planner=planner))


def _without(run: Opened, file: StateFile, source: LocalPath) -> Opened:
    """The run with the state file out of sight, where it is in the folder: it changes while the run goes on."""
    root = os.path.join(os.path.realpath(source.path), "")
    path = str(file.path)
    if not path.startswith(root):
        return run
    key = path[len(root) :].replace(os.sep, "/")
    beside = key[: -len(file.path.name)] + file.beside
    patterns = (Pattern((key,)), Pattern((beside, Wild.NAME, ".part")))
    rule = Rule(False, "the state file", "--state-file", patterns)
    return run._replace(filters=replace(run.filters, rules=(rule, *run.filters.rules)))


def _tell_of(file: StateFile, summary: Summary) -> None:
    """A state file that is not up to date is a failure of the run: whoever goes by it would be told wrong."""
    if file.error:
        summary.notices.append(file.error)
        summary.exit_code = summary.exit_code or 1
        summary.verdict = f"INCOMPLETE: {file.error}"
