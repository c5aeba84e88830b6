"""Write a plan into a file that shows when it was cut or changed, and read it back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import msgspec

from sterna.model.actions import Action, Verb
from sterna.model.errors import PlanUnusable
from sterna.planning.columns import Text, decoded, encoded, quoted, unquoted
from sterna.planning.frames import packed, skippable, skippable_payload
from sterna.planning.packed import PackedFile, PackedWriter

FORMAT = 2
"""Raised when an older Sterna would misread what a newer one writes."""

_PAGE = 8000  # actions in a line and a frame: more pack hardly better, and all of them are held in memory
_MOST = 8 << 20  # bytes of a line: where keys are long, it has fewer actions
_DIGEST = 32
_PLACE = 8
_SEAL = len(skippable(b"")) + _PLACE + _DIGEST


class Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first line: between which places, and under which settings, the plan was made.

    ``settings`` are those that change what is done, in words of the caller; ``filters`` is the fingerprint of the
    filters, ``storage_class`` that of what is written, for estimates; ``created_s`` is in seconds since 1970.
    ``source_at`` and ``destination_at`` tell the places themselves: of a bucket the server, of a folder its file system
    and number, empty where there was none.
    """

    format: int = FORMAT
    sterna: str
    source: str
    destination: str
    created_s: int
    settings: dict[str, str] = {}
    filters: str = ""
    storage_class: str = ""
    source_at: str = ""
    destination_at: str = ""
    quoted: bool = False


