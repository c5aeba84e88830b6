"""A folder in which keys stand under other names: stored links under their own, odd ones escaped."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Self

from msgspec.structs import replace

from sterna.model.entry import Entry
from sterna.model.errors import NotProven, ObjectChanged, ObjectGone, Refused, SternaError
from sterna.model.units import printable
from sterna.stores.draft import sync_descriptor
from sterna.stores.escape import escaped_path, names_of
from sterna.stores.folder import Content, Directory, Folder, Identity, SourceFile, translate
from sterna.stores.names import folders_of, is_abandoned, temporary_name
from sterna.stores.walk import LINK_SUFFIX

TARGET_MAX = 4095  # bytes of a link's target on Linux (PATH_MAX without its NUL); elsewhere it is less


class NamedFolder(Folder):
    """``links``: a key that ends in ``LINK_SUFFIX`` is that of a symbolic link. ``escapes``: names are read as
    ``escape`` writes them; of those that stand for a key, the one that is there is its file.

    What reads, looks and removes takes keys. What creates takes paths: which of its names a new file is given is
    decided where all keys are seen.
    """

    links = False
    escapes = False
    _settled: str | None = None  # the folder of the last link, whose own name and those above it are on disk

    @classmethod
    def open_named(
        cls, path: Path, create: bool, *, symlinks: Literal["skip", "follow", "store"], escapes: bool
    ) -> Self:
        """Open a folder; see Folder.open."""
        follow: Literal["skip", "follow"] = "follow" if symlinks == "follow" else "skip"
        found = cls.open(path, create, symlinks=follow)
        folder = cls(found.path, found.root, follow)
        folder.links, folder.escapes = symlinks == "store", escapes
        return folder

    def is_link(self, key: str) -> bool:
        """Whether a key stands for a link here."""
        return self.links and key.endswith(LINK_SUFFIX)

    def path_of(self, key: str) -> str:
        """Where a key's file or link is; where it would usually be, if it is not there."""
        if self.is_link(key):
            key = key.removesuffix(LINK_SUFFIX)
        if not self.escapes:
            return key
        path = ""
        *folders, name = key.split("/")
        for at, folder in enumerate(folders):
            found = self._found(path, names_of(folder, is_folder=True), is_folder=True)
            if found is None:
                return path + escaped_path("/".join([*folders[at:], name]))
            path += found + "/"
        if not name:
            return path
        names = names_of(name, is_folder=False)
        return path + (self._found(path, names, is_folder=False) or names[0])

    def _found(self, path: str, names: list[str], *, is_folder: bool) -> str | None:
        """Which of these names there is in a folder."""
        try:
            directory = self.directory(path)
        except (ObjectGone, Refused):
            return None
        for name in names:
            if is_folder and path + name + "/" in self._known:
                return name
            try:
                mode = os.stat(name, dir_fd=directory.fd, follow_symlinks=self._follow).st_mode
            except (OSError, ValueError):
                continue
            if stat.S_ISDIR(mode) == is_folder:
                return name
        return None

    # As a Folder, by keys

    def read_whole(self, key: str, limit: int) -> Content:
        """A link's content is its target."""
        if not self.is_link(key):
            return super().read_whole(self.path_of(key), limit)
        directory, name, status = self._look_at_link(key)
        try:
            target = os.fsencode(os.readlink(name, dir_fd=directory.fd))
        except OSError as error:
            raise translate(error, "read", self.shown(self.path_of(key)), key) from error
        # A link's target never changes: another link takes its place.
        identity = Identity(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)
        return Content(target, identity)

    def check_unchanged(self, key: str, identity: Identity) -> None:
        super().check_unchanged(self.path_of(key), identity)

    def open_source(self, key: str) -> SourceFile:
        if self.is_link(key):
            raise ObjectChanged(f"{printable(self.shown(key))} became a link since it was listed.", key=key)
        return super().open_source(self.path_of(key))

    def look(self, key: str) -> Entry | None:
        if not self.is_link(key):
            found = super().look(self.path_of(key))
            if found is None:
                return None
            is_folder = found.is_directory_marker and not key.endswith("/")
            return replace(found, key=key + "/" if is_folder else key)
        try:
            directory, name, status = self._look_at_link(key)
            size = len(os.fsencode(os.readlink(name, dir_fd=directory.fd)))
        except (ObjectGone, OSError):
            return None
        return Entry(key, size, status.st_mtime_ns, "", "", "", status.st_ctime_ns, status.st_ino)

    def remove(self, key: str, expected: Entry) -> None:
        if not self.is_link(key):
            super().remove(self.path_of(key), expected)
            return
        directory, name, _ = self._look_at_link(key)
        self._check_link(key, expected)
        try:
            os.unlink(name, dir_fd=directory.fd)
        except OSError as error:
            raise translate(error, "remove", self.shown(self.path_of(key)), key) from error

    def remove_abandoned(self, paths: Iterable[str]) -> int:
        """Links too, where links are made (H48)."""
        paths = list(paths)
        removed = super().remove_abandoned(paths)
        for path in paths if self.links else ():
            cut = path.rfind("/") + 1
            name = path[cut:]
            try:
                fd = self.directory(path[:cut]).fd
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if is_abandoned(name) and stat.S_ISLNK(status.st_mode) and status.st_uid == os.geteuid():
                    os.unlink(name, dir_fd=fd)
                    removed += 1
            except (OSError, SternaError):
                continue  # the next run tries again; nothing depends on it
        return removed

    # Links

    def put_link(self, path: str, target: bytes, mtime_ns: int | None, expect: Entry | None, *, durable: bool) -> None:
        """Make a link at a path, in one step, in the place of nothing, or of the link that was listed as ``expect``, and
        look at it there.

        Raises Refused for a target that might lead out of this folder (H63), and where the other link would have to be
        kept: a trash takes files only.
        """
        reason = why_leads_out(path, target)
        shown = self.shown(path)
        if reason:
            raise Refused(f"{printable(shown)} is not made: {reason}", operation="link", key=path)
        if expect is not None and self.trash is not None:
            raise Refused(f"{printable(shown)} is a link, which the trash does not take; it is left.", operation="link",
                          key=path)  # fmt: skip
        try:
            directory, name = self.locate(path, create=True)
            if expect is None:
                _make_link(target, name, mtime_ns, directory.fd)
            else:
                self._replace_link(target, name, mtime_ns, expect, directory.fd)
            if durable:
                self._sync_names(path)
            made = os.readlink(os.fsencode(name), dir_fd=directory.fd)
        except OSError as error:
            raise translate(error, "put in place", shown, path) from error
        if made != target:
            sentence = f"{printable(shown)} was put in place, and a second look found another link there."
            raise NotProven(sentence, operation="link", key=path)
        if not (self.is_current("") and self.leads_to(path[: -len(name)], directory.device, directory.inode)):
            sentence = f"{printable(shown)}: its folder was moved or replaced while it was put there."
            raise ObjectChanged(sentence, operation="link", key=path)

    def _sync_names(self, path: str) -> None:
        """Put a new name on disk, and those of the folders above it: each may have been made for its sake."""
        inner, *above = folders_of(path)
        sync_descriptor(self.directory(inner).fd)
        if inner != self._settled:  # links of one folder mostly come together
            for folder in above:
                sync_descriptor(self.directory(folder).fd)
            self._settled = inner

    def _replace_link(self, target: bytes, name: str, mtime_ns: int | None, expect: Entry, fd: int) -> None:
        temporary = temporary_name()
        _make_link(target, temporary, mtime_ns, fd)
        try:
            self._check_link(expect.key, expect)
            os.replace(temporary, name, src_dir_fd=fd, dst_dir_fd=fd)
        except BaseException:
            os.unlink(temporary, dir_fd=fd)
            raise

    def _look_at_link(self, key: str) -> tuple[Directory, str, os.stat_result]:
        path = self.path_of(key)
        try:
            directory, name = self.locate(path)
            status = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
        except OSError as error:
            raise translate(error, "look at", self.shown(path), key) from error
        if not stat.S_ISLNK(status.st_mode):
            raise ObjectChanged(f"{printable(self.shown(path))} was a link and is none any more.", key=key)
        return directory, name, status

    def _check_link(self, key: str, expected: Entry) -> None:
        found = self.look(key)
        if found is None or (found.size, found.mtime_ns) != (expected.size, expected.mtime_ns):
            shown = printable(self.shown(self.path_of(key)))
            raise ObjectChanged(
                f"{shown} was changed by somebody else since it was listed; it is left as it is.", key=key
            )


