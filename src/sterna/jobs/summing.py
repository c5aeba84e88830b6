"""Compute several sums of the bytes of one file or object in one reading."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from sterna.model.errors import Interrupted, ObjectChanged
from sterna.model.synced import Seen
from sterna.model.units import printable
from sterna.stores.folder import Identity
from sterna.stores.local import LocalStore
from sterna.wire.checksum import algorithm

_BITE = 512 * 1024  # of a file: it is still in the processor's cache when it is summed
_HASHES: Mapping[str, Callable[[], hashlib._Hash]] = {
    "SHA256": hashlib.sha256,
    "SHA1": lambda: hashlib.sha1(usedforsecurity=False),
    "MD5": lambda: hashlib.md5(usedforsecurity=False),
}


class Summer(Protocol):
    """What sums bytes piece by piece."""

    def update(self, data: memoryview, /) -> object: ...

    def digest(self) -> bytes: ...


class _Crc:
    """A CRC with the manners of hashlib."""

    def __init__(self, name: str) -> None:
        self._kind = algorithm(name)
        self._value = 0

    def update(self, data: memoryview, /) -> None:
        self._value = self._kind.update(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._kind.width, "big")


def summer(name: str) -> Summer:
    """By S3's name of the algorithm, or MD5."""
    return _HASHES[name]() if name in _HASHES else _Crc(name)


class Sums:
    """Several sums of the same bytes. ``values`` are base64, as S3 shows them, and ``sha256`` in hexadecimal digits."""

    def __init__(self, names: Sequence[str]) -> None:
        self._summers = {name: summer(name) for name in names}

    def update(self, data: memoryview) -> None:
        """More bytes."""
        for each in self._summers.values():
            each.update(data)

    @property
    def values(self) -> dict[str, str]:
        return {name: base64.b64encode(each.digest()).decode("ascii") for name, each in self._summers.items()}


def hexadecimal(value: str) -> str:
    """A sum in base64 as programs like sha256sum write it; empty where it is none."""
    try:
        return base64.b64decode(value, validate=True).hex()
    except ValueError:
        return ""


def sums_of_file(
    folder: LocalStore, key: str, names: Sequence[str], ended: threading.Event, seen: Seen | None = None
) -> tuple[dict[str, str], Identity]:
    """The sums of one version of a file, and which one; in a thread. Raises ObjectChanged where it is not, or no longer,
    the version that was ``seen``, ObjectGone where there is none, Interrupted where the run has ended."""
    with folder.folder.open_source(key) as source:
        identity = source.identity
        if seen is not None and not is_version(identity, seen):
            raise changed_since(key)
        sums, scratch = Sums(names), memoryview(bytearray(max(1, min(_BITE, identity.size))))
        for start in range(0, identity.size, _BITE):
            if ended.is_set():
                raise Interrupted("The run has ended.")
            bite = scratch[: min(_BITE, identity.size - start)]
            if source.read_into(bite, start) != len(bite):
                raise changed_since(key)
            sums.update(bite)
        source.check_unchanged()
    return sums.values, identity


def is_version(identity: Identity, seen: Seen) -> bool:
    """Whether a file is the version that was seen, by all that is known of that."""
    return (
        (identity.size, identity.mtime_ns) == (seen.size, seen.mtime_ns)
        and seen.ctime_ns in (0, identity.ctime_ns)
        and seen.inode in (0, identity.inode)
    )


def changed_since(key: str) -> ObjectChanged:
    """The error for a file that is another version than was sent."""
    return ObjectChanged(f"{printable(key)} was changed since it was sent, so it has no sums to show.", key=key)
