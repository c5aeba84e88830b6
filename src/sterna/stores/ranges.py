"""Keys seen so far into the places where what is left of a range is cut."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

_DIGITS = frozenset("0123456789")
_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz")
_UPPER = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_LOWER_HEX = frozenset("abcdef")
_UPPER_HEX = frozenset("ABCDEF")
_BEFORE = 16  # characters of the common prefix to which a number can carry
_BEHIND = 10  # characters behind the common prefix that count: 10**10 keys apart in digits alone
_STEPS = 8  # a page leaves so many keys in the trail, evenly spread
_MOST_STEPS = 64
_MOST_BYTES = 1024

# No cut has a character from here on. Some servers order keys by UTF-16 code units: they differ from code points only
# where a surrogate meets U+E000 to U+FFFF, so that below both orders agree on which keys come before a cut.
FIRST_DOUBTFUL = "\ud800"


class Trail:
    """Keys that a listing has come by, an eighth of a page from each to the next; a branch goes on from elsewhere."""

    def __init__(self, before: tuple[tuple[str, ...], ...] = ()) -> None:
        self._before = before
        self._steps: tuple[str, ...] = ()
        self._slope: Slope | None = None
        self._is_known = False

    def add(self, keys: Sequence[str], full: int) -> None:
        """The keys of the next page, where a full one has so many."""
        step = max(1, full // _STEPS)
        self._steps = (*(self._steps or (keys[0],)), *keys[step - 1 :: step])[-_MOST_STEPS:]
        room = _MOST_STEPS - len(self._steps)
        while self._before and sum(map(len, self._before)) > room:
            self._before = self._before[1:]
        self._is_known = False

    def branch(self) -> Trail:
        """The trail of a range that begins further on: it goes by these steps until it has its own."""
        branch = Trail((*self._before, self._steps) if self._steps else self._before)
        branch._slope, branch._is_known = self.slope(), True
        return branch

    def slope(self) -> Slope | None:
        """How the keys go on from here, or None where the trail does not show it."""
        if not self._is_known:
            self._is_known = True
            self._slope = None
            for runs in (
                (*self._before, self._steps),
                (self._steps[-_STEPS - 1 :],),
                (self._steps[-_STEPS // 2 - 1 :],),
            ):
                if len(runs[-1]) > 2:
                    slope = Slope(runs)
                    if slope.width:
                        self._slope = slope
                        break
        return self._slope


class Slope:
    """How fast keys go through the space of names: a page ahead is ``width`` steps ahead.

    Names are taken for numbers whose digits, position by position, are the characters seen there. Where digits or
    letters were seen, all digits or letters are counted on; a number that overflows carries to the position before.
    """

    def __init__(self, runs: Sequence[Sequence[str]]) -> None:
        keys = [key for run in runs for key in run]
        lowest, highest = min(keys), max(keys)
        common = next((at for at, one in enumerate(lowest) if highest[at : at + 1] != one), len(lowest))
        self._fixed = lowest[: max(0, common - _BEFORE)]
        self._alphabets = _alphabets([key[len(self._fixed) :] for key in keys], common - len(self._fixed))
        self._most = 1
        self._digits: list[_Digits] = []
        for alphabet in reversed(self._alphabets):
            self._digits.append(_Digits(alphabet, self._most))
            self._most *= len(alphabet)
        self._digits.reverse()
        widths: list[int] = []
        for run in runs:
            values = [self._value(key) for key in run]
            widths += [max(0, after - before) for before, after in pairwise(values)]
        # Without the widest: a step from one folder into the next crosses a gap, which says nothing of what is to come.
        widths.sort()
        kept = widths[: len(widths) - max(1, len(widths) // 32)]
        self.width = sum(kept) * _STEPS // len(kept) if kept else 0

    def ahead(self, key: str, pages: float) -> str:
        """A name about so many pages after ``key``; empty where there is none that can be asked for."""
        value = self._value(key) + max(1, int(self.width * pages))
        if not self.width or value >= self._most:
            return ""
        places = []
        for alphabet in reversed(self._alphabets):
            value, digit = divmod(value, len(alphabet))
            places.append(alphabet[digit])
        cut = self._fixed + "".join(reversed(places))
        while len(cut.encode("utf-8", "surrogatepass")) > _MOST_BYTES:
            cut = cut[:-1]
        return cut if cut > key and _can_be_asked(cut) else ""

    def pages_between(self, key: str, end: str) -> float:
        """About how many pages lie between two names."""
        return (self._value(end) - self._value(key)) / self.width if self.width else 0.0

    def _value(self, key: str) -> int:
        if not key.startswith(self._fixed):
            return 0 if key < self._fixed else self._most
        start = len(self._fixed)
        behind = key[start : start + len(self._digits)]
        value = 0
        for digits, one in zip(self._digits, behind, strict=False):
            worth = digits[one]
            if worth < 0:
                return value - worth - 1
            value += worth
        return value


class _Digits(dict[str, int]):
    """What each character is worth at one position.

    For one that has no place there, -1 less what all before it are worth: the name lies between two numbers, whatever
    follows.
    """

    def __init__(self, alphabet: str, weight: int) -> None:
        super().__init__()
        self._alphabet = alphabet
        self._weight = weight

    def __missing__(self, one: str) -> int:
        at = bisect_left(self._alphabet, one)
        worth = at * self._weight
        self[one] = worth if self._alphabet[at : at + 1] == one else -1 - worth
        return self[one]


def _alphabets(keys: Sequence[str], common: int) -> list[str]:
    """The characters to count with, for each position: those seen, and all others of their kind."""
    kinds = _kinds("".join([key[common : common + _BEHIND] for key in keys]))
    found = []
    for at in range(common + _BEHIND):
        seen = {key[at] for key in (keys if at >= common else keys[-1:]) if len(key) > at}
        if not seen:
            break
        full = set(seen)
        for one in seen:
            full |= next((kind for kind in kinds if one in kind), _block(one))
        found.append("".join(sorted(full)))
    return found


def _kinds(text: str) -> tuple[frozenset[str], ...]:
    """Digits and letters as they occur in a text: of hexadecimal numbers, or by themselves."""
    seen = set(text)
    plain = (_DIGITS, _LOWER, _UPPER)
    if seen & _DIGITS:
        if seen & _LOWER and seen & _LOWER <= _LOWER_HEX:
            return (_DIGITS | _LOWER_HEX, *plain)
        if seen & _UPPER and seen & _UPPER <= _UPPER_HEX:
            return (_DIGITS | _UPPER_HEX, *plain)
    return plain


def _block(one: str) -> frozenset[str]:
    """The 256 characters around one that is not ASCII: its neighbours are of its script."""
    if not "\x7f" < one < FIRST_DOUBTFUL:
        return frozenset()
    start = ord(one) & ~0xFF
    return frozenset(map(chr, range(max(start, 0xA0), start + 0x100)))


def _can_be_asked(cut: str) -> bool:
    """Whether servers take a name in a query as it is: no control characters, and none of those they order in two ways."""
    if cut.isascii():
        return cut.isprintable()
    return all(" " <= one < FIRST_DOUBTFUL and not "\x7f" <= one < "\xa0" for one in cut)
