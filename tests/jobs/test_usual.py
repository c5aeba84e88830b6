"""What is usual between two places, run after run."""

from __future__ import annotations

import msgspec

from sterna.jobs.usual import Usual


def count(usual: Usual, filters: str = "") -> int | None:
    return usual.remembered(filters).source_entries


def test_H75_counts_are_those_of_the_same_filters() -> None:
    usual = Usual().after(Usual(filters="all"), 100, could_delete=False)
    usual = usual.after(Usual(filters="some"), 10, could_delete=False)
    assert (count(usual, "all"), count(usual, "some"), count(usual, "others")) == (100, 10, None)
    usual = usual.after(Usual(filters="some"), 8, could_delete=True)
    assert (count(usual, "all"), count(usual, "some"), usual.filters) == (100, 8, "some")


def test_H75_only_a_run_that_could_delete_lowers_the_measure() -> None:
    usual = Usual().after(Usual(filters="all"), 100, could_delete=True)
    assert count(usual.after(Usual(filters="all"), 50, could_delete=False), "all") == 100
    assert count(usual.after(Usual(filters="all"), 150, could_delete=False), "all") == 150
    assert count(usual.after(Usual(filters="all"), 50, could_delete=True), "all") == 50


def test_counts_of_the_last_filters_only_are_kept() -> None:
    usual = Usual()
    for number in range(40):
        usual = usual.after(Usual(filters=f"f{number}"), number, could_delete=False)
    assert len(usual.counts) == 16
    assert (count(usual, "f39"), count(usual, "f0")) == (39, None)


def test_H57_what_cannot_be_read_is_lost() -> None:
    usual = Usual().after(Usual(filters="all"), 100, could_delete=True)
    assert Usual.read(msgspec.json.encode(usual).decode()) == usual
    assert Usual.read("") == Usual()
    assert Usual.read('{"counts": 7').is_lost
    assert Usual.read('{"counts": "many"}').is_lost
