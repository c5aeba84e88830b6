"""What is killed: a table of jobs, each with what is there before it and after it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Literal

from tests.crash.orders import AtRequest, Kill, Point
from tests.crash.places import Files

MIB = 1 << 20


def noise(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


LARGE = noise(11 * MIB, 1)  # three parts of 5 MiB
OTHER_LARGE = noise(11 * MIB, 2)
SMALL: Files = {"a": b"one", "b/c": b"two two", "b/d": b"", "e": noise(70_000, 3)}
OLD: Files = {"a": b"an older one", "b/c": b"two", "gone": b"to go", "e": noise(69_000, 4)}

PARTS = ("--part-size", "5MiB")


@dataclass(frozen=True)
class Scenario:
    """A job. ``source`` is what it brings, ``target`` what stands at the destination before; ``earlier`` what a run
    before it had brought, which the journal knows.

    ``copies_in_parts``: above 6 MiB. ``killed_at``: where a run before it ended, which it takes up.
    """

    name: str
    way: Literal["up", "down", "across"]
    source: Files
    target: Files = field(default_factory=dict)
    earlier: Files | None = None
    options: tuple[str, ...] = ()
    job: Literal["sync", "stream", "apply", "backup"] = "sync"
    uses_trash: bool = False
    copies_in_parts: bool = False
    killed_at: Point | None = None

    @property
    def deletes(self) -> bool:
        return "--delete" in self.options

    def __str__(self) -> str:
        return self.name


SCENARIOS = [
    Scenario("upload small files", "up", SMALL),
    Scenario("upload changed files", "up", SMALL, earlier=OLD),
    Scenario("upload a large file in parts", "up", {"large": LARGE, "a": b"one"}, options=PARTS),
    Scenario("upload over a large file", "up", {"large": LARGE}, {"large": OTHER_LARGE[: 6 * MIB]}, options=PARTS),
    Scenario("take up an upload", "up", {"large": LARGE}, options=PARTS, killed_at=AtRequest(4, "applied")),
    Scenario("upload with deletions", "up", SMALL, OLD, options=("--delete",)),
    Scenario("upload with deletions and trash", "up", SMALL, OLD, options=("--delete",), uses_trash=True),
    Scenario("upload a short stream", "up", {"stream": b"short"}, {"stream": b"older"}, job="stream"),
    Scenario("upload a long stream", "up", {"stream": LARGE}, job="stream", options=PARTS),
    Scenario("apply a plan of uploads", "up", SMALL, OLD, job="apply", options=("--delete",)),
    Scenario("back up small files", "up", SMALL, job="backup"),
    Scenario("back up a large file in parts", "up", {"large": LARGE, "a": b"one"}, job="backup", options=PARTS),
    Scenario("download small files", "down", SMALL),
    Scenario("download changed files", "down", SMALL, earlier=OLD),
    Scenario("download over files", "down", SMALL, OLD),
    Scenario("download a large object in ranges", "down", {"large": LARGE, "a": b"one"}, options=PARTS),
    Scenario("download over a large file", "down", {"large": LARGE}, {"large": OTHER_LARGE[: 6 * MIB]}, options=PARTS),
    Scenario("take up a download", "down", {"large": LARGE}, options=PARTS, killed_at=Kill(120)),
    Scenario("download with deletions", "down", SMALL, OLD, options=("--delete",)),
    Scenario("download with deletions and trash", "down", SMALL, OLD, options=("--delete",), uses_trash=True),
    Scenario("download a folder over a file", "down", {"a/b": b"below", "c": b"c"}, {"a": b"a file", "d": b"d"},
             options=("--delete",)),
    Scenario("download a file over a folder", "down", {"a": b"a file", "c": b"c"}, {"a/b": b"below", "a/d/e": b"deep"},
             options=("--delete",)),
    Scenario("apply a plan of downloads", "down", SMALL, OLD, job="apply", options=("--delete",)),
    Scenario("copy on the server", "across", SMALL, OLD),
    Scenario("copy on the server with deletions", "across", SMALL, OLD, options=("--delete",)),
    Scenario("take up a copy on the server", "across", {"large": LARGE}, options=PARTS, copies_in_parts=True,
             killed_at=AtRequest(3, "applied")),
    Scenario("copy on the server in parts", "across", {"large": LARGE, "a": b"one"}, options=PARTS,
             copies_in_parts=True),
]  # fmt: skip
