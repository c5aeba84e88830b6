"""The options of restore: what they come to, and what is refused before anything is asked."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from sterna.cli.main import main
from sterna.jobs.thaw import Thawing
from sterna.model.location import BucketPath, LocalPath
from sterna.planning.archive import Tier
from tests.cli.fakes import FakeJobs

BUCKET = "s3://bucket/p"


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["folder", "folder2"], "is no bucket"),
        ([BUCKET, "s3://bucket/q"], "restore writes to a folder"),
        ([BUCKET, "-"], "restore writes to a folder"),
        ([BUCKET, "t", "--tier", "bulk"], "--tier is for --request-restore"),
        ([BUCKET, "t", "--days", "3"], "--days is for --request-restore"),
        ([BUCKET, "t", "--wait-interval", "3"], "--wait-interval is for --wait"),
        ([BUCKET, "t", "--at", "tomorrow"], "--at tomorrow: it is no duration and no date"),
        ([BUCKET, "t", "--at", "2999-01-01"], "is still to come"),
        ([BUCKET, "t", "--at", ""], "--at"),
        ([BUCKET, "t", "--request-restore", "--tier", "slow"], "'slow' is not one of"),
        ([BUCKET, "t", "--storage-class", "GLACIER"], "No such option"),
    ],
)
def test_what_contradicts_itself_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    jobs = FakeJobs()
    assert main(["restore", *arguments], jobs) == 2
    assert words in capsys.readouterr().err
    assert jobs.calls == []


def test_what_is_said_is_what_the_job_is_told(tmp_path: Path) -> None:
    jobs = FakeJobs()
    said = ["--at", "3d", "--request-restore", "--tier", "expedited", "--days", "2", "--wait", "--wait-interval", "5"]
    assert main(["restore", BUCKET, str(tmp_path), *said, "--dry-run"], jobs) == 0
    [(name, (source, target, _), more)] = jobs.calls
    assert (name, source, target) == ("restore", BucketPath("bucket", "p"), LocalPath(tmp_path))
    assert more["how"] == Thawing(is_requested=True, tier=Tier.EXPEDITED, days=2, waits=True, interval_s=5.0)
    assert more["at"].ns == pytest.approx(time.time_ns() - 3 * 86_400 * 10**9, abs=60 * 10**9)
    assert more["dry_run"] is True


def test_without_options_nothing_is_asked_for_and_nothing_waited_for(tmp_path: Path) -> None:
    jobs = FakeJobs()
    assert main(["restore", BUCKET, str(tmp_path)], jobs) == 0
    [(_, _, more)] = jobs.calls
    assert (more["at"], more["how"], more["dry_run"]) == (None, Thawing(), False)
