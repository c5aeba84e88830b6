"""Keys to names, and the names of unfinished files."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from sterna.model.errors import Refused
from sterna.stores.names import components, is_abandoned, is_temporary, key_of, temporary_name, why_refused

REFUSED = {
    "": "a file needs a name",
    "/": "begins with a slash",
    "/etc/passwd": "begins with a slash",
    "a/": "ends in a slash",
    "a//b": "holds //",
    "a/./b": "the name .,",
    ".": "the name .,",
    "..": "the name ..,",
    "../x": "the name ..,",
    "a/../../x": "the name ..,",
    "a/..": "the name ..,",
    "a\x00b": "NUL",
    "x" * 256: "256 bytes",
    "a/" + "é" * 128: "256 bytes",
    "a/" + "😀" * 64 + "/b": "256 bytes",
    "\ud800": "not valid Unicode",
    ".sterna-0123abcd-7-8-9.part": "keeps for its unfinished files",
    "a/.sterna-0123abcd-7-8-9.part": "keeps for its unfinished files",
}

TAKEN = [
    "a", "a/b/c", "...", ".a", "..a", "a..", "a/.../b", "~", "~root/x", "-rf", " ", "a b", "a+b", "a%2Fb", "%00", "é",
    "e\u0301", "\ufffe", "\n", "\r", "\x01", "\x7f", "a\\b", "C:\\x", "C:x", "con", "x" * 255, "é" * 127, "😀" * 63,
    "a" * 64 + "/b", ".sterna-", ".sterna-my-notes.part", ".sterna-0123abcd-7-8-9.part.txt", "\u202e", "$(id)", "`id`",
]  # fmt: skip


@pytest.mark.parametrize("key", REFUSED)
def test_H59_a_key_that_no_file_can_have_is_refused_by_one_sentence_with_its_reason(key: str) -> None:
    with pytest.raises(Refused, match=re.escape(REFUSED[key])) as caught:
        components(key)
    assert caught.value.sentence.isprintable()
    assert caught.value.sentence.endswith(".")
    assert caught.value.key == key


@pytest.mark.skipif(sys.platform == "win32", reason="Windows takes fewer names")
@pytest.mark.parametrize("key", TAKEN)
def test_H61_any_other_key_is_its_names(key: str) -> None:
    assert components(key) == tuple(key.split("/"))
    assert key_of(key.encode()) == key


@pytest.mark.parametrize("key", ["a\\b", "C:", "C:/x", "a:b", "a/con", "NUL.txt", "com1", "x.", "x ", "a?", "a\x1fb"])
def test_H72_windows_names_that_would_mean_something_else_are_refused_there(key: str) -> None:
    assert why_refused(key, windows=True)
    assert not why_refused(key, windows=False)


@pytest.mark.parametrize("key", ["a/b.txt", "console", "a b", "é", "common"])
def test_H72_ordinary_names_are_taken_on_windows(key: str) -> None:
    assert why_refused(key, windows=True) == ""


def test_H73_names_that_are_not_utf8_are_refused_and_shown_by_their_bytes() -> None:
    with pytest.raises(Refused, match=r"caf\\xe9: .*not UTF-8"):
        key_of(b"caf\xe9")


def test_H48_temporary_names_are_unique_recognisable_and_short() -> None:
    names = [temporary_name() for _ in range(1000)]
    assert len(set(names)) == 1000
    assert all(is_temporary(name) and len(name) < 80 for name in names)
    assert is_temporary(".sterna-ffffffff-9999999999-99999999999999999999-999999999999.part")


@pytest.mark.parametrize("letter", ["\u00e9", "e\u0301"])
def test_H48_the_file_that_shows_which_names_are_told_apart_is_recognised_too(letter: str) -> None:
    assert is_temporary(temporary_name() + letter)
    assert not is_temporary(temporary_name() + letter + letter)


def test_H48_a_living_owner_keeps_its_unfinished_file() -> None:
    assert not is_abandoned(temporary_name())


def test_H48_a_dead_owner_does_not() -> None:
    program = "from sterna.stores.names import temporary_name; print(temporary_name())"
    environment = {"PYTHONPATH": ":".join(sys.path)}
    name = subprocess.check_output([sys.executable, "-c", program], env=environment, text=True).strip()
    assert is_temporary(name)
    assert is_abandoned(name)


def test_H48_a_process_with_the_same_number_and_another_start_is_not_the_owner() -> None:
    host, pid, start, number = temporary_name().removeprefix(".sterna-").removesuffix(".part").split("-")
    if start == "0":
        pytest.skip("this system does not tell when a process started")
    assert is_abandoned(f".sterna-{host}-{pid}-{int(start) + 1}-{number}.part")
    assert is_abandoned(f".sterna-{host}-1-{int(start) + 1}-{number}.part")
    assert not is_abandoned(f".sterna-{host}-1-0-{number}.part")  # it lives, and its start is not known


def test_H48_another_host_and_names_that_only_look_alike_are_left_alone() -> None:
    host = temporary_name()[8:16]
    other = f"{int(host, 16) ^ 1:08x}"
    dead = "4194305-1-1"  # beyond the highest pid of Linux
    assert is_abandoned(f".sterna-{host}-{dead}.part")
    assert not is_abandoned(f".sterna-{other}-{dead}.part")
    for name in ("sterna-{}-{}.part", ".sterna-{}-{}.part2", ".sterna-{}-{}", ".sterna-{}-0{}.part"):
        assert not is_abandoned(name.format(host, dead))
