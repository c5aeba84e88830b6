"""Find out what a server can do: checksums, conditions, versions, connections that stay open."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from xml.etree.ElementTree import Element

from sterna.config.finding import Finding
from sterna.config.probes import DATA, Probes
from sterna.model.errors import SternaError
from sterna.model.units import printable
from sterna.wire.checksum import NAMES, algorithm, content_md5
from sterna.wire.connection import Response
from sterna.wire.xml import parse_document

_SUMS = (*NAMES, "SHA256", "Content-MD5")


async def whole_sum(probes: Probes) -> AsyncIterator[Finding]:
    """Whether the CRC64NVME of a whole multipart object is taken, checked and shown."""
    if probes.may.get("multipart"):
        yield await _whole_sum(probes)


async def _whole_sum(probes: Probes) -> Finding:
    name = "whole-object checksum"
    advice = "Sterna compares the sums of the parts instead."
    right = await _completed(probes, "-whole", 0)
    if isinstance(right, str):
        return Finding(name, None, f"not for multipart uploads ({printable(right)}).", advice)
    crc = algorithm("CRC64NVME")
    value = crc.encode(crc.update(DATA, 0))
    shown = (right.findtext("ChecksumCRC64NVME") or "") == value
    wrong = await _completed(probes, "-wrong", 1)
    if not isinstance(wrong, str):
        words = f"of a multipart upload: {'shown' if shown else 'taken and not shown'}; a wrong one is accepted."
        return Finding(name, None, words, "Sterna compares what is shown; what is only taken proves nothing.")
    words = "of a multipart upload: a wrong one is refused" + (
        ", the right one is shown." if shown else "; none is shown."
    )
    return Finding(name, True, words)


async def _completed(probes: Probes, name: str, change: int) -> Element | str:
    """One part, completed with a CRC64NVME that is off by ``change``; the result, or the code of the refusal."""
    key = probes.base + name
    crc = algorithm("CRC64NVME")
    value = crc.update(DATA, 0)
    kind = {"x-amz-checksum-algorithm": "CRC64NVME", "x-amz-checksum-type": "FULL_OBJECT"}
    upload = await probes.begin_upload(key, kind)
    if isinstance(upload, Response):
        return probes.refusal(upload, "CreateUpload").code
    query = [("partNumber", "1"), ("uploadId", upload)]
    sums = {crc.header: crc.encode(value), "x-amz-sdk-checksum-algorithm": "CRC64NVME"}
    part = await probes.ask("UploadPart", "PUT", key, query, sums, DATA)
    if part.status != 200:
        return probes.refusal(part, "UploadPart").code
    listed = f"<Part><PartNumber>1</PartNumber><ETag>{part.text(b'etag')}</ETag>"
    listed += f"<ChecksumCRC64NVME>{crc.encode(value)}</ChecksumCRC64NVME></Part>"
    body = (
        f'<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{listed}</CompleteMultipartUpload>'
    )
    headers = {crc.header: crc.encode(value ^ change), "x-amz-checksum-type": "FULL_OBJECT"}
    headers |= {"x-amz-mp-object-size": str(len(DATA)), "content-type": "application/xml"}
    probes.made[key] = []
    response = await probes.ask("Complete", "POST", key, [("uploadId", upload)], headers, body.encode())
    if response.status != 200:
        del probes.made[key]
        return probes.refusal(response, "Complete").code
    try:
        answer = parse_document(response.body, "CompleteMultipartUploadResult", "Complete")
    except SternaError:
        return probes.refusal(response, "Complete").code
    probes.uploads.pop(upload, None)
    if version := response.text(b"x-amz-version-id"):
        probes.made[key].append(version)
    return answer


# What the server can do.


async def checksums(probes: Probes) -> AsyncIterator[Finding]:
    """Which checksums of single objects are taken, checked and shown, and what uploads are proved by."""
    if not probes.may.get("put"):
        return
    echoed: list[str] = []
    refused: list[str] = []
    for name in _SUMS:
        finding, is_echoed, is_checked = await _checksum(probes, name)
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


async def _checksum(probes: Probes, name: str) -> tuple[Finding, bool, bool]:
    """The finding, whether the sum is echoed, and whether a wrong one is refused."""
    header = "content-md5" if name == "Content-MD5" else f"x-amz-checksum-{name.lower()}"
    more = {} if name == "Content-MD5" else {"x-amz-sdk-checksum-algorithm": name}
    right = await probes.put(f"-{name}", {header: _sum(name, DATA), **more})
    if right.status != 200:
        code = probes.refusal(right, "Put").code
        return Finding(name, None, f"not taken ({printable(code)})."), False, False
    echo = right.text(header.encode())
    wrong = await probes.put(f"-{name}-wrong", {header: _sum(name, DATA + b"!"), **more})
    is_checked = 400 <= wrong.status < 500
    checked = "a wrong one is refused" if is_checked else "taken and not checked: a wrong one is stored without a word"
    if name == "Content-MD5":
        return Finding(name, True if is_checked else None, f"{checked}."), False, is_checked
    head = await probes.ask("Head", "HEAD", f"{probes.base}-{name}", headers={"x-amz-checksum-mode": "ENABLED"})
    kept = head.text(header.encode()) == _sum(name, DATA)
    if echo and echo != _sum(name, DATA):
        return (
            Finding(name, False, "The server shows another sum than that of the bytes sent.", ""),
            False,
            is_checked,
        )
    shown = "shown at once" if echo else "shown by HEAD" if kept else "never shown"
    ok = True if is_checked and (echo or kept) else None
    return Finding(name, ok, f"{checked}; {shown}."), bool(echo), is_checked


async def conditions(probes: Probes) -> AsyncIterator[Finding]:
    """Whether writes and deletions that hang on a condition are obeyed."""
    if not probes.may.get("put"):
        return
    first = await probes.put("-once", {"if-none-match": "*"})
    second = await probes.put("-once", {"if-none-match": "*"})
    third = await probes.put("-once", {"if-match": '"00000000000000000000000000000000"'})
    new, changed = second.status == 412, third.status in (412, 404)
    if first.status != 200:
        code = probes.refusal(first, "Put").code
        yield Finding("conditional writes", None, f"not known here ({printable(code)}).")
    elif new and changed:
        yield Finding("conditional writes", True, "If-None-Match and If-Match are obeyed.")
    else:
        ignored = [name for name, is_obeyed in (("If-None-Match", new), ("If-Match", changed)) if not is_obeyed]
        words = f"not obeyed ({', '.join(ignored)}): of two writers, the last one wins."
        yield Finding("conditional writes", None, words)
    if first.status != 200 or not probes.may.get("delete"):
        return
    key = probes.base + "-once"
    response = await probes.ask("Delete", "DELETE", key, headers={"if-match": '"00000000000000000000000000000000"'})
    look = await probes.ask("Head", "HEAD", key)
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


async def versions(probes: Probes) -> AsyncIterator[Finding]:
    """Whether what is overwritten is kept."""
    response = await probes.ask("GetVersioning", "GET", query=[("versioning", "")])
    if response.status != 200:
        code = probes.refusal(response, "GetVersioning").code
        yield Finding("versions", None, f"not known ({printable(code)}).")
        return
    state = parse_document(response.body, "VersioningConfiguration", "GetVersioning").findtext("Status")
    words = {
        "Enabled": "kept: what is overwritten or deleted stays as an older version, and is paid for.",
        "Suspended": "no longer kept; those from before stay.",
    }
    yield Finding("versions", None, words.get(state or "", "not kept: what is overwritten or deleted is gone."))


def connections(probes: Probes) -> Finding:
    """What all requests so far tell of the connections."""
    words = f"the quickest request took {probes.quickest_s * 1000:.1f} ms."
    if probes.closed > probes.answers // 2:
        advice = "Switch keep-alive on at the server or the balancer before it: each request now pays for a connection."
        return Finding("keep-alive", False, f"The server closes connections after a request; {words}", advice)
    return Finding("keep-alive", True, f"connections are used again; {words}")


def _sum(name: str, data: bytes) -> str:
    if name == "Content-MD5":
        return content_md5(data)
    if name == "SHA256":
        return base64.b64encode(hashlib.sha256(data).digest()).decode("ascii")
    kind = algorithm(name)
    return kind.encode(kind.update(data, 0))
