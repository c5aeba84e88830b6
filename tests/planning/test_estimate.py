"""Estimates as tables: actions in, requests and money out."""

from __future__ import annotations

from pathlib import Path

import pytest

from sterna.model.actions import Action, Verb
from sterna.model.entry import Entry
from sterna.model.errors import WrongSetting
from sterna.model.plans import Estimate
from sterna.model.units import GIB, MIB
from sterna.planning.estimate import Estimator, Prices, Rate, Route, default_prices, read_prices

DAY_NS = 86_400 * 10**9
NOW_NS = 1_000 * DAY_NS


def parts(size: int) -> int:
    """As a part table would: whole up to 8 MiB, then parts of 8 MiB."""
    return max(1, -(-size // (8 * MIB)))


def entry(size: int, storage_class: str = "", age_days: float = 0) -> Entry:
    return Entry("a", size, NOW_NS - int(age_days * DAY_NS), "", storage_class)


def estimated(
    *actions: Action, route: Route | None = None, listed: int | None = None, prices: Prices | None = None
) -> Estimate:
    estimator = Estimator(route or Route(to_bucket=True), prices or default_prices(), parts, NOW_NS)
    if listed is not None:
        estimator.listed(listed)
    estimator.add(actions)
    return estimator.estimate(Rate(MIB, 100))


def amounts(estimate: Estimate) -> dict[str, float]:
    return {item.what: item.amount for item in estimate.items}


def test_uploads_are_puts_and_large_ones_are_parts() -> None:
    small = Action(Verb.UPLOAD, "a", "new", entry(5))
    large = Action(Verb.UPLOAD, "a", "new", entry(20 * MIB))
    found = estimated(*[small] * 2_000, large)
    assert found.requests == {"put": 2_000, "part": 3, "post": 2, "list": 3}
    assert found.sent_bytes == 10_000 + 20 * MIB
    assert found.cost == pytest.approx(2_008 * 0.005 / 1000)


def test_downloads_are_gets_and_cost_retrieval_and_egress_where_asked() -> None:
    action = Action(Verb.DOWNLOAD, "a", "new", entry(GIB, "GLACIER_IR"))
    estimator = Estimator(Route(to_bucket=False), default_prices(), parts, NOW_NS)
    estimator.add([action])
    assert estimator.requests() == {"get": 128}
    assert amounts(estimator.estimate()) == pytest.approx(
        {"requests that read": 1.28 / 1000, "retrieval from storage classes that charge for it": 0.03}
    )
    assert amounts(estimator.estimate(leaves_provider=True))["data that leaves the provider"] == pytest.approx(0.09)


def test_copies_are_copies() -> None:
    found = estimated(Action(Verb.COPY, "a", "new", entry(MIB)), route=Route(to_bucket=True, storage_class="GLACIER"))
    assert (found.requests, found.copied_bytes, found.sent_bytes) == ({"copy": 1, "list": 1}, MIB, 0)
    assert found.cost == pytest.approx(0.03 / 1000 + 0.005 / 1000)


def test_deletions_cost_nothing_and_are_sent_by_the_thousand() -> None:
    found = estimated(*[Action(Verb.DELETE, "a", "gone", None, entry(GIB))] * 1_001)
    assert found.requests == {"delete": 2}
    assert found.cost == 0
    assert found.monthly == pytest.approx(-1_001 * 0.023)
    local = estimated(Action(Verb.DELETE, "a", "gone", None, entry(GIB)), route=Route(to_bucket=False))
    assert (local.requests, local.monthly) == ({}, 0)


@pytest.mark.parametrize(("age_days", "share"), [(0, 1), (9, 0.9), (89.1, 0.01), (90, 0), (5000, 0), (-1, 1)], ids=str)
def test_what_ends_before_its_least_age_is_paid_for_until_then(age_days: float, share: float) -> None:
    target = entry(GIB, "GLACIER", age_days)
    early = 0.0036 * 3 * share
    for action in (
        Action(Verb.DELETE, "a", "gone", None, target),
        Action(Verb.UPLOAD, "a", "changed", entry(0), target),
    ):
        found = amounts(estimated(action)).get("objects that end before the least age of their storage class", 0)
        assert found == pytest.approx(early)


def test_small_objects_are_charged_as_larger_ones_where_the_class_says_so() -> None:
    found = estimated(
        Action(Verb.UPLOAD, "a", "new", entry(1)), route=Route(to_bucket=True, storage_class="STANDARD_IA")
    )
    assert found.monthly == pytest.approx(131_072 / GIB * 0.0125)


def test_looks_are_heads_and_may_add_more() -> None:
    found = estimated(Action(Verb.LOOK, "a", "unsure", entry(7), entry(7)), Action(Verb.REFUSE, "b", "no", entry(1)))
    assert (found.requests, found.looks, found.looked_bytes, found.sent_bytes) == ({"head": 1}, 1, 7, 0)


def test_listings_are_a_request_for_a_thousand_entries_and_one_for_none() -> None:
    assert estimated(listed=0).requests == {"list": 1}
    assert estimated(listed=1_000).requests == {"list": 1}
    assert estimated(listed=1_001).requests == {"list": 2}


def test_a_class_without_a_price_is_named() -> None:
    found = estimated(Action(Verb.DELETE, "a", "gone", None, entry(1, "SNOW")))
    assert found.unpriced == ["SNOW"]


def test_time_is_that_of_the_bytes_or_of_the_requests() -> None:
    assert estimated(Action(Verb.UPLOAD, "a", "new", entry(5 * MIB))).seconds == pytest.approx(5)
    assert estimated(*[Action(Verb.UPLOAD, "a", "new", entry(0))] * 1000).seconds == pytest.approx(10.01)
    for rate in ((0, 1), (1, 0), (float("nan"), 1)):
        with pytest.raises(ValueError, match="rate"):
            Rate(*rate)


def test_the_table_that_comes_along_says_whose_and_when() -> None:
    prices = default_prices()
    assert prices.source.startswith("https://")
    assert prices.date
    assert {"STANDARD", "STANDARD_IA", "GLACIER", "DEEP_ARCHIVE"} <= prices.storage.keys()


def test_another_table_takes_its_place(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(
        'provider="x"\nsource="y"\ndate="z"\ncurrency="EUR"\nlist_per_1000=1\n'
        "[storage.STANDARD]\nper_gb_month=1\nwrite_per_1000=1000\nread_per_1000=0.5\n"
    )
    found = estimated(Action(Verb.UPLOAD, "a", "new", entry(0)), prices=read_prices(path))
    assert found.currency == "EUR"
    assert found.cost == pytest.approx(1.001)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "provider"),
        ("x=", "Invalid value"),
        ('provider="x"\nsource="y"\ndate="z"\ncurrency="E"\nlist_per_1000=-1\n[storage]', "list_per_1000"),
        ('provider="x"\nsource="y"\ndate="z"\ncurrency="E"\nlist_per_1000=nan\n[storage]', "list_per_1000"),
        ('provider="x"\nsource="y"\ndate="z"\ncurrency="E"\nlist_per_1000=1\ntypo=1\n[storage]', "typo"),
        ('provider="x"\nsource="y"\ndate="z"\ncurrency="E"\nlist_per_1000="1"\n[storage]', "list_per_1000"),
    ],
)
def test_what_is_no_table_is_refused_by_what_is_wrong(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(text)
    with pytest.raises(WrongSetting, match=says) as refused:
        read_prices(path)
    assert str(path) in refused.value.sentence


def test_a_table_that_is_missing_or_no_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(WrongSetting, match="Cannot read the prices"):
        read_prices(tmp_path / "missing")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(WrongSetting, match="no text"):
        read_prices(tmp_path / "binary")
