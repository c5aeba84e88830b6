"""Keys that cannot stand beside each other in a folder, against an oracle that looks at every pair."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from sterna.model.actions import Action, Verb
from sterna.model.entry import Entry
from sterna.model.units import printable
from sterna.planning import collide
from sterna.planning.collide import Collisions, Folds, OnCollision
from sterna.planning.merge import Pair
from sterna.stores.escape import unescaped
from sterna.stores.folding import Folding
from sterna.stores.names import why_refused
from sterna.stores.walk import LINK_SUFFIX

_KEYS = st.text(st.sampled_from("ab/-\x1b"), min_size=1, max_size=6)
_CUTS = st.lists(st.integers(1, 5), max_size=20)


def _holds(key: str) -> str | None:
    return "no" if "//" in key or key.startswith("/") else None


def passed(collisions: Collisions, entries: list[Entry], cuts: list[int] | None = None) -> dict[str, str | None]:
    """All of them passed by in pages of these lengths: what is said of each, in the order in which they are given back."""
    said: dict[str, str | None] = {}
    pairs: list[Pair] = [(entry, None) for entry in entries]

    def given(page: list[Pair]) -> None:
        for source, _ in page:
            assert source is not None
            said[source.key] = collisions.refusal(source)

    for cut in [*(cuts or []), 10**9]:
        given(collisions.settled(pairs[:cut]))
        del pairs[:cut]
    given(collisions.rest())
    assert list(said) == [entry.key for entry in entries]
    return said


def _oracle(entries: list[Entry]) -> dict[str, bool]:
    """Which keys are refused: those no file can have, markers with bytes, and any two that need one name."""
    bad = {
        entry.key for entry in entries if _holds(entry.key) is not None or (entry.key.endswith("/") and entry.size > 0)
    }
    refused = set(bad)
    files = [entry.key for entry in entries if entry.key not in bad and not entry.key.endswith("/")]
    for file in files:
        below = [entry.key for entry in entries if entry.key.startswith(file + "/")]
        if below:
            refused |= {file, *below}
    return {entry.key: entry.key in refused for entry in entries}


@settings(deadline=None)
@given(st.dictionaries(_KEYS, st.integers(0, 1), max_size=40), _CUTS)
def test_H66_H67_the_refusals_are_those_that_looking_at_every_pair_finds(
    sizes: dict[str, int], cuts: list[int]
) -> None:
    entries = [Entry(key, sizes[key], 0) for key in sorted(sizes)]
    said = passed(Collisions(_holds), entries, cuts)
    assert {key: why is not None for key, why in said.items()} == _oracle(entries)
    for why in said.values():
        assert why is None or printable(why) == why


@settings(deadline=None)
@given(st.sets(_KEYS, max_size=40), _CUTS)
def test_H67_what_is_not_refused_can_stand_in_one_folder(keys: set[str], cuts: list[int]) -> None:
    said = passed(Collisions(_holds), [Entry(key, 0, 0) for key in sorted(keys)], cuts)
    taken = [key for key, why in said.items() if why is None]
    files = {key for key in taken if not key.endswith("/")}
    folders = {key[: at + 1] for key in taken for at, one in enumerate(key) if one == "/"}
    assert not {folder.removesuffix("/") for folder in folders} & files


def test_H67_both_of_two_that_need_one_name_are_named() -> None:
    said = passed(Collisions(_holds), [Entry(key, 1, 0) for key in ("a", "a-b", "a/b", "a/c/d", "b")], [1, 1, 1])
    assert said["a"] == "a is a file where a/b needs a folder; rename one of the two."
    assert said["a/b"] == "a/b needs a folder where a is a file; rename one of the two."
    assert said["a/c/d"] == "a/c/d needs a folder where a is a file; rename one of the two."
    assert said["a-b"] is None
    assert said["b"] is None


def test_a_key_waits_until_no_other_can_need_its_name() -> None:
    collisions = Collisions(_holds)
    pairs: list[Pair] = [(Entry(key, 1, 0), None) for key in ("a", "a-1", "a-2", "a0")]
    assert collisions.settled(pairs[:3]) == []
    assert collisions.settled(pairs[3:]) == pairs[:3]
    assert collisions.rest() == pairs[3:]


def test_where_too_many_come_in_between_the_store_is_asked() -> None:
    for is_there in (True, False):
        collisions = Collisions(_holds)
        entries = [Entry("a", 1, 0)] + [Entry(f"a-{number:06}", 1, 0) for number in range(collide.MOST_HELD + 5)]
        given = collisions.settled([(entry, None) for entry in entries[:10]])
        assert (given, collisions.overdue) == ([], "")
        given = collisions.settled([(entry, None) for entry in entries[10:]])
        assert (given, collisions.overdue) == ([], "a/")
        given = collisions.answer("a/", is_there=is_there)
        assert len(given) == len(entries) - 1  # the last one waits for its next
        assert collisions.overdue == ""
        assert (collisions.refusal(entries[0]) is not None) is is_there
        late = Entry("a/late", 1, 0)
        collisions.settled([(late, None)])
        collisions.rest()
        assert collisions.refusal(late) is not None  # also where it came after the answer


def test_a_long_chain_of_beginnings_needs_no_more_than_itself() -> None:
    entries = [Entry("a" * length, 0, 0) for length in range(1, 1025)] + [Entry("b", 0, 0), Entry("b/c", 0, 0)]
    said = passed(Collisions(lambda key: None), entries, [100] * 10)
    assert [key for key, why in said.items() if why] == ["b", "b/c"]


def _escaping(folded: dict[str, str] | None = None, *, links: bool = False) -> Collisions:
    return Collisions(lambda path: why_refused(path) or None, OnCollision.ESCAPE, folded=folded, links=links)


def places(collisions: Collisions, keys: list[str], cuts: list[int] | None = None) -> dict[str, str]:
    """Where keys are written."""
    found: dict[str, str] = {}
    pairs: list[Pair] = [(Entry(key, 0, 0), None) for key in sorted(keys)]

    def given(page: list[Pair]) -> None:
        actions = [Action(Verb.DOWNLOAD, pair[0].key, "new", pair[0]) for pair in page if pair[0] is not None]
        for action in collisions.placed(actions):
            assert action.source is not None
            if collisions.refusal(action.source) is None:
                found[action.key] = action.place or action.key

    for cut in [*(cuts or []), 10**9]:
        given(collisions.settled(pairs[:cut]))
        del pairs[:cut]
    given(collisions.rest())
    return found


def _key_of(path: str) -> str:
    *folders, name = path.split("/")
    return "/".join([*(unescaped(one, is_folder=True) for one in folders), unescaped(name, is_folder=False)])


@settings(deadline=None)
@given(st.sets(st.text(st.sampled_from("aAbé/-.%2"), min_size=1, max_size=7), max_size=40), _CUTS, st.booleans())
def test_H66_H67_H71_every_key_gets_a_place_of_its_own_from_which_it_comes_back(
    keys: set[str], cuts: list[int], folds_names: bool
) -> None:
    fold: Callable[[str], str] = Folding(case=True, forms=True).fold if folds_names else str  # type: ignore[assignment]
    folds = Folds(fold)
    for key in sorted(keys):
        folds.see(key)
    found = places(_escaping(folds.found if folds_names else None), list(keys), cuts)
    assert set(found) == keys
    assert {key: _key_of(path) for key, path in found.items()} == {key: key for key in keys}
    names: dict[str, str] = {}  # as one file system would have them: every name in a folder once, and as one thing
    for path in found.values():
        parts = path.split("/")
        for at, part in enumerate(parts):
            if part:
                kind = "folder" if at < len(parts) - 1 else f"file {path}"
                assert names.setdefault("/".join(map(fold, parts[: at + 1])), kind) == kind


def test_the_places_of_a_few() -> None:
    assert places(_escaping(), ["a", "a/b", "x//y", "../up", "plain"]) == {
        "a": "a%-", "a/b": "a/b", "x//y": "x/%=/y", "../up": "%2E./up", "plain": "plain",
    }  # fmt: skip


@settings(deadline=None)
@given(st.sets(st.text(st.sampled_from("aAéE\u0301/ß"), min_size=1, max_size=5), max_size=30))
def test_H70_H71_names_that_a_file_system_folds_are_found_as_by_looking_at_every_pair(keys: set[str]) -> None:
    fold = Folding(case=True, forms=True).fold
    assert fold is not None
    folds = Folds(fold)
    paths = set()
    for key in sorted(keys):
        folds.see(key)
        parts = key.split("/")
        paths |= {"/".join(parts[: at + 1]) for at, part in enumerate(parts) if part}
    expected = set()
    for one in paths:
        for other in paths - {one}:
            *above, name = one.split("/")
            *above_other, other_name = other.split("/")
            if above_other == above and fold(name) == fold(other_name):
                expected.add(one)
    assert set(folds.found) == expected
    assert all(other in expected and other != one for one, other in folds.found.items())


def test_H71_all_keys_at_or_below_folded_names_are_refused_by_name() -> None:
    folds = Folds(str.casefold)
    keys = ["Dir/x", "README", "dir/y", "other", "readme"]
    for key in keys:
        folds.see(key)
    said = passed(Collisions(_holds, folded=folds.found), [Entry(key, 1, 0) for key in keys])
    assert said["README"] == "README and readme are one name on this file system; rename one of the two."
    assert said["Dir/x"] == "Dir and dir are one name on this file system; rename one of the two."
    assert [key for key, why in said.items() if why is None] == ["other"]


def test_names_are_told_apart_unless_the_file_system_does_not() -> None:
    assert Folding().fold is None
    nfc, nfd = unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")
    by_case, by_forms, by_both = (
        Folding(case=True).fold,
        Folding(forms=True).fold,
        Folding(case=True, forms=True).fold,
    )
    assert by_case is not None
    assert by_forms is not None
    assert by_both is not None
    assert by_case("É") == by_case("é")
    assert by_case(nfc) != by_case(nfd)
    assert by_forms(nfc) == by_forms(nfd)
    assert by_forms("É") != by_forms("é")
    assert by_both(nfc.upper()) == by_both(nfd)


def test_H63_a_link_and_what_stands_in_its_place_are_refused_both() -> None:
    keys = ["a", "a" + LINK_SUFFIX, "b" + LINK_SUFFIX, "b/c", "c" + LINK_SUFFIX]
    said = passed(Collisions(_holds, links=True), [Entry(key, 1, 0) for key in sorted(keys)])
    assert sorted(key for key, why in said.items() if why) == sorted(keys[:4])
    assert said["c" + LINK_SUFFIX] is None
    assert passed(Collisions(_holds), [Entry(key, 1, 0) for key in sorted(keys)])["a" + LINK_SUFFIX] is None
    long = Entry("z" + LINK_SUFFIX, 5000, 0)
    assert "5000 bytes" in (passed(Collisions(_holds, links=True), [long])[long.key] or "")
