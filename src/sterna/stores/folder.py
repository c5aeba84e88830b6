"""Turn keys into open files below one root directory, which no symbolic link can lead out of."""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections.abc import Container, Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

import msgspec

from sterna.model.descriptors import directories_to_keep
from sterna.model.entry import Entry
from sterna.model.errors import (
    DiskFull,
    LocalFault,
    ObjectChanged,
    ObjectGone,
    Refused,
    SourceUnknown,
    SternaError,
    WrongSetting,
)
from sterna.model.units import printable, size_words
from sterna.stores.closing import let_go
from sterna.stores.names import check_locale, components, is_abandoned, is_plain_name, is_temporary

if TYPE_CHECKING:
    from sterna.stores.draft import Draft
    from sterna.stores.trash import FolderTrash

_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_ROOT = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _CLOEXEC
_BELOW = _ROOT | _NOFOLLOW
_PATH_ONLY = getattr(os, "O_PATH", 0)
# O_NONBLOCK: a named pipe must not hold us until somebody writes into it (H111).
_READ_THROUGH = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _CLOEXEC
_READ = _READ_THROUGH | _NOFOLLOW

# A file's times are set when a write begins and tick in steps of up to 10 ms, so a write that is under way, or two in
# one tick, do not show in them. A file that was written to so lately is read twice.
_HOT_NS = 100_000_000

NO_FOLDER = "ENOTDIR"
"""The code of the error that says: a file stands above this key, so nothing stands at it."""


