"""Links, odd names and names that collide, there and back through the command."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import Done, Sterna
from tests.e2e.test_hostile_keys import needs_any_key
from tests.e2e.trees import failures, leftovers, mtimes, plant, records, summary, tree
from tests.servers.oracle import Bucket
from tests.servers.server import Server

ONE_SERVER_IS_ENOUGH = True
pytestmark = pytest.mark.thorough


def skipped(done: Done) -> dict[str, str]:
    return {record["key"]: record["error"] for record in records(done) if record["status"] == "skipped"}


def plan_links(root: Path) -> dict[str, str]:
    """A tree with links of all kinds that stay inside; gives their targets."""
    plant(root, {"a/file": b"1", "b/c/deep": b"2", "z": b"3"})
    links = {"to-file": "a/file", "to-folder": "a", "b/c/up": "../../z", "b/dangling": "nowhere", "loop": ".", "é": "z"}
    for name, target in links.items():
        (root / name).symlink_to(target)
    return links


def links_of(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): os.readlink(path) for path in root.rglob("*") if path.is_symlink()}


def test_stored_links_come_back_as_links_and_a_second_run_has_nothing_to_do(
    sterna: Sterna, bucket: Bucket, tmp_path: Path
) -> None:
    links = plan_links(tmp_path / "from")
    done = sterna("--json", "sync", "--symlinks", "store", tmp_path / "from", bucket.url("p"))
    assert done.code == 0, done.err
    assert summary(done)["uploaded"] == 3 + len(links)
    assert bucket.get("p/b/c/up.rclonelink") == b"../../z"
    back = tmp_path / "back"
    done = sterna("--json", "sync", "--symlinks", "store", bucket.url("p"), back)
    assert done.code == 0, done.err
    assert links_of(back) == links
    assert tree(back) == tree(tmp_path / "from")
    assert mtimes(back) == mtimes(tmp_path / "from")  # of the links too
    for ends in ((bucket.url("p"), back), (tmp_path / "from", bucket.url("p"))):
        again = sterna("--json", "sync", "--symlinks", "store", *ends)
        assert (again.code, summary(again)["downloaded"], summary(again)["uploaded"]) == (0, 0, 0)
    os.unlink(tmp_path / "from" / "to-file")
    (tmp_path / "from" / "to-file").symlink_to("a/elif")  # as long, and another
    assert summary(sterna("--json", "sync", "--symlinks", "store", tmp_path / "from", bucket.url("p")))["uploaded"] == 1
    assert summary(sterna("--json", "sync", "--symlinks", "store", bucket.url("p"), back))["downloaded"] == 1
    assert links_of(back) == links | {"to-file": "a/elif"}
    assert leftovers(back) == []


def test_deleting_with_stored_links_removes_links_and_never_what_they_point_to(
    sterna: Sterna, bucket: Bucket, tmp_path: Path
) -> None:
    plan_links(tmp_path / "from")
    back = tmp_path / "back"
    assert sterna("sync", "--symlinks", "store", tmp_path / "from", bucket.url("p")).code == 0
    assert sterna("sync", "--symlinks", "store", bucket.url("p"), back).code == 0
    os.unlink(tmp_path / "from" / "to-folder")
    assert sterna("sync", "--symlinks", "store", "--delete", tmp_path / "from", bucket.url("p")).code == 0
    assert bucket.keys("p/to-folder") == []
    done = sterna("--json", "sync", "--symlinks", "store", "--delete", bucket.url("p"), back)
    assert (done.code, summary(done)["deleted"]) == (0, 1)
    assert links_of(back) == links_of(tmp_path / "from")
    assert tree(back)["a/file"] == b"1"


def test_without_store_a_stored_link_arrives_as_the_file_that_it_is(
    sterna: Sterna, bucket: Bucket, tmp_path: Path
) -> None:
    bucket.put("p/a.rclonelink", b"b")
    assert sterna("sync", bucket.url("p"), tmp_path / "to").code == 0
    assert tree(tmp_path / "to") == {"a.rclonelink": b"b"}
    assert links_of(tmp_path / "to") == {}


def test_stored_links_that_lead_out_are_refused_by_name_and_the_rest_arrives_h63(
    sterna: Sterna, bucket: Bucket, tmp_path: Path
) -> None:
    outside = plant(tmp_path / "outside", {"x": b"canary"})
    for key, target in {
        "absolute": str(outside), "up": "../outside", "d/up": "../../outside", "d/sly": "x/../../../outside",
    }.items():  # fmt: skip
        bucket.put(f"p/{key}.rclonelink", target.encode())
    for key in ("absolute/x", "up/x", "d/up/x"):
        bucket.put("p/" + key, b"new")
    bucket.put("p/good.rclonelink", b"d")
    to = tmp_path / "to"
    done = sterna("--json", "sync", "--symlinks", "store", bucket.url("p"), to)
    assert done.code == 1
    assert sorted(failures(done)) == [
        "absolute.rclonelink", "absolute/x", "d/sly.rclonelink", "d/up.rclonelink", "d/up/x", "up.rclonelink", "up/x",
    ]  # fmt: skip
    assert links_of(to) == {"good": "d"}
    assert tree(outside) == {"x": b"canary"}
    # One after the other, so that nothing collides: the link is refused for itself.
    for key in ("absolute/x", "up/x", "d/up/x"):
        bucket.delete("p/" + key)
    done = sterna("--json", "sync", "--symlinks", "store", bucket.url("p"), tmp_path / "to2")
    assert done.code == 1
    assert "absolute" in failures(done)["absolute.rclonelink"]
    assert "leads out" in failures(done)["d/up.rclonelink"]
    assert "after a name" in failures(done)["d/sly.rclonelink"]
    assert links_of(tmp_path / "to2") == {"good": "d"}


def test_a_file_in_the_place_of_a_stored_link_is_left_and_named(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("p/a.rclonelink", b"b")
    to = plant(tmp_path / "to", {"a": b"mine"})
    done = sterna("--json", "sync", "--symlinks", "store", bucket.url("p"), to)
    assert done.code == 1
    assert list(failures(done)) == ["a.rclonelink"]
    assert tree(to) == {"a": b"mine"}


COLLIDING = ["a", "a!", "a/b", "a/c/d", "a0", "m", "m/"]


def put_colliding(bucket: Bucket) -> None:
    for key in COLLIDING:
        bucket.put("p/" + key, b"" if key == "m/" else key.encode())


def test_of_keys_that_collide_none_is_written_and_each_is_named_h67(
    sterna: Sterna, server: Server, bucket: Bucket, tmp_path: Path
) -> None:
    needs_any_key(server)
    put_colliding(bucket)
    for options in ((), ("--on-collision", "fail")):
        to = tmp_path / f"to{len(options)}"
        done = sterna("--json", "sync", *options, bucket.url("p"), to)
        assert done.code == 1
        assert sorted(failures(done)) == ["a", "a/b", "a/c/d", "m", "m/"]
        assert tree(to) == {"a!": b"a!", "a0": b"a0"}


def test_with_skip_they_are_left_out_by_name_and_fail_nothing(
    sterna: Sterna, server: Server, bucket: Bucket, tmp_path: Path
) -> None:
    needs_any_key(server)
    put_colliding(bucket)
    bucket.put("p/x//y", b"1")
    done = sterna("--json", "sync", "--on-collision", "skip", bucket.url("p"), tmp_path / "to")
    assert done.code == 0, done.err
    assert sorted(skipped(done)) == ["a", "a/b", "a/c/d", "m", "m/", "x//y"]
    assert all(skipped(done).values())
    assert tree(tmp_path / "to") == {"a!": b"a!", "a0": b"a0"}


def test_with_escape_every_key_arrives_and_goes_back_under_its_name_h66_h67(
    sterna: Sterna, server: Server, bucket: Bucket, tmp_path: Path
) -> None:
    needs_any_key(server)
    put_colliding(bucket)
    for key in ("x/y", "x//y", "/abs", "../up", "..", "100%", "a%20b", "big/../" + "n" * 200):
        bucket.put("p/" + key, key.encode() * 3)
    to = tmp_path / "world" / "to"
    done = sterna("--json", "sync", "--on-collision", "escape", bucket.url("p"), to)
    assert done.code == 0, done.err
    assert tree(to)["a%-"] == b"a"
    assert tree(to)["a/b"] == b"a/b"
    assert tree(to)["x/%=/y"] == b"x//y" * 3
    assert tree(to)["x/y"] == b"x/y" * 3
    assert os.listdir(tmp_path / "world") == ["to"]
    again = sterna("--json", "sync", "--on-collision", "escape", bucket.url("p"), to)
    assert (again.code, summary(again)["downloaded"]) == (0, 0)
    back = sterna("--json", "sync", "--on-collision", "escape", to, bucket.url("q"))
    assert back.code == 0, back.err
    wanted = {key.removeprefix("p/") for key in bucket.keys("p/")} - {"m/"}  # an empty folder
    assert {key.removeprefix("q/") for key in bucket.keys("q/")} == wanted
    assert all(bucket.get("q/" + key) == bucket.get("p/" + key) for key in wanted)
    # What changed is written in its place, and what is gone is deleted there.
    bucket.put("p/a", b"another a")
    bucket.put("p/x//y", b"another y")
    bucket.delete("p/../up")
    done = sterna("--json", "sync", "--on-collision", "escape", "--delete", bucket.url("p"), to)
    assert (done.code, summary(done)["downloaded"], summary(done)["deleted"]) == (0, 2, 1)
    assert (tree(to)["a%-"], tree(to)["x/%=/y"]) == (b"another a", b"another y")
    assert set(mtimes(to)) == {
        "%2E.%-", "%=/abs", "100%", "a!", "a%-", "a%2520b", "a/b", "a/c/d", "a0", "big/%2E./" + "n" * 200, "m%-",
        "x/%=/y", "x/y",
    }  # fmt: skip
    assert leftovers(to) == []


@pytest.mark.parametrize("how", ["", "--checksum", "--read"])
def test_verify_reads_escaped_names_as_their_keys(
    sterna: Sterna, server: Server, bucket: Bucket, tmp_path: Path, how: str
) -> None:
    needs_any_key(server)
    put_colliding(bucket)
    bucket.put("p/x//y", b"1")
    to = tmp_path / "to"
    assert sterna("sync", "--on-collision", "escape", bucket.url("p"), to).code == 0
    for ends in ((bucket.url("p"), to), (to, bucket.url("p"))):
        done = sterna("verify", *ends, "--on-collision", "escape", *filter(None, [how]))
        assert done.code == 0, done.out + done.err
        assert done.out.startswith("Equal: 7 equal")
    plain = sterna("verify", bucket.url("p"), to)
    assert plain.code == 1
    assert "only left: x//y: " in plain.out
    assert "only right: a%-: " in plain.out
    (to / "a%-").write_bytes(b"another")
    done = sterna("verify", bucket.url("p"), to, "--on-collision", "escape", *filter(None, [how]))
    assert done.code == 1
    assert done.out.startswith("different: a: the sizes differ")


def test_verify_between_buckets_has_no_names_to_read_otherwise(sterna: Sterna, bucket: Bucket) -> None:
    done = sterna("verify", bucket.url("p"), bucket.url("q"), "--on-collision", "escape")
    assert done.code == 2
    assert "--on-collision is for folders, and both sides are in buckets" in done.err


def test_many_keys_between_two_that_collide_change_nothing_h67(
    sterna: Sterna, server: Server, bucket: Bucket, tmp_path: Path
) -> None:
    needs_any_key(server)
    for number in range(1100):  # more than a page
        bucket.put(f"p/a-{number:04}", b"")
    bucket.put("p/a", b"1")
    bucket.put("p/a/b", b"1")
    done = sterna("--json", "sync", bucket.url("p"), tmp_path / "to")
    assert sorted(failures(done)) == ["a", "a/b"]
    assert summary(done)["downloaded"] == 1100


def test_an_excluded_key_collides_with_nothing(sterna: Sterna, server: Server, bucket: Bucket, tmp_path: Path) -> None:
    needs_any_key(server)
    put_colliding(bucket)
    done = sterna("sync", "--exclude", "a/*", "--exclude", "m/", bucket.url("p"), tmp_path / "to")
    assert done.code == 0, done.err
    assert sorted(tree(tmp_path / "to")) == ["a", "a!", "a0", "m"]


def test_a_dry_run_names_what_collides_and_leaves_the_folder_alone(
    sterna: Sterna, server: Server, bucket: Bucket, tmp_path: Path
) -> None:
    needs_any_key(server)
    put_colliding(bucket)
    (tmp_path / "to").mkdir()
    before = (tmp_path / "to").stat().st_mtime_ns
    done = sterna("--json", "sync", "--dry-run", bucket.url("p"), tmp_path / "to")
    assert sorted(failures(done)) == ["a", "a/b", "a/c/d", "m", "m/"]
    assert (tmp_path / "to").stat().st_mtime_ns == before


def test_an_excluded_folder_is_not_entered(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    plant(tmp_path / "from", {"a": b"1", "big/x": b"2"})
    os.mkfifo(tmp_path / "from" / "big" / "pipe")
    done = sterna("--json", "sync", "--exclude", "big/*", tmp_path / "from", bucket.url("p"))
    assert done.code == 0, done.err
    assert bucket.keys() == ["p/a"]
    assert skipped(done) == {}


def test_other_file_systems_are_left_out_by_name_and_nothing_of_them_is_deleted(
    sterna: Sterna, bucket: Bucket, tmp_path: Path
) -> None:
    if not os.path.isdir("/dev/shm") or os.stat("/dev/shm").st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other file system")
    plant(tmp_path / "from", {"a": b"1"})
    (tmp_path / "from" / "other").symlink_to("/dev/shm")
    for key in ("other/x", "gone"):
        bucket.put("p/" + key, b"1")
    ends = (tmp_path / "from", bucket.url("p"))
    done = sterna("--json", "sync", "--symlinks", "follow", "--one-file-system", "--delete", *ends)
    assert done.code == 0, done.err
    assert list(skipped(done)) == ["other/"]
    assert "another file system" in skipped(done)["other/"]
    assert bucket.keys() == ["p/a", "p/other/x"]


@pytest.mark.parametrize(
    ("options", "upload", "said"),
    [
        (("--symlinks", "follow"), False, "--symlinks follow is for uploads"),
        (("--one-file-system",), False, "--one-file-system is for uploads"),
        (("--on-collision", "skip"), True, "--on-collision skip is for downloads"),
        (("--on-collision", "fail"), True, "--on-collision fail is for downloads"),
    ],
)
def test_options_without_effect_are_refused(
    sterna: Sterna, tmp_path: Path, options: tuple[str, ...], upload: bool, said: str
) -> None:
    ends = (tmp_path, "s3://bucket") if upload else ("s3://bucket", tmp_path)
    done = sterna("sync", *options, *ends)
    assert done.code == 2
    assert said in done.err


def test_what_cannot_be_carried_is_named_also_where_filters_ask_for_it_alone(
    sterna: Sterna, bucket: Bucket, tmp_path: Path
) -> None:
    source = plant(tmp_path / "from", {"a": b"1"})
    (source / os.fsdecode(b"caf\xe9.txt")).write_bytes(b"2")
    (source / os.fsdecode(b"f\xe9")).mkdir()
    (source / os.fsdecode(b"f\xe9") / "b").write_bytes(b"3")
    (source / "photos").symlink_to(tmp_path / "not-mounted")
    (sterna.home / "list").write_bytes(b"a\0caf\xe9.txt\0f\xe9/b\0")
    done = sterna("--json", "sync", source, bucket.url("p"), "--files-from", "list")
    assert (done.code, set(failures(done)), skipped(done)) == (1, {"caf\\xe9.txt", "f\\xe9/"}, {})

    photos = ["--exclude", "*", "--include", "photos/*", "--include", "a"]
    done = sterna("--json", "sync", source, bucket.url("p"), *photos)
    assert (done.code, failures(done), set(skipped(done))) == (0, {}, {"photos"})
    done = sterna("--json", "sync", source, bucket.url("p"), *photos, "--symlinks", "follow")
    assert (done.code, set(failures(done)), skipped(done)) == (1, {"photos"}, {})
