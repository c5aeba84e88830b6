"""kill -9 right before each call and at each request that changes something: the same command makes all good."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable

import pytest

from tests.crash.bench import Bench, some_points
from tests.crash.orders import Point
from tests.crash.scenarios import SCENARIOS, Scenario

pytestmark = pytest.mark.slow

_SOME = 2  # of the points of each scenario, in the default suite: 3 % of all
_SEED = 54

Tell = Callable[[str, object], None]  # a row of the table at the end

every_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=str)


def kill_each(bench: Bench, scenario: Scenario, points: Iterable[Point], enough: int, tell: Tell) -> None:
    """Kill a run at each of the points, until enough were hit: what threads do varies, and some points may not be
    reached.
    """
    tried, hit, wrong, began = 0, 0, [], time.monotonic()
    for point in points:
        with bench.trial(scenario) as trial:
            ended = trial.run(point)
            tried += 1
            hit += ended.was_killed
            try:
                if not ended.was_killed:
                    trial.must_have_ended_well(ended)
                    trial.must_be_done()
                    continue
                trial.must_be_sound()
                trial.must_recover()
            except AssertionError as error:
                wrong.append(f"{point}: {error}\n    after {ended}")
        if hit == enough:
            break
    each_ms = (time.monotonic() - began) * 1000 / tried
    tell("row", f"{scenario}: {tried} kills, {hit} hit, {each_ms:.0f} ms each with its recovery, {len(wrong)} wrong")
    assert not wrong, f"{len(wrong)} of {tried} points:\n" + "\n".join(wrong[:10])
    assert hit >= 0.9 * enough, f"{hit} of {tried} points were reached"


@every_scenario
def test_a_run_that_is_killed_somewhere_is_made_good_by_the_next_h54(
    bench: Bench, scenario: Scenario, record_property: Tell
) -> None:
    points = itertools.islice(some_points(scenario, _SEED), 5 * _SOME)
    kill_each(bench, scenario, points, _SOME, record_property)


@pytest.mark.extended
@every_scenario
def test_a_run_that_is_killed_at_every_step_is_made_good_by_the_next_h54(
    bench: Bench, scenario: Scenario, record_property: Tell
) -> None:
    with bench.trial(scenario) as trial:
        points = trial.reach().points
    kill_each(bench, scenario, points, len(points), record_property)
