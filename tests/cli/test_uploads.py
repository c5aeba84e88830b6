"""The command ``uploads``: what it lists, when it asks, and what it refuses."""

from __future__ import annotations

import io
import json
import time

import pytest

from sterna.cli.cmd_uploads import age_words
from sterna.cli.main import main
from sterna.jobs.uploads import Choice, Found
from sterna.model.events import Notice
from tests.cli.fakes import FakeJobs

Said = pytest.CaptureFixture[str]
DAY_NS = 86400 * 10**9


def found(key: str = "p/a", *, is_ours: bool = True, is_in_use: bool = False, size: int | None = 2048) -> Found:
    begun_ns = time.time_ns() - 12 * DAY_NS
    return Found(key, "ID", begun_ns, "STANDARD", None if size is None else 2, size, is_ours, is_in_use)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_each_upload_is_a_line_and_the_total_another(capsys: Said) -> None:
    jobs = FakeJobs(uploads=[[found(), found("p/b", is_ours=False)], [found("p/c\x1b[2J", is_in_use=True, size=None)]])
    assert main(["uploads", "s3://bucket/p"], jobs) == 0
    assert capsys.readouterr().out.splitlines() == [
        "  12d      2    2.0 KiB STANDARD     ours    ID p/a",
        "  12d      2    2.0 KiB STANDARD     others' ID p/b",
        r"  12d      ?          ? STANDARD     in use  ID p/c\x1b[2J",
        "total: 3 uploads (more than 4.0 KiB) in 4 parts unfinished at s3://bucket/p; 2 of them ours",
    ]
    assert jobs.calls[0][1][3] == Choice()


def test_as_json_it_is_a_document_a_line(capsys: Said) -> None:
    assert main(["uploads", "--json", "--ours", "s3://bucket"], jobs := FakeJobs(uploads=[[found()]])) == 0
    upload, total = map(json.loads, capsys.readouterr().out.splitlines())
    assert 12 * 86400 <= upload.pop("age_s") < 12 * 86400 + 60
    assert upload.pop("begun_s") > 1.7e9
    assert upload == {
        "type": "upload", "key": "p/a", "upload_id": "ID", "parts": 2, "bytes": 2048, "storage_class": "STANDARD",
        "is_ours": True, "is_in_use": False,
    }  # fmt: skip
    assert total == {"type": "uploads", "location": "s3://bucket", "uploads": 1, "ours": 1, "parts": 2, "bytes": 2048}
    assert jobs.calls[0][1][3] == Choice(ours=True)


def test_what_is_not_known_is_said_and_a_journal_that_cannot_be_read_ends_with_one(capsys: Said) -> None:
    class Jobs(FakeJobs):
        def __init__(self, code: str) -> None:
            super().__init__()
            self.code = code

        async def list_uploads(self, *arguments: object, **more: object):  # type: ignore[no-untyped-def]
            more["emit"](Notice("Something is not known.", "warning", self.code))  # type: ignore[operator]
            yield [found()]

    assert main(["uploads", "s3://bucket"], Jobs("journal")) == 1
    assert "note: Something is not known." in capsys.readouterr().err
    assert main(["uploads", "s3://bucket"], Jobs("parts")) == 0


def test_an_abort_counts_first_and_wants_a_yes_where_nobody_can_be_asked(
    capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    jobs = FakeJobs(
        uploads=[[found(), found("p/b", is_in_use=True)]], summary={"aborted": 1, "verdict": "COMPLETE: it is."}
    )
    assert main(["uploads", "--abort", "s3://bucket/p"], jobs) == 5
    assert jobs.calls == []
    assert "--yes" in capsys.readouterr().err
    assert main(["uploads", "--abort", "--yes", "s3://bucket/p"], jobs) == 0
    assert [call[0] for call in jobs.calls] == ["list_uploads", "uploads"]
    assert [call[1][3] for call in jobs.calls] == [Choice(ours=True)] * 2
    said = capsys.readouterr()
    assert said.err == "aborting 1 upload (2.0 KiB) of ours at s3://bucket/p\n"
    assert said.out.splitlines()[0] == "objects   1 aborted"
    assert said.out.splitlines()[-1] == "COMPLETE: it is."


@pytest.mark.parametrize(("answer", "code", "many"), [("y\n", 0, 2), ("n\n", 5, 1), ("\n", 5, 1)])
def test_an_abort_asks_on_a_terminal(
    capsys: Said, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, many: int
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    jobs = FakeJobs(uploads=[[found()]])
    assert main(["uploads", "--abort", "--all", "s3://bucket/p"], jobs) == code
    assert len(jobs.calls) == many
    assert "This aborts 1 upload (2.0 KiB) of everybody at s3://bucket/p." in capsys.readouterr().err


def test_where_nothing_is_to_be_aborted_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(""))
    assert main(["uploads", "--abort", "s3://bucket/p"], FakeJobs(summary={"verdict": "There was nothing."})) == 0


def test_everybodys_in_a_whole_bucket_want_a_yes_even_on_a_terminal(
    capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    jobs = FakeJobs(uploads=[[found()]])
    assert main(["uploads", "--abort", "--all", "s3://bucket"], jobs) == 5
    assert "whole bucket" in capsys.readouterr().err
    assert jobs.calls == []
    assert main(["uploads", "--abort", "s3://bucket"], jobs) == 0


def test_an_age_is_a_moment_for_the_job() -> None:
    jobs = FakeJobs()
    assert main(["uploads", "--older-than", "7d", "s3://bucket"], jobs) == 0
    before = jobs.calls[0][1][3].before_ns
    assert 7 * DAY_NS <= time.time_ns() - before < 7 * DAY_NS + 60 * 10**9


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--ours", "--all", "s3://bucket"], "--ours and --all exclude each other"),
        (["--yes", "s3://bucket"], "there is no --abort"),
        (["--older-than", "soon", "s3://bucket"], "--older-than soon"),
        (["folder"], "is no bucket"),
    ],
)
def test_what_contradicts_itself_is_refused_before_anything_is_asked(
    capsys: Said, arguments: list[str], words: str
) -> None:
    jobs = FakeJobs()
    assert main(["uploads", *arguments], jobs) == 2
    assert words in capsys.readouterr().err
    assert jobs.calls == []


@pytest.mark.parametrize(
    ("seconds", "words"), [(-5, "0s"), (59.9, "59s"), (60, "1m"), (3599, "59m"), (7200, "2h"), (86400 * 400, "400d")]
)
def test_an_age_is_told_in_its_largest_unit(seconds: float, words: str) -> None:
    assert age_words(seconds) == words
