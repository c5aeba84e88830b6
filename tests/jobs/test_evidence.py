"""A run leaves a manifest that tells the truth of what is at its destination."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from sterna.jobs.settings import Deletion, Journaling, Manifesting, Settings
from sterna.jobs.sync import sync
from sterna.model.errors import WrongSetting
from sterna.model.events import ManifestWritten, Summary
from sterna.model.location import parse_location
from sterna.model.stop import Stop
from sterna.planning.compare import Compare
from sterna.planning.manifest import ManifestFile, Row
from sterna.stores.beside import FOLDER
from sterna.wire.checksum import sum_of
from sterna.wire.side import Side
from tests.faults import front as f
from tests.faults.front import Front
from tests.places import rested
from tests.servers.oracle import Bucket

ONE_SERVER_IS_ENOUGH = True

LONG_AGO_NS = 1_500_000_000_123_456_789


class Runs:
    """Runs from a folder to a bucket that each leave a manifest."""

    def __init__(self, bucket: Bucket, side: Side, here: Path) -> None:
        self.bucket = bucket
        self.here = here
        self.settings = Settings(source=side, destination=side, manifest=Manifesting())

    def put(self, name: str, data: bytes = b"one", mtime_ns: int = LONG_AGO_NS) -> Path:
        path = self.here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, ns=(mtime_ns, mtime_ns))
        return path

    def up(self, settings: Settings | None = None, stop: Stop | None = None) -> Summary:
        ends = parse_location(str(self.here)), parse_location(self.bucket.url("p"))
        return asyncio.run(sync(*ends, settings or self.settings, stop=stop))

    def manifest(self, settings: Settings | None = None) -> tuple[ManifestWritten, dict[str, Row]]:
        summary = self.up(settings)
        assert summary.manifest is not None, summary.verdict
        return summary.manifest, rows_of(Path(summary.manifest.path))

    def left(self) -> list[str]:
        """The manifests beside the data."""
        return [one.key for one in self.bucket.listing() if one.key.startswith(f"p/{FOLDER}")]


def rows_of(path: Path) -> dict[str, Row]:
    with ManifestFile.open(path) as manifest:
        return {row.key: row for page in manifest.pages() for row in page}


@pytest.fixture
def fronted_runs(bucket: Bucket, fronted: Side, tmp_path: Path, state: Path) -> Runs:
    (tmp_path / "here").mkdir()
    return Runs(bucket, fronted, tmp_path / "here")


@pytest.fixture
def runs(bucket: Bucket, side: Side, tmp_path: Path, state: Path) -> Runs:
    (tmp_path / "here").mkdir()
    return Runs(bucket, side, tmp_path / "here")


def crc(data: bytes) -> str:
    return sum_of("CRC64NVME", data)


def test_a_manifest_has_each_object_with_what_is_known_of_it(runs: Runs) -> None:
    files = {"a": b"one", "b/c d": b"", "é": b"three"}
    for name, data in files.items():
        runs.put(name, data)
    written, rows = runs.manifest(replace(runs.settings, manifest=Manifesting(sha256=True)))
    assert written.is_complete
    assert (written.count, written.failed) == (3, 0)
    assert list(rows) == sorted(files)
    for name, data in files.items():
        row = rows[name]
        assert (row.size, row.mtime, row.state, row.basis) == (len(data), "1500000000.123456789", "", "")
        assert row.crc64nvme == crc(data)
        assert row.sha256 == hashlib.sha256(data).hexdigest()
        head = runs.bucket.head(f"p/{name}")
        assert head is not None
        assert row.etag == head["etag"].strip('"')


def test_it_lies_beside_the_data_and_here_and_for_its_owner_alone(runs: Runs, state: Path) -> None:
    runs.put("a")
    written, _ = runs.manifest()
    here = Path(written.path)
    assert here.parent == state / "manifests"
    assert here.stat().st_mode & 0o777 == 0o600
    assert written.location == runs.bucket.url(f"p/{FOLDER}{here.name}")
    assert runs.bucket.get(f"p/{FOLDER}{here.name}") == here.read_bytes()


def test_what_a_manifest_left_is_nobodys_data(runs: Runs, side: Side, tmp_path: Path) -> None:
    """Neither taken for an object without a source, nor brought to a folder, nor named by the next manifest."""
    runs.put("a")
    runs.manifest()
    runs.put("b")
    summary = runs.up(replace(runs.settings, deletion=Deletion()))
    assert summary.manifest is not None
    assert (summary.deleted, summary.uploaded, summary.manifest.count) == (0, 1, 2)
    assert len(runs.left()) == 2
    ends = parse_location(runs.bucket.url("p")), parse_location(str(tmp_path / "there"))
    asyncio.run(sync(*ends, Settings(source=side, destination=side)))
    assert sorted(os.listdir(tmp_path / "there")) == ["a", "b"]


def test_a_file_of_the_users_below_that_name_is_data(runs: Runs) -> None:
    runs.put(f"{FOLDER}mine.txt")
    _, rows = runs.manifest()
    assert list(rows) == [f"{FOLDER}mine.txt"]


def test_what_was_summed_is_not_summed_again(runs: Runs) -> None:
    """Once the sums of a version are known, its file need not be there to be read, nor its object be asked."""
    runs.put("a", b"one")
    settings = replace(runs.settings, manifest=Manifesting(sha256=True))
    _, first = runs.manifest(settings)
    before = runs.up(replace(settings, manifest=None)).requests
    summary = runs.up(settings)
    assert summary.manifest is not None
    assert rows_of(Path(summary.manifest.path)) == first
    assert summary.requests - before <= 3, "the manifest's own PUT, and the looks at it"


def test_what_was_found_out_of_an_unchanged_object_is_kept(fronted_runs: Runs, front: Front) -> None:
    runs = fronted_runs
    rested(runs.put("a", b"right", LONG_AGO_NS - 10**18))
    runs.bucket.put("p/a", b"right", {"x-amz-meta-mtime": str(LONG_AGO_NS // 10**9)})
    asked: list[object] = []
    front.before("Head", key="p/a", nth="always", call=asked.append)
    first = runs.manifest()[1]
    assert len(asked) == 1
    assert runs.manifest()[1] == first
    assert len(asked) == 1


def test_a_file_that_was_changed_before_it_was_summed_has_no_sums(fronted_runs: Runs, front: Front) -> None:
    runs = fronted_runs
    path = runs.put("a", b"right", LONG_AGO_NS - 10**18)
    runs.bucket.put("p/a", b"right", {"x-amz-meta-mtime": str(LONG_AGO_NS // 10**9)})
    front.before("Head", key="p/a", call=lambda _: path.write_bytes(b"other"))
    summary = runs.up()
    assert summary.manifest is not None
    assert rows_of(Path(summary.manifest.path)) == {"a": Row("a", state="failed")}
    assert "was changed since" in summary.failures[0].error


def test_what_another_program_brought_is_summed_from_the_file_and_held_against_the_object(runs: Runs) -> None:
    data = b"brought by others"
    path = runs.put("a", data)
    seconds = f"{LONG_AGO_NS // 10**9}.{LONG_AGO_NS % 10**9:09d}"
    runs.bucket.put("p/a", data, {"x-amz-meta-mtime": seconds})
    old = LONG_AGO_NS - 10**18
    os.utime(path, ns=(old, old))
    _, rows = runs.manifest()
    assert rows["a"].crc64nvme == crc(data)
    assert rows["a"].etag == hashlib.md5(data).hexdigest()


def test_an_object_with_other_bytes_than_the_file_is_not_vouched_for(runs: Runs) -> None:
    """The size is the same and the object is newer, so that nothing was moved; its checksum says what is wrong (H14)."""
    runs.put("a", b"right")
    runs.bucket.put("p/a", b"wrong", {"x-amz-checksum-crc32c": sum_of("CRC32C", b"wrong")})
    summary = runs.up()
    assert summary.exit_code == 1
    assert summary.manifest is not None
    assert (summary.manifest.is_complete, summary.manifest.failed) == (False, 1)
    assert rows_of(Path(summary.manifest.path)) == {"a": Row("a", state="failed")}
    assert "another content" in summary.failures[0].error


def test_an_etag_that_is_not_the_files_md5_is_looked_into(runs: Runs) -> None:
    """It may be no MD5 at all; then the object is read, and what it holds decides (H14)."""
    seconds = f"{LONG_AGO_NS // 10**9}.{LONG_AGO_NS % 10**9:09d}"
    for name, there in (("a", b"right"), ("b", b"wrong")):
        runs.put(name, b"right", LONG_AGO_NS - 10**18)
        runs.bucket.put(f"p/{name}", there, {"x-amz-meta-mtime": seconds})
    summary = runs.up()
    assert summary.manifest is not None
    rows = rows_of(Path(summary.manifest.path))
    assert (rows["a"].crc64nvme, rows["a"].basis) == (crc(b"right"), "")
    assert rows["b"] == Row("b", state="failed")
    assert summary.exit_code == 1


@pytest.mark.parametrize(("etag", "basis"), [("0" * 31 + "f", ""), ("made-up", "file")])
def test_where_no_server_tells_the_manifest_says_on_what_it_rests(
    fronted_runs: Runs, front: Front, etag: str, basis: str
) -> None:
    """An ETag that looks like an MD5 and is another's makes the object be read; one that tells nothing leaves the file."""
    runs = fronted_runs
    runs.put("a", b"right", LONG_AGO_NS - 10**18)
    runs.bucket.put("p/a", b"right", {"x-amz-meta-mtime": str(LONG_AGO_NS // 10**9)})
    front.fault(("Head", "Get"), key="p/a", nth="always", kind=f.WrongETag(f'"{etag}"'))
    front.fault("ListV2", nth="always", kind=f.WrongETag(f'"{etag}"'))
    front.fault("Get", nth="always", kind=f.IgnoreConditions(), must_hit=False)
    front.fault("Head", key="p/a", nth="always", kind=f.IgnoreChecksums())
    for _ in range(2):
        rows = runs.manifest()[1]
        assert (rows["a"].crc64nvme, rows["a"].basis, rows["a"].etag) == (crc(b"right"), basis, etag)


def test_a_key_that_failed_is_marked_though_an_earlier_run_brought_it(fronted_runs: Runs, front: Front) -> None:
    runs = fronted_runs
    runs.put("a")
    runs.put("b")
    assert runs.manifest()[1]["b"].size == 3
    runs.put("b", b"longer")
    front.fault("Put", key="p/b", nth="always", kind=f.Lie())
    written, rows = runs.manifest()
    assert rows["b"] == Row("b", state="failed")
    assert rows["a"].size == 3
    assert (written.is_complete, written.count, written.failed) == (False, 1, 1)


def test_a_folder_that_could_not_be_listed_makes_a_manifest_incomplete(runs: Runs) -> None:
    runs.put("a")
    os.mkfifo(runs.here / "pipe")  # left out by rule
    written, _ = runs.manifest()
    assert written.is_complete
    (runs.here / os.fsdecode(b"odd\xff")).write_bytes(b"x")
    written, rows = runs.manifest()
    assert not written.is_complete
    assert rows["a"].size == 3
    assert [row.state for key, row in rows.items() if key.startswith("odd")] == ["failed"]


def test_what_the_source_has_no_more_stays_in_the_manifest_as_kept(runs: Runs) -> None:
    runs.put("a")
    path = runs.put("b")
    _, before = runs.manifest()
    path.unlink()
    runs.bucket.put("p/foreign", b"of somebody else")
    written, rows = runs.manifest()
    assert list(rows) == ["a", "b"], "what nobody of ours brought is not vouched for"
    assert rows["b"] == replace(before["b"], state="kept")
    assert written.is_complete
    runs.bucket.put("p/b", b"other")
    assert list(runs.manifest()[1]) == ["a"], "nor is what was replaced"


def test_what_is_below_something_unreadable_is_not_taken_for_deleted(runs: Runs) -> None:
    """Nobody knows whether the source has it still: the manifest says so, and counts it apart."""
    runs.put("a")
    runs.put("d/x")
    gone = runs.put("b")
    _, before = runs.manifest()
    (runs.here / "d" / "x").unlink()
    (runs.here / "d").rmdir()
    (runs.here / "d").symlink_to("d")
    gone.unlink()
    (runs.here / os.fsdecode(b"odd\xff")).mkdir()
    summary = runs.up(replace(runs.settings, symlinks="follow"))
    assert summary.manifest is not None
    assert not summary.manifest.is_complete
    rows = rows_of(Path(summary.manifest.path))
    assert rows["d/x"] == replace(before["d/x"], state="unread")
    assert {key: row.state for key, row in rows.items()} == {
        "a": "", "b": "kept", "d": "failed", "d/x": "unread", "odd\\xff/": "failed",
    }  # fmt: skip
    told = summary.notices[-1]
    assert told.startswith(
        "The manifest of 3 objects (1 of them deleted from the source, and kept from earlier runs; 1 "
    )
    assert "it is not complete (1 folder could not be read; what is in it is not counted)" in told


def test_where_manifests_are_kept_no_data_goes(runs: Runs) -> None:
    runs.put("a")
    for place in ("p/.sterna/manifests", "p/.sterna/manifests/x", ".sterna/manifests"):
        ends = parse_location(str(runs.here)), parse_location(runs.bucket.url(place))
        with pytest.raises(WrongSetting, match="is where Sterna keeps manifests"):
            asyncio.run(sync(*ends, runs.settings))
    assert runs.bucket.listing() == []
    ends = parse_location(str(runs.here)), parse_location(runs.bucket.url("p/.sterna/x"))
    assert asyncio.run(sync(*ends, runs.settings)).exit_code == 0


def test_deleted_objects_are_not_in_the_manifest(runs: Runs) -> None:
    runs.put("a")
    path = runs.put("b")
    runs.manifest()
    path.unlink()
    _, rows = runs.manifest(replace(runs.settings, deletion=Deletion()))
    assert list(rows) == ["a"]


def test_a_run_that_ended_early_leaves_none(runs: Runs) -> None:
    runs.put("a")
    stop = Stop()
    stop.request("enough", 130)
    summary = runs.up(stop=stop)
    assert summary.manifest is None
    assert runs.left() == []
    assert any("No manifest was written" in notice for notice in summary.notices)


def test_a_manifest_in_a_named_place(runs: Runs, tmp_path: Path) -> None:
    runs.put("a")
    path = tmp_path / "named"
    written, rows = runs.manifest(replace(runs.settings, manifest=Manifesting(file=str(path))))
    assert (written.path, list(rows)) == (str(path), ["a"])
    with pytest.raises(WrongSetting, match="does not exist"):
        runs.up(replace(runs.settings, manifest=Manifesting(file=str(tmp_path / "no" / "m"))))


@pytest.mark.parametrize(
    "settings",
    [{"journal": Journaling(is_kept=False)}, {"compare": Compare.SIZE}, {"compare": Compare.EXISTS}],
)
def test_a_manifest_that_could_not_tell_the_truth_is_refused(runs: Runs, settings: dict[str, object]) -> None:
    runs.put("a")
    with pytest.raises(WrongSetting, match="--manifest"):
        runs.up(replace(runs.settings, **settings))
    assert runs.bucket.listing() == []


def test_a_manifest_that_is_not_beside_the_data_fails_the_run(fronted_runs: Runs, front: Front, state: Path) -> None:
    fronted_runs.put("a")
    front.fault("Put", key=re.compile(r"p/\.sterna/.*"), nth="always", kind=f.Lie())
    summary = fronted_runs.up()
    assert (summary.exit_code, summary.uploaded, summary.manifest) == (1, 1, None)
    assert (summary.failed, summary.failures[0].verb) == (0, "manifest"), "it is no object of the data"
    assert summary.verdict == "INCOMPLETE: the one object is in place, but not the manifest; why is named above."
    assert "not beside the data" in summary.failures[0].error
    [here] = (state / "manifests").iterdir()
    assert list(rows_of(here)) == ["a"]


def test_a_run_that_is_ended_while_its_manifest_is_made_leaves_none(
    fronted_runs: Runs, front: Front, state: Path
) -> None:
    runs = fronted_runs
    runs.put("a", b"right", LONG_AGO_NS - 10**18)
    runs.bucket.put("p/a", b"right", {"x-amz-meta-mtime": str(LONG_AGO_NS // 10**9)})
    stop = Stop()
    loop = asyncio.new_event_loop()
    front.before("Head", key="p/a", call=lambda _: loop.call_soon_threadsafe(stop.request, "enough", 130))
    ends = parse_location(str(runs.here)), parse_location(runs.bucket.url("p"))
    try:
        summary = loop.run_until_complete(sync(*ends, runs.settings, stop=stop))
    finally:
        loop.close()
    assert (summary.exit_code, summary.manifest, summary.failed) == (130, None, 0)
    assert runs.left() == []
    assert list((state / "manifests").iterdir()) == []


def test_other_manifests_on_this_machine_go_when_they_take_much_room(runs: Runs, state: Path) -> None:
    """The newest stay in any case, and so does whatever is no manifest."""
    folder = state / "manifests"
    folder.mkdir(parents=True)
    for number in range(15):
        with open(folder / f"202001{number + 1:02d}T000000-abcdef.jsonl.zst", "wb") as file:
            file.truncate(1 << 30)
    (folder / "mine").write_bytes(b"x")
    runs.put("a")
    written, _ = runs.manifest()
    left = sorted(path.name for path in folder.iterdir())
    assert left == [
        *(f"202001{number:02d}T000000-abcdef.jsonl.zst" for number in range(6, 16)),
        Path(written.path).name,
        "mine",
    ]
