"""Commands: what they start, what they print, and what they end with."""

from __future__ import annotations

import errno
import io
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sterna.cli.exit_codes import ExitCode
from sterna.cli.invocation import Invocation
from sterna.cli.main import main, sterna
from sterna.model import errors
from sterna.model.events import Emit, Notice, ObjectsEnded, Tally
from sterna.model.location import BucketPath
from sterna.model.outcomes import Outcome, Status
from sterna.model.stop import Stop
from tests.cli.fakes import Amount, FakeJobs, Found, Row

Said = pytest.CaptureFixture[str]

EVIL = "a\x1b]52;c;x\x07\x1b[2J\r\n\x9b31m\u202eb"
SYNC = ("sync", "folder", "s3://bucket")


def done(key: str = "a") -> Outcome:
    return Outcome("upload", key, Status.DONE, size=5, moved=5)


def failed(key: str = "b", **members: Any) -> Outcome:
    return Outcome("upload", key, Status.FAILED, **({"error": "The server said no."} | members))


# sync and copy


def test_a_good_run_ends_with_its_verdict_and_zero(capsys: Said) -> None:
    assert main(SYNC, FakeJobs(outcomes=[done()], summary={"kept": 2})) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == "All 3 objects are in place: 1 uploaded and proved, 2 unchanged."
    assert said.err == ""


def test_failures_are_named_and_end_with_one(capsys: Said) -> None:
    assert main(SYNC, FakeJobs(outcomes=[done(), failed(error_words="go away", request_id="R1")])) == 1
    lines = capsys.readouterr().out.splitlines()
    assert '  b: The server said no (the server said "go away"; request id R1)' in lines
    assert lines[-1] == "INCOMPLETE: 1 of 2 objects failed; it is named above."


def test_the_exit_code_of_the_summary_is_that_of_the_command() -> None:
    assert main(SYNC, FakeJobs(summary={"exit_code": 4})) == 4


@pytest.mark.parametrize("quiet", ["-q", "--quiet"])
def test_quiet_is_silent_unless_something_is_wrong(capsys: Said, quiet: str) -> None:
    assert main([quiet, *SYNC], FakeJobs(outcomes=[done()])) == 0
    assert capsys.readouterr() == ("", "")
    assert main([*SYNC, quiet], FakeJobs(outcomes=[failed()])) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "b: The server said no" in said.err


def test_verbose_names_each_object_as_it_ends(capsys: Said) -> None:
    assert main([*SYNC, "-v"], FakeJobs(outcomes=[done("a\n"), failed()])) == 1
    assert capsys.readouterr().err.splitlines() == ["upload a\\x0a (5 B): done", "failed: b: The server said no"]


def test_notices_are_told_once_and_infos_not_to_the_quiet(capsys: Said) -> None:
    async def notice(emit: Emit, tally: Tally, stop: Stop) -> None:
        emit(Notice("Falls back to MD5."))
        emit(Notice("The clock is off.", "warning"))

    main(SYNC, FakeJobs(before=notice))
    assert capsys.readouterr().err.splitlines() == [
        "sterna: note: Falls back to MD5.",
        "sterna: note: The clock is off.",
    ]
    main([*SYNC, "-q"], FakeJobs(before=notice))
    assert capsys.readouterr().err == "sterna: note: The clock is off.\n"


def test_json_is_lines_of_json_and_nothing_else(capsys: Said) -> None:
    assert main([*SYNC, "--json"], FakeJobs(outcomes=[done(), done(EVIL)])) == 0
    said = capsys.readouterr()
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert [line["type"] for line in lines] == ["run_started", "object", "object", "summary"]
    assert (lines[0]["source"], lines[0]["destination"]) == ("folder", "s3://bucket")
    assert lines[2]["key"] == EVIL
    assert (lines[3]["exit_code"], lines[3]["uploaded"]) == (0, 2)
    assert lines[3]["verdict"].startswith("All 2 objects")
    assert said.err == ""


