"""Upload through a front that lies, loses, cuts and flips: nothing counts as done that is not there (H01-H08, H21, H40)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sterna.wire.checksum import algorithm
from tests.conftest import Sterna
from tests.faults import front as f
from tests.faults.case import LARGE, MIB, PATIENCE, Case, Echo, noise
from tests.faults.front import Front
from tests.faults.test_disk import as_ordinary_user, run
from tests.servers.oracle import Bucket

SMALL = {"a.txt": b"first", "dir/b.txt": b"second", "dir/c.txt": b"third"}
BIG = {"big.bin": noise(LARGE)}


@pytest.fixture
def case(front: Front, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    with closing(Case(front, bucket, tmp_path, monkeypatch)) as case:
        yield case


# A single PUT that was not done, or done otherwise


@pytest.mark.parametrize("many", [True, False])
def test_H04_a_put_answered_200_and_not_stored_is_a_failure(case: Case, many: bool) -> None:
    case.write(SMALL if many else {"dir/b.txt": b"second"})
    case.front.fault("Put", key="p/dir/b.txt", nth="always", kind=f.Lie())
    case.is_failed(case.up(), "dir/b.txt", words="does not have it")


def test_H04_every_put_answered_200_and_none_stored_fails_every_file(case: Case) -> None:
    case.write(SMALL)
    case.front.fault("Put", nth="always", kind=f.Lie())
    case.is_failed(case.up(), *SMALL, words="does not have it")


def test_H04_a_put_stored_short_is_a_failure_that_tells_both_sizes(case: Case) -> None:
    case.write(SMALL)
    case.front.fault("Put", key="p/dir/b.txt", nth="always", kind=f.ShortStore(3))
    case.is_failed(case.up(), "dir/b.txt", words="6 bytes were sent, the server has 3", kept={"dir/b.txt": b"sec"})


@pytest.mark.parametrize("lie", [f.Lie(), f.Html(), f.EmptyBody(), f.ErrorIn200()], ids=lambda lie: type(lie).__name__)
def test_H07_an_older_object_of_the_same_size_is_not_taken_for_what_was_put(case: Case, lie: f.Kind) -> None:
    case.bucket.put("p/a.txt", b"older")
    case.write(SMALL)
    case.touch("a.txt")
    case.front.fault("Put", key="p/a.txt", nth="always", kind=lie)
    case.is_failed(case.up(), "a.txt", kept={"a.txt": b"older"})


@pytest.mark.parametrize("kind", [f.Html(), f.EmptyBody(), f.ErrorIn200()], ids=lambda kind: type(kind).__name__)
def test_H12_a_put_answered_by_somebody_else_is_sent_again(case: Case, kind: f.Kind) -> None:
    case.write(SMALL)
    case.front.fault("Put", kind=kind)
    case.is_arrived(case.up())


def test_H21_a_put_whose_bit_flips_on_the_way_is_refused_by_its_checksum_and_sent_again(case: Case) -> None:
    case.write(SMALL)
    case.front.fault("Put", nth={1, 3}, kind=f.FlipRequestBit(2))
    case.is_arrived(case.up())


def test_H21_a_flipped_bit_is_found_by_content_md5_where_the_endpoint_knows_no_checksums(case: Case) -> None:
    case.write(SMALL)
    case.front.fault("Put", nth="every 2nd", kind=f.FlipRequestBit(2))
    case.ignores_checksums()
    case.is_arrived(case.up())


def test_H21_a_server_that_shows_the_sum_of_other_bytes_than_were_sent_is_not_believed(case: Case) -> None:
    case.write(SMALL)
    case.front.fault("Put", nth={1, 2}, kind=f.FlipRequestBit(2))
    case.front.fault("Put", nth="always", kind=Echo())
    case.is_arrived(case.up())


def test_H21_bytes_that_always_arrive_flipped_fail_and_are_not_left_to_be_taken_for_the_file(case: Case) -> None:
    case.write(SMALL)
    case.front.fault("Put", key="p/a.txt", nth="always", kind=f.FlipRequestBit(2))
    case.front.fault("Put", nth="always", kind=Echo())
    case.is_failed(case.up(), "a.txt", words="other bytes than were sent")


def test_H21_a_flipped_bit_is_found_by_the_etag_where_the_server_checks_nothing(case: Case) -> None:
    case.write(SMALL)
    case.front.fault("Put", nth={1, 2}, kind=f.FlipRequestBit(2, unnoticed=True))
    case.ignores_checksums()
    case.is_arrived(case.up())


def test_H13_a_wrong_etag_in_the_answer_is_no_loss_where_the_bytes_are_right(case: Case) -> None:
    case.write(SMALL)
    case.front.fault("Put", nth="always", kind=f.WrongETag())
    case.is_arrived(case.up())


def test_H13_an_answer_with_the_checksum_of_other_bytes_is_repeated_then_a_failure(case: Case) -> None:
    case.write(SMALL)
    case.front.fault("Put", key="p/a.txt", nth="always", kind=f.WrongChecksum(), must_hit=False)
    case.front.fault("Put", key="p/a.txt", nth="always", kind=f.SetHeader("x-amz-checksum-crc64nvme", "AAAAAAAAAAA="))
    case.is_failed(case.up(), "a.txt", words="other bytes than were sent")


# The end of a multipart upload

NOT_DONE = [
    f.EmptyBody(),
    *(f.CutXml(at) for at in (1, 30, 60, 120, 200)),
    f.ErrorIn200(),
    f.ErrorIn200(blanks=70_000),
    f.Html(),
    f.Rewrite(lambda body: b"   "),
]


def _name(kind: object) -> str:
    at = getattr(kind, "at", None) or getattr(kind, "blanks", None)
    return f"{type(kind).__name__}{at or ''}"


@pytest.mark.parametrize("kind", [k for k in NOT_DONE if not isinstance(k, f.Rewrite)], ids=_name)
def test_H02_a_complete_answered_200_with_no_result_is_a_failure(case: Case, kind: f.Kind) -> None:
    case.write({**SMALL, **BIG})
    case.ignores_checksums()
    complete = case.front.fault("Complete", nth="always", kind=kind)
    ran = case.up()
    words = "InternalError" if isinstance(kind, f.ErrorIn200) and not kind.blanks else "Complete"
    case.is_failed(ran, "big.bin", words=words)
    assert 1 < complete.hits <= PATIENCE.attempts


@pytest.mark.parametrize("kind", NOT_DONE, ids=_name)
def test_H01_a_complete_answered_200_with_no_result_is_repeated(case: Case, kind: f.Kind) -> None:
    case.write(BIG)
    case.ignores_checksums()
    case.front.fault("Complete", nth={1, 2}, kind=kind)
    case.is_arrived(case.up())
    assert case.front.count("CreateMPU") == 1


def test_H01_an_error_in_a_200_is_told_in_the_servers_words(case: Case) -> None:
    case.write(BIG)
    case.ignores_checksums()
    case.front.fault("Complete", nth="always", kind=f.ErrorIn200("InternalError", "The disk is made of cheese."))
    ran = case.up()
    case.is_failed(ran, "big.bin", words="The disk is made of cheese.")
    assert ran.summary.failures[0].request_id == "FRONTREQUESTID00"


def test_H02_a_complete_that_was_a_lie_is_a_failure(case: Case) -> None:
    case.write({**SMALL, **BIG})
    case.ignores_checksums()
    case.front.fault("Complete", nth="always", kind=f.Lie())
    ran = case.up()
    assert (ran.summary.exit_code, [one.key for one in ran.summary.failures]) == (1, ["big.bin"])
    assert "does not have it" in ran.said
    assert case.truth() == SMALL
    case.converges()


@pytest.mark.parametrize(
    "kind",
    [f.EmptyBody(applied=True), *(f.CutXml(at, applied=True) for at in (1, 60, 150)), f.Refuse(500, applied=True),
     f.ResetAfterApply(), f.ResetAfterApply("FIN"), f.CutHead()],
    ids=_name,
)  # fmt: skip
@pytest.mark.parametrize("nth", [1, "always"])
def test_H06_a_complete_that_was_done_and_its_answer_lost_is_found_out(case: Case, kind: f.Kind, nth: f.Nth) -> None:
    case.write(BIG)
    case.ignores_checksums()
    case.front.fault("Complete", nth=nth, kind=kind)
    ran = case.up()
    case.is_arrived(ran)
    assert case.front.count("CreateMPU") == 1
    assert ran.summary.moved_bytes == LARGE


def test_H06_a_repeated_complete_is_believed_where_the_server_repeats_its_answer(case: Case) -> None:
    case.write(BIG)
    case.ignores_checksums()
    case.front.fault("Complete", nth=1, kind=f.ResetAfterApply())
    case.front.fault("Complete", nth="from 2nd", kind=f.Lie())  # the same answer once more, as from AWS
    case.is_arrived(case.up())
    assert case.front.count("Complete") == 2


@pytest.mark.parametrize("kind", [f.NO_SUCH_UPLOAD, f.EmptyBody(), f.ResetBeforeRequest()], ids=_name)
def test_H07_an_older_object_of_the_same_size_is_not_taken_for_the_joined_parts(case: Case, kind: f.Kind) -> None:
    older = noise(LARGE, 2)
    case.bucket.put("p/big.bin", older)
    case.write(BIG)
    case.touch("big.bin")
    case.ignores_checksums()
    case.front.fault("Complete", nth="always", kind=kind)
    case.is_failed(case.up(), "big.bin", kept={"big.bin": older})


def test_H07_an_older_object_of_the_same_size_is_not_taken_for_a_complete_that_lied(case: Case) -> None:
    older = noise(LARGE, 2)
    case.bucket.put("p/big.bin", older)
    case.write(BIG)
    case.touch("big.bin")
    case.ignores_checksums()
    case.front.fault("Complete", nth="always", kind=f.Lie())
    ran = case.up()
    assert (ran.summary.exit_code, ran.summary.uploaded, ran.summary.failed) == (1, 0, 1), ran.said
    assert case.truth() == {"big.bin": older}
    case.converges()


OTHER_SUM = f.SetHeader("x-amz-checksum-crc64nvme", "AAAAAAAAAAE=")


def test_H21_joined_parts_that_are_other_bytes_fail_and_are_not_left_to_be_taken_for_the_file(case: Case) -> None:
    case.write(BIG | SMALL)
    case.front.fault("Complete", nth="always", kind=OTHER_SUM)
    case.shows_checksums()
    case.is_failed(case.up(), "big.bin", words="joined other bytes")


def test_H06_what_a_lost_answer_has_joined_wrongly_is_not_left_to_be_taken_for_the_file(case: Case) -> None:
    case.write(BIG)
    case.front.fault("Complete", nth=1, kind=f.ResetAfterApply())
    case.front.fault("Complete", nth="from 2nd", kind=f.NO_SUCH_UPLOAD)
    case.front.fault("Head", key="p/big.bin", nth="always", kind=OTHER_SUM)
    case.shows_checksums()
    case.is_failed(case.up(), "big.bin", words="joined other bytes")


def test_H21_joined_parts_that_cannot_be_taken_back_are_named(case: Case) -> None:
    case.write(BIG)
    case.front.fault("Complete", nth="always", kind=OTHER_SUM)
    case.front.fault("Delete", nth="always", kind=f.ACCESS_DENIED)
    case.shows_checksums()
    ran = case.up()
    assert ran.summary.exit_code == 1
    assert "could not be taken back" in ran.said


def test_H21_a_sum_of_the_whole_that_is_refused_is_not_passed_over(case: Case) -> None:
    """Unless the server shows another of its own that is right, nothing says that it has joined what was sent."""
    case.write(BIG)
    case.front.fault("Complete", nth=1, kind=f.BAD_DIGEST)
    case.shows_checksums()
    case.is_failed(case.up(), "big.bin", words="joined other bytes")


def test_a_server_that_knows_only_the_sum_of_sums_is_held_to_that(case: Case) -> None:
    case.write(BIG)
    kind, body = algorithm("CRC64NVME"), BIG["big.bin"]
    sums = [kind.update(body[start : start + 5 * MIB], 0) for start in (0, 5 * MIB)]
    case.front.fault("Complete", nth=1, kind=f.BAD_DIGEST)
    case.front.fault("Complete", nth=2, kind=f.SetHeader("x-amz-checksum-crc64nvme", kind.composite(sums)))
    case.shows_checksums()
    ran = case.up()
    case.is_arrived(ran)
    assert ran.outcomes["big.bin"].proof == "CRC64NVME, seen"
    whole, without = case.front.requests_of("Complete")
    assert whole.headers["x-amz-checksum-type"] == "FULL_OBJECT"
    assert "x-amz-checksum-type" not in without.headers


@pytest.mark.parametrize(("hides", "proof"), [(False, "part sums, seen"), (True, "seen")])
def test_sums_of_parts_prove_an_object_where_the_server_has_shown_each(case: Case, hides: bool, proof: str) -> None:
    case.write(BIG)
    case.shows_checksums()
    if hides:
        case.front.fault("UploadPart", nth=2, kind=f.SetHeader("x-amz-checksum-crc64nvme", None))
    ran = case.up()
    case.is_arrived(ran)
    assert ran.outcomes["big.bin"].proof == proof


# The beginning and the parts of a multipart upload


@pytest.mark.parametrize("kind", [f.EmptyBody(), f.CutXml(60), f.ErrorIn200(), f.Html()], ids=_name)
@pytest.mark.parametrize("nth", [1, "always"])
def test_H02_a_create_answered_200_with_no_upload_id_is_repeated_then_a_failure(
    case: Case, kind: f.Kind, nth: f.Nth
) -> None:
    case.write({**SMALL, **BIG})
    case.ignores_checksums()
    create = case.front.fault("CreateMPU", nth=nth, kind=kind)
    ran = case.up()
    if nth == 1:
        case.is_arrived(ran)
    else:
        case.is_failed(ran, "big.bin")
        assert 1 < create.hits <= PATIENCE.attempts


@pytest.mark.parametrize("operation", ["CreateMPU", "UploadPart"])
def test_H04_an_upload_or_a_part_that_the_server_does_not_have_is_a_failure(case: Case, operation: str) -> None:
    case.write({**SMALL, **BIG})
    case.ignores_checksums()
    case.front.fault(operation, nth="always", kind=f.Lie())
    case.is_failed(case.up(), "big.bin")


def test_H04_a_part_stored_short_is_a_failure(case: Case) -> None:
    case.write(BIG)
    case.ignores_checksums()
    case.front.fault("UploadPart", nth=2, kind=f.ShortStore(1000))
    ran = case.up()
    assert (ran.summary.exit_code, ran.summary.failed) == (1, 1), ran.said
    assert "bytes were sent, the server has" in ran.said
    assert case.bucket.uploads() == []
    case.converges()


def test_H21_a_part_whose_bit_flips_on_the_way_is_refused_and_sent_again(case: Case) -> None:
    case.write(BIG)
    case.front.fault("UploadPart", nth=1, kind=f.FlipRequestBit(70_000))
    case.ignores_checksums()
    case.is_arrived(case.up())
    assert case.front.count("UploadPart") == 3


def test_H21_a_flipped_bit_of_a_part_is_found_by_its_etag_where_the_server_checks_nothing(case: Case) -> None:
    case.write(SMALL | BIG)
    flip = f.FlipRequestBit(100, unnoticed=True)
    case.front.fault("UploadPart", nth={2, 3}, where=lambda part: part.query["partNumber"] == "2", kind=flip)
    case.front.fault("UploadPart", kind=flip, where=lambda part: part.query["partNumber"] == "2")
    case.front.before(  # the first part is there before the second, and says what ETags are here
        "UploadPart",
        where=lambda part: part.query["partNumber"] == "2",
        call=lambda _: case.front.wait_for("UploadPart", answered=True),
    )
    case.ignores_checksums()
    case.is_arrived(case.up())
    assert case.front.count("UploadPart") == 5


def test_H21_a_part_of_which_the_server_shows_another_sum_is_sent_again(case: Case) -> None:
    case.write({**SMALL, **BIG})
    flip = case.front.fault("UploadPart", nth=2, kind=f.FlipRequestBit(100))
    case.front.fault(("Put", "UploadPart"), nth="always", kind=Echo())
    case.front.fault(("CreateMPU", "Complete"), nth="always", kind=Echo(), must_hit=False)
    ran = case.up()
    assert flip.hits == 1
    case.is_arrived(ran)


def test_H32_a_body_is_sent_again_from_its_first_byte(case: Case) -> None:
    case.write({"a.bin": noise(300_000), "b.bin": noise(70_000, 2), **BIG})
    case.ignores_checksums()
    for nth, at in enumerate((1, 65_536, 65_537, 200_000), 1):
        case.front.fault("Put", key="p/a.bin", nth=nth, kind=f.ResetAtRequestByte(at, "RST" if nth % 2 else "FIN"))
    for nth, at in enumerate((1, 1 << 20, (1 << 20) + 1, 4 << 20), 1):
        kind = f.ResetAtRequestByte(at)
        case.front.fault("UploadPart", where=lambda part: part.query["partNumber"] == "1", nth=nth, kind=kind)
    case.is_arrived(case.up())


@pytest.mark.parametrize("at", [1, 65_536, (1 << 20) + 1, 4 << 20])
def test_H32_a_part_that_goes_out_from_its_file_is_sent_again_from_its_first_byte(case: Case, at: int) -> None:
    case.write(SMALL | BIG)
    case.front.fault("UploadPart", where=_is_first, nth=1, kind=f.ResetAtRequestByte(at))
    case.front.fault("UploadPart", where=_is_first, nth=2, kind=f.ResetAtRequestByte(at, "FIN"))
    case.shows_checksums()
    case.is_arrived(case.up())


def _is_first(part: f.Request) -> bool:
    return part.query["partNumber"] == "1"


# What is sent changes


def _mutated_during_part(case: Case, change: Callable[[Path], object], nth: f.Nth = 2) -> None:
    path = case.folder / "big.bin"
    case.front.before("UploadPart", nth=nth, call=lambda part: change(path))


def _rewrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(noise(LARGE, 9))


def _replace(path: Path) -> None:
    other = path.with_name(".other")
    other.write_bytes(noise(LARGE, 9))
    os.replace(other, path)


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def _truncate(path: Path) -> None:
    os.truncate(path, 5 * 2**20 + 1)


@pytest.mark.parametrize("change", [_rewrite, _append, _truncate])
@pytest.mark.parametrize("from_file", [False, True])
def test_H40_a_file_that_changes_while_its_parts_go_up_is_sent_again_as_one_version(
    case: Case, change: Callable[[Path], object], from_file: bool
) -> None:
    case.write(SMALL | BIG)
    if from_file:
        case.shows_checksums()
    else:
        case.ignores_checksums()
    _mutated_during_part(case, change)
    ran = case.up()
    case.is_arrived(ran)
    assert ran.outcomes["big.bin"].attempts in (2, 3)  # the second may still meet the writer


def test_H41_a_file_replaced_by_rename_while_it_goes_up_arrives_as_one_version(case: Case) -> None:
    case.write(BIG)
    case.ignores_checksums()
    _mutated_during_part(case, _replace)
    ran = case.up()
    assert ran.summary.exit_code == 0, ran.said
    assert case.truth()["big.bin"] in (noise(LARGE), noise(LARGE, 9))
    assert case.bucket.uploads() == []
    case.converges()


def test_H40_a_file_that_never_rests_fails_as_unstable(case: Case) -> None:
    case.write({**SMALL, **BIG})
    case.ignores_checksums()
    _mutated_during_part(case, _append, "always")
    ran = case.up()
    assert ran.summary.exit_code == 1
    assert ran.outcomes["big.bin"].error_code == "unstable", ran.said
    case.is_failed(ran, "big.bin", words="changed each of 3 times while it was read")


def test_H41_a_file_that_vanishes_between_list_and_read_is_named_and_the_others_arrive(case: Case) -> None:
    case.write(SMALL)
    case.front.before("ListV2", call=lambda listing: (case.folder / "dir/b.txt").unlink())
    ran = case.up()
    assert ran.summary.exit_code == 1
    assert [one.key for one in ran.summary.failures] == ["dir/b.txt"]
    assert "vanished" in ran.said
    assert "vanished" in ran.log
    assert case.truth() == case.files()


def test_H41_a_file_truncated_between_list_and_read_arrives_as_it_now_is(case: Case) -> None:
    case.write({**SMALL, **BIG})
    case.front.before("ListV2", call=lambda listing: os.truncate(case.folder / "big.bin", 10))
    case.is_arrived(case.up())


@pytest.mark.parametrize("closed", ["a.txt", "dir"])
def test_H78_what_cannot_be_read_is_named_and_the_others_arrive(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path, closed: str
) -> None:
    folder = tmp_path / "tree"
    (folder / "dir").mkdir(parents=True)
    for name, body in SMALL.items():
        (folder / name).write_bytes(body)
    (folder / closed).chmod(0)
    done = run(sterna, "sync", folder, bucket.url("p"), before=as_ordinary_user)
    assert done.code == 1, done.err
    assert closed in done.out + done.err
    assert "ermission" in done.out + done.err
    assert bucket.contents("p/") == {f"p/{name}": body for name, body in SMALL.items() if not name.startswith(closed)}
    (folder / closed).chmod(0o700)
    assert run(sterna, "sync", folder, bucket.url("p"), before=as_ordinary_user).code == 0
    assert bucket.contents("p/") == {f"p/{name}": body for name, body in SMALL.items()}
