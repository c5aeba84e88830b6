"""Decide for each pair what is to be done, and say why: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from sterna.model.actions import Action, Verb
from sterna.model.entry import Entry
from sterna.planning.collide import Collisions
from sterna.planning.known import AllSame, Known, judged
from sterna.planning.merge import Pair

_SECOND_NS = 1_000_000_000
_HOUR_NS = 3600 * _SECOND_NS
FAT_STEP_NS = 2 * _SECOND_NS  # of a file system that keeps local time, too: at a change of the clocks it is an hour off


class Compare(str, Enum):
    """By what it is decided that the destination has a key already (``--compare``).

    What differs in size is moved by all of them but EXISTS. A LOOK that the others plan is settled by ``difference``
    after a HEAD, for CHECKSUM by what is known of the content. AUTO asks first what earlier runs saw, where that is
    kept: a COMPARE of it is settled by the content.
    """

    AUTO = "auto"
    SIZE = "size"
    MTIME = "mtime"
    CHECKSUM = "checksum"
    EXISTS = "exists"


class Plan(NamedTuple):
    """What a page of pairs comes to. Kept pairs are counted, not told: they may be a hundred million. ``found`` are those
    of them that the last-synced tree does not have like this, for a run that keeps one.
    """

    actions: list[Action]
    kept: int
    kept_bytes: int
    found: Sequence[Pair] = ()


def plan_uploads(
    pairs: Sequence[Pair],
    now_ns: int,
    compare: Compare = Compare.AUTO,
    *,
    step_ns: int = 1,
    known: Known | None = None,
) -> Plan:
    """Upload what the bucket lacks, or has with another size, or has from before the file's last change.

    LastModified is when the object was stored, by the server's clock and in whole seconds on many servers; the file's
    time is by ours. Only where the file is older the listing suffices. One that was changed in the same second or seems
    newer is looked at: the object keeps the time of the file that it was made of, and where that is the file's, nothing
    was changed, whatever the two clocks say (H118). ``step_ns`` is how finely the folder keeps times (H117). ``known`` is
    what earlier runs saw of these keys, None where nothing is kept.
    """
    if compare is Compare.AUTO and isinstance(known, AllSame):
        sizes = [source.size for source, target in pairs if source and target and source.size == target.size]
        if len(sizes) == len(pairs):
            return Plan([], len(sizes), sum(sizes))  # nearly all of a run that finds nothing to do
    actions: list[Action] = []
    found: list[Pair] = []
    kept = kept_bytes = 0
    seconds = max(0, step_ns // _SECOND_NS - 1)  # a file may have been changed so much later than its time says
    for source, target in pairs:
        if source is None:
            continue
        if target is None:
            actions.append(Action(Verb.UPLOAD, source.key, "new", source))
            continue
        if compare is Compare.AUTO:
            if source.size != target.size:
                actions.append(Action(Verb.UPLOAD, source.key, _sizes(source, target), source, target))
                continue
            told = None if known is None else judged(source, target, known.get(source.key))
            if told:
                actions.append(Action(Verb.COMPARE, source.key, told, source, target))
                continue
            if told is None:
                stored_s = target.mtime_ns // _SECOND_NS
                changed_s = source.mtime_ns // _SECOND_NS + seconds
                if changed_s >= stored_s:
                    actions.append(Action(Verb.LOOK, source.key, _doubt(source, target, now_ns), source, target))
                    continue
                if known is not None:
                    found.append((source, target))
        elif (action := _by(compare, Verb.UPLOAD, source, target)) is not None:
            actions.append(action)
            continue
        kept += 1
        kept_bytes += source.size
    return Plan(actions, kept, kept_bytes, found)


def plan_downloads(
    pairs: Sequence[Pair],
    collisions: Collisions,
    compare: Compare = Compare.AUTO,
    *,
    step_ns: int = 1,
    known: Known | None = None,
) -> Plan:
    """Download what the folder lacks or has with another size; look at what has the same size and another time.

    A file that we downloaded has the time of the original, which stands in the object's metadata and in no listing.
    So where the file's time is not LastModified, only a look tells whether it is still the same object's; or an earlier
    run, which saw both (``known``).
    """
    actions: list[Action] = []
    found: list[Pair] = []
    kept = kept_bytes = 0
    for source, target in pairs:
        if source is None:
            continue
        if (why := collisions.refusal(source)) is not None:
            actions.append(Action(Verb.REFUSE, source.key, why, source, target))
            continue
        if target is None:
            actions.append(Action(Verb.DOWNLOAD, source.key, "new", source))
            continue
        if compare is Compare.AUTO:
            if source.size != target.size:
                actions.append(Action(Verb.DOWNLOAD, source.key, _sizes(source, target), source, target))
                continue
            told = None if known is None else judged(source, target, known.get(source.key))
            if told:
                actions.append(Action(Verb.COMPARE, source.key, told, source, target))
                continue
            if told is None:
                if not _has_stored_time(target.mtime_ns, source.mtime_ns, step_ns):
                    because = "same size, and the time needs a look"
                    actions.append(Action(Verb.LOOK, source.key, because, source, target))
                    continue
                if known is not None:
                    found.append((source, target))
        elif (action := _by(compare, Verb.DOWNLOAD, source, target)) is not None:
            actions.append(action)
            continue
        kept += 1
        kept_bytes += source.size
    return Plan(actions, kept, kept_bytes, found)


def _by(compare: Compare, verb: Verb, source: Entry, target: Entry) -> Action | None:
    """What both sides have, by another comparison than the usual one; None where it is kept."""
    if compare is Compare.EXISTS:
        return None
    if source.size != target.size:
        return Action(verb, source.key, _sizes(source, target), source, target)
    if compare is Compare.SIZE or (compare is Compare.CHECKSUM and not source.size):
        return None
    because = "same size, and the content is compared"
    if compare is Compare.MTIME:
        because = "same size, and the time that the object keeps needs a look"
    return Action(Verb.LOOK, source.key, because, source, target)


def _doubt(source: Entry, target: Entry, now_ns: int) -> str:
    """Why the listing does not tell whether a file was changed since it was stored."""
    if source.mtime_ns > now_ns:
        return "the file's time lies in the future"
    if source.mtime_ns // _SECOND_NS > target.mtime_ns // _SECOND_NS:
        return "the file's time is later than the object's"
    return "changed in the second in which it was stored"


def difference(
    verb: Verb, local: Entry, listed: Entry, found: Entry | None, own_ns: int | None, *, step_ns: int = 1
) -> str | None:
    """After a look at an object: why it is to be moved, or None where it is that file.

    ``local`` and ``listed`` are what the listings said of file and object, ``found`` what the look shows, ``own_ns`` the
    time of the file that it was made of, if it keeps one. A download of one that keeps none has LastModified.
    """
    if found is None:
        return "it is gone since it was listed"
    if found.size != local.size or found.etag != listed.etag:
        return "the object was replaced since it was listed"
    if own_ns is None and verb is Verb.DOWNLOAD:
        return None if _has_stored_time(local.mtime_ns, found.mtime_ns, step_ns) else "same size, and another time"
    if own_ns is not None and same_time(own_ns, local.mtime_ns, step_ns):
        return None
    if verb is Verb.UPLOAD and local.mtime_ns // _SECOND_NS > found.mtime_ns // _SECOND_NS:
        return "the file was changed after it was stored"
    if own_ns is None:
        return "same size, and the object keeps no time of its own"
    return "same size, and another time"


def _has_stored_time(file_ns: int, stored_ns: int, step_ns: int) -> bool:
    """Whether a file has LastModified, in the way in which a download gives it: in whole seconds. A file with a fraction
    of that second is another one, edited in the second in which the object was stored.
    """
    if file_ns % _SECOND_NS == 0:
        return file_ns // _SECOND_NS == stored_ns // _SECOND_NS or same_time(file_ns, stored_ns, step_ns)
    return file_ns // step_ns == stored_ns // step_ns


def same_time(a_ns: int, b_ns: int, step_ns: int = 1) -> bool:
    """Equal at the precision of the coarser one: a time without fraction is one of whole seconds (H117).

    ``step_ns`` is how finely one of the two is kept, where that is known. FAT keeps local time in steps of two seconds,
    so with its step times are equal, too, that are exactly an hour apart.
    """
    if a_ns == b_ns:
        return True
    if step_ns >= FAT_STEP_NS:
        apart_ns = abs(a_ns - b_ns)
        if apart_ns < step_ns or abs(apart_ns - _HOUR_NS) < step_ns:
            return True
    elif step_ns > 1 and a_ns // step_ns == b_ns // step_ns:
        return True
    if a_ns % _SECOND_NS == 0 or b_ns % _SECOND_NS == 0:
        return a_ns // _SECOND_NS == b_ns // _SECOND_NS
    return a_ns // 1000 == b_ns // 1000  # other tools keep microseconds


def _sizes(source: Entry, target: Entry) -> str:
    return f"the sizes differ: {source.size} at the source, {target.size} at the destination"
