"""Carry files of a folder into a bucket."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import Sequence
from typing import Protocol

import msgspec

from sterna.model.actions import Action
from sterna.model.entry import Entry
from sterna.model.errors import ObjectChanged, ObjectGone, SternaError, Unstable, out_of
from sterna.model.events import Notice, Tally
from sterna.model.outcomes import Outcome, Status
from sterna.model.synced import Seen, calm
from sterna.model.transfers import OpenDownload, OpenUpload
from sterna.model.units import printable
from sterna.moving.buffers import SMALL, Buffers
from sterna.moving.disk import Disk
from sterna.moving.media import guess_type
from sterna.moving.notebook import Notebook
from sterna.moving.parts import part_size
from sterna.moving.passing import Passing
from sterna.moving.planned import condition_of, drifted, is_refused, must_be_planned, must_stand
from sterna.moving.rehash import Rehasher
from sterna.moving.resume import Effort, Uploads, is_spent
from sterna.moving.settings import Limits, UploadOptions
from sterna.stores.folder import Folder, Identity, SourceFile
from sterna.stores.look import Look
from sterna.stores.mtime import mtime_text
from sterna.stores.multipart import Part, Upload
from sterna.stores.objects import Condition, left_behind
from sterna.stores.puts import LARGEST_PUT, Summed
from sterna.stores.s3 import S3Store
from sterna.wire.checksum import NAMES, algorithm
from sterna.wire.connection import FilePart
from sterna.wire.encoding import encode_query

_TRIES = 3  # of a file that changes while it is read; a log that never rests fails as unstable (H40)
_SECOND_NS = 1_000_000_000
_PARTING_S = 2.0  # for what must be cleared away at the end of a run: the server may be gone
_CONFLICT = (
    "ConditionalRequestConflict"  # https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
)
_BITE = 512 * 1024  # read and summed at a time: it is still in the processor's cache when it is summed


class _Sent(msgspec.Struct):
    """What went out under a key, by which its object is known again."""

    identity: Identity  # of the version of the file that it was
    token: str = ""  # in the metadata of what was sent in parts
    checksum: str = ""  # ``NAME:value`` of its bytes, where they were all sent
    etag: str = ""  # as the answer said, if one came

    def is_shown(self, found: Look) -> bool:
        """Whether this is the object that a look shows. A PUT carries no token: the time of the file to the nanosecond,
        which goes along, and its size say as much where no ETag does."""
        if self.token:
            return found.metadata.get("sterna-token") == self.token
        same_version = (found.entry.size, found.mtime_ns) == (self.identity.size, self.identity.mtime_ns)
        return same_version or (bool(self.etag) and found.entry.etag == self.etag)

    def is_put(self, found: Look, data: bytes | bytearray | memoryview) -> bool:
        """Whether this is the object that a PUT has made of these bytes, whose answer did not come."""
        if not self.is_shown(found):
            return False
        if not found.whole or found.checksum_name not in NAMES:
            return found.entry.size == len(data)
        kind = algorithm(found.checksum_name)
        return kind.encode(kind.update(data, 0)) == found.checksum


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
        self._uploads = Uploads(store, Rehasher(disk, buffers))
        self._multipart = self._uploads.multipart
        self._limits = limits
        self._buffers = buffers
        self._disk = disk
        self._tally = tally
        self._gate = store.client.gate
        self._as_planned = options.as_planned
        self._md5_up_to = min(options.md5_up_to, LARGEST_PUT) if not options.as_planned else 0
        self._guess = options.guess_mime_type and not options.content_type
        self._headers = upload_headers(options)

    def keep_in(self, notebook: Notebook) -> None:
        """Write down what is begun, and go on with what is written there."""
        self._uploads.notebook = notebook

    async def clear(self, uploads: Sequence[OpenUpload], downloads: Sequence[OpenDownload]) -> None:
        """Give up what earlier runs began and nobody needs any more."""
        await self._uploads.clear(uploads)

    async def carry(self, action: Action) -> Outcome:
        """Upload one file; tries again while the file changes under us, then fails as unstable."""
        outcome = Outcome(action.verb.value, action.key, Status.DONE, because=action.because, started_s=time.time())
        began = time.perf_counter()
        sent: list[_Sent] = []
        try:
            await self._try(action, outcome, sent)
        except BaseException:  # cancelled: the outcome is the mover's to tell, not ours
            if sent and (words := await asyncio.shield(self._take_back(action.key, sent, within_s=_PARTING_S))):
                self._store.client.emit(Notice(f"{printable(action.key)}: {words}", "warning", "stale"))
            raise
        if sent and outcome.status is Status.FAILED:
            async with self._gate:
                words = await self._take_back(action.key, sent)
            if words:
                outcome.error = f"{outcome.error} {words}"
        outcome.seconds = time.perf_counter() - began
        return outcome

    async def _try(self, action: Action, outcome: Outcome, sent: list[_Sent]) -> None:
        for attempt in range(1, _TRIES + 1):
            outcome.attempts = attempt
            try:
                if action.size <= self._md5_up_to:
                    await self._with_md5(action, outcome, sent)
                elif action.size <= self._limits.part_threshold:
                    await self._whole(action, action.size, outcome, sent)
                else:
                    await self._in_parts(action, outcome, sent)
                break
            except ObjectGone as error:
                if error.status:  # the server's, not the file's
                    outcome.fail(error)
                    break
                if self._as_planned:
                    outcome.fail(drifted("source", action.key, is_there=False))
                    break
                outcome.fail(_vanished(error, self._folder.shown(action.key)))
                break
            except ObjectChanged as error:
                if attempt == _TRIES:
                    outcome.fail(_unstable(error, self._folder.shown(action.key)))
            except SternaError as error:
                if error.code == _CONFLICT and attempt < _TRIES:
                    continue  # two at once: all parts are to be sent again
                outcome.fail(error)
                break

    async def _take_back(self, key: str, sent: Sequence[_Sent], within_s: float | None = None) -> str:
        """Remove what stands under the key if it is a version of the file that is no more, and gives what to say of it.

        What was sent while the file changed is younger than the file, and mostly of its size: the next run would take it
        for unchanged, and end well with other bytes there (H40). It cannot be held back until the file was looked at: a
        PUT is final with its last byte, and what an unversioned bucket had before is gone by then. (A multipart upload
        is looked at before its Complete, and may still change during it.) So it is removed, unless the next run sees
        by itself that it is not the file: then an older version of a file that never rests is better than none. Only
        what says of itself that we sent it is removed, and only if it is still that (see ``S3Store.take_back``).
        """
        try:
            stale, now = await self._disk.slow(self._stale, key, sent)
        except SternaError:
            return ""  # nobody knows whether the file has changed; the next run will say that it cannot read it
        if now is None or not stale:
            return ""
        try:
            async with asyncio.timeout(within_s):
                found = await self._store.head_in_gate(key)
                if found is None or not any(one.is_shown(found) for one in stale) or is_noticed(now, found):
                    return ""
                gone = await self._store.take_back(found)
        except (SternaError, TimeoutError) as error:
            return left_behind(error)
        return "What was stored of it is older, and was taken back." if gone else ""

    def _stale(self, key: str, sent: Sequence[_Sent]) -> tuple[list[_Sent], Entry | None]:
        """What was sent and is no longer the file, and the file as it is now, unless none is there."""
        stale = []
        now: Entry | None = None
        for one in sent:
            try:
                self._folder.check_unchanged(key, one.identity)
            except ObjectChanged:
                now = self._folder.look(key)
                if now is None or now.is_directory_marker:
                    return [], None
                if not self._has_content(key, now, one):
                    stale.append(one)
        return stale, now

    def _has_content(self, key: str, now: Entry, one: _Sent) -> bool:
        """Whether the file has the bytes that were sent, though something of it changed: its name in another folder (a
        hard link), its mode or its owner. Then the object is good, whoever stored it.
        """
        name, _, value = one.checksum.partition(":")
        if (now.size, now.mtime_ns) != (one.identity.size, one.identity.mtime_ns) or name not in NAMES:
            return False
        kind = algorithm(name)
        with self._folder.open_source(key) as source:
            crc = offset = 0
            scratch = memoryview(bytearray(_BITE))
            while offset < source.identity.size:
                bite = scratch[: min(_BITE, source.identity.size - offset)]
                if not source.read_into(bite, offset):
                    return False
                crc = kind.update(bite, crc)
                offset += len(bite)
        return kind.encode(crc) == value

    async def _whole(self, action: Action, size: int, outcome: Outcome, sent: list[_Sent]) -> None:
        async with self._gate:  # then memory: in this order everywhere, or some wait for each other for ever
            if size > SMALL:
                with await self._buffers.room(size):
                    await self._put(action, outcome, sent)
            else:
                await self._put(action, outcome, sent)

    async def _put(self, action: Action, outcome: Outcome, sent: list[_Sent]) -> None:
        key = action.key
        content = await self._disk.quick(self._folder.read_whole, key, self._limits.part_threshold)
        data = content.data
        size = outcome.size = len(data)
        headers = self._headers_of(key, content.identity.mtime_ns)
        condition = self._condition(action, content.identity, sent) if self._as_planned else {}
        sent.append(_Sent(content.identity))
        try:
            response, outcome.proof, outcome.checksum = await self._store.put(key, data, headers, condition)
            shown = response.headers
        except SternaError as error:
            if not is_refused(condition, error):
                raise
            found = await self._store.head_in_gate(key)
            if error.attempts > 1 and found is not None and sent[-1].is_put(found, data):
                shown, outcome.proof = found.headers, found.checksum_name  # the answer to an earlier attempt was lost
            else:
                await must_stand(self._store, key, action.target, found)
                response, outcome.proof, outcome.checksum = await self._store.put(key, data, headers)
                self._store.refuses({name: value for name, value in condition.items() if name == "if-match"})
                shown = response.headers
        sent[-1].checksum = outcome.checksum
        outcome.etag = sent[-1].etag = shown.get(b"etag", b"").decode("latin-1").strip('"')
        # What was changed while it was sent is older than the object by now: no later sync would notice.
        await self._disk.quick(self._must_still_be, key, sent[-1])
        outcome.version = shown.get(b"x-amz-version-id", b"").decode("latin-1")
        outcome.moved = size
        outcome.source = _as_read(content.identity, outcome.started_s)
        self._tally.moved_bytes += size

    async def _with_md5(self, action: Action, outcome: Outcome, sent: list[_Sent]) -> None:
        """Send a file in one request whose MD5 the server checks. It is read twice, by slices: for that, and to be sent."""
        key, store = action.key, self._store
        async with self._gate:
            await store.client.prepare()
            with (
                await self._disk.opened(SourceFile.close, self._folder.open_source, key) as source,
                await self._buffers.lend(_BITE) as lease,
            ):
                size = outcome.size = source.identity.size
                if size > LARGEST_PUT:  # it has grown since it was listed
                    raise ObjectChanged("The file became too large for one request.", key=key)
                md5, sha256 = await self._disk.slow(digests, source, lease.view, store.client.hashes_payloads)
                lease.release()
                body = FilePart(source.fd, 0, size, sha256, None if store.client.sends_files else source.read_into)
                sent.append(_Sent(source.identity))
                headers = self._headers_of(key, source.identity.mtime_ns)
                passing = Passing(self._tally)
                summed = Summed(md5, passing.again(source.check_unchanged), passing)
                try:
                    response, outcome.proof, outcome.checksum = await store.put(key, body, headers, summed=summed)
                except BaseException:
                    passing.wasted()
                    raise
                passing.arrived(size)
                outcome.etag = sent[-1].etag = response.headers.get(b"etag", b"").decode("latin-1").strip('"')
                await self._disk.slow(source.check_unchanged)  # what was changed while it was sent: see _put
                outcome.version = response.headers.get(b"x-amz-version-id", b"").decode("latin-1")
                outcome.moved = size
                outcome.source = _as_read(source.identity, outcome.started_s)

    def _must_still_be(self, key: str, one: _Sent) -> None:
        """Raise ObjectChanged unless the file is what was sent; a change that leaves its bytes and time alone is none."""
        try:
            self._folder.check_unchanged(key, one.identity)
        except ObjectChanged:
            now = self._folder.look(key)
            if now is None or now.is_directory_marker or not self._has_content(key, now, one):
                raise

    def _condition(self, action: Action, identity: Identity, sent: Sequence[_Sent]) -> Condition:
        """On what a write hangs, by the plan; none without one. Raises Drifted where the file is not the planned one."""
        if not self._as_planned:
            return {}
        must_be_planned(action.key, action.source, identity.size, identity.mtime_ns)
        return condition_of(action.target, next((one.etag for one in reversed(sent) if one.etag), ""))

    async def _in_parts(self, action: Action, outcome: Outcome, sent: list[_Sent]) -> None:
        key = action.key
        with await self._disk.opened(SourceFile.close, self._folder.open_source, key) as source:
            size = outcome.size = source.identity.size
            if size <= self._limits.part_threshold:  # it has shrunk since it was listed
                await self._whole(action, size, outcome, sent)
                return
            condition = self._condition(action, source.identity, sent)
            each = part_size(size, self._limits.part_size)
            headers = self._headers_of(key, source.identity.mtime_ns)
            version = _as_read(source.identity, outcome.started_s)
            effort = await self._uploads.open(
                key, headers, version, each, file=source, may_be_found=not self._as_planned
            )
            try:
                await self._uploads.joins(key, version, headers, effort)
                await self._join(action, outcome, sent, source, effort, condition)
            except SternaError as error:
                if not (effort.is_taken_up and is_spent(error) and error.status):
                    raise
                # Somebody has given it up, or the server does not join what it took of another run.
                self._uploads.ended(effort)
                effort = await self._uploads.begin(key, headers, version, each)
                await self._join(action, outcome, sent, source, effort, condition)
            if effort.is_found:
                if not await self._is_as_told(key, outcome, self._uploads.token_of(key, headers, version)):
                    again = await self._uploads.begin(key, headers, version, each)
                    await self._join(action, outcome, sent, source, again, condition)
                self._uploads.ended(effort)
            outcome.source = version

    async def _join(
        self,
        action: Action,
        outcome: Outcome,
        sent: list[_Sent],
        source: SourceFile,
        effort: Effort,
        condition: Condition,
    ) -> None:
        """Send the parts that are not there yet, and have them joined."""
        upload, size, there = effort.upload, source.identity.size, effort.there
        outcome.token = upload.token
        self._tally.resumed_bytes += there
        is_joined = False
        try:
            await self._send_parts(source, effort)
            await self._disk.slow(source.check_unchanged)
            sent.append(_Sent(source.identity, upload.token, self._multipart.checksum_of(upload)))
            async with self._gate:
                outcome.etag, outcome.proof = await self._complete(action, upload, size, condition)
            is_joined = True
            if not effort.is_found:
                self._uploads.ended(effort)
            sent[-1].etag = outcome.etag
            await self._disk.slow(source.check_unchanged)  # again: see _put
            outcome.checksum = self._multipart.checksum_of(upload)
        except BaseException as error:
            if is_joined or not await self._uploads.let_go(effort, error):
                self._tally.wasted_bytes += effort.there - there
                self._tally.resumed_bytes -= there
            raise
        outcome.moved = size - there

    async def _is_as_told(self, key: str, outcome: Outcome, token: str) -> bool:
        """Whether an object that was made of somebody's upload has the headers that this run gives."""
        async with self._gate:
            found = await self._store.head_in_gate(key)
        outcome.token = found.metadata.get("sterna-token", "") if found is not None else ""
        return outcome.token.startswith(token)

    async def _complete(self, action: Action, upload: Upload, size: int, condition: Condition) -> tuple[str, str]:
        try:
            return await self._multipart.complete(upload, size, condition)
        except SternaError as error:
            if not is_refused(condition, error):
                raise
            await must_stand(self._store, action.key, action.target, await self._store.head_in_gate(action.key))
            done = await self._multipart.complete(upload, size)
            self._store.refuses({name: value for name, value in condition.items() if name == "if-match"})
            return done

    async def _send_parts(self, source: SourceFile, effort: Effort) -> None:
        upload, left = effort.upload, effort.left(source.identity.size)
        todo = iter(left)

        async def work() -> None:
            for number, start, length in todo:
                passing = Passing(self._tally)
                try:
                    async with self._gate:
                        part = await self._send_part(source, upload, number, start, length, passing)
                except BaseException:
                    passing.wasted()
                    raise
                passing.arrived(length)
                self._uploads.sent(effort, part)

        await together(work, min(len(left), self._gate.most))

    async def _send_part(
        self, source: SourceFile, upload: Upload, number: int, start: int, length: int, passing: Passing
    ) -> Part:
        if self._multipart.takes_files(upload):
            return await self._send_from_file(source, upload, number, start, length, passing)
        with await self._buffers.lend(length) as lease:
            crc = await self._disk.slow(fill, source, lease.view, start, upload.checksum)
            return await self._multipart.put_part(upload, number, lease.view, crc, passing.wasted, passing)

    async def _send_from_file(
        self, source: SourceFile, upload: Upload, number: int, start: int, length: int, passing: Passing
    ) -> Part:
        """Sum a part, which brings it into the page cache, and have the kernel send it from there."""
        with await self._buffers.lend(_BITE) as lease:
            hashes = self._store.client.hashes_payloads
            crc, sha256 = await self._disk.slow(measure, source, lease.view, start, length, upload.checksum, hashes)
        body = FilePart(source.fd, start, length, sha256)
        again = passing.again(source.check_unchanged)
        return await self._multipart.put_part(upload, number, body, crc, again, passing)

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
    kind = algorithm(checksum) if checksum != "MD5" else None
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
    kind = algorithm(checksum)
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


