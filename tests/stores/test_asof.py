"""A bucket as it was: of any history, at any moment, the tree is the one that stood there then."""

from __future__ import annotations

import random
from collections.abc import Sequence
from urllib.parse import quote
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sterna.model.entry import Entry, Trouble
from sterna.model.errors import Corrupt
from sterna.stores.asof import Past
from sterna.wire.versions import NULL, Version, parse_versions
from sterna.wire.xml import Asked

S = 10**9
KEYS = st.sampled_from(["a", "a b", "b/c", "é", "😀"])


class Event:
    """A put (of so many bytes) or a deletion (None) of a key, in a second."""

    def __init__(self, key: str, size: int | None, second: int) -> None:
        self.key = key
        self.size = size
        self.second = second

    def __repr__(self) -> str:
        return f"{self.second}: {self.key!r} {'deleted' if self.size is None else self.size}"


HISTORIES = st.lists(st.builds(Event, KEYS, st.none() | st.integers(0, 3), st.integers(10, 20)), max_size=25).map(
    lambda events: sorted(events, key=lambda event: event.second)
)


def listed(history: Sequence[Event]) -> list[Version]:
    """What S3 lists of it: by key, and of each key the newest first."""
    last = {event.key: number for number, event in enumerate(history)}
    versions = [
        Version(
            one.key,
            f"v{number}",
            one.second * S,
            one.size is None,
            last[one.key] == number,
            one.size or 0,
            f"e{number}",
        )
        for number, one in reversed(list(enumerate(history)))
    ]
    return sorted(versions, key=lambda version: version.key)


def cut(versions: Sequence[Version], size: int) -> list[Sequence[Version]]:
    return [versions[at : at + size] for at in range(0, len(versions), size)]


def apart(page: Sequence[Version]) -> list[Version]:
    """The delete markers first, as some servers list them."""
    return sorted(page, key=lambda version: not version.is_marker)


def as_of(pages: Sequence[Sequence[Version]], moment_ns: int) -> list[Entry | Trouble]:
    past = Past(moment_ns)
    found = [one for page in pages for one in past.see(page)]
    return [*found, *past.rest()]


def tree(history: Sequence[Event], second: int) -> dict[str, str]:
    """The keys that were there at the end of a second, with the ids of their versions."""
    found: dict[str, str] = {}
    for number, event in enumerate(history):
        if event.second <= second:
            found.pop(event.key, None)
            if event.size is not None:
                found[event.key] = f"v{number}"
    return found


def shown(found: Sequence[Entry | Trouble]) -> dict[str, str]:
    return {one.key: one.version for one in found if isinstance(one, Entry)}


def is_told(history: Sequence[Event], key: str) -> bool:
    """Whether times alone tell in which order a key was written and deleted."""
    kinds: dict[int, set[bool]] = {}
    for event in history:
        if event.key == key:
            kinds.setdefault(event.second, set()).add(event.size is None)
    return all(len(one) == 1 for one in kinds.values())


@given(HISTORIES, st.integers(9, 21), st.integers(1, 6), st.integers(0, S - 1))
def test_the_tree_as_of_each_second_is_the_one_that_stood_there(
    history: list[Event], second: int, size: int, fraction: int
) -> None:
    found = as_of(cut(listed(history), size), second * S + fraction)
    expected = tree(history, second)
    doubtful = {one.key for one in found if isinstance(one, Trouble)}
    assert [one.key for one in found] == sorted(one.key for one in found)
    assert not any(is_told(history, key) for key in doubtful)
    assert shown(found) == {key: version for key, version in expected.items() if key not in doubtful}


@given(HISTORIES, st.integers(9, 21), st.integers(1, 6))
def test_what_a_server_that_lists_markers_apart_does_not_tell_is_never_guessed(
    history: list[Event], second: int, size: int
) -> None:
    found = as_of([apart(page) for page in cut(listed(history), size)], second * S)
    doubtful = {one.key for one in found if isinstance(one, Trouble)}
    assert not any(is_told(history, key) for key in doubtful)
    assert shown(found) == {key: one for key, one in tree(history, second).items() if key not in doubtful}


@given(HISTORIES.filter(bool), st.integers(9, 21), st.integers(1, 6), st.randoms())
def test_a_history_that_is_listed_out_of_order_or_twice_is_refused_or_right(
    history: list[Event], second: int, size: int, chance: random.Random
) -> None:
    pages = cut(listed(history), size)
    number = chance.randrange(len(pages))
    with pytest.raises(Corrupt):
        as_of([*pages[: number + 1], *pages[number:]], second * S)


@pytest.mark.parametrize("is_marker", [False, True], ids=["written", "deleted"])
def test_what_replaced_an_object_of_which_no_versions_were_kept_is_named(is_marker: bool) -> None:
    versions = [
        Version("a", NULL, 30 * S, is_marker, is_latest=True),
        Version("a", "v1", 10 * S, is_marker=False, is_latest=False, size=3),
        Version("b", NULL, 10 * S, is_marker=False, is_latest=True, size=5),
    ]
    [lost, kept] = as_of([versions], 20 * S)
    assert isinstance(lost, Trouble)
    assert (lost.key, lost.skipped) == ("a", False)
    assert ("deleted later" if is_marker else "written later") in lost.reason
    assert kept == Entry("b", 5, 10 * S, version=NULL)
    assert len(shown(as_of([versions], 30 * S))) == (1 if is_marker else 2)


