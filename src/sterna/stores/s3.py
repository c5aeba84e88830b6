"""A bucket and a prefix as a store: its listing, its objects, and the bucket itself."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

from sterna.model.entry import Entry
from sterna.model.errors import Corrupt, ObjectGone, SternaError, Unsupported, WrongSetting
from sterna.model.location import BucketPath
from sterna.model.units import printable
from sterna.stores.listing import Ask, Listing, Traits
from sterna.stores.objects import Condition, Objects, checked_key
from sterna.stores.puts import Summed, put_object
from sterna.stores.store import StorePage
from sterna.wire.checksum import content_md5
from sterna.wire.client import Body, Client, Request
from sterna.wire.connection import Response
from sterna.wire.encoding import encode_query
from sterna.wire.xml import Asked, Page, as_text, check_page, parse_document, parse_page

PAGE_KEYS = 1000
_UNORDERED = "--x-s3"  # so end the names of S3's directory buckets, which list in no order


class S3Store(Objects):
    """The objects below ``location`` as a ``Store``; keys are relative to its prefix."""

    def __init__(self, client: Client, location: BucketPath, own_headers: dict[str, str] | None = None) -> None:
        super().__init__(client, location, own_headers)
        self._listing_traits = Traits(unordered=location.bucket.endswith(_UNORDERED))

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

    @property
    def is_unordered(self) -> bool:
        """Whether this bucket lists in no order, so that a part of a listing says nothing of what is not in it."""
        return self._listing_traits.unordered

    # Objects.

    async def look(self, key: str) -> Entry | None:
        found = await self.head(key)
        return found.entry if found is not None else None

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
                    return await put_object(self, key, data, headers, condition or {})
        return await put_object(self, key, data, headers, condition or {}, summed)

    async def write(self, key: str, data: bytes) -> Entry:
        async with self.client.gate:
            await self.put(key, data, {})
        found = await self.look(key)
        if found is None or found.size != len(data):
            raise SternaError(f"{printable(key)} was taken and is not there.", operation="Put", key=key)
        return found

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


class OneObject(S3Store):
    """A store of a single object, whose full key is ``full`` whatever it is called on the other side."""

    def __init__(self, client: Client, location: BucketPath, own_headers: dict[str, str], *, full: str) -> None:
        super().__init__(client, location, own_headers)
        self._full = full

    def key_of(self, key: str) -> str:
        return checked_key(self._full)


def _check_ascending(entries: list[Entry], last: str) -> None:
    keys = [entry.key for entry in entries]
    if keys and (keys[0] <= last or not all(map(operator.lt, keys, keys[1:]))):
        raise Corrupt(
            "The server lists keys in another order than their bytes', or twice; this listing cannot be trusted.",
            operation="List",
        )
