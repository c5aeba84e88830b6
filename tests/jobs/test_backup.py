"""Backing up: the bucket, what counts as in place, one request with an MD5, and the state file beside it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import sterna
from sterna.jobs.backup import Backup, backup
from sterna.jobs.settings import Deletion, Journaling, Manifesting, Settings
from sterna.jobs.sync import sync
from sterna.model.errors import AccessDenied, WrongSetting
from sterna.model.events import Event, ObjectsEnded, Summary
from sterna.model.location import parse_location
from sterna.model.outcomes import Outcome, Status
from sterna.model.stop import Stop
from sterna.moving.settings import Limits, UploadOptions
from sterna.planning.collide import OnCollision
from sterna.planning.compare import Compare
from sterna.planning.filters import Filter
from sterna.planning.rules import in_order, option_rule
from sterna.wire.credentials import Identity
from sterna.wire.side import Side
from tests.e2e.trees import LONG_AGO_NS, plant
from tests.faults import front as f
from tests.faults.case import noise
from tests.faults.front import Front
from tests.servers.oracle import Bucket
from tests.wire.secured import authority, server_context

ONE_SERVER_IS_ENOUGH = True

MIB = 1 << 20


class Backups:
    """Backups of one folder into one bucket, and what came of the last one."""

    def __init__(self, folder: Path, url: str, side: Side) -> None:
        self.folder = folder
        self.url = url
        self.settings = Settings(destination=side)
        self.outcomes: dict[str, Outcome] = {}
        self.state = folder.parent / "state.json"

    def __call__(self, told: Backup | None = None, settings: Settings | None = None) -> Summary:
        self.outcomes = {}

        def emit(event: Event) -> None:
            if isinstance(event, ObjectsEnded):
                self.outcomes |= {one.key: one for one in event.outcomes}

        ends = parse_location(str(self.folder)), parse_location(self.url)
        return asyncio.run(backup(*ends, settings or self.settings, told, emit=emit))

    def kept(self, **how: Any) -> Summary:
        """With the state file."""
        return self(Backup(state_file=str(self.state), **how))

    def kept_with(self, settings: Settings) -> Summary:
        return self(Backup(state_file=str(self.state)), settings)

    def records(self) -> dict[str, tuple[int, str]]:
        return {
            os.path.relpath(one["filepath"], self.folder): (one["uploadedSuccess"], one["error"])
            for one in json.loads(self.state.read_bytes())
        }


@pytest.fixture
def backups(bucket: Bucket, side: Side, tmp_path: Path) -> Backups:
    return Backups(plant(tmp_path / "tree", {"a": b"one", "b/c": b"two", "d": b""}), bucket.url("p"), side)


@pytest.fixture
def fronted_backups(bucket: Bucket, fronted: Side, tmp_path: Path) -> Backups:
    return Backups(plant(tmp_path / "tree", {"a": b"one", "b/c": b"two", "d": b""}), bucket.url("p"), fronted)


# The bucket


def without_region(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of somebody who names no region, anywhere."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    side = settings.destination
    return replace(settings, destination=replace(side, addressing=replace(side.addressing, region=None)))


def test_a_bucket_that_is_absent_is_made_in_eu_west_1(
    fronted_backups: Backups, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody_says = without_region(fronted_backups.settings, monkeypatch)
    front.keep_bodies = True
    fronted_backups.url = f"s3://made-{os.getpid()}-1/p"
    summary = fronted_backups(settings=nobody_says)
    assert (summary.exit_code, summary.uploaded) == (0, 3)
    [made] = front.requests_of("CreateBucket")
    assert made.body is not None
    assert b"<LocationConstraint>eu-west-1</LocationConstraint>" in made.body
    assert fronted_backups(settings=nobody_says).kept == 3, "and it is found again"
    assert front.count("CreateBucket") == 1


def test_a_bucket_is_made_where_the_region_says(fronted_backups: Backups, front: Front) -> None:
    side = fronted_backups.settings.destination
    there = replace(side, addressing=replace(side.addressing, region="eu-central-1"))
    front.keep_bodies = True
    fronted_backups.url = f"s3://made-{os.getpid()}-2"
    assert fronted_backups(settings=Settings(destination=there)).exit_code == 0
    [made] = front.requests_of("CreateBucket")
    assert made.body is not None
    assert b"<LocationConstraint>eu-central-1</LocationConstraint>" in made.body


def test_another_servers_own_region_is_taken_where_it_knows_no_eu_west_1(
    fronted_backups: Backups, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody_says = without_region(fronted_backups.settings, monkeypatch)
    front.fault("CreateBucket", kind=f.Refuse(400, "InvalidLocationConstraint"))
    fronted_backups.url = f"s3://made-{os.getpid()}-3"
    assert fronted_backups(settings=nobody_says).exit_code == 0
    assert front.count("CreateBucket") == 2


def test_one_of_ours_is_taken_without_a_right_to_make_buckets(fronted_backups: Backups, front: Front) -> None:
    assert fronted_backups().exit_code == 0
    assert front.count("CreateBucket") == 0


def test_one_of_somebody_elses_is_refused_before_anything_is_sent_h88(fronted_backups: Backups, front: Front) -> None:
    """Who takes the name of a bucket that is gone, and lets everybody write to it, would get the next backup."""
    front.fault("ListBuckets", kind=f.Rewrite(lambda body: body.replace(b"<Name>test-", b"<Name>other-")), nth="always")
    with pytest.raises(WrongSetting, match="not among your buckets: somebody else has it") as refused:
        fronted_backups()
    assert "--expected-bucket-owner" in refused.value.sentence
    assert front.count(f.WRITES) == 0
    side = replace(fronted_backups.settings.destination, expected_bucket_owner="000000000000")
    assert fronted_backups(settings=Settings(destination=side)).exit_code == 0, "whose it is was said"


def test_a_name_that_is_taken_is_told_of(fronted_backups: Backups, front: Front) -> None:
    front.fault("CreateBucket", kind=f.Refuse(409, "BucketAlreadyExists"))
    fronted_backups.url = "s3://taken-by-another"
    with pytest.raises(WrongSetting, match="is taken: somebody else has a bucket of that name"):
        fronted_backups()


def test_who_may_not_ask_for_buckets_backs_up_all_the_same(fronted_backups: Backups, front: Front) -> None:
    front.fault(("HeadBucket", "ListBuckets"), kind=f.ACCESS_DENIED, nth="always")
    assert fronted_backups().uploaded == 3


def test_without_any_right_the_first_request_says_so(fronted_backups: Backups, front: Front) -> None:
    front.fault("*", kind=f.ACCESS_DENIED, nth="always")
    with pytest.raises(AccessDenied):
        fronted_backups()


# What counts as in place


def test_what_an_earlier_run_has_proved_is_known_by_the_listings_alone(fronted_backups: Backups, front: Front) -> None:
    assert fronted_backups().uploaded == 3
    front.forget()
    assert fronted_backups().kept == 3
    assert front.count(("Head", "Get", "GetRange", "Put")) == 0


def test_what_no_run_has_proved_is_compared_by_its_content_h23(backups: Backups, bucket: Bucket) -> None:
    """Of the size and older than the object: a sync without a journal takes it for unchanged."""
    bucket.put("p/a", b"ONE")
    bucket.put("p/b/c", b"two")
    bucket.put("p/d", b"")
    without = replace(backups.settings, journal=Journaling(is_kept=False))
    ends = parse_location(str(backups.folder)), parse_location(backups.url)
    assert asyncio.run(sync(*ends, without)).kept == 3
    summary = backups(settings=without)
    assert (summary.uploaded, summary.kept) == (1, 2)
    assert bucket.get("p/a") == b"one"


def test_what_a_journal_does_not_know_is_compared_once(fronted_backups: Backups, bucket: Bucket, front: Front) -> None:
    bucket.put("p/a", b"ONE")
    bucket.put("p/b/c", b"two")
    assert (summary := fronted_backups()).uploaded == 2, "a, which differs, and d, which is not there"
    assert summary.kept == 1
    front.forget()
    assert fronted_backups().kept == 3
    assert front.count(("Head", "Get", "GetRange", "Put")) == 0


def test_time_alone_does_not_make_it_the_same(backups: Backups, bucket: Bucket) -> None:
    """An object that says of itself that it was made of a file with this time, as another tool may have written it."""
    bucket.put("p/a", b"ONE", {"x-amz-meta-mtime": f"{LONG_AGO_NS // 10**9}.123456789"})
    os.utime(backups.folder / "a", ns=(LONG_AGO_NS, LONG_AGO_NS))
    assert backups().uploaded == 3
    assert bucket.get("p/a") == b"one"


def test_checksum_compares_also_what_the_journal_knows(fronted_backups: Backups, front: Front) -> None:
    assert fronted_backups().uploaded == 3
    front.forget()
    assert fronted_backups(settings=replace(fronted_backups.settings, compare=Compare.CHECKSUM)).kept == 3
    assert front.count("Head") == 2, "of what has a content"


def test_nothing_is_ever_deleted(backups: Backups, bucket: Bucket) -> None:
    assert backups().exit_code == 0
    (backups.folder / "a").unlink()
    assert backups().exit_code == 0
    assert bucket.get("p/a") == b"one"


@pytest.mark.parametrize(
    ("settings", "told", "words"),
    [
        (Settings(compare=Compare.SIZE), Backup(), "--compare size proves nothing"),
        (Settings(compare=Compare.EXISTS), Backup(), "--compare exists proves nothing"),
        (Settings(deletion=Deletion()), Backup(), "never deletes"),
        (Settings(journal=Journaling(is_kept=False)), Backup(retries_failed=True), "--no-journal"),
        (Settings(symlinks="store"), Backup("state"), "--symlinks store"),
        (Settings(on_collision=OnCollision.ESCAPE), Backup("state"), "--on-collision escape"),
    ],
)
def test_what_cannot_be_a_backup_is_refused(tmp_path: Path, settings: Settings, told: Backup, words: str) -> None:
    with pytest.raises(WrongSetting, match=words):
        asyncio.run(backup(parse_location(str(tmp_path)), parse_location("s3://bucket"), settings, told))
    with pytest.raises(WrongSetting, match="A backup is of a folder"):
        asyncio.run(backup(parse_location("s3://bucket"), parse_location(str(tmp_path))))


# One request with an MD5


def with_md5(settings: Settings, most: int) -> Settings:
    """Parts from 1 MiB on, but for files up to ``most``."""
    limits = Limits(part_threshold=MIB, part_size=5 * MIB)
    return replace(settings, upload=UploadOptions(md5_up_to=most), limits=limits)


def test_files_up_to_a_size_go_in_one_request_with_their_md5_h20(fronted_backups: Backups, front: Front) -> None:
    large, huge = noise(3 * MIB), noise(3 * MIB + 1, 2)
    plant(fronted_backups.folder, {"large": large, "huge": huge})
    summary = fronted_backups(settings=with_md5(fronted_backups.settings, 3 * MIB))
    assert (summary.exit_code, summary.uploaded) == (0, 5)
    sent = {one.key: one.headers.get("content-md5") for one in front.requests_of("Put")}
    contents = {"p/a": b"one", "p/b/c": b"two", "p/d": b"", "p/large": large}
    assert sent == {key: b64encode(hashlib.md5(body).digest()).decode() for key, body in contents.items()}
    assert [one.key for one in front.requests_of("CreateMPU")] == ["p/huge"]
    assert fronted_backups.outcomes["large"].proof.startswith("Content-MD5")
    assert fronted_backups().kept == 5


def test_bytes_that_change_on_the_way_are_refused_by_the_server_and_sent_again(
    fronted_backups: Backups, front: Front, bucket: Bucket
) -> None:
    large = noise(3 * MIB)
    plant(fronted_backups.folder, {"large": large})
    front.fault("Put", key="p/large", kind=f.FlipRequestBit(2 * MIB))
    assert fronted_backups(settings=with_md5(fronted_backups.settings, 5 * MIB)).exit_code == 0
    assert bucket.get("p/large") == large
    assert front.count("Put", key="p/large") == 2


def test_a_file_that_changes_between_its_sum_and_its_sending_is_read_again(
    fronted_backups: Backups, front: Front, bucket: Bucket, tmp_path: Path
) -> None:
    plant(fronted_backups.folder, {"large": noise(3 * MIB)})
    after = noise(3 * MIB, 3)
    (tmp_path / "after").write_bytes(after)  # and put in place in one step: half a file would be sent as well
    front.before("Put", key="p/large", call=lambda _: (tmp_path / "after").replace(fronted_backups.folder / "large"))
    front.fault("Put", key="p/large", kind=f.BAD_DIGEST)
    assert fronted_backups(settings=with_md5(fronted_backups.settings, 5 * MIB)).exit_code == 0
    assert bucket.get("p/large") == after
    sent = [one.headers["content-md5"] for one in front.requests_of("Put", key="p/large")]
    assert sent == [b64encode(hashlib.md5(body).digest()).decode() for body in (noise(3 * MIB), after)]


def test_over_tls_it_is_read_by_slices(front: Front, bucket: Bucket, tmp_path: Path, fronted_backups: Backups) -> None:
    large = noise(9 * MIB)
    plant(fronted_backups.folder, {"large": large})
    authority().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    secure = Front(front.upstream, tls=server_context())
    try:
        side = fronted_backups.settings.destination
        addressing = replace(side.addressing, urls=(secure.endpoint_url,), ca_bundle=str(tmp_path / "ca.pem"))
        settings = with_md5(Settings(destination=replace(side, addressing=addressing)), 10 * MIB)
        small = replace(settings, limits=replace(settings.limits, max_memory=MIB))
        assert fronted_backups(settings=small).uploaded == 4
        assert secure.count("Put", key="p/large") == 1
    finally:
        secure.close()
    assert bucket.get("p/large") == large


# The state file


def test_the_state_file_names_every_file_of_the_tree(backups: Backups) -> None:
    assert backups.kept().exit_code == 0
    assert backups.records() == {"a": (1, ""), "b/c": (1, ""), "d": (1, "")}
    first = {one["filename"]: one["checksum"] for one in json.loads(backups.state.read_bytes())}
    assert all(first.values())
    plant(backups.folder, {"new": b"new"})
    assert backups.kept().kept == 3
    assert backups.records() == {"a": (1, ""), "b/c": (1, ""), "d": (1, ""), "new": (1, "")}
    again = {one["filename"]: one["checksum"] for one in json.loads(backups.state.read_bytes())}
    assert again.items() > first.items(), "what is unchanged keeps the sum that the journal has of it"


def test_it_says_before_anything_moves_that_nothing_is_there_yet(fronted_backups: Backups, front: Front) -> None:
    seen: list[dict[str, tuple[int, str]]] = []
    front.before("Put", call=lambda _: seen.append(fronted_backups.records()))
    assert fronted_backups.kept().exit_code == 0
    assert seen == [{"a": (0, ""), "b/c": (0, ""), "d": (0, "")}]


def test_it_is_not_carried_where_it_is_in_the_folder(backups: Backups, bucket: Bucket) -> None:
    backups.state = backups.folder / "state.json"
    assert backups.kept().exit_code == 0
    assert backups.kept().exit_code == 0
    assert sorted(bucket.keys()) == ["p/a", "p/b/c", "p/d"]
    assert sorted(backups.records()) == ["a", "b/c", "d"]


def test_what_fails_says_why_and_is_all_that_is_tried_again(fronted_backups: Backups, front: Front) -> None:
    refused = front.fault("Put", key="p/b/c", kind=f.Refuse(400, "EntityTooLarge", "no"), nth="always")
    summary = fronted_backups.kept()
    assert (summary.exit_code, summary.uploaded, summary.failed) == (1, 2, 1)
    records = fronted_backups.records()
    assert (records["a"][0], records["b/c"][0], records["d"][0]) == (1, 0, 1)
    assert records["b/c"][1]
    front.remove(refused)
    front.forget()
    plant(fronted_backups.folder, {"newer": b"not tried before, so not tried again"})
    summary = fronted_backups.kept(retries_failed=True)
    assert (summary.exit_code, summary.uploaded, summary.kept) == (0, 1, 0)
    assert "1 object that failed or was left by the state file" in summary.notices[0]
    assert [one.key for one in front.requests_of("Put")] == ["p/b/c"]
    assert fronted_backups.records() == {"a": (1, ""), "b/c": (1, ""), "d": (1, "")}
    summary = fronted_backups.kept(retries_failed=True)
    assert (summary.exit_code, summary.requests <= 2) == (0, True)
    assert summary.verdict.startswith("Nothing is left to do of the state file")


def test_filters_that_are_given_with_it_narrow_what_is_tried_again(fronted_backups: Backups, front: Front) -> None:
    refused = front.fault("Put", kind=f.Refuse(400, "EntityTooLarge", "no"), nth="always")
    assert fronted_backups().failed == 3
    front.remove(refused)
    front.forget()
    chosen = Filter(rules=in_order([option_rule("--exclude", "b/*")]))
    summary = fronted_backups(Backup(retries_failed=True), replace(fronted_backups.settings, filters=chosen))
    assert (summary.exit_code, summary.uploaded, summary.skipped) == (0, 2, 0)
    assert sorted(one.key for one in front.requests_of("Put")) == ["p/a", "p/d"]


def test_a_manifest_that_could_not_be_written_is_no_file_of_the_list(fronted_backups: Backups, front: Front) -> None:
    front.fault("Put", key=re.compile(r"p/\.sterna/.*"), kind=f.Refuse(400, "EntityTooLarge", "no"), nth="always")
    summary = fronted_backups.kept_with(replace(fronted_backups.settings, manifest=Manifesting()))
    assert (summary.exit_code, summary.uploaded) == (1, 3)
    assert fronted_backups.records() == {"a": (1, ""), "b/c": (1, ""), "d": (1, "")}
    assert fronted_backups(Backup(retries_failed=True)).verdict.startswith("Nothing is left to do of the run ")


def test_without_a_state_file_the_journal_says_what_failed(fronted_backups: Backups, front: Front) -> None:
    refused = front.fault("Put", key="p/b/c", kind=f.Refuse(400, "EntityTooLarge", "no"), nth="always")
    assert fronted_backups().failed == 1
    front.remove(refused)
    front.forget()
    again = Backup(retries_failed=True)
    assert fronted_backups(again).uploaded == 1
    assert [one.key for one in front.requests_of("Put")] == ["p/b/c"]
    for _ in range(2):  # a run that had nothing to do leaves nothing to do
        assert fronted_backups(again).verdict.startswith("Nothing is left to do of the run ")
    front.forget()
    assert fronted_backups().kept == 3
    assert front.count(("Head", "Get")) == 0, "what was not looked at again is known as before"


def test_a_first_backup_has_nothing_to_try_again_and_does_all(backups: Backups) -> None:
    summary = backups(Backup(retries_failed=True))
    assert (summary.exit_code, summary.uploaded) == (0, 3)
    assert "No earlier backup of this folder to this place is known" in summary.notices[0]


@pytest.mark.parametrize("has_list", [True, False], ids=["state file", "journal"])
def test_a_file_that_was_unreadable_has_all_looked_at_again(backups: Backups, has_list: bool) -> None:
    """What is below a folder that could not be listed was never planned: no list has it."""
    name = os.fsencode(backups.folder) + b"/\xff"
    Path(os.fsdecode(name)).write_bytes(b"")
    told = Backup(state_file=str(backups.state) if has_list else "")
    assert backups(told).failed == 1
    os.unlink(name)
    plant(backups.folder, {"new": b"new"})
    summary = backups(replace(told, retries_failed=True))
    assert (summary.exit_code, summary.uploaded, summary.kept) == (0, 1, 3)
    assert "could not be read, so what is in it is not known" in summary.notices[0]
    if has_list:
        assert sorted(backups.records()) == ["a", "b/c", "d", "new"]


def test_what_is_gone_since_is_named_and_no_failure(fronted_backups: Backups, front: Front) -> None:
    front.fault("Put", key="p/b/c", kind=f.Refuse(400, "EntityTooLarge", "no"), nth="always")
    assert fronted_backups.kept().failed == 1
    (fronted_backups.folder / "b" / "c").unlink()
    summary = fronted_backups.kept(retries_failed=True)
    assert (summary.exit_code, summary.skipped, summary.gone) == (0, 1, 1)
    assert summary.verdict == "There was nothing to move. 1 object is skipped: not at the source any more."
    assert fronted_backups.outcomes["b/c"].status is Status.SKIPPED
    assert fronted_backups.records()["b/c"] == (0, "is not at the source any more, so nothing was sent")


def test_an_empty_list_means_that_nothing_is_known(backups: Backups) -> None:
    """So a run that was killed before it had listed the folder leaves it."""
    backups.state.write_text("[]\n")
    summary = backups.kept(retries_failed=True)
    assert (summary.exit_code, summary.uploaded) == (0, 3)
    assert "ended before it had listed the folder" in summary.notices[0]


@pytest.mark.parametrize("retries_failed", [True, False])
def test_what_is_no_state_file_stops_the_run_before_anything_is_asked(
    fronted_backups: Backups, front: Front, retries_failed: bool
) -> None:
    fronted_backups.state.write_text("my notes")
    with pytest.raises(WrongSetting, match="no state file"):
        fronted_backups.kept(retries_failed=retries_failed)
    assert fronted_backups.state.read_text() == "my notes"
    assert front.count() == 0


def test_a_state_file_that_is_not_there_yet_is_begun_and_all_is_looked_at(backups: Backups) -> None:
    """A run that was killed at its start has left none, and a script goes on with --crashrun in any case."""
    summary = backups.kept(retries_failed=True)
    assert (summary.exit_code, summary.uploaded) == (0, 3)
    assert re.match("There is no state file .* yet, so it is begun: everything is looked at", summary.notices[0])
    assert len(backups.records()) == 3


@pytest.mark.parametrize("retries_failed", [True, False])
def test_a_state_file_of_another_destination_is_refused_before_anything_is_asked(
    fronted_backups: Backups, front: Front, bucket: Bucket, retries_failed: bool
) -> None:
    """Its 1s are of objects elsewhere: by them nothing would be left to do here."""
    assert fronted_backups.kept().exit_code == 0
    was, there = fronted_backups.state.read_bytes(), fronted_backups.url
    front.forget()
    fronted_backups.url = f"s3://never-made-{os.getpid()}/q"
    with pytest.raises(WrongSetting) as refused:
        fronted_backups.kept(retries_failed=retries_failed)
    assert there in refused.value.sentence
    assert fronted_backups.url in refused.value.sentence
    assert (refused.value.exit_code, front.count(), fronted_backups.state.read_bytes()) == (2, 0, was)


def test_the_same_bucket_name_at_another_server_is_another_destination(fronted_backups: Backups, front: Front) -> None:
    assert fronted_backups.kept().exit_code == 0
    other = Front(front.upstream)
    try:
        side = fronted_backups.settings.destination
        there = replace(side, addressing=replace(side.addressing, urls=(other.endpoint_url,)))
        with pytest.raises(WrongSetting, match=f"state file of a backup to .*{front.endpoint_url}"):
            fronted_backups(Backup(str(fronted_backups.state), retries_failed=True), Settings(destination=there))
        assert other.count() == 0
    finally:
        other.close()


def test_a_list_that_does_not_say_to_where_is_not_believed(backups: Backups, bucket: Bucket) -> None:
    """Others write such lists: all in it may have been uploaded to another place."""
    records = [{"filepath": str(backups.folder / name), "filename": Path(name).name, "uploadedSuccess": 1}
               for name in ("a", "b/c", "d")]  # fmt: skip
    backups.state.write_text(json.dumps(records))
    summary = backups.kept(retries_failed=True)
    assert (summary.exit_code, summary.uploaded) == (0, 3)
    assert "does not say to where its files were uploaded: everything is looked at" in summary.notices[0]
    assert sorted(bucket.keys()) == ["p/a", "p/b/c", "p/d"]
    assert {one["destination"] for one in json.loads(backups.state.read_bytes())} == {
        f"{backups.url} at {bucket.oracle.server.endpoint_url}"
    }


def test_in_a_bucket_that_had_to_be_made_again_nothing_is_taken_for_done(backups: Backups, bucket: Bucket) -> None:
    made = bucket.oracle.bucket(f"again-{os.getpid()}")
    backups.url = made.url("p")
    assert backups.kept().uploaded == 3
    made.remove()
    summary = backups.kept(retries_failed=True)
    assert (summary.exit_code, summary.uploaded) == (0, 3)
    assert "The bucket is new" in summary.notices[0]
    made.remove()


def test_one_that_cannot_be_kept_true_fails_the_run(fronted_backups: Backups, front: Front) -> None:
    folder = fronted_backups.folder.parent / "gone"
    folder.mkdir()
    fronted_backups.state = folder / "state.json"

    def remove(_: object) -> None:
        fronted_backups.state.unlink()
        folder.rmdir()

    front.before("Put", call=remove)
    summary = fronted_backups.kept()
    assert (summary.exit_code, summary.uploaded) == (1, 3)
    assert summary.verdict.startswith("INCOMPLETE: The state file ")


def test_of_what_a_signal_left_the_state_file_says_so(fronted_backups: Backups, front: Front) -> None:
    small = replace(fronted_backups.settings, limits=Limits(workers=1))
    ends = parse_location(str(fronted_backups.folder)), parse_location(fronted_backups.url)

    async def run() -> Summary:
        stop, loop = Stop(), asyncio.get_running_loop()
        front.after("Put", call=lambda _: loop.call_soon_threadsafe(stop.request, "by SIGTERM", 143))
        return await backup(*ends, small, Backup(str(fronted_backups.state)), stop=stop)

    assert asyncio.run(run()).left
    left = {error for is_there, error in fronted_backups.records().values() if not is_there}
    assert left == {"left, since the run was ended by SIGTERM"}


def test_the_library_backs_up(backups: Backups, bucket: Bucket) -> None:
    summary = sterna.backup(backups.folder, backups.url, settings=backups.settings, state_file=backups.state)
    assert (summary.command, summary.exit_code, summary.uploaded) == ("backup", 0, 3)
    assert sterna.backup(backups.folder, backups.url, settings=backups.settings, retry_failed=True).exit_code == 0
    assert len(backups.records()) == len(bucket.keys()) == 3


def test_who_is_nobody_asks_for_no_bucket(fronted_backups: Backups, front: Front) -> None:
    side = replace(fronted_backups.settings.destination, identity=Identity(anonymous=True))
    assert fronted_backups(settings=Settings(destination=side)).exit_code == 0  # this server lets everybody write
    assert front.count(("HeadBucket", "ListBuckets", "CreateBucket")) == 0
