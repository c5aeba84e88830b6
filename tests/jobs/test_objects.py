"""List, count, remove and make, against real servers and through a front that lies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from sterna.jobs.objects import Listed, count, list_objects, make_bucket, remove, usage
from sterna.model.errors import AccessDenied, ObjectGone, SternaError, WrongSetting
from sterna.model.events import Event, Notice, ObjectsEnded, RunEnded, RunStarted, Summary, Tally, ignore
from sterna.model.location import BucketPath, parse_location
from sterna.model.stop import Stop
from sterna.wire.endpoints import Addressing
from sterna.wire.retry import Retries
from sterna.wire.side import Side
from tests.faults import front as faults
from tests.faults.front import Front
from tests.servers.oracle import Bucket
from tests.servers.server import Server

ODD = [
    "a b",
    "+",
    "%41",
    "é",
    "😀",
    "<&>\"'",
    "]]>",
    "\x01x",
    "new\nline",
    "tab\t",
    "cr\r",
    " lead",
    "trail ",
    "\x7f",
    "\uffff",
]


def side_of(server: Server, monkeypatch: pytest.MonkeyPatch) -> Side:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    return Side(addressing=Addressing(urls=(server.endpoint_url,), region=server.region))


@pytest.fixture
def side(server: Server, monkeypatch: pytest.MonkeyPatch) -> Side:
    return side_of(server, monkeypatch)


@pytest.fixture
def fronted(front: Front, monkeypatch: pytest.MonkeyPatch) -> Side:
    """The side behind the front, with pauses too short to wait for."""
    quick = Retries(attempts=3, first_pause_s=0.001, longest_pause_s=0.001)
    return replace(side_of(front.server, monkeypatch), retries=quick)


def at(bucket: Bucket, path: str = "") -> BucketPath:
    location = parse_location(bucket.url(path))
    assert isinstance(location, BucketPath)
    return location


def listed(location: BucketPath | None, side: Side, *, recursive: bool = False) -> list[Listed]:
    async def all_pages() -> list[Listed]:
        return [one async for page in list_objects(location, side, recursive=recursive) for one in page]

    return asyncio.run(all_pages())


def names(location: BucketPath, side: Side, *, recursive: bool = False) -> list[str]:
    return [one.key for one in listed(location, side, recursive=recursive)]


def removed(location: BucketPath, side: Side, *, recursive: bool = True, stop: Stop | None = None,
            emit: Callable[[Event], None] = ignore) -> Summary:  # fmt: skip
    return asyncio.run(remove(location, side, recursive=recursive, emit=emit, stop=stop))


def fill(bucket: Bucket, *keys: str) -> None:
    for key in keys:
        bucket.put(key, b"x" * 3)


# Listing


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
        removed(at(bucket, "logs"), side)
    assert bucket.keys() == ["logs2", "logs_backup/x"]


def test_H74_a_trailing_slash_changes_nothing(bucket: Bucket, side: Side) -> None:
    fill(bucket, "logs/a")
    assert names(at(bucket, "logs/"), side) == names(at(bucket, "logs"), side) == ["a"]


def test_the_object_that_a_path_names_is_shown_and_counted_with_what_is_below(
    bucket: Bucket, side: Side, server: Server
) -> None:
    if not server.facts.any_key:
        pytest.skip("keys are paths of a folder")
    fill(bucket, "logs", "logs/", "logs/a")
    assert names(at(bucket, "logs"), side) == ["logs", "logs/", "a"]
    assert asyncio.run(count(at(bucket, "logs"), side)).objects == 3


def test_an_object_alone_is_a_listing_of_one(bucket: Bucket, side: Side) -> None:
    bucket.put("a/b/c", b"12345")
    (one,) = listed(at(bucket, "a/b/c"), side)
    assert (one.key, one.size, one.is_prefix) == ("c", 5, False)
    assert one.etag
    assert one.mtime_ns > 10**18


def test_an_empty_bucket_is_no_error(bucket: Bucket, side: Side) -> None:
    assert listed(at(bucket), side) == []
    assert asyncio.run(usage(at(bucket), side)).objects == 0


def test_a_missing_bucket_is_named(server: Server, side: Side) -> None:
    nowhere = BucketPath("sterna-no-such-bucket")
    for ask in (
        lambda: listed(nowhere, side),
        lambda: listed(nowhere, side, recursive=True),
        lambda: asyncio.run(usage(nowhere, side)),
        lambda: removed(nowhere, side),
    ):
        with pytest.raises(WrongSetting, match="does not exist"):
            ask()


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


def test_buckets_are_listed(bucket: Bucket, side: Side) -> None:
    found = {one.key: one for one in listed(None, side)}
    assert found[bucket.name].mtime_ns > 10**18


def test_a_listing_that_does_not_say_how_it_goes_on_is_no_listing(bucket: Bucket, fronted: Side, front: Front) -> None:
    fill(bucket, "a", "b")
    front.fault("ListV2", kind=faults.TruncatedWithoutToken(), nth="always")
    with pytest.raises(SternaError):
        listed(at(bucket), fronted)
    with pytest.raises(SternaError):
        asyncio.run(usage(at(bucket), fronted))


def test_usage_adds_up_by_storage_class(bucket: Bucket, side: Side) -> None:
    bucket.put("p/a", b"12345")
    bucket.put("p/b", b"123")
    found = asyncio.run(usage(at(bucket, "p"), side))
    assert (found.objects, found.bytes) == (2, 8)
    assert found.by_class == {"STANDARD": (2, 8)}


# Making


def test_a_bucket_is_made_once_and_then_it_is_there(bucket: Bucket, side: Side) -> None:
    place = BucketPath(f"{bucket.name}-new")
    assert "is made" in asyncio.run(make_bucket(place, side))
    assert "exists already, and it is yours" in asyncio.run(make_bucket(place, side))


def test_a_name_of_somebody_else_is_a_clear_error(bucket: Bucket, fronted: Side, front: Front) -> None:
    front.fault("HeadBucket", kind=faults.ACCESS_DENIED, nth="always")
    front.fault("CreateBucket", kind=faults.Refuse(409, "BucketAlreadyExists"), nth="always")
    front.fault("ListBuckets", kind=faults.ACCESS_DENIED, nth="always")
    with pytest.raises(WrongSetting, match=r"is taken.*Choose another"):
        asyncio.run(make_bucket(BucketPath("somebody-elses"), fronted))


def test_a_bucket_that_the_server_made_and_does_not_show_is_not_made(fronted: Side, front: Front) -> None:
    front.fault("CreateBucket", kind=faults.Lie())
    with pytest.raises(SternaError, match="does not show it"):
        asyncio.run(make_bucket(BucketPath("sterna-a-lie"), fronted))


# Removing


def test_one_object_is_removed_and_looked_for(bucket: Bucket, side: Side) -> None:
    fill(bucket, "p/a", "p/ab")
    summary = removed(at(bucket, "p/a"), side, recursive=False)
    assert (summary.exit_code, summary.deleted, bucket.keys()) == (0, 1, ["p/ab"])
    assert "seen to be gone" in summary.verdict


def test_removing_what_is_not_there_is_an_error(bucket: Bucket, side: Side) -> None:
    fill(bucket, "p/a")
    with pytest.raises(ObjectGone, match="does not exist"):
        removed(at(bucket, "nothing"), side, recursive=False)
    with pytest.raises(ObjectGone, match="--recursive"):
        removed(at(bucket, "p"), side, recursive=False)
    with pytest.raises(WrongSetting, match="is a bucket"):
        removed(at(bucket), side, recursive=False)
    assert bucket.keys() == ["p/a"]


def test_removing_recursively_takes_what_is_below_and_nothing_beside(bucket: Bucket, side: Side) -> None:
    fill(bucket, "p/a", "p/b/c", "p2", "p_backup/x")
    summary = removed(at(bucket, "p"), side)
    assert (summary.exit_code, summary.deleted, bucket.keys()) == (0, 2, ["p2", "p_backup/x"])


def test_H68_markers_and_the_object_itself_are_removed_too(bucket: Bucket, side: Side, server: Server) -> None:
    if not server.facts.any_key:
        pytest.skip("keys are paths of a folder")
    fill(bucket, "p", "p/", "p/a", "p/sub/", "q")
    assert removed(at(bucket, "p"), side).deleted == 4
    assert bucket.keys() == ["q"]


def test_odd_names_are_removed(bucket: Bucket, side: Side, server: Server) -> None:
    can_be_listed = [name for name in ODD if server.facts.encodes_listings or name.isprintable()]
    fill(bucket, *(f"p/{name}" for name in can_be_listed), "keep")
    summary = removed(at(bucket, "p"), side)
    assert (summary.exit_code, summary.failed, bucket.keys()) == (0, 0, ["keep"])


@pytest.mark.slow
def test_more_than_a_page_is_removed(bucket: Bucket, side: Side) -> None:
    fill(bucket, *(f"p/{number:04d}" for number in range(2100)))
    summary = removed(at(bucket), side)
    assert (summary.exit_code, summary.deleted, bucket.keys()) == (0, 2100, [])


def test_a_removal_is_told_from_beginning_to_end(bucket: Bucket, side: Side) -> None:
    fill(bucket, "p/a", "p/b")
    events: list[Event] = []
    summary = removed(at(bucket, "p"), side, emit=events.append)
    assert isinstance(events[0], RunStarted)
    assert isinstance(events[-1], RunEnded)
    assert events[-1].summary.verdict == summary.verdict
    outcomes = [one for event in events if isinstance(event, ObjectsEnded) for one in event.outcomes]
    assert {(one.verb, one.key, one.proof) for one in outcomes} == {
        ("delete", "p/a", "seen to be gone"), ("delete", "p/b", "seen to be gone"),
    }  # fmt: skip


def test_H05_errors_of_single_keys_in_a_200_are_read_and_named(bucket: Bucket, fronted: Side, front: Front) -> None:
    fill(bucket, "p/a", "p/b", "p/c")
    front.fault("DeleteObjects", kind=faults.DeleteErrors(keys=("p/b",)))
    summary = removed(at(bucket, "p"), fronted)
    assert (summary.exit_code, summary.deleted, summary.failed) == (1, 2, 1)
    assert [(one.key, one.error_code) for one in summary.failures] == [("p/b", "AccessDenied")]
    assert "INCOMPLETE" in summary.verdict
    assert bucket.keys() == ["p/b"]


def test_H05_a_key_that_the_answer_does_not_name_is_looked_for(bucket: Bucket, fronted: Side, front: Front) -> None:
    fill(bucket, "p/a", "p/b", "p/c")
    front.fault("DeleteObjects", kind=faults.DeleteErrors(keys=("p/b",), silent=True))
    summary = removed(at(bucket, "p"), fronted)
    assert (summary.exit_code, summary.deleted, bucket.keys()) == (0, 3, [])


def test_a_key_that_fails_for_now_is_tried_again(bucket: Bucket, fronted: Side, front: Front) -> None:
    fill(bucket, "p/a", "p/b", "p/c")
    front.fault("DeleteObjects", kind=faults.DeleteErrors(code="InternalError"))
    summary = removed(at(bucket, "p"), fronted)
    assert (summary.exit_code, summary.deleted, bucket.keys()) == (0, 3, [])


@pytest.mark.parametrize("kind", [faults.Lie(), faults.EmptyBody(), faults.CutXml(at=20)], ids=["lie", "empty", "cut"])
def test_an_answer_of_200_is_no_proof_of_a_deletion(
    kind: faults.Kind, bucket: Bucket, fronted: Side, front: Front
) -> None:
    fill(bucket, "p/a", "p/b")
    front.fault("DeleteObjects", kind=kind, nth="always")
    front.fault("Delete", kind=faults.Lie(), nth="always")
    summary = removed(at(bucket, "p"), fronted)
    assert (summary.exit_code, summary.deleted, summary.failed) == (1, 0, 2)
    assert all("still has it" in one.error for one in summary.failures)


def test_a_single_deletion_that_did_not_happen_is_noticed(bucket: Bucket, fronted: Side, front: Front) -> None:
    fill(bucket, "p/a")
    front.fault("Delete", kind=faults.Lie())
    summary = removed(at(bucket, "p/a"), fronted, recursive=False)
    assert (summary.exit_code, summary.failed) == (1, 1)


def test_a_server_without_bulk_deletion_is_asked_singly(bucket: Bucket, fronted: Side, front: Front) -> None:
    fill(bucket, "p/a", "p/b", "p/c")
    front.fault("DeleteObjects", kind=faults.Refuse(400, "MalformedXML"), nth="always")
    summary = removed(at(bucket, "p"), fronted)
    assert (summary.exit_code, summary.deleted, bucket.keys()) == (0, 3, [])
    assert front.count("Delete") == 3


def test_a_denied_removal_ends_with_the_code_of_permissions(bucket: Bucket, fronted: Side, front: Front) -> None:
    fill(bucket, "p/a", "p/b")
    front.fault("DeleteObjects", kind=faults.ACCESS_DENIED)
    with pytest.raises(AccessDenied, match="s3:DeleteObject"):
        removed(at(bucket, "p"), fronted)


def test_H44_what_is_written_again_meanwhile_stays(bucket: Bucket, fronted: Side, front: Front) -> None:
    fill(bucket, "p/a", "p/b")
    front.after("DeleteObjects", call=lambda request: bucket.put("p/a", b"another one"))
    summary = removed(at(bucket, "p"), fronted)
    assert bucket.get("p/a") == b"another one"
    assert [one.error_code for one in summary.failures] == ["Replaced"]
    assert summary.deleted == 1


def test_what_is_new_meanwhile_stays_and_is_told(bucket: Bucket, fronted: Side, front: Front) -> None:
    fill(bucket, "p/a", "p/b")
    front.after("DeleteObjects", call=lambda request: bucket.put("p/zzz", b"new"))
    summary = removed(at(bucket, "p"), fronted)
    assert (summary.exit_code, summary.deleted, bucket.keys()) == (0, 2, ["p/zzz"])
    assert any("while the removal went on" in sentence for sentence in summary.notices)


def test_a_stop_leaves_the_rest_and_says_so(bucket: Bucket, fronted: Side, front: Front) -> None:
    fill(bucket, *(f"p/{number}" for number in range(5)))
    stop = Stop()
    front.after("ListV2", nth=3, call=lambda request: stop.request("the test asked", 130))
    summary = removed(at(bucket, "p"), fronted, stop=stop)
    assert (summary.exit_code, summary.deleted, summary.left) == (130, 0, 5)
    assert "INTERRUPTED (the test asked)" in summary.verdict
    assert len(bucket.keys()) == 5


def test_a_bucket_with_versions_says_that_they_stay(bucket: Bucket, side: Side, server: Server) -> None:
    if not server.facts.versions:
        pytest.skip("no versions here")
    bucket.enable_versions()
    fill(bucket, "one", "p/a", "p/b")
    for location, recursive in ((at(bucket, "one"), False), (at(bucket, "p"), True)):
        events: list[Event] = []
        removed(location, side, recursive=recursive, emit=events.append)
        told = [event.sentence for event in events if isinstance(event, Notice)]
        assert any("delete markers were added" in sentence for sentence in told)


def test_a_removal_counts_its_requests(bucket: Bucket, fronted: Side, front: Front) -> None:
    fill(bucket, *(f"p/{number}" for number in range(50)))
    tally = Tally()
    asyncio.run(remove(at(bucket, "p"), fronted, recursive=True, tally=tally))
    assert tally.requests == front.count() <= 8
    assert tally.done_objects == 50
