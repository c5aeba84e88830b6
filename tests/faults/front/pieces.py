"""Take the bytes of a body apart."""

from __future__ import annotations

from collections.abc import Iterator


def first(pieces: Iterator[bytes], size: int, keep_rest: list[bytes] | None = None) -> Iterator[bytes]:
    """The first ``size`` bytes; what was taken of the next goes into ``keep_rest``."""
    left = size
    while left > 0:
        piece = next(pieces, None)
        if piece is None:
            return
        if len(piece) > left and keep_rest is not None:
            keep_rest.append(piece[left:])
        yield piece[:left]
        left -= len(piece)


def flipped(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)
