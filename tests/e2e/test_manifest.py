"""The command leaves a manifest, and holds places against it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.conftest import Sterna
from tests.e2e.trees import MIB, plant, records, summary
from tests.servers.oracle import Bucket

ONE_SERVER_IS_ENOUGH = True
pytestmark = pytest.mark.thorough

FILES = {
    "a": b"a" * 100,
    "empty": b"",
    "large": bytes(range(256)) * (9 * MIB // 256),  # in two parts
    "some where/b c é": b"b",
}


@pytest.fixture
def there(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> Path:
    """A folder whose files are in the bucket below ``p``, with a manifest at ``m``."""
    folder = plant(tmp_path / "tree", FILES)
    done = sterna(
        "sync", folder, bucket.url("p"), "--manifest", "--sha256", "--manifest-file", tmp_path / "m", "--json"
    )
    assert done.code == 0, done
    written = summary(done)["manifest"]
    assert (written["count"], written["failed"], written["is_complete"]) == (4, 0, True)
    [told] = [one["sentence"] for one in records(done, "notice") if one["code"] == "manifest"]
    assert written["root"] in told
    assert written["location"] in told
    return folder


@pytest.mark.parametrize("how", ["", "--checksum", "--read"])
def test_bucket_and_folder_are_held_against_the_manifest(
    sterna: Sterna, bucket: Bucket, there: Path, tmp_path: Path, how: str
) -> None:
    for place in (bucket.url("p"), there):
        done = sterna("verify", "--manifest", tmp_path / "m", place, *filter(None, [how]))
        assert done.code == 0, done
        assert re.fullmatch(
            r"Equal: 4 equal \(9\.0 MiB\), by .*; the manifest of 4 objects has the root [0-9a-f]{64}\.", done.verdict
        )


def test_a_restored_folder_is_proved_by_the_manifest_beside_the_data(
    sterna: Sterna, bucket: Bucket, there: Path, tmp_path: Path
) -> None:
    [beside] = [one.key for one in bucket.listing() if "/.sterna/" in one.key]
    assert sterna("sync", bucket.url("p"), tmp_path / "back").code == 0
    assert not (tmp_path / "back" / ".sterna").exists()
    done = sterna("verify", "--manifest", bucket.url(beside), tmp_path / "back", "--read")
    assert done.code == 0, done
    assert beside.removeprefix("p/") in sterna("ls", "--recursive", bucket.url("p")).out


def test_every_difference_is_named_and_the_sample_can_be_repeated(
    sterna: Sterna, bucket: Bucket, there: Path, tmp_path: Path
) -> None:
    bucket.put("p/a", b"b" * 100)
    bucket.delete("p/empty")
    bucket.put("p/extra", b"x")
    first = sterna("verify", "--manifest", tmp_path / "m", bucket.url("p"), "--sample", "100%", "--json")
    assert first.code == 1
    told = {one["key"]: one["verdict"] for one in records(first, "finding")}
    assert told == {"a": "different", "empty": "missing", "extra": "extra"}
    said = summary(first)
    assert (said["equal"], said["different"], said["missing"], said["extra"], said["exit_code"]) == (2, 1, 1, 1, 1)
    one, again = (
        sterna(
            "verify",
            "--manifest",
            tmp_path / "m",
            bucket.url("p"),
            "--sample",
            "2",
            "--seed",
            said["seed"],
            "--json",
            "-v",
        )
        for _ in range(2)
    )
    chosen = [[one["key"] for one in records(done, "finding") if one["is_sampled"]] for done in (one, again)]
    assert chosen[0] == chosen[1]
    assert "--seed " in sterna("verify", "--manifest", tmp_path / "m", bucket.url("p"), "--sample", "2").verdict


def test_copy_leaves_one_too(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    folder = plant(tmp_path / "tree", {"a": b"a"})
    done = sterna("copy", folder, bucket.url("q"), "--manifest", "--json")
    assert done.code == 0, done
    manifest = summary(done)["manifest"]
    assert sterna("verify", "--manifest", manifest["path"], bucket.url("q"), "--checksum").code == 0
    assert json.loads(done.out.splitlines()[-1])["manifest"]["root"] == manifest["root"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sync", "F", "B", "--sha256"], "--sha256 is for --manifest"),
        (["sync", "F", "B", "--manifest-file", "x"], "--manifest-file is for --manifest"),
        (["sync", "F", "B", "--manifest", "--no-journal"], "--no-journal"),
        (["sync", "F", "B", "--manifest", "--compare", "size"], "--compare size"),
        (["sync", "B", "F", "--manifest"], "--manifest is for uploads"),
        (["copy", "F/a", "B", "--manifest"], "--manifest is of a folder"),
        (["verify", "B"], "--manifest"),
        (["verify", "F", "B", "--manifest", "m"], "--manifest stands for one"),
        (["verify", "F", "B", "--sample", "1%"], "--sample and --seed are for --manifest"),
        (["verify", "B", "--manifest", "m", "--seed", "1"], "--seed chooses the --sample"),
        (["verify", "B", "--manifest", "m", "--read", "--sample", "1"], "--sample reads some"),
        (["verify", "B", "--manifest", "m", "--sample", "0"], "--sample 0"),
        (["verify", "B", "--manifest", "m"], "there is no such path"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    sterna: Sterna, bucket: Bucket, tmp_path: Path, words: list[str], said: str
) -> None:
    plant(tmp_path / "tree", {"a": b"a"})
    places = {"F": str(tmp_path / "tree"), "B": bucket.url("p"), "F/a": str(tmp_path / "tree" / "a")}
    done = sterna(*(places.get(word, word) for word in words))
    assert done.code == 2, done
    assert said in done.err
    assert bucket.listing() == []
