"""A folder as a store: its listing for the merge, and the whole contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, Self

from sterna.model.entry import Entry
from sterna.model.errors import ObjectGone
from sterna.stores.folder import Folder
from sterna.stores.store import Capabilities, StorePage
from sterna.stores.syncing import commit
from sterna.stores.walk import Page, pages

WHOLE_LIMIT = 2**40  # read() is for tests and small tools; movers read in parts


class LocalStore:
    """The files below a folder. ``abandoned`` collects unfinished files of dead runs that the listing met."""

    def __init__(self, folder: Folder, symlinks: Literal["skip", "follow"] = "skip") -> None:
        self.folder = folder
        self.abandoned: list[str] = []
        self._symlinks: Literal["skip", "follow"] = symlinks

    @classmethod
    def open(cls, path: Path, *, create: bool = False, symlinks: Literal["skip", "follow"] = "skip") -> LocalStore:
        """Open a folder; see Folder.open."""
        return cls(Folder.open(path, create, symlinks=symlinks), symlinks)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.folder.close()

    def __repr__(self) -> str:
        return f"<LocalStore {self.folder!r}>"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(any_key=False)

    async def pages(self, start_after: str = "") -> AsyncIterator[StorePage]:
        """The files in key order, walked by a thread that is one page ahead."""
        walk = pages(self.folder.path, symlinks=self._symlinks, start_after=start_after)
        with ThreadPoolExecutor(1, thread_name_prefix="walk") as thread:
            loop = asyncio.get_running_loop()
            ahead = loop.run_in_executor(thread, _next_page, walk)
            while (page := await ahead) is not None:
                ahead = loop.run_in_executor(thread, _next_page, walk)
                self.abandoned += page.abandoned
                yield StorePage(page.entries, page.troubles)

    async def look(self, key: str) -> Entry | None:
        found = await asyncio.to_thread(self.folder.look, key)
        return found if found is not None and not found.is_directory_marker else None

    async def read(self, key: str) -> bytes:
        return (await asyncio.to_thread(self.folder.read_whole, key, WHOLE_LIMIT)).data

    async def write(self, key: str, data: bytes) -> Entry:
        return await asyncio.to_thread(self._write, key, data)

    def _write(self, key: str, data: bytes) -> Entry:
        expected = self.folder.look(key)
        with self.folder.create(key, len(data)) as draft:
            draft.write_at(memoryview(data), 0)
            draft.seal(None)
            for error in commit(self.folder, [draft], [expected]):
                if error is not None:
                    raise error
        found = self.folder.look(key)
        if found is None:
            raise ObjectGone(f"{key} vanished right after it was written.", key=key)
        return found

    async def remove(self, key: str) -> None:
        await asyncio.to_thread(self._remove, key)

    def _remove(self, key: str) -> None:
        found = self.folder.look(key)
        if found is not None:
            try:
                self.folder.remove(key, found)
            except ObjectGone:
                return


def _next_page(walk: Iterator[Page]) -> Page | None:
    return next(walk, None)
