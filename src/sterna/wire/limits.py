"""Say when the next bytes or the next request may go, so that no more of them pass in a second than allowed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec

_BURST_S: Final = 0.1  # what may pass at once after a pause: so much of a second's
_TURN_S: Final = 0.05  # what one connection sends or reads in its turn: so much of a second's
_LEAST_SLICE: Final = 1024  # bytes: a turn costs some 20 µs, and a packet carries as much
_ROUND_S: Final = 5.0  # each connection has its turn so often at least: servers end those that rest for 20 s
_NEARLY: Final = 1e-6  # of a byte or a request: sums of floats
_UNBOUNDED: Final = 1 << 62
_LATELY_S: Final = 0.5
_TO_BEGIN: Final = 0.1  # of its equal part, for a process that has nothing to send
_SPARE: Final = 1.5  # times what it used, for one that does not need all


class Allowance(msgspec.Struct, frozen=True):
    """What a process may use of one side: requests in flight, bytes of buffers, and, None for all that comes,
    bytes of objects sent and received and requests begun in a second."""

    workers: int
    memory: int
    up: float | None = None
    down: float | None = None
    requests: float | None = None

    @property
    def is_limited(self) -> bool:
        """Whether something is to pass no faster than at a given rate."""
        return self.up is not None or self.down is not None or self.requests is not None


class Held(NamedTuple):
    """Which limits hold a process back: of bytes sent, of bytes received, of requests."""

    up: bool = False
    down: bool = False
    requests: bool = False


class TokenBucket:
    """Tokens that come at a ``rate`` a second, kept up to ``most``. It has no clock: each call is given the time.

    It is open while there is any token, and whoever finds it open may take as many as it likes: what is not there is
    owed, and the bucket stays shut until it has come. So between any two moments no more is taken than what came,
    ``most``, and the last taking; and whoever always waits loses nothing of the rate.
    """

    __slots__ = ("_at_s", "_level", "most", "rate")

    def __init__(self, rate: float, most: float, now_s: float) -> None:
        self.rate = rate
        self.most = most
        self._level = most
        self._at_s = now_s

    def __repr__(self) -> str:
        return f"<TokenBucket {self._level:.0f} of {self.most:.0f}, {self.rate:g} a second>"

    def level(self, now_s: float) -> float:
        """The tokens that are there; below zero, what is owed."""
        if now_s > self._at_s:
            self._level = min(self.most, self._level + (now_s - self._at_s) * self.rate)
            self._at_s = now_s
        return self._level

    def take(self, count: float, now_s: float) -> None:
        """Take tokens, there or not; a negative count gives them back."""
        self._level = min(self.most, self.level(now_s) - count)

    def shut_s(self, now_s: float) -> float:
        """How long it stays shut: 0 where it is open."""
        level = self.level(now_s)
        return 0.0 if level > _NEARLY else (2 * _NEARLY - level) / self.rate

    def retune(self, rate: float, most: float, now_s: float) -> None:
        """Another rate from now on; what has come, or is owed, remains."""
        self._level = min(most, self.level(now_s))
        self.rate, self.most = rate, most


class Turnstile:
    """A token bucket before which many wait, first come, first served."""

    def __init__(self, rate: float, most: float, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._bucket = TokenBucket(rate, most, loop.time())
        self._waiting: deque[tuple[float, asyncio.Future[None]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._waited_s = float("-inf")  # when somebody did, the last time

    def __repr__(self) -> str:
        return f"<Turnstile {self._bucket!r}, {len(self._waiting)} waiting>"

    @property
    def is_narrow(self) -> bool:
        """Whether somebody waits, or has waited lately: it is what holds the others back."""
        return any(not turn.done() for _, turn in self._waiting) or self._loop.time() - self._waited_s < _LATELY_S

    def reserve(self, count: float) -> asyncio.Future[None] | None:
        """Take ``count`` tokens: None where they are had at once, else a future that is done when they are. Whoever
        wants them no more cancels it, or sets its result."""
        now_s = self._loop.time()
        if not self._waiting and not self._bucket.shut_s(now_s):
            self._bucket.take(count, now_s)
            return None
        turn: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((count, turn))
        self._waited_s = now_s
        self._serve()
        return turn

    async def passed(self, count: float) -> None:
        """Wait for ``count`` tokens, and take them."""
        turn = self.reserve(count)
        if turn is not None:
            await turn

    def spend(self, count: float) -> None:
        """Take tokens for what has passed already; a negative count gives them back."""
        self._bucket.take(count, self._loop.time())

    def retune(self, rate: float, most: float) -> None:
        """Another rate, also for those who wait."""
        self._bucket.retune(rate, most, self._loop.time())
        self._serve()

    def open(self) -> None:
        """No limit any more: all may go."""
        self._bucket.retune(float("inf"), float("inf"), self._loop.time())
        while self._waiting:
            _let_pass(self._waiting.popleft()[1])
        self._stop_timer()

    def _serve(self) -> None:
        self._stop_timer()
        now_s = self._loop.time()
        while self._waiting:
            count, turn = self._waiting[0]
            if not turn.done():
                shut_s = self._bucket.shut_s(now_s)
                if shut_s:
                    self._timer = self._loop.call_later(shut_s, self._serve)
                    return
                self._bucket.take(count, now_s)
                self._waited_s = now_s
                turn.set_result(None)
            self._waiting.popleft()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _let_pass(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)


class Throttle:
    """The limits of one endpoint. Where there are none, it costs whoever asks the reading of one attribute.

    A body passes in slices, each when its turn has come, so that many share what may pass, and a small object waits for
    no large one. The first slice of a body, and each request, has its turn before there is a connection for it: a
    server should not be kept waiting. What an answer brings is known when it comes: it is paid then, and the next pays
    for what was owed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, widest: int) -> None:
        self._loop = loop
        self._widest = widest  # a slice where nothing is limited
        self.up: Turnstile | None = None
        self.down: Turnstile | None = None
        self.requests: Turnstile | None = None
        self.is_set = False
        self.up_slice = widest  # what is sent of a body at once
        self.down_slice = _UNBOUNDED  # what is read of one at once

    def __repr__(self) -> str:
        return f"<Throttle up {self.up!r}, down {self.down!r}, requests {self.requests!r}>"

    def allow(self, allowance: Allowance) -> None:
        """Let so much pass from now on, also of what is on its way."""
        self.up = self._tuned(self.up, allowance.up, self._slice)
        self.down = self._tuned(self.down, allowance.down, self._slice)
        self.requests = self._tuned(self.requests, allowance.requests, _one)
        self.up_slice = self._widest if allowance.up is None else self._slice(allowance.up)
        self.down_slice = _UNBOUNDED if allowance.down is None else self._slice(allowance.down)
        self.is_set = allowance.is_limited

    async def admit(self, method: str, key: str, size: int | None) -> bool:
        """Wait until a request with a body of ``size`` may begin; gives whether its answer may be an object."""
        if self.requests is not None:
            await self.requests.passed(1)
        if size is not None:
            if self.up is not None and method == "PUT":
                await self.up.passed(min(size, self.up_slice))
        elif method == "GET" and key:
            if self.down is not None:
                await self.down.passed(0)
            return True
        return False

    def held(self) -> Held:
        """What holds back those who use the endpoint."""
        return Held(*[stile is not None and stile.is_narrow for stile in (self.up, self.down, self.requests)])

    def _tuned(
        self, turnstile: Turnstile | None, rate: float | None, least: Callable[[float], int]
    ) -> Turnstile | None:
        if rate is None:
            if turnstile is not None:
                turnstile.open()
            return None
        most = max(rate * _BURST_S, least(rate))
        if turnstile is None:
            return Turnstile(rate, most, self._loop)
        turnstile.retune(rate, most)
        return turnstile

    def _slice(self, rate: float) -> int:
        return min(self._widest, slice_at(rate))


def slice_at(rate: float) -> int:
    """How much of a body passes in one turn."""
    return max(_LEAST_SLICE, int(rate * _TURN_S))


def places_at(rate: float | None) -> int:
    """How many connections may share a rate, so that each has its turn often enough."""
    return _UNBOUNDED if rate is None else max(1, int(_ROUND_S * rate / slice_at(rate)))


def shares(total: float, used: Sequence[float], wants: Sequence[bool]) -> list[float]:
    """Divide a rate among processes by what each has ``used`` of it, and whether it ``wants`` more.

    Who wants no more keeps half as much again as it used, and a little to begin with; those who want more have the rest
    in equal parts. The shares are the total together.
    """
    fair = total / len(used)
    if not any(wants):
        return [fair] * len(used)
    kept = [
        0.0 if more else min(fair, max(fair * _TO_BEGIN, _SPARE * rate)) for rate, more in zip(used, wants, strict=True)
    ]
    each = (total - sum(kept)) / sum(wants)
    return [each if more else rate for rate, more in zip(kept, wants, strict=True)]


def _one(rate: float) -> int:
    return 1
