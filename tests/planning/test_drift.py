"""Between a plan and its doing the world goes on."""

from __future__ import annotations

import pytest

from sterna.model.actions import Action, Verb
from sterna.model.entry import Entry
from sterna.planning.drift import drift


def entry(size: int = 5, seconds: float = 1, etag: str = "", version: str = "") -> Entry:
    return Entry("a", size, round(seconds * 10**9), etag, "", version)


@pytest.mark.parametrize(
    ("then", "now", "how"),
    [
        (None, None, None),
        (entry(), entry(), None),
        (None, entry(), "has it now, and did not when the plan was made"),
        (entry(), None, "does not have it any more"),
        (entry(5), entry(6), "has another size: 6, planned for 5"),
        (entry(seconds=1), entry(seconds=2), "was changed since"),
        (entry(seconds=1), entry(seconds=1.5), None),
        (entry(seconds=1.25), entry(seconds=1.5), "was changed since"),
        (entry(etag="x"), entry(etag="y"), "has another ETag"),
        (entry(etag="x", seconds=1), entry(etag="x", seconds=9), None),
        (entry(etag="x", version="1"), entry(etag="x", version="2"), "has another version"),
        (entry(etag="x", version="1"), entry(etag="x"), None),
    ],
)
def test_what_changed_since_the_plan_is_told(then: Entry | None, now: Entry | None, how: str | None) -> None:
    planned = Action(Verb.COPY, "a", "new", then, entry())
    assert drift(planned, now, entry()) == (how and f"the source {how}")
    planned = Action(Verb.COPY, "a", "new", entry(), then)
    assert drift(planned, entry(), now) == (how and f"the destination {how}")
