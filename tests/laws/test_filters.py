"""Filters: what is quick against what is plain, what is pruned against every key, and one side against the other."""

from __future__ import annotations

import itertools
import pickle
import re
from collections.abc import Callable
from collections.abc import Sequence as Many
from fnmatch import fnmatchcase

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sterna.model.entry import Entry
from sterna.model.errors import WrongSetting
from sterna.model.units import printable
from sterna.planning.filters import Filter
from sterna.planning.matching import compiled, expression, plain
from sterna.planning.merge import Pair
from sterna.planning.moments import Moment
from sterna.planning.patterns import Sequence, rule_pattern, shell_pattern
from sterna.planning.rules import Group, file_rules, in_order, listed_keys, option_rule

pytestmark = pytest.mark.slow

# Few letters, so that patterns and keys meet.
_KEYS = st.one_of(
    st.lists(st.sampled_from(["a", "b", "ab", ".b"]), min_size=1, max_size=4).map("/".join),
    st.text("ab./", min_size=1, max_size=9),
)
_ODD_KEYS = st.text("ab./-[]!^\n\udc80é\U0001f600", min_size=1, max_size=9)
_SHELL = st.text("aab*?/.[]!-^", min_size=1, max_size=9).filter(lambda text: not text.startswith("/"))
_PIECES = ["a", "b", "ab", "/", ".", "*", "**", "?", "[a-b]", "[!a]", "[^b.]", "{a,b/}", "{,*}", "\\*", "[]a]"]
_USUAL = [
    "a",
    "b",
    "ab",
    "a/",
    "b/",
    "ab/",
    "/a/",
    "/a",
    "a/b",
    "/a/b",
    "*.b",
    "/a/*",
    "/a/**",
    "a/**",
    "b**",
    "/a*/b",
    "a*",
]
_RULE = st.one_of(
    st.sampled_from(_USUAL),
    st.lists(st.sampled_from(_PIECES), min_size=1, max_size=5).map("".join).filter(lambda text: "***" not in text),
)


@st.composite
def _groups(draw: st.DrawFn) -> list[Group]:
    """A command line of options and filter files."""
    groups = [option_rule("--exclude", "*")] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 4))):
        if draw(st.booleans()):
            option = draw(st.sampled_from(["--include", "--exclude"]))
            groups.append(option_rule(option, draw(_SHELL)))
        else:
            rules = draw(st.lists(st.tuples(st.sampled_from("+-"), _RULE), min_size=1, max_size=4))
            lines = [f"{sign} {text}" for sign, text in rules]
            if draw(st.integers(0, 5)) == 0:
                lines.insert(draw(st.integers(0, len(lines))), "!")
            groups.append(file_rules("\n".join(lines).encode(), "rules"))
    return groups


def _as_excluded(pattern: str) -> str:
    return pattern + "**" if pattern.endswith("/") else pattern


def _filter(groups: Many[Group]) -> Filter:
    try:
        return Filter(rules=in_order(groups))
    except WrongSetting:  # nothing but includes
        return Filter(rules=in_order([*groups, option_rule("--exclude", "*zz")]))


def _naive(text: str) -> str:
    """A filter file's pattern as the regular expression that one would write by hand."""
    head = "(?:.*/)?"
    if text.startswith("/"):
        head, text = "", text[1:]
    words = {"**": ".*", "*": "[^/]*", "?": "[^/]", "{": "(?:", "}": ")", ",": "|"}
    found = re.findall(r"\\.|\*\*|\[[!^]?\]?[^]]*\]|.", text, re.DOTALL)
    told = []
    for piece in found:
        if piece.startswith("["):
            inside = piece[1:-1].replace("]", "\\]").replace("/", "")
            told.append("(?!/)[" + ("^" + inside[1:] if inside[0] in "!^" else inside) + "]")
        else:
            told.append(words.get(piece) or re.escape(piece[-1]))
    return head + "".join(told)


@settings(deadline=None, max_examples=200)
@given(_SHELL, st.one_of(_KEYS, _ODD_KEYS))
def test_a_pattern_of_an_option_means_what_fnmatch_says(pattern: str, key: str) -> None:
    (sequence,) = shell_pattern(pattern)
    assert plain(sequence, key) == fnmatchcase(key, pattern)


