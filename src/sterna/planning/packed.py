"""Write lines into a file as zstd frames, and read such a file back or say what is wrong with it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, ClassVar, Self, TypeVar

import msgspec

from sterna.model.errors import Corrupt, WrongSetting
from sterna.model.units import printable
from sterna.planning.frames import blocks
from sterna.planning.newfile import NewFile
from sterna.stores.folder import translate, translate_given

_PIECE = 1 << 18

T = TypeVar("T")


class PackedWriter:
    """Writes beside the final name, where ``finish`` of the kind puts it once it is whole and on disk.

    Use it in a ``with``: left without ``finish``, nothing remains, and what stood there before still does.
    """

    KIND: ClassVar[str]  # what it is called in errors: "plan"

    def __init__(self, path: Path) -> None:
        self._file = NewFile(path, f"the {self.KIND}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.discard()


class PackedFile:
    """An open file that somebody else may have cut or changed: what a kind of it reads, it checks first.

    Each read names its place, since more than one may go through the file at a time. It stays open until ``close``, or
    the end of the ``with``.
    """

    KIND: ClassVar[str]  # what it is called in errors: "plan"
    REMEDY: ClassVar[str]  # what to do about one that is not whole: "make it anew"
    UNUSABLE: ClassVar[type[WrongSetting]]  # what is raised for one

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path = path
        self._file = file

    @classmethod
    def open(cls, path: Path) -> Self:
        """Check the whole file; raises the kind's error for one that is not whole."""
        try:
            file = open(path, "rb", buffering=0, opener=_opened)  # noqa: SIM115  closed by close
            try:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise cls.UNUSABLE(f"{printable(str(path))} is no regular file, so it is no {cls.KIND}.")
                return cls(path, file)
            except BaseException:
                file.close()
                raise
        except OSError as error:
            raise translate_given(error, f"read the {cls.KIND}", str(path)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _size(self) -> int:
        """How many bytes it has by now."""
        return os.fstat(self._file.fileno()).st_size

    def _blocks(self, start: int, end: int) -> Iterator[bytes]:
        """What the frames between two places hold, one after the other."""
        try:
            yield from blocks(self._pieces(start, end))
        except Corrupt as error:
            raise self._unusable(f"is damaged: {error.sentence[:1].lower()}{error.sentence[1:-1]}") from error

    def _pieces(self, start: int, end: int) -> Iterator[bytes]:
        while start < end:
            piece = self._bytes(start, min(end, start + _PIECE))
            start += len(piece)
            yield piece

    def _bytes(self, start: int, end: int) -> bytes:
        """Bytes from one place to another, or fewer of them, but never none."""
        try:
            self._file.seek(start)
            data = self._file.read(end - start)
        except OSError as error:
            raise translate(error, f"read the {self.KIND}", str(self.path)) from error
        if not data and end > start:
            raise self._unusable("became shorter while it was read")
        return data

    def _decoded(self, line: bytes, kind: type[T], else_it: str = "") -> T:
        """A line of its beginning or end as what it has to be; ``else_it`` is what the file does if it is not."""
        try:
            return msgspec.json.decode(line, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._unusable(else_it or f"begins or ends with a line of another kind ({error})") from error

    def _unusable(self, what: str) -> WrongSetting:
        return self.UNUSABLE(f"The {self.KIND} {printable(str(self.path))} {what}; {self.REMEDY}.")


def _opened(path: str, flags: int) -> int:
    """A named pipe must not hold us until somebody writes into it (H111)."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