def test_json_ends_with_a_summary_even_after_an_error(capsys: Said) -> None:
    jobs = FakeJobs(outcomes=[done()], error=errors.SourceUnknown("There is no folder x."))
    assert main(["--json", *SYNC], jobs) == 4
    said = capsys.readouterr()
    last = json.loads(said.out.splitlines()[-1])
    assert (last["type"], last["exit_code"], last["verdict"]) == ("summary", 4, "There is no folder x.")
    assert said.err == "sterna: There is no folder x.\n"


def test_the_log_has_a_line_for_each_object_and_the_verdict(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert main(["--log-file", str(log), *SYNC], FakeJobs(outcomes=[done(), failed()])) == 1
    assert main([*SYNC, "--log-file", str(log)], FakeJobs(error=errors.AccessDenied("No."))) == 3
    text = log.read_text()
    assert "\tupload\ta\t5\t" in text
    assert "\tfailed: The server said no\n" in text
    assert "exit code 1: INCOMPLETE: 1 of 2" in text
    assert text.endswith("exit code 3: No.\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_h110_a_log_that_is_not_complete_is_no_success(capsys: Said) -> None:
    assert main([*SYNC, "--log-file", "/dev/full"], FakeJobs(outcomes=[done()])) == 1
    said = capsys.readouterr()
    assert said.out.splitlines()[-1].startswith("The one object is in place")
    assert said.err.splitlines() == [
        "sterna: note: The log file /dev/full is not complete: No space left on device. The run goes on.",
        "sterna: The log file /dev/full is not complete: No space left on device.",
    ]


def test_a_dry_run_prints_what_would_be_done_and_why(capsys: Said) -> None:
    planned = Outcome("upload", "new\n", Status.PLANNED, size=1024, because="not there yet")
    jobs = FakeJobs(outcomes=[planned], summary={"kept": 3})
    assert main([*SYNC, "--dry-run"], jobs) == 0
    assert jobs.calls[0][2]["dry_run"] is True
    assert capsys.readouterr().out.splitlines() == [
        "would upload new\\x0a (1.0 KiB): not there yet",
        "Dry run, nothing was changed: it would upload 1 object (1.0 KiB); 3 objects would stay as they are.",
    ]


def test_what_a_dry_run_plans_is_called_planned_in_the_log_and_in_json(capsys: Said, tmp_path: Path) -> None:
    planned = Outcome("upload", "new", Status.PLANNED, size=1024, because="not there yet")
    log = tmp_path / "log"
    assert main([*SYNC, "--dry-run", "--json", "--log-file", str(log)], FakeJobs(outcomes=[planned])) == 0
    _, one, end = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (one["status"], one["because"], one["error"]) == ("planned", "not there yet", "")
    assert (end["planned"], end["planned_by_verb"]) == (1, {"upload": {"objects": 1, "bytes": 1024}})
    assert (end["skipped"], end["skips"], end["uploaded"]) == (0, [], 0)
    assert "\tplanned: not there yet\n" in log.read_text()


def test_a_copy_to_standard_output_prints_nothing_there(capsys: Said) -> None:
    assert main(["copy", "s3://bucket/key", "-"], FakeJobs(outcomes=[done()])) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["copy", "s3://bucket/key", "-"], FakeJobs(outcomes=[failed()])) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "INCOMPLETE" in said.err


def test_h103_nothing_printed_commands_a_terminal(capsys: Said) -> None:
    evil = failed(EVIL, error=EVIL, error_words=EVIL, request_id=EVIL)
    main([*SYNC, "-v"], FakeJobs(outcomes=[evil, done(EVIL)], summary={"verdict": EVIL, "source": EVIL}))
    main(SYNC, FakeJobs(error=errors.WrongSetting(EVIL)))
    main(["ls", "s3://bucket"], FakeJobs(pages=[[Row(EVIL), Row(EVIL, is_prefix=True)]]))
    main(["check", "s3://bucket"], FakeJobs(findings=[Found(EVIL, False, EVIL, EVIL)]))
    main(["sync", EVIL, "x" + EVIL])
    main([EVIL])
    main(["demo"], FakeJobs())
    said = capsys.readouterr()
    for line in (said.out + said.err).split("\n"):
        assert line == "" or line.isprintable()


# errors and exit codes


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.WrongSetting("x"), 2),
        (errors.AccessDenied("x"), 3),
        (errors.CredentialsExpired("x"), 3),
        (errors.SourceUnknown("x"), 4),
        (errors.GuardRefused("x"), 5),
        (errors.Locked("x"), 7),
        (errors.ConnectionLost("x"), 1),
        (errors.DiskFull("x"), 1),
        (ExceptionGroup("many", [ExceptionGroup("more", [errors.AccessDenied("x")]), errors.RetryLater("y")]), 3),
    ],
)
@pytest.mark.parametrize("command", [SYNC, ("copy", "a", "s3://b-1"), ("ls", "s3://b-1"), ("du", "s3://b-1")])
def test_h110_an_error_is_one_sentence_and_its_exit_code(
    capsys: Said, error: Exception, code: int, command: tuple[str, ...]
) -> None:
    assert main(command, FakeJobs(error=error)) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "sterna: x\n"


