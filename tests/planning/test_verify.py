"""What is known of a key in two places, as a table."""

from __future__ import annotations

import pytest

from sterna.model.entry import Entry, Trouble
from sterna.planning.unknown import Unknown
from sterna.planning.verify import Comparison, Verdict

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


def test_sizes_suffice_where_that_was_asked_for() -> None:
    comparison = Comparison(sizes_suffice=True)
    assert comparison.judge(entry(), entry()).because == "same size; the bytes were not compared"
    assert comparison.judge(entry(), entry(), {"A": "x"}, {"A": "y"}).verdict is Verdict.DIFFERENT
    assert repr(comparison) == "<Comparison 1 equal, 1 different, 0 only left, 0 only right, 0 unknown>"


def test_a_pair_of_nothing_is_none() -> None:
    with pytest.raises(ValueError, match="nothing"):
        Comparison().judge(None, None)
