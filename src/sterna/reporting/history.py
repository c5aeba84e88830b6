"""Turn what a journal knows of a past run's outcomes into lines."""

from __future__ import annotations

from typing import Any, Protocol

from sterna.model.units import printable
from sterna.reporting.jsonlines import json_bytes
from sterna.reporting.log import iso_time
from sterna.reporting.scrub import scrub

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
    def request_id(self) -> str: ...
    @property
    def ended_ns(self) -> int: ...


def outcome_line(one: Told | str) -> str:
    """One line for people; of a key alone nobody knows more than that the run had it in hand."""
    if isinstance(one, str):
        return f"unknown  {printable(one)}: {_IN_HAND}"
    facts = [fact for fact in (one.error_code, one.request_id and f"request id {one.request_id}") if fact]
    reason = scrub(printable((one.error or one.because or "the reason is not known").rstrip(".")))
    known = f" ({', '.join(facts)})" if facts else ""
    return f"{one.status:<8} {one.verb} {printable(one.key)}: {reason}{known}"


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
