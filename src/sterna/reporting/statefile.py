"""Write what became of each file of a folder into a JSON list that is whole at every instant."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from sterna.model.errors import WrongSetting
from sterna.model.units import printable
from sterna.reporting.jsonlist import members

_BUFFER = 1024 * 1024  # bytes that are written at a time
_END_OF_PATH = b'","filename":'  # within a string a quote has a backslash before it, so this is never part of a path
_FIRST, _BETWEEN, _LAST = b"[\n", b",\n", b"\n]\n"
_EMPTY = b"[]\n"
_encode = msgspec.json.Encoder().encode


class Record(msgspec.Struct, rename={"is_uploaded": "uploadedSuccess"}):
    """What the file says of one file of the folder: where it is, what it is called, and whether it is in the bucket.

    ``checksum`` is ``NAME:value`` of what was sent, where a run computed or remembers one; ``error`` says why a file is
    not there, and is empty of one whose turn has not come. ``destination`` is where that is or is not; empty in a list
    that others wrote.
    """

    filepath: str
    filename: str
    is_uploaded: bool | int
    size: int = 0
    checksum: str = ""
    error: str = ""
    destination: str = ""


class Counts(NamedTuple):
    """How many records a state file has, how many of them are not uploaded, and how many do not say where to."""

    records: int
    undone: int
    unbound: int = 0


class StateFile:
    """The state file of one folder on its way to one ``destination``. What is noted is in the file after the next
    ``publish``, which replaces it by a rename: whoever reads it finds a whole list, and so does whoever comes after a
    power cut.

    A list of many is never held in memory: ``publish`` copies the last one and puts in what has changed, so that memory
    holds no more than the changes. Of several threads one may call ``publish`` or ``plan`` at a time. A file that can no
    longer be written does not stop a run: the first error stays in ``error``, and must not be passed over at the end.
    """

    def __init__(self, path: Path, folder: Path, destination: str) -> None:
        self.path = Path(os.path.realpath(path))
        self.destination = destination
        self.error = ""
        self.records = 0  # in the file as it was last written
        self._shown = printable(str(path))
        self._root = os.path.join(os.path.abspath(folder), "")
        self._roots = (self._root, os.path.join(os.path.realpath(folder), ""))
        self._folder = printable(str(folder))
        self._base: IO[bytes] | None = None  # the file as it was last written, whoever has renamed it since
        self._draft: _Draft | None = None

    def __repr__(self) -> str:
        return f"<StateFile {self._shown} of {self._folder}, {self.records} records, {self.error or 'good'}>"

    @property
    def beside(self) -> str:
        """How the names of unfinished ones begin, in the same folder; they end in ``.part``."""
        return f".{self.path.name}-"

    # What is there already

    def look(self) -> Counts | None:
        """Read what is there to its end; None where there is no such file, or an empty one. Raises WrongSetting where it is
        no state file, is damaged, or is another folder's or another destination's: it would be written over.
        """
        try:
            status = self.path.stat()
        except FileNotFoundError:
            if not self.path.parent.is_dir():
                raise WrongSetting(
                    f"The state file {self._shown} cannot be written: there is no such folder; make it, or give"
                    " another name."
                ) from None
            return None
        except OSError as error:
            raise self._unreadable(error) from error
        if not stat.S_ISREG(status.st_mode):
            raise WrongSetting(f"The state file {self._shown} is no regular file; give another name.")
        if not status.st_size:
            return None
        records = undone = unbound = 0
        for _, record in self._read():
            records += 1
            undone += not record.is_uploaded
            unbound += not record.destination
        return Counts(records, undone, unbound)

    def undone(self) -> Iterator[tuple[str, str]]:
        """The keys of what is not uploaded, and why, in the order of the file. Raises as ``look`` does."""
        return ((key, record.error) for key, record in self._read() if not record.is_uploaded)

    def _read(self) -> Iterator[tuple[str, Record]]:
        try:
            with self.path.open(encoding="utf-8-sig") as stream:
                for value in members(stream):
                    record = msgspec.convert(value, Record)
                    if record.is_uploaded not in (0, 1):
                        raise ValueError(f"uploadedSuccess is {record.is_uploaded}")
                    if record.destination not in ("", self.destination):
                        raise self._of_another_destination(record.destination)
                    yield self._key_of(record), record
        except (ValueError, RecursionError, msgspec.ValidationError) as error:
            why = printable(str(error)).rstrip(".") or "too many brackets"
            raise WrongSetting(
                f"{self._shown} is damaged, or is no state file ({why}); nothing was changed: give another name, or"
                " move it away to begin anew."
            ) from error
        except OSError as error:
            raise self._unreadable(error) from error

    def _key_of(self, record: Record) -> str:
        path = record.filepath
        if not path.startswith(self._root) or "//" in path or "/." in path:
            path = os.path.abspath(path)  # 2 µs
        for root in self._roots:
            if path.startswith(root):
                return path[len(root) :].replace(os.sep, "/")
        raise WrongSetting(
            f"{self._shown} is the state file of another folder than {self._folder}: it names"
            f" {printable(record.filepath)}; nothing was changed: give this folder's own, or another name."
        )

    def _of_another_destination(self, destination: str) -> WrongSetting:
        return WrongSetting(
            f"{self._shown} is the state file of a backup to {printable(destination)}, and this one goes to"
            f" {printable(self.destination)}; nothing was changed: give this one's own, or another name."
        )

    def _unreadable(self, error: OSError) -> WrongSetting:
        return WrongSetting(f"The state file {self._shown} cannot be read: {error.strerror}; nothing was changed.")

    # Writing

    def clear(self) -> None:
        """Begin anew with an empty list, which says that nothing is known of the folder. Raises WrongSetting where the file
        cannot be written.
        """
        with suppress(OSError):
            for name in os.listdir(self.path.parent):
                if name.startswith(self.beside) and name.endswith(".part"):
                    (self.path.parent / name).unlink(missing_ok=True)  # of a run that was killed
        self._replace(())
        self._must_be_good()

    def plan(self, keys: Iterable[tuple[str, int]]) -> None:
        """Add keys and their sizes to a new list, none of them uploaded; ``planned`` puts it in place."""
        if self._draft is None and not self.error:
            self._draft = self._begun()
        if self._draft is not None:
            self._trying(self._draft, lambda draft: draft.add(self._line(key, size=size) for key, size in keys))

    def planned(self) -> None:
        """Replace the file by the list that was planned, if any was."""
        draft, self._draft = self._draft, None
        if draft is not None:
            self._put_in_place(draft)

    def go_on(self) -> None:
        """Go on from what is there, whoever has laid it out. Raises WrongSetting as ``look`` does, and where it cannot be
        written.
        """
        self._replace(
            self._line(
                key,
                is_uploaded=bool(record.is_uploaded),
                size=record.size,
                checksum=record.checksum,
                error=record.error,
            )
            for key, record in self._read()
        )
        self._must_be_good()

    def changed(
        self, key: str, *, is_uploaded: bool, size: int, checksum: str = "", error: str = ""
    ) -> tuple[bytes, bytes]:
        """What ``publish`` is given of a key: by what its line is known, and the line."""
        line = self._line(key, is_uploaded=is_uploaded, size=size, checksum=checksum, error=error)
        return line[: line.index(_END_OF_PATH)], line

    def publish(self, changes: Mapping[bytes, bytes]) -> None:
        """Replace the file by one in which these have changed; what it does not have yet comes last."""
        left = dict(changes)

        def lines() -> Iterator[bytes]:
            base = self._base
            if base is not None:
                base.seek(0)
                for line in base:
                    if line[:1] == b"{":
                        line = line.rstrip(b",\n")
                        yield left.pop(line[: line.index(_END_OF_PATH)], line)
            yield from left.values()

        self._replace(lines())

    def close(self) -> None:
        """Let go of the file. May be called twice."""
        if self._draft is not None:
            self._draft.discard()
        if self._base is not None:
            self._base.close()
        self._draft = self._base = None

    def _line(self, key: str, *, size: int, is_uploaded: bool = False, checksum: str = "", error: str = "") -> bytes:
        path = self._root + (key if os.sep == "/" else key.replace("/", os.sep))
        record = Record(path, key.rpartition("/")[2], int(is_uploaded), size, checksum, error, self.destination)
        try:
            return _encode(record)
        except UnicodeEncodeError:  # a folder whose name is not UTF-8
            return json.dumps(msgspec.to_builtins(record), separators=(",", ":")).encode()

    def _replace(self, lines: Iterable[bytes]) -> None:
        """Write a list, and put it in place. WrongSetting out of ``lines`` passes through."""
        if not self.error and (draft := self._begun()) is not None:
            self._trying(draft, lambda draft: draft.add(lines))
            self._put_in_place(draft)

    def _begun(self) -> _Draft | None:
        try:
            mode = stat.S_IMODE(self.path.stat().st_mode) if self.path.exists() else None  # who was let in stays so
            return _Draft(self.path.with_name(f"{self.beside}{os.urandom(6).hex()}.part"), mode)
        except OSError as error:
            self._note(error)
            return None

    def _put_in_place(self, draft: _Draft) -> None:
        self._trying(draft, lambda draft: draft.finish(self.path))
        if not self.error:
            if self._base is not None:
                self._base.close()
            self.records, self._base = draft.records, draft.stream

    def _trying(self, draft: _Draft, work: Callable[[_Draft], None]) -> None:
        if self.error:
            return
        try:
            work(draft)
        except OSError as error:
            draft.discard()
            self._note(error)
        except BaseException:
            draft.discard()
            raise

    def _note(self, error: OSError) -> None:
        self.error = f"The state file {self._shown} is not up to date: {error.strerror or error}."

    def _must_be_good(self) -> None:
        if self.error:
            why = self.error.partition(": ")[2]
            raise WrongSetting(f"The state file {self._shown} cannot be written: {why}")


class _Draft:
    """A list while it is written, beside the file that it is to be."""

    def __init__(self, path: Path, mode: int | None) -> None:
        self.records = 0
        self._path = path
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        self.stream: IO[bytes] = open(os.open(path, flags, 0o600), "w+b", buffering=_BUFFER)  # noqa: SIM115 - read later
        if mode is not None and hasattr(os, "fchmod"):
            os.fchmod(self.stream.fileno(), mode)

    def add(self, lines: Iterable[bytes]) -> None:
        write = self.stream.write
        for line in lines:
            write(_BETWEEN if self.records else _FIRST)
            write(line)
            self.records += 1

    def finish(self, final: Path) -> None:
        """Bring it to the disk, and give it its name."""
        self.stream.write(_LAST if self.records else _EMPTY)
        self.stream.flush()
        os.fsync(self.stream.fileno())
        os.replace(self._path, final)
        _flush_folder(final.parent)

    def discard(self) -> None:
        """May be called twice, and after a ``finish`` that failed."""
        with suppress(OSError):
            self.stream.close()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Have a rename survive a power cut, where folders can be opened."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
