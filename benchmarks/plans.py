"""Measure what a plan file costs for each action: bytes on disk, CPU of writing and reading it, and memory.

Run it with the project's Python: ``.venv/bin/python benchmarks/plans.py [ACTIONS]``. Sizes, times and ETags are random, as
in a bucket that was filled in no order: a real plan is smaller.
"""

from __future__ import annotations

import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from sterna.model.actions import Action, Verb
from sterna.model.entry import Entry
from sterna.planning.planfile import Header, PlanFile, PlanWriter

PAGE = 1000
START_S = 1_790_000_000
YEAR_S = 31_536_000
HEADER = Header(sterna="1", source="/home/ann/photos", destination="s3://archive/photos", created_s=START_S)
chance = random.Random(1)


def key(at: int) -> str:
    return f"photos/{2000 + at // 200_000}/{at // 1000:05d}/IMG_{at:08d}.jpg"


def size() -> int:
    return int(chance.lognormvariate(11, 2))


def file(name: str) -> Entry:
    return Entry(name, size(), START_S * 10**9 + chance.randrange(YEAR_S * 10**9))


def stored(name: str, etag: str = "") -> Entry:
    """An object as Amazon lists it; with milliseconds, as others do, a time takes a byte more."""
    at_s = START_S + chance.randrange(YEAR_S)
    return Entry(name, size(), at_s * 10**9, etag or f"{chance.getrandbits(128):032x}", "STANDARD")


def new(name: str) -> Action:
    return Action(Verb.UPLOAD, name, "new", file(name))


def replaced(name: str) -> Action:
    source, target = file(name), stored(name)
    return Action(
        Verb.UPLOAD, name, f"the sizes differ: {source.size} here, {target.size} there", source, target
    )  # fmt: skip


def copied_equal(name: str) -> Action:
    source = stored(name)
    return Action(Verb.COPY, name, "other metadata", source, stored(name, source.etag))


def copied_other(name: str) -> Action:
    source, target = stored(name), stored(name)
    return Action(Verb.COPY, name, f"the sizes differ: {source.size} here, {target.size} there", source, target)


def deleted(name: str) -> Action:
    return Action(Verb.DELETE, name, "the source does not have it", None, stored(name))


KINDS: dict[str, Callable[[str], Action]] = {
    "new uploads": new,
    "uploads over random ETags": replaced,
    "copies, equal random ETags": copied_equal,
    "copies, two random ETags": copied_other,
    "deletions": deleted,
}


def pages(make: Callable[[str], Action], count: int) -> Iterator[list[Action]]:
    actions = (make(key(at)) for at in range(count))
    while page := list(islice(actions, PAGE)):
        yield page


def measured(name: str, make: Callable[[str], Action], count: int, path: Path) -> str:
    writing_s = 0.0
    with PlanWriter(path, HEADER) as writer:
        for page in pages(make, count):
            begun = time.process_time()
            writer.write(page)
            writing_s += time.process_time() - begun
        writer.finish()
    begun = time.process_time()
    with PlanFile.open(path) as plan:
        assert sum(map(len, plan.pages())) == count
    reading_s = time.process_time() - begun
    return (
        f"{name:28} {path.stat().st_size / count:6.1f} bytes, {writing_s / count * 1e6:5.2f} µs to write,"
        f" {reading_s / count * 1e6:5.2f} µs to read"
    )


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    print(f"{count:,} actions each, per action:")
    with tempfile.TemporaryDirectory() as folder:
        for name, make in KINDS.items():
            print(measured(name, make, count, Path(folder) / "plan"))
    print(f"at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB of memory")


if __name__ == "__main__":
    main()
