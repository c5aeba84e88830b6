"""The command as a process: signals, pipes and terminals."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SYNC = ("sync", "folder", "s3://bucket")
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"

pytestmark = pytest.mark.slow


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tests.cli.scripted", *arguments]


def environment(**more: str) -> dict[str, str]:
    paths = f"{ROOT / 'src'}{os.pathsep}{ROOT}"
    ours = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}  # xdist sets them
    return {**ours, "PYTHONPATH": paths, "TERM": "xterm", "NO_COLOR": "1", **more}


def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, env=environment(**more), cwd=ROOT, timeout=60
    )


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The process, once its job is under way."""
    with subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        cwd=ROOT,
    ) as process:
        assert process.stderr is not None
        try:
            assert process.stderr.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=str
)
def test_h109_one_signal_ends_a_run_in_good_order(number: signal.Signals, code: int) -> None:
    with started("parks", *SYNC) as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    assert process.returncode == code
    again = {
        signal.SIGINT: "; press Ctrl-C again to leave at once",
        signal.SIGTERM: "; a second signal ends it at once",
        signal.SIGHUP: "",
    }[number]
    assert f"stopping: what is in flight may end{again}" in err.splitlines()
    assert out.splitlines()[-1].startswith("INTERRUPTED: 12 of 20 objects are in place, 8 objects are left")


def test_sigusr1_tells_where_a_run_stands_and_sigusr2_ends_nothing() -> None:
    with started("parks", *SYNC, "--bwlimit", "1MiB", "--quiet") as process:
        assert process.stderr is not None
        process.send_signal(signal.SIGUSR2)
        process.send_signal(signal.SIGUSR1)
        line = process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
    assert process.returncode == 143
    assert "12 of 20 objects" in line
    assert line.endswith("max-memory 384.0 MiB\n")
    assert "bwlimit no limit, " in line


def test_h109_a_stalled_run_ends_within_five_seconds_of_a_signal() -> None:
    with started("stalls", *SYNC) as process:
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
        took = time.monotonic() - began
    assert process.returncode == 130
    assert 4 < took < 6  # 4.5 s by our clock; the rest is the machine's other work
    assert err.splitlines()[-1] == (
        "sterna: not everything ended in time: 12 objects are proved to be in place, 8 are not, or not yet; the same command"
        " goes on from there."
    )


def test_h109_a_second_signal_ends_it_at_once() -> None:
    with started("stalls", *SYNC) as process:
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert process.stderr.readline().startswith("stopping")
        time.sleep(0.3)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
        assert time.monotonic() - began < 2
    assert process.returncode == 130
    assert "left at once" in err


GOES_ON = "the same command goes on from there"
ALSO_IN_PARTS = "also in what is unfinished (.sterna-….part)"


@pytest.mark.parametrize(
    ("script", "ends", "words"),
    [
        (
            "parks and stalls",
            ("tree", "s3://bucket/p"),
            f"1,201 objects are proved to be in place, 2 are not, or not yet, 2 failed, and not all was listed; {GOES_ON}",
        ),
        (
            "finds one",
            ("s3://bucket/p", "tree"),
            f"1 object is proved to be in place, 1 is not, or not yet; {GOES_ON}, {ALSO_IN_PARTS}",
        ),
    ],
)
def test_h109_who_leaves_at_once_is_told_what_is_there_and_what_is_not(
    script: str, ends: tuple[str, str], words: str
) -> None:
    with started(script, "sync", *ends) as process:
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        process.stderr.readline()
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=10)
    assert err.splitlines()[-1] == f"sterna: left at once: {words}."


def test_h109_one_press_that_arrives_twice_is_one() -> None:
    with started("parks", *SYNC) as process:
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=10)
    assert process.returncode in (129, 143)  # whichever the loop saw first
    assert "left at once" not in err


