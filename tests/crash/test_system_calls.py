"""kill -9 at system calls of the real command, by strace: also those that no hook of Python's sees."""

from __future__ import annotations

import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import sterna
from tests.crash.bench import Bench, Trial
from tests.crash.forker import wait_until_quiet
from tests.crash.scenarios import SCENARIOS, Scenario

pytestmark = [pytest.mark.slow, pytest.mark.extended]

_SEED = 46
_EACH = 14  # of a scenario: more than 300 of all
_CALLS = (
    "write,pwrite64,writev,sendto,sendmsg,sendfile,fsync,fdatasync,syncfs,rename,renameat,renameat2,unlink,unlinkat,mkdir,"
    "mkdirat,link,linkat,ftruncate,utimensat,fchmod,fallocate"
)


@pytest.fixture(scope="module")
def strace() -> str:
    program = shutil.which("strace")
    if program is None:
        pytest.skip("there is no strace here")
    tried = subprocess.run([program, "-f", "-o", "/dev/null", "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"strace may not trace here: {tried.stderr.strip()}")
    return program


def traced(trial: Trial, *strace: str) -> subprocess.CompletedProcess[bytes]:
    """Run the scenario's command as a process of its own, under strace."""
    environment = trial.environment() | {"PYTHONPATH": str(Path(sterna.__file__).parent.parent)}
    stdin = trial.root / "stdin"
    with (stdin if stdin.exists() else Path("/dev/null")).open("rb") as given:
        done = subprocess.run(
            [*strace, sys.executable, "-m", "sterna", *trial.arguments()],
            env=environment,
            cwd=trial.root,
            stdin=given,
            capture_output=True,
            timeout=120,
        )
    wait_until_quiet(trial.bench.front)
    return done


def calls_of_a_run(strace: str, bench: Bench, scenario: Scenario) -> list[tuple[str, int]]:
    """The system calls of a whole run, each with the how many-th of its thread it was: so strace counts them."""
    with bench.trial(scenario) as trial:
        log = trial.root.with_name(f"{trial.root.name}.strace")
        done = traced(trial, strace, "-f", "-qq", "-o", str(log), "-e", f"trace={_CALLS}", "-e", "signal=none")
        assert done.returncode == 0, done.stderr
        trial.must_be_done()
        of_thread: dict[str, int] = {}
        found = []
        for line in log.read_text(errors="replace").splitlines():
            began = re.match(r"(\d+) +(\w+)\(", line)
            if began:
                of_thread[began[1]] = of_thread.get(began[1], 0) + 1
                found.append((began[2], of_thread[began[1]]))
        return found


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_a_command_that_is_killed_at_a_system_call_is_made_good_by_the_next_h54(
    strace: str, bench: Bench, scenario: Scenario
) -> None:
    chance = random.Random(f"{_SEED} {scenario}")
    calls = calls_of_a_run(strace, bench, scenario)
    hit = 0
    for name, nth in chance.choices(calls, k=2 * _EACH):  # which thread does what varies: not each of them is hit
        with bench.trial(scenario) as trial:
            inject = f"inject={_CALLS}:signal=KILL:when={nth}"
            done = traced(trial, strace, "-f", "-qq", "-o", "/dev/null", "-e", f"trace={_CALLS}", "-e", inject)
            assert done.returncode in (0, -signal.SIGKILL), done.stderr
            if not done.returncode:
                continue
            hit += 1
            try:
                trial.must_be_sound()
                trial.must_recover()
            except AssertionError as error:
                raise AssertionError(f"killed at call {nth} of a thread, as {name}: {error}") from error
        if hit == _EACH:
            return
    raise AssertionError(f"only {hit} of {2 * _EACH} commands were killed")
