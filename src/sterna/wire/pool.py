"""Keep the connections to one endpoint: hand out idle ones, open new ones over all its addresses, end those that stall."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from sterna.model.errors import ConnectionLost, HostUnknown, RetryLater, WrongSetting
from sterna.wire.connection import SLICE, Connection
from sterna.wire.endpoints import Endpoint
from sterna.wire.limits import Throttle
from sterna.wire.proxies import Proxy
from sterna.wire.tls import CAN_SHARE, secure


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. ``connect_s`` for TCP and TLS together; ``idle_s`` without a byte in either direction, which also bounds
    the wait for an answer; below ``slowest_bytes_per_s`` over ``slow_s`` an exchange counts as stalled (H38)."""

    connect_s: float = 10.0
    idle_s: float = 60.0
    slow_s: float = 120.0
    slowest_bytes_per_s: float = 128.0
    patience: float = 10.0  # times ``idle_s``, for requests of which the server copies bytes before it answers
    keep_s: float = 8.0  # an idle connection is reused so long; servers close theirs after 5 to 60 s (H33, H36)
    look_s: float = 1.0  # between two looks for what stalls; four looks at least before ``idle_s`` is over


_ADDRESSES_S = 60.0  # how long looked-up addresses serve: load balancers change theirs by the minute


