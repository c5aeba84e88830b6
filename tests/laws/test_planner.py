"""The planner on random trees: what is planned, once applied, leaves nothing to plan, and never touches what it must not."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sterna.model.actions import Action, Verb
from sterna.model.entry import Entry, Trouble
from sterna.planning.collide import Collisions
from sterna.planning.compare import Compare, Plan, difference, plan_downloads, plan_uploads, same_time
from sterna.planning.copies import Seen, plan_copies, why_copied
from sterna.planning.deletions import Deletions
from sterna.planning.filters import Filter
from sterna.planning.guard import Allowed, Counts, Guard, MaxDelete, Remembered, before_deleting
from sterna.planning.merge import Pair, merge_pages
from sterna.planning.rules import in_order, option_rule

_S = 10**9
_NOW_S = 1_000_000


class Item(NamedTuple):
    """A file, or an object with the time of the file that it was made of, if it keeps one."""

    content: int
    size: int
    mtime_ns: int
    own_ns: int | None = None

    def entry(self, key: str, *, is_object: bool) -> Entry:
        etag = f"{self.content:032x}" if is_object else ""
        return Entry(key, self.size, self.mtime_ns, etag)


Tree = dict[str, Item]


class Case(NamedTuple):
    """A run: both trees, and all that was said of it."""

    verb: Verb
    source: Tree
    target: Tree
    compare: Compare
    filters: Filter
    deletes: bool
    unknown: tuple[str, ...]
    allowed: Allowed
    skew_s: int
    page: int


def _is_key(text: str) -> bool:
    return all(name not in ("", ".", "..") for name in text.split("/"))


# Listed once, and so are the strategies below: what hypothesis filters, or makes anew for each case, costs it far more
# time than the law takes. Short keys are likely, so that both sides have the same, and one is often another's folder.
_ALL_KEYS = ["".join(some) for length in range(1, 6) for some in itertools.product("ab/-.é", repeat=length)]
_KEYS = st.one_of(
    st.sampled_from([key for key in _ALL_KEYS if _is_key(key) and len(key) == 1]),
    st.sampled_from([key for key in _ALL_KEYS if _is_key(key) and "a" in key and len(key) <= 3]),
    st.sampled_from([key for key in _ALL_KEYS if _is_key(key)]),
)
_TIMES = st.one_of(
    st.integers(_NOW_S - 3, _NOW_S + 3).map(lambda second: second * _S),
    st.integers((_NOW_S - 3) * _S, (_NOW_S + 3) * _S),
)
_CONTENTS = st.integers(1, 4)
_FILES = st.builds(lambda content, stored: Item(content, 1 + content % 2, stored), _CONTENTS, _TIMES)
_OBJECTS = st.builds(
    lambda content, stored, own: Item(content, 1 + content % 2, stored // _S * _S, own),
    *(_CONTENTS, _TIMES, st.none() | _TIMES),
)
_RULES = st.lists(
    st.builds(option_rule, st.sampled_from(["--exclude", "--include"]), st.sampled_from(["*", "a*", "*b", "a/*", "?"])),
    max_size=3,
)
_FILTERS = st.builds(
    lambda rules, max_size: Filter(
        rules=in_order([option_rule("--exclude", "zz"), *rules]) if rules else (), max_size=max_size
    ),
    *(_RULES, st.sampled_from([None, None, 1])),
)
_ALLOWED = st.builds(
    lambda guards, most: Allowed(frozenset(guards), MaxDelete(most)),
    *(st.sets(st.sampled_from(Guard)), st.integers(0, 4)),
)


def _cases_of(verb: Verb) -> st.SearchStrategy[Case]:
    """The target has keys of its own, and some of the source's."""
    source_items = _FILES if verb is Verb.UPLOAD else _OBJECTS
    target_items = _FILES if verb is Verb.DOWNLOAD else _OBJECTS

    def case(source: Tree, own: Tree, shared: list[tuple[int, Item]], unseen: list[int], **said: Any) -> Case:
        keys = sorted(source)
        target = own | ({keys[number % len(keys)]: item for number, item in shared} if keys else {})
        return Case(
            verb,
            _no_conflicts(source) if verb is Verb.UPLOAD else source,
            _no_conflicts(target) if verb is Verb.DOWNLOAD else target,
            unknown=tuple(sorted(own)[number % len(own)] for number in unseen if own),
            **said,
        )

    return st.builds(
        case,
        st.dictionaries(_KEYS, source_items, max_size=8),
        st.dictionaries(_KEYS, target_items, max_size=6),
        st.lists(st.tuples(st.integers(0, 7), target_items), max_size=4),
        st.lists(st.integers(0, 5), max_size=2),
        compare=st.sampled_from(Compare),
        filters=_FILTERS,
        deletes=st.booleans(),
        allowed=_ALLOWED,
        skew_s=st.integers(-2, 2),
        page=st.integers(1, 5),
    )


