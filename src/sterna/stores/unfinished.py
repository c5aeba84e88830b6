"""List the multipart uploads of a store that were begun, and neither joined nor given up."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from operator import le
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec.structs import replace

from sterna.model.errors import Corrupt, ObjectGone, SternaError, Unsupported
from sterna.model.units import printable
from sterna.stores.listing import EMPTY_PAGES
from sterna.stores.objects import said_by
from sterna.stores.s3 import PAGE_KEYS, S3Store
from sterna.wire.client import Request
from sterna.wire.connection import Response
from sterna.wire.encoding import decode_key, encode_query
from sterna.wire.xml import is_truncated, time_ns

if TYPE_CHECKING:
    from xml.etree import ElementTree as ET

_ONCE = (
    "IsTruncated",
    "KeyMarker",
    "UploadIdMarker",
    "NextKeyMarker",
    "NextUploadIdMarker",
    "MaxUploads",
    "EncodingType",
)
_LIST = "ListUploads"


class Unfinished(msgspec.Struct, frozen=True, gc=False):
    """One unfinished upload. ``initiated_ns`` is by the server's clock, 0 where it does not tell."""

    key: str
    id: str
    initiated_ns: int = 0
    storage_class: str = ""


class _At(NamedTuple):
    """Behind which upload a page begins."""

    key: str = ""
    id: str = ""


class _Page(NamedTuple):
    """One page; keys are full. ``is_doubtful``: its keys may be written as they are, or encoded: it does not say."""

    uploads: list[Unfinished]
    goes_on: bool
    following: _At
    is_doubtful: bool


async def uploads_below(
    store: S3Store, path: str = "", *, most: int = PAGE_KEYS
) -> AsyncGenerator[list[Unfinished], None]:
    """The uploads of the object ``path`` of a store and of those below ``path/``; or with a trailing slash only these, or
    without a path all of the store. In key order, in pages of up to ``most``; those of one key as the server orders them.

    Raises Corrupt where the pages contradict themselves or go round (H76, H80), Unsupported where the server does not
    list uploads.
    """
    if path and not path.endswith("/"):
        if own := await uploads_of(store, path, most=most):
            yield own
        path += "/"
    cut, last = len(store.prefix), ""
    async with aclosing(_pages(store, store.prefix + path, most)) as pages:
        async for page in pages:
            keys = [one.key for one in page]
            if keys[0] < last or not all(map(le, keys, keys[1:])):
                raise _wrong("has keys in another order than their bytes'; it cannot be trusted")
            last = keys[-1]
            yield [replace(one, key=one.key[cut:]) for one in page] if cut else page


async def uploads_of(store: S3Store, key: str, *, most: int = PAGE_KEYS) -> list[Unfinished]:
    """The uploads of exactly this key. Some servers list them in no order, which does no harm here."""
    full, found = store.key_of(key), []
    async with aclosing(_pages(store, full, most)) as pages:
        async for page in pages:
            own = [replace(one, key=key) for one in page if one.key == full]
            found += own
            if not own and page[0].key > full:
                break  # nothing but longer names follows
    return found


async def _pages(store: S3Store, prefix: str, most: int) -> AsyncGenerator[list[Unfinished], None]:
    """What each page has that those before it had not."""
    at, asked, truncated = _At(), {_At()}, False
    last = before = passed = ""  # the last key, the one before it, and up to which one nothing is looked at again
    ids: set[str] = set()  # of the last key
    empty, is_encoded = 0, True
    while True:
        try:
            page = await _page(store, prefix, at, most, is_encoded=is_encoded)
        except SternaError as error:
            if error.status != 400 or not at.id:
                raise
            if not truncated:
                return  # that nothing follows was said, and is so
            # versitygw refuses its own markers: without an id, begin before the last key, and leave out what has been.
            at, passed = _next(asked, _At(before)), before
            continue
        if page.is_doubtful and is_encoded:
            is_encoded = False  # Ceph 16 encodes keys and does not say so; those that do not encode say as little
            continue
        fresh = []
        for one in page.uploads:
            if not one.key.startswith(prefix):
                raise _wrong("shows an upload of another place")
            if one.key <= passed:
                continue  # to some servers a marker without an id means its own key too
            if one.key != last:
                before, last = last, one.key
                ids.clear()
            if one.id not in ids:
                ids.add(one.id)
                fresh.append(one)
        if fresh:
            yield fresh
        truncated, empty = page.goes_on, 0 if fresh else empty + 1
        # Some show markers on the last page too; others, who have cut it short: what follows is looked at.
        if not truncated and (not page.following.key or not fresh or page.following in asked):
            return
        if not page.following.key:
            raise _wrong("says that it goes on, and not where; it is not complete")
        if empty > EMPTY_PAGES:
            raise _wrong("goes on and on without an upload; it cannot be trusted")
        at = _next(asked, page.following)


