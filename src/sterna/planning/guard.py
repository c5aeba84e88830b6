"""Refuse a deleting run that looks like an accident, and name what would allow it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path, PurePath

import msgspec

from sterna.model.errors import GuardRefused, WrongSetting
from sterna.model.location import BucketPath, LocalPath, Location
from sterna.model.units import printable
from sterna.planning.merge import Pair

# Each guard has a name, and an option that overrides it. They are asked at two moments: ``before_listing`` needs only
# what is known of the two places, so a refusal comes before anything has moved. ``before_deleting`` needs both listings
# to their end, for which a run that may delete holds back all that it would move: nothing moves before either.


class Guard(Enum):
    """The name of a guard, and the option that overrides it."""

    SAME_PLACE = "overlapping-roots", "--allow-overlap"
    WHOLE_MACHINE = "whole-machine", "--allow-whole-machine"
    OTHER_FILE_SYSTEM = "other-file-system", "--allow-other-file-system"
    CHANGED_FILTERS = "changed-filters", "--allow-changed-filters"
    LOST_JOURNAL = "lost-journal", "--allow-lost-journal"
    EMPTY_SOURCE = "empty-source", "--allow-empty-source"
    SHRUNKEN_SOURCE = "shrunken-source", "--allow-shrunken-source"
    SWAPPED = "swapped", "--allow-swapped"
    MAX_DELETE = "max-delete", "--max-delete"

    def __init__(self, label: str, option: str) -> None:
        self.label = label
        self.option = option


class Refusal(msgspec.Struct, frozen=True):
    """What a guard saw, what it refuses therefore, and what to add where it was meant."""

    guard: Guard
    saw: str
    refuses: str
    remedy: str

    @property
    def sentence(self) -> str:
        return f"{self.saw}. Refused: {self.refuses}; {self.remedy}."


class MaxDelete(msgspec.Struct, frozen=True):
    """How many entries of the destination one run may delete: a number, a share of them in hundredths of a percent, or,
    where both are given, the larger of the two. Neither is no limit.
    """

    most: int | None = None
    share: int | None = None

    def limit(self, entries: int) -> int | None:
        """The limit for a destination of so many entries; None is none."""
        share = None if self.share is None else entries * self.share // 10_000
        if self.most is None or share is None:
            return self.most if share is None else share
        return max(self.most, share)

    def __str__(self) -> str:
        share = (
            "" if self.share is None else f"{self.share // 100}.{self.share % 100:02d}".rstrip("0").rstrip(".") + "%"
        )
        if self.most is not None and share:
            return f"{self.most} or {share}, whichever is more"
        return share or ("none" if self.most is None else str(self.most))


# A hundred deletions are an ordinary day's; a tenth of a large destination is none (H82).
DEFAULT_MAX_DELETE = MaxDelete(100, 1_000)

_MAX_DELETE = r"([0-9]{1,18})(?:\.([0-9]{1,2}))?(%?)"


def parse_max_delete(text: str) -> MaxDelete:
    """Read ``500``, ``20%``, ``0.5%`` or ``none``; raises ValueError otherwise."""
    if text.strip().lower() == "none":
        return MaxDelete()
    match = re.fullmatch(_MAX_DELETE, text.strip())
    if match is None or (match[2] and not match[3]):
        raise ValueError(f"{text!r} is no limit of deletions; write a number, a share such as 20%, or none")
    if not match[3]:
        return MaxDelete(int(match[1]))
    share = int(match[1]) * 100 + int((match[2] or "").ljust(2, "0"))
    if share > 10_000:
        raise ValueError(f"{text!r} is more than all; write none for no limit")
    return MaxDelete(None, share)


class Allowed(msgspec.Struct, frozen=True):
    """The guards that the user overrides, and the limit that was given in place of the default."""

    guards: frozenset[Guard] = frozenset()
    max_delete: MaxDelete = DEFAULT_MAX_DELETE


class Remembered(msgspec.Struct, frozen=True):
    """What the last deleting run between these two places saw; None is what nobody knows.

    ``source_entries`` counts what passed the filters. A file system is told by whatever the caller takes for its
    identity: the device number, or better an id that survives a reboot.
    """

    source_entries: int | None = None
    source_file_system: str | None = None
    target_file_system: str | None = None
    filters: str | None = None
    mounts: Mapping[str, str] = msgspec.field(default_factory=dict)  # below the two folders: path and file system
    is_lost: bool = False  # there was a journal, and it was damaged: the other guards have nothing to go by


class Places(msgspec.Struct, frozen=True):
    """The two ends of a run as they are now. Local paths are absolute, with all symbolic links resolved (by the caller:
    nothing is looked at here), and so is ``home``.

    ``same_server`` is false where the two sides are different servers, so that equal bucket names mean nothing.
    """

    source: Location
    target: Location
    source_file_system: str | None = None
    target_file_system: str | None = None
    filters: str = ""
    mounts: Mapping[str, str] = msgspec.field(default_factory=dict)
    home: Path | None = None
    same_server: bool = True


class Counts(msgspec.Struct):
    """What the two listings have shown so far: plain numbers, raised page by page.

    ``folders`` are the keys of the source that end in a slash, which say nothing of there being anything in them.
    ``replaced`` are keys that both have in different sizes; ``replaced_newer`` are those of them whose target is newer.
    ``deletions`` is set from the count of the keys that may really be deleted.
    """

    source: int = 0
    target: int = 0
    folders: int = 0
    replaced: int = 0
    replaced_newer: int = 0
    deletions: int = 0

    def see(self, pairs: Sequence[Pair]) -> None:
        """Count a page of pairs."""
        left = right = replaced = newer = 0
        for source, target in pairs:
            if source is None:
                right += 1
            elif target is None:
                left += 1
            elif source.size != target.size:
                replaced += 1
                newer += target.mtime_ns > source.mtime_ns
        self.source += len(pairs) - right
        self.target += len(pairs) - left
        self.folders += sum(1 for source, _ in pairs if source is not None and source.key[-1] == "/")
        self.replaced += replaced
        self.replaced_newer += newer


def before_listing(places: Places, allowed: Allowed) -> list[Refusal]:
    """What speaks against a deleting run before anything was listed or moved."""
    found = []
    if (how := overlap(places)) is not None:
        found.append(
            _refusal(Guard.SAME_PLACE, f"{how}, so the run could delete what it reads, or copy it into itself")
        )
    if (what := _whole_machine(places)) is not None:
        found.append(_refusal(Guard.WHOLE_MACHINE, f"The destination is {what}"))
    return _not_allowed(found, allowed)


def changed_since(places: Places, remembered: Remembered, allowed: Allowed) -> list[Refusal]:
    """What speaks against a deleting run by what earlier runs saw, before this one lists anything."""
    found = other_file_systems(places, remembered)
    if remembered.is_lost:
        found.append(_refusal(Guard.LOST_JOURNAL, "What earlier runs saw is lost, so nothing tells what is unusual"))
    if remembered.filters is not None and remembered.filters != places.filters:
        saw = "The filters are others than at the last run that could delete: what they left out then could go now"
        found.append(_refusal(Guard.CHANGED_FILTERS, saw))
    return _not_allowed(found, allowed)


def other_file_systems(places: Places, remembered: Remembered) -> list[Refusal]:
    """Whether another file system is under a path than before: one that is not mounted, or another disk (H75)."""
    found = []
    for side, location, now, before in (
        ("source", places.source, places.source_file_system, remembered.source_file_system),
        ("destination", places.target, places.target_file_system, remembered.target_file_system),
    ):
        if before is not None and now is not None and now != before:
            saw = f"The {side} {printable(str(location))} is on another file system than at the last run"
            found.append(_refusal(Guard.OTHER_FILE_SYSTEM, f"{saw}: a disk may not be mounted, or be the wrong one"))
    for path, before in sorted(remembered.mounts.items()):
        if places.mounts.get(path) != before:
            saw = f"At the last run something was mounted at {printable(path)} that is not there now"
            found.append(_refusal(Guard.OTHER_FILE_SYSTEM, saw))
            break
    return found


def before_deleting(counts: Counts, remembered: Remembered, allowed: Allowed) -> list[Refusal]:
    """What speaks against the deletions once both sides are listed to their end. Where none are due, nothing does."""
    if not counts.deletions:
        return []
    found = []
    refused = _number(counts.deletions, "deletion")
    before = remembered.source_entries
    if counts.source <= counts.folders:
        saw = "The source is empty" if not counts.source else "The source has nothing but empty folders"
        found.append(_refusal(Guard.EMPTY_SOURCE, saw, refused))
    else:
        if before is not None and counts.source * 2 < before:
            saw = f"The source has {_number(counts.source, 'entry')}, and had {before} at the last run"
            found.append(_refusal(Guard.SHRUNKEN_SOURCE, saw, refused))
        if (why := swapped(counts)) is not None:
            found.append(_refusal(Guard.SWAPPED, f"{why}, as if the two were swapped", refused))
    limit = allowed.max_delete.limit(counts.target)
    if limit is not None and counts.deletions > limit:
        saw = f"{counts.deletions} of the destination's {_number(counts.target, 'entry')} would be deleted"
        saw += f", and at most {limit} may be ({allowed.max_delete})"
        remedy = f"if that is right, add --max-delete {counts.deletions}, or none"
        found.append(Refusal(Guard.MAX_DELETE, saw, refused, remedy))
    return _not_allowed(found, allowed)


_RICH = 100  # entries; below, a test folder synced once would be called rich
_NEARLY_EMPTY = 100  # times fewer than the destination has
_THROUGHOUT = 10  # replaced keys; fewer are no pattern


def swapped(counts: Counts) -> str | None:
    """Whether the two places look as if they were given in the wrong order, and why (H84). It may be asked early, too.

    The time of an object is that of its storing, so an object of the same content is nearly always newer than its file:
    only keys of different sizes say which of the two was changed last.
    """
    if counts.source and counts.target >= _RICH and counts.source * _NEARLY_EMPTY <= counts.target:
        return f"The destination has {counts.target} entries and the source {counts.source}"
    if counts.replaced >= _THROUGHOUT and counts.replaced_newer == counts.replaced:
        return f"All {counts.replaced} keys that differ in size are newer at the destination"
    return None


def overlap(places: Places) -> str | None:
    """How two buckets' prefixes share keys, in words; None where they do not (H83)."""
    source, target = places.source, places.target
    if not (isinstance(source, BucketPath) and isinstance(target, BucketPath)):
        return None
    if source.bucket != target.bucket or not places.same_server:
        return None
    relation = _relation(source.prefix, target.prefix)
    if relation is None:
        return None
    here, there = printable(str(source)), printable(str(target))
    if relation == 0:
        return f"Source and destination are one place, {here}"
    return (
        f"The destination {there} is inside the source"
        if relation > 0
        else f"The source {here} is inside the destination"
    )


