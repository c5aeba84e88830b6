"""Unfinished uploads as real servers list them, and pages that are wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from sterna.jobs.listing import opened
from sterna.model.errors import AccessDenied, Corrupt, RetryLater, SternaError, Unsupported, WrongSetting
from sterna.model.location import BucketPath
from sterna.stores.unfinished import Unfinished, uploads_below, uploads_of
from sterna.wire.side import Side
from tests.faults import front as f
from tests.faults.front import Front
from tests.places import at
from tests.servers.oracle import Bucket
from tests.servers.server import Server

KEYS = ("%41", "logs", "logs", "logs/a", "logs/a", "logs/b", "logs_backup/x", "z+ &", "é/ü")


def begun(bucket: Bucket, keys: Iterable[str]) -> list[str]:
    return [bucket.create_upload(key) for key in keys]


def pages(bucket: Bucket, side: Side, path: str = "", *, prefix: str = "", most: int = 1000) -> list[list[Unfinished]]:
    async def read() -> list[list[Unfinished]]:
        async with opened(at(bucket, prefix), side) as store:
            return [page async for page in uploads_below(store, path, most=most)]

    return asyncio.run(read())


def keys(bucket: Bucket, side: Side, path: str = "", *, prefix: str = "", most: int = 1000) -> list[str]:
    return [one.key for page in pages(bucket, side, path, prefix=prefix, most=most) for one in page]


def test_uploads_come_in_key_order_with_id_time_and_class(bucket: Bucket, side: Side) -> None:
    ids = begun(bucket, reversed(KEYS))
    found = [one for page in pages(bucket, side) for one in page]
    assert [one.key for one in found] == sorted(KEYS)
    assert sorted(one.id for one in found) == sorted(ids)
    assert {one.storage_class for one in found} == {"STANDARD"}
    assert len({one.initiated_ns // 10**9 // 600 for one in found}) < 3
    assert all(one.initiated_ns > 1.7e18 for one in found)


def test_H74_a_path_is_the_object_and_what_is_below_it_and_never_what_begins_alike(bucket: Bucket, side: Side) -> None:
    begun(bucket, KEYS)
    assert keys(bucket, side, "logs") == ["logs", "logs", "logs/a", "logs/a", "logs/b"]
    assert keys(bucket, side, "logs/") == ["logs/a", "logs/a", "logs/b"]
    assert keys(bucket, side, "logs/a") == ["logs/a", "logs/a"]
    assert keys(bucket, side, "log") == []
    assert keys(bucket, side, prefix="logs") == ["a", "a", "b"]
    assert keys(bucket, side, "a", prefix="logs") == ["a", "a"]


def test_a_bucket_without_uploads_has_none(bucket: Bucket, side: Side) -> None:
    assert keys(bucket, side) == keys(bucket, side, "p") == []


@pytest.mark.parametrize("most", [3, 4, 5])
def test_H93_pages_are_joined_whatever_marker_a_server_gives(bucket: Bucket, side: Side, most: int) -> None:
    ids = begun(bucket, KEYS)
    found = [one for page in pages(bucket, side, most=most) for one in page]
    assert [one.key for one in found] == sorted(KEYS)
    assert sorted(one.id for one in found) == sorted(ids)
    assert keys(bucket, side, "logs", most=most) == ["logs", "logs", "logs/a", "logs/a", "logs/b"]


def test_the_uploads_of_one_key_are_found_beside_longer_names(bucket: Bucket, side: Side) -> None:
    begun(bucket, KEYS)

    async def of(key: str) -> list[str]:
        async with opened(at(bucket), side) as store:
            return [one.key for one in await uploads_of(store, key, most=3)]

    assert asyncio.run(of("logs")) == ["logs", "logs"]
    assert asyncio.run(of("log")) == []


def test_a_bucket_that_is_not_there_is_said_to_be_missing(server: Server, bucket: Bucket, side: Side) -> None:
    async def read() -> None:
        async with opened(BucketPath(f"{bucket.name}-not"), side) as store:
            async for _ in uploads_below(store):
                pass

    with pytest.raises(WrongSetting, match="does not exist"):
        asyncio.run(read())


# Servers that lie


NEVER_SHORT = [
    f.TruncatedWithoutToken(),
    f.TruncatedWithoutToken(0),
    f.RepeatedPage(),
    f.RepeatedToken(),
    f.TokenButNotTruncated(),
    f.ShuffledPage(),
    f.ErrorIn200(),
    f.EmptyBody(),
    f.CutXml(300),
    f.ACCESS_DENIED,
]


@pytest.mark.parametrize("kind", NEVER_SHORT, ids=repr)
@pytest.mark.parametrize("nth", [1, 2, 3, "always"])
def test_H76_H77_H80_whatever_page_lies_all_uploads_come_or_an_error(
    bucket: Bucket, fronted: Side, front: Front, kind: f.Kind, nth: f.Nth
) -> None:
    begun(bucket, KEYS)
    front.fault("ListUploads", nth=nth, kind=kind, must_hit=False)
    found, error = None, None
    try:
        found = keys(bucket, fronted, most=3)
    except SternaError as raised:
        error = raised
    assert found == sorted(KEYS) or isinstance(error, (RetryLater, AccessDenied))
    assert front.count("ListUploads") < 60


def test_H80_a_listing_that_goes_round_ends_with_a_sentence(bucket: Bucket, fronted: Side, front: Front) -> None:
    begun(bucket, KEYS)
    front.fault("ListUploads", nth="always", kind=f.Rewrite(lambda page: f.with_tag(page, "NextKeyMarker", "%41")))
    with pytest.raises(Corrupt, match=r"would never end|another order"):
        keys(bucket, fronted, most=3)


def test_H80_pages_without_end_and_without_uploads_are_given_up(bucket: Bucket, fronted: Side, front: Front) -> None:
    numbers = iter(range(10_000))

    def on_and_on(page: bytes) -> bytes:
        page = f.with_tag(f.with_entries(page, []), "IsTruncated", "true")
        return f.with_tag(page, "NextKeyMarker", f"k{next(numbers):05d}")

    front.fault("ListUploads", nth="always", kind=f.Rewrite(on_and_on))
    with pytest.raises(Corrupt, match="on and on"):
        keys(bucket, fronted)


@pytest.mark.parametrize(
    ("was", "becomes", "words"),
    [
        (b"</Upload>", b"<Key>other</Key></Upload>", "without key or id, or with two"),
        (b"<Key>p/a</Key>", b"", "without key or id, or with two"),
        (b"<Key>p/a</Key>", b"<Key>q/a</Key>", "another place"),
        (b"</Upload>", b"</Upload><Error><Code>InternalError</Code></Error>", "has Error"),
        (b"</Upload>", b"</Upload><IsTruncated>false</IsTruncated>", "has IsTruncated twice"),
        (b"</Upload>", b"</Upload><More><Upload><Key>p/b</Key><UploadId>i</UploadId></Upload></More>", "has Upload"),
        (b"<Initiated>", b"<Initiated>x", "cannot be read"),
    ],
    ids=["two keys", "no key", "another place", "error inside", "twice", "nested", "time"],
)
def test_H76_a_page_that_contradicts_itself_is_not_believed(
    bucket: Bucket, fronted: Side, front: Front, was: bytes, becomes: bytes, words: str
) -> None:
    begun(bucket, ["p/a"])
    front.fault("ListUploads", nth="always", kind=f.Rewrite(lambda page: page.replace(was, becomes)))
    with pytest.raises(Corrupt, match=words):
        keys(bucket, fronted, "p/")


def test_H80_a_server_that_refuses_its_own_markers_is_listed_all_the_same(
    bucket: Bucket, fronted: Side, front: Front
) -> None:
    """As versitygw 1.7 does."""
    begun(bucket, "abcdefg")
    front.fault("ListUploads", nth="always", kind=f.Refuse(400, "InvalidArgument"),
                where=lambda request: bool(request.query.get("upload-id-marker")))  # fmt: skip
    assert "".join(keys(bucket, fronted, most=3)) == "abcdefg"
    with pytest.raises(Corrupt, match="would never end"):
        keys(bucket, fronted, most=1)


def test_keys_that_are_encoded_without_a_word_are_asked_for_plainly(
    bucket: Bucket, fronted: Side, front: Front
) -> None:
    """As Ceph 16 does: keys encoded, markers not, and no EncodingType."""
    begun(bucket, KEYS)

    class Silent(f.Kind):
        def downward(self, exchange: f.Exchange, fault: f.Fault, answer: f.Answer) -> None:
            fault.hit()
            if exchange.request.query.get("encoding-type") == "url":
                answer.replace(answer.whole().replace("é/ü".encode(), b"%C3%A9/%C3%BC"))

    front.fault("ListUploads", nth="always", kind=Silent())
    assert keys(bucket, fronted) == sorted(KEYS)


def test_keys_that_are_said_to_be_encoded_are_decoded_once(bucket: Bucket, fronted: Side, front: Front) -> None:
    begun(bucket, ["a b", "%2541"])

    def encoded(page: bytes) -> bytes:
        page = page.replace(b"%2541", b"%252541").replace(b"a b", b"a+b")
        return f.with_tag(page, "EncodingType", "url")

    front.fault("ListUploads", nth="always", kind=f.Rewrite(encoded))
    assert keys(bucket, fronted) == ["%2541", "a b"]


@pytest.mark.parametrize(
    "kind",
    [
        f.NOT_IMPLEMENTED,
        f.Refuse(405, "MethodNotAllowed"),
        f.Rewrite(lambda page: page.replace(b"ListMultipartUploadsResult", b"ListBucketResult")),
    ],
    ids=["501", "405", "lists objects"],
)
def test_a_server_without_the_operation_is_named_and_not_asked_again(
    bucket: Bucket, fronted: Side, front: Front, kind: f.Kind
) -> None:
    front.fault("ListUploads", nth="always", kind=kind)
    with pytest.raises(Unsupported, match="does not list unfinished uploads"):
        keys(bucket, fronted)
    assert front.count("ListUploads") == 1