class Identity(msgspec.Struct, frozen=True, gc=False):
    """What tells one version of a file from another: equal before and after means that nobody wrote in between."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int


class Content(msgspec.Struct, frozen=True, gc=False):
    """The whole of one version of a file."""

    data: bytes
    identity: Identity


class Directory:
    """An open directory descriptor. It is closed when the last who holds this object lets go of it.

    So that a thread may work in a directory which another thread has just pushed out of the cache.
    """

    __slots__ = ("_close", "device", "fd", "inode", "used")

    def __init__(self, fd: int) -> None:
        self._close = os.close  # kept here, since at the interpreter's end the module is gone first
        self.fd = fd
        status = os.fstat(fd)
        self.device = status.st_dev
        self.inode = status.st_ino
        self.used = True

    def __del__(self) -> None:
        try:
            self._close(self.fd)
        except OSError:  # as ``closing.let_go``
            pass


class SourceFile:
    """A file that is open for reading. ``identity`` is of the moment of opening; the length is fixed by it."""

    __slots__ = ("_shown", "fd", "identity", "key")

    def __init__(self, fd: int, key: str, shown: str) -> None:
        self.fd = fd
        self.key = key
        self._shown = shown
        self.identity = _identity_of_file(os.fstat(fd), key, shown)

    def read_into(self, view: memoryview, offset: int) -> int:
        """Fill the view from this offset; less than its length comes back only at the end of the file."""
        try:
            count = _pread(self.fd, view, offset)
            while 0 < count < len(view):
                more = _pread(self.fd, view[count:], offset + count)
                if not more:
                    break
                count += more
        except OSError as error:
            raise translate(error, "read", self._shown, self.key) from error
        return count

    def check_unchanged(self) -> None:
        """Raise ObjectChanged if anything was written since the file was opened (H40)."""
        try:
            status = os.fstat(self.fd)
        except OSError as error:
            raise translate(error, "read", self._shown, self.key) from error
        if _identity(status) != self.identity:
            raise _changed(self.key, self._shown)

    def close(self) -> None:
        """May be called twice."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            let_go(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Folder:
    """A root directory, opened once. Every path below it is walked name by name from its descriptor, following no link.

    A link that somebody plants or swaps in at any time therefore ends in an error and never outside (H62). With
    ``symlinks="follow"`` links are followed, for reading only. Threads may share a folder.
    """

    def __init__(self, path: Path, root: Directory, symlinks: Literal["skip", "follow"] = "skip") -> None:
        self.path = path
        self.root = root
        self._follow = symlinks == "follow"
        self._known: dict[str, Directory] = {"": root}  # by path, which ends in a slash but for the root
        self._changing = threading.Lock()
        self.spared: Container[str] = ()  # unfinished files that a run is to go on with, though who made them is dead
        self.trash: FolderTrash | None = None  # where files go that are written over, or deleted
        self._most = directories_to_keep()
        self._free_places = self._most if hasattr(os, "O_TMPFILE") and os.path.isdir("/proc/self/fd") else 0

    @classmethod
    def open(cls, path: Path | str, create: bool = False, *, symlinks: Literal["skip", "follow"] = "skip") -> Folder:
        """Open a folder; one that is missing is made (with those above it), or raises SourceUnknown."""
        check_locale()
        path = Path(path)
        try:
            if create:
                path.mkdir(parents=True, exist_ok=True)
            root = Directory(os.open(path, _ROOT))
            if os.fstat(root.fd).st_nlink == 0:
                kind = WrongSetting if create else SourceUnknown
                raise kind(f"{printable(str(path))} has been deleted; change into another folder.", key=str(path))
            return cls(path, root, symlinks)
        except OSError as error:
            shown = printable(str(path))
            if error.errno in (errno.ENOTDIR, errno.EEXIST):
                kind = WrongSetting if create else SourceUnknown
                raise kind(f"{shown} is not a folder, or lies below something that is none.", key=str(path)) from error
            if error.errno == errno.ENOENT and create:  # as below /proc
                sentence = f"The destination {shown} cannot be made: no folder can be made there; name another place."
                raise WrongSetting(sentence, key=str(path)) from error
            if error.errno == errno.ENOENT:
                sentence = f"{shown} does not exist; check the path, and that its disk is mounted."
                raise SourceUnknown(sentence, key=str(path)) from error
            raise translate(error, "make" if create else "open", str(path)) from error

    def __repr__(self) -> str:
        return f"<Folder {self.path}, {len(self._known)} directories open>"

    def close(self) -> None:
        """Let go of every descriptor. What is in use elsewhere closes when its user is done."""
        with self._changing:
            self._known = {}

    def forget(self) -> None:
        """Let go of all directories but the root: the next use finds them anew, as they are then."""
        with self._changing:
            self._known = {"": self.root}

    def shown(self, key: str) -> str:
        """The path of a key as errors name it."""
        return str(self.path / key) if key else str(self.path)

    def take_place(self) -> bool:
        """Ask for one more descriptor that an unnamed draft may hold until it has its name.

        False when enough are held, or the system cannot give an unnamed file a name.
        """
        with self._changing:
            if not self._free_places:
                return False
            self._free_places -= 1
            return True

    def free_place(self) -> None:
        """Give such a descriptor's place back."""
        with self._changing:
            self._free_places += 1

    # Reading

    def read_whole(self, key: str, limit: int) -> Content:
        """Read a small file in one go: one version of it, or ObjectChanged; ObjectGone if it vanished.

        A file above ``limit`` bytes has grown since it was listed, and counts as changed too.
        """
        fd = self._open_to_read(key)
        try:
            before = os.fstat(fd)
            size = before.st_size
            if before.st_mode & 0o170000 != 0o100000 or size > limit:
                raise self._not_to_be_read_whole(key, before, limit)
            # One byte more than there should be: the same call that reads sees that the file ends there.
            data = os.read(fd, size + 1)
            if len(data) < size:
                data = _read_on(fd, data, size)
            if time.time_ns() - before.st_ctime_ns < _HOT_NS and os.pread(fd, size + 1, 0) != data:
                raise _changed(key, self.shown(key))
            after = os.fstat(fd)
        except OSError as error:
            raise translate(error, "read", self.shown(key), key) from error
        finally:
            let_go(fd)
        mtime_ns, ctime_ns = before.st_mtime_ns, before.st_ctime_ns
        if len(data) != size or after.st_size != size or after.st_mtime_ns != mtime_ns or after.st_ctime_ns != ctime_ns:
            raise _changed(key, self.shown(key))
        return Content(data, Identity(size, mtime_ns, ctime_ns, before.st_ino, before.st_dev))

    def check_unchanged(self, key: str, identity: Identity) -> None:
        """Raise ObjectChanged if the file is not the one that was read any more. One that is gone was read whole."""
        try:
            status = self._status(key)
        except (FileNotFoundError, ObjectGone):
            return
        except OSError as error:
            raise translate(error, "look at", self.shown(key), key) from error
        if _identity(status) != identity:
            raise _changed(key, self.shown(key))

    def open_source(self, key: str) -> SourceFile:
        """Open a file for reading in parts."""
        fd = self._open_to_read(key)
        try:
            return SourceFile(fd, key, self.shown(key))
        except OSError as error:
            let_go(fd)
            raise translate(error, "read", self.shown(key), key) from error
        except BaseException:
            let_go(fd)
            raise

    def look(self, key: str) -> Entry | None:
        """What stands at this key now; None if nothing does. A folder shows with a slash at the end of its key.

        Raises Refused for a link or a special file.
        """
        try:
            status = self._status(key.removesuffix("/"))
        except ObjectGone:
            return None
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            raise translate(error, "look at", self.shown(key), key) from error
        if stat.S_ISREG(status.st_mode):
            return Entry(key, status.st_size, status.st_mtime_ns, "", "", "", status.st_ctime_ns, status.st_ino)
        if stat.S_ISDIR(status.st_mode):
            return Entry(key.removesuffix("/") + "/", 0, status.st_mtime_ns)
        raise not_a_file(key, self.shown(key), status.st_mode)

    # Changing

    def create(self, key: str, size: int | None) -> Draft:
        """Begin a file beside the place where it will stand; see Draft."""
        from sterna.stores.draft import create  # drafts are made of folders, so they import us

        return create(self, key, size)

    def make_folder(self, key: str) -> None:
        """Make a folder and those above it, where they are missing. A trailing slash changes nothing."""
        self.directory(key.removesuffix("/") + "/", create=True)

    def remove(self, key: str, expected: Entry) -> None:
        """Remove a file that still is what the listing showed, or an empty folder (whose key ends in a slash).

        ObjectChanged if it is not, ObjectGone if nothing is there.
        """
        shown = self.shown(key)
        try:
            directory, name = self.locate(key.removesuffix("/"))
            if key.endswith("/"):
                os.rmdir(name, dir_fd=directory.fd)
                return
            status = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
            check_expected(status, expected, shown)
            os.unlink(name, dir_fd=directory.fd)
        except OSError as error:
            raise translate(error, "remove", shown, key) from error

    def remove_abandoned(self, paths: Iterable[str]) -> int:
        """Remove unfinished files of dead runs (as ``walk`` found them) that belong to us; returns how many (H48)."""
        removed = 0
        for path in paths:
            if path in self.spared or not is_abandoned(path.rpartition("/")[2]):
                continue
            try:
                removed += self._unlink_own(path)
            except (OSError, SternaError):
                continue  # the next run tries again; nothing depends on it
        return removed

    def remove_unfinished(self, path: str) -> bool:
        """Remove an unfinished file of ours, whoever made it; whether it is gone now."""
        try:
            return is_temporary(path.rpartition("/")[2]) and self._unlink_own(path)
        except (FileNotFoundError, ObjectGone):
            return True
        except (OSError, SternaError):
            return False

    def _unlink_own(self, path: str) -> bool:
        parent, _, name = path.rpartition("/")
        directory = self.directory(parent + "/" if parent else "")
        status = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            return False
        os.unlink(name, dir_fd=directory.fd)
        return True

    # Finding

    def locate(self, key: str, *, create: bool = False) -> tuple[Directory, str]:
        """The directory that holds a key, and the key's name in it; Refused if no file can have this key.

        With ``create`` missing folders are made, else they raise ObjectGone.
        """
        cut = key.rfind("/") + 1
        name = key[cut:]
        directory = self._known.get(key[:cut])
        if directory is not None and is_plain_name(name) is not None:
            directory.used = True
            return directory, name
        components(key)
        return self.directory(key[:cut], create=create), name

    def directory(self, path: str, *, create: bool = False) -> Directory:
        """An open directory by its path below the root, which is empty or ends in a slash."""
        known = self._known.get(path)
        if known is not None:
            known.used = True
            return known
        names = components(path[:-1])
        depth = len(names)
        above: Directory | None = None
        while above is None:
            depth -= 1
            above = self._known.get("".join([name + "/" for name in names[:depth]])) if depth else self.root
        reached = "".join([name + "/" for name in names[:depth]])
        for name in names[depth:]:
            reached += name + "/"
            try:
                above = self._open_directory(name, above.fd, create)
            except OSError as error:
                raise self._no_way_through(error, name, reached, above.fd) from error
            self._keep(reached, above)
        return above

    def is_current(self, path: str) -> bool:
        """Whether a directory's path still leads to the directory that we hold open, or would open now."""
        known = self._known.get(path)
        return known is None or self.leads_to(path, known.device, known.inode)

    def leads_to(self, path: str, device: int, inode: int) -> bool:
        """Whether a directory's path leads to this directory now."""
        try:
            if path:
                status = os.stat(path[:-1], dir_fd=self.root.fd, follow_symlinks=False)
            else:
                status = os.stat(self.path)
        except OSError as error:
            # A path too long to be asked for at once was walked name by name; it cannot be checked so cheaply.
            return error.errno == errno.ENAMETOOLONG
        return status.st_ino == inode and status.st_dev == device

    def _status(self, key: str) -> os.stat_result:
        """Of what stands at a key; where links are followed, through those above it too, as it is read."""
        if self._follow:
            components(key)
            return os.stat(key, dir_fd=self.root.fd)
        directory, name = self.locate(key)
        return os.stat(name, dir_fd=directory.fd, follow_symlinks=False)

    def _open_to_read(self, key: str) -> int:
        try:
            if self._follow:
                components(key)
                return os.open(key, _READ_THROUGH, dir_fd=self.root.fd)
            directory, name = self.locate(key)
            try:
                return os.open(name, _READ, dir_fd=directory.fd)
            except FileNotFoundError:
                if self.is_current(key[: len(key) - len(name)]):
                    raise
                self.forget()  # the folder was replaced: look into the one that stands there now
                directory, name = self.locate(key)
                return os.open(name, _READ, dir_fd=directory.fd)
        except OSError as error:
            if error.errno in (errno.ENXIO, errno.ENODEV):  # a socket, a device without a driver: cannot be opened
                raise not_a_file(key, self.shown(key), stat.S_IFSOCK) from error
            if error.errno == errno.ELOOP:
                raise not_a_file(key, self.shown(key), stat.S_IFLNK) from error
            raise translate(error, "read", self.shown(key), key) from error

    def _open_directory(self, name: str, above: int, create: bool) -> Directory:
        try:
            return Directory(_open_below(name, above))
        except FileNotFoundError:
            if not create:
                raise
        try:
            os.mkdir(name, 0o777, dir_fd=above)
        except FileExistsError:
            pass
        return Directory(_open_below(name, above))

    def _keep(self, path: str, directory: Directory) -> None:
        """Remember an open directory; above the bound the ones not used of late go."""
        with self._changing:
            known = self._known
            known[path] = directory
            if len(known) <= self._most:
                return
            for old in list(known):
                # A second chance: one that was used since it was last looked at goes to the end instead.
                kept = known.pop(old)
                if kept.used or not old:
                    kept.used = False
                    known[old] = kept
                elif len(known) <= self._most * 3 // 4:
                    known[old] = kept
                    break

    def _no_way_through(self, error: OSError, name: str, path: str, above: int) -> SternaError:
        """Why a directory cannot be entered."""
        shown = printable(self.shown(path))
        if error.errno in (errno.ENOTDIR, errno.ELOOP, errno.EEXIST):
            code = ""
            try:
                mode = os.stat(name, dir_fd=above, follow_symlinks=False).st_mode
            except OSError:
                mode = 0
            if stat.S_ISLNK(mode):
                sentence = f"{shown} is a symbolic link, and nothing is read or written through one; remove it first."
            else:
                sentence = f"{shown} is a file, and a folder is needed there; move it away, or leave this key out."
                code = NO_FOLDER if mode else ""
            return Refused(sentence, operation="open", key=path, code=code)
        return translate(error, "open", self.shown(path), path)

    def _not_to_be_read_whole(self, key: str, status: os.stat_result, limit: int) -> SternaError:
        shown = self.shown(key)
        if not stat.S_ISREG(status.st_mode):
            return not_a_file(key, shown, status.st_mode)
        sentence = f"{printable(shown)} grew to {size_words(status.st_size)} since it was listed; it is tried again."
        return ObjectChanged(sentence, operation="read", key=key)


