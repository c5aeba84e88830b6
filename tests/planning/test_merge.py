"""Pairs of two listings, page by page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from sterna.model.entry import Entry
from sterna.model.errors import Corrupt
from sterna.planning.merge import Pair, pairs


async def listing(*pages: Sequence[str] | Exception, asked: list[int] | None = None) -> AsyncIterator[list[Entry]]:
    for number, page in enumerate(pages):
        if asked is not None:
            asked.append(number)
        if isinstance(page, Exception):
            raise page
        yield [Entry(key, 1, 0) for key in page]


async def collect(source: AsyncIterator[list[Entry]], target: AsyncIterator[list[Entry]]) -> list[str]:
    return [words(pair) async for page in pairs(source, target) for pair in page]


def words(pair: Pair) -> str:
    left, right = pair
    return f"{left.key if left else '-'} {right.key if right else '-'}"


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ([], [], []),
        ([[]], [[], []], []),
        ([["a", "b"]], [], ["a -", "b -"]),
        ([], [["a"], ["b"]], ["- a", "- b"]),
        ([["a", "c"]], [["b", "c"]], ["a -", "- b", "c c"]),
        ([["a"], ["b"], ["c"]], [["a", "b", "c"]], ["a a", "b b", "c c"]),
        ([["a"], [], ["c"]], [[], ["b"], []], ["a -", "- b", "c -"]),
        # The order is that of the bytes: '-' < '/' < '0', capitals first, and astral characters last.
        ([["a-", "a/", "a0"]], [["a/", "a/b"]], ["a- -", "a/ a/", "- a/b", "a0 -"]),
        (
            [["B", "a", "\uffee", "\U0001f426"]],
            [["A", "\U0001f426"]],
            ["- A", "B -", "a -", "\uffee -", "\U0001f426 \U0001f426"],
        ),
    ],
)
def test_pairs_as_text(source: list[list[str]], target: list[list[str]], expected: list[str]) -> None:
    assert asyncio.run(collect(listing(*source), listing(*target))) == expected


@pytest.mark.parametrize("side", ["source", "target"])
def test_H76_the_error_of_a_listing_ends_the_merge_with_it(side: str) -> None:
    broken = listing(["a"], Corrupt("cut"))
    whole = listing(["a", "b"], ["c"])

    async def test() -> None:
        merged = pairs(broken, whole) if side == "source" else pairs(whole, broken)
        seen = []
        with pytest.raises(Corrupt):
            async for page in merged:
                seen += [words(pair) for pair in page]
        assert seen == ["a a"]  # what the other side still has is not said to be missing

    asyncio.run(test())


def test_no_page_is_asked_for_before_it_is_needed() -> None:
    async def test() -> None:
        left: list[int] = []
        right: list[int] = []
        merged = pairs(listing(["a"], ["b"], ["c"], asked=left), listing(["x"], ["y"], asked=right))
        assert [words(pair) for pair in await anext(merged)] == ["a -"]
        assert (left, right) == ([0], [0])
        assert [words(pair) for pair in await anext(merged)] == ["b -"]
        assert (left, right) == ([0, 1], [0])

    asyncio.run(test())
