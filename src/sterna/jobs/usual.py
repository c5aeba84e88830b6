"""What is usual between two places, as the guards of a deleting run want to know it, run after run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import msgspec

from sterna.model.location import LocalPath, Location
from sterna.planning.guard import Remembered
from sterna.stores.local import LocalStore
from sterna.stores.store import Store

_COUNTS = 16  # of so many filters the counts are kept


class Usual(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the runs between two places have shown, from the last one that could delete and went well.

    ``counts`` is the most that the source had since then, by the fingerprint of the filters that let so much pass; those
    of the last few. ``filters`` are those of the run that could delete. The file systems are those under the two folders,
    and ``mounts`` what is mounted below them, each by its place and its number. ``is_lost``: there was a journal, and it
    was damaged; it stays lost until a run was allowed to delete all the same.
    """

    counts: Mapping[str, int] = msgspec.field(default_factory=dict)
    filters: str | None = None
    source_at: str | None = None
    target_at: str | None = None
    mounts: Mapping[str, str] = msgspec.field(default_factory=dict)
    is_lost: bool = False

    @classmethod
    def read(cls, kept: str) -> Usual:
        """As it was kept. What cannot be read is lost: the guards then know that they know nothing."""
        try:
            return msgspec.json.decode(kept, type=cls) if kept else cls()
        except msgspec.MsgspecError:
            return cls(is_lost=True)

    def remembered(self, filters: str) -> Remembered:
        """What the guards ask, for a run with these filters. Counts of other filters say nothing."""
        return Remembered(
            source_entries=self.counts.get(filters),
            source_file_system=self.source_at,
            target_file_system=self.target_at,
            filters=self.filters,
            mounts=self.mounts,
            is_lost=self.is_lost,
        )

    def after(self, seen: Usual, entries: int, *, could_delete: bool) -> Usual:
        """What is usual after a run that listed both sides to their end and ended well; ``seen`` is what it saw itself,
        and ``entries`` how many the source had.

        One that could delete, and that the guards let pass, sets the measure. One that could not only raises it: it must
        not make the next one forget what is missing (H75).
        """
        filters = seen.filters or ""
        before = 0 if could_delete else self.counts.get(filters, 0)
        others = [(name, count) for name, count in self.counts.items() if name != filters]
        counts = dict([*others[1 - _COUNTS :], (filters, max(before, entries))])
        if could_delete:
            return msgspec.structs.replace(seen, counts=counts)
        if self.filters not in (None, filters):
            return msgspec.structs.replace(self, counts=counts)
        return Usual(
            counts=counts,
            filters=self.filters,
            source_at=self.source_at or seen.source_at,
            target_at=self.target_at or seen.target_at,
            mounts={**seen.mounts, **self.mounts},
            is_lost=self.is_lost,
        )


def places_now(ends: Sequence[Location], stores: Sequence[Store], *, one_file_system: bool) -> Usual:
    """The file systems under the folders of a run, and, unless it keeps to ``one_file_system``, what is mounted below."""
    numbers: list[str | None] = []
    mounts: dict[str, str] = {}
    for location, store in zip(ends, stores, strict=True):
        numbers.append(file_system(store) if isinstance(store, LocalStore) else None)
        if isinstance(store, LocalStore) and isinstance(location, LocalPath) and not one_file_system:
            mounts |= mounts_below(os.path.realpath(location.path))
    return Usual(source_at=numbers[0], target_at=numbers[1], mounts=mounts)


def file_system(folder: LocalStore) -> str | None:
    """What a file system is known by, also after it was mounted again; None where it has no such number (NFS)."""
    return _number(str(folder.folder.path))


def mounts_below(root: str, table: str = "/proc/self/mountinfo") -> dict[str, str]:
    """What is mounted below a folder, by its path (proc(5)); empty where the system does not tell."""
    found = {}
    try:
        with open(table, encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                path = _unescaped(line.split(" ", 5)[4])
                if path.startswith(root.rstrip("/") + "/"):
                    found[path] = _number(path) or ""
    except (OSError, IndexError):
        return {}
    return found


def _number(path: str) -> str | None:
    try:
        number = os.statvfs(path).f_fsid
    except OSError:
        return None
    return f"{number:x}" if number else None


def _unescaped(path: str) -> str:
    for code, character in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
        path = path.replace(code, character)
    return path
