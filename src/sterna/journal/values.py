"""What the journal keeps of runs, as values."""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec


class State(str, enum.Enum):
    """RUNNING in a file that nobody holds means that the process died: the next one that opens it says INTERRUPTED."""

    RUNNING = "running"
    ENDED = "ended"
    INTERRUPTED = "interrupted"


class PastRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run. ``name`` is unique over all journals; ``number`` within this one. Times are nanoseconds since 1970.

    ``counts`` are those of the summary, ``notes`` what else it saw.
    """

    number: int
    name: str
    command: str
    source: str
    target: str
    started_ns: int
    ended_ns: int
    state: State
    exit_code: int
    verdict: str
    counts: Mapping[str, int]
    notes: Mapping[str, str | int]
    filters: str
    options: Mapping[str, str]
    is_durable: bool
    sterna: str


class PastOutcome(msgspec.Struct, frozen=True, gc=False):
    """What came of one action that was not done."""

    verb: str
    key: str
    status: str
    size: int
    attempts: int
    because: str
    error: str
    error_kind: str
    error_code: str
    error_words: str
    request_id: str
    exit_code: int
    ended_ns: int
