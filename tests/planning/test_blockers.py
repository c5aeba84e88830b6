"""Files that only the destination has, where the source needs a folder."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sterna.model.entry import Entry
from sterna.planning.blockers import Blockers
from sterna.planning.merge import Pair


def pairs(source: set[str], target: set[str]) -> list[Pair]:
    return [
        (Entry(key, 1, 1) if key in source else None, Entry(key, 2, 2) if key in target else None)
        for key in sorted(source | target)
    ]


def found(source: set[str], target: set[str], each: int = 2) -> set[str]:
    blockers = Blockers()
    every = pairs(source, target)
    for start in range(0, len(every), each):
        blockers.see(every[start : start + each])
    assert all(entry == Entry(key, 2, 2) for key, entry in blockers.found.items())
    return set(blockers.found)


@pytest.mark.parametrize(
    ("source", "target", "wanted"),
    [
        ({"a/b"}, {"a"}, {"a"}),
        ({"a/b/c"}, {"a", "a/b"}, {"a", "a/b"}),
        ({"a/b"}, {"a", "a!", "a-x", "a.x", "a-x.y"}, {"a"}),
        ({"a/"}, {"a"}, {"a"}),
        ({"a", "a/b"}, {"a"}, set()),
        ({"ab", "a0", "b/c"}, {"a", "b/c/d"}, set()),
        (set(), {"a", "a/b"}, set()),
        ({"a/b"}, {"a/"}, set()),
    ],
)
def test_what_stands_in_the_way_is_found(source: set[str], target: set[str], wanted: set[str]) -> None:
    assert found(source, target) == wanted


KEYS = st.sets(
    st.text(st.sampled_from("ab-./0"), min_size=1, max_size=6).filter(lambda key: key[0] != "/"), max_size=12
)


@given(KEYS, KEYS, st.integers(1, 5))
def test_any_of_any_keys_are_found(source: set[str], target: set[str], each: int) -> None:
    files = {key for key in target - source if key[-1] != "/"}
    assert found(source, target, each) == {key for key in files if any(one.startswith(key + "/") for one in source)}


def test_those_above_a_key_are_told_from_the_outermost_and_no_more_are_held_than_may_be() -> None:
    blockers = Blockers(most=2)
    blockers.see(pairs({"a/b/c", "x/y"}, {"a", "a/b", "x"}))
    assert [one.key for one in blockers.above("a/b/c")] == ["a", "a/b"]
    assert blockers.above("a") == blockers.above("ab/c") == blockers.above("x/y") == []
    blockers.see(pairs(set(), {f"y-{number:04}" for number in range(1000)}))
    assert repr(blockers) == "<Blockers 2 found, 1 open>"


def below(source: set[str], target: set[str], each: int = 2, *, most: int = 100) -> dict[str, list[str]]:
    blockers = Blockers(most)
    every = pairs(source, target)
    for start in range(0, len(every), each):
        blockers.see(every[start : start + each])
    return {key: [one.key for one in entries] for key, entries in blockers.below.items()}


@pytest.mark.parametrize(
    ("source", "target", "wanted"),
    [
        ({"a"}, {"a/b", "a/c/d"}, {"a": ["a/b", "a/c/d"]}),
        ({"a"}, {"a-x", "a.x", "a/b", "a0/b"}, {"a": ["a/b"]}),
        ({"a", "a-x"}, {"a-x/b", "a/b"}, {"a": ["a/b"], "a-x": ["a-x/b"]}),
        ({"a", "a/c"}, {"a/b", "a/c"}, {}),
        ({"a", "a/c"}, {"a/b"}, {}),
        ({"a"}, {"a", "a/b"}, {}),
        ({"a/"}, {"a/b"}, {}),
        ({"a"}, {"a-x", "ab", "b"}, {}),
    ],
)
def test_what_is_in_a_folder_where_a_file_is_needed_is_found(
    source: set[str], target: set[str], wanted: dict[str, list[str]]
) -> None:
    assert below(source, target) == wanted


@given(KEYS, KEYS, st.integers(1, 5))
def test_any_of_any_folders_are_found(source: set[str], target: set[str], each: int) -> None:
    wanted = {
        file: inside
        for file in source - target
        if file[-1] != "/"
        and not any(one.startswith(file + "/") for one in source)
        and (inside := sorted(one for one in target if one.startswith(file + "/")))
    }
    assert below(source, target, each) == wanted


def test_a_folder_with_more_than_may_be_held_is_left_out_as_a_whole() -> None:
    assert below({"a", "b"}, {"a/1", "a/2", "a/3", "b/1"}, most=2) == {"b": ["b/1"]}
