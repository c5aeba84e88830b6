"""Write a file beside its final name, where it comes to stand once it is whole and on disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from sterna.model.errors import WrongSetting
from sterna.model.units import printable
from sterna.stores.folder import translate_given
from sterna.stores.names import temporary_name

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class NewFile:
    """A file that is being written, readable by its owner alone. ``what`` it is called in errors: "the manifest".

    After ``discard`` instead of ``finish`` nothing remains, and what stood there before still does.
    """

    def __init__(self, path: Path, what: str) -> None:
        self.path = path
        self._doing = f"write {what}"
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise WrongSetting(f"{printable(str(path))} is no regular file; give another name for {what}.")
        self._temporary = path.with_name(temporary_name())
        try:
            self._file: IO[bytes] | None = open(os.open(self._temporary, _FLAGS, 0o600), "wb", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise self._said(error) from error

    def __repr__(self) -> str:
        return f"<NewFile {self}>"

    def __str__(self) -> str:
        """Its final name, and how it is."""
        return f"{self.path} {'open' if self._file is not None else 'closed'}"

    def write(self, data: bytes) -> None:
        """Add bytes."""
        assert self._file is not None, "it is finished"
        left = memoryview(data)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            raise self._said(error) from error

    def finish(self) -> None:
        """Put it on disk, and give it its name."""
        assert self._file is not None, "it is finished"
        try:
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._temporary, self.path)
            if hasattr(os, "O_DIRECTORY"):  # Windows cannot, and does not need it
                folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)
        except OSError as error:
            raise self._said(error) from error
        self._file = None

    def discard(self) -> None:
        """Take what is unfinished away; once it is finished this does nothing."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._temporary.unlink(missing_ok=True)

    def _said(self, error: OSError) -> Exception:
        return translate_given(error, self._doing, str(self.path))
