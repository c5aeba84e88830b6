"""Restore: a bucket as it is and as it was, and what lies in an archive."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

import sterna
from sterna.jobs.settings import Manifesting, Settings
from sterna.jobs.thaw import Thawing
from sterna.model.errors import SourceUnknown, WrongSetting
from sterna.model.events import Event, Notice, ObjectsEnded, RunEnded, Summary
from sterna.model.outcomes import Outcome, Status
from sterna.model.stop import Stop
from sterna.moving.settings import Limits
from sterna.planning.archive import Tier
from sterna.planning.compare import Compare
from sterna.planning.filters import Filter
from sterna.planning.rules import option_rule
from sterna.wire.side import Side
from tests.e2e.trees import leftovers, plant, tree
from tests.faults import front as f
from tests.faults.front import Front
from tests.faults.front.archive import Archive
from tests.servers.oracle import Bucket
from tests.servers.server import Server

MIB = 1 << 20
SOON = 0.001  # seconds between two looks


@dataclass(frozen=True)
class Stored:
    """One version as the server lists it."""

    key: str
    version: str
    time: str


def stored(bucket: Bucket) -> dict[str, list[Stored]]:
    """The versions and delete markers of each key, the oldest first. For keys without odd characters, and servers whose
    times tell one version from the next."""
    body = bucket.oracle.must("GET", bucket.name, query={"versions": ""}).body.decode()
    found: dict[str, list[Stored]] = {}
    for kind in ("Version", "DeleteMarker"):
        for record in re.findall(f"<{kind}>(.*?)</{kind}>", body, re.DOTALL):
            key, version, time = (
                re.findall(f"<{name}>(.*?)</", record)[0] for name in ("Key", "VersionId", "LastModified")
            )
            found.setdefault(key, []).append(Stored(key, version, time))
    if not re.search(r"<LastModified>[^<]*\.\d*[1-9]", body):
        pytest.skip("this server tells whole seconds only, and a test does not wait for the next one")
    return {key: sorted(ones, key=lambda one: one.time) for key, ones in found.items()}


def just_after(one: Stored) -> str:
    """A moment a little later than that, not at the beginning of a second, which would mean all of it."""
    return re.sub(r"(\.\d{3})\d*Z$", r"\g<1>1Z", one.time)


@pytest.fixture
def versioned(bucket: Bucket, server: Server) -> Bucket:
    if not server.facts.versions:
        pytest.skip(f"{server.name} keeps no versions")
    bucket.enable_versions()
    return bucket


def settings(side: Side, **more: object) -> Settings:
    return Settings(source=side, **more)  # type: ignore[arg-type]


def outcomes(events: list[Event]) -> dict[str, Outcome]:
    return {one.key: one for event in events if isinstance(event, ObjectsEnded) for one in event.outcomes}


# As it is


def test_a_bucket_is_brought_back_and_again_nothing_is_moved(bucket: Bucket, side: Side, tmp_path: Path) -> None:
    bucket.put("p/a", b"1")
    bucket.put("p/b/c", b"22")
    target = plant(tmp_path / "target", {"mine": b"stays", "a": b"another size"})
    summary = sterna.restore(bucket.url("p"), target, settings=settings(side))
    assert (summary.exit_code, summary.command, summary.downloaded) == (0, "restore", 2)
    assert tree(target) == {"a": b"1", "b/c": b"22", "mine": b"stays"}
    again = sterna.restore(bucket.url("p"), target, settings=settings(side))
    assert (again.exit_code, again.downloaded, again.kept) == (0, 0, 2)


def test_where_nothing_is_no_folder_is_made(bucket: Bucket, side: Side, tmp_path: Path) -> None:
    with pytest.raises(SourceUnknown, match="has no objects below it"):
        sterna.restore(bucket.url("p"), tmp_path / "target", settings=settings(side))
    assert not (tmp_path / "target").exists()


def test_only_from_a_bucket_into_a_folder(tmp_path: Path) -> None:
    with pytest.raises(WrongSetting, match="into a folder"):
        sterna.restore(tmp_path, "s3://bucket/p")


# Against the manifest


@pytest.fixture
def vouched(bucket: Bucket, fronted: Side, tmp_path: Path) -> str:
    """A bucket that a run with a manifest has written to; gives the key of the manifest."""
    plant(tmp_path / "tree", {"a": b"1", "b": b"22"})
    with_manifest = Settings(destination=fronted, manifest=Manifesting())
    assert sterna.sync(tmp_path / "tree", bucket.url("p"), settings=with_manifest).exit_code == 0
    [key] = [one.key for one in bucket.listing() if "/.sterna/" in one.key]
    return key


def test_what_is_restored_is_held_against_the_manifest_beside_it(
    bucket: Bucket, vouched: str, fronted: Side, tmp_path: Path
) -> None:
    target = plant(tmp_path / "t", {"mine": b"was here"})
    summary = sterna.restore(bucket.url("p"), target, settings=settings(fronted))
    assert (summary.exit_code, tree(target)) == (0, {"a": b"1", "b": b"22", "mine": b"was here"})
    [told] = summary.notices
    assert told.startswith(f"Held against the manifest {vouched.rpartition('/')[2]} of 20")
    assert "2 objects as it says." in told
    quiet = sterna.restore(bucket.url("p"), target, is_held=False, settings=settings(fronted))
    assert (quiet.exit_code, quiet.notices) == (0, [])


def test_what_is_not_as_the_manifest_says_fails_by_name(
    bucket: Bucket, vouched: str, fronted: Side, tmp_path: Path
) -> None:
    manifest = bucket.get(vouched)
    bucket.put("p/a", b"x")
    bucket.delete("p/b")
    bucket.put(vouched, manifest)  # now it is younger than what was changed
    summary = sterna.restore(bucket.url("p"), tmp_path / "t", settings=settings(fronted))
    assert (summary.exit_code, summary.downloaded, summary.failed) == (1, 1, 2)
    errors = {one.key: one.error for one in summary.failures}
    assert errors["a"].startswith("a is not what the manifest says: CRC64NVME differs")
    assert errors["b"].startswith("b: the manifest names it, and the bucket does not have it; ")
    assert all(way in errors["b"] for way in ("--at TIME", "--no-manifest", "a new backup"))


def test_what_was_stored_after_the_manifest_is_told_and_no_failure(
    bucket: Bucket, vouched: str, fronted: Side, tmp_path: Path
) -> None:
    bucket.put("p/a", b"later")
    bucket.put("p/c", b"new")
    target = plant(tmp_path / "t", {"mine": b"was here"})
    events: list[Event] = []
    summary = sterna.restore(bucket.url("p"), target, settings=settings(fronted), on_event=events.append)
    assert (summary.exit_code, tree(target)) == (0, {"a": b"later", "b": b"22", "c": b"new", "mine": b"was here"})
    assert (summary.downloaded, summary.kept) == (3, 0)
    told = "1 object as it says; 1 object replaced since the manifest (a); 1 object new since the manifest (c)."
    assert told in summary.notices[0]
    later = [
        one for event in events if isinstance(event, ObjectsEnded) for one in event.outcomes if one.verb == "verify"
    ]
    assert {one.key: one.because for one in later} == {
        "a": "replaced since the manifest, which says nothing of it",
        "c": "new since the manifest, which says nothing of it",
    }


def test_the_manifest_is_none_of_the_bytes_that_were_moved(
    bucket: Bucket, vouched: str, fronted: Side, tmp_path: Path
) -> None:
    moved = [sterna.restore(bucket.url("p"), tmp_path / "t", settings=settings(fronted)).moved_bytes for _ in range(2)]
    assert moved == [3, 0]


def test_as_of_a_moment_before_a_manifest_that_is_none_of_what_is_lost(
    bucket: Bucket, vouched: str, fronted: Side, tmp_path: Path
) -> None:
    summary = sterna.restore(bucket.url("p"), tmp_path / "t", at="1d", settings=settings(fronted))
    assert (summary.exit_code, sorted(one.key for one in summary.failures)) == (1, ["a", "b"])
    assert summary.failed == 2


def test_a_damaged_manifest_fails_and_one_of_an_unfinished_restore_waits(
    bucket: Bucket, vouched: str, front: Front, fronted: Side, tmp_path: Path
) -> None:
    archive(front, a="GLACIER")
    first = sterna.restore(bucket.url("p"), tmp_path / "t", settings=settings(fronted))
    assert (first.exit_code, [one.key for one in first.failures]) == (1, ["a"])
    assert first.notices[-1].startswith("Not held against the manifest")
    bucket.put(vouched, bucket.get(vouched)[:-20])
    filters = Filter(rules=option_rule("--exclude", "a").rules)
    second = sterna.restore(bucket.url("p"), tmp_path / "t", settings=settings(fronted, filters=filters))
    assert (second.exit_code, [f"p/{one.key}" for one in second.failures]) == (1, [vouched])
    assert second.failures[0].error.startswith(f"The manifest {bucket.url(vouched)} is damaged")
    assert (second.failed, second.verdict[:34]) == (0, "INCOMPLETE: the one object is in p")


# As it was


def test_the_tree_as_of_each_moment_is_the_one_that_stood_there(versioned: Bucket, side: Side, tmp_path: Path) -> None:
    def steps() -> list[tuple[Callable[[], object], str]]:
        put, delete = versioned.put, versioned.delete
        return [
            (lambda: put("p/a", b"1"), "p/a"),
            (lambda: put("p/b", b"22"), "p/b"),
            (lambda: put("p/a", b"333"), "p/a"),
            (lambda: delete("p/b"), "p/b"),
            (lambda: put("p/c/d", b"4444"), "p/c/d"),
            (lambda: put("p/b", b"55555"), "p/b"),
            (lambda: delete("p/a"), "p/a"),
            (lambda: delete("p/b"), "p/b"),
            (lambda: delete("p/c/d"), "p/c/d"),
        ]

    expected: list[dict[str, bytes]] = []
    keys = []
    for step, key in steps():
        step()
        keys.append(key)
        expected.append({name[2:]: body for name, body in versioned.contents("p/").items()})
    history = stored(versioned)
    moments = [just_after(history[key][keys[:number].count(key)]) for number, key in enumerate(keys)]
    assert moments == sorted(moments)
    for number, (moment, there) in enumerate(zip(moments, expected, strict=True)):
        target = tmp_path / str(number)
        if there:
            summary = sterna.restore(versioned.url("p"), target, at=moment, settings=settings(side))
            assert (summary.exit_code, summary.downloaded) == (0, len(there)), summary
            assert tree(target) == there, moment
        else:
            with pytest.raises(SourceUnknown, match="had no objects below it"):
                sterna.restore(versioned.url("p"), target, at=moment, settings=settings(side))
            assert not target.exists()


@pytest.mark.parametrize("in_parts", [True, False], ids=["in parts", "whole"])
def test_a_large_version_is_read_by_its_id_in_ranges_where_the_server_cuts_it(
    versioned: Bucket, side: Side, tmp_path: Path, in_parts: bool
) -> None:
    first, second = b"1" * (5 * MIB + 17), b"2" * (5 * MIB + 17)
    for body in (first, second):
        if in_parts:
            versioned.put_multipart("p/large", body[: 5 * MIB], body[5 * MIB :])
        else:
            versioned.put("p/large", body)
    moment = just_after(stored(versioned)["p/large"][0])
    few = settings(side, limits=Limits(part_threshold=MIB, part_size=5 * MIB))
    summary = sterna.restore(versioned.url("p"), tmp_path / "t", at=moment, settings=few)
    assert summary.exit_code == 0, summary
    assert tree(tmp_path / "t") == {"large": first}


@dataclass(frozen=True)
class RangesOfVersions(f.Kind):
    """Cuts the range that was asked for out of the whole version that ministack answers with."""

    def downward(self, exchange: f.Exchange, fault: f.Fault, answer: f.Answer) -> None:
        span = exchange.request.headers.get("range", "").removeprefix("bytes=")
        if answer.status == 200 and "versionId" in exchange.request.query and span:
            first, _, last = span.partition("-")
            body = answer.whole()
            answer.status = 206
            answer.replace(body[int(first) : int(last) + 1])
            answer.set("Content-Range", f"bytes {span}/{len(body)}")
            fault.hit()


def test_every_request_about_a_large_version_names_it(
    bucket: Bucket, front: Front, fronted: Side, tmp_path: Path
) -> None:
    bucket.enable_versions()
    first, second = b"1" * (2 * MIB + 17), b"2" * (2 * MIB + 17)
    for body in (first, second):
        bucket.put("p/large", body)
    oldest = stored(bucket)["p/large"][0]
    front.fault("GetRange", nth="always", kind=RangesOfVersions())
    few = settings(fronted, limits=Limits(part_threshold=MIB, part_size=MIB))
    summary = sterna.restore(bucket.url("p"), tmp_path / "t", at=just_after(oldest), settings=few)
    assert (summary.exit_code, tree(tmp_path / "t")) == (0, {"large": first}), summary
    about = [one for one in front.requests if one.key == "p/large"]
    assert {one.operation for one in about} == {"Head", "GetRange"}
    assert {one.query.get("versionId") for one in about} == {oldest.version}


def test_a_restore_as_of_a_moment_compares_with_that_version(versioned: Bucket, side: Side, tmp_path: Path) -> None:
    for body in (b"one", b"two"):
        versioned.put("p/a", body)
    moment, target = just_after(stored(versioned)["p/a"][0]), tmp_path / "t"

    def old(compare: Compare = Compare.AUTO) -> Summary:
        return sterna.restore(versioned.url("p"), target, at=moment, settings=settings(side, compare=compare))

    assert old().downloaded == 1
    assert (old().kept, old(Compare.CHECKSUM).kept) == (1, 1)
    (target / "a").write_bytes(b"six")
    assert old(Compare.CHECKSUM).downloaded == 1
    assert tree(target) == {"a": b"one"}
    assert sterna.restore(versioned.url("p"), target, settings=settings(side, compare=Compare.CHECKSUM)).downloaded == 1
    assert tree(target) == {"a": b"two"}


def test_a_version_from_before_versions_were_kept_is_found_by_its_id_null(
    bucket: Bucket, side: Side, server: Server, tmp_path: Path
) -> None:
    if not server.facts.versions:
        pytest.skip(f"{server.name} keeps no versions")
    bucket.put("p/a", b"before")
    bucket.enable_versions()
    bucket.put("p/a", b"after")
    [oldest] = [one for one in stored(bucket)["p/a"] if one.version == "null"]
    assert (
        sterna.restore(bucket.url("p"), tmp_path / "t", at=just_after(oldest), settings=settings(side)).exit_code == 0
    )
    assert tree(tmp_path / "t") == {"a": b"before"}


def test_what_is_written_while_no_versions_are_kept_is_not_taken_for_what_was_there(
    bucket: Bucket, front: Front, fronted: Side, tmp_path: Path
) -> None:
    bucket.put("p/a", b"one")
    front.before("Get", call=lambda _: bucket.put("p/a", b"two"))
    front.fault("Get", nth="always", kind=f.SetHeader("Last-Modified", "Fri, 01 Jan 2100 00:00:00 GMT"))
    summary = sterna.restore(bucket.url("p"), tmp_path / "t", at="0s", settings=settings(fronted))
    assert (summary.exit_code, tree(tmp_path / "t")) == (1, {})
    assert "replaced after it was listed" in summary.failures[0].error


def test_without_versions_what_is_older_comes_and_what_is_newer_is_named(
    bucket: Bucket, side: Side, server: Server, tmp_path: Path
) -> None:
    bucket.put("p/a", b"there")
    now = datetime.now(UTC)
    summary = sterna.restore(
        bucket.url("p"), tmp_path / "t", at=now.strftime("%Y-%m-%dT%H:%M:%SZ"), settings=settings(side)
    )
    assert (summary.exit_code, tree(tmp_path / "t")) == (0, {"a": b"there"})
    late = sterna.restore(bucket.url("p"), tmp_path / "late", at="1d", settings=settings(side))
    assert (late.exit_code, late.downloaded, late.failed) == (1, 0, 1)
    assert "was written later, while the bucket kept no versions" in late.failures[0].error
    assert tree(tmp_path / "late") == {}


@pytest.mark.parametrize("at", ["2999-01-01", "soon", ""])
def test_a_moment_that_is_none_is_refused(tmp_path: Path, at: str) -> None:
    with pytest.raises(WrongSetting, match="--at"):
        sterna.restore("s3://bucket/p", tmp_path / "t", at=at)


def test_a_time_without_a_zone_is_this_machines_and_that_is_said(bucket: Bucket, side: Side, tmp_path: Path) -> None:
    bucket.put("p/a", b"there")
    told = sterna.restore(bucket.url("p"), tmp_path / "t", at="2020-03-01T12:30", settings=settings(side)).notices
    local = datetime.fromisoformat("2020-03-01T12:30").astimezone().isoformat()
    assert [one for one in told if "zone" in one] == [
        f"--at 2020-03-01T12:30 is taken in this machine's zone: {local}."
    ]
    for clear in ("2020-03-01T12:30Z", "2020-03-01T12:30+02:00", "3d"):
        notices = sterna.restore(bucket.url("p"), tmp_path / "t", at=clear, settings=settings(side)).notices
        assert not [one for one in notices if "zone" in one]


# Archived objects


def archive(front: Front, looks: int | None = None, **kinds: str) -> Archive:
    kind = Archive({f"p/{name}": archived for name, archived in kinds.items()}, looks)
    front.fault("*", nth="always", kind=kind, must_hit=False)
    return kind


def fill(bucket: Bucket, *names: str) -> None:
    for name in names:
        bucket.put(f"p/{name}", name.encode() * 5)


def test_what_is_archived_is_counted_and_named_and_the_rest_comes(
    bucket: Bucket, front: Front, fronted: Side, tmp_path: Path
) -> None:
    fill(bucket, "a", "b", "c", "d")
    archive(front, a="GLACIER", b="GLACIER", c="DEEP_ARCHIVE")
    summary = sterna.restore(bucket.url("p"), tmp_path / "t", settings=settings(fronted))
    assert (summary.exit_code, summary.downloaded, summary.failed) == (1, 1, 3)
    assert sorted(one.key for one in summary.failures) == ["a", "b", "c"]
    assert all("--request-restore" in one.error for one in summary.failures)
    deep, flexible = summary.notices
    assert deep == (
        "Archived in DEEP_ARCHIVE: 1 object (5 B). Bringing that back takes up to 12 hours (standard) or up to 48 hours"
        " (bulk). --request-restore asks for it."
    )
    assert flexible == (
        "Archived in GLACIER: 2 objects (10 B). Bringing that back takes 1 to 5 minutes (expedited), 3 to 5 hours"
        " (standard) or 5 to 12 hours (bulk). --request-restore asks for it."
    )
    assert summary.verdict == (
        "INCOMPLETE: 1 of 4 objects is in place; 3 objects (15 B) are archived, and --request-restore asks for them."
    )
    assert tree(tmp_path / "t") == {"d": b"ddddd"}
    assert front.count("Get") == 1
    assert front.count("GetRange") == 1, "of what the listing shows to be archived one is tried"
    assert leftovers(tmp_path / "t") == []


def test_where_an_archive_is_only_the_name_of_a_class_its_objects_are_read(
    bucket: Bucket, front: Front, fronted: Side, tmp_path: Path
) -> None:
    fill(bucket, "a", "b")
    bucket.put("p/empty")
    kind = Archive({"p/a": "GLACIER", "p/b": "DEEP_ARCHIVE", "p/empty": "GLACIER"}, is_name=True)
    front.fault("*", nth="always", kind=kind, must_hit=False)
    summary = sterna.restore(bucket.url("p"), tmp_path / "t", settings=settings(fronted))
    assert (summary.exit_code, summary.notices) == (0, [])
    assert tree(tmp_path / "t") == {"a": b"aaaaa", "b": b"bbbbb", "empty": b""}
    assert front.count(("Get", "GetRange")) == 4, "one is tried"


@pytest.mark.slow
@pytest.mark.thorough
def test_a_server_that_keeps_an_archive_gives_back_what_was_asked_for(
    bucket: Bucket, side: Side, server: Server, tmp_path: Path
) -> None:
    for name, kind in (("a", "GLACIER"), ("b", "DEEP_ARCHIVE"), ("c", "STANDARD")):
        bucket.put(f"p/{name}", name.encode(), {"x-amz-storage-class": kind})
    if {one.storage_class for one in bucket.listing()} != {"GLACIER", "DEEP_ARCHIVE", "STANDARD"}:
        pytest.skip(f"{server.name} knows no such classes")
    first = sterna.restore(bucket.url("p"), tmp_path / "t", settings=settings(side))
    assert (first.exit_code, first.downloaded, first.failed) == (1, 1, 2)
    how = Thawing(is_requested=True, waits=True, interval_s=0.2)  # this server takes two seconds
    summary = sterna.restore(bucket.url("p"), tmp_path / "t", how=how, settings=settings(side))
    assert (summary.exit_code, summary.downloaded, summary.kept) == (0, 2, 1), summary
    assert tree(tmp_path / "t") == {"a": b"a", "b": b"b", "c": b"c"}


def test_what_was_asked_for_comes_with_a_later_restore(
    bucket: Bucket, front: Front, fronted: Side, tmp_path: Path
) -> None:
    fill(bucket, "a", "b", "c")
    ice = archive(front, a="GLACIER", b="DEEP_ARCHIVE")
    ask = Thawing(is_requested=True, tier=Tier.BULK, days=3)
    events: list[Event] = []
    first = sterna.restore(bucket.url("p"), tmp_path / "t", how=ask, settings=settings(fronted), on_event=events.append)
    assert sorted(ice.asked) == [("p/a", "Bulk", 3), ("p/b", "Bulk", 3)]
    assert (first.exit_code, first.downloaded, first.failed, first.left) == (1, 1, 0, 2)
    assert first.verdict == (
        "INCOMPLETE: 1 of 3 objects is in place; 2 objects (10 B) are being brought back from the archive, come again in"
        " up to 48 hours with the same command."
    )
    assert isinstance(events[-1], RunEnded)
    assert events[-1].summary.verdict == first.verdict
    assert outcomes(events)["a"].status is Status.LEFT
    ice.thaw("p/a")
    second = sterna.restore(bucket.url("p"), tmp_path / "t", how=ask, settings=settings(fronted))
    assert (second.exit_code, second.downloaded, second.kept, second.left) == (1, 1, 1, 1)
    assert len(ice.asked) == 2, "neither what has come is asked for again nor what is under way"
    ice.thaw("p/b")
    third = sterna.restore(bucket.url("p"), tmp_path / "t", settings=settings(fronted))
    assert (third.exit_code, third.downloaded, third.kept) == (0, 1, 2)
    assert tree(tmp_path / "t") == {"a": b"aaaaa", "b": b"bbbbb", "c": b"ccccc"}
    assert third.verdict.startswith("All 3 objects are in place")


@pytest.mark.parametrize("has_come", [False, True], ids=["409, under way", "200, there"])
def test_what_somebody_else_asked_for_in_between_is_as_good(
    bucket: Bucket, front: Front, fronted: Side, tmp_path: Path, has_come: bool
) -> None:
    fill(bucket, "a")
    ice = archive(front, looks=1, a="GLACIER")
    front.before("Other", call=lambda _: ice.thaw("p/a") if has_come else ice.ask("p/a"))
    how = Thawing(is_requested=True, waits=True, interval_s=SOON)
    summary = sterna.restore(bucket.url("p"), tmp_path / "t", how=how, settings=settings(fronted))
    assert (summary.exit_code, tree(tmp_path / "t")) == (0, {"a": b"aaaaa"})
    assert [one.status for one in front.requests_of("Other")] == [200 if has_come else 409]


def test_a_restore_that_waits_brings_each_as_it_comes(
    bucket: Bucket, front: Front, fronted: Side, tmp_path: Path
) -> None:
    names = [f"n{number}" for number in range(7)]
    fill(bucket, "there", *names)
    ice = archive(front, looks=2, **dict.fromkeys(names, "GLACIER"))
    how = Thawing(is_requested=True, waits=True, interval_s=SOON)
    summary = sterna.restore(bucket.url("p"), tmp_path / "t", how=how, settings=settings(fronted))
    assert (summary.exit_code, summary.downloaded, summary.failed, summary.left) == (0, 8, 0, 0), summary
    assert tree(tmp_path / "t") == {name: name.encode() * 5 for name in ("there", *names)}
    assert summary.verdict == "All 8 objects are in place: 8 downloaded and proved, 0 unchanged."
    assert sorted(ice.asked) == [(f"p/{name}", "Standard", 7) for name in names]
    assert [ice.looked.count(f"p/{name}") for name in names] == [4] * 7


def test_what_nobody_asked_for_is_not_waited_for(bucket: Bucket, front: Front, fronted: Side, tmp_path: Path) -> None:
    fill(bucket, "a", "b")
    ice = archive(front, looks=1, a="GLACIER", b="GLACIER")
    ice.ask("p/b")
    how = Thawing(waits=True, interval_s=SOON)
    summary = sterna.restore(bucket.url("p"), tmp_path / "t", how=how, settings=settings(fronted))
    assert (summary.exit_code, summary.downloaded, [one.key for one in summary.failures]) == (1, 1, ["a"])
    assert summary.verdict.endswith("1 object (5 B) is archived, and --request-restore asks for it.")


@pytest.mark.parametrize("threshold", [MIB, 1], ids=["small", "large"])
def test_archive_tiers_that_no_listing_shows_are_found_by_the_attempt(
    bucket: Bucket, front: Front, fronted: Side, tmp_path: Path, threshold: int
) -> None:
    fill(bucket, "a", "b", "c")
    ice = archive(front, looks=1, a="ARCHIVE_ACCESS", b="DEEP_ARCHIVE_ACCESS")
    few = settings(fronted, limits=Limits(part_threshold=threshold))
    summary = sterna.restore(bucket.url("p"), tmp_path / "t", settings=few)
    assert (summary.exit_code, summary.downloaded, summary.failed) == (1, 1, 2)
    assert [one.partition(":")[0] for one in summary.notices] == [
        "Archived in ARCHIVE_ACCESS", "Archived in DEEP_ARCHIVE_ACCESS",
    ]  # fmt: skip
    how = Thawing(is_requested=True, waits=True, interval_s=SOON)
    assert sterna.restore(bucket.url("p"), tmp_path / "t", how=how, settings=few).exit_code == 0
    assert sorted(ice.asked) == [("p/a", "Standard", 0), ("p/b", "Standard", 0)], "they stay: without days"
    assert tree(tmp_path / "t") == {"a": b"aaaaa", "b": b"bbbbb", "c": b"ccccc"}
    assert leftovers(tmp_path / "t") == []


def test_a_tier_that_an_archive_does_not_have_is_said_and_not_asked_for(
    bucket: Bucket, front: Front, fronted: Side, tmp_path: Path
) -> None:
    fill(bucket, "a", "b")
    ice = archive(front, a="GLACIER", b="DEEP_ARCHIVE")
    how = Thawing(is_requested=True, tier=Tier.EXPEDITED)
    summary = sterna.restore(bucket.url("p"), tmp_path / "t", how=how, settings=settings(fronted))
    assert (summary.exit_code, summary.left, summary.failed) == (1, 1, 1)
    assert "DEEP_ARCHIVE, which has no expedited tier" in summary.failures[0].error
    assert ice.asked == [("p/a", "Expedited", 7)]


def test_a_dry_run_looks_and_asks_for_nothing(bucket: Bucket, front: Front, fronted: Side, tmp_path: Path) -> None:
    fill(bucket, "a", "b")
    ice = archive(front, a="GLACIER")
    how = Thawing(is_requested=True, waits=True, interval_s=SOON)
    summary = sterna.restore(bucket.url("p"), tmp_path / "t", how=how, dry_run=True, settings=settings(fronted))
    assert (ice.asked, summary.planned, summary.failed) == ([], 1, 1)
    assert summary.notices[0].startswith("Archived in GLACIER: 1 object (5 B).")
    assert not (tmp_path / "t").exists()


def test_an_archived_version_is_asked_for_by_its_id(
    bucket: Bucket, front: Front, fronted: Side, tmp_path: Path
) -> None:
    bucket.enable_versions()
    fill(bucket, "a")
    bucket.put("p/a", b"later")
    archive(front, looks=1, a="GLACIER")
    oldest = stored(bucket)["p/a"][0]
    how = Thawing(is_requested=True, waits=True, interval_s=SOON)
    summary = sterna.restore(
        bucket.url("p"), tmp_path / "t", how=how, at=just_after(oldest), settings=settings(fronted)
    )
    assert (summary.exit_code, tree(tmp_path / "t")) == (0, {"a": b"aaaaa"})
    about = [one for one in front.requests if one.key == "p/a"]
    assert len(about) >= 4
    assert {one.query.get("versionId") for one in about} == {oldest.version}


def test_an_outage_while_it_waits_is_waited_out(bucket: Bucket, front: Front, fronted: Side, tmp_path: Path) -> None:
    fill(bucket, "a")
    ice = archive(front, looks=3, a="GLACIER")
    ice.ask("p/a")
    front.fault("Head", nth=range(2, 6), kind=f.INTERNAL_ERROR)
    how = Thawing(waits=True, interval_s=SOON)
    summary = sterna.restore(bucket.url("p"), tmp_path / "t", how=how, settings=settings(fronted))
    assert (summary.exit_code, tree(tmp_path / "t")) == (0, {"a": b"aaaaa"})


def test_a_restore_that_waits_can_be_ended(bucket: Bucket, front: Front, fronted: Side, tmp_path: Path) -> None:
    fill(bucket, "a", "b")
    archive(front, a="GLACIER").ask("p/a")
    stop = Stop()

    def told(event: Event) -> None:
        if isinstance(event, Notice) and event.code == "waiting":
            stop.request("Ctrl-C", 130)

    summary = asyncio.run(
        sterna.async_restore(
            bucket.url("p"), tmp_path / "t", how=Thawing(waits=True, interval_s=3600), settings=settings(fronted),
            on_event=told, stop=stop,
        )
    )  # fmt: skip
    assert (summary.exit_code, summary.downloaded, summary.left) == (130, 1, 1)
    assert summary.verdict.startswith("INTERRUPTED")
    assert tree(tmp_path / "t") == {"b": b"bbbbb"}


def test_one_that_does_not_come_any_more_is_not_waited_for_for_ever(
    bucket: Bucket, front: Front, fronted: Side, tmp_path: Path
) -> None:
    fill(bucket, "a", "b")
    ice = archive(front, a="GLACIER", b="GLACIER")
    ice.ask("p/a", "p/b")
    front.before("Head", nth=3, call=lambda _: ice.cancel("p/a"))
    front.before("Head", nth=4, call=lambda _: ice.thaw("p/b"))
    how = Thawing(waits=True, interval_s=SOON / 10)
    summary = sterna.restore(bucket.url("p"), tmp_path / "t", how=how, settings=settings(fronted))
    assert (summary.exit_code, tree(tmp_path / "t")) == (1, {"b": b"bbbbb"})
    assert "--request-restore" in summary.failures[0].error
    assert ice.looked.count("p/a") < 20
