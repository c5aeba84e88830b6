"""The command holds to its limits of speed and requests, and to those that it is told of while it runs."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import Sterna
from tests.e2e.trees import plant, summary, tree
from tests.faults.front import Front
from tests.servers.oracle import Bucket

ONE_SERVER_IS_ENOUGH = True

MIB = 1 << 20
pytestmark = [pytest.mark.thorough, pytest.mark.slow]


def contents(bucket: Bucket) -> dict[str, bytes]:
    return {key.removeprefix("p/"): body for key, body in bucket.contents("p/").items()}


@pytest.mark.parametrize("processes", ("1", "2"))
def test_a_limited_run_arrives_up_and_down_small_and_large(
    sterna: Sterna, bucket: Bucket, tmp_path: Path, processes: str
) -> None:
    files = {"large": os.urandom(9 * MIB), "middle": os.urandom(MIB)} | {f"d/{n}": b"%d" % n for n in range(60)}
    source = plant(tmp_path / "source", files)
    limits = ("--bwlimit", "20MiB:25MiB", "--max-requests-per-second", "200", "--processes", processes)
    up = sterna("--json", "sync", *limits, source, bucket.url("p"))
    assert up.code == 0, up.err
    assert contents(bucket) == files
    down = sterna("--json", "sync", *limits, bucket.url("p"), tmp_path / "target")
    assert down.code == 0, down.err
    assert tree(tmp_path / "target") == files
    assert summary(up)["retries"] == summary(down)["retries"] == 0


def test_a_control_file_changes_a_run_that_goes_on(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path
) -> None:
    control = tmp_path / "control"
    control.write_text("max-requests-per-second = 5\n")
    files = {f"{n:03d}": b"%d" % n for n in range(300)}  # a minute of five requests a second
    run = sterna.start(
        "sync", "--control", control, "--processes", "2", plant(tmp_path / "source", files), bucket.url("p")
    )
    front.wait_for("Put", 10)
    control.write_text("max-requests-per-second = none\n")
    time.sleep(1.5)
    control.write_text("max-requests-per-second = off\nworkers = 20\n")
    done = run.wait(40)
    assert done.code == 0, done.err
    assert contents(bucket) == files
    said = done.err.splitlines()
    assert sum("'none' is neither a number" in line for line in said) == 1
    assert sum("From now on: max-requests-per-second no limit, workers 20." in line for line in said) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="helper processes are forked on Linux only")
def test_signals_to_all_processes_of_a_run_end_none_of_them(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path
) -> None:
    files = {f"{n:03d}": os.urandom(1024) for n in range(200)}
    run = sterna.start(
        "sync", "--bwlimit", "10KiB", "--processes", "3", plant(tmp_path / "source", files), bucket.url("p")
    )
    front.wait_for("Put", 5)
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        os.killpg(run.pid, number)
    done = run.wait(40)
    assert done.code == 0, done.err
    assert contents(bucket) == files
    assert "helper process ended" not in done.err
    assert "max-requests-per-second no limit, workers 256, max-memory 384.0 MiB" in done.err
    assert "From now on: bwlimit no limit." in done.err


# How fast it is, which a busy machine makes slower, and nothing may make faster.


@pytest.mark.extended
@pytest.mark.parametrize("processes", ("1", "3"))
@pytest.mark.parametrize("count, size", ((3, 8 * MIB), (240, 100 * 1024), (4, 12 * MIB)))
def test_bytes_a_second_are_those_that_were_allowed(
    sterna: Sterna, bucket: Bucket, tmp_path: Path, processes: str, count: int, size: int
) -> None:
    files = {f"{n:03d}": os.urandom(size) for n in range(count)}
    source = plant(tmp_path / "source", files)
    limits = ("--json", "sync", "--processes", processes)
    total = count * size
    rate = total // 4
    up = sterna(*limits, "--bwlimit", f"{rate}", source, bucket.url("p"), timeout_s=100)
    down = sterna(*limits, "--bwlimit", f"{rate}", bucket.url("p"), tmp_path / "target", timeout_s=100)
    for done in (up, down):
        assert done.code == 0, done.err
        assert 0.80 * rate < total / summary(done)["elapsed_s"] < 1.12 * rate


@pytest.mark.extended
def test_requests_a_second_are_those_that_were_allowed(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    files = {f"{n:03d}": b"x" for n in range(300)}
    done = sterna(
        "--json", "sync", "--max-requests-per-second", "75", plant(tmp_path / "source", files), bucket.url("p")
    )
    assert done.code == 0, done.err
    found = summary(done)
    assert 0.8 * 75 < found["requests"] / found["elapsed_s"] < 1.15 * 75
