"""A plan is applied while others write: what changes after the second look is never written over, nor taken for it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Done, Sterna
from tests.e2e.trees import plant, tree
from tests.faults import front as f
from tests.faults.front import Front
from tests.servers.oracle import Bucket

ONE_SERVER_IS_ENOUGH = True
pytestmark = pytest.mark.slow

MIB = 1 << 20
LARGE = os.urandom(9 * MIB)
THEIRS = b"somebody else's"


@dataclass(frozen=True)
class RefusesConditions(f.Kind):
    """A server that refuses whatever hangs on one of these conditions."""

    headers: tuple[str, ...]
    status: int = 501
    code: str = "NotImplemented"

    def instead(self, exchange: f.Exchange, fault: f.Fault) -> f.Answer | None:
        if not any(name in exchange.request.headers for name in self.headers):
            return None
        exchange.body()
        fault.hit()
        return f.error(exchange.request, self.status, self.code, "A header you provided implies something else")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return plant(tmp_path / "source", {"a": b"ours", "b": b"ours as well"})


def planned(sterna: Sterna, *places: str | Path) -> None:
    made = sterna("plan", *places, "-o", "plan")
    assert made.code == 0, made.err


def drifted(done: Done, key: str, words: str) -> None:
    assert done.code == 6, done.out + done.err
    assert f"{key}: {words}" in done.out
    assert "DRIFTED: 1 object has changed since the plan was made" in done.out


def test_what_appears_right_before_the_write_is_not_written_over(
    sterna: Sterna, front: Front, bucket: Bucket, source: Path
) -> None:
    planned(sterna, source, bucket.url("p"))
    front.before("Put", key="p/a", call=lambda _: bucket.put("p/a", THEIRS))
    drifted(sterna("apply", "plan"), "a", "The destination was changed after it was looked at")
    assert bucket.contents("p/") == {"p/a": THEIRS, "p/b": b"ours as well"}


def test_what_is_replaced_right_before_the_write_is_not_written_over(
    sterna: Sterna, front: Front, bucket: Bucket, source: Path
) -> None:
    bucket.put("p/a", b"older")
    planned(sterna, source, bucket.url("p"))
    front.before("Put", key="p/a", call=lambda _: bucket.put("p/a", THEIRS))
    drifted(sterna("apply", "plan"), "a", "The destination was changed after it was looked at")
    assert bucket.contents("p/") == {"p/a": THEIRS, "p/b": b"ours as well"}


def test_what_is_deleted_right_before_the_write_is_not_brought_back(
    sterna: Sterna, front: Front, bucket: Bucket, source: Path
) -> None:
    bucket.put("p/a", b"older")
    planned(sterna, source, bucket.url("p"))
    front.before("Put", key="p/a", call=lambda _: bucket.delete("p/a"))
    drifted(sterna("apply", "plan"), "a", "The destination was deleted after it was looked at")
    assert bucket.contents("p/") == {"p/b": b"ours as well"}


@pytest.mark.parametrize("stands", (False, True), ids=("new", "over another"))
def test_an_upload_in_parts_is_not_joined_over_what_somebody_wrote_meanwhile(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path, stands: bool
) -> None:
    source = plant(tmp_path / "source", {"a": LARGE})
    if stands:
        bucket.put("p/a", b"older")
    planned(sterna, source, bucket.url("p"))
    front.fault(("CreateMPU", "UploadPart", "Complete"), nth="always", kind=f.IgnoreChecksums(), must_hit=False)
    front.before("Complete", call=lambda _: bucket.put("p/a", THEIRS))
    drifted(sterna("apply", "plan"), "a", "The destination was changed after it was looked at")
    assert bucket.contents("p/") == {"p/a": THEIRS}
    assert bucket.uploads() == []


@pytest.mark.parametrize(("status", "code"), ((501, "NotImplemented"), (400, "InvalidArgument"), (403, "AccessDenied")))
@pytest.mark.parametrize("stands", (False, True), ids=("If-None-Match", "If-Match"))
def test_H09_a_server_that_refuses_conditions_is_written_to_without_and_it_is_said(
    sterna: Sterna, front: Front, bucket: Bucket, source: Path, stands: bool, status: int, code: str
) -> None:
    if stands:
        for key in ("p/a", "p/b"):
            bucket.put(key, b"older")
    planned(sterna, source, bucket.url("p"))
    name = "if-match" if stands else "if-none-match"
    refused = front.fault("Put", nth="always", kind=RefusesConditions((name,), status, code))
    done = sterna("apply", "plan")
    assert done.code == 0, done.out + done.err
    assert bucket.contents("p/") == {"p/a": b"ours", "p/b": b"ours as well"}
    assert (done.out + done.err).count("does not take writes that hang on a condition") == 1
    assert refused.hits <= 2, "it is asked for no more"


def test_H09_a_server_that_knows_neither_conditions_nor_new_checksums_is_written_to(
    sterna: Sterna, front: Front, bucket: Bucket, source: Path
) -> None:
    planned(sterna, source, bucket.url("p"))
    front.fault("Put", nth="always", kind=RefusesConditions(("if-none-match",)))
    front.fault("Put", nth="always", kind=f.RefuseChecksums(("x-amz-checksum-crc64nvme",)))
    done = sterna("apply", "plan", "-v")
    assert done.code == 0, done.out + done.err
    assert bucket.contents("p/") == {"p/a": b"ours", "p/b": b"ours as well"}


def test_H09_an_upload_in_parts_is_joined_where_the_server_refuses_conditions(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path
) -> None:
    source = plant(tmp_path / "source", {"a": LARGE})
    planned(sterna, source, bucket.url("p"))
    front.fault("Complete", nth="always", kind=RefusesConditions(("if-none-match",)))
    front.fault(("CreateMPU", "UploadPart", "Complete"), nth="always", kind=f.IgnoreChecksums(), must_hit=False)
    done = sterna("apply", "plan")
    assert done.code == 0, done.out + done.err
    assert bucket.contents("p/") == {"p/a": LARGE}


@pytest.mark.parametrize("is_large", (False, True), ids=("whole", "in parts"))
def test_H09_a_server_that_judges_etags_in_a_way_of_its_own_is_written_to_after_a_look(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path, is_large: bool
) -> None:
    source = plant(tmp_path / "source", {"a": LARGE if is_large else b"ours"})
    bucket.put("p/a", b"older")
    planned(sterna, source, bucket.url("p"))
    front.fault(("Put", "Complete"), nth="always", kind=RefusesConditions(("if-match",), 412, "PreconditionFailed"))
    front.fault(("CreateMPU", "UploadPart", "Complete"), nth="always", kind=f.IgnoreChecksums(), must_hit=False)
    done = sterna("apply", "plan")
    assert done.code == 0, done.out + done.err
    assert bucket.contents("p/") == {"p/a": LARGE if is_large else b"ours"}
    assert "does not take writes that hang on a condition (If-Match)" in done.out + done.err


@pytest.mark.parametrize("stands", (False, True), ids=("If-None-Match", "If-Match"))
@pytest.mark.parametrize("is_large", (False, True), ids=("whole", "in parts"))
def test_H08_a_conditional_write_whose_answer_was_lost_is_known_again(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path, stands: bool, is_large: bool
) -> None:
    source = plant(tmp_path / "source", {"a": LARGE if is_large else b"ours"})
    if stands:
        bucket.put("p/a", b"older")
    planned(sterna, source, bucket.url("p"))
    front.fault("Complete" if is_large else "Put", kind=f.ResetAfterApply())
    front.fault(("CreateMPU", "UploadPart", "Complete"), nth="always", kind=f.IgnoreChecksums(), must_hit=False)
    done = sterna("apply", "plan")
    assert done.code == 0, done.out + done.err
    assert bucket.contents("p/") == {"p/a": LARGE if is_large else b"ours"}


def test_H08_a_lost_answer_and_somebody_elses_write_are_told_apart(
    sterna: Sterna, front: Front, bucket: Bucket, source: Path
) -> None:
    planned(sterna, source, bucket.url("p"))
    front.fault("Put", key="p/a", kind=f.ResetBeforeRequest())
    front.before("Put", key="p/a", nth=2, call=lambda _: bucket.put("p/a", THEIRS))
    drifted(sterna("apply", "plan"), "a", "The destination was changed after it was looked at")
    assert bucket.contents("p/")["p/a"] == THEIRS


@pytest.mark.parametrize("is_large", (False, True), ids=("whole", "in parts"))
def test_H08_a_conflict_of_two_conditional_writes_is_tried_again(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path, is_large: bool
) -> None:
    source = plant(tmp_path / "source", {"a": LARGE if is_large else b"ours"})
    planned(sterna, source, bucket.url("p"))
    front.fault("Complete" if is_large else "Put", kind=f.CONDITIONAL_CONFLICT)
    front.fault(("CreateMPU", "UploadPart", "Complete"), nth="always", kind=f.IgnoreChecksums(), must_hit=False)
    done = sterna("apply", "plan")
    assert done.code == 0, done.out + done.err
    assert bucket.contents("p/") == {"p/a": LARGE if is_large else b"ours"}
    assert bucket.uploads() == []


@pytest.mark.parametrize("change", (lambda path: path.write_bytes(b"later"), lambda path: path.unlink()))
def test_a_file_that_changes_after_it_was_looked_at_is_not_sent(
    sterna: Sterna, front: Front, bucket: Bucket, source: Path, change: Callable[[Path], object]
) -> None:
    planned(sterna, source, bucket.url("p"))
    front.before("Put", key="p/a", call=lambda _: change(source / "b"))
    done = sterna("apply", "plan", "--workers", "1")
    assert done.code == 6, done.out + done.err
    assert "b: The source was " in done.out
    assert "after it was looked at" in done.out
    assert bucket.contents("p/") == {"p/a": b"ours"}


@pytest.mark.parametrize("obeys", (True, False), ids=("If-Match", "no If-Match"))
@pytest.mark.parametrize("is_large", (False, True), ids=("whole", "in ranges"))
def test_H42_an_object_that_is_replaced_after_it_was_looked_at_is_not_fetched(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path, is_large: bool, obeys: bool
) -> None:
    bucket.put("p/a", LARGE if is_large else b"planned")
    target = plant(tmp_path / "target", {"a": b"before"})
    planned(sterna, bucket.url("p"), target)
    if not obeys:
        front.fault(("Get", "GetRange"), nth="always", kind=f.IgnoreConditions(), must_hit=False)
    later = LARGE[::-1] if is_large else b"replaced"
    front.before("Head" if is_large else "Get", key="p/a", call=lambda _: bucket.put("p/a", later))
    drifted(sterna("apply", "plan"), "a", "The source was changed after it was looked at")
    assert tree(target) == {"a": b"before"}


def test_H42_an_object_that_is_deleted_after_it_was_looked_at_has_drifted(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path
) -> None:
    bucket.put("p/a", b"planned")
    target = plant(tmp_path / "target", {})
    planned(sterna, bucket.url("p"), target)
    front.before("Get", key="p/a", call=lambda _: bucket.delete("p/a"))
    drifted(sterna("apply", "plan"), "a", "The source was deleted after it was looked at")


@pytest.mark.parametrize("is_large", (False, True), ids=("whole", "in ranges"))
def test_H14_where_listings_show_other_etags_than_objects_downloads_are_applied(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path, is_large: bool
) -> None:
    body = LARGE if is_large else b"planned"
    bucket.put("p/a", body)
    target = plant(tmp_path / "target", {})
    front.fault(
        "ListV2", nth="always", kind=f.Rewrite(lambda xml: re.sub(rb"<ETag>.*?</ETag>", b"<ETag>listed</ETag>", xml))
    )
    planned(sterna, bucket.url("p"), target)
    done = sterna("apply", "plan")
    assert done.code == 0, done.out + done.err
    assert tree(target) == {"a": body}


def test_H43_a_server_side_copy_is_of_the_planned_version(sterna: Sterna, front: Front, bucket: Bucket) -> None:
    bucket.put("p/a", b"planned")
    planned(sterna, bucket.url("p"), bucket.url("q"))
    front.before("Copy", call=lambda _: bucket.put("p/a", THEIRS))
    drifted(sterna("apply", "plan"), "a", "The source was changed after it was looked at")
    assert bucket.contents("q/") == {}
