"""One request on its way up and its answer on the way down: what the kinds of faults work on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, NoReturn

from tests.faults.front.request import Request
from tests.faults.front.wire import Ended, Wire

if TYPE_CHECKING:
    from tests.faults.front.fault import Fault
    from tests.faults.front.front import Front
    from tests.faults.front.upstream import Upstream


By = Literal["FIN", "RST"]


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
