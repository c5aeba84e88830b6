"""Turn some thousand actions into columns that pack well, and back."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from urllib.parse import quote, unquote_to_bytes

import msgspec

from sterna.model.actions import Action, Verb
from sterna.model.entry import Entry

_DIGITS = 32
_HEXADECIMAL = re.compile(r"([0-9a-f]{32})(?:-([1-9][0-9]{0,8}))?")
_NOT_DIGITS = re.compile("[^0-9a-f]")
_SECOND_NS = 1_000_000_000

Text = Callable[[str], str]


class Side(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """What one side has under the keys of a page; a size of null is nothing.

    ``etags`` is null where it is the source's, and a number where it is the next 32 of ``digits``, followed by a hyphen
    and that number where it is not 0. Random digits that stand together take half a byte each once they are packed;
    between other text they take more. ``changed_ns`` and ``inodes`` are left out unless they were asked for.
    """

    sizes: list[int | None]
    since_s: int
    times_s: list[int]  # after ``since_s``
    times_ns: list[int]  # what is left of the second
    etags: list[int | str | None]
    digits: str = ""
    storage_classes: list[str] | None = None
    versions: list[str] | None = None
    changed_ns: list[int] | None = None
    inodes: list[int] | None = None


class Columns(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """A page of actions: the first of each list belong to the first one, and so on.

    ``tells_sizes``: ``because`` goes on with both sizes, which stand in the page already. ``quoted`` marks texts that
    JSON cannot carry (lone surrogates, as names that are not UTF-8 have them), percent-encoded; that is rare.
    """

    verbs: list[Verb]
    keys: list[str]
    because: list[str]
    source: Side | None = None
    target: Side | None = None
    tells_sizes: list[bool] | None = None
    places: list[str] | None = None
    quoted: bool = False


_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(Columns)


def encoded(actions: Sequence[Action], *, exact: bool = False) -> bytes:
    """A line of JSON; ``exact``: with the ctime and the inode of files."""
    columns = _columns(actions, exact=exact)
    try:
        return _encoder.encode(columns) + b"\n"
    except UnicodeEncodeError:
        return _encoder.encode(_mapped(columns, quoted, is_quoted=True)) + b"\n"


def decoded(line: bytes) -> list[Action]:
    """The actions of a line; raises ValueError where it is none."""
    columns = _decoder.decode(line)
    if columns.quoted:
        columns = _mapped(columns, unquoted, is_quoted=False)
    keys = columns.keys
    places = columns.places or [""] * len(keys)
    source, etags = _entries(keys, columns.source, [""] * len(keys))
    target, _ = _entries(keys, columns.target, etags)
    because = columns.because
    if columns.tells_sizes is not None:
        rows = zip(*_even(because, source, target, columns.tells_sizes), strict=True)
        because = [text + _sizes(one, other) if is_told else text for text, one, other, is_told in rows]
    return list(map(Action, *_even(columns.verbs, keys, because, source, target, places)))


def quoted(text: str) -> str:
    """A text with lone surrogates as one that JSON can carry."""
    return quote(text.encode("utf-8", "surrogatepass"), safe="/ :;,=+@()'")


def unquoted(text: str) -> str:
    """What ``quoted`` was given."""
    return unquote_to_bytes(text).decode("utf-8", "surrogatepass")


def _columns(actions: Sequence[Action], *, exact: bool) -> Columns:
    sources, targets = [action.source for action in actions], [action.target for action in actions]
    because, tells_sizes = [], []
    for action, source, target in zip(actions, sources, targets, strict=True):
        told = _sizes(source, target)
        is_told = bool(told) and action.because.endswith(told)
        because.append(action.because[: -len(told)] if is_told else action.because)
        tells_sizes.append(is_told)
    places = [action.place for action in actions]
    return Columns(
        [action.verb for action in actions],
        [action.key for action in actions],
        because,
        _side(sources, [None] * len(sources), exact=exact),
        _side(targets, sources, exact=exact),
        tells_sizes if any(tells_sizes) else None,
        places if any(places) else None,
    )


def _sizes(source: Entry | None, target: Entry | None) -> str:
    """What many reasons end in."""
    return "" if source is None or target is None else f"{source.size} here, {target.size} there"


def _side(entries: Sequence[Entry | None], others: Sequence[Entry | None], *, exact: bool) -> Side | None:
    first = next((entry for entry in entries if entry is not None), None)
    if first is None:
        return None
    nothing = Entry("", 0, first.mtime_ns)
    sizes: list[int | None] = []
    times_s, times_ns, etags, digits = [], [], list[int | str | None](), []
    classes, versions, changed_ns, inodes = [], [], [], []
    for entry, other in zip(entries, others, strict=True):
        if entry is None:
            entry = nothing
            sizes.append(None)
        else:
            sizes.append(entry.size)
        second, rest = divmod(entry.mtime_ns, _SECOND_NS)
        times_s.append(second)
        times_ns.append(rest)
        etag = entry.etag
        if etag and other is not None and etag == other.etag:
            etags.append(None)
        elif (found := _HEXADECIMAL.fullmatch(etag)) is not None:
            digits.append(found[1])
            etags.append(int(found[2] or 0))
        else:
            etags.append(etag)
        classes.append(entry.storage_class)
        versions.append(entry.version)
        changed_ns.append(entry.ctime_ns)
        inodes.append(entry.inode)
    since_s = min(times_s)
    return Side(
        sizes, since_s, [time_s - since_s for time_s in times_s], times_ns, etags, "".join(digits),
        classes if any(classes) else None, versions if any(versions) else None,
        changed_ns if exact and any(changed_ns) else None, inodes if exact and any(inodes) else None,
    )  # fmt: skip


def _entries(keys: list[str], side: Side | None, others: Sequence[str]) -> tuple[list[Entry | None], Sequence[str]]:
    """The entries of a side, and their ETags."""
    if side is None:
        return [None] * len(keys), others
    etags = _etags(side, others)
    none, zeros = [""] * len(keys), [0] * len(keys)
    rows = _even(
        keys, side.sizes, side.times_s, side.times_ns, etags, side.storage_classes or none, side.versions or none,
        side.changed_ns or zeros, side.inodes or zeros,
    )  # fmt: skip
    return [
        None
        if size is None
        else Entry(key, size, (side.since_s + time_s) * _SECOND_NS + rest, etag, kind, version, changed_ns, inode)
        for key, size, time_s, rest, etag, kind, version, changed_ns, inode in zip(*rows, strict=True)
    ], etags


def _etags(side: Side, others: Sequence[str]) -> list[str]:
    digits, at, etags = side.digits, 0, []
    if _NOT_DIGITS.search(digits) is not None:
        raise ValueError("its digits are none")
    for etag, other in zip(*_even(side.etags, others), strict=True):
        if isinstance(etag, int):
            known = digits[at : at + _DIGITS]
            at += _DIGITS
            etags.append(f"{known}-{etag}" if etag else known)
        else:
            etags.append(other if etag is None else etag)
    if at != len(digits):
        raise ValueError("it has more ETags than digits, or fewer")
    return etags


def _even(*columns: Sequence[object]) -> tuple[Sequence[object], ...]:
    if len(set(map(len, columns))) != 1:
        raise ValueError("its columns differ in length")
    return columns


def _mapped(columns: Columns, text: Text, *, is_quoted: bool) -> Columns:
    def each(texts: list[str] | None) -> list[str] | None:
        return None if texts is None else [text(one) for one in texts]

    def side(one: Side | None) -> Side | None:
        if one is None:
            return None
        etags: list[int | str | None] = [text(etag) if isinstance(etag, str) else etag for etag in one.etags]
        return msgspec.structs.replace(
            one, etags=etags, storage_classes=each(one.storage_classes), versions=each(one.versions)
        )

    return Columns(
        columns.verbs, each(columns.keys) or [], each(columns.because) or [], side(columns.source),
        side(columns.target), columns.tells_sizes, each(columns.places), is_quoted,
    )  # fmt: skip
