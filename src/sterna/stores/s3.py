"""A bucket and a prefix as a store: its listing, and its objects in single requests."""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import operator
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl

from msgspec.structs import replace

from sterna.model.entry import MD5_OF_NOTHING, Entry
from sterna.model.errors import (
    Corrupt,
    NotProven,
    ObjectChanged,
    ObjectGone,
    Refused,
    SternaError,
    Unsupported,
    WrongSetting,
)
from sterna.model.events import Notice
from sterna.model.location import BucketPath
from sterna.model.units import GIB, printable
from sterna.stores.learned import (
    Learned,
    check_sum,
    is_same_md5,
    may_refuse_condition,
    other_bytes,
    refuses_checksum,
)
from sterna.stores.listing import Ask, Listing, Traits
from sterna.stores.store import StorePage
from sterna.wire.checksum import NAMES, algorithm, content_md5
from sterna.wire.client import Body, Client, Request
from sterna.wire.connection import TOO_LONG, FilePart, Response, Sink
from sterna.wire.dates import moment_s
from sterna.wire.encoding import encode_key, encode_query, encode_value
from sterna.wire.xml import Asked, Page, as_text, check_page, error_of, parse_document, parse_page

if TYPE_CHECKING:
    from xml.etree import ElementTree as ET

KEY_BYTES = 1024  # S3's limit
PAGE_KEYS = 1000
LARGEST_PUT = 5 * GIB  # of one request: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
_UNORDERED = "--x-s3"  # so end the names of S3's directory buckets, which list in no order
_ERROR_ROOM = 64 * 1024  # for what a server says instead of an object
_DISCOVERY_S = 1.0  # so long uploads wait for the one that finds out which checksums the endpoint takes
_CONDITIONS = {"if-match": "If-Match", "if-none-match": "If-None-Match"}
_CHECKSUMS_SHOWN = [(name, f"x-amz-checksum-{name.lower()}".encode()) for name in NAMES]


Condition = dict[str, str]
"""The header on which a write hangs, If-Match or If-None-Match; empty for none."""


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


