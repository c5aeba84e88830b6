"""Kinds of faults: answers that lie about success."""

from __future__ import annotations

from dataclasses import dataclass

from tests.faults.front.answer import Answer
from tests.faults.front.exchange import Exchange
from tests.faults.front.fault import Fault, Kind
from tests.faults.front.pieces import flipped
from tests.faults.front.request import WRITES
from tests.faults.front.s3 import error, plausible


@dataclass(frozen=True)
class Lie(Kind):
    """Answered with success, plausible headers, an ETag and the echoed checksum; the server was never asked."""

    def fits(self, operation: str) -> bool:
        return operation in (*WRITES, "CreateBucket")

    def instead(self, exchange: Exchange, fault: Fault) -> Answer | None:
        answer = plausible(exchange)
        fault.hit()
        return answer


@dataclass(frozen=True)
class EmptyBody(Kind):
    """A status of success and no body. Unless ``applied``, the server was never asked."""

    status: int = 200
    applied: bool = False

    def instead(self, exchange: Exchange, fault: Fault) -> Answer | None:
        if self.applied:
            return None
        exchange.body()
        fault.hit()
        return Answer(self.status, [("Content-Type", "application/xml")])

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        if self.applied:
            answer.whole()
            fault.hit()
            answer.status, answer.reason = self.status, ""
            answer.replace(b"")


@dataclass(frozen=True)
class ErrorIn200(Kind):
    """200 with an <Error> in the body, after ``blanks`` bytes of white space. The server was never asked."""

    code: str = "InternalError"
    message: str = "We encountered an internal error. Please try again."
    blanks: int = 0

    def instead(self, exchange: Exchange, fault: Fault) -> Answer | None:
        exchange.body()
        fault.hit()
        answer = error(exchange.request, 200, self.code, self.message)
        declaration, rest = answer.whole().split(b"\n", 1)
        answer.replace(declaration + b"\n" + b" " * self.blanks + rest)
        return answer


@dataclass(frozen=True)
class CutXml(Kind):
    """An XML body that ends after ``at`` bytes, under a Content-Length that says so. Unless ``applied``, nothing was
    done: the body is a plausible one."""

    at: int
    applied: bool = False

    def instead(self, exchange: Exchange, fault: Fault) -> Answer | None:
        lies = not self.applied and exchange.request.operation in WRITES
        return plausible(exchange) if lies else None

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        body = answer.whole()
        if self.at < len(body):
            fault.hit()
            answer.replace(body[: self.at])


@dataclass(frozen=True)
class ShortStore(Kind):
    """Only the first ``size`` bytes are stored; the answer is that of a whole one. Needs a server that checks no
    signatures."""

    size: int

    def fits(self, operation: str) -> bool:
        return operation in ("Put", "UploadPart")

    def upward(self, exchange: Exchange, fault: Fault) -> None:
        payload = exchange.payload()
        if len(payload) > self.size:
            fault.hit()
            exchange.acted.add(fault)
            exchange.replace_body(payload[: self.size])

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        if fault in exchange.acted and answer.status == 200:
            stored = answer.header("ETag")
            for name, value in plausible(exchange).headers:
                answer.set(name, value)
            said = answer.header("ETag")
            if stored and said and exchange.request.operation == "UploadPart":
                exchange.front.translate_etag(said, stored)


@dataclass(frozen=True)
class FlipRequestBit(Kind):
    """One bit of the body changes on its way up. A server that checks what the client sent along will refuse it;
    ``unnoticed``: it was sent nothing to check."""

    at: int
    unnoticed: bool = False

    def upward(self, exchange: Exchange, fault: Fault) -> None:
        body = exchange.body()
        if self.at < len(body):
            fault.hit()
            if self.unnoticed:
                exchange.replace_body(flipped(exchange.payload(), self.at))
            else:
                exchange.whole = flipped(body, self.at)


@dataclass(frozen=True)
class DelayedVisibility(Kind):
    """What was just stored is not there for the next ``requests`` that look: 404 by key, absent from listings."""

    requests: int

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        if answer.status == 200:
            fault.hit()
            exchange.front.hide(exchange.request.bucket, exchange.request.key, self.requests)
