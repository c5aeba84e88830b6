"""The summary and its verdict: figures in, words out."""

from __future__ import annotations

from typing import Any

import pytest

from sterna.model.events import Summary
from sterna.model.outcomes import Outcome, Status
from sterna.reporting.summary import exit_code_of, summary_lines, verdict


def summary(**members: Any) -> Summary:
    return Summary(**{"command": "sync", "source": "/data", "destination": "s3://b/p"} | members)


def failures(count: int) -> list[Outcome]:
    return [Outcome("upload", f"k{number}", Status.FAILED, error=f"Reason {number}.") for number in range(count)]


def test_a_good_run_in_full() -> None:
    lines = summary_lines(
        summary(
            uploaded=20_000,
            kept=12,
            moved_bytes=81_920_000,
            there_bytes=4096,
            elapsed_s=3723.5,
            peak_bytes_per_s=99_999,
            requests=20_021,
            retries=3,
        )
    )
    assert lines == [
        "objects   20,000 uploaded, 12 unchanged",
        "bytes     78.1 MiB moved in this run, 4.0 KiB already there",
        "elapsed   1:02:04 (3,723.50 seconds, 62.06 minutes, 1.034 hours)",
        "speed     21.5 KiB/s mean, 97.7 KiB/s peak",
        "requests  20,021, 3 of them retries",
        "All 20,012 objects are in place: 20,000 uploaded and proved, 12 unchanged.",
    ]


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ({"uploaded": 20_000}, "All 20,000 objects are in place: 20,000 uploaded and proved, 0 unchanged."),
        ({"downloaded": 1}, "The one object is in place: 1 downloaded and proved, 0 unchanged."),
        ({"kept": 3}, "All 3 objects are in place: 3 unchanged."),
        ({}, "There was nothing to move: the source holds no objects."),
        ({"filtered": True}, "There was nothing to move: the source holds nothing that the filters let pass."),
        (
            {"downloaded": 2, "durable": False},
            (
                "All 2 objects are in place: 2 downloaded and proved, 0 unchanged. "
                "When they reach the disk is left to the system (--no-fsync)."
            ),
        ),
        (
            {"uploaded": 2, "skipped": 1},
            "All 2 objects are in place: 2 uploaded and proved, 0 unchanged. 1 object is skipped by rule.",
        ),
        ({"command": "rm", "deleted": 3}, "All 3 objects are removed."),
        ({"command": "rm"}, "There was nothing to remove."),
        (
            {"uploaded": 17, "failed": 3, "failures": failures(3)},
            "INCOMPLETE: 3 of 20 objects failed; they are named above.",
        ),
        (
            {"uploaded": 17, "failed": 1, "left": 2, "failures": failures(1)},
            "INCOMPLETE: 1 of 20 objects failed; it is named above; 2 are left, the same command goes on from there.",
        ),
        (
            {"failed": 30, "failures": failures(30)},
            "INCOMPLETE: 30 of 30 objects failed; some of them are named above.",
        ),
        (
            {"uploaded": 12, "left": 8, "exit_code": 130},
            ("INTERRUPTED: 12 of 20 objects are in place, 8 objects are left; the same command goes on from there."),
        ),
        (
            {"uploaded": 12, "exit_code": 143},
            ("INTERRUPTED before all was listed: 12 objects are in place; the same command goes on from there."),
        ),
        (
            {"left": 8, "exit_code": 3, "notices": ["The credentials have expired."]},
            (
                "INCOMPLETE: The credentials have expired: 0 of 8 objects are in place, 8 objects are left; "
                "the same command goes on from there."
            ),
        ),
        ({"exit_code": 4}, "INCOMPLETE (exit code 4)."),
    ],
)
def test_the_verdict_says_what_the_exit_code_says(members: dict[str, Any], sentence: str) -> None:
    assert verdict(summary(**members)) == sentence


def test_up_to_twenty_failures_are_all_named() -> None:
    lines = summary_lines(summary(failed=20, failures=failures(20)))
    assert [line for line in lines if "Reason" in line] == [f"  k{n}: Reason {n}" for n in range(20)]
    assert not any("more" in line for line in lines)