class Summed(NamedTuple):
    """What is known of a body before it is sent: its MD5 as Content-MD5 carries it, which the server is to check, and what
    is called before it is sent again; that may raise.
    """

    md5: str
    restart: Callable[[], None]


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
        page = parse_page((await self.client.send(request)).body, self._asked())
        return page._replace(entries=self._own(page))

    async def list_some(self, after: str, most: int = PAGE_KEYS) -> tuple[list[Entry], bool]:
        """Up to ``most`` entries after a key, and whether there are more."""
        response = await self._list(after=self.prefix + after if after else "", most=most)
        page = parse_page(response.body, self._asked(most))
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

    def _asked(self, most: int = PAGE_KEYS, delimiter: str = "") -> Asked:
        return Asked(most, self.bucket, self.prefix, delimiter)

    async def folder_page(self, token: str = "") -> Page:
        """One page of what stands directly here: objects, and common prefixes up to the next slash. Keys are full."""
        query = [("list-type", "2"), ("encoding-type", "url"), ("delimiter", "/")]
        if self.prefix:
            query.append(("prefix", self.prefix))
        if token:
            query.append(("continuation-token", token))
        request = Request("List", "GET", self.bucket, query=encode_query(query), check=check_page)
        return parse_page((await self.client.call(request)).body, self._asked(delimiter="/"))

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

    async def head(self, key: str, *, part: int | None = None, version: str = "") -> Look | None:
        """HEAD with checksums, of the object or of a version of it, which the entry then names; None where it is certainly
        not there. Raises AccessDenied where that is unknown.
        """
        headers = {"x-amz-checksum-mode": "ENABLED", **self.own_headers}
        named = {"partNumber": str(part or ""), "versionId": version}
        query = encode_query([(name, value) for name, value in named.items() if value])
        request = Request("Head", "HEAD", self.bucket, self.key_of(key), query=query, headers=headers, good=(200, 206),
                          check=has_size)  # fmt: skip
        try:
            response = await self.client.call(request)
        except ObjectGone:
            return None
        found = self.look_of(key, response)
        return found._replace(entry=replace(found.entry, version=version)) if version else found

    async def listed_in_gate(self, key: str) -> Entry | None:
        """What a listing shows of exactly this key, by one who is within the gate already: as a prefix of itself it
        comes first."""
        full = self.key_of(key)
        query = encode_query([("list-type", "2"), ("encoding-type", "url"), ("max-keys", "1"), ("prefix", full)])
        page = parse_page(
            (await self.client.send(Request("List", "GET", self.bucket, query=query, check=check_page))).body,
            Asked(bucket=self.bucket, prefix=full),
        )
        shown = (one for one in page.entries if one.key == full)
        return next((Entry(key, one.size, one.mtime_ns, one.etag, one.storage_class) for one in shown), None)

    async def head_in_gate(self, key: str) -> Look | None:
        """HEAD by one who is within the gate already, or has been cancelled and tidies up."""
        headers = {"x-amz-checksum-mode": "ENABLED", **self.own_headers}
        request = Request("Head", "HEAD", self.bucket, self.key_of(key), headers=headers, check=has_size)
        try:
            return self.look_of(key, await self.client.send(request))
        except ObjectGone:
            return None

    def look_of(self, key: str, response: Response) -> Look:
        """Read the head of an answer to HEAD or GET. Each small download reads one: plain lookups, 4 µs."""
        headers = response.headers
        size = _size_of(response)
        etag = headers.get(b"etag", b"").decode("utf-8", "replace").removeprefix("W/").strip('"')
        name = value = ""
        for candidate, header in _CHECKSUMS_SHOWN:
            if header in headers:
                name, value = candidate, headers[header].decode("utf-8", "replace")
                break
        whole = bool(value) and "-" not in value and headers.get(b"x-amz-checksum-type", b"FULL_OBJECT") != b"COMPOSITE"
        plain = (
            len(etag) == 32
            and not headers.get(b"x-amz-server-side-encryption", b"").startswith(b"aws:kms")
            and (size == 0 or etag != MD5_OF_NOTHING)
            and b"x-amz-server-side-encryption-customer-algorithm" not in headers
        )
        metadata = {
            name[11:].decode("latin-1"): text.decode("utf-8", "replace")
            for name, text in headers.items()
            if name[:11] == b"x-amz-meta-"
        }
        return Look(
            Entry(
                key,
                size,
                _http_time_ns(headers.get(b"last-modified", b"")),
                etag,
                headers.get(b"x-amz-storage-class", b"").decode("utf-8", "replace"),
            ),
            mtime_of(metadata["mtime"]) if "mtime" in metadata else None,
            name,
            value,
            whole,
            plain,
            headers.get(b"x-amz-version-id", b"").decode("utf-8", "replace"),
            metadata,
            headers,
        )

    async def get(
        self, key: str, *, limit: int, etag: str = "", span: tuple[int, int] | None = None, sink: Sink | None = None,
        restart: Callable[[], None] | None = None, version: str = "", check: Callable[[Response], None] | None = None,
    ) -> Response:  # fmt: skip
        """GET an object or the bytes ``span[0]`` to ``span[1]`` (excluded) of it, pinned to ``etag`` where one is given.

        Raises ObjectChanged where the object is no longer that one, Corrupt where another range came than was asked for;
        with the code ``TOO_LONG``, at once, where it has more than ``limit`` bytes.
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
            if span is not None:
                said = response.text(b"content-range")
                if not said.startswith(f"bytes {span[0]}-{span[1] - 1}/"):
                    raise Corrupt(
                        f"The server sent another range than was asked for ({said or 'none'}).",
                        operation="Get",
                        key=key,
                    )
            if check is not None:
                check(response)

        request = Request("Get", "GET", self.bucket, self.key_of(key), query=query, headers=headers, good=good, sink=sink,
                          limit=limit, restart=restart, check=is_right, final=(TOO_LONG,))  # fmt: skip
        return await self.client.send(request)

    async def read(self, key: str) -> bytes:
        async with self.client.gate:
            response = await self.get(key, limit=2**40)
        return bytes(response.body)

    async def put(
        self,
        key: str,
        data: Body,
        headers: dict[str, str],
        condition: Condition | None = None,
        summed: Summed | None = None,
    ) -> tuple[Response, str, str]:
        """PUT all bytes, with the best checksum that this endpoint takes; gives the answer, the proof and our checksum.

        The proof is the name of the algorithm whose sum the server showed, or ``Content-MD5`` where it was only made to
        check one. The checksum is ``NAME:value``, base64 as S3 shows it. A ``condition`` holds where the server knows
        such: ObjectChanged or ObjectGone says that something else stands there, or what a lost answer was about. What
        is ``summed`` is sent with its MD5, and a FilePart has to be.
        """
        if not self.learned.checksum and summed is None:
            async with self.one_at_first():  # finds out what the endpoint knows; the others wait for it
                if not self.learned.checksum:
                    return await self._put(key, data, headers, condition or {})
        return await self._put(key, data, headers, condition or {}, summed)

    @asynccontextmanager
    async def one_at_first(self) -> AsyncIterator[None]:
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

    async def _put(
        self, key: str, data: Body, headers: dict[str, str], condition: Condition, summed: Summed | None = None
    ) -> tuple[Response, str, str]:
        name, sums, expected = self._sums(data) if summed is None else ("MD5", {"content-md5": summed.md5}, "")
        asked, left_off = self.obeyed(condition) if condition else condition, Condition()
        stored: list[str] = []  # the ETag of each answer
        weighs_md5 = "content-md5" in sums
        sealed = bool(self.own_headers)

        def is_right(response: Response) -> None:
            etag = response.headers.get(b"etag", b"").decode("latin-1").strip('"')
            if not etag:  # S3 gives one: whoever answered was not the server (H12)
                raise Corrupt(f"{printable(key)}: the answer to Put has no ETag.", operation="Put", key=key)
            stored.append(etag)
            for header in condition:
                request.headers.pop(header, None)  # what stands there now is what this request has put
            check_sum(name, expected, key, response)
            if weighs_md5:
                same = is_same_md5(response, sums, sealed=sealed)
                if same is False and self.learned.etag_is_md5:
                    raise other_bytes(key, "its MD5")
                self.learned.etag_is_md5 |= bool(same)

        while True:
            named = headers | sums | self.own_headers
            if asked and not stored:
                named |= asked
            request = Request("Put", "PUT", self.bucket, self.key_of(key), headers=named, body=data, check=is_right,
                              restart=summed.restart if summed is not None else None, final=("InvalidDigest",))  # fmt: skip
            try:
                response = await self.client.send(request)
            except SternaError as error:
                if asked and may_refuse_condition(error):
                    asked, left_off = Condition(), asked  # it may be that; what is wrong otherwise comes again
                    continue
                if summed is None and refuses_checksum(error) and self.learned.refused(name):
                    name, sums, expected = self._sums(data)
                    weighs_md5 = "content-md5" in sums
                    asked, left_off = asked or left_off, Condition()
                    continue
                if stored and (trouble := await self._take_back_wrong(key, stored)):
                    error.sentence += trouble
                raise
            except asyncio.CancelledError:
                if stored:
                    await asyncio.shield(self._take_back_wrong(key, stored, within_s=2.0))
                raise
            if left_off:
                self.refuses(left_off)
            other = weighs_md5 and is_same_md5(response, sums, sealed=sealed) is False
            if other and not self.learned.etag_is_opaque:
                # Either this server's ETags are no MD5, or it stored other bytes: only they can tell.
                if not await self._holds(key, len(data), sums["content-md5"]):
                    self.learned.etag_is_md5 = True
                    continue
                self.learned.etag_is_opaque = True
            return response, self.learned.proof(name, response), f"{name}:{expected or sums['content-md5']}"

    def obeyed(self, condition: Condition) -> Condition:
        """The condition, unless it is known that the server does not take it."""
        return Condition() if self.learned.refused_conditions.intersection(condition) else condition

    def refuses(self, condition: Condition) -> None:
        """A write was not taken with this condition, and was without it: it is asked for no more, and told once."""
        news = set(condition) - self.learned.refused_conditions
        self.learned.refused_conditions |= news
        for name in sorted(news):
            told = (
                f"The server of {self.bucket} does not take writes that hang on a condition ({_CONDITIONS[name]}): what"
                " somebody else writes between a look and the write is written over."
            )
            self.client.emit(Notice(told, "warning", "no-conditions"))

    async def _holds(self, key: str, size: int, md5: str) -> bool:
        """Read back what was just put, and hold it against the MD5 of what was sent."""
        from sterna.stores.readback import Summing  # rarely needed

        again = Summing("MD5", size + _ERROR_ROOM)  # an object of another size is another one, and no broken answer
        await self.get(key, limit=_ERROR_ROOM, sink=again, restart=again.restart)
        return again.value == md5

    async def _take_back_wrong(self, key: str, etags: Sequence[str], within_s: float | None = None) -> str:
        """Remove what was stored and is known to be wrong: it has the size and the time of the file, and the next run
        would take it for unchanged. Only while it is still what an answer was about. Gives what to say if that failed.
        """
        try:
            async with asyncio.timeout(within_s):
                found = await self.head_in_gate(key)
                if found is not None and found.entry.etag in etags:
                    await self.take_back(found)
        except (SternaError, TimeoutError) as error:
            return f" {left_behind(error)}"
        return ""

    async def take_back(self, found: Look) -> bool:
        """Remove the object that a look has just shown, which is ours and not what it should be; by one within the gate, or
        who has been cancelled.

        Only while it has the ETag that was seen, so that nobody else's is removed. A bucket with versions keeps them all
        and hides the key: to bring an older version back would not tell the next run to carry the file. Servers that do
        not know If-Match on a DELETE leave a gap of one round trip in which another writer's object would go too; what
        is wrong and believed for ever weighs more. False where another object stands there by now; raises SternaError
        where this one still does.
        """
        key, etag = found.entry.key, found.entry.etag
        request = Request("Delete", "DELETE", self.bucket, self.key_of(key), headers={"if-match": f'"{etag}"'},
                          good=(204, 200, 404))  # fmt: skip
        refusal: SternaError | None = None
        try:
            await self.client.send(request)
        except SternaError as error:
            refusal = error
        left = await self.head_in_gate(key)
        if left is not None and left.entry.etag == etag:
            raise refusal or NotProven("its removal was answered and not done.", operation="Delete", key=key)
        return left is None

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

    def copy_source(self, key: str, etag: str) -> dict[str, str]:
        """The headers by which another request names an object of this store as what is to be copied: that version of it,
        and with the customer's key that it was written with."""
        full = self.key_of(key)
        # An access point is named by its ARN: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
        path = f"{self.bucket}/object/{full}" if self.bucket.startswith("arn:") else f"{self.bucket}/{full}"
        headers = {"x-amz-copy-source": encode_key(path)}
        if etag:
            headers["x-amz-copy-source-if-match"] = f'"{etag}"'
        for name, value in self.own_headers.items():
            headers[name.replace("x-amz-", "x-amz-copy-source-", 1)] = value
        side = self.client.settled_side
        if side.expected_bucket_owner:
            headers["x-amz-source-expected-bucket-owner"] = side.expected_bucket_owner
        if side.request_payer:
            headers["x-amz-request-payer"] = "requester"
        return headers

    async def copy(self, key: str, headers: dict[str, str]) -> tuple[str, str, str]:
        """Have the server make an object out of the one that ``headers`` name (``copy_source``); by one within the gate.

        Gives its ETag, its version if there are such, and the server's sum of the whole as ``NAME:value``. Only a whole,
        well-formed result with an ETag counts (H03). What is repeated after a lost answer copies the same version again.
        """
        etag = checksum = ""

        def is_copied(response: Response) -> None:
            nonlocal etag, checksum
            element = said_by(response, "CopyObjectResult", "Copy", key)
            etag = (element.findtext("ETag") or "").strip('"')
            if not etag:
                raise Corrupt(f"{printable(key)}: the answer to Copy has no ETag.", operation="Copy", key=key)
            if element.findtext("ChecksumType") != "COMPOSITE":
                sums = [(name, element.findtext(f"Checksum{name}") or "") for name in NAMES]
                checksum = next((f"{name}:{value}" for name, value in sums if value and "-" not in value), "")

        request = Request("Copy", "PUT", self.bucket, self.key_of(key), headers={**headers, **self.own_headers},
                          check=is_copied, takes_long=True)  # fmt: skip
        response = await self.client.send(request)
        return etag, response.text(b"x-amz-version-id"), checksum

    async def set_tags(self, key: str, tags: str) -> None:
        """Give an object these tags, written as a query, and no others."""
        listed = "".join(
            f"<Tag><Key>{as_text(name)}</Key><Value>{as_text(value)}</Value></Tag>"
            for name, value in parse_qsl(tags, keep_blank_values=True)
        )
        body = f'<Tagging xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><TagSet>{listed}</TagSet></Tagging>'.encode()
        headers = {"content-md5": content_md5(body), "content-type": "application/xml"}
        await self.client.call(
            Request("PutTagging", "PUT", self.bucket, self.key_of(key), query="tagging=", headers=headers, body=body)
        )

    async def tags(self, key: str) -> list[tuple[str, str]]:
        """The tags of an object; none where the server knows no tags."""
        try:
            response = await self.client.call(
                Request("GetTagging", "GET", self.bucket, self.key_of(key), query="tagging=")
            )
        except SternaError as error:
            if isinstance(error, Unsupported) or error.status == 405 or error.code == "NoSuchTagSet":
                return []
            raise
        element = parse_document(response.body, "Tagging", "GetTagging")
        return [(node.findtext("Key") or "", node.findtext("Value") or "") for node in element.iter("Tag")]

    async def write(self, key: str, data: bytes) -> Entry:
        async with self.client.gate:
            await self.put(key, data, {})
        found = await self.look(key)
        if found is None or found.size != len(data):
            raise SternaError(f"{printable(key)} was taken and is not there.", operation="Put", key=key)
        return found

    async def remove(self, key: str, etag: str = "") -> None:
        """Delete an object; one that is gone is as good. With an ``etag`` only the object that has it, on servers that
        know such a condition (else ObjectChanged); the others delete whatever is there.
        """
        headers = {"if-match": f'"{etag}"'} if etag else {}
        request = Request("Delete", "DELETE", self.bucket, self.key_of(key), headers=headers, good=(204, 200, 404))
        await self.client.call(request)

    async def remove_many(self, keys: Sequence[str], etags: Sequence[str] = ()) -> dict[str, SternaError]:
        """Delete up to 1,000 keys by one request; gives the keys that were not deleted, each with its error.

        A key that the answer does not name is unknown, and therefore among them (H05). ``etags``, one for each key, are
        conditions as in ``remove``.
        """
        conditions = [f"<ETag>&quot;{as_text(etag)}&quot;</ETag>" if etag else "" for etag in etags] or [""] * len(keys)
        listed = "".join(
            f"<Object><Key>{as_text(self.key_of(key))}</Key>{condition}</Object>"
            for key, condition in zip(keys, conditions, strict=True)
        )
        body = f'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{listed}</Delete>'.encode()
        headers = {"content-md5": content_md5(body), "content-type": "application/xml"}
        request = Request("DeleteObjects", "POST", self.bucket, query="delete=", headers=headers, body=body)
        try:
            response = await self.client.call(request)
        except Unsupported:
            return await self._remove_singly(keys, etags or [""] * len(keys))
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

    async def _remove_singly(self, keys: Sequence[str], etags: Sequence[str]) -> dict[str, SternaError]:
        failed: dict[str, SternaError] = {}

        async def one(key: str, etag: str) -> None:
            try:
                await self.remove(key, etag)
            except SternaError as error:
                failed[key] = error

        await asyncio.gather(*(one(key, etag) for key, etag in zip(keys, etags, strict=True)))
        return failed

    @property
    def is_unordered(self) -> bool:
        """Whether this bucket lists in no order, so that a part of a listing says nothing of what is not in it."""
        return self._listing_traits.unordered

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


