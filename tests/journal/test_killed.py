"""kill -9 at any instant: what was acknowledged is there, all of it, and the file is sound."""

from __future__ import annotations

import random
import time
from itertools import islice
from pathlib import Path

import pytest

from sterna.journal import questions
from sterna.journal.database import reading
from tests.journal.killed import steps
from tests.journal.made import asked, database, kept, opened, python

Picture = tuple[dict[str, int], list[str], set[str]]


def _killed(state: Path, seed: int, chance: random.Random) -> int:
    """Have a writer write, kill it somewhere, and give the number of the last step that it was told is kept."""
    process = python("import tests.journal.killed as k, asyncio, sys\nfrom pathlib import Path\n"
                     "asyncio.run(k.write(Path(sys.argv[1]), int(sys.argv[2])))", str(state), str(seed))  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline().startswith("begun")
    lines = chance.choice([0, 1, 20, 100])
    for _ in range(lines):
        process.stdout.readline()
    time.sleep(chance.random() * 0.05)
    process.kill()
    rest, _ = process.communicate(timeout=30)
    whole = [line for line in rest.split("\n")[:-1] if line]
    return int(whole[-1]) if whole else 0


def _found(state: Path, before: Picture) -> Picture:
    with reading(database(state)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        run = questions.runs(connection)[0].number
        failed = [one.key for one in questions.outcomes(connection, run)]
        uploads = {one.token for one in questions.open_uploads(connection)}
    return {one.key: one.source.size if one.source else 0 for one in kept(state)}, failed, uploads


def _must_be_a_step_since(found: Picture, before: Picture, seed: int, acknowledged: int) -> Picture:
    """What is there is what the writer had given by some step, at or after the last that was acknowledged."""
    tree, uploads = dict(before[0]), set(before[2])
    failed: list[str] = []
    if acknowledged == 0 and found == (tree, failed, uploads):
        return found
    for number, step in islice(enumerate(steps(seed), 1), acknowledged + 100_000):
        match step.what:
            case "done":
                tree |= dict.fromkeys(step.keys, number)
            case "gone":
                for key in step.keys:
                    tree.pop(key, None)
            case "failed":
                failed += step.keys
            case "upload":
                uploads.add(step.keys[0])
            case "ended":
                uploads.discard(step.keys[0])
        if number >= acknowledged and found == (tree, failed, uploads):
            return found
        if number > acknowledged + 2000:
            break
    raise AssertionError(f"seed {seed}: {acknowledged} steps were acknowledged, and what is there is none of them")


def _kills(state: Path, seed: int, times: int) -> None:
    chance = random.Random(seed)
    picture: Picture = ({}, [], set())
    for number in range(times):
        acknowledged = _killed(state, seed + number, chance)
        found = _found(state, picture)
        picture = _must_be_a_step_since(found, picture, seed + number, acknowledged)
        journal = opened(state)  # the next run finds nothing wrong
        assert not journal.lost
        assert not [run for run in asked(journal, questions.runs) if run.state.value == "running"]
        assert journal.close()


@pytest.mark.slow
def test_H54_what_was_acknowledged_outlives_kill_9_at_any_instant(tmp_path: Path) -> None:
    _kills(tmp_path, 54, 5)


@pytest.mark.extended
@pytest.mark.parametrize("seed", range(1000, 9000, 1000))
def test_H54_what_was_acknowledged_outlives_many_kills(tmp_path: Path, seed: int) -> None:
    _kills(tmp_path, seed, 40)
