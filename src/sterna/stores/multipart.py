"""Multipart uploads of a bucket: begun, fed part by part, joined to one object or given up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from sterna.model.errors import Corrupt, ObjectChanged, RetryLater, SternaError
from sterna.model.units import printable
from sterna.stores.learned import check_sum, is_same_md5, may_refuse_condition, other_bytes, refuses_checksum
from sterna.stores.objects import Condition, left_behind, said_by
from sterna.stores.s3 import S3Store
from sterna.wire.checksum import NAMES, algorithm, content_md5
from sterna.wire.client import Body, Request
from sterna.wire.connection import FilePart, Response
from sterna.wire.encoding import encode_value
from sterna.wire.xml import as_text

if TYPE_CHECKING:
    from xml.etree import ElementTree as ET

_PAGE_PARTS = 1000
_PARTING_S = 2.0  # for what must be cleared away at the end of a run: the server may be gone


class Part(msgspec.Struct, frozen=True):
    """One uploaded part. ``crc`` is its sum as a number, or None with Content-MD5; ``is_sum_shown`` says that the server has
    shown that sum."""

    number: int
    size: int
    etag: str
    crc: int | None = None
    is_sum_shown: bool = False


class Sent(msgspec.Struct, frozen=True, gc=False):
    """A part as the server shows it: ``sums`` by name, in Base64."""

    number: int
    size: int
    etag: str
    sums: Mapping[str, str]


class Upload(msgspec.Struct):
    """A multipart upload under way: one checksum algorithm from its creation to its end (H18)."""

    key: str
    id: str
    token: str
    checksum: str
    parts: dict[int, Part] = msgspec.field(default_factory=dict)


class Multipart:
    """The multipart uploads of one store. Whoever calls is within the gate already, but for ``abort``: to tidy up waits
    for nobody."""

    def __init__(self, store: S3Store) -> None:
        self._store = store

    def __repr__(self) -> str:
        return f"<Multipart uploads of {self._store!r}>"

    async def create(self, key: str, headers: dict[str, str], token: str, *, is_copy: bool = False) -> Upload:
        """Begin a multipart upload that carries ``token`` in its metadata, by which its object is known as ours (H06).

        ``is_copy``: its parts are to be copied by the server, so that there is no sum of ours.
        """
        store = self._store
        while True:
            name = "MD5" if is_copy else self._store.learned.candidate
            sums = {} if name == "MD5" else {"x-amz-checksum-algorithm": name}
            if sums and not self._store.learned.composite:
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

            named = {**headers, "x-amz-meta-sterna-token": token, **sums, **store.own_headers}
            request = Request("CreateUpload", "POST", store.bucket, store.key_of(key), query="uploads=", headers=named,
                              check=has_id)  # fmt: skip
            try:
                await store.client.send(request)
            except SternaError as error:
                if is_copy or not refuses_checksum(error) or not self._store.learned.refused(name):
                    raise
                continue
            return Upload(key, upload_id, token, name)

    async def put_part(
        self, upload: Upload, number: int, data: Body, crc: int | None, restart: Callable[[], None] | None = None,
        passed: Callable[[int], None] | None = None,
    ) -> Part:  # fmt: skip
        """Send one part; ``crc`` is its sum by the upload's algorithm. Raises Corrupt where the server shows another.

        ``restart`` is called before each further attempt, and may raise where there is no use in one; ``passed`` is told
        of the bytes that went out.
        """
        if not self._store.learned.checksum:
            async with self._store.one_at_first():
                if not self._store.learned.checksum:
                    return await self._put_part(upload, number, data, crc, restart, passed)
        return await self._put_part(upload, number, data, crc, restart, passed)

    async def copy_part(self, upload: Upload, number: int, start: int, length: int, source: dict[str, str]) -> Part:
        """Have the server make one part out of the bytes from ``start`` of the object that ``source`` names."""
        etag = ""

        def is_copied(response: Response) -> None:
            nonlocal etag
            etag = said_by(response, "CopyPartResult", "CopyPart", upload.key).findtext("ETag") or ""
            if not etag:
                raise Corrupt(
                    f"The server copied part {number} and gave it no ETag.", operation="CopyPart", key=upload.key
                )

        store = self._store
        span = {"x-amz-copy-source-range": f"bytes={start}-{start + length - 1}"}
        request = Request("CopyPart", "PUT", store.bucket, store.key_of(upload.key),
                          headers={**source, **span, **store.own_headers}, check=is_copied, takes_long=True,
                          query=f"partNumber={number}&uploadId={encode_value(upload.id)}")  # fmt: skip
        await store.client.send(request)
        part = upload.parts[number] = Part(number, length, etag)
        return part

    def takes_files(self, upload: Upload) -> bool:
        """Whether a part may be a FilePart: the server checks its sum, so that a file that changes meanwhile is found."""
        return (
            self._store.client.sends_files
            and upload.checksum != "MD5"
            and self._store.learned.checksum == upload.checksum
        )

    async def _put_part(
        self, upload: Upload, number: int, data: Body, crc: int | None, restart: Callable[[], None] | None,
        passed: Callable[[int], None] | None,
    ) -> Part:  # fmt: skip
        store = self._store
        headers: dict[str, str] = dict(store.own_headers)
        expected = ""
        if upload.checksum != "MD5":
            kind = algorithm(upload.checksum)
            assert crc is not None
            expected = kind.encode(crc)
            headers[kind.header] = expected
            headers["x-amz-sdk-checksum-algorithm"] = upload.checksum
        if self._store.learned.checksum != upload.checksum or upload.checksum == "MD5":
            assert not isinstance(data, FilePart)
            headers["content-md5"] = await asyncio.to_thread(content_md5, data)

        def is_right(response: Response) -> None:
            if not response.text(b"etag"):
                raise Corrupt(
                    f"The server took part {number} and gave it no ETag.", operation="UploadPart", key=upload.key
                )
            check_sum(upload.checksum, expected, upload.key, response)
            same = is_same_md5(response, headers, sealed=bool(store.own_headers))
            if same is False and self._store.learned.part_etag_is_md5:
                raise other_bytes(upload.key, f"the MD5 of part {number}")
            self._store.learned.part_etag_is_md5 |= bool(same)

        request = Request("UploadPart", "PUT", store.bucket, store.key_of(upload.key), headers=headers, body=data,
                          query=f"partNumber={number}&uploadId={encode_value(upload.id)}",
                          restart=restart, check=is_right, passed=passed)  # fmt: skip
        response = await store.client.send(request)
        proof = self._store.learned.proof(upload.checksum, response)
        part = Part(number, len(data), response.text(b"etag"), crc, is_sum_shown=proof == upload.checksum)
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

    async def complete(self, upload: Upload, size: int, condition: Condition | None = None) -> tuple[str, str]:
        """Join the parts; gives the ETag and the proof. Only a whole, well-formed result counts (H01, H02).

        Where the answer was lost, was none, or says that there is no such upload (any more), the object is looked at:
        it is ours when it has our token, size and sum (H06, H07). One that is ours, and by what the server shows or has
        refused is not what was sent, is taken back: the next run would take it for the file. A ``condition`` holds
        where the server knows such: ObjectChanged or ObjectGone says that something else stands there.
        """
        if sum(part.size for part in upload.parts.values()) != size:
            raise SternaError(
                f"{printable(upload.key)}: the parts do not add up to {size} bytes.",
                operation="Complete",
                key=upload.key,
            )
        store = self._store
        whole, composite = self.whole_sum(upload)
        kind = algorithm(upload.checksum) if whole else None
        shown_sums = bool(kind) and self._store.learned.checksum == upload.checksum
        tag = f"Checksum{upload.checksum}"
        listed = "".join(
            f"<Part><PartNumber>{part.number}</PartNumber><ETag>{as_text(part.etag)}</ETag>"
            + (f"<{tag}>{kind.encode(part.crc)}</{tag}>" if kind and part.crc is not None and shown_sums else "")
            + "</Part>"
            for _, part in sorted(upload.parts.items())
        )
        body = f'<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{listed}</CompleteMultipartUpload>'.encode()
        etag = shown = ""
        right = {whole, composite, composite.partition("-")[0]}
        is_doubted = is_denied = False  # the server has shown another sum than ours or refused ours; it has refused it

        def is_joined(response: Response) -> None:
            nonlocal etag, shown, is_doubted
            element = said_by(response, "CompleteMultipartUploadResult", "Complete", upload.key)
            etag = (element.findtext("ETag") or "").strip('"')
            shown = element.findtext(tag) or response.text(kind.header.encode() if kind else b"-")
            if shown and shown not in right:
                is_doubted = True
                raise _joined_other(upload.key)

        asked, left_off = store.obeyed(condition or {}), Condition()
        while True:
            headers = {"content-type": "application/xml", **store.own_headers, **asked}
            if kind and shown_sums and not self._store.learned.composite and not is_denied:
                headers |= {kind.header: whole, "x-amz-checksum-type": "FULL_OBJECT", "x-amz-mp-object-size": str(size)}
            says_whole = "x-amz-checksum-type" in headers
            # Sent again by the retry table: S3 answers a repeated Complete as it did the first, others NoSuchUpload.
            request = Request("Complete", "POST", store.bucket, store.key_of(upload.key), headers=headers, body=body,
                              query=f"uploadId={encode_value(upload.id)}", check=is_joined, takes_long=True,
                              final=("ConditionalRequestConflict", *(("BadDigest",) if says_whole else ())))  # fmt: skip
            try:
                await store.client.send(request)
            except asyncio.CancelledError:
                if is_doubted:
                    with suppress(SternaError, TimeoutError):
                        look = self._made(upload, size, right, is_doubted=True)
                        await asyncio.shield(asyncio.wait_for(look, _PARTING_S))
                raise
            except SternaError as error:
                if asked and may_refuse_condition(error):
                    asked, left_off = Condition(), asked  # it may be that; what is wrong otherwise comes again
                    continue
                refused = ("BadDigest", "InvalidRequest", "InvalidArgument", "NotImplemented")
                if says_whole and error.code in refused:
                    # Every part was checked; this server may only know the sum of sums. Say so no more, and compare that.
                    if error.code == "BadDigest":  # or it is right, which only a sum that it shows can tell
                        is_doubted = is_denied = True
                    else:
                        self._store.learned.composite = True
                    asked, left_off = asked or left_off, Condition()
                    continue
                is_refused = bool(asked) and isinstance(error, ObjectChanged)
                if not isinstance(error, RetryLater) and error.code != "NoSuchUpload" and not is_refused:
                    raise
                found = await self._made(upload, size, right, is_doubted=is_doubted)
                if found is None:
                    raise
                self._store.learned.composite |= is_denied
                return found
            store.refuses(left_off)
            if not etag or (is_doubted and not shown):  # Ceph 16 shows no ETag; a look says what the server holds
                found = await self._made(upload, size, right, is_doubted=is_doubted)
                if found is None:
                    raise Corrupt(
                        "The server joined the parts and shows no ETag.", operation="Complete", key=upload.key
                    )
                self._store.learned.composite |= is_denied
                return found
            self._store.learned.composite |= is_denied
            return etag, upload.checksum if shown else _proof_of_parts(upload) if shown_sums else "Content-MD5"

    async def _made(
        self, upload: Upload, size: int, right: Container[str], *, is_doubted: bool
    ) -> tuple[str, str] | None:
        """The ETag and the proof of the object that this upload made, if it is there. Where it is there and wrong it is
        taken back, and Corrupt raised: it shows another sum than the ``right`` ones, or none while ours ``is_doubted``.
        """
        store = self._store
        found = await store.head_in_gate(upload.key)
        if found is None or found.entry.size != size or found.metadata.get("sterna-token") != upload.token:
            return None
        shown = found.checksum if found.checksum_name == upload.checksum else ""
        if shown in right if shown else not is_doubted:
            return found.entry.etag, found.checksum_name or "token"
        error = _joined_other(upload.key)
        try:
            await store.take_back(found)
        except SternaError as trouble:
            error.sentence += f" {left_behind(trouble)}"
        raise error

    async def sent(self, key: str, upload_id: str) -> tuple[list[Sent], str]:
        """What the server has of an upload, in the order of its parts, and by which checksum it was begun (empty where
        the server shows none). ObjectGone with the code NoSuchUpload: there is none any more.

        A thousand parts at a time; pages that contradict themselves are Corrupt, as those of a listing are (H80).
        """
        parts: list[Sent] = []
        checksum, after = "", 0
        while True:
            page: ET.Element | None = None

            def is_page(response: Response) -> None:
                nonlocal page
                page = said_by(response, "ListPartsResult", "ListParts", key)

            store = self._store
            query = f"max-parts={_PAGE_PARTS}&part-number-marker={after}&uploadId={encode_value(upload_id)}"
            await store.client.send(
                Request(
                    "ListParts",
                    "GET",
                    store.bucket,
                    store.key_of(key),
                    query=query,
                    headers=store.own_headers,
                    check=is_page,
                )
            )
            assert page is not None
            checksum = page.findtext("ChecksumAlgorithm") or checksum
            parts += _parts_shown(page, after, key)
            if (page.findtext("IsTruncated") or "").strip().lower() != "true":
                return parts, checksum if checksum in NAMES else ""
            if not parts or parts[-1].number <= after:
                raise Corrupt("The server says that more parts follow, and shows none.", operation="ListParts", key=key)
            after = parts[-1].number

    async def abort(self, upload: Upload) -> None:
        """Give an upload up. Content when it is already gone."""
        request = Request("Abort", "DELETE", self._store.bucket, self._store.key_of(upload.key), good=(204, 200, 404),
                          query=f"uploadId={encode_value(upload.id)}")  # fmt: skip
        await self._store.client.send(request)


def _parts_shown(page: ET.Element, after: int, key: str) -> list[Sent]:
    """The parts on a page of ListParts, whose numbers must ascend from ``after``."""
    parts: list[Sent] = []
    for shown in page.iter("Part"):
        said = {node.tag: node.text or "" for node in shown}
        number, size = said.get("PartNumber", ""), said.get("Size", "")
        if not (number.isdecimal() and size.isdecimal() and len(number) < 6 and len(size) < 20):
            raise Corrupt("A part is shown without its number or size.", operation="ListParts", key=key)
        last = parts[-1].number if parts else after
        if int(number) <= last:
            raise Corrupt(f"Part {number} is shown after part {last}.", operation="ListParts", key=key)
        sums = {name: said[f"Checksum{name}"] for name in NAMES if said.get(f"Checksum{name}")}
        parts.append(Sent(int(number), int(size), said.get("ETag", ""), sums))
    return parts


def _proof_of_parts(upload: Upload) -> str:
    """None where the server took a part and did not show what it summed: then the look afterwards is all there is."""
    return "part sums" if all(part.is_sum_shown for part in upload.parts.values()) else ""


def _joined_other(key: str) -> Corrupt:
    return Corrupt(f"{printable(key)}: the server joined other bytes than were sent.", operation="Complete", key=key)
