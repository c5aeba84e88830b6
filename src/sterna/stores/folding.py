"""Find out which names a folder takes for one."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Callable
from typing import NamedTuple

from sterna.stores.folder import Folder
from sterna.stores.names import temporary_name

_COMPOSED, _DECOMPOSED = "\u00e9", "e\u0301"


class Folding(NamedTuple):
    """What a file system takes for the same: capitals and small letters, composed and decomposed characters."""

    case: bool = False
    forms: bool = False

    @property
    def fold(self) -> Callable[[str], str] | None:
        """What is equal for names that are one there; None where all names are told apart. In doubt it is equal: full
        case folding knows a few pairs more than any file system does.
        """
        if self.case and self.forms:
            return lambda name: unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())
        if self.case:
            return str.casefold
        if self.forms:
            return lambda name: unicodedata.normalize("NFC", name)
        return None


def usual_folding() -> Folding:
    """That of this system's usual file system."""
    return Folding(case=sys.platform in ("darwin", "win32"), forms=sys.platform == "darwin")


def folding_of(folder: Folder) -> Folding:
    """Put a file into a folder, look for it under other names, and remove it. Where that cannot be done, the usual."""
    name = temporary_name()
    fd = folder.root.fd
    try:
        if sys.platform == "win32":
            return usual_folding()
        return Folding(
            case=_is_same(fd, name, name.upper()),
            forms=_is_same(fd, name + _COMPOSED, name + _DECOMPOSED),
        )
    except OSError:
        return usual_folding()


def _is_same(fd: int, name: str, other: str) -> bool:
    made = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=fd)
    try:
        os.stat(other, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    else:
        return True
    finally:
        os.close(made)
        os.unlink(name, dir_fd=fd)
