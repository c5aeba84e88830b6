"""Stand before a server, or before none: accept connections, let faults act on what passes, keep the record."""

from __future__ import annotations

import re
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from tests.faults.front.answer import Answer, head_of
from tests.faults.front.exchange import By, Exchange
from tests.faults.front.fault import WAIT_S, Call, Fault, KeyPattern, Kind, Nth
from tests.faults.front.pages import TOKENS, entries, key_of, tag, token_of, without_keys
from tests.faults.front.request import CONNECT, LISTS, READS, Request, parse_request
from tests.faults.front.s3 import error
from tests.faults.front.upstream import Upstream
from tests.faults.front.wire import CHUNK, Ended, Wire
from tests.servers.process import free_ports
from tests.servers.server import ACCESS_KEY, REGION, SECRET_KEY, Facts, Server


class Front:
    """A front on a free port of loopback. ``upstream`` is a Server, or None: then every request needs a fault that
    answers it, and what is left gets 501.

    ``keep_bodies`` keeps each request's body in its record. ``idle_limit_s`` closes idle connections, ``idle_end``
    says how. ``tls`` makes it speak HTTPS.
    """

    def __init__(
        self,
        upstream: Server | None = None,
        *,
        keep_bodies: bool = False,
        idle_limit_s: float | None = None,
        idle_end: By = "FIN",
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.upstream = upstream
        self.keep_bodies = keep_bodies
        self.idle_limit_s = idle_limit_s
        self.idle_end = idle_end
        self.host = host
        self.requests: list[Request] = []
        self.errors: list[Exception] = []
        self.connections = 0  # accepted so far
        self.open_connections = 0
        self.in_flight = 0
        self.peak_in_flight = 0
        self.is_closed = False
        self._tls = tls
        self._faults: list[Fault] = []
        self._pages: dict[tuple[str, str, str], bytes] = {}  # by the token that leads on from them
        self._etags: dict[bytes, bytes] = {}
        self._hidden: dict[tuple[str, str], int] = {}
        self._changed = threading.Condition()
        self._wires: set[Wire] = set()
        self._threads: set[threading.Thread] = set()
        self._fillers: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self.port = 0
        self.accept_connections()

    def __repr__(self) -> str:
        behind = self.upstream.name if self.upstream else "nothing"
        return (
            f"<Front :{self.port} before {behind}: {len(self.requests)} requests, {self.open_connections} of"
            f" {self.connections} connections open, {self.in_flight} in flight, {len(self._faults)} faults>"
        )

    # What a test says

    @property
    def endpoint_url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self.host}:{self.port}"

    @property
    def server(self) -> Server:
        """The front as a server: same keys, same facts, another address."""
        up = self.upstream
        return Server(
            f"{up.name if up else 'nothing'} behind a front",
            self.endpoint_url,
            up.access_key if up else ACCESS_KEY,
            up.secret_key if up else SECRET_KEY,
            up.region if up else REGION,
            up.facts if up else Facts(checks_signatures=False),
        )

    def fault(
        self,
        operation: str | Collection[str],
        *,
        kind: Kind,
        nth: Nth = 1,
        key: KeyPattern = None,
        where: Callable[[Request], bool] | None = None,
        must_hit: bool = True,
    ) -> Fault:
        """Let the n-th request of an operation (and key, and ``where``), counted from now, go wrong."""
        fault = Fault(operation, kind, nth, key, where, must_hit)
        with self._changed:
            self._faults.append(fault)
        return fault

    def before(
        self,
        operation: str | Collection[str],
        *,
        call: Callable[[Request], object],
        nth: Nth = 1,
        key: KeyPattern = None,
        where: Callable[[Request], bool] | None = None,
    ) -> Fault:
        """Run ``call(request)`` when the head of the n-th has arrived; the server hears of it afterwards."""
        return self.fault(operation, kind=Call(call), nth=nth, key=key, where=where)

    def after(
        self,
        operation: str | Collection[str],
        *,
        call: Callable[[Request], object],
        nth: Nth = 1,
        key: KeyPattern = None,
        where: Callable[[Request], bool] | None = None,
    ) -> Fault:
        """Run ``call(request)`` when the server has answered the n-th; the client hears of it afterwards."""
        return self.fault(operation, kind=Call(call, is_after=True), nth=nth, key=key, where=where)

    def remove(self, fault: Fault) -> None:
        """From now on all is well again."""
        with self._changed:
            self._faults.remove(fault)
        fault.release()

    def hits(self, fault: Fault) -> int:
        return fault.hits

    def count(self, operation: str | Collection[str] = "*", key: KeyPattern = None) -> int:
        """How many of these requests have arrived."""
        return len(self.requests_of(operation, key))

    def requests_of(self, operation: str | Collection[str] = "*", key: KeyPattern = None) -> list[Request]:
        fault = Fault(operation, Kind(), "always", key)
        with self._changed:
            return [request for request in self.requests if fault.is_for(request)]

    def counts(self) -> dict[str, int]:
        """The requests so far by operation."""
        with self._changed:
            names = [request.operation for request in self.requests]
        return {name: names.count(name) for name in sorted(set(names))}

    def wait_for(
        self,
        operation: str | Collection[str],
        times: int = 1,
        *,
        key: KeyPattern = None,
        answered: bool = False,
        timeout_s: float = WAIT_S,
    ) -> Request:
        """Wait until so many have arrived (or been answered) since the front began; returns the last of them."""

        def found() -> list[Request]:
            fault = Fault(operation, Kind(), "always", key)
            return [r for r in self.requests if (r.answered_at or not answered) and fault.is_for(r)]

        with self._changed:
            if not self._changed.wait_for(lambda: len(found()) >= times, timeout_s):
                raise AssertionError(f"{len(found())} of {times} {operation} in {timeout_s:g} s: {self.counts()}")
            return found()[times - 1]

    def forget(self) -> None:
        """Forget the requests so far; the faults stay."""
        with self._changed:
            self.requests.clear()
            self.peak_in_flight = self.in_flight

    # Connections

    def accept_connections(self) -> None:
        """Take connections, as from the beginning, on the same port."""
        self._stop_listening()
        self._listener = listener = self._bound()
        listener.listen(512)
        threading.Thread(target=self._accept, args=(listener,), name=f"front:{self.port}", daemon=True).start()

    def refuse_connections(self, *, drop_open: bool = True) -> None:
        """From now on nobody listens: connecting is refused; open connections are reset, unless told otherwise."""
        self._stop_listening()
        if drop_open:
            self.drop_connections()

    def hang_connections(self, *, drop_open: bool = True) -> None:
        """From now on connecting neither succeeds nor fails (Linux: the queue of the listener is full)."""
        self._stop_listening()
        if drop_open:
            self.drop_connections()
        self._listener = listener = self._bound()
        listener.listen(0)
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex((self.host, self.port))
            self._fillers.append(filler)
        time.sleep(0.01)

    def drop_connections(self, by: By = "RST") -> None:
        """End every open connection, whatever it is doing."""
        with self._changed:
            wires = list(self._wires)
        for wire in wires:
            wire.is_dropped = True
            try:
                if by == "RST":
                    wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                wire.sock.shutdown(socket.SHUT_RD if by == "RST" else socket.SHUT_RDWR)
            except OSError:
                pass

    @contextmanager
    def refusing_connections(self) -> Iterator[None]:
        self.refuse_connections()
        try:
            yield
        finally:
            self.accept_connections()

    @contextmanager
    def hanging_connections(self) -> Iterator[None]:
        self.hang_connections()
        try:
            yield
        finally:
            self.accept_connections()

    # The end

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
        if error is None:
            self.check()

    def check(self) -> None:
        """Raise what went wrong in the front or in a hook, and complain of every fault that was never hit."""
        if self.errors:
            raise self.errors[0]
        missed = [repr(fault) for fault in self._faults if fault.must_hit and not fault.hits]
        if missed:
            raise AssertionError("never hit:\n  " + "\n  ".join(missed) + f"\nrequests: {self.counts()}")

    def close(self) -> None:
        """End every connection and thread. May be called twice."""
        self.is_closed = True
        self._stop_listening()
        for fault in self._faults:
            fault.release()
        self.drop_connections("FIN")
        with self._changed:
            threads = list(self._threads)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(5)

    # Inside

    def hide(self, bucket: str, key: str, requests: int) -> None:
        with self._changed:
            self._hidden[bucket, key] = requests

    def page_before(self, request: Request) -> bytes | None:
        """The page whose token this request came with."""
        token = token_of(request)
        return self._pages.get((request.operation, request.bucket, token)) if token else None

    def translate_etag(self, said: str, stored: str) -> None:
        """In a later Complete, the server is told the ETag that it knows, and no checksums of bytes it never saw."""
        self._etags[said.strip('"').encode()] = stored.strip('"').encode()

    def payload_of(self, exchange: Exchange) -> bytes:
        """The object's bytes as the client sent them, also after a fault has replaced them."""
        sent = exchange.request.body
        if sent is None:
            return exchange.payload()
        old = Exchange(self, exchange.client, exchange.upstream, exchange.request, iter(()))
        old.whole = sent
        return old.payload()

    def _bound(self) -> socket.socket:
        """A socket on our port. It is chosen once, from where the system takes none for outgoing connections: those
        could have it while we refuse to listen."""
        for _ in range(50):
            port = self.port or free_ports()
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((self.host, port))
            except OSError:
                listener.close()
                if self.port:
                    raise
            else:
                self.port = port
                return listener
        raise RuntimeError("no port for a front")

    def _stop_listening(self) -> None:
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()
        listener, self._listener = self._listener, None
        if listener is not None:
            try:
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            except OSError:
                pass
            listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wire = Wire(sock)
            with self._changed:
                if self.is_closed:
                    wire.close()
                    return
                self.connections += 1
                number = self.connections
                self._wires.add(wire)
                greeting = Request(CONNECT, "", "", "", "", {}, {}, [], number, 0, time.monotonic())
                thread = threading.Thread(
                    target=self._connection,
                    args=(wire, number, self._due(greeting)),  # counted here: in the order of their arrival
                    name=f"front:{self.port}/{number}",
                    daemon=True,
                )
                self._threads.add(thread)
                thread.start()

    def _connection(self, wire: Wire, number: int, faults: list[Fault]) -> None:
        upstream = Upstream(self.upstream)
        with self._changed:
            self.open_connections += 1
        try:
            if all(fault.kind.connected(wire, fault) for fault in faults):
                self._serve(wire, upstream, number)
        except (Ended, OSError):
            pass  # the client, or a fault, has ended it
        except Exception as raised:
            if not self.is_closed:
                self.errors.append(raised)
        finally:
            upstream.close()
            wire.close()
            with self._changed:
                self.open_connections -= 1
                self._wires.discard(wire)
                self._threads.discard(threading.current_thread())
                self._changed.notify_all()

    def _serve(self, wire: Wire, upstream: Upstream, number: int) -> None:
        if self._tls is not None:
            wire.sock = self._tls.wrap_socket(wire.sock, server_side=True)
        nth = 0
        while True:
            pending = isinstance(wire.sock, ssl.SSLSocket) and wire.sock.pending()
            if self.idle_limit_s is not None and not wire.buffer and not pending:
                poll = select.poll()
                poll.register(wire.sock, select.POLLIN)
                if not poll.poll(self.idle_limit_s * 1000):
                    if self.idle_end == "RST":
                        wire.reset()
                    return
            head = wire.head()
            if head is None:
                return
            nth += 1
            request = parse_request(head, number, nth)
            with self._changed:
                self.requests.append(request)
                self.in_flight += 1
                self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
                request.faults = self._due(request)
                self._changed.notify_all()
            try:
                goes_on = self._exchange(wire, upstream, request)
            finally:
                with self._changed:
                    self.in_flight -= 1
                    self._changed.notify_all()
            if not goes_on:
                return

    def _due(self, request: Request) -> list[Fault]:
        with self._changed:
            return [fault for fault in self._faults if fault.is_for(request)]

    def _exchange(self, wire: Wire, upstream: Upstream, request: Request) -> bool:
        """One request and its answer; False where the connection is not to be used again."""
        if request.length is None:
            body = wire.chunked()
        else:
            body = wire.fixed(request.length)
        exchange = Exchange(self, wire, upstream, request, body)
        for fault in request.faults:
            fault.kind.before(exchange, fault)
        answer = self._absent(request)
        for fault in request.faults:
            answer = answer or fault.kind.instead(exchange, fault)
        if answer is None:
            for fault in request.faults:
                fault.kind.upward(exchange, fault)
            answer = self.ask_upstream(exchange)
        if request.operation in LISTS and answer.status == 200:
            self._note_page(request, answer)
        for fault in request.faults:
            fault.kind.downward(exchange, fault, answer)
        if not exchange.is_read:
            if exchange.still_waits_for_continue or answer.close:
                answer.close = True  # the body was never sent, or will never be read
            else:
                exchange.body()
        request.status = answer.status
        self._send(exchange, answer)
        request.answered_at = time.monotonic()
        if answer.close and not exchange.is_read:
            wire.finish()
        wants_close = request.headers.get("connection", "").lower() == "close"
        return not (answer.close or answer.close_unsaid or answer.until_close or wants_close)

    def ask_upstream(self, exchange: Exchange) -> Answer:
        if self._etags and exchange.request.operation == "Complete":
            body = re.sub(rb"<Checksum[^>]*>[^<]*</Checksum[^>]*>", b"", exchange.body())
            for said, stored in self._etags.items():
                body = body.replace(said, stored)
            if body != exchange.body():
                exchange.replace_body(body)
                exchange.drop_header("x-amz-mp-object-size")
        if self.upstream is None:
            exchange.body()
            return error(exchange.request, 501, "NotImplemented", "There is no server behind this front.")
        return exchange.upstream.ask(exchange)

    def _absent(self, request: Request) -> Answer | None:
        """404 for what was put a moment ago and is not yet to be seen."""
        if not self._hidden or request.operation not in READS:
            return None
        with self._changed:
            left = self._hidden.get((request.bucket, request.key), 0)
            if not left:
                return None
            self._hidden[request.bucket, request.key] = left - 1
        return error(request, 404, "NoSuchKey")

    def _note_page(self, request: Request, answer: Answer) -> None:
        page = answer.whole()
        if self._hidden and request.operation != "ListParts":
            with self._changed:
                names = {key for (bucket, key), left in self._hidden.items() if left and bucket == request.bucket}
                for entry in entries(page):
                    key = key_of(entry, tag(page, "EncodingType") == "url")
                    if key in names:
                        self._hidden[request.bucket, key] -= 1
            if names and (changed := without_keys(page, names)) is not None:
                page = changed
                answer.replace(page)
        if tag(page, "IsTruncated") == "true":
            found = entries(page)
            token = next((said for name in TOKENS if (said := tag(page, name))), None)
            if token is None and found:
                token = key_of(found[-1], tag(page, "EncodingType") == "url")
            if token is not None:
                self._pages[request.operation, request.bucket, token] = page

    def _send(self, exchange: Exchange, answer: Answer) -> None:
        sock = exchange.client.sock
        is_head = exchange.request.method == "HEAD"
        if exchange.client.is_dropped:
            raise Ended("dropped")
        for _ in range(answer.copies):
            head = head_of(answer, is_head)
            if answer.cut_head_at is not None:
                sock.sendall(head[: answer.cut_head_at])
                if answer.on_cut is not None:
                    answer.on_cut()
            if answer.status_line_is_out:
                head = head.partition(b"\r\n")[2]
            if answer.no_body or is_head:
                sock.sendall(head)
            elif isinstance(answer.body, bytes) and not answer.chunked:
                sock.sendall(head + answer.body if len(answer.body) < CHUNK else head)
                if len(answer.body) >= CHUNK:
                    sock.sendall(answer.body)
            else:
                sock.sendall(head)
                for piece in answer.pieces():
                    if answer.chunked and piece:
                        sock.sendall(b"%x\r\n" % len(piece))
                        sock.sendall(piece)
                        sock.sendall(b"\r\n")
                    elif piece:
                        sock.sendall(piece)
                if answer.chunked:
                    sock.sendall(b"0\r\n\r\n")
