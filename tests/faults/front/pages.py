"""Read a page of a listing, write it anew with other entries or elements."""

from __future__ import annotations

import re
from collections.abc import Collection
from html import unescape
from urllib.parse import unquote_to_bytes
from xml.sax.saxutils import escape

from tests.faults.front.request import Request

_ENTRY = re.compile(rb"\s*<(Contents|CommonPrefixes|Version|DeleteMarker|Upload|Part)>.*?</\1>", re.DOTALL)
TOKENS = ("NextContinuationToken", "NextMarker", "NextKeyMarker", "NextPartNumberMarker")
TOKENS_ALL = (*TOKENS, "NextUploadIdMarker", "NextVersionIdMarker")
_TOKENS_SENT = ("continuation-token", "marker", "key-marker", "part-number-marker")
NEXT = {"ListV2": "NextContinuationToken", "ListV1": "NextMarker", "ListParts": "NextPartNumberMarker"}


def token_of(request: Request) -> str | None:
    """Where the client wants the listing to go on."""
    return next((request.query[name] for name in _TOKENS_SENT if request.query.get(name)), None)


def entries(page: bytes) -> list[bytes]:
    """The entries of a page of a listing, as they stand there."""
    return [found[0] for found in _ENTRY.finditer(page)]


def with_entries(page: bytes, wanted: list[bytes]) -> bytes:
    """The page with other entries, and a KeyCount that is right."""
    found = list(_ENTRY.finditer(page))
    if found:
        page = page[: found[0].start()] + b"".join(wanted) + page[found[-1].end() :]
    return with_tag(page, "KeyCount", str(len(wanted))) if tag(page, "KeyCount") is not None else page


def without_keys(page: bytes, keys: Collection[str], honest_count: bool = True) -> bytes | None:
    """The page without some keys; None where they are not on it."""
    found = entries(page)
    encoded = tag(page, "EncodingType") == "url"
    kept = [entry for entry in found if key_of(entry, encoded) not in keys]
    if len(kept) == len(found):
        return None
    count = tag(page, "KeyCount")
    page = with_entries(page, kept)
    return with_tag(page, "KeyCount", count) if count is not None and not honest_count else page


def key_of(entry: bytes, encoded: bool = False) -> str:
    found = re.search(rb"<(?:Key|Prefix)>(.*?)</", entry, re.DOTALL)
    text = found[1] if found else b""
    if encoded:
        text = unquote_to_bytes(text.replace(b"+", b" "))
    return unescape(text.decode("utf-8", "surrogateescape"))


def tag(page: bytes, name: str) -> str | None:
    """What an element outside the entries says."""
    found = re.search(rb"<%s>([^<]*)</" % name.encode(), _ENTRY.sub(b"", page))
    return found[1].decode() if found else None


def without_tag(page: bytes, name: str) -> bytes:
    return re.sub(rb"\s*<%s>[^<]*</%s>|\s*<%s ?/>" % ((name.encode(),) * 3), b"", page, count=1)


def with_tag(page: bytes, name: str, value: str) -> bytes:
    """The page with an element, replaced or added right after the root's start."""
    element = f"<{name}>{escape(value)}</{name}>".encode()
    pattern = rb"<%s>[^<]*</%s>|<%s ?/>" % ((name.encode(),) * 3)
    changed, count = re.subn(pattern, lambda _: element, page, count=1)
    return changed if count else re.sub(rb"(<[A-Z]\w*[^>]*>)", lambda m: m[1] + element, page, count=1)
