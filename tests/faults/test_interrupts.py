"""A run that is killed or interrupted leaves nothing corrupt, and the same command goes on from there."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from tests.conftest import Sterna
from tests.e2e.trees import MIB, leftovers, mtimes, plant, records, summary, tree
from tests.faults.front import WAIT_S, CutBody, Front, Latency, StallAtBodyByte, StallAtRequestByte, StallBeforeAnswer
from tests.servers.oracle import Bucket

pytestmark = pytest.mark.slow

LARGE = os.urandom(MIB) * 20 + b"end"
KEPT = {"x-amz-meta-mtime": "1500000000.5"}
WITHIN_S = 5.0


def many(count: int = 150) -> dict[str, bytes]:
    return {f"d{number % 5}/{number:04d}": b"%d" % number * 50 for number in range(count)}


@pytest.mark.parametrize("after", (1, 2, 3))
def test_kill_9_during_a_large_download_then_a_clean_run_leaves_nothing_behind_h46_h48(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path, after: int
) -> None:
    bucket.put("p/large", LARGE, KEPT)
    bucket.put("p/small", b"s")
    target = plant(tmp_path / "target", {"large": b"the old good file", "sub/x": b"mine"})
    stalled = front.fault("GetRange", kind=StallAtBodyByte(MIB), nth=f"from {after}th")
    run = sterna.start("sync", bucket.url("p"), target)
    stalled.wait_until_hit()
    run.kill()
    run.wait()
    assert leftovers(target) != [], "this test needs a run that left something"
    assert (target / "large").read_bytes() == b"the old good file"

    front.remove(stalled)
    # What looks like ours and is of another machine, or of a run that lives, stays: it may be at work.
    others = {".sterna-00000000-99999-1-1.part": b"of another machine", ".sterna-notours": b"somebody's"}
    plant(target, others)
    again = sterna("--json", "sync", bucket.url("p"), target)
    assert again.code == 0, again.err
    assert tree(target) == {"large": LARGE, "small": b"s", "sub/x": b"mine"} | others
    assert (target / "large").stat().st_mtime_ns == 1_500_000_000_500_000_000


def test_what_a_killed_run_left_in_a_folder_of_its_own_is_removed_too_and_not_uploaded_h48(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path
) -> None:
    bucket.put("p/deep/er/large", LARGE)
    stalled = front.fault("GetRange", kind=StallAtBodyByte(MIB), nth="always")
    run = sterna.start("sync", bucket.url("p"), tmp_path / "target")
    stalled.wait_until_hit()
    run.kill()
    run.wait()
    assert [name.startswith("deep/er/.sterna-") for name in leftovers(tmp_path / "target")] == [True]

    front.remove(stalled)
    assert sterna("sync", "--dry-run", bucket.url("p"), tmp_path / "target").code == 0
    assert len(leftovers(tmp_path / "target")) == 1  # a dry run changes nothing
    up = sterna("--json", "sync", tmp_path / "target", bucket.url("q"))
    assert (up.code, summary(up)["uploaded"]) == (0, 0)
    bucket.delete("p/deep/er/large")
    bucket.put("p/other", b"1")
    assert sterna("sync", bucket.url("p"), tmp_path / "target").code == 0
    assert tree(tmp_path / "target") == {"other": b"1"}


def test_copying_one_object_removes_what_a_killed_run_left_beside_it_h48(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path
) -> None:
    bucket.put("large", LARGE)
    stalled = front.fault("GetRange", kind=StallAtBodyByte(MIB), nth="always")
    run = sterna.start("copy", bucket.url("large"), tmp_path / "target/")
    stalled.wait_until_hit()
    run.kill()
    run.wait()
    front.remove(stalled)
    assert len(leftovers(tmp_path)) == 1
    others = plant(tmp_path, {".sterna-00000000-99999-1-1.part": b"of another machine"})
    assert sterna("copy", bucket.url("large"), tmp_path / "target").code == 0
    assert leftovers(others) == [".sterna-00000000-99999-1-1.part"]
    assert (tmp_path / "target").read_bytes() == LARGE


@pytest.mark.parametrize("after", (1, 50, 140))
def test_kill_9_during_many_small_downloads_then_a_clean_run_has_every_file_right_h46_h48(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path, after: int
) -> None:
    files = many()
    for name, data in files.items():
        bucket.put(f"p/{name}", data)
    stalled = front.fault("Get", kind=StallBeforeAnswer(), nth=f"from {after}th")
    run = sterna.start("sync", bucket.url("p"), tmp_path / "target")
    stalled.wait_until_hit()
    run.kill()
    run.wait()
    there = {name: data for name, data in tree(tmp_path / "target").items() if "/.sterna-" not in name}
    assert there.items() <= files.items()

    front.remove(stalled)
    again = sterna("--json", "sync", bucket.url("p"), tmp_path / "target")
    assert again.code == 0
    assert tree(tmp_path / "target") == files
    assert summary(again)["downloaded"] + summary(again)["kept"] == len(files)


@pytest.mark.parametrize("operation", ("Put", "Complete"))
def test_kill_9_during_an_upload_then_a_clean_run_converges(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path, operation: str
) -> None:
    source = plant(tmp_path / "source", many(20) | {"large": LARGE[: 8 * MIB + 1]})
    stalled = front.fault(operation, kind=StallBeforeAnswer(), nth="from 1st")
    run = sterna.start("sync", source, bucket.url("p"))
    stalled.wait_until_hit()
    run.kill()
    run.wait()
    front.remove(stalled)
    again = sterna("--json", "sync", source, bucket.url("p"))
    assert again.code == 0, again.err
    assert bucket.contents("p/") == {f"p/{name}": data for name, data in tree(source).items()}
    assert summary(sterna("--json", "sync", source, bucket.url("p")))["uploaded"] == 0


SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.mark.parametrize("number, code", SIGNALS)
def test_a_signal_during_many_small_downloads_ends_the_run_soon_and_names_what_is_left_h109(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    files = many()
    for name, data in files.items():
        bucket.put(f"p/{name}", data, KEPT)
    front.fault("Get", kind=Latency(0.05), nth="always")
    run = sterna.start("--json", "sync", bucket.url("p"), tmp_path / "target")
    front.wait_for("Get", 60, answered=True)
    run.send(number)
    done = run.wait(WITHIN_S)
    assert done.code == code
    said = summary(done)
    assert said["failed"] == 0
    left = {record["key"] for record in records(done) if record["status"] == "left"}
    assert said["left"] == len(left) > 0
    assert said["left"] + said["downloaded"] == len(files)
    assert tree(tmp_path / "target") == {name: data for name, data in files.items() if name not in left}
    assert set(mtimes(tmp_path / "target").values()) <= {1_500_000_000_500_000_000}

    again = sterna("--json", "sync", bucket.url("p"), tmp_path / "target")
    assert (again.code, summary(again)["downloaded"]) == (0, len(left))
    assert tree(tmp_path / "target") == files


@pytest.mark.parametrize("number, code", SIGNALS)
def test_a_signal_while_a_large_download_stalls_ends_the_run_within_5_s_h38_h109(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    bucket.put("p/large", LARGE)
    target = plant(tmp_path / "target", {"large": b"the old good file"})
    stalled = front.fault("GetRange", kind=StallAtBodyByte(MIB), nth="always")
    run = sterna.start("--json", "sync", bucket.url("p"), target, "--no-journal")
    stalled.wait_until_hit()
    run.send(number)
    done = run.wait(WITHIN_S)
    assert done.code == code
    assert [(record["key"], record["status"]) for record in records(done)] == [("large", "left")]
    assert summary(done)["left"] == 1
    assert summary(done)["moved_bytes"] == 0  # what came of it is gone
    assert summary(done)["wasted_bytes"] > 0
    assert tree(target) == {"large": b"the old good file"}  # and no temporary beside it


def test_a_second_ctrl_c_ends_at_once_and_nothing_is_corrupt_h109(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path
) -> None:
    bucket.put("p/large", LARGE)
    target = plant(tmp_path / "target", {"large": b"the old good file"})
    stalled = front.fault("GetRange", kind=StallAtBodyByte(MIB), nth="always")
    run = sterna.start("sync", bucket.url("p"), target)
    stalled.wait_until_hit()
    run.send(signal.SIGINT)
    with pytest.raises(TimeoutError):
        _wait_briefly(run.process.wait, 0.4)
    run.send(signal.SIGINT)
    assert run.wait(1.5).code == 130
    assert (target / "large").read_bytes() == b"the old good file"
    front.remove(stalled)
    assert sterna("sync", bucket.url("p"), target).code == 0
    assert tree(target) == {"large": LARGE}


def _wait_briefly(wait: Callable[[float], object], seconds: float) -> None:
    import subprocess

    try:
        wait(seconds)
    except subprocess.TimeoutExpired as late:
        raise TimeoutError from late


@pytest.mark.parametrize("kind", (StallAtRequestByte(MIB), StallBeforeAnswer()), ids=("body", "answer"))
def test_ctrl_c_while_an_upload_stalls_ends_within_5_s_and_the_next_run_completes_it_h38_h109(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path, kind: StallAtRequestByte | StallBeforeAnswer
) -> None:
    source = plant(tmp_path / "source", {"large": LARGE[: 9 * MIB]})
    stalled = front.fault("UploadPart", kind=kind, nth="from 1st")
    run = sterna.start("--json", "sync", source, bucket.url("p"))
    stalled.wait_until_hit()
    run.send(signal.SIGINT)
    done = run.wait(WITHIN_S)
    assert done.code == 130
    assert [(record["key"], record["status"]) for record in records(done)] == [("large", "left")]
    assert bucket.keys() == []
    front.remove(stalled)
    assert sterna("sync", source, bucket.url("p")).code == 0
    assert bucket.contents() == {"p/large": LARGE[: 9 * MIB]}


def wait_for_pipe(pipe: IO[bytes] | None, holds: Callable[[int], bool]) -> None:
    """Wait until so many bytes are in a pipe to the command, or from it."""
    assert pipe is not None
    deadline_s = time.monotonic() + WAIT_S
    while not holds(struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0]):
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


@pytest.mark.parametrize("given", (1, 9 * MIB), ids=("hardly anything", "parts"))
def test_one_ctrl_c_ends_an_upload_of_a_stream_that_gives_nothing_more_and_leaves_no_upload_open(
    sterna: Sterna, front: Front, bucket: Bucket, given: int
) -> None:
    run = sterna.start("copy", "-", bucket.url("stream"))
    assert run.process.stdin is not None
    run.process.stdin.write(LARGE[:given])
    run.process.stdin.flush()
    wait_for_pipe(run.process.stdin, lambda size: not size)
    if given > MIB:
        front.wait_for("UploadPart", 1, answered=True)
    began = time.monotonic()
    run.send(signal.SIGINT)
    assert run.process.wait(WITHIN_S) == 130
    assert time.monotonic() - began < 4  # before the patience with what hangs is at its end
    done = run.wait()
    assert done.err.count("INTERRUPTED") + done.out.count("INTERRUPTED") == 1
    assert "not everything ended in time" not in done.err
    assert (bucket.keys(), bucket.uploads()) == ([], [])


def test_one_ctrl_c_ends_a_download_to_a_stream_that_nobody_reads(sterna: Sterna, front: Front, bucket: Bucket) -> None:
    bucket.put("large", LARGE)
    run = sterna.start("copy", bucket.url("large"), "-")
    wait_for_pipe(run.process.stdout, lambda size: size >= 1 << 16)  # all that a pipe holds
    run.send(signal.SIGINT)
    assert run.process.wait(WITHIN_S) == 130
    done = run.wait()
    assert "INTERRUPTED" in done.err
    assert "not everything ended in time" not in done.err


def test_ctrl_c_while_requests_are_repeated_ends_soon_h109(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path
) -> None:
    bucket.put("p/a", b"1" * 5000)
    cut = front.fault("Get", kind=CutBody(100), nth="always")
    run = sterna.start("sync", bucket.url("p"), tmp_path / "target")
    cut.wait_until_hit(3)
    run.send(signal.SIGINT)
    assert run.wait(WITHIN_S).code == 130
    assert tree(tmp_path / "target") == {}
