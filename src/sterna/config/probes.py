"""Ask a bucket by small objects of our own, and remove them again."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Sequence

from msgspec.structs import replace

from sterna.config.finding import Finding
from sterna.model.errors import SternaError
from sterna.model.events import Event, Notice
from sterna.model.location import BucketPath
from sterna.model.units import printable
from sterna.wire.client import Client, Request
from sterna.wire.connection import Response
from sterna.wire.encoding import encode_query
from sterna.wire.retry import Retries, judge
from sterna.wire.side import Side
from sterna.wire.xml import parse_document

PROBE = ".sterna-check-"
DATA = b"Sterna looked whether this place works; whoever finds this may delete it.\n"
_RETRIES = Retries(attempts=3)  # an examination should rather say that a server is not well than wait for it
_ANY_ANSWER = tuple(status for status in range(200, 600) if status not in (429, 500, 502, 503, 504))


class Probes:
    """One bucket under examination: what was put there, so that it can be removed, and what was learned so far.

    ``base`` begins every key of ours, ``may`` holds what is known to be allowed, ``notices`` what the wire told.
    """

    def __init__(self, location: BucketPath, side: Side) -> None:
        self.bucket, self.prefix = location.bucket, location.prefix
        self.side = replace(side, retries=_RETRIES)
        self.base = f"{location.prefix}{PROBE}{secrets.token_hex(6)}"
        self.may: dict[str, bool] = {}
        self.notices: list[str] = []
        self.answers = self.closed = 0  # how many came, and after how many of them the server ended the connection
        self.quickest_s = float("inf")
        self._client = Client(self.side, self.bucket, emit=self._heard)
        self.made: dict[str, list[str]] = {}  # key → versions
        self.uploads: dict[str, str] = {}  # upload id → key
        self._is_tidied = False

    async def aclose(self) -> None:
        """Remove what is still there, when nobody waits for findings any more, and end the connections."""
        if not self._is_tidied:
            with contextlib.suppress(SternaError):
                await self._tidy()
        await self._client.aclose()

    def _heard(self, event: Event) -> None:
        if isinstance(event, Notice):
            self.notices.append(event.sentence)

    async def ask(
        self,
        operation: str,
        method: str,
        key: str = "",
        query: Sequence[tuple[str, str]] = (),
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
    ) -> Response:
        """Send, and give the answer whatever its status. Raises SternaError where there is none, or only busy ones."""
        request = Request(
            operation,
            method,
            self.bucket,
            key,
            query=encode_query(query),
            headers=headers,
            body=body,
            good=_ANY_ANSWER,
        )
        began = time.perf_counter()
        response = await self._client.call(request)
        self.quickest_s = min(self.quickest_s, time.perf_counter() - began)
        self.answers += 1
        self.closed += response.headers.get(b"connection", b"").lower() == b"close"
        if method == "DELETE" and not query and (version := response.text(b"x-amz-version-id")):
            self.made.setdefault(key, []).append(version)  # of a delete marker that is ours too
        return response

    async def put(self, name: str, headers: dict[str, str] | None = None, data: bytes = DATA) -> Response:
        """Put a probe object; it is remembered before it is sent, since an answer may get lost."""
        key = self.base + name
        is_first = key not in self.made
        self.made.setdefault(key, [])
        response = await self.ask("Put", "PUT", key, headers=headers, body=data)
        if response.status == 200:
            if version := response.text(b"x-amz-version-id"):
                self.made[key].append(version)
        elif is_first:
            del self.made[key]
        return response

    async def is_put(self, name: str) -> bool:
        """Whether an empty object of this name is taken; a server that stumbles over the name does not take it."""
        try:
            return (await self.put(name, data=b"")).status == 200
        except SternaError:
            return False

    @property
    def region(self) -> str:
        """The region that requests are signed for, as far as it is known by now."""
        return self._client.region

    def refusal(self, response: Response, operation: str, key: str = "") -> SternaError:
        """The error that an answer is."""
        return judge(response, operation, self.bucket, key)

    def denied(self, name: str, response: Response, operation: str, permission: str, purpose: str) -> Finding:
        """The finding of an answer that should have been another; what it is for may not be done."""
        error = self.refusal(response, operation)
        self.may[name] = False
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
        bucket = f"arn:aws:s3:::{self.bucket}"
        return bucket if permission in ("s3:ListBucket", "s3:GetBucketVersioning") else f"{bucket}/{self.prefix}*"

    async def begin_upload(self, key: str, headers: dict[str, str] | None = None) -> str | Response:
        """The id of a new multipart upload, or the answer that refused it."""
        response = await self.ask("CreateUpload", "POST", key, [("uploads", "")], headers)
        if response.status != 200:
            return response
        root = b"InitiateMultipartUploadResult"
        if root not in response.body:
            root = b"InitiateMultipartUpload"  # as rclone names it
        answer = parse_document(response.body, root.decode(), "CreateUpload")
        upload = answer.findtext("UploadId") or ""
        self.uploads[upload] = key
        return upload

    # Tidying up.

    async def tidied(self) -> list[Finding]:
        """Remove the probe objects, and say what could not be."""
        if not (self.made or self.uploads):
            return []
        try:
            left = await self._tidy()
        except SternaError as error:
            advice = f"Remove what begins with {printable(self.base)}, when the server is well again."
            return [Finding("tidying", False, f"Not all probe objects are removed: {error.sentence}", advice)]
        if not left:
            return [Finding("tidying", True, "all probe objects are removed.")]
        shown = ", ".join(printable(key) for key in left[:5]) + (", …" if len(left) > 5 else "")
        advice = f"Have somebody who may delete remove what begins with {printable(self.base)}."
        return [Finding("tidying", False, f"{len(left)} probe objects could not be removed: {shown}.", advice)]

    async def _tidy(self) -> list[str]:
        """Give up uploads, delete probe objects with the versions that we made; gives the keys that are left."""
        left: list[str] = []
        self._is_tidied = True
        for upload, key in list(self.uploads.items()):
            response = await self.ask("Abort", "DELETE", key, [("uploadId", upload)])
            if response.status in (200, 204, 404):
                del self.uploads[upload]
            else:
                left.append(f"{key} (an unfinished upload)")
        for key, versions in list(self.made.items()):
            queries = [[("versionId", version)] for version in versions] or [[]]
            gone = [await self.ask("Delete", "DELETE", key, query) for query in queries]
            if all(response.status in (200, 204, 404) for response in gone):
                for response in gone:  # what was deleted without its version has left a marker of ours
                    if response.headers.get(b"x-amz-delete-marker") == b"true" and (
                        marker := response.text(b"x-amz-version-id")
                    ):
                        await self.ask("Delete", "DELETE", key, [("versionId", marker)])
                del self.made[key]
            elif versions and (await self.ask("Delete", "DELETE", key)).status in (200, 204):
                left.append(f"{key} (an older version)")
            else:
                left.append(key)
        return left
