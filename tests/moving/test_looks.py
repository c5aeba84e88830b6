"""Keys are looked at by pages where they lie close together, one by one where they do not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sterna.model.entry import Entry
from sterna.model.errors import AccessDenied, RetryLater, SternaError
from sterna.moving.looks import as_they_are
from sterna.stores.s3 import S3Store


class Bucket:
    """What a bucket's store answers, and how often it was asked."""

    def __init__(self, keys: Sequence[str], refuses: SternaError | None = None, *, is_unordered: bool = False) -> None:
        self.entries = [Entry(key, 1, 0, "etag") for key in sorted(keys)]
        self.refuses = refuses
        self.is_unordered = is_unordered
        self.lists = self.heads = 0

    async def list_some(self, after: str, most: int = 1000) -> tuple[list[Entry], bool]:
        self.lists += 1
        if self.refuses is not None:
            raise self.refuses
        found = [entry for entry in self.entries if entry.key > after]
        return found[:most], len(found) > most

    async def head(self, key: str) -> Any:
        self.heads += 1
        if key.endswith("!"):
            raise RetryLater("Not now.")
        return next((SimpleNamespace(entry=entry) for entry in self.entries if entry.key == key), None)


def look(bucket: Bucket, keys: Sequence[str]) -> tuple[set[str], set[str]]:
    """The keys that are there, and those of which it is not known."""
    failed: dict[str, SternaError] = {}
    return set(asyncio.run(as_they_are(cast(S3Store, bucket), keys, failed))), set(failed)


THERE = [f"{number:05}" for number in range(24_000) if number % 3]


@pytest.mark.parametrize(
    ("step", "lists", "heads"), [(1, 16, 0), (7, 16, 0), (6000, 1, 3), (23_999, 1, 1)], ids=str
)  # fmt: skip
def test_all_keys_are_seen_as_they_are_by_few_requests(step: int, lists: int, heads: int) -> None:
    bucket = Bucket(THERE)
    asked = [f"{number:05}" for number in range(0, 24_000, step)]
    assert look(bucket, asked) == (set(asked) & set(THERE), set())
    assert (bucket.lists, bucket.heads) == (lists, heads)


def test_nothing_is_asked_for_no_keys() -> None:
    bucket = Bucket(THERE)
    assert look(bucket, []) == (set(), set())
    assert bucket.lists + bucket.heads == 0


@pytest.mark.parametrize("why", [AccessDenied("No."), RetryLater("Later.")])
def test_heads_tell_where_a_listing_does_not(why: SternaError) -> None:
    bucket = Bucket(["a", "c"], why)
    assert look(bucket, ["a", "b", "c"]) == ({"a", "c"}, set())
    assert (bucket.lists, bucket.heads) == (1, 3)


def test_a_listing_in_another_order_proves_nothing() -> None:
    assert look(bucket := Bucket(["a", "c"], is_unordered=True), ["a", "b"]) == ({"a"}, set())
    assert (bucket.lists, bucket.heads) == (0, 2)
    assert look(bucket := Bucket(["a", "\uffff", "\U0001f600"]), ["a", "b", "\uffff"]) == ({"a", "\uffff"}, set())
    assert (bucket.lists, bucket.heads) == (1, 1)


def test_a_key_of_which_nobody_can_tell_is_named() -> None:
    assert look(Bucket(["a"], AccessDenied("No.")), ["a", "b!"]) == ({"a"}, {"b!"})
