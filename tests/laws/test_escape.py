"""Any name of a key has a name in a folder, which leads back to it and to no other."""

from __future__ import annotations

import os
import tempfile
import unicodedata
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from sterna.stores.escape import apart, escaped, escaped_path, names_of, unescaped
from sterna.stores.names import why_refused

_LETTERS = st.sampled_from("%%%-=.25eEaA0 \0\\:*CONcon\u00e9e\u0301\u212a\u017f\x01ß")
_NAMES = st.text(_LETTERS | st.characters(exclude_categories=["Cs"], exclude_characters="/"), max_size=9)


def _folded(name: str) -> str:
    """As the least discerning file system would compare."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).casefold().upper()


@settings(deadline=None)
@example(": ", False, False)  # a code first, and at the end what Windows drops
@example("con.", True, True)
@example(".", False, True)
@given(_NAMES, st.booleans(), st.booleans())
def test_every_escaped_name_leads_back_to_its_key(name: str, is_folder: bool, windows: bool) -> None:
    assert unescaped(escaped(name, is_folder=is_folder, windows=windows), is_folder=is_folder) == name
    assert unescaped(apart(name, is_folder=is_folder), is_folder=is_folder) == name


@settings(deadline=None)
@given(_NAMES, _NAMES, st.booleans())
def test_H66_no_two_keys_share_a_name_in_a_folder(one: str, other: str, is_folder: bool) -> None:
    if one != other:
        mine, others = names_of(one, is_folder=is_folder), names_of(other, is_folder=is_folder)
        assert not set(mine) & set(others)


@settings(deadline=None)
@given(_NAMES, _NAMES)
def test_H70_H71_names_set_apart_are_two_on_every_file_system(one: str, other: str) -> None:
    ours = apart(one, is_folder=False)
    if one != other:
        assert _folded(ours) != _folded(apart(other, is_folder=False))
        assert _folded(ours) != _folded(escaped(other, is_folder=False, windows=True))
    assert _folded(ours) != _folded(apart(one, is_folder=True))


@settings(deadline=None)
@given(_NAMES, st.booleans())
def test_H59_H72_what_is_escaped_can_be_a_file_anywhere(name: str, is_folder: bool) -> None:
    assert why_refused(escaped(name, is_folder=is_folder)) == ""
    assert why_refused(escaped(name, is_folder=is_folder, windows=True), windows=True) == ""
    assert why_refused(apart(name, is_folder=is_folder), windows=True) == ""


@settings(deadline=None)
@given(_NAMES.filter(lambda name: name not in ("", ".", "..") and "\0" not in name), st.booleans())
def test_every_local_name_stands_for_one_key_and_is_found_again_from_it(name: str, is_folder: bool) -> None:
    key = unescaped(name, is_folder=is_folder)
    assert name in names_of(key, is_folder=is_folder)


def test_the_table_in_the_document() -> None:
    assert escaped_path("x//y") == "x/%=/y"
    assert escaped_path("/a") == "%=/a"
    assert escaped_path("../x") == "%2E./x"
    assert escaped_path("100%") == "100%"
    assert escaped_path("a%20b") == "a%2520b"
    assert escaped_path("CON", windows=True) == "%43ON"
    assert escaped_path("a:b", windows=True) == "a%3Ab"
    assert escaped_path("folder/") == "folder/"
    assert apart("a", is_folder=False) == "a%-"
    assert escaped("a%-", is_folder=False) == "a%25-"  # or it would be read as a
    assert escaped("a%=", is_folder=True) == "a%25="
    assert apart("ReadMe", is_folder=False) == "%52ead%4De%-"
    assert unescaped("My%20File.txt", is_folder=False) == "My%20File.txt"


@settings(deadline=None, max_examples=50)
@given(_NAMES)
def test_the_file_system_takes_and_gives_back_every_escaped_name(name: str) -> None:

    with tempfile.TemporaryDirectory() as folder:
        for made in {escaped(name, is_folder=False), apart(name, is_folder=False)}:
            (Path(folder) / made).touch()
            assert os.listdir(folder) == [made]
            (Path(folder) / made).unlink()
