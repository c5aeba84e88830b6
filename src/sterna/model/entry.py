"""What a listing says of one key."""

from __future__ import annotations

import msgspec


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One key as a listing or a look showed it.

    ``key`` is relative to the location's prefix or folder, ``/``-separated, never empty, compared by code point
    (which is the order of its UTF-8 bytes). ``mtime_ns`` is the file's modification time; for an object it is
    LastModified, the time at which the server finished storing it. ``etag`` is opaque, without quotes, empty for files.
    ``version`` is the id of this version of an object where that is known; ordinary listings do not tell it.
    """

    key: str
    size: int
    mtime_ns: int
    etag: str = ""
    storage_class: str = ""
    version: str = ""

    @property
    def is_directory_marker(self) -> bool:
        """A key that ends in a slash: other tools write empty ones to stand for a folder."""
        return self.key.endswith("/")


class Trouble(msgspec.Struct, frozen=True, gc=False):
    """A name that a listing met and cannot carry: unreadable, special, not UTF-8. It is named, never dropped.

    ``subtree`` says that everything below ``key`` is unknown too (a folder that could not be read).
    ``skipped`` marks what is left out by rule (a socket, a symbolic link) and therefore is no failure.
    """

    key: str
    reason: str
    subtree: bool = False
    skipped: bool = False
