"""A bucket and a prefix as a store, and the S3 operations that movers build on."""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import operator
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple

from sterna.model.entry import Entry
from sterna.model.errors import Corrupt, ObjectGone, Refused, RetryLater, SternaError, Unsupported, WrongSetting
from sterna.model.location import BucketPath
from sterna.model.units import printable
from sterna.stores.listing import Ask, Listing, Traits
from sterna.stores.store import Capabilities, StorePage
from sterna.wire.checksum import NAMES, Algorithm, algorithm, content_md5
from sterna.wire.client import Body, Client, Request
from sterna.wire.connection import FilePart, Response, Sink
from sterna.wire.encoding import encode_query, encode_value
from sterna.wire.xml import Page, as_text, check_page, error_of, parse_document, parse_page

if TYPE_CHECKING:
    from xml.etree import ElementTree as ET

KEY_BYTES = 1024  # S3's limit
PAGE_KEYS = 1000
_UNORDERED = "--x-s3"  # so end the names of S3's directory buckets, which list in no order
_DISCOVERY_S = 1.0  # so long uploads wait for the one that finds out which checksums the endpoint takes


class Look(NamedTuple):
    """What HEAD, or the head of a GET, says of an object.

    ``mtime_ns`` is the file's own time out of its metadata where a tool kept it, else None; ``entry.mtime_ns`` is
    LastModified. ``checksum`` is the best one shown, with its algorithm's name, and ``whole`` whether it covers the
    bytes of the object in one sum (a sum of part sums does not). ``plain_md5`` says that the ETag may be an MD5.
    """

    entry: Entry
    mtime_ns: int | None
    checksum_name: str
    checksum: str
    whole: bool
    plain_md5: bool
    version: str
    metadata: dict[str, str]
    headers: dict[bytes, bytes]


@dataclass(slots=True)
class Learned:
    """What this endpoint was seen to do: found out by the first upload, kept for the run.

    ``checksum`` is empty until known, then CRC64NVME, CRC32C or MD5 (Content-MD5 only). ``composite`` says that it
    knows no full-object sum of a multipart object. ``etag_is_opaque``: a plain object's ETag was seen not to be MD5;
    ``etag_is_md5``: it was seen to be, and ``part_etag_is_md5`` those of parts, which some servers make otherwise.
    """

    checksum: str = ""
    tried: int = 0
    composite: bool = False
    etag_is_opaque: bool = False
    etag_is_md5: bool = False
    part_etag_is_md5: bool = False

    CANDIDATES = ("CRC64NVME", "CRC32C", "MD5")

    @property
    def candidate(self) -> str:
        """The checksum to use for the next upload."""
        return self.checksum or self.CANDIDATES[self.tried]

    def answered(self, name: str, echoed: bool) -> None:
        """An upload with ``name`` was taken, and the server did or did not show the sum that it computed."""
        if self.checksum or name != self.candidate:
            return
        if echoed or name == "MD5":
            self.checksum = name
        else:
            self.refused(name)

    def refused(self, name: str) -> bool:
        """The server does not take ``name``: go on to the next. False where there is none left to try."""
        if self.checksum or name != self.candidate:
            return not self.checksum or self.checksum != name
        if self.tried + 1 >= len(self.CANDIDATES):
            return False
        self.tried += 1
        if self.candidate == "MD5":
            self.checksum = "MD5"
        return True


@dataclass(frozen=True, slots=True)
class Part:
    """One uploaded part. ``crc`` is its sum as a number, or None with Content-MD5."""

    number: int
    size: int
    etag: str
    crc: int | None = None


@dataclass(slots=True)
class Upload:
    """A multipart upload under way: one checksum algorithm from its creation to its end (H18)."""

    key: str
    id: str
    token: str
    checksum: str
    parts: dict[int, Part] = field(default_factory=dict)


