"""Where a closing listing begins."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from sterna.moving.prove import just_before

_KEYS = st.one_of(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
    st.text(st.sampled_from(' !"/0a}~\x7f\x01é\U0001f426'), min_size=1, max_size=4),
)


@settings(deadline=None)
@given(_KEYS)
def test_a_listing_that_begins_just_before_a_key_shows_it(key: str) -> None:
    start = just_before(key)
    assert start < key
    assert start.encode() < key.encode()
    assert start.isascii() or not key.isascii()


@settings(deadline=None)
@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=6), st.data())
def test_hardly_any_other_key_lies_in_between(key: str, data: st.DataObject) -> None:
    if "!" < key[-1] <= "~":
        other = data.draw(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7D), min_size=1, max_size=7))
        assert not just_before(key) < other < key


def test_the_start_in_examples() -> None:
    assert just_before("ab") == "aa~"
    assert just_before("a/") == "a.~"
    assert just_before("a") == "`~"
    assert just_before(" ") == ""
    assert just_before("aé") == "a"
