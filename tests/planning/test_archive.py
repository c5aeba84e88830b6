"""What a HEAD says of an object in an archive, and what bringing it back takes."""

from __future__ import annotations

import pytest

from sterna.planning.archive import Archive, State, Tier, archive_of, expires, takes, wait_of
from sterna.planning.estimate import NO_PRICES, default_prices

GIB = 1 << 30
COPY = b'ongoing-request="false", expiry-date="Fri, 21 Dec 2040 00:00:00 GMT"'


@pytest.mark.parametrize(
    "listed, headers, expected",
    [
        ("STANDARD", {}, Archive("STANDARD", State.READABLE)),
        ("", {}, Archive("", State.READABLE)),
        ("GLACIER_IR", {}, Archive("GLACIER_IR", State.READABLE)),
        ("GLACIER", {}, Archive("GLACIER", State.ARCHIVED)),
        ("GLACIER", {b"x-amz-restore": b'ongoing-request="true"'}, Archive("GLACIER", State.COMING)),
        ("GLACIER", {b"x-amz-restore": COPY}, Archive("GLACIER", State.READABLE)),
        ("GLACIER", {b"x-amz-storage-class": b"STANDARD"}, Archive("STANDARD", State.READABLE)),
        ("STANDARD", {b"x-amz-storage-class": b"DEEP_ARCHIVE"}, Archive("DEEP_ARCHIVE", State.ARCHIVED)),
        ("INTELLIGENT_TIERING", {}, Archive("INTELLIGENT_TIERING", State.READABLE)),
        (
            "INTELLIGENT_TIERING",
            {b"x-amz-archive-status": b"ARCHIVE_ACCESS"},
            Archive("ARCHIVE_ACCESS", State.ARCHIVED),
        ),
        (
            "INTELLIGENT_TIERING",
            {b"x-amz-archive-status": b"DEEP_ARCHIVE_ACCESS", b"x-amz-restore": b'ongoing-request="true"'},
            Archive("DEEP_ARCHIVE_ACCESS", State.COMING),
        ),
    ],
)
def test_whether_an_object_can_be_read(listed: str, headers: dict[bytes, bytes], expected: Archive) -> None:
    assert archive_of(listed, headers) == expected


def test_deep_archives_have_no_expedited_tier_and_tiers_of_intelligent_tiering_keep_nothing_to_expire() -> None:
    assert [wait_of(name, Tier.EXPEDITED) is None for name in ("GLACIER", "DEEP_ARCHIVE", "OTHER")] == [
        False, True, True,
    ]  # fmt: skip
    assert [expires(name) for name in ("GLACIER", "DEEP_ARCHIVE", "ARCHIVE_ACCESS")] == [True, True, False]


def test_the_cost_is_told_where_a_table_has_it() -> None:
    assert takes("DEEP_ARCHIVE", 100 * GIB, NO_PRICES) == "up to 12 hours (standard) or up to 48 hours (bulk)"
    priced = takes("DEEP_ARCHIVE", 100 * GIB, default_prices())
    assert priced.startswith(
        "up to 12 hours (standard) or up to 48 hours (bulk); by standard about 2.00 USD by the list"
    )
    assert "USD" not in takes("ARCHIVE_ACCESS", 100 * GIB, default_prices())
    assert takes("COLD", 1, default_prices()) == "a time that the server's maker tells"
