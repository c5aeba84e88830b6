"""A writer that tells after each acknowledgement how far it is, to be killed at any instant."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sterna.journal.journal import Journal
from sterna.journal.run import Run
from sterna.journal.writer import Pace
from sterna.model.outcomes import Outcome, Status
from sterna.model.synced import Seen
from sterna.model.transfers import OpenUpload, SentPart
from tests.journal.made import ROUTE, synced


class Step(NamedTuple):
    """One thing that a run gives to its journal: what, and the keys that it is about."""

    what: str
    keys: list[str]


def steps(seed: int) -> Iterator[Step]:
    """What the writer does: the same for the same seed, so that whoever looks afterwards knows what should be there."""
    chance = random.Random(seed)
    while True:
        what = chance.choice(["done", "done", "done", "gone", "failed", "upload", "part", "ended"])
        yield Step(what, [f"{chance.randrange(3000):05d}" for _ in range(chance.randrange(1, 60))])


def give(journal: Journal, run: Run, step: Step, size: int) -> None:
    match step.what:
        case "done":
            run.done([synced(key, size) for key in step.keys])
        case "gone":
            run.gone(step.keys)
        case "failed":
            run.record([Outcome("upload", key, Status.FAILED) for key in step.keys])
        case "upload":
            journal.upload_begun(OpenUpload(step.keys[0], step.keys[0], Seen(size), 1, "MD5"))
        case "part":
            journal.part_sent(step.keys[0], SentPart(size % 7 + 1, size, "e"))
        case "ended":
            journal.upload_ended(step.keys[0])


async def write(state: Path, seed: int) -> None:
    journal = Journal.open(ROUTE, state, command="sync", network="", pace=Pace(rows=200, seconds=0.005))
    run = journal.begin()
    assert await journal.flushed(lasting=False)
    print("begun", run.number, flush=True)
    chance = random.Random(seed + 1)
    for number, step in enumerate(steps(seed), 1):
        give(journal, run, step, number)
        if chance.random() < 0.2:
            assert await journal.flushed(lasting=chance.random() < 0.1)
            print(number, flush=True)
        elif chance.random() < 0.1:
            await asyncio.sleep(0.002)


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1]), int(sys.argv[2])))
