"""Buckets of the test servers as sides, locations and keys; and files that rest."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from sterna.model.location import BucketPath, parse_location
from sterna.model.synced import calm
from sterna.wire.endpoints import Addressing
from sterna.wire.side import Side
from tests.servers.oracle import Bucket
from tests.servers.server import Server

# Names that something on the way may change, cut or trip over.
ODD = [
    "a b",
    "+",
    "%41",
    "é",
    "😀",
    "<&>\"'",
    "]]>",
    "\x01x",
    "new\nline",
    "tab\t",
    "cr\r",
    " lead",
    "trail ",
    "\x7f",
    "\uffff",
]


def side_of(server: Server, monkeypatch: pytest.MonkeyPatch) -> Side:
    """The side of a server, with its keys in the environment."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    return Side(addressing=Addressing(urls=(server.endpoint_url,), region=server.region))


def at(bucket: Bucket, path: str = "") -> BucketPath:
    location = parse_location(bucket.url(path))
    assert isinstance(location, BucketPath)
    return location


def fill(bucket: Bucket, *keys: str) -> None:
    for key in keys:
        bucket.put(key, b"x" * 3)


def rested(path: Path) -> Path:
    """The same file, some milliseconds after it was changed: before, it might be changed again unseen, and is compared."""
    while calm(path.stat().st_ctime_ns, time.time_ns()) == 0:
        pass
    return path
