"""Begin unfinished files so that another run can go on with them, and go on with those that earlier runs left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from sterna.model.errors import AccessDenied, CredentialsExpired, RetryLater, SternaError
from sterna.model.synced import Seen
from sterna.model.transfers import OpenDownload, WrittenRange
from sterna.moving.buffers import Buffers
from sterna.moving.disk import Disk
from sterna.moving.notebook import Blank, Notebook
from sterna.stores.draft import Draft, reopen
from sterna.stores.folder import Folder
from sterna.stores.look import Look
from sterna.wire.checksum import Algorithm, algorithm

_BITE = 512 * 1024  # read and summed at a time: it is still in the processor's cache when it is summed
_AT_ONCE = 3  # of the disk's threads: others carry on meanwhile
_OWN_SUM = "CRC64NVME"  # by which ranges are known again where the server shows no sum


class Begun(NamedTuple):
    """The beginning of a range: how many bytes of it are written, and their sum."""

    length: int
    crc: int


NOTHING = Begun(0, 0)


class Resumed(msgspec.Struct):
    """An unfinished file. Of ranges that are whole ``sums`` has the sum, ``begun`` of others what is there of them; by
    their number from 0. ``there`` counts all of these bytes."""

    draft: Draft
    sums: dict[int, int] = msgspec.field(default_factory=dict)
    begun: dict[int, Begun] = msgspec.field(default_factory=dict)
    there: int = 0


class Drafts:
    """The unfinished files of a mover: each is written down before it is made, with every range that was received.

    What another run left is gone on with where it is of the same version of the object. The ranges that were written down
    are read back and summed first: a disk may not have kept what was written before a power cut.
    """

    def __init__(self, folder: Folder, disk: Disk, buffers: Buffers) -> None:
        self.notebook: Notebook = Blank()
        self._folder = folder
        self._disk = disk
        self._buffers = buffers

    def sum_by(self, kind: Algorithm | None) -> Algorithm | None:
        """What to sum ranges by: the server's checksum, or one of our own where they are to be known again."""
        return algorithm(_OWN_SUM) if kind is None and self.notebook.is_kept else kind

    async def open(self, place: str, found: Look, each: int, kind: Algorithm | None) -> Resumed:
        """Go on with the unfinished file of this place, or make one. It is cut into ranges of ``each`` bytes, summed by
        ``kind``."""
        size, version = found.entry.size, seen(found)
        kept: Resumed | None = None
        for one in self.notebook.take_downloads(place):
            if kept is None and one.source == version and kind is not None and one.checksum == kind.name:
                kept = await self._taken_up(one, size, each, kind)
            else:
                await self._disk.slow(self._remove, one)
            self.notebook.download_ended(one.temporary)
        draft = kept.draft if kept is not None else await self._disk.opened(Draft.discard, self._begin, place, size)
        begun = OpenDownload(place, draft.path, version, kind.name if kind is not None else "", time.time_ns())
        self.notebook.download_begun(begun)
        if kept is None:
            return Resumed(draft)
        for number, crc in kept.sums.items():
            self.wrote(draft, number * each, min(size, (number + 1) * each), crc)
        for number, (length, crc) in kept.begun.items():
            self.wrote(draft, number * each, number * each + length, crc)
        return kept

    def wrote(self, draft: Draft, start: int, end: int, crc: int) -> None:
        """A range was received and written."""
        self.notebook.range_written(draft.path, WrittenRange(start, end, crc))

    def ended(self, path: str) -> None:
        """An unfinished file has got its name, or is gone."""
        self.notebook.download_ended(path)

    async def let_go(self, draft: Draft, error: BaseException) -> bool:
        """Leave what has come to the next run where that can go on with it; else remove it. True if it was left."""
        is_cut_off = not isinstance(error, SternaError) or isinstance(
            error, (RetryLater, CredentialsExpired, AccessDenied)
        )
        if self.notebook.is_kept and is_cut_off and draft.temporary and draft.holds_bytes:
            await asyncio.shield(self._disk.slow(draft.park))
            return True
        path = draft.path
        if await asyncio.shield(self._disk.slow(draft.discard)):
            self.notebook.download_ended(path)
        return False

    async def clear(self, downloads: Sequence[OpenDownload]) -> None:
        """Remove unfinished files that nobody needs any more."""
        for one in downloads:
            if await self._disk.slow(self._remove, one):
                self.notebook.download_ended(one.temporary)

    def _remove(self, one: OpenDownload) -> bool:
        return self._folder.remove_unfinished(one.temporary)

    def _begin(self, place: str, size: int) -> Draft:
        draft = self._folder.create(place, size)
        try:
            draft.preallocate(size)
        except BaseException:
            draft.discard()
            raise
        return draft

    async def _taken_up(self, one: OpenDownload, size: int, each: int, kind: Algorithm) -> Resumed | None:
        try:
            draft = await self._disk.opened(
                Draft.discard, reopen, self._folder, one.key, one.temporary.rpartition("/")[2], size
            )
        except SternaError:
            return None  # it is gone, or no file of ours
        turns = asyncio.Semaphore(_AT_ONCE)
        resumed = Resumed(draft)

        async def check(written: WrittenRange) -> None:
            number, length = written.start // each, written.end - written.start
            async with turns:
                with await self._buffers.lend(_BITE) as lease:
                    if await self._disk.slow(_sum, draft, lease.view, written, kind) != written.crc:
                        return
            draft.holds(written.start, written.end)
            resumed.there += length
            if written.end == min(size, written.start + each):
                resumed.sums[number] = written.crc
            else:
                resumed.begun[number] = Begun(length, written.crc)

        # Another run may have cut it otherwise.
        fitting = [
            written
            for written in one.ranges
            if not written.start % each and written.end <= min(size, written.start + each)
        ]
        try:
            async with asyncio.TaskGroup() as group:
                for written in fitting:
                    group.create_task(check(written))
        except BaseException:
            draft.park()
            raise
        return resumed


def _sum(draft: Draft, scratch: memoryview, written: WrittenRange, kind: Algorithm) -> int | None:
    """The sum of a range as it is on disk; None where it is shorter."""
    crc, offset = 0, written.start
    while offset < written.end:
        count = draft.read_into(scratch[: min(len(scratch), written.end - offset)], offset)
        if not count:
            return None
        crc = kind.update(scratch[:count], crc)
        offset += count
    return crc


def seen(found: Look) -> Seen:
    """The version of an object that ranges are pinned to."""
    return Seen(found.entry.size, found.entry.mtime_ns, found.entry.etag, found.checksum, found.version)