class S3Store:
    """The objects below ``location``; keys are relative to its prefix.

    ``own_headers`` are sent with each request that touches an object's bytes (SSE-C).
    """

    def __init__(self, client: Client, location: BucketPath, own_headers: dict[str, str] | None = None) -> None:
        self.client = client
        self.location = location
        self.bucket = location.bucket
        self.prefix = location.prefix
        self.learned = Learned()
        self._discovering = asyncio.Lock()
        self.own_headers = own_headers or {}
        self._listing_traits = Traits(unordered=location.bucket.endswith(_UNORDERED))

    def __repr__(self) -> str:
        return f"<S3Store {self.location}, {self.learned}>"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities()

    def key_of(self, key: str) -> str:
        """The full key; raises Refused where S3 cannot hold it."""
        return _checked(self.prefix + key)

    # Listing.

    async def pages(self, start_after: str = "") -> AsyncIterator[StorePage]:
        """The entries in key order, a page of up to 1,000 at a time, listed in ranges side by side (``listing``).

        Raises Corrupt where the listing contradicts itself: keys twice or too late to be put in order, truncated without
        a token, a token that does not move on, a foreign prefix (H76, H77, H79, H80).
        """
        listing = Listing(
            self._page, self.client.gate, after=start_after, place=str(self.location), traits=self._listing_traits
        )
        async with aclosing(listing.pages()) as pages:
            async for entries in pages:
                yield StorePage(entries, [])
        self._listing_traits = listing.traits

    async def _page(self, ask: Ask) -> Page:
        """One page, within the gate; its keys are relative to the prefix."""
        query = [("encoding-type", "url"), ("max-keys", str(PAGE_KEYS))]
        if not ask.old:
            query.append(("list-type", "2"))
        if self.prefix:
            query.append(("prefix", self.prefix))
        if ask.token:
            query.append(("continuation-token", ask.token))
        elif ask.after:
            query.append(("marker" if ask.old else "start-after", self.prefix + ask.after))
        request = Request("List", "GET", self.bucket, query=encode_query(query), check=check_page)
        page = parse_page((await self.client.send(request)).body)
        return page._replace(entries=self._own(page))

    async def list_some(self, after: str, most: int = PAGE_KEYS) -> tuple[list[Entry], bool]:
        """Up to ``most`` entries after a key, and whether there are more."""
        response = await self._list(after=self.prefix + after if after else "", most=most)
        page = parse_page(response.body)
        entries = self._own(page)
        _check_ascending(entries, after)
        return entries, page.truncated

    async def _list(self, after: str = "", most: int = PAGE_KEYS) -> Response:
        query = [("list-type", "2"), ("encoding-type", "url"), ("max-keys", str(most))]
        if self.prefix:
            query.append(("prefix", self.prefix))
        if after:
            query.append(("start-after", after))
        return await self.client.call(Request("List", "GET", self.bucket, query=encode_query(query), check=check_page))

    async def folder_page(self, token: str = "") -> Page:
        """One page of what stands directly here: objects, and common prefixes up to the next slash. Keys are full."""
        query = [("list-type", "2"), ("encoding-type", "url"), ("delimiter", "/")]
        if self.prefix:
            query.append(("prefix", self.prefix))
        if token:
            query.append(("continuation-token", token))
        request = Request("List", "GET", self.bucket, query=encode_query(query), check=check_page)
        return parse_page((await self.client.call(request)).body)

    def _own(self, page: Page) -> list[Entry]:
        prefix = self.prefix
        if not prefix:
            return page.entries
        cut = len(prefix)
        own = []
        for entry in page.entries:
            if not entry.key.startswith(prefix):
                raise Corrupt(f"The listing of {self.location} shows a key of another place.", operation="List")
            if len(entry.key) > cut:  # the marker of the folder itself is nobody's file
                own.append(Entry(entry.key[cut:], entry.size, entry.mtime_ns, entry.etag, entry.storage_class))
        return own

    # Single objects.

    async def look(self, key: str) -> Entry | None:
        found = await self.head(key)
        return found.entry if found is not None else None

    async def head(self, key: str, *, part: int | None = None) -> Look | None:
        """HEAD with checksums; None where the object is certainly not there. Raises AccessDenied where that is unknown."""
        headers = {"x-amz-checksum-mode": "ENABLED", **self.own_headers}
        query = f"partNumber={part}" if part else ""
        request = Request("Head", "HEAD", self.bucket, self.key_of(key), query=query, headers=headers, good=(200, 206))
        try:
            response = await self.client.call(request)
        except ObjectGone:
            return None
        return self.look_of(key, response)

    def look_of(self, key: str, response: Response) -> Look:
        """Read the head of an answer to HEAD or GET."""
        headers = response.headers
        size = _size_of(response)
        modified = _http_time_ns(response.text(b"last-modified"))
        etag = response.text(b"etag").removeprefix("W/").strip('"')
        name = value = ""
        for candidate in NAMES:
            if value := response.text(b"x-amz-checksum-" + candidate.lower().encode()):
                name = candidate
                break
        whole = bool(value) and "-" not in value and headers.get(b"x-amz-checksum-type", b"FULL_OBJECT") != b"COMPOSITE"
        sealed = headers.get(b"x-amz-server-side-encryption", b"").startswith(b"aws:kms")
        plain = (
            len(etag) == 32
            and not sealed
            and (size == 0 or etag != _MD5_OF_NOTHING)
            and b"x-amz-server-side-encryption-customer-algorithm" not in headers
        )
        metadata = {
            name.decode("latin-1")[11:]: text.decode("utf-8", "replace")
            for name, text in headers.items()
            if name.startswith(b"x-amz-meta-")
        }
        return Look(
            Entry(key, size, modified, etag, response.text(b"x-amz-storage-class")),
            mtime_of(metadata.get("mtime", "")),
            name,
            value,
            whole,
            plain,
            response.text(b"x-amz-version-id"),
            metadata,
            headers,
        )

    async def get(
        self, key: str, *, limit: int, etag: str = "", span: tuple[int, int] | None = None, sink: Sink | None = None,
        restart: Callable[[], None] | None = None, version: str = "", check: Callable[[Response], None] | None = None,
    ) -> Response:  # fmt: skip
        """GET an object or the bytes ``span[0]`` to ``span[1]`` (excluded) of it, pinned to ``etag`` where one is given.

        Raises ObjectChanged where the object is no longer that one, Corrupt where another range came than was asked for.
        """
        headers = {"x-amz-checksum-mode": "ENABLED", "accept-encoding": "identity", **self.own_headers}
        good: tuple[int, ...] = (200,)
        if etag:
            headers["if-match"] = f'"{etag}"'
        if span is not None:
            headers["range"] = f"bytes={span[0]}-{span[1] - 1}"
            good = (206, 200)  # rclone's server answers 200 with the right Content-Range
        query = f"versionId={encode_value(version)}" if version else ""

        def is_right(response: Response) -> None:
            said = response.text(b"content-range")
            if span is not None and not said.startswith(f"bytes {span[0]}-{span[1] - 1}/"):
                raise Corrupt(
                    f"The server sent another range than was asked for ({said or 'none'}).", operation="Get", key=key
                )
            if check is not None:
                check(response)

        request = Request("Get", "GET", self.bucket, self.key_of(key), query=query, headers=headers, good=good, sink=sink,
                          limit=limit, restart=restart, check=is_right)  # fmt: skip
        return await self.client.send(request)

    async def read(self, key: str) -> bytes:
        async with self.client.gate:
            response = await self.get(key, limit=2**40)
        return bytes(response.body)

    async def put(self, key: str, data: Body, headers: dict[str, str]) -> tuple[Response, str, str]:
        """PUT all bytes, with the best checksum that this endpoint takes; gives the answer, the proof and our checksum.

        The proof is the name of the algorithm whose sum the server showed, or ``Content-MD5`` where it was only made to
        check one. The checksum is ``NAME:value``, base64 as S3 shows it.
        """
        if not self.learned.checksum:
            async with self._one_at_first():  # one upload finds out what the endpoint knows; the others wait for it
                if not self.learned.checksum:
                    return await self._put(key, data, headers)
        return await self._put(key, data, headers)

    @asynccontextmanager
    async def _one_at_first(self) -> AsyncIterator[None]:
        """Let one upload after the other go ahead; one that stalls holds up the others for a moment only (H38)."""
        try:
            async with asyncio.timeout(_DISCOVERY_S):
                await self._discovering.acquire()
        except TimeoutError:
            yield
            return
        try:
            yield
        finally:
            self._discovering.release()

    async def _put(self, key: str, data: Body, headers: dict[str, str]) -> tuple[Response, str, str]:
        name, sums, expected = self._sums(data)
        stored = ""  # the ETag of what was stored last
        weighs_md5 = "content-md5" in sums

        def is_right(response: Response) -> None:
            nonlocal stored
            stored = response.headers.get(b"etag", b"").decode("latin-1").strip('"')
            if not stored:  # S3 gives one: whoever answered was not the server (H12)
                raise Corrupt(f"{printable(key)}: the answer to Put has no ETag.", operation="Put", key=key)
            self._check_sum(name, expected, key, response)
            if weighs_md5:
                same = self._is_same_md5(response, sums)
                if same is False and self.learned.etag_is_md5:
                    raise _other_bytes(key, "its MD5")
                self.learned.etag_is_md5 |= bool(same)

        while True:
            request = Request("Put", "PUT", self.bucket, self.key_of(key), headers={**headers, **sums, **self.own_headers},
                              body=data, check=is_right, final=("InvalidDigest",))  # fmt: skip
            try:
                response = await self.client.send(request)
            except SternaError as error:
                if _refuses_checksum(error) and self.learned.refused(name):
                    name, sums, expected = self._sums(data)
                    weighs_md5 = "content-md5" in sums
                    continue
                if isinstance(error, Corrupt) and stored:
                    await self._take_back(key, stored)
                raise
            if weighs_md5 and self._is_same_md5(response, sums) is False and not self.learned.etag_is_opaque:
                # Either this server's ETags are no MD5, or it stored other bytes: only they can tell.
                if not await self._holds(key, data):
                    self.learned.etag_is_md5 = True
                    continue
                self.learned.etag_is_opaque = True
            return response, self._proof(name, response), f"{name}:{expected or sums['content-md5']}"

    def _is_same_md5(self, response: Response, sums: dict[str, str]) -> bool | None:
        """Whether the ETag is the MD5 that was sent; None where that says nothing, or something better was shown."""
        sent, etag = sums.get("content-md5"), response.text(b"etag").strip('"')
        if sent is None or any(name.startswith(b"x-amz-checksum-") for name in response.headers):
            return None
        # What is encrypted by KMS or with a customer's key has an ETag that is no MD5 (H14).
        if not _looks_like_md5(etag) or self.own_headers or b"x-amz-server-side-encryption" in response.headers:
            return None
        return base64.b64decode(sent).hex() == etag.lower()

    async def _holds(self, key: str, data: Body) -> bool:
        """Read back what was just put, and compare it byte by byte."""
        response = await self.get(key, limit=len(data) + 4096)
        return bytes(response.body) == data

    async def _take_back(self, key: str, etag: str) -> None:
        """Remove what was stored and is known to be wrong: it has the size and the time of the file, and the next run
        would take it for unchanged. Only while it is still what that answer was about."""
        try:
            found = await self._head_in_gate(key)
            if found is not None and found.entry.etag == etag:
                headers = {"if-match": f'"{etag}"'}
                request = Request("Delete", "DELETE", self.bucket, self.key_of(key), headers=headers, good=(204, 200))
                await self.client.send(request)
        except SternaError:
            return  # the failure that led here is what the user must hear

    def _sums(self, data: Body) -> tuple[str, dict[str, str], str]:
        """The checksum headers for some bytes: algorithm, headers, and the value that the server should show."""
        learned = self.learned
        name = learned.candidate
        assert not isinstance(data, FilePart)
        if name == "MD5":
            return name, {"content-md5": content_md5(data)}, ""
        kind = algorithm(name)
        value = kind.encode(kind.update(data, 0))
        if learned.checksum:
            return name, {kind.header: value, "x-amz-sdk-checksum-algorithm": name}, value
        return name, {kind.header: value, "x-amz-sdk-checksum-algorithm": name, "content-md5": content_md5(data)}, value

    def _check_sum(self, name: str, expected: str, key: str, response: Response) -> None:
        """Raise Corrupt where the server shows another sum than was sent."""
        if expected:
            shown = response.headers.get(algorithm(name).header_bytes)
            if shown is not None and shown.decode("latin-1") != expected:
                raise _other_bytes(key, name)

    def _proof(self, name: str, response: Response) -> str:
        """What the answer proves, and what it says of the server."""
        if name == "MD5":
            self.learned.answered(name, True)
            return "Content-MD5"
        shown = algorithm(name).header_bytes in response.headers
        self.learned.answered(name, shown)
        return name if shown else "Content-MD5"  # which went along while the endpoint was unknown

    async def write(self, key: str, data: bytes) -> Entry:
        async with self.client.gate:
            await self.put(key, data, {})
        found = await self.look(key)
        if found is None or found.size != len(data):
            raise SternaError(f"{printable(key)} was taken and is not there.", operation="Put", key=key)
        return found

    async def remove(self, key: str) -> None:
        request = Request("Delete", "DELETE", self.bucket, self.key_of(key), good=(204, 200, 404))
        await self.client.call(request)

    async def remove_many(self, keys: Sequence[str]) -> dict[str, SternaError]:
        """Delete up to 1,000 keys by one request; gives the keys that were not deleted, each with its error.

        A key that the answer does not name is unknown, and therefore among them (H05).
        """
        listed = "".join(f"<Object><Key>{as_text(self.key_of(key))}</Key></Object>" for key in keys)
        body = f'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{listed}</Delete>'.encode()
        headers = {"content-md5": content_md5(body), "content-type": "application/xml"}
        request = Request("DeleteObjects", "POST", self.bucket, query="delete=", headers=headers, body=body)
        try:
            response = await self.client.call(request)
        except Unsupported:
            return await self._remove_singly(keys)
        element = parse_document(response.body, "DeleteResult", "DeleteObjects")
        gone = {node.findtext("Key") or "" for node in element.findall("Deleted")}
        refused = {
            node.findtext("Key") or "": SternaError(
                f"{node.findtext('Message') or node.findtext('Code') or 'refused'}",
                operation="DeleteObjects",
                key=node.findtext("Key") or "",
                code=node.findtext("Code") or "",
                words=node.findtext("Message") or "",
            )
            for node in element.findall("Error")
        }
        failed: dict[str, SternaError] = {}
        for key in keys:
            full = self.key_of(key)
            if full in refused:
                failed[key] = refused[full]
            elif full not in gone:
                failed[key] = SternaError("The answer does not name this key.", operation="DeleteObjects", key=key)
        return failed

    async def _remove_singly(self, keys: Sequence[str]) -> dict[str, SternaError]:
        failed: dict[str, SternaError] = {}

        async def one(key: str) -> None:
            try:
                await self.remove(key)
            except SternaError as error:
                failed[key] = error

        await asyncio.gather(*(one(key) for key in keys))
        return failed

    # Multipart uploads.

    async def create_upload(self, key: str, headers: dict[str, str], token: str) -> Upload:
        """Begin a multipart upload that carries ``token`` in its metadata, by which its object is known as ours (H06)."""
        while True:
            name = self.learned.candidate
            sums = {} if name == "MD5" else {"x-amz-checksum-algorithm": name}
            if sums and not self.learned.composite:
                sums["x-amz-checksum-type"] = "FULL_OBJECT"
            upload_id = ""

            def has_id(response: Response) -> None:
                nonlocal upload_id
                # rclone's server leaves the last word of the name out.
                element = said_by(
                    response, "InitiateMultipartUploadResult", "CreateUpload", key, "InitiateMultipartUpload"
                )
                upload_id = element.findtext("UploadId") or ""
                if not upload_id:
                    raise Corrupt("The server began an upload and gave it no id.", operation="CreateUpload", key=key)

            request = Request("CreateUpload", "POST", self.bucket, self.key_of(key), query="uploads=", check=has_id,
                              headers={**headers, "x-amz-meta-sterna-token": token, **sums, **self.own_headers})  # fmt: skip
            try:
                await self.client.send(request)
            except SternaError as error:
                if not _refuses_checksum(error) or not self.learned.refused(name):
                    raise
                continue
            return Upload(key, upload_id, token, name)

    async def put_part(
        self, upload: Upload, number: int, data: Body, crc: int | None, restart: Callable[[], None] | None = None
    ) -> Part:
        """Send one part; ``crc`` is its sum by the upload's algorithm. Raises Corrupt where the server shows another.

        ``restart`` is called before each further attempt, and may raise where there is no use in one.
        """
        if not self.learned.checksum:
            async with self._one_at_first():
                if not self.learned.checksum:
                    return await self._put_part(upload, number, data, crc, restart)
        return await self._put_part(upload, number, data, crc, restart)

    def takes_files(self, upload: Upload) -> bool:
        """Whether a part may be a FilePart: the server checks its sum, so that a file that changes meanwhile is found."""
        return self.client.sends_files and upload.checksum != "MD5" and self.learned.checksum == upload.checksum

    async def _put_part(
        self, upload: Upload, number: int, data: Body, crc: int | None, restart: Callable[[], None] | None
    ) -> Part:
        headers: dict[str, str] = dict(self.own_headers)
        expected = ""
        if upload.checksum != "MD5":
            kind = algorithm(upload.checksum)
            assert crc is not None
            expected = kind.encode(crc)
            headers[kind.header] = expected
            headers["x-amz-sdk-checksum-algorithm"] = upload.checksum
        if self.learned.checksum != upload.checksum or upload.checksum == "MD5":
            assert not isinstance(data, FilePart)
            headers["content-md5"] = await asyncio.to_thread(content_md5, data)

        def is_right(response: Response) -> None:
            if not response.text(b"etag"):
                raise Corrupt(
                    f"The server took part {number} and gave it no ETag.", operation="UploadPart", key=upload.key
                )
            self._check_sum(upload.checksum, expected, upload.key, response)
            same = self._is_same_md5(response, headers)
            if same is False and self.learned.part_etag_is_md5:
                raise _other_bytes(upload.key, f"the MD5 of part {number}")
            self.learned.part_etag_is_md5 |= bool(same)

        request = Request("UploadPart", "PUT", self.bucket, self.key_of(upload.key), headers=headers, body=data,
                          query=f"partNumber={number}&uploadId={encode_value(upload.id)}",
                          restart=restart, check=is_right)  # fmt: skip
        response = await self.client.send(request)
        self._proof(upload.checksum, response)
        part = Part(number, len(data), response.text(b"etag"), crc)
        upload.parts[number] = part
        return part

    def whole_sum(self, upload: Upload) -> tuple[str, str]:
        """The sum of the whole object combined from its parts', and the sum of sums; empty with Content-MD5."""
        if upload.checksum == "MD5":
            return "", ""
        kind = algorithm(upload.checksum)
        whole, sums = 0, []
        for _, part in sorted(upload.parts.items()):
            assert part.crc is not None
            sums.append(part.crc)
            whole = kind.combine(whole, part.crc, part.size) if len(sums) > 1 else part.crc
        return kind.encode(whole), kind.composite(sums)

    def checksum_of(self, upload: Upload) -> str:
        """Our sum of the whole object as ``NAME:value``; empty with Content-MD5."""
        whole, _ = self.whole_sum(upload)
        return f"{upload.checksum}:{whole}" if whole else ""

    async def complete_upload(self, upload: Upload, size: int) -> tuple[str, str]:
        """Join the parts; gives the ETag and the proof. Only a whole, well-formed result counts (H01, H02).

        Where the answer was lost, was none, or says that there is no such upload (any more), the object is looked at:
        it is ours when it has our token, size and sum (H06, H07).
        """
        if sum(part.size for part in upload.parts.values()) != size:
            raise SternaError(
                f"{printable(upload.key)}: the parts do not add up to {size} bytes.",
                operation="Complete",
                key=upload.key,
            )
        whole, composite = self.whole_sum(upload)
        kind = algorithm(upload.checksum) if whole else None
        shown_sums = bool(kind) and self.learned.checksum == upload.checksum
        tag = f"Checksum{upload.checksum}"
        listed = "".join(
            f"<Part><PartNumber>{part.number}</PartNumber><ETag>{as_text(part.etag)}</ETag>"
            + (f"<{tag}>{kind.encode(part.crc)}</{tag}>" if kind and part.crc is not None and shown_sums else "")
            + "</Part>"
            for _, part in sorted(upload.parts.items())
        )
        body = f'<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{listed}</CompleteMultipartUpload>'.encode()
        etag = shown = ""

        def is_joined(response: Response) -> None:
            nonlocal etag, shown
            element = said_by(response, "CompleteMultipartUploadResult", "Complete", upload.key)
            etag = (element.findtext("ETag") or "").strip('"')
            shown = element.findtext(tag) or response.text(kind.header.encode() if kind else b"-")
            if shown and shown not in (whole, composite) and shown != composite.partition("-")[0]:
                raise Corrupt(
                    f"{printable(upload.key)}: the server joined other bytes than were sent.",
                    operation="Complete",
                    key=upload.key,
                )

        while True:
            headers = {"content-type": "application/xml", **self.own_headers}
            if kind and shown_sums and not self.learned.composite:
                headers |= {kind.header: whole, "x-amz-checksum-type": "FULL_OBJECT", "x-amz-mp-object-size": str(size)}
            says_whole = "x-amz-checksum-type" in headers
            # Sent again by the retry table: S3 answers a repeated Complete as it did the first, others NoSuchUpload.
            request = Request("Complete", "POST", self.bucket, self.key_of(upload.key), headers=headers, body=body,
                              query=f"uploadId={encode_value(upload.id)}", check=is_joined,
                              final=("BadDigest",) if says_whole else ())  # fmt: skip
            try:
                await self.client.send(request)
            except SternaError as error:
                refused = ("BadDigest", "InvalidRequest", "InvalidArgument", "NotImplemented")
                if says_whole and error.code in refused:
                    # Every part was checked; this server only knows the sum of sums. Say so no more, and compare that.
                    self.learned.composite = True
                    continue
                if not isinstance(error, RetryLater) and error.code != "NoSuchUpload":
                    raise
                found = await self._is_ours(upload, size, whole, composite)
                if found is None:
                    raise
                return found
            if not etag:  # Ceph 16 answers so; whether it holds what was sent is for a look to say
                found = await self._is_ours(upload, size, whole, composite)
                if found is None:
                    raise Corrupt(
                        "The server joined the parts and shows no ETag.", operation="Complete", key=upload.key
                    )
                return found
            return etag, upload.checksum if shown else "part sums" if shown_sums else "Content-MD5"

    async def _is_ours(self, upload: Upload, size: int, whole: str, composite: str) -> tuple[str, str] | None:
        """The object's ETag and proof, if it is the one that this upload made."""
        found = await self._head_in_gate(upload.key)
        if found is None or found.entry.size != size or found.metadata.get("sterna-token") != upload.token:
            return None
        if found.checksum_name == upload.checksum and found.checksum not in (whole, composite):
            return None
        return found.entry.etag, found.checksum_name or "token"

    async def _head_in_gate(self, key: str) -> Look | None:
        """HEAD by one who is within the gate already."""
        headers = {"x-amz-checksum-mode": "ENABLED", **self.own_headers}
        try:
            return self.look_of(
                key, await self.client.send(Request("Head", "HEAD", self.bucket, self.key_of(key), headers=headers))
            )
        except ObjectGone:
            return None

    async def abort_upload(self, upload: Upload) -> None:
        """Give an upload up. Content when it is already gone."""
        request = Request("Abort", "DELETE", self.bucket, self.key_of(upload.key), good=(204, 200, 404),
                          query=f"uploadId={encode_value(upload.id)}")  # fmt: skip
        await self.client.send(request)

    # The bucket.

    async def head_bucket(self) -> Response:
        """Whether the bucket is there and ours to see; raises WrongSetting or AccessDenied."""
        try:
            return await self.client.call(Request("HeadBucket", "HEAD", self.bucket))
        except ObjectGone as error:
            raise WrongSetting(
                f"The bucket {self.bucket} does not exist; create it with: sterna mb s3://{self.bucket}",
                operation="HeadBucket", status=404, code="NoSuchBucket", request_id=error.request_id,
            ) from None  # fmt: skip

    async def create_bucket(self) -> None:
        """Create the bucket in the client's region; raises SternaError where it exists."""
        await self.client.prepare()
        region = self.client.region
        body = b""
        if region != "us-east-1":
            body = (
                '<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
                f"<LocationConstraint>{as_text(region)}</LocationConstraint></CreateBucketConfiguration>"
            ).encode()
        await self.client.call(Request("CreateBucket", "PUT", self.bucket, body=body or None))


