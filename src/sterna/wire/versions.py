"""Turn a page of a listing of versions into values, or into Corrupt."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from sterna.model.errors import Corrupt
from sterna.model.units import printable
from sterna.wire.encoding import decode_key
from sterna.wire.xml import Asked, differing, is_truncated, parse_document, time_ns

if TYPE_CHECKING:
    from xml.etree import ElementTree as ET

NULL = "null"  # the id of what was written while the bucket kept no versions: the next such write replaces it
_RECORDS = ("Version", "DeleteMarker")
_ONCE = ("Name", "Prefix", "IsTruncated", "EncodingType", "NextKeyMarker", "NextVersionIdMarker", "MaxKeys")


class Version(msgspec.Struct, frozen=True, gc=False):
    """One version of an object, or the delete marker that stands for its removal. ``key`` is the full key."""

    key: str
    version: str
    mtime_ns: int
    is_marker: bool
    is_latest: bool
    size: int = 0
    etag: str = ""
    storage_class: str = ""


class VersionPage(NamedTuple):
    """One page, in the order of the document; ``key_marker`` and ``version_marker`` say where the next one begins."""

    versions: list[Version]
    truncated: bool
    key_marker: str
    version_marker: str


def parse_versions(body: bytes | bytearray, asked: Asked) -> VersionPage:
    """Parse an answer to ListObjectVersions; raises Corrupt where it is cut, is something else than was ``asked`` for,
    contradicts itself, or does not say whether more follows, and where.
    """
    page = parse_document(body, "ListVersionsResult", "ListVersions")
    _check_members(page)
    is_encoded = page.findtext("EncodingType") == "url"
    repeated = {name: page.findtext(name) or "" for name in ("Name", "Prefix", "Delimiter")}
    if name := differing(repeated, asked, is_encoded):
        said = printable(repeated[name])[:100]
        raise _corrupt(f"The listing of versions is of another place than was asked for ({name} {said}).")
    versions = [_version(node, is_encoded) for node in page if node.tag in _RECORDS]
    key_marker = page.findtext("NextKeyMarker") or ""
    key_marker = decode_key(key_marker) if is_encoded else key_marker
    truncated = is_truncated(
        page.findtext("IsTruncated"), key_marker, len(versions), page.findtext("MaxKeys") or asked.most
    )
    version_marker = page.findtext("NextVersionIdMarker") or ""
    if truncated and not (
        key_marker and version_marker
    ):  # without the latter, what is left of a key would be passed over
        raise _corrupt("The listing of versions says that it goes on, and not where; it is not complete.")
    return VersionPage(versions, truncated, key_marker, version_marker)


def _check_members(page: ET.Element) -> None:
    """Raise Corrupt where a page has an error in it, a record elsewhere than it belongs, prefixes that nobody asked for,
    or says twice what it says once."""
    tags = [node.tag for node in page]
    for name in (*_RECORDS, "IsTruncated", "Error", "CommonPrefixes"):
        many = sum(1 for _ in page.iter(name))
        if many and (name in ("Error", "CommonPrefixes") or many != tags.count(name)):
            raise _corrupt(f"The listing of versions has {name} where it does not belong; it may not be complete.")
    for name in _ONCE:
        if tags.count(name) > 1:
            raise _corrupt(f"The listing of versions says {name} twice; it cannot be trusted.")


def _version(node: ET.Element, is_encoded: bool) -> Version:
    names = [member.tag for member in node]
    key, version, modified, latest = (node.findtext(name) for name in ("Key", "VersionId", "LastModified", "IsLatest"))
    is_marker = node.tag == "DeleteMarker"
    size = "0" if is_marker else node.findtext("Size")
    if not (key and version and modified and size) or len(set(names)) < len(names):
        raise _corrupt("The listing of versions has a record without key, id, time or size, or with one of them twice.")
    if not (size.isascii() and size.isdigit()):
        raise _corrupt("The listing of versions has a record without a size.")
    try:
        mtime_ns = time_ns(modified)
    except ValueError as error:
        raise _corrupt(f"The listing of versions has a record that cannot be read: {error}.") from None
    return Version(
        decode_key(key) if is_encoded else key,
        version,
        mtime_ns,
        is_marker,
        (latest or "").strip().lower() == "true",
        int(size),
        (node.findtext("ETag") or "").strip('"'),
        node.findtext("StorageClass") or "",
    )


def _corrupt(sentence: str) -> Corrupt:
    return Corrupt(sentence, operation="ListVersions")
