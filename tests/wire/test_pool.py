"""Connections of one endpoint: kept, reused, opened over all addresses, ended when they stall."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sterna.model.errors import ConnectionLost, HostUnknown, RetryLater, SternaError, WrongSetting
from sterna.wire.connection import Connection
from sterna.wire.endpoints import Addressing, Endpoint, endpoints_for
from sterna.wire.pool import Pool, Timeouts
from tests.wire.loopback import Serve, listening

GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def no_tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def endpoint(url: str) -> Endpoint:
    return endpoints_for(Addressing(urls=(url,)), "bucket", "us-east-1")[0]


async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.readuntil(b"\r\n\r\n"):
        writer.write(OK)


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


@asynccontextmanager
async def serving(serve: Serve, timeouts: Timeouts | None = None, host: str = "127.0.0.1") -> AsyncIterator[Pool]:
    async with listening(serve) as port:
        pool = Pool(endpoint(f"http://{host}:{port}"), None, no_tls, timeouts or Timeouts())
        try:
            yield pool
        finally:
            await pool.close()


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


async def exchanged(pool: Pool) -> Connection:
    connection = pool.idle() or await pool.open()
    try:
        assert (await connection.exchange(GET)).body == b"ok"
    finally:
        pool.release(connection)
    return connection


def test_a_connection_is_kept_and_used_again() -> None:
    async def test() -> None:
        async with serving(answering) as pool:
            assert pool.idle() is None
            assert not pool.has_answered
            first = await exchanged(pool)
            assert pool.has_answered
            assert await exchanged(pool) is first
            assert repr(pool).endswith("0 busy, 1 idle>")
            assert first.answers == 2

    run(test)


@pytest.mark.parametrize(
    ("number", "kind", "code"), [(socket.EAI_NONAME, HostUnknown, 1), (socket.EAI_AGAIN, ConnectionLost, 1)]
)
def test_a_host_whose_name_nobody_knows_was_not_reached(
    monkeypatch: pytest.MonkeyPatch, number: int, kind: type[SternaError], code: int
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(number, "says the resolver")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    async def test() -> None:
        pool = Pool(endpoint("http://nobody.example"), None, no_tls, Timeouts())
        with pytest.raises(kind, match=r"^The name nobody\.example ") as raised:
            await pool.open()
        assert raised.value.exit_code == code
        await pool.close()

    run(test)


def test_of_several_idle_connections_the_last_used_is_next() -> None:
    async def test() -> None:
        async with serving(answering) as pool:
            first, second = await pool.open(), await pool.open()
            assert repr(pool).endswith("2 busy, 0 idle>")
            for connection in (first, second):
                await connection.exchange(GET)
                pool.release(connection)
            assert pool.idle() is second
            assert pool.idle() is first
            assert pool.idle() is None

    run(test)


def test_H36_a_connection_that_was_idle_too_long_is_not_used() -> None:
    async def test() -> None:
        async with serving(answering, Timeouts(keep_s=0.0)) as pool:
            first = await exchanged(pool)
            assert await exchanged(pool) is not first
            assert not first.reusable

    run(test)


def test_a_connection_that_the_server_closed_while_idle_is_not_used() -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)

    async def test() -> None:
        async with serving(once) as pool:
            first = await exchanged(pool)
            while first.reusable:  # noqa: ASYNC110 - the connection tells no event
                await asyncio.sleep(0.001)
            assert await exchanged(pool) is not first

    run(test)


def test_closing_leaves_no_task_behind() -> None:
    async def test() -> None:
        before = asyncio.all_tasks()
        async with listening(answering) as port:
            pool = Pool(endpoint(f"http://127.0.0.1:{port}"), None, no_tls, Timeouts())
            await (await pool.open()).exchange(GET)
            await pool.close()
            assert not [task for task in asyncio.all_tasks() - before if "Pool" in repr(task)]

    run(test)


def test_a_fault_in_the_watch_fails_what_it_watched() -> None:
    async def test() -> None:
        broken = Timeouts(look_s=0.001, idle_s="never")  # type: ignore[arg-type]
        async with serving(silent, broken) as pool:
            connection = await pool.open()
            with pytest.raises(TypeError):
                await connection.exchange(GET)
            pool.release(connection)

    run(test)


def test_a_failed_exchange_gives_no_connection_back() -> None:
    async def hanging_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    async def test() -> None:
        async with serving(hanging_up) as pool:
            connection = await pool.open()
            with pytest.raises(ConnectionLost):
                await connection.exchange(GET)
            pool.release(connection)
            assert repr(pool).endswith("0 busy, 0 idle>")
            assert not pool.has_answered

    run(test)


def test_H38_an_exchange_in_which_nothing_moves_is_ended() -> None:
    async def test() -> None:
        async with serving(silent, Timeouts(idle_s=0.1)) as pool:
            connection = await pool.open()
            with pytest.raises(ConnectionLost) as caught:
                await connection.exchange(GET)
            assert "0.1 s" in caught.value.sentence
            pool.release(connection)

    run(test)


def test_H38_an_exchange_in_which_next_to_nothing_moves_is_ended() -> None:
    async def dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x")
            await asyncio.sleep(0.005)

    async def test() -> None:
        timeouts = Timeouts(slow_s=0.03, slowest_bytes_per_s=100_000.0, look_s=0.01)
        async with serving(dripping, timeouts) as pool:
            connection = await pool.open()
            with pytest.raises(ConnectionLost) as caught:
                await connection.exchange(GET)
            assert "Next to nothing" in caught.value.sentence
            pool.release(connection)

    run(test)


def test_an_address_that_refuses_is_passed_over_for_the_next() -> None:
    async def test() -> None:
        # localhost is ::1 and 127.0.0.1 on most machines; the server listens on the second alone.
        async with serving(answering, host="localhost") as pool:
            for _ in range(3):
                await exchanged(pool)

    run(test)


def test_nobody_listening_is_said_with_the_address_and_what_to_check() -> None:
    async def test() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
            pool = Pool(endpoint(f"http://127.0.0.1:{port}"), None, no_tls, Timeouts())
            with pytest.raises(ConnectionLost) as caught:
                await pool.open()
            assert f"127.0.0.1:{port}" in caught.value.sentence
            assert "check --endpoint-url" in caught.value.sentence
            await pool.close()

    run(test)


@pytest.mark.parametrize(
    ("serve", "timeouts", "kind", "says"),
    [
        (silent, Timeouts(connect_s=0.03), RetryLater, "does not answer within 0.03 s"),
        (answering, Timeouts(), WrongSetting, "does not speak TLS; write http://"),
    ],
)
def test_a_server_that_does_not_speak_TLS_is_said_so(
    serve: Serve, timeouts: Timeouts, kind: type[SternaError], says: str
) -> None:
    async def babbling(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await serve(reader, writer)

    async def test() -> None:
        async with listening(silent if serve is silent else babbling) as port:
            pool = Pool(endpoint(f"https://127.0.0.1:{port}"), None, no_tls, timeouts)
            with pytest.raises(kind) as caught:
                await pool.open()
            assert says in caught.value.sentence
            await pool.close()

    run(test)


def test_closing_ends_what_is_busy_and_what_is_idle() -> None:
    async def test() -> None:
        async with serving(silent) as pool:
            busy = await pool.open()
            task = asyncio.create_task(busy.exchange(GET))
            await asyncio.sleep(0)
            await pool.close()
            with pytest.raises(ConnectionLost):
                await task
            assert repr(pool).endswith("0 busy, 0 idle>")

    run(test)
