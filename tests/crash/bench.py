"""One point of a suite: a scenario set up, run into its fault, looked at, run again, and looked at again."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.crash.forker import Ended, Forker, Killer, moments, wait_until_quiet, writes
from tests.crash.orders import FAMILIES, AtRequest, Fail, Kill, Moment, Order, Point
from tests.crash.places import BucketPlace, FolderPlace, Place, Stand, is_ours, stand, without_run
from tests.crash.records import (
    MANIFESTS,
    Rows,
    journal_rows,
    must_be_a_whole_list,
    must_be_so,
    must_be_whole_manifests,
)
from tests.crash.scenarios import MIB, Scenario
from tests.faults.front import WRITES, Front
from tests.servers.oracle import Bucket, Oracle

OLD_VERSION, NEW_VERSION = 1, 2
_numbers = itertools.count(1)


def some_points(scenario: Scenario, seed: int) -> Iterator[Point]:
    """Points without end, drawn by chance and always the same: some of them lie beyond the end of the run."""
    chance = random.Random(f"{seed} {scenario}")
    while True:
        if scenario.way != "down" and (scenario.job == "stream" or chance.random() < 0.4):
            moment: Moment = "arrived" if chance.random() < 0.5 else "applied"
            yield AtRequest(chance.randint(1, 1 + len(scenario.source)), moment)
        else:
            yield Kill(chance.randint(1, 70))


class Reach(NamedTuple):
    """What a run of a scenario to its end showed of it: where it can be killed, and how often it calls what."""

    points: list[Point]
    calls: dict[str, int]


class Bench:
    """Where scenarios are run: the process that forks, the front that kills, the oracle, and room for folders."""

    def __init__(self, forker: Forker, front: Front, oracle: Oracle, room: Path) -> None:
        self.forker = forker
        self.front = front
        self.oracle = oracle
        self.room = room

    @contextmanager
    def trial(self, scenario: Scenario) -> Iterator[Trial]:
        """A fresh trial of a scenario, set up; what it leaves is removed."""
        number = next(_numbers)
        bucket = self.oracle.create_bucket(f"crash-{os.getpid()}-{number}")
        trial = Trial(self, scenario, bucket, self.room / f"trial-{number}")
        try:
            trial.set_up()
            yield trial
        finally:
            wait_until_quiet(self.front)
            bucket.remove()
            for path in self.room.glob(f"trial-{number}*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


class Trial:
    """One point: its own bucket, folders and state. What it finds wrong it raises as an AssertionError."""

    def __init__(self, bench: Bench, scenario: Scenario, bucket: Bucket, root: Path) -> None:
        self.bench = bench
        self.scenario = scenario
        self.bucket = bucket
        self.root = root
        self.state = root / "state"
        folder = FolderPlace(root / "tree")
        self.source: Place = folder if scenario.way == "up" else BucketPlace(bucket, "from")
        self.target: Place = folder if scenario.way == "down" else BucketPlace(bucket, "to")
        self.trash: Place | None = None
        if scenario.uses_trash:
            self.trash = BucketPlace(bucket, "trash") if scenario.way != "down" else FolderPlace(root / "trash")
        self.new = stand(scenario.source, NEW_VERSION)
        self.old = stand(scenario.earlier or scenario.target, OLD_VERSION)
        self.after = {**({} if scenario.deletes else self.old), **self.new}
        self.told: Rows = {}  # what the journal had before the fault

    # Runs

    def set_up(self) -> None:
        (self.root / "home").mkdir(parents=True)
        if self.scenario.earlier is not None:
            self.source.fill(self.old)
            self.must_have_ended_well(self.run(job="sync"))
            self.source.empty()
        else:
            self.target.fill(self.old)
        if self.scenario.job == "stream":
            (self.root / "stdin").write_bytes(next(iter(self.scenario.source.values())))
        else:
            self.source.fill(self.new)
        if self.scenario.job == "apply":
            self.must_have_ended_well(self.run(job="plan"))
        if self.scenario.killed_at is not None:
            assert self.run(self.scenario.killed_at).was_killed, "the run that is to be taken up came to its end"
        self.told = self._rows()

    def _rows(self) -> Rows:
        return journal_rows(self.state, self.root.with_name(f"{self.root.name}-journal"))

    def run(self, act: Point | Fail | None = None, job: str = "") -> Ended:
        """Run the scenario's command once, with its fault or without."""
        front, killer, fault = self.bench.front, None, None
        front.forget()
        if isinstance(act, AtRequest):
            killer = Killer(act.moment)
            fault = front.fault(WRITES, nth=act.nth, kind=killer, must_hit=False)
        order = Order(
            args=self.arguments(job),
            env=self.environment(),
            root=str(self.root),
            stdin=str(self.root / "stdin") if self.scenario.job == "stream" else "/dev/null",
            act=None if isinstance(act, AtRequest) else act,
            copy_threshold=6 * MIB if self.scenario.copies_in_parts else None,
        )
        try:
            ended = self.bench.forker.run(order, killer)
            wait_until_quiet(front)
        finally:
            if fault is not None:
                front.remove(fault)
        if front.errors:
            raise front.errors[0]
        return ended

    def arguments(self, job: str = "") -> list[str]:
        """What the command is told; ``job`` where it is another than the scenario's."""
        options = list(self.scenario.options)
        if self.trash is not None:
            options += ["--trash", self.trash.address]
        source, target = self.source.address, self.target.address
        match job or self.scenario.job:
            case "stream":
                return ["--json", "copy", "--processes=1", *options, "-", f"{target}/stream"]
            case "apply":
                return ["--json", "apply", "--processes=1", str(self.root / "plan")]
            case "backup":
                options += ["--state-file", str(self.root / "list")]
                return ["--json", "backup", "--processes=1", *options, source, target]
            case "uploads":
                return ["uploads", "--abort", "--all", "--yes", target]
            case "plan":
                return ["--json", "plan", *options, source, target, "-o", str(self.root / "plan")]
            case _:
                return ["--json", "sync", "--processes=1", *options, source, target]

    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(self.root / "home"),
            "STERNA_STATE_DIR": str(self.state),
            "NO_PROXY": "*",
            "no_proxy": "*",
            **self.bench.front.server.environment,
        }

    def reach(self) -> Reach:
        """Run it to its end, which must be a good one, and see where it could have been ended."""
        ended = self.run()
        requests = writes(self.bench.front)
        self.must_have_ended_well(ended)
        self.must_be_done()
        steps = sum(step.changes for step in ended.trace)
        points: list[Point] = [Kill(number) for number in range(1, steps + 1)]
        points += [AtRequest(number, moment) for number, moment in moments(requests)]
        calls = {family: sum(step.family == family for step in ended.trace) for family in FAMILIES}
        return Reach(points, calls)

    # What must hold

    def must_be_sound(self) -> None:
        """Right after a fault: names hold what they held or what they are to hold, whole; nothing is lost, and the
        journal claims nothing that is not so.
        """
        if self.scenario.job != "stream":
            assert self.source.holds() == self.new, "the source was changed"
        there = self.target.holds()
        self._evidence(there)
        for name, kept in there.items():
            if not is_ours(name) and not name.startswith(MANIFESTS):
                whole = [one.data for one in (self.old.get(name), self.after.get(name)) if one is not None]
                assert kept.data in whole, f"{name} holds {len(kept.data)} bytes that are neither the old nor the new"
        for name in self.old.keys() & self.after.keys():
            assert name in there, f"{name} was there before and will be, and now it is not"
        self._must_be_kept(there)
        must_be_so(self._rows(), self.told, self.source, self.target)

    def _must_be_kept(self, there: Stand) -> None:
        """With a trash, each version that was there before is there still, or in it."""
        if self.trash is None:
            return
        kept = {(without_run(name), one.data) for name, one in self.trash.holds().items()}
        for name, one in self.old.items():
            is_there = name in there and there[name].data == one.data
            assert is_there or (name, one.data) in kept, f"the old {name} is neither in place nor in the trash"

    def _evidence(self, there: Stand) -> bool:
        """What a backup leaves in writing is whole and true; whether it has all."""
        has_list = must_be_a_whole_list(self.root / "list", self.root / "tree", there, self.new)
        return must_be_whole_manifests(self.state / "manifests", there, self.new) and has_list

    def must_be_done(self) -> None:
        """After a run that ended well: all is in place, and nothing else is left."""
        there = self.target.holds()
        assert self._evidence(there) or self.scenario.job != "backup", "state file or manifest do not have all"
        there = {name: kept for name, kept in there.items() if not name.startswith(MANIFESTS)}
        missing, more = self.after.keys() - there.keys(), there.keys() - self.after.keys()
        assert not missing, f"after a run that ended well {sorted(missing)} are missing"
        assert not more, f"after a run that ended well {sorted(more)} are there"
        for name, kept in self.after.items():
            assert there[name].data == kept.data, f"{name} has other bytes"
        if self.scenario.job != "stream":
            assert self.source.holds() == self.new, "the source was changed"
            for name in self.new:
                assert there[name].mtime_ns == self.after[name].mtime_ns, f"{name} is of another time"
        self._must_be_kept(there)
        must_be_so(self._rows(), self.told, self.source, self.target)
        ours = [name for name in (*there, *(self.trash.holds() if self.trash else ())) if is_ours(name)]
        ours += [str(path) for path in self.root.rglob("*") if not _is_expected(path, self.root)]
        assert not ours, f"unfinished files are left: {ours}"

    def must_recover(self) -> Ended:
        """The same command, once more, brings everything; and once more, does nothing (I10)."""
        again = self.run()
        self.must_have_ended_well(again)
        self.must_be_done()
        if self.scenario.job == "stream":  # no journal knows of it: the command that is there for that takes it away
            self.must_have_ended_well(self.run(job="uploads"))
        assert self.bucket.uploads() == [], "multipart uploads are open"
        if self.scenario.job != "stream":  # of which nobody knows that it was sent before
            idle = self.run()
            self.must_have_ended_well(idle)
            asked = [one for one in writes(self.bench.front) if MANIFESTS not in one.key]
            assert not asked, f"a second run asks for {asked}"
            assert not _summary(idle)["moved_bytes"], f"a second run moves something: {idle}"
            self.must_be_done()
        return again

    def must_tell(self, ended: Ended) -> None:
        """A run that met an error of the system: a documented end, a sentence that names what it is about (I11)."""
        assert ended.code in (0, 1, 2, 4, 5, 6, 7), ended
        assert "Traceback" not in ended.err, f"a traceback: {ended}"
        assert "not foreseen" not in ended.err, f"a surprise: {ended}"
        assert "run out of something" not in ended.err, f"it does not say of what: {ended}"
        if ended.code:
            sentences = [*_failures(ended).values(), *ended.err.splitlines()]
            named = (str(self.root), *self.old, *self.new)
            assert any(name in sentence for name in named for sentence in sentences), f"nothing is named: {ended}"

    def must_have_ended_well(self, ended: Ended) -> None:
        """Exit 0."""
        assert ended.code == 0, ended


def _is_expected(path: Path, root: Path) -> bool:
    """Whether this is something that may lie below the folder of a trial when all is done: nothing unfinished."""
    first, *below = path.relative_to(root).parts
    if first in ("tree", "trash"):
        return not is_ours(path.name)
    if first == "state" and len(below) == 2:
        return path.suffix in (".sqlite3", ".lock", ".zst") and "damaged" not in path.name
    return first in ("state", "home", "stdin", "plan", "list") and path.name[0] != "."


def _summary(ended: Ended) -> dict[str, Any]:
    found = [record for record in map(json.loads, ended.out.splitlines()) if record["type"] == "summary"]
    assert found, ended
    return dict(found[-1])


def _failures(ended: Ended) -> dict[str, str]:
    lines = [line for line in ended.out.splitlines() if line.startswith("{")]
    return {
        record["key"]: record["error"]
        for record in map(json.loads, lines)
        if record["type"] == "object" and record["status"] == "failed"
    }
