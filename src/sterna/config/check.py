"""Find out what works with a location and what its server or file system can do, and say what to change.

A bucket is tried with small objects of our own under names that nobody else has; they are removed again, whatever
comes between. No probe that fails ends the examination: what it met becomes a finding.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import socket
import sys
import time
import unicodedata
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element

import msgspec

from sterna.model.errors import CredentialsExpired, SternaError, WrongSetting
from sterna.model.events import Event, Notice
from sterna.model.location import BucketPath, LocalPath, Location
from sterna.model.units import GIB, printable, size_words
from sterna.wire.checksum import NAMES, algorithm, content_md5
from sterna.wire.client import Client, Request
from sterna.wire.connection import Response
from sterna.wire.credentials import CredentialSource
from sterna.wire.encoding import decode_key, encode_query
from sterna.wire.endpoints import Endpoint, addressing_from_environment, endpoints_for, tls_context
from sterna.wire.proxies import proxy_for
from sterna.wire.retry import Retries, judge
from sterna.wire.side import Side
from sterna.wire.xml import parse_document

if TYPE_CHECKING:
    import ssl

_PROBE = ".sterna-check-"
_DATA = b"Sterna looked whether this place works; whoever finds this may delete it.\n"
_RETRIES = Retries(attempts=3)  # an examination should rather say that a server is not well than wait for it
_CONNECT_S = 8.0
_ANY_ANSWER = tuple(status for status in range(200, 600) if status not in (429, 500, 502, 503, 504))
_CERTIFICATE_DAYS = 14
_SKEW_REFUSED_S = 15 * 60.0  # what S3 allows; we re-sign by the server's clock, other tools fail
_SKEW_NOTED_S = 5.0
_LOW_SPACE = GIB
_SUMS = (*NAMES, "SHA256", "Content-MD5")
# Neighbours whose order tells apart: UTF-8 bytes, UTF-16 units (emoji before U+FFFD), locales (A beside a), file
# trees (a- and a. inside or after a/). In the right order here.
_ORDERED = ("A", "a", "a-", "a.", "a/b", "aa", "x y+z%2B", "é", "\ufffd", "\U0001f600")


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at. ``ok``: True works, False must be changed (``advice`` says how), None is a fact."""

    name: str
    ok: bool | None
    words: str
    advice: str = ""


async def check(location: Location, side: Side) -> AsyncIterator[Finding]:
    """Examine a folder or a bucket; findings come as they are made. A bucket is left as it was found."""
    if isinstance(location, LocalPath):
        for finding in await asyncio.to_thread(lambda: list(_folder_findings(location.path))):
            yield finding
        return
    examination = _Examination(location, side)
    try:
        async for finding in examination.findings():
            yield finding
        for finding in await examination.tidied():
            yield finding
    finally:
        await examination.aclose()


