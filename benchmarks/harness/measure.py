"""Turn a command line into a measurement, through a runner process of its own."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

RUNNER = Path(__file__).with_name("runner.py")
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Measurement:
    """What one run cost. Memory is 0 where it was not sampled; others_s is CPU burnt by strangers meanwhile."""

    wall_s: float
    user_s: float
    system_s: float
    exit_code: int
    killed: bool
    processes: int
    peak_pss_kib: int
    peak_rss_kib: int
    biggest_process_kib: int
    samples: int
    server_s: float
    others_s: float
    errors: str

    @property
    def cpu_s(self) -> float:
        return self.user_s + self.system_s


def measure(
    command: list[str],
    environment: dict[str, str],
    scratch: Path,
    *,
    server_pid: int | None = None,
    memory: bool = False,
    timeout_s: float = 1800.0,
) -> Measurement:
    """Run the command in `scratch`; its stdout is dropped, the end of its stderr is kept."""
    errors = scratch / "stderr"
    spec = {
        "command": command,
        "environment": environment,
        "folder": str(scratch),
        "errors": str(errors),
        "timeout_s": timeout_s,
        "memory": memory,
    }
    busy_before, server_before = _busy_s(), _process_s(server_pid)
    runner = [sys.executable, "-I", "-S", str(RUNNER)]
    with subprocess.Popen(
        runner, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            output, complaint = process.communicate(json.dumps(spec))
        except BaseException:
            process.terminate()  # it takes the command with it
            raise
    if process.returncode:
        raise RuntimeError(f"the runner failed on {command}: {complaint[-2000:]}")
    busy, server = _busy_s() - busy_before, _process_s(server_pid) - server_before
    result = json.loads(output)
    used = result["user_s"] + result["system_s"] + server
    with open(errors, "rb") as file:
        file.seek(max(0, errors.stat().st_size - 2000))
        tail = file.read().decode("utf-8", "replace")
    # The runner's own start (20 ms) is among the others' time: it is small, and the same for all.
    return Measurement(**result, server_s=server, others_s=max(0.0, busy - used), errors=tail)


def _busy_s() -> float:
    """CPU seconds that the machine has spent on anything at all (10 ms grain)."""
    with open("/proc/stat", "rb") as file:
        user, nice, system, _idle, _wait, hard, soft, steal, *_ = map(int, file.readline().split()[1:])
    return (user + nice + system + hard + soft + steal) / TICKS_A_SECOND


def _process_s(pid: int | None) -> float:
    if pid is None:
        return 0.0
    with open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rsplit(b")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND
