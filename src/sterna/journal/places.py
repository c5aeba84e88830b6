"""Find the state directory, and keep what is ours in it to ourselves."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from sterna.model.errors import JournalUnusable, SternaError, WrongSetting
from sterna.model.units import printable

SUFFIX = ".sqlite3"
_FOLDER = "journals"
_MANIFESTS = "manifests"
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0) | _NOFOLLOW
_FILE = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | _NOFOLLOW | getattr(os, "O_NONBLOCK", 0)


def state_directory(given: str = "", environ: Mapping[str, str] = os.environ) -> Path:
    """``--state-dir``, else STERNA_STATE_DIR, else where the system keeps such things of a user.

    By hand: platformdirs would be a dependency, and 15 ms of import, for these lines.
    """
    if given or (given := environ.get("STERNA_STATE_DIR", "")):
        return Path(os.path.abspath(Path(given).expanduser()))
    if sys.platform == "win32":
        return Path(environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "sterna"
    if sys.platform == "darwin":
        return _home(environ) / "Library" / "Application Support" / "sterna"
    base = environ.get("XDG_STATE_HOME", "")
    # The specification of XDG base directories has relative paths ignored.
    return (Path(base) if os.path.isabs(base) else _home(environ) / ".local" / "state") / "sterna"


def journals_folder(state: Path) -> Path:
    """The folder of the journals below the state directory, whether it is there or not."""
    return state / _FOLDER


def manifests_folder(state: Path) -> Path:
    """The folder of the manifests below the state directory, whether it is there or not."""
    return state / _MANIFESTS


def private_folder(state: Path, name: str = _FOLDER) -> Path:
    """A folder below the state directory, by default that of the journals, made where it is missing, for us alone (0700).

    The state directory is the user's word, and may be a link; what lies below it is ours, and never followed through one
    (H56). Raises WrongSetting where somebody else could put something there, JournalUnusable where it cannot be made.
    """
    folder = state / name
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:
            pass
        if not hasattr(os, "geteuid"):  # Windows: the profile of a user is closed to others
            return folder
        _must_be_ours(os.lstat(folder), folder, stat.S_ISDIR)
        fd = os.open(folder, _DIRECTORY)
        try:
            _must_be_ours(status := os.fstat(fd), folder, stat.S_ISDIR)
            if stat.S_IMODE(status.st_mode) != 0o700:  # by the umask, or by somebody's chmod
                os.fchmod(fd, 0o700)
        finally:
            os.close(fd)
    except OSError as error:
        raise unusable(error, "make", folder) from error
    return folder


def open_private(path: Path) -> int:
    """A descriptor of a file of ours, made where it is missing (0600). What is no file, or a link, raises WrongSetting."""
    try:
        fd = os.open(path, _FILE, 0o600)
    except OSError as error:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise _not_ours(path, "is no plain file") from error
        raise unusable(error, "open", path) from error
    try:
        status = os.fstat(fd)
        _must_be_ours(status, path, stat.S_ISREG)
        if hasattr(os, "fchmod") and stat.S_IMODE(status.st_mode) != 0o600:
            os.fchmod(fd, 0o600)
    except OSError as error:
        os.close(fd)
        raise unusable(error, "open", path) from error
    except SternaError:
        os.close(fd)
        raise
    return fd


def is_there(path: Path, status: os.stat_result) -> bool:
    """Whether the path still leads to the file that was opened by it."""
    try:
        now = os.lstat(path)
    except OSError:
        return False
    return (now.st_dev, now.st_ino) == (status.st_dev, status.st_ino)


def flush_file(path: Path) -> None:
    """Put what a file of ours holds on disk. Raises JournalUnusable."""
    _flush(path, os.O_RDWR | _NOFOLLOW)


def flush_folder(folder: Path) -> None:
    """Put the names in a folder on disk. Raises JournalUnusable."""
    if hasattr(os, "O_DIRECTORY"):
        _flush(folder, _DIRECTORY)


def _flush(path: Path, flags: int) -> None:
    try:
        fd = os.open(path, flags)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise unusable(error, "put on disk", path) from error


def make_private(path: Path) -> None:
    """Have a file of ours there, 0600; what it holds stays. Raises as ``open_private``."""
    fd = open_private(path)
    try:
        os.close(fd)
    except OSError as error:
        raise unusable(error, "make", path) from error


def unusable(error: OSError, what: str, path: Path) -> JournalUnusable:
    """What the system said, as an error that says what to do."""
    said = (error.strerror or str(error)).lower()
    return JournalUnusable(
        f"Cannot {what} {printable(str(path))}: {said}; --state-dir names another place for the journal.",
        operation=what,
        key=str(path),
        words=str(error),
    )


def _home(environ: Mapping[str, str]) -> Path:
    home = environ.get("HOME", "")
    try:
        return Path(home) if os.path.isabs(home) else Path.home()
    except RuntimeError as error:  # a user without an entry, and without HOME
        raise JournalUnusable(
            "There is no home directory to keep a journal in; name a place by --state-dir or STERNA_STATE_DIR."
        ) from error


def _must_be_ours(status: os.stat_result, path: Path, is_kind: Callable[[int], bool]) -> None:
    if not is_kind(status.st_mode):
        raise _not_ours(path, "is a link or no folder" if is_kind is stat.S_ISDIR else "is no plain file")
    if hasattr(os, "geteuid") and status.st_uid != os.geteuid():
        raise _not_ours(path, f"belongs to another user (uid {status.st_uid})")


def _not_ours(path: Path, why: str) -> WrongSetting:
    return WrongSetting(
        f"{printable(str(path))} {why}; move it away, or name another place by --state-dir or STERNA_STATE_DIR.",
        operation="open",
        key=str(path),
    )
