"""A stream of actions as a page, in bounded memory."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterna.model.actions import Action, Verb
from sterna.model.entry import Entry
from sterna.model.plans import Group
from sterna.planning.summary import Groups, Summarizer, reason
from tests.planning.plans import deletion, plans, upload


def test_a_plan_is_summarised_by_verb_reason_folder_and_size() -> None:
    summarizer = Summarizer()
    differs = Action(Verb.UPLOAD, "b/2", "the sizes differ: 6 here, 5 there", Entry("b/2", 6, 0), Entry("b/2", 5, 0))
    summarizer.add([upload("a", 0), upload("b/1", 5_000), differs])
    summarizer.add([deletion("b/0", 70_000), deletion("c/x/y", 2)])
    summary = summarizer.summary()
    assert summary.actions == 5
    assert summary.verbs == {"delete": Group(2, 70_002), "upload": Group(3, 5_006)}
    assert summary.reasons == {
        "the source does not have it": Group(2, 70_002),
        "new": Group(2, 5_000),
        "the sizes differ": Group(1, 6),
    }
    assert summary.folders == {"b/": Group(3, 75_006), "c/": Group(1, 2), "": Group(1, 0)}
    assert summary.sizes == {65_536: Group(1, 70_000), 4_096: Group(1, 5_000), 1: Group(2, 8), 0: Group(1, 0)}
    assert [action.key for action in summary.largest] == ["b/1", "b/2", "a"]
    assert [action.key for action in summary.largest_deletions] == ["b/0", "c/x/y"]
    assert [action.key for action in summary.first_deletions] == ["b/0", "c/x/y"]


def test_the_largest_are_kept_and_the_first_of_equal_ones() -> None:
    summarizer = Summarizer(largest=2)
    summarizer.add([upload(f"{number:02}", number % 5) for number in range(20)])
    assert [action.key for action in summarizer.summary().largest] == ["04", "09"]
    none = Summarizer(largest=0)
    none.add([upload("a"), deletion("b")])
    assert none.summary().largest == none.summary().largest_deletions == []


def test_reasons_with_details_are_one_reason() -> None:
    assert reason(Action(Verb.UPLOAD, "a", "the sizes differ: 1 here, 2 there")) == "the sizes differ"
    assert reason(Action(Verb.UPLOAD, "a", "changed 3 times")) == "changed … times"
    assert reason(Action(Verb.UPLOAD, "a", "same size, and CRC32C differs")) == "same size, and CRC32C differs"
    assert reason(Action(Verb.REFUSE, "a", "x needs a folder where y is a file")) == "this key cannot be carried"


def test_a_refused_or_kept_key_is_none_of_the_largest() -> None:
    summarizer = Summarizer()
    summarizer.add([Action(verb, "a", "", Entry("a", 9, 0)) for verb in (Verb.REFUSE, Verb.KEEP)])
    assert summarizer.summary().largest == []


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(plans(), st.integers(1, 4))
def test_nothing_is_lost_in_a_summary(actions: list[Action], most: int) -> None:
    summarizer = Summarizer(folders=most, reasons=most, largest=most)
    summarizer.add(actions)
    summary = summarizer.summary()
    sizes = [(one.target if one.verb is Verb.DELETE else one.source) for one in actions]
    whole = Group(len(actions), sum(one.size for one in sizes if one is not None))
    for groups, other in (
        (summary.verbs, Group()),
        (summary.sizes, Group()),
        (summary.reasons, summary.other_reasons),
        (summary.folders, summary.other_folders),
    ):
        found = [*groups.values(), other]
        assert Group(sum(one.actions for one in found), sum(one.bytes for one in found)) == whole
    assert len(summary.folders) <= most
    assert len(summary.reasons) <= most


def test_more_names_than_are_kept_go_to_the_others() -> None:
    groups: Groups[str] = Groups(2)
    for name, size in [("a", 1), ("b", 9), ("c", 5), ("d", 2), ("e", 3), ("b", 1)]:
        groups.add(name, size)
        assert len(groups._groups) <= 4
    assert groups.largest() == {"b": Group(2, 10), "c": Group(1, 5)}
    assert groups.other == Group(3, 6)