def _relation(source: str, target: str) -> int | None:
    """0 where they are equal, 1 where the target is inside the source, -1 for the reverse, None where they are apart."""
    shared = min(len(source), len(target))
    if source[:shared] != target[:shared]:
        return None
    return (len(target) > len(source)) - (len(source) > len(target))


def _parts(path: PurePath) -> tuple[str, ...]:
    return PurePath(os.path.normcase(os.path.normpath(path))).parts


def _whole_machine(places: Places) -> str | None:
    """A destination that is a drive's root or somebody's home; deleting there is hardly ever meant (H84)."""
    target = places.target
    if not isinstance(target, LocalPath):
        return None
    parts = _parts(target.path)
    if len(parts) == 1 and PurePath(parts[0]).anchor:
        return f"the root {printable(str(target))} of a file system"
    if places.home is not None and parts == _parts(places.home)[: len(parts)]:
        same = len(parts) == len(_parts(places.home))
        return (
            f"the home folder {printable(str(target))}" if same else f"{printable(str(target))}, where home folders are"
        )
    return None


def refuse(refusals: Sequence[Refusal]) -> None:
    """Raise GuardRefused with all that the guards said, so that no second run is needed to hear the next; nothing if
    they said nothing.
    """
    if refusals:
        sentence = " ".join(refusal.sentence for refusal in refusals)
        raise GuardRefused(sentence, operation="delete", code=refusals[0].guard.label)


