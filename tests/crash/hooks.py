"""Count the calls by which this process changes files, and at one of them kill it or say an errno.

Python tells of most of them by audit events (https://docs.python.org/3/library/audit_events.html), which cannot be missed
whoever calls, and an exception of a hook is that of the call. Without an event are reading, writing, flushing and closing,
what goes through ctypes, and SQLite's statements; those are put behind counting ones of the same name. What is written
through a file object of Python, and what SQLite does within a statement, is no step here; the suite by strace has both.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sqlite3
import threading
from collections.abc import Callable
from typing import Any

import msgspec

from tests.crash.orders import Fail, Kill, Order, Step

_CHANGING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

# Audit events: the family, and where among the arguments are the path and, or -1, the descriptor of its directory.
_EVENTS = {
    "os.rename": ("rename", 1, 3),
    "os.link": ("link", 1, 3),
    "os.symlink": ("link", 1, 2),
    "os.remove": ("remove", 0, 1),
    "os.rmdir": ("remove", 0, 1),
    "os.mkdir": ("mkdir", 0, 2),
    "os.truncate": ("truncate", 0, -1),
    "os.utime": ("utime", 0, 3),
    "os.chmod": ("chmod", 0, 2),
}
_CALLS = {
    "write": ("write", "pwrite", "writev", "pwritev"),
    "fsync": ("fsync", "fdatasync"),
    "read": ("read", "pread", "readv", "preadv"),
}
_LIBC = {"renameat2": "rename", "syncfs": "fsync", "fallocate": "write"}
_ONLY_LOOKS = ("read", "close")


class Hooks:
    """The hooks of one process; its own forks pass by them."""

    def __init__(self, order: Order, trace: int) -> None:
        self._root = order.root
        self._act = order.act
        self._trace = trace
        self._pid = os.getpid()
        self._counting = threading.Lock()
        self._changes = 0
        self._of_family: dict[str, int] = {}
        self._write = os.write  # before it is counted

    def step(self, family: str, what: str, *, changes: bool) -> None:
        """One call is about to happen. Ends the process, or raises OSError, if it is the one."""
        if os.getpid() != self._pid:
            return
        with self._counting:
            self._changes += changes
            self._of_family[family] = count = self._of_family.get(family, 0) + 1
            acts = (
                (changes and self._act.nth == self._changes)
                if isinstance(self._act, Kill)
                else self._act is not None and (self._act.family, self._act.nth) == (family, count)
            )
            self._write(self._trace, msgspec.json.encode(Step(changes, family, what, acts)) + b"\n")
            if not acts:
                return
            if isinstance(self._act, Kill):
                os.kill(self._pid, signal.SIGKILL)
        if isinstance(self._act, Fail):
            raise OSError(self._act.errno, os.strerror(self._act.errno), what)

    def heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An audit event."""
        if event == "open":
            path, _, flags = arguments
            if not isinstance(path, int) and self._is_ours(path):
                self.step("open", os.fsdecode(path), changes=bool(flags & _CHANGING))
        elif event in _EVENTS:
            family, at, directory = _EVENTS[event]
            path = arguments[at]
            fd = arguments[directory] if directory >= 0 else -1
            if self._is_ours(path, fd):
                self.step(family, f"{event} {self._shown(path)}", changes=True)

    def _is_ours(self, path: Any, directory: int = -1) -> bool:
        if isinstance(path, int):
            return self.is_below(path)
        text = os.fsdecode(path)
        if text.startswith("/"):
            return text.startswith(self._root)
        return directory < 0 or self.is_below(directory)

    def is_below(self, fd: int) -> bool:
        """Whether a descriptor is of something below the root."""
        return self._shown(fd).startswith(self._root)

    def _shown(self, path: Any) -> str:
        if not isinstance(path, int):
            return os.fsdecode(path)
        try:
            return os.readlink(f"/proc/self/fd/{path}")
        except OSError:
            return ""

    def counted(self, name: str, family: str) -> None:
        """Put a counting function in the place of one of ``os`` that takes a descriptor first."""
        real = getattr(os, name)

        def call(fd: int, *arguments: Any, **named: Any) -> Any:
            if not self.is_below(fd):
                return real(fd, *arguments, **named)
            try:
                self.step(family, f"{name} {self._shown(fd)}", changes=family not in _ONLY_LOOKS)
            except OSError:
                if family == "close":  # Linux has closed it whatever close(2) says
                    real(fd)
                raise
            return real(fd, *arguments, **named)

        setattr(os, name, call)

    def counted_sendfile(self) -> None:
        """The file is the second that sendfile is given."""
        real = os.sendfile

        def call(out: int, fd: int, *arguments: Any, **named: Any) -> int:
            if self.is_below(fd):
                self.step("read", f"sendfile {self._shown(fd)}", changes=False)
            return real(out, fd, *arguments, **named)

        os.sendfile = call  # type: ignore[assignment]


class _Library:
    """A library whose changing calls are counted."""

    def __init__(self, hooks: Hooks, real: ctypes.CDLL) -> None:
        self._hooks = hooks
        self._real = real

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._real, name)
        return _Call(self._hooks, name, function) if name in _LIBC else function


class _Call:
    """A function of such a library: it returns -1 and leaves the errno where it is to be refused."""

    _hooks: Hooks
    _name: str
    _real: Any

    def __init__(self, hooks: Hooks, name: str, real: Any) -> None:
        self.__dict__.update(_hooks=hooks, _name=name, _real=real)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._real, name, value)

    def __call__(self, *arguments: Any) -> Any:
        if self._hooks.is_below(arguments[0]):
            what = " ".join(os.fsdecode(one) if isinstance(one, bytes) else str(one) for one in arguments)
            try:
                self._hooks.step(_LIBC[self._name], f"{self._name} {what}", changes=True)
            except OSError as error:
                ctypes.set_errno(error.errno or 0)
                return -1
        return self._real(*arguments)


def _connections(hooks: Hooks) -> type[sqlite3.Connection]:
    """Connections whose changing statements are steps."""

    def note(sql: str) -> None:
        word = sql.split(None, 1)[0].upper()
        if word != "SELECT" and (word != "PRAGMA" or "=" in sql or "checkpoint" in sql):
            hooks.step("sqlite", " ".join(sql.split())[:80], changes=True)

    class Counted(sqlite3.Connection):
        def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            note(sql)
            return super().execute(sql, *arguments)

        def executemany(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            note(sql)
            return super().executemany(sql, *arguments)

        def executescript(self, sql: str) -> sqlite3.Cursor:
            note(sql)
            return super().executescript(sql)

        def close(self) -> None:
            hooks.step("sqlite", "close", changes=True)
            super().close()

    return Counted


def install(order: Order, trace: int, listen: Callable[[Callable[[str, tuple[Any, ...]], None]], None]) -> None:
    """From now on this process's steps are counted, for good; ``listen`` is ``sys.addaudithook``."""
    hooks = Hooks(order, trace)
    for family, names in _CALLS.items():
        for name in names:
            if hasattr(os, name):
                hooks.counted(name, family)
    hooks.counted("close", "close")
    hooks.counted_sendfile()
    library, connect, counted = ctypes.CDLL, sqlite3.connect, _connections(hooks)

    def load(*arguments: Any, **named: Any) -> _Library:
        return _Library(hooks, library(*arguments, **named))

    def opened(*arguments: Any, **named: Any) -> sqlite3.Connection:
        return connect(*arguments, factory=counted, **named)

    ctypes.CDLL = load  # type: ignore[assignment, misc]
    sqlite3.connect = opened  # type: ignore[assignment]
    listen(hooks.heard)