class _Examination:
    """One bucket under examination: what was put there, so that it can be removed, and what was learned so far."""

    def __init__(self, location: BucketPath, side: Side) -> None:
        self._location = location
        self._bucket = location.bucket
        self._side = replace(side, retries=_RETRIES)
        self._base = f"{location.prefix}{_PROBE}{secrets.token_hex(6)}"
        self._client: Client | None = None
        self._notices: list[str] = []
        self._made: dict[str, list[str]] = {}  # key → versions
        self._uploads: dict[str, str] = {}  # upload id → key
        self._answers = self._closed = 0
        self._quickest_s = float("inf")
        self._may: dict[str, bool] = {}
        self._is_tidied = False

    async def aclose(self) -> None:
        """Remove what is still there, when nobody waits for findings any more, and end the connections."""
        if self._client is not None:
            if not self._is_tidied:
                with contextlib.suppress(SternaError):
                    await self._tidy()
            await self._client.aclose()

    async def findings(self) -> AsyncIterator[Finding]:
        """All of them, the ones that others rest on first."""
        try:
            endpoints = endpoints_for(addressing_from_environment(self._side.addressing, os.environ), self._bucket)
        except SternaError as error:
            yield Finding(
                "settings", False, error.sentence, "Change the option or the variable that the sentence names."
            )
            return
        can_sign = True
        async for finding in self._credentials():
            can_sign = can_sign and finding.ok is not False
            yield finding
        reached = 0
        for endpoint in endpoints:
            async for finding in self._endpoint(endpoint):
                reached += finding.name == "endpoint" and finding.ok is not False
                yield finding
        if not can_sign or not reached:
            return
        self._client = Client(self._side, self._bucket, emit=self._heard)
        there = False
        async for finding in self._examined("bucket", self._bucket_itself):
            there = there or (finding.name == "bucket" and finding.ok is True)
            yield finding
        if not there:
            return
        for name, step in (
            ("list", self._list),
            ("put", self._objects),
            ("multipart", self._multipart),
            ("checksums", self._checksums),
            ("conditional writes", self._conditions),
            ("listing order", self._order),
            ("versions", self._versions),
        ):
            async for finding in self._examined(name, step):
                yield finding
        yield self._connections()

    async def _examined(self, name: str, step: Callable[[], AsyncIterator[Finding]]) -> AsyncIterator[Finding]:
        """The findings of a step; an error that ends it is one more."""
        try:
            async for finding in step():
                yield finding
        except SternaError as error:
            yield Finding(name, False, error.sentence, _advice_for(error))

    def _heard(self, event: Event) -> None:
        if isinstance(event, Notice):
            self._notices.append(event.sentence)

    # Requests.

    async def _ask(
        self,
        operation: str,
        method: str,
        key: str = "",
        query: Sequence[tuple[str, str]] = (),
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
    ) -> Response:
        """Send, and give the answer whatever its status. Raises SternaError where there is none, or only busy ones."""
        assert self._client is not None
        request = Request(
            operation,
            method,
            self._bucket,
            key,
            query=encode_query(query),
            headers=headers,
            body=body,
            good=_ANY_ANSWER,
        )
        began = time.perf_counter()
        response = await self._client.call(request)
        self._quickest_s = min(self._quickest_s, time.perf_counter() - began)
        self._answers += 1
        self._closed += response.headers.get(b"connection", b"").lower() == b"close"
        if method == "DELETE" and not query and (version := response.text(b"x-amz-version-id")):
            self._made.setdefault(key, []).append(version)  # of a delete marker that is ours too
        return response

    async def _put(self, name: str, headers: dict[str, str] | None = None, data: bytes = _DATA) -> Response:
        """Put a probe object; it is remembered before it is sent, since an answer may get lost."""
        key = self._base + name
        is_first = key not in self._made
        self._made.setdefault(key, [])
        response = await self._ask("Put", "PUT", key, headers=headers, body=data)
        if response.status == 200:
            if version := response.text(b"x-amz-version-id"):
                self._made[key].append(version)
        elif is_first:
            del self._made[key]
        return response

    async def _is_put(self, name: str) -> bool:
        """Whether an empty object of this name is taken; a server that stumbles over the name does not take it."""
        try:
            return (await self._put(name, data=b"")).status == 200
        except SternaError:
            return False

    def _refusal(self, response: Response, operation: str, key: str = "") -> SternaError:
        return judge(response, operation, self._bucket, key)

    def _denied(self, name: str, response: Response, operation: str, permission: str, purpose: str) -> Finding:
        error = self._refusal(response, operation)
        self._may[name] = False
        said = printable(error.code if not error.words else f"{error.code}: {error.words}")
        if response.status != 403:
            return Finding(name, False, f"failed ({said}).", f"Without it there are no {purpose}.")
        return Finding(
            name,
            False,
            f"denied ({said}).",
            f"Allow {permission} on {self._resource(permission)}, or use other credentials; it is needed for {purpose}.",
        )

    def _resource(self, permission: str) -> str:
        bucket = f"arn:aws:s3:::{self._bucket}"
        return (
            bucket
            if permission in ("s3:ListBucket", "s3:GetBucketVersioning")
            else f"{bucket}/{self._location.prefix}*"
        )

    # Who we are, and the way there.

    async def _credentials(self) -> AsyncIterator[Finding]:
        source = CredentialSource(self._side.identity, os.environ)
        try:
            found = await asyncio.to_thread(source.now)
        except SternaError as error:
            yield Finding("credentials", False, error.sentence, _advice_for(error))
            return
        if found is None:
            yield Finding("credentials", None, "none: requests are anonymous (--no-sign-request).")
            return
        shown = f"{found.access_key[:4]}…{found.access_key[-4:]}" if len(found.access_key) > 11 else found.access_key
        words = f"from the {found.source}, access key {printable(shown)}"
        if found.expires_s is None:
            yield Finding("credentials", True, f"{words}, without an end that is known.")
            return
        left_s = found.expires_s - time.time()
        until = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found.expires_s))
        advice = "" if left_s > 900 else "They end soon; renew them before a long run."
        yield Finding("credentials", left_s > 0, f"{words}, valid until {until} ({_span_words(left_s)}).", advice)

    async def _endpoint(self, endpoint: Endpoint) -> AsyncIterator[Finding]:
        """Name, addresses, TCP and TLS of one endpoint, by connections of our own."""
        where = f"{endpoint.host}:{endpoint.port}"
        try:
            proxy = proxy_for(endpoint, os.environ)
        except SternaError as error:
            yield Finding("endpoint", False, error.sentence, "Change or unset the proxy variable.")
            return
        if proxy is not None:
            yield Finding("endpoint", None, f"{endpoint}, through the proxy {proxy}; what is behind it shows below.")
            return
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
        except OSError as error:
            words = f"The name {endpoint.host} cannot be looked up ({error.strerror or error})."
            yield Finding("endpoint", False, words, "Look at --endpoint-url, --region and this machine's name service.")
            return
        addresses = list(dict.fromkeys((family, address[0]) for family, _, _, _, address in found))
        tried = await asyncio.gather(*(_tcp(family, str(address), endpoint.port) for family, address in addresses[:16]))
        silent = [f"{address} ({error})" for (_, address), error in zip(addresses, tried, strict=False) if error]
        many = f"{len(addresses)} address{'' if len(addresses) == 1 else 'es'}"
        if len(silent) == len(tried):
            words = f"{where} has {many}, and none answers: {'; '.join(silent[:3])}."
            yield Finding(
                "endpoint", False, words, "Look at --endpoint-url, at firewalls, and whether a proxy is needed."
            )
            return
        if silent:
            words = f"{where} has {many}; no answer from {', '.join(silent[:3])}."
            yield Finding(
                "endpoint", None, words, "Sterna goes to the others; a broken route costs time at each start."
            )
        else:
            yield Finding(
                "endpoint", True, f"{endpoint} has {many}, {'which answers' if len(addresses) == 1 else 'all answer'}."
            )
        if endpoint.is_tls:
            yield await self._tls(endpoint)
        elif not endpoint.is_loopback:
            advice = "Use https:// where the server has it; over http:// anybody on the way reads the objects."
            yield Finding("TLS", None, "not used: what is sent can be read on the way.", advice)

    async def _tls(self, endpoint: Endpoint) -> Finding:
        import ssl

        where = f"{endpoint.host}:{endpoint.port}"
        addressing = addressing_from_environment(self._side.addressing, os.environ)
        try:
            context = tls_context(addressing)
            async with asyncio.timeout(_CONNECT_S):
                _, writer = await asyncio.open_connection(
                    endpoint.host, endpoint.port, ssl=context, server_hostname=endpoint.host
                )
        except SternaError as error:
            return Finding("TLS", False, error.sentence, "Give another --ca-bundle.")
        except ssl.SSLCertVerificationError as error:
            advice = "Give the certificate of its authority with --ca-bundle FILE, or have the server's renewed."
            return Finding("TLS", False, f"The certificate of {where} is not trusted: {error.verify_message}.", advice)
        except (OSError, TimeoutError) as error:
            said = getattr(error, "reason", None) or error.strerror or type(error).__name__
            advice = "If the server does not speak TLS, write http:// in --endpoint-url."
            return Finding("TLS", False, f"No TLS with {where}: {said}.", advice)
        try:
            return _tls_finding(writer.get_extra_info("ssl_object"), is_checked=addressing.verify_tls)
        finally:
            writer.close()
            with contextlib.suppress(OSError, ssl.SSLError, TimeoutError):
                async with asyncio.timeout(1):
                    await writer.wait_closed()

    async def _bucket_itself(self) -> AsyncIterator[Finding]:
        began_s = time.time()
        response = await self._ask("HeadBucket", "HEAD")
        ended_s = time.time()
        assert self._client is not None
        yield _clock(response, began_s, ended_s)
        name = f"s3://{self._bucket}"
        if response.status == 404:
            advice = f"Create it with: sterna mb {name} — or look for a slip in the name."
            yield Finding("bucket", False, f"{name} does not exist.", advice)
            return
        if response.status in (401, 403):
            # HEAD has no body; a listing says why.
            answer = await self._ask("List", "GET", query=[("list-type", "2"), ("max-keys", "1")])
            if answer.status == 200:
                yield Finding("bucket", True, f"{name} is there (HEAD is denied, listing is not).")
                return
            error = self._refusal(answer, "List")
            is_ours = error.code == "AccessDenied"
            if is_ours and self._side.identity.anonymous:
                yield Finding("bucket", True, f"{name} is there, or hidden: anonymous requests may not look at it.")
            elif is_ours:
                yield Finding("bucket", True, f"{name} is there, as far as one can know: looking at it is denied.")
            else:
                yield Finding("bucket", False, error.sentence, _advice_for(error))
            return
        if response.status != 200:
            error = self._refusal(response, "HeadBucket")
            yield Finding("bucket", False, error.sentence, _advice_for(error))
            return
        yield Finding("bucket", True, f"{name} is there.")
        region = response.text(b"x-amz-bucket-region") or self._client.region
        words = f"{printable(region)}."
        if self._notices:
            yield Finding(
                "region", None, " ".join(self._notices), f"Give --region {region}: it saves a refusal at each start."
            )
        else:
            yield Finding("region", True, words)

    # What we may do.

    async def _list(self) -> AsyncIterator[Finding]:
        query = [("list-type", "2"), ("max-keys", "2"), ("encoding-type", "url")]
        if self._location.prefix:
            query.append(("prefix", self._location.prefix))
        response = await self._ask("List", "GET", query=query)
        if response.status != 200:
            yield self._denied("list", response, "List", "s3:ListBucket", "sync, ls, du and proofs by listing")
            return
        answer = parse_document(response.body, "ListBucketResult", "List")
        self._may["list"] = True
        there = "something is there already" if answer.find("Contents") is not None else "nothing is there yet"
        yield Finding("list", True, f"allowed; {there}.")

    async def _objects(self) -> AsyncIterator[Finding]:
        """Put, head, get and delete, each by itself."""
        sent = {"content-md5": content_md5(_DATA), "x-amz-meta-mtime": "1234567890.123456789"}
        put = await self._put("", sent)
        if put.status != 200:
            yield self._denied("put", put, "Put", "s3:PutObject", "uploads")
            return
        self._may["put"] = True
        yield Finding("put", True, "allowed.")
        key = self._base
        head = await self._ask("Head", "HEAD", key)
        if head.status == 200:
            yield _head_finding(head)
        elif head.status == 404:
            words = "The object that was put is not there: the server says yes and does not keep."
            yield Finding("head", False, words, "Do not trust this server with data before that is understood.")
        else:
            yield self._denied("head", head, "Head", "s3:GetObject", "looks at single objects")
        get = await self._ask("Get", "GET", key)
        if get.status != 200:
            yield self._denied("get", get, "Get", "s3:GetObject", "downloads")
        elif bytes(get.body) != _DATA:
            yield Finding("get", False, "Other bytes came back than were put.", "Look for a proxy that changes bodies.")
        else:
            self._may["get"] = True
            yield Finding("get", True, "allowed; the bytes came back as they were put.")
            yield await self._partial_get(put.text(b"etag"))
        yield await self._delete(key)

    async def _partial_get(self, etag: str) -> Finding:
        """Ranges pinned by If-Match, on which downloads in parts rest (H42)."""
        part = await self._ask("Get", "GET", self._base, headers={"range": "bytes=7-13", "if-match": etag})
        other = await self._ask("Get", "GET", self._base, headers={"range": "bytes=7-13", "if-match": '"0"'})
        if part.status not in (200, 206) or bytes(part.body) != _DATA[7:14]:
            words = f"A range is answered with status {part.status} and other bytes."
            return Finding("ranges", False, words, "Objects above 8 MiB cannot be downloaded from here.")
        if other.status != 412:
            words = "answered, but If-Match is ignored: of an object that changes meanwhile, parts of two versions may come."
            return Finding(
                "ranges", None, words, "Sterna compares the checksum of the whole, where the object has one."
            )
        return Finding("ranges", True, "answered, and pinned to one version by If-Match.")

    async def _delete(self, key: str) -> Finding:
        response = await self._ask("Delete", "DELETE", key)
        if response.status not in (200, 204):
            return self._denied(
                "delete", response, "Delete", "s3:DeleteObject", "rm, and for tidying up after this check"
            )
        look = await self._ask("Head", "HEAD", key)
        if look.status == 200:
            return Finding("delete", False, "The server says that it deleted, and still has the object.", "")
        self._may["delete"] = True
        if not self._made.get(key):
            self._made.pop(key, None)
        return Finding("delete", True, "allowed; the object is gone.")

    async def _multipart(self) -> AsyncIterator[Finding]:
        if not self._may.get("put"):
            return
        key = self._base + "-multipart"
        created = await self._create_upload(key)
        if isinstance(created, Response):
            yield self._denied("multipart", created, "CreateUpload", "s3:PutObject", "uploads above 8 MiB")
            return
        aborted = await self._ask("Abort", "DELETE", key, [("uploadId", created)])
        if aborted.status in (200, 204):
            self._uploads.pop(created, None)
            yield Finding("multipart", True, "uploads can be begun and given up.")
        else:
            said = self._refusal(aborted, "Abort").code
            advice = "Allow s3:AbortMultipartUpload; parts that cannot be given up are paid for."
            yield Finding(
                "multipart", False, f"An upload was begun and cannot be given up ({printable(said)}).", advice
            )
        yield await self._whole_sum()

    async def _create_upload(self, key: str, headers: dict[str, str] | None = None) -> str | Response:
        response = await self._ask("CreateUpload", "POST", key, [("uploads", "")], headers)
        if response.status != 200:
            return response
        root = b"InitiateMultipartUploadResult"
        if root not in response.body:
            root = b"InitiateMultipartUpload"  # as rclone names it
        answer = parse_document(response.body, root.decode(), "CreateUpload")
        upload = answer.findtext("UploadId") or ""
        self._uploads[upload] = key
        return upload

    async def _whole_sum(self) -> Finding:
        """Whether the CRC64NVME of a whole multipart object is taken, checked and shown."""
        name = "whole-object checksum"
        advice = "Sterna compares the sums of the parts instead."
        right = await self._completed("-whole", 0)
        if isinstance(right, str):
            return Finding(name, None, f"not for multipart uploads ({printable(right)}).", advice)
        crc = algorithm("CRC64NVME")
        value = crc.encode(crc.update(_DATA, 0))
        shown = (right.findtext("ChecksumCRC64NVME") or "") == value
        wrong = await self._completed("-wrong", 1)
        if not isinstance(wrong, str):
            words = f"of a multipart upload: {'shown' if shown else 'taken and not shown'}; a wrong one is accepted."
            return Finding(name, None, words, "Sterna compares what is shown; what is only taken proves nothing.")
        words = "of a multipart upload: a wrong one is refused" + (
            ", the right one is shown." if shown else "; none is shown."
        )
        return Finding(name, True, words)

    async def _completed(self, name: str, change: int) -> Element | str:
        """One part, completed with a CRC64NVME that is off by ``change``; the result, or the code of the refusal."""
        key = self._base + name
        crc = algorithm("CRC64NVME")
        value = crc.update(_DATA, 0)
        kind = {"x-amz-checksum-algorithm": "CRC64NVME", "x-amz-checksum-type": "FULL_OBJECT"}
        upload = await self._create_upload(key, kind)
        if isinstance(upload, Response):
            return self._refusal(upload, "CreateUpload").code
        query = [("partNumber", "1"), ("uploadId", upload)]
        sums = {crc.header: crc.encode(value), "x-amz-sdk-checksum-algorithm": "CRC64NVME"}
        part = await self._ask("UploadPart", "PUT", key, query, sums, _DATA)
        if part.status != 200:
            return self._refusal(part, "UploadPart").code
        listed = f"<Part><PartNumber>1</PartNumber><ETag>{part.text(b'etag')}</ETag>"
        listed += f"<ChecksumCRC64NVME>{crc.encode(value)}</ChecksumCRC64NVME></Part>"
        body = f'<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{listed}</CompleteMultipartUpload>'
        headers = {crc.header: crc.encode(value ^ change), "x-amz-checksum-type": "FULL_OBJECT"}
        headers |= {"x-amz-mp-object-size": str(len(_DATA)), "content-type": "application/xml"}
        self._made[key] = []
        response = await self._ask("Complete", "POST", key, [("uploadId", upload)], headers, body.encode())
        if response.status != 200:
            del self._made[key]
            return self._refusal(response, "Complete").code
        try:
            answer = parse_document(response.body, "CompleteMultipartUploadResult", "Complete")
        except SternaError:
            return self._refusal(response, "Complete").code
        self._uploads.pop(upload, None)
        if version := response.text(b"x-amz-version-id"):
            self._made[key].append(version)
        return answer

    # What the server can do.

    async def _checksums(self) -> AsyncIterator[Finding]:
        if not self._may.get("put"):
            return
        echoed: list[str] = []
        refused: list[str] = []
        for name in _SUMS:
            finding, is_echoed, is_checked = await self._checksum(name)
            echoed += [name] * is_echoed
            refused += [name] * is_checked
            yield finding
        best = next((name for name in ("CRC64NVME", "CRC32C") if name in echoed), "")
        if best:
            yield Finding("proof", True, f"Uploads are proved by {best}, which the server computes and shows.")
        elif "Content-MD5" in refused:
            yield Finding(
                "proof", True, "Uploads are proved by Content-MD5, which the server checks, and a look afterwards."
            )
        else:
            words = "The server checks no checksum: uploads are proved by size and ETag only."
            yield Finding(
                "proof", None, words, "Over TLS the way is safe; what the server does with the bytes is not seen."
            )

    async def _checksum(self, name: str) -> tuple[Finding, bool, bool]:
        """The finding, whether the sum is echoed, and whether a wrong one is refused."""
        header = "content-md5" if name == "Content-MD5" else f"x-amz-checksum-{name.lower()}"
        more = {} if name == "Content-MD5" else {"x-amz-sdk-checksum-algorithm": name}
        right = await self._put(f"-{name}", {header: _sum(name, _DATA), **more})
        if right.status != 200:
            code = self._refusal(right, "Put").code
            return Finding(name, None, f"not taken ({printable(code)})."), False, False
        echo = right.text(header.encode())
        wrong = await self._put(f"-{name}-wrong", {header: _sum(name, _DATA + b"!"), **more})
        is_checked = 400 <= wrong.status < 500
        checked = (
            "a wrong one is refused" if is_checked else "taken and not checked: a wrong one is stored without a word"
        )
        if name == "Content-MD5":
            return Finding(name, True if is_checked else None, f"{checked}."), False, is_checked
        head = await self._ask("Head", "HEAD", f"{self._base}-{name}", headers={"x-amz-checksum-mode": "ENABLED"})
        kept = head.text(header.encode()) == _sum(name, _DATA)
        if echo and echo != _sum(name, _DATA):
            return (
                Finding(name, False, "The server shows another sum than that of the bytes sent.", ""),
                False,
                is_checked,
            )
        shown = "shown at once" if echo else "shown by HEAD" if kept else "never shown"
        ok = True if is_checked and (echo or kept) else None
        return Finding(name, ok, f"{checked}; {shown}."), bool(echo), is_checked

    async def _conditions(self) -> AsyncIterator[Finding]:
        if not self._may.get("put"):
            return
        first = await self._put("-once", {"if-none-match": "*"})
        second = await self._put("-once", {"if-none-match": "*"})
        third = await self._put("-once", {"if-match": '"00000000000000000000000000000000"'})
        new, changed = second.status == 412, third.status in (412, 404)
        if first.status != 200:
            code = self._refusal(first, "Put").code
            yield Finding("conditional writes", None, f"not known here ({printable(code)}).")
        elif new and changed:
            yield Finding("conditional writes", True, "If-None-Match and If-Match are obeyed.")
        else:
            ignored = [name for name, is_obeyed in (("If-None-Match", new), ("If-Match", changed)) if not is_obeyed]
            words = f"not obeyed ({', '.join(ignored)}): of two writers, the last one wins."
            yield Finding("conditional writes", None, words)
        if first.status != 200 or not self._may.get("delete"):
            return
        key = self._base + "-once"
        response = await self._ask("Delete", "DELETE", key, headers={"if-match": '"00000000000000000000000000000000"'})
        look = await self._ask("Head", "HEAD", key)
        if look.status == 200 and response.status == 412:
            yield Finding("conditional deletes", True, "If-Match is obeyed.")
        elif look.status == 200:
            yield Finding("conditional deletes", None, f"not known here (HTTP status {response.status}).")
        else:
            yield Finding(
                "conditional deletes",
                None,
                "If-Match is not obeyed: an object may be deleted that is newer than was seen.",
            )

    async def _order(self) -> AsyncIterator[Finding]:
        """Order, encoding and pages of a listing of names that are chosen to differ."""
        if not (self._may.get("put") and self._may.get("list")):
            return
        names = [name for name in _ORDERED if await self._is_put(f"/{name}")]
        prefix = f"{self._base}/"
        query = [("list-type", "2"), ("prefix", prefix), ("encoding-type", "url")]
        response = await self._ask("List", "GET", query=query)
        answer = parse_document(response.body, "ListBucketResult", "List")
        is_encoded = answer.findtext("EncodingType") == "url"
        seen = [name.removeprefix(prefix) for name in _keys(answer)]
        missing = [name for name in names if name not in seen]
        refused = [name for name in _ORDERED if name not in names]
        if seen != sorted(seen):
            words = f"not that of UTF-8 bytes: {' '.join(printable(name) for name in seen)}."
            advice = (
                "Sterna merges sorted listings and refuses to sync with such a server; copy single objects instead."
            )
            yield Finding("listing order", False, words, advice)
        else:
            yield Finding("listing order", True, "that of UTF-8 bytes, as it must be.")
        if is_encoded:
            yield Finding("listing encoding", True, "encoding-type=url is obeyed: every key can be listed.")
        else:
            words = "encoding-type=url is ignored: keys with control characters cannot be listed, or as others."
            yield Finding("listing encoding", None, words, "Rename such objects, if there are any.")
        if refused or missing:
            words = "; ".join(
                f"{what}: {' '.join(printable(name) for name in some)}"
                for what, some in (("refused", refused), ("stored and not listed under their names", missing))
                if some
            )
            advice = "This server keeps keys as paths of files; `sterna sync` names what does not fit."
            yield Finding("odd keys", None, f"{words}.", advice)
        else:
            yield Finding("odd keys", True, f"all {len(names)} that were tried are stored and listed as written.")
        yield await self._pages(query, seen)

    async def _pages(self, query: list[tuple[str, str]], whole: list[str]) -> Finding:
        """Whether pages of two keys add up to the listing, and their counts are true."""
        prefix, token, counts_right = f"{self._base}/", "", True
        together: list[str] = []
        for _ in range(len(whole) + 2):
            more = [("continuation-token", token)] if token else []
            response = await self._ask("List", "GET", query=[*query, ("max-keys", "2"), *more])
            answer = parse_document(response.body, "ListBucketResult", "List")
            keys = [key.removeprefix(prefix) for key in _keys(answer)]
            together += keys
            counts_right = counts_right and answer.findtext("KeyCount") in (None, str(len(keys)))
            token = answer.findtext("NextContinuationToken") or ""
            if answer.findtext("IsTruncated") != "true":
                break
            if not token:
                words = "A page says that more follows, and not where: listings of more than a page cannot be trusted."
                return Finding("listing pages", False, words, "Do not use this server with more than 1,000 objects.")
        if together != whole:
            lost = sorted(set(whole) - set(together))
            words = f"Pages of two keys give {len(together)} keys, where the whole listing has {len(whole)}"
            words += f"; missing: {' '.join(printable(name) for name in lost)}." if lost else "."
            return Finding(
                "listing pages", False, words, "Syncs of more than 1,000 objects would miss some; update the server."
            )
        counts = "" if counts_right else " KeyCount is not always that of the keys shown."
        return Finding("listing pages", True, f"add up to the whole.{counts}")

    async def _versions(self) -> AsyncIterator[Finding]:
        response = await self._ask("GetVersioning", "GET", query=[("versioning", "")])
        if response.status != 200:
            code = self._refusal(response, "GetVersioning").code
            yield Finding("versions", None, f"not known ({printable(code)}).")
            return
        state = parse_document(response.body, "VersioningConfiguration", "GetVersioning").findtext("Status")
        words = {
            "Enabled": "kept: what is overwritten or deleted stays as an older version, and is paid for.",
            "Suspended": "no longer kept; those from before stay.",
        }
        yield Finding("versions", None, words.get(state or "", "not kept: what is overwritten or deleted is gone."))

    def _connections(self) -> Finding:
        words = f"the quickest request took {self._quickest_s * 1000:.1f} ms."
        if self._closed > self._answers // 2:
            advice = (
                "Switch keep-alive on at the server or the balancer before it: each request now pays for a connection."
            )
            return Finding("keep-alive", False, f"The server closes connections after a request; {words}", advice)
        return Finding("keep-alive", True, f"connections are used again; {words}")

    # Tidying up.

    async def tidied(self) -> list[Finding]:
        """Remove the probe objects, and say what could not be."""
        if self._client is None or not (self._made or self._uploads):
            return []
        try:
            left = await self._tidy()
        except SternaError as error:
            advice = f"Remove what begins with {printable(self._base)}, when the server is well again."
            return [Finding("tidying", False, f"Not all probe objects are removed: {error.sentence}", advice)]
        if not left:
            return [Finding("tidying", True, "all probe objects are removed.")]
        shown = ", ".join(printable(key) for key in left[:5]) + (", …" if len(left) > 5 else "")
        advice = f"Have somebody who may delete remove what begins with {printable(self._base)}."
        return [Finding("tidying", False, f"{len(left)} probe objects could not be removed: {shown}.", advice)]

    async def _tidy(self) -> list[str]:
        """Give up uploads, delete probe objects with the versions that we made; gives the keys that are left."""
        left: list[str] = []
        self._is_tidied = True
        for upload, key in list(self._uploads.items()):
            response = await self._ask("Abort", "DELETE", key, [("uploadId", upload)])
            if response.status in (200, 204, 404):
                del self._uploads[upload]
            else:
                left.append(f"{key} (an unfinished upload)")
        for key, versions in list(self._made.items()):
            queries = [[("versionId", version)] for version in versions] or [[]]
            gone = [await self._ask("Delete", "DELETE", key, query) for query in queries]
            if all(response.status in (200, 204, 404) for response in gone):
                for response in gone:  # what was deleted without its version has left a marker of ours
                    if response.headers.get(b"x-amz-delete-marker") == b"true" and (
                        marker := response.text(b"x-amz-version-id")
                    ):
                        await self._ask("Delete", "DELETE", key, [("versionId", marker)])
                del self._made[key]
            elif versions and (await self._ask("Delete", "DELETE", key)).status in (200, 204):
                left.append(f"{key} (an older version)")
            else:
                left.append(key)
        return left


