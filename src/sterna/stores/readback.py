"""Sum an object's bytes as they come again, and keep none of them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

from sterna.model.errors import Corrupt
from sterna.wire.checksum import algorithm

_ROOM = 64 * 1024


class Summing:
    """A sink whose ``value`` is the sum of what came, by S3's name of the algorithm, in base64. More than ``most`` bytes
    are Corrupt. ``restart`` begins anew, for another attempt.
    """

    is_full = False
    drain = None

    def __init__(self, name: str, most: int) -> None:
        self._kind = algorithm(name) if name != "MD5" else None
        self._most = most
        self._room = memoryview(bytearray(_ROOM))
        self.restart()

    def restart(self) -> None:
        """Forget what came."""
        self._left = self._most
        self._crc = 0
        self._md5 = hashlib.md5(usedforsecurity=False)

    def room(self) -> memoryview:
        return self._room

    def wrote(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise Corrupt(f"The server answers with more bytes than the {self._most} that are due.")
        if self._kind is None:
            self._md5.update(self._room[:count])
        else:
            self._crc = self._kind.update(self._room[:count], self._crc)

    def on_room(self, resume: Callable[[], None]) -> None:
        """There is always room."""

    @property
    def value(self) -> str:
        if self._kind is None:
            return base64.b64encode(self._md5.digest()).decode("ascii")
        return self._kind.encode(self._crc)
