"""Turn bytes into a file that is whole before it has its name."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import hashlib
import os
import stat
import sys
import threading
import time
from types import TracebackType
from typing import Self

from sterna.model.entry import Entry
from sterna.model.errors import NotProven, ObjectChanged, ObjectGone, Refused, SternaError
from sterna.model.synced import Seen
from sterna.model.units import printable
from sterna.stores.folder import Directory, Folder, check_expected, not_a_file, translate
from sterna.stores.names import temporary_name
from sterna.stores.pieces import Pieces

_NEW = os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_AGAIN = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_NEW_SMALL = _NEW | os.O_WRONLY
_NEW_LARGE = _NEW | os.O_RDWR  # a mover may read back what it wrote
# Without a name until it is whole: ext4 takes 15 to 20 µs less for it than for two names (4 KiB, Linux 6.18), and a
# process that is killed leaves nothing behind.
_NEW_UNNAMED = getattr(os, "O_TMPFILE", 0) | os.O_WRONLY | getattr(os, "O_CLOEXEC", 0)

_pieces = Pieces()  # of the machine, not of a file

DEFAULT_MODE = 0o666  # before the umask, as for any program's file

_RENAME_NOREPLACE = 1  # linux/fs.h
_SYNC_FILE_RANGE_WRITE = 2  # linux/fs.h: begin writing, wait for nothing
_FALLOC_FL_KEEP_SIZE = 1  # linux/falloc.h


class Draft:
    """A temporary file beside the place of its final name: create, write, ``seal``, ``publish``; or ``discard``.

    Until ``publish`` returns, what stood under the final name stands there untouched (H46, H51). Every step that
    fails raises, and ``publish`` then takes the temporary file away; before that, ``discard`` is the caller's (leaving
    a ``with`` block does it too). A sealed draft holds no descriptor (one that is still unnamed does, and those are
    few), so thousands may wait for one flush. Parts may be written by several threads.
    """

    __slots__ = (
        "_fd",
        "_has_name",
        "_holds_place",
        "_writing",
        "_written",
        "device",
        "folder",
        "inode",
        "key",
        "name",
        "parent",
        "published",
        "put_in",
        "size",
        "temporary",
    )

    def __init__(
        self, folder: Folder, key: str, temporary: str, fd: int, size: int | None, written: _Written | None = None
    ) -> None:
        self.folder = folder
        self.key = key
        cut = key.rfind("/") + 1
        self.parent = key[:cut]  # "" or ending in /
        self.name = key[cut:]
        self.temporary = temporary  # "" while it has none, and once it is gone
        self.size = size
        self.device = self.inode = 0  # known once sealed
        self.published: Seen | None = None  # the file as it stands under its final name
        self.put_in = (0, 0)  # the device and inode of the directory in which it got its name
        self._has_name = False
        self._fd = fd
        self._holds_place = not temporary
        self._written = written  # None: in one go
        self._writing = threading.Lock()  # the kernel lets one write into a file at a time; others spin for it

    def __repr__(self) -> str:
        if self._fd >= 0:
            state = "sealed, unnamed" if self.inode else "open"
        elif self._has_name:
            state = "published"
        else:
            state = "sealed" if self.temporary else "discarded"
        return f"<Draft {printable(self.key)}, {state}>"

    @property
    def shown(self) -> str:
        """The final path, as errors name it."""
        return self.folder.shown(self.key)

    @property
    def path(self) -> str:
        """Where the temporary file is, below the folder."""
        return self.parent + self.temporary

    def write_at(self, view: bytes | bytearray | memoryview, offset: int) -> None:
        """Write all of the view at this offset."""
        length = len(view)
        try:
            rest = memoryview(view)
            done = 0
            with self._writing:
                piece, began = _pieces.length(length), time.thread_time()
                while done < length:
                    done += os.pwrite(self._fd, rest[done : done + piece], offset + done)
                _pieces.took(piece, length, time.thread_time() - began)
        except OSError as error:
            raise translate(error, "write", self.shown, self.key) from error
        if self._written is not None:
            self._written.add(offset, offset + length)

    def missing(self) -> list[tuple[int, int]]:
        """The ranges ``[start, end)`` that were not written yet, as far as the size is known."""
        return [] if self._written is None else self._written.gaps(self.size)

    @property
    def holds_bytes(self) -> bool:
        """Whether anything of it was written."""
        return self.missing() != [(0, self.size)]

    def md5_hex(self) -> str:
        """The MD5 of what was written, read back: the one sum that some servers know (their ETag), and not by parts."""
        digest = hashlib.md5(usedforsecurity=False)
        try:
            offset = 0
            while data := os.pread(self._fd, 1 << 20, offset):
                digest.update(data)
                offset += len(data)
        except OSError as error:
            raise translate(error, "read back", self.shown, self.key) from error
        return digest.hexdigest()

    def preallocate(self, size: int) -> None:
        """Reserve room, where the file system can, so that a full disk shows now (H49).

        The file's length does not change: reserved room is never read as zeros.
        """
        fallocate = libc("fallocate") if size > 0 else None
        if fallocate is not None and fallocate(self._fd, _FALLOC_FL_KEEP_SIZE, 0, size) != 0:
            number = ctypes.get_errno()
            if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
                raise translate(OSError(number, os.strerror(number)), "write", self.shown, self.key)

    def begin_writeback(self, offset: int, length: int) -> None:
        """Have the kernel begin to write a range to disk, so that the flush at the end finds little left."""
        sync_file_range = libc("sync_file_range")
        if sync_file_range is not None:
            # Advice: an error of the disk is reported by the flush, which is waited for.
            sync_file_range(self._fd, offset, length, _SYNC_FILE_RANGE_WRITE)

    def seal(self, mtime_ns: int | None = None, mode: int = DEFAULT_MODE) -> None:
        """End the writing: check that all is there, set the mode, then the time, last (H52), and close.

        Permissions are at most what the umask leaves; set-user-id, set-group-id and sticky never (H53).
        """
        gaps = self.missing()
        if gaps:
            start, end = gaps[0]
            sentence = f"{printable(self.shown)}: bytes {start} to {end} did not come; nothing was put in its place."
            raise NotProven(sentence, operation="write", key=self.key)
        try:
            os.fchmod(self._fd, mode & 0o777 & ~_umask())
            if mtime_ns is not None:
                os.utime(self._fd, ns=(mtime_ns, mtime_ns))
            self._learn(os.fstat(self._fd))
            self._close()
        except (OSError, OverflowError) as error:
            raise _translate(error, self.shown, self.key) from error

    def publish(self, expect: Entry | None) -> None:
        """Give the file its name, in one step, and look at it there.

        ``expect`` is what the listing saw under that name: None says that nothing may stand there now, so that
        another run's file, or one whose name differs only in case on a file system that ignores case, is not
        overwritten (ObjectChanged, naming it). Something else than the file that was listed is not overwritten
        either; a folder, link or special file is Refused.
        """
        if not self.inode:
            raise RuntimeError(f"{self!r} must be sealed before it is published")
        try:
            directory = self.folder.directory(self.parent)
            if expect is None:
                self._take_free_name(directory)
            else:
                self._replace(directory, expect)
            self.temporary = ""
            self._has_name = True
            self.put_in = (directory.device, directory.inode)
            self._close()
            status = os.stat(self.name, dir_fd=directory.fd, follow_symlinks=False)
        except OSError as error:
            self.discard()
            if error.errno == errno.ENOENT:
                raise self._vanished() from error
            raise translate(error, "put in place", self.shown, self.key) from error
        except SternaError:
            self.discard()
            raise
        if status.st_ino != self.inode or status.st_size != self.size:
            sentence = f"{printable(self.shown)} was put in place, and a second look found another file there."
            raise NotProven(sentence, operation="put in place", key=self.key)
        self.published = Seen(
            status.st_size, status.st_mtime_ns, ctime_ns=status.st_ctime_ns, inode=status.st_ino, device=status.st_dev
        )

    def park(self) -> None:
        """Leave the temporary file to another run, which may ``reopen`` it."""
        with contextlib.suppress(OSError):
            self._close()
        self.temporary = ""

    def read_into(self, view: memoryview, offset: int) -> int:
        """Read back what was written, from this offset; less than the view's length at the end of the file."""
        try:
            return os.preadv(self._fd, [view], offset)
        except OSError as error:
            raise translate(error, "read back", self.shown, self.key) from error

    def holds(self, start: int, end: int) -> None:
        """These bytes were written earlier, and are known to be right."""
        if self._written is not None:
            self._written.add(start, end)

    def discard(self) -> bool:
        """Take the temporary file away; may be called at any time, and twice. False if it could not be removed."""
        with contextlib.suppress(OSError):
            self._close()
        temporary, self.temporary = self.temporary, ""
        if not temporary:
            return True
        try:
            os.unlink(temporary, dir_fd=self.folder.directory(self.parent).fd)
        except (FileNotFoundError, ObjectGone):
            return True
        except (OSError, SternaError):
            return False  # the next start finds it and removes it
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    def sync(self) -> None:
        """Put this one file on disk, where no flush of the whole file system exists."""
        try:
            if self._fd >= 0:
                sync_descriptor(self._fd)
                return
            directory = self.folder.directory(self.parent)
            fd = os.open(self.temporary or self.name, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0), dir_fd=directory.fd)
            try:
                sync_descriptor(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise translate(error, "write", self.shown, self.key) from error

    def _learn(self, status: os.stat_result) -> None:
        if self.size is None:
            self.size = status.st_size
        elif status.st_size != self.size:
            sentence = f"{printable(self.shown)} has {status.st_size} bytes on disk and {self.size} were sent."
            raise NotProven(sentence, operation="write", key=self.key)
        self.device, self.inode = status.st_dev, status.st_ino

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if self._holds_place:
            self._holds_place = False
            self.folder.free_place()
        if fd >= 0:
            os.close(fd)

    def _link(self, directory: Directory, name: str) -> None:
        """Give an unnamed file a name that is free (open(2), at O_TMPFILE)."""
        os.link(f"/proc/self/fd/{self._fd}", name, dst_dir_fd=directory.fd, follow_symlinks=True)

    def _take_free_name(self, directory: Directory) -> None:
        """Take the final name, unless something has it: then say what."""
        if not self.temporary:
            try:
                self._link(directory, self.name)
            except FileExistsError:
                raise self._occupied(directory) from None
            return
        fd = directory.fd
        renameat2 = libc("renameat2")
        number = errno.ENOSYS
        if renameat2 is not None:
            if renameat2(fd, self.temporary.encode(), fd, self.name.encode(), _RENAME_NOREPLACE) == 0:
                return
            number = ctypes.get_errno()
        if number in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
            if look_then_rename(fd, self.temporary, self.name):
                return
            number = errno.EEXIST
        if number == errno.EEXIST:
            raise self._occupied(directory)
        raise OSError(number, os.strerror(number))

    def _replace(self, directory: Directory, expect: Entry) -> None:
        """Rename over the file that was listed, if it still is that one."""
        try:
            status = os.stat(self.name, dir_fd=directory.fd, follow_symlinks=False)
        except FileNotFoundError:
            self._take_free_name(directory)
            return
        check_expected(status, expect, self.shown)
        if not self.temporary:
            temporary = temporary_name()
            self._link(directory, temporary)
            self.temporary = temporary
        trash = self.folder.trash
        with trash.keeping(directory, self.name, self.key) if trash is not None else contextlib.nullcontext():
            os.rename(self.temporary, self.name, src_dir_fd=directory.fd, dst_dir_fd=directory.fd)

    def _occupied(self, directory: Directory) -> SternaError:
        """The error for a name that should be free; on a file system that folds case it names the other file (H71)."""
        status = os.stat(self.name, dir_fd=directory.fd, follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            return not_a_file(self.key, self.shown, status.st_mode)
        shown = printable(self.shown)
        other = _name_of(directory.fd, status.st_ino)
        if other is not None and other != self.name:
            sentence = f"{shown} and {printable(other)} are one name on this file system; the latter is left as it is."
            return Refused(sentence, operation="put in place", key=self.key)
        sentence = f"{shown} appeared since it was listed; it is left as it is."
        return ObjectChanged(sentence, operation="put in place", key=self.key)

    def _vanished(self) -> ObjectChanged:
        sentence = f"{printable(self.shown)}: its folder, or the unfinished file, was moved away while it was written."
        return ObjectChanged(sentence, operation="put in place", key=self.key)


class _Written:
    """Which ranges of a draft were written; several threads may add."""

    __slots__ = ("_lock", "_spans")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: list[tuple[int, int]] = []  # sorted, disjoint

    def add(self, start: int, end: int) -> None:
        with self._lock:
            merged: list[tuple[int, int]] = []
            for span in sorted([*self._spans, (start, end)]):
                if merged and span[0] <= merged[-1][1]:
                    merged[-1] = (merged[-1][0], max(merged[-1][1], span[1]))
                else:
                    merged.append(span)
            self._spans = merged

    def gaps(self, size: int | None) -> list[tuple[int, int]]:
        """What is missing of this size, or before the last byte written if there is none."""
        gaps, at = [], 0
        for start, end in self._spans:
            if start > at:
                gaps.append((at, start))
            at = end
        if size is not None and at < size:
            gaps.append((at, size))
        return gaps


def create(folder: Folder, key: str, size: int | None) -> Draft:
    """Begin a file of this size (None: not known yet); missing folders are made. It is 0600 until it is sealed."""
    fd, temporary = _open_new(folder, key, _NEW_LARGE, 0o600)
    return Draft(folder, key, temporary, fd, size, _Written())


def reopen(folder: Folder, key: str, temporary: str, size: int) -> Draft:
    """Go on with an unfinished file that another run has parked, under a name of our own: nobody takes it for abandoned.

    What is in it counts only once it is told by ``holds``. ObjectGone where there is none any more, Refused where that is
    not a file that we could have left.
    """
    fd = -1
    try:
        directory, _ = folder.locate(key)
        own = temporary_name()
        fd = os.open(temporary, _AGAIN, dir_fd=directory.fd)
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or status.st_uid != os.geteuid():
            raise Refused(
                f"{printable(folder.shown(key))}: its unfinished file is not ours.", operation="open", key=key
            )
        os.rename(temporary, own, src_dir_fd=directory.fd, dst_dir_fd=directory.fd)
        if status.st_size > size:
            os.ftruncate(fd, size)
    except BaseException as error:
        if fd >= 0:
            os.close(fd)
        if isinstance(error, OSError):
            raise translate(error, "open", folder.shown(key), key) from error
        raise
    return Draft(folder, key, own, fd, size, _Written())


def write_small(
    folder: Folder,
    key: str,
    data: bytes | bytearray | memoryview,
    mtime_ns: int | None = None,
    mode: int = DEFAULT_MODE,
    *,
    replaces: bool = True,
) -> Draft:
    """Write a small file in one go; the draft is sealed, and waits for ``publish``.

    The file is opened with its final mode, which the kernel masks by the umask: one call less than ``seal``.
    ``replaces=False`` says that nothing is known to have its name: then it is kept without any until it is published,
    where the system can do that, and as long as descriptors are left.
    """
    fd, temporary = -1, ""
    if not replaces and folder.take_place():
        fd = _open_unnamed(folder, key, mode & 0o777)
    if fd < 0:
        fd, temporary = _open_new(folder, key, _NEW_SMALL, mode & 0o777)
    draft = Draft(folder, key, temporary, fd, len(data))
    try:
        done = 0
        while done < len(data):
            done += os.write(fd, memoryview(data)[done:] if done else data)
        if mtime_ns is not None:
            os.utime(fd, ns=(mtime_ns, mtime_ns))
        draft._learn(os.fstat(fd))
        if temporary:
            draft._close()
    except BaseException as error:
        draft.discard()
        if isinstance(error, (OSError, OverflowError)):
            raise _translate(error, draft.shown, key) from error
        raise
    return draft


def look_then_rename(directory: int, old: str, new: str, to: int | None = None) -> bool:
    """Rename, into the directory ``to`` where one is given, where the system cannot refuse by itself; False if the name
    is taken.

    Between the look and the rename is a moment in which a rival's file could still be overwritten.
    """
    to = directory if to is None else to
    try:
        os.stat(new, dir_fd=to, follow_symlinks=False)
    except FileNotFoundError:
        os.rename(old, new, src_dir_fd=directory, dst_dir_fd=to)
        return True
    return False


def sync_descriptor(fd: int) -> None:
    """Wait until a file or directory is on disk; on macOS past the drive's own cache, where it can."""
    if sys.platform == "darwin":
        import fcntl

        try:
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
            return
        except OSError:
            pass  # not every file system has it
    os.fsync(fd)


_SIGNATURES = {
    "renameat2": (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint),
    "sync_file_range": (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint),
    "fallocate": (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64),
    "syncfs": (ctypes.c_int,),
}


@functools.cache
def libc(name: str) -> ctypes._NamedFuncPointer | None:
    """A call of Linux that Python does not offer, which returns 0 or leaves ``ctypes.get_errno()``; None elsewhere."""
    if sys.platform != "linux":
        return None
    function = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    if function is not None:
        function.argtypes = _SIGNATURES[name]
        function.restype = ctypes.c_int
    return function


def _open_new(folder: Folder, key: str, flags: int, mode: int) -> tuple[int, str]:
    """A new temporary file in the directory of a key."""
    directory, _ = folder.locate(key, create=True)
    is_found_anew = False
    while True:
        temporary = temporary_name()
        try:
            return os.open(temporary, flags, mode, dir_fd=directory.fd), temporary
        except FileExistsError:
            continue  # left behind by a process with our number, which began in the same tick of another boot
        except FileNotFoundError as error:
            if is_found_anew:
                raise translate(error, "write", folder.shown(key), key) from error
            is_found_anew = True
            folder.forget()  # the folder was removed since we opened it
            directory, _ = folder.locate(key, create=True)
        except OSError as error:
            raise translate(error, "write", folder.shown(key), key) from error


def _open_unnamed(folder: Folder, key: str, mode: int) -> int:
    """A new file without a name in the directory of a key; -1 where that cannot be, or whatever else is wrong."""
    try:
        directory, _ = folder.locate(key, create=True)
        return os.open(".", _NEW_UNNAMED, mode, dir_fd=directory.fd)
    except BaseException as error:
        folder.free_place()
        if not isinstance(error, OSError):
            raise
        return -1  # the way with a name will say what it is


def _translate(error: OSError | OverflowError, shown: str, key: str) -> SternaError:
    if isinstance(error, OSError):
        return translate(error, "write", shown, key)
    sentence = f"{printable(shown)}: its modification time is beyond what this system keeps; nothing was written."
    return Refused(sentence, operation="write", key=key)


def _umask() -> int:
    """The process's umask. Linux tells it; elsewhere it must be set for a moment to be seen."""
    try:
        with open("/proc/self/status", "rb") as file:
            for line in file:
                if line.startswith(b"Umask:"):
                    return int(line.split()[1], 8)
    except OSError:
        pass
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _name_of(directory: int, inode: int) -> str | None:
    """Under which name a directory lists an inode."""
    with os.scandir(directory) as listing:
        for item in listing:
            if item.inode() == inode:
                return item.name
    return None
