"""Learn how much of a file to write at once."""

from __future__ import annotations

from typing import Final

_KIB: Final = 1024
SHORT, LONG = 64 * _KIB, 1024 * _KIB
_SAMPLE: Final = LONG  # what is written in one go or in short pieces, and timed
_TRIALS: Final = 8  # of each before one is preferred
_SECOND_LOOK: Final = 32  # so many samples apart the dearer one is tried again: the machine's memory may have changed
_WEIGHT: Final = 0.2  # of the newest sample


class Pieces:
    """Which of two lengths of a write costs the processor less here.

    The kernel makes folios of the page cache as long as the write. That is cheaper, and a long write changes threads
    less often: 2 GiB took 1.0 s of the processor in pieces of 1 MiB and 1.6 s in pieces of 64 KiB (Linux 6.18, ext4, a
    virtual machine on a Xeon). But long folios are taken from memory that was not used of late, which the host of a
    virtual machine may have to find first: on another, on an EPYC, it was 3.0 s against 1.3 s. So it is measured.

    Threads may share one: a sample that is lost in a race is no loss.
    """

    __slots__ = ("_costs", "_count")

    def __init__(self) -> None:
        self._costs = {LONG: 0.0, SHORT: 0.0}  # seconds of the processor for a sample
        self._count = 0

    def length(self, size: int) -> int:
        """How much of ``size`` bytes to write at once."""
        if size < _SAMPLE:
            return LONG
        self._count += 1
        if self._count <= 2 * _TRIALS:
            return SHORT if self._count % 2 else LONG
        cheaper, dearer = sorted(self._costs, key=self._costs.__getitem__)
        return cheaper if self._count % _SECOND_LOOK else dearer

    def took(self, length: int, size: int, seconds: float) -> None:
        """Writing ``size`` bytes in pieces of ``length`` took so much of the processor's time."""
        if size < _SAMPLE:
            return
        cost = seconds * _SAMPLE / size
        known = self._costs[length]
        self._costs[length] = known + _WEIGHT * (cost - known) if known else cost
