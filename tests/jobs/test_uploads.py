"""Unfinished uploads listed and aborted: on real servers, with journals that know some, and through a front that lies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sterna.jobs.uploads import Choice, Found, abort_uploads, list_uploads
from sterna.journal import questions
from sterna.journal.database import reading
from sterna.journal.journal import Journal
from sterna.journal.lock import is_held
from sterna.journal.places import SUFFIX
from sterna.journal.route import Route, route_between
from sterna.model.errors import AccessDenied, Unsupported
from sterna.model.events import Event, Notice, Summary, ignore
from sterna.model.location import BucketPath, LocalPath, parse_location
from sterna.model.outcomes import Outcome, Status
from sterna.model.stop import Stop
from sterna.model.synced import Seen
from sterna.model.transfers import OpenUpload
from sterna.wire.side import Side
from tests.faults import front as f
from tests.faults.front import Front
from tests.places import at
from tests.servers.oracle import Bucket, Upload

OURS, EVERYBODYS = Choice(ours=True), Choice()
PART = b"x" * 1000


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def route(bucket: Bucket, side: Side, tmp_path: Path) -> Route:
    return route_to(bucket, "p", tmp_path, side)


def route_to(bucket: Bucket, path: str, folder: Path, side: Side) -> Route:
    return route_between(LocalPath(folder / "source"), at(bucket, path), target_endpoints=side.addressing.urls)


def begun(bucket: Bucket, key: str, parts: int = 1) -> str:
    upload_id = bucket.create_upload(key)
    for number in range(1, parts + 1):
        bucket.put_part(key, upload_id, number, PART)
    return upload_id


@contextmanager
def running(route: Route, state: Path, *uploads: tuple[str, str]) -> Iterator[Journal]:
    """A run that has begun these uploads, by key below its destination and id."""
    journal = Journal.open(route, state, command="sync")
    journal.begin()
    target = parse_location(route.target)
    assert isinstance(target, BucketPath)
    for key, upload_id in uploads:
        token = f"token of {key} {upload_id}"
        journal.upload_begun(
            OpenUpload(target.prefix + key, token, Seen(9), 5, "MD5", upload_id, begun_ns=time.time_ns())
        )
    assert asyncio.run(journal.flushed())
    try:
        yield journal
    finally:
        journal.close()


def known(route: Route, state: Path) -> list[str]:
    with reading(state / "journals" / f"{route.name}{SUFFIX}") as connection:
        return [one.id for one in questions.open_uploads(connection)]


def listed(
    location: BucketPath, side: Side, state: Path, choice: Choice = EVERYBODYS, emit: Callable[[Event], None] = ignore
) -> list[Found]:
    async def read() -> list[Found]:
        return [one async for batch in list_uploads(location, side, state, choice, emit=emit) for one in batch]

    return asyncio.run(read())


def aborted(
    location: BucketPath, side: Side, state: Path, choice: Choice = OURS, *,
    emit: Callable[[Event], None] = ignore, stop: Stop | None = None,
) -> Summary:  # fmt: skip
    return asyncio.run(abort_uploads(location, side, state, choice, emit=emit, stop=stop))


def test_each_upload_is_listed_with_its_parts_and_whose_it_is(
    bucket: Bucket, side: Side, state: Path, route: Route
) -> None:
    mine, other = begun(bucket, "p/a", parts=2), begun(bucket, "p/b")
    begun(bucket, "p_backup/c")
    with running(route, state, ("a", mine)):
        pass
    found = listed(at(bucket, "p"), side, state)
    assert [(one.key, one.id, one.parts, one.size, one.is_ours, one.is_in_use) for one in found] == [
        ("p/a", mine, 2, 2000, True, False), ("p/b", other, 1, 1000, False, False),
    ]  # fmt: skip
    assert {one.storage_class for one in found} == {"STANDARD"}
    assert [one.key for one in listed(at(bucket, "p"), side, state, OURS)] == ["p/a"]


def test_H94_only_ours_are_aborted_and_the_journal_forgets_them(
    bucket: Bucket, side: Side, state: Path, route: Route
) -> None:
    mine, other = begun(bucket, "p/a"), begun(bucket, "p/a")
    with running(route, state, ("a", mine)):
        pass
    summary = aborted(at(bucket, "p"), side, state)
    assert (summary.exit_code, summary.aborted, summary.deleted) == (0, 1, 0)
    assert summary.verdict == "COMPLETE: 1 upload (1000 B) aborted, and seen to be gone."
    assert bucket.uploads() == [Upload("p/a", other)]
    assert known(route, state) == []
    assert aborted(at(bucket), side, state).verdict == "There was nothing to abort."


def test_everybodys_are_aborted_below_the_path_and_nowhere_else(bucket: Bucket, side: Side, state: Path) -> None:
    for key in ("p", "p/a", "p/b/c", "p2", "p_backup/x"):
        begun(bucket, key)
    summary = aborted(at(bucket, "p"), side, state, EVERYBODYS)
    assert (summary.exit_code, summary.aborted) == (0, 3)
    assert sorted(one.key for one in bucket.uploads()) == ["p2", "p_backup/x"]


def test_an_upload_of_another_endpoint_bucket_key_or_id_is_not_ours(
    bucket: Bucket, side: Side, state: Path, tmp_path: Path
) -> None:
    upload_id = begun(bucket, "p/a")
    elsewhere = route_between(LocalPath(tmp_path), at(bucket, "p"), target_endpoints=["https://s3.example.org"])
    other_bucket = route_between(LocalPath(tmp_path), BucketPath("other", "p"), target_endpoints=side.addressing.urls)
    other_key = route_to(bucket, "q", tmp_path, side)
    for route in (elsewhere, other_bucket, other_key):
        with running(route, state, ("a", upload_id)):
            pass
    with running(route_to(bucket, "p", tmp_path, side), state, ("a", "another-id"), ("b", "")):
        pass
    assert [one.is_ours for one in listed(at(bucket), side, state)] == [False]
    assert aborted(at(bucket), side, state).aborted == 0
    assert len(bucket.uploads()) == 1


@pytest.mark.parametrize("choice", [OURS, EVERYBODYS], ids=["ours", "everybodys"])
def test_what_a_run_has_in_hand_is_never_aborted(
    bucket: Bucket, side: Side, state: Path, route: Route, tmp_path: Path, choice: Choice
) -> None:
    mine = begun(bucket, "p/a")
    begun(bucket, "p/unknown-yet")
    old = begun(bucket, "p/sub/old")
    other_route = route_to(bucket, "p/sub", tmp_path, side)
    with running(other_route, state, ("old", old)):
        pass
    with running(route, state, ("a", mine)) as journal:
        found = {one.key: (one.is_ours, one.is_in_use) for one in listed(at(bucket), side, state)}
        assert found == {"p/a": (True, True), "p/sub/old": (True, False), "p/unknown-yet": (False, True)}
        events: list[Event] = []
        summary = aborted(at(bucket), side, state, choice, emit=events.append)
        assert (summary.exit_code, summary.aborted) == (0, 1)
        assert summary.skipped == (1 if choice is OURS else 2)
        assert "may be in use" in summary.verdict
        assert sorted(one.key for one in bucket.uploads()) == ["p/a", "p/unknown-yet"]
        assert journal.is_kept
    assert known(route, state) == [mine]
    assert aborted(at(bucket), side, state, choice).aborted == (1 if choice is OURS else 2)


def test_a_lock_is_asked_about_without_taking_it(bucket: Bucket, state: Path, route: Route) -> None:
    path = state / "journals" / f"{route.name}{SUFFIX}"
    assert not is_held(path)
    with running(route, state):
        assert is_held(path)
        holder = path.with_suffix(".holder").read_bytes()
    assert not is_held(path)
    path.with_suffix(".holder").write_bytes(holder)  # somebody alive is named, and holds nothing
    assert not is_held(path)


def test_only_what_was_begun_before_a_moment_is_meant(bucket: Bucket, side: Side, state: Path, route: Route) -> None:
    mine = begun(bucket, "p/a")
    with running(route, state, ("a", mine)):
        pass
    hour_ns = 3600 * 10**9
    for ours in (True, False):
        young, old = Choice(ours, time.time_ns() - hour_ns), Choice(ours, time.time_ns() + hour_ns)
        assert listed(at(bucket), side, state, young) == []
        assert aborted(at(bucket), side, state, young).aborted == 0
        assert len(listed(at(bucket), side, state, old)) == 1
    assert aborted(at(bucket), side, state, Choice(before_ns=time.time_ns() + hour_ns)).aborted == 1


def test_an_upload_that_is_gone_already_is_forgotten_and_no_failure(
    bucket: Bucket, side: Side, state: Path, route: Route
) -> None:
    mine = begun(bucket, "p/a")
    bucket.abort(Upload("p/a", mine))
    with running(route, state, ("a", mine)):
        pass
    assert listed(at(bucket), side, state) == []
    summary = aborted(at(bucket), side, state)
    assert (summary.exit_code, summary.aborted, known(route, state)) == (0, 0, [])


def test_one_that_ends_while_it_is_aborted_is_no_failure(
    bucket: Bucket, fronted: Side, front: Front, state: Path
) -> None:
    mine = begun(bucket, "p/a")
    front.before("Abort", call=lambda _: bucket.abort(Upload("p/a", mine)))
    assert aborted(at(bucket), fronted, state, EVERYBODYS).aborted == 1


def test_H94_ours_are_found_also_where_the_server_does_not_list_them(
    bucket: Bucket, fronted: Side, front: Front, state: Path, tmp_path: Path
) -> None:
    """As MinIO, which lists the uploads of a whole key alone; and as those that cannot list any."""
    ids = {key: begun(bucket, f"p/{key}") for key in ("a", "b", "c")}
    with running(route_to(bucket, "p", tmp_path, fronted), state, *ids.items()):
        pass
    hidden = front.fault("ListUploads", nth="always", kind=f.ListWithout("p/a", "p/c"))
    assert [one.key for one in listed(at(bucket), fronted, state)] == ["p/a", "p/b", "p/c"]
    front.remove(hidden)
    front.fault("ListUploads", nth="always", kind=f.NOT_IMPLEMENTED)
    with pytest.raises(Unsupported, match="does not list"):
        listed(at(bucket), fronted, state)
    assert aborted(at(bucket), fronted, state).aborted == 3
    assert bucket.uploads() == []


def test_H11_parts_that_arrive_behind_an_abort_are_seen_and_aborted_again(
    bucket: Bucket, fronted: Side, front: Front, state: Path
) -> None:
    begun(bucket, "p/a")
    front.fault("Abort", nth=range(1, 3), kind=f.Lie())
    summary = aborted(at(bucket), fronted, state, EVERYBODYS)
    assert (summary.exit_code, summary.aborted, front.count("Abort")) == (0, 1, 3)
    assert bucket.uploads() == []


def test_H11_an_upload_that_stays_whatever_is_answered_fails_by_name(
    bucket: Bucket, fronted: Side, front: Front, state: Path, tmp_path: Path
) -> None:
    stays, goes = begun(bucket, "p/a"), begun(bucket, "p/b")
    route = route_to(bucket, "p", tmp_path, fronted)
    with running(route, state, ("a", stays), ("b", goes)):
        pass
    front.fault("Abort", key="p/a", nth="always", kind=f.Lie())
    summary = aborted(at(bucket), fronted, state)
    assert (summary.exit_code, summary.aborted, summary.failed) == (1, 1, 1)
    assert stays in summary.failures[0].error
    assert "still there" in summary.failures[0].error
    assert known(route, state) == [stays]
    assert front.count("Abort", key="p/a") == 5


def test_parts_that_nobody_may_look_at_are_told_of_once(
    bucket: Bucket, fronted: Side, front: Front, state: Path
) -> None:
    begun(bucket, "p/a")
    begun(bucket, "p/b")
    front.fault("ListParts", nth="always", kind=f.ACCESS_DENIED)
    notices: list[Event] = []
    found = listed(at(bucket), fronted, state, emit=notices.append)
    assert [(one.key, one.parts, one.size) for one in found] == [("p/a", None, None), ("p/b", None, None)]
    (notice,) = notices
    assert isinstance(notice, Notice)
    assert "s3:ListMultipartUploadParts" in notice.sentence
    summary = aborted(at(bucket), fronted, state, EVERYBODYS)
    assert (summary.exit_code, summary.aborted, summary.failed) == (1, 0, 2)
    assert all("is not known" in one.error for one in summary.failures)


def test_a_denied_listing_names_the_permission(bucket: Bucket, fronted: Side, front: Front, state: Path) -> None:
    front.fault("ListUploads", nth="always", kind=f.ACCESS_DENIED)
    with pytest.raises(AccessDenied, match="s3:ListBucketMultipartUploads"):
        listed(at(bucket), fronted, state)


def test_an_abort_that_is_asked_to_end_leaves_the_rest(bucket: Bucket, side: Side, state: Path) -> None:
    begun(bucket, "p/a")
    stop = Stop()
    stop.request("SIGINT", 130)
    summary = aborted(at(bucket), side, state, EVERYBODYS, stop=stop)
    assert (summary.exit_code, summary.aborted, summary.left) == (130, 0, 1)
    assert len(bucket.uploads()) == 1


def test_a_journal_that_cannot_be_read_leaves_the_result_incomplete(
    bucket: Bucket, side: Side, state: Path, route: Route
) -> None:
    with running(route, state):
        pass
    (state / "journals" / f"{route.name}{SUFFIX}").write_bytes(b"no journal" * 200)
    begun(bucket, "p/a")
    summary = aborted(at(bucket), side, state)
    assert summary.exit_code == 1
    assert "not every journal could be used" in summary.verdict
    assert any("damaged" in one for one in summary.notices)


def test_outcomes_name_the_upload(bucket: Bucket, side: Side, state: Path) -> None:
    mine = begun(bucket, "p/a")
    outcomes: list[Outcome] = []

    def hear(event: Event) -> None:
        outcomes.extend(getattr(event, "outcomes", ()))

    aborted(at(bucket), side, state, EVERYBODYS, emit=hear)
    (one,) = outcomes
    assert (one.verb, one.key, one.status, one.size, one.proof) == (
        "abort",
        "p/a",
        Status.DONE,
        1000,
        "seen to be gone",
    )
    assert mine in one.because


@pytest.mark.slow
def test_H93_more_uploads_and_more_parts_than_a_page_holds_are_all_seen(
    bucket: Bucket, fronted: Side, front: Front, state: Path
) -> None:
    for number in range(70):
        bucket.create_upload(f"p/{number:03d}")
    begun(bucket, "p/020", parts=5)
    front.fault(("ListParts", "ListUploads"), nth="always", kind=SmallPages())
    found = listed(at(bucket), fronted, state)
    assert [one.key for one in found] == sorted([*(f"p/{number:03d}" for number in range(70)), "p/020"])
    assert sum(one.parts or 0 for one in found) == 5
    assert aborted(at(bucket), fronted, state, EVERYBODYS).aborted == 71
    assert bucket.uploads() == []


class SmallPages(f.Kind):
    """The server shows fewer parts and uploads in a page than it is asked for."""

    def before(self, exchange: f.Exchange, fault: f.Fault) -> None:
        exchange.target = exchange.target.replace("max-parts=1000", "max-parts=2")
        exchange.target = exchange.target.replace("max-uploads=1000", "max-uploads=20")
        fault.hit()
