"""Plans of copies as text: two little listings in, plan lines out; and what two HEADs settle."""

from __future__ import annotations

import pytest

from sterna.model.entry import Entry
from sterna.planning.compare import Compare, Plan
from sterna.planning.copies import Seen, looks_like_md5, plan_copies, tells_content, why_copied
from sterna.planning.merge import Pair, merge_pages

S = 10**9
A, B = "0123456789abcdef" * 2, "fedcba9876543210" * 2
NOTHING = "d41d8cd98f00b204e9800998ecf8427e"
NAMES = {"A": A, "B": B, "-": "", "A-2": f"{A}-2", "B-2": f"{B}-2", "B-3": f"{B}-3", "0": NOTHING}


def listing(text: str) -> list[Entry]:
    """``key size time etag`` a line, in key order."""
    entries = []
    for line in text.strip().splitlines():
        key, size, seconds, etag = line.split()
        entries.append(Entry(key, int(size), round(float(seconds) * S), NAMES[etag]))
    return entries


def paired(source: str, target: str) -> list[Pair]:
    left, right = listing(source), listing(target)
    merged, i, j = merge_pages(left, 0, right, 0)
    return [*merged, *((entry, None) for entry in left[i:]), *((None, entry) for entry in right[j:])]


def lines(plan: Plan) -> str:
    told = [f"{action.verb.value} {action.key}: {action.because}" for action in plan.actions]
    return "\n".join([*told, f"kept {plan.kept}, {plan.kept_bytes} bytes"])


def test_what_is_new_or_of_another_size_is_copied_and_what_is_the_same_is_kept() -> None:
    source = """
        a/ 0 100 A
        empty 0 200 -
        longer 6 100 A
        new 7 100 A
        other 5 100 A
        same 5 300 A
    """
    target = """
        empty 0 100 0
        longer 5 200 A
        only-there 9 100 A
        other 5 200 B
        same 5 200 A
    """
    assert (
        lines(plan_copies(paired(source, target)))
        == """\
copy a/: new
copy longer: the sizes differ: 6 here, 5 there
copy new: new
look other: same size, and another ETag
kept 2, 5 bytes"""
    )


@pytest.mark.parametrize("etags", [("A-2", "B"), ("A-2", "B-3"), ("-", "-"), ("0", "0"), ("A", "B-2")])
@pytest.mark.parametrize(("stored", "is_kept"), [("101", True), ("100.9", False), ("100", False), ("99", False)])
def test_where_the_etags_say_nothing_only_a_destination_of_a_later_second_is_kept(
    etags: tuple[str, str], stored: str, is_kept: bool
) -> None:
    plan = plan_copies(paired(f"k 5 100.5 {etags[0]}", f"k 5 {stored} {etags[1]}"))
    assert lines(plan) == (
        "kept 1, 5 bytes" if is_kept else "look k: same size, and not stored later than the source\nkept 0, 0 bytes"
    )


@pytest.mark.parametrize("stored", ["101", "100", "99"])
def test_other_etags_of_as_many_parts_are_looked_at_at_any_time(stored: str) -> None:
    expected = "look k: same size and number of parts, and another ETag\nkept 0, 0 bytes"
    assert lines(plan_copies(paired("k 5 100 A-2", f"k 5 {stored} B-2"))) == expected


@pytest.mark.parametrize("stored", ["101", "100", "99"])
def test_the_etag_of_the_same_parts_is_the_same_content_at_any_time(stored: str) -> None:
    assert lines(plan_copies(paired("k 5 100 A-2", f"k 5 {stored} A-2"))) == "kept 1, 5 bytes"


