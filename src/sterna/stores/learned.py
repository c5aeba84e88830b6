"""What an endpoint was seen to do with checksums, and what its answers to writes prove."""

from __future__ import annotations

import base64

import msgspec

from sterna.model.errors import Corrupt, SternaError, Unsupported
from sterna.model.units import printable
from sterna.wire.checksum import algorithm
from sterna.wire.connection import Response


class Learned(msgspec.Struct):
    """What this endpoint was seen to do: found out by the first upload, kept for the run.

    ``checksum`` is empty until known, then CRC64NVME, CRC32C or MD5 (Content-MD5 only). ``composite`` says that it
    knows no full-object sum of a multipart object. ``etag_is_opaque``: a plain object's ETag was seen not to be MD5;
    ``etag_is_md5``: it was seen to be, and ``part_etag_is_md5`` those of parts, which some servers make otherwise.
    ``refused_conditions`` are the headers of conditional writes that it does not take, or judges in a way of its own;
    ``listed_etags_differ``: its listings show other ETags than its objects, so that a read cannot hang on one.
    ``ranges_show_etags``: it was seen to show the object's ETag with a range. ``cuts_versions``: whether it gives ranges of
    a version, None until known.
    """

    checksum: str = ""
    tried: int = 0
    composite: bool = False
    etag_is_opaque: bool = False
    etag_is_md5: bool = False
    part_etag_is_md5: bool = False
    refused_conditions: set[str] = set()
    listed_etags_differ: bool = False
    ranges_show_etags: bool = False
    cuts_versions: bool | None = None

    CANDIDATES = ("CRC64NVME", "CRC32C", "MD5")

    @property
    def candidate(self) -> str:
        """The checksum to use for the next upload."""
        return self.checksum or self.CANDIDATES[self.tried]

    def answered(self, name: str, echoed: bool) -> None:
        """An upload with ``name`` was taken, and the server did or did not show the sum that it computed."""
        if self.checksum or name != self.candidate:
            return
        if echoed or name == "MD5":
            self.checksum = name
        else:
            self.refused(name)

    def goes_on(self, name: str) -> None:
        """An upload that was begun with ``name`` earlier goes on: the endpoint took that then."""
        if not self.checksum and name in self.CANDIDATES:
            self.tried = max(self.tried, self.CANDIDATES.index(name))
            if name == "MD5":
                self.checksum = name

    def refused(self, name: str) -> bool:
        """The server does not take ``name``: go on to the next. False where there is none left to try."""
        if self.checksum or name != self.candidate:
            return not self.checksum or self.checksum != name
        if self.tried + 1 >= len(self.CANDIDATES):
            return False
        self.tried += 1
        if self.candidate == "MD5":
            self.checksum = "MD5"
        return True

    def proof(self, name: str, response: Response) -> str:
        """What the answer to a write with the sum ``name`` proves; learns from it what the server does."""
        if name == "MD5":
            self.answered(name, True)
            return "Content-MD5"
        shown = algorithm(name).header_bytes in response.headers
        self.answered(name, shown)
        return name if shown else "Content-MD5"  # which went along while the endpoint was unknown


def check_sum(name: str, expected: str, key: str, response: Response) -> None:
    """Raise Corrupt where the server shows another sum than was sent."""
    if expected:
        shown = response.headers.get(algorithm(name).header_bytes)
        if shown is not None and shown.decode("latin-1") != expected:
            raise other_bytes(key, name)


def is_same_md5(response: Response, sent: dict[str, str], *, sealed: bool) -> bool | None:
    """Whether the ETag is the Content-MD5 that was sent; None where that says nothing, or something better was shown.

    What is encrypted by KMS or with a customer's key (``sealed``) has an ETag that is no MD5 (H14).
    """
    md5, etag = sent.get("content-md5"), response.text(b"etag").strip('"')
    if md5 is None or any(name.startswith(b"x-amz-checksum-") for name in response.headers):
        return None
    if sealed or not _looks_like_md5(etag) or b"x-amz-server-side-encryption" in response.headers:
        return None
    return base64.b64decode(md5).hex() == etag.lower()


def may_refuse_condition(error: SternaError) -> bool:
    """An answer by which a server may mean: I do not know this condition, or you may not learn what stands there."""
    return refuses_checksum(error) or error.status in (403, 405)


def refuses_checksum(error: SternaError) -> bool:
    """An answer by which a server may mean: I do not know this checksum header."""
    if isinstance(error, Unsupported):
        return True
    return error.status == 400 and error.code in (
        "InvalidRequest",
        "InvalidArgument",
        "BadRequest",
        "400",
        "InvalidDigest",
    )


def other_bytes(key: str, sum_name: str) -> Corrupt:
    """The error of a write whose sum, as the server shows it, is not that of what was sent."""
    return Corrupt(f"{printable(key)}: the server stored other bytes than were sent ({sum_name} differs).", key=key)


def _looks_like_md5(etag: str) -> bool:
    return len(etag) == 32 and all(digit in "0123456789abcdefABCDEF" for digit in etag)
