"""TLS by the library on the socket itself: handshakes, bodies of all shapes both ways, and every way to end."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import uvloop

from sterna.model.errors import ConnectionLost, RetryLater, SternaError, WrongSetting
from sterna.wire.connection import Connection
from sterna.wire.pool import Pool, Timeouts
from sterna.wire.proxies import Proxy
from sterna.wire.tls import TlsTransport, secure
from tests.wire.loopback import listening
from tests.wire.secured import Peer, client_context, pool_of, reset, secured, served, server_context

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the loop's own TLS is used")

GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
BODY = bytes(number % 251 for number in range(1 << 16)) * 64

Run = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
        factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(asyncio.wait_for(test(), 30))

    return run


@asynccontextmanager
async def opened(
    talk: Callable[[Peer], None], context: ssl.SSLContext | None = None, received_at_once: int = 0
) -> AsyncIterator[tuple[Pool, Connection]]:
    """A connection to a server that has ``talk`` speak."""
    with secured(talk, context, received_at_once) as port:
        pool = pool_of(port, Timeouts(idle_s=10))
        try:
            yield pool, await pool.open()
        finally:
            await pool.close()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.001)


def answering(peer: Peer) -> None:
    while True:
        peer.request()
        peer.send(OK)


# Handshakes.


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_connection_serves_again_and_again(run: Run, version: ssl.TLSVersion) -> None:
    context = server_context()
    context.maximum_version = context.minimum_version = version

    async def test() -> None:
        async with opened(answering, context) as (pool, connection):
            for _ in range(3):
                assert (await connection.exchange(GET)).body == b"ok"
            assert isinstance(connection._transport, TlsTransport)
            pool.release(connection)
            assert pool.idle() is connection

    run(test)


def test_tickets_that_come_after_the_handshake_are_no_data(run: Run) -> None:
    async def test() -> None:
        async with opened(answering) as (_, connection):
            await asyncio.sleep(0.05)  # the server sends two at once (TLS 1.3)
            assert connection.reusable
            assert not connection.moved
            assert (await connection.exchange(GET)).body == b"ok"

    run(test)


@pytest.mark.parametrize(("name", "says"), [("127.0.0.1", "self-signed|issuer"), ("s3.example.com", "IP address")])
def test_a_certificate_that_is_not_trusted_is_said_so_and_no_descriptor_stays(run: Run, name: str, says: str) -> None:
    async def test() -> None:
        before = 0
        with secured(answering, server_context(name)) as port:
            pool = pool_of(port)
            if name == "127.0.0.1":
                pool._tls = ssl.create_default_context
            for _ in range(4):
                with pytest.raises(WrongSetting, match=rf"127.0.0.1:{port} is not trusted \(.*({says}).*give its CA"):
                    await pool.open()
                before = before or descriptors()  # of now, when loop and server have all of theirs
            await until(lambda: descriptors() <= before)
            await pool.close()

    run(test)


def _hang_up(raw: socket.socket) -> None:
    raw.recv(10)


def _reset(raw: socket.socket) -> None:
    raw.recv(10)
    reset(raw)


def _refuse(raw: socket.socket) -> None:
    raw.recv(65536)
    raw.sendall(b"\x15\x03\x03\x00\x02\x02\x28")  # the alert handshake_failure
    raw.recv(10)


def _babble(raw: socket.socket) -> None:
    raw.recv(65536)
    raw.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    raw.recv(10)


def _stall(raw: socket.socket) -> None:
    while raw.recv(65536):
        pass


@pytest.mark.parametrize(
    ("talk", "kind", "says"),
    [
        (_hang_up, ConnectionLost, "cannot be reached: Connection reset by peer"),
        (_reset, ConnectionLost, "cannot be reached: Connection reset by peer"),
        (_refuse, ConnectionLost, "failed: .*HANDSHAKE_FAILURE"),
        (_babble, WrongSetting, "does not speak TLS; write http://"),
        (_stall, RetryLater, "does not answer within 0.2 s"),
    ],
)
def test_a_handshake_that_does_not_succeed(
    run: Run, talk: Callable[[socket.socket], None], kind: type[SternaError], says: str
) -> None:
    async def test() -> None:
        before = 0
        with served(talk) as port:
            pool = pool_of(port, Timeouts(connect_s=0.2 if talk is _stall else 10))
            for _ in range(4):
                with pytest.raises(kind, match=says):
                    await pool.open()
                before = before or descriptors()
            await until(lambda: descriptors() <= before)
            await pool.close()

    run(test)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_through_a_plain_proxy_the_tunnel_is_spoken_to_in_the_same_way(run: Run, version: str) -> None:
    context = server_context()

    def proxy(raw: socket.socket) -> None:
        asked = b""
        while b"\r\n\r\n" not in asked:
            asked += raw.recv(65536)
        assert asked.startswith(b"CONNECT 127.0.0.1:")
        raw.sendall(b"HTTP/%s 200 Connection established\r\n\r\n" % version.encode())
        answering(Peer(raw, context))

    async def test() -> None:
        before = 0
        with served(proxy) as port:
            pool = pool_of(port)
            pool._proxy = Proxy("127.0.0.1", port)
            for _ in range(4):
                connection = await pool.open()
                assert isinstance(connection._transport, TlsTransport)
                for _ in range(2):
                    assert (await connection.exchange(GET)).body == b"ok"
                connection.close()
                pool.release(connection)
                before = before or descriptors()
            await until(lambda: descriptors() <= before)
            await pool.close()

    run(test)


def test_through_a_proxy_that_speaks_TLS_itself_there_is_TLS_in_TLS(run: Run) -> None:
    async def test() -> None:
        async def relayed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked = await reader.readuntil(b"\r\n\r\n")
            port = int(asked.split(b" ")[1].rpartition(b":")[2])
            there, back = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

            async def pour(source: asyncio.StreamReader, into: asyncio.StreamWriter) -> None:
                while data := await source.read(65536):
                    into.write(data)
                into.close()

            await asyncio.gather(pour(reader, back), pour(there, writer))

        with secured(answering) as behind:  # the outer one: its end waits, and holds the loop that relays until then
            async with listening(relayed, server_context()) as port:
                pool = pool_of(behind)
                pool._proxy = Proxy("127.0.0.1", port, is_tls=True)
                connection = await pool.open()
                assert (await connection.exchange(GET)).body == b"ok"
                pool.release(connection)
                await pool.close()

    run(test)


# Bodies.


def test_head_and_small_body_go_in_one_record(run: Run) -> None:
    records: list[bytes] = []

    def talk(peer: Peer) -> None:
        records.append(peer.record())
        peer.send(OK)

    async def test() -> None:
        async with opened(talk) as (_, connection):
            await connection.exchange(b"PUT / HTTP/1.1\r\nContent-Length: 3\r\n\r\n", b"abc")

    run(test)
    assert records == [b"PUT / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"]


@pytest.mark.parametrize("size", [100, 16 << 10, 64 << 10, (64 << 10) + 1, 1 << 20, (1 << 20) + 1, 4 << 20])
def test_what_a_slow_reader_gets_is_what_was_sent(run: Run, size: int) -> None:
    seen: list[str] = []
    unsent: list[int] = []

    def talk(peer: Peer) -> None:
        first = peer.request()
        got, count = hashlib.sha256(first), len(first)
        if size > 1 << 20:
            time.sleep(0.1)  # until all buffers on the way are full
        while count < size:
            piece = peer.record()
            got.update(piece)
            count += len(piece)
            if count % (256 << 10) < 1000:
                time.sleep(0.005)
        seen.append(got.hexdigest())
        peer.send(OK)
        peer.wait()

    async def test() -> None:
        async with opened(talk, received_at_once=8192) as (_, connection):
            assert connection._transport is not None
            connection._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 << 10)
            head = b"PUT / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size
            exchange = asyncio.get_running_loop().create_task(connection.exchange(head, BODY[:size]))
            while not exchange.done():
                unsent.append(connection.unsent)
                await asyncio.sleep(0.001)
            assert (await exchange).body == b"ok"
            assert connection.unsent == 0
            assert connection.reusable

    run(test)
    assert seen == [hashlib.sha256(BODY[:size]).hexdigest()]
    if size > 2 << 20:
        assert max(unsent) > 1 << 19, "the peer was never slow: nothing was tested"
        assert len(set(unsent)) > 3, "it is not seen how what is to be sent becomes less"


@pytest.mark.parametrize("each", [1, 1000, 16 << 10, 1 << 20])
def test_a_body_comes_whole_in_records_of_any_size(run: Run, each: int) -> None:
    size = 3000 if each == 1 else len(BODY)

    def talk(peer: Peer) -> None:
        peer.request()
        answer = HEAD % size + BODY[:size]
        for start in range(0, len(answer), each):
            peer.send(answer[start : start + each])
        peer.wait()

    async def test() -> None:
        async with opened(talk) as (_, connection):
            assert (await connection.exchange(GET)).body == BODY[:size]
            assert connection.reusable

    run(test)


class Pausing(asyncio.BufferedProtocol):
    """Takes ten bytes at a time, and pauses after each."""

    def __init__(self) -> None:
        self.got = bytearray()
        self.ended: list[object] = []
        self._buffer = bytearray(10)
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, count: int) -> None:
        assert self.transport is not None
        self.got += self._buffer[:count]
        self.transport.pause_reading()

    def eof_received(self) -> bool:
        self.ended.append("eof")
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.ended.append(error)


class Sipping(Pausing):
    """Takes ten bytes at a time, without a pause."""

    def buffer_updated(self, count: int) -> None:
        self.got += self._buffer[:count]


class Counting:
    """A loop that counts what is to be called soon."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.waiting = self.most = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def call_soon(self, call: Callable[..., object], *arguments: object) -> None:
        def called() -> None:
            self.waiting -= 1
            call(*arguments)

        self.waiting += 1
        self.most = max(self.most, self.waiting)
        self._loop.call_soon(called)


