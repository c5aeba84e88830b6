"""Turn S3's XML answers into values, or into Corrupt: a document that is not what it must be proves nothing."""

from __future__ import annotations

import functools
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from sterna.model.entry import Entry
from sterna.model.errors import Corrupt
from sterna.model.units import printable
from sterna.wire.connection import Response
from sterna.wire.encoding import decode_key

if TYPE_CHECKING:
    from xml.etree import ElementTree as ET

# One <Contents> record as AWS and most servers write it: members in any order, none nested but Owner and RestoreStatus.
# Possessive on purpose (*+, ++): it never goes back over what it has matched, so hostile pages cost linear time (H101).
_OWNER = r"<Owner>(?:<\w++>[^<]*+</\w++>|<\w++/>)*+</Owner>"
_RECORD = (
    r"<Contents>"
    r"(?:<Key>([^<]++)</Key>|<LastModified>([^<]*+)</LastModified>|<ETag>([^<]*+)</ETag>|<Size>(\d++)</Size>"
    r"|<StorageClass>([^<]*+)</StorageClass>|<(?:ChecksumAlgorithm|ChecksumType|Type|VersionId)>[^<]*+</[A-Za-z]++>"
    rf"|{_OWNER}|\s++)*+"
    r"</Contents>"
)
# The same in the order of AWS, which takes two thirds of the time; the quotes of the ETag are left out.
_USUAL_RECORD = re.compile(
    r"<Contents><Key>([^<]++)</Key><LastModified>([^<]*+)</LastModified>"
    r"<ETag>(?:&quot;|&#34;|\")?+([^<&\"]*+)(?:&quot;|&#34;|\")?+</ETag>"
    r"(?:<ChecksumAlgorithm>[^<]*+</ChecksumAlgorithm>)*+(?:<ChecksumType>[^<]*+</ChecksumType>)?+<Size>(\d++)</Size>"
    rf"(?:{_OWNER})?+(?:<StorageClass>([^<]*+)</StorageClass>)?+(?:{_OWNER})?+(?:<Type>[^<]*+</Type>)?+</Contents>",
    re.ASCII,
)
_BEGIN = re.compile(rb"\s*+(?:<\?xml[^<>]*+>\s*+)?<ListBucketResult[\s>]")
_FIELD = {
    name: re.compile(f"<{name}>([^<]*)</{name}>")
    for name in ("KeyCount", "IsTruncated", "NextContinuationToken", "NextMarker", "EncodingType", "MaxKeys")
}
_PAGE_KEYS = 1000  # in a page, unless fewer were asked for
_XML_LIMIT = 16 * 1024 * 1024
_MOST_MARKS = 200_000  # tags and attributes: twice those of 10,000 buckets, nine times those of a page (H101)


class Page(NamedTuple):
    """One page of a listing. Keys are full, in the order in which the server gave them; ``token`` is empty at the end.

    ``old``: it is an answer to ListObjects, the first version, which goes on after its last key and needs no token.
    """

    entries: list[Entry]
    prefixes: list[str]
    truncated: bool
    token: str
    old: bool = False


def parse_document(body: bytes | bytearray, root: str, operation: str, other: str = "") -> ET.Element:
    """Parse an answer whose root must be ``root`` (or ``other``, where some server calls it so); namespaces are dropped.
    Raises Corrupt for anything else.

    Document types and entities are refused before parsing: S3 sends none (H101).
    """
    if not _is_plain(body):
        raise Corrupt(f"The answer to {operation} is no plain XML document.", operation=operation)
    from xml.etree import ElementTree as ET  # pages of a listing do without

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
    from xml.etree import ElementTree as ET

    try:
        element = ET.fromstring(bytes(body[:65536]).strip())
    except ET.ParseError:
        return "", "", ""
    found = {node.tag.rpartition("}")[2]: (node.text or "") for node in element.iter()}
    return found.get("Code", ""), found.get("Message", ""), found.get("RequestId", "")


def check_page(response: Response) -> None:
    """Raise Corrupt where a listing's body is cut or is something else: seen before it is parsed, it can be asked again."""
    body = response.body
    if not body[-64:].rstrip().endswith(b"ListBucketResult>"):
        parse_document(body, "ListBucketResult", "List")