@settings(deadline=None, max_examples=200)
@given(_RULE, st.one_of(_KEYS, _ODD_KEYS))
def test_a_pattern_of_a_file_means_what_the_plain_expression_says(pattern: str, key: str) -> None:
    expected = re.fullmatch(_naive(pattern), key, re.DOTALL) is not None
    assert any(plain(sequence, key) for sequence in rule_pattern(pattern)) == expected


@settings(deadline=None, max_examples=500)
@given(
    st.lists(st.one_of(_SHELL.map(shell_pattern), _RULE.map(_as_excluded).map(rule_pattern)), max_size=5),
    _KEYS,
    _ODD_KEYS,
)
def test_what_is_compiled_matches_what_is_plain(patterns: list[tuple[Sequence, ...]], key: str, odd: str) -> None:
    sequences = [sequence for pattern in patterns for sequence in pattern]
    matches = compiled(sequences)
    for one in (key, odd):
        assert bool(matches(one)) == any(plain(sequence, one) for sequence in sequences)
        for sequence in sequences:
            assert bool(re.compile(expression(sequence), re.DOTALL).match(one)) == plain(sequence, one)


@settings(deadline=None)
@given(st.lists(st.text("ab/", min_size=1, max_size=5), min_size=1, max_size=40), st.lists(_KEYS, min_size=1))
def test_many_names_are_found_as_few_are(texts: list[str], keys: list[str]) -> None:
    # Enough of each kind for the searches in order.
    forms = [f"{text}*" for text in texts] + [f"*{text}" for text in texts]
    sequences = [sequence for form in forms if not form.startswith("/") for sequence in shell_pattern(form)]
    matches = compiled(sequences)
    for key in keys:
        assert bool(matches(key)) == any(plain(sequence, key) for sequence in sequences)


@settings(deadline=None, max_examples=200)
@given(_groups(), st.lists(_KEYS, min_size=1, max_size=5))
def test_the_last_option_decides_and_in_a_file_the_first_rule(groups: list[Group], keys: list[str]) -> None:
    chosen = _filter(groups)
    for key in keys:
        included = True
        for group in groups:
            included = True if group.forgets else included
            said = [rule.includes for rule in group.rules if any(plain(one, key) for one in rule.sequences)]
            included = said[0] if said else included
        if not any(rule.text.endswith("*zz") for rule in chosen.rules):
            assert chosen.takes_key(key) is included
        decision = chosen.explain(key)
        assert decision.included == chosen.takes_key(key)
        if decision.number:
            assert chosen.rules[decision.number - 1].text == decision.because


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.sampled_from(["--include", "--exclude"]), _SHELL), min_size=1, max_size=6), _KEYS)
def test_options_in_order_are_what_the_aws_tools_make_of_them(options: list[tuple[str, str]], key: str) -> None:
    assume(any(option == "--exclude" for option, _ in options))
    included = True
    for option, pattern in options:
        if fnmatchcase(key, pattern):
            included = option == "--include"
    chosen = Filter(rules=in_order(option_rule(option, pattern) for option, pattern in options))
    assert chosen.takes_key(key) is included


@settings(deadline=None, max_examples=300)
@given(_groups(), st.text("ab./", max_size=4), st.none() | st.frozensets(_KEYS, max_size=4))
def test_nothing_visible_is_below_what_was_pruned(
    groups: list[Group], prefix: str, listed: frozenset[str] | None
) -> None:
    chosen = _filter(groups)
    if listed is not None:
        chosen = Filter(rules=chosen.rules, listed=listed)
    if chosen.may_hold(prefix):
        return
    below = [prefix + "".join(rest) for length in range(5) for rest in itertools.product("ab./", repeat=length)]
    assert [key for key in below if chosen.takes_key(key)] == []
    for key in listed or ():
        assert not (key.startswith(prefix) and chosen.takes_key(key))


@settings(deadline=None)
@given(_groups(), _KEYS)
def test_a_barren_folder_is_the_highest_that_holds_nothing(groups: list[Group], key: str) -> None:
    chosen = _filter(groups)
    folder = chosen.barren(key)
    folders = [key[: at + 1] for at, letter in enumerate(key) if letter == "/"]
    assert folder == next((one for one in folders if not chosen.may_hold(one)), "")
    if chosen.takes_key(key):
        assert folder == ""


