"""Name the exit codes: a fixed table that scripts may rely on."""

from __future__ import annotations

import enum
from typing import Self


class ExitCode(enum.IntEnum):
    """What the number says that a command ends with; ``meaning`` is the sentence of the documentation."""

    meaning: str

    DONE = 0, "everything is done, and proved where something was written"
    SOME_FAILED = (
        1,
        "some objects failed or were refused, each is named; or the server was not reached, or a surprise ended the command",
    )
    USAGE = 2, "the command line or a setting cannot be right; nothing was done"
    ACCESS = 3, "credentials are missing, or the server refuses them"
    SOURCE_UNKNOWN = 4, "the source could not be established: missing, unreadable, or its listing failed"
    GUARDED = 5, "a guard saw danger and refused; nothing was changed"
    CONFLICT = 6, "source or destination changed since the plan was made; what changed is named, and left"
    LOCKED = 7, "another run works between the same two places; it is named"
    HUNG_UP = 129, "ended by SIGHUP; the same command goes on from there"
    INTERRUPTED = 130, "ended by Ctrl-C (SIGINT); the same command goes on from there"
    TERMINATED = 143, "ended by SIGTERM; the same command goes on from there"

    def __new__(cls, code: int, meaning: str) -> Self:
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member


def epilog() -> str:
    """The table for the end of a help text; the leading \\b keeps click from wrapping it into a paragraph."""
    return "\b\nExit codes:\n" + "\n".join(f"  {code.value:>3}  {code.meaning}" for code in ExitCode)