def _make_link(target: bytes, name: str, mtime_ns: int | None, fd: int) -> None:
    os.symlink(target, os.fsencode(name), dir_fd=fd)
    if mtime_ns is not None:
        os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=fd, follow_symlinks=False)


def why_leads_out(path: str, target: bytes) -> str:
    """Why a link at this path below a folder might lead out of it, as the rest of a sentence; empty if it cannot.

    It cannot where the target is relative and goes up, at its beginning only, no higher than the folder itself. A ``..``
    after a name is refused wherever it seems to lead: that name may be another link by then, and ``..`` goes up from
    where that one leads.
    """
    if not target or b"\0" in target or len(target) > TARGET_MAX:
        return f"its target of {len(target)} bytes is none that a link can have."
    if target.startswith(b"/") or (os.name == "nt" and (b"\\" in target or b":" in target)):
        return f"its target {printable(os.fsdecode(target))} is absolute, and only links within the folder are made."
    ups, named = 0, False
    for name in target.split(b"/"):
        if name == b"..":
            if named:
                return f"its target {printable(os.fsdecode(target))} goes up after a name, which may lead anywhere."
            ups += 1
        elif name not in (b"", b"."):
            named = True
    if ups > path.count("/"):
        return f"its target {printable(os.fsdecode(target))} leads out of the folder."
    return ""
