"""List and count, against real servers and through a front that lies."""

from __future__ import annotations

import asyncio

import pytest

from sterna.jobs.listing import Listed, list_objects
from sterna.jobs.remove import remove
from sterna.jobs.usage import usage
from sterna.model.errors import ObjectGone, SternaError, WrongSetting
from sterna.model.location import BucketPath
from sterna.wire.side import Side
from tests.faults import front as faults
from tests.faults.front import Front
from tests.places import ODD, at, fill
from tests.servers.oracle import Bucket
from tests.servers.server import Server


def listed(location: BucketPath, side: Side, *, recursive: bool = False) -> list[Listed]:
    async def all_pages() -> list[Listed]:
        return [one async for page in list_objects(location, side, recursive=recursive) for one in page]

    return asyncio.run(all_pages())


def names(location: BucketPath, side: Side, *, recursive: bool = False) -> list[str]:
    return [one.key for one in listed(location, side, recursive=recursive)]


def test_a_listing_shows_the_next_level_and_marks_what_has_more_below(bucket: Bucket, side: Side) -> None:
    fill(bucket, "logs/a", "logs/b/c", "logs_backup/x", "top")
    assert [(one.key, one.is_prefix) for one in listed(at(bucket), side)] == [
        ("logs/", True), ("logs_backup/", True), ("top", False),
    ]  # fmt: skip
    assert [(one.key, one.size, one.is_prefix) for one in listed(at(bucket, "logs"), side)] == [
        ("a", 3, False), ("b/", 0, True),
    ]  # fmt: skip


def test_a_recursive_listing_shows_all_below(bucket: Bucket, side: Side) -> None:
    fill(bucket, "logs/a", "logs/b/c", "logs_backup/x")
    assert names(at(bucket, "logs"), side, recursive=True) == ["a", "b/c"]
    assert names(at(bucket), side, recursive=True) == ["logs/a", "logs/b/c", "logs_backup/x"]


def test_H74_a_path_never_means_what_only_begins_like_it(bucket: Bucket, side: Side) -> None:
    fill(bucket, "logs_backup/x", "logs2")
    for recursive in (False, True):
        with pytest.raises(ObjectGone, match="does not exist"):
            listed(at(bucket, "logs"), side, recursive=recursive)
    with pytest.raises(ObjectGone):
        asyncio.run(usage(at(bucket, "logs"), side))
    with pytest.raises(ObjectGone):
        asyncio.run(remove(at(bucket, "logs"), side, recursive=True))
    assert bucket.keys() == ["logs2", "logs_backup/x"]


def test_H74_a_trailing_slash_changes_nothing(bucket: Bucket, side: Side) -> None:
    fill(bucket, "logs/a")
    assert names(at(bucket, "logs/"), side) == names(at(bucket, "logs"), side) == ["a"]


def test_a_trailing_slash_means_what_is_below_and_not_the_object_of_that_name(
    bucket: Bucket, side: Side, server: Server
) -> None:
    if not server.facts.any_key:
        pytest.skip("keys are paths of a folder")
    fill(bucket, "logs", "logs/", "logs/a", "logs/b/c", "logs2")
    assert names(at(bucket, "logs/"), side) == ["logs/", "a", "b/"]
    assert asyncio.run(usage(at(bucket, "logs/"), side)).objects == 3
    summary = asyncio.run(remove(at(bucket, "logs/"), side, recursive=True))
    assert (summary.exit_code, summary.deleted) == (0, 3)
    assert bucket.keys() == ["logs", "logs2"]
    with pytest.raises(ObjectGone):
        asyncio.run(remove(at(bucket, "logs/"), side, recursive=True))
    assert bucket.keys() == ["logs", "logs2"]


def test_the_object_that_a_path_names_is_shown_and_counted_with_what_is_below(
    bucket: Bucket, side: Side, server: Server
) -> None:
    if not server.facts.any_key:
        pytest.skip("keys are paths of a folder")
    fill(bucket, "logs", "logs/", "logs/a")
    assert names(at(bucket, "logs"), side) == ["logs", "logs/", "a"]
    assert asyncio.run(usage(at(bucket, "logs"), side)).objects == 3


def test_an_object_alone_is_a_listing_of_one(bucket: Bucket, side: Side) -> None:
    bucket.put("a/b/c", b"12345")
    (one,) = listed(at(bucket, "a/b/c"), side)
    assert (one.key, one.size, one.is_prefix) == ("c", 5, False)
    assert one.etag
    assert one.mtime_ns > 10**18


def test_an_empty_bucket_is_no_error(bucket: Bucket, side: Side) -> None:
    assert listed(at(bucket), side) == []
    assert asyncio.run(usage(at(bucket), side)).objects == 0


@pytest.mark.parametrize("recursive", [False, True])
def test_who_lists_a_missing_bucket_is_not_told_to_make_it(server: Server, side: Side, recursive: bool) -> None:
    with pytest.raises(WrongSetting, match="does not exist at this endpoint; check its name") as refused:
        listed(BucketPath("sterna-no-such-bucket"), side, recursive=recursive)
    assert "sterna mb" not in refused.value.sentence


def test_H64_odd_names_are_listed_as_they_are(bucket: Bucket, side: Side, server: Server) -> None:
    if not server.facts.encodes_listings:
        pytest.skip("control characters cannot be listed")
    fill(bucket, *(f"p/{name}" for name in ODD))
    assert sorted(names(at(bucket, "p"), side, recursive=True)) == sorted(ODD)


def test_more_than_a_page_is_listed(bucket: Bucket, side: Side, fronted: Side, front: Front) -> None:
    fill(bucket, *(f"d{number:04d}/x" for number in range(1005)))
    assert len(names(at(bucket), fronted)) == 1005
    assert front.count("ListV2") == 2
    assert len(names(at(bucket), side, recursive=True)) == 1005


def test_a_listing_that_does_not_say_how_it_goes_on_is_no_listing(bucket: Bucket, fronted: Side, front: Front) -> None:
    fill(bucket, "a", "b")
    front.fault("ListV2", kind=faults.TruncatedWithoutToken(), nth="always")
    with pytest.raises(SternaError):
        listed(at(bucket), fronted)
    with pytest.raises(SternaError):
        asyncio.run(usage(at(bucket), fronted))


def test_who_counts_in_a_missing_bucket_is_not_told_to_make_it(server: Server, side: Side) -> None:
    with pytest.raises(WrongSetting, match="does not exist at this endpoint; check its name") as refused:
        asyncio.run(usage(BucketPath("sterna-no-such-bucket"), side))
    assert "sterna mb" not in refused.value.sentence


def test_usage_adds_up_by_storage_class(bucket: Bucket, side: Side) -> None:
    bucket.put("p/a", b"12345")
    bucket.put("p/b", b"123")
    found = asyncio.run(usage(at(bucket, "p"), side))
    assert (found.objects, found.bytes) == (2, 8)
    assert found.by_class == {"STANDARD": (2, 8)}