def translate(error: OSError, what: str, path: str, key: str = "") -> SternaError:
    """What the system said, as an error that says what to do. ``what`` is the verb of the sentence.

    The one place where an errno gets a meaning.
    """
    kind: type[SternaError] = LocalFault
    match error.errno:
        case errno.ENOENT:
            kind, advice = ObjectGone, "it vanished"
        case errno.ENOSPC:
            kind, advice = DiskFull, "no space is left on its disk; make room and run again"
        case errno.EDQUOT:
            kind, advice = DiskFull, "the disk quota is used up; make room and run again"
        case errno.EFBIG:
            advice = "it is larger than its file system, or ulimit -f, allows"
        case errno.EROFS:
            advice = "its file system is read-only; mount it for writing"
        case errno.EACCES:
            advice = "permission denied; change its permissions or run as another user"
        case errno.EPERM:
            advice = "the system does not permit it; look at its owner and attributes (lsattr)"
        case errno.ENAMETOOLONG:
            kind, advice = Refused, "the name is too long for its file system; rename it"
        case errno.EILSEQ | errno.EINVAL:
            kind, advice = Refused, "its file system does not take this name or call"
        case errno.ELOOP:
            kind, advice = Refused, "it is a symbolic link, and links are not followed"
        case errno.ENOTDIR:
            kind, advice = Refused, "a file stands where a folder is needed"
        case errno.EISDIR:
            kind, advice = Refused, "it is a folder"
        case errno.ENOTEMPTY | errno.EEXIST:
            kind, advice = ObjectChanged, "something stands there that was not there before"
        case errno.EMFILE | errno.ENFILE:
            advice = "too many files are open; raise ulimit -n"
        case errno.EIO:
            advice = "its disk reports an I/O error; look at the system log"
        case errno.ESTALE:
            advice = "its network share has lost it (stale handle); mount it again"
        case _:
            advice = (error.strerror or str(error)).lower()
    return kind(
        f"Cannot {what} {printable(path)}: {advice}.",
        operation=what,
        key=key or path,
        code=errno.errorcode.get(error.errno or 0, ""),
        words=error.strerror or str(error),
    )