@settings(deadline=None)
@given(_RULE.filter(lambda text: not text.startswith("/")), _KEYS)
def test_a_pattern_without_a_slash_in_front_is_an_anchored_one_after_any_slash(pattern: str, key: str) -> None:
    anchored = compiled(rule_pattern("/" + pattern))
    tails = [key, *(key[at + 1 :] for at, letter in enumerate(key) if letter == "/")]
    assert bool(compiled(rule_pattern(pattern))(key)) == any(bool(anchored(tail)) for tail in tails)


_ENTRIES = st.builds(
    Entry,
    st.sampled_from(["a", "b/c", "b/d"]),
    st.integers(0, 5),
    st.integers(0, 5),
    storage_class=st.sampled_from(["", "STANDARD", "GLACIER"]),
)


@st.composite
def _limits(draw: st.DrawFn) -> Filter:
    low, high = sorted(draw(st.tuples(st.integers(0, 5), st.integers(0, 5))))
    after, before = sorted(draw(st.tuples(st.integers(0, 5), st.integers(0, 5))))
    return Filter(
        rules=in_order([option_rule("--exclude", draw(st.sampled_from(["b/*", "a", "z"])))]),
        min_size=draw(st.none() | st.just(low)),
        max_size=draw(st.none() | st.just(high)),
        newer_than=draw(st.none() | st.just(Moment(after, "7d", "7d"))),
        older_than=draw(st.none() | st.just(Moment(before + 1, "1d", "1d"))),
        storage_classes=draw(st.frozensets(st.sampled_from(["STANDARD", "GLACIER"]))),
    )


@settings(deadline=None, max_examples=100)
@given(_limits(), _ENTRIES, _ENTRIES)
def test_the_source_decides_for_a_pair_and_doubt_hides_what_has_none(chosen: Filter, one: Entry, other: Entry) -> None:
    other = Entry(one.key, other.size, other.mtime_ns, other.etag, other.storage_class)
    assert chosen.takes_pair((one, other)) == chosen.takes_pair((one, None)) == chosen.takes(one)
    if chosen.takes_pair((None, other)):  # it may be deleted, so no filter that knows more may have left it out
        assert chosen.takes_key(other.key)
        assert chosen.newer_than is chosen.older_than is None
        assert not chosen.storage_classes
        assert chosen.takes(other)
    pairs: list[Pair] = [(one, other), (one, None), (None, other)]
    assert chosen.chosen([pair for pair in pairs if chosen.visible([one])]) == [
        pair for pair in pairs if chosen.takes_pair(pair)
    ]
    assert chosen.explain(one.key, one).included == chosen.takes(one)
    assert chosen.explain(other.key, other, only_at_destination=True).included == chosen.takes_pair((None, other))


@settings(deadline=None)
@given(_groups(), _groups())
def test_a_fingerprint_is_that_of_the_rules(one: list[Group], other: list[Group]) -> None:
    first, second = _filter(one), _filter(other)
    told = [(rule.includes, rule.sequences) for rule in first.rules]
    same = told == [(rule.includes, rule.sequences) for rule in second.rules]
    assert (first.fingerprint == second.fingerprint) == same
    again = pickle.loads(pickle.dumps(first))
    assert again == first
    assert again.fingerprint == first.fingerprint
    assert again.takes_key("a/b") == first.takes_key("a/b")


def _refusal(read: Callable[..., object], *given: object) -> str:
    """The sentence with which something is refused; empty where it is not."""
    try:
        read(*given)
    except WrongSetting as error:
        return error.sentence
    return ""


@settings(deadline=None, max_examples=100)
@given(st.one_of(st.binary(max_size=60), st.text("+- !*?[]{}\\,/ab\n#:", max_size=40).map(str.encode)))
def test_any_file_gives_rules_or_one_sentence(data: bytes) -> None:
    for read in (file_rules, listed_keys):
        said = _refusal(read, data, "file")
        assert not said or ("file" in said and said.endswith(".") and printable(said) == said)


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=20), st.text(max_size=20))
def test_any_text_is_a_pattern_or_one_sentence(pattern: str, key: str) -> None:
    said = _refusal(option_rule, "--exclude", pattern)
    assert bool(said) == (not pattern or pattern[0] == "/")
    assert printable(said) == said
    if not said:
        rules = option_rule("--exclude", pattern).rules
        assert Filter(rules=rules).takes_key(key) != fnmatchcase(key, pattern)
