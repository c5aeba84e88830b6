"""What is known of a key in two places, as a table."""

from __future__ import annotations

import pytest

from sterna.model.entry import MD5_OF_NOTHING, Entry, Trouble
from sterna.planning.unknown import Unknown
from sterna.planning.verify import Comparison, Finding, Sum, Verdict, even_cut, likely_cuts, sums_shown

MD5 = "0" * 31 + "1"


def entry(size: int = 5, etag: str = "") -> Entry:
    return Entry("a", size, 1, etag)


@pytest.mark.parametrize(
    ("left", "right", "left_sums", "right_sums", "expected"),
    [
        (entry(5), entry(6), {}, {}, "different: the sizes differ: 5 left, 6 right"),
        (entry(5), entry(6), {"MD5": "x"}, {"MD5": "x"}, "different: the sizes differ: 5 left, 6 right"),
        (entry(), entry(), {"CRC32C": "x"}, {"CRC32C": "x"}, "equal: same size and CRC32C"),
        (entry(), entry(), {"CRC32C": "x"}, {"CRC32C": "y"}, "different: CRC32C differs: x left, y right"),
        (entry(), entry(), {"A": "x", "B": "1"}, {"B": "2", "A": "x"}, "different: B differs: 1 left, 2 right"),
        (
            entry(),
            entry(),
            {"CRC32C": "x"},
            {"SHA256": "x"},
            "unknown: same size, and no checksum that both sides have",
        ),
        (entry(), entry(), {}, {}, "unknown: same size, and no checksum that both sides have"),
        (entry(0), entry(0), {}, {}, "equal: both are empty"),
        (entry(), entry(), {"MD5?": "x"}, {"MD5?": "x"}, "equal: same size and MD5"),
        (
            entry(),
            entry(),
            {"MD5?": "x"},
            {"MD5?": "y"},
            "unknown: same size, and no checksum that both sides have",
        ),
        (
            entry(5, MD5_OF_NOTHING),
            entry(5, MD5_OF_NOTHING),
            {},
            {},
            "unknown: same size, and no checksum that both sides have",
        ),
        (entry(5, MD5), entry(5, MD5), {}, {}, "equal: same size and ETag"),
        (entry(5, MD5 + "-3"), entry(5, MD5 + "-3"), {}, {}, "equal: same size and ETag"),
        (entry(5, MD5), entry(5, MD5 + "-1"), {}, {}, "unknown: same size, and no checksum that both sides have"),
        (entry(5, "1-5"), entry(5, "1-5"), {}, {}, "unknown: same size, and no checksum that both sides have"),
        (entry(5, MD5), entry(5, MD5), {"A": "x"}, {"A": "y"}, "different: A differs: x left, y right"),
        (entry(), None, {}, {}, "only left: the right side does not have it"),
        (None, entry(), {}, {}, "only right: the left side does not have it"),
    ],
)
def test_a_pair_is_judged(
    left: Entry | None, right: Entry | None, left_sums: dict[str, str], right_sums: dict[str, str], expected: str
) -> None:
    comparison = Comparison()
    finding = comparison.judge(left, right, left_sums, right_sums)
    assert f"{finding.verdict.value}: {finding.because}" == expected
    assert (finding.key, finding.left, finding.right) == ("a", left, right)
    assert comparison.counts[finding.verdict] == 1
    assert comparison.is_equal == (finding.verdict is Verdict.EQUAL)
    assert comparison.equal_bytes == (left.size if left and comparison.is_equal else 0)


def test_H78_what_could_not_be_listed_is_unknown_and_not_missing() -> None:
    left, right = Unknown(), Unknown()
    comparison = Comparison(left, right)
    left.add([Trouble("d/", "cannot be read", subtree=True)])
    right.add([Trouble("e", "cannot be looked at")])
    pairs = [(None, Entry("d/x", 1, 1)), (None, Entry("e", 1, 1)), (Entry("d/y", 1, 1), None), (Entry("e", 1, 1), None)]
    found = [(finding.key, finding.verdict) for finding in comparison.add([*pairs, (None, None)])]
    assert found == [
        ("d/x", Verdict.UNKNOWN),
        ("e", Verdict.ONLY_RIGHT),
        ("d/y", Verdict.ONLY_LEFT),
        ("e", Verdict.UNKNOWN),
    ]
    assert not comparison.is_equal


def test_two_places_are_not_equal_while_some_of_one_is_unknown() -> None:
    comparison = Comparison(Unknown([Trouble("d/", "cannot be read", subtree=True)]))
    comparison.judge(entry(0), entry(0))
    assert not comparison.is_equal
    by_rule = Comparison(Unknown([Trouble("link", "is a symbolic link", skipped=True)]))
    by_rule.judge(entry(0), entry(0))
    assert by_rule.is_equal
    filtered_out = Unknown()
    filtered_out.add([Trouble("d/", "cannot be read", subtree=True)], lambda trouble: False)
    elsewhere = Comparison(filtered_out)
    elsewhere.judge(entry(0), entry(0))
    assert elsewhere.is_equal
    assert filtered_out.covers("d/x")


