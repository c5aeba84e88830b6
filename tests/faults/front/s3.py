"""Write the answers of S3 without asking anybody: its errors, its success, its redirects."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import formatdate
from xml.sax.saxutils import escape

from tests.faults.front.answer import Answer
from tests.faults.front.exchange import Exchange
from tests.faults.front.pages import key_of
from tests.faults.front.request import Request


def error(
    request: Request, status: int, code: str, message: str = "", inside: Mapping[str, str] | None = None
) -> Answer:
    """An error answer as S3 writes it; a HEAD gets none of the words."""
    more = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in (inside or {}).items())
    resource = escape(f"/{request.bucket}/{request.key}".encode("utf-8", "replace").decode())
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{escape(message or code)}</Message>{more}<Resource>{resource}</Resource>"
        "<RequestId>FRONTREQUESTID00</RequestId><HostId>front-host-id</HostId></Error>"
    )
    return Answer(
        status,
        [
            ("x-amz-request-id", "FRONTREQUESTID00"),
            ("x-amz-id-2", "front-host-id"),
            ("Date", formatdate(usegmt=True)),
            ("Content-Type", "application/xml"),
            ("Server", "front"),
        ],
        body.encode(),
    )


def plausible(exchange: Exchange) -> Answer:
    """The answer that a client hopes for, made up without asking anybody."""
    request = exchange.request
    headers = [
        ("x-amz-request-id", "FRONTREQUESTID00"),
        ("x-amz-id-2", "front-host-id"),
        ("Date", formatdate(usegmt=True)),
        ("Server", "front"),
    ]
    checksums = [
        (name, value)
        for name, value in request.header_lines
        if name.lower().startswith("x-amz-checksum-") and name.lower() != "x-amz-checksum-algorithm"
    ]
    resource = f"<Bucket>{request.bucket}</Bucket><Key>{escape(request.key)}</Key>"
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")

    def xml(root: str, inside: str) -> Answer:
        said = f'<{root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inside}</{root}>'
        body = f'<?xml version="1.0" encoding="UTF-8"?>\n{said}'.encode("utf-8", "surrogateescape")
        return Answer(200, [*headers, ("Content-Type", "application/xml")], body)

    match request.operation:
        case "Put" | "UploadPart":
            etag = f'"{hashlib.md5(exchange.front.payload_of(exchange)).hexdigest()}"'
            if checksums and request.operation == "Put":
                checksums.append(("x-amz-checksum-type", "FULL_OBJECT"))
            return Answer(200, [*headers, ("ETag", etag), *checksums])
        case "CreateMPU":
            exchange.body()
            return xml("InitiateMultipartUploadResult", resource + "<UploadId>an-upload-of-the-front</UploadId>")
        case "Complete":
            etags = [e.strip() for e in re.findall(rb"<ETag>(?:&quot;|\")?([0-9a-f]{32})", exchange.body())]
            whole = hashlib.md5(b"".join(bytes.fromhex(etag.decode()) for etag in etags)).hexdigest()
            said = "".join(f"<{_xml_checksum(name)}>{value}</{_xml_checksum(name)}>" for name, value in checksums)
            return xml(
                "CompleteMultipartUploadResult",
                f"<Location>/{request.bucket}</Location>{resource}<ETag>&quot;{whole}-{len(etags)}&quot;</ETag>{said}",
            )
        case "Copy":
            exchange.body()
            etag = hashlib.md5(request.headers["x-amz-copy-source"].encode()).hexdigest()
            return xml("CopyObjectResult", f"<ETag>&quot;{etag}&quot;</ETag><LastModified>{now}</LastModified>")
        case "UploadPartCopy":
            exchange.body()
            etag = hashlib.md5(request.headers["x-amz-copy-source"].encode()).hexdigest()
            return xml("CopyPartResult", f"<ETag>&quot;{etag}&quot;</ETag><LastModified>{now}</LastModified>")
        case "Delete" | "Abort":
            exchange.body()
            return Answer(204, headers, no_body=True)
        case "DeleteObjects":
            asked = re.findall(rb"<Object>.*?</Object>", exchange.body(), re.DOTALL)
            quiet = b"<Quiet>true" in exchange.body()
            said = "".join(f"<Deleted><Key>{escape(key_of(one))}</Key></Deleted>" for one in asked)
            return xml("DeleteResult", "" if quiet else said)
        case "CreateBucket":
            exchange.body()
            return Answer(200, [*headers, ("Location", f"/{request.bucket}")])
    raise TypeError(f"there is no plausible lie about {request.operation}")


def _xml_checksum(header: str) -> str:
    kind = header.lower().removeprefix("x-amz-checksum-")
    return "ChecksumType" if kind == "type" else f"Checksum{kind.upper()}"
