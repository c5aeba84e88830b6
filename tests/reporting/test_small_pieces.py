"""Fan-out, plain lines, scrubbing and dry runs."""

from __future__ import annotations

from typing import Any

import pytest

from sterna.model.events import Event, Notice, ObjectsEnded, Summary, Tally, ignore
from sterna.model.outcomes import Outcome, Status
from sterna.model.units import MIB
from sterna.reporting.dryrun import DryRun, planned_line
from sterna.reporting.fanout import fanout
from sterna.reporting.meter import Reading
from sterna.reporting.plain import PlainLines, standing
from sterna.reporting.scrub import scrub


def test_every_listener_hears_every_event_in_order() -> None:
    heard: list[tuple[str, Event]] = []
    emit = fanout(lambda event: heard.append(("a", event)), lambda event: heard.append(("b", event)))
    notice = Notice("x")
    emit(notice)
    assert heard == [("a", notice), ("b", notice)]


def test_one_listener_needs_no_fan_and_none_ignores() -> None:
    assert fanout(ignore) is ignore
    assert fanout() is ignore


def test_a_line_after_five_seconds_and_then_every_thirty() -> None:
    said: list[str] = []
    plain = PlainLines(said.append, 100.0)
    at: list[int] = []
    for second in range(100, 200):
        plain.tick(Tally(), Reading(), float(second))
        if len(said) > len(at):
            at.append(second)
    assert at == [105, 135, 165, 195]


def test_a_machine_that_slept_is_told_of_once() -> None:
    said: list[str] = []
    plain = PlainLines(said.append, 0.0)
    plain.tick(Tally(), Reading(), 3600.0)
    plain.tick(Tally(), Reading(), 3600.5)
    assert len(said) == 1


def test_a_line_says_where_a_run_stands() -> None:
    tally = Tally(planned_objects=20_000, planned_bytes=3 * MIB, done_objects=12, moved_bytes=MIB, failed_objects=2)
    tally.retries, tally.in_flight, tally.lanes, tally.limited_by, tally.there_objects = 1, 5, 64, "network", 9
    said: list[str] = []
    PlainLines(said.append, -9.0).tick(tally, Reading(elapsed_s=65, now=2048, mean=1024, left_s=3.0), 0.0)
    assert said == [
        (
            "0:01:05  14 of 20,000+ objects, 1.0 MiB of 3.0 MiB+, 2.0 KiB/s, mean 1.0 KiB/s, 0:00:03 left, 2 failed, "
            "1 retry, 9 unchanged, 5 of 64 lanes, limited by network"
        )
    ]


def test_before_anything_is_planned_it_says_that_it_lists() -> None:
    assert standing(Tally(listed_source=1234), Reading()) == ["listing, 1,234 seen"]


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("https://user:pass@host/x", "https://***@host/x"),
        ("s3://KEY:SECRET@bucket", "s3://***@bucket"),
        ("http://token@host", "http://***@host"),
        (
            "GET /k?X-Amz-Credential=AKIA%2F1&X-Amz-Signature=ab12&a=b",
            "GET /k?X-Amz-Credential=***&X-Amz-Signature=***&a=b",
        ),
        ("Authorization: AWS4-HMAC-SHA256 Credential=A, Signature=b", "Authorization: ***"),
        ('{"SecretAccessKey": "abc", "x": 1}', '{"SecretAccessKey": "***", "x": 1}'),
        ("aws_secret_access_key = abc", "aws_secret_access_key = ***"),
        ("plain words, 3 = 3, me@example.com", "plain words, 3 = 3, me@example.com"),
    ],
)
def test_h96_credentials_are_blanked_out(text: str, scrubbed: str) -> None:
    assert scrub(text, {}) == scrubbed


def test_h96_secret_variables_are_blanked_out_unless_they_are_ordinary_words() -> None:
    environ = {"AWS_SECRET_ACCESS_KEY": "verysecret", "AWS_SESSION_TOKEN": "test"}
    assert scrub("a verysecret test", environ) == "a *** test"


def test_a_dry_run_says_what_would_be_done() -> None:
    def planned(key: str, verb: str = "upload", **members: Any) -> Outcome:
        return Outcome(verb, key, Status.SKIPPED, size=2048, error="dry run", **members)

    dry_run = DryRun()
    assert dry_run.verdict(Summary(command="", source="", destination="", kept=1)) == (
        "Dry run, nothing was changed: it would change nothing; 1 object would stay as it is."
    )
    failed = Outcome("upload", "bad", Status.FAILED, error="No.")
    dry_run(ObjectsEnded([planned("a", because="not there yet"), planned("b"), planned("c", "delete"), failed]))
    summary = Summary(command="", source="", destination="", kept=7, failed=1, failures=[failed])
    assert dry_run.lines(summary) == [
        "would fail: bad: No",
        (
            "Dry run, nothing was changed: it would delete 1 object (2.0 KiB) and upload 2 objects (4.0 KiB); "
            "7 objects would stay as they are; 1 object would fail and is named above."
        ),
    ]
    assert planned_line(planned("a\n", because="not there yet")) == "would upload a\\x0a (2.0 KiB): not there yet"
