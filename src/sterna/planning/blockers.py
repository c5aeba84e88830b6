"""Find files that only the destination has and that stand where a folder is needed, while pairs pass by in order."""

from __future__ import annotations

from collections.abc import Sequence

from sterna.model.entry import Entry
from sterna.planning.merge import Pair

_MOST = 100_000  # that are remembered; beyond, what they are in the way of fails, and names them


class Blockers:
    """``found`` has the entries by their keys: ``a`` of the destination alone, where the source has ``a/b``.

    Between the two come ``a-x`` and ``a.x``, so what may still be found is a chain of keys, each the beginning of the
    next: memory does not grow with the number of keys, only with that of blockers.
    """

    def __init__(self, most: int = _MOST) -> None:
        self.found: dict[str, Entry] = {}
        self._most = most
        self._open: list[Entry] = []

    def __repr__(self) -> str:
        return f"<Blockers {len(self.found)} found, {len(self._open)} open>"

    def see(self, page: Sequence[Pair]) -> None:
        """The next pairs."""
        for source, target in page:
            if self._open:
                self._follow(source, target)
            if source is None and target is not None and target.key[-1] != "/":
                self._open.append(target)

    def _follow(self, source: Entry | None, target: Entry | None) -> None:
        """A key has come: what it does not begin with, up to a slash at most, no folder can need any more."""
        entry = source if source is not None else target
        assert entry is not None, "a pair of nothing"
        key, still_open = entry.key, []
        for one in self._open:
            end = len(one.key)
            following = key[end : end + 1]
            if not key.startswith(one.key) or following > "/":
                continue
            if following == "/" and source is not None:
                if len(self.found) < self._most:
                    self.found[one.key] = one
            else:
                still_open.append(one)
        self._open = still_open

    def above(self, key: str) -> list[Entry]:
        """Those in the way of a key, the outermost first."""
        entries = []
        end = key.find("/")
        while end > 0:
            entry = self.found.get(key[:end])
            if entry is not None:
                entries.append(entry)
            end = key.find("/", end + 1)
        return entries