def allowed_by(options: Sequence[str], max_delete: str | None = None) -> Allowed:
    """What the user overrides, by the options that were given; raises WrongSetting for what is none of them."""
    by_option = {guard.option: guard for guard in Guard if guard is not Guard.MAX_DELETE}
    unknown = [option for option in options if option not in by_option]
    if unknown:
        raise WrongSetting(f"{printable(unknown[0])} overrides no guard; there are {', '.join(sorted(by_option))}.")
    try:
        limit = DEFAULT_MAX_DELETE if max_delete is None else parse_max_delete(max_delete)
    except ValueError as error:
        raise WrongSetting(f"--max-delete: {error}.") from error
    return Allowed(frozenset(by_option[option] for option in options), limit)


def _refusal(guard: Guard, saw: str, refuses: str = "to delete anything in this run") -> Refusal:
    return Refusal(guard, saw, refuses, f"if that is right, add {guard.option}")


def _not_allowed(found: list[Refusal], allowed: Allowed) -> list[Refusal]:
    return [refusal for refusal in found if refusal.guard not in allowed.guards]


def _number(count: int, noun: str) -> str:
    if count == 1:
        return f"1 {noun}"
    return f"{count} {noun[:-1]}ies" if noun.endswith("y") else f"{count} {noun}s"
