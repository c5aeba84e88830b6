"""Decide by what earlier runs saw whether two sides are still the same: no I/O, no clock."""

from __future__ import annotations

import enum
from collections.abc import Mapping

from sterna.model.entry import Entry
from sterna.model.synced import Seen, Synced


class Same(enum.Enum):
    """What stands for a row that was compared already: both sides are as they were. GUESSED: as they were when their sizes
    and times agreed, and nobody compared more."""

    SAME = enum.auto()
    GUESSED = enum.auto()


SAME, GUESSED = Same.SAME, Same.GUESSED


class AllSame(dict[str, Synced | Same]):
    """Of a page of which each key is as it was."""


Known = Mapping[str, Synced | Same]
"""What the last-synced tree has of the keys of a page: nothing, a row, or that it is as it was."""

OTHER_TIME = "the file has another time than when it was last synced"
"""Then the time that the object keeps may say that the file was edited, before anything is read."""


def judged(source: Entry, target: Entry, row: Synced | Same | None) -> str | None:
    """Hold a pair of one size against what both sides had when they were last the same.

    Empty where both still are that version. A sentence where one is not, though its size is the same: only the content
    tells; so it does of a file that may not have been on disk before the machine went down. None where nothing is known: of
    this key, or of an object whose server told no ETag.
    """
    if isinstance(row, Same):
        return ""
    if row is None or row.source is None or row.target is None:
        return None
    if not row.is_sure:
        return "the machine went down after the file was written, and nobody waited for it to be on disk"
    one = _version(source, row.source)
    if one is None:
        return None
    other = _version(target, row.target)
    return None if other is None else one or other


def is_proved(row: Synced | Same | None) -> bool:
    """Whether what the tree has of a key rests on more than sizes and times."""
    if isinstance(row, Synced):
        return row.target is not None and not row.target.is_guess
    return row is SAME


def _version(entry: Entry, seen: Seen) -> str | None:
    if entry.size != seen.size:
        return None
    if entry.etag:
        if not seen.etag:
            return None
        return "" if entry.etag == seen.etag else "the object was replaced since it was last synced"
    if entry.mtime_ns != seen.mtime_ns:
        return OTHER_TIME
    if not entry.ctime_ns:
        return None
    if not seen.ctime_ns:
        return "the file was last changed in the moment in which it was read"
    if entry.ctime_ns != seen.ctime_ns or entry.inode != seen.inode:
        return "something of the file was changed since it was last synced, though it has its size and time"
    return ""
