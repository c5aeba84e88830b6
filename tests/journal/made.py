"""Make routes, keys and journals for the tests of the journal."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from sterna.journal import questions
from sterna.journal.database import reading
from sterna.journal.journal import Journal
from sterna.journal.places import SUFFIX
from sterna.journal.route import Route
from sterna.journal.writer import Pace
from sterna.model.events import Summary
from sterna.model.synced import Seen, Synced

ROUTE = Route("/home/ann/photos", "s3://archive/photos", "", "https://s3.example.org")
ROOT = Path(__file__).resolve().parent.parent.parent
NOBODY = 65534
T = TypeVar("T")
SOON = Pace(rows=64, seconds=0.01)


def synced(key: str, size: int = 3, etag: str = "e") -> Synced:
    """A key that a folder and a bucket have."""
    return Synced(key, Seen(size, 17, ctime_ns=18, inode=19, device=20), Seen(size, 21, etag, "CRC64NVME:x", "v1"))


def keys(count: int, start: int = 0) -> list[str]:
    return [f"folder-{at // 100:03d}/file-{at:06d}" for at in range(start, start + count)]


def opened(state: Path, route: Route = ROUTE, *, pace: Pace = SOON, network: str = "") -> Journal:
    return Journal.open(route, state, command="sync", network=network, pace=pace)


def database(state: Path, route: Route = ROUTE) -> Path:
    return state / "journals" / f"{route.name}{SUFFIX}"


def kept(state: Path) -> list[Synced]:
    """The last-synced tree as somebody else reads it."""
    with reading(database(state)) as connection:
        return [one for page in questions.tree(connection) for one in page]


def flushed(journal: Journal) -> bool:
    return asyncio.run(journal.flushed())


def asked(journal: Journal, question: Callable[..., T], *arguments: Any) -> T:
    return asyncio.run(journal.ask(question, *arguments))


def fill(state: Path, names: Iterable[str]) -> None:
    """One run that saw these keys on both sides."""
    journal = opened(state)
    run = journal.begin()
    run.done([synced(name) for name in names])
    run.end(summary())
    assert journal.close()


def summary(exit_code: int = 0) -> Summary:
    return Summary(command="sync", source="a", destination="b", exit_code=exit_code, verdict="well", uploaded=3)


def python(script: str, *arguments: str, as_nobody: bool = False) -> subprocess.Popen[str]:
    """Another process that runs a script of ours, as another user if that is asked for and we are root."""
    user: dict[str, Any] = {}
    if as_nobody and os.geteuid() == 0:
        user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    process: subprocess.Popen[str] = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"},
        **user,
    )
    return process
