"""List a bucket as it was at a moment: of each key the version that was the newest then."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from itertools import pairwise

import msgspec

from sterna.model.entry import Entry, Trouble
from sterna.model.errors import Corrupt, ObjectGone, Unsupported
from sterna.stores.listing import EMPTY_PAGES
from sterna.stores.s3 import PAGE_KEYS, S3Store
from sterna.stores.store import StorePage
from sterna.wire.client import Request
from sterna.wire.connection import Response
from sterna.wire.encoding import encode_query
from sterna.wire.versions import NULL, Version, VersionPage, parse_versions
from sterna.wire.xml import Asked

_SECOND_NS = 1_000_000_000
_WRITTEN = (
    "was written later, while the bucket kept no versions: what was there before, if anything, was replaced; leave"
    " --at off to have what is there now"
)
_DELETED = "was deleted later, while the bucket kept no versions: what was there before, if anything, is gone"
_UNTOLD = (
    "was written and deleted within that second, and the server does not tell in which order; give another second to"
    " --at"
)


class AsOf(S3Store):
    """The objects of a bucket as they were at a moment; what is written, is written to the bucket as it is now.

    An entry of ``pages``, ``list_some`` and ``look`` carries the id of its version, by which it is read. A key whose
    newest version then was a delete marker is absent. What cannot be known is a trouble, never a guess: a version
    without an id of its own (``null``) that is newer than the moment has replaced what there was.

    Where the server keeps no versions at all, the objects that are there now are listed, under the same rule.
    """

    def __init__(self, store: S3Store, moment_ns: int) -> None:
        super().__init__(store.client, store.location, store.own_headers)
        self.learned = store.learned
        self._moment_ns = moment_ns

    async def pages(self, start_after: str = "") -> AsyncGenerator[StorePage, None]:
        """The entries in key order, a page at a time. Raises Corrupt where the listing contradicts itself: keys or
        versions twice or out of order, truncated without markers, or with markers that do not move on.
        """
        begun = False
        try:
            async with aclosing(self._as_of(start_after)) as pages:
                async for page in pages:
                    begun = True
                    yield page
        except Unsupported:
            if begun:
                raise
            async for present in super().pages(start_after):
                yield self._unversioned(present)

    async def list_some(self, after: str, most: int = PAGE_KEYS) -> tuple[list[Entry], bool]:
        """Up to ``most`` entries after a key, and whether there are more."""
        found: list[Entry] = []
        async for page in self.pages(after):
            found += page.entries
            if len(found) > most:
                return found[:most], True
        return found, False

    async def look(self, key: str) -> Entry | None:
        """The entry of one key; None where it was absent."""
        full = self.key_of(key)
        try:
            async with aclosing(self._as_of("", below=full)) as pages:
                async for page in pages:
                    for entry in page.entries:
                        if entry.key == key:
                            return entry
        except Unsupported:
            present = await super().look(key)
            return present if present is not None and _is_in_time(present.mtime_ns, self._moment_ns) else None
        return None

    async def read(self, key: str) -> bytes:
        entry = await self.look(key)
        if entry is None:
            raise ObjectGone(f"{key} was not there then.", operation="Get", key=key)
        async with self.client.gate:
            response = await self.get(key, limit=2**40, version=entry.version)
        return bytes(response.body)

    async def _as_of(self, start_after: str, *, below: str = "") -> AsyncGenerator[StorePage, None]:
        prefix = below or self.prefix
        past = Past(self._moment_ns)
        begin = key_marker = self.prefix + start_after if start_after else ""
        version_marker, empty, is_more = "", 0, True
        while is_more:
            page = await self._versions(prefix, key_marker, version_marker)
            asked, following = (key_marker, version_marker), (page.key_marker, page.version_marker)
            is_more = page.truncated
            empty = 0 if page.versions else empty + 1
            if is_more and (following == asked or page.key_marker < key_marker or empty > EMPTY_PAGES):
                raise Corrupt("The listing of versions does not move on; it is not complete.", operation="ListVersions")
            # Some servers begin with what they are to begin after (versitygw).
            versions = [
                one for one in page.versions if (one.key, one.version) != asked and (one.key > begin or not begin)
            ]
            key_marker, version_marker = following
            shown = StorePage([], [])
            for one in (*past.see(versions), *(() if is_more else past.rest())):
                if not one.key.startswith(self.prefix):
                    raise Corrupt(
                        f"The listing of the versions in {self.location} shows a key of another place.",
                        operation="ListVersions",
                    )
                if len(one.key) == len(self.prefix):
                    continue  # the marker of the folder itself is nobody's file
                one = msgspec.structs.replace(one, key=one.key[len(self.prefix) :])
                if isinstance(one, Entry):
                    shown.entries.append(one)
                else:
                    shown.troubles.append(one)
            if shown.entries or shown.troubles:
                yield shown

    async def _versions(self, prefix: str, key_marker: str, version_marker: str) -> VersionPage:
        query = [("versions", ""), ("encoding-type", "url"), ("max-keys", str(PAGE_KEYS))]
        if prefix:
            query.append(("prefix", prefix))
        if key_marker:
            query.append(("key-marker", key_marker))
        if version_marker:
            query.append(("version-id-marker", version_marker))
        page: VersionPage | None = None

        def check(response: Response) -> None:  # a page that is cut or broken is asked for again
            nonlocal page
            page = parse_versions(response.body, Asked(PAGE_KEYS, self.bucket, prefix))

        await self.client.call(Request("ListVersions", "GET", self.bucket, query=encode_query(query), check=check))
        assert page is not None
        return page

    def _unversioned(self, page: StorePage) -> StorePage:
        entries = [entry for entry in page.entries if _is_in_time(entry.mtime_ns, self._moment_ns)]
        in_time = {entry.key for entry in entries}
        lost = [Trouble(entry.key, _WRITTEN) for entry in page.entries if entry.key not in in_time]
        return StorePage(entries, [*page.troubles, *lost])


class Past:
    """Versions, page by page, into what each key was at a moment: an entry, a trouble, or nothing.

    A key's versions come newest first, in the order in which they were stored. Their times need not descend: an object
    that was uploaded in parts has the time at which its upload began. Some servers list the delete markers of a page
    apart from the versions; of those, only the times tell the order, and where they are equal, ``IsLatest``.
    """

    def __init__(self, moment_ns: int) -> None:
        self._moment_ns = moment_ns
        self._key = ""
        self._ids: set[str] = set()  # of this key: its versions are never shown twice
        self._newest: Version | None = None  # that is not after the moment
        self._lost: Version | None = None  # it has replaced what was there
        self._is_untold = False
        self._is_one_list = False  # the server was seen to put markers and versions in one order

    def see(self, page: Sequence[Version]) -> Iterator[Entry | Trouble]:
        """The next page; gives what is known of the keys before its last one."""
        ordered = self._in_order(page)
        chosen: Version | None = None  # on this page
        for version in ordered:
            if version.key != self._key:
                yield from self.rest()
                if version.key < self._key:
                    raise _disorder("keys in another order than their bytes'")
                self._key = version.key
                chosen = None
            if version.version in self._ids:
                raise _disorder("a version twice")
            if version.is_latest and self._ids:
                raise _disorder("the latest version of a key behind an older one")
            self._ids.add(version.version)
            if not _is_in_time(version.mtime_ns, self._moment_ns):
                if version.version == NULL:
                    self._lost = version
                continue
            if self._newest is None:
                self._newest = chosen = version
            elif chosen is not None and version.is_marker != chosen.is_marker and not chosen.is_latest:
                self._is_untold |= _second(version) >= _second(chosen)  # unless both kinds stand in one order

    def rest(self) -> Iterator[Entry | Trouble]:
        """What is known of the last key, at the end of the listing."""
        newest, key = self._newest, self._key
        if self._lost is not None:
            yield Trouble(key, _DELETED if self._lost.is_marker else _WRITTEN)
        elif self._is_untold and not self._is_one_list:
            yield Trouble(key, _UNTOLD)
        elif newest is not None and not newest.is_marker:
            yield Entry(key, newest.size, newest.mtime_ns, newest.etag, newest.storage_class, newest.version)
        self._ids.clear()
        self._newest = self._lost = None
        self._is_untold = False

    def _in_order(self, page: Sequence[Version]) -> Sequence[Version]:
        """A page by key, and of each key the newest first."""
        if _is_ordered(page, self._key, has_begun=bool(self._ids)) and (self._is_one_list or not _is_apart(page)):
            self._is_one_list |= sum(a.is_marker != b.is_marker for a, b in pairwise(page)) > 1
            return page
        if self._is_one_list:
            raise _disorder("keys in another order than their bytes', or an older version before the latest")
        for is_marker in (False, True):
            if not _is_ascending([version.key for version in page if version.is_marker is is_marker]):
                raise _disorder("keys in another order than their bytes'")
        return sorted(page, key=lambda one: (one.key, not one.is_latest, -_second(one)))


def _is_ordered(page: Sequence[Version], key: str, *, has_begun: bool) -> bool:
    """Whether keys ascend, and nothing stands before the latest version of its key."""
    for version in page:
        if version.key < key or (version.is_latest and version.key == key and has_begun):
            return False
        key, has_begun = version.key, True
    return True


def _is_apart(page: Sequence[Version]) -> bool:
    """Whether a marker stands before a version of the same key that was stored after it: those are two lists."""
    return any(
        a.key == b.key and a.is_marker and not b.is_marker and _second(a) < _second(b) for a, b in pairwise(page)
    )


def _is_ascending(keys: Sequence[str]) -> bool:
    return all(a <= b for a, b in pairwise(keys))


def _second(version: Version) -> int:
    return version.mtime_ns // _SECOND_NS


def _is_in_time(mtime_ns: int, moment_ns: int) -> bool:
    """Whether a version was stored by a moment; a time without a fraction stands for the whole of its second."""
    if mtime_ns % _SECOND_NS == 0 or moment_ns % _SECOND_NS == 0:
        return mtime_ns // _SECOND_NS <= moment_ns // _SECOND_NS
    return mtime_ns <= moment_ns


def _disorder(what: str) -> Corrupt:
    return Corrupt(f"The server lists {what}; this listing of versions cannot be trusted.", operation="ListVersions")
