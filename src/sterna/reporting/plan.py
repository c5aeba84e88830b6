"""Turn the summary and the estimate of a plan into lines, the deletions first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sterna.model.actions import Action, Verb
from sterna.model.events import Summary
from sterna.model.plans import Estimate, Group, PlanSummary, Review
from sterna.model.units import duration_words, printable, size_words
from sterna.reporting.log import iso_time
from sterna.reporting.summary import NAMED, verdict
from sterna.reporting.words import count_words, failure_line

_ROWS = 10  # of each table; the file has the rest

_OPERATIONS = {
    "put": "PUT",
    "copy": "COPY",
    "post": "begin and complete of multipart uploads",
    "part": "parts",
    "list": "LIST",
    "get": "GET",
    "head": "HEAD",
    "delete": "DeleteObjects",
}


def plan_lines(summary: PlanSummary) -> list[str]:
    """What a plan would do: its deletions, then all by verb, reason and folder, and the largest by name."""
    if not summary.actions:
        return ["nothing to do"]
    lines = []
    if deletions := summary.verbs.get(Verb.DELETE.value):
        lines.append(f"deletions: {_group(deletions)}")
        lines += [_named(action) for action in summary.largest_deletions]
        named = {action.key for action in summary.largest_deletions}
        lines += [_named(action) for action in summary.first_deletions if action.key not in named]
    lines += _table("actions", summary.verbs, Group())
    lines += _table("reasons", summary.reasons, summary.other_reasons)
    lines += _table("folders", {name or "(no folder)": group for name, group in summary.folders.items()},
                    summary.other_folders)  # fmt: skip
    lines += _table("sizes", {_size_class(least): group for least, group in summary.sizes.items()}, Group())
    if summary.largest:
        lines.append("largest:")
        lines += [_named(action) for action in summary.largest]
    return lines


def estimate_lines(estimate: Estimate) -> list[str]:
    """Requests, cost and time, each line with the word estimate in it; the last says by whose prices."""
    if not estimate.requests and not estimate.items:
        return []
    counts = [
        f"{count:,} {_OPERATIONS.get(operation, operation)}" for operation, count in sorted(estimate.requests.items())
    ]
    lines = [f"requests, estimate: {', '.join(counts)}"]
    if estimate.looks:
        size = size_words(estimate.looked_bytes)
        lines.append(f"estimate leaves out what {count_words(estimate.looks, 'look')} may add: up to {size} to move")
    if estimate.seconds is not None:
        rate = "at an assumed speed"
        if estimate.bytes_per_s:
            speed = size_words(round(estimate.bytes_per_s))
            rate = f"at an assumed {speed}/s and {estimate.requests_per_s:,.0f} requests a second"
        lines.append(f"time, estimate: {duration_words(estimate.seconds)}, {rate}")
    if not estimate.prices_of:
        return [*lines, "cost: no estimate, since nothing says what this server charges; --prices FILE would"]
    lines.append(f"cost, estimate: {_money(estimate.cost, estimate.currency)}")
    lines += [f"  estimate, {item.what}: {_money(item.amount, estimate.currency)}" for item in estimate.items]
    if round(estimate.monthly, 2):
        more = "more" if estimate.monthly > 0 else "less"
        lines.append(f"storage, estimate: {_money(abs(estimate.monthly), estimate.currency)} {more} each month")
    for name in estimate.unpriced:
        lines.append(f"estimate leaves out storage class {printable(name)}: there is no price for it")
    lines.append(f"estimate by prices of {printable(estimate.prices_of)}, {printable(estimate.prices_date)}")
    return lines


def review_lines(review: Review) -> list[str]:
    """All that there is to say of a plan, what stays as it is last."""
    lines = [*plan_lines(review.summary), *estimate_lines(review.estimate)]
    return [*lines, f"kept: {_group(Group(review.kept, review.kept_bytes))}"] if review.kept else lines


def action_line(action: Action) -> str:
    """``upload notes.txt (12 B): new``: what a dry run says, without its "would"."""
    return printable(f"{action.verb.value} {action.key} ({size_words(action.bytes_concerned)}): {action.because}")


def _table(title: str, groups: Mapping[str, Group], other: Group) -> list[str]:
    rows = list(groups.items())
    rest = Group(other.actions, other.bytes)
    for _, group in rows[_ROWS:]:
        rest.actions += group.actions
        rest.bytes += group.bytes
    lines = [f"{title}:", *(f"  {printable(name)}: {_group(group)}" for name, group in rows[:_ROWS])]
    return [*lines, f"  other: {_group(rest)}"] if rest.actions else lines


def _group(group: Group) -> str:
    return f"{count_words(group.actions)}, {size_words(group.bytes)}"


def _named(action: Action) -> str:
    return f"  {action_line(action)}"


def _size_class(least: int) -> str:
    return f"from {size_words(least)}" if least > 1 else ("not empty" if least else "empty")


def _money(amount: float, currency: str) -> str:
    return (
        f"{amount:,.2f} {printable(currency)}" if amount >= 0.01 or not amount else f"under 0.01 {printable(currency)}"
    )


def plan_verdict(summary: Summary, path: str) -> str:
    """The last line of the making of a plan."""
    todo = [
        f"{verb} {count_words(one.objects)}" + (f" ({size_words(one.bytes)})" if one.bytes else "")
        for verb, one in sorted(summary.planned_by_verb.items())
    ]
    sentence = f"Planned, and nothing was changed: {' and '.join(todo) if todo else 'nothing is to be done'}"
    if summary.failed:
        are = "is" if summary.failed == 1 else "are"
        sentence += f"; {count_words(summary.failed)} cannot be carried and {are} named above"
    return f"{sentence}. The plan is {printable(path)}; carry it out with sterna apply."


def planned_end_lines(summary: Summary, review: Review | None) -> list[str]:
    """What ends the making of a plan."""
    lines = review_lines(review) if review is not None else []
    failures = [f"cannot be carried: {failure_line(outcome)}" for outcome in summary.failures[:NAMED]]
    return [*lines, *failures, summary.verdict or verdict(summary)]


def heading_lines(review: Review, options: Sequence[str]) -> list[str]:
    """Between which places a plan was made, when, and with which options."""
    made = iso_time(review.created_s)
    lines = [f"plan of {made}: {printable(review.source)} → {printable(review.destination)}"]
    return [*lines, f"options: {printable(' '.join(options))}"] if options else lines


def review_members(review: Review) -> dict[str, Any]:
    """A review for JSON: one document, its tables in the order of the words."""
    summary, estimate = review.summary, review.estimate
    members: dict[str, Any] = {"type": "plan", **msgspec.structs.asdict(review)}
    members["summary"] = msgspec.structs.asdict(summary) | {
        name: [action_members(action) for action in getattr(summary, name)]
        for name in ("largest", "largest_deletions", "first_deletions")
    }
    members["estimate"] = msgspec.structs.asdict(estimate)
    if estimate.prices_of:
        members["estimate"]["cost"] = estimate.cost
    return members


def action_members(action: Action) -> dict[str, Any]:
    """One action for JSON, named as the outcome that it will have."""
    return {"type": "action", "verb": action.verb.value, "key": action.key, "size": action.bytes_concerned,
            "because": action.because}  # fmt: skip
