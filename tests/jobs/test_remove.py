"""Remove, against real servers and through a front that lies."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from sterna.jobs.remove import remove
from sterna.model.errors import AccessDenied, ObjectGone, WrongSetting
from sterna.model.events import Event, Notice, ObjectsEnded, RunEnded, RunStarted, Summary, Tally, ignore
from sterna.model.location import BucketPath
from sterna.model.stop import Stop
from sterna.wire.side import Side
from tests.faults import front as faults
from tests.faults.front import Front
from tests.places import ODD, at, fill
from tests.servers.oracle import Bucket
from tests.servers.server import Server

LAST_MODIFIED = re.compile(rb"(?<=<LastModified>)[^<]*")


def removed(location: BucketPath, side: Side, *, recursive: bool = True, stop: Stop | None = None,
            emit: Callable[[Event], None] = ignore) -> Summary:  # fmt: skip
    return asyncio.run(remove(location, side, recursive=recursive, emit=emit, stop=stop))


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
    with pytest.raises(WrongSetting, match="ends in a slash"):
        removed(BucketPath(bucket.name, "p/a", says_folder=True), side, recursive=False)
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
    fill(bucket, *(f"p/{number:04d}" for number in range(1001)))
    summary = removed(at(bucket), side)
    assert (summary.exit_code, summary.deleted, bucket.keys()) == (0, 1001, [])


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


def test_what_a_listing_showed_late_is_removed_by_the_clock_of_the_server(
    bucket: Bucket, fronted: Side, front: Front
) -> None:
    fill(bucket, "p/a", "p/b", "p/c")
    ahead = datetime.now(UTC) + timedelta(minutes=10)  # of this machine: what is old there is of the future here
    stamp = (ahead - timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%S.000Z").encode()
    front.fault("ListV2", kind=faults.SetHeader("Date", format_datetime(ahead, usegmt=True)), nth="always")
    front.fault("ListV2", kind=faults.Rewrite(lambda page: LAST_MODIFIED.sub(stamp, page)), nth="always")
    front.fault(
        "ListV2", kind=faults.ListWithout("p/b"), nth="always", where=lambda request: not front.count("DeleteObjects")
    )
    summary = removed(at(bucket, "p"), fronted)
    assert (summary.exit_code, summary.deleted, bucket.keys()) == (0, 3, [])
    assert summary.notices == []


def test_what_no_pass_was_shown_and_is_there_at_the_end_fails_by_name(
    bucket: Bucket, fronted: Side, front: Front
) -> None:
    fill(bucket, "p/a", "p/b", "p/c")
    time.sleep(1.1)  # an object of the same second may have been written meanwhile
    passes = itertools.count()  # each second listing from the start looks whether another pass is due
    front.fault(
        "ListV2", kind=faults.ListWithout("p/b"), nth="always",
        where=lambda request: (
            "max-keys=1000" in request.target and "start-after" not in request.target and next(passes) % 2 == 0
        ),
    )  # fmt: skip
    summary = removed(at(bucket, "p"), fronted)
    assert (summary.exit_code, summary.deleted, bucket.keys()) == (1, 2, ["p/b"])
    assert [one.key for one in summary.failures] == ["p/b"]
    assert "INCOMPLETE" in summary.verdict


def test_a_prefix_with_a_marker_of_its_own_is_told_to_be_removed_recursively(
    bucket: Bucket, side: Side, server: Server
) -> None:
    if not server.facts.any_key:
        pytest.skip("keys are paths of a folder")
    fill(bucket, "p/", "p/a")
    with pytest.raises(ObjectGone, match="--recursive"):
        removed(at(bucket, "p"), side, recursive=False)


def test_a_stop_leaves_the_rest_and_says_so(bucket: Bucket, fronted: Side, front: Front) -> None:
    fill(bucket, *(f"p/{number}" for number in range(5)))
    stop = Stop()
    front.after("ListV2", nth=4, call=lambda request: stop.request("the test asked", 130))
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


def test_who_removes_from_a_missing_bucket_is_not_told_to_make_it(server: Server, side: Side) -> None:
    with pytest.raises(WrongSetting, match="does not exist at this endpoint; check its name") as refused:
        removed(BucketPath("sterna-no-such-bucket"), side)
    assert "sterna mb" not in refused.value.sentence
