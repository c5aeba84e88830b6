"""The command compares two places, and moves nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Done, Sterna
from tests.e2e.trees import LONG_AGO_NS, MIB, plant, tree
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
    """A folder whose files are in the bucket below ``p``."""
    folder = plant(tmp_path / "tree", FILES)
    assert sterna("sync", folder, bucket.url("p")).code == 0
    return folder


def lines(done: Done) -> list[str]:
    return sorted(line for line in done.out.splitlines()[:-1])


def findings(done: Done) -> dict[str, dict[str, Any]]:
    records = [json.loads(line) for line in done.out.splitlines()]
    return {one["key"]: one for one in records if one["type"] == "finding"}


def rot(bucket: Bucket, key: str, data: bytes) -> None:
    """Put other bytes in an object's place, that says of itself what the old one said."""
    head = bucket.head(key)
    assert head is not None
    bucket.put(key, data, {"x-amz-meta-mtime": head["x-amz-meta-mtime"]})


@pytest.mark.parametrize("how", ["", "--checksum", "--read"])
def test_what_was_synced_is_equal_either_way(sterna: Sterna, bucket: Bucket, there: Path, how: str) -> None:
    before = bucket.listing()
    options = [how] if how else []
    for ends in ((there, bucket.url("p")), (bucket.url("p"), there)):
        done = sterna("verify", *ends, *options)
        assert done.code == 0, done
        by = {"": "by names and sizes; --checksum compares the content", "--checksum": "by checksums"}
        assert done.out == f"Equal: 4 equal (9.0 MiB), {by.get(how, 'byte by byte')}.\n"
    assert bucket.listing() == before
    assert tree(there) == FILES


@pytest.mark.parametrize("how", ["--checksum", "--read"])
def test_other_bytes_of_the_same_size_are_found(sterna: Sterna, bucket: Bucket, there: Path, how: str) -> None:
    rot(bucket, "p/a", b"a" * 99 + b"b")
    assert sterna("verify", there, bucket.url("p")).code == 0  # sizes alone do not tell
    done = sterna("verify", there, bucket.url("p"), how, "--json")
    assert done.code == 1
    (key, found), *others = findings(done).items()
    assert (key, others) == ("a", [])
    assert found["verdict"] in ("different", "unknown" if how == "--checksum" else "different")
    if how == "--read":
        assert found["because"] == "the bytes differ, the first of them at byte 99"
    summary = json.loads(done.out.splitlines()[-1])
    assert (summary["type"], summary["equal"], summary["exit_code"], summary["is_equal"]) == ("summary", 3, 1, False)
    assert summary["different"] + summary["unknown"] == 1
    assert found["left"]["size"] == found["right"]["size"] == 100


def test_what_is_on_one_side_only_or_of_another_size_is_named(sterna: Sterna, bucket: Bucket, there: Path) -> None:
    (there / "new").write_bytes(b"n")
    (there / "a").write_bytes(b"a" * 101)
    bucket.put("p/other", b"o")
    done = sterna("verify", there, bucket.url("p"))
    assert done.code == 1
    assert lines(done) == [
        "different: a: the sizes differ: 101 left, 100 right",
        "only left: new: the right side does not have it",
        "only right: other: the left side does not have it",
    ]
    assert done.verdict == (
        "NOT EQUAL: 1 different, 1 only left, 1 only right; 3 equal (9.0 MiB), by names and sizes; "
        "--checksum compares the content."
    )


def test_filters_apply_to_both_sides_and_equal_ones_are_told_with_v(
    sterna: Sterna, bucket: Bucket, there: Path
) -> None:
    (there / "x.tmp").write_bytes(b"n")
    bucket.put("p/y.tmp", b"o")
    done = sterna("verify", "-v", there, bucket.url("p"), "--exclude", "*.tmp", "--max-size", "1MiB")
    assert done.code == 0, done
    assert lines(done) == [
        "equal: a: same size; the bytes were not compared",
        "equal: empty: both are empty",
        "equal: some where/b c é: same size; the bytes were not compared",
    ]
    assert sterna("-q", "verify", there, bucket.url("p"), "--exclude", "*.tmp").out == ""