_DIGITS = 20  # of a size that a server tells of; Python refuses to read more than 4,300 of any number


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
def _http_time_ns(stamp: bytes) -> int:
    """The time in a Last-Modified header, 0 where there is none. Kept: objects of one second share it."""
    try:
        return int(moment_s(stamp)) * 10**9 if stamp else 0
    except ValueError:
        return 0


def left_behind(error: SternaError | TimeoutError) -> str:
    """What to say where an object that should not stand there could not be taken back."""
    why = printable(error.sentence).rstrip(".") if isinstance(error, SternaError) else "no answer in time"
    return (
        f"What was stored of it could not be taken back ({why}); remove it, or the next run may take it for the file."
    )


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
    digits = whole.removeprefix("-") + fraction
    if whole in ("", "-") or not (digits.isascii() and digits.isdigit()) or len(whole) > 12:
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


def has_size(response: Response) -> None:
    """Raise Corrupt where the answer to a HEAD tells no size: the object would be taken for an empty one."""
    if not response.headers.get(b"content-length", b"").isdigit():
        raise Corrupt("The server does not tell how large the object is (no Content-Length).", operation="Head")


def check_same(etag: str, response: Response) -> None:
    """Raise ObjectChanged where another version came than was asked for: not every server knows If-Match (H42)."""
    said = _etag_of(response)
    if said and etag and said != etag:
        raise ObjectChanged("The object was replaced while it was read.", operation="Get", code="Replaced")


