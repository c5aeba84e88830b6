"""Options of what is looked at: the command line in, one filter or one sentence out."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from sterna.cli.filters import filters_of
from sterna.cli.options import filter_options, verb
from sterna.jobs.settings import Settings
from sterna.model.entry import Entry
from sterna.model.errors import WrongSetting
from sterna.planning.filters import EVERYTHING, Filter

NOW_NS = 10**18


def values_of(*arguments: str) -> dict[str, Any]:
    """What click makes of a command line."""
    found: dict[str, Any] = {}

    @verb("Take filters.")
    @click.argument("folder", required=False)
    @click.option("--other", multiple=True)
    @filter_options
    def command(**values: Any) -> int:
        found.update(values)
        return 0

    result = CliRunner().invoke(command, list(arguments), standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return found


def filter_of(*arguments: str, source_is_bucket: bool = True, input_is_taken: bool = False) -> Filter:
    values = values_of(*arguments)
    return filters_of(values, now_ns=NOW_NS, source_is_bucket=source_is_bucket, input_is_taken=input_is_taken)


def refusal(*arguments: str, source_is_bucket: bool = True, input_is_taken: bool = False) -> str:
    with pytest.raises(WrongSetting) as caught:
        filter_of(*arguments, source_is_bucket=source_is_bucket, input_is_taken=input_is_taken)
    return caught.value.sentence


def test_nothing_said_is_everything() -> None:
    assert filter_of() == EVERYTHING == Settings().filters


def test_the_order_of_the_command_line_is_kept(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.write_text("- x\n- y\n", encoding="utf-8")
    chosen = filter_of(
        "--exclude", "1", "--other", "o", "--include=2", "folder", "--filter-from", str(rules), "--include", "3",
        "--min-size", "1", "--exclude", "4", "--exclude=5",
    )  # fmt: skip
    assert [rule.text for rule in chosen.rules] == [
        *("--exclude 5", "--exclude 4", "--include 3", "- x", "- y", "--include 2", "--exclude 1")
    ]
    assert [rule.origin for rule in chosen.rules][3:5] == [f"{rules}:1", f"{rules}:2"]


def test_a_pattern_may_look_like_an_option() -> None:
    chosen = filter_of("--exclude", "--include", "--exclude=--exclude")
    assert [rule.text for rule in chosen.rules] == ["--exclude --exclude", "--exclude --include"]


def test_limits_arrive() -> None:
    chosen = filter_of(
        "--min-size", "10KiB", "--max-size", "1M", "--newer-than", "7d", "--older-than", "1d",
        "--storage-class-is", "GLACIER", "--storage-class-is", "warm",
    )  # fmt: skip
    assert (chosen.min_size, chosen.max_size) == (10240, 1048576)
    assert chosen.newer_than is not None
    assert chosen.newer_than.ns == NOW_NS - 7 * 86400 * 10**9
    assert chosen.older_than is not None
    assert chosen.older_than.text == "1d"
    assert chosen.storage_classes == {"GLACIER", "warm"}
    assert not chosen.takes(Entry("a", 10240, NOW_NS))


def test_lists_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "list").write_bytes(b"./a\nb/c\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"d\0e\nf\0")))
    chosen = filter_of("--files-from", str(tmp_path / "list"), "--files-from", "-")
    assert chosen.listed == frozenset(["a", "b/c", "d", "e\nf"])


def test_rules_come_from_standard_input_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"- a\n")))
    assert filter_of("--filter-from", "-").explain("a").origin == "standard input:1"


def test_standard_input_is_read_once() -> None:
    assert refusal("--filter-from", "-", input_is_taken=True) == (
        "--filter-from -: standard input is taken by the source already; give a file."
    )


def test_two_files_cannot_both_be_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\n")))
    assert "standard input is taken by --files-from - already" in refusal("--filter-from", "-", "--files-from", "-")


@pytest.mark.parametrize("option", ["--filter-from", "--files-from"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, option: str) -> None:
    missing = tmp_path / "none"
    assert refusal(option, str(missing)) == f"{option} {missing} cannot be read: {os.strerror(2)}."
    assert refusal(option, str(tmp_path)) == f"{option} {tmp_path} cannot be read: {os.strerror(21)}."


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--newer-than", "soon"], "--newer-than soon: it is no duration and no date; write for example 12h, 7d,"),
        (["--older-than", "2026-02-30"], "--older-than 2026-02-30: there is no such date."),
        (["--exclude", ""], "--exclude : a pattern is missing; write for example '*.tmp'."),
        (["--include", "a*"], "--include a* changes nothing"),
        (["--min-size", "2M", "--max-size", "1M"], "--min-size 2.0 MiB is more than --max-size 1.0 MiB"),
        (["--storage-class-is", "glacier"], "--storage-class-is glacier: there is no such class; write GLACIER."),
        (["--storage-class-is", ""], "--storage-class-is needs the name of a class, for example GLACIER."),
    ],
)
def test_a_wrong_value_is_one_sentence(arguments: list[str], says: str) -> None:
    assert says in refusal(*arguments)


def test_a_class_is_for_a_source_that_has_one() -> None:
    assert refusal("--storage-class-is", "GLACIER", source_is_bucket=False) == (
        "--storage-class-is is for a source in a bucket, and files have no class; leave it off."
    )


def test_a_wrong_size_is_clicks_to_refuse() -> None:
    with pytest.raises(click.BadParameter, match="'many' is no size"):
        values_of("--max-size", "many")


def test_the_help_has_them_under_their_heading() -> None:
    @verb("Take filters.")
    @filter_options
    def command(**values: Any) -> int:
        return 0

    said = CliRunner().invoke(command, ["--help"], terminal_width=100).output
    assert "What is looked at; the rest is invisible on both sides:" in said
    for option in ("--exclude PATTERN", "--filter-from FILE", "--newer-than TIME", "--storage-class-is CLASS"):
        assert option in said
