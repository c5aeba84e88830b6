"""Have the server copy objects from one of its buckets to another."""

from __future__ import annotations

import time
from collections.abc import Sequence

from sterna.model.actions import Action
from sterna.model.entry import Entry
from sterna.model.errors import AccessDenied, NotProven, ObjectChanged, ObjectGone, Refused, SternaError, Unstable
from sterna.model.events import Tally
from sterna.model.outcomes import Outcome, Status
from sterna.model.synced import Seen
from sterna.model.transfers import OpenDownload, OpenUpload
from sterna.model.units import printable
from sterna.moving.notebook import Notebook
from sterna.moving.parts import copied_part_size
from sterna.moving.planned import drifted
from sterna.moving.resume import Effort, Uploads, is_spent
from sterna.moving.settings import Limits, UploadOptions
from sterna.moving.upload import together, upload_headers
from sterna.stores.look import Look
from sterna.stores.objects import left_behind
from sterna.stores.s3 import S3Store
from sterna.wire.encoding import encode_query

_TRIES = 3  # of an object that is replaced while it is copied
MADE_OF = "x-amz-meta-sterna-source"  # the ETag of what a copy in parts was made of
# What describes the content, beside the metadata of the user's own.
_DESCRIBING = (
    b"cache-control", b"content-disposition", b"content-encoding", b"content-language", b"content-type", b"expires",
)  # fmt: skip
# The classes that are not carried over: the usual one, which needs no word, and those of other kinds of buckets.
_NOT_KEPT = ("", "STANDARD", "EXPRESS_ONEZONE", "OUTPOSTS", "SNOW", "FSX_OPENZFS", "FSX_ONTAP")


