"""Turn numbers into the words that people read, and back."""

from __future__ import annotations

import re

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
TIB = 1024 * GIB

_SIZE = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,19})?)\s*(?:([KMGTP])(i?))?B?", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}


def parse_size(text: str) -> int:
    """Read ``8MiB``, ``8M`` (both 8·2²⁰), ``8MB`` (8·10⁶) or ``1000``; raises ValueError otherwise."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no size; write for example 512KiB, 8MiB or 1.5GB")
    decimal = not match[3] and text.strip().upper().endswith("B") and bool(match[2])
    unit = 1
    for _ in range(_POWERS[(match[2] or "").upper()]):
        unit *= 1000 if decimal else 1024
    whole, _, fraction = match[1].partition(".")
    return int(whole) * unit + int(fraction or "0") * unit // int("1" + "0" * len(fraction))


def size_words(size: float) -> str:
    """``1536`` becomes ``1.5 KiB``."""
    if size < 1024:
        return f"{int(size)} B"
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        size /= 1024
        if size < 1023.95:  # what is not shown as 1024.0
            return f"{size:.1f} {unit}"
    return f"{size / 1024:.1f} PiB"


def duration_words(seconds: float) -> str:
    """``3723`` becomes ``1:02:03``."""
    whole = int(seconds + 0.5)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def printable(text: str) -> str:
    """Escape what could command a terminal, break a log line or hide: all of Unicode's control and format characters
    (C0, DEL, C1, bidirectional marks, invisible ones, tags), line separators and lone surrogates (H103)."""
    return _UNPRINTABLE.sub(_escape, text) if not text.isprintable() else text


# The general categories Cc, Cf, Cs, Zl and Zp, and the noncharacters of the first plane; a test holds it against Unicode.
_UNPRINTABLE = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f\\u00ad\\u0600-\\u0605\\u061c\\u06dd\\u070f\\u0890\\u0891\\u08e2\\u180e"
    "\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ud800-\\udfff\\ufeff\\ufff9-\\ufffb\\ufffe\\uffff"
    "\\U000110bd\\U000110cd\\U00013430-\\U0001343f\\U0001bca0-\\U0001bca3\\U0001d173-\\U0001d17a"
    "\\U000e0000-\\U000e007f]"
)


def _escape(match: re.Match[str]) -> str:
    point = ord(match[0])
    if point < 0x100:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"
