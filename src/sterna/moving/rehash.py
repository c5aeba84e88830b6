"""Read parts of a file again, to know whether the server has their bytes."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from sterna.moving.buffers import Buffers
from sterna.moving.disk import Disk
from sterna.stores.folder import SourceFile
from sterna.stores.multipart import Sent
from sterna.wire.checksum import NAMES, algorithm

_BITE = 512 * 1024  # read and summed at a time: it is still in the processor's cache when it is summed
_AT_ONCE = 3  # of the disk's threads: others carry on meanwhile


class Evidence(NamedTuple):
    """A part that the server shows, and where in the file its bytes should be. ``crc`` is the sum under which it was sent,
    where that is known."""

    start: int
    shown: Sent
    checksum: str
    crc: int | None


class Reread(NamedTuple):
    """Whether the file has the part's bytes, and their sum by the upload's checksum, if it has one."""

    is_same: bool
    crc: int | None


class Rehasher:
    """Compares parts with the file. 1 GB is read and summed in a third of a second where it is in memory."""

    def __init__(self, disk: Disk, buffers: Buffers) -> None:
        self._disk = disk
        self._buffers = buffers

    async def reread(self, file: SourceFile, parts: Sequence[Evidence]) -> list[Reread]:
        """For each part whether it is one of the file as it is now. One that nothing can be held against is not."""
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one(part: Evidence) -> Reread:
            async with turns:
                with await self._buffers.lend(_BITE) as lease:
                    return await self._disk.slow(_compare, file, lease.view, part)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(part)) for part in parts]
        return [task.result() for task in tasks]


def _compare(file: SourceFile, scratch: memoryview, part: Evidence) -> Reread:
    kind = algorithm(part.checksum) if part.checksum in NAMES else None
    shown_sum = part.shown.sums.get(part.checksum, "")
    digest = None if kind is not None and (shown_sum or part.crc is not None) else hashlib.md5(usedforsecurity=False)
    crc = 0
    for offset in range(0, part.shown.size, len(scratch)):
        bite = scratch[: min(len(scratch), part.shown.size - offset)]
        if file.read_into(bite, part.start + offset) != len(bite):
            return Reread(False, None)
        if kind is not None:
            crc = kind.update(bite, crc)
        if digest is not None:
            digest.update(bite)
    if kind is None or digest is not None:
        is_same = digest is not None and digest.hexdigest() == part.shown.etag.strip('"').lower()
        return Reread(is_same, crc if kind is not None else None)
    is_same = (not shown_sum or shown_sum == kind.encode(crc)) and part.crc in (None, crc)
    return Reread(is_same, crc)
