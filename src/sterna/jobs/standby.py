"""Keep a process ready from which helpers are forked."""

from __future__ import annotations

import contextlib
import enum
import os
import signal
import socket
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Self

from sterna.jobs import crewmate, scout
from sterna.jobs.settings import Settings
from sterna.stores.local import LocalStore
from sterna.stores.walk import Page

_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")  # as containers see their own, cgroup v2


_END_S = 5.0  # helpers that hang in the kernel are given up sooner


class Role(enum.Enum):
    """What a helper is for."""

    CARRY = b"c"  # jobs.crewmate
    WALK = b"w"  # jobs.scout


def processors() -> int:
    """How many processors this process may use: those it may run on, and no more than a container's share of time."""
    count = os.cpu_count() or 1
    with contextlib.suppress(AttributeError):
        count = len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError, ValueError):
        quota, period = _CPU_MAX.read_text().split()
        count = min(count, -(-int(quota) // int(period)))  # "max" is no number: no limit
    return count


class Standby:
    """A process forked before this one had threads or a loop, with everything imported: helpers are forked from it.

    That costs a millisecond here, and two for each helper, where a new interpreter would cost a hundred. It waits, and
    ends when this process does, however that ends.
    """

    def __init__(self, pid: int, asked: socket.socket) -> None:
        self._pid = pid
        self._asked = asked

    @classmethod
    def make(cls) -> Self | None:
        """Fork it; None where that is not safe or not possible."""
        if not hasattr(os, "fork") or not _is_alone():
            return None
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError:
            return None
        try:
            pid = os.fork()
        except OSError:  # no more processes: one is enough
            ours.close()
            theirs.close()
            return None
        if pid == 0:
            ours.close()
            _stand_by(theirs)
        theirs.close()
        return cls(pid, ours)

    def start(self, role: Role) -> socket.socket:
        """Start a helper; gives the socket to it. Raises OSError where there can be none."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            socket.send_fds(self._asked, [role.value], [theirs.fileno()])
        return ours

    def close(self) -> None:
        """Wait for all of them to end. They are told by the ends of their sockets."""
        self._asked.close()
        until = time.monotonic() + _END_S
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(self._pid, os.WNOHANG) == (0, 0):
                if time.monotonic() > until:  # one of them stands still; the run does not wait for ever
                    os.kill(self._pid, signal.SIGKILL)
                time.sleep(0.001)


def _is_alone() -> bool:
    """Whether this is a process of one thread: in a fork of another, locks may be held by threads that are not there."""
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:
        return False


def _stand_by(asked: socket.socket) -> None:
    """Fork a helper whenever one is asked for; never returns."""
    status = 1
    try:
        # The first process says what is to happen.
        for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):  # whoever reads our output must see its end when the first process ends
            os.dup2(nowhere, number)
        while True:
            data, descriptors, _, _ = socket.recv_fds(asked, 1, 1)
            if not data:
                break
            if os.fork() == 0:
                asked.close()
                serve = crewmate.serve if Role(data) is Role.CARRY else scout.serve
                status = serve(socket.socket(fileno=descriptors[0]))
                return
            os.close(descriptors[0])
        while True:
            os.waitpid(-1, 0)  # their processor time counts as this process's, and so as the command's
    except ChildProcessError:
        status = 0
    finally:
        os._exit(status)


def scout_for(standby: Standby | None, store: LocalStore, settings: Settings) -> None:
    """Have a folder walked by a process of its own, once it has shown that it is large."""
    if standby is None or (settings.limits.processes or processors()) == 1:
        return
    folder = store.folder

    def elsewhere(start_after: str) -> AsyncGenerator[Page, None]:
        root = (folder.root.device, folder.root.inode)
        errand = scout.Errand(
            os.fspath(folder.path),
            settings.symlinks,
            start_after,
            root,
            settings.filters,
            settings.one_file_system,
            settings.escapes,
        )
        return scout.scouted(lambda: standby.start(Role.WALK), errand)

    store.elsewhere = elsewhere
