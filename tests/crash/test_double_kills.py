"""kill -9 in a run, and again in the run that was to make it good: the third one does."""

from __future__ import annotations

import pytest

from tests.crash.bench import Bench, some_points
from tests.crash.scenarios import SCENARIOS, Scenario

pytestmark = pytest.mark.slow

_SEED = 109
_EACH = 10  # double kills of a scenario: more than 200 of all


def kill_twice(bench: Bench, scenario: Scenario, times: int) -> None:
    """So many double kills, each of which was hit twice: the second may come after all is done, and does not count."""
    points, hit = some_points(scenario, _SEED), 0
    for _ in range(times * 6):
        first, second = next(points), next(points)
        with bench.trial(scenario) as trial:
            if not trial.run(first).was_killed:
                continue
            again = trial.run(second)
            try:
                trial.must_be_sound()
                trial.must_recover()
            except AssertionError as error:
                raise AssertionError(f"{first}, then {second}: {error}\n    after {again}") from error
            hit += again.was_killed
        if hit == times:
            return
    raise AssertionError(f"only {hit} of {times * 6} double kills were hit twice")


@pytest.mark.parametrize("scenario", SCENARIOS[:: len(SCENARIOS) // 2], ids=str)
def test_a_run_and_its_repetition_are_killed_h54(bench: Bench, scenario: Scenario) -> None:
    kill_twice(bench, scenario, 1)


@pytest.mark.extended
@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_runs_and_their_repetitions_are_killed_h54(bench: Bench, scenario: Scenario) -> None:
    kill_twice(bench, scenario, _EACH)
