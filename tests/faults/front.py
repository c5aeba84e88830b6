"""Turn an honest S3 server into a faulty one: an HTTP front on raw sockets that counts, records, lies, cuts and stalls.

    with Front(server) as front:
        front.fault("Complete", kind=EmptyBody())  # the first Complete is answered 200 with nothing, and not done
        front.fault("UploadPart", nth="every 3rd", kind=SLOW_DOWN)
        front.before("GetRange", nth=2, call=lambda request: bucket.put("big", other))
        ...
    # leaving the block fails if a declared fault was never hit

A thread serves each connection, with one connection to the server behind it. A request passes through five steps, and
a kind of fault overrides those that it changes:

    before    the head has arrived, the body has not: cut, stall, delay
    instead   answer without asking the server: refuse, lie
    upward    change what the server is asked
    downward  change what the server answered; cut, stall or slow the delivery of it
    (every answer, invented ones included, goes through downward)

Several faults may act on one request; they act in the order of their declaration.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import random
import re
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, formatdate
from html import unescape
from http import HTTPStatus
from types import TracebackType
from typing import Literal, NoReturn, Self
from urllib.parse import parse_qsl, quote, unquote_to_bytes, urlsplit
from xml.sax.saxutils import escape

from tests.servers.process import free_ports
from tests.servers.server import ACCESS_KEY, REGION, SECRET_KEY, Facts, Server

CHUNK = 256 * 1024
WAIT_S = 30.0  # how long a test waits for something that should happen at once

# ---------------------------------------------------------------------------------------------------------------------
# Operations: a request line and its headers become one of these words
# ---------------------------------------------------------------------------------------------------------------------

LISTS = ("ListV2", "ListV1", "ListVersions", "ListUploads", "ListParts")
READS = ("Head", "Get", "GetRange")
WRITES = ("Put", "CreateMPU", "UploadPart", "UploadPartCopy", "Copy", "Complete", "Abort", "Delete", "DeleteObjects")
BUCKETS = ("ListBuckets", "HeadBucket", "CreateBucket", "DeleteBucket", "GetLocation")
OTHERS = ("GetSub", "PutSub", "DeleteSub", "GetBucketSub", "PutBucketSub", "DeleteBucketSub", "STS", "Other")
OPERATIONS = frozenset((*LISTS, *READS, *WRITES, *BUCKETS, *OTHERS))
CONNECT = "Connect"  # not a request: the moment a connection was accepted

_SUBRESOURCES = frozenset(
    "accelerate acl analytics attributes cors encryption intelligent-tiering inventory legal-hold lifecycle logging"
    " metrics notification object-lock ownershipControls policy policyStatus publicAccessBlock replication"
    " requestPayment restore retention select session tagging torrent versioning website".split()
)


def classify(method: str, key: str, bucket: str, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    """The S3 operation that a request asks for. Header names are in lower case."""
    sub = not _SUBRESOURCES.isdisjoint(query)
    if not bucket:
        return {"GET": "ListBuckets", "POST": "STS"}.get(method, "Other")
    if not key:
        match method:
            case "HEAD":
                return "HeadBucket"
            case "PUT":
                return "PutBucketSub" if sub else "CreateBucket"
            case "DELETE":
                return "DeleteBucketSub" if sub else "DeleteBucket"
            case "POST":
                return "DeleteObjects" if "delete" in query else "Other"
            case "GET" if "location" in query:
                return "GetLocation"
            case "GET" if "uploads" in query:
                return "ListUploads"
            case "GET" if "versions" in query:
                return "ListVersions"
            case "GET" if sub:
                return "GetBucketSub"
            case "GET":
                return "ListV2" if query.get("list-type") == "2" else "ListV1"
        return "Other"
    copies = "x-amz-copy-source" in headers
    match method:
        case "HEAD":
            return "Head"
        case "GET" if "uploadId" in query:
            return "ListParts"
        case "GET" if sub:
            return "GetSub"
        case "GET":
            return "GetRange" if "range" in headers else "Get"
        case "PUT" if "uploadId" in query:
            return "UploadPartCopy" if copies else "UploadPart"
        case "PUT" if sub:
            return "PutSub"
        case "PUT":
            return "Copy" if copies else "Put"
        case "POST" if "uploads" in query:
            return "CreateMPU"
        case "POST" if "uploadId" in query:
            return "Complete"
        case "DELETE" if "uploadId" in query:
            return "Abort"
        case "DELETE":
            return "DeleteSub" if sub else "Delete"
    return "Other"


# ---------------------------------------------------------------------------------------------------------------------
# Values: a request, an answer
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Request:
    """What was asked, as it was seen; the record of it stays in ``front.requests``."""

    operation: str
    method: str
    target: str  # the path and query, as sent
    bucket: str
    key: str  # decoded; bytes that are not UTF-8 as surrogates
    query: dict[str, str]
    headers: dict[str, str]  # names in lower case; of repeated ones the last
    header_lines: list[tuple[str, str]]
    connection: int  # 1 is the first that was accepted
    nth_on_connection: int  # above 1: the connection was reused
    at: float  # time.monotonic()
    length: int | None = None  # bytes of body announced; None: chunked
    body: bytes | None = None  # with keep_bodies, or where a fault had to read all of it
    status: int = 0  # what was answered; 0: nothing
    answered_at: float = 0.0
    faults: list[Fault] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"<{self.operation} {self.bucket}/{self.key} on connection {self.connection}: {self.status or 'none'}>"


@dataclass
class Answer:
    """What is about to be answered. An iterator as body is sent as it comes; bytes go out in one piece."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes | Iterator[bytes] = b""
    reason: str = ""
    length: int | None = None  # what Content-Length says, where it is not the length of the body; None: computed
    chunked: bool = False
    until_close: bool = False  # no length: the end of the connection is the end of the body
    no_body: bool = False  # HEAD, 204, 304: headers about a body that is not sent
    close: bool = False
    close_unsaid: bool = False  # closes after the answer without a Connection header
    copies: int = 1
    status_line_is_out: bool = False
    cut_head_at: int | None = None
    on_cut: Callable[[], None] | None = None

    def header(self, name: str) -> str | None:
        wanted = name.lower()
        return next((value for name, value in self.headers if name.lower() == wanted), None)

    def set(self, name: str, value: str | None) -> None:
        """Replace a header, or remove it."""
        wanted = name.lower()
        self.headers = [(name, old) for name, old in self.headers if name.lower() != wanted]
        if value is not None:
            self.headers.append((name, value))

    def whole(self) -> bytes:
        """The body as bytes, read to its end."""
        if not isinstance(self.body, bytes):
            self.body = b"".join(self.body)
        return self.body

    def replace(self, body: bytes) -> None:
        """Another body, with a Content-Length that is right."""
        self.body, self.length, self.chunked, self.until_close = body, None, False, False

    def pieces(self) -> Iterator[bytes]:
        """The body as an iterator that a fault may wrap."""
        return iter((self.body,)) if isinstance(self.body, bytes) else self.body

    def announced(self) -> int | None:
        """How many bytes of body the head promises."""
        if self.chunked or self.until_close:
            return None
        if self.length is not None:
            return self.length
        return len(self.body) if isinstance(self.body, bytes) else None

    def stream(self, body: Iterator[bytes]) -> None:
        """Send this instead, under the Content-Length that stands."""
        self.length = self.announced()
        self.body = body


class Ended(Exception):
    """The connection was ended on purpose, or by the client: nothing more is to be done on it."""


class UpstreamBroke(Exception):
    """The server behind the front failed us, which no test has asked for."""


# ---------------------------------------------------------------------------------------------------------------------
# Sockets
# ---------------------------------------------------------------------------------------------------------------------


