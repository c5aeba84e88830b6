"""The objects of a bucket, each looked at, read, copied or removed by a request of its own."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from msgspec.structs import replace

from sterna.model.entry import Entry
from sterna.model.errors import Corrupt, NotProven, ObjectGone, Refused, SternaError, Unsupported
from sterna.model.events import Notice
from sterna.model.location import BucketPath
from sterna.model.units import printable
from sterna.stores.learned import Learned
from sterna.stores.look import Look, has_size, look_of
from sterna.wire.checksum import NAMES, content_md5
from sterna.wire.client import Client, Request
from sterna.wire.connection import TOO_LONG, Response, Sink
from sterna.wire.encoding import encode_key, encode_query, encode_value
from sterna.wire.xml import Asked, as_text, check_page, error_of, parse_document, parse_page

if TYPE_CHECKING:
    from xml.etree import ElementTree as ET

KEY_BYTES = 1024  # S3's limit
_DISCOVERY_S = 1.0  # so long uploads wait for the one that finds out which checksums the endpoint takes
_CONDITIONS = {"if-match": "If-Match", "if-none-match": "If-None-Match"}

Condition = dict[str, str]
"""The header on which a write hangs, If-Match or If-None-Match; empty for none."""


class Objects:
    """The objects below ``location``, by keys that are relative to its prefix, and what was learned of their endpoint.

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

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.location}, {self.learned}>"

    def key_of(self, key: str) -> str:
        """The full key; raises Refused where S3 cannot hold it."""
        return checked_key(self.prefix + key)

    # What there is.

    look_of = staticmethod(look_of)

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
        found = look_of(key, response)
        return found._replace(entry=replace(found.entry, version=version)) if version else found

    async def head_in_gate(self, key: str) -> Look | None:
        """HEAD by one who is within the gate already, or has been cancelled and tidies up."""
        headers = {"x-amz-checksum-mode": "ENABLED", **self.own_headers}
        request = Request("Head", "HEAD", self.bucket, self.key_of(key), headers=headers, check=has_size)
        try:
            return look_of(key, await self.client.send(request))
        except ObjectGone:
            return None

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
                length = response.headers.get(b"content-length", b"")
                is_all = not said and response.status == 200 and span[0] == 0 and length == str(span[1]).encode()
                if not is_all and not said.startswith(f"bytes {span[0]}-{span[1] - 1}/"):
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

    # What is changed.

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

    async def remove(self, key: str, etag: str = "") -> None:
        """Delete an object; one that is gone is as good. With an ``etag`` only the object that has it, on servers that
        know such a condition (else ObjectChanged); the others delete whatever is there.
        """
        headers = {"if-match": f'"{etag}"'} if etag else {}
        request = Request("Delete", "DELETE", self.bucket, self.key_of(key), headers=headers, good=(204, 200, 404))
        await self.client.call(request)

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

    # What the endpoint takes.

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


def checked_key(full: str) -> str:
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


def left_behind(error: SternaError | TimeoutError) -> str:
    """What to say where an object that should not stand there could not be taken back."""
    why = printable(error.sentence).rstrip(".") if isinstance(error, SternaError) else "no answer in time"
    return (
        f"What was stored of it could not be taken back ({why}); remove it, or the next run may take it for the file."
    )
