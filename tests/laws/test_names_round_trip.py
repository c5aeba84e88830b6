"""Laws of the map between keys and file names."""

from __future__ import annotations

import os
import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st

from sterna.model.errors import Refused
from sterna.model.units import printable
from sterna.stores.names import components, is_abandoned, is_temporary, key_of, temporary_name, why_refused

_NASTY = st.sampled_from(
    [*"/ // . .. /../ \x00 \ud800 a é e\u0301 😀 .sterna- \n \\ C:".split(" "), "x" * 252, "é" * 128]
)
_KEYS = st.one_of(st.text(st.characters(), max_size=300), st.lists(_NASTY, max_size=8).map("".join))
_BYTES = st.one_of(st.binary(max_size=300), st.binary(max_size=60).map(lambda raw: raw.replace(b"\x00", b"/")))


def _components_or_none(key: str) -> tuple[str, ...] | None:
    try:
        return components(key)
    except Refused as error:
        refused = error
    assert printable(refused.sentence) == refused.sentence
    assert refused.key == key
    return None


@given(_KEYS)
def test_H61_a_key_becomes_safe_names_that_join_to_it_again_or_is_refused(key: str) -> None:
    names = _components_or_none(key)
    assert (names is None) == bool(why_refused(key))
    if names is not None:
        assert "/".join(names) == key
        for name in names:
            assert name not in ("", ".", "..")
            assert "/" not in name
            assert "\x00" not in name
            assert len(name.encode()) <= 255
            assert not is_temporary(name)


@given(_BYTES)
def test_H73_a_path_of_any_bytes_is_its_key_or_is_refused(path: bytes) -> None:
    try:
        key = key_of(path)
    except Refused:
        return
    assert "/".join(components(key)).encode() == path


@given(st.lists(_KEYS, max_size=6, unique=True))
def test_H66_no_two_keys_share_a_file(keys: list[str]) -> None:
    taken = [names for key in keys if (names := _components_or_none(key)) is not None]
    assert len(set(taken)) == len(taken)


@settings(max_examples=25)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=70), max_size=4))
def test_H61_the_file_system_gives_back_the_names_it_was_given(keys: list[str]) -> None:
    wanted = {names[0] for key in keys if (names := _components_or_none(key)) and len(names) == 1}
    with tempfile.TemporaryDirectory() as folder:
        for name in wanted:
            with open(os.path.join(folder, name), "xb"):
                pass
        assert {key_of(name) for name in os.listdir(os.fsencode(folder))} == wanted


@given(st.text(max_size=80))
def test_H48_only_our_own_names_are_temporary(name: str) -> None:
    assert not is_temporary(name)
    assert not is_abandoned(name)
    assert is_temporary(temporary_name())
