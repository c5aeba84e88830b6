"""Entries in any order into pages in key order, in bounded memory: sorted runs on disk, and one merge."""

from __future__ import annotations

import heapq
import struct
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import IO

import msgspec

from sterna.model.entry import Entry
from sterna.model.errors import Corrupt, LocalFault

RUN_ENTRIES = 50_000  # about 15 MB in memory
_BLOCK_ENTRIES = 500  # read back at a time, of each run
_PAGE_ENTRIES = 1000
_LENGTH = struct.Struct("<I")

_Row = tuple[bytes, int, int, str, str]
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[_Row]).decode
_by_key = attrgetter("key")


class Sorter:
    """Takes entries in any order and gives each back once, in key order. ``close`` removes what is on disk.

    Up to ``run_entries`` stay in memory; beyond, sorted runs go to a file without a name, which is gone with the process.
    """

    def __init__(self, run_entries: int = RUN_ENTRIES) -> None:
        self._run_entries = run_entries
        self._run: list[Entry] = []
        self._file: IO[bytes] | None = None
        self._runs: list[tuple[int, int]] = []  # where each begins in the file, and ends
        self.count = 0

    def __repr__(self) -> str:
        return f"<Sorter {self.count} entries, {len(self._runs)} runs on disk>"

    def add(self, entries: Sequence[Entry]) -> None:
        """Take entries. Raises LocalFault where the disk has no room for them."""
        self._run += entries
        self.count += len(entries)
        if len(self._run) >= self._run_entries:
            self._spill()

    def pages(self) -> Iterator[list[Entry]]:
        """All entries in key order. Raises Corrupt where a key came twice."""
        self._run.sort(key=_by_key)
        merged = iter(self._run)
        if self._runs:
            merged = heapq.merge(*(self._read(start, end) for start, end in self._runs), self._run, key=_by_key)
        page: list[Entry] = []
        last = ""
        for entry in merged:
            if entry.key == last:
                raise Corrupt("The server lists a key twice; this listing cannot be trusted.", operation="List")
            last = entry.key
            page.append(entry)
            if len(page) == _PAGE_ENTRIES:
                yield page
                page = []
        if page:
            yield page

    def close(self) -> None:
        self._run = []
        if self._file is not None:
            self._file.close()
            self._file = None

    def _spill(self) -> None:
        import tempfile

        self._run.sort(key=_by_key)
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="sterna-")  # noqa: SIM115 - closed by close
            start = self._file.seek(0, 2)
            for at in range(0, len(self._run), _BLOCK_ENTRIES):
                block = _encode([_row(entry) for entry in self._run[at : at + _BLOCK_ENTRIES]])
                self._file.write(_LENGTH.pack(len(block)) + block)
            self._runs.append((start, self._file.tell()))
        except OSError as error:
            raise LocalFault(
                f"A listing that must be sorted did not find room in {tempfile.gettempdir()} ({error.strerror}); "
                "point TMPDIR to a disk that has some.",
                operation="List",
            ) from None
        self._run = []

    def _read(self, at: int, end: int) -> Iterator[Entry]:
        assert self._file is not None
        while at < end:
            self._file.seek(at)
            (length,) = _LENGTH.unpack(self._file.read(_LENGTH.size))
            rows = _decode(self._file.read(length))
            at += _LENGTH.size + length
            for key, size, mtime_ns, etag, storage_class in rows:
                yield Entry(key.decode("utf-8", "surrogateescape"), size, mtime_ns, etag, storage_class)


def _row(entry: Entry) -> _Row:
    key = entry.key.encode("utf-8", "surrogateescape")
    return key, entry.size, entry.mtime_ns, entry.etag, entry.storage_class
