"""Turn S3's XML answers into values, or into Corrupt: a document that is not what it must be proves nothing."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NamedTuple
from xml.etree import ElementTree as ET

from sterna.model.entry import Entry
from sterna.model.errors import Corrupt
from sterna.model.units import printable
from sterna.wire.connection import Response
from sterna.wire.encoding import decode_key

# One <Contents> record as AWS and most servers write it: members in any order, none nested but Owner and RestoreStatus.
# Possessive on purpose (*+, ++): it never goes back over what it has matched, so hostile pages cost linear time (H101).
_RECORD = re.compile(
    rb"<Contents>"
    rb"(?:<Key>([^<]++)</Key>|<LastModified>([^<]*+)</LastModified>|<ETag>([^<]*+)</ETag>|<Size>(\d++)</Size>"
    rb"|<StorageClass>([^<]*+)</StorageClass>|<(?:ChecksumAlgorithm|ChecksumType|Type|VersionId)>[^<]*+</[A-Za-z]++>"
    rb"|<Owner>(?:<\w++>[^<]*+</\w++>|<\w++/>)*+</Owner>|\s++)*+"
    rb"</Contents>"
)
_BEGIN = re.compile(rb"\s*+(?:<\?xml[^<>]*+>\s*+)?<ListBucketResult[\s>]")
_FIELD = {
    name: re.compile(rb"<" + name + rb">([^<]*)</" + name + rb">")
    for name in (b"KeyCount", b"IsTruncated", b"NextContinuationToken", b"NextMarker", b"EncodingType")
}
_XML_LIMIT = 16 * 1024 * 1024
_MOST_MARKS = 200_000  # tags and attributes: twice those of 10,000 buckets, nine times those of a page (H101)
_EDGE = 16 * 1024  # what stands before and after the records of a page: prefix, marker and token, each up to 3 KiB


class Page(NamedTuple):
    """One page of a listing. ``names`` are full keys, ascending as the server gave them; ``token`` is empty at the end."""

    entries: list[Entry]
    prefixes: list[str]
    truncated: bool
    token: str


def parse_document(body: bytes | bytearray, root: str, operation: str, other: str = "") -> ET.Element:
    """Parse an answer whose root must be ``root`` (or ``other``, where some server calls it so); namespaces are dropped.
    Raises Corrupt for anything else.

    Document types and entities are refused before parsing: S3 sends none (H101).
    """
    if not _is_plain(body):
        raise Corrupt(f"The answer to {operation} is no plain XML document.", operation=operation)
    try:
        # A Complete that takes long is preceded by white space that keeps the connection alive.
        element = ET.fromstring(bytes(body).lstrip())
    except ET.ParseError as error:
        raise Corrupt(
            f"The answer to {operation} is cut or empty ({error}); it proves nothing.", operation=operation
        ) from None
    for node in element.iter():
        node.tag = node.tag.rpartition("}")[2]
    if element.tag not in (root, other):
        raise Corrupt(f"The answer to {operation} is a {element.tag}, not a {root}.", operation=operation)
    return element


def _is_plain(body: bytes | bytearray) -> bool:
    """Small enough to be parsed, and without declarations; those of UTF-16 or another encoding would not be seen."""
    return (
        len(body) <= _XML_LIMIT
        and b"<!DOCTYPE" not in body
        and b"<!ENTITY" not in body
        and b"\x00" not in body
        and body.count(b"<") + body.count(b"=") <= _MOST_MARKS
    )


_AS_TEXT = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;", "\n": "&#10;", "\t": "&#9;"})


def as_text(text: str) -> str:
    """A key or ETag as the text of an element. (The standard library's escape loads an HTTP client: 9 ms.)"""
    return text.translate(_AS_TEXT)


def error_of(body: bytes | bytearray) -> tuple[str, str, str]:
    """Code, message and request id of an error document; empty strings for what is missing or no XML at all."""
    if b"<Error" not in body[:65536] or b"<!" in body[:65536]:
        return "", "", ""
    try:
        element = ET.fromstring(bytes(body[:65536]).strip())
    except ET.ParseError:
        return "", "", ""
    found = {node.tag.rpartition("}")[2]: (node.text or "") for node in element.iter()}
    return found.get("Code", ""), found.get("Message", ""), found.get("RequestId", "")


def next_token(body: bytes) -> str | None:
    """The continuation token of a page, found without parsing its records; None where the page is the last.

    It lets the next page be asked for before this one is read. An empty string says: truncated, but no token.
    """
    edges = body if len(body) <= 2 * _EDGE else body[:_EDGE] + b"<" + body[-_EDGE:]
    truncated = _FIELD[b"IsTruncated"].search(edges)
    if truncated is None or truncated[1].strip() != b"true":
        return None
    token = _FIELD[b"NextContinuationToken"].search(edges)
    return _token(token[1]) if token else ""


def check_page(response: Response) -> None:
    """Raise Corrupt where a listing's body is cut or is something else: seen before it is parsed, it can be asked again."""
    body = response.body
    if not body[-64:].rstrip().endswith(b"ListBucketResult>"):
        parse_document(body, "ListBucketResult", "List")


def parse_page(body: bytes | bytearray) -> Page:
    """Parse a ListObjectsV2 (or V1) answer; raises Corrupt where it is cut, is something else, or miscounts itself.

    The fast way takes the records by one pattern, 0.8 µs a key; it is believed only when the document begins and ends
    as it must and the records are as many as opening tags and as KeyCount says. Everything else goes through expat.
    """
    body = bytes(body)
    if not _is_plain(body):
        raise Corrupt("The listing is no plain XML document.", operation="List")
    if _BEGIN.match(body) is None or body.rstrip()[-19:] != b"</ListBucketResult>" or b"<CommonPrefixes" in body:
        return _parse_page_by_expat(body)
    records = _RECORD.findall(body)
    if not records or len(records) != body.count(b"<Contents"):
        return _parse_page_by_expat(body)
    outside = body[: body.index(b"<Contents>")] + body[body.rindex(b"</Contents>") :]
    count = _FIELD[b"KeyCount"].search(outside)
    if count is not None and count[1].strip() != b"%d" % len(records):
        return _parse_page_by_expat(body)
    encoded = (kind := _FIELD[b"EncodingType"].search(outside)) is not None and kind[1] == b"url"
    truncated = (flag := _FIELD[b"IsTruncated"].search(outside)) is not None and flag[1].strip() == b"true"
    token = _FIELD[b"NextContinuationToken"].search(outside) or _FIELD[b"NextMarker"].search(outside)
    try:
        entries = [
            Entry(_key(key, encoded), int(size), _time_ns(modified), _etag(etag), storage.decode())
            for key, modified, etag, size, storage in records
        ]
    except ValueError:
        return _parse_page_by_expat(body)
    return Page(entries, [], truncated, _token(token[1]) if token else "")


def _key(raw: bytes, encoded: bool) -> str:
    if not raw:
        raise ValueError("no key")
    if b"&" in raw:
        raw = _unescape(raw)
    text = raw.decode("utf-8", "surrogateescape")
    return decode_key(text) if encoded and ("%" in text or "+" in text) else text


def _etag(raw: bytes) -> str:
    return raw.replace(b"&quot;", b"").replace(b"&#34;", b"").strip(b'"').decode("latin-1")


_ENTITY = re.compile(rb"&(?:#x([0-9A-Fa-f]{1,6});|#(\d{1,7});|(\w{2,4});)?")
_NAMED = {b"amp": b"&", b"lt": b"<", b"gt": b">", b"quot": b'"', b"apos": b"'"}


def _unescape(raw: bytes) -> bytes:
    def one(match: re.Match[bytes]) -> bytes:
        if match[3]:
            if match[3] not in _NAMED:
                raise ValueError("unknown entity")
            return _NAMED[match[3]]
        if len(match[0]) == 1:
            raise ValueError("no entity")
        return chr(int(match[1], 16) if match[1] else int(match[2])).encode("utf-8", "surrogatepass")

    return _ENTITY.sub(one, raw) if b"&" in raw else raw


def _token(raw: bytes) -> str:
    try:
        return _unescape(raw).decode("utf-8", "replace")
    except ValueError:
        raise Corrupt("The listing's continuation token cannot be read.", operation="List") from None


def _time_ns(raw: bytes | str) -> int:
    text = raw.decode("ascii") if isinstance(raw, bytes) else raw
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000 + 0.5) * 1_000_000


