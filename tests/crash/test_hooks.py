"""What kills and refuses must see what a run does: else the suites beside this one would prove nothing."""

from __future__ import annotations

import pytest

from tests.crash.bench import Bench
from tests.crash.orders import FAMILIES, Step
from tests.crash.scenarios import SCENARIOS

pytestmark = pytest.mark.slow


def traces(bench: Bench, *names: str) -> list[Step]:
    found = []
    for scenario in SCENARIOS:
        if scenario.name in names:
            with bench.trial(scenario) as trial:
                found += trial.run().trace
    return found


def test_every_kind_of_call_is_seen_with_what_it_is_about(bench: Bench) -> None:
    steps = traces(bench, "download with deletions and trash", "upload small files")
    assert {step.family for step in steps} == {*FAMILIES, "link", "remove", "mkdir", "sqlite"}
    assert {step.family for step in steps if not step.changes} == {"open", "read", "close"}
    seen = " ".join(step.what for step in steps)
    for what in ("syncfs", "os.link", "os.rename", "os.utime", "os.mkdir", "COMMIT", "BEGIN IMMEDIATE"):
        assert what in seen, f"nothing was seen of {what}"