class Footer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The last line: how many actions of each verb, and their bytes; ``source_entries`` is how many the source had, None
    where that is not known for sure; ``digest`` is the SHA-256 of all lines before it.

    The digest names the plan: the same plan has the same one, whichever zstd packed it.
    """

    counts: dict[str, int]
    bytes: dict[str, int]
    requests: dict[str, int]
    kept: int
    kept_bytes: int
    source_entries: int | None
    digest: str


_encoder = msgspec.json.Encoder(order="deterministic")


class PlanWriter(PackedWriter):
    """Writes the plan of actions in key order, deletions after all others, in key order again: ``write`` raises ValueError
    for anything else.

    The file is readable by its owner alone, since keys tell things. Memory does not grow with their number. ``exact``:
    what is read back has the ctime and the inode of files, which mean nothing elsewhere.
    """

    KIND = "plan"

    def __init__(self, path: Path, header: Header, *, exact: bool = False) -> None:
        self._digest = hashlib.sha256()
        self._seal = hashlib.sha256()
        self._written = 0
        self._exact = exact
        self._page: list[Action] = []
        self._last = ""
        self._deleting = False
        self._counts: dict[str, int] = {}
        self._bytes: dict[str, int] = {}
        super().__init__(path)
        try:
            self._pack(_encoded_header(header))  # a frame of its own: whoever wants the header alone reads no more
        except BaseException:
            self._file.discard()
            raise

    def __repr__(self) -> str:
        return f"<PlanWriter {self._file}, {sum(self._counts.values())} actions, {self._written} bytes>"

    def write(self, actions: Sequence[Action]) -> None:
        """Add actions."""
        start = 0
        while start < len(actions):
            page = actions[start : start + _PAGE - len(self._page)]
            self._count(page)
            self._page += page
            start += len(page)
            if len(self._page) == _PAGE:
                self._end_page()

    def finish(
        self,
        *,
        requests: Mapping[str, int] | None = None,
        kept: int = 0,
        kept_bytes: int = 0,
        source_entries: int | None = None,
    ) -> Footer:
        """Write the footer, and give the file its name. ``requests`` is an estimate of their number by class."""
        self._end_page()
        place = self._written
        footer = Footer(counts=self._counts, bytes=self._bytes, requests=dict(requests or {}), kept=kept,
                        kept_bytes=kept_bytes, source_entries=source_entries, digest=self._digest.hexdigest())  # fmt: skip
        self._put(packed(_encoder.encode(footer) + b"\n"))
        seal = self._seal.copy()
        head = skippable(place.to_bytes(_PLACE, "little") + bytes(_DIGEST))[:-_DIGEST]
        seal.update(head)
        self._put(head + seal.digest())
        self._file.finish()
        return footer

    def _count(self, page: Sequence[Action]) -> None:
        """Check the order, and count. Actions of one verb mostly follow each other, so each stretch is counted at once."""
        last, verb, count, size = self._last, page[0].verb, 0, 0
        for action in page:
            key = action.key
            if action.verb is not verb:
                self._counted(verb, count, size)
                verb, count, size = action.verb, 0, 0
            if (verb is Verb.DELETE) is not self._deleting:
                if self._deleting:
                    raise ValueError(f"{key!r} comes after deletions, and is none; deletions are the last of a plan")
                self._deleting, last = True, ""
            if key <= last:
                raise ValueError(f"{key!r} comes after {last!r}; a plan is in key order")
            last = key
            for entry in (action.source, action.target):
                if entry is not None and entry.key != key:
                    raise ValueError(f"{key!r} is an action on other keys; a plan has one key an action")
            entry = action.target if self._deleting else action.source
            count += 1
            if entry is not None:
                size += entry.size
        self._counted(verb, count, size)
        self._last = last

    def _counted(self, verb: Verb, count: int, size: int) -> None:
        self._counts[verb.value] = self._counts.get(verb.value, 0) + count
        self._bytes[verb.value] = self._bytes.get(verb.value, 0) + size

    def _end_page(self) -> None:
        if self._page:
            self._pack_actions(self._page)
            self._page = []

    def _pack_actions(self, actions: Sequence[Action]) -> None:
        line = encoded(actions, exact=self._exact)
        if len(line) <= _MOST or len(actions) == 1:
            self._pack(line)
        else:
            half = len(actions) // 2
            self._pack_actions(actions[:half])
            self._pack_actions(actions[half:])

    def _pack(self, line: bytes) -> None:
        self._digest.update(line)
        self._put(packed(line))

    def _put(self, data: bytes) -> None:
        self._seal.update(data)
        self._written += len(data)
        self._file.write(data)


class PlanFile(PackedFile):
    """A plan that was read through once and found whole: the header, the footer, and the actions page by page.

    ``open`` raises PlanUnusable for a file that is cut, changed, of another kind or of a later format, before any
    action was given; ``pages`` raises it where the file is changed meanwhile. What this shows is accidents and edits:
    it is no signature, and whoever can write the file can make a new one.
    """

    KIND = "plan"
    REMEDY = "make it anew"
    UNUSABLE = PlanUnusable

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        super().__init__(path, file)
        size = self._size()
        self._end = size - _SEAL
        self._footer_at = self._checked_seal(size)
        self.footer = self._decoded(self._block(self._footer_at, self._end), Footer)
        first = next(self._blocks(0, self._footer_at), b"")
        self.header = self._checked_header(first)
        digest = hashlib.sha256()
        for block in self._blocks(0, self._footer_at):
            digest.update(block)
        self._hold_against_footer(digest.hexdigest())

    def __repr__(self) -> str:
        return f"<PlanFile {self.path}, {sum(self.footer.counts.values())} actions>"

    def pages(self) -> Iterator[list[Action]]:
        """The actions in the order in which they were written, some thousand at a time; may be asked for again."""
        digest = hashlib.sha256()
        is_first = True
        for block in self._blocks(0, self._footer_at):
            digest.update(block)
            if is_first:
                is_first = False
                continue
            try:
                actions = decoded(block)
            except ValueError as error:
                raise self._unusable(f"holds a line that has no actions ({error})") from error
            yield actions
        self._hold_against_footer(digest.hexdigest())

    def _checked_seal(self, size: int) -> int:
        """Compare the file with its seal; gives where the footer begins."""
        seal = self._bytes(max(self._end, 0), size)
        payload = skippable_payload(seal)
        if payload is None or len(payload) != _PLACE + _DIGEST:
            raise self._unusable("was cut, or is no plan of Sterna")
        digest = hashlib.sha256()
        for piece in self._pieces(0, size - _DIGEST):
            digest.update(piece)
        place = int.from_bytes(payload[:_PLACE], "little")
        if digest.digest() != payload[_PLACE:] or place > self._end:
            raise self._unusable("was changed after it was written")
        return place

    def _checked_header(self, block: bytes) -> Header:
        class Format(msgspec.Struct):
            format: int

        found = self._decoded(block, Format).format
        if found != FORMAT:
            raise self._unusable(f"has format {found}, and this Sterna reads format {FORMAT}")
        return _unquoted_header(self._decoded(block, Header))

    def _hold_against_footer(self, digest: str) -> None:
        if digest != self.footer.digest:
            raise self._unusable("was changed: its actions are not those of its last line")

    def _block(self, start: int, end: int) -> bytes:
        return b"".join(self._blocks(start, end))


def _encoded_header(header: Header) -> bytes:
    try:
        return _encoder.encode(header) + b"\n"
    except UnicodeEncodeError:
        return _encoder.encode(_mapped_header(header, quoted, is_quoted=True)) + b"\n"


def _unquoted_header(header: Header) -> Header:
    return _mapped_header(header, unquoted, is_quoted=False) if header.quoted else header


def _mapped_header(header: Header, text: Text, *, is_quoted: bool) -> Header:
    return msgspec.structs.replace(
        header,
        sterna=text(header.sterna),
        source=text(header.source),
        destination=text(header.destination),
        settings={text(name): text(value) for name, value in header.settings.items()},
        filters=text(header.filters),
        storage_class=text(header.storage_class),
        source_at=text(header.source_at),
        destination_at=text(header.destination_at),
        quoted=is_quoted,
    )
