"""Plans as text: two little listings in, plan lines out."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterna.model.actions import Verb
from sterna.model.entry import Entry
from sterna.planning.collide import Collisions
from sterna.planning.compare import (
    FAT_STEP_NS,
    Compare,
    Plan,
    difference,
    plan_downloads,
    plan_uploads,
    same_time,
)
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


def upload(source: str, target: str, compare: Compare = Compare.AUTO, step_ns: int = 1) -> str:
    return lines(plan_uploads(paired(source, target), NOW_S * S, compare, step_ns=step_ns))


def download(
    source: str,
    target: str,
    holds: dict[str, str] | None = None,
    compare: Compare = Compare.AUTO,
    step_ns: int = 1,
) -> str:
    return lines(plan_downloads(paired(source, target), Collisions((holds or {}).get), compare, step_ns=step_ns))


def test_what_is_new_or_larger_is_uploaded_and_what_seems_newer_is_looked_at() -> None:
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
look changed: the file's time is later than the object's
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
        ("101", "100", "look a: the file's time is later than the object's\nkept 0, 0 bytes"),
        ("99.9", "100", "kept 1, 5 bytes"),
        ("-5", "100", "kept 1, 5 bytes"),
        ("1000", "100", "look a: the file's time is later than the object's\nkept 0, 0 bytes"),
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
            edited 5 100
            equal 5 100.5
            longer 6 100
            new 7 100
            newer 5 300
            older 5 100
            """,
            """
            edited 5 100.5
            equal 5 100
            longer 5 100
            newer 5 200
            older 5 200
            only-there 9 100
            """,
        )
        == """\
look edited: same size, and the time needs a look
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


SOURCE = """
empty 0 300
later 5 300
new 7 100
older 5 100
same 5 200
size 6 200
"""
TARGET = """
empty 0 200
later 5 200
older 5 200
same 5 200
size 5 200
"""


@pytest.mark.parametrize(
    ("compare", "expected"),
    [
        (
            Compare.SIZE,
            "MOVE new: new\nMOVE size: the sizes differ: 6 at the source, 5 at the destination\nkept 4, 15 bytes",
        ),
        (Compare.EXISTS, "MOVE new: new\nkept 5, 21 bytes"),
        (
            Compare.CHECKSUM,
            """\
look later: same size, and the content is compared
MOVE new: new
look older: same size, and the content is compared
look same: same size, and the content is compared
MOVE size: the sizes differ: 6 at the source, 5 at the destination
kept 1, 0 bytes""",
        ),
        (
            Compare.MTIME,
            """\
