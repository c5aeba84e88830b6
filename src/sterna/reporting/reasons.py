"""Turn failures into lines that give a reason once, however many objects failed for it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from sterna.model.outcomes import Outcome
from sterna.model.units import printable
from sterna.reporting.scrub import scrub
from sterna.reporting.words import circumstances, count_words, failure_line, reason_words, sentence_of

_TOGETHER = 3  # so many of one reason are shorter together
_FEW = 5  # of so many it shows which they are

_AFTER_A_NAME = ("", " ", ",", ";", ":", ".", ")")
_ITS_NAME = "…"  # stands in a reason where each object's sentence has its own key


def lines_by_reason(outcomes: Sequence[Outcome], most: int) -> tuple[list[str], int]:
    """The lines, the commonest reason first, and how many objects they name: all, unless there are more than ``most``."""
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        general = _general(outcome)
        groups.setdefault((general.error, general.error_words or general.error_code), []).append(outcome)
    few = len(outcomes) if len(outcomes) <= most else _FEW
    lines: list[str] = []
    named = 0
    for group in sorted(groups.values(), key=lambda group: -len(group)):
        if named >= most:
            break
        shown = group[: min(few, most - named)] if len(group) >= _TOGETHER else group[: most - named]
        named += len(shown)
        if len(group) < _TOGETHER:
            lines += [failure_line(outcome) for outcome in shown]
            continue
        reason = reason_words(_general(group[0])).removeprefix(f"{_ITS_NAME}: ")
        lines.append(f"{count_words(len(group))}: {reason}")
        lines += [f"  {_named(outcome)}" for outcome in shown]
    return lines, named


def _general(outcome: Outcome) -> Outcome:
    """The outcome without what is its own: its name, its request, its attempts."""
    return msgspec.structs.replace(
        outcome,
        error=_without_name(sentence_of(outcome), outcome.key),
        error_words=_without_name(outcome.error_words, outcome.key),
        request_id="",
        attempts=1,
    )


def _without_name(text: str, key: str) -> str:
    """Sentences have the key as it is below the location, or as it is in the bucket, with what stands before it.

    No regular expression: there may be 10,000 keys, and to compile one for each took three seconds.
    """
    text, name = printable(text), printable(key)
    pieces, taken = [], 0
    start = text.find(name) if name else -1
    while start >= 0:
        word, end = text.rfind(" ", 0, start) + 1, start + len(name)
        is_whole = word == start or text[start - 1] == "/"
        if is_whole and text[end : end + 1] in _AFTER_A_NAME:
            pieces += [text[taken : max(word, taken)], _ITS_NAME]
            taken = end
        start = text.find(name, end)
    return "".join((*pieces, text[taken:]))


def _named(outcome: Outcome) -> str:
    own = circumstances(outcome)
    return scrub(printable(outcome.key + (f" ({'; '.join(own)})" if own else "")))
