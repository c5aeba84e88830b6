"""Sterna and aws-cli sync the same data, and leave the same behind, or exactly what docs/differences.md explains."""

from __future__ import annotations

import itertools
import os
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import pytest

from tests.conftest import Fleet, Sterna
from tests.differential.aws import Aws, program
from tests.differential.scenarios import SCENARIOS
from tests.differential.states import (
    State,
    bucket_state,
    changes,
    differences,
    folder_state,
    make_bucket,
    make_folder,
    moments,
    shown,
    stored_s,
)
from tests.differential.values import At, Scenario, Thing, Tree, Way
from tests.servers.oracle import Bucket
from tests.servers.server import CannotBeHad

pytestmark = pytest.mark.differential

_numbers = itertools.count(1)

Tool = Literal["aws", "sterna"]


class Ran(NamedTuple):
    """What a run made of its destination, how it ended, and what it said."""

    before: State
    after: State
    code: int
    said: str


class Stage:
    """The two sides of a scenario on one server: a source that both tools take from, and a destination for each."""

    def __init__(self, scenario: Scenario, fleet: Fleet, root: Path) -> None:
        self._scenario = scenario
        self._root = root
        self._server = fleet.server(scenario.server)
        self._oracle = fleet.oracle(self._server)
        self._buckets: list[Bucket] = []
        self._times = moments(int(time.time()))
        self._stored_s: dict[str, int] = {}
        (root / "home").mkdir()
        self._sterna = Sterna(root / "home", self._server)
        self._aws = Aws(root / "home of aws", self._server)
        self._source: Bucket | Path = root / "source"
        if scenario.way is Way.UP:
            if scenario.source is not None:
                make_folder(self._source, scenario.source, self._times, {})
        elif scenario.way is not Way.WITHIN:
            self._source = self._bucket("source", exists=scenario.source is not None)
            make_bucket(self._source, scenario.source or {}, self._times, marked=False)
            if scenario.source is not None:
                self._stored_s = {arrived(scenario, key): at_s for key, at_s in stored_s(self._source).items()}

    def _bucket(self, name: str, *, exists: bool = True) -> Bucket:
        full = f"differential-{os.getpid()}-{next(_numbers)}-{name}"
        if not exists:
            return self._oracle.bucket(full)
        self._buckets.append(self._oracle.create_bucket(full))
        return self._buckets[-1]

    def destination(self, name: str) -> Bucket | Path:
        """Make one, as it is before a run."""
        scenario, folder = self._scenario, self._root / name
        if scenario.way is Way.DOWN:
            if scenario.target is not None:
                make_folder(folder, scenario.target, self._times, self._stored_s)
            return folder
        bucket = self._bucket(name)
        if scenario.way is Way.WITHIN:
            make_bucket(bucket, scenario.source or {}, self._times, marked=False)
        make_bucket(bucket, scenario.target or {}, self._times, marked=True)
        return bucket

    def run(self, tool: Tool, into: Bucket | Path) -> Ran:
        """Let a tool sync into a destination, and look at both sides."""
        scenario = self._scenario
        source = into if scenario.way is Way.WITHIN else self._source
        from_before, before = self._state(self._source), self._state(into)
        command = (typed(source, scenario.source_at), typed(into, scenario.target_at))
        options = shlex.split(scenario.options(tool))
        if tool == "aws":
            code, said = self._aws.sync(*command, *options)
        else:
            done = self._sterna("sync", *command, *options)
            code, said = done.code, done.out + done.err
        assert self._state(self._source) == from_before, "the source is not what it was"
        return Ran(before, self._state(into), code, said)

    def _state(self, place: Bucket | Path) -> State:
        if isinstance(place, Path):
            return folder_state(place, self._times, self._stored_s)
        if place not in self._buckets:
            return {}
        return bucket_state(place, keeps_time=self._scenario.keeps_time or self._scenario.way is not Way.UP)

    def clear(self) -> None:
        for bucket in self._buckets:
            bucket.remove()


def typed(place: Bucket | Path, below: str) -> str:
    """A place as one types it."""
    return place.url(below) if isinstance(place, Bucket) else f"{place}/{below}"


def arrived(scenario: Scenario, key: str) -> str:
    """Where a key of the source is to stand in the destination."""
    return _folder(scenario.target_at) + key.removeprefix(_folder(scenario.source_at))


def all_of(scenario: Scenario) -> list[str]:
    """What is changed where everything below the source arrives, and nothing else."""
    below, there = _folder(scenario.source_at), scenario.target or {}
    files = [key for key, thing in (scenario.source or {}).items() if isinstance(thing, bytes | Thing)]
    keys = [arrived(scenario, key) for key in files if key.startswith(below)]
    return sorted(f"{'~' if key in there else '+'}{shown(key)}" for key in keys)


def _folder(below: str) -> str:
    return f"{below.rstrip('/')}/" if below else ""


@pytest.fixture(scope="session")
def aws_is_there() -> None:
    try:
        program()
    except CannotBeHad as cannot:
        pytest.skip(str(cannot))


@pytest.fixture
def stage(request: pytest.FixtureRequest, aws_is_there: None, fleet: Fleet, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(request.getfixturevalue("scenario"), fleet, tmp_path)
    yield stage
    stage.clear()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_both_leave_the_same_behind(scenario: Scenario, stage: Stage) -> None:
    theirs = stage.run("aws", stage.destination("aws"))
    ours = stage.run("sterna", stage.destination("sterna"))
    lines = differences(theirs.after, ours.after)
    if theirs.code != ours.code:
        lines.append(f"exit code: {theirs.code} with aws, {ours.code} with sterna")
    said = f"aws said:\n{theirs.said}\nsterna said:\n{ours.said}"
    assert lines == list(scenario.differs), said
    expected = all_of(scenario) if scenario.ours is None else sorted(scenario.ours.split())
    assert changes(ours.before, ours.after) == expected, said


_DESCRIBED: Tree = {
    "d/a b": Thing(b"22", headers={"x-amz-meta-mtime": At.LONG_AGO, "content-type": "text/x-own"}),
    "z": b"",
}


@pytest.mark.parametrize(("first", "second"), [("aws", "sterna"), ("sterna", "aws")])
@pytest.mark.parametrize(
    "scenario",
    [
        Scenario("up", Way.UP, {"a.txt": b"1", "d/b c": b"22", "z": b""}),
        Scenario("down", Way.DOWN, _DESCRIBED),
        Scenario("across", Way.ACROSS, _DESCRIBED),
    ],
    ids=lambda scenario: scenario.name,
)
def test_what_one_has_synced_is_unchanged_to_the_other(
    scenario: Scenario, stage: Stage, first: Tool, second: Tool
) -> None:
    into = stage.destination("both")
    before = stage.run(first, into)
    assert (before.code, changes(before.before, before.after)) == (0, all_of(scenario)), before.said
    after = stage.run(second, into)
    assert (after.code, changes(after.before, after.after)) == (0, []), after.said
    assert "load:" not in after.said
    assert "copy:" not in after.said
