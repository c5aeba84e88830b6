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
# A "<" that begins no record is found as an empty one, so that nothing is passed over.
_RECORD = (
    r"<(?:Contents>"
    r"(?:<Key>([^<]++)</Key>|<LastModified>([^<]*+)</LastModified>|<ETag>([^<]*+)</ETag>|<Size>(\d++)</Size>"
    r"|<StorageClass>([^<]*+)</StorageClass>|<(?:ChecksumAlgorithm|ChecksumType|Type|VersionId)>[^<]*+</[A-Za-z]++>"
    rf"|{_OWNER}|\s++)*+"
    r"</Contents>)?+"
)
# The same in the order of AWS, which takes two thirds of the time; the quotes of the ETag are left out.
_USUAL_RECORD = re.compile(
    r"<(?:Contents><Key>([^<]++)</Key><LastModified>([^<]*+)</LastModified>"
    r"<ETag>(?:&quot;|&#34;|\")?+([^<&\"]*+)(?:&quot;|&#34;|\")?+</ETag>"
    r"(?:<ChecksumAlgorithm>[^<]*+</ChecksumAlgorithm>)*+(?:<ChecksumType>[^<]*+</ChecksumType>)?+<Size>(\d++)</Size>"
    rf"(?:{_OWNER})?+(?:<StorageClass>([^<]*+)</StorageClass>)?+(?:{_OWNER})?+(?:<Type>[^<]*+</Type>)?+</Contents>)?+",
    re.ASCII,
)
# What stands before the first record: the root, and members that hold text alone. Behind the last one there are such too.
_MEMBERS = r"\s*+(?:<(?:\w++/>|(\w++)>[^<]*+</\1>)\s*+)*+"
_BEGIN = r"\s*+(?:<\?xml[^<>]*+>\s*+)?<ListBucketResult(?:\s[^<>]*+)?>"
_BEFORE, _BEHIND = re.compile(_BEGIN + _MEMBERS, re.ASCII), re.compile(_MEMBERS, re.ASCII)
_MEMBER = re.compile(r"<(\w++)(?:/>|>([^<]*+)</)", re.ASCII)
_ONCE = ("Name", "Prefix", "Delimiter", "MaxKeys", "KeyCount", "IsTruncated", "EncodingType", "Marker", "NextMarker",
         "ContinuationToken", "NextContinuationToken", "StartAfter")  # fmt: skip
_REPEATED = ("Name", "Prefix", "Delimiter")
_IN_RECORD = ("Key", "LastModified", "ETag", "Size", "StorageClass")  # as the groups of the pattern
_ALIASES = ("-s3alias", "--ol-s3")  # so end the names of access points, whose listings may name the bucket
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


class Asked(NamedTuple):
    """What a page was asked for, which it may repeat. ``prefix``: None where it is not to be compared."""

    most: int = _PAGE_KEYS
    bucket: str = ""
    prefix: str | None = None
    delimiter: str = ""


ANYWHERE = Asked()


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


def parse_page(body: bytes | bytearray, asked: Asked = ANYWHERE) -> Page:
    """Parse a ListObjectsV2 (or V1) answer; raises Corrupt where it is cut, is something else than was ``asked`` for,
    miscounts or contradicts itself, or does not say whether more follows.

    The fast way takes the records by one pattern, 1.3 µs a key; it is believed only when nothing stands beside them but
    members of plain text, each once, and they are as many as opening tags and as KeyCount says. Everything else goes
    through expat.
    """
    body = bytes(body)
    if (
        body.rstrip()[-19:] != b"</ListBucketResult>"
        or len(body) > _XML_LIMIT
        or b"\x00" in body
        or b"<!" in body
        or b"<CommonPrefixes" in body
    ):
        return _parse_page_by_expat(body, asked)
    text = body.decode("utf-8", "surrogateescape")
    total = text.count("<Contents")
    first, last = text.find("<Contents>"), text.rfind("</Contents>") + len("</Contents>")
    beside = _beside(text, first, last) if first >= 0 else None
    if beside is None:
        return _parse_page_by_expat(body, asked)
    begin = _USUAL_RECORD.match(text, first, last)
    records = _USUAL_RECORD.findall(text, first, last) if begin is not None and begin[1] else []
    if len(records) != total:
        records = _others(text, first, last)
    count, token, kind = (beside.get(name) for name in ("KeyCount", "NextContinuationToken", "EncodingType"))
    if len(records) != total or (count is not None and count.strip() != str(total)):
        return _parse_page_by_expat(body, asked)
    old = _is_old(count, token, "Marker" in beside)
    following = token or (not old and beside.get("NextMarker")) or ""
    truncated = is_truncated(beside.get("IsTruncated"), following, total, beside.get("MaxKeys") or asked.most)
    times, shared, encoded = _Times(), _Shared(), kind == "url"
    try:
        repeated = {name: _key(beside.get(name, ""), False) for name in _REPEATED}
        if differing(repeated, asked, encoded):
            return _parse_page_by_expat(body, asked)
        if _is_odd("".join([record[0] for record in records]), is_url=encoded):
            records = [(_key(key, encoded), *others) for key, *others in records]
        # What is no record has been found as one without a size, and is refused here.
        entries = [Entry(key, int(size), times[at], etag, shared[storage]) for key, at, etag, size, storage in records]
    except ValueError:
        return _parse_page_by_expat(body, asked)
    return Page(entries, [], truncated, _token(following), old)


