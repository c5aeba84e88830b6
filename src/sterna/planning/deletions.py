"""Keep the keys that the source lacks until everything is listed, and give back those that may be deleted."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import msgspec

from sterna.model.actions import Action, Verb
from sterna.model.entry import Entry
from sterna.model.errors import Corrupt
from sterna.planning.merge import Pair
from sterna.planning.unknown import Unknown
from sterna.stores.folder import translate

BATCH = 1000
"""Keys of one DeleteObjects: https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html"""

BECAUSE = "the source does not have it"

_IN_MEMORY = 10_000  # candidates that are held before a file is made: a few MB, and most runs delete fewer
_HEAD = 8

_Row = tuple[bytes, int, int, str, str, str]
_pack = msgspec.msgpack.Encoder().encode
_rows = msgspec.msgpack.Decoder(list[_Row])


class Count(msgspec.Struct, frozen=True):
    """How many may be deleted, and how many not, by reason."""

    objects: int = 0
    bytes: int = 0
    unknown: int = 0
    marked: int = 0


class Deletions:
    """The candidates of one run, in key order.

    What may be deleted is decided when it is read back: a key goes only where both sides were listed to their end
    (``listed``), no listing met something unknown above it (``unknown``), and the filters let it pass. Until ``listed``
    was called nothing may be deleted, so a run that breaks off deletes nothing (H75, H76). Candidates must ascend, as
    those of a merge do: ``add`` raises Corrupt where they do not (H79). Beyond ten thousand they lie in an unnamed
    temporary file, with checksums; use it in a ``with``.

    ``takes`` is the filters' last word on what only the target has: what they leave out is never deleted (H81).
    ``keeps_markers`` is for sources that do not tell of empty folders: keys that end in a slash then stay.
    """

    def __init__(
        self,
        *,
        takes: Callable[[Pair], bool] | None = None,
        keeps_markers: bool = True,
        folder: Path | None = None,
        in_memory: int = _IN_MEMORY,
    ) -> None:
        self.unknown = Unknown()
        self.candidates = 0
        self._takes = takes
        self._keeps_markers = keeps_markers
        self._folder = folder
        self._in_memory = in_memory
        self._is_listed = False
        self._held: list[Entry] = []
        self._file: IO[bytes] | None = None
        self._end = 0
        self._last = ""

    def __repr__(self) -> str:
        place = "file" if self._file is not None else "memory"
        listed = "listed to the end" if self._is_listed else "not listed to the end"
        return f"<Deletions {self.candidates} candidates in {place}, {listed}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file, and with it of the candidates."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._held, self._is_listed, self.candidates, self._end = [], False, 0, 0

    def add(self, pairs: Sequence[Pair]) -> None:
        """Take from a page of pairs what only the target has; the pairs must be those that the filters let pass."""
        for source, target in pairs:
            if source is None and target is not None:
                if target.key <= self._last:
                    raise Corrupt(
                        "The listing of the destination is out of order, so nothing can be deleted by it.",
                        operation="List",
                        key=target.key,
                    )
                self._last = target.key
                if self._takes is None or self._takes((None, target)):
                    self._held.append(target)
                    self.candidates += 1
        if len(self._held) >= self._in_memory:
            self._spill()

    def listed(self) -> None:
        """Both sides were listed to their end without an error."""
        self._is_listed = True

    def count(self) -> Count:
        """What ``batches`` would give: one pass over the candidates, for the guard. Nothing before both are listed."""
        if not self._is_listed:
            return Count()
        objects = size = unknown = marked = 0
        for entry in self._entries():
            match self._why_not(entry.key):
                case "":
                    objects += 1
                    size += entry.size
                case "unknown":
                    unknown += 1
                case _:
                    marked += 1
        return Count(objects, size, unknown, marked)

    def batches(self, most: int = BATCH) -> Iterator[list[Action]]:
        """Deletions in key order, ``most`` at a time; may be asked for again. None before both sides are listed."""
        if not self._is_listed:
            return
        batch: list[Action] = []
        for entry in self._entries():
            if not self._why_not(entry.key):
                batch.append(Action(Verb.DELETE, entry.key, BECAUSE, None, entry))
                if len(batch) == most:
                    yield batch
                    batch = []
        if batch:
            yield batch

    def holds(self, entry: Entry) -> bool:
        """Whether an entry that only the target has is among those of ``batches``."""
        passes = self._takes is None or self._takes((None, entry))
        return self._is_listed and passes and not self._why_not(entry.key)

    def _why_not(self, key: str) -> str:
        """Empty where the key may be deleted."""
        if self._keeps_markers and key[-1] == "/":
            return "marker"
        return "unknown" if self.unknown.covers(key) else ""

    def _entries(self) -> Iterator[Entry]:
        yield from self._spilled()
        yield from self._held

    def _spill(self) -> None:
        """Write what is held behind what is in the file."""
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="sterna-", dir=self._folder)  # noqa: SIM115
            self._file.seek(self._end)
            for start in range(0, len(self._held), BATCH):
                rows: list[_Row] = [
                    (one.key.encode("utf-8", "surrogatepass"), one.size, one.mtime_ns, one.etag,
                     one.storage_class, one.version)
                    for one in self._held[start : start + BATCH]
                ]  # fmt: skip
                data = _pack(rows)
                self._file.write(len(data).to_bytes(4, "little") + zlib.crc32(data).to_bytes(4, "little") + data)
            self._file.flush()
            self._end = self._file.tell()
        except OSError as error:
            raise translate(error, "keep the keys to delete in", self._place()) from error
        self._held.clear()

    def _spilled(self) -> Iterator[Entry]:
        file, at = self._file, 0
        while file is not None and at < self._end:
            try:
                file.seek(at)  # others may read or write between two batches
                head = file.read(_HEAD)
                data = file.read(int.from_bytes(head[:4], "little"))
            except OSError as error:
                raise translate(error, "read the keys to delete from", self._place()) from error
            if len(head) < _HEAD or zlib.crc32(data) != int.from_bytes(head[4:], "little"):
                raise Corrupt(
                    f"The file of the keys to delete in {self._place()} is damaged; nothing more is deleted by it."
                )
            at += _HEAD + len(data)
            for key, size, mtime_ns, etag, storage_class, version in _rows.decode(data):
                yield Entry(key.decode("utf-8", "surrogatepass"), size, mtime_ns, etag, storage_class, version)

    def _place(self) -> str:
        return str(self._folder or tempfile.gettempdir())
