"""Decide for each pair what is to be done, and say why: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sterna.model.actions import Action, Verb
from sterna.model.entry import Entry
from sterna.planning.collide import Collisions
from sterna.planning.merge import Pair

_SECOND_NS = 1_000_000_000


class Plan(NamedTuple):
    """What a page of pairs comes to. Kept pairs are counted, not told: they may be a hundred million."""

    actions: list[Action]
    kept: int
    kept_bytes: int


def plan_uploads(pairs: Sequence[Pair], now_ns: int) -> Plan:
    """Upload what the bucket lacks, or has with another size, or has from before the file's last change.

    LastModified is when the object was stored, in whole seconds on many servers: of a file that was changed in the
    same second only a look at the object's own mtime tells whether that was before. A file that was changed later is
    newer; one whose time is later than ``now_ns`` says nothing by it (a clock was wrong when it was written), so its
    object is looked at too (H118).
    """
    actions: list[Action] = []
    kept = kept_bytes = 0
    for source, target in pairs:
        if source is None:
            continue
        if target is None:
            actions.append(Action(Verb.UPLOAD, source.key, "new", source))
        elif source.size != target.size:
            actions.append(Action(Verb.UPLOAD, source.key, _sizes(source, target), source, target))
        elif source.mtime_ns // _SECOND_NS < target.mtime_ns // _SECOND_NS:
            kept += 1
            kept_bytes += source.size
        elif source.mtime_ns > now_ns:
            actions.append(Action(Verb.LOOK, source.key, "the file's time lies in the future", source, target))
        elif source.mtime_ns // _SECOND_NS == target.mtime_ns // _SECOND_NS:
            actions.append(
                Action(Verb.LOOK, source.key, "changed in the second in which it was stored", source, target)
            )
        else:
            actions.append(Action(Verb.UPLOAD, source.key, "the file was changed after it was stored", source, target))
    return Plan(actions, kept, kept_bytes)


def plan_downloads(pairs: Sequence[Pair], collisions: Collisions) -> Plan:
    """Download what the folder lacks or has with another size; look at what has the same size and another time.

    A file that we downloaded has the time of the original, which stands in the object's metadata and in no listing.
    So where the file's time is not LastModified, only a look tells whether it is still the same object's.
    """
    actions: list[Action] = []
    kept = kept_bytes = 0
    for source, target in pairs:
        if source is None:
            continue
        if (why := collisions.refusal(source)) is not None:
            actions.append(Action(Verb.REFUSE, source.key, why, source, target))
        elif target is None:
            actions.append(Action(Verb.DOWNLOAD, source.key, "new", source))
        elif source.size != target.size:
            actions.append(Action(Verb.DOWNLOAD, source.key, _sizes(source, target), source, target))
        elif source.mtime_ns // _SECOND_NS == target.mtime_ns // _SECOND_NS:
            kept += 1
            kept_bytes += source.size
        else:
            actions.append(Action(Verb.LOOK, source.key, "same size, and the time needs a look", source, target))
    return Plan(actions, kept, kept_bytes)


def same_time(a_ns: int, b_ns: int) -> bool:
    """Equal at the precision of the coarser one: a time without fraction is one of whole seconds (H117)."""
    if a_ns == b_ns:
        return True
    if a_ns % _SECOND_NS == 0 or b_ns % _SECOND_NS == 0:
        return a_ns // _SECOND_NS == b_ns // _SECOND_NS
    return a_ns // 1000 == b_ns // 1000  # other tools keep microseconds


def _sizes(source: Entry, target: Entry) -> str:
    return f"the sizes differ: {source.size} at the source, {target.size} at the destination"
