"""Laws of the parts of an object, for every size that S3 takes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from sterna.model.units import MIB
from sterna.moving.parts import LARGEST_OBJECT, LARGEST_PART, LEAST_PART, MOST_PARTS, part_size, parts

_SIZES = st.one_of(
    st.integers(0, LARGEST_OBJECT),
    st.integers(0, 64 * MIB),
    st.integers(0, MOST_PARTS).flatmap(lambda count: st.integers(-1, 1).map(lambda by: max(0, count * 64 * MIB + by))),
)
_WANTED = st.one_of(st.none(), st.integers(0, 2 * LARGEST_PART))


@settings(deadline=None)
@given(_SIZES, _WANTED)
def test_H92_no_object_has_more_than_ten_thousand_parts_and_none_is_too_small_or_too_large(
    size: int, wanted: int | None
) -> None:
    each = part_size(size, wanted)
    assert LEAST_PART <= each <= LARGEST_PART
    assert -(-size // each) <= MOST_PARTS
    assert part_size(size, wanted) == each
    if wanted is None:
        assert each % MIB == 0
    elif LEAST_PART <= wanted <= LARGEST_PART and wanted * MOST_PARTS >= size:
        assert each == wanted


@settings(deadline=None)
@given(_SIZES, _SIZES)
def test_a_larger_object_has_no_smaller_parts(a: int, b: int) -> None:
    assert part_size(min(a, b)) <= part_size(max(a, b))


@settings(deadline=None)
@given(st.integers(0, 3000), st.integers(1, 400))
def test_parts_cover_every_byte_once_in_order(size: int, each: int) -> None:
    at = 0
    for number, (told, start, length) in enumerate(parts(size, each), 1):
        assert (told, start) == (number, at)
        assert 0 < length <= each
        at += length
    assert at == size
