"""Kinds of faults: connections that end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.faults.front.answer import Answer
from tests.faults.front.exchange import By, Exchange
from tests.faults.front.fault import Fault, Kind
from tests.faults.front.pieces import first
from tests.faults.front.wire import Wire


@dataclass(frozen=True)
class ResetBeforeRequest(Kind):
    """The head has arrived; the connection ends, nothing was applied. As a fault of ``Connect``: ends at once."""

    by: By = "RST"

    def connected(self, wire: Wire, fault: Fault) -> bool:
        fault.hit()
        if self.by == "RST":
            wire.reset()
        else:
            wire.finish()
        return False

    def before(self, exchange: Exchange, fault: Fault) -> None:
        fault.hit()
        exchange.end(self.by)


@dataclass(frozen=True)
class ResetAtRequestByte(Kind):
    """The connection ends when ``at`` bytes of the request's body have been read; nothing was applied."""

    at: int
    by: By = "RST"

    def before(self, exchange: Exchange, fault: Fault) -> None:
        length = exchange.request.length
        if length is not None and length < self.at:
            return
        for _ in first(exchange.pieces(), self.at):
            pass
        fault.hit()
        exchange.end(self.by)


@dataclass(frozen=True)
class ResetAfterApply(Kind):
    """The server has done it; its answer is lost."""

    by: By = "RST"

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        answer.whole()
        fault.hit()
        exchange.end(self.by)


@dataclass(frozen=True)
class CutHead(Kind):
    """The connection ends inside the head of the answer, after ``at`` bytes of it."""

    at: int = 20
    by: By = "FIN"

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        answer.whole()
        answer.cut_head_at = self.at

        def end() -> None:
            fault.hit()
            exchange.end(self.by)

        answer.on_cut = end


@dataclass(frozen=True)
class CutBody(Kind):
    """The connection ends after ``at`` bytes of the answer's body; 0: right after the headers.

    ``pretty``: a chunked body that ends as it should, only too early, with no Content-Length to tell.
    """

    at: int
    by: By = "FIN"
    pretty: bool = False

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        pieces = answer.pieces()
        if self.pretty:
            answer.length, answer.chunked = None, True

        def cut() -> Iterator[bytes]:
            yield from first(pieces, self.at)
            fault.hit()
            if not self.pretty:
                exchange.end(self.by)

        if self.pretty:
            answer.body = cut()
            answer.close = True
        else:
            answer.stream(cut())


@dataclass(frozen=True)
class CloseAfterAnswer(Kind):
    """The connection is closed after the answer; unless ``announced``, no header says so."""

    announced: bool = False
    by: By = "FIN"

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        fault.hit()
        if self.announced:
            answer.close = True
        else:
            answer.close_unsaid = True
