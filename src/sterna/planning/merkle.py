"""Sum lines into one Merkle root, and prove of a single line that it is below that root."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

# RFC 6962, section 2.1: leaves and nodes begin otherwise, so that no node can be passed off as a line.
_LEAF, _NODE = b"\0", b"\1"


class Merkle:
    """The Merkle tree of lines that are given one after the other, by RFC 6962 with SHA-256.

    Memory is that of one hash for each doubling of their number: it holds the roots of the whole subtrees to the left.
    """

    def __init__(self) -> None:
        self.size = 0
        self._whole: list[bytes] = []

    def __repr__(self) -> str:
        return f"<Merkle of {self.size} lines, {self.root.hex()[:16]}…>"

    def add(self, line: bytes) -> None:
        """One more line, without its end."""
        self._put(leaf(line))

    def _put(self, node: bytes) -> None:
        below, whole = self.size, self._whole
        while below & 1:
            node = _joined(whole.pop(), node)
            below >>= 1
        whole.append(node)
        self.size += 1

    @property
    def root(self) -> bytes:
        """The root of what was given so far; the hash of nothing where that is nothing."""
        if not self._whole:
            return sha256().digest()
        node = self._whole[-1]
        for left in reversed(self._whole[:-1]):
            node = _joined(left, node)
        return node


def leaf(line: bytes) -> bytes:
    """The hash of one line, as it stands in the tree."""
    return sha256(_LEAF + line).digest()


def proof(lines: Iterable[bytes], number: int, count: int) -> list[bytes]:
    """What has to be known beside line ``number`` (from 0) to compute the root of ``count`` lines: the audit path of
    RFC 6962, from the leaf up. One pass, in little memory. Raises ValueError where there are not as many lines.
    """
    if not 0 <= number < count:
        raise ValueError(f"there is no line {number} among {count}")
    trees = [(start, end, Merkle()) for start, end in _beside(number, count)]
    seen = 0
    for at, line in enumerate(lines):
        seen += 1
        for start, end, tree in trees:
            if start <= at < end:
                tree.add(line)
                break
    if seen != count:
        raise ValueError(f"there are {seen} lines, and not {count}")
    return [tree.root for _, _, tree in trees]


def root_by(line: bytes, number: int, count: int, path: Sequence[bytes]) -> bytes:
    """The root that a line and its proof lead to. Raises ValueError where the proof has another length than it must."""
    ranges = _beside(number, count) if 0 <= number < count else None
    if ranges is None or len(ranges) != len(path):
        raise ValueError(f"this is no proof for line {number} of {count}")
    node = leaf(line)
    for (start, _), other in zip(ranges, path, strict=True):
        node = _joined(node, other) if start > number else _joined(other, node)
    return node


def _beside(number: int, count: int) -> list[tuple[int, int]]:
    """The ranges of lines whose subtrees stand beside the way from a leaf to the root, from the leaf up."""
    start, end, ranges = 0, count, []
    while end - start > 1:
        middle = start + (1 << (end - start - 1).bit_length() - 1)  # the largest power of two that leaves something
        if number < middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    return ranges[::-1]


def _joined(left: bytes, right: bytes) -> bytes:
    return sha256(_NODE + left + right).digest()