def said_by(response: Response, root: str, operation: str, key: str, other: str = "") -> ET.Element:
    """The document of an answer that counts only with this root. An <Error> under a status of 200 is raised with the
    server's words: S3 sends the status before it knows the end of a long operation (H01). Never to be taken for more
    than a failed attempt, whatever its code.
    """
    try:
        return parse_document(response.body, root, operation, other)
    except Corrupt:
        code, words, request_id = error_of(response.body)
        if not code:
            raise
        raise Corrupt(
            f"{operation} of {printable(key)} was answered with status {response.status} and an error in it: "
            f"{printable(f'{code}: {words}')[:500]}.",
            operation=operation, key=key, status=response.status, code=code, words=printable(words)[:500],
            request_id=printable(request_id)[:200],
        ) from None  # fmt: skip


class OneObject(S3Store):
    """A store of a single object, whose full key is ``full`` whatever it is called on the other side."""

    def __init__(self, client: Client, location: BucketPath, own_headers: dict[str, str], *, full: str) -> None:
        super().__init__(client, location, own_headers)
        self._full = full

    def key_of(self, key: str) -> str:
        return _checked(self._full)


_MD5_OF_NOTHING = "d41d8cd98f00b204e9800998ecf8427e"  # the ETag of a server that computes none


def _checked(full: str) -> str:
    """A full key that S3 can hold; raises Refused for another."""
    if len(full) > KEY_BYTES // 4 and len(full.encode("utf-8", "surrogatepass")) > KEY_BYTES:
        raise Refused(f"{printable(full)[:80]}…: the key has more than 1,024 bytes, S3's limit.", key=full)
    if not full.isascii():
        try:
            full.encode("utf-8")
        except UnicodeEncodeError:
            raise Refused(
                f"{printable(full)}: the name is not UTF-8, which S3 keys must be; rename it.", key=full
            ) from None
    return full


