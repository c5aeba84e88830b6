"""Carry objects of a bucket into a folder."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial

from sterna.model.actions import Action
from sterna.model.entry import Entry
from sterna.model.errors import Corrupt, DiskFull, ObjectChanged, ObjectGone, Refused, SternaError
from sterna.model.events import Tally
from sterna.model.outcomes import Outcome, Status
from sterna.model.stop import Stop
from sterna.model.transfers import OpenDownload, OpenUpload
from sterna.model.units import KIB, printable
from sterna.moving.buffers import Buffers, Lease
from sterna.moving.crowd import ENOUGH, FEW, Crowd
from sterna.moving.disk import Disk
from sterna.moving.drafts import NOTHING, Drafts, Resumed
from sterna.moving.notebook import Notebook
from sterna.moving.parts import parts, range_size
from sterna.moving.planned import drifted, must_still_be
from sterna.moving.settings import DownloadOptions, Limits
from sterna.moving.sink import RangeSink
from sterna.moving.upload import together
from sterna.moving.writer import Ticket, Writer
from sterna.stores.draft import Draft
from sterna.stores.folder import Folder
from sterna.stores.look import Look, Ranges
from sterna.stores.named import NamedFolder
from sterna.stores.s3 import S3Store
from sterna.wire.checksum import Algorithm, algorithm, md5_hex
from sterna.wire.connection import TOO_LONG, Response

_SECOND_NS = 1_000_000_000
_TRIES = 3  # of an object that is replaced while it is read
_ERROR_ROOM = 64 * KIB  # for what a server says instead of a range, whose bytes go into the file


class Downloader:
    """Downloads objects one action at a time; many at once. ``carry`` gives an outcome, or a future of one: a file is
    done when it is on disk, which many wait for together.
    """

    def __init__(
        self, store: S3Store, folder: Folder, options: DownloadOptions, limits: Limits, buffers: Buffers, disk: Disk,
        writer: Writer, tally: Tally, stop: Stop,
    ) -> None:  # fmt: skip
        self._store = store
        self._folder = folder
        self._durable = options.durable
        self._as_planned = options.as_planned
        self._limits = limits
        self._buffers = buffers
        self._disk = disk
        self._writer = writer
        self._tally = tally
        self._stop = stop
        self._gate = store.client.gate
        self._drafts = Drafts(folder, disk, buffers)
        self._crowd = Crowd(enough=lambda: FEW if store.client.decrypts else ENOUGH)

    def keep_in(self, notebook: Notebook) -> None:
        """Write down what is begun, and go on with what is written there."""
        self._drafts.notebook = notebook
        self._folder.spared = notebook.temporaries

    async def clear(self, uploads: Sequence[OpenUpload], downloads: Sequence[OpenDownload]) -> None:
        """Remove what earlier runs began and nobody needs any more."""
        await self._drafts.clear(downloads)

    async def carry(self, action: Action) -> Outcome | asyncio.Future[Outcome]:
        """Download one object; again from the start where it was replaced meanwhile."""
        outcome = Outcome(action.verb.value, action.key, Status.DONE, because=action.because, started_s=time.time())
        ticket = self._writer.ticket(outcome, time.perf_counter())
        is_large = action.size > self._limits.part_threshold
        for attempt in range(1, _TRIES + 1):
            outcome.attempts = attempt
            try:
                if action.key.endswith("/"):
                    await self._disk.slow(self._make_folder, action.place or action.key, outcome)
                    ticket.settle(None)
                elif is_large:
                    await self._in_ranges(action, ticket)
                else:
                    await self._whole(action, ticket)
                return ticket.done
            except (ObjectChanged, Corrupt) as error:
                was_tried = isinstance(error, Corrupt) and error.attempts and error.code != TOO_LONG
                if attempt < _TRIES and not is_large and error.attempts and await self._has_grown(action):
                    is_large = True
                elif attempt == _TRIES or was_tried:
                    ticket.settle(error)  # what the wire found corrupt, it has tried again itself
                    break
            except ObjectGone as error:
                if self._as_planned:
                    ticket.settle(drifted("source", action.key, is_there=False))
                    break
                name = printable(action.key)
                ticket.settle(
                    ObjectGone(f"{name} was deleted after it was listed.", code=error.code, request_id=error.request_id)
                )
                break
            except DiskFull as error:
                ticket.settle(error)
                self._stop.request(error.sentence, 1)  # further downloads would end the same way (H49)
                break
            except SternaError as error:
                ticket.settle(error)
                break
        return ticket.done

    async def _whole(self, action: Action, ticket: Ticket) -> None:
        key, outcome = action.key, ticket.outcome
        lease: Lease | None = None
        proof = ""
        try:
            async with self._gate:  # then memory: in this order everywhere, or some wait for each other for ever
                lease = await self._buffers.room(max(action.size, 4096))
                looks: list[Look] = []
                check = partial(self._check_whole, action, looks)
                pin = self._pin(action)
                try:
                    response = await self._store.get(
                        key, limit=self._limits.part_threshold, etag=pin, check=check, version=_version(action)
                    )
                except ObjectChanged:
                    if pin and action.source is not None:
                        await must_still_be(self._store, key, action.source)
                    raise
                found = looks[-1]  # of the attempt that was good
                if pin and action.source is not None and found.entry.etag != pin:
                    await must_still_be(self._store, key, action.source)
                if found.plain_md5 and not found.checksum and not self._store.learned.etag_is_opaque:
                    proof = await self._by_md5(key, found, response, _version(action))
            data = response.body
            if found.checksum and not found.whole:
                lease.release()  # a small object of several parts, whose sum of sums only its parts can be held against
                await self._in_ranges(action, ticket)
                return
        except BaseException:
            if lease is not None:
                lease.release()
            raise
        outcome.size = outcome.moved = len(data)
        outcome.etag, outcome.version = found.entry.etag, found.version
        outcome.checksum = f"{found.checksum_name}:{found.checksum}" if found.checksum else ""
        outcome.proof = found.checksum_name if found.whole else proof or "length"
        self._tally.moved_bytes += len(data)
        if isinstance(self._folder, NamedFolder):
            place = self._place(action, self._folder)
            if self._folder.is_link(key):
                lease.release()
                make = partial(self._folder.put_link, durable=self._durable)
                await self._disk.slow(make, place, bytes(data), _mtime(found), action.target)
                ticket.settle(None)
                return
            key = place
        self._writer.put(key, data, _mtime(found), action.target, ticket, lease)

    def _pin(self, action: Action) -> str:
        """The ETag that an object must have, by the plan; none without one, or where it would tell nothing."""
        if not self._as_planned or action.source is None or self._store.learned.listed_etags_differ:
            return ""
        return action.source.etag

    def _place(self, action: Action, folder: NamedFolder) -> str:
        """Where an object's file is to stand, or stands."""
        if action.target is not None or not action.place:
            return folder.path_of(action.key)
        return action.place

    def _check_whole(self, action: Action, looks: list[Look], response: Response) -> None:
        """The length that was announced came (the connection saw to that); it must be the object's, the checksum right."""
        found = self._store.look_of(action.key, response)
        looks.append(found)
        _check_look(action, found, len(response.body))
        if found.whole:
            kind = algorithm(found.checksum_name)
            if kind.encode(kind.update(response.body, 0)) != found.checksum:
                raise Corrupt(
                    f"The bytes received do not have the checksum that the server shows ({kind.name}).", operation="Get"
                )

    def _make_folder(self, key: str, outcome: Outcome) -> None:
        """An empty object whose key ends in a slash stands for a folder, which may be there already (H68)."""
        try:
            self._folder.directory(key)
        except ObjectGone:
            self._folder.make_folder(key)
        else:
            outcome.status, outcome.because = Status.KEPT, "the folder is there"

    async def _has_grown(self, action: Action) -> bool:
        """Whether an object that was listed as small is a large one by now, which is read in another way."""
        try:
            found = await self._store.head(action.key, version=_version(action))
        except SternaError:
            return False
        return found is not None and found.entry.size > self._limits.part_threshold

    async def _by_md5(self, key: str, found: Look, response: Response, version: str) -> str:
        """Where no checksum is shown, an ETag that looks like an MD5 is held against the bytes; ``response`` has the right
        ones afterwards. Gives the proof, if that was one; by one within the gate.

        It may be no MD5 at all (H13, H14): where the same other bytes come twice, it is the ETag that is something else.
        """
        first = md5_hex(response.body)
        if first != found.entry.etag:
            response.body = b""  # there is room for one reading at a time
            again = await self._store.get(
                key, limit=self._limits.part_threshold, etag=found.entry.etag, version=version
            )
            response.body = again.body
            second = md5_hex(again.body)
            if second == first:
                self._store.learned.etag_is_opaque = True
                return ""
            if second != found.entry.etag:
                raise Corrupt(f"{printable(key)}: two readings of one version differ.", operation="Get", key=key)
        return "MD5"

    async def _in_ranges(self, action: Action, ticket: Ticket) -> None:
        key, outcome = action.key, ticket.outcome
        found = await self._store.head(key, version=_version(action))
        if found is None:
            raise ObjectGone(f"{key} is not there.", operation="Head", code="NoSuchKey")
        size = found.entry.size
        _check_look(action, found, size)
        if (pin := self._pin(action)) and found.entry.etag != pin and action.source is not None:
            async with self._gate:
                await must_still_be(self._store, key, action.source)
        each, kind, by_parts = await self._cut(key, found)
        place = key
        if isinstance(self._folder, NamedFolder):
            if self._folder.is_link(key):
                raise Refused(f"{printable(key)} stands for a link and has {size} bytes; no target is that long.")
            place = self._place(action, self._folder)
        noted = self._drafts.sum_by(kind)
        is_all_or_nothing = bool(found.entry.version) and self._store.learned.cuts_versions is False
        resumed = await self._drafts.open(place, found, each, None if is_all_or_nothing else noted)
        draft, path = resumed.draft, resumed.draft.path
        self._tally.resumed_bytes += resumed.there
        received: list[int] = []  # of which nothing is left if this ends badly
        try:
            ranges = Ranges(found.entry.etag, self._store.learned)
            sums = await self._fetch(resumed, found, each, noted, received, ranges)
            outcome.proof = await self._verify(draft, found, sums, kind, each, received, ranges, by_parts=by_parts)
            if outcome.proof == "length":
                # Nothing else would tell of a server that knows no If-Match and shows no ETag with a range (H42).
                again = await self._store.head(key, version=found.entry.version)
                if again is None or again.entry != found.entry:
                    raise ObjectChanged("The object was replaced while it was read.", operation="Get", code="Replaced")
            await self._disk.slow(draft.seal, _mtime(found))
            outcome.size, outcome.moved = size, size - resumed.there
            outcome.etag, outcome.version = found.entry.etag, found.version
            outcome.checksum = f"{found.checksum_name}:{found.checksum}" if found.checksum else ""
            ticket.done.add_done_callback(lambda _: self._drafts.ended(path))
            self._writer.stage(draft, action.target, ticket)
        except BaseException as error:
            if not await self._drafts.let_go(draft, error):
                self._tally.wasted_bytes += sum(received)
                self._tally.resumed_bytes -= resumed.there
            raise

    async def _cut(self, key: str, found: Look) -> tuple[int, Algorithm | None, bool]:
        """How to cut the object into ranges, what to sum them with, and whether they are the parts it was uploaded in.

        A checksum of part checksums can be checked when the ranges are the parts: the first part's size tells them.
        """
        each = range_size(found.entry.size, self._limits.part_size)
        if found.entry.version and found.entry.size > _ERROR_ROOM and not await self._cuts_versions(found.entry):
            return found.entry.size, algorithm(found.checksum_name) if found.whole else None, False
        if not found.checksum:
            return each, None, False
        if found.whole:
            return each, algorithm(found.checksum_name), False
        count = found.checksum.rpartition("-")[2]
        first = await self._store.head(key, part=1, version=found.entry.version)
        length = int(first.headers.get(b"content-length", b"0")) if first is not None else 0
        if length and str(-(-found.entry.size // length)) == count:
            return length, algorithm(found.checksum_name), True
        return each, None, False

    async def _cuts_versions(self, entry: Entry) -> bool:
        """Whether the server gives ranges of a version: ministack answers with all of it. One byte is asked for, once."""
        learned = self._store.learned
        if learned.cuts_versions is None:
            try:
                async with self._gate:
                    await self._store.get(
                        entry.key, limit=_ERROR_ROOM, etag=entry.etag, span=(0, 1), version=entry.version
                    )
                learned.cuts_versions = True
            except Corrupt as error:
                if error.code != TOO_LONG:
                    raise
                learned.cuts_versions = False
        return learned.cuts_versions

    async def _fetch(
        self, resumed: Resumed, found: Look, each: int, kind: Algorithm | None, received: list[int], ranges: Ranges
    ) -> list[int]:
        """Get all ranges that are not there into the draft; gives the sum of each, and adds to ``received`` what came."""
        size, etag, draft = found.entry.size, found.entry.etag, resumed.draft
        count = -(-size // each)
        left = [part for part in parts(size, each) if part[0] - 1 not in resumed.sums]
        todo = iter(left)
        sums = [resumed.sums.get(number, 0) for number in range(count)]
        turn = asyncio.Lock()

        async def work() -> None:
            for number, start, length in todo:
                begun = resumed.begun.get(number - 1, NOTHING)
                first, end = start + begun.length, start + length

                def progressed(written: int, crc: int, start: int = start, first: int = first) -> None:
                    self._drafts.wrote(draft, start, first + written, crc)

                sink = RangeSink(draft, first, end - first, kind, self._disk, self._tally, turn,
                                 writeback=self._durable, begun=begun.crc,
                                 on_progress=progressed if kind is not None else None)  # fmt: skip
                async with self._crowd, self._gate:
                    try:
                        await sink.open(self._buffers)
                        await self._store.get(found.entry.key, limit=_ERROR_ROOM, etag=etag, span=(first, end),
                                              sink=sink, restart=sink.restart, check=ranges.check,
                                              version=found.entry.version)  # fmt: skip
                        await sink.settle()
                        sums[number - 1] = sink.crc
                        if kind is not None:
                            self._drafts.wrote(draft, start, end, sink.crc)
                    finally:
                        received.append(sink.received)
                        await asyncio.shield(sink.quiet())
                        sink.close()

        await together(work, min(len(left), self._gate.most))
        return sums

    async def _verify(
        self, draft: Draft, found: Look, sums: list[int], kind: Algorithm | None, each: int, received: list[int],
        ranges: Ranges, *, by_parts: bool,
    ) -> str:  # fmt: skip
        """Hold what was received against what the server shows; gives the proof's name."""
        size, key = found.entry.size, found.entry.key
        if kind is not None:
            if by_parts:
                shown = kind.composite(sums)
            else:
                whole = sums[0] if sums else 0  # nothing is left of it by now: the sum of nothing
                for number, part in enumerate(sums[1:], 1):
                    whole = kind.combine(whole, part, min(each, size - number * each))
                shown = kind.encode(whole)
            if shown != found.checksum:
                sentence = f"{printable(key)}: the bytes received do not have the checksum that the server shows"
                raise Corrupt(f"{sentence} ({kind.name}).", operation="Get", key=key)
            return kind.name
        may_be_md5 = found.plain_md5 and not self._store.learned.etag_is_opaque
        if may_be_md5 or ranges.doubtful:
            first = await self._disk.slow(draft.md5_hex)
            if may_be_md5 and first == found.entry.etag:
                return "MD5"
            await self._fetch(Resumed(draft), found, each, None, received, ranges)
            if await self._disk.slow(draft.md5_hex) != first:
                raise Corrupt(f"{printable(key)}: two readings of one version differ.", operation="Get", key=key)
            self._store.learned.etag_is_opaque |= may_be_md5
        return "length"


def _check_look(action: Action, found: Look, size: int) -> None:
    """What answers must be the object that was listed, or a newer one.

    Without the ETag that the listing shows it is none: a proxy or a portal speaks (H12). And one version has one
    length: another under the same ETag was cut or changed on its way, however well it was framed (H22, H37).
    """
    listed = action.source
    if listed is None:
        return
    if not listed.etag:
        is_as_old = found.entry.mtime_ns // _SECOND_NS == listed.mtime_ns // _SECOND_NS
        if listed.mtime_ns and is_as_old and size != listed.size:
            raise Corrupt(f"The object has {listed.size} bytes, and {size} came or were told of.", operation="Get")
        return
    if not found.entry.etag and not found.whole:
        raise Corrupt("Something else than the object was answered: it has no ETag.", operation="Get")
    older = found.entry.mtime_ns and found.entry.mtime_ns // _SECOND_NS < listed.mtime_ns // _SECOND_NS
    if found.entry.etag != listed.etag and older:
        raise Corrupt("An older version than the listing shows was answered: a cache is in the way.", operation="Get")
    newer = found.entry.mtime_ns // _SECOND_NS > listed.mtime_ns // _SECOND_NS
    if listed.version and found.entry.etag != listed.etag and newer:  # what has the id ``null`` can be written anew
        raise ObjectChanged("The version was replaced after it was listed.", operation="Get", code="Replaced")
    if found.entry.etag == listed.etag and size != listed.size:
        raise Corrupt(f"The object has {listed.size} bytes, and {size} came or were told of.", operation="Get")


def _version(action: Action) -> str:
    """The version that is to be read; empty for whichever is the newest."""
    return action.source.version if action.source is not None else ""


def _mtime(found: Look) -> int | None:
    """The file's own time where the object keeps it, else LastModified."""
    return found.mtime_ns if found.mtime_ns is not None else found.entry.mtime_ns or None
