"""A dry run as the library gives it: nothing is written, and the summary says what would be."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sterna.jobs.settings import Settings
from sterna.jobs.sync import sync
from sterna.model.events import Event, ObjectsEnded, Planned
from sterna.model.location import parse_location
from sterna.model.outcomes import Status
from sterna.wire.side import Side
from tests.servers.oracle import Bucket


def test_what_would_be_uploaded_is_planned_and_the_verdict_says_so(bucket: Bucket, side: Side, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 1024)
    (tmp_path / "b").write_bytes(b"x" * 1024)
    events: list[Event] = []
    settings = Settings(source=side, destination=side)
    summary = asyncio.run(
        sync(parse_location(str(tmp_path)), parse_location(bucket.url("p")), settings, emit=events.append, dry_run=True)
    )
    assert (summary.exit_code, summary.planned, summary.skipped, summary.uploaded) == (0, 2, 0, 0)
    assert summary.planned_by_verb == {"upload": Planned(2, 2048)}
    assert summary.verdict == (
        "Dry run, nothing was changed: it would upload 2 objects (2.0 KiB); 0 objects would stay as they are."
    )
    outcomes = [one for event in events if isinstance(event, ObjectsEnded) for one in event.outcomes]
    assert [(one.key, one.status, one.error) for one in outcomes] == [
        ("a", Status.PLANNED, ""), ("b", Status.PLANNED, ""),
    ]  # fmt: skip
    assert all(one.because for one in outcomes)
    assert bucket.keys() == []
