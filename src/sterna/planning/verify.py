"""Compare what two places have under each key, and say what is proved by what."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum

import msgspec

from sterna.model.entry import Entry
from sterna.planning.merge import Pair
from sterna.planning.unknown import Unknown


class Verdict(str, Enum):
    """What is known of one key in two places."""

    EQUAL = "equal"
    DIFFERENT = "different"
    ONLY_LEFT = "only left"
    ONLY_RIGHT = "only right"
    UNKNOWN = "unknown"


class Finding(msgspec.Struct, frozen=True, gc=False):
    """One key, what is known of it, and by what."""

    verdict: Verdict
    key: str
    because: str
    left: Entry | None = None
    right: Entry | None = None


Checksums = Mapping[str, str]
"""Checksums of an object by name, such as ``CRC64NVME``. One that is made of parts needs a name of its own that tells so
and how they were cut: only equal names are compared."""

_NONE: Checksums = {}
_MD5 = re.compile(r"[0-9a-f]{32}(-[0-9]{1,5})?")  # what S3 makes of the content, and many servers after it


class Comparison:
    """Compares pairs, and counts the findings.

    ``left`` and ``right`` are what the listings could not tell: a key that is missing below such a name is unknown, not
    missing. With ``sizes_suffice`` two entries of one size are equal unless something says otherwise.
    """

    def __init__(
        self, left: Unknown | None = None, right: Unknown | None = None, *, sizes_suffice: bool = False
    ) -> None:
        self._left = Unknown() if left is None else left
        self._right = Unknown() if right is None else right
        self._sizes_suffice = sizes_suffice
        self.counts = dict.fromkeys(Verdict, 0)
        self.equal_bytes = 0

    def __repr__(self) -> str:
        return f"<Comparison {', '.join(f'{count} {verdict.value}' for verdict, count in self.counts.items())}>"

    @property
    def is_equal(self) -> bool:
        """All is equal, nothing is unknown, and what could not be listed was left out by rule."""
        different = sum(self.counts.values()) - self.counts[Verdict.EQUAL]
        return not different and not self._left.failed and not self._right.failed

    def add(self, pairs: Sequence[Pair]) -> list[Finding]:
        """Judge a page of pairs by what their listings say."""
        return [self.judge(left, right) for left, right in pairs if left is not None or right is not None]

    def judge(
        self, left: Entry | None, right: Entry | None, left_sums: Checksums = _NONE, right_sums: Checksums = _NONE
    ) -> Finding:
        """Judge one pair, with what checksums there are. At least one of the two must be there."""
        finding = self._judged(left, right, left_sums, right_sums)
        self.counts[finding.verdict] += 1
        if finding.verdict is Verdict.EQUAL and left is not None:
            self.equal_bytes += left.size
        return finding

    def _judged(self, left: Entry | None, right: Entry | None, left_sums: Checksums, right_sums: Checksums) -> Finding:
        if left is not None and right is not None:
            verdict, because = compared(left, right, left_sums, right_sums)
            if verdict is Verdict.UNKNOWN and self._sizes_suffice:
                verdict, because = Verdict.EQUAL, "same size; the bytes were not compared"
            return Finding(verdict, left.key, because, left, right)
        if left is not None:
            if self._right.covers(left.key):
                return Finding(Verdict.UNKNOWN, left.key, "the right side could not be listed here", left)
            return Finding(Verdict.ONLY_LEFT, left.key, "the right side does not have it", left)
        if right is None:
            raise ValueError("a pair of nothing")
        if self._left.covers(right.key):
            return Finding(Verdict.UNKNOWN, right.key, "the left side could not be listed here", None, right)
        return Finding(Verdict.ONLY_RIGHT, right.key, "the left side does not have it", None, right)


def compared(left: Entry, right: Entry, left_sums: Checksums, right_sums: Checksums) -> tuple[Verdict, str]:
    """What two entries of one key are to each other, and by what that is known.

    Sizes, then checksums of the same name, then ETags that have the form of an MD5: equal ones mean equal bytes, other
    ones mean nothing, since how an object was cut and encrypted changes them, too.
    """
    if left.size != right.size:
        return Verdict.DIFFERENT, f"the sizes differ: {left.size} left, {right.size} right"
    common = [name for name in left_sums if name in right_sums]
    for name in common:
        if left_sums[name] != right_sums[name]:
            return Verdict.DIFFERENT, f"{name} differs: {left_sums[name]} left, {right_sums[name]} right"
    if common:
        return Verdict.EQUAL, f"same size and {', '.join(common)}"
    if left.size == 0:
        return Verdict.EQUAL, "both are empty"
    if left.etag and left.etag == right.etag and _MD5.fullmatch(left.etag):
        return Verdict.EQUAL, "same size and ETag"
    return Verdict.UNKNOWN, "same size, and no checksum that both sides have"
