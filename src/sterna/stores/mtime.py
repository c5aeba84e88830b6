"""Read and write the time of a file as rclone and we keep it in an object's metadata."""

from __future__ import annotations


def mtime_of(text: str) -> int | None:
    """The time that rclone and we keep in ``x-amz-meta-mtime``: seconds since 1970 with a fraction; None if unreadable."""
    whole, _, fraction = text.partition(".")
    negative = whole.startswith("-")
    digits = whole.removeprefix("-") + fraction
    if whole in ("", "-") or not (digits.isascii() and digits.isdigit()) or len(whole) > 12:
        return None
    ns = int(whole.removeprefix("-")) * 10**9 + int((fraction + "000000000")[:9])
    return -ns if negative else ns


def mtime_text(mtime_ns: int) -> str:
    """What ``mtime_of`` reads."""
    sign = "-" if mtime_ns < 0 else ""
    whole, fraction = divmod(abs(mtime_ns), 10**9)
    return f"{sign}{whole}.{fraction:09d}".rstrip("0").rstrip(".")
