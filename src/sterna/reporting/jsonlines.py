"""Turn events into JSON lines, one for each object, one for the run's start, its notices and its summary."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import msgspec

from sterna.model.events import Event, Notice, ObjectsEnded, RunStarted, Summary
from sterna.model.outcomes import Outcome
from sterna.reporting.log import iso_time
from sterna.reporting.scrub import scrub

# The members of an outcome that a server or an operating system has worded.
_WORDED = ("because", "error", "error_words")


class JsonLines:
    """A listener that writes a JSON document on each line: ``run_started``, ``object``, ``notice``, ``summary``.

    ``write`` takes the bytes of one or more whole lines and brings them out before it returns. Whatever a terminal
    could take for a command is written as ``\\u…``, which a parser turns back (H103). Once ``write`` has failed,
    nothing more is written: ``error`` says why, and stays empty where the reader has merely gone away.
    """

    def __init__(self, write: Callable[[bytes], object], clock: Callable[[], float] = time.time) -> None:
        self.error = ""
        self.is_closed = False
        self._write = write
        self._clock = clock

    def __call__(self, event: Event) -> None:
        if self.is_closed:
            return
        now = iso_time(self._clock())
        match event:
            case ObjectsEnded():
                data = b"".join(_object_line(outcome, now) for outcome in event.outcomes)
            case RunStarted():
                data = _line("run_started", now, msgspec.structs.asdict(event))
            case Notice():
                data = _line("notice", now, msgspec.structs.asdict(event) | {"sentence": scrub(event.sentence)})
            case _:
                data = _line("summary", now, summary_members(event.summary))
        try:
            self._write(data)
        except BrokenPipeError:
            self.is_closed = True
        except (OSError, ValueError) as error:  # ValueError: the stream was closed
            self.is_closed = True
            self.error = f"Standard output is not complete: {getattr(error, 'strerror', None) or error}."


def summary_members(summary: Summary) -> dict[str, Any]:
    """The members of a summary, with what it computes from them."""
    return msgspec.structs.asdict(summary) | {
        "done": summary.done,
        "planned": summary.planned,
        "mean_bytes_per_s": summary.mean_bytes_per_s,
        "failures": [_scrubbed(outcome) for outcome in summary.failures],
        "skips": [_scrubbed(outcome) for outcome in summary.skips],
        "verdict": scrub(summary.verdict),
        "notices": [scrub(notice) for notice in summary.notices],
    }


def json_bytes(value: Any) -> bytes:
    """One value as JSON in one line, without its end, of printable characters only."""
    try:
        data = _encoder.encode(value)
    except UnicodeEncodeError:  # a name that is not UTF-8: its odd bytes become backslashes
        data = _encoder.encode(_replaced(msgspec.to_builtins(value)))
    if data.isascii() and b"\x7f" not in data:
        return data
    return _NOT_PLAIN.sub(_escaped, data.decode("utf-8")).encode("utf-8")


_encoder = msgspec.json.Encoder()
_NOT_PLAIN = re.compile(r"[^\x20-\x7e]")


def _line(kind: str, now: str, members: dict[str, Any]) -> bytes:
    return json_bytes({"type": kind, "time": now} | members) + b"\n"


def _object_line(outcome: Outcome, now: str) -> bytes:
    members = json_bytes(_scrubbed(outcome))
    return b'{"type":"object","time":"%s",%s\n' % (now.encode(), members[1:])


def _scrubbed(outcome: Outcome) -> Outcome:
    """As it is told: without secrets in others' words, and without what only the journal wants."""
    if outcome.source is not msgspec.UNSET or outcome.target is not msgspec.UNSET:
        outcome = msgspec.structs.replace(outcome, source=msgspec.UNSET, target=msgspec.UNSET)
    if not (outcome.error or outcome.error_words):
        return outcome
    return msgspec.structs.replace(outcome, **{name: scrub(getattr(outcome, name)) for name in _WORDED})


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    if character.isprintable():
        return character
    point = ord(character)
    if point < 0x10000:
        return f"\\u{point:04x}"
    point -= 0x10000
    return f"\\u{0xD800 + (point >> 10):04x}\\u{0xDC00 + (point & 0x3FF):04x}"


def _replaced(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {_replaced(name): _replaced(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_replaced(member) for member in value]
    return value