def test_what_was_done_before_an_error_is_said(capsys: Said) -> None:
    async def move(emit: Emit, tally: Tally, stop: Stop) -> None:
        tally.done_objects = 7

    assert main(SYNC, FakeJobs(before=move, error=errors.CredentialsExpired("They have expired."))) == 3
    assert capsys.readouterr().err == "sterna: They have expired.\n7 objects were done before that.\n"


def test_the_summary_of_a_run_that_an_error_ended_says_what_was_done_by_its_name(capsys: Said) -> None:
    async def move(emit: Emit, tally: Tally, stop: Stop) -> None:
        tally.planned_objects, tally.ended_objects, tally.done_objects = 20, 10, 9
        tally.done_by_verb = {"upload": 4, "download": 2, "copy": 2, "delete": 1}

    assert main((*SYNC, "--json"), FakeJobs(before=move, error=errors.CredentialsExpired("They have expired."))) == 3
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    counts = {name: told[name] for name in ("uploaded", "downloaded", "copied", "deleted", "done", "left")}
    assert counts == {"uploaded": 4, "downloaded": 2, "copied": 2, "deleted": 1, "done": 9, "left": 10}


def test_a_surprise_is_one_sentence_without_a_trace(capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STERNA_DEBUG", raising=False)
    for command in (SYNC, ("ls", "s3://b-1"), (*SYNC, "--json")):
        assert main(command, FakeJobs(error=ZeroDivisionError("by\nzero"))) == 1
        assert capsys.readouterr().err == (
            "sterna: Something happened that was not foreseen (ZeroDivisionError: by); "
            "please report it, with what -vv shows.\n"
        )


def test_no_descriptors_left_is_told_as_that_even_where_it_broke_the_loop(capsys: Said) -> None:
    broken = RuntimeError("Cannot close a running event loop")
    broken.__context__ = OSError(errno.EMFILE, "Too many open files")
    for error in (broken, broken.__context__):
        assert main(SYNC, FakeJobs(error=error)) == 1
        assert capsys.readouterr().err == (
            "sterna: All files and connections that may be open at once are in use; raise that limit, with ulimit -n.\n"
        )


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            RuntimeError("can't start new thread"),
            "No more threads may be started here; raise that limit, with ulimit -u",
        ),
        (MemoryError(), "The memory of this machine is used up; try a lower --max-memory"),
        (
            OSError(errno.ENFILE, "Too many open files in system"),
            "This machine has run out of something: Too many open",
        ),
    ],
)
def test_a_machine_that_has_no_more_of_something_is_no_surprise(capsys: Said, error: BaseException, words: str) -> None:
    assert main(SYNC, FakeJobs(error=error)) == 1
    assert capsys.readouterr().err.startswith(f"sterna: {words}")


