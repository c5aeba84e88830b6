"""A file that changes just when its object becomes final: no later run takes what was stored for the file (H40)."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Sterna
from tests.e2e.trees import plant
from tests.faults import front as f
from tests.faults.case import LARGE, Case, Echo, noise
from tests.faults.front import Front, Request
from tests.servers.oracle import Bucket

LATER = "sync again when it rests"


@pytest.fixture
def case(front: Front, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    with closing(Case(front, bucket, tmp_path, monkeypatch)) as case:
        yield case


class Restless:
    """A file that gets other bytes of the same size each time it is called, and a time before any object's.

    So it looks to a run whose server's clock is ahead of ours, or that sent it for longer than a second.
    """

    def __init__(self, path: Path, size: int, ago_s: float = 3600.0) -> None:
        self.path = path
        self.size = size
        self.times = 0
        self._ago_s = ago_s
        self()

    def __call__(self, *_: object) -> None:
        self.times += 1
        with self.path.open("r+b" if self.path.exists() else "wb") as file:
            file.write(noise(self.size, self.times))
        then = time.time() - self._ago_s + self.times
        os.utime(self.path, (then, then))


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["while it is sent", "before we look again"])
@pytest.mark.parametrize("versions", [False, True])
def test_H40_a_small_file_that_changes_at_each_put_is_carried_by_the_next_run(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path, moment: str, versions: bool
) -> None:
    if versions:
        bucket.enable_versions()  # then all versions stay, and none is shown
    bucket.put("p/other.txt", b"somebody else's")
    bucket.put("p/a.txt", b"an older good one, of another size")
    folder = tmp_path / "tree"
    folder.mkdir()
    change = Restless(folder / "a.txt", 2000)
    hook = front.before if moment == "while it is sent" else front.after
    fault = hook("Put", nth={1, 2, 3}, call=change)
    first = sterna("sync", folder, bucket.url("p"))
    assert (first.code, fault.hits) == (1, 3), first.out + first.err
    assert LATER in first.out
    assert "was taken back" in first.out
    assert bucket.contents("p/") == {"p/other.txt": b"somebody else's"}
    second = sterna("sync", folder, bucket.url("p"))
    assert second.code == 0, second.out + second.err
    assert bucket.get("p/a.txt") == noise(2000, 4) == change.path.read_bytes()
    assert "1 unchanged" in sterna("sync", folder, bucket.url("p")).out


@pytest.mark.slow
def test_H40_a_large_file_that_changes_after_each_complete_is_carried_by_the_next_run(case: Case) -> None:
    case.ignores_checksums()
    change = Restless(case.folder / "big.bin", LARGE)
    case.front.after("Complete", nth={1, 2, 3}, call=change)
    ran = case.up()
    assert "was taken back" in ran.said
    case.is_failed(ran, "big.bin", words=LATER)
    assert change.times == 4


def test_H40_what_an_earlier_try_stored_is_taken_back_where_the_last_fails_otherwise(case: Case) -> None:
    change = Restless(case.folder / "a.txt", 2000)
    case.front.before("Put", nth=1, call=change)
    case.front.fault("Put", nth="from 2nd", kind=f.ACCESS_DENIED)
    ran = case.up()
    assert "was taken back" in ran.said
    case.is_failed(ran, "a.txt", words="denied", code=3)


def test_H40_a_put_whose_answer_is_lost_is_taken_back_where_the_file_has_changed(case: Case) -> None:
    change = Restless(case.folder / "a.txt", 2000)
    case.front.before("Put", nth=1, call=change)
    case.front.fault("Put", nth="always", kind=f.ResetAfterApply())
    ran = case.up()
    assert "was taken back" in ran.said
    case.is_failed(ran, "a.txt")


def test_H40_a_put_whose_answer_is_lost_stays_where_the_file_has_not_changed(case: Case) -> None:
    Restless(case.folder / "a.txt", 2000)
    case.front.fault("Put", nth="always", kind=f.ResetAfterApply())
    ran = case.up()
    assert "taken back" not in ran.said
    assert case.truth() == case.files()
    assert case.front.count("Delete") == 0


def test_H40_what_somebody_else_stored_meanwhile_stays(case: Case) -> None:
    change = Restless(case.folder / "a.txt", 2000)
    case.front.before("Put", nth={1, 2, 3}, call=change)
    case.front.before("Head", call=lambda head: case.bucket.put("p/a.txt", noise(2000, 77)))
    ran = case.up()
    assert (ran.summary.exit_code, case.front.count("Delete")) == (1, 0), ran.said
    assert case.truth() == {"a.txt": noise(2000, 77)}


def test_H40_what_somebody_else_stores_in_the_last_moment_stays(case: Case) -> None:
    change = Restless(case.folder / "a.txt", 2000)
    case.front.before("Put", nth={1, 2, 3}, call=change)
    case.front.before("Delete", call=lambda head: case.bucket.put("p/a.txt", noise(2000, 77)))
    ran = case.up()
    assert ran.summary.exit_code == 1
    assert case.front.requests_of("Delete")[0].headers["if-match"].strip('"')
    assert case.truth() == {"a.txt": noise(2000, 77)}


@pytest.mark.parametrize(
    "kind, words", [(f.ACCESS_DENIED, "denied"), (f.Lie(), "answered and not done")], ids=["denied", "a lie"]
)
def test_H40_what_cannot_be_taken_back_is_said(case: Case, kind: f.Kind, words: str) -> None:
    change = Restless(case.folder / "a.txt", 2000)
    case.front.before("Put", nth={1, 2, 3}, call=change)
    case.front.fault("Delete", nth="always", kind=kind)
    ran = case.up()
    assert ran.summary.exit_code == 1
    assert "could not be taken back" in ran.said
    assert words in ran.said
    assert "remove it, or the next run may take it for the file" in ran.said
    assert case.truth() == {"a.txt": noise(2000, 3)}


def _append(path: Path) -> Callable[[object], None]:
    def append(_: object) -> None:
        with path.open("ab") as file:
            file.write(b"more")

    return append


def test_H40_an_older_version_that_the_next_run_sees_through_is_better_than_none(case: Case) -> None:
    """A log that grows all the time keeps the last version of it that went up."""
    path = case.folder / "log"
    path.write_bytes(b"one")
    case.front.before("Put", nth={1, 2, 3}, call=_append(path))
    ran = case.up()
    assert case.front.count("Delete") == 0
    case.is_failed(ran, "log", words=LATER, kept={"log": b"onemoremore"})


@pytest.mark.slow
@pytest.mark.parametrize("at_s", [0.05, 0.9])
def test_H40_a_change_in_the_second_of_the_object_or_later_is_seen_by_the_next_run(case: Case, at_s: float) -> None:
    """Also where the object is kept: whatever is decided, another run brings the file."""
    path = case.folder / "a.txt"
    path.write_bytes(noise(500, 0))
    numbers = iter(range(1, 10))

    def change(_: object) -> None:
        time.sleep((at_s - time.time()) % 1.0)
        path.write_bytes(noise(500, next(numbers)))

    case.front.after("Put", nth={1, 2, 3}, call=change)
    ran = case.up()
    assert ran.summary.exit_code == 1
    case.converges()


@pytest.mark.slow
def test_H40_a_run_that_is_interrupted_leaves_no_older_version_that_would_be_believed(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path
) -> None:
    folder = tmp_path / "tree"
    folder.mkdir()
    change = Restless(folder / "a.txt", 2000)
    front.before("Put", nth=1, call=change)
    stall = front.fault("Put", nth=2, kind=f.StallBeforeRequest())
    started = sterna.start("sync", folder, bucket.url("p"))
    stall.wait_until_hit()
    assert bucket.keys() == ["p/a.txt"]
    started.send(signal.SIGINT)
    done = started.wait(10)
    assert done.code == 130, done.err
    assert bucket.keys() == []
    front.remove(stall)
    assert sterna("sync", folder, bucket.url("p")).code == 0
    assert bucket.get("p/a.txt") == change.path.read_bytes()


# Bytes that the server stored wrongly


@pytest.mark.parametrize("versions", [False, True])
def test_H21_wrong_bytes_of_which_every_try_left_a_version_are_not_believed(case: Case, versions: bool) -> None:
    if versions:
        case.bucket.enable_versions()
    case.write({"a.txt": b"first"})
    case.front.fault("Put", nth="always", kind=f.FlipRequestBit(2))
    case.front.fault("Put", nth="always", kind=Echo())
    case.is_failed(case.up(), "a.txt", words="other bytes than were sent")


def test_H21_wrong_bytes_are_taken_back_also_where_the_last_try_ends_otherwise(case: Case) -> None:
    case.write({"a.txt": b"first"})
    case.front.fault("Put", nth=1, kind=f.FlipRequestBit(2, unnoticed=True))
    case.front.fault("Put", nth="from 2nd", kind=f.ACCESS_DENIED)
    case.front.fault("Put", nth=1, kind=f.SetHeader("x-amz-checksum-crc64nvme", "AAAAAAAAAAA="))
    ran = case.up()
    case.is_failed(ran, "a.txt", words="denied", code=3)


def test_H21_wrong_bytes_that_cannot_be_taken_back_are_said(case: Case) -> None:
    case.write({"a.txt": b"first"})
    case.front.fault("Put", nth="always", kind=f.SetHeader("x-amz-checksum-crc64nvme", "AAAAAAAAAAA="))
    case.front.fault("Delete", nth="always", kind=f.ACCESS_DENIED)
    ran = case.up()
    assert "other bytes than were sent" in ran.said
    assert "could not be taken back" in ran.said
    assert case.bucket.keys() == ["p/a.txt"]


def test_h40_a_file_that_gets_another_name_while_it_is_sent_is_the_same_and_its_object_stays(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path
) -> None:
    """``cp -al`` of a snapshot tool changes the time of the inode, and no byte."""
    source = plant(tmp_path / "source", {"a": b"the only version"})
    names = itertools.count()
    front.before("Put", call=lambda put: os.link(source / "a", tmp_path / f"link {next(names)}"), nth="always")
    done = sterna("sync", source, bucket.url("p"))
    assert done.code == 0, done.err
    assert bucket.contents("p/") == {"p/a": b"the only version"}
    assert front.count("Delete") == 0


@pytest.mark.parametrize("keeps_time", (True, False))
def test_h40_h118_a_restless_file_of_the_future_is_not_believed_by_the_next_run(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path, keeps_time: bool
) -> None:
    source = plant(tmp_path / "source", {"a": b"0"})
    tomorrow_ns = (int(time.time()) + 86_400) * 10**9
    os.utime(source / "a", ns=(tomorrow_ns, tomorrow_ns))
    turns = itertools.count(1)

    def change(put: Request) -> None:
        number = next(turns)
        (source / "a").write_bytes(b"%d" % number)
        at_ns = tomorrow_ns if keeps_time else tomorrow_ns + number * 100_000_000
        os.utime(source / "a", ns=(at_ns, at_ns))

    changing = front.before("Put", call=change, nth="always")
    assert sterna("sync", source, bucket.url("p")).code == 1
    front.remove(changing)
    assert sterna("sync", source, bucket.url("p")).code == 0
    assert bucket.contents("p/") == {"p/a": (source / "a").read_bytes()}
