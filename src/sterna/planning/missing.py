"""Find the keys of a list (``--files-from``) that no listing showed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from sterna.model.entry import Entry, Trouble
from sterna.planning.filters import Filter


class Missing:
    """The keys that a list names and the rules let pass, less those that were seen. It holds no more than the list."""

    def __init__(self, filters: Filter) -> None:
        self._listed = filters.listed or frozenset()
        self._unseen = set(filter(filters.takes_key, self._listed))

    def see(self, entries: Iterable[Entry], troubles: Sequence[Trouble] = ()) -> None:
        """These are there, or nobody can tell: what was met and cannot be carried is named already."""
        self._unseen.difference_update(entry.key for entry in entries)
        for trouble in troubles:
            name = trouble.raw or trouble.key
            self._unseen.discard(name)
            if trouble.subtree:
                folder = name.rstrip("/") + "/"
                self._unseen.difference_update([key for key in self._unseen if key.startswith(folder)])

    def keys(self) -> list[str]:
        """What was not seen, in order; without the folders of other keys of the list, which ``find`` lists too."""
        listed = sorted(self._listed) if self._unseen else []

        def is_folder(key: str) -> bool:
            below = key.rstrip("/") + "/"
            at = bisect_right(listed, below)
            return key == "." or (at < len(listed) and listed[at].startswith(below))

        return sorted(key for key in self._unseen if not is_folder(key))
