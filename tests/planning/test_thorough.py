"""What a thorough plan compares by its content, as lines."""

from __future__ import annotations

import pytest

from sterna.model.entry import Entry
from sterna.model.synced import Seen, Synced
from sterna.planning.compare import plan_uploads
from sterna.planning.known import SAME, AllSame, Known
from sterna.planning.merge import Pair
from sterna.planning.thorough import kept_of, thorough

NOW_NS = 10**18
FILE = Entry("k", 3, 10**17, ctime_ns=5, inode=6)
OBJECT = Entry("k", 3, 2 * 10**17, "etag")
ROW = Synced("k", Seen(3, 10**17, ctime_ns=5, inode=6), Seen(3, 2 * 10**17, "etag"))


def lines(pair: Pair, known: Known | None) -> str:
    page = [pair]
    plan = thorough(page, plan_uploads(page, NOW_NS, known=known), known)
    assert plan.kept == len(kept_of(page, plan))
    said = [f"{action.verb.value}: {action.because}" for action in plan.actions]
    return "; ".join(said + ["kept"] * plan.kept + ["found"] * len(plan.found))


EMPTY = Entry("k", 0, 10**17, ctime_ns=5, inode=6), Entry("k", 0, 2 * 10**17, "etag")
YOUNGER = Entry("k", 3, 3 * 10**17, ctime_ns=5, inode=6)
UNPROVED = "compare: no earlier run has seen that it is the same, so the content is compared"


@pytest.mark.parametrize(
    ("pair", "known", "said"),
    [
        ((FILE, None), {}, "upload: new"),
        ((FILE, Entry("k", 4, 0, "etag")), {}, "upload: the sizes differ: 3 at the source, 4 at the destination"),
        ((None, OBJECT), {}, ""),
        ((FILE, OBJECT), {}, UNPROVED),
        ((FILE, OBJECT), None, UNPROVED),
        ((YOUNGER, OBJECT), {}, UNPROVED),
        ((FILE, OBJECT), {"k": SAME}, "kept"),
        ((FILE, OBJECT), AllSame(k=SAME), "kept"),
        ((FILE, OBJECT), {"k": ROW}, "kept"),
        ((FILE, Entry("k", 3, 0, "other")), {"k": ROW}, "compare: the object was replaced since it was last synced"),
        ((YOUNGER, OBJECT), {"k": ROW}, "compare: the file has another time than when it was last synced"),
        (EMPTY, {}, "kept; found"),
        (EMPTY, None, "kept"),
    ],
)
def test_only_what_was_proved_or_holds_nothing_is_kept(pair: Pair, known: Known | None, said: str) -> None:
    assert lines(pair, known) == said


def test_a_page_of_which_all_is_known_costs_nothing() -> None:
    known = AllSame(k=SAME)
    plan = plan_uploads([(FILE, OBJECT)], NOW_NS, known=known)
    assert thorough([(FILE, OBJECT)], plan, known) is plan
