"""Which requests a fault is for, what a kind of fault may override, and how often it has acted."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass

from tests.faults.front.answer import Answer
from tests.faults.front.exchange import Exchange
from tests.faults.front.request import CONNECT, OPERATIONS, Request
from tests.faults.front.wire import Wire

WAIT_S = 30.0  # how long a test waits for something that should happen at once
Nth = int | str | range | Collection[int]
KeyPattern = str | re.Pattern[str] | None


class Kind:
    """What goes wrong. A subclass overrides the steps that it changes and calls ``fault.hit()`` when it has acted."""

    def fits(self, operation: str) -> bool:
        """Whether this can happen to an operation; a fault that cannot is refused when it is declared."""
        return operation != CONNECT or type(self).connected is not Kind.connected

    def connected(self, wire: Wire, fault: Fault) -> bool:
        """Act on a connection that was just accepted; False ends it. Only for faults of ``Connect``."""
        raise NotImplementedError

    def before(self, exchange: Exchange, fault: Fault) -> None:
        pass

    def instead(self, exchange: Exchange, fault: Fault) -> Answer | None:
        return None

    def upward(self, exchange: Exchange, fault: Fault) -> None:
        pass

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        pass


def is_nth(nth: Nth, count: int) -> bool:
    """Whether the ``count``-th request is meant: by 1, range(2, 5), {1, 4}, "always", "every 3rd", "from 2nd"."""
    match nth:
        case int():
            return count == nth
        case "always":
            return True
        case str():
            found = re.fullmatch(r"(every|from) (\d+)(?:st|nd|rd|th)", nth)
            if not found:
                raise ValueError(f'nth is a number, a range, "always", "every 3rd" or "from 2nd", not {nth!r}')
            return count % int(found[2]) == 0 if found[1] == "every" else count >= int(found[2])
    return count in nth


class Fault:
    """A declared fault: for which requests, and how often it has acted."""

    def __init__(
        self,
        operation: str | Collection[str],
        kind: Kind,
        nth: Nth = 1,
        key: KeyPattern = None,
        where: Callable[[Request], bool] | None = None,
        must_hit: bool = True,
    ) -> None:
        names = (operation,) if isinstance(operation, str) else tuple(operation)
        unknown = set(names) - OPERATIONS - {"*", CONNECT}
        if unknown:
            raise ValueError(f"no operation is called {', '.join(sorted(unknown))}; there are {sorted(OPERATIONS)}")
        misfits = [name for name in names if name != "*" and not kind.fits(name)]
        if misfits or ("*" in names and not all(map(kind.fits, OPERATIONS))):
            raise ValueError(f"{kind!r} cannot happen to {', '.join(misfits) or 'everything'}")
        is_nth(nth, 1)  # complains here, not in the thread of a connection
        self.operations = OPERATIONS if "*" in names else frozenset(names)  # "*" is every request, not Connect
        self.kind = kind
        self.nth = nth
        self.key = key
        self.where = where
        self.must_hit = must_hit
        self.seen = 0
        self.hits = 0
        self.released = threading.Event()
        self._changed = threading.Condition()
        self._last: Request | None = None
        self._said = "/".join(names)

    @classmethod
    def nowhere(cls) -> Fault:
        return cls((), Kind(), must_hit=False)

    def __repr__(self) -> str:
        key = f" of {self.key!r}" if self.key is not None else ""
        return f"{self._said}{key} nth={self.nth!r} {self.kind!r}: seen {self.seen}, hit {self.hits}"

    def is_for(self, request: Request) -> bool:
        """Count the request if it is one of ours, and say whether it is the one."""
        if request.operation not in self.operations:
            return False
        if isinstance(self.key, str) and request.key != self.key:
            return False
        if isinstance(self.key, re.Pattern) and not self.key.search(request.key):
            return False
        if self.where is not None and not self.where(request):
            return False
        self.seen += 1
        return is_nth(self.nth, self.seen)

    def hit(self) -> None:
        with self._changed:
            self.hits += 1
            self._changed.notify_all()

    def hit_once(self, request: Request) -> None:
        """As ``hit``, at most once a request."""
        if self._last is not request:
            self._last = request
            self.hit()

    def wait_until_hit(self, times: int = 1, timeout_s: float = WAIT_S) -> None:
        """Wait until it has acted so often; a stall acts when it has begun."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.hits >= times, timeout_s):
                raise AssertionError(f"not hit {times} times in {timeout_s:g} s: {self!r}")

    def release(self) -> None:
        """Let go what stalls now, and what would stall later."""
        self.released.set()


@dataclass(frozen=True)
class Call(Kind):
    """Run code of the test at this moment; what it raises is raised again when the front is left."""

    call: Callable[[Request], object]
    is_after: bool = False

    def before(self, exchange: Exchange, fault: Fault) -> None:
        if not self.is_after:
            self._run(exchange, fault)

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        if self.is_after:
            answer.whole()
            self._run(exchange, fault)

    def _run(self, exchange: Exchange, fault: Fault) -> None:
        try:
            self.call(exchange.request)
        except Exception as raised:
            exchange.front.errors.append(raised)
        fault.hit()