@functools.lru_cache(maxsize=1024)
def _http_time_ns(stamp: str) -> int:
    """The time in a Last-Modified header, 0 where there is none. Kept: objects of one second share it, and it takes 8 µs."""
    try:
        return int(parsedate_to_datetime(stamp).timestamp()) * 10**9 if stamp else 0
    except ValueError:
        return 0


def customer_headers(key: bytes) -> dict[str, str]:
    """The headers of SSE-C for a key of 32 bytes; none for none."""
    if not key:
        return {}
    return {
        "x-amz-server-side-encryption-customer-algorithm": "AES256",
        "x-amz-server-side-encryption-customer-key": base64.b64encode(key).decode("ascii"),
        "x-amz-server-side-encryption-customer-key-md5": base64.b64encode(
            hashlib.md5(key, usedforsecurity=False).digest()
        ).decode("ascii"),
    }


def mtime_of(text: str) -> int | None:
    """The time that rclone and we keep in ``x-amz-meta-mtime``: seconds since 1970 with a fraction; None if unreadable."""
    whole, _, fraction = text.partition(".")
    negative = whole.startswith("-")
    if not whole.removeprefix("-").isdigit() or not (fraction + "0").isdigit() or len(whole) > 12:
        return None
    ns = int(whole.removeprefix("-")) * 10**9 + int((fraction + "000000000")[:9])
    return -ns if negative else ns


