"""Speeds by the time of day: how they are written, and which one holds when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from sterna.model.units import KIB, MIB
from sterna.wire.timetable import UNLIMITED, Speed, Timetable, parse_timetable

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)


def at(timetable: str, day: int, hour: int, minute: int = 0) -> str:
    return str(parse_timetable(timetable).at(MONDAY + timedelta(days=day, hours=hour, minutes=minute)))


@pytest.mark.parametrize(
    "text, speed",
    [
        ("10MiB", Speed(10 * MIB, 10 * MIB)),
        ("10M/s", Speed(10 * MIB, 10 * MIB)),
        ("1MB", Speed(1_000_000, 1_000_000)),
        ("1MiB:512KiB", Speed(MIB, 512 * KIB)),
        ("1MiB:off", Speed(MIB, None)),
        ("off:1MiB", Speed(None, MIB)),
        ("off", Speed()),
        ("OFF", Speed()),
    ],
)
def test_one_speed_holds_always(text: str, speed: Speed) -> None:
    timetable = parse_timetable(text)
    assert {timetable.at(MONDAY + timedelta(hours=hours)) for hours in range(168)} == {speed}
    assert timetable.is_set == (speed != Speed())


def test_a_timetable_holds_from_moment_to_moment_and_over_midnight() -> None:
    said = "08:00,512KiB 19:00,10MiB 23:00,off"
    assert at(said, 2, 7, 59) == "no limit"
    assert at(said, 2, 8) == "512.0 KiB/s"
    assert at(said, 2, 18, 59) == "512.0 KiB/s"
    assert at(said, 2, 19) == "10.0 MiB/s"
    assert at(said, 2, 23) == "no limit"
    assert at(said, 0, 0) == "no limit"  # from Sunday's last moment
    assert at("19:00,1MiB:off 08:00,off:1KiB", 0, 0) == "1.0 MiB/s up, no limit down"


def test_a_day_of_the_week_holds_until_the_next_moment_and_wins_over_the_daily_one() -> None:
    said = "Mon-08:00,1MiB Fri-18:00,off"
    assert at(said, 0, 7) == "no limit"
    assert at(said, 0, 8) == "1.0 MiB/s"
    assert at(said, 4, 17, 59) == "1.0 MiB/s"
    assert at(said, 6, 12) == "no limit"
    both = "08:00,1MiB 18:00,2MiB sunday-08:00,off"
    assert at(both, 6, 9) == "no limit"
    assert at(both, 6, 18) == "2.0 MiB/s"
    assert at(both, 5, 9) == "1.0 MiB/s"


def test_one_moment_a_week_holds_all_week() -> None:
    assert {at("Wed-12:00,1MiB", day, 3) for day in range(7)} == {"1.0 MiB/s"}


def test_where_the_clock_jumps_ahead_what_was_due_meanwhile_holds_and_where_it_goes_back_the_hour_is_had_twice() -> (
    None
):
    berlin = ZoneInfo("Europe/Berlin")
    timetable = parse_timetable("02:30,1MiB 12:00,off")

    def seen(day: datetime) -> list[tuple[str, bool]]:
        moments = [(day + timedelta(minutes=10 * step)).astimezone(berlin) for step in range(24)]
        return [(f"{moment:%H:%M}", timetable.at(moment) != Speed()) for moment in moments]

    spring = seen(datetime(2026, 3, 29, 0, 0, tzinfo=UTC))  # 01:00 in Berlin; 02:00 is 03:00
    assert ("01:50", False) in spring
    assert ("03:00", True) in spring
    autumn = seen(datetime(2026, 10, 25, 0, 0, tzinfo=UTC))  # 02:00 in Berlin, and again an hour later
    assert [limited for moment, limited in autumn if moment == "02:00"] == [False, False]
    assert [limited for moment, limited in autumn if moment == "02:30"] == [True, True]


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "it is empty"),
        ("fast", "'fast' is no speed"),
        ("512", "512 is 512 bytes a second"),
        ("0", "or off for no limit"),
        ("-1M", "'-1M' is no speed"),
        ("1M:2M:3M", "'2M:3M' is no speed"),
        ("08:00", "08 is 8 bytes a second"),
        ("24:00,1M", "'24:00,1M' is no moment"),
        ("08:60,1M", "is no moment"),
        ("08:00,1M 19:00", "'19:00' is no moment"),
        ("08:00,1M 08:00,2M", "08:00 is there twice"),
        ("Foo-08:00,1M", "names no day of the week"),
        ("8h,1M", "is no moment"),
        ("08:00,", "'' is no speed"),
    ],
)
def test_what_is_no_speed_is_refused_in_a_sentence(text: str, words: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_timetable(text)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_no_timetable_is_no_limit() -> None:
    assert (UNLIMITED.is_set, UNLIMITED.at(MONDAY)) == (False, Speed())
    assert Timetable() == UNLIMITED
