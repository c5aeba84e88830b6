"""Compare what two places have under each key, and say what is proved by what."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple

import msgspec

from sterna.model.entry import MD5_OF_NOTHING, Entry
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
"""Checksums of an object by name, such as ``CRC64NVME``: only equal names are compared. Names of those that depend on
more than the bytes end in ``?``: where such are equal the bytes are, and where they differ nothing is known."""

_NONE: Checksums = {}
_MD5 = re.compile(r"[0-9a-f]{32}(-[0-9]{1,5})?")  # what S3 makes of the content, and many servers after it

# aws s3 and boto3, the smallest, then what the SDKs, rclone and others take for large objects.
_USUAL_PARTS = tuple(mib << 20 for mib in (8, 5, 16, 64, 10, 15, 32, 50, 100, 128, 256, 512, 1024))


class Sum(NamedTuple):
    """A sum that a server shows of an object, and how it is made of the bytes.

    ``algorithm`` is S3's name, or MD5. ``parts``: it is the sum of the sums of so many parts; 0 where it is that of all
    bytes. Sums of parts need the lengths of the parts, which an object's head does not tell. ``is_etag``: written in
    hexadecimal digits, not in base64. ``name`` is for ``Checksums``.
    """

    name: str
    algorithm: str
    value: str
    parts: int = 0
    is_etag: bool = False

    @property
    def decides(self) -> bool:
        """Whether other bytes are proved where the sums differ, and not only equal ones where they are equal."""
        return not self.name.endswith("?")


def sums_shown(
    checksums: Checksums, etag: str, *, composite: bool = False, maybe_md5: bool = False, surely_md5: bool = False
) -> list[Sum]:
    """What tells whether some bytes are an object's, the best first: checksums in the order given, then its ETag.

    ``checksums`` are those of an object's head, base64, with ``-parts`` at the end where they are ``composite``: some
    servers leave that off, and such a sum is of no use. ``maybe_md5``: nothing (as its encryption) speaks against the
    ETag being an MD5 where it has the form of one; ``surely_md5``: this server was seen to make it so of whole objects.
    An ETag that is not *known* to be an MD5 never tells that bytes differ: some servers make up what they like (H14).
    """
    shown: list[Sum] = []
    for algorithm, value in checksums.items():
        bare, hyphen, count = value.rpartition("-")
        if hyphen and bare and re.fullmatch("0*[1-9][0-9]{0,5}", count):
            shown.append(Sum(f"{algorithm} of {count} parts?", algorithm, value, int(count)))
        elif not composite:
            shown.append(Sum(algorithm, algorithm, value))
    etag = etag.lower()
    if maybe_md5 and etag != MD5_OF_NOTHING and (match := _MD5.fullmatch(etag)) is not None:
        count = (match[1] or "").removeprefix("-")
        if count and int(count):
            shown.append(Sum(f"MD5 of {count} parts?", "MD5", etag, int(count), is_etag=True))
        elif not count:
            shown.append(Sum("MD5" if surely_md5 else "MD5?", "MD5", etag, is_etag=True))
    return shown


def even_cut(size: int, first: int, parts: int) -> list[int] | None:
    """The lengths of the parts of an object whose first has ``first`` bytes, if all but the last are as long; None where
    so many parts of that length would not make it up."""
    if parts == 1:
        return [size] if first == size else None
    if first <= 0 or not (parts - 1) * first < size <= parts * first:
        return None
    return [first] * (parts - 1) + [size - (parts - 1) * first]


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
        return self.counted(self.judged(left, right, left_sums, right_sums))

    def counted(self, finding: Finding) -> Finding:
        """Count what was found out elsewhere, and give it back."""
        self.counts[finding.verdict] += 1
        if finding.verdict is Verdict.EQUAL and finding.left is not None:
            self.equal_bytes += finding.left.size
        return finding

    def judged(
        self, left: Entry | None, right: Entry | None, left_sums: Checksums = _NONE, right_sums: Checksums = _NONE
    ) -> Finding:
        """``judge`` without counting."""
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
    same = []
    for name in left_sums:
        if name not in right_sums:
            continue
        if left_sums[name] == right_sums[name]:
            same.append(name.removesuffix("?"))
        elif not name.endswith("?"):
            return Verdict.DIFFERENT, f"{name} differs: {left_sums[name]} left, {right_sums[name]} right"
    if same:
        return Verdict.EQUAL, f"same size and {', '.join(same)}"
    if left.size == 0:
        return Verdict.EQUAL, "both are empty"
    if left.etag == right.etag and left.etag != MD5_OF_NOTHING and _MD5.fullmatch(left.etag):
        return Verdict.EQUAL, "same size and ETag"
    return Verdict.UNKNOWN, "same size, and no checksum that both sides have"


def likely_cuts(size: int, parts: int, own: int) -> list[list[int]]:
    """How an object of so many parts was probably cut, where its server does not tell: as Sterna does by default, into
    parts of ``own`` bytes, or as other programs do; at most three ways."""
    cuts: list[list[int]] = []
    for length in (own, *_USUAL_PARTS):
        cut = even_cut(size, length, parts)
        if cut is not None and cut not in cuts:
            cuts.append(cut)
    return cuts[:3]
