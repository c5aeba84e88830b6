"""Keys that cannot stand beside each other in a folder, against an oracle that looks at every pair."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from sterna.model.entry import Entry
from sterna.model.units import printable
from sterna.planning.collide import Collisions

_KEYS = st.text(st.sampled_from("ab/-\x1b"), min_size=1, max_size=6)


def _holds(key: str) -> str | None:
    return "no" if "//" in key or key.startswith("/") else None


def _oracle(entries: list[Entry]) -> dict[str, bool]:
    """Which keys are refused: those no file can have, markers with bytes, and those below an earlier file."""
    refused: dict[str, bool] = {}
    files: list[str] = []
    for entry in entries:
        key = entry.key
        bad = _holds(key) is not None or (key.endswith("/") and entry.size > 0)
        bad = bad or any(key.startswith(file + "/") for file in files)
        refused[key] = bad
        if not bad and not key.endswith("/"):
            files.append(key)
    return refused


@settings(deadline=None)
@given(st.dictionaries(_KEYS, st.integers(0, 1), max_size=40))
def test_H66_H67_the_refusals_are_those_that_looking_at_every_pair_finds(sizes: dict[str, int]) -> None:
    entries = [Entry(key, sizes[key], 0) for key in sorted(sizes)]
    collisions = Collisions(_holds)
    found = {entry.key: collisions.refusal(entry) for entry in entries}
    assert {key: why is not None for key, why in found.items()} == _oracle(entries)
    for why in found.values():
        assert why is None or printable(why) == why


@settings(deadline=None)
@given(st.sets(_KEYS, max_size=40))
def test_H67_what_is_not_refused_can_stand_in_one_folder(keys: set[str]) -> None:
    collisions = Collisions(_holds)
    taken = [key for key in sorted(keys) if collisions.refusal(Entry(key, 0, 0)) is None]
    files = {key for key in taken if not key.endswith("/")}
    folders = {key[: at + 1] for key in taken for at, one in enumerate(key) if one == "/"}
    assert not {folder.removesuffix("/") for folder in folders} & files


def test_a_long_chain_of_beginnings_needs_no_more_than_itself() -> None:
    collisions = Collisions(lambda key: None)
    for length in range(1, 1025):
        assert collisions.refusal(Entry("a" * length, 0, 0)) is None
    assert collisions.refusal(Entry("b", 0, 0)) is None
    assert collisions.refusal(Entry("b/c", 0, 0)) is not None