@pytest.mark.parametrize("loud", ["-vv", ""])
def test_a_surprise_shows_where_it_came_from_to_those_who_ask(
    capsys: Said, monkeypatch: pytest.MonkeyPatch, loud: str
) -> None:
    monkeypatch.setenv("STERNA_DEBUG", "0" if loud else "1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-secret")
    assert main([*SYNC, *([loud] if loud else [])], FakeJobs(error=ZeroDivisionError("canary-secret"))) == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "fakes.py" in said
    assert "canary" not in said


def test_a_known_error_tells_more_to_those_who_ask_but_no_trace(capsys: Said) -> None:
    error = errors.AccessDenied("No.", operation="ListObjectsV2", request_id="R\x1b1")
    assert main(["ls", "s3://b-1", "-vv"], FakeJobs(error=error)) == 3
    assert capsys.readouterr().err == "sterna: No.\n  operation: ListObjectsV2\n  request_id: R\\x1b1\n"


def test_h109_ctrl_c_ends_with_130(capsys: Said) -> None:
    assert main(["ls", "s3://b-1"], FakeJobs(error=KeyboardInterrupt())) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "sterna: interrupted"
    assert main(SYNC, FakeJobs(error=KeyboardInterrupt())) == 130
    assert "INTERRUPTED" in capsys.readouterr().out


def test_h109_a_run_that_was_stopped_ends_with_the_signals_code(capsys: Said) -> None:
    async def stopped(emit: Emit, tally: Tally, stop: Stop) -> None:
        stop.request("SIGTERM", 143)

    assert main(SYNC, FakeJobs(before=stopped, summary={"uploaded": 2, "left": 3})) == 143
    assert capsys.readouterr().out.splitlines()[-1].startswith("INTERRUPTED: 2 of 5")
    assert main(SYNC, FakeJobs(before=stopped, error=errors.Interrupted("x"))) == 143


def test_h110_the_table_is_fixed() -> None:
    assert [code.value for code in ExitCode] == [0, 1, 2, 3, 4, 5, 6, 7, 129, 130, 143]
    assert all(code.meaning for code in ExitCode)


def test_every_help_text_ends_with_the_exit_codes() -> None:
    runner = CliRunner()
    for arguments in ([], *([verb] for verb in sterna.list_commands(None))):  # type: ignore[arg-type]
        result = runner.invoke(sterna, [*arguments, "--help"], obj=Invocation(FakeJobs()))
        assert result.exit_code == 0
        for code in ExitCode:
            assert f"{code.value:>3}  {code.meaning}" in result.output


def test_the_version_is_one_line() -> None:
    import sterna as library

    result = CliRunner().invoke(sterna, ["--version"])
    assert result.output == f"sterna {library.__version__}\n"


# ls, du, mb


@pytest.fixture
def _utc(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_utc")
def test_ls_prints_columns(capsys: Said) -> None:
    pages = [[Row("logs/", is_prefix=True)], [Row("a b\t.txt", 1536, 1_763_689_440 * 10**9)]]
    jobs = FakeJobs(pages=pages)
    assert main(["ls", "s3://bucket/p/"], jobs) == 0
    assert capsys.readouterr().out == (
        "                              PRE logs/\n2025-11-21 01:44:00          1536 a b\\x09.txt\n"
    )
    assert jobs.calls[0][1][0] == BucketPath("bucket", "p", True)
    assert jobs.calls[0][2] == {"recursive": False}
    main(["ls", "-r", "-h", "s3://bucket"], jobs)
    assert "      1.5 KiB a b" in capsys.readouterr().out
    assert jobs.calls[1][2] == {"recursive": True}


@pytest.mark.usefixtures("_utc")
def test_ls_without_a_location_lists_buckets(capsys: Said) -> None:
    jobs = FakeJobs(pages=[[Row("one", 0, 0)]])
    assert main(["ls"], jobs) == 0
    assert jobs.calls[0][0] == "list_buckets"
    assert capsys.readouterr().out == "1970-01-01 00:00:00 one\n"


def test_ls_as_json(capsys: Said) -> None:
    assert main(["ls", "s3://bucket", "--json"], FakeJobs(pages=[[Row(EVIL, 3)], [Row("b/", is_prefix=True)]])) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["key"], row["is_prefix"]) for row in rows] == [(EVIL, False), ("b/", True)]