def translate_given(error: OSError, what: str, path: str) -> SternaError:
    """The same of a path that the user gave: what is not there has not vanished, it was never there."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        words = error.strerror or str(error)
        return WrongSetting(f"Cannot {what} {printable(path)}: there is no such path; check it.", words=words)
    return translate(error, what, path)


def check_expected(status: os.stat_result, expected: Entry, shown: str) -> None:
    """Raise unless this is the file that was listed: Refused for what is no file, ObjectChanged if it differs."""
    if not stat.S_ISREG(status.st_mode):
        raise not_a_file(expected.key, shown, status.st_mode)
    if status.st_size != expected.size or status.st_mtime_ns != expected.mtime_ns:
        sentence = f"{printable(shown)} was changed by somebody else since it was listed; it is left as it is."
        raise ObjectChanged(sentence, operation="replace", key=expected.key)


def not_a_file(key: str, shown: str, mode: int) -> Refused:
    """The error for what is in a file's place and is none."""
    if stat.S_ISLNK(mode):
        reason = "is a symbolic link, and nothing is read or written through one"
    elif stat.S_ISDIR(mode):
        reason = "is a folder, and a file is needed there"
    else:
        reason = "is a pipe, socket or device, not a file"
    return Refused(f"{printable(shown)} {reason}; move it away, or leave this key out.", operation="open", key=key)