def mtime_text(mtime_ns: int) -> str:
    """What ``mtime_of`` reads."""
    sign = "-" if mtime_ns < 0 else ""
    whole, fraction = divmod(abs(mtime_ns), 10**9)
    return f"{sign}{whole}.{fraction:09d}".rstrip("0").rstrip(".")


def _check_ascending(entries: list[Entry], last: str) -> None:
    keys = [entry.key for entry in entries]
    if keys and (keys[0] <= last or not all(map(operator.lt, keys, keys[1:]))):
        raise Corrupt(
            "The server lists keys in another order than their bytes', or twice; this listing cannot be trusted.",
            operation="List",
        )


def _size_of(response: Response) -> int:
    content_range = response.text(b"content-range")
    if content_range.startswith("bytes ") and content_range.rpartition("/")[2].isdigit():
        return int(content_range.rpartition("/")[2])
    length = response.text(b"content-length")
    return int(length) if length.isdigit() else len(response.body)


def _refuses_checksum(error: SternaError) -> bool:
    """An answer by which a server may mean: I do not know this checksum header."""
    if isinstance(error, Unsupported):
        return True
    return error.status == 400 and error.code in (
        "InvalidRequest",
        "InvalidArgument",
        "BadRequest",
        "400",
        "InvalidDigest",
    )


def _looks_like_md5(etag: str) -> bool:
    return len(etag) == 32 and all(digit in "0123456789abcdefABCDEF" for digit in etag)


def _other_bytes(key: str, sum_name: str) -> Corrupt:
    return Corrupt(f"{printable(key)}: the server stored other bytes than were sent ({sum_name} differs).", key=key)


def kind_of(name: str) -> Algorithm:
    """The algorithm by S3's name."""
    return algorithm(name)
