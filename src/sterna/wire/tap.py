"""Read the rest of a large body straight from its socket, by threads: half the processor's time of an event loop."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import select
import socket
import ssl
import struct
import termios
from collections.abc import Callable
from typing import Any, Final, cast

from sterna.model.errors import ConnectionLost
from sterna.model.units import KIB, MIB
from sterna.wire.tls import CAN_SHARE, RECORD, TlsTransport, is_cut

LEAST: Final = MIB // 2  # of a body: a thread is not worth its hop for less
_AT_ONCE: Final = 256 * KIB  # that are to be there before a thread is woken for them
_PATIENCE_MS: Final = (
    3  # that a thread waits for more: longer than another core needs to send it, and no loss to others
)


def tap_of(loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> Tap | None:
    """A tap of a transport that does not read now; None where its socket cannot be shared, or its TLS is the loop's."""
    if not CAN_SHARE or transport.get_write_buffer_size():
        return None
    if isinstance(transport, TlsTransport):
        return TlsTap(loop, transport)
    return Tap(loop, transport) if transport.get_extra_info("sslcontext") is None else None


class Tap:
    """The socket of a transport that does not read now. ``take`` is for threads, one at a time; the rest for the loop.

    The descriptor is its own, so that no other file can get its number while a thread uses it, whatever becomes of the
    transport meanwhile.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> None:
        self._loop = loop
        self._socket = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
        self._socket.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._lowest = 1
        self._waiting: asyncio.Future[None] | None = None

    def take(self, view: memoryview, left: int) -> int:
        """Put what is there into the view, which is no longer than the ``left`` bytes of the body; 0 if nothing came for
        a moment. Raises ConnectionLost where nothing will come any more.
        """
        try:
            try:
                count = self._receive(view)
            except BlockingIOError:
                self._wake_at(left)
                if not self._poll.poll(_PATIENCE_MS):
                    return 0
                count = self._receive(view)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise ConnectionLost(f"The connection was lost: {error.strerror}.") from None
        if not count:
            raise ConnectionLost("The connection was closed before all of the answer came.")
        return count

    def _receive(self, view: memoryview) -> int:
        """What is there, 0 at the end. Raises BlockingIOError where nothing is."""
        return self._socket.recv_into(view)

    def _wake_at(self, left: int) -> None:
        """Have the system call the socket readable when much of what is left is there, or when it is closed."""
        self._set_lowest(min(_AT_ONCE, left))

    def _set_lowest(self, count: int) -> None:
        if count != self._lowest:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
            self._lowest = count

    async def readable(self, left: int) -> None:
        """Wait until ``take`` would find something of the ``left`` bytes, or ``end`` is called."""
        if self._lowest > 1:
            self._wake_at(left)  # less may be to come by now than was waited for last
        self._waiting = self._loop.create_future()
        self._loop.add_reader(self._socket, self._wake)
        try:
            await self._waiting
        finally:
            self._loop.remove_reader(self._socket)
            self._waiting = None

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    @property
    def is_waiting(self) -> bool:
        """The network is what is waited for now."""
        return self._waiting is not None

    @property
    def unread(self) -> int:
        """Bytes that came and are too few yet to wake anybody for."""
        (count,) = struct.unpack("i", fcntl.ioctl(self._socket, termios.FIONREAD, b"\0\0\0\0"))
        return int(count)

    def end(self) -> None:
        """The connection is given up: whoever takes or waits finds it closed."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError as error:
            if error.errno not in (errno.ENOTCONN, errno.EBADF):
                raise
        self._wake()

    def close(self) -> None:
        """Give the socket back, as it was. No thread may use it any more."""
        try:
            self._set_lowest(1)
        finally:
            self._socket.close()


class TlsTap(Tap):
    """The same over TLS: the thread decrypts. Between its first ``take`` and ``close`` the library is the thread's."""

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: TlsTransport) -> None:
        super().__init__(loop, transport)
        self._transport = transport
        self._secure = transport.lend()
        # One layer less than recv_into, once for each record, while other threads want the interpreter's lock.
        self._read = cast("Callable[[int, memoryview], int]", self._secure.read)
        self._has_ended = False

    def _receive(self, view: memoryview) -> int:
        read, room, count = self._read, len(view), 0
        try:
            while count < room and not self._has_ended:  # the library gives no more than a record at a time
                got = read(room, view[count:])
                self._has_ended = not got
                count += got
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if not count:
                raise BlockingIOError from None
        except ssl.SSLError as error:
            if not is_cut(error):
                raise
            self._has_ended = True
        return count

    def _wake_at(self, left: int) -> None:
        # Of these, the library may hold up to a record that has not come to its end; all else is still to come.
        super()._wake_at(max(1, left - RECORD))

    async def readable(self, left: int) -> None:
        if not self._secure.pending():  # what is decrypted already, no event tells of
            await super().readable(left)

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._transport.give_back()


async def until_ended(task: asyncio.Future[Any]) -> None:
    """Wait for what must not be left alone, a task or a thread, also when this one is cancelled meanwhile, however often."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