def _identity(status: os.stat_result) -> Identity:
    return Identity(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)


def _identity_of_file(status: os.stat_result, key: str, shown: str) -> Identity:
    if not stat.S_ISREG(status.st_mode):
        raise not_a_file(key, shown, status.st_mode)
    return _identity(status)


def _changed(key: str, shown: str) -> ObjectChanged:
    sentence = f"{printable(shown)} was changed while it was read; it is tried again."
    return ObjectChanged(sentence, operation="read", key=key)


def _read_on(fd: int, data: bytes, size: int) -> bytes:
    """Some file systems give less than was asked for: read until the end, or until there is more than ``size``."""
    parts = [data]
    length = len(data)
    while length <= size and (more := os.read(fd, size + 1 - length)):
        parts.append(more)
        length += len(more)
    return b"".join(parts)


def _pread(fd: int, view: memoryview, offset: int) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(fd, [view], offset)
    data = os.pread(fd, len(view), offset)
    view[: len(data)] = data
    return len(data)


def _open_below(name: str, above: int) -> int:
    try:
        return os.open(name, _BELOW, dir_fd=above)
    except PermissionError:
        if not _PATH_ONLY:
            raise
        # A folder that one may enter and not list, like a drop box.
        return os.open(name, _BELOW | _PATH_ONLY, dir_fd=above)