def test_sizes_suffice_where_that_was_asked_for() -> None:
    comparison = Comparison(sizes_suffice=True)
    assert comparison.judge(entry(), entry()).because == "same size; the bytes were not compared"
    assert comparison.judge(entry(), entry(), {"A": "x"}, {"A": "y"}).verdict is Verdict.DIFFERENT
    assert repr(comparison) == "<Comparison 1 equal, 1 different, 0 only left, 0 only right, 0 unknown>"


def test_a_pair_of_nothing_is_none() -> None:
    with pytest.raises(ValueError, match="nothing"):
        Comparison().judge(None, None)


def test_what_was_found_out_elsewhere_is_counted() -> None:
    comparison = Comparison()
    comparison.counted(Finding(Verdict.EQUAL, "a", "same bytes", entry(), entry()))
    assert (comparison.counts[Verdict.EQUAL], comparison.equal_bytes, comparison.is_equal) == (1, 5, True)


@pytest.mark.parametrize(
    ("checksums", "etag", "flags", "expected"),
    [
        ({"CRC32C": "AAAA"}, "", {}, [Sum("CRC32C", "CRC32C", "AAAA")]),
        ({"CRC32C": "AAAA-3"}, "", {"composite": True}, [Sum("CRC32C of 3 parts?", "CRC32C", "AAAA-3", 3)]),
        ({"CRC32C": "AAAA-²"}, "", {}, [Sum("CRC32C", "CRC32C", "AAAA-²")]),
        ({"SHA256": "AAAA"}, "", {"composite": True}, []),  # rclone's and Ceph's way: of how many parts is not said
        ({}, MD5, {}, []),
        ({}, MD5, {"maybe_md5": True}, [Sum("MD5?", "MD5", MD5, is_etag=True)]),
        ({}, MD5.upper(), {"maybe_md5": True, "surely_md5": True}, [Sum("MD5", "MD5", MD5, is_etag=True)]),
        ({}, f"{MD5}-2", {"maybe_md5": True}, [Sum("MD5 of 2 parts?", "MD5", f"{MD5}-2", 2, is_etag=True)]),
        ({}, f"{MD5}-2", {"maybe_md5": True, "surely_md5": True},
         [Sum("MD5 of 2 parts?", "MD5", f"{MD5}-2", 2, is_etag=True)]),
        ({}, f"{MD5}-0", {"maybe_md5": True}, []),
        ({}, "opaque-1", {"maybe_md5": True}, []),
        ({}, MD5_OF_NOTHING, {"maybe_md5": True, "surely_md5": True}, []),
        ({"CRC32": "AA=="}, MD5, {"maybe_md5": True},
         [Sum("CRC32", "CRC32", "AA=="), Sum("MD5?", "MD5", MD5, is_etag=True)]),
    ],
)  # fmt: skip
def test_H13_H14_what_a_server_shows_is_taken_for_what_it_is(
    checksums: dict[str, str], etag: str, flags: dict[str, bool], expected: list[Sum]
) -> None:
    assert sums_shown(checksums, etag, **flags) == expected


def test_H14_an_etag_decides_against_only_where_it_is_known_to_be_an_md5() -> None:
    [maybe] = sums_shown({}, MD5, maybe_md5=True)
    [surely] = sums_shown({}, MD5, maybe_md5=True, surely_md5=True)
    assert (maybe.decides, surely.decides) == (False, True)


@pytest.mark.parametrize(
    ("size", "first", "parts", "expected"),
    [
        (10, 10, 1, [10]),
        (10, 9, 1, None),
        (10, 5, 2, [5, 5]),
        (11, 5, 3, [5, 5, 1]),
        (11, 5, 2, None),
        (11, 11, 2, None),  # a server that does not know such a question shows the whole
        (11, 0, 2, None),
    ],
)
def test_a_cut_is_even_or_not_known(size: int, first: int, parts: int, expected: list[int] | None) -> None:
    assert even_cut(size, first, parts) == expected


def test_likely_cuts_are_ours_and_those_of_others_and_few() -> None:
    mib = 1 << 20
    assert likely_cuts(9 * mib, 2, 8 * mib) == [[8 * mib, mib], [5 * mib, 4 * mib]]
    assert likely_cuts(100 * mib, 1, 8 * mib) == [[100 * mib]]
    assert likely_cuts(7, 3, 8 * mib) == []
    assert all(sum(cut) == 999 * mib and len(cut) == 2 for cut in likely_cuts(999 * mib, 2, 8 * mib))
    assert len(likely_cuts(60 * mib, 1, 60 * mib)) == 1
