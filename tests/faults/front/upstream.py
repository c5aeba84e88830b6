"""Ask the server behind the front, over a connection that is opened when needed."""

from __future__ import annotations

import socket
import time

from tests.faults.front.answer import Answer
from tests.faults.front.exchange import Exchange
from tests.faults.front.wire import CHUNK, UpstreamBroke, Wire
from tests.servers.server import Server

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
