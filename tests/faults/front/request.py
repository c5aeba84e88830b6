"""Turn the head of a request into what it asks for: one of the S3 operations, a bucket, a key."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote_to_bytes

if TYPE_CHECKING:
    from tests.faults.front.fault import Fault


LISTS = ("ListV2", "ListV1", "ListVersions", "ListUploads", "ListParts")
READS = ("Head", "Get", "GetRange")
WRITES = ("Put", "CreateMPU", "UploadPart", "UploadPartCopy", "Copy", "Complete", "Abort", "Delete", "DeleteObjects")
BUCKETS = ("ListBuckets", "HeadBucket", "CreateBucket", "DeleteBucket", "GetLocation")
OTHERS = ("GetSub", "PutSub", "DeleteSub", "GetBucketSub", "PutBucketSub", "DeleteBucketSub", "STS", "Other")
OPERATIONS = frozenset((*LISTS, *READS, *WRITES, *BUCKETS, *OTHERS))
CONNECT = "Connect"  # not a request: the moment a connection was accepted
_SUBRESOURCES = frozenset(
    "accelerate acl analytics attributes cors encryption intelligent-tiering inventory legal-hold lifecycle logging"
    " metrics notification object-lock ownershipControls policy policyStatus publicAccessBlock replication"
    " requestPayment restore retention select session tagging torrent versioning website".split()
)


@dataclass(eq=False)
class Request:
    """What was asked, as it was seen; the record of it stays in ``front.requests``."""

    operation: str
    method: str
    target: str  # the path and query, as sent
    bucket: str
    key: str  # decoded; bytes that are not UTF-8 as surrogates
    query: dict[str, str]
    headers: dict[str, str]  # names in lower case; of repeated ones the last
    header_lines: list[tuple[str, str]]
    connection: int  # 1 is the first that was accepted
    nth_on_connection: int  # above 1: the connection was reused
    at: float  # time.monotonic()
    length: int | None = None  # bytes of body announced; None: chunked
    body: bytes | None = None  # with keep_bodies, or where a fault had to read all of it
    status: int = 0  # what was answered; 0: nothing
    answered_at: float = 0.0
    faults: list[Fault] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"<{self.operation} {self.bucket}/{self.key} on connection {self.connection}: {self.status or 'none'}>"


def parse_request(head: bytes, connection: int, nth: int) -> Request:
    first, *rest = head.lstrip(b"\r\n").decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    header_lines = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in rest)]
    headers = {name.lower(): value for name, value in header_lines}
    path, _, query_text = target.partition("?")
    if path.startswith(("http://", "https://")):  # as to a proxy
        path = "/" + path.split("/", 3)[3]
    query = dict(parse_qsl(query_text, keep_blank_values=True, errors="surrogateescape")) if query_text else {}
    bucket, _, key = path[1:].partition("/")
    if "%" in key:
        key = unquote_to_bytes(key).decode("utf-8", "surrogateescape")
    if "chunked" in headers.get("transfer-encoding", "").lower():
        length = None
    else:
        length = int(headers.get("content-length", "0"))
    operation = classify(method, key, bucket, query, headers)
    at = time.monotonic()
    return Request(operation, method, target, bucket, key, query, headers, header_lines, connection, nth, at, length)


def classify(method: str, key: str, bucket: str, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    """The S3 operation that a request asks for. Header names are in lower case."""
    sub = not _SUBRESOURCES.isdisjoint(query)
    if not bucket:
        return {"GET": "ListBuckets", "POST": "STS"}.get(method, "Other")
    if not key:
        match method:
            case "HEAD":
                return "HeadBucket"
            case "PUT":
                return "PutBucketSub" if sub else "CreateBucket"
            case "DELETE":
                return "DeleteBucketSub" if sub else "DeleteBucket"
            case "POST":
                return "DeleteObjects" if "delete" in query else "Other"
            case "GET" if "location" in query:
                return "GetLocation"
            case "GET" if "uploads" in query:
                return "ListUploads"
            case "GET" if "versions" in query:
                return "ListVersions"
            case "GET" if sub:
                return "GetBucketSub"
            case "GET":
                return "ListV2" if query.get("list-type") == "2" else "ListV1"
        return "Other"
    copies = "x-amz-copy-source" in headers
    match method:
        case "HEAD":
            return "Head"
        case "GET" if "uploadId" in query:
            return "ListParts"
        case "GET" if sub:
            return "GetSub"
        case "GET":
            return "GetRange" if "range" in headers else "Get"
        case "PUT" if "uploadId" in query:
            return "UploadPartCopy" if copies else "UploadPart"
        case "PUT" if sub:
            return "PutSub"
        case "PUT":
            return "Copy" if copies else "Put"
        case "POST" if "uploads" in query:
            return "CreateMPU"
        case "POST" if "uploadId" in query:
            return "Complete"
        case "DELETE" if "uploadId" in query:
            return "Abort"
        case "DELETE":
            return "DeleteSub" if sub else "Delete"
    return "Other"
