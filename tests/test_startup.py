"""Hold what commands import: version, help and usage errors load nothing heavy, a run no more than it needs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sterna
from tests.conftest import Done, Sterna
from tests.servers.oracle import Bucket

ONE_SERVER_IS_ENOUGH = True

# Each costs 3 to 160 ms; together they would make `sterna --version` five times slower.
_DENIED = {"asyncio", "awscrt", "botocore", "msgspec", "rich", "sqlite3", "ssl", "uvloop"}

# What a run that finds all in place does without; each costs 0.3 to 40 ms. Ours are those that would load the others,
# or that are for another direction, for deletions, for comparing contents, for files of plans.
_NEEDLESS = {
    "_awscrt", "backports.zstd", "botocore", "email", "json", "mimetypes", "rich", "tempfile", "xml",
    "sterna.config", "sterna.jobs.between", "sterna.jobs.contents", "sterna.jobs.copying", "sterna.jobs.deleting",
    "sterna.moving.copy", "sterna.moving.delete", "sterna.planning.planfile", "sterna.planning.verify",
}  # fmt: skip
_OF_UPLOADS = {"sterna.moving.media", "sterna.moving.upload", "sterna.stores.multipart"}
_OF_DOWNLOADS = {"sterna.moving.download", "sterna.moving.sink", "sterna.moving.writer"}

_IMPORTED = re.compile(r"import time:\s+\d+ \|\s+\d+ \|\s+(\S+)")


def _run(*arguments: str) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """Run the command, and name the top-level modules that it imported."""
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "sterna", *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )
    return run, {name.split(".")[0] for name in _IMPORTED.findall(run.stderr)}


def test_the_version_is_printed() -> None:
    run, _ = _run("--version")
    assert run.returncode == 0
    assert sterna.__version__ in run.stdout


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (["--version"], 0),
        (["--help"], 0),
        (["sync", "--help"], 0),
        (["copy", "--help"], 0),
        (["snyc"], 2),
        (["sync"], 2),
        (["sync", "--no-such-option", "a", "s3://b"], 2),
        (["sync", "--part-size", "many", "a", "s3://b"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_quick_commands_import_nothing_heavy(arguments: list[str], exit_code: int) -> None:
    run, imported = _run(*arguments)
    assert run.returncode == exit_code, run.stderr[-2000:]
    assert "sterna" in imported, "the list of imports was not read"
    assert ("click" in imported) == (arguments != ["--version"])
    assert not imported & _DENIED


def test_importing_the_library_imports_nothing_heavy() -> None:
    run = subprocess.run(
        [sys.executable, "-c", "import sys, sterna; print(*{name.split('.')[0] for name in sys.modules})"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert not set(run.stdout.split()) & (_DENIED | {"click"})


@pytest.mark.parametrize("verb", ["sync", "copy"])
@pytest.mark.slow
def test_a_run_that_finds_all_in_place_imports_only_what_it_needs(
    verb: str, sterna: Sterna, bucket: Bucket, tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    (here / "a").write_bytes(b"a")
    os.utime(here / "a", ns=(10**18, 10**18))

    def imported(run: Done) -> set[str]:
        assert run.code == 0, run.err[-2000:]
        assert "unchanged" in run.verdict
        return set(_IMPORTED.findall(run.err))

    up, down = (verb, here, bucket.url("p")), (verb, bucket.url("p"), there)
    assert sterna(*up).code == sterna(*down).code == 0
    told = {"PYTHONPROFILEIMPORTTIME": "1"}
    uploading, downloading = imported(sterna(*up, env=told)), imported(sterna(*down, env=told))
    assert "sterna.moving.upload" in uploading, "the list of imports was not read"
    assert not uploading & (_NEEDLESS | _OF_DOWNLOADS)
    assert not downloading & _NEEDLESS
