"""Put files that are due for deletion aside while something else is to take their place, and back if it does not come."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from sterna.model.actions import Action
from sterna.model.entry import Entry
from sterna.model.errors import ObjectChanged, ObjectGone, SternaError
from sterna.model.outcomes import Outcome, Status
from sterna.model.units import printable
from sterna.stores.draft import look_then_rename
from sterna.stores.folder import Directory, Folder, check_expected, translate
from sterna.stores.named import NamedFolder
from sterna.stores.names import temporary_name


class InTheWay(NamedTuple):
    """Deletions that cannot wait: of the file that stands at ``place`` where a folder is needed, or with ``is_folder`` of
    all that is in the folder there, where a file is needed.
    """

    place: str
    deletions: Sequence[Action]
    is_folder: bool = False


class _File(NamedTuple):
    """One file under its other name."""

    action: Action
    path: str
    directory: Directory
    name: str


class Aside:
    """What was in the way, each file under a temporary name beside it, or in the folder's trash, until ``settle``.

    A run that is killed in between leaves temporary names, which the next one removes: the files were due. Threads may
    share it.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._held: list[tuple[InTheWay, list[_File]]] = []
        self._is_over = False
        self._changing = threading.Lock()

    def __repr__(self) -> str:
        return f"<Aside {len(self._held)} places>"

    def holds_only(self, one: InTheWay) -> bool:
        """Whether there is nothing in a folder but these files, and folders of them."""
        wanted = {self._path_of(action.key) for action in one.deletions}
        try:
            return set(self._files(self._path_of(one.place + "/"))) == wanted
        except (SternaError, OSError):
            return False

    def hollow(self, places: Iterable[str]) -> list[str]:
        """Those where a folder stands that has no file in it, as a run leaves one behind that is killed when what was in
        it is aside, and what needs its place has not come yet. Nobody lists it.
        """
        return [place for place in places if self._is_folder(place) and self.holds_only(InTheWay(place, ()))]

    def _is_folder(self, place: str) -> bool:
        try:
            directory, name = self._folder.locate(self._path_of(place))
            return stat.S_ISDIR(os.stat(name, dir_fd=directory.fd, follow_symlinks=False).st_mode)
        except (SternaError, OSError):
            return False

    def take(self, one: InTheWay) -> tuple[list[str], list[Outcome]]:
        """Put the files aside; gives the keys that are done with for now, and the outcomes of those that ended otherwise:
        changed since, gone already. A folder goes as a whole or not at all.
        """
        with self._changing:
            if self._is_over or (not self.holds_only(one) if one.is_folder else self._is_link(one.place)):
                return [], []  # what it is in the way of will fail, and say so; a link's name is another than its key
            files: list[_File] = []
            outcomes: list[Outcome] = []
            for action in one.deletions:
                try:
                    files.append(self._rename(action, one))
                except ObjectGone:
                    outcomes.append(deleted(action, "it was gone already"))
                except SternaError as error:
                    outcomes.append(deleted(action).fail(error))
                    if one.is_folder:
                        for file in files:
                            with suppress(SternaError):
                                self._put_back(file)
                        return [], [outcomes[-1]]
            if one.is_folder:
                self._remove_folders(self._path_of(one.place + "/"), _none)
            if files:
                self._held.append((one, files))
            return [*(file.action.key for file in files), *(outcome.key for outcome in outcomes)], outcomes

    def settle(self, keeps_folder: Callable[[str], bool], *, is_over: bool = False) -> tuple[list[Outcome], list[str]]:
        """Remove for good what something has come in place of, and put the rest back: gives the outcomes of the one, and
        the keys of the other. Empty folders in the place of a file are no reason to keep it away, but those for which
        ``keeps_folder`` holds.
        """
        with self._changing:
            self._is_over = self._is_over or is_over
            held, self._held = self._held, []
            outcomes, back = [], []
            for one, files in held:
                if not one.is_folder:
                    self._remove_folders(files[0].path + "/", keeps_folder)
                has_come = self._stands(files[0].path if not one.is_folder else self._path_of(one.place), one)
                for file in files:
                    try:
                        if not has_come and self._put_back(file):
                            back.append(file.action.key)
                        else:
                            outcomes.append(self._remove(file))
                    except SternaError as error:
                        outcomes.append(deleted(file.action).fail(error))
            return outcomes, back

    def _rename(self, action: Action, one: InTheWay) -> _File:
        folder, key, target = self._folder, action.key, action.target
        assert target is not None, "a deletion has a target"
        path = self._path_of(key)
        shown = folder.shown(path)
        if not folder.is_current(""):
            sentence = (
                f"{printable(folder.shown(''))} was moved or replaced while files were deleted; the rest is left."
            )
            raise ObjectChanged(sentence, operation="Delete", key=key, code="Replaced")
        if not folder.is_current(path[: path.rfind("/") + 1]):
            folder.forget()
        if folder.trash is not None:
            return _File(action, path, *folder.trash.take(key, target))
        try:
            directory, name = folder.locate(path)
            self._check(directory, name, target, shown)
            above = self._path_of(one.place + "/").rstrip("/") if one.is_folder else path
            there, _ = folder.locate(above)
            aside = temporary_name()
            os.rename(name, aside, src_dir_fd=directory.fd, dst_dir_fd=there.fd)
            try:
                self._check(there, aside, target, shown)
            except SternaError:
                look_then_rename(there.fd, aside, name, directory.fd)
                raise
        except OSError as error:
            raise translate(error, "move out of the way", shown, key) from error
        return _File(action, path, there, aside)

    def _check(self, directory: Directory, name: str, target: Entry, shown: str) -> None:
        """Raise unless it is what was listed; a link where it was one."""
        status = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
        if not self._is_link(target.key):
            check_expected(status, target, shown)
        elif not stat.S_ISLNK(status.st_mode) or status.st_mtime_ns != target.mtime_ns:
            sentence = f"{printable(shown)} was changed by somebody else since it was listed; it is left as it is."
            raise ObjectChanged(sentence, operation="replace", key=target.key)

    def _is_link(self, key: str) -> bool:
        return isinstance(self._folder, NamedFolder) and self._folder.is_link(key)

    def _put_back(self, file: _File) -> bool:
        """False where its place is taken."""
        try:
            directory, name = self._folder.locate(file.path, create=True)
            return look_then_rename(file.directory.fd, file.name, name, directory.fd)
        except OSError as error:
            raise translate(error, "put back", self._folder.shown(file.path), file.action.key) from error

    def _remove(self, file: _File) -> Outcome:
        if self._folder.trash is not None:
            return deleted(file.action, "in the trash, and seen to be gone")
        try:
            os.unlink(file.name, dir_fd=file.directory.fd)
        except OSError as error:
            raise translate(error, "remove", self._folder.shown(file.path), file.action.key) from error
        return deleted(file.action)

    def _stands(self, path: str, one: InTheWay) -> bool:
        """Whether something stands there that takes the place of what was: a file of a folder, anything of a file."""
        try:
            directory, name = self._folder.locate(path)
            mode = os.stat(name, dir_fd=directory.fd, follow_symlinks=False).st_mode
        except (SternaError, OSError):
            return False
        return not (one.is_folder and stat.S_ISDIR(mode))

    def _files(self, path: str) -> Iterator[str]:
        """What is below a folder and no folder, whatever it is."""
        fd = self._folder.directory(path).fd
        with os.scandir(fd) as items:
            inside = [(item.name, item.is_dir(follow_symlinks=False)) for item in items]
        for name, is_folder in inside:
            if is_folder:
                yield from self._files(path + name + "/")
            else:
                yield path + name

    def _remove_folders(self, path: str, keeps_folder: Callable[[str], bool]) -> None:
        """Remove a folder and those in it as far as nothing is in them."""
        self._folder.forget()
        with suppress(SternaError, OSError):
            with os.scandir(self._folder.directory(path).fd) as items:
                inside = [item.name for item in items if item.is_dir(follow_symlinks=False)]
            for name in inside:
                self._remove_folders(path + name + "/", keeps_folder)
            if not keeps_folder(path):
                directory, name = self._folder.locate(path[:-1])
                os.rmdir(name, dir_fd=directory.fd)
        self._folder.forget()

    def _path_of(self, key: str) -> str:
        return self._folder.path_of(key) if isinstance(self._folder, NamedFolder) else key


def deleted(action: Action, proof: str = "seen to be gone") -> Outcome:
    """The outcome of a deletion."""
    return Outcome(
        action.verb.value, action.key, Status.DONE, size=action.bytes_concerned, because=action.because,
        started_s=time.time(), proof=proof,
    )  # fmt: skip


def _none(path: str) -> bool:
    return False
