"""Write what a run vouches for into a manifest, and read it back."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import IO

import msgspec
from msgspec.structs import replace

from sterna.model.errors import ManifestUnusable
from sterna.model.units import printable
from sterna.planning.columns import quoted, unquoted
from sterna.planning.frames import packed
from sterna.planning.merkle import Merkle
from sterna.planning.packed import PackedFile, PackedWriter

FORMAT = "sterna manifest"
VERSION = 1
"""Raised when an older Sterna would misread what a newer one writes."""

FAILED = "failed"
KEPT = "kept"
UNREAD = "unread"

_FRAME = 1 << 20  # bytes of lines in a frame: more pack hardly better
_LONGEST = 1 << 16  # bytes of a line: a key of 1,024 bytes and its sums take less than a tenth


class Head(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first line: which run says so, of which places.

    ``created`` is in UTC; ``algorithms`` are those of which each row should have a sum; ``filters``: the run did not look
    at everything. ``quoted``: the two places are percent-encoded, since JSON cannot carry a path that is not UTF-8.
    """

    algorithms: list[str]
    created: str
    destination: str
    filters: bool
    run: str
    source: str
    sterna: str
    format: str = FORMAT
    quoted: bool = False
    version: int = VERSION


class Row(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """One object. What is not known is left out, never guessed.

    ``mtime`` is the file's, in seconds since 1970, as the object's own metadata has it; ``crc64nvme`` is base64, as S3
    shows it, ``sha256`` hexadecimal, as sha256sum does. The sums are of the bytes that were sent, or that the server shows
    a sum of; with ``basis`` "file" they are of the file alone, which has the object's size and time. ``state``: FAILED is
    a key that the run could not vouch for, and then nothing else is said; KEPT is an object that the source does not have
    any more, as an earlier run brought it; UNREAD is such an object of which nobody knows whether the source has it, since
    what is above it could not be listed. ``quoted``: the key is percent-encoded, as it is not UTF-8.
    """

    key: str
    size: int | None = None
    mtime: str = ""
    crc64nvme: str = ""
    sha256: str = ""
    etag: str = ""
    version: str = ""
    state: str = ""
    basis: str = ""
    quoted: bool = False


class End(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The last line but one. ``count`` and ``bytes`` are of the rows that vouch for something, ``failed`` counts the
    others; ``complete``: there are none of those."""

    bytes: int
    complete: bool
    count: int
    failed: int


class Root(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The last line: the Merkle root of all lines before it, in hexadecimal digits."""

    root: str


_encode = msgspec.json.Encoder(order="sorted").encode
_row = msgspec.json.Decoder(Row).decode


class ManifestWriter(PackedWriter):
    """Writes rows in key order; ``write`` raises ValueError for any other. Memory does not grow with their number."""

    KIND = "manifest"

    def __init__(self, path: Path, head: Head) -> None:
        super().__init__(path)
        self._tree = Merkle()
        self._lines = bytearray()
        self._last = ""
        self._count = self._failed = self._bytes = 0
        self._add(_head_line(head))

    def __repr__(self) -> str:
        return f"<ManifestWriter {self._file}, {self._count} rows, {self._failed} failed>"

    def write(self, rows: Sequence[Row]) -> None:
        """Add rows."""
        for row in rows:
            if row.key <= self._last:
                raise ValueError(f"{row.key!r} comes after {self._last!r}; a manifest is in key order")
            self._last = row.key
            self._add(row_line(row))
            if row.state == FAILED:
                self._failed += 1
            else:
                self._count += 1
                self._bytes += row.size or 0

    def finish(self) -> tuple[End, str]:
        """Write the end, and give the file its name. Gives the last line but one, and the root."""
        end = End(bytes=self._bytes, complete=not self._failed, count=self._count, failed=self._failed)
        self._add(_encode(end))
        root = self._tree.root.hex()
        self._lines += _encode(Root(root)) + b"\n"
        self._flush()
        self._file.finish()
        return end, root

    def _add(self, line: bytes) -> None:
        self._tree.add(line)
        self._lines += line + b"\n"
        if len(self._lines) >= _FRAME:
            self._flush()

    def _flush(self) -> None:
        self._file.write(packed(self._lines))
        self._lines.clear()


class ManifestFile(PackedFile):
    """A manifest that was read through once and found whole: head, end, root, and the rows page by page.

    ``open`` raises ManifestUnusable for a file that is cut, changed, out of order, of another kind or of a later version,
    before any row was given; ``pages`` raises it where the file is changed meanwhile. Memory holds a page. That lines lead
    to the root shows accidents, and edits of whoever does not know better; against anybody else, compare the root with
    one that was kept elsewhere.
    """

    KIND = "manifest"
    REMEDY = "take another copy of it"
    UNUSABLE = ManifestUnusable

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        super().__init__(path, file)
        lines = self._lines()
        self.head = self._checked_head(next(lines, b""))
        lines.close()
        for _ in self._read():
            pass

    def __repr__(self) -> str:
        return f"<ManifestFile {self.path}, {self.end.count} rows, root {self.root[:16]}…>"

    def pages(self) -> Iterator[list[Row]]:
        """The rows in key order, some thousand at a time; may be asked for again."""
        root = self.root
        yield from self._read()
        if self.root != root:
            raise self._unusable("was replaced while it was read")

    def lines(self) -> Iterator[bytes]:
        """All lines that the root is of, without their ends: what ``merkle.proof`` takes."""
        last: bytes | None = None
        for line in self._lines():
            if last is not None:
                yield last
            last = line

    def _read(self) -> Iterator[list[Row]]:
        """All rows, each checked; at the end of them what the last two lines say."""
        tree, last, page = Merkle(), "", list[Row]()
        count = failed = size = 0
        held: list[bytes] = []  # the last two lines are no rows
        lines = self._lines()
        tree.add(next(lines, b""))
        for line in lines:
            held.append(line)
            if len(held) <= 2:
                continue
            line = held.pop(0)
            tree.add(line)
            row = self._checked_row(line)
            if row.key <= last:
                raise self._unusable(f"names {printable(row.key)} out of order")
            last = row.key
            failed += row.state == FAILED
            count += row.state != FAILED
            size += row.size or 0
            page.append(row)
            if len(page) == 1000:
                yield page
                page = []
        if page:
            yield page
        if len(held) < 2:
            raise self._unusable("was cut")
        tree.add(held[0])
        self.root = self._decoded(held[1], Root).root
        if tree.root.hex() != self.root:
            raise self._unusable("was changed: its lines do not lead to the root in its last one")
        self.end = self._decoded(held[0], End)
        if (self.end.count, self.end.failed, self.end.bytes) != (count, failed, size):
            raise self._unusable("counts otherwise in its end than its rows do")

    def _checked_head(self, line: bytes) -> Head:
        class Kind(msgspec.Struct):
            format: str
            version: int

        found = self._decoded(line, Kind, "is no manifest of Sterna")
        if found.format != FORMAT:
            raise self._unusable("is no manifest of Sterna")
        if found.version != VERSION:
            raise self._unusable(f"has version {found.version}, and this Sterna reads version {VERSION}")
        head = self._decoded(line, Head)
        if head.quoted:
            head = replace(head, source=unquoted(head.source), destination=unquoted(head.destination), quoted=False)
        if _head_line(head) != line:
            raise self._unusable("writes its first line otherwise than a manifest does")
        return head

    def _checked_row(self, line: bytes) -> Row:
        try:
            row = _row(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._unusable(f"holds a line of another kind ({error})") from error
        if row.quoted:
            row = replace(row, key=unquoted(row.key), quoted=False)
        if row_line(row) != line:
            raise self._unusable(f"writes {printable(row.key)} otherwise than a manifest does")
        return row

    def _lines(self) -> Generator[bytes, None, None]:
        """Lines without their ends. However the frames were cut: who packed it anew has changed nothing."""
        rest = b""
        for block in self._blocks(0, self._size()):
            *lines, rest = (rest + block).split(b"\n")
            yield from lines
            if len(rest) > _LONGEST:
                raise self._unusable("holds a line that is too long to be one of a manifest")
        if rest:
            raise self._unusable("was cut")


def row_line(row: Row) -> bytes:
    """A row as its line: the one way of writing it, members sorted, no blanks."""
    try:
        return _encode(row)
    except UnicodeEncodeError:
        return _encode(replace(row, key=quoted(row.key), quoted=True))


def _head_line(head: Head) -> bytes:
    try:
        return _encode(head)
    except UnicodeEncodeError:
        return _encode(replace(head, source=quoted(head.source), destination=quoted(head.destination), quoted=True))
