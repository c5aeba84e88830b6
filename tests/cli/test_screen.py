"""The live display: figures in, lines that fit out."""

from __future__ import annotations

import pytest

from sterna.cli.screen import display_lines
from sterna.model.events import Tally
from sterna.model.units import MIB
from sterna.reporting.meter import Reading

TALLY = Tally(
    planned_objects=20_000,
    planned_bytes=80 * MIB,
    ended_objects=5002,
    done_objects=5000,
    moved_bytes=20 * MIB,
    failed_objects=2,
    retries=3,
    in_flight=7,
    lanes=64,
    limited_by="network",
)
READING = Reading(elapsed_s=10, now=2 * MIB, mean=MIB, peak=3 * MIB, left_s=60, fraction=0.25)


def test_a_bar_and_the_figures_below_it() -> None:
    assert display_lines(TALLY, READING, 81) == [
        "━" * 18 + "─" * 56 + "  25 %",
        "5,002 of 20,000+ objects  20.0 MiB of 80.0 MiB+  2.0 MiB/s  mean 1.0 MiB/s",
        "0:01:00 left  2 failed  3 retries  7 of 64 lanes  limited by network",
    ]


@pytest.mark.parametrize("width", range(1, 200))
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    for fraction in (None, 0.0, 0.5, 1.0):
        lines = display_lines(TALLY, Reading(fraction=fraction, left_s=1e9), width)
        assert len(lines) <= 4
        assert all(len(line) <= max(1, width - 1) for line in lines)


def test_a_terminal_without_unicode_gets_signs_it_has() -> None:
    assert display_lines(TALLY, READING, 21, plain=True)[0] == "###-----------  25 %"


def test_before_anything_is_known_the_bar_is_empty() -> None:
    assert display_lines(Tally(), Reading(), 11) == ["─" * 10, "listing, 0"]
