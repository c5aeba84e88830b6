"""One run at a time on a route."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from sterna.journal.lock import Lock, holder_of
from sterna.model.errors import Locked
from tests.journal.made import ROUTE, opened, python

TAKES = """
import sys
from pathlib import Path
from sterna.journal.lock import Lock
lock = Lock.take(Path(sys.argv[1]), "watch")
"""


def test_H55_a_second_one_is_told_who_has_it_and_ends_with_code_7(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    with pytest.raises(Locked, match=rf"Another run \(sync, process {os.getpid()} on .+, since 20") as caught:
        opened(tmp_path)
    assert caught.value.exit_code == 7
    assert journal.close()
    assert opened(tmp_path).close()


def test_H55_a_second_process_is_told(tmp_path: Path) -> None:
    lock = Lock.take(tmp_path / "a.lock", "sync")
    script = (
        "from sterna.model.errors import Locked\ntry:"
        + TAKES.replace("\n", "\n ")
        + "\nexcept Locked as one: print(one)"
    )
    out, _ = python(script, str(lock.path)).communicate(timeout=30)
    assert f"process {os.getpid()}" in out
    lock.release()


def test_other_routes_are_not_in_each_others_way(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    other = type(ROUTE)("/home/ann/music", ROUTE.target)
    assert opened(tmp_path, other).close()
    assert journal.close()


@pytest.mark.slow
def test_H55_a_process_that_is_killed_leaves_no_lock_though_its_child_lives_on(tmp_path: Path) -> None:
    script = TAKES + ("import os, time\nif not os.fork(): print(os.getpid(), flush=True)\ntime.sleep(60)")
    process = python(script, str(tmp_path / "a.lock"))
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
        with pytest.raises(Locked, match="watch, process"):
            Lock.take(tmp_path / "a.lock", "sync")
        process.kill()
        process.wait(timeout=30)
        os.kill(child, 0)  # it lives
        Lock.take(tmp_path / "a.lock", "sync").release()
    finally:
        os.kill(child, signal.SIGKILL)
        process.communicate(timeout=30)


@pytest.mark.slow
def test_H55_a_forked_child_that_ends_does_not_take_the_lock_away(tmp_path: Path) -> None:
    script = TAKES + (
        "import os\nchild = os.fork()\nif not child: os._exit(0)\nos.waitpid(child, 0)\nprint('ready', flush=True)\ninput()"
    )
    process = python(script, str(tmp_path / "a.lock"))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    with pytest.raises(Locked):
        Lock.take(tmp_path / "a.lock", "sync")
    process.communicate("\n", timeout=30)
    Lock.take(tmp_path / "a.lock", "sync").release()


def test_the_lock_file_stays_and_what_the_holder_said_goes(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    lock = Lock.take(path, "sync")
    holder = holder_of(path)
    assert holder is not None
    assert holder.command == "sync"
    lock.release()
    lock.release()
    assert path.exists()
    assert holder_of(path) is None


def test_the_words_of_a_holder_that_died_are_not_told(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    python(TAKES + "import os\nos._exit(1)", str(path)).communicate(timeout=30)
    assert path.with_suffix(".holder").exists()
    assert holder_of(path) is None


def test_words_that_cannot_be_read_are_no_words(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    lock = Lock.take(path, "sync")
    lock.holder.write_bytes(b'{"pid": "none"')
    with pytest.raises(Locked, match=r"^Another run works on"):
        Lock.take(path, "sync")
    lock.release()


def test_a_lock_whose_file_was_deleted_is_not_whole_and_another_can_be_had(tmp_path: Path) -> None:
    lock = Lock.take(tmp_path / "a.lock", "sync")
    assert lock.is_whole
    lock.path.unlink()
    assert not lock.is_whole
    other = Lock.take(tmp_path / "a.lock", "watch")
    lock.release()
    holder = holder_of(other.path)
    assert holder is not None
    assert holder.command == "watch"
    other.release()