def _parse_page_by_expat(body: bytes) -> Page:
    element = parse_document(body, "ListBucketResult", "List")
    encoded = element.findtext("EncodingType") == "url"

    def named(text: str) -> str:
        return decode_key(text) if encoded else text

    entries = []
    try:
        for node in element.findall("Contents"):
            key, size = node.findtext("Key"), node.findtext("Size")
            if not key or size is None or not (size.isascii() and size.isdigit()):
                raise Corrupt("The listing has a record without key or size.", operation="List")
            etag = (node.findtext("ETag") or "").strip('"')
            modified = node.findtext("LastModified")
            entries.append(
                Entry(
                    named(key),
                    int(size),
                    _time_ns(modified) if modified else 0,
                    etag,
                    node.findtext("StorageClass") or "",
                )
            )
    except ValueError as error:
        raise Corrupt(f"The listing has a record that cannot be read: {error}.", operation="List") from None
    prefixes = [named(node.findtext("Prefix") or "") for node in element.findall("CommonPrefixes")]
    count = element.findtext("KeyCount")
    # Some servers leave common prefixes out of KeyCount (rclone, versitygw): both counts are an honest page.
    if count is not None and count.strip() not in (str(len(entries) + len(prefixes)), str(len(entries))):
        raise Corrupt(
            f"The listing says {printable(count)[:20]} keys and shows {len(entries) + len(prefixes)}.", operation="List"
        )
    truncated = (element.findtext("IsTruncated") or "").strip() == "true"
    token = element.findtext("NextContinuationToken") or element.findtext("NextMarker") or ""
    return Page(entries, prefixes, truncated, token)
