"""A bucket or a folder is held against a manifest, and every difference is named."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from sterna.jobs.holding import HeldAgainst, hold
from sterna.jobs.looking import Depth
from sterna.jobs.settings import Deletion, Manifesting, Settings
from sterna.jobs.sync import sync
from sterna.model.errors import ManifestUnusable, SourceUnknown
from sterna.model.location import parse_location
from sterna.planning.filters import Filter
from sterna.planning.holding import Holding, Sample
from sterna.planning.rules import in_order, option_rule
from sterna.wire.side import Side
from tests.servers.oracle import Bucket

ONE_SERVER_IS_ENOUGH = True
NAMES = [f"f{number:02d}" for number in range(20)]
LONG_AGO_NS = 1_500_000_000_123_456_789


class Evidence:
    """A folder in a bucket, and the manifest of that."""

    def __init__(self, bucket: Bucket, side: Side, here: Path) -> None:
        self.bucket = bucket
        self.here = here
        self.settings = Settings(source=side, destination=side)
        for number, name in enumerate(NAMES):
            path = here / name
            path.write_bytes(bytes([number]) * number)
            os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))
        self.manifest = self.up()

    def put_away(self, name: str) -> None:
        """Back up a folder with one file in it, and remove it."""
        (self.here / name).mkdir()
        (self.here / name / "x").write_bytes(b"x")
        self.up()
        shutil.rmtree(self.here / name)

    def up(self, **more: str) -> str:
        """Back it up; gives where the manifest is."""
        settings = replace(self.settings, manifest=Manifesting(sha256=True), **more)
        ends = parse_location(str(self.here)), parse_location(self.bucket.url("p"))
        summary = asyncio.run(sync(*ends, settings))
        assert summary.manifest is not None
        self.beside = summary.manifest.location
        return summary.manifest.path

    def held(
        self,
        place: str = "",
        depth: Depth = Depth.LISTED,
        *,
        sample: str = "",
        seed: int = 0,
        manifest: str = "",
        settings: Settings | None = None,
    ) -> tuple[HeldAgainst, dict[str, Holding]]:
        found: list[Holding] = []

        def tell(page: Sequence[Holding]) -> None:
            found.extend(page)

        held = asyncio.run(
            hold(
                parse_location(manifest or self.manifest),
                parse_location(place or self.bucket.url("p")),
                settings or self.settings,
                depth=depth,
                sample=Sample.read(sample) if sample else None,
                seed=seed,
                found=tell,
            )
        )
        keys = [one.key for one in found]
        assert len(keys) == len(set(keys))
        return held, {one.key: one for one in found}

    def told(self, place: str = "", depth: Depth = Depth.LISTED, manifest: str = "") -> list[str]:
        """Every difference, in words."""
        _, found = self.held(place, depth, manifest=manifest)
        return [f"{one.verdict.value}: {key}: {one.because}" for key, one in found.items() if one.verdict != "equal"]


@pytest.fixture
def evidence(bucket: Bucket, side: Side, tmp_path: Path, state: Path) -> Evidence:
    (tmp_path / "here").mkdir()
    return Evidence(bucket, side, tmp_path / "here")


@pytest.mark.parametrize("depth", Depth)
def test_bucket_and_folder_are_what_the_manifest_says(evidence: Evidence, depth: Depth) -> None:
    for place in (evidence.bucket.url("p"), str(evidence.here)):
        held, found = evidence.held(place, depth)
        assert held.is_equal
        assert (held.equal, held.count, held.equal_bytes) == (20, 20, sum(range(20)))
        assert list(found) == NAMES


def test_the_manifest_beside_the_data_is_as_good(evidence: Evidence) -> None:
    held, _ = evidence.held(manifest=evidence.beside, depth=Depth.READ)
    assert held.is_equal
    assert held.manifest == evidence.beside


def test_what_is_missing_and_what_is_there_besides_is_named(evidence: Evidence) -> None:
    evidence.bucket.delete("p/f03")
    evidence.bucket.put("p/extra", b"x")
    evidence.bucket.put("p/f04", b"longer")
    assert evidence.told() == [
        "extra: extra: the manifest does not name it",
        "missing: f03: the manifest names it, and it is not there",
        "different: f04: the sizes differ: 4 in the manifest, 6 there",
    ]
    held, _ = evidence.held()
    assert (held.is_equal, held.missing, held.extra, held.different, held.equal) == (False, 1, 1, 1, 18)


@pytest.mark.parametrize("depth", [Depth.CHECKSUM, Depth.READ])
def test_other_bytes_of_the_same_size_are_found_in_a_folder(evidence: Evidence, depth: Depth) -> None:
    path = evidence.here / "f05"
    path.write_bytes(b"other")
    os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))
    assert evidence.told(str(evidence.here)) == [], "a listing does not tell"
    [line] = evidence.told(str(evidence.here), depth)
    assert line.startswith("different: f05: SHA-256 differs: ")


def test_other_bytes_of_the_same_size_are_found_in_a_bucket(evidence: Evidence) -> None:
    evidence.bucket.put("p/f05", b"other")
    [listed] = evidence.told()
    assert listed.startswith("unknown: f05: same size, and no checksum")
    [read] = evidence.told(depth=Depth.READ)
    assert read.startswith("different: f05: SHA-256 differs: ")


def test_the_same_bytes_written_again_are_the_same(evidence: Evidence, tmp_path: Path) -> None:
    os.utime(evidence.here / "f05")
    held, found = evidence.held(str(evidence.here))
    assert held.is_equal
    assert found["f05"].because == "same size and SHA-256, CRC64NVME; its time is another"


def test_a_copy_elsewhere_is_proved_without_the_first_place(evidence: Evidence, tmp_path: Path) -> None:
    """Whoever holds data and manifest needs neither the bucket nor the journal."""
    shutil.copytree(evidence.here, tmp_path / "copy")
    shutil.copy(evidence.manifest, tmp_path / "m")
    held, _ = evidence.held(str(tmp_path / "copy"), Depth.READ, manifest=str(tmp_path / "m"))
    assert held.is_equal


def test_a_sample_is_read_back_and_the_seed_chooses_the_same_again(evidence: Evidence) -> None:
    evidence.bucket.put("p/f05", b"other")
    chosen = []
    for seed in (1, 1, 2):
        held, found = evidence.held(sample="25%", seed=seed)
        chosen.append([key for key, one in found.items() if one.is_sampled])
        assert (held.sampled, held.seed) == (5, seed)
    assert chosen[0] == chosen[1] != chosen[2]
    held, found = evidence.held(sample="20", seed=3)
    assert held.sampled == 20
    assert found["f05"].verdict == "different"
    assert found["f06"].because == "same size and SHA-256, CRC64NVME"


def test_what_the_filters_leave_out_is_not_looked_at(evidence: Evidence) -> None:
    evidence.bucket.delete("p/f03")
    evidence.bucket.put("p/f99", b"x")
    rules = in_order([option_rule("--exclude", "f[09]*")])
    held, found = evidence.held(
        settings=Settings(destination=evidence.settings.destination, filters=Filter(rules=rules))
    )
    assert held.is_equal
    assert list(found) == NAMES[10:]


def test_what_was_deleted_from_the_source_may_be_absent_there_and_nowhere_else(
    evidence: Evidence, tmp_path: Path
) -> None:
    """A restore brings it, so that a restored folder without it lacks something."""
    shutil.copytree(evidence.here, tmp_path / "restored")
    (evidence.here / "f07").unlink()
    evidence.manifest = evidence.up()
    held, found = evidence.held(str(evidence.here))
    assert (held.is_equal, held.equal, held.gone, held.missing, held.skipped) == (True, 19, 1, 0, 0)
    assert found["f07"].because == "it was deleted from the source before that backup"
    assert evidence.held(str(tmp_path / "restored"))[0].equal == 20
    (tmp_path / "restored" / "f07").unlink()
    held, _ = evidence.held(str(tmp_path / "restored"))
    assert (held.is_equal, held.equal, held.gone, held.missing, held.skipped) == (False, 19, 0, 1, 0)
    assert evidence.held()[0].equal == 20
    evidence.bucket.delete("p/f07")
    assert evidence.told() == ["missing: f07: the manifest names it, and it is not there"]


def test_what_failed_is_not_vouched_for(evidence: Evidence) -> None:
    (evidence.here / os.fsdecode(b"odd\xff")).write_bytes(b"x")
    evidence.manifest = evidence.up()
    held, _ = evidence.held()
    assert (held.is_equal, held.is_complete, held.unknown, held.equal) == (False, False, 1, 20)


def test_a_folder_that_the_backup_could_not_read_is_told_of_and_what_is_missing_of_it_is_missing(
    evidence: Evidence, tmp_path: Path
) -> None:
    evidence.put_away("d")
    (evidence.here / os.fsdecode(b"odd\xff")).mkdir()
    (evidence.here / "d").symlink_to("d")
    evidence.manifest = evidence.up(symlinks="follow")
    held, found = evidence.held()
    assert (held.is_equal, held.equal, held.unknown, held.unread_folders) == (False, 21, 2, 1)
    assert found["odd\\xff/"].because == "the backup could not read this folder; what is in it is not counted"
    shutil.copytree(evidence.here, tmp_path / "copy", ignore=shutil.ignore_patterns("d", "odd*"))
    assert "missing: d/x: the manifest names it, and it is not there" in evidence.told(str(tmp_path / "copy"))


def test_a_manifest_that_is_not_whole_is_refused_before_anything_is_looked_at(evidence: Evidence) -> None:
    path = Path(evidence.manifest)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ManifestUnusable, match="cut"):
        evidence.held()
    evidence.bucket.put("p/broken", path.read_bytes())
    with pytest.raises(ManifestUnusable, match="cut") as raised:
        evidence.held(manifest=evidence.bucket.url("p/broken"))
    assert raised.value.sentence.startswith(f"The manifest {evidence.bucket.url('p/broken')} is damaged: ")
    assert raised.value.sentence.endswith("keeps one in its state folder, manifests/broken.")


def test_a_manifest_or_a_place_that_is_not_there(evidence: Evidence, tmp_path: Path) -> None:
    with pytest.raises(SourceUnknown, match="is no object"):
        evidence.held(manifest=evidence.bucket.url("p/none"))
    with pytest.raises(SourceUnknown):
        evidence.held(str(tmp_path / "none"))


def test_an_empty_place_lacks_everything(evidence: Evidence) -> None:
    held, _ = evidence.held(evidence.bucket.url("elsewhere"))
    assert (held.missing, held.is_equal) == (20, False)


def test_deletions_do_not_touch_the_evidence(evidence: Evidence) -> None:
    (evidence.here / "f07").unlink()
    settings = Settings(source=evidence.settings.source, destination=evidence.settings.destination, deletion=Deletion())
    ends = parse_location(str(evidence.here)), parse_location(evidence.bucket.url("p"))
    assert asyncio.run(sync(*ends, settings)).deleted == 1
    assert evidence.told(manifest=evidence.beside) == ["missing: f07: the manifest names it, and it is not there"]
