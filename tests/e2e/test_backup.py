"""Backups through the command: killed at any moment, and then only what was missing is sent."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Done, Sterna
from tests.e2e.trees import MIB, failures, plant, records, summary
from tests.faults import front as f
from tests.faults.front import Front, StallBeforeAnswer
from tests.servers.oracle import Bucket

ONE_SERVER_IS_ENOUGH = True
pytestmark = pytest.mark.slow

FILES = {f"d{number % 3}/{number:03d}": b"%d" % number * 50 for number in range(60)}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return plant(tmp_path / "tree", FILES)


def state(path: Path, root: Path) -> dict[str, int]:
    """What a state file says of each file, by its key."""
    listed: list[dict[str, Any]] = json.loads(path.read_bytes())
    return {str(Path(one["filepath"]).relative_to(root)): one["uploadedSuccess"] for one in listed}


def killed(sterna: Sterna, front: Front, *arguments: str | Path, after: int) -> None:
    """Start a command, and kill it when the server has done the n-th PUT and holds its answer back."""
    stalled = front.fault("Put", kind=StallBeforeAnswer(), nth=f"from {after}th")
    run = sterna.start(*arguments)
    stalled.wait_until_hit()
    run.kill()
    run.wait()
    front.remove(stalled)


@pytest.mark.parametrize("after", [1, 20, 59])
def test_kill_9_in_mid_run_then_crashrun_sends_exactly_what_is_missing(
    sterna: Sterna, front: Front, bucket: Bucket, source: Path, tmp_path: Path, after: int
) -> None:
    path = tmp_path / "state.json"
    told = ("backup", source, bucket.url("p"), "--state-file", path, "--no-manifest", "--workers", "1")
    killed(sterna, front, *told, after=after)
    there = {key.removeprefix("p/") for key in bucket.contents()}
    assert len(there) == after
    said = state(path, source)
    assert said.keys() == FILES.keys(), "all are listed, also those that the run has never come to"
    assert {key for key, is_there in said.items() if is_there} <= there, "and nothing is said to be there that is not"

    front.forget()
    plant(source, {"new": b"since then"})
    again = sterna("backup", source, bucket.url("p"), "--state-file", path, "--crashrun", "--no-manifest")
    assert again.code == 0, again.err
    assert {one.key for one in front.requests_of("Put")} == {f"p/{key}" for key in FILES.keys() - there}
    assert front.count("Put") == len(FILES.keys() - there)
    assert state(path, source) == dict.fromkeys(FILES, 1)
    assert bucket.contents("p/") == {f"p/{key}": data for key, data in FILES.items()}
    assert [name for name in tmp_path.iterdir() if name.suffix == ".part"] == []


@pytest.mark.parametrize("how", [("backup", "--crashrun"), ("retry",)], ids=" ".join)
def test_kill_9_without_a_state_file_then_all_is_looked_at_and_only_the_missing_sent(
    sterna: Sterna, front: Front, bucket: Bucket, source: Path, how: tuple[str, ...]
) -> None:
    killed(sterna, front, "backup", source, bucket.url("p"), "--no-manifest", "--workers", "1", after=30)
    there = set(bucket.contents())
    front.forget()
    verb, *options = how
    listed, shown = sterna("runs").out, sterna("runs", "show").out
    assert "it was killed, and how much it did is not known; sterna retry" in listed
    assert "cut off: it was killed, and how much it did is not known" in shown
    assert "moved" not in listed + shown
    again = sterna(verb, *((source, bucket.url("p"), "--no-manifest") if verb == "backup" else ()), *options)
    assert again.code == 0, again.err
    assert "ended before all was listed, so what it left is not known: everything is looked at" in again.err
    assert {one.key for one in front.requests_of("Put")} == {f"p/{key}" for key in FILES} - there
    assert bucket.contents("p/") == {f"p/{key}": data for key, data in FILES.items()}


def test_kill_9_while_the_folder_is_listed_leaves_a_list_that_says_that_nothing_is_known(
    sterna: Sterna, front: Front, bucket: Bucket, source: Path, tmp_path: Path
) -> None:
    path = tmp_path / "state.json"
    told = ("backup", source, bucket.url("p"), "--state-file", path, "--no-manifest")
    assert sterna(*told).code == 0
    plant(source, {"new": b"new"})
    stalled = front.fault(("HeadBucket", "ListV2"), kind=StallBeforeAnswer(), nth="always")
    run = sterna.start(*told)
    stalled.wait_until_hit()
    run.kill()
    run.wait()
    front.remove(stalled)
    front.forget()
    assert state(path, source).keys() >= FILES.keys()
    path.write_text("[]\n")  # as the run leaves it a moment later
    again = sterna(*told, "--crashrun")
    assert again.code == 0, again.err
    assert [one.key for one in front.requests_of("Put")] == ["p/new"]


def test_failures_stand_in_the_state_file_and_are_sent_by_retry(
    sterna: Sterna, front: Front, bucket: Bucket, source: Path, tmp_path: Path
) -> None:
    path = tmp_path / "state.json"
    refused = front.fault("Put", kind=f.ACCESS_DENIED, nth="always", key=re.compile("p/d0/.*"))
    first = sterna("backup", source, bucket.url("p"), "--state-file", path, "--json", "--storage-class", "STANDARD_IA")
    bad = {key for key in FILES if key.startswith("d0/")}
    assert first.code == 1
    assert failures(first).keys() >= bad
    assert {key for key, is_there in state(path, source).items() if not is_there} == bad
    errors = {one["error"] for one in json.loads(path.read_bytes()) if not one["uploadedSuccess"]}
    assert all(errors)

    front.remove(refused)
    front.forget()
    shown = sterna("runs", "show")
    assert f"sterna retry {shown.out.split()[1]} does what it left" in shown.out
    named = [line for line in shown.out.splitlines() if line.startswith("failed ")]
    assert len(named) >= len(bad)
    assert all(any(line.endswith(error) for error in errors) for line in named if " manifest " not in line), named
    done = sterna("retry", "--state-file", path, "--json", cwd=tmp_path)
    assert (done.code, summary(done)["uploaded"]) == (0, len(bad)), done.err
    assert {summary(done)["command"], json.loads(done.out.splitlines()[0])["command"]} == {"backup"}
    listed = [json.loads(line) for line in sterna("runs", "--json").out.splitlines()]
    assert {one["options"]["source"] for one in listed} == {str(source)}
    assert listed[0]["options"]["told"]["upload"]["storage_class"] == "STANDARD_IA"
    assert {one["key"] for one in records(done)} == bad
    assert {one.headers["x-amz-storage-class"] for one in front.requests_of("Put")} == {"STANDARD_IA"}
    assert state(path, source) == dict.fromkeys(FILES, 1)
    nothing = sterna("retry")
    assert (nothing.code, nothing.out.count("\n")) == (0, 1)
    assert nothing.verdict.startswith("Nothing is left to do of the run ")
    again = sterna("backup", source, bucket.url("p"), "--state-file", path, "--crashrun")
    assert (again.code, again.out.count("\n"), "Nothing is left" in again.err) == (0, 1, False)


def test_a_state_file_goes_with_one_destination(
    sterna: Sterna, front: Front, bucket: Bucket, source: Path, tmp_path: Path
) -> None:
    """By the 1s of a state file of another place nothing is left to do; and by the last run it would go elsewhere."""
    path, other = tmp_path / "a.json", tmp_path / "b.json"
    refused = front.fault("Put", kind=f.ACCESS_DENIED, nth="always", key=re.compile("a/d0/.*"))
    first = sterna("backup", source, bucket.url("a"), "--state-file", path, "--no-manifest")
    assert first.code == 1
    front.remove(refused)
    wrong = sterna("backup", source, bucket.url("c"), "--state-file", path, "--crashrun")
    assert (wrong.code, len(wrong.err.strip().splitlines())) == (2, 1)
    assert f"of a backup to {bucket.url('a')} at" in wrong.err
    assert bucket.url("c") in wrong.err
    assert sterna("backup", source, bucket.url("b"), "--state-file", other, "--no-manifest").code == 0
    front.forget()
    again = sterna("retry", "--state-file", path)
    assert again.code == 0, again.err
    assert f"is tried again: {source} → {bucket.url('a')} at" in again.err
    assert {one.key.split("/")[0] for one in front.requests_of("Put")} == {"a"}
    assert len(bucket.contents("a/")) == len(FILES)
    assert bucket.contents("c/") == {}
    nobody = sterna("retry", "--state-file", shutil.copy(path, tmp_path / "copy.json"))
    assert (nobody.code, "knows a run that kept the state file" in nobody.err) == (2, True)


def test_a_backup_makes_its_bucket_and_leaves_a_manifest(sterna: Sterna, bucket: Bucket, source: Path) -> None:
    name = f"{bucket.name}-made"
    done = sterna("backup", source, f"s3://{name}/p", "--region", bucket.oracle.server.region)
    assert done.code == 0, done.err
    assert f"s3://{name} is made, in the region" in done.err
    made = bucket.oracle.bucket(name)
    keys = list(made.contents())
    assert {key for key in keys if "/.sterna/" not in key} == {f"p/{key}" for key in FILES}
    assert sum("/.sterna/manifests/" in key for key in keys) == 1
    again = sterna("backup", source, f"s3://{name}/p", "--no-manifest")
    assert (again.code, "is made" in again.err) == (0, False)
    assert "60 unchanged" in again.verdict
    made.remove()


def test_large_files_go_in_one_request_with_their_md5(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path
) -> None:
    source = plant(tmp_path / "large", {"ten": b"x" * (10 * MIB), "twenty": b"y" * (20 * MIB)})
    told = ("--md5", "--single-part-max", "12MiB", "--no-manifest", "--max-memory", "64MiB")
    done = sterna("backup", source, bucket.url("p"), *told)
    assert done.code == 0, done.err
    assert [(one.key, "content-md5" in one.headers) for one in front.requests_of("Put")] == [("p/ten", True)]
    assert [one.key for one in front.requests_of("CreateMPU")] == ["p/twenty"]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--single-part-max", "1MiB"), "--single-part-max is for --md5"),
        (("--md5", "--single-part-max", "6GiB"), "more than 5.0 GiB, the most that S3 takes in one request"),
        (("--compare", "size"), "'size' is not one of 'auto', 'checksum'"),
        (("--no-fsync",), "No such option"),
        (("--on-collision", "skip"), "'skip' is not 'escape'"),
        (("--state-file", ""), "--state-file is empty"),
        (("--no-manifest", "--sha256"), "--sha256 is for the manifest, which --no-manifest leaves out"),
        (("--no-journal", "--manifest-file", "x"), "which --no-journal leaves out"),
        (("--no-journal", "--retry-failed"), "--retry-failed goes by the journal or by a state file"),
        (("--delete",), "No such option"),
        (("--state-file", "notes"), "no state file"),
        (("--state-file", "none/none", "--crashrun"), "there is no such folder"),
    ],
)
def test_what_contradicts_itself_is_refused_in_one_sentence(
    sterna: Sterna, bucket: Bucket, source: Path, options: tuple[str, ...], words: str
) -> None:
    (sterna.home / "notes").write_text("mine")
    done: Done = sterna("backup", source, bucket.url("p"), *options)
    assert done.code == 2, done.err
    assert words in done.err
    assert len(done.err.strip().splitlines()) == 1, done.err
    assert bucket.contents() == {}
    assert (sterna.home / "notes").read_text() == "mine"
