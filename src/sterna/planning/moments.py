"""Read a duration or a date as a moment in time."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import msgspec

_UNITS = {"w": 7 * 86400, "d": 86400, "h": 3600, "m": 60, "s": 1}
_SECOND_NS = 1_000_000_000
_PART = r"([0-9]{1,9})(?:\.([0-9]{1,9}))?([wdhms])"
_DURATION = rf"(?:{_PART})+"
_DATE = (
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[T ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9}))?)?(Z|z|[+-][0-9]{2}:?[0-9]{2})?)?"
)


class Moment(msgspec.Struct, frozen=True):
    """A moment in nanoseconds since 1970, and what was said to mean it.

    ``meaning`` is the same for the same thing said at another time: ``7d`` stays ``7d``, though its moment moves on.
    """

    ns: int
    text: str
    meaning: str


def parse_moment(text: str, now_ns: int) -> Moment:
    """Read ``7d``, ``1d12h`` or ``1.5h`` as that long before now; ``2026-03-01`` or ``2026-03-01T12:30`` as a date.

    Days have 24 hours. A date without a time is its first instant. What does not end in ``Z`` or ``+02:00`` is in this
    machine's zone; of an hour that a clock change repeats it is the first one. Raises ValueError.
    """
    text = text.strip()
    if re.fullmatch(_DURATION, text):
        age_ns = sum(_part_ns(*part) for part in re.findall(_PART, text))
        return Moment(now_ns - age_ns, text, f"{age_ns}ns ago")
    match = re.fullmatch(_DATE, text)
    if match is None:
        raise ValueError("it is no duration and no date; write for example 12h, 7d, 2026-03-01 or 2026-03-01T12:30Z")
    try:
        ns = _date_ns(match)
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError("there is no such date") from error
    return Moment(ns, text, f"at {ns}")


def _part_ns(whole: str, fraction: str, unit: str) -> int:
    return (int(whole) * 10**9 + int(fraction.ljust(9, "0"))) * _UNITS[unit]


def _date_ns(match: re.Match[str]) -> int:
    year, month, day, hour, minute, second = (int(match[number] or 0) for number in range(1, 7))
    zone = match[8]
    moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)  # checks what is a date
    if zone is None:
        moment = moment.replace(tzinfo=None).astimezone()
    elif zone not in "Zz":
        moment = datetime.fromisoformat(moment.replace(tzinfo=None).isoformat() + zone)
    whole = moment - datetime(1970, 1, 1, tzinfo=UTC)
    seconds = whole.days * 86400 + whole.seconds
    return seconds * _SECOND_NS + int((match[7] or "").ljust(9, "0"))
