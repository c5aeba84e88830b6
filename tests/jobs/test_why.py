"""The reason that is given for one key is the one by which a sync goes, with a journal too."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sterna.cli.cmd_why import _lines
from sterna.jobs.settings import Settings
from sterna.jobs.sync import sync
from sterna.jobs.why import Reason, why
from sterna.journal.database import journals, reading
from sterna.journal.journal import Journal
from sterna.journal.questions import route_of
from sterna.model.events import Event, ObjectsEnded
from sterna.model.location import parse_location
from sterna.model.outcomes import Status
from sterna.model.synced import Seen, Synced
from sterna.wire.side import Side
from tests.servers.oracle import Bucket

ONE_SERVER_IS_ENOUGH = True

LONG_AGO_NS = 1_500_000_000_123_456_789


class Pair:
    """A folder and a place in a bucket, synced both ways: whatever is done then, both directions have a journal of it."""

    def __init__(self, bucket: Bucket, side: Side, folder: Path) -> None:
        self.bucket, self.folder = bucket, folder
        self.settings = Settings(source=side, destination=side)
        self.ends = {"up": (str(folder), bucket.url("p")), "down": (bucket.url("p"), str(folder))}
        folder.mkdir()
        for name in ("deep/er/a", "b"):
            self.put(name, "one")
        self.sync("up")
        self.sync("down")
        self.sync("up")  # with the times of files that were still too new to be noted

    def put(self, name: str, content: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))

    def sync(self, direction: str, *, dry_run: bool = False) -> dict[str, str]:
        """What is moved, or would be: keys and their reasons."""
        moved: dict[str, str] = {}

        def emit(event: Event) -> None:
            if isinstance(event, ObjectsEnded):
                moved.update(
                    (one.key, one.because) for one in event.outcomes if one.status in (Status.DONE, Status.PLANNED)
                )

        source, target = map(parse_location, self.ends[direction])
        asyncio.run(sync(source, target, self.settings, emit=emit, dry_run=dry_run))
        return moved

    def why(self, key: str, direction: str) -> Reason:
        source, target = map(parse_location, self.ends[direction])
        return asyncio.run(why(key, source, target, self.settings))


@pytest.fixture
def pair(bucket: Bucket, side: Side, tmp_path: Path) -> Pair:
    return Pair(bucket, side, tmp_path / "here")


def replace_object(pair: Pair, data: bytes) -> None:
    pair.bucket.put("p/deep/er/a", data)


def put_back(pair: Pair) -> None:
    path = pair.folder / "deep/er/a"
    path.write_text("one")
    path.chmod(0o600)


CHANGES: dict[str, Callable[[Pair], None]] = {
    "nothing": lambda pair: None,
    "content, with size and time put back": lambda pair: pair.put("deep/er/a", "two"),
    "mode": lambda pair: (pair.folder / "deep/er/a").chmod(0o600),
    "another time, the same content": put_back,
    "object replaced": lambda pair: replace_object(pair, b"two"),
    "object replaced by the same": lambda pair: replace_object(pair, b"one"),
    "size": lambda pair: pair.put("deep/er/a", "longer"),
    "new file": lambda pair: pair.put("new", "n"),
}


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("change", CHANGES)
def test_whatever_was_done_since_the_last_run_the_reason_is_the_one_of_a_sync(
    pair: Pair, change: str, direction: str
) -> None:
    CHANGES[change](pair)
    planned = pair.sync(direction, dry_run=True)
    for key in ("deep/er/a", "b", "new"):
        reason = pair.why(key, direction)
        would = {key: reason.because} if reason.would in ("upload", "download") else {}
        assert would == ({key: planned[key]} if key in planned else {}), (key, reason)


def test_it_tells_what_the_last_run_saw(pair: Pair) -> None:
    kept = pair.why("deep/er/a", "up")
    assert (kept.would, kept.because) == ("keep", "both sides are as they were when they were last synced")
    before = pair.bucket.head("p/deep/er/a")
    assert before is not None
    pair.bucket.put("p/deep/er/a", b"two")
    reason = pair.why("deep/er/a", "up")
    assert reason.would == "upload"
    assert reason.listed == "the object was replaced since it was last synced"
    assert reason.last_source is not None
    assert reason.last_destination is not None
    assert (reason.last_source.size, reason.last_source.mtime_ns) == (3, LONG_AGO_NS)
    assert reason.last_destination.etag == before["etag"].strip('"') != reason.destination.etag
    assert any(line.startswith("last synced  source 3 bytes, changed 2017-07-14 ") for line in _lines(reason))
    pair.put("new", "n")
    assert pair.why("new", "up").last_source is None


def test_a_key_far_beyond_the_first_rows_of_a_journal_is_known(pair: Pair, state: Path) -> None:
    up = pair.ends["up"]
    for path in journals(state):
        with reading(path) as connection:
            route = route_of(connection)
        journal = Journal.open(route, state, command="test")
        run = journal.begin(source=up[0], target=up[1])
        run.done([Synced(f"a/{number:06}", Seen(1, 1), Seen(1, 0, "etag")) for number in range(25_000)])
        asyncio.run(journal.closed())
    pair.put("deep/er/a", "two")
    assert pair.why("b", "up").because == "both sides are as they were when they were last synced"
    reason = pair.why("deep/er/a", "up")
    assert (reason.would, {"deep/er/a": reason.because}) == ("upload", pair.sync("up", dry_run=True))
