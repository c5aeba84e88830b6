"""Carry one request at a time over one connection: bytes out, an answer in."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol, cast

from sterna.model.errors import ConnectionLost, Corrupt, ObjectChanged, SternaError
from sterna.wire.limits import Throttle, Turnstile
from sterna.wire.parser import HEAD_LIMIT, Head
from sterna.wire.tap import LEAST, Tap, tap_of, until_ended

_HEAD_ROOM = 16 * 1024  # grows to HEAD_LIMIT for the rare answer that needs it
SLICE = 1024 * 1024  # a large body is handed over in slices: progress is seen, and a stalled one can be left
_MOST_INTERIM = 256 * 1024  # bytes of answers 1xx before the real one
_BODY_LIMIT = 16 * 1024 * 1024  # of an answer that nobody gave a sink or a limit for: a listing page, an error (H39)


TOO_LONG = "TooLong"
"""The code of an answer that announces more than its limit: an object that has grown does so however often it is asked
for."""

Drain = Callable[[Callable[[memoryview, int], int], int], Awaitable[int]]  # of ``Tap.take``, and the bytes left


class Sink(Protocol):
    """Where the body of a large answer goes. ``room`` is never asked for while ``is_full``."""

    @property
    def is_full(self) -> bool:
        """No room now: the connection stops reading until it is resumed."""

    def room(self) -> memoryview:
        """Writable, not empty: the next bytes land here."""

    def wrote(self, count: int) -> None:
        """So many bytes landed in what ``room`` gave. Raises SternaError where there are too many."""

    def on_room(self, resume: Callable[[], None]) -> None:
        """Call ``resume`` when there is room again after ``is_full``."""

    @property
    def drain(self) -> Drain | None:
        """Has a thread take some of what is left of the body, until no more is there; gives how many bytes. It raises
        SternaError. None where it cannot."""


class FilePart:
    """A body that is still in its file: ``length`` bytes from ``offset`` of an open descriptor.

    The kernel sends it from its page cache, without a copy through this process. What is sent is what the file holds at
    that moment: only for bodies whose checksum the server checks. ``sha256`` is the payload hash, where one is signed.
    ``read`` fills a view from an offset of the file, and gives how many bytes: it is for where the kernel cannot send, and
    then the body passes through this process a slice at a time.
    """

    __slots__ = ("fd", "length", "offset", "read", "sha256")

    def __init__(
        self, fd: int, offset: int, length: int, sha256: str = "", read: Callable[[memoryview, int], int] | None = None
    ) -> None:
        self.fd = fd
        self.offset = offset
        self.length = length
        self.sha256 = sha256
        self.read = read

    async def slice(self, start: int, most: int) -> memoryview:
        """The next bytes of the body, read in a thread."""
        assert self.read is not None
        view = memoryview(bytearray(min(most, self.length - start)))
        if await asyncio.to_thread(self.read, view, self.offset + start) != len(view):
            raise ObjectChanged("The file became shorter while it was sent.")
        return view

    def __len__(self) -> int:
        return self.length


class Response:
    """One answer: status, lower-case header names to values, and the body, unless a sink took it."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: dict[bytes, bytes], body: bytes | bytearray) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def text(self, name: bytes) -> str:
        """A header's value, or an empty string."""
        return self.headers.get(name, b"").decode("utf-8", "replace")


