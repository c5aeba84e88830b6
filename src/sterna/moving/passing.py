"""Count the bytes of a body as they go out, so that speeds are those of the line and not of whole parts."""

from __future__ import annotations

from collections.abc import Callable

from sterna.model.events import Tally


class Passing:
    """The bytes of one body. Those of an attempt that came to nothing are wasted."""

    __slots__ = ("_count", "_tally")

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._count = 0

    def __call__(self, count: int) -> None:
        """So many bytes more went out."""
        self._count += count
        self._tally.moved_bytes += count

    def wasted(self) -> None:
        """What went out so far was in vain."""
        self._tally.wasted_bytes += self._count
        self._count = 0

    def again(self, check: Callable[[], None]) -> Callable[[], None]:
        """What is to be called before another attempt, which ``check`` may forbid."""

        def restart() -> None:
            self.wasted()
            check()

        return restart

    def arrived(self, size: int) -> None:
        """All ``size`` bytes were taken, seen on their way or not."""
        self._tally.moved_bytes += size - self._count
        self._count = 0
