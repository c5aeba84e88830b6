"""Decide for each pair of objects in two buckets whether the server is to copy, and say why: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sterna.model.actions import Action, Verb
from sterna.model.entry import MD5_OF_NOTHING, Entry
from sterna.planning.compare import Compare, Plan, same_time
from sterna.planning.known import Known, judged
from sterna.planning.merge import Pair

_SECOND_NS = 1_000_000_000
_MD5 = 32  # digits


class Seen(NamedTuple):
    """What a HEAD said of one of two objects that a listing could not tell apart.

    ``kept_ns``: the file's own time, where a tool kept it in the metadata. ``has_md5``: the ETag may be the MD5 of the
    content. ``checksum``: the server's sum of the whole, as ``NAME:value``, or empty. ``made_of``: the ETag of what it was
    copied from, where we did it in parts, so that its own is another.
    """

    size: int
    stored_ns: int
    kept_ns: int | None
    etag: str
    has_md5: bool
    checksum: str
    made_of: str = ""


def plan_copies(pairs: Sequence[Pair], compare: Compare = Compare.AUTO, *, known: Known | None = None) -> Plan:
    """Copy what the destination lacks or has with another size; look at what may be another version of the same size.

    The ETag of an object that was stored in one piece is mostly the MD5 of its content, and that of one in parts the MD5
    of their MD5s: where both sides show the same, nothing is to be done, whatever their times. Where both show others, of
    the whole or of as many parts, they are looked at. Where at least one shows none (of parts, or encrypted with a key of
    the user's), a destination that was stored in a later second was made of this source or of a later one; an older one
    is looked at. Where an earlier run saw both as they are now (``known``), they are the same. Any key is
    carried, directory markers too.
    """
    actions: list[Action] = []
    kept = kept_bytes = 0
    is_auto, only_exists = compare is Compare.AUTO, compare is Compare.EXISTS
    for source, target in pairs:
        if source is None:
            continue
        if target is None:
            actions.append(Action(Verb.COPY, source.key, "new", source))
            continue
        size, etag = source.size, source.etag
        if is_auto and size == target.size and etag == target.etag and tells_content(etag):
            pass  # nearly all of a run that finds nothing to do: 0.4 µs a pair
        elif not only_exists:
            if size != target.size:
                because = f"the sizes differ: {size} here, {target.size} there"
                actions.append(Action(Verb.COPY, source.key, because, source, target))
                continue
            if known is not None and is_auto and judged(source, target, known.get(source.key)) == "":
                pass
            elif size and compare is not Compare.SIZE and (doubt := _doubt(source, target, compare)):
                actions.append(Action(Verb.LOOK, source.key, doubt, source, target))
                continue
        kept += 1
        kept_bytes += size
    return Plan(actions, kept, kept_bytes)


def _doubt(source: Entry, target: Entry, compare: Compare) -> str:
    """Why the listings do not tell that two objects of one size are the same; empty where they do."""
    if compare is Compare.MTIME:
        return "same size, and the times that the objects keep need a look"
    one, other = source.etag, target.etag
    if looks_like_md5(one) and looks_like_md5(other):
        return "" if one == other else "same size, and another ETag"
    if compare is Compare.CHECKSUM:
        return "same size, and the content is compared"
    if (count := _parts_of(one)) and count == _parts_of(other) and one != other:
        return "same size and number of parts, and another ETag"
    if target.mtime_ns // _SECOND_NS > source.mtime_ns // _SECOND_NS:
        return ""
    return "same size, and not stored later than the source"


def why_copied(source: Seen, target: Seen | None, compare: Compare = Compare.AUTO) -> str:
    """Why an object is to be copied, now that both were looked at; empty where the destination has it."""
    if target is None:
        return "new"
    if source.size != target.size:
        return f"the sizes differ: {source.size} here, {target.size} there"
    kept = None if source.kept_ns is None or target.kept_ns is None else same_time(source.kept_ns, target.kept_ns)
    if compare is not Compare.MTIME:
        is_same, by = _same_content(source, target)
        if is_same is not None:
            return "" if is_same else f"same size, and another {by}"
        if compare is Compare.CHECKSUM:
            return "same size, and nothing tells whether the content is the same"
    if kept is not None:
        return "" if kept else "same size, and another time"
    if target.stored_ns // _SECOND_NS > source.stored_ns // _SECOND_NS:
        return ""
    return "same size, and not stored later than the source"


def _same_content(source: Seen, target: Seen) -> tuple[bool | None, str]:
    """Whether the contents are the same, and by what that is known; None where nothing tells."""
    if target.made_of and target.made_of == source.etag:
        return True, "source"
    name, _, value = source.checksum.partition(":")
    other_name, _, other = target.checksum.partition(":")
    if value and name == other_name:
        return value == other, name
    if source.has_md5 and target.has_md5 and looks_like_md5(source.etag) and looks_like_md5(target.etag):
        return source.etag == target.etag, "MD5"
    if source.etag == target.etag and "-" in source.etag and tells_content(source.etag):
        return True, "ETag"  # of the same parts
    return None, ""


def _parts_of(etag: str) -> str:
    """Of how many parts' MD5s an ETag is made, in digits; empty where it is none of parts."""
    _, _, count = etag.partition("-")
    return count if count and tells_content(etag) else ""


def looks_like_md5(etag: str) -> bool:
    """Whether an ETag has the form of the MD5 of something."""
    return len(etag) == _MD5 and etag != MD5_OF_NOTHING and etag.isalnum()


def tells_content(etag: str) -> bool:
    """Whether two objects that show this ETag have the same content: it looks like an MD5, or like one of parts' MD5s."""
    if "-" not in etag:
        return looks_like_md5(etag)
    sums, _, count = etag.partition("-")
    return looks_like_md5(sums) and count.isdigit()
