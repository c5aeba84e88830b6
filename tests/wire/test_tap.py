"""The rest of a large body is read by a thread of its sink, straight from the socket."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import pytest
import uvloop

from sterna.model.errors import ConnectionLost, DiskFull, SternaError
from sterna.wire.connection import Connection
from sterna.wire.limits import Allowance
from sterna.wire.pool import Pool, Timeouts
from sterna.wire.tap import LEAST
from tests.wire.loopback import listening
from tests.wire.secured import Peer, pool_of, reset, secured, server_context
from tests.wire.test_pool import endpoint, no_tls

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sockets are shared with threads on Linux")

GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
SIZE = 3 << 20
BODY = bytes(number % 251 for number in range(1 << 16)) * (SIZE >> 16)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


class ThreadSink:
    """Takes the body into memory in a thread, ``at_once`` bytes before others have their turn; ``hold`` keeps that thread
    from going on, as a slow disk does.
    """

    is_full = False

    def __init__(self, error: SternaError | None = None, at_once: int = 1 << 30) -> None:
        self.got = bytearray()
        self.by_loop = 0
        self.drained: list[int] = []
        self.active = False
        self.started = asyncio.Event()
        self.hold = threading.Event()
        self.hold.set()
        self._error = error
        self._at_once = at_once
        self._buffer = bytearray(1 << 16)

    def room(self) -> memoryview:
        return memoryview(self._buffer)

    def wrote(self, count: int) -> None:
        self.got += self._buffer[:count]
        self.by_loop += count

    def on_room(self, resume: Callable[[], None]) -> None:
        """Never full."""

    async def drain(self, take: Callable[[memoryview, int], int], left: int) -> int:
        self.active = True
        self.started.set()
        before = len(self.got)
        try:
            await asyncio.to_thread(self._drain, take, left)
        finally:
            self.active = False
            self.drained.append(len(self.got) - before)
        return len(self.got) - before

    def _drain(self, take: Callable[[memoryview, int], int], left: int) -> None:
        assert self.hold.wait(30)
        if self._error is not None:
            raise self._error
        until = len(self.got) + min(left, self._at_once)
        while len(self.got) < until:
            count = take(memoryview(self._buffer)[: until - len(self.got)], left)
            if not count:
                return
            left -= count
            self.got += self._buffer[:count]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[], Coroutine[Any, Any, None]]], None]:
    def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
        factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(asyncio.wait_for(test(), 30))

    return run


Run = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]


class Connected(Protocol):
    """Connects to a server that has read the head of a request whenever ``serve`` is called."""

    def __call__(
        self,
        serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]],
        timeouts: Timeouts | None = None,
    ) -> AbstractAsyncContextManager[tuple[Pool, Connection]]: ...


@pytest.fixture(params=["plain", "TLS"])
def connected(request: pytest.FixtureRequest) -> Connected:
    @asynccontextmanager
    async def connected(
        serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]],
        timeouts: Timeouts | None = None,
    ) -> AsyncIterator[tuple[Pool, Connection]]:
        async def each(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await reader.readuntil(b"\r\n\r\n"):
                await serve(reader, writer)

        async with listening(each, server_context() if request.param == "TLS" else None) as port:
            if request.param == "TLS":
                pool = pool_of(port, timeouts)
            else:
                pool = Pool(endpoint(f"http://127.0.0.1:{port}"), None, no_tls, timeouts or Timeouts())
            connection = await pool.open()
            try:
                yield pool, connection
            finally:
                pool.release(connection)
                await pool.close()

    return connected


async def whole(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD % SIZE + BODY)
    await writer.drain()


def test_all_comes_in_order_and_the_connection_serves_again(run: Run, connected: Connected) -> None:
    async def test() -> None:
        async with connected(whole) as (_, connection):
            for _ in range(3):
                sink = ThreadSink()
                answer = await connection.exchange(GET, sink=sink)
                assert (answer.status, bytes(answer.body)) == (200, b"")
                assert sink.got == BODY
                assert sink.by_loop < LEAST, "the loop read what a thread should"
                assert connection.reusable
                assert connection.moved
            assert (await connection.exchange(GET)).body == BODY, "the socket is as it was"

    run(test)


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nConnection: close", b"HTTP/1.0 200 OK"], ids=["close", "1.0"])
@pytest.mark.parametrize("slowly", [False, True])
def test_H38_an_answer_after_which_the_connection_ends_comes_whole(
    run: Run, connected: Connected, head: bytes, slowly: bool
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head + b"\r\nContent-Length: %d\r\n\r\n" % SIZE)
        for start in range(0, SIZE, SIZE // 3):
            if slowly:
                await asyncio.sleep(0.02)
            writer.write(BODY[start : start + SIZE // 3])
            await writer.drain()
        writer.close()

    async def test() -> None:
        async with connected(serve) as (_, connection):
            sink = ThreadSink()
            answer = await asyncio.wait_for(connection.exchange(GET, sink=sink), 10)
            assert answer.status == 200
            assert sink.got == BODY
            assert sink.by_loop < LEAST, "the loop read what a thread should"
            assert not connection.reusable

    run(test)


def test_a_limit_holds_for_the_rest_of_an_answer_after_which_the_connection_ends(
    run: Run, connected: Connected
) -> None:
    async def test() -> None:
        go_on = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE + BODY[: SIZE // 2])
            await writer.drain()
            await go_on.wait()
            writer.write(BODY[SIZE // 2 :])
            await writer.drain()
            writer.close()

        async with connected(serve) as (pool, connection):
            sink = ThreadSink()
            exchange = asyncio.get_running_loop().create_task(connection.exchange(GET, sink=sink))
            while len(sink.got) < SIZE // 2 or connection.is_paused:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.001)
            pool.throttle.allow(Allowance(1, 1 << 20, down=50_000_000))
            go_on.set()
            await asyncio.wait_for(exchange, 10)
            assert sink.got == BODY
            assert sink.by_loop > SIZE // 4, "the limit was passed by"

    run(test)


def test_the_end_of_the_loop_fails_whoever_waits_and_is_passed_on(run: Run, connected: Connected) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD % SIZE + BODY[:100_000])
        await reader.read()

    async def test() -> None:
        async with connected(serve) as (_, connection):
            sink = ThreadSink()
            exchange = asyncio.get_running_loop().create_task(connection.exchange(GET, sink=sink))
            while connection.is_paused or not sink.drained:  # noqa: ASYNC110 - nobody tells when it waits
                await asyncio.sleep(0.001)
            tapping = next(task for task in asyncio.all_tasks() if "_drain" in repr(task.get_coro()))
            tapping.cancel()
            with pytest.raises(ConnectionLost, match="given up"):
                await asyncio.wait_for(exchange, 5)
            assert tapping.cancelled()

    run(test)


def test_a_body_that_is_not_worth_a_thread_is_read_by_the_loop(run: Run, connected: Connected) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD % (LEAST - 1) + BODY[: LEAST - 1])

    async def test() -> None:
        async with connected(serve) as (_, connection):
            sink = ThreadSink()
            await connection.exchange(GET, sink=sink)
            assert sink.got == BODY[: LEAST - 1]
            assert sink.drained == []

    run(test)


def test_H37_a_server_that_leaves_early_is_a_lost_connection(run: Run, connected: Connected) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD % SIZE + BODY[: SIZE // 2])
        await writer.drain()
        writer.close()

    async def test() -> None:
        async with connected(serve) as (_, connection):
            sink = ThreadSink()
            with pytest.raises(ConnectionLost, match="closed before all"):
                await connection.exchange(GET, sink=sink)
            assert sink.got == BODY[: SIZE // 2]
            assert not connection.reusable

    run(test)


def test_more_than_was_announced_is_never_taken_for_the_next_answer(run: Run, connected: Connected) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD % (SIZE - 100) + BODY)
        await writer.drain()

    async def test() -> None:
        async with connected(serve) as (_, connection):
            sink = ThreadSink()
            await connection.exchange(GET, sink=sink)
            assert sink.got == BODY[:-100]
            for _ in range(100):  # turns of the loop, in which it reads what is there
                if not connection.reusable:
                    break
                await asyncio.sleep(0.01)
            assert not connection.reusable

    run(test)


def test_whoever_gives_up_leaves_no_thread_behind_that_still_fills_the_sink(run: Run, connected: Connected) -> None:
    async def test() -> None:
        async with connected(whole) as (_, connection):
            sink = ThreadSink()
            sink.hold.clear()
            exchange = asyncio.get_running_loop().create_task(connection.exchange(GET, sink=sink))
            await sink.started.wait()
            for _ in range(3):  # somebody in a hurry
                exchange.cancel()
                await asyncio.sleep(0)
                assert not exchange.done()
            assert sink.active
            sink.hold.set()
            with pytest.raises(asyncio.CancelledError):
                await exchange
            assert not sink.active
            assert not connection.reusable

    run(test)


def test_giving_up_while_nothing_comes_takes_no_time(run: Run, connected: Connected) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD % SIZE + BODY[:100_000])
        await reader.read()

    async def test() -> None:
        async with connected(serve) as (_, connection):
            sink = ThreadSink()
            exchange = asyncio.get_running_loop().create_task(connection.exchange(GET, sink=sink))
            while connection.is_paused or not sink.drained:  # noqa: ASYNC110 - nobody tells when it waits
                await asyncio.sleep(0.001)
            exchange.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(exchange, 5)
            assert not sink.active

    run(test)


def test_H38_a_stalled_body_is_ended(run: Run, connected: Connected) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD % SIZE + BODY[: SIZE // 2])
        await reader.read()

    async def test() -> None:
        async with connected(serve, Timeouts(idle_s=0.2)) as (_, connection):
            with pytest.raises(ConnectionLost, match="stalled"):
                await connection.exchange(GET, sink=ThreadSink())

    run(test)


def test_H38_a_dripping_body_is_ended(run: Run, connected: Connected) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD % SIZE + BODY[:1000])
        for _ in range(1000):
            writer.write(bytes(10))
            await writer.drain()
            await asyncio.sleep(0.005)

    async def test() -> None:
        slow = Timeouts(slow_s=0.3, slowest_bytes_per_s=100_000, look_s=0.02)
        async with connected(serve, slow) as (_, connection):
            with pytest.raises(ConnectionLost, match="Next to nothing"):
                await connection.exchange(GET, sink=ThreadSink())

    run(test)


def test_too_few_bytes_to_wake_a_thread_for_are_progress(run: Run, connected: Connected) -> None:
    size = LEAST + 200_000

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD % size)
        for start in range(0, size, 10_000):
            writer.write(BODY[start : min(size, start + 10_000)])
            await writer.drain()
            await asyncio.sleep(0.02)

    async def test() -> None:
        # It takes some 0.9 s: longer than the idle limit, which is long enough for a machine with other work.
        async with connected(serve, Timeouts(idle_s=0.5, look_s=0.02)) as (_, connection):
            sink = ThreadSink()
            await connection.exchange(GET, sink=sink)
            assert sink.got == BODY[:size]
            assert len(sink.drained) < 10, "a thread was woken for little"

    run(test)


def test_a_sink_without_room_is_not_read_into_by_a_thread(run: Run, connected: Connected) -> None:
    """It has a disk to wait for yet, of an attempt before; afterwards the loop reads."""

    class Full(ThreadSink):
        resume: Callable[[], None]

        def on_room(self, resume: Callable[[], None]) -> None:
            self.resume = resume

    async def test() -> None:
        async with connected(whole) as (_, connection):
            sink = Full()
            sink.is_full = True
            exchange = asyncio.get_running_loop().create_task(connection.exchange(GET, sink=sink))
            while not connection.is_paused:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.02)
            assert not sink.started.is_set()
            sink.is_full = False
            sink.resume()
            await exchange
            assert sink.got == BODY
            assert connection.reusable

    run(test)


def test_room_in_a_sink_does_not_wake_the_loop_while_a_thread_reads(run: Run, connected: Connected) -> None:
    class Waking(ThreadSink):
        resume: Callable[[], None]

        def on_room(self, resume: Callable[[], None]) -> None:
            self.resume = resume

    async def test() -> None:
        async with connected(whole) as (_, connection):
            sink = Waking()
            sink.hold.clear()
            exchange = asyncio.get_running_loop().create_task(connection.exchange(GET, sink=sink))
            await sink.started.wait()
            before = sink.by_loop
            sink.resume()
            await asyncio.sleep(0.02)
            assert sink.by_loop == before
            sink.hold.set()
            await exchange
            assert sink.got == BODY

    run(test)


def test_a_limit_that_is_set_meanwhile_holds_for_the_rest(run: Run, connected: Connected) -> None:
    async def test() -> None:
        go_on = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(HEAD % SIZE + BODY[: SIZE // 2])
            await writer.drain()
            await go_on.wait()
            writer.write(BODY[SIZE // 2 :])
            await writer.drain()

        async with connected(serve) as (pool, connection):
            sink = ThreadSink()
            exchange = asyncio.get_running_loop().create_task(connection.exchange(GET, sink=sink))
            while len(sink.got) < SIZE // 2 or connection.is_paused:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.001)
            pool.throttle.allow(Allowance(1, 1 << 20, down=50_000_000))
            go_on.set()
            await exchange
            assert sink.got == BODY
            assert sink.by_loop > SIZE // 4, "the limit was passed by"
            assert connection.reusable

    run(test)


def test_H49_what_the_disk_says_ends_the_exchange(run: Run, connected: Connected) -> None:
    async def test() -> None:
        async with connected(whole) as (_, connection):
            sink = ThreadSink(DiskFull("The disk is full."))
            with pytest.raises(DiskFull):
                await connection.exchange(GET, sink=sink)
            assert not connection.reusable
            assert not sink.active

    run(test)


def test_a_surprise_in_the_thread_reaches_whoever_waits(run: Run, connected: Connected) -> None:
    class Surprised(ThreadSink):
        def _drain(self, take: Callable[[memoryview, int], int], left: int) -> None:
            raise MemoryError

    async def test() -> None:
        async with connected(whole) as (_, connection):
            with pytest.raises(MemoryError):
                await connection.exchange(GET, sink=Surprised())
            assert not connection.reusable

    run(test)


def test_the_end_of_a_body_is_waited_for_by_its_own_size(run: Run, connected: Connected) -> None:
    """After a thread has waited for much, and left off with little still to come."""
    rest = 100_000

    async def test() -> None:
        go_on = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(HEAD % SIZE + BODY[:1000])
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.write(BODY[1000:-rest])
            await writer.drain()
            await go_on.wait()
            writer.write(BODY[-rest:])
            await writer.drain()

        async with connected(serve, Timeouts(idle_s=2)) as (_, connection):
            sink = ThreadSink()
            exchange = asyncio.get_running_loop().create_task(connection.exchange(GET, sink=sink))
            await sink.started.wait()
            sink._at_once = SIZE - rest - len(sink.got)
            while len(sink.got) < SIZE - rest or connection.is_paused:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.001)
            sink._at_once = SIZE
            go_on.set()
            await exchange
            assert sink.got == BODY

    run(test)


def test_what_the_library_has_decrypted_needs_no_further_bytes(run: Run) -> None:
    def talk(peer: Peer) -> None:
        peer.request()
        peer.send(HEAD % SIZE)
        peer.send(BODY)  # in records that are full, also the last
        peer.wait()

    async def test() -> None:
        with secured(talk) as port:
            pool = pool_of(port, Timeouts(idle_s=2))
            connection = await pool.open()
            sink = ThreadSink(at_once=10_000)  # not a whole number of records, of which the last has 5728 bytes left
            await connection.exchange(GET, sink=sink)
            assert sink.got == BODY
            assert connection.reusable
            pool.release(connection)
            await pool.close()

    run(test)


@pytest.mark.parametrize("sent", [3, 10_000])
def test_the_rest_of_a_record_is_waited_for_by_its_own_size(run: Run, sent: int) -> None:
    def talk(peer: Peer) -> None:
        peer.request()
        peer.send(HEAD % SIZE + BODY[: -(16 << 10)])
        last = peer.cipher(BODY[-(16 << 10) :])
        peer.raw.sendall(last[:sent])
        time.sleep(0.1)  # until it is in the hands of the library
        peer.raw.sendall(last[sent:])
        peer.request()
        peer.send(HEAD % SIZE + BODY)

    async def test() -> None:
        with secured(talk) as port:
            pool = pool_of(port, Timeouts(idle_s=2))
            connection = await pool.open()
            sink = ThreadSink()
            await connection.exchange(GET, sink=sink)
            assert sink.got == BODY
            assert (await connection.exchange(GET)).body == BODY
            pool.release(connection)
            await pool.close()

    run(test)


def test_records_of_any_size_are_taken(run: Run) -> None:
    def talk(peer: Peer) -> None:
        peer.request()
        peer.send(HEAD % SIZE)
        for start in range(2000):
            peer.send(BODY[start : start + 1])
        for start in range(2000, SIZE, 1400):
            peer.send(BODY[start : start + 1400])
        peer.wait()

    async def test() -> None:
        with secured(talk) as port:
            pool = pool_of(port)
            connection = await pool.open()
            sink = ThreadSink()
            await connection.exchange(GET, sink=sink)
            assert sink.got == BODY
            pool.release(connection)
            await pool.close()

    run(test)


@pytest.mark.parametrize("how", ["without notice", "mid-record", "reset"])
def test_H37_an_end_in_the_midst_of_a_body_over_TLS_is_a_lost_connection(run: Run, how: str) -> None:
    def talk(peer: Peer) -> None:
        peer.request()
        peer.send(HEAD % SIZE + BODY[: SIZE // 2])
        if how == "mid-record":
            peer.raw.sendall(peer.cipher(bytes(10_000))[:5000])
        elif how == "reset":
            time.sleep(0.05)
            reset(peer.raw)

    async def test() -> None:
        with secured(talk) as port:
            pool = pool_of(port)
            connection = await pool.open()
            sink = ThreadSink()
            with pytest.raises(
                ConnectionLost, match="reset by peer|closed before all" if how == "reset" else "closed before all"
            ):
                await connection.exchange(GET, sink=sink)
            if how != "reset":
                assert sink.got == BODY[: SIZE // 2]
            assert not connection.reusable
            pool.release(connection)
            await pool.close()

    run(test)