def _next(asked: set[_At], at: _At) -> _At:
    if at in asked:
        raise _wrong("goes on where it has been; it would never end")
    asked.add(at)
    return at


async def _page(store: S3Store, prefix: str, at: _At, most: int, *, is_encoded: bool) -> _Page:
    shown: ET.Element | None = None
    name = str(store.location)

    def is_page(response: Response) -> None:
        nonlocal shown
        if b"<ListBucketResult" in response.body[:1024]:  # the parameter is unknown, and was overlooked
            raise Unsupported("The server lists objects instead of uploads.", operation=_LIST)
        shown = said_by(response, "ListMultipartUploadsResult", _LIST, name)

    pairs = [("uploads", ""), ("max-uploads", str(most)), ("prefix", prefix), ("key-marker", at.key)]
    pairs += [("upload-id-marker", at.id), ("encoding-type", "url" if is_encoded else "")]
    query = encode_query([(key, value) for key, value in pairs if value or key == "uploads"])
    try:
        await store.client.call(Request(_LIST, "GET", store.bucket, query=query, check=is_page))
    except ObjectGone as error:
        if error.code != "NoSuchUpload":  # so rclone says that a bucket has none
            raise
        return _Page([], False, _At(), False)
    except SternaError as error:
        if isinstance(error, Unsupported) or error.status == 405:
            why = error.code or "it lists objects instead"
            sentence = f"The server of {printable(name)} does not list unfinished uploads ({why})."
            raise Unsupported(sentence, **error.facts()) from error
        raise
    assert shown is not None
    return _read(shown, most)


def _read(page: ET.Element, most: int) -> _Page:
    """A page that is whole and says each thing once, or Corrupt."""
    for name in ("Error", "Upload", *_ONCE):
        inside, beside = sum(1 for _ in page.iter(name)), len(page.findall(name))
        if inside != beside or (inside and name == "Error") or (inside > 1 and name in _ONCE):
            raise _wrong(f"has {name} twice, or where it does not belong; it cannot be trusted")
    is_url = page.findtext("EncodingType") == "url"
    uploads, is_odd = [], False
    for node in page.findall("Upload"):
        said = {member.tag: member.text or "" for member in node}
        key, upload_id = said.get("Key", ""), said.get("UploadId", "")
        if not (key and upload_id) or len(said) != len(node):
            raise _wrong("has an upload without key or id, or with two")
        is_odd = is_odd or "%" in key or "+" in key
        try:
            initiated_ns = time_ns(said.get("Initiated", ""))
        except ValueError as error:
            raise _wrong(f"has an upload that cannot be read ({error})") from None
        key = decode_key(key) if is_url else key
        uploads.append(Unfinished(key, upload_id, initiated_ns, said.get("StorageClass", "")))
    following = _At(page.findtext("NextKeyMarker") or "", page.findtext("NextUploadIdMarker") or "")
    goes_on = page.findtext("IsTruncated")
    if is_url:
        following = _At(decode_key(following.key), following.id)
    if goes_on is None and uploads and not following.key:  # rclone leaves a no out, also of a full page: look behind it
        goes_on, following = "false", _At(uploads[-1].key, uploads[-1].id)
    is_doubtful = is_odd and not is_url
    return _Page(
        uploads,
        is_truncated(goes_on, following.key, len(uploads), page.findtext("MaxUploads") or most),
        following,
        is_doubtful,
    )


def _wrong(what: str) -> Corrupt:
    return Corrupt(f"The listing of unfinished uploads {what}.", operation=_LIST)
