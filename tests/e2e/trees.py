"""Make trees of files, read them back, and read what the command said of them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.conftest import Done

MIB = 1024 * 1024
LONG_AGO_NS = 1_500_000_000_123_456_789


def plant(root: Path, files: Mapping[str, bytes], mtime_ns: int = LONG_AGO_NS) -> Path:
    """Write the files below ``root``, each a second older than the one before it; gives the root."""
    root.mkdir(parents=True, exist_ok=True)
    for number, (name, data) in enumerate(files.items()):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, ns=(mtime_ns - number * 10**9, mtime_ns - number * 10**9))
    return root


def tree(root: Path) -> dict[str, bytes]:
    """Every file below ``root`` with its bytes; a link or a special file shows as what it is."""
    return {name: path.read_bytes() if path.is_file() else b"<special>" for name, path in _files(root)}


def mtimes(root: Path) -> dict[str, int]:
    """Every file below ``root`` with its time of modification."""
    return {name: path.lstat().st_mtime_ns for name, path in _files(root)}


def leftovers(root: Path) -> list[str]:
    """Unfinished files of ours that were left behind."""
    return [name for name, _ in _files(root) if name.rpartition("/")[2].startswith(".sterna-")]


def _files(root: Path) -> list[tuple[str, Path]]:
    found = []
    for folder, _, names in os.walk(root):
        found += [(str((Path(folder) / name).relative_to(root)), Path(folder) / name) for name in names]
    return sorted(found)


def records(done: Done, kind: str = "object") -> list[dict[str, Any]]:
    """The records of one kind in what ``--json`` wrote."""
    return [record for record in map(json.loads, done.out.splitlines()) if record["type"] == kind]


def summary(done: Done) -> dict[str, Any]:
    """The last record in what ``--json`` wrote."""
    return records(done, "summary")[-1]


def failures(done: Done) -> dict[str, str]:
    """The error of each failed key, out of the records of ``--json``."""
    return {record["key"]: record["error"] for record in records(done) if record["status"] == "failed"}
