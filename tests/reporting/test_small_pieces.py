"""Fan-out, plain lines, scrubbing and dry runs."""

from __future__ import annotations

import pytest

from sterna.model.events import Event, Notice, Planned, Summary, Tally, ignore
from sterna.model.outcomes import Outcome, Status
from sterna.model.units import MIB
from sterna.reporting.dryrun import end_lines, end_verdict, planned_line
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
    tally = Tally(planned_objects=20_000, planned_bytes=3 * MIB, ended_objects=14, moved_bytes=MIB, failed_objects=2)
    tally.retries, tally.in_flight, tally.lanes, tally.limited_by, tally.there_objects = 1, 5, 64, "network", 9
    said: list[str] = []
    PlainLines(said.append, -9.0).tick(tally, Reading(elapsed_s=65, now=2048, mean=1024, left_s=3.0), 0.0)
    assert said == [
        (
            "0:01:05  14 of 20,000+ objects, 1.0 MiB of 3.0 MiB+, 2.0 KiB/s, mean 1.0 KiB/s, 0:00:03 left, 2 failed, "
            "1 retry, 9 unchanged, 5 of 64 lanes, limited by network"
        )
    ]


def test_a_run_with_no_request_in_flight_is_not_limited_by_the_server() -> None:
    tally = Tally(planned_objects=1, planning_done=True, lanes=16, limited_by="the server or network")
    assert not [piece for piece in standing(tally, Reading()) if "limited" in piece]
    tally.in_flight = 1
    assert standing(tally, Reading())[-1] == "limited by the server or network"


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
    assert end_verdict(Summary(command="", source="", destination="", kept=1)) == (
        "Dry run, nothing was changed: it would change nothing; 1 object would stay as it is."
    )
    failed = Outcome("upload", "bad", Status.FAILED, error="No.")
    planned = {"upload": Planned(2, 4096), "delete": Planned(1, 2048)}
    summary = Summary(
        command="", source="", destination="", kept=7, failed=1, failures=[failed], planned_by_verb=planned
    )
    assert end_lines(summary) == [
        "would fail: bad: No",
        (
            "Dry run, nothing was changed: it would delete 1 object (2.0 KiB) and upload 2 objects (4.0 KiB); "
            "7 objects would stay as they are; 1 object would fail and is named above."
        ),
    ]
    outcome = Outcome("upload", "a\n", Status.PLANNED, size=2048, because="not there yet")
    assert planned_line(outcome) == "would upload a\\x0a (2.0 KiB): not there yet"


def test_a_dry_run_that_an_error_or_a_signal_ended_does_not_say_that_nothing_would_change() -> None:
    ended = Summary(command="", source="", destination="", exit_code=4, verdict="There is no folder x.")
    assert end_verdict(ended) == "There is no folder x."
    assert end_verdict(Summary(command="", source="", destination="", exit_code=130)).startswith("INTERRUPTED")
