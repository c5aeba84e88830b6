"""Boil a stream of actions down to a page: groups, the largest, the deletions."""

from __future__ import annotations

import heapq
import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import Generic, TypeVar

from sterna.model.actions import Action, Verb
from sterna.model.plans import Group, PlanSummary
from sterna.model.units import GIB, KIB, MIB, TIB

_FOLDERS = 200
_REASONS = 50
_LARGEST = 10
_SIZES = (0, 1, 4 * KIB, 64 * KIB, MIB, 8 * MIB, 100 * MIB, GIB, 10 * GIB, 100 * GIB, TIB)
_NUMBERS = re.compile(r"\b[0-9]+\b")  # and not what belongs to a name, CRC32C for one

K = TypeVar("K", str, int)


class Groups(Generic[K]):
    """Counts by name for as many names as there are, and keeps the ``most`` largest of them; the rest is ``other``.

    Nothing is lost: the groups and ``other`` sum to what was added. Where there are more than twice ``most`` names, a
    name that was small for long and is added to again may have some of its actions in ``other``.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._groups: dict[K, Group] = {}
        self.other = Group()

    def add(self, name: K, size: int) -> None:
        """One more action of this name."""
        group = self._groups.get(name)
        if group is None:
            if len(self._groups) >= 2 * self._most:
                self._cut()
            group = self._groups[name] = Group()
        group.actions += 1
        group.bytes += size

    def largest(self) -> dict[K, Group]:
        """The groups by bytes, then by actions, the largest first."""
        self._cut()
        return dict(self._ordered())

    def _ordered(self) -> list[tuple[K, Group]]:
        return sorted(self._groups.items(), key=lambda item: (-item[1].bytes, -item[1].actions, item[0]))

    def _cut(self) -> None:
        for name, group in self._ordered()[self._most :]:
            self.other.actions += group.actions
            self.other.bytes += group.bytes
            del self._groups[name]


class Largest:
    """The largest of a stream of actions; of equal ones the first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._heap: list[tuple[int, int, Action]] = []
        self._number = 0

    def add(self, size: int, action: Action) -> None:
        """Keep the action if it is among the largest so far."""
        self._number -= 1
        if len(self._heap) < self._most:
            heapq.heappush(self._heap, (size, self._number, action))
        elif self._heap and size > self._heap[0][0]:
            heapq.heapreplace(self._heap, (size, self._number, action))

    def largest(self) -> list[Action]:
        """The largest first."""
        return [action for _, _, action in sorted(self._heap, key=lambda item: (-item[0], -item[1]))]


class Summarizer:
    """Takes a plan page by page and gives its summary; memory does not grow with the plan.

    The size of a deletion is that of what is deleted, of everything else that of its source.
    """

    def __init__(self, *, folders: int = _FOLDERS, reasons: int = _REASONS, largest: int = _LARGEST) -> None:
        self._verbs: Groups[str] = Groups(len(Verb))
        self._reasons: Groups[str] = Groups(reasons)
        self._folders: Groups[str] = Groups(folders)
        self._sizes: Groups[int] = Groups(len(_SIZES))
        self._largest = Largest(largest)
        self._largest_deletions = Largest(largest)
        self._first_deletions: list[Action] = []
        self._most = largest

    def add(self, actions: Sequence[Action]) -> None:
        """Take a page."""
        because = words = name = ""
        said_of: Verb | None = None
        for action in actions:
            if action.verb is Verb.DELETE:
                size = action.target.size if action.target is not None else 0
                self._largest_deletions.add(size, action)
                if len(self._first_deletions) < self._most:
                    self._first_deletions.append(action)
            else:
                size = action.size
                if action.verb is not Verb.KEEP and action.verb is not Verb.REFUSE:
                    self._largest.add(size, action)
            verb = action.verb
            if action.because is not because or verb is not said_of:  # most have the very text of the one before
                because, said_of, words, name = action.because, verb, reason(action), verb.value
            self._verbs.add(name, size)
            self._reasons.add(words, size)
            folder, slash, _ = action.key.partition("/")
            self._folders.add(folder + slash if slash else "", size)
            self._sizes.add(_SIZES[bisect_right(_SIZES, size) - 1], size)

    def summary(self) -> PlanSummary:
        """What was added so far."""
        reasons, folders = self._reasons.largest(), self._folders.largest()
        return PlanSummary(
            verbs=self._verbs.largest(),
            reasons=reasons,
            other_reasons=self._reasons.other,
            folders=folders,
            other_folders=self._folders.other,
            sizes=dict(sorted(self._sizes.largest().items(), reverse=True)),
            largest=self._largest.largest(),
            largest_deletions=self._largest_deletions.largest(),
            first_deletions=self._first_deletions,
        )


def reason(action: Action) -> str:
    """The kind of an action's reason: what stands before its details, which are other ones for every key."""
    if action.verb is Verb.REFUSE:
        return "this key cannot be carried"
    return _NUMBERS.sub("…", action.because.partition(":")[0])