def parse_page(body: bytes | bytearray, asked: int = _PAGE_KEYS) -> Page:
    """Parse a ListObjectsV2 (or V1) answer for up to ``asked`` keys; raises Corrupt where it is cut, is something else,
    miscounts itself, or does not say whether more follows.

    The fast way takes the records by one pattern, 1.3 µs a key; it is believed only when the document begins and ends
    as it must and the records are as many as opening tags and as KeyCount says. Everything else goes through expat.
    """
    body = bytes(body)
    if (
        _BEGIN.match(body) is None
        or body.rstrip()[-19:] != b"</ListBucketResult>"
        or len(body) > _XML_LIMIT
        or b"\x00" in body
        or b"<!" in body
        or b"<CommonPrefixes" in body
    ):
        return _parse_page_by_expat(body, asked)
    text = body.decode("utf-8", "surrogateescape")
    total = text.count("<Contents")
    records = _USUAL_RECORD.findall(text)
    if len(records) != total:
        found = re.findall(_RECORD, text, re.ASCII)
        records = [(key, at, _etag(etag), size, kind) for key, at, etag, size, kind in found if key and size]
    if not records or len(records) != total:
        return _parse_page_by_expat(body, asked)
    outside = text[: text.index("<Contents>")] + text[text.rindex("</Contents>") :]
    count, token, kind = (_field(name, outside) for name in ("KeyCount", "NextContinuationToken", "EncodingType"))
    more = _field("IsTruncated", outside)
    if (count is not None and count.strip() != str(total)) or (more is None and "<IsTruncated" in outside):
        return _parse_page_by_expat(body, asked)
    old = _is_old(count, token, "<Marker" in outside)
    following = token or (not old and _field("NextMarker", outside)) or ""
    truncated = _is_truncated(more, following, total, _field("MaxKeys", outside) or asked)
    times, shared = _Times(), _Shared()
    try:
        if _is_odd("".join([record[0] for record in records]), is_url=kind == "url"):
            records = [(_key(key, kind == "url"), *others) for key, *others in records]
        entries = [Entry(key, int(size), times[at], etag, shared[storage]) for key, at, etag, size, storage in records]
    except ValueError:
        return _parse_page_by_expat(body, asked)
    return Page(entries, [], truncated, _token(following), old)


def _field(name: str, text: str) -> str | None:
    found = _FIELD[name].search(text)
    return found[1] if found else None


def _is_old(count: str | None, token: str | None, has_marker: bool) -> bool:
    """Whether a page answers the first version: it repeats the marker, and has neither the count nor the token."""
    return has_marker and count is None and not token


def _is_truncated(more: str | None, following: str, shown: int, most: str | int) -> bool:
    """Whether more follows a page of ``shown`` keys that could have had ``most``. Raises Corrupt where it does not say: it
    is for a plain no that what is not listed may be deleted (H76).

    A page without the element ends the listing where it is not full, and tells of nothing that follows.
    """
    word = (more or "").strip().lower()
    if word in ("true", "false"):
        return word == "true"
    if more is None and following:
        return True
    text = str(most).strip()
    if more is None and text.isascii() and text.isdigit() and len(text) < 10 and shown < int(text):
        return False
    raise Corrupt("The listing does not say whether it goes on; it may not be complete.", operation="List")


class _Times(dict[str, int]):
    """Times in a listing to nanoseconds; objects of one page often share theirs."""

    def __missing__(self, text: str) -> int:
        self[text] = found = _time_ns(text)
        return found


class _Shared(dict[str, str]):
    """Words to one copy of each."""

    def __missing__(self, text: str) -> str:
        self[text] = text
        return text


def _is_odd(keys: str, *, is_url: bool) -> bool:
    """Whether any key is written otherwise than it is."""
    return "&" in keys or (is_url and ("%" in keys or "+" in keys))


def _key(text: str, encoded: bool) -> str:
    if "&" in text:
        text = _unescape(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")
    return decode_key(text) if encoded and ("%" in text or "+" in text) else text


def _etag(text: str) -> str:
    return text.replace("&quot;", "").replace("&#34;", "").strip('"')


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


def _token(text: str) -> str:
    try:
        return _unescape(text.encode("utf-8", "surrogateescape")).decode("utf-8", "replace")
    except ValueError:
        raise Corrupt("The listing's continuation token cannot be read.", operation="List") from None


def _time_ns(text: str) -> int:
    """An ISO time to whole milliseconds, 0 for none. The form that S3 has takes 0.4 µs, others 0.8."""
    if not text:
        return 0
    if len(text) == 24 and text[16::3] == ":.Z" and (digits := text[17:19] + text[20:23]).isdecimal():
        return _minute_ns(text[:16]) + int(digits) * 1_000_000
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000 + 0.5) * 1_000_000


@functools.lru_cache(maxsize=4096)
def _minute_ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000_000


def _parse_page_by_expat(body: bytes, asked: int) -> Page:
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
                    _time_ns(modified or ""),
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
    token = element.findtext("NextContinuationToken")
    old = _is_old(count, token, element.find("Marker") is not None)
    following = token or (not old and element.findtext("NextMarker")) or ""
    truncated = _is_truncated(
        element.findtext("IsTruncated"), following, len(entries) + len(prefixes), element.findtext("MaxKeys") or asked
    )
    return Page(entries, prefixes, truncated, following, old)