def _others(text: str, first: int, last: int) -> list[tuple[str, ...]]:
    """The records of a page with members in any order; none where one lacks its key or size, or says anything twice."""
    found: list[tuple[str, ...]] = re.findall(_RECORD, text[first:last], re.ASCII)
    members = dict(zip(_IN_RECORD, zip(*found, strict=True), strict=False))
    if not found or "" in members["Key"] or "" in members["Size"]:
        return []
    shown = {name: len(found) - values.count("") for name, values in members.items()}
    # With two tags each and no others, none is there twice; else they are counted one by one, which takes longer.
    is_plain = text.count("<", first, last) == 2 * (len(found) + sum(shown.values()))
    if not is_plain and any(text.count(f"<{name}>", first, last) != many for name, many in shown.items()):
        return []
    return [(key, at, _etag(etag), size, kind) for key, at, etag, size, kind in found]


def _beside(text: str, first: int, last: int) -> dict[str, str] | None:
    """The members of a page before its first record and behind the last; None where it has others than of plain text,
    one of them twice, or an error."""
    end = text.rindex("</ListBucketResult>")
    before, behind = _BEFORE.match(text, 0, first), _BEHIND.match(text, last, end)
    if before is None or before.end() != first or behind is None or behind.end() != end:
        return None
    found = _MEMBER.findall(text, 0, first) + _MEMBER.findall(text, last, end)
    members = dict(found)
    return members if len(members) == len(found) and "Error" not in members else None


def differing(repeated: dict[str, str], asked: Asked, encoded: bool) -> str:
    """By which name a page shows that it answers something else than was ``asked``; empty where by none.

    Only what is there is compared: not every server repeats what it was asked for. A prefix may be written as it is
    or encoded, and be a shorter one, of which what was asked for is a part; one whose characters were replaced (as
    rclone does) tells nothing. A tenant may stand before the bucket's name where it is asked for.
    """
    name, prefix, delimiter = (repeated[one] for one in _REPEATED)
    is_named = not asked.bucket.startswith("arn:") and not asked.bucket.endswith(_ALIASES)
    if name and asked.bucket and is_named and name not in (asked.bucket, asked.bucket.rpartition(":")[2]):
        return "Name"
    written = (prefix, decode_key(prefix)) if encoded else (prefix,)
    if asked.prefix is not None and "\ufffd" not in prefix and not asked.prefix.startswith(written):
        return "Prefix"
    if delimiter and asked.delimiter not in (delimiter, decode_key(delimiter)):
        return "Delimiter"
    return ""


def _is_old(count: str | None, token: str | None, has_marker: bool) -> bool:
    """Whether a page answers the first version: it repeats the marker, and has neither the count nor the token."""
    return has_marker and count is None and not token


def is_truncated(more: str | None, following: str, shown: int, most: str | int) -> bool:
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
        self[text] = found = time_ns(text)
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


def time_ns(text: str) -> int:
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


def _check_members(page: ET.Element) -> None:
    """Raise Corrupt where a page has an error in it, a record or a word of its end elsewhere than it belongs, or twice
    what it says once: whichever were believed, the other could be right."""
    tags = [node.tag for node in page]
    for name in ("Error", "Contents", "IsTruncated"):
        inside = sum(1 for _ in page.iter(name))
        if inside and (name == "Error" or inside != tags.count(name)):
            raise Corrupt(f"The listing has {name} where it does not belong; it may not be complete.", operation="List")
    twice = next((name for name in _ONCE if tags.count(name) > 1), "")
    for node in page.iterfind("Contents"):
        if len(node) > len({member.tag for member in node}):
            names = [member.tag for member in node]
            twice = twice or next((name for name in _IN_RECORD if names.count(name) > 1), "")
    if twice:
        raise Corrupt(f"The listing says {twice} twice; it cannot be trusted.", operation="List")


def _parse_page_by_expat(body: bytes, asked: Asked) -> Page:
    element = parse_document(body, "ListBucketResult", "List")
    encoded = element.findtext("EncodingType") == "url"
    _check_members(element)
    repeated = {name: element.findtext(name) or "" for name in _REPEATED}
    if name := differing(repeated, asked, encoded):
        raise Corrupt(
            f"The listing is of another place than was asked for ({name} {printable(repeated[name])[:100]}).",
            operation="List",
        )

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
                    time_ns(modified or ""),
                    etag,
                    node.findtext("StorageClass") or "",
                )
            )
    except ValueError as error:
        raise Corrupt(f"The listing has a record that cannot be read: {error}.", operation="List") from None
    prefixes = [named(node.findtext("Prefix") or "") for node in element.findall("CommonPrefixes") if len(node)]
    if prefixes and not asked.delimiter:  # what is below them is not listed
        raise Corrupt("The listing has prefixes that nobody asked for; it is not complete.", operation="List")
    count = element.findtext("KeyCount")
    # Some servers leave common prefixes out of KeyCount (rclone, versitygw): both counts are an honest page.
    if count is not None and count.strip() not in (str(len(entries) + len(prefixes)), str(len(entries))):
        raise Corrupt(
            f"The listing says {printable(count)[:20]} keys and shows {len(entries) + len(prefixes)}.", operation="List"
        )
    token = element.findtext("NextContinuationToken")
    old = _is_old(count, token, element.find("Marker") is not None)
    following = token or (not old and element.findtext("NextMarker")) or ""
    truncated = is_truncated(
        element.findtext("IsTruncated"),
        following,
        len(entries) + len(prefixes),
        element.findtext("MaxKeys") or asked.most,
    )
    return Page(entries, prefixes, truncated, following, old)
