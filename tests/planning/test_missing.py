"""What a list names and no listing shows is found, and nothing else."""

from __future__ import annotations

import pytest

from sterna.model.entry import Entry, Trouble
from sterna.planning.filters import Filter
from sterna.planning.missing import Missing
from sterna.planning.rules import in_order, option_rule


def missing(listed: str, there: str = "", troubles: tuple[Trouble, ...] = (), **more: object) -> str:
    rules = in_order([option_rule("--exclude", str(more["exclude"]))]) if more else ()
    found = Missing(Filter(rules=rules, listed=frozenset(listed.split())))
    for key in there.split():
        found.see([Entry(key, 1, 1)])
    found.see([], troubles)
    return " ".join(found.keys())


@pytest.mark.parametrize(
    "listed, there, left",
    [
        ("a b", "a b c", ""),
        ("a b", "c", "a b"),
        ("c /b a", "", "/b a c"),
        (". a d d/e", "a d/e", ""),  # as find lists them
        ("d/ d/e", "d/e", ""),
        ("d d-e", "d-e", "d"),
        ("d d/e", "", "d/e"),
        ("", "a", ""),
    ],
)
def test_what_is_left_of_a_list(listed: str, there: str, left: str) -> None:
    assert missing(listed, there) == left


def test_what_rules_leave_out_is_not_missed() -> None:
    assert missing("a.txt b.bak", exclude="*.bak") == "a.txt"


def test_what_is_in_trouble_is_named_already() -> None:
    assert missing("a d/b d/c/e dd", troubles=(Trouble("a", "a pipe"), Trouble("d", "closed", subtree=True))) == "dd"
