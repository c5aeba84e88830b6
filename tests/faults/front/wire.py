"""Read HTTP from a raw socket, which can also be ended in each way that a connection ends."""

from __future__ import annotations

import select
import socket
import ssl
import struct
import time
from collections.abc import Iterator

CHUNK = 256 * 1024


class Ended(Exception):
    """The connection was ended on purpose, or by the client: nothing more is to be done on it."""


class UpstreamBroke(Exception):
    """The server behind the front failed us, which no test has asked for."""


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
