"""docs/differences.md and the scenarios name each other, and both name the aws-cli that is installed."""

from __future__ import annotations

import re
from pathlib import Path

from tests.differential.aws import PINS
from tests.differential.scenarios import SCENARIOS

_ROOT = Path(__file__).resolve().parent.parent.parent
_DOCUMENT = (_ROOT / "docs" / "differences.md").read_text(encoding="utf-8")


def test_every_difference_has_a_section_and_every_section_a_scenario() -> None:
    named = {scenario.because for scenario in SCENARIOS if scenario.because}
    assert named == set(re.findall(r"^### (.+)$", _DOCUMENT, flags=re.MULTILINE))


def test_a_scenario_names_a_section_exactly_where_something_differs() -> None:
    assert [scenario.name for scenario in SCENARIOS if bool(scenario.because) != bool(scenario.differs)] == []


def test_every_section_says_what_each_of_both_does_and_why() -> None:
    for section in re.split(r"^### ", _DOCUMENT, flags=re.MULTILINE)[1:]:
        name, _, text = section.partition("\n")
        assert "aws s3 sync" in text, name
        assert "sterna sync" in text, name
        assert re.search(r"^Why: ", text, flags=re.MULTILINE), name


def test_no_two_scenarios_have_one_name() -> None:
    names = [scenario.name for scenario in SCENARIOS]
    assert len(names) == len(set(names))
    assert len(names) > 100  # as the document says


def test_it_is_the_aws_cli_of_the_benchmarks_and_of_the_document() -> None:
    ours, theirs = (
        set(re.split(r"\n(?=\S)", path.read_text(encoding="utf-8").strip()))
        for path in (PINS, _ROOT / "benchmarks" / "peers.txt")
    )
    pins = {pin for pin in ours if not pin.startswith("#")}
    assert pins <= theirs
    (version,) = re.findall(r"^awscli==(\d+\.\d+)", PINS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert f"aws-cli {version}." in _DOCUMENT
