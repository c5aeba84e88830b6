"""A folder as a store: its listing for the merge, and the whole contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import Self

from sterna.model.entry import Entry, Trouble
from sterna.model.errors import ObjectGone
from sterna.stores.folder import Folder
from sterna.stores.named import NamedFolder
from sterna.stores.store import StorePage
from sterna.stores.syncing import commit
from sterna.stores.walk import Page, Symlinks, pages
from sterna.wire.tap import until_ended

_LARGE = 8  # pages of a thousand: what a process of its own costs is a hundredth of them
WHOLE_LIMIT = 2**40  # read() is for tests and small tools; movers read in parts


class WalkLost(Exception):
    """Whoever walked elsewhere is gone before the end."""


class LocalStore:
    """The files below a folder. ``abandoned`` collects unfinished files of dead runs that the listing met.

    ``elsewhere``, if given, walks on from after a key, with less work for this process; it raises WalkLost where it
    cannot go on. ``may_hold``, if given, says of folders whether anything below them is asked for: see walk.
    """

    def __init__(
        self, folder: Folder, symlinks: Symlinks = "skip", *, one_file_system: bool = False, escapes: bool = False
    ) -> None:
        self.folder = folder
        self.may_hold: Callable[[str], bool] | None = None
        self.abandoned: list[str] = []
        self.elsewhere: Callable[[str], AsyncGenerator[Page, None]] | None = None
        self._symlinks: Symlinks = symlinks
        self._one_file_system = one_file_system
        self._escapes = escapes

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        create: bool = False,
        symlinks: Symlinks = "skip",
        one_file_system: bool = False,
        escapes: bool = False,
    ) -> LocalStore:
        """Open a folder; see Folder.open, and walk for the rest."""
        if symlinks == "store" or escapes:
            folder: Folder = NamedFolder.open_named(path, create, symlinks=symlinks, escapes=escapes)
        else:
            folder = Folder.open(path, create, symlinks=symlinks)
        return cls(folder, symlinks, one_file_system=one_file_system, escapes=escapes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.folder.close()

    def __repr__(self) -> str:
        return f"<LocalStore {self.folder!r}>"

    async def pages(self, start_after: str = "") -> AsyncIterator[StorePage]:
        """The files in key order, walked by a thread that is one page ahead; of a large folder the rest ``elsewhere``,
        where there is such a place, and by the thread again where that is lost.
        """
        place = _Place(start_after)
        seen, elsewhere = 0, self.elsewhere
        async with aclosing(self._here(place.at)) as here:
            async for page in here:
                yield self._taken(page, place)
                seen += 1
                if elsewhere is not None and seen == _LARGE:
                    break
            else:
                return
        try:
            async with aclosing(elsewhere(place.at)) as there:
                async for page in there:
                    yield self._taken(page, place)
            return
        except WalkLost:
            pass
        async with aclosing(self._here(place.at)) as here:
            async for page in here:
                yield self._taken(page, place)

    async def _here(self, start_after: str) -> AsyncGenerator[Page, None]:
        # By the open root: another folder may stand under its path by now, and would be listed as this one's rest.
        walk = pages(
            self.folder.path,
            symlinks=self._symlinks,
            start_after=start_after,
            may_hold=self.may_hold,
            one_file_system=self._one_file_system,
            escapes=self._escapes,
            root_fd=self.folder.root.fd,
        )
        thread = ThreadPoolExecutor(1, thread_name_prefix="walk")
        loop = asyncio.get_running_loop()
        is_over = False
        try:
            ahead = loop.run_in_executor(thread, _next_page, walk)
            while (page := await ahead) is not None:
                ahead = loop.run_in_executor(thread, _next_page, walk)
                yield page
            is_over = True
        finally:
            if is_over:
                thread.shutdown()
            else:  # it may be in the middle of a page, by the open root, and the loop has other things to do meanwhile
                await until_ended(asyncio.ensure_future(asyncio.to_thread(thread.shutdown)))

    def _taken(self, page: Page, place: _Place) -> StorePage:
        self.abandoned += page.abandoned
        return StorePage(page.entries, place.passed(page))

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


class _Place:
    """How far a listing is: ``at`` is its last key. What a folder holds besides files may be told of ahead of its turn,
    and would be told again by who goes on from ``at``.
    """

    def __init__(self, at: str) -> None:
        self.at = at
        self._told_ahead: set[str] = set()

    def passed(self, page: Page) -> list[Trouble]:
        """A page has passed; gives those of its troubles that are new."""
        troubles = [one for one in page.troubles if one.key not in self._told_ahead] if page.troubles else []
        if page.entries:
            self.at = page.entries[-1].key
        if troubles or self._told_ahead:
            told = (*self._told_ahead, *(one.key for one in troubles))
            self._told_ahead = {key for key in told if key > self.at or self.at.startswith(_folder_of(key))}
        return troubles


def _folder_of(key: str) -> str:
    """With its slash; it is read again by who goes on from a key in it."""
    return key[: key.rstrip("/").rfind("/") + 1]


def _next_page(walk: Iterator[Page]) -> Page | None:
    return next(walk, None)
