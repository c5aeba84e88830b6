"""The meter: samples at given times in, speeds and times out."""

from __future__ import annotations

import pytest

from sterna.model.events import Tally
from sterna.model.units import KIB, MIB
from sterna.reporting.meter import Meter, Reading


def run(meter: Meter, tally: Tally, seconds: list[tuple[float, int]]) -> Reading:
    reading = Reading()
    for at_s, moved in seconds:
        tally.moved_bytes = moved
        reading = meter.sample(tally, at_s)
    return reading


def test_the_current_speed_is_that_of_the_last_two_seconds() -> None:
    reading = run(Meter(0.0), Tally(), [(tenth / 10, tenth * 100) for tenth in range(1, 101)])
    assert reading.now == pytest.approx(1000)
    assert reading.mean == pytest.approx(1000)


def test_a_stall_shows_at_once_in_the_current_speed_and_slowly_in_the_mean() -> None:
    meter, tally = Meter(0.0), Tally()
    run(meter, tally, [(float(second), second * 100) for second in range(11)])
    reading = run(meter, tally, [(12.5, 1000), (13.0, 1000)])
    assert reading.now == 0
    assert reading.mean == pytest.approx(1000 / 13)


def test_the_peak_is_over_a_second_at_least() -> None:
    meter, tally = Meter(0.0), Tally()
    reading = run(meter, tally, [(0.1, 1_000_000), (0.2, 1_000_000), (1.1, 1_000_000), (2.2, 1_000_000)])
    assert reading.peak == pytest.approx(1_000_000 / 1.1)


def test_the_peak_stays_when_the_speed_falls() -> None:
    meter, tally = Meter(0.0), Tally()
    run(meter, tally, [(1.0, 5000), (2.0, 10_000)])
    reading = run(meter, tally, [(float(second), 10_000 + second) for second in range(3, 60)])
    assert reading.peak == pytest.approx(5000)
    assert reading.now < 10


def test_a_run_of_less_than_a_second_peaks_at_its_mean() -> None:
    reading = run(Meter(10.0), Tally(), [(10.5, 500)])
    assert reading.peak == reading.mean == pytest.approx(1000)


def test_samples_at_the_same_instant_divide_by_nothing() -> None:
    reading = run(Meter(1.0), Tally(), [(1.0, 100), (1.0, 200)])
    assert reading.now == 0
    assert reading.mean == 0


def test_the_time_left_is_unknown_while_planning_goes_on() -> None:
    tally = Tally(planned_objects=10, planned_bytes=100 * MIB)
    reading = run(Meter(0.0), tally, [(5.0, 10 * MIB)])
    assert reading.left_s is None
    assert reading.fraction == pytest.approx(0.1, abs=0.01)


def test_the_time_left_is_unknown_before_anything_has_moved() -> None:
    tally = Tally(planned_objects=1, planned_bytes=MIB, planning_done=True)
    assert run(Meter(0.0), tally, [(3.0, 0)]).left_s is None


def test_the_time_left_of_one_large_file_goes_by_its_bytes() -> None:
    tally = Tally(planned_objects=1, planned_bytes=100 * MIB, planning_done=True)
    reading = run(Meter(0.0), tally, [(float(second), second * MIB) for second in range(1, 21)])
    assert reading.left_s == pytest.approx(80, rel=0.01)


def test_the_time_left_of_many_empty_files_goes_by_their_number() -> None:
    tally = Tally(planned_objects=1000, planning_done=True)
    meter, reading = Meter(0.0), Reading()
    for second in range(1, 11):
        tally.ended_objects = second * 10
        reading = meter.sample(tally, float(second))
    assert reading.left_s == pytest.approx(90)
    assert reading.fraction == pytest.approx(0.1)


def test_bytes_of_failed_attempts_are_no_progress() -> None:
    tally = Tally(planned_objects=1, planned_bytes=MIB, planning_done=True, wasted_bytes=MIB)
    assert run(Meter(0.0), tally, [(2.0, MIB)]).fraction == 0


def test_the_whole_is_reached_only_when_the_last_object_is_counted() -> None:
    tally = Tally(planned_objects=2, planned_bytes=2 * KIB, planning_done=True, ended_objects=1)
    meter = Meter(0.0)
    before = run(meter, tally, [(1.0, 9 * MIB)])
    assert before.fraction is not None
    assert before.fraction < 1
    tally.ended_objects = 2
    reading = meter.sample(tally, 2.0)
    assert reading.fraction == 1
    assert reading.left_s == 0


def test_what_a_look_found_in_place_is_finished_with_the_bytes_that_were_planned_for_it() -> None:
    tally = Tally(planned_objects=1000, planned_bytes=1000 * MIB, planning_done=True)
    tally.ended_objects, tally.unmoved_bytes = 900, 900 * MIB
    assert run(Meter(0.0), tally, [(1.0, 0)]).fraction == pytest.approx(0.9)


def test_nothing_to_do_is_wholly_done_once_planning_is() -> None:
    assert run(Meter(0.0), Tally(planning_done=True), [(1.0, 0)]).fraction == 1
    assert run(Meter(0.0), Tally(), [(1.0, 0)]).fraction is None


def test_it_remembers_half_a_minute_and_not_a_night() -> None:
    meter, tally = Meter(0.0), Tally()
    run(meter, tally, [(eighth / 8, eighth) for eighth in range(1, 10_000)])
    assert int(repr(meter).split()[1]) < 200
