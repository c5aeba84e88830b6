"""How an object is cut into parts: the table of sizes, and S3's limits."""

from __future__ import annotations

import pytest

from sterna.model.errors import Refused
from sterna.model.units import GIB, KIB, MIB, TIB, printable
from sterna.moving.parts import LARGEST_OBJECT, LARGEST_PART, MOST_PARTS, part_size, parts, range_size, stream_part_size


@pytest.mark.parametrize(
    ("size", "each"),
    [
        (0, 8 * MIB),
        (1, 8 * MIB),
        (8 * MIB, 8 * MIB),
        (GIB, 8 * MIB),
        (GIB + 1, 16 * MIB),
        (10 * GIB, 16 * MIB),
        (10 * GIB + 1, 32 * MIB),
        (50 * GIB, 32 * MIB),
        (50 * GIB + 1, 64 * MIB),
        (10_000 * 64 * MIB, 64 * MIB),
        (10_000 * 64 * MIB + 1, 65 * MIB),
        (5 * TIB, 525 * MIB),
        (LARGEST_OBJECT, 4769 * MIB),
    ],
)
def test_the_table_of_part_sizes(size: int, each: int) -> None:
    assert part_size(size) == each


@pytest.mark.parametrize(
    ("size", "wanted", "each"),
    [
        (100 * MIB, 32 * MIB, 32 * MIB),
        (100 * MIB, 64 * KIB, 5 * MIB),
        (100 * MIB, 0, 5 * MIB),
        (100 * MIB, 50 * GIB, LARGEST_PART),
        (100 * GIB, 5 * MIB, 11 * MIB),
    ],
)
def test_a_wanted_part_size_is_raised_or_lowered_to_what_S3_takes(size: int, wanted: int, each: int) -> None:
    assert part_size(size, wanted) == each


@pytest.mark.parametrize(
    ("size", "wanted", "each"),
    [
        (0, None, 8 * MIB),
        (128 * MIB, None, 8 * MIB),
        (128 * MIB + 1, None, 9 * MIB),
        (256 * MIB, None, 16 * MIB),
        (GIB, None, 64 * MIB),
        (LARGEST_OBJECT, None, 64 * MIB),
        (GIB, 5 * MIB, 5 * MIB),
        (100 * GIB, 5 * MIB, 11 * MIB),
    ],
)
def test_ranges_are_longer_than_parts(size: int, wanted: int | None, each: int) -> None:
    assert range_size(size, wanted) == each


def test_H92_an_object_above_the_limit_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(Refused) as caught:
        part_size(LARGEST_OBJECT + 1)
    assert "50 TB" in caught.value.sentence
    assert printable(caught.value.sentence) == caught.value.sentence


def test_parts_have_numbers_places_and_lengths() -> None:
    assert list(parts(0, 5)) == []
    assert list(parts(5, 5)) == [(1, 0, 5)]
    assert list(parts(11, 5)) == [(1, 0, 5), (2, 5, 5), (3, 10, 1)]


def test_H92_the_parts_of_a_stream_grow_so_that_ten_thousand_reach_34_TB() -> None:
    sent, before = 0, 0
    for number in range(MOST_PARTS):
        each = stream_part_size(sent)
        assert before <= each <= LARGEST_PART
        assert each == LARGEST_PART or each % (8 * MIB) == 0
        assert each <= 8 * MIB or each <= sent / 600 + 8 * MIB  # memory stays a small share of what is sent
        if number < 600:
            assert each == 8 * MIB
        sent, before = sent + each, each
    assert sent > 34 * 10**12