async def spoken_to(port: int, protocol: asyncio.BufferedProtocol, counting: Counting | None = None) -> None:
    loop = cast(asyncio.AbstractEventLoop, counting) if counting is not None else asyncio.get_running_loop()
    raw = socket.socket()
    raw.setblocking(False)
    await loop.sock_connect(raw, ("127.0.0.1", port))
    await secure(loop, raw, client_context(), "127.0.0.1", protocol)


def test_what_is_decrypted_when_reading_pauses_comes_when_it_goes_on(run: Run) -> None:
    def talk(peer: Peer) -> None:
        peer.send(b"0123456789" * 5)
        peer.wait()

    async def test() -> None:
        with secured(talk) as port:
            protocol = Pausing()
            await spoken_to(port, protocol)
            transport = protocol.transport
            assert transport is not None
            for count in range(1, 6):
                await until(lambda: len(protocol.got) == 10 * count)  # noqa: B023 - awaited in this turn
                assert not transport.is_reading()
                await asyncio.sleep(0.002)
                assert len(protocol.got) == 10 * count, "it was read while it paused"
                transport.resume_reading()
            assert protocol.ended == []
            transport.abort()
            await until(lambda: protocol.ended == [None])

    run(test)


def test_however_much_comes_one_reading_at_a_time_is_under_way(run: Run) -> None:
    def talk(peer: Peer) -> None:
        for start in range(0, 400_000, 1000):
            peer.send(BODY[start : start + 1000])
        peer.wait()

    async def test() -> None:
        with secured(talk) as port:
            protocol, counting = Sipping(), Counting(asyncio.get_running_loop())
            await spoken_to(port, protocol, counting)
            await until(lambda: len(protocol.got) == 400_000)
            assert protocol.got == BODY[:400_000]
            assert counting.most == 1
            assert protocol.transport is not None
            protocol.transport.abort()
            await until(lambda: protocol.ended == [None])

    run(test)


