"""Turn a folder into pages of its files, in key order."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from sterna.model.entry import Entry, Trouble
from sterna.model.errors import SourceUnknown
from sterna.model.units import printable
from sterna.stores.closing import let_go
from sterna.stores.escape import unescaped
from sterna.stores.names import check_locale, is_abandoned, is_temporary

Symlinks = Literal["skip", "follow", "store"]

LINK_SUFFIX = ".rclonelink"
"""What the key of a stored link ends in, with its target as the content; as rclone does with --links."""

PAGE_SIZE = 1000  # as S3 does; one merge step costs little beside it
_OPEN_LEVELS = 64  # folders kept open beside the root; in deeper trees the upper ones are opened again on the way back

_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)


class Page(NamedTuple):
    """A stretch of a listing. Entries ascend by code point, within the page and from page to page.

    A trouble stands in the page in which its key would have come. ``abandoned`` are the paths of unfinished files of
    ours whose owner is dead: for ``Folder.remove_abandoned``, never for anything else.
    """

    entries: list[Entry]
    troubles: list[Trouble]
    abandoned: list[str]


def pages(
    root: Path | str,
    *,
    symlinks: Symlinks = "skip",
    page_size: int = PAGE_SIZE,
    start_after: str = "",
    may_hold: Callable[[str], bool] | None = None,
    one_file_system: bool = False,
    escapes: bool = False,
    root_fd: int | None = None,
) -> Iterator[Page]:
    """Yield every regular file below ``root`` whose key is greater than ``start_after``; folders are not entries.

    Memory holds the names of the folders between the root and the present one, and one page. A name that cannot be
    carried becomes a Trouble. One with ``subtree`` (a folder, its key ends in ``/``, or a link) says that nothing is
    known of what is below, which is not the same as nothing being there. A file that vanishes while we list is
    absent. A root that is missing or cannot be read raises SourceUnknown: the listing ends or raises, it is never just
    short.
    With ``symlinks="skip"`` no link below the root is followed, not even one that is swapped in meanwhile; with
    ``"store"`` none is either, and each is an entry of its own, its key with ``LINK_SUFFIX`` at the end.

    A folder of which ``may_hold`` says no, asked with its key and a slash, is not entered, and not told of: whoever asks
    for this is not concerned with what is below it. With ``one_file_system`` what is mounted below the root is named
    and not entered. With ``escapes`` names are read as ``escape`` writes them. With ``root_fd`` the root is that open
    folder, whatever stands under its path by now.
    """
    check_locale()
    return _Walk(os.fspath(root), symlinks, page_size, start_after, may_hold, one_file_system, escapes, root_fd).pages()


class _Level:
    """A folder between the root and where we are: its sorted names, of which those before ``at`` are done."""

    __slots__ = ("at", "fd", "identity", "links", "local", "name", "names", "odd")

    def __init__(self, fd: int, name: str) -> None:
        self.fd = fd  # -1 while closed
        self.name = name  # "" or ending in /
        status = os.fstat(fd)
        self.identity = (status.st_dev, status.st_ino)
        self.names: list[str] = []  # folders end in /
        self.odd: dict[str, Trouble | None] = {}  # of these names: what is neither file nor folder; None: follow it
        self.links: set[str] = set()  # of those: links that are stored
        self.local: dict[str, str] = {}  # of names that are others here than in their keys
        self.at = 0

    def name_here(self, name: str) -> str:
        """The name by which the system knows a file, or a folder without its slash."""
        return self.local.get(name, name).removesuffix("/")


class _Walk:
    def __init__(
        self,
        root: str,
        symlinks: Symlinks,
        page_size: int,
        start_after: str,
        may_hold: Callable[[str], bool] | None,
        one_file_system: bool,
        escapes: bool,
        root_fd: int | None,
    ) -> None:
        self._root = root
        self._root_fd = root_fd
        self._symlinks = symlinks
        self._may_hold = may_hold
        self._one_file_system = one_file_system
        self._escapes = escapes
        self._page_size = page_size
        self._start_after = start_after
        self._stack: list[_Level] = []
        self._prefix = ""  # of the last level; kept once, since 10,000 levels would each repeat it
        self._ancestors: set[tuple[int, int]] = set()
        self._above: set[tuple[int, int]] | None = None  # of the folders above the root; asked for by the first link
        self._first_open = 1  # levels between the root and this one are closed
        self._page = Page([], [], [])

    def pages(self) -> Iterator[Page]:
        try:
            self._enter_root()
            while self._stack:
                if self._stack[-1].at == len(self._stack[-1].names):
                    self._leave()
                    continue
                self._take_names(self._stack[-1])
                if len(self._page.entries) + len(self._page.troubles) >= self._page_size:
                    full, self._page = self._page, Page([], [], [])
                    yield full
            if any(self._page):
                yield self._page
        finally:
            for level in self._stack:
                _close(level)

    def _take_names(self, level: _Level) -> None:
        """Go on in a folder until the page is full, the names end, or a folder below was entered."""
        entries, troubles, _ = self._page
        names, odd, fd, prefix = level.names, level.odd, level.fd, self._prefix
        local, may_hold = level.local, self._may_hold
        device = self._stack[0].identity[0] if self._one_file_system else None
        start = level.at
        end = min(len(names), start + self._page_size - len(entries) - len(troubles))
        for at in range(start, end):
            name = names[at]
            if name[-1] == "/":
                if may_hold is not None and not may_hold(prefix + name):
                    continue
                level.at = at + 1
                self._enter(level, name)
                return
            here = local[name] if local and name in local else name
            try:
                if odd and name in odd:
                    trouble = odd[name]
                    if trouble is not None:
                        troubles.append(trouble)
                        continue
                    if name in level.links:
                        self._take_link(level, name)
                        continue
                    status = os.stat(here, dir_fd=fd)
                else:
                    status = os.stat(here, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            except OSError as error:
                troubles.append(Trouble(prefix + name, f"cannot be looked at: {_words(error)}"))
                continue
            if device is not None and status.st_dev != device:
                troubles.append(_elsewhere(prefix + name))
            elif status.st_mode & 0o170000 == 0o100000:
                entries.append(
                    Entry(
                        prefix + name, status.st_size, status.st_mtime_ns, "", "", "", status.st_ctime_ns, status.st_ino
                    )
                )
            else:
                troubles.append(_special(prefix + name, status.st_mode))
        level.at = end

    def _take_link(self, level: _Level, name: str) -> None:
        """A link as an entry: its size is that of its target's text. Raises OSError."""
        here = level.name_here(name)
        status = os.stat(here, dir_fd=level.fd, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            # Some file systems say another size, /proc for one.
            size = len(os.fsencode(os.readlink(here, dir_fd=level.fd)))
            self._page.entries.append(
                Entry(self._prefix + name, size, status.st_mtime_ns, "", "", "", status.st_ctime_ns, status.st_ino)
            )
        else:
            self._page.troubles.append(_special(self._prefix + name, status.st_mode))

    def _enter_root(self) -> None:
        fd = -1
        try:
            fd = os.open(self._root, _FOLDER) if self._root_fd is None else os.open(".", _FOLDER, dir_fd=self._root_fd)
            level = _Level(fd, "")
            self._read(level)
        except OSError as error:
            if fd >= 0:
                let_go(fd)
            raise _root_unknown(self._root, error) from error
        self._push(level)

    def _enter(self, above: _Level, name: str) -> None:
        """Open and read a folder, and go on there. If that fails it is a trouble, unless the folder is gone."""
        key, here = self._prefix + name, above.name_here(name)
        fd = -1
        try:
            if self._one_file_system and self._is_elsewhere(os.stat(here, dir_fd=above.fd).st_dev):
                self._page.troubles.append(_elsewhere(key))  # before it is opened: that might wake a mount
                return
            fd = os.open(here, _FOLDER if name in above.odd else _FOLDER | _NOFOLLOW, dir_fd=above.fd)
            level = _Level(fd, name)
            if level.identity in self._ancestors:
                let_go(fd)
                reason = "is a symbolic link to a folder above it, which would never end"
                self._page.troubles.append(Trouble(key, reason, subtree=True, skipped=True))
                return
            if name in above.odd and level.identity in self._above_the_root():
                let_go(fd)
                reason = "is a symbolic link to a folder above the one that was named; name that one to take all in it"
                self._page.troubles.append(Trouble(key, reason, subtree=True, skipped=True))
                return
            if self._one_file_system and self._is_elsewhere(level.identity[0]):
                let_go(fd)
                self._page.troubles.append(_elsewhere(key))
                return
            self._prefix = key
            self._read(level)
        except OSError as error:
            self._prefix = key[: -len(name)]
            if fd >= 0:
                let_go(fd)
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                reason = "was replaced by something else while it was listed"
                self._page.troubles.append(Trouble(key, reason, subtree=True))
            elif error.errno != errno.ENOENT:
                self._page.troubles.append(Trouble(key, f"cannot be read: {_words(error)}", subtree=True))
            return
        self._push(level)

    def _above_the_root(self) -> set[tuple[int, int]]:
        """The folders that hold the root, up to ``/`` or to one that may not be looked at."""
        if self._above is None:
            self._above = set()
            path, below = "..", self._stack[0].identity
            with contextlib.suppress(OSError):
                while True:
                    status = os.stat(path, dir_fd=self._stack[0].fd)
                    found = (status.st_dev, status.st_ino)
                    if found == below:  # the folder above / is / itself
                        break
                    self._above.add(found)
                    path, below = path + "/..", found
        return self._above

    def _is_elsewhere(self, device: int) -> bool:
        return device != self._stack[0].identity[0]

    def _push(self, level: _Level) -> None:
        self._stack.append(level)
        self._ancestors.add(level.identity)
        if len(self._stack) - self._first_open > _OPEN_LEVELS:
            _close(self._stack[self._first_open])
            self._first_open += 1

    def _leave(self) -> None:
        """Go back up. A folder that was closed for want of descriptors is opened again, and must be the same."""
        level = self._stack.pop()
        self._ancestors.discard(level.identity)
        self._prefix = self._prefix[: len(self._prefix) - len(level.name)]
        try:
            if self._stack and self._stack[-1].fd < 0:
                self._reopen(self._stack[-1], level.fd)
        except OSError as error:
            above = self._stack[-1]
            if above.at < len(above.names):
                reason = f"could not be listed to its end: {_words(error)}"
                self._page.troubles.append(Trouble(self._prefix, reason, subtree=True))
                above.at = len(above.names)
        finally:
            _close(level)
            self._first_open = min(self._first_open, max(1, len(self._stack) - 1))

    def _reopen(self, level: _Level, below: int) -> None:
        """Open a folder by ``..`` of one in it; where a link or a move leads elsewhere, by its names from the root."""
        fd = -1
        try:
            if below >= 0:
                fd = os.open("..", _FOLDER, dir_fd=below)
        except OSError:
            pass  # one may read a folder and not pass through it
        if fd < 0 or not _is_same(fd, level):
            if fd >= 0:
                let_go(fd)
            fd = self._open_by_names()
        if not _is_same(fd, level):
            let_go(fd)
            raise OSError(errno.ESTALE, "it was replaced by another folder meanwhile")
        level.fd = fd

    def _open_by_names(self) -> int:
        fd = os.open(".", _FOLDER, dir_fd=self._stack[0].fd)
        for above, level in itertools.pairwise(self._stack):
            try:
                linked = level.name in above.odd
                here = above.name_here(level.name)
                fd_below = os.open(here, _FOLDER if linked else _FOLDER | _NOFOLLOW, dir_fd=fd)
            finally:
                let_go(fd)
            fd = fd_below
        return fd

    def _read(self, level: _Level) -> None:
        """Read and sort a folder's names. The one who reads knows the prefix: it is this level's."""
        names = level.names
        with os.scandir(level.fd) as listing:
            for item in listing:
                if item.is_file(follow_symlinks=False):
                    names.append(item.name)
                elif item.is_dir(follow_symlinks=False):
                    names.append(item.name + "/")
                else:
                    self._read_odd(level, item)
        together = "".join(names)
        try:
            together.encode()
        except UnicodeEncodeError:
            self._take_out_not_utf8(level)
        if self._escapes and "%" in together:
            self._read_escapes(level)
        if level.links or (self._symlinks == "store" and LINK_SUFFIX in together):
            self._take_out_like_links(level)
        names.sort()
        # "-" is 0x2d and "." 0x2e: what starts like a temporary name stands between these two.
        first, end = bisect_left(names, ".sterna-"), bisect_left(names, ".sterna.")
        if first < end:
            others = level.odd.keys() | level.local.keys()
            ours = [name for name in names[first:end] if is_temporary(name) and name not in others]
            names[first:end] = [name for name in names[first:end] if name not in ours]
            self._page.abandoned.extend(self._prefix + name for name in ours if is_abandoned(name))
        if self._start_after:
            level.at = self._first_after(names)

    def _read_odd(self, level: _Level, item: os.DirEntry[str]) -> None:
        """What is no file and no folder of its own: a link, or a special file."""
        name, key = item.name, self._prefix + item.name
        trouble: Trouble | None = None
        try:
            mode = item.stat(follow_symlinks=False).st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISLNK(mode):
            trouble = _special(key, mode)
        elif is_temporary(name):  # of a run that was putting a link in place
            if is_abandoned(name):
                self._page.abandoned.append(key)
            return
        elif self._symlinks == "store":
            name += LINK_SUFFIX
            level.links.add(name)
            level.local[name] = item.name
        elif self._symlinks == "skip":
            reason = "is a symbolic link; --symlinks follow takes what it points to, store the link itself"
            trouble = Trouble(key, reason, subtree=True, skipped=True)
        else:
            try:
                mode = item.stat().st_mode
            except OSError as error:
                trouble = Trouble(key, f"is a symbolic link that cannot be followed: {_words(error)}", subtree=True)
            else:
                if stat.S_ISDIR(mode):
                    name += "/"
                elif not stat.S_ISREG(mode):
                    trouble = _special(key, mode)
        level.names.append(name)
        level.odd[name] = trouble

    def _take_out_not_utf8(self, level: _Level) -> None:
        """Names that are not UTF-8 (Python shows their bytes as lone surrogates) cannot be keys (H73)."""
        kept = []
        for name in level.names:
            try:
                name.encode()
                kept.append(name)
            except UnicodeEncodeError:
                shown = os.fsencode(name).decode("utf-8", "backslashreplace")
                reason = "its name is not UTF-8, so it cannot be a key; rename it"
                odd = level.odd.get(name)
                holds = odd.subtree if odd is not None else name[-1] == "/"
                self._page.troubles.append(
                    Trouble(self._prefix + shown, reason, subtree=holds, raw=self._prefix + name)
                )
        level.names[:] = kept

    def _read_escapes(self, level: _Level) -> None:
        """Put the names of keys for those that are escaped. Of two for one key, the second in order is a trouble."""
        taken = {name for name in level.names if "%" not in name}
        for at, name in enumerate(level.names):
            if "%" not in name:
                continue
            is_folder, here = name[-1] == "/", level.name_here(name)
            end = "/" if is_folder else LINK_SUFFIX if name in level.links else ""
            plain = unescaped(here, is_folder=is_folder) + end
            trouble = level.odd.get(name)
            if plain in taken:
                shown = self._prefix + name.removesuffix(LINK_SUFFIX if name in level.links else "")
                reason = f"stands for {printable(self._prefix + plain)}, as another name does; remove one of the two"
                self._page.troubles.append(Trouble(shown, reason, subtree=is_folder))
                level.names[at] = ""
                continue
            taken.add(plain)
            if plain == name:
                continue
            level.names[at] = plain
            level.local[plain] = here
            if name in level.odd:
                level.odd[plain] = trouble
            if name in level.links:
                level.links.add(plain)
        level.names[:] = filter(None, level.names)

    def _take_out_like_links(self, level: _Level) -> None:
        """Where links are stored, a file whose name says that it is one would come back as a link; where there is a link
        of that name too, it is not certain which of the two a key means.
        """
        names, odd = level.names, level.odd
        alike = {name for name in names if name.endswith(LINK_SUFFIX) and name not in odd}
        if level.links:
            counts = Counter(name for name in names if name in level.links)
            alike |= {name for name, count in counts.items() if count > 1}
        if not alike:
            return
        reason = f"its name ends in {LINK_SUFFIX}, as stored links do; rename it, or do without --symlinks store"
        self._page.troubles.extend(Trouble(self._prefix + name, reason) for name in sorted(alike))
        names[:] = [name for name in names if name not in alike]

    def _first_after(self, names: list[str]) -> int:
        """The index of the first name that stands for a key greater than ``start_after``, or may hold one."""
        after, prefix = self._start_after, self._prefix
        if not after.startswith(prefix):
            return 0 if prefix > after else len(names)
        rest = after[len(prefix) :]
        folder, slash, _ = rest.partition("/")
        if slash:
            at = bisect_left(names, folder + "/")
            if at < len(names) and names[at] == folder + "/":
                return at
        return bisect_right(names, rest)


def _is_same(fd: int, level: _Level) -> bool:
    status = os.fstat(fd)
    return (status.st_dev, status.st_ino) == level.identity


def _close(level: _Level) -> None:
    if level.fd >= 0:
        let_go(level.fd)
        level.fd = -1


_KINDS = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a folder",
}


def _special(key: str, mode: int) -> Trouble:
    kind = _KINDS.get(stat.S_IFMT(mode), "a special file")
    return Trouble(key, f"is {kind}, not a file", skipped=True)


def _elsewhere(key: str) -> Trouble:
    reason = "is on another file system, which --one-file-system leaves out"
    return Trouble(key, reason, subtree=key.endswith("/"), skipped=True)


def _words(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _root_unknown(root: str, error: OSError) -> SourceUnknown:
    shown = printable(root)
    if error.errno == errno.ENOENT:
        sentence = f"{shown} does not exist; check the path, and that its disk is mounted."
    elif error.errno == errno.ENOTDIR:
        sentence = f"{shown} is not a folder."
    elif error.errno in (errno.EACCES, errno.EPERM):
        sentence = f"{shown} cannot be read: permission denied; run as a user who may read it."
    else:
        sentence = f"{shown} cannot be listed: {_words(error)}."
    words = error.strerror or ""
    code = errno.errorcode.get(error.errno or 0, "")
    return SourceUnknown(sentence, operation="list", key=root, code=code, words=words)