class Copier:
    """Copies objects one action at a time; many at once. ``carry`` gives an outcome for whatever happens.

    An object keeps its metadata, its content headers, its tags and its storage class, but for what the options say
    anew. Its encryption and its ACL are those of the destination, as for an upload. What is copied is the version that
    was listed: each request names its ETag, and one that was replaced is looked at and copied anew.
    """

    def __init__(self, source: S3Store, target: S3Store, options: UploadOptions, limits: Limits, tally: Tally) -> None:
        self._source = source
        self._target = target
        self._uploads = Uploads(target)
        self._multipart = self._uploads.multipart
        self._limits = limits
        self._tally = tally
        self._gate = target.client.gate
        self._as_planned = options.as_planned
        given = upload_headers(options)
        self._tags = given.pop("x-amz-tagging", "")
        self._metadata = {name: value for name, value in given.items() if name.startswith("x-amz-meta-")}
        self._content = {name: value for name, value in given.items() if name.encode() in _DESCRIBING}
        self._storing = {name: given[name] for name in given.keys() - self._metadata.keys() - self._content.keys()}

    def keep_in(self, notebook: Notebook) -> None:
        """Write down what is begun, and go on with what is written there."""
        self._uploads.notebook = notebook

    async def clear(self, uploads: Sequence[OpenUpload], downloads: Sequence[OpenDownload]) -> None:
        """Give up what earlier runs began and nobody needs any more."""
        await self._uploads.clear(uploads)

    async def carry(self, action: Action) -> Outcome:
        """Copy one object; tries again while it is replaced meanwhile, then fails as unstable."""
        outcome = Outcome(action.verb.value, action.key, Status.DONE, because=action.because, started_s=time.time())
        began = time.perf_counter()
        assert action.source is not None, "a copy has a source"
        try:
            await self._try(action.key, action.source, outcome)
        except SternaError as error:
            outcome.fail(_told(error, action.key))
        outcome.seconds = time.perf_counter() - began
        return outcome

    async def _try(self, key: str, entry: Entry, outcome: Outcome) -> None:
        if self._source.bucket == self._target.bucket and self._source.key_of(key) == self._target.key_of(key):
            raise Refused(f"{printable(key)} would be copied onto itself.", key=key)
        for attempt in range(1, _TRIES + 1):
            outcome.attempts, outcome.size = attempt, entry.size
            try:
                if entry.size <= self._limits.copy_threshold:
                    await self._whole(key, entry, outcome)
                else:
                    await self._in_parts(key, entry, outcome)
                outcome.source = Seen.of(entry)
                return
            except ObjectChanged as error:
                found = await self._source.head(key)
                if self._as_planned and (found is None or found.entry.etag != entry.etag):
                    raise drifted("source", key, is_there=found is not None) from error
                if found is None:
                    raise _vanished(key) from error
                if found.entry.etag == entry.etag:
                    raise  # by what the server says it was not replaced: to ask again would not help
                entry = found.entry
        raise Unstable(
            f"{printable(key)} was replaced each of {_TRIES} times while it was copied; sync again when it rests.",
            key=key, code="unstable",
        )  # fmt: skip

    async def _whole(self, key: str, entry: Entry, outcome: Outcome) -> None:
        headers = self._source.copy_source(key, entry.etag) | self._storing_of(entry)
        if self._metadata or self._content:
            found = await self._seen(key, entry)
            headers |= {"x-amz-metadata-directive": "REPLACE", **self._described(key, found)}
        if self._tags:
            headers |= {"x-amz-tagging-directive": "REPLACE", "x-amz-tagging": self._tags}
        async with self._gate:
            outcome.etag, outcome.version, outcome.checksum = await self._target.copy(key, headers)
        if outcome.etag != entry.etag:
            # Parts that became one, or another encryption; or this server knows no conditions, and it is another object.
            await self._seen(key, entry)
        outcome.proof = "server copy"
        outcome.moved = entry.size
        self._tally.moved_bytes += entry.size

    async def _in_parts(self, key: str, entry: Entry, outcome: Outcome) -> None:
        found = await self._seen(key, entry)
        source = self._source.copy_source(key, found.entry.etag)
        tags = self._tags or encode_query(await self._source.tags(key))
        headers = self._described(key, found) | self._storing_of(entry) | ({"x-amz-tagging": tags} if tags else {})
        headers[MADE_OF] = found.entry.etag  # its own will be another, so that the next run could not tell
        each = copied_part_size(entry.size, self._limits.part_size)
        version = Seen.of(found.entry)
        effort = await self._uploads.open(key, headers, version, each)
        try:
            await self._join(key, found.entry, effort, source, outcome)
        except SternaError as error:
            if not (effort.is_taken_up and is_spent(error) and error.status) or isinstance(error, ObjectChanged):
                raise
            effort = await self._uploads.begin(key, headers, version, each, is_copy=True)  # somebody has given it up
            await self._join(key, found.entry, effort, source, outcome)
        outcome.proof = "server copy"
        async with self._gate:
            joined = await self._target.head_in_gate(key)
        if joined is not None:  # whether it is there at all is for the proof to say
            try:
                _check_sums(key, found, joined, outcome)
                if tags:
                    await self._check_tags(key, tags)
            except SternaError as error:
                await self._take_back(joined, error)
                raise

    async def _join(self, key: str, entry: Entry, effort: Effort, source: dict[str, str], outcome: Outcome) -> None:
        """Have the parts copied that are not there yet, and all of them joined."""
        there = effort.there
        outcome.token = effort.upload.token
        self._tally.resumed_bytes += there
        try:
            await self._copy_parts(effort, entry.size, source)
            await self._seen(key, entry)  # for servers that know no conditions: no mixture is joined (H43)
            async with self._gate:
                outcome.etag, _ = await self._multipart.complete(effort.upload, entry.size)
        except BaseException as error:
            if not await self._uploads.let_go(effort, error):
                self._tally.wasted_bytes += effort.there - there
                self._tally.resumed_bytes -= there
            raise
        self._uploads.ended(effort)
        outcome.moved = entry.size - there

    async def _copy_parts(self, effort: Effort, size: int, source: dict[str, str]) -> None:
        left = effort.left(size)
        todo = iter(left)

        async def work() -> None:
            for number, start, length in todo:
                async with self._gate:
                    part = await self._multipart.copy_part(effort.upload, number, start, length, source)
                self._uploads.sent(effort, part)
                self._tally.moved_bytes += length

        await together(work, min(len(left), self._gate.most))

    async def _seen(self, key: str, entry: Entry) -> Look:
        """The source as it is now; raises ObjectChanged where it is no longer the version that was listed."""
        found = await self._source.head(key)
        if found is None:
            raise _vanished(key)
        if found.entry.size != entry.size or (entry.etag and found.entry.etag != entry.etag):
            raise ObjectChanged(f"{printable(key)} was replaced since it was listed.", key=key, code="Replaced")
        return found

    async def _check_tags(self, key: str, tags: str) -> None:
        """Some servers forget the tags that a multipart upload was begun with (H91): they are read back, and set."""
        try:
            if encode_query(await self._target.tags(key)) == tags:
                return
        except AccessDenied:
            return  # who may write them need not be allowed to read them
        await self._target.set_tags(key, tags)

    async def _take_back(self, joined: Look, error: SternaError) -> None:
        """Remove what is not as it should be: it has the size of the source and a later time, and the next run would
        take it for a copy."""
        try:
            async with self._gate:
                await self._target.take_back(joined)
        except SternaError as other:
            error.sentence += f" {left_behind(other)}"

    def _storing_of(self, entry: Entry) -> dict[str, str]:
        """How the copy is to be stored: as the options say, and in the class of the source where they say nothing."""
        if "x-amz-storage-class" in self._storing or entry.storage_class in _NOT_KEPT:
            return self._storing
        return self._storing | {"x-amz-storage-class": entry.storage_class}

    def _described(self, key: str, found: Look) -> dict[str, str]:
        """Metadata and content headers of the copy. What the user gives replaces the metadata as a whole, but for the
        file's time, which no comparison could do without; of the content headers it replaces those that are given."""
        shown = found.headers
        if shown.get(b"x-amz-missing-meta", b"0") != b"0" and not self._metadata:
            raise Refused(f"{printable(key)} has metadata that cannot be read over HTTP; give --metadata.", key=key)
        headers = {
            name.decode("latin-1"): value.decode("utf-8", "surrogateescape")
            for name, value in shown.items()
            if name in _DESCRIBING
            or name == b"x-amz-meta-mtime"
            or (name[:11] == b"x-amz-meta-" and not self._metadata)
        }
        # Of how somebody sent it, which some servers keep as if it were a property of the object (H17).
        codings = [word.strip() for word in headers.pop("content-encoding", "").split(",")]
        if coding := ",".join(word for word in codings if word not in ("", "aws-chunked")):
            headers["content-encoding"] = coding
        return headers | self._metadata | self._content


def _check_sums(key: str, source: Look, joined: Look, outcome: Outcome) -> None:
    """Hold the server's sum of what it joined against that of the source, where it shows both; raises NotProven."""
    if not source.whole:
        return
    outcome.checksum = f"{source.checksum_name}:{source.checksum}"
    if joined.whole and joined.checksum_name == source.checksum_name:
        if joined.checksum != source.checksum:
            raise NotProven(f"{printable(key)}: the server joined other bytes than the source has.", code="OtherBytes")
        outcome.proof = f"{outcome.proof}, {source.checksum_name}"


def _told(error: SternaError, key: str) -> SternaError:
    """An error of a copy in words that name the source: the server's are about the key that it was to write."""
    if error.code == "InvalidObjectState":
        error.sentence = f"{printable(key)} is archived; request its restore before it can be copied."
    elif isinstance(error, ObjectGone) and error.code == "NoSuchKey":
        return _vanished(key)
    return error


def _vanished(key: str) -> ObjectGone:
    return ObjectGone(f"{printable(key)} vanished before it was copied.", key=key, code="vanished")
