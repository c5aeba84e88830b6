"""Say a scenario in a line or two: what there is on both sides, how each tool is told, and how it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Way(Enum):
    UP = "from a folder to a bucket"
    DOWN = "from a bucket to a folder"
    ACROSS = "from a bucket to a bucket"
    WITHIN = "from a prefix to another of the same bucket"


class At(Enum):
    """When a file was last changed; of what a run leaves behind, the moments that are told apart."""

    STORED = "the time at which the object was stored"  # of a file in a destination: the object of the same key
    LONG_AGO = "long ago"
    LATER = "in an hour"


class Special(Enum):
    FOLDER = "an empty folder"
    PIPE = "a pipe"


@dataclass(frozen=True)
class Thing:
    """A file or an object. Headers are an object's, with lower-case names: its type, its metadata, its tags."""

    data: bytes
    at: At = At.LONG_AGO
    headers: Mapping[str, str | At] = field(default_factory=dict)  # a moment: in seconds since 1970


@dataclass(frozen=True)
class Link:
    """A symbolic link of a folder."""

    to: str


Tree = Mapping[str, bytes | Thing | Link | Special]  # bytes are a Thing of them


@dataclass(frozen=True)
class Scenario:
    """The same data for both tools, and what they are expected to make of it.

    Options are those of `both` and each tool's own. The keys of a tree are whole ones, also where `source_at` or
    `target_at` names a place below: the rest must be left alone. A tree that is None does not exist.

    The end states of both must be the same but for `differs`, a line for each difference in the words of
    `states.differences`, for the reason that stands in the section of docs/differences.md that `because` names. `ours`
    is what Sterna changed: ``+new ~written-anew -deleted``; None where that is every file and object of the source.
    """

    name: str
    way: Way
    source: Tree | None
    target: Tree | None = field(default_factory=dict)
    both: str = ""
    aws: str = ""
    sterna: str = ""
    source_at: str = ""
    target_at: str = ""
    ours: str | None = None
    because: str = ""
    differs: tuple[str, ...] = ()
    keeps_time: bool = False  # also the time that uploads keep in the metadata is compared
    server: str = "ministack"

    def options(self, tool: str) -> str:
        return f"{self.both} {self.aws if tool == 'aws' else self.sterna}"


def only_with(tool: str, *keys: str) -> tuple[str, ...]:
    """The lines for keys that one of the tools leaves behind and the other does not."""
    return tuple(f"{key}: only with {tool}" for key in keys)


def codes(aws: int, sterna: int) -> tuple[str, ...]:
    """The line for exit codes that differ."""
    return (f"exit code: {aws} with aws, {sterna} with sterna",)
