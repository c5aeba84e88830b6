"""Find out what we may do with a bucket: see it, list it, put, read and delete objects."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime

from sterna.config.finding import Finding, advice_for
from sterna.config.probes import DATA, Probes
from sterna.model.units import printable
from sterna.wire.checksum import content_md5
from sterna.wire.connection import Response
from sterna.wire.xml import parse_document

_SKEW_REFUSED_S = 15 * 60.0  # what S3 allows; we re-sign by the server's clock, other tools fail
_SKEW_NOTED_S = 5.0


async def bucket_itself(probes: Probes) -> AsyncIterator[Finding]:
    """Whether the bucket is there, where, and what its server's clock says."""
    began_s = time.time()
    response = await probes.ask("HeadBucket", "HEAD")
    ended_s = time.time()
    yield _clock(response, began_s, ended_s)
    name = f"s3://{probes.bucket}"
    if response.status == 404:
        advice = f"Create it with: sterna mb {name} — or look for a slip in the name."
        yield Finding("bucket", False, f"{name} does not exist.", advice)
        return
    if response.status in (401, 403):
        # HEAD has no body; a listing says why.
        answer = await probes.ask("List", "GET", query=[("list-type", "2"), ("max-keys", "1")])
        if answer.status == 200:
            yield Finding("bucket", True, f"{name} is there (HEAD is denied, listing is not).")
            return
        error = probes.refusal(answer, "List")
        is_ours = error.code == "AccessDenied"
        if is_ours and probes.side.identity.anonymous:
            yield Finding("bucket", True, f"{name} is there, or hidden: anonymous requests may not look at it.")
        elif is_ours:
            yield Finding("bucket", True, f"{name} is there, as far as one can know: looking at it is denied.")
        else:
            yield Finding("bucket", False, error.sentence, advice_for(error))
        return
    if response.status != 200:
        error = probes.refusal(response, "HeadBucket")
        yield Finding("bucket", False, error.sentence, advice_for(error))
        return
    yield Finding("bucket", True, f"{name} is there.")
    region = response.text(b"x-amz-bucket-region") or probes.region
    words = f"{printable(region)}."
    if probes.notices:
        yield Finding(
            "region", None, " ".join(probes.notices), f"Give --region {region}: it saves a refusal at each start."
        )
    else:
        yield Finding("region", True, words)


# What we may do.


async def listing(probes: Probes) -> AsyncIterator[Finding]:
    """Whether what is below the path may be listed."""
    query = [("list-type", "2"), ("max-keys", "2"), ("encoding-type", "url")]
    if probes.prefix:
        query.append(("prefix", probes.prefix))
    response = await probes.ask("List", "GET", query=query)
    if response.status != 200:
        yield probes.denied("list", response, "List", "s3:ListBucket", "sync, ls, du and proofs by listing")
        return
    answer = parse_document(response.body, "ListBucketResult", "List")
    probes.may["list"] = True
    there = "something is there already" if answer.find("Contents") is not None else "nothing is there yet"
    yield Finding("list", True, f"allowed; {there}.")


async def objects(probes: Probes) -> AsyncIterator[Finding]:
    """Put, head, get and delete, each by itself."""
    sent = {"content-md5": content_md5(DATA), "x-amz-meta-mtime": "1234567890.123456789"}
    put = await probes.put("", sent)
    if put.status != 200:
        yield probes.denied("put", put, "Put", "s3:PutObject", "uploads")
        return
    probes.may["put"] = True
    yield Finding("put", True, "allowed.")
    key = probes.base
    head = await probes.ask("Head", "HEAD", key)
    if head.status == 200:
        yield _head_finding(head)
    elif head.status == 404:
        words = "The object that was put is not there: the server says yes and does not keep."
        yield Finding("head", False, words, "Do not trust this server with data before that is understood.")
    else:
        yield probes.denied("head", head, "Head", "s3:GetObject", "looks at single objects")
    get = await probes.ask("Get", "GET", key)
    if get.status != 200:
        yield probes.denied("get", get, "Get", "s3:GetObject", "downloads")
    elif bytes(get.body) != DATA:
        yield Finding("get", False, "Other bytes came back than were put.", "Look for a proxy that changes bodies.")
    else:
        probes.may["get"] = True
        yield Finding("get", True, "allowed; the bytes came back as they were put.")
        yield await _partial_get(probes, put.text(b"etag"))
    yield await _delete(probes, key)


async def _partial_get(probes: Probes, etag: str) -> Finding:
    """Ranges pinned by If-Match, on which downloads in parts rest (H42)."""
    part = await probes.ask("Get", "GET", probes.base, headers={"range": "bytes=7-13", "if-match": etag})
    other = await probes.ask("Get", "GET", probes.base, headers={"range": "bytes=7-13", "if-match": '"0"'})
    if part.status not in (200, 206) or bytes(part.body) != DATA[7:14]:
        words = f"A range is answered with status {part.status} and other bytes."
        return Finding("ranges", False, words, "Objects above 8 MiB cannot be downloaded from here.")
    if other.status != 412:
        words = (
            "answered, but If-Match is ignored: of an object that changes meanwhile, parts of two versions may come."
        )
        return Finding("ranges", None, words, "Sterna compares the checksum of the whole, where the object has one.")
    return Finding("ranges", True, "answered, and pinned to one version by If-Match.")


async def _delete(probes: Probes, key: str) -> Finding:
    response = await probes.ask("Delete", "DELETE", key)
    if response.status not in (200, 204):
        return probes.denied("delete", response, "Delete", "s3:DeleteObject", "rm, and for tidying up after this check")
    look = await probes.ask("Head", "HEAD", key)
    if look.status == 200:
        return Finding("delete", False, "The server says that it deleted, and still has the object.", "")
    probes.may["delete"] = True
    if not probes.made.get(key):
        probes.made.pop(key, None)
    return Finding("delete", True, "allowed; the object is gone.")


async def multipart(probes: Probes) -> AsyncIterator[Finding]:
    """Whether uploads in parts may be begun, and given up."""
    if not probes.may.get("put"):
        return
    key = probes.base + "-multipart"
    created = await probes.begin_upload(key)
    if isinstance(created, Response):
        yield probes.denied("multipart", created, "CreateUpload", "s3:PutObject", "uploads above 8 MiB")
        return
    aborted = await probes.ask("Abort", "DELETE", key, [("uploadId", created)])
    if aborted.status in (200, 204):
        probes.uploads.pop(created, None)
        yield Finding("multipart", True, "uploads can be begun and given up.")
    else:
        said = probes.refusal(aborted, "Abort").code
        advice = "Allow s3:AbortMultipartUpload; parts that cannot be given up are paid for."
        yield Finding("multipart", False, f"An upload was begun and cannot be given up ({printable(said)}).", advice)
    probes.may["multipart"] = True


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
    if head.text(b"content-length") != str(len(DATA)):
        words = f"{len(DATA)} bytes were put, HEAD shows {head.text(b'content-length') or 'none'}."
        return Finding("head", False, words, "Look for a proxy that changes bodies.")
    if head.text(b"x-amz-meta-mtime") != "1234567890.123456789":
        words = "The server does not keep metadata: the times of files are lost."
        return Finding("head", False, words, "Downloads get the time of the upload; syncs back look at each object.")
    return Finding("head", True, "allowed; size and metadata are as they were put.")
