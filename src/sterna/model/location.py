"""Turn a path argument into a location: a folder or file of this machine, or a bucket and a prefix."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from sterna.model.errors import WrongSetting
from sterna.model.units import printable

# General purpose buckets (3 to 63 of a-z 0-9 . -), and the older wider rule that other servers still keep.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{1,253}[A-Za-z0-9]|[A-Za-z0-9]{3}")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


class LocalPath(msgspec.Struct, frozen=True):
    """A file or folder of this machine. ``-`` is standard input or output (``is_stream``)."""

    path: Path
    says_folder: bool = False  # the user wrote a trailing slash: one object is to go below it

    @property
    def is_stream(self) -> bool:
        return str(self.path) == "-"

    def __str__(self) -> str:
        return str(self.path)


class BucketPath(msgspec.Struct, frozen=True):
    """A bucket and what stands behind it. ``path`` is the object ``path`` or everything below ``path/``.

    It never means the lexical prefix: ``logs`` does not take ``logs_backup`` (hazard H74).
    ``says_folder`` remembers that the user wrote a trailing slash, which matters only for copying one file into it.
    """

    bucket: str
    path: str = ""
    says_folder: bool = False

    @property
    def prefix(self) -> str:
        """What every key below this location starts with: empty, or ending in a slash."""
        return self.path + "/" if self.path else ""

    def __str__(self) -> str:
        """As it can be given again: it reads back as the same place, also where the last part is empty."""
        last = "/" if self.path.endswith("/") else ""
        return f"s3://{self.bucket}/{self.path}{last}" if self.path else f"s3://{self.bucket}"


Location = LocalPath | BucketPath


def parse_location(text: str) -> Location:
    """Read a folder, ``-`` or ``s3://bucket/path``; raises WrongSetting with a sentence for anything else."""
    if not text:
        raise WrongSetting("A location is empty; give a folder or s3://bucket/prefix.")
    scheme = _SCHEME.match(text)
    if scheme is None:
        return LocalPath(Path(text), text.endswith(("/", os.sep)))
    if scheme[1].lower() != "s3":
        raise WrongSetting(f"{printable(text)}: {scheme[1]}:// is not known; give a folder or s3://bucket/prefix.")
    rest = text[scheme.end() :]
    if "@" in rest.partition("/")[0]:
        raise WrongSetting("s3:// takes no keys before @; put them into the environment or a profile.")
    if rest.startswith("arn:"):
        match = re.match(r"(arn:(?:[^:/]*:){4}[^:/]+[:/][^:/]+)(?:/|$)", rest)
        bucket = match[1] if match else rest
        path = rest[len(bucket) + 1 :]
    else:
        bucket, _, path = rest.partition("/")
    if not bucket:
        raise WrongSetting(f"{printable(text)} names no bucket; write s3://bucket or s3://bucket/prefix.")
    if not _BUCKET.fullmatch(bucket):
        raise WrongSetting(
            f"{printable(text)}: {printable(bucket)} is no bucket name, which is 3 to 63"
            " of a-z, 0-9, - and .; write s3://bucket or s3://bucket/prefix."
        )
    if "\x00" in path:
        raise WrongSetting(f"{printable(text)}: an S3 key cannot hold a NUL byte.")
    if path == "/":  # without its slash it would be the whole bucket, which is another thing to copy or to remove
        raise WrongSetting(f"{printable(text)}: the keys that begin with a slash are no location; give one of them.")
    says_folder = path.endswith("/") or not path
    return BucketPath(bucket, path.removesuffix("/"), says_folder)
