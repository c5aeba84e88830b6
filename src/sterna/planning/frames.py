"""Turn blocks of bytes into zstd frames, and frames back into blocks, each of bounded size."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from sterna.model.errors import Corrupt

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# Level 1 packs a plan smaller than 3 and 6 do, and faster: docs/decisions/0010.
_OPTIONS: dict[int, int] = {zstd.CompressionParameter.compression_level: 1, zstd.CompressionParameter.checksum_flag: 1}
_SKIPPABLE = 0x184D2A5E  # RFC 8878, section 3.1.2: frames of this kind are passed over by whoever unpacks the file
_HEAD = 8
LARGEST_BLOCK = 32 << 20  # a frame that would unpack to more was not made by us: it is a bomb, or damaged


def packed(block: bytes | bytearray) -> bytes:
    """One frame that holds the block and its checksum."""
    return zstd.compress(block, options=_OPTIONS)


def blocks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The blocks of frames that follow each other in ``pieces``, however these are cut.

    Raises Corrupt where a frame is damaged, cut, or larger than ``LARGEST_BLOCK``. Memory holds one block.
    """
    frame: zstd.ZstdDecompressor | None = None
    block = bytearray()
    for piece in pieces:
        while piece or (frame is not None and not frame.needs_input):
            if frame is None:
                frame = zstd.ZstdDecompressor()
            try:
                block += frame.decompress(piece, max_length=LARGEST_BLOCK + 1 - len(block))
            except zstd.ZstdError as error:
                raise Corrupt(f"A compressed block is damaged: {error}.") from error
            if len(block) > LARGEST_BLOCK:
                raise Corrupt(f"A compressed block unpacks to more than {LARGEST_BLOCK} bytes.")
            piece = b""
            if frame.eof:
                piece = frame.unused_data
                yield bytes(block)
                frame, block = None, bytearray()
    if frame is not None:
        raise Corrupt("A compressed block is cut.")


def skippable(payload: bytes) -> bytes:
    """A frame that whoever unpacks the file passes over: a place for what describes the file itself."""
    return _SKIPPABLE.to_bytes(4, "little") + len(payload).to_bytes(4, "little") + payload


def skippable_payload(frame: bytes) -> bytes | None:
    """What ``skippable`` was given, if this is exactly such a frame."""
    return frame[_HEAD:] if frame == skippable(frame[_HEAD:]) else None