class Pool:
    """The connections of one endpoint. Not thread-safe: it lives in one loop."""

    def __init__(
        self, endpoint: Endpoint, proxy: Proxy | None, tls: Callable[[], ssl.SSLContext], timeouts: Timeouts
    ) -> None:
        self.endpoint = endpoint
        self._proxy = proxy
        self._tls = tls
        self._context: ssl.SSLContext | None = None
        self._timeouts = timeouts
        self._loop = asyncio.get_running_loop()
        self.throttle = Throttle(self._loop, SLICE)
        self._idle: list[tuple[Connection, float]] = []
        self._busy: set[Connection] = set()
        self._addresses: list[tuple[int, str]] = []
        self._looked_up_s = float("-inf")
        self._turn = 0
        self._watch: asyncio.Task[None] | None = None
        self.is_trusted = endpoint.is_tls or endpoint.is_loopback  # nobody on the way can change a body unseen
        self.sends_files = not endpoint.is_tls and hasattr(os, "sendfile")
        # Threads may read bodies (see ``Tap``), unless the loop speaks TLS with the proxy: all the rest they can decrypt.
        self.taps_bodies = CAN_SHARE and not (proxy is not None and proxy.is_tls)
        self.has_answered = False
        self._is_retired = False
        # What a plain HTTP proxy wants before the path and among the headers; nothing through a tunnel.
        plain = proxy is not None and not endpoint.is_tls
        grant = f"proxy-authorization: {proxy.authorization}\r\n" if plain and proxy and proxy.authorization else ""
        self.absolute = (f"http://{endpoint.host}:{endpoint.port}" if plain else "", grant)

    def __repr__(self) -> str:
        return f"<Pool {self.endpoint.host}:{self.endpoint.port}, {len(self._busy)} busy, {len(self._idle)} idle>"

    def idle(self) -> Connection | None:
        """A kept connection, the one used last, or None."""
        while self._idle:
            connection, since = self._idle.pop()
            if connection.reusable and self._loop.time() - since < self._timeouts.keep_s:
                self._busy.add(connection)
                return connection
            connection.close()
        return None

    def release(self, connection: Connection) -> None:
        """Give a connection back after an exchange, whatever came of it."""
        self._busy.discard(connection)
        if connection.answers:
            self.has_answered = True  # also by a server that closes after each answer
        if connection.reusable and not self._is_retired:
            self._idle.append((connection, self._loop.time()))
        else:
            connection.close()

    def retire(self) -> None:
        """Another pool takes over: idle connections end now, the others with their exchange. (One that nobody closes
        keeps uvloop's loop from closing.)"""
        self._is_retired = True
        for connection, _ in self._idle:
            connection.close()
        self._idle.clear()

    async def open(self) -> Connection:
        """A new connection. Raises RetryLater while nobody answers, WrongSetting where trying again cannot help."""
        endpoint = self.endpoint
        where = f"{endpoint.host}:{endpoint.port}"
        try:
            async with asyncio.timeout(self._timeouts.connect_s):
                connection = await self._open()
        except TimeoutError:
            raise RetryLater(
                f"{where} does not answer within {self._timeouts.connect_s:g} s; check --endpoint-url and the network."
            ) from None
        except ssl.SSLCertVerificationError as error:
            raise WrongSetting(
                f"The certificate of {where} is not trusted ({error.verify_message}); give its CA with --ca-bundle."
            ) from None
        except ssl.SSLError as error:
            if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
                raise WrongSetting(
                    f"{where} does not speak TLS; write http:// in --endpoint-url if that is meant."
                ) from None
            raise ConnectionLost(f"TLS with {where} failed: {error.reason or error}.") from None
        except OSError as error:
            raise ConnectionLost(
                f"{where} cannot be reached: {_words(error)}; check --endpoint-url and the network."
            ) from None
        self._busy.add(connection)
        if self._watch is None or self._watch.done():
            self._watch = self._loop.create_task(self._end_stalled())
            self._watch.add_done_callback(self._watch_ended)
        return connection

    async def _open(self) -> Connection:
        endpoint = self.endpoint
        proxy = self._proxy
        host, port = (proxy.host, proxy.port) if proxy is not None else (endpoint.host, endpoint.port)
        errors: list[OSError] = []
        addresses = await self._addresses_of(host, port)
        first = self._turn
        self._turn += 1  # the next connection begins with the next address, also when this one hangs
        context = self._tls_context() if endpoint.is_tls else None
        for turn in range(len(addresses)):
            family, address = addresses[(first + turn) % len(addresses)]
            try:
                raw = socket.socket(family, socket.SOCK_STREAM)
                try:
                    raw.setblocking(False)
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    await self._loop.sock_connect(raw, (address, port))
                    if proxy is not None:
                        connection = await self._through(proxy, raw, context)
                    else:
                        connection = await self._over(raw, context, endpoint.host)
                except BaseException:
                    raw.close()
                    raise
                return connection
            except ssl.SSLError:
                raise
            except OSError as error:
                errors.append(error)
        raise errors[-1] if errors else OSError(f"no address is known for {host}")

    async def _over(self, raw: socket.socket, context: ssl.SSLContext | None, host: str) -> Connection:
        """A connection over a connected socket, in TLS where there is a context."""
        connection = Connection(self._loop, self.throttle)
        if context is not None and CAN_SHARE:
            await secure(self._loop, raw, context, host, connection)
        else:
            await self._loop.create_connection(
                lambda: connection, sock=raw, ssl=context, server_hostname=host if context else None
            )
        return connection

    async def _through(self, proxy: Proxy, raw: socket.socket, context: ssl.SSLContext | None) -> Connection:
        endpoint = self.endpoint
        outer = self._tls_context() if proxy.is_tls else None
        transport, connection = await self._loop.create_connection(
            lambda: Connection(self._loop, self.throttle),
            sock=raw,
            ssl=outer,
            server_hostname=proxy.host if outer else None,
        )
        if context is None:
            return connection
        target = f"{endpoint.host}:{endpoint.port}"
        grant = f"proxy-authorization: {proxy.authorization}\r\n" if proxy.authorization else ""
        connection.is_to_tunnel = True
        answer = await connection.exchange(
            f"CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n{grant}\r\n".encode("latin-1"), bodyless=True
        )
        if answer.status != 200:
            connection.close()
            raise WrongSetting(
                f"The proxy {proxy.host}:{proxy.port} refuses to connect to {target} (HTTP {answer.status})."
            )
        if CAN_SHARE and outer is None:
            tunnel = raw.dup()  # the transport keeps its own, and closes it
            tunnel.setblocking(False)
            transport.abort()
            try:
                return await self._over(tunnel, context, endpoint.host)
            except BaseException:
                tunnel.close()
                raise
        inner = Connection(self._loop, self.throttle)
        upgraded = await self._loop.start_tls(transport, inner, context, server_hostname=endpoint.host)
        if upgraded is None:
            raise ConnectionLost(f"TLS with {target} through the proxy failed.")
        inner.connection_made(upgraded)
        return inner

    def _tls_context(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = self._tls()
        return self._context

    async def _addresses_of(self, host: str, port: int) -> list[tuple[int, str]]:
        now = self._loop.time()
        if now - self._looked_up_s > _ADDRESSES_S or not self._addresses:
            try:
                found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            except socket.gaierror as error:
                if error.errno == socket.EAI_AGAIN or self.has_answered:
                    raise ConnectionLost(f"The name {host} cannot be looked up just now: {error.strerror}.") from None
                raise HostUnknown(
                    f"The name {host} is not known ({error.strerror}); check --endpoint-url and --region."
                ) from None
            self._addresses = list(dict.fromkeys((int(family), str(address[0])) for family, _, _, _, address in found))
            self._looked_up_s = now
        return self._addresses

    async def _end_stalled(self) -> None:
        """At every look, end the exchanges in which nothing, or next to nothing, moves."""
        timeouts = self._timeouts
        marks: dict[Connection, tuple[float, int]] = {}
        waiting: dict[Connection, int] = {}  # bytes not sent or taken yet, as of the last look
        while self._busy or self._idle:
            await asyncio.sleep(min(timeouts.look_s, timeouts.idle_s / 4))
            now = self._loop.time()
            for connection in list(self._busy):
                unread = connection.unread
                buffered, moved = connection.unsent + unread, connection.moved + unread
                if buffered != waiting.get(connection, 0):
                    connection.progress_s = now
                    waiting[connection] = buffered
                if connection.is_paused:
                    connection.progress_s = now
                    marks.pop(connection, None)
                elif now - connection.progress_s > (idle_s := self._idle_s(connection)):
                    connection.fail(ConnectionLost(f"Nothing moved for {idle_s:g} s: the connection has stalled."))
                elif connection.is_patient:
                    marks.pop(connection, None)  # a blank now and then says that the server is still at it
                else:
                    since, before = marks.setdefault(connection, (now, moved))
                    if now - since > timeouts.slow_s:
                        if 0 < moved - before < timeouts.slowest_bytes_per_s * timeouts.slow_s:
                            connection.fail(ConnectionLost(f"Next to nothing moved for {timeouts.slow_s:g} s."))
                        marks[connection] = (now, moved)
            for gone in (marks, waiting):
                for connection in gone.keys() - self._busy:
                    del gone[connection]
            kept = [(c, since) for c, since in self._idle if c.reusable and now - since < timeouts.keep_s]
            for connection, _ in self._idle:
                if all(connection is not other for other, _ in kept):
                    connection.close()
            self._idle = kept

    def _watch_ended(self, watch: asyncio.Task[None]) -> None:
        """A fault of ours in the watch fails what it watched: unwatched, an exchange may wait for ever."""
        if not watch.cancelled() and (fault := watch.exception()) is not None:
            for connection in list(self._busy):
                connection.fail(fault)

    def _idle_s(self, connection: Connection) -> float:
        return self._timeouts.idle_s * (self._timeouts.patience if connection.is_patient else 1)

    async def close(self) -> None:
        """End every connection."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        for connection in [*self._busy, *(connection for connection, _ in self._idle)]:
            connection.close()
        self._busy.clear()
        self._idle.clear()
        await asyncio.sleep(0)  # let the transports tell their protocols


def _words(error: OSError) -> str:
    """The system's words; uvloop puts the address into the error's own."""
    return os.strerror(error.errno) if isinstance(error.errno, int) and error.errno > 0 else str(error)
