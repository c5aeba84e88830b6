"""What was seen of one key on both sides when they were the same."""

from __future__ import annotations

import msgspec

from sterna.model.entry import Entry


class Seen(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What was seen of one key on one side. What a side does not have stays empty: a file has no ETag, an object no inode.

    The journal keeps it as a packed array: members may be added at the end, with a default, and never leave or change
    places.
    """

    size: int
    mtime_ns: int = 0
    etag: str = ""
    checksum: str = ""  # NAME:value
    version: str = ""
    ctime_ns: int = 0
    inode: int = 0
    device: int = 0
    sha256: str = ""  # hexadecimal, where a manifest asked for it
    is_guess: bool = False  # of the target: size and time agreed, and nobody has compared the contents

    @classmethod
    def of(cls, entry: Entry, now_ns: int | None = None, *, is_guess: bool = False) -> Seen:
        """What a listing or a look said. ``now_ns``: when; then a file that was just changed is kept as ``calm`` says."""
        ctime_ns = entry.ctime_ns if now_ns is None else calm(entry.ctime_ns, now_ns)
        size, mtime_ns, inode = entry.size, entry.mtime_ns, entry.inode
        return cls(size, mtime_ns, entry.etag, "", entry.version, ctime_ns, inode, is_guess=is_guess)


class Synced(msgspec.Struct, frozen=True, gc=False):
    """One key of the last-synced tree: what both sides had when they were last seen to be the same.

    ``run`` is the number of the run that saw it, filled in by the journal. ``is_sure`` is False where a power cut may have
    taken the file since: it was not flushed (``--no-fsync``), and the machine has been started anew.
    """

    key: str
    source: Seen | None
    target: Seen | None
    run: int = 0
    is_sure: bool = True


_TICK_NS = 20_000_000  # times of files tick in steps of up to 10 ms
_COARSE_NS = 2_000_000_000  # and in whole seconds, FAT's in two, where they have no fraction


def calm(ctime_ns: int, seen_ns: int) -> int:
    """The ctime of a file that was looked at or read at ``seen_ns``; 0 where it was changed in the tick before that.

    It may be changed again in that tick, and show the same times. Kept without its ctime, it is compared by its content in
    the next run.
    """
    tick_ns = _COARSE_NS if ctime_ns % 1_000_000_000 == 0 else _TICK_NS
    return ctime_ns if ctime_ns < seen_ns - tick_ns else 0


def mark(source: Seen | Entry, target: Seen | Entry) -> bytes:
    """All by which a pair of one size is known to be what it was, in a few bytes to compare: of a file size, time, ctime
    and inode, of an object size and ETag. Empty where one of these is not known: then it is like nothing.

    0.2 µs, where reading both sides of a row takes 1.2.
    """
    if source.etag:
        if target.etag:
            return _pack((source.size, source.etag, target.etag))
        source, target = target, source
    if not (source.ctime_ns and target.etag):
        return b""
    return _pack((source.size, source.mtime_ns, source.ctime_ns, source.inode, target.etag))


GUESSED = b"~"
"""Stands before the mark of a pair of which only size and time were seen to agree."""

_pack = msgspec.msgpack.Encoder().encode