_CASES = st.one_of(*(_cases_of(verb) for verb in (Verb.UPLOAD, Verb.DOWNLOAD, Verb.COPY)))


def _no_conflicts(tree: Tree) -> Tree:
    """What a folder can hold: no file where another's folder is."""
    kept: Tree = {}
    for key in sorted(tree):
        if not any(key.startswith(f"{one}/") or one.startswith(f"{key}/") for one in kept):
            kept[key] = tree[key]
    return kept


def _paged(case: Case, page: int) -> list[list[Pair]]:
    """The pages of a merge of both listings, as the filters let them pass, cut every ``page`` keys."""
    sides = []
    for tree, is_object in ((case.source, case.verb is not Verb.UPLOAD), (case.target, case.verb is not Verb.DOWNLOAD)):
        entries = [tree[key].entry(key, is_object=is_object) for key in sorted(tree, key=str.encode)]
        sides.append(case.filters.visible(entries))
    found: list[Pair] = []
    i = j = 0
    while i < len(sides[0]) or j < len(sides[1]):
        some, i, j = merge_pages(sides[0], i, sides[1], j)
        if not some:  # one side has ended
            some = [(one, None) for one in sides[0][i:]] + [(None, one) for one in sides[1][j:]]
            i, j = len(sides[0]), len(sides[1])
        found += some
    chosen = list(case.filters.chosen(found))
    return [chosen[start : start + page] for start in range(0, len(chosen), page)]


def _planned(case: Case, pages: Sequence[Sequence[Pair]], now_s: int) -> tuple[list[Action], int]:
    """All actions, every look settled, and how many pairs are kept by the listings."""
    collisions = Collisions(lambda path: None)

    def plan(page: Sequence[Pair]) -> Plan:
        if case.verb is Verb.UPLOAD:
            return plan_uploads(page, now_s * _S, case.compare)
        if case.verb is Verb.DOWNLOAD:
            return plan_downloads(page, collisions, case.compare)
        return plan_copies(page, case.compare)

    plans = []
    if case.verb is Verb.DOWNLOAD:
        plans += [plan(collisions.settled(page)) for page in pages]
        plans.append(plan(collisions.rest()))
    else:
        plans += [plan(page) for page in pages]
    actions = [action for one in plans for action in one.actions]
    settled = [action if action.verb is not Verb.LOOK else _looked(case, action) for action in actions]
    return [action for action in settled if action is not None], sum(one.kept for one in plans)


def _looked(case: Case, action: Action) -> Action | None:
    """What a HEAD, or the contents, make of a look."""
    source, target = case.source[action.key], case.target[action.key]
    assert action.source is not None
    assert action.target is not None
    if case.compare is Compare.CHECKSUM and case.verb is not Verb.COPY:
        why = "another content" if source.content != target.content else None
    elif case.verb is Verb.UPLOAD:
        why = difference(Verb.UPLOAD, action.source, action.target, action.target, target.own_ns)
    elif case.verb is Verb.DOWNLOAD:
        why = difference(Verb.DOWNLOAD, action.target, action.source, action.source, source.own_ns)
    else:
        one, other = (
            Seen(item.size, item.mtime_ns, item.own_ns, f"{item.content:032x}", has_md5=True, checksum="")
            for item in (source, target)
        )
        why = why_copied(one, other, case.compare) or None
    return None if why is None else Action(case.verb, action.key, why, action.source, action.target)


def _deleted(case: Case, pages: Sequence[Sequence[Pair]]) -> list[str]:
    """What is deleted after the guards; nothing where one refuses."""
    if not case.deletes:
        return []
    counts = Counts()
    with Deletions(takes=case.filters.takes_pair, keeps_markers=True) as deletions:
        for page in pages:
            counts.see(page)
            deletions.add(page)
        deletions.listed()
        deletions.unknown.add(Trouble(name, "cannot be read", subtree=True) for name in case.unknown)
        counts.deletions = deletions.count().objects
        if before_deleting(counts, Remembered(), case.allowed):
            return []
        return [action.key for batch in deletions.batches() for action in batch]


