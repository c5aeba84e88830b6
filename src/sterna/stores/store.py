"""What every place with sorted keys promises: the contract that planning and tests know a store by."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol

from sterna.model.entry import Entry, Trouble


class StorePage(NamedTuple):
    """Some entries in key order, and what was met among them and cannot be carried."""

    entries: list[Entry]
    troubles: list[Trouble]


class Store(Protocol):
    """A place with sorted keys.

    ``pages`` yields keys strictly ascending by code point and ends or raises: it is never just short. It may be called
    again, from the start or after a key. ``look`` gives the entry as the store has it now, or None where there is
    none; it raises where it cannot know (AccessDenied). ``read`` gives all bytes of one consistent version.
    ``write`` puts all bytes or none under the key, replacing what was there, and gives what a look would show.
    ``remove`` is content when the key is already gone. Keys that the store cannot hold raise Refused.
    """

    def pages(self, start_after: str = "") -> AsyncIterator[StorePage]: ...

    async def look(self, key: str) -> Entry | None: ...

    async def read(self, key: str) -> bytes: ...

    async def write(self, key: str, data: bytes) -> Entry: ...

    async def remove(self, key: str) -> None: ...
