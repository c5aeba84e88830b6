"""More processes than one carry: whatever ends one of them, all arrives or is named, and none outlives the run."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Sterna
from tests.e2e.trees import leftovers, mtimes, plant, records, summary, tree
from tests.faults.front import EXPIRED_TOKEN, Front, Latency, Request, StallBeforeAnswer
from tests.servers.oracle import Bucket

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="helper processes are forked on Linux only"),
]
FILES = {f"d{number % 7}/{number:04d}": b"%d" % number * 40 for number in range(400)}


def below(pid: int) -> Iterator[int]:
    """The processes that a process has started, and those that they have."""
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found = [int(word) for word in children.read_text().split()]
        except OSError:  # it has just ended
            continue
        for child in found:
            yield child
            yield from below(child)


def are_gone(pids: list[int], within_s: float = 5.0) -> bool:
    """Whether none of the processes is there any more; zombies are not."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        if not any(_lives(pid) for pid in pids):
            return True
        os.sched_yield()
    return False


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _is_of_first_keys(request: Request) -> bool:
    return "Credential=KEY1/" in request.headers["authorization"]


def test_three_processes_carry_everything_once_up_and_down(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path
) -> None:
    source = plant(tmp_path / "source", FILES)
    up = sterna("--json", "sync", "--processes", "3", source, bucket.url("p"))
    assert up.code == 0, up.err
    assert {key.removeprefix("p/"): body for key, body in bucket.contents("p/").items()} == FILES
    assert len(records(up)) == len(FILES)
    assert front.count("Put") == len(FILES)
    assert summary(up)["moved_bytes"] == sum(map(len, FILES.values()))

    down = sterna("--json", "sync", "--processes", "3", bucket.url("p"), tmp_path / "target")
    assert down.code == 0, down.err
    assert tree(tmp_path / "target") == FILES
    assert mtimes(tmp_path / "target") == mtimes(source)
    assert front.count("Get") == len(FILES)
    again = sterna("--json", "sync", "--processes", "3", bucket.url("p"), tmp_path / "target")
    assert (again.code, summary(again)["kept"]) == (0, len(FILES))


@pytest.mark.parametrize("direction", ("up", "down"))
def test_what_a_killed_helper_had_in_hand_is_done_again_h94(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path, direction: str
) -> None:
    source = plant(tmp_path / "source", FILES)
    arguments: list[str | Path] = [source, bucket.url("p")]
    if direction == "down":
        assert sterna("sync", source, bucket.url("p")).code == 0
        arguments = [bucket.url("p"), tmp_path / "target"]
    stalled = front.fault("Put" if direction == "up" else "Get", kind=StallBeforeAnswer(), nth="from 150th")
    run = sterna.start("sync", "--processes", "2", "-v", *arguments)
    stalled.wait_until_hit()
    standby, helper = list(below(run.pid))
    os.kill(helper, signal.SIGKILL)
    assert are_gone([helper])
    front.remove(stalled)
    done = run.wait()
    assert done.code == 0, done.err
    assert "helper process ended" in done.err
    if direction == "up":
        assert {key.removeprefix("p/"): body for key, body in bucket.contents("p/").items()} == FILES
    else:
        assert {name: data for name, data in tree(tmp_path / "target").items() if ".sterna-" not in name} == FILES
    assert are_gone([standby])


def test_a_helper_stopped_after_it_put_files_in_place_and_before_it_told_loses_no_file_and_fails_none_h94(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path
) -> None:
    assert sterna("sync", plant(tmp_path / "source", FILES), bucket.url("p")).code == 0
    stalled = front.fault("Get", kind=StallBeforeAnswer(), nth="from 150th")
    run = sterna.start("sync", "--processes", "2", "-v", "--no-fsync", bucket.url("p"), tmp_path / "target")
    stalled.wait_until_hit()
    _, helper = list(below(run.pid))
    os.kill(run.pid, signal.SIGSTOP)  # the one who would be told hears nothing
    front.remove(stalled)
    front.wait_for("Get", 200)
    os.kill(helper, signal.SIGKILL)
    assert are_gone([helper])
    os.kill(run.pid, signal.SIGCONT)
    done = run.wait()
    assert done.code == 0, done.err
    assert {name: data for name, data in tree(tmp_path / "target").items() if ".sterna-" not in name} == FILES


def test_an_interrupted_run_with_helpers_ends_in_time_and_leaves_no_process_and_no_partial_file_h46(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path
) -> None:
    assert sterna("sync", plant(tmp_path / "source", FILES), bucket.url("p")).code == 0
    stalled = front.fault("Get", kind=StallBeforeAnswer(), nth="from 150th")
    run = sterna.start("--json", "sync", "--processes", "2", bucket.url("p"), tmp_path / "target")
    stalled.wait_until_hit()
    others = list(below(run.pid))
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does it: all of them
    asked_s = time.monotonic()
    done = run.wait()
    assert done.code == 130
    assert time.monotonic() - asked_s < 5
    assert are_gone(others)
    assert leftovers(tmp_path / "target") == []
    counts = summary(done)
    assert counts["downloaded"] + counts["left"] + counts["failed"] == len(FILES)

    front.remove(stalled)
    assert sterna("sync", bucket.url("p"), tmp_path / "target").code == 0
    assert tree(tmp_path / "target") == FILES


def test_helpers_do_not_outlive_a_killed_run_h94(sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path) -> None:
    stalled = front.fault("Put", kind=StallBeforeAnswer(), nth="from 50th")
    run = sterna.start("sync", "--processes", "3", plant(tmp_path / "source", FILES), bucket.url("p"))
    stalled.wait_until_hit()
    others = list(below(run.pid))
    assert len(others) >= 2
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert are_gone(others)


def test_expired_keys_are_asked_for_once_by_the_process_that_directs_h30(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    script = tmp_path / "provider.py"
    script.write_text(
        "import json, pathlib\n"
        f"with pathlib.Path({str(calls)!r}).open('a') as calls:\n"
        "    calls.write('x')\n"
        f"n = len(pathlib.Path({str(calls)!r}).read_text())\n"
        "print(json.dumps({'Version': 1, 'AccessKeyId': f'KEY{n}', 'SecretAccessKey': 'secret',\n"
        "    'SessionToken': f'token-{n}', 'Expiration': '2099-01-01T00:00:00Z'}))\n"
    )
    config = tmp_path / "config"
    config.write_text(f"[profile vault]\ncredential_process = {sys.executable} {script}\n")
    front.fault("Put", kind=Latency(0.002), nth="always")
    front.fault("Put", kind=EXPIRED_TOKEN, nth="from 200th", where=_is_of_first_keys)
    run = sterna(
        "sync", "--processes", "2", "--profile", "vault", plant(tmp_path / "source", FILES), bucket.url("p"),
        env={"AWS_CONFIG_FILE": str(config), "AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None},
    )  # fmt: skip
    assert run.code == 0, run.err
    assert calls.read_text() == "xx"
    assert {key.removeprefix("p/"): body for key, body in bucket.contents("p/").items()} == FILES
