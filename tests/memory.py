"""A store in a dictionary."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

from sterna.model.entry import Entry
from sterna.model.errors import ObjectGone, Refused
from sterna.stores.store import StorePage


class MemoryStore:
    """Keys to bytes. Times are counted, not measured: each write is one second later than the one before."""

    def __init__(self, contents: dict[str, bytes] | None = None, *, page_size: int = 1000) -> None:
        self._bytes: dict[str, bytes] = {}
        self._entries: dict[str, Entry] = {}
        self._page_size = page_size
        self._seconds = 1_600_000_000
        for key, data in (contents or {}).items():
            self._put(key, data)

    async def pages(self, start_after: str = "") -> AsyncIterator[StorePage]:
        keys = sorted(key for key in self._entries if key > start_after)
        for start in range(0, len(keys), self._page_size):
            yield StorePage(
                [self._entries[key] for key in keys[start : start + self._page_size] if key in self._entries], []
            )

    async def look(self, key: str) -> Entry | None:
        return self._entries.get(key)

    async def read(self, key: str) -> bytes:
        if key not in self._bytes:
            raise ObjectGone(f"{key} is not there.", key=key)
        return self._bytes[key]

    async def write(self, key: str, data: bytes) -> Entry:
        return self._put(key, data)

    async def remove(self, key: str) -> None:
        self._bytes.pop(key, None)
        self._entries.pop(key, None)

    def _put(self, key: str, data: bytes) -> Entry:
        if not 1 <= len(key.encode("utf-8", "surrogateescape")) <= 1024:
            raise Refused(f"{key!r}: a key has 1 to 1,024 bytes.", key=key)
        self._seconds += 1
        entry = Entry(key, len(data), self._seconds * 10**9, hashlib.md5(data, usedforsecurity=False).hexdigest())
        self._bytes[key], self._entries[key] = data, entry
        return entry
