"""Read the rest of a large body straight from its socket, by threads: half the processor's time of an event loop."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import select
import socket
import struct
import sys
import termios
from typing import Final

from sterna.model.errors import ConnectionLost
from sterna.model.units import KIB, MIB

LEAST: Final = MIB // 2  # of a body: a thread is not worth its hop for less
_AT_ONCE: Final = 256 * KIB  # that are to be there before a thread is woken for them
_PATIENCE_MS: Final = (
    3  # that a thread waits for more: longer than another core needs to send it, and no loss to others
)
CAN_TAP: Final = sys.platform == "linux"


def can_be_tapped(transport: asyncio.Transport) -> bool:
    """Whether what comes is the body itself, in a socket that more than one may read: plain, on Linux."""
    return CAN_TAP and transport.get_extra_info("sslcontext") is None


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
                count = self._socket.recv_into(view)
            except BlockingIOError:
                self._wake_at(min(_AT_ONCE, left))
                if not self._poll.poll(_PATIENCE_MS):
                    return 0
                count = self._socket.recv_into(view)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise ConnectionLost(f"The connection was lost: {error.strerror}.") from None
        if not count:
            raise ConnectionLost("The connection was closed before all of the answer came.")
        return count

    def _wake_at(self, count: int) -> None:
        """Have the system call the socket readable when so many bytes are there, or when it is closed."""
        if count != self._lowest:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
            self._lowest = count

    async def readable(self) -> None:
        """Wait until ``take`` would find something, or ``end`` is called."""
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
            self._wake_at(1)
        finally:
            self._socket.close()


async def until_ended(task: asyncio.Task[None]) -> None:
    """Wait for a task that must not be left alone, also when this one is cancelled meanwhile, however often."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
