"""One exchange at a time over one connection: bytes in, bytes out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from sterna.model.errors import ConnectionLost, Corrupt, ObjectChanged, SternaError
from sterna.wire.connection import SLICE, Connection, FilePart, Response
from sterna.wire.limits import Allowance, Throttle
from tests.wire.clock import FakeLoop
from tests.wire.loopback import listening

T = TypeVar("T")


GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


class MemoryTransport(asyncio.Transport):
    """A transport whose other end is the test: what is written is kept, what is fed is read unless reading is paused."""

    def __init__(self, throttle: Throttle | None = None) -> None:
        super().__init__()
        self.loop = asyncio.get_running_loop()
        self.connection = Connection(self.loop, throttle)
        self.sent = bytearray()
        self.pending = bytearray()
        self.reading = True
        self.closing = False
        self.pauses = 0
        self.connection.connection_made(self)

    def feed(self, data: bytes, each: int = 1 << 30) -> None:
        """Bytes arrive, at most ``each`` at a time."""
        self.pending += data
        self._deliver(each)

    def _deliver(self, each: int = 1 << 30) -> None:
        while self.pending and self.reading and not self.closing:
            room = self.connection.get_buffer(-1)
            assert len(room), "an empty buffer would be taken for the end of the stream"
            count = min(len(room), len(self.pending), each)
            room[:count] = self.pending[:count]
            del self.pending[:count]
            self.connection.buffer_updated(count)

    def hang_up(self, error: Exception | None = None) -> None:
        """The other end closes; uncleanly with an error."""
        if error is None:
            self.connection.eof_received()
        self.closing = True
        self.connection.connection_lost(error)

    # What the connection calls.

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.sent += data

    def writelines(self, pieces: Any) -> None:
        for piece in pieces:
            self.sent += piece

    def abort(self) -> None:
        if not self.closing:
            self.closing = True
            self.loop.call_soon(self.connection.connection_lost, None)

    def is_closing(self) -> bool:
        return self.closing

    def is_reading(self) -> bool:
        return self.reading

    def pause_reading(self) -> None:
        self.reading = False
        self.pauses += 1

    def resume_reading(self) -> None:
        self.reading = True
        self._deliver()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0


class MemorySink:
    """Takes ``slots`` buffers of ``size`` bytes and is full until ``empty`` is called."""

    drain = None

    def __init__(self, size: int, slots: int = 1 << 30) -> None:
        self.size = size
        self.slots = slots
        self.got = bytearray()
        self._buffer = bytearray(size)
        self._filled = 0
        self._taken = 0
        self.resume: Callable[[], None] = lambda: None

    @property
    def is_full(self) -> bool:
        return self._taken >= self.slots

    def room(self) -> memoryview:
        assert not self.is_full, "room was asked for while the sink is full"
        return memoryview(self._buffer)[self._filled :]

    def wrote(self, count: int) -> None:
        self.got += self._buffer[self._filled : self._filled + count]
        self._filled += count
        if self._filled == self.size:
            self._filled = 0
            self._taken += 1

    def on_room(self, resume: Callable[[], None]) -> None:
        self.resume = resume

    def empty(self) -> None:
        self._taken = 0
        self.resume()


def run(test: Callable[[], Coroutine[Any, Any, T]]) -> T:
    return asyncio.run(asyncio.wait_for(test(), 30))


async def begun(coroutine: Coroutine[Any, Any, Response]) -> asyncio.Task[Response]:
    task = asyncio.get_running_loop().create_task(coroutine)
    await asyncio.sleep(0)
    return task


async def error_of(awaitable: Awaitable[object]) -> SternaError:
    with pytest.raises(SternaError) as caught:
        await awaitable
    return caught.value


def sized(body: bytes, status: str = "200 OK", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body


def chunked(*pieces: bytes) -> bytes:
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n"


def test_a_request_goes_out_as_given_and_its_answer_comes_back() -> None:
    async def test() -> None:
        transport = MemoryTransport()
        task = await begun(transport.connection.exchange(b"PUT / HTTP/1.1\r\n\r\n", b"body"))
        assert transport.sent == b"PUT / HTTP/1.1\r\n\r\nbody"
        assert repr(transport.connection) == "<Connection busy, 0 answers>"
        transport.feed(sized(b"hello", more='ETag: "x"\r\nX-Id: é\r\n'))
        response = await task
        assert (response.status, bytes(response.body)) == (200, b"hello")
        assert response.text(b"etag") == '"x"'
        assert response.text(b"x-id") == "é"
        assert response.text(b"absent") == ""
        assert repr(transport.connection) == "<Connection idle, 1 answers>"

    run(test)


ANSWERS = {
    "nothing": (sized(b""), b""),
    "a small body": (sized(b"0123456789"), b"0123456789"),
    "chunks": (chunked(b"abc", b"d", b"efghij"), b"abcdefghij"),
    "no chunk": (chunked(), b""),
    "one after 100": (b"HTTP/1.1 100 Continue\r\n\r\n" + sized(b"xyz"), b"xyz"),
    "one after three of 1xx": (
        b"HTTP/1.1 100 \r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 102 P\r\n\r\n" + chunked(b"xyz"),
        b"xyz",
    ),
    "an error": (sized(b"<Error/>", "503 Slow Down"), b"<Error/>"),
}


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("with_sink", [False, True])
def test_an_answer_is_the_same_however_it_is_split(name: str, with_sink: bool) -> None:
    raw, body = ANSWERS[name]

    async def test() -> None:
        transport = MemoryTransport()
        for cut in range(1, len(raw) + 1):
            sink = MemorySink(4) if with_sink else None
            task = await begun(transport.connection.exchange(GET, sink=sink))
            transport.feed(raw[:cut])
            transport.feed(raw[cut:])
            response = await task
            poured = bytes(sink.got) if sink is not None and response.status == 200 else bytes(response.body)
            assert poured == body, cut
            assert b"link" not in response.headers
            assert transport.connection.reusable
        task = await begun(transport.connection.exchange(GET))
        transport.feed(raw, each=1)
        assert bytes((await task).body) == body

    run(test)


def test_a_large_body_lands_in_one_piece() -> None:
    body = bytes(range(256)) * 4096

    async def test() -> None:
        transport = MemoryTransport()
        for each in (1 << 30, 65536, 4093):
            task = await begun(transport.connection.exchange(GET))
            transport.feed(sized(body), each)
            assert (await task).body == body

    run(test)


def test_a_body_until_close_is_whole_at_the_end_of_the_stream() -> None:
    async def test() -> None:
        transport = MemoryTransport()
        task = await begun(transport.connection.exchange(GET))
        transport.feed(b"HTTP/1.1 200 OK\r\n\r\nabc")
        transport.feed(b"def")
        assert not task.done()
        transport.hang_up()
        assert bytes((await task).body) == b"abcdef"
        assert not transport.connection.reusable

    run(test)


@pytest.mark.parametrize("how", ["a reset", "our own close"])
def test_a_body_until_close_that_breaks_off_is_no_body(how: str) -> None:
    async def test() -> None:
        transport = MemoryTransport()
        task = await begun(transport.connection.exchange(GET))
        transport.feed(b"HTTP/1.1 200 OK\r\n\r\nabc")
        if how == "a reset":
            transport.hang_up(ConnectionResetError("reset"))
        else:
            transport.connection.close()
        assert isinstance(await error_of(task), ConnectionLost)

    run(test)


@pytest.mark.parametrize(
    ("raw", "bodyless"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", True),
        (b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", False),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", False),
    ],
)
def test_an_answer_without_a_body_ends_with_its_head(raw: bytes, bodyless: bool) -> None:
    async def test() -> None:
        transport = MemoryTransport()
        for _ in range(2):
            task = await begun(transport.connection.exchange(GET, bodyless=bodyless))
            transport.feed(raw)
            assert (await task).body == b""
            assert transport.connection.reusable

    run(test)


_EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"


@pytest.mark.parametrize(
    "raw", [sized(b"abc"), chunked(b"abc"), b"HTTP/1.1 204 No\r\n\r\n"], ids=["sized", "chunked", "204"]
)
@pytest.mark.parametrize(
    ("extra", "when"),
    [
        pytest.param(_EVIL, "together", id="an answer, together"),
        pytest.param(_EVIL, "before it is taken", id="an answer, before it is taken"),
        pytest.param(_EVIL, "while idle", id="an answer, while idle"),
        pytest.param(b"x", "together", id="a byte, together"),
        pytest.param(b"x", "before it is taken", id="a byte, before it is taken"),
        pytest.param(b"x", "while idle", id="a byte, while idle"),
    ],
)
def test_bytes_after_an_answer_never_become_part_of_the_next(raw: bytes, extra: bytes, when: str) -> None:
    async def test() -> None:
        transport = MemoryTransport()
        connection = transport.connection
        task = await begun(connection.exchange(GET))
        transport.feed(raw + extra if when == "together" else raw)
        if when == "before it is taken":
            transport.feed(extra)
        try:
            assert bytes((await task).body) in (b"abc", b"")
        except Corrupt:
            assert when == "together"
        if when == "while idle":
            transport.feed(extra)
        assert not connection.reusable
        assert isinstance(await error_of(connection.exchange(GET)), ConnectionLost)

    run(test)


@pytest.mark.parametrize(
    "raw",
    [
        sized(b"abc", more="Connection: close\r\n"),
        b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    ],
)
def test_a_connection_that_the_server_ends_is_not_used_again(raw: bytes) -> None:
    async def test() -> None:
        transport = MemoryTransport()
        task = await begun(transport.connection.exchange(GET))
        transport.feed(raw)
        assert bytes((await task).body) == b"abc"
        assert not transport.connection.reusable
        assert transport.closing
        assert "closed" in repr(transport.connection)

    run(test)


def test_an_answer_before_the_body_was_sent_ends_the_sending() -> None:
    async def test() -> None:
        transport = MemoryTransport()
        connection = transport.connection
        task = await begun(connection.exchange(b"head", bytes(SLICE) * 4))
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        transport = MemoryTransport()
        connection = transport.connection
        connection.pause_writing()
        task = await begun(connection.exchange(b"head", bytes(SLICE) * 4))
        assert len(transport.sent) == 4 + SLICE
        transport.feed(sized(b"<Error/>", "503 Slow Down"))
        assert (await task).status == 503
        assert len(transport.sent) == 4 + SLICE
        assert not connection.reusable
        assert transport.closing

    run(test)


def test_a_large_body_waits_for_the_transport() -> None:
    body = bytes(range(256)) * (SLICE // 256) * 2 + b"end"

    async def test() -> None:
        transport = MemoryTransport()
        connection = transport.connection
        connection.pause_writing()
        task = await begun(connection.exchange(b"head", body))
        while len(transport.sent) < len(body):
            before = len(transport.sent)
            await asyncio.sleep(0)
            assert len(transport.sent) == before
            connection.resume_writing()
            connection.pause_writing()
            await asyncio.sleep(0)
        connection.resume_writing()
        await asyncio.sleep(0)
        assert transport.sent == b"head" + body
        transport.feed(sized(b""))
        assert (await task).status == 200
        assert connection.reusable

    run(test)


@pytest.mark.parametrize("error", [None, ConnectionResetError("reset")])
def test_a_connection_lost_while_sending_fails_the_exchange(error: Exception | None) -> None:
    async def test() -> None:
        transport = MemoryTransport()
        transport.connection.pause_writing()
        task = await begun(transport.connection.exchange(b"head", bytes(SLICE) * 2))
        transport.hang_up(error)
        assert isinstance(await error_of(task), ConnectionLost)

    run(test)


@pytest.mark.parametrize("framing", ["sized", "chunked", "until close"])
def test_a_full_sink_stops_the_reading_until_it_has_room(framing: str) -> None:
    body = bytes(range(100))
    raw = {
        "sized": sized(body),
        "chunked": chunked(*(body[i : i + 10] for i in range(0, 100, 10))),
        "until close": b"HTTP/1.1 200 OK\r\n\r\n" + body,
    }[framing]

    async def test() -> None:
        transport = MemoryTransport()
        sink = MemorySink(8, slots=2)
        task = await begun(transport.connection.exchange(GET, sink=sink))
        transport.feed(raw)
        turns = 0
        while len(sink.got) < len(body):
            assert not transport.reading
            assert transport.connection.is_paused
            sink.empty()
            turns += 1
            assert turns < 20
        if framing == "until close":
            transport.hang_up()
        assert (await task).status == 200
        assert sink.got == body
        assert not transport.connection.is_paused

    run(test)


def test_a_full_sink_in_the_middle_of_a_body_stops_the_reading() -> None:
    body = bytes(range(100))

    async def test() -> None:
        transport = MemoryTransport()
        sink = MemorySink(8, slots=2)
        task = await begun(transport.connection.exchange(GET, sink=sink))
        transport.feed(sized(body), each=7)
        while len(sink.got) < len(body):
            assert sink.is_full
            assert transport.connection.is_paused
            sink.empty()
        assert (await task).status == 200
        assert sink.got == body

    run(test)


def test_a_sink_that_resumes_late_does_not_wake_the_next_exchange() -> None:
    async def test() -> None:
        transport = MemoryTransport()
        first, second = MemorySink(4, slots=1), MemorySink(4, slots=1)
        task = await begun(transport.connection.exchange(GET, sink=first))
        transport.feed(sized(b"abcd"), each=1)
        await task
        assert first.is_full
        task = await begun(transport.connection.exchange(GET, sink=second))
        transport.feed(sized(b"0123456789"), each=1)
        assert not transport.reading
        first.empty()
        assert not transport.reading
        second.empty()
        second.empty()
        assert (await task).status == 200
        assert second.got == b"0123456789"
        second.empty()
        task = await begun(transport.connection.exchange(GET))
        transport.feed(sized(b"z"))
        assert bytes((await task).body) == b"z"

    run(test)


def test_a_sink_that_resumes_after_the_connection_was_lost_does_nothing() -> None:
    async def test() -> None:
        transport = MemoryTransport()
        sink = MemorySink(4, slots=1)
        task = await begun(transport.connection.exchange(GET, sink=sink))
        transport.feed(sized(b"0123456789"), each=1)
        transport.hang_up()
        assert isinstance(await error_of(task), ConnectionLost)
        sink.empty()
        assert sink.got == b"0123"
        assert not transport.reading

    run(test)


def test_a_sink_takes_no_errors() -> None:
    async def test() -> None:
        transport = MemoryTransport()
        sink = MemorySink(4, slots=1)
        task = await begun(transport.connection.exchange(GET, sink=sink))
        transport.feed(sized(b"<Error>no</Error>", "403 Forbidden"))
        assert (await task).body == b"<Error>no</Error>"
        assert sink.got == b""

    run(test)


class BrokenSink(MemorySink):
    """Says no when asked for room the second time; afterwards nothing may be written to it."""

    def __init__(self) -> None:
        super().__init__(4)
        self.asked = 0
        self.after = 0

    def room(self) -> memoryview:
        self.asked += 1
        if self.asked > 1:
            raise Corrupt("The disk is full.")
        return super().room()

    def wrote(self, count: int) -> None:
        if self.asked > 1:
            self.after += count
        super().wrote(count)


@pytest.mark.parametrize("each", [1, 1 << 30])
def test_the_error_of_a_sink_ends_the_exchange(each: int) -> None:
    async def test() -> None:
        transport = MemoryTransport()
        sink = BrokenSink()
        task = await begun(transport.connection.exchange(GET, sink=sink))
        transport.feed(sized(b"0123456789"), each)
        assert (await error_of(task)).sentence == "The disk is full."
        assert not transport.connection.reusable
        assert sink.after == 0

    run(test)


@pytest.mark.parametrize("raw", [sized(b"abc"), chunked(b"abc")], ids=["sized", "chunked"])
@pytest.mark.parametrize("error", [None, ConnectionResetError("reset by peer")], ids=["clean", "reset"])
def test_an_answer_that_is_cut_is_none(raw: bytes, error: Exception | None) -> None:
    async def test() -> None:
        for cut in range(len(raw)):
            transport = MemoryTransport()
            task = await begun(transport.connection.exchange(GET))
            transport.feed(raw[:cut])
            transport.hang_up(error)
            lost = await error_of(task)
            assert isinstance(lost, ConnectionLost)
            assert ("any" in lost.sentence) == (cut == 0)
            assert ("reset by peer" in lost.sentence) == (error is not None)
            assert not lost.clean  # a fresh connection that answers nothing is no idle one
            assert not transport.connection.reusable

    run(test)


def test_H36_a_kept_connection_that_was_closed_before_an_answer_is_a_clean_loss() -> None:
    async def test() -> None:
        transport = MemoryTransport()
        task = await begun(transport.connection.exchange(GET))
        transport.feed(sized(b""))
        await task
        task = await begun(transport.connection.exchange(GET))
        transport.hang_up()
        lost = await error_of(task)
        assert isinstance(lost, ConnectionLost)
        assert lost.clean

    run(test)


def test_a_connection_that_ends_while_idle_is_not_reusable() -> None:
    async def test() -> None:
        transport = MemoryTransport()
        task = await begun(transport.connection.exchange(GET))
        transport.feed(sized(b""))
        await task
        transport.hang_up()
        assert not transport.connection.reusable
        lost = await error_of(transport.connection.exchange(GET))
        assert isinstance(lost, ConnectionLost)
        assert lost.clean

    run(test)


def _head(size: int) -> bytes:
    start, end = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-Long: ", b"\r\n\r\n"
    return start + b"x" * (size - len(start) - len(end)) + end


@pytest.mark.parametrize("each", [1 << 30, 4093])
def test_H39_headers_of_up_to_64_KiB_are_read_and_more_are_refused(each: int) -> None:
    async def test() -> None:
        transport = MemoryTransport()
        for size in (16 * 1024 - 1, 16 * 1024, 16 * 1024 + 1, 64 * 1024 - 3, 64 * 1024):
            task = await begun(transport.connection.exchange(GET))
            transport.feed(_head(size) + b"abc", each)
            assert bytes((await task).body) == b"abc"
        task = await begun(transport.connection.exchange(GET))
        transport.feed(_head(64 * 1024 + 1) + b"abc", each)
        error = await error_of(task)
        assert isinstance(error, Corrupt)
        assert "64 KiB" in error.sentence

    run(test)


def test_H39_many_answers_of_1xx_in_one_packet_are_passed_over() -> None:
    async def test() -> None:
        transport = MemoryTransport()
        task = await begun(transport.connection.exchange(GET))
        transport.feed(b"HTTP/1.1 100\r\n\r\n" * 1024 + sized(b"abc"))
        assert bytes((await task).body) == b"abc"

    run(test)


def test_H39_endless_answers_of_1xx_are_refused() -> None:
    async def test() -> None:
        transport = MemoryTransport()
        task = await begun(transport.connection.exchange(GET))
        for _ in range(200):
            transport.feed(b"HTTP/1.1 100 Continue\r\nX: %s\r\n\r\n" % (b"x" * 4000))
        assert task.done() or transport.closing
        assert isinstance(await error_of(task), Corrupt)

    run(test)


@pytest.mark.parametrize(
    "raw",
    [sized(bytes(101)), chunked(bytes(50), bytes(51)), b"HTTP/1.1 200 OK\r\n\r\n" + bytes(101)],
    ids="sized chunked until-close".split(),
)
@pytest.mark.parametrize("each", [1 << 30, 10])
def test_H39_a_body_above_its_limit_is_refused(raw: bytes, each: int) -> None:
    async def test() -> None:
        transport = MemoryTransport()
        task = await begun(transport.connection.exchange(GET, limit=100))
        transport.feed(raw, each)
        assert isinstance(await error_of(task), Corrupt)
        assert transport.closing

    run(test)


def test_H39_an_announced_body_of_petabytes_reserves_nothing() -> None:
    async def test() -> None:
        transport = MemoryTransport()
        task = await begun(transport.connection.exchange(GET))
        transport.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000000000000000\r\n\r\n")
        assert isinstance(await error_of(task), Corrupt)

    run(test)


@pytest.mark.parametrize(
    "raw", [b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/2 200\r\n\r\n", b"\r\n\r\n", sized(b"").replace(b"0", b"-1")]
)
def test_what_is_not_HTTP_is_corrupt(raw: bytes) -> None:
    async def test() -> None:
        transport = MemoryTransport()
        task = await begun(transport.connection.exchange(GET))
        transport.feed(raw)
        assert isinstance(await error_of(task), Corrupt)
        assert not transport.connection.reusable

    run(test)


@pytest.mark.parametrize("fed", [b"", b"HTTP/1.1 2", sized(b"abc")[:-1]])
def test_a_cancelled_exchange_closes_its_connection(fed: bytes) -> None:
    async def test() -> None:
        transport = MemoryTransport()
        task = await begun(transport.connection.exchange(GET))
        transport.feed(fed)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert transport.closing
        assert not transport.connection.reusable

    run(test)


def test_a_second_exchange_at_the_same_time_is_refused_and_does_not_harm_the_first() -> None:
    async def test() -> None:
        transport = MemoryTransport()
        task = await begun(transport.connection.exchange(GET))
        assert isinstance(await error_of(transport.connection.exchange(GET)), ConnectionLost)
        transport.feed(sized(b"abc"))
        assert bytes((await task).body) == b"abc"
        assert transport.connection.reusable

    run(test)


def test_a_stalled_exchange_fails_with_the_error_of_the_watch() -> None:
    async def test() -> None:
        transport = MemoryTransport()
        task = await begun(transport.connection.exchange(GET))
        transport.connection.fail(ConnectionLost("Nothing moved."))
        assert (await error_of(task)).sentence == "Nothing moved."
        assert transport.closing

    run(test)


def test_what_moves_is_counted() -> None:
    async def test() -> None:
        transport = MemoryTransport()
        task = await begun(transport.connection.exchange(GET))
        transport.feed(sized(b"abc"))
        await task
        assert transport.connection.moved == len(sized(b"abc"))
        assert transport.connection.answers == 1

    run(test)


# A body that is still in its file goes out through the kernel: that needs a real socket.


async def _sent_over_loopback(
    body: FilePart, refuse_at: int | None = None
) -> tuple[bytes, Response | SternaError, bool]:
    """What a server received, what the exchange came to, and whether the connection may be used again."""
    received = bytearray()
    ended = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        while len(received) < body.length and (data := await reader.read(65536)):
            received.extend(data)
            if refuse_at is not None and len(received) >= refuse_at:
                break
        writer.write(sized(b"", "503 Slow Down" if refuse_at is not None else "200 OK"))
        while refuse_at is not None and await reader.read(65536):
            pass
        await ended

    async with listening(serve) as port:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: Connection(loop), "127.0.0.1", port)
        result: Response | SternaError
        try:
            result = await connection.exchange(b"PUT / HTTP/1.1\r\n\r\n", body)
        except SternaError as error:
            result = error
        reusable = connection.reusable
        connection.close()
        ended.set_result(None)
    return bytes(received), result, reusable


@pytest.fixture
def file(tmp_path: Path) -> Iterator[tuple[int, bytes]]:
    """An open file of 3 MiB and a little, and its bytes."""
    data = bytes(range(256)) * (3 * SLICE // 256) + b"end"
    path = tmp_path / "file"
    path.write_bytes(data)
    fd = os.open(path, os.O_RDWR)
    yield fd, data
    os.close(fd)


@pytest.mark.parametrize(("offset", "length"), [(0, 3 * SLICE + 3), (5, 0), (1, 10), (SLICE + 7, SLICE + 1)])
def test_a_part_of_a_file_goes_out_as_it_is(file: tuple[int, bytes], offset: int, length: int) -> None:
    async def test() -> None:
        fd, data = file
        received, result, reusable = await _sent_over_loopback(FilePart(fd, offset, length))
        assert received == data[offset : offset + length]
        assert isinstance(result, Response)
        assert (result.status, reusable) == (200, True)

    run(test)


def test_H21_a_file_that_becomes_shorter_while_it_is_sent_fails_as_changed(file: tuple[int, bytes]) -> None:
    async def test() -> None:
        fd, data = file
        os.ftruncate(fd, SLICE)
        _, result, reusable = await _sent_over_loopback(FilePart(fd, 0, len(data)))
        assert isinstance(result, ObjectChanged)
        assert not reusable

    run(test)


def test_an_answer_before_a_file_was_sent_ends_the_sending(file: tuple[int, bytes]) -> None:
    async def test() -> None:
        fd, data = file
        os.ftruncate(fd, 1 << 30)  # a sparse gigabyte, of which most is never sent
        received, result, reusable = await _sent_over_loopback(FilePart(fd, 0, 1 << 30), refuse_at=100_000)
        assert isinstance(result, Response)
        assert (result.status, reusable) == (503, False)
        assert received[: len(data)] == data[: len(received)]
        assert len(received) < 1 << 28

    run(test)


def test_a_peer_that_takes_nothing_is_waited_for_without_work(file: tuple[int, bytes]) -> None:
    async def test() -> None:
        fd, data = file
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        for size in (65536, 1):  # of an earlier request, as it were: until there is no room for a head
            with contextlib.suppress(BlockingIOError):
                while True:
                    ours.send(bytes(size))
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: Connection(loop), sock=ours)
        task = await begun(connection.exchange(b"PUT / HTTP/1.1\r\n\r\n", FilePart(fd, 0, len(data))))
        await asyncio.sleep(0.01)
        before_s = time.thread_time()
        await asyncio.sleep(0.1)
        assert time.thread_time() - before_s < 0.03
        assert not task.done()

        def serve() -> bytes:
            got = bytearray()
            while not got.endswith(data[-1000:]):
                got += theirs.recv(1 << 20)
            theirs.sendall(sized(b""))
            return bytes(got)

        got, response = await asyncio.gather(asyncio.to_thread(serve), task)
        assert response.status == 200
        assert got.endswith(b"PUT / HTTP/1.1\r\n\r\n" + data)
        connection.close()
        theirs.close()

    run(test)


# Under a limit


def limited(clock: FakeLoop, **rates: float) -> Throttle:
    throttle = Throttle(clock.as_loop, SLICE)
    throttle.allow(Allowance(8, 1 << 30, **rates))
    return throttle


async def settle() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


def test_a_body_goes_out_slice_by_slice_each_in_its_turn() -> None:
    async def test() -> None:
        clock = FakeLoop()
        throttle = limited(clock, up=200_000)  # slices of 10,000, and twice that at once
        transport = MemoryTransport(throttle)
        body = os.urandom(45_000)
        await throttle.admit("PUT", "k", len(body))
        task = await begun(transport.connection.exchange(b"HEAD", body))
        seen = []
        for _ in range(6):
            await settle()
            seen.append((len(transport.sent) - 4, transport.connection.is_paused))
            clock.pass_s(0.05)
        assert seen == [
            (20_000, True),
            (30_000, True),
            (40_000, True),
            (45_000, False),
            (45_000, False),
            (45_000, False),
        ]
        assert transport.sent == b"HEAD" + body
        transport.feed(sized(b""))
        assert (await task).status == 200
        assert transport.connection.reusable

    run(test)


def test_a_limit_that_ends_lets_the_rest_go_at_once() -> None:
    async def test() -> None:
        throttle = limited(FakeLoop(), up=20_000)
        transport = MemoryTransport(throttle)
        task = await begun(transport.connection.exchange(b"", bytes(3 * SLICE)))
        await settle()
        assert len(transport.sent) < 10_000
        throttle.allow(Allowance(8, 1 << 30))
        await settle()
        assert len(transport.sent) == 3 * SLICE
        transport.feed(sized(b""))
        await task

    run(test)


@pytest.mark.parametrize("ends", ("answered", "lost", "cancelled"))
def test_what_ends_while_it_waits_for_its_turn_ends_at_once_and_pays_nothing(ends: str) -> None:
    async def test() -> None:
        clock = FakeLoop()
        throttle = limited(clock, up=20_000)
        transport = MemoryTransport(throttle)
        task = await begun(transport.connection.exchange(b"", bytes(100_000)))
        await settle()
        assert throttle.up is not None
        behind = throttle.up.reserve(1)
        assert behind is not None
        if ends == "answered":
            transport.feed(sized(b"<Error/>", "403 Forbidden"))
            assert (await task).status == 403
        elif ends == "lost":
            transport.hang_up()
            assert "closed before any" in (await error_of(task)).sentence
        else:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert not transport.connection.reusable
        clock.pass_s(0.06)
        assert behind.done()
        await settle()

    run(test)


def test_a_file_is_sent_slice_by_slice_too(tmp_path: Path) -> None:
    async def test() -> None:
        data = os.urandom(300_000)
        file = tmp_path / "f"
        file.write_bytes(data)
        got = bytearray()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while len(got) < len(data):
                got.extend(await reader.read(1 << 20))
            writer.write(sized(b""))
            await writer.drain()
            await reader.read()

        clock = FakeLoop()
        throttle = limited(clock, up=1_000_000)  # slices of 50,000, and twice that at once
        loop = asyncio.get_running_loop()
        async with listening(serve) as port:
            _, connection = await loop.create_connection(lambda: Connection(loop, throttle), "127.0.0.1", port)
            fd = os.open(file, os.O_RDONLY)
            try:
                await throttle.admit("PUT", "k", len(data))
                task = await begun(connection.exchange(b"", FilePart(fd, 0, len(data))))
                while not connection.is_paused:  # noqa: ASYNC110 - it tells no event
                    await asyncio.sleep(0.001)
                assert connection.moved == 100_000
                while not task.done():
                    clock.pass_s(0.05)
                    await asyncio.sleep(0.001)
                assert (await task).status == 200
            finally:
                os.close(fd)
                connection.close()
        assert bytes(got) == data

    run(test)


@pytest.mark.parametrize("with_sink", (True, False))
def test_an_object_is_read_slice_by_slice_and_paid_for_in_full(with_sink: bool) -> None:
    async def test() -> None:
        clock = FakeLoop()
        throttle = limited(clock, down=200_000)
        transport = MemoryTransport(throttle)
        body = os.urandom(100_000)
        sink = MemorySink(7_000) if with_sink else None
        transport.connection.brings_object = True
        task = await begun(transport.connection.exchange(GET, sink=sink))
        transport.feed(sized(body))
        waited_s = 0.0
        while not task.done():
            assert transport.connection.is_paused
            assert not transport.reading
            clock.pass_s(0.05)
            waited_s += 0.05
            await settle()
        response = await task
        assert (bytes(sink.got) if sink is not None else response.body) == body
        assert 0.35 < waited_s <= 0.5
        assert not transport.connection.is_paused
        assert throttle.down is not None
        assert throttle.down.reserve(0) is not None or waited_s == 0.5  # the next one waits for what was owed
        assert transport.connection.reusable

    run(test)


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("with_sink", [False, True])
def test_an_answer_is_the_same_under_a_limit_however_it_is_split(name: str, with_sink: bool) -> None:
    raw, body = ANSWERS[name]

    async def test() -> None:
        clock = FakeLoop()
        throttle = limited(clock, down=1)
        throttle.down_slice = 3
        transport = MemoryTransport(throttle)
        for cut in range(1, len(raw) + 1):
            sink = MemorySink(4) if with_sink else None
            transport.connection.brings_object = True
            task = await begun(transport.connection.exchange(GET, sink=sink))
            transport.feed(raw[:cut])
            transport.feed(raw[cut:])
            while not task.done():
                clock.pass_s(10_000)
                await settle()
            response = await task
            poured = bytes(sink.got) if sink is not None and response.status == 200 else bytes(response.body)
            assert poured == body, cut
            assert transport.connection.reusable
            await settle()
            assert transport.reading

    run(test)


def test_a_sink_that_is_full_and_a_turn_that_is_not_come_are_both_waited_for() -> None:
    async def test() -> None:
        clock = FakeLoop()
        transport = MemoryTransport(limited(clock, down=200_000))
        sink = MemorySink(5_000, slots=1)
        task = await begun(transport.connection.exchange(GET, sink=sink))
        transport.feed(sized(bytes(30_000)))
        sink.empty()
        clock.pass_s(10)
        await settle()
        assert not transport.reading  # its turn has come, and the sink is full
        while not task.done():
            clock.pass_s(10)
            await settle()
            if not task.done():
                sink.empty()
            await settle()
        assert len(sink.got) == 30_000

    run(test)


def test_what_is_no_object_is_not_slowed() -> None:
    async def test() -> None:
        transport = MemoryTransport(limited(FakeLoop(), up=20_000, down=20_000))
        task = await begun(transport.connection.exchange(GET))
        transport.feed(sized(bytes(900_000)))
        assert len((await task).body) == 900_000

    run(test)
