"""Begin multipart uploads so that another run can go on with them, and go on with those that earlier runs left."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Container, Mapping, Sequence
from contextlib import aclosing, suppress

import msgspec
from msgspec.structs import replace

from sterna.model.errors import (
    AccessDenied,
    Corrupt,
    CredentialsExpired,
    Drifted,
    ObjectChanged,
    ObjectGone,
    Refused,
    RetryLater,
    SternaError,
)
from sterna.model.synced import Seen
from sterna.model.transfers import OpenUpload, SentPart
from sterna.moving.notebook import Blank, Notebook
from sterna.moving.parts import parts
from sterna.moving.rehash import Evidence, Rehasher
from sterna.stores.folder import SourceFile
from sterna.stores.multipart import Multipart, Part, Sent, Upload
from sterna.stores.s3 import OneObject, S3Store
from sterna.stores.unfinished import Unfinished, uploads_below, uploads_of
from sterna.wire.checksum import NAMES, algorithm

_PARTING_S = 2.0  # for what must be cleared away at the end of a run: the server may be gone
_DESCRIPTION = 12  # hex digits of a token that say what the object is to be; the rest is random
_ABORTS = 3
_FOUND = "-found-"
_MOMENT_S = 1.0  # in which a part of an upload that goes on may well arrive
# An upload whose id was not heard of is as old as its note, give or take a clock that is off and the tries of a request.
_EARLIER_NS, _LATER_NS = 60 * 10**9, 900 * 10**9
_SECONDS_NS = 2 * 10**9  # servers tell whole seconds


class Effort(msgspec.Struct):
    """An upload under way, and the size of its parts. ``upload.parts`` are those that need not be sent.

    ``is_taken_up``: another run has begun it; ``is_found``: one that nothing is known of but what the server shows, and
    ``note`` what it is called by in the notebook once it is to be joined.
    """

    upload: Upload
    part_size: int
    is_taken_up: bool = False
    is_found: bool = False
    note: str = ""

    def left(self, size: int) -> list[tuple[int, int, int]]:
        """Number, start and length of each part that is still to be sent."""
        return [part for part in parts(size, self.part_size) if part[0] not in self.upload.parts]

    @property
    def there(self) -> int:
        """Bytes that the server has."""
        return sum(part.size for part in self.upload.parts.values())


class Uploads:
    """The multipart uploads of a mover: each is written down before it is asked for, with every part that was taken.

    What another run left is gone on with where it is of the same file (or object) and is to get the same headers. Its
    parts are those that ListParts shows; each counts only where its bytes are known to be those of the file: it is in the
    notebook, and the file is what it was, or its sum or MD5 is that of the file as it is read again.
    """

    def __init__(self, store: S3Store, rehasher: Rehasher | None = None) -> None:
        self.notebook: Notebook = Blank()
        self.multipart = Multipart(store)
        self._store = store
        self._gate = store.client.gate
        self._rehasher = rehasher
        self._asking = asyncio.Lock()
        self._open: dict[str, list[Unfinished]] | None = None  # what the server showed when it was asked
        self._are_many = False

    def token_of(self, key: str, headers: Mapping[str, str], source: Seen) -> str:
        """The beginning of each token for an object with these headers, made of this version."""
        said = sorted({**headers, **self._store.own_headers}.items())
        told = msgspec.json.encode([self._store.key_of(key), said, source.size, source.mtime_ns, source.etag])
        return hashlib.sha256(told).hexdigest()[:_DESCRIPTION]

    async def open(
        self,
        key: str,
        headers: dict[str, str],
        source: Seen,
        part_size: int,
        *,
        file: SourceFile | None = None,
        may_be_found: bool = True,
    ) -> Effort:
        """Go on with an upload of this key, or begin one. Without ``file`` its parts are copied by the server.

        ``may_be_found``: also with one that is in no notebook, of another machine or a state directory that is gone.
        """
        start = self.token_of(key, headers, source)
        effort: Effort | None = None
        spare: list[OpenUpload] = []
        for kept in self.notebook.take_uploads(self._store.key_of(key)):
            is_ours = kept.id and kept.token.startswith(start) and kept.is_copy == (file is None)
            taken = await self._taken_up(key, kept, source, file) if is_ours and effort is None else None
            if taken is None:
                spare.append(kept)
            effort = effort or taken
        if effort is None and file is not None and may_be_found and self.notebook.is_kept:
            effort = await self._found(key, source, file, part_size, {one.id for one in spare})
        await self.clear(spare, but=effort.upload.id if effort is not None else "")
        return effort or await self.begin(key, headers, source, part_size, is_copy=file is None)

    async def begin(
        self, key: str, headers: dict[str, str], source: Seen, part_size: int, *, is_copy: bool = False
    ) -> Effort:
        """Begin an upload. It is in the notebook before the server hears of it."""
        token = self.token_of(key, headers, source) + os.urandom(6).hex()
        opened = OpenUpload(
            self._store.key_of(key), token, source, part_size, "", is_copy=is_copy, begun_ns=time.time_ns()
        )
        await self.notebook.upload_begun(opened)
        try:
            async with self._gate:
                upload = await self.multipart.create(key, headers, token, is_copy=is_copy)
        except SternaError as error:
            if not isinstance(error, RetryLater):  # then it may have been begun all the same
                self.notebook.upload_ended(token)
            raise
        await self.notebook.upload_begun(replace(opened, id=upload.id, checksum=upload.checksum))
        return Effort(upload, part_size)

    def sent(self, effort: Effort, part: Part) -> None:
        """The server has a part."""
        if not effort.is_found:
            self.notebook.part_sent(effort.upload.token, SentPart(part.number, part.size, part.etag, part.crc))

    async def joins(self, key: str, source: Seen, headers: Mapping[str, str], effort: Effort) -> None:
        """The parts are all there. What was found is written down now: until its headers were seen, nobody may take the
        object for one of ours.
        """
        if effort.is_found and not effort.note:
            effort.note = f"{self.token_of(key, headers, source)}{_FOUND}{os.urandom(6).hex()}"
            upload, full = effort.upload, self._store.key_of(key)
            await self.notebook.upload_begun(
                OpenUpload(
                    full, effort.note, source, effort.part_size, upload.checksum, upload.id, begun_ns=time.time_ns()
                )
            )

    def ended(self, effort: Effort) -> None:
        """The server has made the object of it, and it is one of ours."""
        self.notebook.upload_ended(effort.note or effort.upload.token)

    async def let_go(self, effort: Effort, error: BaseException) -> bool:
        """Leave an upload that was cut off to the next run where that can go on with it; else give it up. True if it
        was left.

        Nothing is to be gained from one without parts, one whose file has changed or is gone, or that the server refuses
        to join.
        """
        if effort.is_found:
            return True  # it may be somebody else's
        if self.notebook.is_kept and effort.upload.parts and not is_spent(error):
            return True
        # Abort, whatever else goes on: an upload left behind costs money (H94). Bounded: the server may be gone.
        try:
            await asyncio.shield(asyncio.wait_for(self._abort(effort.upload), _PARTING_S))
        except (SternaError, TimeoutError):
            return False  # it stays in the notebook; `sterna uploads --abort` and a lifecycle rule remain
        self.notebook.upload_ended(effort.upload.token)
        return False

    async def clear(self, uploads: Sequence[OpenUpload], *, but: str = "") -> None:
        """Give up what earlier runs left and this one has no use for, ``but`` the upload with this id.

        One whose id never came may be there all the same: then it is of that key, as old as its note, and without parts.
        """
        for kept in uploads:
            key = kept.key.removeprefix(self._store.prefix)
            try:
                ids = [kept.id] if kept.id else await self._nameless(key, kept.begun_ns)
                for upload_id in ids if not is_found(kept) else ():
                    if upload_id != but:
                        await self._abort(Upload(key, upload_id, kept.token, kept.checksum))
            except SternaError:
                continue  # it stays in the notebook, and the next run tries again
            self.notebook.upload_ended(kept.token)

    async def _nameless(self, key: str, begun_ns: int) -> list[str]:
        """The ids of uploads that an answer which never came may have been about."""
        return [
            one.id
            for one in await uploads_of(self._store, key)
            if -_EARLIER_NS < one.initiated_ns - begun_ns < _LATER_NS
            and not (await self.multipart.sent(key, one.id))[0]
        ]

    # Taking up

    async def _taken_up(self, key: str, kept: OpenUpload, source: Seen, file: SourceFile | None) -> Effort | None:
        """Go on with an upload of the notebook; None where it is of another version, is no more, or is not shown."""
        if (kept.source.size, kept.source.mtime_ns, kept.source.etag) != (source.size, source.mtime_ns, source.etag):
            return None
        upload = Upload(key, kept.id, "" if is_found(kept) else kept.token, kept.checksum)
        try:
            async with self._gate:
                shown, _ = await self.multipart.sent(key, kept.id)
        except RetryLater:
            raise
        except SternaError:
            return None
        is_same = source.ctime_ns != 0 and (source.ctime_ns, source.inode) == (kept.source.ctime_ns, kept.source.inode)
        known = {part.number: part for part in kept.parts}
        doubts: list[Evidence] = []
        for sent, start in _that_fit(shown, source.size, kept.part_size):
            mine = known.get(sent.number)
            if mine is not None and _plain(mine.etag) != _plain(sent.etag):
                mine = None  # another one than we sent
            if file is None:
                if mine is not None:  # else nobody can tell which version it was copied from
                    upload.parts[sent.number] = _part(sent, None, upload.checksum)
            elif mine is not None and is_same and _agrees(mine.crc, sent, upload.checksum):
                upload.parts[sent.number] = _part(sent, mine.crc, upload.checksum)
            else:
                doubts.append(Evidence(start, sent, upload.checksum, mine.crc if mine is not None else None))
        if file is not None:
            await self._read_again(upload, file, doubts)
            self._store.learned.goes_on(upload.checksum)
        return Effort(upload, kept.part_size, True, is_found(kept), kept.token if is_found(kept) else "")

    async def _found(
        self, key: str, source: Seen, file: SourceFile, part_size: int, spent: Container[str]
    ) -> Effort | None:
        """Go on with an upload that only the server knows of, where all of its parts are this file's."""
        try:
            candidates = await self._on_server(key)
        except SternaError:
            return None  # the upload itself will tell what is wrong, if it is wrong with that too
        for one in candidates:
            if one.id in spent or one.initiated_ns + _SECONDS_NS < source.mtime_ns:
                continue  # it is of another version of the file: one that was written later tells so by its time
            try:
                async with self._gate:
                    shown, checksum = await self.multipart.sent(key, one.id)
            except RetryLater:
                raise
            except SternaError:
                continue  # it is not ours to look at, or is gone by now
            sizes = (part_size, max((sent.size for sent in shown), default=0))
            each = next((each for each in sizes if each and len(_that_fit(shown, source.size, each)) == len(shown)), 0)
            if not shown or not each:
                continue
            upload = Upload(key, one.id, "", checksum or "MD5")
            placed = _that_fit(shown, source.size, each)
            await self._read_again(upload, file, [Evidence(at, sent, upload.checksum, None) for sent, at in placed])
            if len(upload.parts) == len(shown) and await self._rests(key, one.id, shown):
                self._store.learned.goes_on(upload.checksum)
                return Effort(upload, each, is_taken_up=True, is_found=True)
        return None

    async def _rests(self, key: str, upload_id: str, shown: Sequence[Sent]) -> bool:
        """Whether nobody feeds this upload now, as far as a moment tells."""
        await asyncio.sleep(_MOMENT_S)
        async with self._gate:
            return (await self.multipart.sent(key, upload_id))[0] == shown

    async def _read_again(self, upload: Upload, file: SourceFile, doubts: Sequence[Evidence]) -> None:
        """Count those parts whose bytes are the file's as it is now."""
        assert self._rehasher is not None, "whoever sends files reads them"
        for doubt, found in zip(doubts, await self._rehasher.reread(file, doubts), strict=True):
            if found.is_same:
                part = upload.parts[doubt.shown.number] = _part(doubt.shown, found.crc, upload.checksum)
                if upload.token:
                    self.notebook.part_sent(upload.token, SentPart(part.number, part.size, part.etag, part.crc))

    async def _on_server(self, key: str) -> list[Unfinished]:
        """Unfinished uploads of exactly this key, the last one first; none where the server does not tell.

        All that are below the prefix are asked for once, by one request, unless there are more than a page of them.
        """
        async with self._asking:
            if self._open is None and not self._are_many and not isinstance(self._store, OneObject):
                self._open = {}
                async with aclosing(uploads_below(self._store)) as pages:
                    with suppress(SternaError):  # refused, not implemented or not to be believed: then none is found
                        async for page in pages:
                            if self._open:
                                self._open, self._are_many = None, True
                                break
                            for one in page:
                                self._open.setdefault(one.key, []).append(one)
        found = self._open.get(key, []) if self._open is not None else await uploads_of(self._store, key)
        return sorted(found, key=lambda one: one.initiated_ns, reverse=True)

    async def _abort(self, upload: Upload) -> None:
        """Parts that were on their way may arrive later, and would cost money for ever: look, and abort again. Waits for
        nobody at the gate: it may be the end of the run.
        """
        for _ in range(_ABORTS):
            await self.multipart.abort(upload)
            try:
                shown, _ = await self.multipart.sent(upload.key, upload.id)
            except SternaError:
                return  # NoSuchUpload is what is to be answered; who refuses to tell was asked for an abort
            if not shown:
                return