def test_ls_of_an_empty_bucket_prints_nothing(capsys: Said) -> None:
    assert main(["ls", "s3://bucket"], FakeJobs()) == 0
    assert capsys.readouterr() == ("", "")


def test_du_counts(capsys: Said) -> None:
    amount = Amount(3, 3072, {"STANDARD": (2, 1024), "GLACIER": (1, 2048)})
    assert main(["du", "s3://bucket/p"], FakeJobs(amount=amount)) == 0
    assert capsys.readouterr().out.splitlines() == [
        "3 objects  3.0 KiB  3,072 bytes  s3://bucket/p",
        "1 object   2.0 KiB  2,048 bytes  of these GLACIER",
        "2 objects  1.0 KiB  1,024 bytes  of these STANDARD",
    ]
    assert main(["du", "s3://bucket/p", "-h"], FakeJobs(amount=amount)) == 0
    assert capsys.readouterr().out.splitlines()[0] == "3 objects  3.0 KiB  s3://bucket/p"


def test_du_aligns_what_is_large_with_what_is_small(capsys: Said) -> None:
    amount = Amount(12_345, 13_204_567_891, {"STANDARD": (12_344, 13_204_567_890), "GLACIER": (1, 1)})
    assert main(["du", "s3://bucket"], FakeJobs(amount=amount)) == 0
    assert capsys.readouterr().out.splitlines() == [
        "12,345 objects  12.3 GiB  13,204,567,891 bytes  s3://bucket",
        "12,344 objects  12.3 GiB  13,204,567,890 bytes  of these STANDARD",
        "     1 object      1 B                 1 byte   of these GLACIER",
    ]


def test_du_of_one_storage_class_is_one_line_and_of_nothing_too(capsys: Said) -> None:
    for amount in (Amount(2, 8, {"STANDARD": (2, 8)}), Amount(0, 0)):
        assert main(["du", "s3://bucket"], FakeJobs(amount=amount)) == 0
        assert capsys.readouterr().out == (
            f"{amount.objects} objects  {amount.bytes} B  {amount.bytes} bytes  s3://bucket\n"
        )


def test_du_as_json_is_exact(capsys: Said) -> None:
    amount = Amount(3, 2**60 + 1, {"STANDARD": (2, 2**60), "GLACIER": (1, 1)})
    assert main(["du", "s3://bucket/p", "--json", "-h"], FakeJobs(amount=amount)) == 0
    assert json.loads(capsys.readouterr().out) == {
        "type": "usage",
        "location": "s3://bucket/p",
        "objects": 3,
        "bytes": 2**60 + 1,
        "by_class": {"STANDARD": {"objects": 2, "bytes": 2**60}, "GLACIER": {"objects": 1, "bytes": 1}},
    }


def test_mb_makes_a_bucket(capsys: Said) -> None:
    jobs = FakeJobs()
    assert main(["mb", "s3://bucket", "--region", "eu-west-1"], jobs) == 0
    assert jobs.calls[0][1][0] == BucketPath("bucket", "", True)
    assert jobs.calls[0][1][1].addressing.region == "eu-west-1"
    assert capsys.readouterr().out == "It is made.\n"


# rm


def test_rm_of_one_object_does_not_ask(capsys: Said) -> None:
    jobs = FakeJobs(summary={"deleted": 1})
    assert main(["rm", "s3://bucket/key"], jobs) == 0
    assert [call[0] for call in jobs.calls] == ["rm"]
    assert jobs.calls[0][2]["recursive"] is False
    assert capsys.readouterr().out.splitlines()[-1] == "The one object is removed."


