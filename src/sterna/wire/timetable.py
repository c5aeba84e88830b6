"""Turn what was said of speed, one rate or a timetable of them, into the limits of a moment."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

import msgspec

from sterna.model.units import KIB, parse_size, size_words

LEAST: Final = KIB  # bytes a second: below it, servers end connections that move next to nothing
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY: Final = 24 * 60
_MOMENT: Final = r"(?i:([a-z]{3})[a-z]*-)?([0-9]{1,2}):([0-9]{2})"
_EXAMPLE: Final = "write for example 10MiB, 1MiB:off, or 08:00,512KiB 19:00,off"


class Speed(msgspec.Struct, frozen=True):
    """Bytes of objects a second, sent and received; None without a limit."""

    up: float | None = None
    down: float | None = None

    def __str__(self) -> str:
        up, down = _words(self.up), _words(self.down)
        return up if up == down else f"{up} up, {down} down"


class Timetable(msgspec.Struct, frozen=True):
    """Speeds by the minute of the week at which each begins, ascending, Monday 00:00 being 0. One alone holds always,
    none means no limit.

    What counts is the clock on the wall. Where it jumps ahead over a moment, that moment's speed holds after the jump;
    where it goes back, what held at that hour holds again.
    """

    moments: tuple[tuple[int, Speed], ...] = ()

    @property
    def is_set(self) -> bool:
        """Whether it limits anything at any time."""
        return any(speed != Speed() for _, speed in self.moments)

    def at(self, wall: datetime) -> Speed:
        """The speed at a moment by the clock on the wall."""
        if not self.moments:
            return Speed()
        minute = wall.weekday() * _DAY + wall.hour * 60 + wall.minute
        held = self.moments[-1][1]  # before the week's first moment, what its last one began
        for begins, speed in self.moments:
            if begins > minute:
                break
            held = speed
        return held


UNLIMITED: Final = Timetable()


def parse_timetable(text: str) -> Timetable:
    """Read ``10MiB``, ``UP:DOWN``, ``off``, or moments as rclone writes them: ``08:00,512KiB 19:00,10MiB 23:00,off``,
    of one day of the week also ``Sat-08:00,off``. Raises ValueError with a sentence."""
    words = text.split()
    if len(words) == 1 and "," not in text:
        speed = _speed(words[0])
        return Timetable(((0, speed),))
    daily: dict[int, Speed] = {}
    weekly: dict[int, Speed] = {}
    for word in words:
        moment, comma, said = word.partition(",")
        match = re.fullmatch(_MOMENT, moment)
        if not comma or match is None or int(match[2]) > 23 or int(match[3]) > 59:
            raise ValueError(f"{word!a} is no moment of a timetable; {_EXAMPLE}")
        minute = int(match[2]) * 60 + int(match[3])
        speed = _speed(said)
        if match[1] is None:
            chosen, begins = daily, minute
        elif match[1].lower() in _DAYS:
            chosen, begins = weekly, _DAYS.index(match[1].lower()) * _DAY + minute
        else:
            raise ValueError(f"{word!a} names no day of the week; write Mon, Tue, Wed, Thu, Fri, Sat or Sun")
        if begins in chosen:
            raise ValueError(f"{moment} is there twice in the timetable")
        chosen[begins] = speed
    if not words:
        raise ValueError(f"it is empty; {_EXAMPLE}")
    every = {day * _DAY + minute: speed for day in range(7) for minute, speed in daily.items()}
    return Timetable(tuple(sorted((every | weekly).items(), key=_begins)))  # a day's own moment wins over the daily one


def _begins(moment: tuple[int, Speed]) -> int:
    return moment[0]


def _speed(text: str) -> Speed:
    up, colon, down = text.partition(":")
    return Speed(_rate(up), _rate(down if colon else up))


def _rate(text: str) -> int | None:
    if text.lower() == "off":
        return None
    try:
        rate = parse_size(text.removesuffix("/s"))
    except ValueError:
        raise ValueError(f"{text!a} is no speed; {_EXAMPLE}") from None
    if rate < LEAST:
        raise ValueError(f"{text} is {rate} bytes a second, and 1KiB is the least; write the unit, or off for no limit")
    return rate


def _words(rate: float | None) -> str:
    return "no limit" if rate is None else f"{size_words(rate)}/s"
