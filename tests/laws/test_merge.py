"""Laws of the merge: what a dictionary would say, whatever the pages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from hypothesis import given, settings
from hypothesis import strategies as st

from sterna.model.entry import Entry
from sterna.planning.merge import pairs

_KEYS = st.one_of(
    st.text(st.sampled_from("ab/-0é\U0001f426"), min_size=1, max_size=4),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8),
)


@st.composite
def paged(draw: st.DrawFn) -> tuple[dict[str, Entry], list[list[Entry]]]:
    """A listing in key order, cut into pages anywhere, empty pages among them."""
    keys = sorted(draw(st.sets(_KEYS, max_size=20)), key=str.encode)
    entries = [Entry(key, draw(st.integers(0, 9)), 0) for key in keys]
    cuts = sorted(draw(st.lists(st.integers(0, len(entries)), max_size=6)))
    pages = [entries[start:end] for start, end in zip([0, *cuts], [*cuts, len(entries)], strict=True)]
    return {entry.key: entry for entry in entries}, pages


async def _listing(pages: list[list[Entry]]) -> AsyncIterator[list[Entry]]:
    for page in pages:
        yield page


@settings(deadline=None)
@given(paged(), paged())
def test_the_merge_of_two_listings_is_what_two_dictionaries_say(
    source: tuple[dict[str, Entry], list[list[Entry]]], target: tuple[dict[str, Entry], list[list[Entry]]]
) -> None:
    async def test() -> None:
        merged = [page async for page in pairs(_listing(source[1]), _listing(target[1]))]
        found = [pair for page in merged for pair in page]
        keys = sorted(source[0].keys() | target[0].keys(), key=str.encode)
        assert found == [(source[0].get(key), target[0].get(key)) for key in keys]

    asyncio.run(test())
