"""What an upload leaves in the bucket because the next run sees through it, the plan of that run does carry again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sterna.model.actions import Verb
from sterna.model.entry import Entry
from sterna.moving.upload import is_noticed
from sterna.planning.compare import difference, plan_uploads
from sterna.stores.look import Look

S = 10**9
SIZES = st.integers(1, 3)
NEAR = st.integers(1000, 1004)  # seconds, so that they often meet
TIMES = st.builds(
    lambda second, fraction: second * S + fraction, NEAR, st.sampled_from([0, 1, 999, 1000, S // 2, S - 1])
)


def _look(size: int, stored_s: int, kept_ns: int | None) -> Look:
    return Look(Entry("a", size, stored_s * S, "etag"), kept_ns, "", "", False, True, "", {}, {})


def _is_carried(file: Entry, found: Look) -> bool:
    """As ``plan_uploads`` and the look that it may ask for decide."""
    actions = plan_uploads([(file, found.entry)], now_ns=2000 * S).actions
    if not actions or actions[0].verb is not Verb.LOOK:
        return bool(actions)
    return difference(Verb.UPLOAD, file, found.entry, found.entry, found.mtime_ns) is not None


@given(SIZES, TIMES, SIZES, NEAR, st.none() | TIMES)
def test_H40_what_is_called_noticed_is_carried(
    size: int, mtime_ns: int, stored_size: int, stored_s: int, kept_ns: int | None
) -> None:
    file, found = Entry("a", size, mtime_ns), _look(stored_size, stored_s, kept_ns)
    if is_noticed(file, found):
        assert _is_carried(file, found)


@pytest.mark.parametrize(
    "size, mtime_ns, expected",
    [
        (10, 1000 * S + 5, False),  # the file as it was a second before it was stored
        (9, 1000 * S + 5, False),  # perhaps in the middle of being written anew
        (11, 1000 * S + 5, True),
        (10, 1001 * S + 7_000, True),
        (10, 1001 * S + 5_000, False),  # the time that was kept
        (10, 1001 * S, False),
        (10, 1002 * S, True),
    ],
)
def test_H40_the_size_and_the_time_tell_an_older_version(size: int, mtime_ns: int, expected: bool) -> None:
    assert is_noticed(Entry("a", size, mtime_ns), _look(10, 1001, 1001 * S + 5_000)) is expected