class Wire:
    """One socket with a buffer, read as HTTP."""

    def __init__(self, sock: socket.socket, is_upstream: bool = False) -> None:
        self.sock = sock
        self.buffer = bytearray()
        self.used_at = time.monotonic()
        self.intake = CHUNK  # what is taken from the socket at once
        self.is_dropped = False
        self._is_upstream = is_upstream

    def _receive(self, limit: int) -> bytes:
        try:
            return self.sock.recv(min(limit, self.intake))
        except OSError as broke:
            if self._is_upstream:
                raise UpstreamBroke(f"the server behind the front: {broke}") from broke
            raise

    def _cut_off(self, where: str) -> Exception:
        return UpstreamBroke(f"the server behind the front left {where}") if self._is_upstream else Ended(where)

    def head(self) -> bytes | None:
        """Everything up to the empty line, which is consumed; None where the peer left first."""
        at = 0
        while (end := self.buffer.find(b"\r\n\r\n", at)) < 0:
            at = max(0, len(self.buffer) - 3)
            if len(self.buffer) > 1 << 20:
                raise self._cut_off("a head of more than a mebibyte")
            data = self._receive(CHUNK)
            if not data:
                return None
            self.buffer += data
        head = bytes(self.buffer[:end])
        del self.buffer[: end + 4]
        return head

    def line(self) -> bytes:
        while (end := self.buffer.find(b"\r\n")) < 0:
            data = self._receive(CHUNK)
            if not data:
                raise self._cut_off("in the middle of a line")
            self.buffer += data
        line = bytes(self.buffer[:end])
        del self.buffer[: end + 2]
        return line

    def some(self, limit: int) -> bytes:
        """At least a byte and at most ``limit``; nothing at the end."""
        if self.buffer:
            data = bytes(self.buffer[:limit])
            del self.buffer[:limit]
            return data
        return self._receive(limit)

    def fixed(self, length: int) -> Iterator[bytes]:
        while length:
            data = self.some(length)
            if not data:
                raise self._cut_off(f"{length} bytes before the end of a body")
            length -= len(data)
            yield data

    def chunked(self) -> Iterator[bytes]:
        while size := int(self.line().split(b";")[0], 16):
            yield from self.fixed(size)
            self.line()
        while self.line():  # trailers
            pass

    def until_end(self) -> Iterator[bytes]:
        while data := self.some(CHUNK):
            yield data

    @property
    def is_stale(self) -> bool:
        """The other side has closed, or said something that nobody asked for."""
        poll = select.poll()
        poll.register(self.sock, select.POLLIN | select.POLLHUP | select.POLLERR)
        return bool(self.buffer) or bool(poll.poll(0))

    @property
    def is_left(self) -> bool:
        """The peer has closed its side or the whole connection, even if it sent data before that."""
        poll = select.poll()
        poll.register(self.sock, getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR)
        return bool(poll.poll(0))

    def close(self) -> None:
        try:
            self.sock.close()
        except OSError:
            pass

    def reset(self) -> None:
        """End the connection with an RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # The close of a TLS socket shuts down first, which would be a FIN: take the descriptor from under it.
        if isinstance(self.sock, ssl.SSLSocket):
            socket.socket(fileno=self.sock.detach()).close()
        else:
            self.sock.close()

    def finish(self) -> None:
        """End the connection with a FIN, also where the peer is still sending (a plain close would then be an RST)."""
        try:
            if not isinstance(self.sock, ssl.SSLSocket):
                self.sock.shutdown(socket.SHUT_WR)
                self.sock.settimeout(2)
                while self.sock.recv(CHUNK):
                    pass
        except OSError:
            pass
        self.close()


# ---------------------------------------------------------------------------------------------------------------------
# A request under way
# ---------------------------------------------------------------------------------------------------------------------


class Exchange:
    """One request on its way up and its answer on the way down: what the kinds of faults work on."""

    def __init__(self, front: Front, client: Wire, upstream: Upstream, request: Request, body: Iterator[bytes]) -> None:
        self.front = front
        self.client = client
        self.upstream = upstream
        self.request = request
        self.acted: set[Fault] = set()  # the faults that changed it on its way up
        self.header_lines = request.header_lines
        self.target = request.target
        self.is_read = request.length == 0
        self._body = body
        self.whole: bytes | None = None  # the body as it goes up, where it was read already
        self._continue_due = request.headers.get("expect", "").lower() == "100-continue"

    # The body on its way up

    def say_continue(self) -> None:
        if self._continue_due:
            self._continue_due = False
            self.client.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    @property
    def still_waits_for_continue(self) -> bool:
        return self._continue_due

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes in, once."""
        if self.whole is not None:
            yield self.whole
            return
        self.say_continue()
        kept: list[bytes] | None = [] if self.front.keep_bodies else None
        for piece in self._body:
            if kept is not None:
                kept.append(piece)
            yield piece
        self.is_read = True
        if kept is not None:
            self.request.body = b"".join(kept)

    def body(self) -> bytes:
        """The whole body, from now on kept."""
        if self.whole is None:
            self.whole = self.request.body = b"".join(self.pieces())
        return self.whole

    def replace_body(self, body: bytes) -> None:
        """Send this up instead. What the client announced about its body (digests, framing) goes no further."""
        self.whole = body
        self.is_read = True
        dropped = ("content-length", "transfer-encoding", "content-md5", "x-amz-trailer", "x-amz-content-sha256")
        self.header_lines = [
            (name, value)
            for name, value in self.header_lines
            if name.lower() not in dropped
            and name.lower() not in ("x-amz-decoded-content-length", "x-amz-sdk-checksum-algorithm")
            and not name.lower().startswith("x-amz-checksum-")
            and not (name.lower() == "content-encoding" and value.strip() == "aws-chunked")
        ]
        self.header_lines += [("Content-Length", str(len(body))), ("x-amz-content-sha256", "UNSIGNED-PAYLOAD")]

    def payload(self) -> bytes:
        """The bytes of the object in the body: without aws-chunked framing, if there is any."""
        body = self.body()
        if "aws-chunked" not in self.request.headers.get("content-encoding", ""):
            return body
        found, at = bytearray(), 0
        while True:
            end = body.index(b"\r\n", at)
            size = int(body[at:end].split(b";")[0], 16)
            if not size:
                return bytes(found)
            found += body[end + 2 : end + 2 + size]
            at = end + 2 + size + 2

    def drop_header(self, *names: str) -> None:
        self.header_lines = [(name, value) for name, value in self.header_lines if name.lower() not in names]

    # Time

    def wait(self, seconds: float) -> None:
        """Let time pass, unless the client leaves or the front closes, which end the exchange."""
        self.wait_until(threading.Event(), seconds)

    def wait_until(self, event: threading.Event, seconds: float | None = None) -> None:
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            left = 0.02 if deadline is None else min(0.02, deadline - time.monotonic())
            if left <= 0 or event.wait(left):
                return
            if self.front.is_closed or self.client.is_left:
                raise Ended("the client left")

    # Ends

    def end(self, by: By) -> NoReturn:
        if by == "RST":
            self.client.reset()
        else:
            self.client.finish()
        raise Ended(by)


By = Literal["FIN", "RST"]

# ---------------------------------------------------------------------------------------------------------------------
# Kinds of faults
# ---------------------------------------------------------------------------------------------------------------------


class Kind:
    """What goes wrong. A subclass overrides the steps that it changes and calls ``fault.hit()`` when it has acted."""

    def fits(self, operation: str) -> bool:
        """Whether this can happen to an operation; a fault that cannot is refused when it is declared."""
        return operation != CONNECT or type(self).connected is not Kind.connected

    def connected(self, wire: Wire, fault: Fault) -> bool:
        """Act on a connection that was just accepted; False ends it. Only for faults of ``Connect``."""
        raise NotImplementedError

    def before(self, exchange: Exchange, fault: Fault) -> None:
        pass

    def instead(self, exchange: Exchange, fault: Fault) -> Answer | None:
        return None

    def upward(self, exchange: Exchange, fault: Fault) -> None:
        pass

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        pass


# Connections that end


@dataclass(frozen=True)
class ResetBeforeRequest(Kind):
    """The head has arrived; the connection ends, nothing was applied. As a fault of ``Connect``: ends at once."""

    by: By = "RST"

    def connected(self, wire: Wire, fault: Fault) -> bool:
        fault.hit()
        if self.by == "RST":
            wire.reset()
        else:
            wire.finish()
        return False

    def before(self, exchange: Exchange, fault: Fault) -> None:
        fault.hit()
        exchange.end(self.by)


@dataclass(frozen=True)
class ResetAtRequestByte(Kind):
    """The connection ends when ``at`` bytes of the request's body have been read; nothing was applied."""

    at: int
    by: By = "RST"

    def before(self, exchange: Exchange, fault: Fault) -> None:
        length = exchange.request.length
        if length is not None and length < self.at:
            return
        for _ in _first(exchange.pieces(), self.at):
            pass
        fault.hit()
        exchange.end(self.by)


@dataclass(frozen=True)
class ResetAfterApply(Kind):
    """The server has done it; its answer is lost."""

    by: By = "RST"

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        answer.whole()
        fault.hit()
        exchange.end(self.by)


@dataclass(frozen=True)
class CutHead(Kind):
    """The connection ends inside the head of the answer, after ``at`` bytes of it."""

    at: int = 20
    by: By = "FIN"

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        answer.whole()
        answer.cut_head_at = self.at

        def end() -> None:
            fault.hit()
            exchange.end(self.by)

        answer.on_cut = end


@dataclass(frozen=True)
class CutBody(Kind):
    """The connection ends after ``at`` bytes of the answer's body; 0: right after the headers.

    ``pretty``: a chunked body that ends as it should, only too early, with no Content-Length to tell.
    """

    at: int
    by: By = "FIN"
    pretty: bool = False

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        pieces = answer.pieces()
        if self.pretty:
            answer.length, answer.chunked = None, True

        def cut() -> Iterator[bytes]:
            yield from _first(pieces, self.at)
            fault.hit()
            if not self.pretty:
                exchange.end(self.by)

        if self.pretty:
            answer.body = cut()
            answer.close = True
        else:
            answer.stream(cut())


@dataclass(frozen=True)
class CloseAfterAnswer(Kind):
    """The connection is closed after the answer; unless ``announced``, no header says so."""

    announced: bool = False
    by: By = "FIN"

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        fault.hit()
        if self.announced:
            answer.close = True
        else:
            answer.close_unsaid = True


# Time


@dataclass(frozen=True)
class Latency(Kind):
    """The request waits this long before the server is asked."""

    seconds: float
    jitter_s: float = 0.0

    def before(self, exchange: Exchange, fault: Fault) -> None:
        fault.hit()
        exchange.wait(self.seconds + random.uniform(0, self.jitter_s))

    def connected(self, wire: Wire, fault: Fault) -> bool:
        fault.hit()
        time.sleep(self.seconds + random.uniform(0, self.jitter_s))
        return True


