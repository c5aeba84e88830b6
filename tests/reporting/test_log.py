"""The log file: events in, lines out."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from sterna.model.errors import AccessDenied, WrongSetting
from sterna.model.events import Notice, ObjectsEnded, RunEnded, RunStarted, Summary
from sterna.model.outcomes import Outcome, Status
from sterna.reporting.log import COLUMNS, LogFile, iso_time

WHEN = 1_763_689_440.25


def log_at(path: Path) -> LogFile:
    return LogFile(path, clock=lambda: WHEN)


def done(key: str, **members: object) -> Outcome:
    return Outcome("upload", key, Status.DONE, size=4096, moved=4096, seconds=0.5, **members)  # type: ignore[arg-type]


def test_a_line_for_each_object_and_notes_in_comments(tmp_path: Path) -> None:
    log = log_at(tmp_path / "log")
    log(RunStarted("sync", "/data", "s3://b/p", WHEN))
    log(ObjectsEnded([done("a/b.txt", proof="listed with the same checksum"), done("c")]))
    log(Notice("The clock is off by 3 s.", "warning"))
    log(RunEnded(Summary(command="sync", source="/data", destination="s3://b/p", verdict="All is well.")))
    log.close()
    assert (tmp_path / "log").read_text().splitlines() == [
        "# 2025-11-21T01:44:00.250Z sync /data → s3://b/p",
        "# " + "\t".join(COLUMNS),
        "2025-11-21T01:44:00.250Z\tupload\ta/b.txt\t4096\t0.500\t8.0 KiB/s\t1\tdone: listed with the same checksum",
        "2025-11-21T01:44:00.250Z\tupload\tc\t4096\t0.500\t8.0 KiB/s\t1\tdone",
        "# 2025-11-21T01:44:00.250Z warning: The clock is off by 3 s.",
        "# 2025-11-21T01:44:00.250Z exit code 0: All is well.",
    ]


def test_a_failure_carries_the_servers_words_and_its_request_id(tmp_path: Path) -> None:
    error = AccessDenied("The server refused.", code="AccessDenied", words="not yours", request_id="REQ1")
    error.attempts = 3
    log = log_at(tmp_path / "log")
    log(ObjectsEnded([done("k").fail(error)]))
    line = (tmp_path / "log").read_text()
    assert line.endswith('\t3\tfailed: The server refused (the server said "not yours"; request id REQ1; 3 attempts)\n')


EVIL = "x\n2025-01-01\tupload\tfake\t1\r\x1b]52;c;ZXZpbA==\x07\x1b[2J\x9b31m\u202egpj.exe\u2028\x7f\udcff"


def test_h103_a_key_cannot_forge_a_line_a_column_or_a_terminal_command(tmp_path: Path) -> None:
    log = log_at(tmp_path / "log")
    log(RunStarted("sync", EVIL, EVIL, WHEN))
    log(
        ObjectsEnded(
            [done(EVIL), Outcome("upload", EVIL, Status.FAILED, error=EVIL, error_words=EVIL, request_id=EVIL)]
        )
    )
    log(Notice(EVIL))
    log(RunEnded(Summary(command="sync", source="", destination="", verdict=EVIL)))
    text = (tmp_path / "log").read_text()
    assert len(text.splitlines()) == 6
    assert all(character.isprintable() for character in text if character not in "\n\t")
    assert all(line.count("\t") == len(COLUMNS) - 1 for line in text.splitlines() if not line.startswith("# 2025"))


def test_h98_a_new_log_is_its_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        log_at(tmp_path / "log").close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o600


def test_a_second_run_appends(tmp_path: Path) -> None:
    for key in ("a", "b"):
        log = log_at(tmp_path / "log")
        log(ObjectsEnded([done(key)]))
        log.close()
    assert len((tmp_path / "log").read_text().splitlines()) == 2


def test_each_batch_is_in_the_file_before_the_next(tmp_path: Path) -> None:
    log = log_at(tmp_path / "log")
    log(ObjectsEnded([done("a")]))
    assert "\ta\t" in (tmp_path / "log").read_text()
    log.close()
    log.close()


def test_a_log_that_cannot_be_opened_is_refused_at_the_door(tmp_path: Path) -> None:
    with pytest.raises(WrongSetting, match="cannot be opened: No such file or directory"):
        LogFile(tmp_path / "missing" / "log")
    with pytest.raises(WrongSetting, match="cannot be opened: Is a directory"):
        LogFile(tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_kept_for_the_end() -> None:
    log = LogFile(Path("/dev/full"))
    log(ObjectsEnded([done("a")]))
    log(ObjectsEnded([done("b")]))
    assert log.error == "The log file /dev/full is not complete: No space left on device."
    log.close()


def test_h96_what_a_server_echoes_of_credentials_does_not_reach_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-secret")
    log = log_at(tmp_path / "log")
    words = "https://canary-user:canary-pass@proxy failed for ?X-Amz-Signature=canary-sig&x=1 with canary-secret"
    log(ObjectsEnded([Outcome("upload", "k", Status.FAILED, error=words, error_words="Authorization: canary-auth x")]))
    log(Notice(words))
    assert "canary" not in (tmp_path / "log").read_text()


def test_times_are_utc_with_milliseconds() -> None:
    assert iso_time(0) == "1970-01-01T00:00:00.000Z"
