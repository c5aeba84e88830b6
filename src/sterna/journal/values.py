"""What the journal keeps, as values: sightings of keys, runs, and transfers that can be taken up again."""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

from sterna.model.synced import Seen


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


class SentPart(msgspec.Struct, frozen=True, gc=False):
    """A part that the server has. ``crc`` is its sum as a number, None where there is none of ours."""

    number: int
    size: int
    etag: str
    crc: int | None = None


class OpenUpload(msgspec.Struct, frozen=True):
    """A multipart upload, or a copy in parts, that was begun and neither joined nor given up.

    ``token`` is what its object carries in its metadata, and what it is called by here. ``id`` is empty while the server's
    answer is not known: then it may exist all the same. ``source`` is the version that it is made of.
    """

    key: str
    token: str
    source: Seen
    part_size: int
    checksum: str
    id: str = ""
    is_copy: bool = False
    begun_ns: int = 0
    run: int = 0
    parts: tuple[SentPart, ...] = ()


class WrittenRange(msgspec.Struct, frozen=True, gc=False):
    """The bytes from ``start`` to ``end`` (excluded) of a draft, with their sum. Sum them again before they are believed."""

    start: int
    end: int
    crc: int


class OpenDownload(msgspec.Struct, frozen=True):
    """A download whose file has not got its name yet.

    ``temporary`` is the path of the unfinished file below the folder, and what it is called by here; ``source`` the version
    of the object that every range is pinned to.
    """

    key: str
    temporary: str
    source: Seen
    checksum: str
    begun_ns: int = 0
    run: int = 0
    ranges: tuple[WrittenRange, ...] = ()


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
