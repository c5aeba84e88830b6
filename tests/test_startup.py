"""Hold what the quick commands import: version, help and usage errors load nothing heavy."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import sterna

# Each costs 3 to 160 ms; together they would make `sterna --version` five times slower.
_DENIED = {"asyncio", "awscrt", "botocore", "msgspec", "rich", "sqlite3", "ssl", "uvloop"}
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
