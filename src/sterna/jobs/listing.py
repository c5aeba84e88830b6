"""List what is in a bucket or below a path, page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from sterna.model.entry import Entry
from sterna.model.errors import Corrupt, ObjectGone, WrongSetting
from sterna.model.events import Emit, Tally, ignore
from sterna.model.location import BucketPath
from sterna.model.units import printable
from sterna.stores.s3 import S3Store
from sterna.wire.client import Client, Request
from sterna.wire.encoding import encode_query
from sterna.wire.retry import no_such_bucket
from sterna.wire.side import Side
from sterna.wire.xml import Asked, check_page, parse_page


class Listed(msgspec.Struct, frozen=True, gc=False):
    """One line of a listing. ``key`` is relative to the location; the object that the location itself names, and its
    marker ``path/``, appear under their last component. For a bucket it is the name, ``mtime_ns`` its creation."""

    key: str
    size: int = 0
    mtime_ns: int = 0
    storage_class: str = ""
    etag: str = ""
    is_prefix: bool = False


async def list_objects(location: BucketPath, side: Side, *, recursive: bool) -> AsyncIterator[list[Listed]]:
    """What is in a bucket or below a path, page by page.

    A path means the object of that name and what is below ``path/``, or with a trailing slash only that; without
    ``recursive`` only the next level, deeper ones as prefixes. Raises ObjectGone where there is neither, WrongSetting
    where there is no such bucket.
    """
    async with opened(location, side) as store:
        found = False
        named = await itself(store)
        if named:
            found = True
            own = location.path.rpartition("/")[2]
            yield [_listed(entry, own + entry.key[len(location.path) :]) for entry in named]
        async for page in _below(store) if recursive else _next_level(store):
            found = True
            yield page
        if not found and location.path:
            raise nothing(location)


async def _below(store: S3Store) -> AsyncIterator[list[Listed]]:
    async for page in store.pages():
        yield [_listed(entry, entry.key) for entry in page.entries]


async def _next_level(store: S3Store) -> AsyncIterator[list[Listed]]:
    token, cut = "", len(store.prefix)
    while True:
        page = await store.folder_page(token)
        for key in (*page.prefixes, *(entry.key for entry in page.entries)):
            if not key.startswith(store.prefix):
                raise Corrupt(f"The listing of {store.location} shows a key of another place.", operation="List")
        listed = [_listed(entry, entry.key[cut:]) for entry in page.entries if len(entry.key) > cut]
        listed += [Listed(prefix[cut:], is_prefix=True) for prefix in page.prefixes if len(prefix) > cut]
        if listed:
            listed.sort(key=lambda one: one.key)
            yield listed
        if not page.truncated:
            return
        if not page.token or page.token == token:
            raise Corrupt("The listing says that it goes on, and not where; it is not complete.", operation="List")
        token = page.token


@asynccontextmanager
async def opened(
    location: BucketPath, side: Side, tally: Tally | None = None, emit: Emit = ignore
) -> AsyncIterator[S3Store]:
    """The store of a place that is looked at, or removed from: a bucket that is missing there is not to be made."""
    client = Client(side, location.bucket, tally=tally, emit=emit)
    try:
        yield S3Store(client, location)
    except WrongSetting as error:
        if error.code != "NoSuchBucket":
            raise
        raise WrongSetting(no_such_bucket(location.bucket), **error.facts()) from error
    finally:
        await client.aclose()


def _listed(entry: Entry, key: str) -> Listed:
    return Listed(key, entry.size, entry.mtime_ns, entry.storage_class, entry.etag)


async def itself(store: S3Store) -> list[Entry]:
    """The object that the location names and the marker ``path/``, as far as they are there; keys are full. With a
    trailing slash it means what is below, and so names no object beside it.

    By listings, not by HEAD: who may list a bucket need not be allowed to read its objects.
    """
    path = store.location.path
    if not path:
        return []
    keys = [path + "/"] if store.location.says_folder else [path, path + "/"]
    return [entry for key in keys if (entry := await listed_as(store, key)) is not None]


async def listed_as(store: S3Store, key: str) -> Entry | None:
    """The entry with exactly this full key: as a prefix of itself it is the first that a listing shows."""
    query = encode_query([("list-type", "2"), ("encoding-type", "url"), ("max-keys", "1"), ("prefix", key)])
    response = await store.client.call(Request("List", "GET", store.bucket, query=query, check=check_page))
    page = parse_page(response.body, Asked(bucket=store.bucket, prefix=key))
    return next((entry for entry in page.entries if entry.key == key), None)


def nothing(location: BucketPath) -> ObjectGone:
    """The error of a path at which nothing is."""
    return ObjectGone(f"{printable(str(location))} does not exist: there is no such object, and nothing below it.")