def test_a_time_without_a_fraction_is_the_whole_of_its_second() -> None:
    exact = [Version("a", "v1", 10 * S + 500_000_000, is_marker=False, is_latest=True)]
    assert shown(as_of([exact], 10 * S)) == {"a": "v1"}
    assert shown(as_of([exact], 10 * S + 500_000_000)) == {"a": "v1"}
    assert shown(as_of([exact], 10 * S + 499_999_999)) == {}


def test_an_object_in_parts_has_the_time_of_its_beginning_and_its_place_in_the_order() -> None:
    versions = [
        Version("a", "parts", 10 * S, is_marker=False, is_latest=True),
        Version("a", "put", 15 * S, is_marker=False, is_latest=False),
    ]
    assert shown(as_of([versions], 20 * S)) == {"a": "parts"}


# The page


def written(versions: Sequence[Version], *, more: str = "", encoded: bool = True) -> bytes:
    def name(text: str) -> str:
        return quote(text) if encoded else escape(text)

    records = "".join(
        f"<{'DeleteMarker' if one.is_marker else 'Version'}><Key>{name(one.key)}</Key><VersionId>{one.version}</VersionId>"
        f"<IsLatest>{str(one.is_latest).lower()}</IsLatest><LastModified>2026-01-01T00:00:{one.mtime_ns // S:02d}.000Z"
        "</LastModified>"
        + (
            ""
            if one.is_marker
            else f'<ETag>"{one.etag}"</ETag><Size>{one.size}</Size><StorageClass>STANDARD</StorageClass>'
        )
        + f"<Owner><ID>x</ID></Owner></{'DeleteMarker' if one.is_marker else 'Version'}>"
        for one in versions
    )
    following = (
        f"<NextKeyMarker>{name(more)}</NextKeyMarker><NextVersionIdMarker>v</NextVersionIdMarker>" if more else ""
    )
    kind = "<EncodingType>url</EncodingType>" if encoded else ""
    truncated = f"<IsTruncated>{str(bool(more)).lower()}</IsTruncated>"
    return (
        f"<?xml version='1.0'?><ListVersionsResult xmlns='http://s3.amazonaws.com/doc/2006-03-01/'><Name>b</Name><Prefix/>"
        f"{kind}{truncated}{following}{records}</ListVersionsResult>"
    ).encode()


@given(HISTORIES, st.booleans())
def test_a_page_is_read_as_it_was_written(history: list[Event], encoded: bool) -> None:
    versions = listed(history)
    page = parse_versions(written(versions, more="x y", encoded=encoded), Asked(bucket="b", prefix=""))
    assert [(one.key, one.version, one.is_marker, one.is_latest, one.size) for one in page.versions] == [
        (one.key, one.version, one.is_marker, one.is_latest, one.size) for one in versions
    ]
    assert [one.mtime_ns // S % 60 for one in page.versions] == [one.mtime_ns // S for one in versions]
    assert (page.truncated, page.key_marker, page.version_marker) == (True, "x y", "v")


ONE = written([Version("a", "v1", 10 * S, is_marker=False, is_latest=True, size=3, etag="e")])


@pytest.mark.parametrize(
    "old, new",
    [
        (b"<IsTruncated>false</IsTruncated>", b"<IsTruncated>true</IsTruncated>"),
        (b"<IsTruncated>false</IsTruncated>", b"<IsTruncated>false</IsTruncated><IsTruncated>true</IsTruncated>"),
        (b"<IsTruncated>false</IsTruncated>", b"<IsTruncated>perhaps</IsTruncated>"),
        (b"ListVersionsResult", b"ListBucketResult"),
        (b"<Name>b</Name>", b"<Name>other</Name>"),
        (b"<VersionId>v1</VersionId>", b""),
        (b"<Size>3</Size>", b""),
        (b"<Size>3</Size>", b"<Size>-3</Size>"),
        (b"<Size>3</Size>", b"<Size>3</Size><Size>4</Size>"),
        (b"2026-01-01T00:00:10.000Z", b"yesterday"),
        (b"2026-01-01T00:00:10.000Z", b""),
        (b"<Key>a</Key>", b"<Key></Key>"),
        (b"<Owner>", b"<Version/><Owner>"),
        (b"<Prefix/>", b"<Prefix/><CommonPrefixes><Prefix>c/</Prefix></CommonPrefixes>"),
        (b"<Prefix/>", b"<Error><Code>InternalError</Code></Error>"),
        (b"</ListVersionsResult>", b""),
    ],
)
def test_a_page_that_contradicts_itself_is_refused(old: bytes, new: bytes) -> None:
    assert old in ONE
    with pytest.raises(Corrupt):
        parse_versions(ONE.replace(old, new), Asked(bucket="b", prefix=""))
