"""Laws of deleting: what sets would say, and never more than what is surely absent and allowed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterna.model.entry import Entry, Trouble
from sterna.planning.deletions import Deletions
from sterna.planning.guard import (
    DEFAULT_MAX_DELETE,
    Allowed,
    Counts,
    Guard,
    MaxDelete,
    Remembered,
    before_deleting,
    parse_max_delete,
)
from sterna.planning.merge import Pair
from sterna.planning.unknown import Unknown

# Few letters, so that keys lie below each other and around each other's separators.
_KEYS = st.text(st.sampled_from("ab/-.0\n\udc80"), min_size=1, max_size=6)
_SETS = st.sets(_KEYS, max_size=25)


def _pairs(source: set[str], target: set[str]) -> list[Pair]:
    return [
        (Entry(key, 1, 1) if key in source else None, Entry(key, 2, 1) if key in target else None)
        for key in sorted(source | target)
    ]


def _is_below(key: str, name: str) -> bool:
    """As one would say it: the key itself, or something in it."""
    name = name.rstrip("/")
    return not name or key.rstrip("/") == name or key.startswith(name + "/")


@pytest.mark.slow
@settings(deadline=None)
@given(
    source=_SETS,
    target=_SETS,
    unknown=st.sets(_KEYS, max_size=4),
    excluded=st.sampled_from(["", "a", "/", "."]),
    is_listed=st.booleans(),
    in_memory=st.sampled_from([1, 3, 1000]),
    cut=st.integers(1, 10),
)
def test_H75_H78_what_is_deleted_is_what_sets_say_and_never_unknown(
    source: set[str],
    target: set[str],
    unknown: set[str],
    excluded: str,
    is_listed: bool,
    in_memory: int,
    cut: int,
) -> None:
    pairs = _pairs(source, target)
    with Deletions(
        takes=lambda pair: not excluded or excluded not in getattr(pair[1], "key", ""),
        keeps_markers=False,
        in_memory=in_memory,
    ) as deletions:
        for start in range(0, len(pairs), cut):
            deletions.add(pairs[start : start + cut])
        assert not list(deletions.batches())
        if is_listed:
            deletions.listed()
        deletions.unknown.add(Trouble(name, "unreadable", subtree=True) for name in sorted(unknown))
        batches = list(deletions.batches(3))
        counted = deletions.count()
    found = [action.key for batch in batches for action in batch]
    assert found == [
        key
        for key in sorted(target - source)
        if not (excluded and excluded in key) and not any(_is_below(key, name) for name in unknown) and is_listed
    ]
    assert all(0 < len(batch) <= 3 for batch in batches)
    assert (counted.objects, counted.bytes) == (len(found), 2 * len(found))


@given(st.lists(_KEYS, max_size=12), _KEYS, st.integers(1, 12))
def test_H78_whatever_is_unknown_stays_so_in_any_order_and_within_any_memory(
    names: list[str], key: str, most: int
) -> None:
    some = Unknown((Trouble(name, "") for name in names), most=most)
    for name in names:
        assert some.covers(name)
        assert some.covers(name.rstrip("/") + "/" + key)
    if any(_is_below(key, name) for name in names):
        assert some.covers(key)
    elif most == 12:
        assert not some.covers(key)
    assert [some.covers(name) for name in names] == [
        Unknown((Trouble(name, "") for name in reversed(names)), most=most).covers(name) for name in names
    ]


_LIMITS = st.one_of(
    st.just(DEFAULT_MAX_DELETE),
    st.integers(0, 10**6).map(lambda most: parse_max_delete(str(most))),
    st.integers(0, 100).map(lambda share: parse_max_delete(f"{share}%")),
)


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**7), _LIMITS, st.sets(st.sampled_from(Guard)))
def test_H82_what_the_guards_let_pass_is_within_the_cap(
    source: int, target: int, deletions: int, limit: MaxDelete, overridden: set[Guard]
) -> None:
    """Overriding other guards never lifts the limit, and a limit in force is never exceeded by one."""
    deletions = min(deletions, target)
    allowed = Allowed(frozenset(overridden - {Guard.MAX_DELETE}), limit)
    counts = Counts(source=source, target=target, deletions=deletions)
    refusals = before_deleting(counts, Remembered(), allowed)
    cap = limit.limit(target)
    assert cap is not None
    if not any(refusal.guard is Guard.MAX_DELETE for refusal in refusals):
        assert deletions <= cap
    if limit is DEFAULT_MAX_DELETE:
        assert cap == max(100, target // 10)
    if not refusals and deletions and Guard.EMPTY_SOURCE not in overridden:
        assert source > 0
    if not deletions:
        assert not refusals
