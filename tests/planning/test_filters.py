"""Filters as sentences: what they refuse, what they say, and what they mean for two sides."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from sterna.model.entry import Entry, Trouble
from sterna.model.errors import WrongSetting
from sterna.planning.filters import EVERYTHING, Decision, Filter
from sterna.planning.merge import Pair
from sterna.planning.moments import Moment, parse_moment
from sterna.planning.rules import file_rules, in_order, listed_keys, option_rule

S = 10**9
NOW_NS = 1_772_323_200 * S  # 2026-03-01T00:00:00Z


def excluding(*patterns: str) -> Filter:
    return Filter(rules=in_order(option_rule("--exclude", pattern) for pattern in patterns))


def ruled(text: str) -> Filter:
    return Filter(rules=in_order([file_rules(text.encode(), "rules.txt")]))


def refusal(text: str) -> str:
    with pytest.raises(WrongSetting) as caught:
        file_rules(text.encode(), "rules.txt")
    return caught.value.sentence


def entry(key: str, size: int = 1, age_s: int = 0, storage_class: str = "") -> Entry:
    return Entry(key, size, NOW_NS - age_s * S, storage_class=storage_class)


# Rules


def test_without_filters_everything_is_looked_at() -> None:
    assert EVERYTHING.takes_everything
    assert EVERYTHING.takes_key("a/")
    assert EVERYTHING.may_hold("")
    pairs: list[Pair] = [(entry("a"), None), (None, entry("b"))]
    assert EVERYTHING.chosen(pairs) is pairs
    assert EVERYTHING.explain("a") == Decision(True, "nothing is filtered by name")
    assert not excluding("a").takes_everything
    assert not Filter(max_size=5).takes_everything


def test_a_file_stands_in_its_place_among_the_options() -> None:
    file = file_rules(b"- *.tmp\n+ keep/*\n", "rules.txt")
    before = in_order([option_rule("--exclude", "*"), file])
    after = in_order([file, option_rule("--exclude", "*"), option_rule("--include", "b")])
    assert Filter(rules=before).takes_key("keep/a")
    assert not Filter(rules=before).takes_key("keep/a.tmp")
    assert not Filter(rules=before).takes_key("b")
    assert not Filter(rules=after).takes_key("keep/a")
    assert Filter(rules=after).takes_key("b")


def test_a_reset_forgets_options_before_it_and_none_after_it() -> None:
    file = file_rules(b"- a\n!\n- b\n", "rules.txt")
    rules = in_order([option_rule("--exclude", "c"), file, option_rule("--exclude", "d")])
    assert [rule.text for rule in rules] == ["--exclude d", "- b"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("+a", "rules.txt:1: +a: a rule begins with '+ ' to include or '- ' to exclude"),
        ("# fine\n\ninclude *.c", "rules.txt:3: include *.c: a rule begins with '+ '"),
        ("-  a", "rules.txt:1: -  a: the pattern would begin with a blank"),
        ("-", "rules.txt:1: -: a rule begins with"),
        ("- [a", "rules.txt:1: - [a: a [ has no ] after it; write \\[ for the character itself."),
        ("- a]", "a ] has no [ before it; write \\]"),
        ("- {a", "a { has no } after it; write \\{"),
        ("- a}", "a } has no { before it; write \\}"),
        ("- [z-a]", "a range of […] goes backwards"),
        ("- [a-\\d]", "a range of […] goes backwards"),
        ("- [[:letter:]]", "[:letter:] is unknown; there are alnum, alpha,"),
        ("- [/]", "[…] never stands for a slash"),
        ("- a\\/b", "a slash needs no backslash"),
        ("- \\q", "\\q means nothing"),
        ("- a\\", "it ends in a backslash"),
        ("- {{a.*}}", "is a regular expression to rclone, and Sterna takes none"),
        ("- a***", "more than two stars stand together; write **"),
        ("- " + "{a,b}" * 10, "stand for more than 1,000 patterns; write several rules"),
        ("- {" + ",a" * 1000 + "}", "stand for more than 1,000 patterns; write several rules"),
        ("- " + "{a" * 5000, "more than 20 deep"),
        ("- a\x00b", "--filter-from rules.txt holds NUL bytes"),
        ("- \x1b[", "rules.txt:1: - \\x1b[: a [ has no ]"),
    ],
)
def test_a_wrong_rule_is_named_with_its_line_and_what_to_do(text: str, says: str) -> None:
    assert says in refusal(text)


def test_files_of_windows_editors_are_read_or_named() -> None:
    (rule,) = file_rules(b"\xef\xbb\xbf- a\r\n", "rules.txt").rules
    assert rule.text == "- a"
    with pytest.raises(WrongSetting, match=r"--filter-from rules.txt is written in UTF-16; save it as UTF-8\."):
        file_rules("- a\n".encode("utf-16"), "rules.txt")
    with pytest.raises(WrongSetting, match="--files-from list is written in UTF-16"):
        listed_keys("a\n".encode("utf-16"), "list")


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("", "--exclude : a pattern is missing"),
        ("/a*", "--exclude /a*: patterns begin at the location, so leave the first slash off: --exclude 'a*'."),
        ("/", "--exclude /: patterns begin at the location, so leave the first slash off."),
    ],
)
def test_a_wrong_pattern_of_an_option_is_named(pattern: str, says: str) -> None:
    with pytest.raises(WrongSetting) as caught:
        option_rule("--exclude", pattern)
    assert says in caught.value.sentence


def test_includes_that_change_nothing_are_refused() -> None:
    with pytest.raises(WrongSetting, match=r"--include \*.jpg changes nothing, .*; put --exclude '\*' before it\."):
        Filter(rules=option_rule("--include", "*.jpg").rules)
    with pytest.raises(WrongSetting, match=r"rules.txt:2: \+ \*.jpg changes nothing, .*; end the file with - \*\*\."):
        ruled("# pictures\n+ *.jpg")
    assert Filter(rules=option_rule("--include", "*").rules).takes_key("a")  # as scripts have it, and true


def test_many_rules_of_a_kind_are_as_one_is() -> None:
    """Names are looked up together where there are several, so each kind is tried with several."""
    chosen = ruled("- a/\n- b/\n- c\n- d\n- *e*f*\n- /g/h/**\n- /i/**")
    assert [key for key in ("a", "x/b", "c/x", "x/d/x", "ef/x", "x/g/h/x", "x/i/x") if not chosen.takes_key(key)] == []
    left_out = ("a/x", "x/y/b/z", "x/y/c", "d", "x/y/eef", "g/h/x", "i/x/y")
    assert [key for key in left_out if chosen.takes_key(key)] == []
    assert excluding("*xa*", "*xb*").takes_key("x/b")
    assert not excluding("*xa*", "*xb*").takes_key("a/xb/c")


def test_case_counts() -> None:
    assert ruled("- a").takes_key("A")
    assert excluding("*.TMP").takes_key("a.tmp")


@pytest.mark.parametrize("key", ["a/", "a//b", "//", "/", "a\nb", "\udcff/\udcfe", "\x00", "é" * 500, "[", "\\", "."])
def test_odd_keys_are_decided_like_others(key: str) -> None:
    assert not excluding("*").takes_key(key)
    assert not ruled("- **").takes_key(key)
    assert not ruled("- *").takes_key(key)
    assert excluding("zz*").takes_key(key)
    assert ruled("- zz*\n- zz/").takes_key(key)
    assert Filter(listed=frozenset([key])).takes_key(key)
    assert excluding("zz").fingerprint != Filter(listed=frozenset([key])).fingerprint
    assert isinstance(ruled("- z*z/**").barren(key), str)


def test_a_name_that_is_not_utf_8_can_be_matched_by_its_bytes() -> None:
    chosen = Filter(rules=file_rules(b"- caf\xe9.txt\n", "rules.txt").rules)
    assert not chosen.takes_key(b"caf\xe9.txt".decode("utf-8", "surrogateescape"))
    assert listed_keys(b"caf\xe9\n", "list") == {"caf\udce9"}


@pytest.mark.parametrize(
    "pattern", ["**a*a*a*a*b", "a*a*a*a*a*a*b", "{*a,**a}*{a*,a**}*b", "*?*?*?*?*?b", "**a**a**a**b"]
)
def test_no_pattern_runs_away(pattern: str) -> None:
    chosen = ruled(f"- {pattern}\n- /x{pattern}/**")
    start = time.process_time()
    for key in ("a" * 1024, "a/a" * 341, "xa" * 512):
        assert chosen.takes_key(key)
        assert chosen.may_hold(key)
    assert time.process_time() - start < 1


# Lists


def test_a_list_has_a_key_a_line() -> None:
    text = b"a\n  b c \r\n\n# no\n; no\n/d\n./e/f\n.g\n../h\na\n.//i\n"
    assert listed_keys(text, "list") == {"a", "b c", "d", "e/f", ".g", "../h", "/i"}
    assert listed_keys(b"", "list") == set()


def test_a_list_with_nuls_is_taken_to_the_letter() -> None:
    assert listed_keys(b"./a b \0# c\0\n\0d\ne\0", "list") == {"a b ", "# c", "\n", "d\ne"}


def test_a_list_is_narrowed_by_rules_and_an_empty_one_holds_nothing() -> None:
    chosen = Filter(rules=excluding("*.tmp").rules, listed=frozenset(["a/b", "a/c.tmp"]))
    assert [key for key in ("a/b", "a/c.tmp", "d") if chosen.takes_key(key)] == ["a/b"]
    assert not Filter(listed=frozenset()).may_hold("")


# Folders


@pytest.mark.parametrize(
    ("rules", "entered", "passed_by"),
    [
        ("- /a/**", ["", "b/", "b/a/", "ab/"], ["a/", "a/b/"]),
        ("- cache/", ["", "a/"], ["cache/", "a/cache/", "a/cache/b/"]),
        ("- /a/*", ["a/", "a/b/"], []),
        ("- *.tmp", ["a/", "a.tmp/"], []),
        ("+ /a/*.jpg\n- *", ["", "a/"], ["b/", "a/b/", "ab/"]),
        ("+ *.jpg\n- *", ["", "a/b/"], []),
        ("+ /a/b/c/**\n- *", ["", "a/", "a/b/", "a/b/c/", "a/b/c/d/"], ["b/", "a/c/", "a/b/d/"]),
        ("+ /a*/x\n- *", ["", "a/", "ab/"], ["b/", "a/b/"]),
        ("- /a/b/\n+ /a/**\n- *", ["", "a/", "a/c/"], ["a/b/", "c/"]),
        ("- *", [], ["", "a/"]),
        ("- /{a,b/c}/**", ["b/"], ["a/", "b/c/"]),
    ],
)
def test_folders_that_hold_nothing_are_passed_by(rules: str, entered: list[str], passed_by: list[str]) -> None:
    chosen = ruled(rules)
    assert [folder for folder in entered if not chosen.may_hold(folder)] == []
    assert [folder for folder in passed_by if chosen.may_hold(folder)] == []


def test_a_list_tells_which_folders_to_enter() -> None:
    chosen = Filter(listed=frozenset(["a/b/c", "d"]))
    assert [folder for folder in ("", "a/", "a/b/", "a/c/", "b/", "d/") if chosen.may_hold(folder)] == [
        "",
        "a/",
        "a/b/",
    ]


def test_options_pass_folders_by_as_files_do() -> None:
    chosen = Filter(rules=in_order([option_rule("--exclude", "*"), option_rule("--include", "a/b*")]))
    assert [folder for folder in ("", "a/", "a/b/", "a/bc/", "a/c/", "b/") if chosen.may_hold(folder)] == [
        *("", "a/", "a/b/", "a/bc/")
    ]
    assert chosen.barren("a/c/d/e") == "a/c/"
    assert chosen.barren("x/y") == "x/"
    assert chosen.barren("a/bc/d") == ""


def test_a_trouble_in_what_is_left_out_is_none_of_ours() -> None:
    chosen = ruled("- cache/\n- *.sock")
    assert not chosen.concerns(Trouble("cache/x", "is a socket"))
    assert not chosen.concerns(Trouble("a.sock", "is a socket"))
    assert not chosen.concerns(Trouble("a/cache/", "permission denied", subtree=True))
    assert chosen.concerns(Trouble("a.sock/", "permission denied", subtree=True))
    assert chosen.concerns(Trouble("b", "is a socket"))
    assert ruled("+ /photos/**\n- *").concerns(Trouble("", "could not be listed to its end", subtree=True))


def test_a_link_concerns_as_the_folder_or_as_the_file_that_it_may_stand_for() -> None:
    chosen = ruled("+ /photos/**\n+ /a.txt\n- *")
    for key in ("photos", "a.txt"):
        assert chosen.concerns(Trouble(key, "is a symbolic link", subtree=True, skipped=True))
    assert not chosen.concerns(Trouble("b.txt", "is a symbolic link", subtree=True, skipped=True))
    assert not ruled("- /old\n- /old/").concerns(Trouble("old", "is a symbolic link", subtree=True))


def test_a_name_that_is_no_key_is_judged_by_the_name_and_not_by_how_it_is_shown() -> None:
    raw, folder = "caf\udce9.txt", "caf\udce9/"
    listed = Filter(listed=frozenset({raw, folder + "a"}))
    assert listed.concerns(Trouble("caf\\xe9.txt", "is not UTF-8", raw=raw))
    assert listed.concerns(Trouble("caf\\xe9/", "is not UTF-8", subtree=True, raw=folder))
    assert not listed.concerns(Trouble("th\\xe9.txt", "is not UTF-8", raw="th\udce9.txt"))
    assert not ruled("- *.txt").concerns(Trouble("caf\\xe9.txt", "is not UTF-8", raw=raw))


# Two sides (H81)


def test_what_the_source_has_too_large_is_not_deleted_at_the_destination() -> None:
    chosen = Filter(max_size=10)
    assert not chosen.takes_pair((entry("a", 11), entry("a", 5)))
    assert not chosen.takes_pair((entry("a", 11), None))


def test_what_the_destination_has_too_large_is_not_taken_for_missing() -> None:
    assert Filter(max_size=10).takes_pair((entry("a", 5), entry("a", 11)))


def test_of_what_only_the_destination_has_the_size_is_judged() -> None:
    chosen = Filter(max_size=10)
    assert chosen.takes_pair((None, entry("a", 10)))
    assert not chosen.takes_pair((None, entry("a", 11)))


@pytest.mark.parametrize(
    "chosen",
    [
        Filter(newer_than=Moment(0, "7d", "7d")),
        Filter(older_than=Moment(2 * NOW_NS, "1s", "1s")),
        Filter(storage_classes=frozenset(["STANDARD"])),
    ],
    ids=["newer", "older", "class"],
)
def test_what_may_not_have_been_chosen_at_the_source_is_never_deleted(chosen: Filter) -> None:
    found = entry("a", storage_class="STANDARD")
    assert chosen.takes_pair((found, None))
    assert not chosen.takes_pair((None, found))
    decision = chosen.explain("a", found, only_at_destination=True)
    assert not decision.included
    assert decision.because.endswith(", by which nothing is judged that only the destination has")


def test_an_excluded_name_is_invisible_on_both_sides() -> None:
    chosen = excluding("*.tmp")
    for listing in ([entry("a"), entry("b.tmp")], [entry("a", 5), entry("b.tmp", 7)]):
        assert [one.key for one in chosen.visible(listing)] == ["a"]
    assert not chosen.takes_pair((None, entry("b.tmp")))


def test_an_object_without_a_class_is_standard() -> None:
    chosen = Filter(storage_classes=frozenset(["STANDARD"]))
    assert chosen.takes(entry("a"))
    assert not chosen.takes(entry("a", storage_class="GLACIER"))


def test_newer_and_older_than_one_moment_divide_everything() -> None:
    moment = parse_moment("1h", NOW_NS)
    newer, older = Filter(newer_than=moment), Filter(older_than=moment)
    ages = [3599, 3600, 3601]
    assert [newer.takes(entry("a", age_s=age)) for age in ages] == [True, True, False]
    assert [older.takes(entry("a", age_s=age)) for age in ages] == [False, False, True]


def test_limits_that_let_nothing_pass_are_refused() -> None:
    with pytest.raises(WrongSetting, match=r"--min-size 2.0 KiB is more than --max-size 1.0 KiB, so nothing"):
        Filter(min_size=2048, max_size=1024)
    day, week = parse_moment("1d", NOW_NS), parse_moment("7d", NOW_NS)
    with pytest.raises(WrongSetting, match="--newer-than 1d and --older-than 7d leave no time between them"):
        Filter(newer_than=day, older_than=week)
    assert Filter(newer_than=week, older_than=day).takes(entry("a", age_s=2 * 86400))


# What is said


def test_it_says_which_rule_decided() -> None:
    file = file_rules(b"# note\n- *.tmp\n+ keep/*\n", "rules.txt")
    chosen = Filter(rules=in_order([option_rule("--exclude", "*"), file]), max_size=10)
    assert chosen.explain("a.tmp") == Decision(False, "- *.tmp", 1, "rules.txt:2")
    assert chosen.explain("keep/a") == Decision(True, "+ keep/*", 2, "rules.txt:3")
    assert chosen.explain("b") == Decision(False, "--exclude *", 3, "--exclude")
    assert chosen.explain("keep/a", entry("keep/a", 11)) == Decision(False, "--max-size 10 B", 0, "--max-size")
    assert excluding("x").explain("b") == Decision(True, "no rule excludes it")
    listed = Filter(listed=frozenset("a"))
    assert listed.explain("a") == Decision(True, "a list of --files-from names it", 0, "--files-from")
    assert listed.explain("b") == Decision(False, "no list of --files-from names it", 0, "--files-from")


@pytest.mark.parametrize(
    ("chosen", "found", "option"),
    [
        (Filter(min_size=5), entry("a", 4), "--min-size"),
        (Filter(newer_than=parse_moment("1h", NOW_NS)), entry("a", age_s=3601), "--newer-than"),
        (Filter(older_than=parse_moment("1h", NOW_NS)), entry("a", age_s=3600), "--older-than"),
        (Filter(storage_classes=frozenset(["GLACIER"])), entry("a"), "--storage-class-is"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_it_says_which_limit_decided(chosen: Filter, found: Entry, option: str) -> None:
    assert chosen.takes(found) is False
    assert chosen.explain("a", found).origin == option


def test_a_fingerprint_says_whether_filters_changed() -> None:
    def of(text: str, name: str = "rules.txt") -> str:
        return Filter(rules=file_rules(text.encode(), name).rules).fingerprint

    assert of("- a") == "492db4e60b1e24c12e3ca28b375fa28d"  # of another release too: it is kept between runs
    assert of("- a") == of("# note\n  - a  \n", "elsewhere.txt")
    assert of("- a") != of("- b")
    assert of("- a\n- b") != of("- b\n- a")
    assert of("- a") != EVERYTHING.fingerprint
    assert Filter(listed=frozenset("ab")).fingerprint == Filter(listed=frozenset("ba")).fingerprint
    assert Filter(max_size=5).fingerprint != Filter(min_size=5).fingerprint
    assert Filter(storage_classes=frozenset("A")).fingerprint != EVERYTHING.fingerprint


def test_a_duration_has_the_same_fingerprint_tomorrow() -> None:
    def of(text: str, now_ns: int) -> str:
        return Filter(newer_than=parse_moment(text, now_ns)).fingerprint

    assert of("7d", NOW_NS) == of("168h", NOW_NS + 86400 * S) != of("6d", NOW_NS)
    assert of("2026-03-01", NOW_NS) == of("2026-03-01", NOW_NS + S)


# Times


@pytest.fixture
def _berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.skipif(os.name == "nt", reason="its clock has no tzset")
@pytest.mark.usefixtures("_berlin")
@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-03-01", "2026-02-28T23:00:00Z"),
        ("2026-07-01", "2026-06-30T22:00:00Z"),
        ("2026-07-01T12:30", "2026-07-01T10:30Z"),
        ("2026-07-01 12:30:15.5", "2026-07-01T10:30:15.500Z"),
        ("2026-07-01T12:30+05:30", "2026-07-01T07:00Z"),
        ("2026-07-01T12:30-0800", "2026-07-01T20:30Z"),
        ("2026-10-25T02:30", "2026-10-25T00:30Z"),  # twice that night: the first
        ("2026-10-25T03:30", "2026-10-25T02:30Z"),
    ],
)
def test_a_date_without_a_zone_is_of_this_machine(text: str, utc: str) -> None:
    assert parse_moment(text, NOW_NS).ns == parse_moment(utc, NOW_NS).ns


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("90m", 5400), ("12h", 43200), ("7d", 604800), ("2w", 1209600), ("1d12h", 129600), ("1.5h", 5400)],
)
def test_a_duration_is_before_now(text: str, seconds: int) -> None:
    assert parse_moment(text, NOW_NS) == Moment(NOW_NS - seconds * S, text, f"{seconds * S}ns ago")


def test_a_date_is_exact() -> None:
    assert parse_moment("2026-03-01T00:00:00.000000001Z", 0).ns == NOW_NS + 1
    assert parse_moment("1970-01-01T00:00Z", 0).ns == 0


@pytest.mark.parametrize(
    "text", ["", "7", "d", "-7d", "7D", "7 d", "1M", "yesterday", "2026-3-1", "2026-03-01T12", "01/03/2026"]
)
def test_other_texts_are_no_times(text: str) -> None:
    with pytest.raises(ValueError, match="no duration and no date; write for example 12h, 7d, 2026-03-01"):
        parse_moment(text, NOW_NS)


@pytest.mark.parametrize(
    "text", ["2026-02-30", "2026-13-01", "0000-01-01", "2026-01-01T24:00", "2026-01-01T00:00+99:00"]
)
def test_a_date_that_there_is_not_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="there is no such date"):
        parse_moment(text, NOW_NS)
