"""Turn the summary and the estimate of a plan into lines, the deletions first."""

from __future__ import annotations

from collections.abc import Mapping

from sterna.model.actions import Action, Verb
from sterna.model.plans import Estimate, Group, PlanSummary
from sterna.model.units import duration_words, printable, size_words
from sterna.reporting.words import count_words

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
        rate = "as fast as an earlier run" if estimate.rate_is_measured else "at an assumed speed"
        lines.append(f"time, estimate: {duration_words(estimate.seconds)}, {rate}")
    lines.append(f"cost, estimate: {_money(estimate.cost, estimate.currency)}")
    lines += [f"  estimate, {item.what}: {_money(item.amount, estimate.currency)}" for item in estimate.items]
    if round(estimate.monthly, 2):
        more = "more" if estimate.monthly > 0 else "less"
        lines.append(f"storage, estimate: {_money(abs(estimate.monthly), estimate.currency)} {more} each month")
    for name in estimate.unpriced:
        lines.append(f"estimate leaves out storage class {printable(name)}: there is no price for it")
    lines.append(f"estimate by prices of {printable(estimate.prices_of)}, {printable(estimate.prices_date)}")
    return lines


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
    entry = action.target if action.verb is Verb.DELETE else action.source
    size = size_words(entry.size) if entry is not None else "unknown size"
    return f"  {action.verb.value} {printable(action.key)} ({size}): {printable(action.because)}"


def _size_class(least: int) -> str:
    return f"from {size_words(least)}" if least > 1 else ("not empty" if least else "empty")


def _money(amount: float, currency: str) -> str:
    return (
        f"{amount:,.2f} {printable(currency)}" if amount >= 0.01 or not amount else f"under 0.01 {printable(currency)}"
    )
