"""Dates in headers, in the one form that servers are to use and in those that they use."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sterna.wire.dates import moment_s


@given(st.integers(-30_610_224_000, 253_402_214_400).map(lambda second: datetime.fromtimestamp(second, UTC)))
def test_the_usual_form_is_read_as_the_standard_library_reads_it(moment: datetime) -> None:
    stamp = format_datetime(moment, usegmt=True)
    assert len(stamp) == 29
    assert moment_s(stamp.encode()) == parsedate_to_datetime(stamp).timestamp()


@pytest.mark.parametrize(
    "stamp",
    [
        "Sun, 06 Nov 1994 08:49:37 +0100",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "sun, 06 nov 1994 08:49:37 gmt",
        "06 Nov 1994 08:49:37 +0000",
    ],
)
def test_other_forms_are_read_too(stamp: str) -> None:
    assert moment_s(stamp.encode()) == parsedate_to_datetime(stamp).timestamp()
    assert abs(moment_s(stamp.encode()) - datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC).timestamp()) <= 3600


@pytest.mark.parametrize(
    "stamp",
    [
        "",
        "yesterday",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 25:49:37 GMT",
        "Sun, 06 Nov +994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 +99999999999999",
        "Sun, 06 Nov 1994 08:4999999999999:37 GMT",
    ],
)
def test_what_is_no_date_raises(stamp: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        moment_s(stamp.encode())


def test_the_usual_form_is_in_whole_seconds() -> None:
    assert moment_s(b"Thu, 01 Jan 1970 00:01:00 GMT") == timedelta(minutes=1).total_seconds()