@dataclass(frozen=True)
class StallBeforeRequest(Kind):
    """The head has arrived; nothing happens until ``fault.release()``, or the client leaves. Then it goes on as usual.

    As a fault of ``Connect``: the connection is open, and its first request is not read.
    """

    def before(self, exchange: Exchange, fault: Fault) -> None:
        fault.hit()
        exchange.wait_until(fault.released)

    def connected(self, wire: Wire, fault: Fault) -> bool:
        fault.hit()
        while not (fault.released.wait(0.02) or wire.is_left):
            pass
        return True


@dataclass(frozen=True)
class StallAtRequestByte(Kind):
    """``at`` bytes of the body are read, then no more until released. Nothing is applied before that."""

    at: int

    def upward(self, exchange: Exchange, fault: Fault) -> None:
        rest: list[bytes] = []
        pieces = exchange.pieces()
        start = b"".join(_first(pieces, self.at, keep_rest=rest))
        fault.hit()
        exchange.wait_until(fault.released)
        exchange.whole = start + b"".join(rest) + b"".join(pieces)


@dataclass(frozen=True)
class StallBeforeAnswer(Kind):
    """The server has done it; no byte of its answer is sent until released."""

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        if not exchange.request.operation.startswith("Get"):
            answer.whole()
        fault.hit()
        exchange.wait_until(fault.released)


@dataclass(frozen=True)
class StallAtBodyByte(Kind):
    """``at`` bytes of the answer's body are sent, the others when released."""

    at: int

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        pieces = answer.pieces()
        rest: list[bytes] = []

        def stall() -> Iterator[bytes]:
            yield from _first(pieces, self.at, keep_rest=rest)
            fault.hit()
            exchange.wait_until(fault.released)
            yield from rest
            yield from pieces

        answer.stream(stall())


@dataclass(frozen=True)
class Drip(Kind):
    """The answer's body comes ``size`` bytes at a time with ``every_s`` between them: Drip(1, 20), Drip(1024, 1)."""

    size: int
    every_s: float

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        pieces = answer.pieces()

        def drip() -> Iterator[bytes]:
            for piece in pieces:
                for at in range(0, len(piece), self.size):
                    yield piece[at : at + self.size]
                    fault.hit_once(exchange.request)
                    exchange.wait(self.every_s)

        answer.stream(drip())


@dataclass(frozen=True)
class SlowIntake(Kind):
    """The request's body is taken ``size`` bytes at a time with ``every_s`` between them."""

    size: int
    every_s: float

    def upward(self, exchange: Exchange, fault: Fault) -> None:
        exchange.client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        exchange.client.intake = self.size
        taken = bytearray()
        for piece in exchange.pieces():
            fault.hit_once(exchange.request)
            taken += piece
            exchange.wait(self.every_s * len(piece) / self.size)
        exchange.client.intake = CHUNK
        exchange.whole = bytes(taken)


# Answers that refuse


@dataclass(frozen=True)
class Refuse(Kind):
    """An error as S3 says it. ``early``: before the body is read, and the connection is closed, as S3 does."""

    status: int
    code: str = ""
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    inside: Mapping[str, str] = field(default_factory=dict)  # further elements of the <Error>, <Region> or <Endpoint>
    early: bool = False
    applied: bool = False  # the server is asked all the same; its answer is thrown away

    def instead(self, exchange: Exchange, fault: Fault) -> Answer | None:
        if self.applied:
            return None
        if not self.early:
            exchange.body()
        fault.hit()
        return self._answer(exchange)

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        if self.applied:
            answer.whole()
            fault.hit()
            said = self._answer(exchange)
            answer.status, answer.reason, answer.headers = said.status, said.reason, said.headers
            answer.replace(said.whole())

    def _answer(self, exchange: Exchange) -> Answer:
        code = self.code or HTTPStatus(self.status).phrase.replace(" ", "")
        answer = error(exchange.request, self.status, code, self.message, self.inside)
        for name, value in self.headers.items():
            answer.set(name, value)
        answer.close = self.early and not exchange.is_read
        return answer


@dataclass(frozen=True)
class Html(Kind):
    """A page for people, as gateways and captive portals send it: Html(), Html(502), Html(504)."""

    status: int = 200

    def instead(self, exchange: Exchange, fault: Fault) -> Answer | None:
        exchange.body()
        fault.hit()
        phrase = HTTPStatus(self.status).phrase
        body = f"<!DOCTYPE html>\n<html><head><title>{phrase}</title></head><body><h1>{phrase}</h1><hr></body></html>\n"
        return Answer(self.status, [("Content-Type", "text/html"), ("Server", "gateway")], body.encode())


@dataclass(frozen=True)
class Redirect(Kind):
    """Sent elsewhere: ``to`` is ``http://host:port``, the path and query stay."""

    to: str
    status: int = 307
    code: str = "TemporaryRedirect"
    with_location: bool = True

    def instead(self, exchange: Exchange, fault: Fault) -> Answer | None:
        exchange.body()
        fault.hit()
        answer = error(
            exchange.request, self.status, self.code, "Please use this address.", {"Endpoint": urlsplit(self.to).netloc}
        )
        if self.with_location:
            answer.set("Location", self.to + exchange.request.target)
        return answer


@dataclass(frozen=True)
class SkewedClock(Kind):
    """The server's clock is ``by_s`` seconds ahead: it says so in Date, and refuses what was signed 15 minutes off."""

    by_s: float

    def instead(self, exchange: Exchange, fault: Fault) -> Answer | None:
        signed = exchange.request.headers.get("x-amz-date", "")
        try:
            at = datetime.strptime(signed, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        except ValueError:
            return None
        if abs((self._now() - at).total_seconds()) <= 900:
            return None
        exchange.body()
        fault.hit()
        message = "The difference between the request time and the current time is too large."
        inside = {"RequestTime": signed, "ServerTime": self._now().strftime("%Y-%m-%dT%H:%M:%SZ")}
        return error(exchange.request, 403, "RequestTimeTooSkewed", message, inside)

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        answer.set("Date", format_datetime(self._now(), usegmt=True))

    def _now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.by_s)


SLOW_DOWN = Refuse(503, "SlowDown", "Please reduce your request rate.")
SERVICE_UNAVAILABLE = Refuse(503, "ServiceUnavailable")
INTERNAL_ERROR = Refuse(500, "InternalError", "We encountered an internal error. Please try again.")
BAD_GATEWAY = Html(502)
GATEWAY_TIMEOUT = Html(504)
TOO_MANY_REQUESTS = Refuse(429, "TooManyRequests", headers={"Retry-After": "1"})
REQUEST_TIMEOUT = Refuse(400, "RequestTimeout", "Your socket connection was not read from or written to in time.")
EXPIRED_TOKEN = Refuse(400, "ExpiredToken", "The provided token has expired.")
ACCESS_DENIED = Refuse(403, "AccessDenied", "Access Denied")
INVALID_ACCESS_KEY = Refuse(403, "InvalidAccessKeyId")
SIGNATURE_MISMATCH = Refuse(403, "SignatureDoesNotMatch")
NO_SUCH_KEY = Refuse(404, "NoSuchKey")
NO_SUCH_BUCKET = Refuse(404, "NoSuchBucket")
NO_SUCH_UPLOAD = Refuse(404, "NoSuchUpload", "The specified multipart upload does not exist.")
PRECONDITION_FAILED = Refuse(412, "PreconditionFailed")
CONDITIONAL_CONFLICT = Refuse(409, "ConditionalRequestConflict")
OPERATION_ABORTED = Refuse(409, "OperationAborted")
INVALID_RANGE = Refuse(416, "InvalidRange")
NOT_IMPLEMENTED = Refuse(501, "NotImplemented")
BAD_DIGEST = Refuse(400, "BadDigest")
INVALID_OBJECT_STATE = Refuse(403, "InvalidObjectState", "The operation is not valid for the object's storage class")


def permanent_redirect(region: str) -> Refuse:
    """301 without a Location, as S3 answers in the wrong region; the right one is in a header."""
    inside = {"Endpoint": f"s3.{region}.amazonaws.com"}
    return Refuse(301, "PermanentRedirect", "Wrong region.", {"x-amz-bucket-region": region}, inside)


def wrong_region(region: str) -> Refuse:
    """400 AuthorizationHeaderMalformed with the region that S3 expects."""
    message = f"The authorization header is malformed; the region is wrong; expecting '{region}'"
    headers = {"x-amz-bucket-region": region}
    return Refuse(400, "AuthorizationHeaderMalformed", message, headers, {"Region": region})


# Answers that lie about success


@dataclass(frozen=True)
class Lie(Kind):
    """Answered with success, plausible headers, an ETag and the echoed checksum; the server was never asked."""

    def fits(self, operation: str) -> bool:
        return operation in (*WRITES, "CreateBucket")

    def instead(self, exchange: Exchange, fault: Fault) -> Answer | None:
        answer = plausible(exchange)
        fault.hit()
        return answer


@dataclass(frozen=True)
class EmptyBody(Kind):
    """A status of success and no body. Unless ``applied``, the server was never asked."""

    status: int = 200
    applied: bool = False

    def instead(self, exchange: Exchange, fault: Fault) -> Answer | None:
        if self.applied:
            return None
        exchange.body()
        fault.hit()
        return Answer(self.status, [("Content-Type", "application/xml")])

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        if self.applied:
            answer.whole()
            fault.hit()
            answer.status, answer.reason = self.status, ""
            answer.replace(b"")


