"""Read from the head of an answer what it says of an object, and whether it is of the version that was asked for."""

from __future__ import annotations

import functools
from typing import NamedTuple

from sterna.model.entry import MD5_OF_NOTHING, Entry
from sterna.model.errors import Corrupt, ObjectChanged
from sterna.stores.learned import Learned
from sterna.stores.mtime import mtime_of
from sterna.wire.checksum import NAMES
from sterna.wire.connection import Response
from sterna.wire.dates import moment_s

_CHECKSUMS_SHOWN = [(name, f"x-amz-checksum-{name.lower()}".encode()) for name in NAMES]
_DIGITS = 20  # of a size that a server tells of; Python refuses to read more than 4,300 of any number


class Look(NamedTuple):
    """What HEAD, or the head of a GET, says of an object.

    ``mtime_ns`` is the file's own time out of its metadata where a tool kept it, else None; ``entry.mtime_ns`` is
    LastModified. ``checksum`` is the best one shown, with its algorithm's name, and ``whole`` whether it covers the
    bytes of the object in one sum (a sum of part sums does not). ``plain_md5`` says that the ETag may be an MD5.
    """

    entry: Entry
    mtime_ns: int | None
    checksum_name: str
    checksum: str
    whole: bool
    plain_md5: bool
    version: str
    metadata: dict[str, str]
    headers: dict[bytes, bytes]


def look_of(key: str, response: Response) -> Look:
    """Read the head of an answer to HEAD or GET. Each small download reads one: plain lookups, 4 µs."""
    headers = response.headers
    size = size_of(response)
    etag = headers.get(b"etag", b"").decode("utf-8", "replace").removeprefix("W/").strip('"')
    name = value = ""
    for candidate, header in _CHECKSUMS_SHOWN:
        if header in headers:
            name, value = candidate, headers[header].decode("utf-8", "replace")
            break
    whole = bool(value) and "-" not in value and headers.get(b"x-amz-checksum-type", b"FULL_OBJECT") != b"COMPOSITE"
    plain = (
        len(etag) == 32
        and not headers.get(b"x-amz-server-side-encryption", b"").startswith(b"aws:kms")
        and (size == 0 or etag != MD5_OF_NOTHING)
        and b"x-amz-server-side-encryption-customer-algorithm" not in headers
    )
    metadata = {
        name[11:].decode("latin-1"): text.decode("utf-8", "replace")
        for name, text in headers.items()
        if name[:11] == b"x-amz-meta-"
    }
    return Look(
        Entry(
            key,
            size,
            http_time_ns(headers.get(b"last-modified", b"")),
            etag,
            headers.get(b"x-amz-storage-class", b"").decode("utf-8", "replace"),
        ),
        mtime_of(metadata["mtime"]) if "mtime" in metadata else None,
        name,
        value,
        whole,
        plain,
        headers.get(b"x-amz-version-id", b"").decode("utf-8", "replace"),
        metadata,
        headers,
    )


def size_of(response: Response) -> int:
    """The size of the whole object, also where a range of it came."""
    headers = response.headers
    if b"content-range" in headers:
        of_all = headers[b"content-range"].rpartition(b"/")[2]
        if headers[b"content-range"].startswith(b"bytes ") and of_all.isdigit() and len(of_all) < _DIGITS:
            return int(of_all)
    length = headers.get(b"content-length", b"")
    return int(length) if length.isdigit() else len(response.body)


@functools.lru_cache(maxsize=1024)
def http_time_ns(stamp: bytes) -> int:
    """The time in a Last-Modified header, 0 where there is none. Kept: objects of one second share it."""
    try:
        return int(moment_s(stamp)) * 10**9 if stamp else 0
    except ValueError:
        return 0


def has_size(response: Response) -> None:
    """Raise Corrupt where the answer to a HEAD tells no size: the object would be taken for an empty one."""
    if not response.headers.get(b"content-length", b"").isdigit():
        raise Corrupt("The server does not tell how large the object is (no Content-Length).", operation="Head")


def check_same(etag: str, response: Response) -> None:
    """Raise ObjectChanged where another version came than was asked for: not every server knows If-Match (H42)."""
    said = _etag_of(response)
    if said and etag and said != etag:
        raise ObjectChanged("The object was replaced while it was read.", operation="Get", code="Replaced")


class Ranges:
    """What the answers to one reading of an object, range by range, have shown of its version, ``etag``.

    A range without an ETag may be of another version, or from somebody else who answered (H12). Where the server has
    shown one with a range it is Corrupt, and asked for again; else ``doubtful`` says that something has to prove the
    bytes: a checksum, an MD5, or a second reading.
    """

    def __init__(self, etag: str, learned: Learned) -> None:
        self.etag = etag
        self.doubtful = False
        self._learned = learned

    def check(self, response: Response) -> None:
        """Raise ObjectChanged or Corrupt where an answer is not of this version, or may not be."""
        check_same(self.etag, response)
        if _etag_of(response):
            self._learned.ranges_show_etags = True
        elif self.etag and self._learned.ranges_show_etags:
            raise Corrupt("A range came without the ETag that the server shows with others.", operation="Get")
        else:
            self.doubtful = self.doubtful or bool(self.etag)


def _etag_of(response: Response) -> str:
    return response.text(b"etag").removeprefix("W/").strip('"')
