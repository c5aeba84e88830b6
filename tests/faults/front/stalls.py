"""Kinds of faults: time that passes."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

from tests.faults.front.answer import Answer
from tests.faults.front.exchange import Exchange
from tests.faults.front.fault import Fault, Kind
from tests.faults.front.pieces import first
from tests.faults.front.wire import CHUNK, Wire


@dataclass(frozen=True)
class Latency(Kind):
    """The request waits this long before the server is asked."""

    seconds: float
    jitter_s: float = 0.0

    def before(self, exchange: Exchange, fault: Fault) -> None:
        fault.hit()
        exchange.wait(self.seconds + random.uniform(0, self.jitter_s))

    def connected(self, wire: Wire, fault: Fault) -> bool:
        fault.hit()
        time.sleep(self.seconds + random.uniform(0, self.jitter_s))
        return True


@dataclass(frozen=True)
class StallBeforeRequest(Kind):
    """The head has arrived; nothing happens until ``fault.release()``, or the client leaves. Then it goes on as usual.

    As a fault of ``Connect``: the connection is open, and its first request is not read.
    """

    def before(self, exchange: Exchange, fault: Fault) -> None:
        fault.hit()
        exchange.wait_until(fault.released)

    def connected(self, wire: Wire, fault: Fault) -> bool:
        fault.hit()
        while not (fault.released.wait(0.02) or wire.is_left):
            pass
        return True


@dataclass(frozen=True)
class StallAtRequestByte(Kind):
    """``at`` bytes of the body are read, then no more until released. Nothing is applied before that."""

    at: int

    def upward(self, exchange: Exchange, fault: Fault) -> None:
        rest: list[bytes] = []
        pieces = exchange.pieces()
        start = b"".join(first(pieces, self.at, keep_rest=rest))
        fault.hit()
        exchange.wait_until(fault.released)
        exchange.whole = start + b"".join(rest) + b"".join(pieces)


@dataclass(frozen=True)
class StallBeforeAnswer(Kind):
    """The server has done it; no byte of its answer is sent until released."""

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        if not exchange.request.operation.startswith("Get"):
            answer.whole()
        fault.hit()
        exchange.wait_until(fault.released)


@dataclass(frozen=True)
class StallAtBodyByte(Kind):
    """``at`` bytes of the answer's body are sent, the others when released."""

    at: int

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        pieces = answer.pieces()
        rest: list[bytes] = []

        def stall() -> Iterator[bytes]:
            yield from first(pieces, self.at, keep_rest=rest)
            fault.hit()
            exchange.wait_until(fault.released)
            yield from rest
            yield from pieces

        answer.stream(stall())


@dataclass(frozen=True)
class Drip(Kind):
    """The answer's body comes ``size`` bytes at a time with ``every_s`` between them: Drip(1, 20), Drip(1024, 1)."""

    size: int
    every_s: float

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        pieces = answer.pieces()

        def drip() -> Iterator[bytes]:
            for piece in pieces:
                for at in range(0, len(piece), self.size):
                    yield piece[at : at + self.size]
                    fault.hit_once(exchange.request)
                    exchange.wait(self.every_s)

        answer.stream(drip())


@dataclass(frozen=True)
class SlowIntake(Kind):
    """The request's body is taken ``size`` bytes at a time with ``every_s`` between them."""

    size: int
    every_s: float

    def upward(self, exchange: Exchange, fault: Fault) -> None:
        exchange.client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        exchange.client.intake = self.size
        taken = bytearray()
        for piece in exchange.pieces():
            fault.hit_once(exchange.request)
            taken += piece
            exchange.wait(self.every_s * len(piece) / self.size)
        exchange.client.intake = CHUNK
        exchange.whole = bytes(taken)
