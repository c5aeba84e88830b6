"""Kinds of faults: answers without an end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.faults.front.answer import Answer
from tests.faults.front.exchange import Exchange
from tests.faults.front.fault import Fault, Kind
from tests.faults.front.wire import CHUNK


@dataclass(frozen=True)
class HugeHeader(Kind):
    """``size`` bytes of header lines before the others, sent as long as the client takes them."""

    size: int = 1 << 30

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        fault.hit()
        send = exchange.client.sock.sendall
        send(f"HTTP/1.1 {answer.status} {answer.reason or 'OK'}\r\n".encode())
        lines = b"".join(b"x-filler-%06d: %s\r\n" % (number, b"f" * 1000) for number in range(64))
        for _ in range(0, self.size, len(lines)):
            send(lines)
        answer.status_line_is_out = True


@dataclass(frozen=True)
class EndlessContinue(Kind):
    """100 Continue, again and again, ``times`` or as long as the client takes them; then the answer."""

    times: int = 10_000_000

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        fault.hit()
        batch = b"HTTP/1.1 100 Continue\r\n\r\n" * 1000
        for _ in range(self.times // 1000):
            exchange.client.sock.sendall(batch)
        exchange.client.sock.sendall(batch[: self.times % 1000 * 25])


@dataclass(frozen=True)
class EndlessBody(Kind):
    """A body of ``size`` bytes, chunked, sent as long as the client takes it; the status is what the server said, or
    ``status`` without asking it. ``filler`` is repeated."""

    status: int | None = None
    size: int = 1 << 30
    filler: bytes = b"<Contents><Key>and another one</Key><Size>0</Size></Contents>"

    def instead(self, exchange: Exchange, fault: Fault) -> Answer | None:
        if self.status is None:
            return None
        exchange.body()
        return Answer(self.status, [("Content-Type", "application/xml")])

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        pieces = answer.pieces()

        def endless() -> Iterator[bytes]:
            fault.hit()
            yield from pieces
            piece = (self.filler * (CHUNK // len(self.filler) + 1))[:CHUNK]
            for _ in range(0, self.size, CHUNK):
                yield piece

        answer.body, answer.chunked, answer.length, answer.no_body = endless(), True, None, False


@dataclass(frozen=True)
class XmlBomb(Kind):
    """200 with XML whose entities would grow to gigabytes."""

    root: str = "ListBucketResult"

    def instead(self, exchange: Exchange, fault: Fault) -> Answer | None:
        exchange.body()
        fault.hit()
        entities = ['<!ENTITY e0 "ha">']
        entities += [f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 11)]
        body = f"<?xml version='1.0'?><!DOCTYPE {self.root} [{''.join(entities)}]><{self.root}>&e10;</{self.root}>"
        return Answer(200, [("Content-Type", "application/xml")], body.encode())
