"""What one run leaves of a large object, the next one goes on with: at both ends, and from one bucket to another."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

import sterna
from sterna.jobs.settings import Settings
from sterna.journal.database import journals, reading
from sterna.journal.questions import open_uploads
from sterna.model.events import Summary
from sterna.moving.settings import Limits, UploadOptions
from tests.e2e.trees import tree
from tests.faults.case import MIB, Case, noise
from tests.faults.front import CutBody, Front, Refuse, Request, ResetAfterApply
from tests.servers.oracle import Bucket, Oracle

PART = 5 * MIB
SIZE = 3 * PART + 1000
DATA = noise(SIZE)
LONG_AGO_NS = 1_500_000_000_123_456_789
DOWN = Refuse(500, "InternalError")


def number_of(request: Request) -> int:
    return int(request.query["partNumber"])


def beyond(number: int) -> Callable[[Request], bool]:
    return lambda request: number_of(request) > number


class Large:
    """One file of four parts, sent by runs that may fail from some part on."""

    def __init__(self, case: Case, state: Path) -> None:
        self.case, self.state = case, state
        self.front, self.bucket = case.front, case.bucket
        self.path = case.folder / "large"
        self.write(DATA)
        case.ignores_checksums()
        self.settings = replace(
            case.settings(resumes=True), limits=Limits(part_threshold=MIB, part_size=PART, workers=1)
        )

    def write(self, data: bytes, mtime_ns: int = LONG_AGO_NS) -> None:
        self.path.write_bytes(data)
        os.utime(self.path, ns=(mtime_ns, mtime_ns))

    def up(self, settings: Settings | None = None) -> Summary:
        self.front.forget()
        return self.case.up(settings or self.settings).summary

    def cut_off(self, after: int = 2) -> None:
        """A run that brings the first parts, and fails then."""
        broken = self.front.fault("UploadPart", kind=DOWN, nth="always", where=beyond(after))
        summary = self.up()
        assert (summary.failed, summary.uploaded) == (1, 0)
        self.front.remove(broken)
        [upload] = self.bucket.uploads()
        assert sorted(self.bucket.parts(upload)) == list(range(1, after + 1))

    def sent(self) -> list[int]:
        return sorted(number_of(request) for request in self.front.requests_of("UploadPart"))

    def is_there(self, summary: Summary, *, there: int, moved: int) -> None:
        """It arrived whole; of its bytes so many were there, and so many were sent now; nothing is left behind."""
        assert (summary.exit_code, summary.uploaded) == (0, 1), summary
        assert (summary.there_bytes, summary.moved_bytes) == (there, moved)
        assert self.bucket.contents("p/") == {"p/large": self.path.read_bytes()}
        assert self.bucket.uploads() == []
        again = self.up()
        assert (again.exit_code, again.uploaded, again.kept, again.moved_bytes) == (0, 0, 1, 0)


@pytest.fixture
def large(
    front: Front, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: Path
) -> Iterator[Large]:
    with closing(Case(front, bucket, tmp_path, monkeypatch)) as case:
        yield Large(case, state)


def test_only_the_parts_that_are_missing_are_sent_h48_h94(large: Large) -> None:
    large.cut_off()
    summary = large.up()
    assert large.sent() == [3, 4]
    large.is_there(summary, there=2 * PART, moved=SIZE - 2 * PART)


def test_a_run_that_fails_again_adds_to_what_is_there_h48(large: Large) -> None:
    large.cut_off(1)
    large.cut_off(3)
    summary = large.up()
    assert large.sent() == [4]
    large.is_there(summary, there=3 * PART, moved=1000)


def test_without_the_journal_the_parts_on_the_server_are_known_by_their_bytes_h48(large: Large) -> None:
    large.cut_off()
    shutil.rmtree(large.state)
    summary = large.up()
    assert large.sent() == [3, 4]
    large.is_there(summary, there=2 * PART, moved=SIZE - 2 * PART)


def test_a_part_that_is_not_in_the_journal_is_known_by_its_bytes_h48(large: Large) -> None:
    large.cut_off()
    [upload] = large.bucket.uploads()
    large.bucket.put_part("p/large", upload.upload_id, 4, DATA[3 * PART :])
    large.bucket.put_part("p/large", upload.upload_id, 3, bytes(PART))  # somebody else's
    summary = large.up()
    assert large.sent() == [3]
    large.is_there(summary, there=2 * PART + 1000, moved=PART)


def test_a_part_that_somebody_has_replaced_is_sent_again_h48(large: Large) -> None:
    large.cut_off()
    [upload] = large.bucket.uploads()
    large.bucket.put_part("p/large", upload.upload_id, 2, bytes(PART))
    summary = large.up()
    assert large.sent() == [2, 3, 4]
    large.is_there(summary, there=PART, moved=SIZE - PART)


def test_content_that_changed_behind_an_old_time_is_found_part_by_part_h40(large: Large) -> None:
    """Same size and time: only the ctime tells, and then the bytes of each part are looked at."""
    large.cut_off()
    large.write(DATA[:PART] + bytes(PART) + DATA[2 * PART :])
    summary = large.up()
    assert large.sent() == [2, 3, 4]
    large.is_there(summary, there=PART, moved=SIZE - PART)


@pytest.mark.parametrize("keeps_state", (True, False), ids=("journal", "no journal"))
def test_another_version_of_the_file_is_another_upload_h40_h94(large: Large, keeps_state: bool) -> None:
    large.cut_off()
    if not keeps_state:
        shutil.rmtree(large.state)
    large.write(noise(SIZE, seed=2), LONG_AGO_NS + 10**12)
    summary = large.up()
    assert large.sent() == [1, 2, 3, 4]
    assert (summary.exit_code, summary.there_bytes) == (0, 0)
    assert large.bucket.contents("p/") == {"p/large": large.path.read_bytes()}
    # One that no journal knows is nobody's to abort.
    assert len(large.bucket.uploads()) == (0 if keeps_state else 1)


@pytest.mark.parametrize("keeps_state", (True, False), ids=("journal", "no journal"))
def test_an_object_has_the_headers_of_the_run_that_ends_it(large: Large, keeps_state: bool) -> None:
    """An upload takes its headers from its beginning; of one that only the server knows they show at its end."""
    large.cut_off()
    if not keeps_state:
        shutil.rmtree(large.state)
    summary = large.up(replace(large.settings, upload=UploadOptions(content_type="text/x-other")))
    assert (summary.exit_code, summary.uploaded) == (0, 1)
    assert (large.bucket.head("p/large") or {})["content-type"] == "text/x-other"
    assert large.bucket.contents("p/") == {"p/large": DATA}
    assert large.bucket.uploads() == []


def test_an_upload_that_somebody_gave_up_is_begun_anew_h94(large: Large) -> None:
    large.cut_off()
    [upload] = large.bucket.uploads()
    large.bucket.abort(upload)
    large.is_there(large.up(), there=0, moved=SIZE)


def test_an_upload_that_vanishes_while_it_is_gone_on_with_is_begun_anew_h94(large: Large) -> None:
    large.cut_off()
    [upload] = large.bucket.uploads()
    large.front.before("UploadPart", call=lambda _: large.bucket.abort(upload), nth=1)
    summary = large.up()
    assert large.bucket.contents("p/") == {"p/large": DATA}
    assert (summary.exit_code, summary.uploaded, large.bucket.uploads()) == (0, 1, [])


def test_an_upload_whose_id_was_never_heard_of_is_given_up_h94(large: Large) -> None:
    lost = large.front.fault("CreateMPU", kind=ResetAfterApply(), nth="always")
    assert large.up().failed == 1
    large.front.remove(lost)
    assert large.bucket.uploads() != []
    summary = large.up()
    assert (summary.exit_code, summary.uploaded) == (0, 1)
    assert large.bucket.contents("p/") == {"p/large": DATA}
    assert large.bucket.uploads() == []


def test_a_rivals_upload_is_left_alone_where_an_answer_never_came_h94(large: Large) -> None:
    lost = large.front.fault("CreateMPU", kind=DOWN, nth="always")
    assert large.up().failed == 1
    large.front.remove(lost)
    rivals = large.bucket.create_upload("p/large")
    large.bucket.put_part("p/large", rivals, 1, bytes(PART))
    assert large.up().exit_code == 0
    assert [one.upload_id for one in large.bucket.uploads()] == [rivals]


def test_an_upload_that_was_found_is_nobodys_to_abort_h94(large: Large) -> None:
    large.cut_off()
    shutil.rmtree(large.state)
    [found] = large.bucket.uploads()

    def edit(_: object) -> None:
        large.write(noise(SIZE, seed=5), LONG_AGO_NS + 10**12)

    large.front.before("UploadPart", call=edit)
    assert large.up().exit_code == 0
    assert large.bucket.contents("p/") == {"p/large": large.path.read_bytes()}
    assert large.bucket.uploads() == [found]


def test_a_found_upload_that_was_joined_unseen_gets_its_headers_with_the_next_run(large: Large) -> None:
    large.cut_off()
    shutil.rmtree(large.state)
    settings = replace(large.settings, upload=UploadOptions(content_type="text/x-other"))
    unseen = large.front.fault("Head", kind=DOWN, nth="always")
    assert large.up(settings).failed == 1
    large.front.remove(unseen)
    assert (large.bucket.head("p/large") or {})["content-type"] != "text/x-other"
    assert (large.up(settings).exit_code, large.bucket.uploads()) == (0, [])
    assert (large.bucket.head("p/large") or {})["content-type"] == "text/x-other"
    assert large.up(settings).kept == 1


def test_an_upload_whose_file_is_gone_is_given_up_by_a_clean_run_h94(large: Large) -> None:
    large.cut_off()
    large.path.unlink()
    large.case.write({"other": b"small"})
    assert large.up().exit_code == 0
    assert large.bucket.uploads() == []


def test_without_a_journal_nothing_is_left_h94(large: Large) -> None:
    broken = large.front.fault("UploadPart", kind=DOWN, nth="always", where=beyond(2))
    assert large.up(large.case.settings(limits=large.settings.limits)).failed == 1
    assert large.bucket.uploads() == []
    large.front.remove(broken)


def test_a_joined_object_whose_answer_was_lost_is_not_sent_again_h06(large: Large) -> None:
    large.cut_off()
    large.front.fault("Complete", kind=ResetAfterApply())
    large.is_there(large.up(), there=2 * PART, moved=SIZE - 2 * PART)


def test_pages_of_parts_are_read_to_their_end_h80(large: Large) -> None:
    large.cut_off()
    large.front.fault("ListParts", kind=Refuse(500, "InternalError"))
    summary = large.up()
    assert large.sent() == [3, 4]
    large.is_there(summary, there=2 * PART, moved=SIZE - 2 * PART)


def test_a_single_file_goes_up_from_where_it_was_and_is_known_by_its_whole_key_h94(large: Large) -> None:
    broken = large.front.fault("UploadPart", kind=DOWN, nth="always", where=beyond(2))

    def copied() -> Summary:
        return sterna.copy(large.path, large.bucket.url("q/other"), settings=large.settings)

    assert copied().failed == 1
    large.front.remove(broken)
    [journal] = journals(large.state)
    with reading(journal) as connection:
        assert [one.key for one in open_uploads(connection)] == ["q/other"]
    summary = copied()
    assert (summary.exit_code, summary.there_bytes) == (0, 2 * PART)
    assert large.bucket.contents("q/") == {"q/other": DATA}
    assert large.bucket.uploads() == []


# From one bucket to another


def test_only_the_parts_that_are_missing_are_copied_h48(large: Large, front: Front, oracle: Oracle) -> None:
    source = large.bucket
    source.put("p/large", DATA)
    target = oracle.create_bucket(f"{source.name}-copies")
    limits = Limits(part_threshold=MIB, part_size=PART, copy_threshold=MIB, workers=1)
    settings = replace(large.settings, limits=limits)

    def copied() -> Summary:
        front.forget()
        return sterna.sync(source.url("p"), target.url("q"), settings=settings)

    broken = front.fault("UploadPartCopy", kind=DOWN, nth="always", where=beyond(2))
    assert copied().failed == 1
    front.remove(broken)
    assert len(target.uploads()) == 1
    summary = copied()
    assert sorted(map(number_of, front.requests_of("UploadPartCopy"))) == [3, 4]
    assert (summary.exit_code, summary.copied, summary.there_bytes) == (0, 1, 2 * PART)
    assert target.contents("q/") == {"q/large": DATA}
    assert target.uploads() == []


# Down


class Fetched:
    """One object of four ranges, brought by runs that may fail from some range on."""

    def __init__(self, large: Large, target: Path) -> None:
        self.front, self.bucket, self.target, self.state = large.front, large.bucket, target, large.state
        self.settings = large.settings
        self.bucket.put("p/large", DATA)

    def down(self, settings: Settings | None = None) -> Summary:
        self.front.forget()
        return sterna.sync(self.bucket.url("p"), self.target, settings=settings or self.settings)

    def cut_off(self, after: int = 2) -> Path:
        broken = self.front.fault(
            "GetRange", kind=DOWN, nth="always", where=lambda one: spans([one])[0][0] >= after * PART
        )
        assert self.down().failed == 1
        self.front.remove(broken)
        [left] = self.target.iterdir()
        assert left.name.startswith(".sterna-")
        return left

    def spans(self) -> list[tuple[int, int]]:
        return sorted(spans(self.front.requests_of("GetRange")))

    def is_there(self, summary: Summary, *, there: int) -> None:
        assert (summary.exit_code, summary.downloaded) == (0, 1), summary
        assert (summary.there_bytes, summary.moved_bytes) == (there, SIZE - there)
        assert tree(self.target) == {"large": DATA}
        again = self.down()
        assert (again.exit_code, again.downloaded, again.kept) == (0, 0, 1)


def spans(requests: list[Request]) -> list[tuple[int, int]]:
    """First and last byte of each range."""
    found = []
    for request in requests:
        first, _, last = request.headers["range"].removeprefix("bytes=").partition("-")
        found.append((int(first), int(last)))
    return found


@pytest.fixture
def fetched(large: Large, tmp_path: Path) -> Fetched:
    return Fetched(large, tmp_path / "target")


def test_only_the_ranges_that_are_missing_are_fetched_h48(fetched: Fetched) -> None:
    fetched.cut_off()
    summary = fetched.down()
    assert fetched.spans() == [(2 * PART, 3 * PART - 1), (3 * PART, SIZE - 1)]
    fetched.is_there(summary, there=2 * PART)


def test_the_beginning_of_a_range_that_was_cut_is_not_fetched_again_h48(fetched: Fetched) -> None:
    cut = fetched.front.fault(
        "GetRange", kind=CutBody(PART - 1000), nth="always", where=lambda one: spans([one])[0][0] == 0
    )
    broken = fetched.front.fault(
        "GetRange", kind=DOWN, nth="always", must_hit=False, where=lambda one: spans([one])[0][0] > 0
    )
    assert fetched.down().failed == 1
    fetched.front.remove(cut)
    fetched.front.remove(broken)
    summary = fetched.down()
    first, last = fetched.spans()[0]
    assert 4 * MIB <= first < PART
    assert last == PART - 1
    fetched.is_there(summary, there=first)


def test_bytes_that_the_disk_did_not_keep_are_fetched_again_h47(fetched: Fetched) -> None:
    left = fetched.cut_off()
    with left.open("r+b") as file:
        file.seek(PART + 77)
        file.write(bytes(100))
    summary = fetched.down()
    assert fetched.spans()[0] == (PART, 2 * PART - 1)
    fetched.is_there(summary, there=PART)


@pytest.mark.parametrize("what", ["gone", "shorter", "a link"])
def test_an_unfinished_file_that_is_no_more_is_begun_anew_h62(fetched: Fetched, tmp_path: Path, what: str) -> None:
    left = fetched.cut_off()
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    if what == "shorter":
        os.truncate(left, PART)
    else:
        left.unlink()
    if what == "a link":
        left.symlink_to(victim)
    summary = fetched.down()
    assert (summary.exit_code, summary.there_bytes) == (0, PART if what == "shorter" else 0)
    assert (fetched.target / "large").read_bytes() == DATA
    assert victim.read_bytes() == b"mine"


def test_another_version_of_the_object_is_another_file_h43(fetched: Fetched) -> None:
    fetched.cut_off()
    other = noise(SIZE, seed=3)
    fetched.bucket.put("p/large", other)
    summary = fetched.down()
    assert (summary.exit_code, summary.there_bytes) == (0, 0)
    assert tree(fetched.target) == {"large": other}


def test_an_unfinished_file_whose_object_is_gone_is_removed_by_a_clean_run_h48(fetched: Fetched) -> None:
    fetched.cut_off()
    fetched.bucket.delete("p/large")
    fetched.bucket.put("p/other", b"small")
    assert fetched.down().exit_code == 0
    assert tree(fetched.target) == {"other": b"small"}


def test_a_single_file_goes_on_where_it_was_h48(fetched: Fetched) -> None:
    broken = fetched.front.fault("GetRange", kind=DOWN, nth="always", where=lambda one: spans([one])[0][0] >= 2 * PART)

    def copied() -> Summary:
        fetched.front.forget()
        return sterna.copy(fetched.bucket.url("p/large"), fetched.target / "large", settings=fetched.settings)

    assert copied().failed == 1
    fetched.front.remove(broken)
    summary = copied()
    assert (summary.exit_code, summary.there_bytes) == (0, 2 * PART)
    assert tree(fetched.target) == {"large": DATA}