def _advice_for(error: SternaError) -> str:
    if isinstance(error, CredentialsExpired):
        return "Renew the credentials, then check again."
    if error.exit_code == 3:
        return "Give other credentials: --profile NAME, the environment, or --no-sign-request for a public bucket."
    if isinstance(error, WrongSetting):
        return "Change the option or the variable that the sentence names."
    return "Check again; if it stays, ask whoever runs the server."


def _span_words(seconds: float) -> str:
    if seconds < 0:
        return "which is over"
    if seconds < 7200:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.0f} hours" if seconds < 2 * 86400 else f"{seconds / 86400:.0f} days"


async def _tcp(family: int, address: str, port: int) -> str:
    """Why a TCP connection cannot be had; empty where it can."""
    loop = asyncio.get_running_loop()
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            async with asyncio.timeout(_CONNECT_S):
                await loop.sock_connect(probe, (address, port))
    except TimeoutError:
        return f"no answer within {_CONNECT_S:g} s"
    except OSError as error:
        return os.strerror(error.errno) if error.errno else type(error).__name__  # uvloop's strerror has other words
    return ""


def _tls_finding(connection: ssl.SSLObject, *, is_checked: bool) -> Finding:
    import ssl

    version = connection.version() or "TLS"
    if not is_checked:
        words = f"{version}; the certificate is not checked (--no-verify-ssl): anybody may pretend to be the server."
        return Finding("TLS", None, words, "Give the server's authority with --ca-bundle FILE instead.")
    until = (connection.getpeercert() or {}).get("notAfter")
    if not isinstance(until, str):
        return Finding("TLS", True, f"{version}, the certificate is trusted.")
    days = (ssl.cert_time_to_seconds(until) - time.time()) / 86400
    advice = "" if days > _CERTIFICATE_DAYS else "Have the server's certificate renewed before it ends."
    return Finding(
        "TLS", None if advice else True, f"{version}, a trusted certificate, valid for {days:.0f} more days.", advice
    )


