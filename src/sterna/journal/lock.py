"""Let one process at a time work on a route, and tell the others who it is."""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
import weakref
from contextlib import suppress
from pathlib import Path

import msgspec

from sterna.journal.places import is_there, open_private, unusable
from sterna.model.errors import JournalUnusable, Locked
from sterna.model.units import printable

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_TRIES = 10  # of a lock file that is replaced while we take it
_HELD_BY_OTHERS = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)


class Holder(msgspec.Struct, frozen=True):
    """Who holds a lock, in words that were written when it was taken."""

    pid: int
    host: str
    since_s: float
    command: str

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since_s))
        return f"{printable(self.command)}, process {self.pid} on {printable(self.host)}, since {since}"


class Lock:
    """A lock of the operating system on a file that is never deleted (H55).

    It ends with the process, however that ends; there is nothing stale to clear away. A child made by fork lets go of
    what it inherits, so a helper that outlives its run holds nothing; and what is executed gets no descriptor.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.holder = path.with_suffix(".holder")
        self._fd = fd
        self._status = os.fstat(fd)
        _held.add(self)

    def __repr__(self) -> str:
        return f"<Lock {self.path}, {'held' if self._fd >= 0 else 'released'}>"

    @classmethod
    def take(cls, path: Path, command: str) -> Lock:
        """Take it, or raise Locked with who has it. ``command`` is shown to others: no secrets in it."""
        for _ in range(_TRIES):
            fd = open_private(path)
            try:
                _lock(fd)
                if is_there(path, os.fstat(fd)):
                    break
            except OSError as error:
                os.close(fd)
                if error.errno in _HELD_BY_OTHERS:
                    raise _locked(path) from None
                raise unusable(error, "lock", path) from error
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)  # somebody deleted or replaced it in between: what we locked, nobody will ever look at
        else:
            raise JournalUnusable(f"{printable(str(path))} is replaced again and again; who does that?")
        lock = cls(path, fd)
        try:
            lock._say(Holder(os.getpid(), socket.gethostname(), time.time(), command))
        except OSError as error:
            lock.release()
            raise unusable(error, "write", lock.holder) from error
        return lock

    @property
    def is_whole(self) -> bool:
        """Whether others who want the lock would still meet ours."""
        return self._fd >= 0 and is_there(self.path, self._status)

    def release(self) -> None:
        """Let go. May be called twice."""
        if self._fd >= 0:
            _held.discard(self)
            try:
                if self.is_whole:
                    self.holder.unlink(missing_ok=True)
            except OSError:
                pass  # what stands there is read only while somebody holds the lock
            fd, self._fd = self._fd, -1
            with suppress(OSError):  # the lock is gone whatever close says, and nothing was written
                os.close(fd)

    def _say(self, holder: Holder) -> None:
        beside = self.holder.with_suffix(".holder-new")
        beside.unlink(missing_ok=True)
        with open(open_private(beside), "wb") as file:
            file.write(msgspec.json.encode(holder))
        beside.replace(self.holder)

    def _forget(self) -> None:
        """In a forked child: its descriptor is closed, and the parent's lock stays."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)


def holder_of(path: Path) -> Holder | None:
    """What was written when the lock was taken last; None where that cannot be read, or is of a process that is gone."""
    try:
        with open(path.with_suffix(".holder"), "rb") as file:
            holder = msgspec.json.decode(file.read(65536), type=Holder)
    except (OSError, msgspec.DecodeError):
        return None
    if holder.host == socket.gethostname() and os.name == "posix":
        try:
            os.kill(holder.pid, 0)
        except ProcessLookupError:
            return None  # of an earlier one: the new holder has not written yet
        except OSError:
            pass  # alive, and of another user
    return holder


def is_held(path: Path) -> bool:
    """Whether somebody works on the route of this journal now. Nobody waits, and nobody is in the way of one who begins:
    the lock itself is tried only where somebody alive is named, who may have its number by chance.
    """
    if holder_of(path) is None:
        return False
    try:
        fd = os.open(path.with_suffix(".lock"), os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        return error.errno != errno.ENOENT  # it cannot be told
    try:
        _lock(fd)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def _locked(path: Path) -> Locked:
    holder = holder_of(path)
    who = f"Another run ({holder})" if holder is not None else "Another run"
    return Locked(
        f"{who} works on the same two locations; wait for its end, or end it.",
        operation="lock",
        key=str(path),
        words=str(holder or ""),
    )


def _lock(fd: int) -> None:
    """flock, not fcntl's record locks: those are lost when the process closes any descriptor of the file."""
    if sys.platform == "win32":
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


# A lock of flock belongs to the open file, which a fork shares: each child closes what it finds here.
_held: weakref.WeakSet[Lock] = weakref.WeakSet()


def _forget_all() -> None:
    for lock in list(_held):
        lock._forget()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
