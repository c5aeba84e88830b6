"""Decide how an object is cut into parts."""

from __future__ import annotations

from collections.abc import Iterator

from sterna.model.errors import Refused
from sterna.model.units import GIB, MIB

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
MOST_PARTS = 10_000
LEAST_PART = 5 * MIB
LARGEST_PART = 5 * GIB
LARGEST_OBJECT = 50 * 10**12

# Small parts spread over connections and are cheap to send again; large ones need fewer requests. Up to and with the
# size on the left, parts have the size on the right; above the last, 64 MiB, and more where 10,000 would not do.
_STEPS = ((GIB, 8 * MIB), (10 * GIB, 16 * MIB), (50 * GIB, 32 * MIB))
_LAST_STEP = 64 * MIB


def part_size(size: int, wanted: int | None = None) -> int:
    """Bytes of each part but the last of an object of ``size`` bytes; raises Refused above S3's limits.

    ``wanted`` (``--part-size``) is raised where it is below S3's least or would need more than 10,000 parts. Sizes
    are whole MiB, so that another run finds the same ones.
    """
    if size > LARGEST_OBJECT:
        raise Refused(f"An object of {size} bytes is larger than the 50 TB that S3 takes.")
    chosen = wanted
    if chosen is None:
        chosen = next((part for limit, part in _STEPS if size <= limit), _LAST_STEP)
    least = -(-size // MOST_PARTS)
    chosen = max(chosen, LEAST_PART, -(-least // MIB) * MIB)
    return min(chosen, LARGEST_PART)


# A range is no part: nothing remembers it, and it is written as it comes, so it may be long. Each costs a request, and
# half a millisecond of turning round in which its connection is idle.
_RANGES = 16  # of an object at least, so that many connections can have a share in it
_LONGEST_RANGE = 64 * MIB


def range_size(size: int, wanted: int | None = None) -> int:
    """Bytes of each range but the last in which an object of ``size`` bytes is downloaded."""
    if wanted is not None:
        return part_size(size, wanted)
    return min(_LONGEST_RANGE, max(8 * MIB, -(-size // (_RANGES * MIB)) * MIB))


# Nothing of a copy on the server comes through here, and each part is a request that is paid for: 5 GiB in 20.
_COPIED = 256 * MIB


def copied_part_size(size: int, wanted: int | None = None) -> int:
    """As ``part_size``, for an object that the server copies by itself."""
    return part_size(size, wanted or _COPIED)


def parts(size: int, each: int) -> Iterator[tuple[int, int, int]]:
    """Number (from 1), first byte and length of each part."""
    for number, start in enumerate(range(0, size, each), 1):
        yield number, start, min(each, size - start)


def stream_part_size(sent: int) -> int:
    """The size of the next part of a stream of unknown length, after ``sent`` bytes.

    It grows with what has been sent: 8 MiB at first, then a six-hundredth of what is sent, rounded up to 8 MiB (600
    parts a factor of e). So 10,000 parts reach 34 TB. To reach 50 TB a stream would have to grow six times as fast,
    and each part is held in memory: at 50 GB half a gigabyte each. Whoever streams more gives ``--part-size``.
    """
    return min(LARGEST_PART, max(8 * MIB, -(-sent // 600 // (8 * MIB)) * 8 * MIB))