def _clock(response: Response, began_s: float, ended_s: float) -> Finding:
    try:
        server_s = parsedate_to_datetime(response.text(b"date")).timestamp() + 0.5  # Date has whole seconds, cut off
    except ValueError:
        return Finding("clock", None, "The server's answers carry no time to compare with.")
    skew_s = (began_s + ended_s) / 2 - server_s
    if abs(skew_s) <= _SKEW_NOTED_S + (ended_s - began_s) / 2:
        return Finding("clock", True, "agrees with the server's.")
    words = f"is {abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} the server's."
    advice = "Set this machine's clock (NTP): times decide what counts as unchanged"
    if abs(skew_s) >= _SKEW_REFUSED_S:
        return Finding("clock", False, words, f"{advice}, and S3 refuses requests that are 15 minutes off.")
    return Finding("clock", False if abs(skew_s) > 60 else None, words, f"{advice}.")


def _head_finding(head: Response) -> Finding:
    if head.text(b"content-length") != str(len(_DATA)):
        words = f"{len(_DATA)} bytes were put, HEAD shows {head.text(b'content-length') or 'none'}."
        return Finding("head", False, words, "Look for a proxy that changes bodies.")
    if head.text(b"x-amz-meta-mtime") != "1234567890.123456789":
        words = "The server does not keep metadata: the times of files are lost."
        return Finding("head", False, words, "Downloads get the time of the upload; syncs back look at each object.")
    return Finding("head", True, "allowed; size and metadata are as they were put.")


