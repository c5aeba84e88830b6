"""Find the keys that a folder cannot hold, alone or beside another, while they pass by in order."""

from __future__ import annotations

from collections.abc import Callable

from sterna.model.entry import Entry
from sterna.model.units import printable


class Collisions:
    """Asked for every key of a bucket in key order, tells which cannot become files, and why.

    ``holds`` gives the reason why no file can have a key, or None. Keys that begin with an earlier key follow it without
    a gap, so a short stack of earlier keys finds ``a`` beside ``a/b`` in constant memory (H67): the first in order
    keeps the name.
    """

    def __init__(self, holds: Callable[[str], str | None]) -> None:
        self._holds = holds
        self._earlier: list[str] = []

    def refusal(self, entry: Entry) -> str | None:
        """Why this key is refused; None for most."""
        key = entry.key
        reason = self._holds(key)
        if reason is not None:
            return reason
        if key.endswith("/") and entry.size:
            return f"{printable(key)} ends in a slash and has {entry.size} bytes; a folder cannot hold them."
        earlier = self._earlier
        while earlier and not key.startswith(earlier[-1]):
            earlier.pop()
        for other in earlier:
            if key[len(other)] == "/":
                return f"{printable(key)} needs a folder where {printable(other)} is a file; rename one of the two."
        if not key.endswith("/"):
            earlier.append(key)
        return None
