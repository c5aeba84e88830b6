"""How objects are written, read and carried: the options of every mover."""

from __future__ import annotations

import msgspec

from sterna.model.units import GIB, MIB
from sterna.wire.timetable import UNLIMITED, Timetable


class UploadOptions(msgspec.Struct, frozen=True):
    """What an upload says of its object beside its bytes. Empty means: the server's default.

    ``as_planned``: what is written is the file that the action names, and only over what it says stands there.
    ``md5_up_to``: files up to so many bytes go in one request, whose MD5 the server checks (``backup --md5``).
    """

    storage_class: str = ""
    sse: str = ""
    sse_kms_key_id: str = ""
    acl: str = ""
    metadata: tuple[tuple[str, str], ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    cache_control: str = ""
    content_type: str = ""
    content_encoding: str = ""
    content_disposition: str = ""
    guess_mime_type: bool = True
    as_planned: bool = False
    md5_up_to: int = 0


class Customer(msgspec.Struct, frozen=True):
    """The key of SSE-C, 32 bytes. It is sent with each request that touches an object's bytes, and never shown."""

    key: bytes = b""

    def __repr__(self) -> str:
        return "Customer(key=***)" if self.key else "Customer()"


class DownloadOptions(msgspec.Struct, frozen=True):
    """``durable``: done means on disk; False leaves that to the system (``--no-fsync``). ``as_planned``: what is fetched is
    the version that the action names, and no later one.
    """

    durable: bool = True
    as_planned: bool = False


class Limits(msgspec.Struct, frozen=True):
    """What a run may use.

    ``workers``: requests in flight at most, 256 by default as s5cmd's workers; the run starts with fewer and takes
    more only while the server, not this machine, is what it waits for. ``max_memory``: bytes of all buffers together;
    the interpreter and what TLS holds come to 150 MB more at most (measured), so that all stays below 600 MB.
    ``part_threshold``: objects above it go in parts. ``part_size``: None for the tables in ``moving.parts``.
    ``copy_threshold``: what is larger is copied in parts: S3 copies no more by one request.
    ``bwlimit``: how fast bytes of objects may pass, over all connections and processes; ``max_requests_per_second``: how
    many requests may begin in a second. Both hold for each side.
    ``processes``: how many may carry, this one included; None for as many as there are processors, up to four, and only
    while they are of use.
    """

    workers: int = 256
    max_memory: int = 384 * MIB
    part_threshold: int = 8 * MIB
    part_size: int | None = None
    copy_threshold: int = 5 * GIB
    processes: int | None = None
    bwlimit: Timetable = UNLIMITED
    max_requests_per_second: int | None = None