@dataclass(frozen=True)
class ErrorIn200(Kind):
    """200 with an <Error> in the body, after ``blanks`` bytes of white space. The server was never asked."""

    code: str = "InternalError"
    message: str = "We encountered an internal error. Please try again."
    blanks: int = 0

    def instead(self, exchange: Exchange, fault: Fault) -> Answer | None:
        exchange.body()
        fault.hit()
        answer = error(exchange.request, 200, self.code, self.message)
        declaration, rest = answer.whole().split(b"\n", 1)
        answer.replace(declaration + b"\n" + b" " * self.blanks + rest)
        return answer


@dataclass(frozen=True)
class CutXml(Kind):
    """An XML body that ends after ``at`` bytes, under a Content-Length that says so. Unless ``applied``, nothing was
    done: the body is a plausible one."""

    at: int
    applied: bool = False

    def instead(self, exchange: Exchange, fault: Fault) -> Answer | None:
        lies = not self.applied and exchange.request.operation in WRITES
        return plausible(exchange) if lies else None

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        body = answer.whole()
        if self.at < len(body):
            fault.hit()
            answer.replace(body[: self.at])


@dataclass(frozen=True)
class ShortStore(Kind):
    """Only the first ``size`` bytes are stored; the answer is that of a whole one. Needs a server that checks no
    signatures."""

    size: int

    def fits(self, operation: str) -> bool:
        return operation in ("Put", "UploadPart")

    def upward(self, exchange: Exchange, fault: Fault) -> None:
        payload = exchange.payload()
        if len(payload) > self.size:
            fault.hit()
            exchange.acted.add(fault)
            exchange.replace_body(payload[: self.size])

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        if fault in exchange.acted and answer.status == 200:
            stored = answer.header("ETag")
            for name, value in plausible(exchange).headers:
                answer.set(name, value)
            said = answer.header("ETag")
            if stored and said and exchange.request.operation == "UploadPart":
                exchange.front.translate_etag(said, stored)


@dataclass(frozen=True)
class FlipRequestBit(Kind):
    """One bit of the body changes on its way up. A server that checks what the client sent along will refuse it;
    ``unnoticed``: it was sent nothing to check."""

    at: int
    unnoticed: bool = False

    def upward(self, exchange: Exchange, fault: Fault) -> None:
        body = exchange.body()
        if self.at < len(body):
            fault.hit()
            if self.unnoticed:
                exchange.replace_body(_flipped(exchange.payload(), self.at))
            else:
                exchange.whole = _flipped(body, self.at)


@dataclass(frozen=True)
class DelayedVisibility(Kind):
    """What was just stored is not there for the next ``requests`` that look: 404 by key, absent from listings."""

    requests: int

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        if answer.status == 200:
            fault.hit()
            exchange.front.hide(exchange.request.bucket, exchange.request.key, self.requests)


# Answers that are wrong


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


@dataclass(frozen=True)
class RefuseChecksums(Kind):
    """The server refuses a request that names one of these headers, as strict old ones do."""

    headers: tuple[str, ...] = ("x-amz-checksum-crc64nvme",)
    status: int = 400
    code: str = "InvalidArgument"

    def instead(self, exchange: Exchange, fault: Fault) -> Answer | None:
        named = [name for name in self.headers if name in exchange.request.headers]
        if not named:
            return None
        exchange.body()
        fault.hit()
        return error(exchange.request, self.status, self.code, f"Unsupported header {named[0]}")


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
                    yield _flipped(piece, at - passed)
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


# Answers without an end


@dataclass(frozen=True)
class HugeHeader(Kind):
    """``size`` bytes of header lines before the others, sent as long as the client takes them."""

    size: int = 1 << 30

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        fault.hit()
        send = exchange.client.sock.sendall
        send(f"HTTP/1.1 {answer.status} {answer.reason or 'OK'}\r\n".encode())
        lines = b"".join(b"x-filler-%06d: %s\r\n" % (number, b"f" * 1000) for number in range(64))
        for _ in range(0, self.size, len(lines)):
            send(lines)
        answer.status_line_is_out = True


