"""What a run that was cut off had in hand is looked into, and nothing else."""

from __future__ import annotations

from sterna.model.actions import Action, Verb
from sterna.model.entry import Entry
from sterna.planning.compare import Plan
from sterna.planning.doubt import CUT_OFF, NO_HEADERS, Doubts, doubted
from sterna.planning.known import GUESSED, SAME
from sterna.planning.merge import Pair


def pair(key: str, size: int = 5) -> Pair:
    return Entry(key, size, 1), Entry(key, size, 2, "etag")


PAGE = [pair("a"), pair("b"), pair("c"), (Entry("new", 5, 1), None), (None, Entry("old", 5, 1)), pair("empty", 0)]
NEW = Action(Verb.UPLOAD, "new", "new", PAGE[3][0])
PLAN = Plan([NEW], 4, 15, [PAGE[0], PAGE[1]])


def test_what_is_kept_and_in_doubt_is_compared_by_its_content_h54() -> None:
    plan = doubted(PAGE, PLAN, {}, Doubts({"b", "new", "old", "empty"}), Verb.UPLOAD)
    assert plan.actions == [NEW, Action(Verb.COMPARE, "b", CUT_OFF, *PAGE[1])]
    assert (plan.kept, plan.kept_bytes, list(plan.found)) == (3, 10, [PAGE[0]])


def test_what_a_run_that_ended_has_seen_is_in_no_doubt() -> None:
    assert doubted(PAGE, PLAN, {"b": SAME}, Doubts({"b"}), Verb.UPLOAD) is PLAN
    assert doubted(PAGE, PLAN, {"b": GUESSED}, Doubts({"b"}), Verb.UPLOAD).actions[1:] != []


def test_between_buckets_both_are_looked_at() -> None:
    plan = doubted(PAGE, PLAN, None, Doubts({"a"}), Verb.COPY)
    assert plan.actions[1] == Action(Verb.LOOK, "a", CUT_OFF, *PAGE[0])


def test_what_nobody_saw_the_headers_of_is_brought_again() -> None:
    look = Action(Verb.LOOK, "c", "times", *PAGE[2])
    plan = doubted(
        PAGE, PLAN._replace(actions=[NEW, look], kept=3, kept_bytes=10), {"c": SAME}, Doubts((), {"c"}), Verb.UPLOAD
    )
    assert plan.actions == [NEW, Action(Verb.UPLOAD, "c", NO_HEADERS, *PAGE[2])]
    assert (plan.kept, plan.kept_bytes) == (3, 10)