def test_h109_a_thread_that_hangs_does_not_hold_the_exit() -> None:
    with started("blocks", *SYNC) as process:
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.wait(timeout=10)
        assert time.monotonic() - began < 5
    assert process.returncode == 130


def test_h109_signals_that_were_ignored_stay_ignored() -> None:
    script = "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    with subprocess.Popen(
        [sys.executable, "-c", script, *command("parks", *SYNC)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        cwd=ROOT,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
    assert process.returncode == 143


@pytest.mark.parametrize(("script", "code"), [("good", 0), ("failing", 1), ("surprise", 1)])
def test_h110_the_process_ends_with_the_commands_code(script: str, code: int) -> None:
    for more in ((), ("--json",), ("-v",), ("-q",)):
        ended = run(script, *SYNC, *more)
        assert ended.returncode == code
        assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("most", [9, 12, 31])
def test_a_limit_on_open_files_that_leaves_no_room_is_one_sentence(most: int) -> None:
    for arguments in (("good", *SYNC), ("lists", "ls", "s3://bucket")):
        ended = subprocess.run(
            ["sh", "-c", f'ulimit -n {most}; exec "$@"', "sh", *command(*arguments)],
            capture_output=True, text=True, env=environment(), cwd=ROOT, timeout=60,
        )  # fmt: skip
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr == (
            f"sterna: Only {most} files and connections may be open at once here; "
            "raise that limit, for example: ulimit -n 1024\n"
        )


NO_LOOP = """
import resource, socket, sys
from sterna.cli.jobs import Jobs
from sterna.cli.main import main
from tests.cli.fakes import FakeJobs
FakeJobs.run = Jobs.run
import sterna.wire.loop, sterna.cli.cmd_ls, sterna.cli.settings, uvloop
taken = []
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
try:
    while True:
        taken.append(socket.socket())
except OSError:
    for _ in range(int(sys.argv[1])):
        taken.pop()
sys.exit(main(["ls", "s3://bucket"], FakeJobs()))
"""


@pytest.mark.parametrize("left", [5, 6])  # with fewer, libuv aborts
def test_no_descriptor_for_a_loop_is_one_sentence_and_no_noise(left: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", NO_LOOP, str(left)], capture_output=True, text=True, env=environment(), cwd=ROOT,
        timeout=60,
    )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stderr.startswith("sterna: All files and connections that may be open at once are in use")
    assert ended.stderr.count("\n") == 1


def test_h96_canaries_in_the_environment_reach_no_output(tmp_path: Path) -> None:
    secrets = {"AWS_SECRET_ACCESS_KEY": "canary-secret", "AWS_SESSION_TOKEN": "canary-token"}
    for script in ("good", "failing", "surprise"):
        for more in ((), ("--json",), ("-vv",)):
            ended = run(script, *SYNC, *more, "--log-file", str(tmp_path / "log"), STERNA_DEBUG="1", **secrets)
            assert "canary" not in ended.stdout + ended.stderr
    assert "canary" not in (tmp_path / "log").read_text()


def through(consumer: str, *arguments: str) -> tuple[int, str]:
    """Exit code and standard error of the command, its output piped into a shell command."""
    words = " ".join(command(*arguments))
    ended = subprocess.run(
        ["bash", "-c", f'{words} | {consumer} > /dev/null; echo "${{PIPESTATUS[0]}}"'],
        capture_output=True,
        text=True,
        env=environment(),
        cwd=ROOT,
        timeout=60,
    )
    return int(ended.stdout), ended.stderr


def test_a_reader_that_has_seen_enough_of_a_listing_is_no_error() -> None:
    assert through("head -1", "lists", "ls", "s3://bucket") == (0, "")
    assert through("head -1", "lists", "ls", "s3://bucket", "--json") == (0, "")


def test_a_reader_that_leaves_does_not_change_a_runs_exit_code() -> None:
    assert through("true", "good", *SYNC, "--json") == (0, "")
    assert through("true", "good", *SYNC) == (0, "")
    assert through("true", "failing", *SYNC)[0] == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("arguments", [("good", *SYNC), ("good", *SYNC, "--json"), ("lists", "ls", "s3://bucket")])
def test_h110_output_on_a_full_disk_is_no_success(arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            command(*arguments), stdout=full, stderr=subprocess.PIPE, text=True, env=environment(), cwd=ROOT, timeout=60
        )
    assert ended.returncode == 1
    assert "No space left on device" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Exception ignored" not in ended.stderr


# Terminals

# What a terminal emulator does for the shell in it: makes the terminal the one whose keys send signals.
TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


def on_terminal(*arguments: str, columns: int = 80, interrupt: bool = False, **more: str) -> tuple[int, str]:
    """Exit code, and what the command writes to a terminal; standard output and standard error are both that."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    words = [sys.executable, "-c", TAKE_TERMINAL, *command(*arguments)]
    with subprocess.Popen(
        words, stdin=its, stdout=its, stderr=its, env=environment(**more), cwd=ROOT, start_new_session=True
    ) as process:
        os.close(its)
        written = b""
        try:
            while select.select([ours], [], [], 30)[0]:
                try:
                    data = os.read(ours, 65536)
                except OSError:  # the other end is closed
                    break
                written += data
                if interrupt and HIDE_CURSOR.encode() in written:
                    os.write(ours, b"\x03")
                    interrupt = False
        finally:
            os.close(ours)
    return process.returncode, written.decode()


def test_a_terminal_shows_a_bar_and_the_failures_above_it() -> None:
    code, written = on_terminal("moves", *SYNC)
    assert code == 0
    assert HIDE_CURSOR in written
    assert written.rindex(SHOW_CURSOR) > written.rindex(HIDE_CURSOR)
    assert "of 30+ objects" in written
    assert "of 30 objects" in written
    assert " left" in written
    assert "failed: bad\\x1b[2J: No" in written
    assert "7 of 16 lanes" in written
    assert written.rstrip().splitlines()[-1].startswith("All 30 objects")


@pytest.mark.parametrize("columns", [2, 20, 40])
def test_a_narrow_terminal_is_not_overrun(columns: int) -> None:
    code, written = on_terminal("moves", *SYNC, columns=columns)
    assert code == 0
    drawn = [
        line for line in re.split(r"[\r\n]", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)) if set(line) & {"━", "─"}
    ]
    assert drawn
    assert max(map(len, drawn)) < columns


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_a_dumb_terminal_gets_plain_lines(term: str) -> None:
    code, written = on_terminal("moves", *SYNC, TERM=term)
    assert code == 0
    assert "\x1b" not in written


def test_no_progress_means_none() -> None:
    code, written = on_terminal("moves", *SYNC, "--no-progress")
    assert code == 0
    assert "\x1b" not in written


@pytest.mark.parametrize(("no_color", "is_coloured"), [("1", False), ("", True)])
def test_no_color_means_none(no_color: str, is_coloured: bool) -> None:
    _, written = on_terminal("moves", *SYNC, NO_COLOR=no_color)
    assert ("\x1b[36m" in written) is is_coloured


def test_h109_ctrl_c_on_a_terminal_gives_the_cursor_back() -> None:
    _, written = on_terminal("moves", *SYNC, interrupt=True)
    assert "stopping: what is in flight" in written
    assert written.rindex(SHOW_CURSOR) > written.rindex(HIDE_CURSOR)


def test_h109_leaving_at_once_gives_the_cursor_back_too() -> None:
    code, written = on_terminal("stalls", *SYNC, interrupt=True)
    assert code == 130  # by the watchdog: it leaves as a second press does
    assert written.rindex(SHOW_CURSOR) > written.rindex(HIDE_CURSOR)


def test_json_and_the_display_do_not_share_a_terminal() -> None:
    _, written = on_terminal("moves", *SYNC, "--json")
    assert HIDE_CURSOR not in written