def _sum(name: str, data: bytes) -> str:
    if name == "Content-MD5":
        return content_md5(data)
    if name == "SHA256":
        return base64.b64encode(hashlib.sha256(data).digest()).decode("ascii")
    kind = algorithm(name)
    return kind.encode(kind.update(data, 0))


def _keys(answer: Element) -> list[str]:
    encoded = answer.findtext("EncodingType") == "url"
    keys = [node.findtext("Key") or "" for node in answer.findall("Contents")]
    return [decode_key(key) for key in keys] if encoded else keys


# A folder.


def _folder_findings(path: Path) -> Iterator[Finding]:
    """What a folder is like. Where one may write, it is tried by files of our own, which are removed again."""
    if path.is_symlink() and not path.exists():
        yield Finding("folder", False, f"{path} is a symbolic link to nothing.", "Give a folder that exists.")
        return
    if not path.exists():
        yield Finding("folder", False, f"{path} does not exist.", f"Make it with: mkdir -p '{path}'")
        return
    if not path.is_dir():
        yield Finding("folder", None, f"{path} is a file of {size_words(path.stat().st_size)}, not a folder.")
        path = path.absolute().parent
    else:
        yield Finding("folder", True, f"{path} is there.")
    try:
        with os.scandir(path) as entries:
            first = next(entries, None)
        yield Finding("readable", True, "its names can be listed" + ("." if first else "; it is empty."))
    except OSError as error:
        advice = f"Give yourself the permission: chmod u+rx '{path}', or run as its owner."
        yield Finding("readable", False, f"its names cannot be listed: {error.strerror}.", advice)
    yield from _space(path)
    yield _file_system(path)
    probe = path / f"{_PROBE}{secrets.token_hex(6)}a"
    try:
        probe.write_bytes(_DATA)
    except OSError as error:
        advice = f"For downloads: chmod u+w '{path}', or run as its owner; uploads from here work all the same."
        if error.errno == errno.EROFS:
            advice = "The file system is read-only: uploads from here work, downloads to here do not."
        yield Finding("writable", None, f"no file can be made: {error.strerror}.", advice)
        return
    try:
        yield Finding("writable", True, "files can be made.")
        yield from _names_and_times(path, probe)
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