def test_of_more_it_says_where_the_rest_is() -> None:
    assert "  … and 10 more; --log-file FILE or --json names every one" in summary_lines(
        summary(failed=30, failures=failures(30))
    )
    lines = summary_lines(summary(failed=30, failures=failures(25)), log_file="run.log")
    assert "  … and 10 more; every one is in run.log" in lines
    assert lines[-1] == "INCOMPLETE: 30 of 30 objects failed; every one is named in run.log."


def denied(key: str, prefix: str = "p/", **members: Any) -> Outcome:
    error = f"Put of {prefix}{key} is denied (AccessDenied: no); allow s3:PutObject or use other credentials."
    return Outcome("upload", key, Status.FAILED, error=error, error_code="AccessDenied", error_words="no", **members)


def failed_lines(*outcomes: Outcome, log_file: str = "") -> list[str]:
    lines = summary_lines(summary(failed=len(outcomes), failures=list(outcomes)), log_file=log_file)
    return lines[lines.index("failed:") + 1 : -1]


def test_a_reason_that_many_failed_for_is_given_once_with_their_names() -> None:
    other = Outcome("upload", "a/other", Status.FAILED, error="It is a directory.")
    assert failed_lines(denied("a/1", request_id="R1"), other, denied("a/2"), denied("b c", attempts=3)) == [
        "  3 objects: Put of … is denied (AccessDenied: no); allow s3:PutObject or use other credentials",
        "    a/1 (request id R1)",
        "    a/2",
        "    b c (3 attempts)",
        "  a/other: It is a directory",
    ]


def test_two_of_one_reason_are_told_one_by_one() -> None:
    assert failed_lines(denied("1"), denied("2")) == [
        f"  {key}: Put of p/{key} is denied (AccessDenied: no); allow s3:PutObject or use other credentials"
        for key in ("1", "2")
    ]


def test_of_very_many_of_one_reason_the_first_few_are_named_and_other_reasons_are_not_hidden() -> None:
    other = Outcome("upload", "other", Status.FAILED, error="It is a directory.")
    lines = failed_lines(*(denied(f"k{number}") for number in range(1000)), other)
    assert lines[0].startswith("  1,000 objects: Put of … is denied")
    assert lines[1:] == [
        *(f"    k{number}" for number in range(5)),
        "  other: It is a directory",
        "  … and 995 more; --log-file FILE or --json names every one",
    ]


@pytest.mark.parametrize("key", ["a", "aa", "is", "Put", "x(y", "é.txt", "a b", "d/e/f", "\x1b"])
def test_a_key_of_any_form_does_not_part_what_failed_for_one_reason(key: str) -> None:
    lines = failed_lines(*(denied(name, "") for name in ("k1", "k2", "k3")), *(denied(f"{key}{n}") for n in range(3)))
    assert lines[0].startswith("  6 objects: ")


def test_h96_names_among_many_are_escaped_and_scrubbed() -> None:
    lines = failed_lines(*(denied(f"\x1b{number} https://me:canary@host") for number in range(3)))
    assert all(line.isprintable() and "canary" not in line for line in lines)


def test_the_verdict_of_the_job_goes_before_ours() -> None:
    assert summary_lines(summary(verdict="Its own."))[-1] == "Its own."


def test_what_is_skipped_is_named_with_its_rule() -> None:
    skips = [Outcome("upload", "pipe", Status.SKIPPED, error="it is a FIFO")]
    assert "  pipe: it is a FIFO" in summary_lines(summary(uploaded=1, skipped=1, skips=skips))


def test_h103_no_line_commands_a_terminal() -> None:
    evil = Outcome("upload", "\x1b[2J\n\u202e", Status.FAILED, error="\x9b\r", error_words="\x07")
    for line in summary_lines(summary(failed=1, failures=[evil], verdict="\x1b")):
        assert line.isprintable()


@pytest.mark.parametrize(
    ("members", "code"), [({}, 0), ({"failed": 1}, 1), ({"left": 1}, 1), ({"failed": 1, "exit_code": 3}, 3)]
)
def test_h110_no_failure_ends_with_zero(members: dict[str, Any], code: int) -> None:
    assert exit_code_of(summary(**members)) == code