def test_two_buckets_are_compared(sterna: Sterna, bucket: Bucket, there: Path) -> None:
    assert sterna("sync", there, bucket.url("q")).code == 0
    for how in ("--checksum", "--read"):
        assert sterna("verify", bucket.url("p"), bucket.url("q"), how).code == 0
    rot(bucket, "q/a", b"b" * 100)
    done = sterna("verify", bucket.url("p"), bucket.url("q"), "--read")
    assert (done.code, lines(done)) == (1, ["different: a: the bytes differ, the first of them at byte 0"])
    assert sterna("verify", bucket.url("p"), bucket.url("q"), "--checksum").code == 1


def test_a_marker_of_a_folder_is_no_file_where_folders_are_compared(
    sterna: Sterna, bucket: Bucket, there: Path
) -> None:
    if not bucket.oracle.server.facts.any_key:
        pytest.skip("this server makes a key without a slash of it")
    bucket.put("p/dir/", b"")
    assert sterna("verify", there, bucket.url("p")).code == 0


def test_a_side_that_cannot_be_established_ends_with_its_code(sterna: Sterna, bucket: Bucket, there: Path) -> None:
    assert sterna("verify", bucket.url("nothing-here"), there).code == 4
    assert sterna("verify", there / "missing", bucket.url("p")).code == 4
    assert sterna("verify", there, there / "missing").code == 4
    assert sterna("verify", "s3://no-such-bucket-here", there).code in (2, 4)
    assert sterna("verify", there, bucket.url("nothing-here")).code == 1  # all of it is only left


def test_H78_a_folder_that_cannot_be_read_is_unknown_and_never_equal(
    sterna: Sterna, bucket: Bucket, there: Path
) -> None:
    if os.geteuid() == 0:
        (there / "some where").rename(there / "gone")
        (there / "some where").symlink_to(there / "gone")
        done = sterna("verify", there, bucket.url("p"))
        assert done.code == 1
        assert "unknown: some where/b c é: the left side could not be listed here" in lines(done)
        return
    (there / "some where").chmod(0)
    try:
        done = sterna("verify", there, bucket.url("p"))
    finally:
        (there / "some where").chmod(0o700)
    assert done.code == 1
    assert any(line.startswith("unknown: some where") for line in lines(done))


def test_two_folders_are_compared_without_a_server(sterna: Sterna, tmp_path: Path) -> None:
    one = plant(tmp_path / "one", FILES)
    other = plant(tmp_path / "other", FILES, LONG_AGO_NS + 5)
    for how in ([], ["--checksum"], ["--read"]):
        assert sterna("verify", one, other, *how).code == 0
    changed = bytearray(FILES["large"])
    changed[8 * MIB + 3] ^= 1  # in the second slice
    (other / "large").write_bytes(changed)
    assert sterna("verify", one, other).code == 0
    done = sterna("verify", one, other, "--checksum")
    assert (done.code, lines(done)) == (
        1,
        [f"different: large: the bytes differ, the first of them at byte {8 * MIB + 3}"],
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a", "b", "--checksum", "--read"], "--checksum and --read exclude each other"),
        (["-", "s3://bucket"], "not on standard input"),
        (["s3://bucket/a", "s3://bucket/b", "--symlinks", "follow"], "both sides are in buckets"),
    ],
)
def test_what_cannot_be_right_is_refused(sterna: Sterna, arguments: list[str], words: str) -> None:
    done = sterna("verify", *arguments)
    assert (done.code, done.out) == (2, "")
    assert words in done.err


def test_a_name_that_the_filters_leave_out_makes_nothing_unequal(sterna: Sterna, bucket: Bucket, there: Path) -> None:
    (there / os.fsdecode(b"caf\xe9.bak")).write_bytes(b"1")
    done = sterna("verify", there, bucket.url("p"), "--exclude", "*.bak")
    assert (done.code, done.verdict.split(":")[0]) == (0, "Equal"), done
    done = sterna("verify", there, bucket.url("p"))
    assert done.code == 1, done
    assert "caf\\xe9.bak" in done.out