def _space(path: Path) -> Iterator[Finding]:
    try:
        disk = shutil.disk_usage(path)
    except OSError as error:
        yield Finding("space", None, f"not known: {error.strerror}.")
        return
    words = f"{size_words(disk.free)} free of {size_words(disk.total)}."
    advice = "" if disk.free > _LOW_SPACE or not disk.total else "Make room before downloading."
    yield Finding("space", None if advice else True, words, advice)
    if hasattr(os, "statvfs"):
        inodes = os.statvfs(path)
        if inodes.f_files and inodes.f_favail < 10_000:
            words = f"{inodes.f_favail:,} more files can be made (inodes)."
            yield Finding("files", None, words, "Remove files, or use a file system with more inodes.")


def _file_system(path: Path) -> Finding:
    """The kind of file system, by the mount that holds the folder; known on Linux only."""
    try:
        lines = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines()
        device = os.stat(path).st_dev
    except OSError:
        return Finding("file system", None, f"its kind is not told by {sys.platform}.")
    wanted = f"{os.major(device)}:{os.minor(device)}"
    real = os.path.realpath(path)
    best, kind = -1, ""
    for line in lines:
        fields, _, more = line.partition(" - ")
        number, at = fields.split()[2], fields.split()[4]
        at = at.encode("utf-8", "surrogateescape").decode("unicode_escape", "replace") if "\\" in at else at
        is_above = real == at or real.startswith(at.rstrip("/") + "/")
        rank = len(at) + (10_000 if number == wanted else 0)
        if is_above and rank > best:
            best, kind = rank, more.split()[0]
    if kind.startswith(("nfs", "cifs", "smb", "fuse", "9p", "ceph", "gluster", "lustre", "afs")):
        words = f"{kind}: over the network, or in another program; what counts as on disk is what that says."
        return Finding("file system", None, words)
    if kind in ("tmpfs", "ramfs"):
        return Finding("file system", None, f"{kind}: in memory, gone after a restart.")
    if kind in ("vfat", "msdos"):
        return Finding(
            "file system", None, f"{kind}: no file above 4 GiB, times of two seconds.", "Use exFAT, NTFS or ext4."
        )
    return Finding("file system", None, f"{kind or 'unknown'}.")


