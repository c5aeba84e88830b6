"""Which length of a write is cheaper is found out, and found out again when it changes."""

from __future__ import annotations

import pytest

from sterna.stores.pieces import LONG, SHORT, Pieces


def written(pieces: Pieces, count: int, costs: dict[int, float]) -> list[int]:
    """The lengths that were chosen for so many samples, each of which costs what its length does."""
    chosen = []
    for _ in range(count):
        length = pieces.length(LONG)
        pieces.took(length, LONG, costs[length])
        chosen.append(length)
    return chosen


@pytest.mark.parametrize(("cheap", "dear"), [(LONG, SHORT), (SHORT, LONG)])
def test_after_a_few_of_each_the_cheaper_one_is_taken(cheap: int, dear: int) -> None:
    pieces = Pieces()
    costs = {cheap: 0.4e-3, dear: 0.7e-3}
    assert set(written(pieces, 4, costs)) == {LONG, SHORT}
    written(pieces, 30, costs)
    assert written(pieces, 1000, costs).count(cheap) > 950


def test_what_has_become_cheaper_is_noticed() -> None:
    pieces = Pieces()
    written(pieces, 200, {LONG: 0.4e-3, SHORT: 0.7e-3})
    written(pieces, 1000, {LONG: 1.5e-3, SHORT: 0.7e-3})
    assert written(pieces, 1000, {LONG: 1.5e-3, SHORT: 0.7e-3}).count(SHORT) > 950


def test_a_short_write_is_one_write_and_tells_nothing() -> None:
    pieces = Pieces()
    for size in (1, SHORT, LONG - 1):
        assert pieces.length(size) == LONG
        pieces.took(LONG, size, 10.0)
    assert written(pieces, 100, {LONG: 0.4e-3, SHORT: 0.7e-3}).count(LONG) > 80