def _etag_of(response: Response) -> str:
    return response.text(b"etag").removeprefix("W/").strip('"')


class Ranges:
    """What the answers to one reading of an object, range by range, have shown of its version, ``etag``.

    A range without an ETag may be of another version, or from somebody else who answered (H12). Where the server has
    shown one with a range it is Corrupt, and asked for again; else ``doubtful`` says that something has to prove the
    bytes: a checksum, an MD5, or a second reading.
    """

    def __init__(self, etag: str, learned: Learned) -> None:
        self.etag = etag
        self.doubtful = False
        self._learned = learned

    def check(self, response: Response) -> None:
        """Raise ObjectChanged or Corrupt where an answer is not of this version, or may not be."""
        check_same(self.etag, response)
        if _etag_of(response):
            self._learned.ranges_show_etags = True
        elif self.etag and self._learned.ranges_show_etags:
            raise Corrupt("A range came without the ETag that the server shows with others.", operation="Get")
        else:
            self.doubtful = self.doubtful or bool(self.etag)


def _size_of(response: Response) -> int:
    """The size of the whole object, also where a range of it came."""
    headers = response.headers
    if b"content-range" in headers:
        of_all = headers[b"content-range"].rpartition(b"/")[2]
        if headers[b"content-range"].startswith(b"bytes ") and of_all.isdigit() and len(of_all) < _DIGITS:
            return int(of_all)
    length = headers.get(b"content-length", b"")
    return int(length) if length.isdigit() else len(response.body)