look empty: same size, and the time that the object keeps needs a look
look later: same size, and the time that the object keeps needs a look
MOVE new: new
look older: same size, and the time that the object keeps needs a look
look same: same size, and the time that the object keeps needs a look
MOVE size: the sizes differ: 6 at the source, 5 at the destination
kept 0, 0 bytes""",
        ),
    ],
)
def test_the_other_comparisons_decide_alike_in_both_directions(compare: Compare, expected: str) -> None:
    assert upload(SOURCE, TARGET, compare) == expected.replace("MOVE", "upload")
    assert download(SOURCE, TARGET, compare=compare) == expected.replace("MOVE", "download")


@pytest.mark.parametrize("compare", list(Compare))
def test_H67_what_a_folder_cannot_hold_is_refused_by_every_comparison(compare: Compare) -> None:
    assert "refuse a/b" in download("a 1 1\na/b 1 1", "a 1 1\na/b 1 1", compare=compare)


FILE = Entry("a", 5, 200 * S + 123_456_789)
OBJECT = Entry("a", 5, 300 * S, "e")


@pytest.mark.parametrize(
    ("verb", "found", "own_ns", "expected"),
    [
        (Verb.UPLOAD, OBJECT, FILE.mtime_ns, None),
        (Verb.UPLOAD, OBJECT, 200 * S, None),
        (Verb.UPLOAD, OBJECT, 201 * S, "same size, and another time"),
        (Verb.UPLOAD, OBJECT, None, "same size, and the object keeps no time of its own"),
        (Verb.UPLOAD, None, None, "it is gone since it was listed"),
        (Verb.UPLOAD, Entry("a", 6, 300 * S, "e"), 200 * S, "the object was replaced since it was listed"),
        (Verb.UPLOAD, Entry("a", 5, 300 * S, "f"), 200 * S, "the object was replaced since it was listed"),
        (Verb.UPLOAD, Entry("a", 5, 100 * S, "e"), 99 * S, "the file was changed after it was stored"),
        (Verb.UPLOAD, Entry("a", 5, 100 * S, "e"), FILE.mtime_ns, None),
        (Verb.DOWNLOAD, OBJECT, FILE.mtime_ns, None),
        (Verb.DOWNLOAD, OBJECT, None, "same size, and another time"),
        (Verb.DOWNLOAD, Entry("a", 5, 200 * S, "e"), None, "same size, and another time"),
        (Verb.DOWNLOAD, Entry("a", 5, 200 * S, "e"), 7 * S, "same size, and another time"),
    ],
)
def test_a_look_settles_it(verb: Verb, found: Entry | None, own_ns: int | None, expected: str | None) -> None:
    assert difference(verb, FILE, OBJECT, found, own_ns) == expected


def test_a_file_edited_in_the_second_in_which_its_object_was_stored_is_looked_at_and_downloaded() -> None:
    """A folder went up and was edited in the same second: what comes down is what the object was made of."""
    made_of_ns, stored = 100 * S + 250_000_000, Entry("a", 5, 100 * S, "e")
    for step_ns in (1, 10_000_000):
        edited = Entry("a", 5, 100 * S + 750_000_000)
        plan = plan_downloads([(stored, edited)], Collisions(lambda key: None), step_ns=step_ns)
        assert [action.verb for action in plan.actions] == [Verb.LOOK]
        for own_ns in (made_of_ns, None):
            because = difference(Verb.DOWNLOAD, edited, stored, stored, own_ns, step_ns=step_ns)
            assert because == "same size, and another time"
        untouched = Entry("a", 5, made_of_ns)
        assert difference(Verb.DOWNLOAD, untouched, stored, stored, made_of_ns, step_ns=step_ns) is None


YEAR = 365 * 86400 * S


@settings(deadline=None)
@given(
    st.sampled_from([-YEAR, -3600 * S, -S, -1, 0, 1, S, 3600 * S, YEAR]) | st.integers(-YEAR, YEAR),
    st.integers(0, 2 * YEAR),
    st.sampled_from([1, 10_000_000, FAT_STEP_NS]),
    st.sampled_from([Compare.AUTO, Compare.MTIME]),
)
def test_H118_what_was_uploaded_once_is_not_uploaded_again_whatever_the_clocks_say(
    skew_ns: int, mtime_ns: int, step_ns: int, compare: Compare
) -> None:
    """The server's clock is off by ``skew_ns``, the file's time may lie in the future, and the file rests."""
    file = Entry("a", 5, mtime_ns - mtime_ns % step_ns)
    stored = Entry("a", 5, (YEAR + skew_ns) // S * S, "e")
    plan = plan_uploads([(file, stored)], YEAR + S, compare, step_ns=step_ns)
    assert all(action.verb is Verb.LOOK for action in plan.actions)
    if plan.actions:
        assert difference(Verb.UPLOAD, file, stored, stored, file.mtime_ns, step_ns=step_ns) is None


@settings(deadline=None)
@given(st.integers(0, 2 * YEAR), st.sampled_from([1, 10_000_000, S, FAT_STEP_NS]), st.booleans())
def test_H117_what_was_downloaded_once_is_not_downloaded_again_whatever_the_file_system_keeps(
    own_ns: int, step_ns: int, clocks_changed: bool
) -> None:
    """The folder keeps times in steps, and FAT, which keeps local time, is an hour off after a change of the clocks."""
    kept = own_ns - own_ns % step_ns + (3600 * S if clocks_changed and step_ns == FAT_STEP_NS else 0)
    file, listed = Entry("a", 5, kept), Entry("a", 5, 3 * YEAR, "e")
    for compare in (Compare.AUTO, Compare.MTIME):
        plan = plan_downloads([(listed, file)], Collisions(lambda key: None), compare, step_ns=step_ns)
        assert [action.verb for action in plan.actions] == [Verb.LOOK]
        assert difference(Verb.DOWNLOAD, file, listed, listed, own_ns, step_ns=step_ns) is None


def test_H117_on_fat_an_edit_in_the_two_seconds_before_it_was_stored_is_looked_at() -> None:
    for stored in ("100", "101"):
        expected = "look a: changed in the second in which it was stored\nkept 0, 0 bytes"
        assert upload("a 5 100", f"a 5 {stored}", step_ns=FAT_STEP_NS) == expected
    assert upload("a 5 100", "a 5 102", step_ns=FAT_STEP_NS) == "kept 1, 5 bytes"
    assert upload("a 5 100", "a 5 101") == "kept 1, 5 bytes"


@pytest.mark.parametrize(
    ("apart_ns", "step_ns", "same"),
    [
        (1_999_999_999, FAT_STEP_NS, True),
        (2 * S, FAT_STEP_NS, False),
        (3600 * S, FAT_STEP_NS, True),
        (3602 * S, FAT_STEP_NS, False),
        (3600 * S, 1, False),
        (9_999_999, 10_000_000, True),
        (10_000_000, 10_000_000, False),
        (2_000, 1, False),
    ],
)
def test_H117_the_file_systems_step_widens_what_is_equal(apart_ns: int, step_ns: int, same: bool) -> None:
    base = 1_000_000 * S + 500_000_000
    base -= base % step_ns
    odd = base if step_ns < S else base + S  # FAT's own even seconds are not what the object has
    assert same_time(odd, odd + apart_ns, step_ns) is same
    assert same_time(odd + apart_ns, odd, step_ns) is same


def test_same_size_other_content_and_the_old_time_put_back_is_seen_by_checksum_alone() -> None:
    """H23: what each comparison makes of it, as the document says."""
    stored = "a 5 500"
    restored = "a 5 100"  # its time is the one that the object keeps
    assert upload(restored, stored) == "kept 1, 5 bytes"
    assert upload(restored, stored, Compare.SIZE) == "kept 1, 5 bytes"
    assert upload(restored, stored, Compare.EXISTS) == "kept 1, 5 bytes"
    file, listed = listing(restored)[0], listing(stored)[0]
    assert upload(restored, stored, Compare.MTIME).startswith("look")
    assert difference(Verb.UPLOAD, file, listed, listed, 100 * S) is None
    assert "the content is compared" in upload(restored, stored, Compare.CHECKSUM)
