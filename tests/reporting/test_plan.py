"""A plan in words: deletions first, and every sum of money an estimate."""

from __future__ import annotations

from sterna.model.actions import Action, Verb
from sterna.model.entry import Entry
from sterna.model.plans import Estimate, Group, Money, PlanSummary
from sterna.reporting.plan import estimate_lines, plan_lines


def action(verb: Verb, key: str, size: int) -> Action:
    entry = Entry(key, size, 0)
    return Action(verb, key, "because", None if verb is Verb.DELETE else entry, entry)


def summary(verbs: dict[str, Group], **more: object) -> PlanSummary:
    empty: dict[str, object] = {
        "reasons": {}, "other_reasons": Group(), "folders": {}, "other_folders": Group(), "sizes": {},
        "largest": [], "largest_deletions": [], "first_deletions": [],
    }  # fmt: skip
    return PlanSummary(verbs=verbs, **{**empty, **more})  # type: ignore[arg-type]


def test_the_deletions_come_first_and_keys_cannot_command_a_terminal() -> None:
    first, second = action(Verb.DELETE, "a\x1b[2J", 2048), action(Verb.DELETE, "b", 1)
    lines = plan_lines(
        summary(
            {"upload": Group(1, 5), "delete": Group(2, 2049)},
            largest_deletions=[first],
            first_deletions=[first, second],
            folders={"": Group(1, 5), "x\n/": Group(2, 0)},
            other_folders=Group(3, 1024),
            sizes={4096: Group(1, 1), 1: Group(1, 1), 0: Group(1, 0)},
            largest=[action(Verb.UPLOAD, "c", 5)],
        )
    )
    assert lines == [
        "deletions: 2 objects, 2.0 KiB",
        "  delete a\\x1b[2J (2.0 KiB): because",
        "  delete b (1 B): because",
        "actions:",
        "  upload: 1 object, 5 B",
        "  delete: 2 objects, 2.0 KiB",
        "reasons:",
        "folders:",
        "  (no folder): 1 object, 5 B",
        "  x\\x0a/: 2 objects, 0 B",
        "  other: 3 objects, 1.0 KiB",
        "sizes:",
        "  from 4.0 KiB: 1 object, 1 B",
        "  not empty: 1 object, 1 B",
        "  empty: 1 object, 0 B",
        "largest:",
        "  upload c (5 B): because",
    ]


def test_a_long_table_is_cut_and_its_rest_counted() -> None:
    lines = plan_lines(summary({"upload": Group(12, 12)}, folders={f"{n}/": Group(1, 1) for n in range(12)}))
    assert "  other: 2 objects, 2 B" in lines
    assert "  10/: 1 object, 1 B" not in lines


def test_an_empty_plan_says_so() -> None:
    assert plan_lines(summary({})) == ["nothing to do"]


def estimate(**more: object) -> Estimate:
    plain: dict[str, object] = {
        "requests": {"put": 2000, "list": 2}, "sent_bytes": 0, "received_bytes": 0, "copied_bytes": 0, "looks": 0,
        "looked_bytes": 0, "items": [], "monthly": 0.0, "unpriced": [], "currency": "USD", "prices_of": "S3",
        "prices_date": "2025",
    }  # fmt: skip
    return Estimate(**{**plain, **more})  # type: ignore[arg-type]


def test_every_line_of_an_estimate_says_that_it_is_one() -> None:
    lines = estimate_lines(
        estimate(items=[Money("requests", 1234.5), Money("rest", 0.001)], monthly=-3.0, looks=2, looked_bytes=1024,
                 unpriced=["SNOW"], seconds=75.0)
    )  # fmt: skip
    assert lines == [
        "requests, estimate: 2 LIST, 2,000 PUT",
        "estimate leaves out what 2 looks may add: up to 1.0 KiB to move",
        "time, estimate: 0:01:15, at an assumed speed",
        "cost, estimate: 1,234.50 USD",
        "  estimate, requests: 1,234.50 USD",
        "  estimate, rest: under 0.01 USD",
        "storage, estimate: 3.00 USD less each month",
        "estimate leaves out storage class SNOW: there is no price for it",
        "estimate by prices of S3, 2025",
    ]
    assert all("estimate" in line for line in lines)


def test_where_nothing_is_asked_of_a_server_nothing_is_estimated() -> None:
    assert estimate_lines(estimate(requests={})) == []
    more = estimate_lines(estimate(seconds=1.0, monthly=3.0))
    assert "time, estimate: 0:00:01, at an assumed speed" in more
    assert "storage, estimate: 3.00 USD more each month" in more
