"""Turn what a journal knows of a past run's outcomes into lines."""

from __future__ import annotations

from typing import Any, Protocol

from sterna.model.outcomes import Outcome, Status
from sterna.model.units import printable
from sterna.reporting.jsonlines import json_bytes
from sterna.reporting.log import iso_time
from sterna.reporting.scrub import scrub
from sterna.reporting.words import failure_line

_IN_HAND = "in hand when the run was cut off; whether it was done is not known"


class Told(Protocol):
    """What is told of an outcome of the past."""

    @property
    def verb(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def attempts(self) -> int: ...
    @property
    def because(self) -> str: ...
    @property
    def error(self) -> str: ...
    @property
    def error_code(self) -> str: ...
    @property
    def error_words(self) -> str: ...
    @property
    def request_id(self) -> str: ...
    @property
    def ended_ns(self) -> int: ...


def outcome_line(one: Told | str) -> str:
    """One line for people, with the words that the run itself had for it; of a key alone nobody knows more than that the
    run had it in hand.
    """
    if isinstance(one, str):
        return f"unknown  {printable(one)}: {_IN_HAND}"
    outcome = Outcome(
        one.verb, one.key, Status(one.status), attempts=one.attempts, because=one.because, error=one.error,
        error_code=one.error_code, error_words=one.error_words, request_id=one.request_id,
    )  # fmt: skip
    return f"{one.status:<8} {one.verb} {failure_line(outcome)}"


def outcome_json(one: Told | str) -> bytes:
    """The same as a line of JSON."""
    members: dict[str, Any] = {"type": "object"}
    if isinstance(one, str):
        members |= {"key": one, "status": "unknown", "error": _IN_HAND}
    else:
        members |= {
            "time": iso_time(one.ended_ns / 1e9), "verb": one.verb, "key": one.key, "status": one.status,
            "size": one.size, "attempts": one.attempts, "because": scrub(one.because), "error": scrub(one.error),
            "error_code": one.error_code, "request_id": one.request_id,
        }  # fmt: skip
    return json_bytes(members) + b"\n"
