"""Say what a forked process is to run, and at which of its steps it is to be killed or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

# The calls that may be refused, by what they do; each with those of its calls that count as a step of their own.
FAMILIES = ("open", "read", "write", "fsync", "rename", "utime", "close")

# Of a request: nothing was done yet; half of its body is there; it is done, and the answer under way.
Moment = Literal["arrived", "half", "applied"]


class Kill(msgspec.Struct, frozen=True, tag=True):
    """``kill -9`` right before the ``nth`` call that changes something, counted from 1."""

    nth: int


class AtRequest(NamedTuple):
    """``kill -9`` by a request: the ``nth`` of those that change something, and when."""

    nth: int
    moment: Moment


Point = Kill | AtRequest


class Fail(msgspec.Struct, frozen=True, tag=True):
    """The ``nth`` call of a family does not happen, and says this errno; a close happens, and says so all the same."""

    family: str
    nth: int
    errno: int


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the command. What it does counts below the folder ``root`` only, where everything of the run lies.

    ``copy_threshold``: objects above it are copied in parts, which no option says.
    """

    args: list[str]
    env: dict[str, str]
    root: str
    stdin: str = "/dev/null"
    act: Kill | Fail | None = None
    copy_threshold: int | None = None

    @property
    def beside(self) -> Path:
        """Where output and trace of the run go: not below the root, so that writing them is no step."""
        return Path(f"{self.root}.said")


class Step(msgspec.Struct, frozen=True, array_like=True):
    """One line of a trace: a call right before it happened. ``changes``: it counts for ``Kill``."""

    changes: bool
    family: str
    what: str
    acted: bool = False