# Ends.


@pytest.mark.parametrize("notified", [True, False])
def test_only_an_end_with_close_notify_ends_a_body_without_a_length(run: Run, notified: bool) -> None:
    def talk(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nabc", ends=notified)

    async def test() -> None:
        async with opened(talk) as (_, connection):
            if notified:
                assert (await connection.exchange(GET)).body == b"abc"
            else:
                with pytest.raises(ConnectionLost, match="closed before all of the answer came"):
                    await connection.exchange(GET)
            assert not connection.reusable

    run(test)


@pytest.mark.parametrize("notified", [True, False])
def test_H36_a_server_that_closes_an_idle_connection_is_seen(run: Run, notified: bool) -> None:
    def talk(peer: Peer) -> None:
        peer.request()
        peer.send(OK)
        peer.send(b"", ends=notified)

    async def test() -> None:
        async with opened(talk) as (pool, connection):
            await connection.exchange(GET)
            pool.release(connection)
            await until(lambda: not connection.reusable)
            assert pool.idle() is None

    run(test)


@pytest.mark.parametrize("how", ["close", "notify", "reset", "mid-record", "garbage"])
def test_H37_a_body_that_breaks_off_is_a_lost_connection(run: Run, how: str) -> None:
    def talk(peer: Peer) -> None:
        peer.request()
        peer.send(HEAD % 100_000 + BODY[:40_000], ends=how == "notify")
        if how == "mid-record":
            peer.raw.sendall(peer.cipher(BODY[:10_000])[:5000])
        elif how == "garbage":
            peer.raw.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
            peer.wait()
        elif how == "reset":
            reset(peer.raw)

    async def test() -> None:
        async with opened(talk) as (_, connection):
            with pytest.raises(
                ConnectionLost, match=r"The connection was closed before a.* of the answer came"
            ) as said:
                await connection.exchange(GET)
            assert not connection.reusable
            why = {"garbage": "came: .*(RECORD|record)", "reset": r"came(: .*reset by peer)?\."}.get(how, r"came\.")
            assert re.search(why, said.value.sentence)  # Python 3.11.2 tells of a reset as of an end

    run(test)


def test_who_gives_up_sends_nothing_more(run: Run) -> None:
    def talk(peer: Peer) -> None:
        peer.request()
        time.sleep(0.05)
        peer.wait()

    async def test() -> None:
        async with opened(talk, received_at_once=8192) as (_, connection):
            exchange = asyncio.get_running_loop().create_task(connection.exchange(GET, BODY))
            await until(lambda: connection.unsent > 0)
            exchange.cancel()
            with pytest.raises(asyncio.CancelledError):
                await exchange
            assert connection.unsent == 0
            assert connection._transport is not None
            assert connection._transport.is_closing()
            connection._transport.write(b"after the end")
            assert connection.unsent == 0

    run(test)


def test_a_protocol_that_fails_unforeseen_loses_its_connection(run: Run) -> None:
    class Failing(Pausing):
        def buffer_updated(self, count: int) -> None:
            raise MemoryError

    def talk(peer: Peer) -> None:
        peer.send(b"x")
        peer.wait()

    async def test() -> None:
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        with secured(talk) as port:
            protocol = Failing()
            await spoken_to(port, protocol)
            await until(lambda: bool(protocol.ended))
            assert isinstance(protocol.ended[0], MemoryError)
            assert told

    run(test)


def test_a_lent_socket_keeps_its_number_until_it_is_given_back(run: Run) -> None:
    async def test() -> None:
        with secured(Peer.wait) as port:
            protocol = Pausing()
            await spoken_to(port, protocol)
            transport = protocol.transport
            assert isinstance(transport, TlsTransport)
            lent = transport.lend()
            transport.abort()
            await until(lambda: protocol.ended == [None])
            assert lent.fileno() >= 0, "another file could get its number while a thread reads"
            transport.give_back()
            assert lent.fileno() < 0

    run(test)
