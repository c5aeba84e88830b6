"""The options of a plan on their way into its header and back."""

from __future__ import annotations

from typing import Any

import pytest

from sterna.cli import cmd_apply, cmd_plan, cmd_sync, planned
from sterna.model.errors import WrongSetting

_NOT_PLANNED = {"dry_run", "manifest", "manifest_file", "sha256"}
# What is said anew to each run: sides, how much of the machine, and what the plan already is the outcome of.
_SAID_ANEW = {
    "source", "destination", "output", "prices", "sse_c_key_file", "no_fsync", "workers", "processes", "max_memory",
    "part_size",
    "exclude", "include", "filter_from", "files_from", "min_size", "max_size", "newer_than", "older_than",
    "storage_class_is",
}  # fmt: skip


def unsaid(**given: Any) -> dict[str, Any]:
    values = planned.unsaid(cmd_plan.command)
    return values | given


def test_plan_takes_what_sync_takes() -> None:
    ours = {parameter.name for parameter in cmd_plan.command.params}
    assert ours == {parameter.name for parameter in cmd_sync.command.params} - _NOT_PLANNED | {"output", "prices"}


def test_every_option_of_plan_goes_along_or_is_said_anew() -> None:
    """A new option must be put with the one or the other."""
    sides = {parameter.name for parameter in cmd_apply.command.params} - {"symlinks", "file"}
    options = {parameter.name: planned.is_kept(parameter) for parameter in cmd_plan.command.params}
    undecided = {name for name, kept in options.items() if not kept} - _SAID_ANEW - sides
    assert undecided == set(), f"neither kept by cli/planned.py nor said anew: {undecided}"
    assert {"delete", "storage_class", "symlinks", "compare", "trash", "max_delete"} <= {
        name for name, kept in options.items() if kept
    }


def test_options_come_back_as_they_were() -> None:
    given = unsaid(
        delete=True, metadata=(("a", "1"), ("b", "é")), storage_class="GLACIER", max_delete="20%", workers=7, region="x"
    )
    words = planned.words(cmd_plan.command, given)
    assert set(words) == {"delete", "metadata", "storage_class", "max_delete"}
    back = planned.values(cmd_plan.command, words, {"workers": None, "symlinks": None, "sse_c_key_file": None})
    assert {name: back[name] for name in words} == {name: given[name] for name in words}
    assert (back["workers"], back["region"], back["exclude"]) == (None, None, ())
    assert list(planned.option_texts(words)) == [
        "--delete", "--max-delete 20%", "--storage-class GLACIER", "--metadata a=1 --metadata b=é",
    ]  # fmt: skip


def test_the_file_of_a_key_is_not_named_in_a_plan() -> None:
    words = planned.words(cmd_plan.command, unsaid(sse_c_key_file="/secret/key"))
    assert words == {"sse_c_key_file": "true"}
    assert list(planned.option_texts(words)) == ["--sse-c-key-file"]


@pytest.mark.parametrize(
    ("words", "given", "says"),
    [
        ({"symlinks": '"follow"'}, {"symlinks": "skip"}, "--symlinks skip contradicts .* --symlinks follow"),
        ({}, {"symlinks": "follow"}, "--symlinks follow contradicts the plan, which was made without"),
        ({"sse_c_key_file": "true"}, {}, "does not hold the key; add it"),
        ({}, {"sse_c_key_file": "key"}, "made without --sse-c-key-file"),
        ({"telepathy": "true"}, {}, "--telepathy, which this Sterna does not know"),
    ],
)
def test_what_contradicts_is_refused_by_name(words: dict[str, str], given: dict[str, Any], says: str) -> None:
    with pytest.raises(WrongSetting, match=says):
        planned.values(cmd_plan.command, words, {"symlinks": None, "sse_c_key_file": None} | given)


def test_the_same_said_again_is_no_contradiction() -> None:
    given = {"symlinks": "follow", "sse_c_key_file": None}
    assert planned.values(cmd_plan.command, {"symlinks": '"follow"'}, given)["symlinks"] == "follow"
