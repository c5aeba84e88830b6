"""What a sync moves and what it leaves, by each ``--compare``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import Sterna
from tests.e2e.trees import LONG_AGO_NS, MIB, plant, records, summary, tree
from tests.servers.oracle import Bucket

ONE_SERVER_IS_ENOUGH = True
pytestmark = pytest.mark.thorough

FILES = {"a": b"a" * 100, "b": b"b" * 50, "empty": b"", "large": b"0123456789abcdef" * (9 * MIB // 16)}


@pytest.fixture
def there(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> Path:
    """A folder whose files are in the bucket below ``p``; nobody has noted what either side had."""
    folder = plant(tmp_path / "tree", FILES)
    assert sterna("sync", folder, bucket.url("p"), "--no-journal").code == 0
    return folder


def change(path: Path, data: bytes) -> None:
    """Write other bytes, and put the old time back."""
    before = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def moved(sterna: Sterna, *arguments: str | Path) -> list[str]:
    """The keys that a dry run and then a run move, by what both sides show now."""
    planned = sterna("sync", *arguments, "--no-journal", "--json", "--dry-run")
    done = sterna("sync", *arguments, "--no-journal", "--json")
    assert (planned.code, done.code) == (0, 0), done
    keys = sorted(one["key"] for one in records(done) if one["status"] == "done")  # they end in any order
    assert sorted(one["key"] for one in records(planned) if one["status"] == "planned") == keys
    return keys


def test_H23_same_size_other_content_and_the_old_time_are_found_by_checksum_alone(
    sterna: Sterna, bucket: Bucket, there: Path
) -> None:
    change(there / "a", b"A" * 100)
    change(there / "large", b"0123456789ABCDEF" * (9 * MIB // 16))
    for blind in ("auto", "size", "mtime", "exists"):
        assert moved(sterna, there, bucket.url("p"), "--compare", blind) == []
    assert moved(sterna, there, bucket.url("p"), "--compare", "checksum") == ["a", "large"]
    assert bucket.contents("p/") == {f"p/{name}": data for name, data in tree(there).items()}
    assert moved(sterna, there, bucket.url("p"), "--compare", "checksum") == []


def test_H23_an_object_that_rotted_is_brought_again_by_checksum_and_other_times_do_not_matter(
    sterna: Sterna, bucket: Bucket, there: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    assert sterna("sync", bucket.url("p"), target).code == 0
    change(target / "a", b"x" * 100)
    for name in tree(target):
        os.utime(target / name, ns=(LONG_AGO_NS - 10**12, LONG_AGO_NS - 10**12))
    assert moved(sterna, bucket.url("p"), target, "--compare", "checksum") == ["a"]
    assert tree(target) == FILES


def test_an_older_file_put_in_place_is_found_by_mtime_and_not_by_auto(
    sterna: Sterna, bucket: Bucket, there: Path
) -> None:
    (there / "a").write_bytes(b"A" * 100)
    os.utime(there / "a", ns=(LONG_AGO_NS - 10**15, LONG_AGO_NS - 10**15))
    assert moved(sterna, there, bucket.url("p")) == []
    assert moved(sterna, there, bucket.url("p"), "--compare", "mtime") == ["a"]
    assert moved(sterna, there, bucket.url("p"), "--compare", "mtime") == []


def test_exists_writes_over_nothing_and_size_over_what_has_another(sterna: Sterna, bucket: Bucket, there: Path) -> None:
    (there / "a").write_bytes(b"longer" * 100)
    (there / "b").write_bytes(b"B" * 50)
    (there / "new").write_bytes(b"n")
    assert moved(sterna, there, bucket.url("p"), "--compare", "exists") == ["new"]
    assert bucket.get("p/a") == FILES["a"]
    assert moved(sterna, there, bucket.url("p"), "--compare", "size") == ["a"]
    assert bucket.get("p/b") == FILES["b"]


def test_H118_files_of_the_future_are_carried_once(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    folder = plant(tmp_path / "tree", FILES, 4_000_000_000_123_456_789)
    for expected in (sorted(FILES), []):
        assert moved(sterna, folder, bucket.url("p")) == expected
    back = tmp_path / "back"
    for expected in (sorted(FILES), []):
        done = sterna("sync", bucket.url("p"), back, "--json")
        assert sorted(one["key"] for one in records(done) if one["status"] == "done") == expected


def test_H117_another_time_zone_changes_nothing(sterna: Sterna, bucket: Bucket, there: Path, tmp_path: Path) -> None:
    back = tmp_path / "back"
    assert sterna("sync", bucket.url("p"), back, env={"TZ": "America/New_York"}).code == 0
    for zone in ("Asia/Kolkata", "EST5EDT,M3.2.0,M11.1.0", "UTC+12"):
        for ends in ((there, bucket.url("p")), (bucket.url("p"), back)):
            done = sterna("sync", *ends, "--json", env={"TZ": zone})
            assert (summary(done)["done"], summary(done)["kept"]) == (0, 4)


def test_copy_of_one_file_takes_the_comparison_too(sterna: Sterna, bucket: Bucket, there: Path, tmp_path: Path) -> None:
    change(there / "a", b"A" * 100)
    for how, expected in (("exists", b"a"), ("size", b"a"), ("mtime", b"a"), ("checksum", b"A")):
        done = sterna("copy", there / "a", bucket.url("p/a"), "--compare", how)
        assert (done.code, bucket.get("p/a")) == (0, expected * 100), how
    target = plant(tmp_path / "target", {"a": b"-" * 100})
    assert sterna("copy", bucket.url("p/a"), target / "a", "--compare", "exists").code == 0
    assert tree(target) == {"a": b"-" * 100}
    assert sterna("copy", bucket.url("p/a"), target / "a", "--compare", "checksum").code == 0
    assert tree(target) == {"a": b"A" * 100}
