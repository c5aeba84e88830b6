"""What a listing says of one key."""

from __future__ import annotations

import msgspec

MD5_OF_NOTHING = "d41d8cd98f00b204e9800998ecf8427e"  # the ETag of every object on a server that computes none


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One key as a listing or a look showed it.

    ``key`` is relative to the location's prefix or folder, ``/``-separated, never empty, compared by code point
    (which is the order of its UTF-8 bytes). ``mtime_ns`` is the file's modification time; for an object it is
    LastModified, the time at which the server finished storing it. ``etag`` is opaque, without quotes, empty for files.
    ``version`` is the id of this version of an object where that is known; ordinary listings do not tell it.
    ``ctime_ns`` and ``inode`` are a file's, where they were asked for: they change when it is written to or replaced,
    also where its size and its time are set back.
    """

    key: str
    size: int
    mtime_ns: int
    etag: str = ""
    storage_class: str = ""
    version: str = ""
    ctime_ns: int = 0
    inode: int = 0

    @property
    def is_directory_marker(self) -> bool:
        """A key that ends in a slash: other tools write empty ones to stand for a folder."""
        return self.key.endswith("/")


class Trouble(msgspec.Struct, frozen=True, gc=False):
    """A name that a listing met and cannot carry: unreadable, special, not UTF-8. It is named, never dropped.

    ``subtree`` says that everything below ``key`` is unknown too: a folder that could not be read, its key ends in a
    slash; or a link, of which nobody knows whether it stands for a folder or for a file.
    ``skipped`` marks what is left out by rule (a socket, a symbolic link) and therefore is no failure.
    ``raw`` is the name itself where ``key`` can only show it: its bytes that are no UTF-8 stand as lone surrogates.
    """

    key: str
    reason: str
    subtree: bool = False
    skipped: bool = False
    raw: str = ""