def digests(source: SourceFile, scratch: memoryview, hashes: bool) -> tuple[str, str]:
    """Read a whole file through ``scratch`` and give its MD5 in base64, and its SHA-256 if wanted; runs in a thread."""
    md5 = hashlib.md5(usedforsecurity=False)
    digest = hashlib.sha256() if hashes else None
    offset = 0
    while offset < source.identity.size:
        bite = scratch[: min(len(scratch), source.identity.size - offset)]
        if source.read_into(bite, offset) != len(bite):
            raise ObjectChanged("The file became shorter while it was read.", key=source.key)
        md5.update(bite)
        if digest is not None:
            digest.update(bite)
        offset += len(bite)
    return base64.b64encode(md5.digest()).decode("ascii"), digest.hexdigest() if digest is not None else ""


def is_noticed(now: Entry, found: Look) -> bool:
    """Whether the next comparison carries the file again over this older version of it, by ``planning/compare.py``: the
    file has grown, or was changed in the second in which the object was stored or later, and the times kept differ.

    A smaller one says nothing: it may be in the middle of being written anew.
    """
    if now.size > found.entry.size:
        return True
    changed_s, stored_s = now.mtime_ns // _SECOND_NS, found.entry.mtime_ns // _SECOND_NS
    is_future = now.mtime_ns > time.time_ns()  # says nothing of what came first: the times kept are compared
    if not stored_s or (changed_s < stored_s and not is_future):
        return False
    kept_ns = found.mtime_ns or 0
    if changed_s > stored_s and kept_ns // _SECOND_NS != now.mtime_ns // _SECOND_NS:
        return True
    has_fractions = bool(kept_ns % _SECOND_NS and now.mtime_ns % _SECOND_NS)  # else whole seconds would be compared
    return has_fractions and kept_ns // 1000 != now.mtime_ns // 1000


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


def _as_read(identity: Identity, began_s: float) -> Seen:
    """The version of a file that was read, by which a later run knows it again."""
    ctime_ns = calm(identity.ctime_ns, int(began_s * 1e9))
    return Seen(
        identity.size, identity.mtime_ns, ctime_ns=ctime_ns, inode=identity.inode, device=identity.device
    )  # fmt: skip
