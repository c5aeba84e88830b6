"""Turn a command line into a child process that answers on loopback and cannot outlive us."""

from __future__ import annotations

import atexit
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

# Asks the kernel to kill this process with its parent, then becomes the command. A program of its own rather than a
# preexec_fn, which may deadlock where other threads run. Linux only; elsewhere atexit has to do.
_TIED = """
import os, sys
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None, use_errno=True).prctl(1, 9)
    if os.getppid() != int(sys.argv[1]):
        os._exit(1)
os.execvp(sys.argv[2], sys.argv[2:])
"""


class DidNotStart(Exception):
    """The process ended, or did not answer in time; the text has the end of its log."""


def free_ports(count: int = 1) -> int:
    """The first of ``count`` neighbouring ports of loopback that are free now.

    They lie below the range from which the system takes ports for outgoing connections, so that none of those can
    take one away before it is bound.
    """
    for _ in range(200):
        first = random.SystemRandom().randrange(12_000, 32_000 - count)
        probes: list[socket.socket] = []
        try:
            for port in range(first, first + count):
                probe = socket.socket()
                probes.append(probe)
                probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        else:
            return first
        finally:
            for probe in probes:
                probe.close()
    raise RuntimeError(f"no {count} neighbouring free ports on loopback")


class Child:
    """A subprocess that leads its own process group, with its output in a file. ``stop()`` may be called twice.

    It must be started from the main thread: the kernel ties its life to the thread that started it.
    """

    def __init__(
        self, command: Sequence[str | Path], *, log: Path, env: Mapping[str, str] | None = None, grace_s: float = 5.0
    ) -> None:
        self.log = log
        self._grace_s = grace_s
        words = [str(word) for word in command]
        self.name = Path(words[0]).name
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _TIED, str(os.getpid()), *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env) if env is not None else None,
                start_new_session=True,
            )
        atexit.register(self.stop)

    def __repr__(self) -> str:
        state = "running" if self.is_running else f"ended with {self._process.returncode}"
        return f"<{self.name} pid {self.pid} {state}>"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def log_tail(self, size: int = 2000) -> str:
        return self.log.read_bytes()[-size:].decode(errors="replace") if self.log.exists() else ""

    def wait_until_it_answers(self, port: int, timeout_s: float) -> None:
        """Wait until the port speaks HTTP, whatever it says."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if not self.is_running:
                raise DidNotStart(f"{self.name} ended with {self._process.returncode}:\n{self.log_tail()}")
            try:
                with socket.create_connection(("127.0.0.1", port), 1) as probe:
                    probe.settimeout(5)
                    probe.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n" % port)
                    if probe.recv(7) == b"HTTP/1.":
                        return
            except OSError:
                pass
            time.sleep(0.02)
        raise DidNotStart(f"{self.name} did not answer on port {port} in {timeout_s:g} s:\n{self.log_tail()}")

    def stop(self) -> None:
        """End the process and its group: politely, then not."""
        atexit.unregister(self.stop)
        self._signal_group(signal.SIGTERM)
        try:
            self._process.wait(self._grace_s)
        except subprocess.TimeoutExpired:
            pass
        self._signal_group(signal.SIGKILL)  # what it may have left in its group
        self._process.wait()

    def kill(self) -> None:
        """End it as a power cut would."""
        self._signal_group(signal.SIGKILL)
        self._process.wait()

    def _signal_group(self, number: signal.Signals) -> None:
        if self._process.returncode is not None and number is not signal.SIGKILL:
            return
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            pass


def run_to_the_end(command: Sequence[str | Path], *, env: Mapping[str, str], timeout_s: float = 60) -> str:
    """Run a command of a server's set-up and return its output, or raise DidNotStart with it."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, env=dict(env), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s
        )
    except subprocess.TimeoutExpired as late:
        raise DidNotStart(f"{' '.join(words)}: no end in {timeout_s:g} s") from late
    if done.returncode:
        raise DidNotStart(f"{' '.join(words)}: exit {done.returncode}\n{(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


class Folder:
    """A scratch folder that is gone after ``remove()``, or at the end of the process."""

    def __init__(self, name: str) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=f"sterna-test-{name}-"))
        atexit.register(self.remove)

    def remove(self) -> None:
        atexit.unregister(self.remove)
        shutil.rmtree(self.path, ignore_errors=True)


def plain_environment(home: Path, **more: str) -> dict[str, str]:
    """The environment of a server: the system's path, a home of its own, no proxies, no credentials."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "HOME": str(home),
        "TMPDIR": str(home),
        **more,
    }
