"""Serve TLS on a port of loopback, by threads that say exactly which bytes go over the wire."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache

import trustme

from sterna.wire.endpoints import Addressing, endpoints_for
from sterna.wire.pool import Pool, Timeouts


@cache
def authority() -> trustme.CA:
    """Who vouches for all servers of these tests."""
    return trustme.CA()


def server_context(name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert(name).configure_cert(context)
    return context


def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context


class Peer:
    """The server's end of a connection: ``cipher`` gives what would be sent, for the test to send as it likes."""

    def __init__(self, raw: socket.socket, context: ssl.SSLContext) -> None:
        self.raw = raw
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._fed(self._tls.do_handshake)

    def _fed(self, call: Callable[[], object]) -> object:
        while True:
            try:
                return call()
            except ssl.SSLWantReadError:
                self.raw.sendall(self._outgoing.read())
                more = self.raw.recv(65536)
                if not more:
                    raise ConnectionError from None
                self._incoming.write(more)
            finally:
                self.raw.sendall(self._outgoing.read())

    def record(self) -> bytes:
        """The next record that came, or a part of it; ConnectionError at the end."""
        got = self._fed(lambda: self._tls.read(65536))
        assert isinstance(got, bytes)
        if not got:
            raise ConnectionError
        return got

    def request(self) -> bytes:
        """Read a request's head; gives what came of its body with it."""
        got = b""
        while b"\r\n\r\n" not in got:
            got += self.record()
        return got.partition(b"\r\n\r\n")[2]

    def cipher(self, data: bytes, *, ends: bool = False) -> bytes:
        """The records that carry the data; with ``ends`` and the close_notify."""
        if data:
            self._tls.write(data)
        if ends:
            with suppress(ssl.SSLWantReadError):
                self._tls.unwrap()
        return self._outgoing.read()

    def send(self, data: bytes, *, ends: bool = False) -> None:
        self.raw.sendall(self.cipher(data, ends=ends))

    def wait(self) -> None:
        """Until the client has gone."""
        with suppress(OSError):
            while self.raw.recv(65536):
                pass


def reset(raw: socket.socket) -> None:
    """Close without a word."""
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raw.close()


@contextmanager
def served(talk: Callable[[socket.socket], None], received_at_once: int = 0) -> Iterator[int]:
    """The port, where ``talk`` has each connection to its end."""
    listener = socket.create_server(("127.0.0.1", 0))
    if received_at_once:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, received_at_once)
    threads: list[threading.Thread] = []

    def serve(raw: socket.socket) -> None:
        with raw, suppress(OSError):
            raw.settimeout(20)
            talk(raw)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threads.append(threading.Thread(target=serve, args=(listener.accept()[0],)))
                threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()
        listener.close()
        for thread in threads:
            thread.join()


@contextmanager
def secured(
    talk: Callable[[Peer], None], context: ssl.SSLContext | None = None, received_at_once: int = 0
) -> Iterator[int]:
    """The same over TLS: ``talk`` begins after the handshake."""
    ours = context or server_context()
    with served(lambda raw: talk(Peer(raw, ours)), received_at_once) as port:
        yield port


def pool_of(port: int, timeouts: Timeouts | None = None) -> Pool:
    endpoint = endpoints_for(Addressing(urls=(f"https://127.0.0.1:{port}",)), "bucket", "us-east-1")[0]
    return Pool(endpoint, None, client_context, timeouts or Timeouts())
