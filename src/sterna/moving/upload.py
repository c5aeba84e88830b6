"""Carry files of a folder into a bucket."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Iterator
from typing import Protocol

from sterna.model.actions import Action
from sterna.model.errors import ObjectChanged, ObjectGone, SternaError, Unstable, out_of
from sterna.model.events import Tally
from sterna.model.outcomes import Outcome, Status
from sterna.model.units import printable
from sterna.moving.buffers import SMALL, Buffers
from sterna.moving.disk import Disk
from sterna.moving.media import guess_type
from sterna.moving.parts import part_size, parts
from sterna.moving.settings import Limits, UploadOptions
from sterna.stores.folder import Folder, SourceFile
from sterna.stores.s3 import S3Store, Upload, kind_of, mtime_text
from sterna.wire.connection import FilePart
from sterna.wire.encoding import encode_query

_TRIES = 3  # of a file that changes while it is read; a log that never rests fails as unstable (H40)
_BITE = 512 * 1024  # read and summed at a time: it is still in the processor's cache when it is summed


class Uploader:
    """Uploads files one action at a time; many at once. ``carry`` gives an outcome for whatever happens."""

    def __init__(
        self,
        folder: Folder,
        store: S3Store,
        options: UploadOptions,
        limits: Limits,
        buffers: Buffers,
        disk: Disk,
        tally: Tally,
    ) -> None:
        self._folder = folder
        self._store = store
        self._limits = limits
        self._buffers = buffers
        self._disk = disk
        self._tally = tally
        self._gate = store.client.gate
        self._guess = options.guess_mime_type and not options.content_type
        self._headers = upload_headers(options)

    async def carry(self, action: Action) -> Outcome:
        """Upload one file; tries again while the file changes under us, then fails as unstable."""
        outcome = Outcome(action.verb.value, action.key, Status.DONE, because=action.because, started_s=time.time())
        began = time.perf_counter()
        for attempt in range(1, _TRIES + 1):
            outcome.attempts = attempt
            try:
                if action.size <= self._limits.part_threshold:
                    await self._whole(action.key, action.size, outcome)
                else:
                    await self._in_parts(action.key, outcome)
                break
            except ObjectGone as error:
                if error.status:  # the server's, not the file's
                    outcome.fail(error)
                    break
                outcome.fail(_vanished(error, self._folder.shown(action.key)))
                break
            except ObjectChanged as error:
                if attempt == _TRIES:
                    outcome.fail(_unstable(error, self._folder.shown(action.key)))
            except SternaError as error:
                outcome.fail(error)
                break
        outcome.seconds = time.perf_counter() - began
        return outcome

    async def _whole(self, key: str, size: int, outcome: Outcome) -> None:
        async with self._gate:  # then memory: in this order everywhere, or some wait for each other for ever
            if size > SMALL:
                with await self._buffers.room(size):
                    await self._put(key, outcome)
            else:
                await self._put(key, outcome)

    async def _put(self, key: str, outcome: Outcome) -> None:
        content = await self._disk.quick(self._folder.read_whole, key, self._limits.part_threshold)
        data = content.data
        size = outcome.size = len(data)
        headers = self._headers_of(key, content.identity.mtime_ns)
        response, outcome.proof, outcome.checksum = await self._store.put(key, data, headers)
        # What was changed while it was sent is older than the object by now: no later sync would notice.
        await self._disk.quick(self._folder.check_unchanged, key, content.identity)
        shown = response.headers
        outcome.etag = shown.get(b"etag", b"").decode("latin-1").strip('"')
        outcome.version = shown.get(b"x-amz-version-id", b"").decode("latin-1")
        outcome.moved = size
        self._tally.moved_bytes += size

    async def _in_parts(self, key: str, outcome: Outcome) -> None:
        with await self._disk.slow(self._folder.open_source, key) as source:
            size = outcome.size = source.identity.size
            if size <= self._limits.part_threshold:  # it has shrunk since it was listed
                await self._whole(key, size, outcome)
                return
            each = part_size(size, self._limits.part_size)
            token = outcome.token = os.urandom(12).hex()
            async with self._gate:
                upload = await self._store.create_upload(key, self._headers_of(key, source.identity.mtime_ns), token)
            completed = False
            try:
                await self._send_parts(source, upload, parts(size, each), -(-size // each))
                await self._disk.slow(source.check_unchanged)
                async with self._gate:
                    outcome.etag, outcome.proof = await self._store.complete_upload(upload, size)
                completed = True
                await self._disk.slow(source.check_unchanged)  # again: see _put
                outcome.checksum = self._store.checksum_of(upload)
            except BaseException:
                self._tally.wasted_bytes += sum(part.size for part in upload.parts.values())
                if not completed:
                    await self._give_up(upload)
                raise
            outcome.moved = size

    async def _send_parts(
        self, source: SourceFile, upload: Upload, todo: Iterator[tuple[int, int, int]], count: int
    ) -> None:
        async def work() -> None:
            for number, start, length in todo:
                async with self._gate:
                    if self._store.takes_files(upload):
                        await self._send_from_file(source, upload, number, start, length)
                    else:
                        with await self._buffers.lend(length) as lease:
                            crc = await self._disk.slow(fill, source, lease.view, start, upload.checksum)
                            await self._store.put_part(upload, number, lease.view, crc)
                    self._tally.moved_bytes += length

        await together(work, min(count, self._limits.workers))

    async def _send_from_file(self, source: SourceFile, upload: Upload, number: int, start: int, length: int) -> None:
        """Sum a part, which brings it into the page cache, and have the kernel send it from there."""
        with await self._buffers.lend(_BITE) as lease:
            hashes = self._store.client.hashes_payloads
            crc, sha256 = await self._disk.slow(measure, source, lease.view, start, length, upload.checksum, hashes)
        body = FilePart(source.fd, start, length, sha256)
        await self._store.put_part(upload, number, body, crc, source.check_unchanged)

    async def _give_up(self, upload: Upload) -> None:
        """Abort, whatever else goes on: an upload left behind costs money (H94). Bounded: the server may be gone."""
        try:
            await asyncio.shield(asyncio.wait_for(self._store.abort_upload(upload), 2.0))
        except (SternaError, TimeoutError):
            return  # `sterna uploads --abort` and a lifecycle rule remain

    def _headers_of(self, key: str, mtime_ns: int) -> dict[str, str]:
        headers = {"x-amz-meta-mtime": mtime_text(mtime_ns), **self._headers}
        if self._guess and (kind := guess_type(key)):
            headers["content-type"] = kind
        return headers


def upload_headers(options: UploadOptions) -> dict[str, str]:
    """The headers that the options stand for; the same for every object."""
    headers = {f"x-amz-meta-{name.lower()}": value for name, value in options.metadata}
    if options.tags:
        headers["x-amz-tagging"] = encode_query(options.tags)
    named = {
        "x-amz-storage-class": options.storage_class,
        "x-amz-server-side-encryption": options.sse,
        "x-amz-server-side-encryption-aws-kms-key-id": options.sse_kms_key_id,
        "x-amz-acl": options.acl,
        "cache-control": options.cache_control,
        "content-type": options.content_type,
        "content-encoding": options.content_encoding,
        "content-disposition": options.content_disposition,
    }
    return headers | {name: value for name, value in named.items() if value}


def fill(source: SourceFile, view: memoryview, start: int, checksum: str) -> int | None:
    """Read a part into ``view`` and give its sum; runs in a thread. Raises ObjectChanged where the file is shorter now."""
    kind = kind_of(checksum) if checksum != "MD5" else None
    crc = 0
    for offset in range(0, len(view), _BITE):
        bite = view[offset : offset + _BITE]
        if source.read_into(bite, start + offset) != len(bite):
            raise ObjectChanged("The file became shorter while it was read.", key=source.key)
        if kind is not None:
            crc = kind.update(bite, crc)
    return crc if kind is not None else None


def measure(
    source: SourceFile, scratch: memoryview, start: int, length: int, checksum: str, hashes: bool
) -> tuple[int, str]:
    """Read a part through ``scratch`` and give its sum, and its SHA-256 if wanted; runs in a thread."""
    kind = kind_of(checksum)
    digest = hashlib.sha256() if hashes else None
    crc = 0
    for offset in range(0, length, len(scratch)):
        bite = scratch[: min(len(scratch), length - offset)]
        if source.read_into(bite, start + offset) != len(bite):
            raise ObjectChanged("The file became shorter while it was read.", key=source.key)
        crc = kind.update(bite, crc)
        if digest is not None:
            digest.update(bite)
    return crc, digest.hexdigest() if digest is not None else ""


class _Work(Protocol):
    async def __call__(self) -> None: ...


async def together(work: _Work, count: int) -> None:
    """Run ``work`` so many times at once; the first error cancels the others and is the one that is raised."""
    if count == 1:
        await work()
        return
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(work())
    except BaseExceptionGroup as errors:  # a cancellation of ourselves comes as what it is
        raise out_of(errors) from None


def _vanished(error: ObjectGone, shown: str) -> ObjectGone:
    return ObjectGone(f"{printable(shown)} vanished before it was read.", key=error.key, code="vanished")


def _unstable(error: ObjectChanged, shown: str) -> SternaError:
    if error.status:  # the server's, not the file's
        return error
    return Unstable(f"{printable(shown)} changed each of {_TRIES} times while it was read; sync again when it rests.",
                    key=error.key, code="unstable")  # fmt: skip
