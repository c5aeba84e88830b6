"""The tables of docs/filters.md: what is said, what it leaves out, what it takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from sterna.model.units import parse_size
from sterna.planning.filters import Filter
from sterna.planning.moments import parse_moment
from sterna.planning.rules import Group, file_rules, in_order, option_rule

_DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "filters.md").read_text(encoding="utf-8")


def _rows() -> Iterator[tuple[str, list[str], list[str], list[str]]]:
    for line in _DOCUMENT.partition("## Where others")[0].splitlines():
        cells = line.strip("|").split(" | ") if line.startswith("| `") else []
        if len(cells) == 3 and re.match(r"`(--(in|ex)clude|[-+#] )", cells[0].strip()):
            said, out, taken = (re.findall(r"`([^`]+)`", cell) for cell in cells)
            if out:
                yield " ".join(said), said, out, taken


def _groups(said: list[str]) -> list[Group]:
    if not said[0].startswith("--"):
        return [file_rules("\n".join(said).encode(), "rules")]
    words = shlex.split(said[0])
    return [option_rule(option, pattern) for option, pattern in zip(words[::2], words[1::2], strict=True)]


_EXAMPLES = list(_rows())


def test_the_document_has_its_examples() -> None:
    assert len(_EXAMPLES) == 32


@pytest.mark.parametrize(("said", "out", "taken"), [row[1:] for row in _EXAMPLES], ids=[row[0] for row in _EXAMPLES])
def test_an_example_is_so(said: list[str], out: list[str], taken: list[str]) -> None:
    chosen = Filter(rules=in_order(_groups(said)))
    assert [key for key in out if chosen.takes_key(key)] == []
    assert [key for key in taken if not chosen.takes_key(key)] == []


def test_its_times_and_sizes_can_be_read() -> None:
    told = _DOCUMENT[_DOCUMENT.index("A time is") : _DOCUMENT.index("On two sides")]
    times = re.findall(r"`([^`]+)`", told)
    assert len(times) == 11
    for text in times:
        assert parse_moment(text, 10**18).ns
    for text in re.findall(r"`--m\w\w-size (\w+)`", _DOCUMENT):
        assert parse_size(text)