def _names_and_times(path: Path, probe: Path) -> Iterator[Finding]:
    folded = path / (probe.name[:-1] + "A")
    if folded.exists():
        words = "A and a are one name here: of keys that differ only in that, one is refused by name."
        yield Finding("case", None, words)
    else:
        yield Finding("case", True, "names that differ in case only are different files.")
    composed = path / unicodedata.normalize("NFC", probe.name + "é")
    try:
        composed.write_bytes(b"")
        try:
            is_folded = (path / unicodedata.normalize("NFD", composed.name)).exists()
        finally:
            composed.unlink()
        words = (
            "é as one character and as two are one name here."
            if is_folded
            else "é as one character and as two are two names."
        )
        yield Finding("Unicode", None if is_folded else True, words)
    except (OSError, UnicodeError) as error:
        yield Finding("Unicode", None, f"names beyond ASCII cannot be made ({error}).", "Set a UTF-8 locale.")
    yield _time_precision(probe)
    if hasattr(os, "pathconf"):
        with contextlib.suppress(OSError, ValueError):
            most = os.pathconf(path, "PC_NAME_MAX")
            words = f"up to {most} bytes between two slashes; S3 takes 1,024 in all."
            yield Finding("names", True if most >= 255 else None, words)


def _time_precision(probe: Path) -> Finding:
    wanted = 1_234_567_891_123_456_789
    try:
        os.utime(probe, ns=(wanted, wanted))
        kept = probe.stat().st_mtime_ns
    except OSError as error:
        advice = "Syncs back look at each object."
        return Finding("times", None, f"cannot be set: {error.strerror}.", advice)
    for step, words in (
        (1, "a nanosecond"),
        (100, "100 nanoseconds"),
        (1000, "a microsecond"),
        (10**6, "a millisecond"),
        (10**9, "a second"),
        (2 * 10**9, "two seconds"),
    ):
        if kept // step == wanted // step:
            return Finding("times", True if step <= 10**9 else None, f"kept to {words}.")
    return Finding("times", None, f"are changed by {abs(kept - wanted) / 10**9:g} s when they are set.")