class Connection(asyncio.BufferedProtocol):
    """An HTTP/1.1 connection that carries one exchange at a time.

    ``progress_s`` is the loop's time of the last byte that moved: the pool ends exchanges that stall. ``reusable``
    says whether another exchange may follow. ``throttle`` is its endpoint's: of a body, the first slice has been admitted
    by whoever asks for the exchange, the others have their turns here. ``brings_object`` says that an answer without a
    sink may be an object too.
    """

    __slots__ = (  # more than 30 attributes in a dict are no longer kept in line, and each costs more (CPython 3.11)
        "_allowed",
        "_body",
        "_body_ended",
        "_body_view",
        "_bodyless",
        "_buffer",
        "_drained",
        "_filled",
        "_has_ended",
        "_head",
        "_interim",
        "_into_sink",
        "_left",
        "_limit",
        "_loop",
        "_overflow",
        "_sending",
        "_sink",
        "_tap",
        "_tapping",
        "_throttle",
        "_transport",
        "_turn",
        "_until_close",
        "_view",
        "_waiter",
        "_writable_fd",
        "_write_paused",
        "answers",
        "brings_object",
        "is_patient",
        "is_to_tunnel",
        "moved",
        "progress_s",
        "reusable",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, throttle: Throttle | None = None) -> None:
        self._loop = loop
        self._throttle = throttle or Throttle(loop, SLICE)
        self._turn: asyncio.Future[None] | None = None  # that this waits for, to send or to read on
        self._allowed = 0  # bytes of the answer that may be read in this turn; below zero, what was read beyond it
        self.brings_object = False
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray(_HEAD_ROOM)
        self._view = memoryview(self._buffer)
        self._filled = 0
        self._head: Head | None = None
        self._waiter: asyncio.Future[Response] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._write_paused = False
        self._sink: Sink | None = None
        self._interim = 0  # bytes of answers 1xx in this exchange
        self._has_ended = False  # the peer closed its side in order
        self._overflow = bytearray()  # of a body without an announced length, what the sink has no room for yet
        self._body_ended = False
        self._into_sink = False
        self._body = bytearray()
        self._body_view = memoryview(b"")
        self._left = 0
        self._bodyless = False
        self._limit = _BODY_LIMIT
        self._until_close = False
        self._sending = False
        self._writable_fd = -1  # a second descriptor of the socket, for sendfile: the loop does not lend its own
        self._tap: Tap | None = None  # the sink reads the rest of the body itself
        self._tapping: asyncio.Task[None] | None = None
        self.reusable = True
        self.is_patient = False  # the answer may be long in coming, or come with a blank now and then
        self.is_to_tunnel = False  # what follows an answer 2xx is no HTTP, whatever it says of its end (RFC 9110 9.3.6)
        self.answers = 0
        self.progress_s = loop.time()
        self.moved = 0

    def __repr__(self) -> str:
        state = "idle" if self._waiter is None else "busy"
        return f"<Connection {state if self.reusable else 'closed'}, {self.answers} answers>"

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=SLICE, low=SLICE // 4)

    def connection_lost(self, error: Exception | None) -> None:
        self.reusable = False
        self._let_go()
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        if self._until_close and self._has_ended and error is None:
            self._end_body()
            return
        nothing_came = self._filled == 0 and self._head is None
        why = f": {error}" if error else ""
        self._fail(
            ConnectionLost(
                f"The connection was closed before {'any' if nothing_came else 'all'} of the answer came{why}.",
                clean=nothing_came and self.answers > 0,
            )
        )

    def eof_received(self) -> bool:
        self._has_ended = True
        return False  # close

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        self.progress_s = self._loop.time()
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._head is not None and self._left:
            most = min(self._left, self._throttle.down_slice)
            if self._into_sink and self._sink is not None:
                try:
                    room = self._sink.room()
                except SternaError as error:
                    # Not from here: uvloop 0.23 crashes where a transport is aborted while it asks for a buffer.
                    self._into_sink, self._left = False, 0
                    self._loop.call_soon(self._fail, error)
                    return memoryview(bytearray(1))
                return room if len(room) <= most else room[:most]
            return self._body_view[-self._left : most - self._left or None]
        return self._view[self._filled :]

    def buffer_updated(self, count: int) -> None:
        self.progress_s = self._loop.time()
        self.moved += count
        try:
            if self._head is None:
                self._filled += count
                self._try_head()
            elif self._left:
                self._left -= count
                if self._into_sink:
                    assert self._sink is not None
                    self._sink.wrote(count)
                    if self._left and self._sink.is_full:
                        self._pause()
                if self._throttle.down is not None:
                    self._pay(self._throttle.down, count)
                if not self._left:
                    self._finish()
            else:
                self._take(bytes(self._view[self._filled : self._filled + count]))
                if self._throttle.down is not None:
                    self._pay(self._throttle.down, count)
        except SternaError as error:
            self._fail(error)

    # An exchange.

    async def exchange(
        self,
        head: bytes,
        body: bytes | bytearray | memoryview | FilePart | None = None,
        *,
        bodyless: bool = False,
        sink: Sink | None = None,
        limit: int = _BODY_LIMIT,
        passed: Callable[[int], None] | None = None,
    ) -> Response:
        """Send ``head`` and ``body``, and give the whole answer. ``passed`` is told how much of a large body went out, slice
        by slice.

        ``bodyless``: the answer to HEAD. ``sink`` takes the body of an answer 200 or 206; any other body is kept, up
        to ``limit`` bytes. Cancelled or failed, the connection is not reusable. Raises ConnectionLost, Corrupt.
        """
        transport = self._transport
        if transport is None or not self.reusable or self._waiter is not None:
            raise ConnectionLost("The connection is not open.", clean=True)
        waiter: asyncio.Future[Response] = self._loop.create_future()
        self._waiter = waiter
        self._bodyless = bodyless
        self._sink = sink
        self._limit = limit
        self._interim = 0
        self._allowed = 0
        self.progress_s = self._loop.time()
        if sink is not None:
            sink.on_room(partial(self._resume_for, sink))
        try:
            if body is None:
                transport.write(head)
            elif isinstance(body, FilePart) and body.read is None:
                await self._send_file(transport, head, body, waiter, passed)
            elif isinstance(body, FilePart):
                await self._send_large(transport, head, body, waiter, passed)
            elif len(body) <= self._throttle.up_slice:
                transport.writelines((head, body))
            else:
                await self._send_large(transport, head, memoryview(body), waiter, passed)
            return await waiter
        except BaseException:
            self.close()
            raise
        finally:
            if self._tapping is not None:
                await until_ended(self._tapping)  # no thread may fill the sink any more: another attempt may follow
                self._tapping = None
            self._waiter = None
            self._sink = None
            self._head = None

    async def _send_large(
        self, transport: asyncio.Transport, head: bytes, body: memoryview | FilePart, waiter: asyncio.Future[Response],
        passed: Callable[[int], None] | None,
    ) -> None:  # fmt: skip
        self._sending = True
        transport.write(head)
        sent = 0
        while sent < len(body):
            most = self._throttle.up_slice
            piece = await body.slice(sent, most) if isinstance(body, FilePart) else body[sent : sent + most]
            if sent and self._throttle.up is not None:
                await self._turn_of(self._throttle.up, len(piece))
            if not waiter.done():
                transport.write(piece)
                sent += len(piece)
                self.moved += len(piece)
                if passed is not None:
                    passed(len(piece))
            if self._write_paused and not waiter.done():
                self._drained = self._loop.create_future()
                await self._drained
                self._drained = None
            if waiter.done():  # the server answered before it had all: a refusal, and the rest is not wanted
                self.reusable = False
                return
        self._sending = False

    async def _send_file(
        self, transport: asyncio.Transport, head: bytes, body: FilePart, waiter: asyncio.Future[Response],
        passed: Callable[[int], None] | None,
    ) -> None:  # fmt: skip
        self._sending = True
        transport.write(head)
        if transport.get_write_buffer_size():
            await asyncio.sleep(0)  # the loop sends what is buffered at the end of each turn
        if self._writable_fd < 0 and not waiter.done():
            self._writable_fd = os.dup(transport.get_extra_info("socket").fileno())
        while transport.get_write_buffer_size() and self._writable_fd >= 0 and not waiter.done():
            await self._writable()  # the peer has no room yet, not even for the head
        sent = 0
        admitted = self._throttle.up_slice
        while sent < body.length:
            slice_ = body.length - sent
            if (up := self._throttle.up) is None:
                slice_ = min(slice_, SLICE)
            else:
                if admitted <= 0:
                    admitted = min(slice_, self._throttle.up_slice)
                    await self._turn_of(up, admitted)
                slice_ = min(slice_, admitted)
            if waiter.done():  # answered, or lost, before all was sent
                self.reusable = False
                return
            if self._writable_fd < 0:
                raise ConnectionLost("The connection was lost while sending.")
            try:
                count = os.sendfile(self._writable_fd, body.fd, body.offset + sent, slice_)
            except BlockingIOError:
                await self._writable()
                continue
            except OSError as error:
                raise ConnectionLost(f"The connection was lost while sending: {error.strerror}.") from None
            if not count:
                raise ObjectChanged("The file became shorter while it was sent.")
            sent += count
            admitted -= count
            self.moved += count
            if passed is not None:
                passed(count)
            self.progress_s = self._loop.time()
            await asyncio.sleep(0)  # others have their turn, and an early answer is seen
        self._sending = False

    async def _writable(self) -> None:
        """Wait until the socket takes more, or the exchange has ended."""
        self._drained = self._loop.create_future()
        fd = self._writable_fd
        self._loop.add_writer(fd, self._wake)
        try:
            await self._drained
        finally:
            if fd == self._writable_fd:
                self._loop.remove_writer(fd)
            self._drained = None

    async def _turn_of(self, limit: Turnstile, count: int) -> None:
        """Wait until so many bytes may be sent, or the exchange has ended."""
        self._turn = limit.reserve(count)
        if self._turn is not None:
            try:
                await self._turn
            finally:
                self._turn = None
                self.progress_s = self._loop.time()

    def _pay(self, limit: Turnstile, count: int) -> None:
        """So much of an object's bytes came: read on when it is this connection's turn again."""
        if not self._into_sink and not self.brings_object:
            return
        self._allowed -= count
        slice_ = min(self._throttle.down_slice, self._left)
        if self._head is not None and self._head.length is None:
            slice_ = self._throttle.down_slice  # nobody has said how much there is
        if not slice_:  # all has come
            limit.spend(-self._allowed)
            self._allowed = 0
        elif self._allowed <= 0 and self._turn is None:
            self._turn = limit.reserve(slice_ - self._allowed)
            self._allowed = slice_
            if self._turn is not None:
                self._pause()
                self._turn.add_done_callback(self._turn_came)

    def _turn_came(self, turn: asyncio.Future[None]) -> None:
        if turn is not self._turn:
            return
        self._turn = None
        self.progress_s = self._loop.time()
        if not (self._overflow or (self._into_sink and self._sink is not None and self._sink.is_full)):
            self._resume()

    def _give_up_turn(self) -> None:
        """The exchange has ended while it waited: nobody is charged for that turn."""
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(None)

    def _wake(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def _let_go(self) -> None:
        """Wake whoever waits to send or taps, and close the second descriptor."""
        self._give_up_turn()
        if self._tap is not None:
            self._tap.end()
        self._wake()
        if self._writable_fd >= 0:
            fd, self._writable_fd = self._writable_fd, -1
            self._loop.remove_writer(fd)
            os.close(fd)

    def _resume_for(self, sink: Sink) -> None:
        """The sink has room again; its exchange may have ended meanwhile, and another one be under way."""
        if sink is not self._sink or not self._is_under_way:
            return
        self.progress_s = self._loop.time()
        if self._overflow:
            waiting, self._overflow = self._overflow, bytearray()
            try:
                self._pour(waiting)
            except SternaError as error:
                self._fail(error)
                return
            if self._overflow:
                return
            if self._body_ended:
                self._finish()
                return
        if self._turn is None and self._tap is None:
            self._resume()

    @property
    def _is_under_way(self) -> bool:
        """Somebody waits for the answer yet."""
        return self._waiter is not None and not self._waiter.done()

    def _resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        """End the connection at once; an exchange under way fails."""
        self.reusable = False
        self._let_go()
        if self._transport is not None:
            self._transport.abort()

    @property
    def is_paused(self) -> bool:
        """This side does not go on now: the disk is slower than the network, or a limit holds it back."""
        return self._turn is not None or (
            self._transport is not None
            and self._into_sink
            and not self._transport.is_reading()
            and not (self._tap is not None and self._tap.is_waiting)
        )

    @property
    def unsent(self) -> int:
        """Bytes that wait to be sent: on a slow line this falls long before the transport asks for more."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    @property
    def unread(self) -> int:
        """Bytes that came, and are too few yet to wake a thread for: on a slow line this is all that is seen of them."""
        return self._tap.unread if self._tap is not None else 0

    def _pause(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def _try_head(self) -> None:
        if self._waiter is None or self._waiter.done():
            self.close()  # bytes that nobody asked for: whatever they are, the next answer must not begin with them
            return
        while True:
            end = self._buffer.find(b"\r\n\r\n", 0, self._filled)
            if end < 0:
                if self._filled >= HEAD_LIMIT:
                    raise Corrupt("The server's answer has more than 64 KiB of headers.")
                if self._filled == len(self._buffer):
                    self._buffer = self._buffer + bytearray(len(self._buffer))
                    self._view = memoryview(self._buffer)
                return
            end += 4
            head = Head(bytes(self._view[:end]))
            rest = self._filled - end
            if not 100 <= head.status < 200:
                break
            self._interim += end
            if self._interim > _MOST_INTERIM:
                raise Corrupt("The server keeps announcing an answer and gives none.")
            self._buffer[:rest] = self._buffer[end : self._filled]
            self._filled = rest
        self._head = head
        becomes_tunnel = self.is_to_tunnel and 200 <= head.status < 300
        if (not head.keep_alive and not becomes_tunnel) or self._sending:
            self.reusable = False
        if self._bodyless or head.status in (204, 304):
            if rest:
                self.reusable = False
            self._finish()
        elif head.length is not None:
            self._begin_body(head.status, head.length, end, rest)
        else:
            self._until_close = not head.chunked
            self._into_sink = self._sink is not None and head.status in (200, 206)
            self._filled = 0
            if self._throttle.down is not None:
                self._pay(self._throttle.down, rest)
            self._take(bytes(self._view[end : end + rest]))

    def _begin_body(self, status: int, length: int, start: int, rest: int) -> None:
        if rest > length:
            self.reusable = False  # more than was announced: nothing after it can be trusted
            rest = length
        self._into_sink = self._sink is not None and status in (200, 206)
        self._left = length - rest
        if self._throttle.down is not None:
            self._pay(self._throttle.down, rest)
        if self._into_sink:
            self._pour(self._view[start : start + rest])
            self._lend_or_pause()
        elif length > self._limit:
            raise Corrupt(
                f"The server answers with {length} bytes where at most {self._limit} are due.",
                code=TOO_LONG if status == 200 else "",
            )
        elif self._left:
            self._body = bytearray(length)
            self._body_view = memoryview(self._body)
            self._body_view[:rest] = self._view[start : start + rest]
        else:
            self._finish(bytes(self._view[start : start + rest]))
            return
        if not self._left:
            self._end_body()

    def _lend_or_pause(self) -> None:
        """Let the sink read the rest of a large body itself, where it can; else stop reading while it is full."""
        sink, transport = cast(Sink, self._sink), cast(asyncio.Transport, self._transport)
        drain = sink.drain
        is_ready = not sink.is_full and not self._overflow  # else its thread would have nowhere to put what it reads
        if drain is not None and is_ready and self._left >= LEAST and self._throttle.down is None:
            self._tap = tap_of(self._loop, transport)
        if drain is not None and self._tap is not None:
            self._pause()
            self._tapping = self._loop.create_task(self._drain(drain, self._tap))
        elif self._left and sink.is_full:
            self._pause()

    async def _drain(self, drain: Drain, tap: Tap) -> None:
        """Have the sink read until all has come, the exchange has ended, or a limit is set: then it is read here again.

        Whether the connection serves another exchange afterwards says nothing of this one.
        """
        error: BaseException | None = None
        try:
            while self._left and self._is_under_way and self._throttle.down is None:
                count = await drain(tap.take, self._left)
                self._left -= count
                self.moved += count
                if count:
                    self.progress_s = self._loop.time()
                if self._left and self._is_under_way:
                    await tap.readable(self._left)
        except BaseException as caught:  # whatever it is, somebody waits for it
            error = caught
        self._tap = None
        tap.close()
        if isinstance(error, asyncio.CancelledError):  # the loop ends; nobody else cancels this
            self._fail(ConnectionLost("The connection was given up."))
            raise error
        if error is not None:
            self._fail(error)
            return
        if not self._left:
            self._finish()
        elif not self._is_under_way:
            return  # whoever gave up closes it
        self._resume()  # for the next exchange, or the rest of this one

    def _pour(self, data: memoryview | bytes | bytearray) -> None:
        """Copy what came together with the head, or without an announced length, into the sink; what it has no room
        for waits here, and nothing more is read meanwhile."""
        sink = cast(Sink, self._sink)
        data = memoryview(data)
        if self._overflow:
            self._overflow += data
            return
        while data:
            if sink.is_full:
                self._overflow += data
                self._pause()
                return
            room = sink.room()
            count = min(len(room), len(data))
            room[:count] = data[:count]
            sink.wrote(count)
            data = data[count:]

    def _take(self, data: bytes) -> None:
        """More of a body whose length was not announced."""
        head = self._head
        if head is None:
            return
        for piece in head.feed_chunked(data) if head.chunked else (data,):
            if self._into_sink:
                self._pour(piece)
            else:
                self._body += piece
                if len(self._body) > self._limit:
                    raise Corrupt(f"The server's answer does not end; more than {self._limit} bytes came.")
        if head.chunked and head.ended:
            self._end_body()

    def _end_body(self) -> None:
        """All of a body without an announced length has come; the sink may not have had it all yet."""
        self._body_ended = True
        if not self._overflow:
            self._finish()

    def _finish(self, body: bytes | bytearray | None = None) -> None:
        head, waiter = self._head, self._waiter
        if body is None:
            body = self._body
            if body:
                self._body, self._body_view = bytearray(), memoryview(b"")
        self._filled = 0
        self._left = 0
        self._into_sink = False
        self._until_close = False
        self._overflow, self._body_ended = bytearray(), False
        self._head = None
        self.answers += 1
        if self._turn is not None:
            self._give_up_turn()
        if head is not None and waiter is not None and not waiter.done():
            waiter.set_result(Response(head.status, head.headers, body))
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if not self.reusable:
            self.close()

    def _fail(self, error: BaseException) -> None:
        self.reusable = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if self._transport is not None:
            self._transport.abort()

    def fail(self, error: BaseException) -> None:
        """End the exchange under way with ``error``: the pool's watch found that it stalls, or can watch no more."""
        self._fail(error)
