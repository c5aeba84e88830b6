"""The programs of docs/evidence.md do what it says, without Sterna."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from hashlib import sha256
from pathlib import Path

import pytest

from sterna.planning.frames import blocks
from sterna.planning.manifest import Head, ManifestWriter, Row
from sterna.wire.checksum import sum_of

_DOCUMENT = Path(__file__).resolve().parent.parent.parent / "docs" / "evidence.md"
DATA = b"the file\nitself"


@cache
def programs() -> list[str]:
    """The programs in the document: check, crc, make a proof, check a proof."""
    return re.findall(r"^```python\n(.*?)^```", _DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def run(program: str, given: bytes, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """With nothing but the standard library: no site-packages, no environment."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, *words], input=given, capture_output=True, timeout=60, cwd=cwd
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture(params=[1, 2, 3, 6, 9])
def manifest(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[bytes, str]:
    """The lines of a manifest, and its root."""
    head = Head(algorithms=[], created="", destination="d", filters=False, run="r", source="s", sterna="1")
    (tmp_path / "a.txt").write_bytes(DATA)
    rows = [Row(f"docs/{number}", number, "1", "x=", "00") for number in range(request.param - 1)]
    rows.append(Row("docs/a.txt", len(DATA), "1", "x=", sha256(DATA).hexdigest()))
    with ManifestWriter(tmp_path / "m.jsonl.zst", head) as writer:
        writer.write(rows)
        _, root = writer.finish()
    return b"".join(blocks([(tmp_path / "m.jsonl.zst").read_bytes()])), root


def test_the_whole_and_one_file_are_proved_by_hand(manifest: tuple[bytes, str], tmp_path: Path) -> None:
    check, (text, root) = programs()[0], manifest
    assert len(check.splitlines()) <= 30
    done = run(check, text, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"whole, with the root {root}\n"), done.stderr
    done = run(check, text, "docs/a.txt", "a.txt", cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[1:]) == (0, ["proved: a.txt is docs/a.txt"])


def test_what_was_changed_is_not_proved_by_hand(manifest: tuple[bytes, str], tmp_path: Path) -> None:
    check, (text, _) = programs()[0], manifest
    for wrong in (text.replace(b"docs/a.txt", b"docs/b.txt"), text.replace(b'"mtime":"1"', b'"mtime":"2"')):
        done = run(check, wrong, cwd=tmp_path)
        assert done.returncode == 1
        assert "NOT WHOLE" in done.stderr
    (tmp_path / "a.txt").write_bytes(DATA + b"!")
    for key in ("docs/a.txt", "docs/none"):
        done = run(check, text, key, "a.txt", cwd=tmp_path)
        assert done.returncode == 1
        assert "NOT PROVED" in done.stderr


def test_crc64nvme_by_hand(tmp_path: Path) -> None:
    for data in (b"", b"123456789", DATA, bytes(range(256)) * 3):
        assert run(programs()[1], data, cwd=tmp_path).stdout.strip() == sum_of("CRC64NVME", data)


def test_one_line_is_proved_by_hand(manifest: tuple[bytes, str], tmp_path: Path) -> None:
    _, root = manifest
    made = subprocess.run(
        [sys.executable, "-c", programs()[2]], capture_output=True, check=True, timeout=60, cwd=tmp_path
    )
    assert run(programs()[3], made.stdout, cwd=tmp_path).stdout == f"{root}\n"
    said = json.loads(made.stdout)
    said["line"] = said["line"].replace("docs/a", "docs/b")
    assert run(programs()[3], json.dumps(said).encode(), cwd=tmp_path).stdout.strip() != root
    said["path"] = said["path"][:-1]
    assert run(programs()[3], json.dumps(said).encode(), cwd=tmp_path).stdout.strip() != root
