"""What a run leaves to the next one, and what that makes of it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from pathlib import Path

import pytest
from msgspec.structs import replace

from sterna.jobs.apply import apply
from sterna.jobs.backup import backup
from sterna.jobs.copy import copy
from sterna.jobs.history import history
from sterna.jobs.job import Opened, carry_over
from sterna.jobs.plan import plan
from sterna.jobs.settings import Deletion, Journaling, Manifesting, Settings
from sterna.jobs.sync import sync
from sterna.jobs.usual import file_system, mounts_below
from sterna.journal import questions
from sterna.journal.database import journals, reading
from sterna.journal.journal import Journal
from sterna.journal.values import State
from sterna.model.errors import GuardRefused, Locked, WrongSetting
from sterna.model.events import Event, ObjectsEnded, Summary
from sterna.model.location import parse_location
from sterna.model.outcomes import Outcome, Status
from sterna.model.synced import Synced
from sterna.moving.settings import DownloadOptions
from sterna.planning.compare import Compare
from sterna.planning.filters import Filter
from sterna.planning.guard import Allowed, Guard, MaxDelete
from sterna.planning.moments import Moment
from sterna.planning.planfile import PlanFile
from sterna.planning.rules import in_order, option_rule
from sterna.stores.local import LocalStore
from sterna.wire.side import Side
from tests.places import rested
from tests.servers.oracle import Bucket

ONE_SERVER_IS_ENOUGH = True

LONG_AGO_NS = 1_500_000_000_123_456_789


class Runs:
    """Runs between a folder and a bucket in this process, and what came of the last one."""

    def __init__(self, bucket: Bucket, side: Side, tmp_path: Path, state: Path) -> None:
        self.bucket = bucket
        self.here, self.there = tmp_path / "here", tmp_path / "there"
        self.here.mkdir()
        self.settings = Settings(source=side, destination=side)
        self.state = state
        self.outcomes: list[Outcome] = []

    def up(self, settings: Settings | None = None, **how: bool) -> Summary:
        return self.between(str(self.here), self.bucket.url("p"), settings, **how)

    def down(self, settings: Settings | None = None, **how: bool) -> Summary:
        return self.between(self.bucket.url("p"), str(self.there), settings, **how)

    def between(self, source: str, target: str, settings: Settings | None = None, **how: bool) -> Summary:
        self.outcomes = []

        def emit(event: Event) -> None:
            if isinstance(event, ObjectsEnded):
                self.outcomes += event.outcomes

        ends = parse_location(source), parse_location(target)
        return asyncio.run(sync(*ends, settings or self.settings, emit=emit, dry_run=how.get("dry_run", False)))

    def moved(self) -> dict[str, str]:
        return {one.key: one.because for one in self.outcomes if one.status in (Status.DONE, Status.PLANNED)}

    def tree(self) -> dict[str, Synced]:
        [path] = journals(self.state)
        with reading(path) as connection:
            return {row.key: row for page in questions.tree(connection) for row in page}

    def put(self, name: str, content: str = "one", mtime_ns: int = LONG_AGO_NS) -> Path:
        path = self.here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        os.utime(path, ns=(mtime_ns, mtime_ns))
        return path


@pytest.fixture
def runs(bucket: Bucket, side: Side, tmp_path: Path, state: Path) -> Runs:
    return Runs(bucket, side, tmp_path, state)


def etag_of(bucket: Bucket, key: str) -> str:
    [found] = [one for one in bucket.listing() if one.key == key]
    return found.etag.strip('"')


def deleting(settings: Settings, *guards: Guard, most: int | None = None) -> Settings:
    return replace(settings, deletion=Deletion(Allowed(frozenset(guards), MaxDelete(most))))


def without(settings: Settings, *patterns: str) -> Settings:
    return replace(settings, filters=Filter(rules=in_order([option_rule("--exclude", one) for one in patterns])))


def test_H23_changed_content_with_its_size_and_time_is_found_by_what_the_last_run_saw(runs: Runs) -> None:
    for name in "abc":
        runs.put(name)
    assert runs.up().uploaded == 3
    runs.put("b", "two")
    summary = runs.up()
    assert (summary.exit_code, summary.uploaded, summary.kept) == (0, 1, 2)
    assert runs.bucket.get("p/b") == b"two"
    assert (again := runs.up()).kept == 3
    assert again.requests <= 2, "nothing is in doubt any more, so nothing but the listing is asked for"
    runs.put("b", "six")
    assert runs.up(replace(runs.settings, journal=Journaling(is_kept=False))).kept == 3, "without, nothing tells"


def test_a_file_of_which_only_the_mode_changed_is_compared_and_not_sent(runs: Runs) -> None:
    path = runs.put("a")
    runs.up()
    path.chmod(0o600)
    assert (summary := runs.up()).kept == 1
    assert summary.requests > 1
    assert runs.up().requests <= 2


def test_H23_a_replaced_object_of_the_same_size_is_put_right(runs: Runs) -> None:
    runs.put("a")
    runs.up()
    runs.bucket.put("p/a", b"its")
    assert runs.up().uploaded == 1
    assert runs.bucket.get("p/a") == b"one"


def test_a_downloaded_file_that_was_changed_in_secret_is_fetched_again(runs: Runs) -> None:
    runs.bucket.put("p/a", b"one")
    runs.bucket.put("p/b", b"one")
    runs.down()
    path = runs.there / "a"
    before = path.stat()
    path.write_bytes(b"his")
    os.utime(path, ns=(before.st_mtime_ns, before.st_mtime_ns))
    assert (summary := runs.down()).downloaded == 1
    assert (summary.kept, path.read_bytes()) == (1, b"one")
    assert runs.down().kept == 2


def test_what_both_sides_lost_leaves_the_tree_and_filters_hide_nothing_from_it(runs: Runs) -> None:
    for name in ("a", "b", "c.log", "z/y"):
        runs.put(name)
    runs.up()
    assert sorted(runs.tree()) == ["a", "b", "c.log", "z/y"]
    (runs.here / "a").unlink()
    runs.bucket.delete("p/a")
    (runs.here / "z/y").unlink()
    runs.bucket.delete("p/z/y")
    runs.up(without(runs.settings, "*.log"))
    assert sorted(runs.tree()) == ["a", "b", "c.log", "z/y"], "where something is hidden, nothing counts as gone"
    runs.up()
    assert sorted(runs.tree()) == ["b", "c.log"]


def test_deleted_keys_leave_the_tree(runs: Runs) -> None:
    for name in "abcd":
        runs.put(name)
    runs.up()
    (runs.here / "b").unlink()
    assert runs.up(deleting(runs.settings)).deleted == 1
    assert sorted(runs.tree()) == ["a", "c", "d"]


def test_what_was_found_in_place_is_known_afterwards(runs: Runs) -> None:
    runs.put("a")
    runs.up(replace(runs.settings, journal=Journaling(is_kept=False)))
    assert journals(runs.state) == []
    assert runs.up().kept == 1
    row = runs.tree()["a"]
    assert row.source is not None
    assert row.source.inode == (runs.here / "a").stat().st_ino
    assert row.target is not None
    assert row.target.etag == etag_of(runs.bucket, "p/a")


@pytest.mark.parametrize("compare", [Compare.SIZE, Compare.EXISTS])
def test_what_only_sizes_said_is_not_remembered_as_the_same(runs: Runs, compare: Compare) -> None:
    runs.put("a", "two")
    runs.bucket.put("p/a", b"one")
    assert runs.up(replace(runs.settings, compare=compare)).kept == 1
    assert runs.tree() == {}


def test_a_dry_run_reads_the_journal_and_leaves_it_alone(runs: Runs) -> None:
    runs.put("a")
    assert runs.up(dry_run=True).planned == 1
    assert not runs.state.exists() or journals(runs.state) == []
    runs.up()
    runs.put("a", "two")
    assert runs.up(dry_run=True).planned == 1
    assert len(history(runs.state).runs) == 1
    assert runs.up().uploaded == 1


def test_H55_two_runs_between_the_same_places_do_not_work_at_once(runs: Runs) -> None:
    runs.put("a")
    runs.up()
    [path] = journals(runs.state)
    with reading(path) as connection:
        route = questions.route_of(connection)
    journal = Journal.open(route, runs.state, command="sync")
    try:
        with pytest.raises(Locked, match="sync, process"):
            runs.up()
        assert runs.up(dry_run=True).kept == 1, "who changes nothing need not wait"
        assert runs.down().downloaded == 1, "there and back are two routes"
    finally:
        journal.close()
    assert runs.up().kept == 1


def test_how_runs_ended_is_kept_with_what_they_did_not_do(runs: Runs) -> None:
    runs.put("a")
    (runs.here / "bad\udcff").write_bytes(b"x")
    assert runs.up().exit_code == 1
    for path in runs.here.iterdir():
        path.unlink()
    with pytest.raises(GuardRefused):
        runs.up(deleting(runs.settings))
    refused, failed = (past.run for past in history(runs.state).runs)
    assert (refused.state, refused.exit_code) == (State.ENDED, 5)
    assert (failed.state, failed.exit_code, failed.counts["failed"]) == (State.ENDED, 1, 1)


def test_H75_a_source_that_shrank_is_refused_by_what_earlier_runs_saw(runs: Runs) -> None:
    for number in range(10):
        runs.put(f"f{number}")
    runs.up()
    for number in range(6):
        (runs.here / f"f{number}").unlink()
    runs.up()  # one that cannot delete does not make the next one forget
    for _ in range(2):
        with pytest.raises(GuardRefused, match=r"had 10 at the last run.*--allow-shrunken-source"):
            runs.up(deleting(runs.settings))
    assert len(runs.bucket.keys()) == 10
    assert runs.up(deleting(runs.settings, Guard.SHRUNKEN_SOURCE)).deleted == 6
    assert runs.up(deleting(runs.settings)).exit_code == 0, "now this is what is usual"


def test_H81_other_filters_than_at_the_last_deleting_run_are_refused(runs: Runs) -> None:
    for name in ("a", "b.log"):
        runs.put(name)
    filtered = deleting(without(runs.settings, "*.log"))
    assert runs.up(filtered).uploaded == 1
    with pytest.raises(GuardRefused, match="--allow-changed-filters"):
        runs.up(deleting(runs.settings))
    assert runs.up().uploaded == 1, "without deletions, filters may change"
    with pytest.raises(GuardRefused, match="--allow-changed-filters"):
        runs.up(deleting(runs.settings))
    assert runs.up(deleting(runs.settings, Guard.CHANGED_FILTERS)).kept == 2
    assert runs.up(deleting(runs.settings)).kept == 2


def test_H57_a_damaged_journal_is_set_aside_and_nothing_is_deleted_in_that_run(runs: Runs) -> None:
    for name in "ab":
        runs.put(name)
    runs.up()
    (runs.here / "a").unlink()
    [path] = journals(runs.state)
    path.write_bytes(b"no database" * 500)
    with pytest.raises(GuardRefused, match="--allow-lost-journal"):
        runs.up(deleting(runs.settings))
    assert runs.bucket.keys() == ["p/a", "p/b"]
    assert list(path.parent.glob("*.damaged-*"))
    assert runs.up(deleting(runs.settings, Guard.LOST_JOURNAL)).deleted == 1


def test_H57_a_journal_that_cannot_be_kept_is_told_of_and_the_run_goes_on(runs: Runs) -> None:
    runs.put("a")
    runs.state.parent.mkdir(exist_ok=True)
    runs.state.write_bytes(b"a file where the folder should be")
    summary = runs.up()
    assert (summary.exit_code, summary.uploaded) == (0, 1)
    assert any("goes on without a journal" in notice for notice in summary.notices)


def test_journals_below_the_source_are_not_carried(runs: Runs) -> None:
    runs.put("a")
    settings = replace(runs.settings, journal=Journaling(str(runs.here / "var/state")))
    for _ in range(2):
        assert runs.up(settings).exit_code == 0
    assert runs.bucket.keys() == ["p/a"]


def test_copies_between_buckets_are_known_by_both_etags(runs: Runs) -> None:
    runs.bucket.put("p/a", b"one")
    runs.between(runs.bucket.url("p"), runs.bucket.url("q"))
    row = runs.tree()["a"]
    assert row.source is not None
    assert row.target is not None
    assert row.source.etag == row.target.etag == etag_of(runs.bucket, "p/a")


def test_a_copied_folder_is_remembered_too(runs: Runs, side: Side) -> None:
    runs.put("a")
    source, target = parse_location(str(runs.here)), parse_location(runs.bucket.url("p"))
    for kept in (0, 1):
        summary = asyncio.run(copy(source, target, Settings(source=side, destination=side)))
        assert summary.kept == kept
    assert sorted(runs.tree()) == ["a"]


def test_what_was_not_flushed_is_kept_as_such(runs: Runs) -> None:
    runs.bucket.put("p/a", b"one")
    runs.down(replace(runs.settings, download=DownloadOptions(durable=False)))
    [past] = history(runs.state).runs
    assert not past.run.is_durable


def test_a_file_system_is_known_by_a_number(tmp_path: Path) -> None:
    with LocalStore.open(tmp_path) as store:
        number = os.statvfs(tmp_path).f_fsid
        assert file_system(store) == (f"{number:x}" if number else None)


def test_what_is_mounted_below_a_folder_is_known_by_its_path(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    lines = (f"1 2 0:1 / {tmp_path}/a\\040b rw - tmpfs x rw", f"1 2 0:1 / {tmp_path} rw - ext4 y rw", "odd")
    table.write_text("\n".join(lines))
    assert mounts_below(str(tmp_path), str(tmp_path / "absent")) == {}
    table.write_text("\n".join(lines[:2]))
    assert list(mounts_below(str(tmp_path), str(table))) == [f"{tmp_path}/a b"]


def test_H75_a_guard_that_refuses_does_not_give_up(runs: Runs) -> None:
    for number in range(10):
        runs.put(f"f{number}")
    runs.up(deleting(runs.settings))
    for number in range(6):
        (runs.here / f"f{number}").unlink()
    [path] = journals(runs.state)
    with reading(path) as connection:
        route = questions.route_of(connection)
    for _ in range(200):  # as many runs come and go
        journal = Journal.open(route, runs.state, command="sync")
        journal.begin()
        journal.close()
    with pytest.raises(GuardRefused, match="had 10 at the last run"):
        runs.up(deleting(runs.settings))


def test_H75_H78_what_could_not_be_read_is_not_forgotten(runs: Runs) -> None:
    for number in range(10):
        runs.put(f"{'lost' if number < 6 else 'kept'}/f{number}")
    runs.up(deleting(runs.settings))
    for number in range(6):
        (runs.here / f"lost/f{number}").unlink()
    (runs.here / "bad\udcff").write_bytes(b"")  # a name that cannot be carried, as a folder that cannot be read
    assert runs.up().exit_code == 1
    (runs.here / "bad\udcff").unlink()
    with pytest.raises(GuardRefused, match="had 10 at the last run"):
        runs.up(deleting(runs.settings))


def test_H57_a_lost_journal_stays_lost_until_a_run_may_delete_all_the_same(runs: Runs) -> None:
    for name in "abc":
        runs.put(name)
    runs.up()
    [path] = journals(runs.state)
    path.write_bytes(b"no database" * 500)
    (runs.here / "a").unlink()
    assert runs.up().kept == 2, "the damage is found by a run that deletes nothing"
    for _ in range(2):
        with pytest.raises(GuardRefused, match="--allow-lost-journal"):
            runs.up(deleting(runs.settings))
    assert runs.up(deleting(runs.settings, Guard.LOST_JOURNAL)).deleted == 1
    assert runs.up(deleting(runs.settings)).kept == 2


def test_H57_without_a_journal_that_should_be_there_nothing_is_deleted(runs: Runs) -> None:
    runs.put("a")
    runs.bucket.put("p/old", b"x")
    runs.state.write_bytes(b"a file where the folder should be")
    with pytest.raises(GuardRefused, match="--allow-lost-journal"):
        runs.up(deleting(runs.settings))
    assert runs.up(deleting(replace(runs.settings, journal=Journaling(is_kept=False)))).deleted == 1
    with pytest.raises(WrongSetting, match="--state-dir"):
        runs.up(replace(runs.settings, journal=Journaling(str(runs.state))))


@pytest.mark.parametrize(
    "filters", [Filter(min_size=10), Filter(max_size=1), Filter(newer_than=Moment(2**62, "later", "later"))]
)
def test_a_page_of_which_filters_leave_nothing_is_a_page(runs: Runs, filters: Filter) -> None:
    for name in "ab":
        runs.put(name)
    runs.up()
    for how in ({}, {"dry_run": True}):
        assert runs.up(replace(runs.settings, filters=filters), **how).exit_code == 0
    runs.down()
    assert runs.down(replace(runs.settings, filters=filters)).exit_code == 0


def test_what_was_compared_by_time_alone_is_not_remembered_as_the_same(runs: Runs) -> None:
    runs.put("a")
    runs.up()
    runs.put("a", "two")
    assert runs.up(replace(runs.settings, compare=Compare.MTIME)).kept == 1
    assert runs.up().uploaded == 1


def test_a_file_of_which_nobody_knows_whether_it_reached_the_disk_is_compared(runs: Runs) -> None:
    runs.bucket.put("p/a", b"one")
    runs.down(replace(runs.settings, download=DownloadOptions(durable=False)))
    [path] = journals(runs.state)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE runs SET boot = 'another'")
    connection.commit()
    connection.close()
    file = runs.there / "a"
    before = file.stat()
    file.write_bytes(b"\0\0\0")
    os.utime(file, ns=(before.st_mtime_ns, before.st_mtime_ns))
    assert runs.down().downloaded == 1
    assert file.read_bytes() == b"one"


def test_H75_what_a_plan_saw_is_remembered_when_it_was_applied(runs: Runs, tmp_path: Path) -> None:
    ends = parse_location(str(runs.here)), parse_location(runs.bucket.url("p"))
    settings = deleting(without(runs.settings, "*.log"))

    def planned_and_applied() -> int:
        asyncio.run(plan(*ends, settings, tmp_path / "plan"))
        with PlanFile.open(tmp_path / "plan") as file:
            return asyncio.run(apply(file, deleting(runs.settings))).exit_code

    for number in range(10):
        runs.put(f"f{number}")
    assert planned_and_applied() == 0
    for number in range(6):
        (runs.here / f"f{number}").unlink()
    with pytest.raises(GuardRefused, match="had 10 at the last run"):
        planned_and_applied()
    with pytest.raises(GuardRefused, match="--allow-changed-filters"):
        runs.up(deleting(runs.settings))
    assert len(runs.bucket.keys()) == 10


def test_H75_a_run_that_is_cancelled_at_its_end_does_not_say_what_is_usual(runs: Runs) -> None:
    for number in range(10):
        runs.put(str(number))
    assert runs.up(deleting(runs.settings)).uploaded == 10
    for number in range(9):
        (runs.here / str(number)).unlink()

    async def cancelled() -> None:
        ends = parse_location(str(runs.here)), parse_location(runs.bucket.url("p"))

        async def flow(run: Opened) -> Summary:
            await carry_over(run)
            raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await sync(*ends, deleting(runs.settings, Guard.SHRUNKEN_SOURCE), flow=flow)

    asyncio.run(cancelled())
    runs.bucket.put("p/another", b"which would be deleted")
    with pytest.raises(GuardRefused, match="10"):  # as before: that run did not end
        runs.up(deleting(runs.settings))


def test_what_old_runs_left_goes_with_the_next_one(runs: Runs) -> None:
    (runs.here / "a").symlink_to("nowhere")
    runs.up(replace(runs.settings, symlinks="follow"))
    [path] = journals(runs.state)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM outcomes").fetchone() == (1,)
        connection.execute("UPDATE runs SET started_ns = 1")
    (runs.here / "a").unlink()
    runs.put("b")
    runs.up()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM outcomes").fetchone() == (0,)


@pytest.mark.parametrize("how", ["killed", "failed"])
def test_what_arrived_behind_a_run_that_was_cut_off_is_found_h54(runs: Runs, how: str) -> None:
    """The server stores an older version when nobody waits for it any more: then the object is the younger one."""
    runs.put("a", "one")
    runs.put("b", "bee")
    assert runs.up().uploaded == 2
    path = runs.put("a", "two", mtime_ns=LONG_AGO_NS + 10**12)
    [file] = journals(runs.state)
    with reading(file) as connection:
        route = questions.route_of(connection)
    journal = Journal.open(route, runs.state, command="sync")
    run = journal.begin()
    run.depart(["a"])
    if how == "failed":
        run.record([Outcome("upload", "a", Status.FAILED, error="The server did not answer.")])
        run.land(1)
    assert asyncio.run(journal.flushed())
    journal.close()
    runs.bucket.put("p/a", b"old", {"x-amz-meta-mtime": "1.5"})
    assert path.read_text() == "two"
    assert runs.up().uploaded == 1
    assert runs.bucket.contents("p/") == {"p/a": b"two", "p/b": b"bee"}
    assert (runs.up().kept, runs.moved()) == (2, {})


def test_what_only_sizes_and_times_told_is_no_proof_for_a_backup_h23(runs: Runs) -> None:
    runs.bucket.put("p/a", b"BBBB")
    runs.put("b", "bee")
    rested(runs.put("a", "AAAA"))
    assert (runs.up().uploaded, runs.up().uploaded) == (1, 0)  # as a sync goes by size and time
    ends = parse_location(str(runs.here)), parse_location(runs.bucket.url("p"))
    summary = asyncio.run(backup(*ends, replace(runs.settings, manifest=Manifesting())))
    assert (summary.exit_code, summary.uploaded, summary.kept) == (0, 1, 1)
    assert runs.bucket.contents("p/")["p/a"] == b"AAAA"
