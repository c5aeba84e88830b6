"""Keys that no folder can hold, or that would lead out of it, are refused by name; everything else arrives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Sterna
from tests.e2e.trees import failures, leftovers, plant, records, summary, tree
from tests.servers.oracle import Bucket
from tests.servers.server import Server

OTHER_SERVERS_ARE_THOROUGH = True

HOSTILE = [
    "../x",
    "../../x",
    "a/../x",
    "a/../../x",
    "./x",
    "a/./x",
    ".",
    "..",
    "a/.",
    "a/..",
    "//x",
    "/abs",
    "/etc/passwd",
    "a//b",
    "folder/",  # with bytes
    "x" * 256,
    "d/" + "\u00e9" * 128,  # 256 bytes
    ".sterna-01234567-1-1-1.part",  # one of our own temporary names
    "d/.sterna-01234567-1-1-1.part",
]
GOOD = ["0 first", "a/good", "d/good", "...", "..good", "zz last", "x" * 255]


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A destination in the middle of files that must be the same afterwards."""
    around = {"x": b"canary", "abs": b"canary", "outside/x": b"canary", "middle/x": b"canary"}
    plant(tmp_path / "world", around)
    target = tmp_path / "world" / "middle" / "target"
    target.mkdir()
    yield target
    now = {name: data for name, data in tree(tmp_path / "world").items() if not name.startswith("middle/target/")}
    assert now == around, "something outside of the destination was touched"
    assert leftovers(tmp_path) == []


def needs_any_key(server: Server) -> None:
    if not server.facts.any_key:
        pytest.skip(f"{server.name} holds paths of a folder: these keys cannot be stored in it")


def test_every_hostile_key_is_refused_by_name_and_everything_else_arrives_h59_h61_h66_h69(
    sterna: Sterna, server: Server, bucket: Bucket, canary: Path
) -> None:
    needs_any_key(server)
    for key in (*HOSTILE, *GOOD):
        bucket.put("p/" + key, key.encode())
    plant(canary, {"there before": b"old"})
    done = sterna("--json", "sync", bucket.url("p"), canary)
    assert done.code == 1
    assert sorted(failures(done)) == sorted(HOSTILE)
    assert all(reason for reason in failures(done).values())
    assert tree(canary) == {key: key.encode() for key in GOOD} | {"there before": b"old"}
    assert (summary(done)["downloaded"], summary(done)["failed"]) == (len(GOOD), len(HOSTILE))


def test_without_a_prefix_hostile_keys_are_refused_as_well_h59_h61(
    sterna: Sterna, server: Server, bucket: Bucket, canary: Path
) -> None:
    needs_any_key(server)
    for key in ("../x", "/abs", "//x", ".", "good"):
        bucket.put(key, b"1")
    done = sterna("--json", "sync", bucket.url(), canary)
    assert done.code == 1
    assert sorted(failures(done)) == sorted(["../x", "/abs", "//x", "."])
    assert tree(canary) == {"good": b"1"}


@pytest.mark.parametrize("key", ["../x", "a/..", "a/.", "..", "p/\n/../x"])
def test_copying_one_hostile_object_into_a_folder_is_refused_h59(
    sterna: Sterna, server: Server, bucket: Bucket, canary: Path, key: str
) -> None:
    needs_any_key(server)
    bucket.put(key, b"1")
    done = sterna("copy", bucket.url(key), canary)
    name = key.rpartition("/")[2]
    if name in (".", ".."):
        assert done.code != 0
        assert tree(canary) == {}
    else:  # only the object's own name counts, as for cp
        assert done.code == 0, done.err
        assert tree(canary) == {"x": b"1"}