def test_rm_of_many_counts_first_and_wants_a_yes_where_nobody_can_be_asked(
    capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    jobs = FakeJobs(amount=Amount(3, 2048), summary={"deleted": 3})
    assert main(["rm", "--recursive", "s3://bucket/p"], jobs) == 5
    assert jobs.calls == []
    assert "--yes" in capsys.readouterr().err
    assert main(["rm", "--recursive", "--yes", "s3://bucket/p"], jobs) == 0
    assert [call[0] for call in jobs.calls] == ["usage", "rm"]
    said = capsys.readouterr()
    assert said.err == "removing 3 objects (2.0 KiB) below s3://bucket/p\n"
    assert said.out.splitlines()[-1] == "All 3 objects are removed."


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("answer", "code", "started"), [("y\n", 0, ["usage", "rm"]), ("n\n", 5, ["usage"]), ("\n", 5, ["usage"])]
)
def test_rm_asks_on_a_terminal(
    capsys: Said, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, started: list[str]
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    jobs = FakeJobs(amount=Amount(3, 2048), summary={"deleted": 3})
    assert main(["rm", "-r", "s3://bucket/p"], jobs) == code
    assert [call[0] for call in jobs.calls] == started
    assert "3 objects (2.0 KiB) below s3://bucket/p" in capsys.readouterr().err


def test_rm_of_a_whole_bucket_wants_a_yes_even_on_a_terminal(capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    jobs = FakeJobs(amount=Amount(3, 2048))
    for location in ("s3://bucket", "s3://bucket/"):
        assert main(["rm", "-r", location], jobs) == 5
        assert "whole bucket" in capsys.readouterr().err
    assert jobs.calls == []
    assert main(["rm", "-r", "s3://bucket", "--yes"], jobs) == 0


# check, demo


def test_check_says_what_works_and_what_to_change(capsys: Said) -> None:
    findings = [
        Found("credentials", True, "from the environment"),
        Found("clock", False, "is 20 minutes off", "set the clock"),
        Found("checksums", None, "could not be found out"),
    ]
    assert main(["check", "s3://bucket"], FakeJobs(findings=findings)) == 1
    assert capsys.readouterr().out.splitlines() == [
        "yes  credentials: from the environment",
        " NO  clock: is 20 minutes off",
        "     → set the clock",
        "  -  checksums: could not be found out",
        "s3://bucket: 1 of these must be changed.",
    ]
    assert main(["check", "s3://bucket", "--json"], FakeJobs(findings=findings[:1])) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True


def test_demo_passes_its_lines_and_its_code_on(capsys: Said) -> None:
    assert main(["demo"], FakeJobs()) == 0
    assert capsys.readouterr().out == "one line\\x1b[2J\n"


def test_output_in_a_narrow_encoding_is_escaped_and_does_not_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii"))
    assert main(["ls", "s3://bucket"], FakeJobs(pages=[[Row("é🦭")]])) == 0
    assert raw.getvalue().endswith(b"\\xe9\\U0001f9ad" + os.linesep.encode())


def test_a_closed_standard_output_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    monkeypatch.setattr("sys.stderr", None)
    assert main(SYNC, FakeJobs(outcomes=[done()])) == 0
    assert main([*SYNC, "--json"], FakeJobs(outcomes=[done()])) == 0
    assert main(["nonsense"]) == 2


def test_events_of_one_run_reach_json_once(capsys: Said) -> None:
    async def twice(emit: Emit, tally: Tally, stop: Stop) -> None:
        emit(ObjectsEnded([done("x")]))

    main([*SYNC, "--json"], FakeJobs(before=twice, outcomes=[done("y")]))
    kinds = [json.loads(line)["type"] for line in capsys.readouterr().out.splitlines()]
    assert kinds == ["run_started", "object", "object", "summary"]
