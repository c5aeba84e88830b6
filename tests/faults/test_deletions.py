"""``sync --delete`` through a front that lies: nothing is deleted that should not be, and what stays is named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from sterna.jobs.settings import Deletion
from sterna.model.outcomes import Status
from sterna.planning.guard import Allowed, Guard, MaxDelete
from tests.faults import front as f
from tests.faults.case import Case, Ran
from tests.faults.front import Front
from tests.servers.oracle import Bucket

pytestmark = pytest.mark.thorough

ALL = Deletion(Allowed(frozenset({Guard.SWAPPED}), MaxDelete()))
FILES = {"a": b"1", "d/b": b"22"}
ORPHANS = {"d/gone": b"x", "gone": b"y", "z/gone": b"z"}
OTHER = b"somebody's newer words"


@pytest.fixture
def case(front: Front, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    with closing(Case(front, bucket, tmp_path, monkeypatch)) as case:
        case.write(FILES)
        for name, body in ORPHANS.items():
            bucket.put(f"p/{name}", body)
        yield case


def up(case: Case, *, trash: str = "") -> Ran:
    return case.up(replace(case.settings(), deletion=ALL, trash=trash))


def down(case: Case, target: Path, *, trash: str = "") -> Ran:
    return case.down(target, replace(case.settings(), deletion=ALL, trash=trash))


def test_without_faults_only_what_the_source_has_is_left(case: Case) -> None:
    ran = up(case)
    assert (ran.summary.exit_code, ran.summary.deleted) == (0, 3), ran.said
    assert case.truth() == FILES


def test_H05_a_key_that_the_server_keeps_is_named_counted_and_fails_the_run(case: Case, front: Front) -> None:
    front.fault("DeleteObjects", kind=f.DeleteErrors(keys=("p/gone",)))
    ran = up(case)
    assert (ran.summary.exit_code, ran.summary.deleted, ran.summary.failed) == (1, 2, 1), ran.said
    assert ran.outcomes["gone"].status is Status.FAILED
    assert "The server did not remove it: said the front" in ran.said
    assert case.truth() == FILES | {"gone": b"y"}
    assert up(case).summary.exit_code == 0
    assert case.truth() == FILES


def test_H05_deletions_that_are_answered_and_not_made_fail_the_run(case: Case, front: Front) -> None:
    front.fault(("DeleteObjects", "Delete"), nth="always", kind=f.Lie())
    ran = up(case)
    assert (ran.summary.exit_code, ran.summary.deleted, ran.summary.failed) == (1, 0, 3), ran.said
    assert case.truth() == FILES | ORPHANS


@pytest.mark.parametrize("fault", [f.ACCESS_DENIED, f.Refuse(400, "Odd"), f.Lie()], ids=repr)
def test_H82_a_transfer_that_fails_leaves_all_deletions_for_the_next_run(
    case: Case, front: Front, fault: f.Kind
) -> None:
    front.fault("Put", key="p/d/b", nth="always", kind=fault)
    ran = up(case)
    assert (ran.summary.exit_code, ran.summary.deleted) == (1, 0), ran.said
    told = "3 deletions were left undone, since 1 of what was to be carried first failed."
    assert told in ran.summary.notices
    assert ORPHANS.items() <= case.truth().items()
    assert not [one for one in front.requests if one.operation.startswith("Delete") and "gone" in one.key]
    assert "DeleteObjects" not in [one.operation for one in front.requests]


def test_H82_deletions_come_after_everything_else(case: Case, front: Front) -> None:
    up(case)
    asked = [one.operation for one in front.requests]
    assert asked.index("DeleteObjects") > max(at for at, one in enumerate(asked) if one == "Put")


def test_H76_a_listing_that_fails_moves_and_deletes_nothing(case: Case, front: Front, tmp_path: Path) -> None:
    (target := tmp_path / "target").mkdir()
    (target / "mine").write_bytes(b"x")
    front.fault("ListV2", nth="always", kind=f.INTERNAL_ERROR)
    with pytest.raises(Exception, match="InternalError"):
        down(case, target)
    assert [path.name for path in target.iterdir()] == ["mine"]


@pytest.mark.parametrize("lie", [f.TruncatedWithoutToken(), f.Html(), f.CutXml(200)], ids=repr)
def test_H77_a_listing_that_is_short_moves_and_deletes_nothing(
    case: Case, front: Front, tmp_path: Path, lie: f.Kind
) -> None:
    (target := tmp_path / "target").mkdir()
    (target / "mine").write_bytes(b"x")
    front.fault("ListV2", nth="always", kind=lie)
    with pytest.raises(Exception):  # noqa: B017 - each lie has an error of its own
        down(case, target)
    assert [path.name for path in target.iterdir()] == ["mine"]


def test_H75_an_empty_listing_is_refused_before_anything_is_deleted(case: Case, front: Front, tmp_path: Path) -> None:
    (target := tmp_path / "target").mkdir()
    (target / "mine").write_bytes(b"x")
    front.fault("ListV2", nth="always", kind=f.EmptyList())
    with pytest.raises(Exception, match=r"The source is empty. Refused: 1 deletion; .*--allow-empty-source"):
        down(case, target)
    assert [path.name for path in target.iterdir()] == ["mine"]


def test_H44_what_was_written_after_it_was_listed_stays_and_is_named(case: Case, front: Front, bucket: Bucket) -> None:
    front.fault("*", nth="always", kind=f.IgnoreConditions(), must_hit=False)
    front.before("Put", key="p/a", call=lambda _: bucket.put("p/gone", OTHER))
    ran = up(case)
    assert (ran.summary.exit_code, ran.summary.deleted, ran.summary.failed) == (1, 2, 1), ran.said
    assert "gone was written again after it was listed; it was left" in ran.said
    assert case.truth() == FILES | {"gone": OTHER}


def test_H44_a_file_that_was_changed_after_it_was_listed_stays_and_is_named(
    case: Case, front: Front, tmp_path: Path
) -> None:
    (target := tmp_path / "target").mkdir()
    for name in ("mine", "theirs"):
        (target / name).write_bytes(b"x")
    front.before("Get", key="p/gone", call=lambda _: (target / "mine").write_bytes(b"longer"))
    ran = down(case, target)
    assert (ran.summary.exit_code, ran.summary.deleted, ran.summary.failed) == (1, 1, 1), ran.said
    assert "was changed by somebody else since it was listed" in ran.said
    assert (target / "mine").read_bytes() == b"longer"
    assert not (target / "theirs").exists()


def test_H86_who_may_not_delete_keeps_the_summary(case: Case, front: Front) -> None:
    front.fault(("DeleteObjects", "Delete"), nth="always", kind=f.ACCESS_DENIED)
    ran = up(case)
    assert (ran.summary.exit_code, ran.summary.uploaded, ran.summary.failed) == (1, 2, 3), ran.said
    assert "s3:DeleteObject" in ran.said
    assert case.truth() == FILES | ORPHANS


# Trash


@pytest.mark.parametrize("lie", [f.Lie(), f.EmptyBody(), f.ErrorIn200("AccessDenied"), f.ACCESS_DENIED, f.NOT_IMPLEMENTED],
                         ids=repr)  # fmt: skip
def test_H02_nothing_is_written_over_or_deleted_that_is_not_in_the_trash(
    case: Case, front: Front, bucket: Bucket, lie: f.Kind
) -> None:
    bucket.put("p/a", b"older")
    front.fault("Copy", nth="always", kind=lie)
    ran = up(case, trash="bin")
    assert (ran.summary.exit_code, ran.summary.deleted) == (1, 0), ran.said
    assert ran.outcomes["a"].status is Status.FAILED
    assert case.truth() == FILES | ORPHANS | {"a": b"older"}
    assert "p/a" not in [one.key for one in front.requests if one.operation == "Put"]


def test_an_object_that_is_replaced_before_it_is_written_over_is_in_the_trash_as_it_was_then(
    case: Case, front: Front, bucket: Bucket
) -> None:
    bucket.put("p/a", b"older")
    front.before("Head", key="p/a", call=lambda _: bucket.put("p/a", OTHER))
    ran = up(case, trash="bin")
    assert ran.summary.exit_code == 0, ran.said
    assert OTHER in bucket.contents("bin/").values()
    assert case.truth() == FILES
