"""A folder and a bucket of a point's own: filled, looked at, and held against what they should hold."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.servers.oracle import Bucket

LONG_AGO_NS = 1_500_000_000_123_456_000
_SECOND_NS = 1_000_000_000

# What one run puts into the trash lies below a name of its own.
_OF_A_RUN = re.compile(r"^[^/]+/")


class Kept(NamedTuple):
    """What stands under a name: its bytes, and of when they are."""

    data: bytes
    mtime_ns: int


Files = Mapping[str, bytes]
Stand = dict[str, Kept]


def mtime_of(files: Files, name: str, version: int) -> int:
    """The time of a file: each name and each version has its own."""
    return LONG_AGO_NS + (version * 1000 + sorted(files).index(name)) * _SECOND_NS


def stand(files: Files, version: int) -> Stand:
    """What a place holds when these files were put there as this version."""
    return {name: Kept(data, mtime_of(files, name, version)) for name, data in files.items()}


class FolderPlace:
    """A folder as one side of a run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def address(self) -> str:
        return str(self.path)

    def fill(self, files: Stand) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        for name, kept in files.items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(kept.data)
            os.utime(path, ns=(kept.mtime_ns, kept.mtime_ns))

    def empty(self) -> None:
        for path in sorted(self.path.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()

    def holds(self) -> Stand:
        found: Stand = {}
        for folder, _, names in os.walk(self.path):
            for name in names:
                path = Path(folder) / name
                found[str(path.relative_to(self.path))] = Kept(path.read_bytes(), path.stat().st_mtime_ns)
        return found

    def mark(self, name: str) -> dict[str, int | str]:
        """By what the journal knows the file."""
        status = (self.path / name).stat()
        return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "ctime_ns": status.st_ctime_ns,
                "inode": status.st_ino}  # fmt: skip


class BucketPlace:
    """A prefix of a bucket as one side of a run."""

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        self.bucket = bucket
        self.prefix = f"{prefix}/"

    @property
    def address(self) -> str:
        return self.bucket.url(self.prefix.rstrip("/"))

    def fill(self, files: Stand) -> None:
        for name, kept in files.items():
            seconds, rest = divmod(kept.mtime_ns, _SECOND_NS)
            self.bucket.put(self.prefix + name, kept.data, {"x-amz-meta-mtime": f"{seconds}.{rest:09d}"})

    def empty(self) -> None:
        for key in self.bucket.keys(self.prefix):
            self.bucket.delete(key)

    def holds(self) -> Stand:
        found: Stand = {}
        for key in self.bucket.keys(self.prefix):
            answer = self.bucket.oracle.must("GET", self.bucket.name, key)
            seconds, _, rest = answer.headers.get("x-amz-meta-mtime", "0").partition(".")
            found[key.removeprefix(self.prefix)] = Kept(answer.body, int(seconds) * _SECOND_NS + int(f"{rest:0<9}"))
        return found

    def mark(self, name: str) -> dict[str, int | str]:
        headers = self.bucket.head(self.prefix + name)
        assert headers is not None
        return {"size": int(headers["content-length"]), "etag": headers["etag"]}


Place = FolderPlace | BucketPlace


def is_ours(name: str) -> bool:
    """Whether a name is one of an unfinished file, or in a folder, of ours."""
    return any(part.startswith(".sterna-") for part in name.split("/"))


def without_run(name: str) -> str:
    """The key of what lies in the trash."""
    return _OF_A_RUN.sub("", name)
