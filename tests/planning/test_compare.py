"""Plans as text: two little listings in, plan lines out."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterna.model.entry import Entry
from sterna.planning.collide import Collisions
from sterna.planning.compare import Plan, plan_downloads, plan_uploads, same_time
from sterna.planning.merge import Pair, merge_pages

NOW_S = 1000
S = 10**9


def listing(text: str) -> list[Entry]:
    """``key size time`` a line, the time in seconds; in key order."""
    entries = []
    for line in text.strip().splitlines():
        key, size, seconds = line.split()
        entries.append(Entry(key, int(size), round(float(seconds) * S)))
    assert [entry.key for entry in entries] == sorted(entry.key for entry in entries)
    return entries


def paired(source: str, target: str) -> list[Pair]:
    left, right = listing(source), listing(target)
    merged, i, j = merge_pages(left, 0, right, 0)
    return [*merged, *((entry, None) for entry in left[i:]), *((None, entry) for entry in right[j:])]


def lines(plan: Plan) -> str:
    told = [f"{action.verb.value} {action.key}: {action.because}" for action in plan.actions]
    return "\n".join([*told, f"kept {plan.kept}, {plan.kept_bytes} bytes"])


def upload(source: str, target: str) -> str:
    return lines(plan_uploads(paired(source, target), NOW_S * S))


def download(source: str, target: str, holds: dict[str, str] | None = None) -> str:
    return lines(plan_downloads(paired(source, target), Collisions((holds or {}).get)))


def test_what_is_new_larger_or_changed_later_is_uploaded() -> None:
    assert (
        upload(
            """
            changed 5 300
            equal 5 100
            longer 6 100
            new 7 100
            older 5 99
            zero 0 100
            """,
            """
            changed 5 200
            equal 5 100
            longer 5 200
            older 5 200
            only-there 9 100
            zero 1 100
            """,
        )
        == """\
upload changed: the file was changed after it was stored
look equal: changed in the second in which it was stored
upload longer: the sizes differ: 6 at the source, 5 at the destination
upload new: new
upload zero: the sizes differ: 0 at the source, 1 at the destination
kept 1, 5 bytes"""
    )


@pytest.mark.parametrize(
    ("mtime", "stored", "expected"),
    [
        ("100.999999999", "100", "look a: changed in the second in which it was stored\nkept 0, 0 bytes"),
        ("101", "100", "upload a: the file was changed after it was stored\nkept 0, 0 bytes"),
        ("99.9", "100", "kept 1, 5 bytes"),
        ("-5", "100", "kept 1, 5 bytes"),
        ("1000", "100", "upload a: the file was changed after it was stored\nkept 0, 0 bytes"),
        ("1000.1", "100", "look a: the file's time lies in the future\nkept 0, 0 bytes"),
        ("3345062400", "100", "look a: the file's time lies in the future\nkept 0, 0 bytes"),  # 2076, aws-cli #5216
        ("2000", "2000.5", "look a: the file's time lies in the future\nkept 0, 0 bytes"),
    ],
)
def test_H118_a_files_time_decides_only_where_it_can(mtime: str, stored: str, expected: str) -> None:
    assert upload(f"a 5 {mtime}", f"a 5 {stored}") == expected


def test_H118_another_size_is_uploaded_whatever_the_times() -> None:
    for mtime in ("1", "100", "999999"):
        assert upload(f"a 5 {mtime}", "a 6 100").startswith("upload a: the sizes differ")


def test_an_empty_source_plans_nothing() -> None:
    assert upload("", "a 1 1\nb 2 2") == "kept 0, 0 bytes"
    assert download("", "a 1 1\nb 2 2") == "kept 0, 0 bytes"


def test_what_is_new_or_another_size_is_downloaded_and_another_time_is_looked_at() -> None:
    assert (
        download(
            """
            equal 5 100
            longer 6 100
            new 7 100
            newer 5 300
            older 5 100
            """,
            """
            equal 5 100.5
            longer 5 100
            newer 5 200
            older 5 200
            only-there 9 100
            """,
        )
        == """\
download longer: the sizes differ: 6 at the source, 5 at the destination
download new: new
look newer: same size, and the time needs a look
look older: same size, and the time needs a look
kept 1, 5 bytes"""
    )


def test_H67_a_file_where_a_folder_is_needed_is_refused_before_anything_moves() -> None:
    assert (
        download(
            """
            a 1 1
            a-b 1 1
            a/b 1 1
            a/c/d 1 1
            ab/c 1 1
            """,
            "",
        )
        == """\
download a: new
download a-b: new
refuse a/b: a/b needs a folder where a is a file; rename one of the two.
refuse a/c/d: a/c/d needs a folder where a is a file; rename one of the two.
download ab/c: new
kept 0, 0 bytes"""
    )


def test_H66_a_key_that_no_file_can_have_is_refused_by_name() -> None:
    assert (
        download("a 1 1\na//b 1 1\nb/ 3 1\nc/ 0 1", "", {"a//b": "two slashes"})
        == """\
download a: new
refuse a//b: two slashes
refuse b/: b/ ends in a slash and has 3 bytes; a folder cannot hold them.
download c/: new
kept 0, 0 bytes"""
    )


def test_a_plan_keeps_what_both_listings_said() -> None:
    [action] = plan_uploads(paired("a 1 5", "a 2 4"), NOW_S * S).actions
    assert (action.source, action.target, action.size) == (Entry("a", 1, 5 * S), Entry("a", 2, 4 * S), 1)


@pytest.mark.parametrize(
    ("a_ns", "b_ns", "same"),
    [
        (5 * S, 5 * S, True),
        (5 * S, 5 * S + 999_999_999, True),
        (5 * S, 6 * S, False),
        (5 * S, 4 * S + 999_999_999, False),
        (5 * S + 1000, 5 * S + 1999, True),
        (5 * S + 1000, 5 * S + 2000, False),
        (5 * S + 1, 5 * S + 2, True),
        (-5 * S, -5 * S + 1, True),
        (-5 * S, -5 * S - 1, False),
    ],
)
def test_H117_times_are_equal_at_the_precision_of_the_coarser(a_ns: int, b_ns: int, same: bool) -> None:
    assert same_time(a_ns, b_ns) is same


@settings(deadline=None)
@given(st.integers(-(10**20), 10**20), st.integers(-2 * S, 2 * S))
def test_same_time_is_symmetric_and_never_a_second_wide(a_ns: int, by: int) -> None:
    assert same_time(a_ns, a_ns)
    assert same_time(a_ns, a_ns + by) == same_time(a_ns + by, a_ns)
    if abs(by) >= S:
        assert not same_time(a_ns, a_ns + by)
