"""Kinds of faults: answers that are wrong, in a header, a range or a bit."""

from __future__ import annotations

import base64
import gzip
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from xml.sax.saxutils import escape

from tests.faults.front.answer import Answer
from tests.faults.front.exchange import Exchange
from tests.faults.front.fault import Fault, Kind
from tests.faults.front.pieces import flipped


@dataclass(frozen=True)
class SetHeader(Kind):
    """A header of the answer says something else; None removes it."""

    name: str
    value: str | None

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        fault.hit()
        answer.set(self.name, self.value)


@dataclass(frozen=True)
class WrongETag(Kind):
    """Another ETag, in the header and in the XML."""

    etag: str = '"00000000000000000000000000000bad"'

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        if answer.header("ETag") is not None:
            fault.hit_once(exchange.request)
            answer.set("ETag", self.etag)
        if answer.header("Content-Type") == "application/xml" and b"<ETag>" in answer.whole():
            fault.hit_once(exchange.request)
            new = f"<ETag>{escape(self.etag)}</ETag>".encode()
            answer.replace(re.sub(rb"<ETag>[^<]*</ETag>", lambda _: new, answer.whole()))


@dataclass(frozen=True)
class WrongChecksum(Kind):
    """Each checksum in the answer is that of other bytes, in headers and in the XML."""

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        for name, value in list(answer.headers):
            if name.lower().startswith("x-amz-checksum-") and name.lower() != "x-amz-checksum-type":
                fault.hit_once(exchange.request)
                answer.set(name, _wrong_base64(value))
        if answer.header("Content-Type") == "application/xml":
            pattern = rb"(<Checksum(?:CRC\w+|SHA\w+)>)([^<]*)(</)"
            if re.search(pattern, answer.whole()):
                fault.hit_once(exchange.request)
                answer.replace(
                    re.sub(pattern, lambda m: m[1] + _wrong_base64(m[2].decode()).encode() + m[3], answer.whole())
                )


def _wrong_base64(value: str) -> str:
    text, dash, count = value.partition("-")
    try:
        return base64.b64encode(flipped(base64.b64decode(text), 0)).decode() + dash + count
    except (ValueError, IndexError):
        return "AAAAAA=="


@dataclass(frozen=True)
class HeadLength(Kind):
    """The answer to a HEAD tells another length than the object has; None: it tells none."""

    length: int | None = None

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        if answer.no_body and answer.status == 200:
            fault.hit()
            answer.set("Content-Length", None)
            answer.length = self.length


@dataclass(frozen=True)
class WrongContentLength(Kind):
    """Content-Length is off by ``delta``; the body is as it was, and the connection is closed after it."""

    delta: int

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        body = answer.whole()
        if not answer.no_body and len(body) + self.delta >= 0:
            fault.hit()
            answer.chunked = answer.until_close = False
            answer.length = len(body) + self.delta
            answer.close_unsaid = True


@dataclass(frozen=True)
class WrongContentRange(Kind):
    """Content-Range speaks of other bytes: ``shift`` further on, or as ``value`` says."""

    shift: int = 1
    value: str | None = None

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        found = re.match(r"bytes (\d+)-(\d+)/(\S+)", answer.header("Content-Range") or "")
        if found:
            fault.hit()
            first, last = int(found[1]) + self.shift, int(found[2]) + self.shift
            answer.set("Content-Range", self.value or f"bytes {first}-{last}/{found[3]}")


@dataclass(frozen=True)
class OtherRange(Kind):
    """The bytes of a neighbouring range under the Content-Range that was asked for."""

    shift: int = 1

    def upward(self, exchange: Exchange, fault: Fault) -> None:
        found = re.match(r"bytes=(\d+)-(\d+)$", exchange.request.headers.get("range", ""))
        if found:
            fault.hit()
            exchange.drop_header("range")
            first, last = int(found[1]) + self.shift, int(found[2]) + self.shift
            exchange.header_lines.append(("Range", f"bytes={first}-{last}"))

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        WrongContentRange(-self.shift).downward(exchange, Fault.nowhere(), answer)


@dataclass(frozen=True)
class IgnoreRange(Kind):
    """A range is answered 200 with the whole object."""

    def upward(self, exchange: Exchange, fault: Fault) -> None:
        if "range" in exchange.request.headers:
            fault.hit()
            exchange.drop_header("range", "if-range")


@dataclass(frozen=True)
class IgnoreConditions(Kind):
    """The server knows nothing of If-Match and its kin."""

    def upward(self, exchange: Exchange, fault: Fault) -> None:
        names = [name for name in exchange.request.headers if name.startswith(("if-", "x-amz-copy-source-if-"))]
        if names:
            fault.hit()
            exchange.drop_header(*names)


@dataclass(frozen=True)
class IgnoreChecksums(Kind):
    """The server knows nothing of x-amz-checksum-*: it neither checks nor returns any, as those before 2022."""

    def upward(self, exchange: Exchange, fault: Fault) -> None:
        names = [name for name in exchange.request.headers if _is_about_checksums(name)]
        if names:
            fault.hit()
            exchange.drop_header(*names)

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        answer.headers = [(name, value) for name, value in answer.headers if not _is_about_checksums(name.lower())]


def _is_about_checksums(name: str) -> bool:
    return name.startswith("x-amz-checksum-") or name in ("x-amz-sdk-checksum-algorithm", "x-amz-trailer")


@dataclass(frozen=True)
class FlipBit(Kind):
    """One bit of the answer's body is wrong: of byte ``at``, or of the last one where ``at`` is -1."""

    at: int = 0

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        pieces = answer.pieces()
        length = answer.announced()
        at = self.at if self.at >= 0 or length is None else length + self.at

        def flip() -> Iterator[bytes]:
            passed = 0
            for piece in pieces:
                if 0 <= at - passed < len(piece):
                    fault.hit()
                    yield flipped(piece, at - passed)
                else:
                    yield piece
                passed += len(piece)

        answer.stream(flip())


@dataclass(frozen=True)
class Gzip(Kind):
    """A proxy on the way compresses the body, whether that was asked for or not."""

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        if not answer.no_body:
            body = answer.whole()
            fault.hit()
            answer.set("Content-Encoding", "gzip")
            answer.replace(gzip.compress(body))


@dataclass(frozen=True)
class Duplicate(Kind):
    """The answer is sent twice."""

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        answer.whole()
        fault.hit()
        answer.copies = 2


@dataclass(frozen=True)
class Rewrite(Kind):
    """The body goes through a function of the test."""

    change: Callable[[bytes], bytes]

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        if not answer.no_body:
            body = self.change(answer.whole())
            fault.hit()
            answer.replace(body)
