"""A call of the system fails once: the run says so in a sentence, claims nothing that is not so, and can be repeated."""

from __future__ import annotations

import errno
import random
from collections.abc import Iterable

import pytest

from tests.crash.bench import Bench
from tests.crash.orders import Fail
from tests.crash.scenarios import SCENARIOS, Scenario
from tests.crash.test_kills import Tell

pytestmark = pytest.mark.slow

_SEED = 50

# What may come out of which call. Not tried: room, quota and a read-only disk where something is read (nothing is
# written there); rights and a read-only disk where something is closed (both were asked when it was opened).
SAYS = {
    "open": (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EDQUOT, errno.ESTALE),
    "read": (errno.EIO, errno.EACCES, errno.ESTALE),
    "write": (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EDQUOT, errno.ESTALE),
    "fsync": (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT, errno.ESTALE),
    "rename": (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EDQUOT, errno.ESTALE),
    "utime": (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EDQUOT, errno.ESTALE),
    "close": (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.ESTALE),
}

# Of the default suite: calls that these scenarios surely make.
_SOME = {
    "upload small files": [Fail("fsync", 1, errno.EIO), Fail("read", 2, errno.EIO), Fail("close", 9, errno.EIO)],
    "download over files": [
        Fail("write", 2, errno.ENOSPC),
        Fail("rename", 2, errno.EACCES),
        Fail("utime", 1, errno.EROFS),
        Fail("close", 14, errno.EDQUOT),
    ],
}


def faults(bench: Bench, scenario: Scenario) -> list[Fail]:
    """Each call with each errno once, where the scenario makes such calls: at one of them, by chance."""
    chance = random.Random(f"{_SEED} {scenario}")
    with bench.trial(scenario) as trial:
        calls = trial.reach().calls
    return [
        Fail(family, chance.randint(1, calls[family]), number)
        for family, numbers in SAYS.items()
        for number in numbers
        if calls[family]
    ]


def fail_each(bench: Bench, scenario: Scenario, chosen: Iterable[Fail], tell: Tell) -> None:
    """Have each of these happen, in a trial of its own; what threads do varies, and a call that did not come comes
    earlier next time.
    """
    wrong: list[str] = []
    todo = list(chosen)
    count = len(todo)
    while todo:
        fault = todo.pop()
        with bench.trial(scenario) as trial:
            ended = trial.run(fault)
            if ended.acted is None and fault.nth > 1:
                todo.append(Fail(fault.family, fault.nth // 2, fault.errno))
                continue
            try:
                assert ended.acted is not None, "it was never called"
                trial.must_tell(ended)
                trial.must_be_sound()
                trial.must_recover()
            except AssertionError as error:
                name = f"{errno.errorcode[fault.errno]} from {fault.family} number {fault.nth}"
                wrong.append(f"{name}: {error}\n    after {ended}")
    tell("row", f"{scenario}: {count} errors of calls, all hit, {len(wrong)} wrong")
    assert not wrong, f"{len(wrong)} of {count} errors:\n" + "\n".join(wrong[:10])


@pytest.mark.parametrize("scenario", [one for one in SCENARIOS if one.name in _SOME], ids=str)
def test_a_call_that_fails_is_told_of_and_harms_nothing_h50(
    bench: Bench, scenario: Scenario, record_property: Tell
) -> None:
    fail_each(bench, scenario, _SOME[scenario.name], record_property)


@pytest.mark.extended
@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_every_call_fails_with_every_errno_once_h50(bench: Bench, scenario: Scenario, record_property: Tell) -> None:
    fail_each(bench, scenario, faults(bench, scenario), record_property)
