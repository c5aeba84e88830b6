"""Tell from what a server says of an object whether it is archived, and what bringing it back takes."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final, NamedTuple

from sterna.planning.estimate import Prices

_GIB = 1 << 30
_MINUTE_S = 60
_HOUR_S = 3600


class Tier(str, Enum):
    """How fast an object is brought back (``--tier``)."""

    EXPEDITED = "expedited"
    STANDARD = "standard"
    BULK = "bulk"


class State(Enum):
    """Whether an object can be read: now, when the server has brought it back, or not before somebody asks for it."""

    READABLE = "readable"
    COMING = "coming"
    ARCHIVED = "archived"


class Archive(NamedTuple):
    """Where an object is archived: a storage class, or a tier of INTELLIGENT_TIERING, and whether it can be read."""

    name: str
    state: State


class Wait(NamedTuple):
    """How long a tier takes: in words, and in seconds at most."""

    words: str
    most_s: int


_FLEXIBLE: Final = {
    Tier.EXPEDITED: Wait("1 to 5 minutes", 5 * _MINUTE_S),
    Tier.STANDARD: Wait("3 to 5 hours", 5 * _HOUR_S),
    Tier.BULK: Wait("5 to 12 hours", 12 * _HOUR_S),
}
_DEEP: Final = {
    Tier.STANDARD: Wait("up to 12 hours", 12 * _HOUR_S),
    Tier.BULK: Wait("up to 48 hours", 48 * _HOUR_S),
}
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/restoring-objects-retrieval-options.html, seen in November 2026
_WAITS: Final[dict[str, dict[Tier, Wait]]] = {
    "GLACIER": _FLEXIBLE,
    "DEEP_ARCHIVE": _DEEP,
    "ARCHIVE_ACCESS": _FLEXIBLE,
    "DEEP_ARCHIVE_ACCESS": _DEEP,
}
# What a listing tells of: objects of these classes are asked about before they are read. Those of INTELLIGENT_TIERING
# can mostly be read, and it is the attempt that tells.
ARCHIVES = ("GLACIER", "DEEP_ARCHIVE")


def archive_of(storage_class: str, headers: Mapping[bytes, bytes]) -> Archive:
    """What the answer to a HEAD says; ``storage_class`` where it names none.

    A restored object keeps its class, and says so in x-amz-restore; in INTELLIGENT_TIERING it leaves its tier.
    https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html
    """
    said = headers.get(b"x-amz-restore", b"").replace(b" ", b"").lower()
    kind = headers.get(b"x-amz-storage-class", b"").decode("latin-1") or storage_class
    name = headers.get(b"x-amz-archive-status", b"").decode("latin-1") or kind
    if b'ongoing-request="true"' in said:
        return Archive(name, State.COMING)
    if b'ongoing-request="false"' in said or name not in _WAITS:
        return Archive(name, State.READABLE)
    return Archive(name, State.ARCHIVED)


def wait_of(name: str, tier: Tier) -> Wait | None:
    """How long a tier takes for an archive; None where it has no such tier, or none is known."""
    return _WAITS.get(name, {}).get(tier)


def expires(name: str) -> bool:
    """Whether what was brought back goes again after some days; objects of INTELLIGENT_TIERING stay."""
    return name in ARCHIVES


def takes(name: str, size: int, prices: Prices) -> str:
    """What bringing so many bytes back takes, by tier, in words."""
    waits = _WAITS.get(name, {})
    if not waits:
        return "a time that the server's maker tells"
    *others, last = [f"{wait.words} ({tier.value})" for tier, wait in waits.items()]
    told = f"{', '.join(others)} or {last}"
    table = prices.storage.get(name)
    if table is None or not table.retrieval_per_gb:
        return told
    cost = float(table.retrieval_per_gb) * size / _GIB
    return f"{told}; by standard about {cost:,.2f} {prices.currency} by the list prices of {prices.date}"
