"""Look at keys of a bucket as they are now: by listings where they lie close together, else one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from sterna.model.entry import Entry
from sterna.model.errors import CredentialsExpired, SternaError, WrongSetting
from sterna.moving.prove import just_before
from sterna.stores.s3 import S3Store

_FEW = 2  # keys that a page must show, else HEADs are fewer requests than listings
# Servers that list by UTF-16 put what is above this elsewhere than we do: pages prove nothing of such keys.
_ORDERED_ALIKE = "\ud800"


Look = Callable[[str, dict[str, Entry]], Awaitable[None]]
"""Looks at one key, and notes its entry if it is there."""


async def as_they_are(
    store: S3Store, keys: Sequence[str], failed: dict[str, SternaError], *, look: Look | None = None
) -> dict[str, Entry]:
    """The entries of those keys that are there. The keys ascend; ``failed`` takes those of which nobody can tell.

    ``look`` is by whom keys are looked at singly, by default by a HEAD, which raises what would end every further look
    as well. A listing that fails, or may not be had, is none: what cannot be looked at either has failed by name.
    """
    found: dict[str, Entry] = {}
    one_by_one = look or partial(_look, store, failed)
    apart = [key for key in keys if store.is_unordered or max(key) >= _ORDERED_ALIKE]
    near = [key for key in keys if not store.is_unordered and max(key) < _ORDERED_ALIKE]
    at = 0
    while at < len(near):
        try:
            entries, more = await store.list_some(just_before(near[at]))
        except SternaError:
            break  # looks tell, and what is wrong with all of them
        if more and not entries:
            break  # a page without keys says nothing of any
        shown = {entry.key: entry for entry in entries}
        last = entries[-1].key if more else None
        first = at
        while at < len(near) and (last is None or near[at] <= last):
            if near[at] in shown:
                found[near[at]] = shown[near[at]]
            at += 1
        if at - first < _FEW:
            break
    await asyncio.gather(*(one_by_one(key, found) for key in (*apart, *near[at:])))
    return found


async def _look(store: S3Store, failed: dict[str, SternaError], key: str, found: dict[str, Entry]) -> None:
    try:
        seen = await store.head(key)
    except (CredentialsExpired, WrongSetting):
        raise
    except SternaError as error:
        failed[key] = error
    else:
        if seen is not None:
            found[key] = seen.entry
