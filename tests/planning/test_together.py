"""A deleting run on paper: two listings to a guarded plan in a file, and back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sterna.model.entry import Entry, Trouble
from sterna.model.errors import GuardRefused
from sterna.planning.compare import plan_uploads
from sterna.planning.deletions import Deletions
from sterna.planning.estimate import Estimator, Route, default_prices
from sterna.planning.guard import Allowed, Counts, Remembered, before_deleting, refuse
from sterna.planning.merge import pairs
from sterna.planning.planfile import PlanFile, PlanWriter
from sterna.planning.summary import Summarizer
from sterna.stores.store import Store
from tests.memory import MemoryStore
from tests.planning.plans import HEADER


async def entries(store: Store) -> AsyncIterator[list[Entry]]:
    async for page in store.pages():
        yield page.entries


def plan(source: dict[str, bytes], target: dict[str, bytes], path: Path, *troubles: Trouble) -> None:
    """What a command does: moves as they are found, deletions behind them, once both sides have ended."""

    async def run() -> None:
        ours, theirs = MemoryStore(source, page_size=3), MemoryStore(target, page_size=3)
        counts, estimator = Counts(), Estimator(Route(to_bucket=True), default_prices(), lambda size: 1, 0)
        kept = kept_bytes = 0
        with PlanWriter(path, HEADER) as writer, Deletions(in_memory=2) as deletions:
            async for page in pairs(entries(ours), entries(theirs)):
                counts.see(page)
                deletions.add(page)
                found = plan_uploads(page, 2**62)
                kept, kept_bytes = kept + found.kept, kept_bytes + found.kept_bytes
                writer.write(found.actions)
                estimator.add(found.actions)
            deletions.unknown.add(troubles)
            deletions.listed()
            counts.deletions = deletions.count().objects
            refuse(before_deleting(counts, Remembered(), Allowed()))
            for batch in deletions.batches():
                writer.write(batch)
                estimator.add(batch)
            writer.finish(requests=estimator.requests(), kept=kept, kept_bytes=kept_bytes)

    asyncio.run(run())


def test_a_plan_has_the_moves_then_the_deletions(tmp_path: Path) -> None:
    path = tmp_path / "plan"
    source = {"a": b"1", "c/1": b"22", "d": b"", "same": b"x"}
    target = {"b": b"1", "c/0": b"1", "c/1": b"1", "locked/x": b"1", "same": b"x"}
    plan(source, target, path, Trouble("locked/", "cannot be read", subtree=True))
    summarizer = Summarizer()
    with PlanFile.open(path) as file:
        lines = []
        for page in file.pages():
            summarizer.add(page)
            lines += [f"{action.verb.value} {action.key}: {action.because}" for action in page]
        footer = file.footer
    assert lines == [
        "upload a: new",
        "upload c/1: the sizes differ: 2 at the source, 1 at the destination",
        "upload d: new",
        "delete b: the source does not have it",
        "delete c/0: the source does not have it",
    ]
    assert footer.counts == {verb: group.actions for verb, group in summarizer.summary().verbs.items()}
    assert footer.requests == {"put": 3, "list": 1, "delete": 1}
    assert (footer.kept, footer.kept_bytes) == (1, 1)


def test_H75_a_plan_that_a_guard_refuses_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(GuardRefused, match="--allow-empty-source"):
        plan({}, {"a": b"1"}, tmp_path / "plan")
    assert list(tmp_path.iterdir()) == []
