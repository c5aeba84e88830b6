"""Plans as the library makes and applies them, on stores that are real and small."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from sterna.jobs import apply as applying
from sterna.jobs.apply import apply
from sterna.jobs.identity import is_one_place
from sterna.jobs.plan import plan
from sterna.jobs.settings import Deletion, Settings
from sterna.model.actions import Action, Verb
from sterna.model.entry import Entry
from sterna.model.errors import Drifted, WrongSetting
from sterna.model.events import Event, ObjectsEnded, Summary
from sterna.model.location import parse_location
from sterna.model.outcomes import Status
from sterna.planning.guard import Allowed, MaxDelete
from sterna.planning.planfile import PlanFile, PlanWriter
from sterna.stores.s3 import S3Store
from sterna.wire.client import Client
from sterna.wire.side import Side
from tests.e2e.trees import plant
from tests.places import at, fill
from tests.planning.plans import HEADER, upload
from tests.servers.oracle import Bucket
from tests.servers.server import Server

pytestmark = pytest.mark.thorough

ALL = Deletion(Allowed(max_delete=MaxDelete()))


def made(source: Path, bucket: Bucket, side: Side, path: Path, deletion: Deletion | None = None) -> Summary:
    settings = Settings(source=side, destination=side, deletion=deletion)
    summary, review = asyncio.run(plan(parse_location(str(source)), at(bucket, "p"), settings, path))
    assert review is not None
    return summary


def applied(path: Path, side: Side, deletion: Deletion | None = None) -> tuple[Summary, dict[str, str]]:
    """The summary, and what became of each key."""
    events: list[Event] = []
    with PlanFile.open(path) as file:
        settings = Settings(source=side, destination=side, deletion=deletion)
        summary = asyncio.run(apply(file, settings, emit=events.append))
    ended = [one for event in events if isinstance(event, ObjectsEnded) for one in event.outcomes]
    return summary, {one.key: one.error or one.status.value for one in ended}


def test_a_plan_and_its_apply_tell_of_every_key_once(bucket: Bucket, side: Side, tmp_path: Path) -> None:
    fill(bucket, "p/old/1", "p/old/2")
    source = plant(tmp_path / "source", {f"{number:03}": b"x" * number for number in range(30)})
    summary = made(source, bucket, side, tmp_path / "plan", ALL)
    assert (summary.exit_code, summary.planned, summary.failed) == (0, 32, 0)
    summary, ended = applied(tmp_path / "plan", side, ALL)
    assert (summary.exit_code, summary.uploaded, summary.deleted, summary.notices) == (0, 30, 2, [])
    assert set(ended.values()) == {Status.DONE.value}
    assert len(ended) == 32


def test_a_plan_that_deletes_is_not_applied_by_settings_that_do_not(bucket: Bucket, side: Side, tmp_path: Path) -> None:
    fill(bucket, "p/old")
    source = plant(tmp_path / "source", {"a": b"1"})
    made(source, bucket, side, tmp_path / "plan", ALL)
    with pytest.raises(WrongSetting, match="without deletions"):
        applied(tmp_path / "plan", side)
    assert bucket.keys() == ["p/old"]


def test_what_drifted_beside_what_failed_ends_with_one(bucket: Bucket, side: Side, tmp_path: Path) -> None:
    source = plant(tmp_path / "source", {"a": b"1", "b": b"2", "c": b"3"})
    made(source, bucket, side, tmp_path / "plan")
    (source / "a").unlink()
    (source / "b").unlink()
    os.mkfifo(source / "b")
    summary, ended = applied(tmp_path / "plan", side)
    assert (summary.exit_code, summary.failed, summary.uploaded) == (1, 2, 1)
    assert summary.verdict.startswith("INCOMPLETE: 1 object has changed since the plan was made")
    assert "pipe" in ended["b"]
    assert bucket.keys() == ["p/c"]


def test_a_source_folder_on_another_file_system_is_refused_before_anything(
    bucket: Bucket, side: Side, tmp_path: Path
) -> None:
    source = plant(tmp_path / "source", {"a": b"1"})
    made(source, bucket, side, tmp_path / "plan")
    source.rename(tmp_path / "unmounted")
    plant(tmp_path / "source", {"a": b"1"})
    with pytest.raises(Drifted, match="is not the folder that the plan was made for"):
        applied(tmp_path / "plan", side)
    assert bucket.keys() == []


def test_a_look_in_a_plan_is_settled_when_it_is_applied(bucket: Bucket, side: Side, tmp_path: Path) -> None:
    source = plant(tmp_path / "source", {"same": b"same", "other": b"othe"})
    settings = Settings(source=side, destination=side)
    asyncio.run(plan(parse_location(str(source)), at(bucket, "p"), settings, tmp_path / "first"))
    assert applied(tmp_path / "first", side)[0].uploaded == 2
    plant(source, {"other": b"ehto"}, mtime_ns=1_600_000_000_000_000_000)
    with PlanFile.open(tmp_path / "first") as file:
        header, planned = file.header, [action for page in file.pages() for action in page]
    looks = []
    for action in planned:
        entry = asyncio.run(_listed(bucket, side, action.key))
        status = (source / action.key).stat()
        mine = Entry(action.key, status.st_size, status.st_mtime_ns)
        looks.append(Action(Verb.LOOK, action.key, "same size, and the time needs a look", mine, entry))
    with PlanWriter(tmp_path / "looks", header) as writer:
        writer.write(looks)
        writer.finish()
    summary, ended = applied(tmp_path / "looks", side)
    assert (summary.exit_code, summary.uploaded, summary.kept) == (0, 1, 1)
    assert ended == {"other": "done", "same": "kept"}
    assert bucket.get("p/other") == b"ehto"


async def _listed(bucket: Bucket, side: Side, key: str) -> Entry:
    store = S3Store(Client(side, bucket.name), at(bucket, "p"))
    try:
        return {entry.key: entry for entry in (await store.list_some(""))[0]}[key]
    finally:
        await store.client.aclose()


def test_a_refused_name_of_a_plan_fails_by_its_name(server: Server, bucket: Bucket, side: Side, tmp_path: Path) -> None:
    if not server.facts.any_key:
        pytest.skip("keys are paths of a folder")
    fill(bucket, "p/a", "p/a/b", "p/c")
    settings = Settings(source=side, destination=side)
    target = tmp_path / "target"
    summary, review = asyncio.run(plan(at(bucket, "p"), parse_location(str(target)), settings, tmp_path / "plan"))
    assert summary.exit_code == 1
    assert "cannot be carried" in summary.verdict
    assert review is not None
    assert review.summary.verbs["refuse"].actions == summary.failed
    summary, ended = applied(tmp_path / "plan", side)
    assert summary.exit_code == 1
    assert summary.failed == review.summary.verbs["refuse"].actions
    assert ended["c"] == "done"


@pytest.mark.parametrize(
    ("then", "now", "same"),
    [
        ("AWS", "AWS", True),
        ("AWS", "http://127.0.0.1:9000", False),
        ("http://a http://b", "http://b http://c", True),
        ("folder 2 of file system 77", "folder 2 of file system 77", True),
        ("folder 2 of file system 77", "folder 2 of file system 78", False),
        ("folder 2 of file system 77", "folder 3 of file system 77", False),
        ("folder 2 of file system 77", "", False),
    ],
)
def test_a_place_is_known_again(then: str, now: str, same: bool) -> None:
    assert is_one_place(then, now) is same


def test_few_large_files_or_many_small_ones_are_looked_at_together() -> None:
    mib = 1 << 20
    page = [upload("a", 1), upload("b", 200 * mib), upload("c", 30 * mib), upload("d", 30 * mib), upload("e", 5 * mib)]
    batches = [[action.key for action in batch] for batch in applying._batches(page)]
    assert batches == [["a"], ["b"], ["c", "d"], ["e"]]
    assert [len(batch) for batch in applying._batches([upload(f"{n:05}") for n in range(2500)])] == [1000, 1000, 500]
    assert list(applying._batches([])) == []


def test_a_header_keeps_where_the_places_were(tmp_path: Path) -> None:
    from msgspec.structs import replace

    header = replace(HEADER, source_at="folder 1 of file system 2", destination_at="AWS", storage_class="\udcff")
    with PlanWriter(tmp_path / "plan", header) as writer:
        writer.finish()
    with PlanFile.open(tmp_path / "plan") as file:
        assert replace(file.header, quoted=False) == header
