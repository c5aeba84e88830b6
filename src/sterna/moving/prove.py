"""Look again at what was written: an upload is done when a second, independent observation has seen it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sterna.model.entry import Entry
from sterna.model.errors import AccessDenied, NotProven, ObjectChanged, SternaError
from sterna.model.outcomes import Outcome, Status
from sterna.model.units import KIB, MIB, printable
from sterna.stores.look import Look
from sterna.stores.readback import Summing
from sterna.stores.s3 import S3Store

_READ_BACK = 64 * MIB  # so much is read again where nothing else tells whether it is what was sent
_ERROR_ROOM = 64 * KIB  # for what a server says instead of an object
_LOOKS = 5  # at an object that is not to be seen as it was sent: some servers show what they took a moment later
_LONG = 900  # characters: with a prefix, a longer marker might be more than the 1,024 bytes of a key
_FEW = 2  # up to so many uploads HEADs are fewer requests than a listing and the HEADs that may follow it


class Prover:
    """Proves uploads of one store: by a closing listing of the range they lie in, one request for up to 1,000, or by
    HEADs where those are fewer. What a listing does not show as it should be is looked at singly before it is judged:
    a listing may lag, a HEAD has the last word.
    """

    def __init__(self, store: S3Store) -> None:
        self._store = store
        self._may_list = True

    async def prove(self, outcomes: Sequence[Outcome]) -> None:
        """Turn those among the outcomes that are done uploads and cannot be seen into failures."""
        unseen = sorted((one for one in outcomes if one.status is Status.DONE), key=lambda one: one.key)
        if len(unseen) > _FEW and self._may_list:
            unseen = await self._by_listing(unseen)
        if unseen:
            await asyncio.gather(*(self._by_look(one) for one in unseen))

    async def _by_listing(self, todo: list[Outcome]) -> list[Outcome]:
        """List from one unseen key to the next; gives those that HEADs must settle."""
        unseen: list[Outcome] = []
        at = 0
        while at < len(todo):
            try:
                entries, more = await self._store.list_some(just_before(todo[at].key))
            except AccessDenied:
                self._may_list = False
                break
            except SternaError:
                break  # this server's listings prove nothing; HEADs do
            seen = {entry.key: entry for entry in entries}
            last = entries[-1].key if more and entries else None
            found, first = 0, at
            while at < len(todo) and (at == first or last is None or todo[at].key <= last):
                entry = seen.get(todo[at].key)
                if entry is not None and _agrees(entry, todo[at]):
                    todo[at].proof = f"{todo[at].proof}, listed" if todo[at].proof else "listed"
                    found += 1
                else:
                    unseen.append(todo[at])
                at += 1
            if found < _FEW and at < len(todo):
                break  # the keys lie far apart: a HEAD each is no more, and lighter
        return unseen + todo[at:]

    async def _by_look(self, outcome: Outcome) -> None:
        name = printable(outcome.key)
        pause_s = self._store.client.retries.first_pause_s
        doubt: SternaError | None = None
        try:
            for look in range(1, _LOOKS + 1):
                doubt = await self._doubt(outcome, name, await self._store.head(outcome.key))
                if doubt is None:
                    outcome.proof = f"{outcome.proof}, seen" if outcome.proof else "seen"
                    return
                if look < _LOOKS:
                    await asyncio.sleep(pause_s * 2 ** (look - 1))
        except SternaError as error:
            doubt = NotProven(f"{name} was sent, but looking at it failed: {error.sentence}",
                              code=error.code, words=error.words, request_id=error.request_id)  # fmt: skip
        assert doubt is not None
        outcome.fail(doubt)

    async def _doubt(self, outcome: Outcome, name: str, found: Look | None) -> SternaError | None:
        """Why what a look shows is not what was sent; None where it is."""
        if found is None:
            return NotProven(f"{name}: the server took it and does not have it.", operation="Head", code="NotStored")
        if found.entry.size != outcome.size:
            return NotProven(
                f"{name}: {outcome.size} bytes were sent, the server has {found.entry.size}.", code="ShortStore"
            )
        if await self._is_ours(found, outcome):
            return None
        return ObjectChanged(
            f"{name}: another object stands there than was sent; the server did not store it, or somebody replaced it.",
            code="Replaced",
        )

    async def _is_ours(self, found: Look, outcome: Outcome) -> bool:
        """Whether what a look shows is what was sent. An ETag alone decides nothing against it: some servers show one in
        the answer to a write and another afterwards (H14). Then our token, a checksum, or the bytes themselves decide.
        """
        if outcome.etag and found.entry.etag == outcome.etag:
            return True
        if outcome.token and found.metadata.get("sterna-token") == outcome.token:
            return True
        name, _, value = outcome.checksum.partition(":")
        if found.whole and found.checksum_name == name:
            return found.checksum == value
        if not value or outcome.size > _READ_BACK:
            return False
        again = Summing(name, outcome.size)
        async with self._store.client.gate:
            await self._store.get(
                outcome.key, limit=_ERROR_ROOM, etag=found.entry.etag, sink=again, restart=again.restart
            )
        return again.value == value


def _agrees(entry: Entry, outcome: Outcome) -> bool:
    """An older object of the same size is no proof: only the ETag tells it from what was sent (H07)."""
    return entry.size == outcome.size and bool(outcome.etag) and entry.etag == outcome.etag


def just_before(key: str) -> str:
    """A key below ``key`` with as little as possible in between, so that listing after it begins with ``key``.

    Plain ASCII where ``key`` is: not every server takes other characters as a marker.
    """
    last = key[-1]
    if "!" < last <= "~" and len(key) < _LONG:
        return f"{key[:-1]}{chr(ord(last) - 1)}~"
    return key[:-1]
