"""Carry standard input into an object, and an object to standard output."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import time
from collections import deque
from collections.abc import Coroutine
from functools import partial
from typing import Any

from sterna.model.errors import Corrupt, LocalFault, ObjectChanged, ObjectGone, SternaError
from sterna.model.events import Notice, Tally
from sterna.model.outcomes import Outcome, Status
from sterna.model.stop import Stop
from sterna.model.units import MIB, printable
from sterna.moving.buffers import Buffers, Lease
from sterna.moving.disk import Disk
from sterna.moving.parts import MOST_PARTS, part_size, parts, stream_part_size
from sterna.moving.pipe import held
from sterna.moving.settings import Limits
from sterna.stores.look import Look, Ranges, check_same
from sterna.stores.multipart import Multipart, Upload
from sterna.stores.readback import Summing
from sterna.stores.s3 import S3Store
from sterna.wire.checksum import algorithm

_BITE = MIB
_WORDS = 64 * 1024  # of an answer that is a refusal
_AHEAD = 8  # parts in flight: a stream comes and goes through one pipe, which more would not make faster


class StreamUploader:
    """Reads a descriptor to its end and uploads what comes, in parts that grow, since the length is not known."""

    def __init__(
        self, store: S3Store, headers: dict[str, str], limits: Limits, buffers: Buffers, disk: Disk, tally: Tally
    ) -> None:
        self._store = store
        self._multipart = Multipart(store)
        self._headers = headers
        self._limits = limits
        self._buffers = buffers
        self._disk = disk
        self._tally = tally

    async def carry(self, fd: int, key: str, stop: Stop) -> Outcome:
        """Upload all that ``fd`` gives; the object appears with the last part or not at all. A request to stop leaves
        it, whether the stream gives anything or not.
        """
        outcome = Outcome("upload", key, Status.DONE, because="a stream", started_s=time.time())
        await _carried(self._carry(fd, key, outcome), outcome, stop)
        return outcome

    async def _carry(self, fd: int, key: str, outcome: Outcome) -> None:
        lease, count = await self._read(fd, self._limits.part_size or stream_part_size(0))
        gate = self._store.client.gate
        if count < lease.size:
            with lease:
                async with gate:
                    response, outcome.proof, outcome.checksum = await self._store.put(
                        key, lease.view[:count], self._headers
                    )
            self._ended(outcome, count, response.text(b"etag").strip('"'))
            return
        async with gate:
            outcome.token = os.urandom(12).hex()
            upload = await self._multipart.create(key, self._headers, outcome.token)
        try:
            size = await self._send(fd, upload, lease)
            async with gate:
                etag, outcome.proof = await self._multipart.complete(upload, size)
            outcome.checksum = self._multipart.checksum_of(upload)
        except BaseException:
            try:
                await asyncio.shield(asyncio.wait_for(self._multipart.abort(upload), 2.0))
            except (SternaError, TimeoutError):
                sentence = f"{printable(key)}: the unfinished upload {upload.id} could not be aborted, and takes room."
                self._store.client.emit(Notice(sentence, "warning", "upload_left"))
            raise
        outcome.size = outcome.moved = size
        outcome.etag = etag

    async def _send(self, fd: int, upload: Upload, lease: Lease) -> int:
        """Send parts until the end of the stream; ``lease`` holds the first, which is full."""
        number, size, count = 1, 0, lease.size
        running: set[asyncio.Task[None]] = set()
        try:
            while True:
                running.add(asyncio.create_task(self._part(upload, number, lease, count)))
                size += count
                if count < lease.size:
                    break
                number += 1
                if number > MOST_PARTS:
                    raise LocalFault("The stream needs more than 10,000 parts; give a larger --part-size.")
                while len(running) >= _AHEAD:
                    finished, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                    for task in finished:
                        task.result()
                lease, count = await self._read(fd, self._limits.part_size or stream_part_size(size))
                if not count:
                    lease.release()
                    break
            while running:
                finished, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in finished:
                    task.result()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        return size

    async def _part(self, upload: Upload, number: int, lease: Lease, count: int) -> None:
        with lease:
            data = lease.view[:count]
            crc = (
                await self._disk.slow(algorithm(upload.checksum).update, data, 0) if upload.checksum != "MD5" else None
            )
            async with self._store.client.gate:
                await self._multipart.put_part(upload, number, data, crc)
            self._tally.moved_bytes += count

    async def _read(self, fd: int, size: int) -> tuple[Lease, int]:
        """A buffer, filled from the stream unless its end came first."""
        lease = await self._buffers.lend(size)
        try:
            return lease, await held(_fill, fd, lease.view)
        except SternaError:  # and not where this is cancelled: the buffer may be filled yet
            lease.release()
            raise

    def _ended(self, outcome: Outcome, size: int, etag: str) -> None:
        outcome.size = outcome.moved = size
        outcome.etag = etag
        self._tally.moved_bytes += size


class StreamDownloader:
    """Writes an object to a descriptor in order, with a few ranges ahead."""

    def __init__(self, store: S3Store, limits: Limits, buffers: Buffers, disk: Disk, tally: Tally) -> None:
        self._store = store
        self._limits = limits
        self._buffers = buffers
        self._disk = disk
        self._tally = tally

    async def carry(self, key: str, fd: int, stop: Stop) -> Outcome:
        """Write the whole object; what is read already cannot be taken back, so a fault shows in the exit code. A
        request to stop leaves it, whether anybody reads or not.
        """
        outcome = Outcome("download", key, Status.DONE, because="to a stream", started_s=time.time())
        await _carried(self._carry(key, fd, outcome), outcome, stop)
        return outcome

    async def _carry(self, key: str, fd: int, outcome: Outcome) -> None:
        found = await self._store.head(key)
        if found is None:
            raise ObjectGone(f"{printable(str(self._store.location))} is not there.", code="NoSuchKey")
        size = found.entry.size
        kind = algorithm(found.checksum_name) if found.whole else None
        is_md5 = found.plain_md5 and kind is None and not self._store.learned.etag_is_opaque
        # Where no range has shown an ETag yet, none may come, and then a second reading is held against this sum.
        is_summed = is_md5 or (kind is None and not self._store.learned.ranges_show_etags)
        md5 = hashlib.md5(usedforsecurity=False) if is_summed else None
        ranges = Ranges(found.entry.etag, self._store.learned)
        whole = done = 0
        ahead: deque[asyncio.Task[Lease]] = deque()
        todo = parts(size, part_size(size, self._limits.part_size))
        try:
            while True:
                while len(ahead) < _AHEAD and (part := next(todo, None)) is not None:
                    ahead.append(asyncio.create_task(self._get(key, ranges, part[1], part[2])))
                if not ahead:
                    break
                with await ahead.popleft() as lease:
                    if kind is not None:
                        crc = await self._disk.slow(kind.update, lease.view, 0)
                        whole = kind.combine(whole, crc, lease.size) if done else crc
                    elif md5 is not None:
                        await self._disk.slow(md5.update, lease.view)
                    await held(_drain, fd, lease.view)
                    done += lease.size
                    self._tally.moved_bytes += lease.size
        finally:
            for task in ahead:
                task.cancel()
            for lent in await asyncio.gather(*ahead, return_exceptions=True):
                if isinstance(lent, Lease):
                    lent.release()
        outcome.size = outcome.moved = size
        outcome.etag = found.entry.etag
        if kind is not None:
            if kind.encode(whole) != found.checksum:
                sentence = f"{printable(key)}: the bytes written do not have the checksum that the server shows"
                raise Corrupt(f"{sentence} ({kind.name}); throw them away.")
            outcome.proof = kind.name
        elif md5 is not None and (is_md5 or ranges.doubtful) and await self._is_md5(found, md5.digest(), is_md5):
            outcome.proof = "MD5"
        else:
            again = await self._store.head(key)  # as for a file: nothing else would tell of two versions (H42)
            if again is None or again.entry != found.entry:
                raise _replaced(key)
            outcome.proof = "length"

    async def _is_md5(self, found: Look, md5: bytes, may_be: bool) -> bool:
        """Whether the ETag is this MD5. Where it is not, which it need not be (H13, H14), or is none, the object is read
        once more, and Corrupt raised where other bytes come.
        """
        key, etag = found.entry.key, found.entry.etag
        if may_be and md5.hex() == etag:
            return True
        again = Summing("MD5", found.entry.size)
        try:
            async with self._store.client.gate:
                await self._store.get(
                    key, limit=_WORDS, etag=etag, sink=again, restart=again.restart, check=partial(check_same, etag)
                )
        except ObjectChanged:
            raise _replaced(key) from None
        if base64.b64decode(again.value) != md5:
            sentence = f"{printable(key)}: two readings of one version differ; throw away what was written."
            raise Corrupt(sentence, operation="Get", key=key)
        self._store.learned.etag_is_opaque |= may_be
        return False

    async def _get(self, key: str, ranges: Ranges, start: int, length: int) -> Lease:
        lease = await self._buffers.lend(length)
        try:
            sink = _Fill(lease.view)
            async with self._store.client.gate:
                await self._store.get(
                    key, limit=_WORDS, etag=ranges.etag, span=(start, start + length), sink=sink, restart=sink.restart,
                    check=ranges.check,
                )  # fmt: skip
            if sink.received != length:
                raise Corrupt(f"{sink.received} of {length} bytes came.", operation="Get", key=key)
        except BaseException:
            lease.release()
            raise
        return lease


def _replaced(key: str) -> ObjectChanged:
    sentence = f"{printable(key)} was replaced while it was read; throw away what was written."
    return ObjectChanged(sentence, operation="Get", code="Replaced")


async def _carried(carrying: Coroutine[Any, Any, None], outcome: Outcome, stop: Stop) -> None:
    """Wait for what carries a stream; an end that is asked for cancels it, and is no surprise."""
    began = time.perf_counter()
    task = asyncio.ensure_future(carrying)

    def end() -> None:
        task.cancel()

    stop.on_request(end)
    try:
        await task
    except SternaError as error:
        outcome.fail(error)
    except asyncio.CancelledError:
        if not stop.is_requested:
            raise
        outcome.status, outcome.error, outcome.proof = Status.LEFT, stop.reason, ""
    outcome.seconds = time.perf_counter() - began


class _Fill:
    """A sink that is one buffer."""

    is_full = False
    drain = None  # it is read in order, and by the loop

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self.received = 0

    def room(self) -> memoryview:
        if self.received == len(self._view):
            raise Corrupt("The server sent more bytes than were asked for.", operation="Get")
        return self._view[self.received :]

    def wrote(self, count: int) -> None:
        self.received += count

    def on_room(self, resume: object) -> None:
        """Never full, never resumed."""

    def restart(self) -> None:
        self.received = 0


def _fill(fd: int, view: memoryview) -> int:
    filled = 0
    try:
        while filled < len(view):
            count = os.readv(fd, [view[filled : filled + _BITE]])
            if not count:
                break
            filled += count
    except OSError as error:
        raise LocalFault(f"Standard input cannot be read: {error.strerror}.") from None
    return filled


def _drain(fd: int, view: memoryview) -> None:
    try:
        while view:
            view = view[os.write(fd, view[:_BITE]) :]
    except BrokenPipeError:
        raise LocalFault("Whoever read standard output went away before all was written.") from None
    except OSError as error:
        raise LocalFault(f"Standard output cannot be written: {error.strerror}.") from None
