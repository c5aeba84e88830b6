"""JSON lines: events in, one document a line out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sterna.model.events import Notice, ObjectsEnded, RunEnded, RunStarted, Summary
from sterna.model.outcomes import Outcome, Status
from sterna.reporting.jsonlines import JsonLines, json_bytes

EVIL = "a\x1b[2J\nb\x9b31m\u202e\u2028\x7f\U000e0041é🦭"


def written(*events: Any) -> list[dict[str, Any]]:
    chunks: list[bytes] = []
    listener = JsonLines(chunks.append, clock=lambda: 0.0)
    for event in events:
        listener(event)
    text = b"".join(chunks).decode()
    assert all(character.isprintable() for line in text.split("\n") for character in line)
    return [json.loads(line) for line in text.removesuffix("\n").split("\n")]


def test_a_run_is_told_from_its_start_to_its_summary() -> None:
    failed = Outcome("upload", "b", Status.FAILED, error="No.", request_id="R")
    summary = Summary(command="sync", source="a", destination="s3://b", uploaded=1, failed=1, failures=[failed])
    lines = written(
        RunStarted("sync", "a", "s3://b", 1.5),
        ObjectsEnded([Outcome("upload", "a", Status.DONE, size=3), failed]),
        Notice("Slow.", "warning", "SlowDown"),
        RunEnded(summary),
    )
    assert [line["type"] for line in lines] == ["run_started", "object", "object", "notice", "summary"]
    assert all(line["time"] == "1970-01-01T00:00:00.000Z" for line in lines)
    assert (lines[1]["key"], lines[1]["status"], lines[1]["size"]) == ("a", "done", 3)
    assert (lines[2]["error"], lines[2]["request_id"]) == ("No.", "R")
    assert lines[3]["code"] == "SlowDown"
    assert (lines[4]["uploaded"], lines[4]["done"], lines[4]["failures"][0]["key"]) == (1, 1, "b")


def test_h103_every_key_comes_back_as_it_was_and_no_line_commands_a_terminal() -> None:
    assert written(ObjectsEnded([Outcome("upload", EVIL, Status.DONE)]))[0]["key"] == EVIL


def test_a_name_that_is_not_utf8_becomes_backslashes() -> None:
    assert written(ObjectsEnded([Outcome("upload", "a\udcff", Status.FAILED)]))[0]["key"] == "a\\udcff"
    assert json.loads(json_bytes({"a\udcff": ["\udcff", 1]})) == {"a\\udcff": ["\\udcff", 1]}


def test_h96_words_of_others_are_scrubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "canary-token")
    failed = Outcome("upload", "k", Status.FAILED, error="canary-token", error_words="http://u:canary@h/")
    lines = written(
        ObjectsEnded([failed]),
        Notice("canary-token"),
        RunEnded(Summary(command="", source="", destination="", failures=[failed], verdict="canary-token")),
    )
    assert "canary" not in json.dumps(lines)


def test_a_reader_that_leaves_is_no_error() -> None:
    calls = []

    def write(data: bytes) -> None:
        calls.append(data)
        raise BrokenPipeError

    listener = JsonLines(write)
    listener(Notice("a"))
    listener(Notice("b"))
    assert len(calls) == 1
    assert listener.error == ""


def test_a_full_disk_is_one() -> None:
    def write(data: bytes) -> None:
        raise OSError(28, "No space left on device")

    listener = JsonLines(write)
    listener(Notice("a"))
    assert listener.error == "Standard output is not complete: No space left on device."