@pytest.mark.parametrize("round_number", range(3))
def test_a_file_beside_a_folder_of_the_same_name_both_named_and_neither_arrives_h67(
    sterna: Sterna, server: Server, bucket: Bucket, canary: Path, round_number: int
) -> None:
    needs_any_key(server)
    for key in ("a", "a!", "a/b", "a/c/d", "a0", "m", "m/"):
        bucket.put("p/" + key, b"" if key == "m/" else key.encode())
    done = sterna("--json", "sync", bucket.url("p"), canary)
    assert done.code == 1
    assert sorted(failures(done)) == ["a", "a/b", "a/c/d", "m", "m/"]
    assert all("a is a file" in failures(done)[key] for key in ("a", "a/b", "a/c/d"))
    assert tree(canary) == {key: key.encode() for key in ("a!", "a0")}


def test_what_stands_in_the_way_is_not_harmed_h62_h67(
    sterna: Sterna, server: Server, bucket: Bucket, canary: Path
) -> None:
    for key in ("file/below", "folder", "good", "link/x", "linked"):
        bucket.put("p/" + key, b"new")
    plant(canary, {"file": b"old", "folder/inside": b"old"})
    outside = canary.parent.parent / "outside"
    (canary / "link").symlink_to(outside)
    (canary / "linked").symlink_to(outside / "x")
    done = sterna("--json", "sync", bucket.url("p"), canary)
    assert done.code == 1
    assert sorted(failures(done)) == ["file/below", "folder", "link/x", "linked"]
    assert "symbolic link" in failures(done)["link/x"]
    assert "symbolic link" in failures(done)["linked"]
    assert (canary / "file").read_bytes() == b"old"
    assert (canary / "folder" / "inside").read_bytes() == b"old"
    assert (canary / "good").read_bytes() == b"new"
    assert (canary / "link").is_symlink()
    assert (canary / "linked").is_symlink()


def test_large_objects_do_not_go_through_planted_links_either_h62(
    sterna: Sterna, server: Server, bucket: Bucket, canary: Path
) -> None:
    data = bytes(8 * 1024 * 1024 + 1)
    bucket.put("p/link/x", data)
    bucket.put("p/linked", data)
    outside = canary.parent.parent / "outside"
    (canary / "link").symlink_to(outside)
    (canary / "linked").symlink_to(outside / "x")
    done = sterna("--json", "sync", bucket.url("p"), canary)
    assert done.code == 1
    assert sorted(failures(done)) == ["link/x", "linked"]


def test_a_dangling_link_is_not_written_through_h62(sterna: Sterna, bucket: Bucket, canary: Path) -> None:
    bucket.put("p/a", b"1")
    (canary / "a").symlink_to(canary.parent.parent / "outside" / "new")
    done = sterna("--json", "copy", bucket.url("p/a"), canary / "a")
    assert done.code == 1
    assert (canary / "a").is_symlink()


def test_the_root_may_be_a_link_since_the_user_named_it(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("p/a", b"1")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert sterna("sync", bucket.url("p"), tmp_path / "link").code == 0
    assert tree(tmp_path / "real") == {"a": b"1"}


def test_hostile_keys_cannot_command_the_terminal_h103(
    sterna: Sterna, server: Server, bucket: Bucket, canary: Path, tmp_path: Path
) -> None:
    needs_any_key(server)
    bucket.put("p/\x1b[2J\x07/../x", b"1")
    log = tmp_path / "log"
    for arguments in (("-v",), ("--json",), ("--log-file", str(log))):
        done = sterna(*arguments, "sync", bucket.url("p"), canary)
        assert done.code == 1
        assert "\x1b" not in done.out + done.err
    assert "\x1b" not in log.read_text()
    assert "\\x1b[2J" in log.read_text()


def test_a_dry_run_names_what_it_would_refuse(sterna: Sterna, server: Server, bucket: Bucket, canary: Path) -> None:
    needs_any_key(server)
    bucket.put("p/../x", b"1")
    bucket.put("p/good", b"1")
    done = sterna("--json", "sync", "--dry-run", bucket.url("p"), canary)
    assert list(failures(done)) == ["../x"]
    assert [record["key"] for record in records(done) if record["status"] == "planned"] == ["good"]
    assert done.code == 1
    assert tree(canary) == {}