def is_found(kept: OpenUpload) -> bool:
    """Whether this notes an upload that was found on the server and was about to be joined, with headers that nobody had
    seen."""
    return _FOUND in kept.token


def is_spent(error: BaseException) -> bool:
    """Whether an upload that ended so is of no use to another run: its file has changed or is gone, or the server has
    refused it for good.
    """
    if isinstance(error, (ObjectChanged, ObjectGone, Drifted, Corrupt, Refused)):
        return True
    is_open = isinstance(error, (RetryLater, CredentialsExpired, AccessDenied))
    return isinstance(error, SternaError) and not is_open and bool(error.status)


def _that_fit(shown: Sequence[Sent], size: int, each: int) -> list[tuple[Sent, int]]:
    """The parts that have the length of theirs, where a file of ``size`` bytes is cut by ``each``, and where they begin."""
    placed = [(sent, (sent.number - 1) * each) for sent in shown]
    return [(sent, start) for sent, start in placed if start < size and sent.size == min(each, size - start)]


def _part(sent: Sent, crc: int | None, checksum: str) -> Part:
    return Part(sent.number, sent.size, sent.etag, crc, is_sum_shown=bool(sent.sums.get(checksum)))


def _agrees(crc: int | None, sent: Sent, checksum: str) -> bool:
    """Whether what the server shows of a part does not contradict the sum under which it was sent."""
    shown = sent.sums.get(checksum)
    return not shown or (crc is not None and checksum in NAMES and algorithm(checksum).encode(crc) == shown)


def _plain(etag: str) -> str:
    return etag.strip('"')