@pytest.mark.parametrize(
    ("compare", "source", "target", "expected"),
    [
        (Compare.EXISTS, "k 5 100 A", "k 6 1 B", "kept 1, 5 bytes"),
        (Compare.SIZE, "k 5 100 A", "k 5 1 B", "kept 1, 5 bytes"),
        (Compare.SIZE, "k 5 100 A", "k 6 200 A", "copy k: the sizes differ: 5 here, 6 there\nkept 0, 0 bytes"),
        (Compare.CHECKSUM, "k 5 100 A", "k 5 1 A", "kept 1, 5 bytes"),
        (
            Compare.CHECKSUM,
            "k 5 100 A-2",
            "k 5 200 B",
            "look k: same size, and the content is compared\nkept 0, 0 bytes",
        ),
        (
            Compare.MTIME,
            "k 5 100 A",
            "k 5 200 A",
            "look k: same size, and the times that the objects keep need a look\nkept 0, 0 bytes",
        ),
    ],
)
def test_other_comparisons(compare: Compare, source: str, target: str, expected: str) -> None:
    assert lines(plan_copies(paired(source, target), compare)) == expected


def seen(stored_s: float = 100, etag: str = "", kept_s: float | None = None, **more: object) -> Seen:
    kept = None if kept_s is None else round(kept_s * S)
    found = Seen(5, round(stored_s * S), kept, etag, has_md5=True, checksum="")
    return found._replace(**more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        (seen(), None, "new"),
        (seen(), seen(size=6), "the sizes differ: 5 here, 6 there"),
        (seen(300, A), seen(1, A), ""),
        (seen(1, A), seen(300, B), "same size, and another MD5"),
        (seen(1, A, has_md5=False), seen(300, B), ""),  # one is encrypted: its ETag is none of its content
        (seen(300, A, has_md5=False), seen(1, B), "same size, and not stored later than the source"),
        (seen(300, A, checksum="CRC32C:x"), seen(1, B, checksum="CRC32C:x"), ""),
        (seen(1, A, checksum="CRC32C:x"), seen(300, A, checksum="CRC32C:y"), "same size, and another CRC32C"),
        (seen(1, A, checksum="CRC32:x"), seen(300, A, checksum="CRC32C:y"), ""),
        (seen(300, f"{A}-2"), seen(1, f"{A}-2"), ""),
        (seen(300, f"{A}-2"), seen(1, f"{B}-2", made_of=f"{A}-2"), ""),
        (seen(300, f"{A}-3"), seen(1, f"{B}-2", made_of=f"{A}-2"), "same size, and not stored later than the source"),
        (seen(1, f"{A}-2", kept_s=7), seen(300, f"{B}-2", kept_s=8), "same size, and another time"),
        (seen(1, f"{A}-2"), seen(300, f"{B}-2"), ""),  # nothing tells them apart
        (seen(300, kept_s=7.5), seen(1, kept_s=7.5), ""),
        (seen(1, kept_s=7.5), seen(300, kept_s=8), "same size, and another time"),
        (seen(100, kept_s=7), seen(100), "same size, and not stored later than the source"),
        (seen(100), seen(101), ""),
    ],
)
def test_two_heads_settle_what_the_listings_could_not(source: Seen, target: Seen | None, expected: str) -> None:
    assert why_copied(source, target) == expected


def test_a_comparison_of_contents_believes_no_time_and_one_of_times_no_content() -> None:
    because = "same size, and nothing tells whether the content is the same"
    assert why_copied(seen(1, kept_s=7), seen(300, kept_s=7), Compare.CHECKSUM) == because
    assert why_copied(seen(1, A, kept_s=7), seen(300, A, kept_s=9), Compare.MTIME) == "same size, and another time"
    assert why_copied(seen(1, A, kept_s=7), seen(300, B, kept_s=7), Compare.MTIME) == ""


@pytest.mark.parametrize("etag", ["", NOTHING, f"{A}-2", "x" * 31, "-" * 32])
def test_no_md5(etag: str) -> None:
    assert not looks_like_md5(etag)


@pytest.mark.parametrize(
    ("etag", "tells"),
    [(A, True), (f"{A}-2", True), (f"{A}-10000", True), (f"{NOTHING}-1", False), (f"{A}-", False), (f"{A}-x", False),
     ("", False), ("-", False), ("x-2", False)],
)  # fmt: skip
def test_which_etags_tell_of_content(etag: str, tells: bool) -> None:
    assert tells_content(etag) is tells
