"""Carry a protocol's bytes over TLS, where the library itself reads and writes the socket."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import sys
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from sterna.model.units import KIB

T = TypeVar("T")
CAN_SHARE: Final = sys.platform == "linux"  # loops there watch any socket, and threads may read one (see ``Tap``)
RECORD: Final = 16 * KIB  # the most that one record of TLS carries (RFC 8446 5.1)
_PIECE: Final = 64 * KIB  # handed to the library at once, which tells of none of it before it has sent all
_AT_ONCE: Final = 64  # records that are read before other connections have their turn


async def secure(
    loop: asyncio.AbstractEventLoop,
    raw: socket.socket,
    context: ssl.SSLContext,
    hostname: str,
    protocol: asyncio.BufferedProtocol,
) -> None:
    """Shake hands over a connected socket that does not block, and give the protocol its transport.

    The socket is taken, also where this fails. Raises OSError, of which ssl.SSLError is one.
    """
    # Python has an end without close_notify look like one with it; of a body without a length it may be a cut.
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    plain = context.wrap_socket(
        raw, server_hostname=hostname, do_handshake_on_connect=False, suppress_ragged_eofs=False
    )
    try:
        while True:
            try:
                plain.do_handshake()
                break
            except ssl.SSLWantReadError:
                await _ready(loop, plain.fileno(), loop.add_reader, loop.remove_reader)
            except ssl.SSLWantWriteError:
                await _ready(loop, plain.fileno(), loop.add_writer, loop.remove_writer)
            except ssl.SSLError as error:
                if not is_cut(error):
                    raise
                raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)) from None
        protocol.connection_made(TlsTransport(loop, plain, protocol))
    except BaseException:
        plain.close()
        raise


def is_cut(error: OSError) -> bool:
    """Whether the peer ended its side without close_notify. (Python 3.11.2 has no class for it.)"""
    return isinstance(error, ssl.SSLEOFError) or (
        isinstance(error, ssl.SSLError) and error.reason == "UNEXPECTED_EOF_WHILE_READING"
    )


async def _ready(
    loop: asyncio.AbstractEventLoop, fd: int, watch: Callable[..., None], unwatch: Callable[[int], bool]
) -> None:
    event = asyncio.Event()
    watch(fd, event.set)
    try:
        await event.wait()
    finally:
        unwatch(fd)


class TlsTransport(asyncio.Transport):
    """What a BufferedProtocol needs of a transport, over an ``ssl.SSLSocket`` after its handshake.

    The loops' own TLS passes each byte through two buffers in memory; here the library decrypts into the protocol's
    buffer what it takes from the socket, and another thread can do that in the loop's stead: ``lend``.

    There is no half-closed state: ``close`` is ``abort``, and what is not sent then never will be. An end without
    close_notify is no ``eof_received``: only ``connection_lost`` tells of it.
    """

    __slots__ = ("_backlog", "_high", "_is_closing", "_is_full", "_is_lent", "_is_paused", "_is_soon", "_loop", "_low",
                 "_protocol", "_read_waits", "_reads", "_socket", "_unsent", "_write_waits",
                 "_writes")  # fmt: skip

    def __init__(
        self, loop: asyncio.AbstractEventLoop, connected: ssl.SSLSocket, protocol: asyncio.BufferedProtocol
    ) -> None:
        super().__init__()
        self._loop = loop
        self._socket = connected
        self._protocol = protocol
        self._backlog: deque[memoryview] = deque()  # what the socket did not take yet, in pieces
        self._unsent = 0
        self._high, self._low = 64 * KIB, 16 * KIB
        self._is_paused = self._is_lent = self._is_closing = False
        self._is_full = False  # the protocol was told to pause writing
        self._reads = self._writes = False  # the loop watches the socket for it
        self._is_soon = False  # the loop is to read once more, whatever it sees of the socket
        self._read_waits = self._write_waits = False  # for the other: a change of keys needs both directions
        self._watch()

    def __repr__(self) -> str:
        state = "closed" if self._is_closing else "lent" if self._is_lent else "paused" if self._is_paused else "open"
        return f"<TlsTransport {state}, {self._unsent} bytes to send>"

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "socket":
            return self._socket
        if name == "sslcontext":
            return self._socket.context
        return default

    def is_closing(self) -> bool:
        return self._is_closing

    # Reading.

    def is_reading(self) -> bool:
        return not self._is_paused and not self._is_closing

    def pause_reading(self) -> None:
        self._is_paused = True
        self._watch()

    def resume_reading(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._watch()

    def lend(self) -> ssl.SSLSocket:
        """The socket for another thread to read from, alone, until it is given back. Nothing may wait to be sent."""
        assert not self._is_closing
        assert not self._is_lent
        assert not self._backlog
        self._is_lent = True
        self._watch()
        return self._socket

    def give_back(self) -> None:
        """No other thread uses the socket any more."""
        self._is_lent = False
        if self._is_closing:
            self._socket.close()
        else:
            self._watch()

    def _watch(self) -> None:
        """Have the loop tell of what there is to read, as long as that is wanted."""
        wanted = not (self._is_paused or self._is_lent or self._is_closing)
        if wanted != self._reads:
            self._reads = wanted
            if wanted:
                self._loop.add_reader(self._socket.fileno(), self._read_ready)
                if self._socket.pending():  # decrypted already: no event will tell of it
                    self._read_soon()
            else:
                self._loop.remove_reader(self._socket.fileno())

    def _read_ready(self) -> None:
        if self._write_waits:
            self._write_waits = False
            self._flush()
        for _ in range(_AT_ONCE):
            if not self._reads:
                return
            try:
                count = self._socket.recv_into(self._asked(self._protocol.get_buffer, -1))
            except ssl.SSLWantReadError:
                return
            except ssl.SSLWantWriteError:
                self._read_waits = True
                self._watch_writable(wanted=True)
                return
            except OSError as error:
                self._end(None if is_cut(error) else error)
                return
            if not count:
                self._protocol.eof_received()
                self._end(None)
                return
            self._asked(self._protocol.buffer_updated, count)
        self._read_soon()  # beside the loop's own event, which is not told of what the library holds

    def _read_soon(self) -> None:
        if not self._is_soon:
            self._is_soon = True
            self._loop.call_soon(self._read_again)

    def _read_again(self) -> None:
        self._is_soon = False
        self._read_ready()

    def _asked(self, call: Callable[[int], T], count: int) -> T:
        """The protocol's answer. What it does not catch itself ends the connection, and is the loop's to report."""
        try:
            return call(count)
        except Exception as error:
            self._end(error)
            raise

    # Writing.

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = high if high is not None else 64 * KIB
        self._low = low if low is not None else self._high // 4

    def get_write_buffer_size(self) -> int:
        return self._unsent

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send what the socket takes now, and the rest later: until then ``data`` must stay as it is."""
        if self._is_closing or not len(data):
            return
        is_next = not self._backlog
        view = memoryview(data)
        self._backlog.extend(view[start : start + _PIECE] for start in range(0, len(view), _PIECE))
        self._unsent += len(view)
        if is_next:
            self._flush()
        if self._unsent > self._high and not self._is_full:
            self._is_full = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """As ``write`` of all of them together: a head and a small body go in one record."""
        first, *others = list_of_data
        for data in others:
            count = max(0, _PIECE - len(first))
            self.write(b"".join((first, memoryview(data)[:count])))
            first = memoryview(data)[count:]
        self.write(first)

    def _flush(self) -> None:
        while self._backlog:
            try:
                sent = self._socket.send(self._backlog[0])
            except ssl.SSLWantWriteError:
                self._watch_writable(wanted=True)
                return
            except ssl.SSLWantReadError:
                self._write_waits = True
                return
            except OSError as error:
                self._end(error)
                return
            piece = self._backlog.popleft()
            assert sent == len(piece), "the library sends all of a piece or tells of none of it"
            self._unsent -= len(piece)
        self._watch_writable(wanted=False)

    def _watch_writable(self, *, wanted: bool) -> None:
        if wanted != self._writes:
            self._writes = wanted
            if wanted:
                self._loop.add_writer(self._socket.fileno(), self._write_ready)
            else:
                self._loop.remove_writer(self._socket.fileno())

    def _write_ready(self) -> None:
        self._flush()
        if self._is_full and self._unsent <= self._low and not self._is_closing:
            self._is_full = False
            self._protocol.resume_writing()
        if self._read_waits:
            self._read_waits = False
            self._read_ready()

    # Ending.

    def close(self) -> None:
        self._end(None)

    def abort(self) -> None:
        self._end(None)

    def _end(self, error: Exception | None) -> None:
        if self._is_closing:
            return
        self._is_closing = True
        self._watch()
        self._watch_writable(wanted=False)
        self._backlog.clear()
        self._unsent = 0
        if not self._is_lent:  # else its descriptor could become another file's while a thread reads
            self._socket.close()
        self._loop.call_soon(self._protocol.connection_lost, error)
