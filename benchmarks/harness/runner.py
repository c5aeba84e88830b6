"""Turn a command (JSON on stdin) into its wall time, the CPU of its whole process tree and, if asked, its memory.

Started as a program of its own, so that what it reaps is the command's and nobody else's. It is the subreaper of all
that the command leaves behind: an orphan's CPU counts too. CPU is wait4's: that of a process and of what it reaped.
"""

import ctypes
import json
import os
import signal
import sys
import time
from contextlib import suppress

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
SAMPLE_EVERY_S = 0.02
ORPHANS_MAY_TAKE_S = 10.0


def descendants(root: int) -> list[int]:
    """All processes below `root`, from one look at /proc."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                parent = int(file.read().rsplit(b")", 1)[1].split()[1])
                children.setdefault(parent, []).append(int(name))
    found: list[int] = []
    todo = [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def kill_descendants() -> None:
    for child in descendants(os.getpid()):
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def stop(number: int, _frame: object) -> None:
    kill_descendants()
    sys.exit(128 + number)


def memory_kib(pid: int) -> tuple[int, int]:
    """PSS and RSS of a process."""
    pss = rss = 0
    with suppress(OSError), open(f"/proc/{pid}/smaps_rollup", "rb") as file:
        for line in file:
            if line.startswith(b"Rss:"):
                rss = int(line.split()[1])
            elif line.startswith(b"Pss:"):
                pss = int(line.split()[1])
                break
    return pss, rss


def run(spec: dict[str, object]) -> dict[str, object]:
    """Run `command` with `environment` in `folder`, its errors to `errors`, for at most `timeout_s`."""
    command = [str(word) for word in list(spec["command"])]  # type: ignore[call-overload]
    environment = dict(spec["environment"])  # type: ignore[call-overload]
    deadline = time.monotonic() + float(str(spec["timeout_s"]))
    os.chdir(str(spec["folder"]))
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)  # nothing outlives the benchmark
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGALRM, lambda *_: None)  # wakes wait4
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, str(spec["errors"]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644),
    ]
    user = system = 0.0
    reaped = peak_pss = peak_rss = biggest = samples = exit_code = 0
    ended: float | None = None
    killed = False
    begun = time.perf_counter()
    main = os.posix_spawnp(command[0], command, environment, file_actions=actions, setsid=True)
    sampling = bool(spec["memory"])
    if not sampling:
        signal.setitimer(signal.ITIMER_REAL, max(0.1, deadline - time.monotonic()), 0.5)
    while True:
        try:
            pid, status, used = os.wait4(-1, os.WNOHANG if sampling or ended else 0)
        except ChildProcessError:
            break
        if pid:
            user += used.ru_utime
            system += used.ru_stime
            biggest = max(biggest, used.ru_maxrss)
            reaped += 1
            if pid == main:
                ended = time.perf_counter()
                exit_code = os.waitstatus_to_exitcode(status)
                deadline = min(deadline, time.monotonic() + ORPHANS_MAY_TAKE_S)
            continue
        if time.monotonic() > deadline:
            killed = True
            kill_descendants()
        if sampling:
            pairs = [memory_kib(child) for child in descendants(os.getpid())]
            peak_pss = max(peak_pss, sum(pss for pss, _ in pairs))
            peak_rss = max(peak_rss, sum(rss for _, rss in pairs))
            samples += 1
        time.sleep(SAMPLE_EVERY_S)
    return {
        "wall_s": (ended or time.perf_counter()) - begun,
        "user_s": user,
        "system_s": system,
        "exit_code": exit_code,
        "killed": killed,
        "processes": reaped,
        "peak_pss_kib": peak_pss,
        "peak_rss_kib": peak_rss,
        "biggest_process_kib": biggest,
        "samples": samples,
    }


if __name__ == "__main__":
    json.dump(run(json.load(sys.stdin)), sys.stdout)