@dataclass(frozen=True)
class EndlessContinue(Kind):
    """100 Continue, again and again, ``times`` or as long as the client takes them; then the answer."""

    times: int = 10_000_000

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        fault.hit()
        batch = b"HTTP/1.1 100 Continue\r\n\r\n" * 1000
        for _ in range(self.times // 1000):
            exchange.client.sock.sendall(batch)
        exchange.client.sock.sendall(batch[: self.times % 1000 * 25])


@dataclass(frozen=True)
class EndlessBody(Kind):
    """A body of ``size`` bytes, chunked, sent as long as the client takes it; the status is what the server said, or
    ``status`` without asking it. ``filler`` is repeated."""

    status: int | None = None
    size: int = 1 << 30
    filler: bytes = b"<Contents><Key>and another one</Key><Size>0</Size></Contents>"

    def instead(self, exchange: Exchange, fault: Fault) -> Answer | None:
        if self.status is None:
            return None
        exchange.body()
        return Answer(self.status, [("Content-Type", "application/xml")])

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        pieces = answer.pieces()

        def endless() -> Iterator[bytes]:
            fault.hit()
            yield from pieces
            piece = (self.filler * (CHUNK // len(self.filler) + 1))[:CHUNK]
            for _ in range(0, self.size, CHUNK):
                yield piece

        answer.body, answer.chunked, answer.length, answer.no_body = endless(), True, None, False


@dataclass(frozen=True)
class XmlBomb(Kind):
    """200 with XML whose entities would grow to gigabytes."""

    root: str = "ListBucketResult"

    def instead(self, exchange: Exchange, fault: Fault) -> Answer | None:
        exchange.body()
        fault.hit()
        entities = ['<!ENTITY e0 "ha">']
        entities += [f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 11)]
        body = f"<?xml version='1.0'?><!DOCTYPE {self.root} [{''.join(entities)}]><{self.root}>&e10;</{self.root}>"
        return Answer(200, [("Content-Type", "application/xml")], body.encode())


# Listings that are wrong. All of them work on ListV2, ListV1, ListVersions, ListParts and ListUploads.

_ENTRY = re.compile(rb"\s*<(Contents|CommonPrefixes|Version|DeleteMarker|Upload|Part)>.*?</\1>", re.DOTALL)
_TOKENS = ("NextContinuationToken", "NextMarker", "NextKeyMarker", "NextPartNumberMarker")
_TOKENS_ALL = (*_TOKENS, "NextUploadIdMarker", "NextVersionIdMarker")
_TOKENS_SENT = ("continuation-token", "marker", "key-marker", "part-number-marker")
_NEXT = {"ListV2": "NextContinuationToken", "ListV1": "NextMarker", "ListParts": "NextPartNumberMarker"}


class ListFault(Kind):
    """A fault of a page of a listing: ``change`` gets a page that was listed rightly."""

    def fits(self, operation: str) -> bool:
        return operation in LISTS

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        if answer.status != 200:
            return
        page = answer.whole()
        changed = self.change(page, exchange, fault)
        if changed is not None:
            fault.hit()
            answer.replace(changed)

    def change(self, page: bytes, exchange: Exchange, fault: Fault) -> bytes | None:
        """The page as it is to be shown, or None where it gives no occasion."""
        raise NotImplementedError


@dataclass(frozen=True)
class TruncatedWithoutToken(ListFault):
    """IsTruncated is true and there is no token; only the first ``keep`` entries are shown (None: half of them)."""

    keep: int | None = None

    def change(self, page: bytes, exchange: Exchange, fault: Fault) -> bytes | None:
        found = entries(page)
        page = with_entries(page, found[: len(found) // 2 if self.keep is None else self.keep])
        for name in _TOKENS_ALL:
            page = without_tag(page, name)
        return with_tag(page, "IsTruncated", "true")


@dataclass(frozen=True)
class TokenButNotTruncated(ListFault):
    """IsTruncated is false although there is more, and a token to get it with."""

    def change(self, page: bytes, exchange: Exchange, fault: Fault) -> bytes | None:
        if tag(page, "IsTruncated") != "true":
            return None
        return with_tag(page, "IsTruncated", "false")


@dataclass(frozen=True)
class ShortPage(ListFault):
    """A page that looks like the last one and is not: the first ``keep`` entries, no token, not truncated."""

    keep: int | None = None

    def change(self, page: bytes, exchange: Exchange, fault: Fault) -> bytes | None:
        found = entries(page)
        page = with_entries(page, found[: len(found) // 2 if self.keep is None else self.keep])
        for name in _TOKENS_ALL:
            page = without_tag(page, name)
        return with_tag(page, "IsTruncated", "false")


@dataclass(frozen=True)
class EmptyList(ListFault):
    """Nothing there, says a listing that succeeds."""

    def change(self, page: bytes, exchange: Exchange, fault: Fault) -> bytes | None:
        return ShortPage(0).change(page, exchange, fault)


@dataclass(frozen=True)
class RepeatedPage(ListFault):
    """The page before is sent once more, with its token. The first page has none before it, and is left alone."""

    def change(self, page: bytes, exchange: Exchange, fault: Fault) -> bytes | None:
        return exchange.front.page_before(exchange.request)


@dataclass(frozen=True)
class RepeatedToken(ListFault):
    """The page says that there is more, and its token is the one that it was asked with."""

    def change(self, page: bytes, exchange: Exchange, fault: Fault) -> bytes | None:
        sent = _token_of(exchange.request)
        if not sent:
            return None
        name = _NEXT.get(exchange.request.operation, "NextKeyMarker")
        return with_tag(with_tag(page, "IsTruncated", "true"), name, sent)


@dataclass(frozen=True)
class MissingPage(ListFault):
    """The page after this one is shown in its place, so that a page of keys is never seen."""

    def change(self, page: bytes, exchange: Exchange, fault: Fault) -> bytes | None:
        token = tag(page, "NextContinuationToken")
        if not token:
            return None
        path, _, query = exchange.request.target.partition("?")
        kept = [pair for pair in query.split("&") if not pair.startswith(("continuation-token=", "start-after="))]
        exchange.target = f"{path}?{'&'.join([*kept, 'continuation-token=' + quote(token, safe='')])}"
        return exchange.front.ask_upstream(exchange).whole()


@dataclass(frozen=True)
class ShuffledPage(ListFault):
    """The entries of a page in another order."""

    seed: int = 1

    def change(self, page: bytes, exchange: Exchange, fault: Fault) -> bytes | None:
        found = entries(page)
        shuffled = list(found)
        random.Random(self.seed).shuffle(shuffled)
        if shuffled == found:
            shuffled.reverse()
        return with_entries(page, shuffled) if shuffled != found else None


@dataclass(frozen=True)
class ListWithout(ListFault):
    """These keys are in no page; ``honest_count``: nor does KeyCount include them."""

    keys: tuple[str, ...]
    honest_count: bool = True

    def __init__(self, *keys: str, honest_count: bool = True) -> None:
        object.__setattr__(self, "keys", keys)
        object.__setattr__(self, "honest_count", honest_count)

    def change(self, page: bytes, exchange: Exchange, fault: Fault) -> bytes | None:
        return without_keys(page, set(self.keys), self.honest_count)


@dataclass(frozen=True)
class WrongKeyCount(ListFault):
    """KeyCount is off by ``delta``."""

    delta: int = 1

    def change(self, page: bytes, exchange: Exchange, fault: Fault) -> bytes | None:
        count = tag(page, "KeyCount")
        return None if count is None else with_tag(page, "KeyCount", str(int(count) + self.delta))


@dataclass(frozen=True)
class DeleteErrors(Kind):
    """DeleteObjects answers 200, with an <Error> for some keys, which were not deleted.

    ``keys`` or the first ``count`` of those asked for (None: all). ``twice``: each error stands there twice;
    ``strange``: keys that nobody asked for are in the answer; ``silent``: they are in neither list.
    """

    keys: tuple[str, ...] = ()
    count: int | None = None
    code: str = "AccessDenied"
    twice: bool = False
    silent: bool = False
    strange: tuple[str, ...] = ()

    def fits(self, operation: str) -> bool:
        return operation == "DeleteObjects"

    def upward(self, exchange: Exchange, fault: Fault) -> None:
        spared = self._spared(exchange)
        body = re.sub(
            rb"<Object>.*?</Object>",
            lambda m: b"" if key_of(m[0]) in spared else m[0],
            exchange.body(),
            flags=re.DOTALL,
        )
        fault.hit()
        exchange.replace_body(body)
        md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
        exchange.header_lines.append(("Content-MD5", md5))

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        spared = self._spared(exchange)
        if b"<DeleteResult" not in answer.whole():  # all were spared, and some servers refuse an empty request
            answer.status, answer.reason = 200, ""
            answer.set("Content-Type", "application/xml")
            answer.replace(b'<?xml version="1.0" encoding="UTF-8"?>\n<DeleteResult></DeleteResult>')
        body = re.sub(rb"<DeleteResult([^>]*)/>", rb"<DeleteResult\1></DeleteResult>", answer.whole())
        errors = "".join(
            f"<Error><Key>{escape(key)}</Key><Code>{self.code}</Code><Message>said the front</Message></Error>"
            for key in ([] if self.silent else [*spared, *(spared if self.twice else [])])
        )
        errors += "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in self.strange)
        answer.replace(body.replace(b"</DeleteResult>", errors.encode("utf-8", "surrogateescape") + b"</DeleteResult>"))

    def _spared(self, exchange: Exchange) -> list[str]:
        sent = exchange.body() if exchange.request.body is None else exchange.request.body
        asked = [key_of(found) for found in re.findall(rb"<Object>.*?</Object>", sent, re.DOTALL)]
        return [key for key in asked if key in self.keys] if self.keys else asked[: self.count]


# ---------------------------------------------------------------------------------------------------------------------
# What the kinds are made of
# ---------------------------------------------------------------------------------------------------------------------


def error(
    request: Request, status: int, code: str, message: str = "", inside: Mapping[str, str] | None = None
) -> Answer:
    """An error answer as S3 writes it; a HEAD gets none of the words."""
    more = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in (inside or {}).items())
    resource = escape(f"/{request.bucket}/{request.key}".encode("utf-8", "replace").decode())
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{escape(message or code)}</Message>{more}<Resource>{resource}</Resource>"
        "<RequestId>FRONTREQUESTID00</RequestId><HostId>front-host-id</HostId></Error>"
    )
    return Answer(
        status,
        [
            ("x-amz-request-id", "FRONTREQUESTID00"),
            ("x-amz-id-2", "front-host-id"),
            ("Date", formatdate(usegmt=True)),
            ("Content-Type", "application/xml"),
            ("Server", "front"),
        ],
        body.encode(),
    )


def plausible(exchange: Exchange) -> Answer:
    """The answer that a client hopes for, made up without asking anybody."""
    request = exchange.request
    headers = [
        ("x-amz-request-id", "FRONTREQUESTID00"),
        ("x-amz-id-2", "front-host-id"),
        ("Date", formatdate(usegmt=True)),
        ("Server", "front"),
    ]
    checksums = [
        (name, value)
        for name, value in request.header_lines
        if name.lower().startswith("x-amz-checksum-") and name.lower() != "x-amz-checksum-algorithm"
    ]
    resource = f"<Bucket>{request.bucket}</Bucket><Key>{escape(request.key)}</Key>"
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")

    def xml(root: str, inside: str) -> Answer:
        said = f'<{root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inside}</{root}>'
        body = f'<?xml version="1.0" encoding="UTF-8"?>\n{said}'.encode("utf-8", "surrogateescape")
        return Answer(200, [*headers, ("Content-Type", "application/xml")], body)

    match request.operation:
        case "Put" | "UploadPart":
            etag = f'"{hashlib.md5(exchange.front.payload_of(exchange)).hexdigest()}"'
            if checksums and request.operation == "Put":
                checksums.append(("x-amz-checksum-type", "FULL_OBJECT"))
            return Answer(200, [*headers, ("ETag", etag), *checksums])
        case "CreateMPU":
            exchange.body()
            return xml("InitiateMultipartUploadResult", resource + "<UploadId>an-upload-of-the-front</UploadId>")
        case "Complete":
            etags = [e.strip() for e in re.findall(rb"<ETag>(?:&quot;|\")?([0-9a-f]{32})", exchange.body())]
            whole = hashlib.md5(b"".join(bytes.fromhex(etag.decode()) for etag in etags)).hexdigest()
            said = "".join(f"<{_xml_checksum(name)}>{value}</{_xml_checksum(name)}>" for name, value in checksums)
            return xml(
                "CompleteMultipartUploadResult",
                f"<Location>/{request.bucket}</Location>{resource}<ETag>&quot;{whole}-{len(etags)}&quot;</ETag>{said}",
            )
        case "Copy":
            exchange.body()
            etag = hashlib.md5(request.headers["x-amz-copy-source"].encode()).hexdigest()
            return xml("CopyObjectResult", f"<ETag>&quot;{etag}&quot;</ETag><LastModified>{now}</LastModified>")
        case "UploadPartCopy":
            exchange.body()
            etag = hashlib.md5(request.headers["x-amz-copy-source"].encode()).hexdigest()
            return xml("CopyPartResult", f"<ETag>&quot;{etag}&quot;</ETag><LastModified>{now}</LastModified>")
        case "Delete" | "Abort":
            exchange.body()
            return Answer(204, headers, no_body=True)
        case "DeleteObjects":
            asked = re.findall(rb"<Object>.*?</Object>", exchange.body(), re.DOTALL)
            quiet = b"<Quiet>true" in exchange.body()
            said = "".join(f"<Deleted><Key>{escape(key_of(one))}</Key></Deleted>" for one in asked)
            return xml("DeleteResult", "" if quiet else said)
        case "CreateBucket":
            exchange.body()
            return Answer(200, [*headers, ("Location", f"/{request.bucket}")])
    raise TypeError(f"there is no plausible lie about {request.operation}")


def _token_of(request: Request) -> str | None:
    """Where the client wants the listing to go on."""
    return next((request.query[name] for name in _TOKENS_SENT if request.query.get(name)), None)


def entries(page: bytes) -> list[bytes]:
    """The entries of a page of a listing, as they stand there."""
    return [found[0] for found in _ENTRY.finditer(page)]


def with_entries(page: bytes, wanted: list[bytes]) -> bytes:
    """The page with other entries, and a KeyCount that is right."""
    found = list(_ENTRY.finditer(page))
    if found:
        page = page[: found[0].start()] + b"".join(wanted) + page[found[-1].end() :]
    return with_tag(page, "KeyCount", str(len(wanted))) if tag(page, "KeyCount") is not None else page


def without_keys(page: bytes, keys: Collection[str], honest_count: bool = True) -> bytes | None:
    """The page without some keys; None where they are not on it."""
    found = entries(page)
    encoded = tag(page, "EncodingType") == "url"
    kept = [entry for entry in found if key_of(entry, encoded) not in keys]
    if len(kept) == len(found):
        return None
    count = tag(page, "KeyCount")
    page = with_entries(page, kept)
    return with_tag(page, "KeyCount", count) if count is not None and not honest_count else page


def key_of(entry: bytes, encoded: bool = False) -> str:
    found = re.search(rb"<(?:Key|Prefix)>(.*?)</", entry, re.DOTALL)
    text = found[1] if found else b""
    if encoded:
        text = unquote_to_bytes(text.replace(b"+", b" "))
    return unescape(text.decode("utf-8", "surrogateescape"))


def tag(page: bytes, name: str) -> str | None:
    """What an element outside the entries says."""
    found = re.search(rb"<%s>([^<]*)</" % name.encode(), _ENTRY.sub(b"", page))
    return found[1].decode() if found else None


def without_tag(page: bytes, name: str) -> bytes:
    return re.sub(rb"\s*<%s>[^<]*</%s>|\s*<%s ?/>" % ((name.encode(),) * 3), b"", page, count=1)


def with_tag(page: bytes, name: str, value: str) -> bytes:
    """The page with an element, replaced or added right after the root's start."""
    element = f"<{name}>{escape(value)}</{name}>".encode()
    pattern = rb"<%s>[^<]*</%s>|<%s ?/>" % ((name.encode(),) * 3)
    changed, count = re.subn(pattern, lambda _: element, page, count=1)
    return changed if count else re.sub(rb"(<[A-Z]\w*[^>]*>)", lambda m: m[1] + element, page, count=1)


def _is_about_checksums(name: str) -> bool:
    return name.startswith("x-amz-checksum-") or name in ("x-amz-sdk-checksum-algorithm", "x-amz-trailer")


def _xml_checksum(header: str) -> str:
    kind = header.lower().removeprefix("x-amz-checksum-")
    return "ChecksumType" if kind == "type" else f"Checksum{kind.upper()}"


def _wrong_base64(value: str) -> str:
    text, dash, count = value.partition("-")
    try:
        return base64.b64encode(_flipped(base64.b64decode(text), 0)).decode() + dash + count
    except (ValueError, IndexError):
        return "AAAAAA=="


def _flipped(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def _first(pieces: Iterator[bytes], size: int, keep_rest: list[bytes] | None = None) -> Iterator[bytes]:
    """The first ``size`` bytes; what was taken of the next goes into ``keep_rest``."""
    left = size
    while left > 0:
        piece = next(pieces, None)
        if piece is None:
            return
        if len(piece) > left and keep_rest is not None:
            keep_rest.append(piece[left:])
        yield piece[:left]
        left -= len(piece)


# ---------------------------------------------------------------------------------------------------------------------
# Rules: which requests a fault is for
# ---------------------------------------------------------------------------------------------------------------------

Nth = int | str | range | Collection[int]
KeyPattern = str | re.Pattern[str] | None


def is_nth(nth: Nth, count: int) -> bool:
    """Whether the ``count``-th request is meant: by 1, range(2, 5), {1, 4}, "always", "every 3rd", "from 2nd"."""
    match nth:
        case int():
            return count == nth
        case "always":
            return True
        case str():
            found = re.fullmatch(r"(every|from) (\d+)(?:st|nd|rd|th)", nth)
            if not found:
                raise ValueError(f'nth is a number, a range, "always", "every 3rd" or "from 2nd", not {nth!r}')
            return count % int(found[2]) == 0 if found[1] == "every" else count >= int(found[2])
    return count in nth


class Fault:
    """A declared fault: for which requests, and how often it has acted."""

    def __init__(
        self,
        operation: str | Collection[str],
        kind: Kind,
        nth: Nth = 1,
        key: KeyPattern = None,
        where: Callable[[Request], bool] | None = None,
        must_hit: bool = True,
    ) -> None:
        names = (operation,) if isinstance(operation, str) else tuple(operation)
        unknown = set(names) - OPERATIONS - {"*", CONNECT}
        if unknown:
            raise ValueError(f"no operation is called {', '.join(sorted(unknown))}; there are {sorted(OPERATIONS)}")
        misfits = [name for name in names if name != "*" and not kind.fits(name)]
        if misfits or ("*" in names and not all(map(kind.fits, OPERATIONS))):
            raise ValueError(f"{kind!r} cannot happen to {', '.join(misfits) or 'everything'}")
        is_nth(nth, 1)  # complains here, not in the thread of a connection
        self.operations = OPERATIONS if "*" in names else frozenset(names)  # "*" is every request, not Connect
        self.kind = kind
        self.nth = nth
        self.key = key
        self.where = where
        self.must_hit = must_hit
        self.seen = 0
        self.hits = 0
        self.released = threading.Event()
        self._changed = threading.Condition()
        self._last: Request | None = None
        self._said = "/".join(names)

    @classmethod
    def nowhere(cls) -> Fault:
        return cls((), Kind(), must_hit=False)

    def __repr__(self) -> str:
        key = f" of {self.key!r}" if self.key is not None else ""
        return f"{self._said}{key} nth={self.nth!r} {self.kind!r}: seen {self.seen}, hit {self.hits}"

    def is_for(self, request: Request) -> bool:
        """Count the request if it is one of ours, and say whether it is the one."""
        if request.operation not in self.operations:
            return False
        if isinstance(self.key, str) and request.key != self.key:
            return False
        if isinstance(self.key, re.Pattern) and not self.key.search(request.key):
            return False
        if self.where is not None and not self.where(request):
            return False
        self.seen += 1
        return is_nth(self.nth, self.seen)

    def hit(self) -> None:
        with self._changed:
            self.hits += 1
            self._changed.notify_all()

    def hit_once(self, request: Request) -> None:
        """As ``hit``, at most once a request."""
        if self._last is not request:
            self._last = request
            self.hit()

    def wait_until_hit(self, times: int = 1, timeout_s: float = WAIT_S) -> None:
        """Wait until it has acted so often; a stall acts when it has begun."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.hits >= times, timeout_s):
                raise AssertionError(f"not hit {times} times in {timeout_s:g} s: {self!r}")

    def release(self) -> None:
        """Let go what stalls now, and what would stall later."""
        self.released.set()


@dataclass(frozen=True)
class Call(Kind):
    """Run code of the test at this moment; what it raises is raised again when the front is left."""

    call: Callable[[Request], object]
    is_after: bool = False

    def before(self, exchange: Exchange, fault: Fault) -> None:
        if not self.is_after:
            self._run(exchange, fault)

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        if self.is_after:
            answer.whole()
            self._run(exchange, fault)

    def _run(self, exchange: Exchange, fault: Fault) -> None:
        try:
            self.call(exchange.request)
        except Exception as raised:
            exchange.front.errors.append(raised)
        fault.hit()


# ---------------------------------------------------------------------------------------------------------------------
# The front
# ---------------------------------------------------------------------------------------------------------------------


class Front:
    """A front on a free port of loopback. ``upstream`` is a Server, or None: then every request needs a fault that
    answers it, and what is left gets 501.

    ``keep_bodies`` keeps each request's body in its record. ``idle_limit_s`` closes idle connections, ``idle_end``
    says how. ``tls`` makes it speak HTTPS.
    """

    def __init__(
        self,
        upstream: Server | None = None,
        *,
        keep_bodies: bool = False,
        idle_limit_s: float | None = None,
        idle_end: By = "FIN",
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.upstream = upstream
        self.keep_bodies = keep_bodies
        self.idle_limit_s = idle_limit_s
        self.idle_end = idle_end
        self.host = host
        self.requests: list[Request] = []
        self.errors: list[Exception] = []
        self.connections = 0  # accepted so far
        self.open_connections = 0
        self.in_flight = 0
        self.peak_in_flight = 0
        self.is_closed = False
        self._tls = tls
        self._faults: list[Fault] = []
        self._pages: dict[tuple[str, str, str], bytes] = {}  # by the token that leads on from them
        self._etags: dict[bytes, bytes] = {}
        self._hidden: dict[tuple[str, str], int] = {}
        self._changed = threading.Condition()
        self._wires: set[Wire] = set()
        self._threads: set[threading.Thread] = set()
        self._fillers: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self.port = 0
        self.accept_connections()

    def __repr__(self) -> str:
        behind = self.upstream.name if self.upstream else "nothing"
        return (
            f"<Front :{self.port} before {behind}: {len(self.requests)} requests, {self.open_connections} of"
            f" {self.connections} connections open, {self.in_flight} in flight, {len(self._faults)} faults>"
        )

    # What a test says

    @property
    def endpoint_url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self.host}:{self.port}"

    @property
    def server(self) -> Server:
        """The front as a server: same keys, same facts, another address."""
        up = self.upstream
        return Server(
            f"{up.name if up else 'nothing'} behind a front",
            self.endpoint_url,
            up.access_key if up else ACCESS_KEY,
            up.secret_key if up else SECRET_KEY,
            up.region if up else REGION,
            up.facts if up else Facts(checks_signatures=False),
        )

    def fault(
        self,
        operation: str | Collection[str],
        *,
        kind: Kind,
        nth: Nth = 1,
        key: KeyPattern = None,
        where: Callable[[Request], bool] | None = None,
        must_hit: bool = True,
    ) -> Fault:
        """Let the n-th request of an operation (and key, and ``where``), counted from now, go wrong."""
        fault = Fault(operation, kind, nth, key, where, must_hit)
        with self._changed:
            self._faults.append(fault)
        return fault

    def before(
        self,
        operation: str | Collection[str],
        *,
        call: Callable[[Request], object],
        nth: Nth = 1,
        key: KeyPattern = None,
        where: Callable[[Request], bool] | None = None,
    ) -> Fault:
        """Run ``call(request)`` when the head of the n-th has arrived; the server hears of it afterwards."""
        return self.fault(operation, kind=Call(call), nth=nth, key=key, where=where)

    def after(
        self,
        operation: str | Collection[str],
        *,
        call: Callable[[Request], object],
        nth: Nth = 1,
        key: KeyPattern = None,
        where: Callable[[Request], bool] | None = None,
    ) -> Fault:
        """Run ``call(request)`` when the server has answered the n-th; the client hears of it afterwards."""
        return self.fault(operation, kind=Call(call, is_after=True), nth=nth, key=key, where=where)

    def remove(self, fault: Fault) -> None:
        """From now on all is well again."""
        with self._changed:
            self._faults.remove(fault)
        fault.release()

    def hits(self, fault: Fault) -> int:
        return fault.hits

    def count(self, operation: str | Collection[str] = "*", key: KeyPattern = None) -> int:
        """How many of these requests have arrived."""
        return len(self.requests_of(operation, key))

    def requests_of(self, operation: str | Collection[str] = "*", key: KeyPattern = None) -> list[Request]:
        fault = Fault(operation, Kind(), "always", key)
        with self._changed:
            return [request for request in self.requests if fault.is_for(request)]

    def counts(self) -> dict[str, int]:
        """The requests so far by operation."""
        with self._changed:
            names = [request.operation for request in self.requests]
        return {name: names.count(name) for name in sorted(set(names))}

    def wait_for(
        self,
        operation: str | Collection[str],
        times: int = 1,
        *,
        key: KeyPattern = None,
        answered: bool = False,
        timeout_s: float = WAIT_S,
    ) -> Request:
        """Wait until so many have arrived (or been answered) since the front began; returns the last of them."""

        def found() -> list[Request]:
            fault = Fault(operation, Kind(), "always", key)
            return [r for r in self.requests if (r.answered_at or not answered) and fault.is_for(r)]

        with self._changed:
            if not self._changed.wait_for(lambda: len(found()) >= times, timeout_s):
                raise AssertionError(f"{len(found())} of {times} {operation} in {timeout_s:g} s: {self.counts()}")
            return found()[times - 1]

    def forget(self) -> None:
        """Forget the requests so far; the faults stay."""
        with self._changed:
            self.requests.clear()
            self.peak_in_flight = self.in_flight

    # Connections

    def accept_connections(self) -> None:
        """Take connections, as from the beginning, on the same port."""
        self._stop_listening()
        self._listener = listener = self._bound()
        listener.listen(512)
        threading.Thread(target=self._accept, args=(listener,), name=f"front:{self.port}", daemon=True).start()

    def refuse_connections(self, *, drop_open: bool = True) -> None:
        """From now on nobody listens: connecting is refused; open connections are reset, unless told otherwise."""
        self._stop_listening()
        if drop_open:
            self.drop_connections()

    def hang_connections(self, *, drop_open: bool = True) -> None:
        """From now on connecting neither succeeds nor fails (Linux: the queue of the listener is full)."""
        self._stop_listening()
        if drop_open:
            self.drop_connections()
        self._listener = listener = self._bound()
        listener.listen(0)
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex((self.host, self.port))
            self._fillers.append(filler)
        time.sleep(0.01)

    def drop_connections(self, by: By = "RST") -> None:
        """End every open connection, whatever it is doing."""
        with self._changed:
            wires = list(self._wires)
        for wire in wires:
            wire.is_dropped = True
            try:
                if by == "RST":
                    wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                wire.sock.shutdown(socket.SHUT_RD if by == "RST" else socket.SHUT_RDWR)
            except OSError:
                pass

    @contextmanager
    def refusing_connections(self) -> Iterator[None]:
        self.refuse_connections()
        try:
            yield
        finally:
            self.accept_connections()

    @contextmanager
    def hanging_connections(self) -> Iterator[None]:
        self.hang_connections()
        try:
            yield
        finally:
            self.accept_connections()

    # The end

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
        if error is None:
            self.check()

    def check(self) -> None:
        """Raise what went wrong in the front or in a hook, and complain of every fault that was never hit."""
        if self.errors:
            raise self.errors[0]
        missed = [repr(fault) for fault in self._faults if fault.must_hit and not fault.hits]
        if missed:
            raise AssertionError("never hit:\n  " + "\n  ".join(missed) + f"\nrequests: {self.counts()}")

    def close(self) -> None:
        """End every connection and thread. May be called twice."""
        self.is_closed = True
        self._stop_listening()
        for fault in self._faults:
            fault.release()
        self.drop_connections("FIN")
        with self._changed:
            threads = list(self._threads)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(5)

    # Inside

    def hide(self, bucket: str, key: str, requests: int) -> None:
        with self._changed:
            self._hidden[bucket, key] = requests

    def page_before(self, request: Request) -> bytes | None:
        """The page whose token this request came with."""
        token = _token_of(request)
        return self._pages.get((request.operation, request.bucket, token)) if token else None

    def translate_etag(self, said: str, stored: str) -> None:
        """In a later Complete, the server is told the ETag that it knows, and no checksums of bytes it never saw."""
        self._etags[said.strip('"').encode()] = stored.strip('"').encode()

    def payload_of(self, exchange: Exchange) -> bytes:
        """The object's bytes as the client sent them, also after a fault has replaced them."""
        sent = exchange.request.body
        if sent is None:
            return exchange.payload()
        old = Exchange(self, exchange.client, exchange.upstream, exchange.request, iter(()))
        old.whole = sent
        return old.payload()

    def _bound(self) -> socket.socket:
        """A socket on our port. It is chosen once, from where the system takes none for outgoing connections: those
        could have it while we refuse to listen."""
        for _ in range(50):
            port = self.port or free_ports()
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((self.host, port))
            except OSError:
                listener.close()
                if self.port:
                    raise
            else:
                self.port = port
                return listener
        raise RuntimeError("no port for a front")

    def _stop_listening(self) -> None:
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()
        listener, self._listener = self._listener, None
        if listener is not None:
            try:
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            except OSError:
                pass
            listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wire = Wire(sock)
            with self._changed:
                if self.is_closed:
                    wire.close()
                    return
                self.connections += 1
                number = self.connections
                self._wires.add(wire)
                greeting = Request(CONNECT, "", "", "", "", {}, {}, [], number, 0, time.monotonic())
                thread = threading.Thread(
                    target=self._connection,
                    args=(wire, number, self._due(greeting)),  # counted here: in the order of their arrival
                    name=f"front:{self.port}/{number}",
                    daemon=True,
                )
                self._threads.add(thread)
                thread.start()

    def _connection(self, wire: Wire, number: int, faults: list[Fault]) -> None:
        upstream = Upstream(self.upstream)
        with self._changed:
            self.open_connections += 1
        try:
            if all(fault.kind.connected(wire, fault) for fault in faults):
                self._serve(wire, upstream, number)
        except (Ended, OSError):
            pass  # the client, or a fault, has ended it
        except Exception as raised:
            if not self.is_closed:
                self.errors.append(raised)
        finally:
            upstream.close()
            wire.close()
            with self._changed:
                self.open_connections -= 1
                self._wires.discard(wire)
                self._threads.discard(threading.current_thread())
                self._changed.notify_all()

    def _serve(self, wire: Wire, upstream: Upstream, number: int) -> None:
        if self._tls is not None:
            wire.sock = self._tls.wrap_socket(wire.sock, server_side=True)
        nth = 0
        while True:
            pending = isinstance(wire.sock, ssl.SSLSocket) and wire.sock.pending()
            if self.idle_limit_s is not None and not wire.buffer and not pending:
                poll = select.poll()
                poll.register(wire.sock, select.POLLIN)
                if not poll.poll(self.idle_limit_s * 1000):
                    if self.idle_end == "RST":
                        wire.reset()
                    return
            head = wire.head()
            if head is None:
                return
            nth += 1
            request = parse_request(head, number, nth)
            with self._changed:
                self.requests.append(request)
                self.in_flight += 1
                self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
                request.faults = self._due(request)
                self._changed.notify_all()
            try:
                goes_on = self._exchange(wire, upstream, request)
            finally:
                with self._changed:
                    self.in_flight -= 1
                    self._changed.notify_all()
            if not goes_on:
                return

    def _due(self, request: Request) -> list[Fault]:
        with self._changed:
            return [fault for fault in self._faults if fault.is_for(request)]

    def _exchange(self, wire: Wire, upstream: Upstream, request: Request) -> bool:
        """One request and its answer; False where the connection is not to be used again."""
        if request.length is None:
            body = wire.chunked()
        else:
            body = wire.fixed(request.length)
        exchange = Exchange(self, wire, upstream, request, body)
        for fault in request.faults:
            fault.kind.before(exchange, fault)
        answer = self._absent(request)
        for fault in request.faults:
            answer = answer or fault.kind.instead(exchange, fault)
        if answer is None:
            for fault in request.faults:
                fault.kind.upward(exchange, fault)
            answer = self.ask_upstream(exchange)
        if request.operation in LISTS and answer.status == 200:
            self._note_page(request, answer)
        for fault in request.faults:
            fault.kind.downward(exchange, fault, answer)
        if not exchange.is_read:
            if exchange.still_waits_for_continue or answer.close:
                answer.close = True  # the body was never sent, or will never be read
            else:
                exchange.body()
        request.status = answer.status
        self._send(exchange, answer)
        request.answered_at = time.monotonic()
        if answer.close and not exchange.is_read:
            wire.finish()
        wants_close = request.headers.get("connection", "").lower() == "close"
        return not (answer.close or answer.close_unsaid or answer.until_close or wants_close)

    def ask_upstream(self, exchange: Exchange) -> Answer:
        if self._etags and exchange.request.operation == "Complete":
            body = re.sub(rb"<Checksum[^>]*>[^<]*</Checksum[^>]*>", b"", exchange.body())
            for said, stored in self._etags.items():
                body = body.replace(said, stored)
            if body != exchange.body():
                exchange.replace_body(body)
                exchange.drop_header("x-amz-mp-object-size")
        if self.upstream is None:
            exchange.body()
            return error(exchange.request, 501, "NotImplemented", "There is no server behind this front.")
        return exchange.upstream.ask(exchange)

    def _absent(self, request: Request) -> Answer | None:
        """404 for what was put a moment ago and is not yet to be seen."""
        if not self._hidden or request.operation not in READS:
            return None
        with self._changed:
            left = self._hidden.get((request.bucket, request.key), 0)
            if not left:
                return None
            self._hidden[request.bucket, request.key] = left - 1
        return error(request, 404, "NoSuchKey")

    def _note_page(self, request: Request, answer: Answer) -> None:
        page = answer.whole()
        if self._hidden and request.operation != "ListParts":
            with self._changed:
                names = {key for (bucket, key), left in self._hidden.items() if left and bucket == request.bucket}
                for entry in entries(page):
                    key = key_of(entry, tag(page, "EncodingType") == "url")
                    if key in names:
                        self._hidden[request.bucket, key] -= 1
            if names and (changed := without_keys(page, names)) is not None:
                page = changed
                answer.replace(page)
        if tag(page, "IsTruncated") == "true":
            found = entries(page)
            token = next((said for name in _TOKENS if (said := tag(page, name))), None)
            if token is None and found:
                token = key_of(found[-1], tag(page, "EncodingType") == "url")
            if token is not None:
                self._pages[request.operation, request.bucket, token] = page

    def _send(self, exchange: Exchange, answer: Answer) -> None:
        sock = exchange.client.sock
        is_head = exchange.request.method == "HEAD"
        if exchange.client.is_dropped:
            raise Ended("dropped")
        for _ in range(answer.copies):
            head = head_of(answer, is_head)
            if answer.cut_head_at is not None:
                sock.sendall(head[: answer.cut_head_at])
                if answer.on_cut is not None:
                    answer.on_cut()
            if answer.status_line_is_out:
                head = head.partition(b"\r\n")[2]
            if answer.no_body or is_head:
                sock.sendall(head)
            elif isinstance(answer.body, bytes) and not answer.chunked:
                sock.sendall(head + answer.body if len(answer.body) < CHUNK else head)
                if len(answer.body) >= CHUNK:
                    sock.sendall(answer.body)
            else:
                sock.sendall(head)
                for piece in answer.pieces():
                    if answer.chunked and piece:
                        sock.sendall(b"%x\r\n" % len(piece))
                        sock.sendall(piece)
                        sock.sendall(b"\r\n")
                    elif piece:
                        sock.sendall(piece)
                if answer.chunked:
                    sock.sendall(b"0\r\n\r\n")


_HOP_BY_HOP = frozenset(("connection", "keep-alive", "transfer-encoding", "content-length", "proxy-connection"))


class Upstream:
    """The connection to the server behind, opened when needed and replaced when stale."""

    def __init__(self, server: Server | None) -> None:
        self._server = server
        self._wire: Wire | None = None

    def close(self) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def _fresh(self) -> Wire:
        wire = self._wire
        if wire is not None and (time.monotonic() - wire.used_at > 2 or wire.is_stale):
            self.close()
            wire = None
        if wire is None:
            assert self._server is not None
            sock = socket.create_connection((self._server.host, self._server.port), 10)
            sock.settimeout(None)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wire = self._wire = Wire(sock, is_upstream=True)
        return wire

    def ask(self, exchange: Exchange) -> Answer:
        """Send the request as it now stands and return the answer; its body is still to be read."""
        request = exchange.request
        whole = exchange.whole
        if whole is None and (request.length is None or request.length <= CHUNK):
            whole = exchange.body() if request.length is None else b"".join(exchange.pieces())
            if request.length:
                exchange.whole = whole
        lines = [f"{request.method} {exchange.target} HTTP/1.1"]
        has_body = bool(whole) or request.length != 0
        for name, value in exchange.header_lines:
            if name.lower() not in _HOP_BY_HOP and name.lower() != "expect":
                lines.append(f"{name}: {value}")
        if has_body or request.method in ("PUT", "POST"):
            lines.append(f"Content-Length: {request.length if whole is None else len(whole)}")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        try:
            wire = self._fresh()
        except OSError as cannot:
            raise UpstreamBroke(f"the server behind the front does not answer: {cannot}") from cannot
        try:
            if whole is not None:
                wire.sock.sendall(head + whole if len(whole) < CHUNK else head)
                if len(whole) >= CHUNK:
                    wire.sock.sendall(whole)
            else:
                wire.sock.sendall(head)
                for piece in exchange.pieces():
                    wire.sock.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it may have answered before it closed
        answer = self._answer(wire, request.method == "HEAD")
        wire.used_at = time.monotonic()
        return answer

    def _answer(self, wire: Wire, is_head: bool) -> Answer:
        while True:
            head = wire.head()
            if head is None:
                self.close()
                raise UpstreamBroke("the server behind the front closed without an answer")
            first, _, rest = head.decode("latin-1").partition("\r\n")
            _, status, reason = [*first.split(" ", 2), ""][:3]
            if not status.startswith("1"):
                break
        headers: list[tuple[str, str]] = []
        length: int | None = None
        chunked = closes = False
        for line in rest.split("\r\n"):
            name, _, value = line.partition(":")
            name, value = name.strip(), value.strip()
            match name.lower():
                case "content-length":
                    length = int(value)
                case "transfer-encoding":
                    chunked = "chunked" in value.lower()
                case "connection":
                    closes = "close" in value.lower()
                case "":
                    pass
                case _:
                    headers.append((name, value))
        answer = Answer(int(status), headers, reason=reason)
        if is_head or status in ("204", "304"):
            answer.no_body, answer.length = True, length
        elif chunked:
            answer.chunked, answer.body = True, wire.chunked()
        elif length is None:
            answer.until_close, answer.body = True, wire.until_end()
        elif length <= CHUNK:
            answer.body = b"".join(wire.fixed(length))
        else:
            answer.length, answer.body = length, wire.fixed(length)
        if closes and isinstance(answer.body, bytes):
            self.close()
        elif closes:
            self._wire = None  # it lives in the body's iterator
        return answer


def parse_request(head: bytes, connection: int, nth: int) -> Request:
    first, *rest = head.lstrip(b"\r\n").decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    header_lines = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in rest)]
    headers = {name.lower(): value for name, value in header_lines}
    path, _, query_text = target.partition("?")
    if path.startswith(("http://", "https://")):  # as to a proxy
        path = "/" + path.split("/", 3)[3]
    query = dict(parse_qsl(query_text, keep_blank_values=True, errors="surrogateescape")) if query_text else {}
    bucket, _, key = path[1:].partition("/")
    if "%" in key:
        key = unquote_to_bytes(key).decode("utf-8", "surrogateescape")
    if "chunked" in headers.get("transfer-encoding", "").lower():
        length = None
    else:
        length = int(headers.get("content-length", "0"))
    operation = classify(method, key, bucket, query, headers)
    at = time.monotonic()
    return Request(operation, method, target, bucket, key, query, headers, header_lines, connection, nth, at, length)


def head_of(answer: Answer, is_head: bool) -> bytes:
    reason = answer.reason
    if not reason:
        try:
            reason = HTTPStatus(answer.status).phrase
        except ValueError:
            reason = "Unknown"
    lines = [f"HTTP/1.1 {answer.status} {reason}"]
    lines += [f"{name}: {value}" for name, value in answer.headers]
    length = answer.announced()
    if answer.no_body:
        if answer.length is not None:
            lines.append(f"Content-Length: {answer.length}")
    elif answer.chunked:
        lines.append("Transfer-Encoding: chunked")
    elif length is not None:
        lines.append(f"Content-Length: {length}")
    if answer.close or answer.until_close:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
