"""Find what only the destination has and what stands in the way of the source, while pairs pass by in order."""

from __future__ import annotations

from collections.abc import Sequence

from sterna.model.entry import Entry
from sterna.planning.merge import Pair

_MOST = 100_000  # that are remembered; beyond, what they are in the way of fails, and names them


class Blockers:
    """``found`` has the entries by their keys: ``a`` of the destination alone, where the source has ``a/b``. ``below`` has
    those of a folder: of ``a/b`` and ``a/c`` by ``a``, which the source alone has, and nothing below it.

    Between the two come ``a-x`` and ``a.x``, so what may still be found is a chain of keys, each the beginning of the
    next: memory does not grow with the number of keys, only with that of blockers.
    """

    def __init__(self, most: int = _MOST) -> None:
        self.found: dict[str, Entry] = {}
        self.below: dict[str, list[Entry]] = {}
        self._most = most
        self._left = most  # of entries below
        self._open: list[Entry] = []
        self._wanted: list[str] = []  # keys of the source alone, where a folder may still come

    def __repr__(self) -> str:
        return f"<Blockers {len(self.found)} found, {len(self._open)} open>"

    def see(self, page: Sequence[Pair]) -> None:
        """The next pairs."""
        for source, target in page:
            if self._open:
                self._follow(source, target)
            if self._wanted:
                self._follow_wanted(source, target)
            if target is None and source is not None and source.key[-1] != "/":
                self._wanted.append(source.key)
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

    def _follow_wanted(self, source: Entry | None, target: Entry | None) -> None:
        """The same of files that the source alone has; one with something below it at the source can be nowhere."""
        entry = source if source is not None else target
        assert entry is not None, "a pair of nothing"
        key, still_open = entry.key, []
        for wanted in self._wanted:
            following = key[len(wanted) : len(wanted) + 1]
            if not key.startswith(wanted) or following > "/":
                continue
            if following == "/":
                if source is not None or not self._left:
                    self._left += len(self.below.pop(wanted, ()))
                    continue
                self.below.setdefault(wanted, []).append(entry)
                self._left -= 1
            still_open.append(wanted)
        self._wanted = still_open

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