def _applied(case: Case, actions: Sequence[Action], deleted: Sequence[str], now_s: int) -> Tree:
    """The destination afterwards, by what moving does."""
    tree = dict(case.target)
    for action in actions:
        if action.verb is Verb.REFUSE:
            continue
        item = case.source[action.key]
        stored = (now_s + case.skew_s) * _S
        if case.verb is Verb.COPY:  # one server, one clock: a copy is stored after its source
            stored = (_NOW_S + 10) * _S
        if case.verb is Verb.UPLOAD:
            tree[action.key] = Item(item.content, item.size, stored, item.mtime_ns)
        elif case.verb is Verb.DOWNLOAD:
            tree[action.key] = Item(item.content, item.size, item.mtime_ns if item.own_ns is None else item.own_ns)
        else:
            tree[action.key] = Item(item.content, item.size, stored, item.own_ns)
    for key in deleted:
        del tree[key]
    return tree


def _law(case: Case) -> None:
    pages = _paged(case, case.page)
    actions, kept = _planned(case, pages, _NOW_S)
    deleted = _deleted(case, pages)

    # The order and the size of the pages say nothing.
    for page in (1, 1000):
        others = _paged(case, page)
        assert _planned(case, others, _NOW_S) == (actions, kept)
        assert _deleted(case, others) == deleted

    # One action a key, in order, and none for what is invisible.
    keys = [action.key for action in actions]
    assert keys == sorted(set(keys), key=str.encode)
    visible = {source.key for page in pages for source, _ in page if source is not None}
    assert set(keys) <= visible

    # Nothing is deleted that the source has, that is unknown, or that a filter leaves out; nor beyond the cap.
    for key in deleted:
        assert key not in case.source
        assert case.filters.takes_key(key)
        assert case.filters.max_size is None or case.target[key].size <= case.filters.max_size
        assert not any(key == name or key.startswith(f"{name}/") for name in case.unknown)
    if Guard.MAX_DELETE not in case.allowed.guards:
        cap = case.allowed.max_delete.limit(len(case.target))
        assert cap is None or len(deleted) <= cap

    # What may have been changed since it was stored is kept only where the object tells that it was not (H118).
    if case.verb is Verb.UPLOAD and case.compare is Compare.AUTO:
        for key in visible & case.target.keys() - set(keys):
            source, target = case.source[key], case.target[key]
            assert source.size == target.size
            is_older = source.mtime_ns // _S < target.mtime_ns // _S
            assert is_older or (target.own_ns is not None and same_time(source.mtime_ns, target.own_ns))

    # Applied, it has done what it said: and a second run finds nothing.
    after = _applied(case, actions, deleted, _NOW_S)
    refused = {action.key for action in actions if action.verb is Verb.REFUSE}
    for key in visible - refused:
        assert key in after
        if case.compare is not Compare.EXISTS:
            assert after[key].size == case.source[key].size
        if case.compare is Compare.CHECKSUM:
            assert after[key].content == case.source[key].content
    for key in case.target.keys() - set(keys) - set(deleted):
        assert after[key] == case.target[key]
    again = case._replace(target=after)
    pages = _paged(again, case.page)
    actions, _ = _planned(again, pages, _NOW_S + 1)
    assert {action.key for action in actions if action.verb is not Verb.REFUSE} == set()
    assert {action.key for action in actions} <= refused
    if deleted:
        assert _deleted(again, pages) == []


@pytest.mark.slow
@settings(deadline=None, max_examples=500)
@given(_CASES)
def test_H75_H82_a_plan_converges_and_touches_nothing_else(case: Case) -> None:
    _law(case)


@pytest.mark.thorough
@settings(deadline=None, max_examples=5000)
@given(_CASES)
def test_H75_H82_a_plan_converges_in_thousands_of_cases(case: Case) -> None:
    _law(case)


@pytest.mark.extended
@settings(deadline=None, max_examples=100_000, suppress_health_check=list(HealthCheck))
@given(_CASES)
def test_H75_H82_a_plan_converges_in_a_hundred_thousand_cases(case: Case) -> None:
    _law(case)
