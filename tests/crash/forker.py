"""Run the command in forked processes, and kill one of them when a request of its arrives or is answered."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import msgspec

from tests.crash.orders import Moment, Order, Step
from tests.faults.front import WRITES, Answer, Exchange, Fault, Front, Kind, Request

_SOURCES = Path(__file__).resolve().parent.parent.parent
_LONGEST_S = 60.0
_PATIENCE_S, _QUIET_S = 0.5, 20.0


@dataclass(frozen=True)
class Ended:
    """What a process left behind. ``code`` is minus the signal that ended it."""

    code: int
    out: str
    err: str
    trace: list[Step]

    @property
    def was_killed(self) -> bool:
        return self.code == -signal.SIGKILL

    @property
    def acted(self) -> Step | None:
        """The step at which it was killed or refused something."""
        return next((step for step in self.trace if step.acted), None)

    def __str__(self) -> str:
        """Where it ended, and what it said last."""
        said = [line for line in (self.out + self.err).splitlines() if line and not line.startswith("{")]
        at = self.acted or (self.trace[-1] if self.trace else None)
        return f"exit {self.code} at {at.what if at else 'the beginning'}: {' '.join(said[-2:])[-400:]}"


class Forker:
    """The process that forks, for as long as the tests last."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.forking"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_SOURCES,
            env={"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": f"{_SOURCES}:{_SOURCES / 'src'}"},
            bufsize=0,
        )

    def run(self, order: Order, killer: Killer | None = None) -> Ended:
        """Have one run carried out, to its end or to its kill."""
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(order) + b"\n")
        pid = self._answer(f"no process began for {order.args}")
        if killer is not None:
            killer.knows(pid)
        try:
            status = self._answer(f"{order.args} did not end in {_LONGEST_S:g} s")
        except TimeoutError as late:
            os.kill(pid, signal.SIGKILL)
            self._answer("not even when it was killed")
            raise AssertionError(f"{late}: {_read(order)}") from None
        return _read(order, os.waitstatus_to_exitcode(status))

    def _answer(self, otherwise: str) -> int:
        assert self._process.stdout is not None
        answer, until = b"", time.monotonic() + _LONGEST_S
        while not answer.endswith(b"\n"):  # a byte at a time: the next answer may be there already
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise TimeoutError(otherwise)
            byte = os.read(self._process.stdout.fileno(), 1)
            assert byte, "the process that forks has ended"
            answer += byte
        return int(answer)

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait(10)


def _read(order: Order, code: int = 0) -> Ended:
    said = {end: Path(f"{order.beside}.{end}").read_bytes() for end in ("out", "err", "trace")}
    steps = [msgspec.json.decode(line, type=Step) for line in said["trace"].splitlines()]
    return Ended(code, said["out"].decode(errors="replace"), said["err"].decode(errors="replace"), steps)


@dataclass(frozen=True)
class Killer(Kind):
    """``kill -9`` of the client when a request of its has arrived and nothing was done, when half of its body is there,
    or when the server has done it and the answer is under way.
    """

    moment: Moment
    _pid: list[int] = field(default_factory=list)
    _is_known: Event = field(default_factory=Event)

    def knows(self, pid: int) -> None:
        self._pid.append(pid)
        self._is_known.set()

    def before(self, exchange: Exchange, fault: Fault) -> None:
        if self.moment == "applied":
            return
        if self.moment == "half":
            half, there = (exchange.request.length or 0) // 2, 0
            for piece in exchange.pieces():
                there += len(piece)
                if there >= half:
                    break
        self._kill(exchange, fault)

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        if self.moment == "applied":
            answer.whole()
            self._kill(exchange, fault)

    def _kill(self, exchange: Exchange, fault: Fault) -> None:
        assert self._is_known.wait(10)
        os.kill(self._pid[0], signal.SIGKILL)
        fault.hit()
        exchange.end("RST")


_HALVES = 1 << 20  # smaller bodies come in one piece


def moments(writes: Sequence[Request]) -> list[tuple[int, Moment]]:
    """When a client may be killed by its requests that change something: their numbers, from 1, and the moments."""
    return [
        (number, moment)
        for number, request in enumerate(writes, 1)
        for moment in ("arrived", "half", "applied")
        if moment != "half" or (request.length or 0) >= _HALVES
    ]


def wait_until_quiet(front: Front) -> None:
    """Wait until the server has nothing more to do for a client that is gone."""
    began = time.monotonic()
    while front.open_connections:
        waited_s = time.monotonic() - began
        assert waited_s < _QUIET_S, f"connections of a dead client stay open: {front!r}"
        if waited_s > _PATIENCE_S:  # Linux may keep a sender waiting for room at a peer that has closed, for a minute
            front.drop_connections("FIN")
        time.sleep(0.0005)


def writes(front: Front) -> list[Request]:
    """The requests that changed something, or were to, since the front was last told to forget."""
    return front.requests_of(WRITES)
