"""Transfers in pieces that were begun and not ended: what another run needs to go on with them."""

from __future__ import annotations

import msgspec

from sterna.model.synced import Seen


class SentPart(msgspec.Struct, frozen=True, gc=False):
    """A part that the server has. ``crc`` is its sum as a number, None where there is none of ours."""

    number: int
    size: int
    etag: str
    crc: int | None = None


class OpenUpload(msgspec.Struct, frozen=True):
    """A multipart upload, or a copy in parts, that was begun and neither joined nor given up.

    ``key`` is the object's whole key; ``token`` is what it carries in its metadata, and what the upload is called by here.
    ``id`` is empty while the server's answer is not known: then it may exist all the same. ``source`` is the version that
    it is made of.
    """

    key: str
    token: str
    source: Seen
    part_size: int
    checksum: str
    id: str = ""
    is_copy: bool = False
    begun_ns: int = 0
    run: int = 0
    parts: tuple[SentPart, ...] = ()


class WrittenRange(msgspec.Struct, frozen=True, gc=False):
    """The bytes from ``start`` to ``end`` (excluded) of a draft, with their sum. Sum them again before they are believed."""

    start: int
    end: int
    crc: int


class OpenDownload(msgspec.Struct, frozen=True):
    """A download whose file has not got its name yet.

    ``temporary`` is the path of the unfinished file below the folder, and what it is called by here; ``source`` the version
    of the object that every range is pinned to.
    """

    key: str
    temporary: str
    source: Seen
    checksum: str
    begun_ns: int = 0
    run: int = 0
    ranges: tuple[WrittenRange, ...] = ()
