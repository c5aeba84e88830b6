"""``sync --delete`` deletes what the source lacks, and nothing that anybody might miss."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from sterna.stores.names import is_abandoned, temporary_name
from tests.conftest import Done, Sterna
from tests.e2e.trees import LONG_AGO_NS, plant, tree
from tests.faults.front import ACCESS_DENIED, Front, StallBeforeRequest
from tests.servers.oracle import Bucket
from tests.servers.server import Server

pytestmark = pytest.mark.thorough

TREE = {"a": b"1", "b/c": b"22", "b/d": b"333", "e/f/g": b"4444"}


def said(done: Done) -> str:
    return done.out + done.err


def fill(bucket: Bucket, files: dict[str, bytes], prefix: str = "p/") -> None:
    for key, body in files.items():
        bucket.put(prefix + key, body)


def below(bucket: Bucket, prefix: str = "p/") -> dict[str, bytes]:
    return {key.removeprefix(prefix): body for key, body in bucket.contents(prefix).items()}


def does_nothing(done: Done) -> bool:
    return done.code == 0 and bool(re.fullmatch(r"All \d+ objects are in place: \d+ unchanged\.", done.verdict))


# Both directions


def test_a_bucket_becomes_like_the_folder_and_a_second_run_does_nothing(
    sterna: Sterna, bucket: Bucket, tmp_path: Path, server: Server
) -> None:
    folder = plant(tmp_path / "tree", TREE)
    markers = {"marker/": b""} if server.facts.any_key else {}  # else keys are paths of a folder
    fill(bucket, {"a": b"old", "gone": b"x", "b/gone/deep": b"y", "e/f2": b"z"} | markers)
    bucket.put("beside", b"mine")
    bucket.put("pq", b"mine")
    done = sterna("sync", "--delete", folder, bucket.url("p"))
    assert done.code == 0, said(done)
    assert below(bucket) == TREE | markers
    assert bucket.contents("beside") | bucket.contents("pq") == {"beside": b"mine", "pq": b"mine"}
    assert "3 deleted" in done.out, done.out
    assert does_nothing(sterna("sync", "--delete", folder, bucket.url("p")))


def test_a_folder_becomes_like_the_bucket_and_a_second_run_does_nothing(
    sterna: Sterna, bucket: Bucket, tmp_path: Path, server: Server
) -> None:
    markers = {"empty/": b""} if server.facts.any_key else {}
    fill(bucket, TREE | markers)
    folder = plant(tmp_path / "tree", {"a": b"old", "gone": b"x", "b/gone/deep": b"y", "empty/x": b"z"})
    (folder / "mine").mkdir()
    (folder / "link").symlink_to(tmp_path)
    (folder / "gone too").mkdir()
    (folder / "gone too" / "link").symlink_to("nowhere")
    (folder / ".sterna-other").write_bytes(b"unfinished")
    unfinished = (folder / ".sterna-other").exists()
    done = sterna("sync", "--delete", bucket.url("p"), folder, "--exclude", ".sterna-other")
    assert done.code == 0, said(done)
    assert unfinished
    files = tree(folder)
    assert {name: body for name, body in files.items() if name in TREE} == TREE
    assert set(files) - set(TREE) == {"gone too/link", ".sterna-other"}
    assert (folder / "link").is_symlink()
    assert (folder / "mine").is_dir()
    assert (folder / "empty").is_dir() is bool(markers)
    assert not (folder / "b" / "gone").exists()
    assert does_nothing(sterna("sync", "--delete", bucket.url("p"), folder, "--exclude", ".sterna-other"))


def test_nothing_is_deleted_unless_it_is_said(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    folder = plant(tmp_path / "tree", TREE)
    fill(bucket, {"gone": b"x"})
    assert sterna("sync", folder, bucket.url("p")).code == 0
    assert below(bucket) == TREE | {"gone": b"x"}


def test_a_dry_run_prints_what_the_run_does_and_changes_nothing(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    folder = plant(tmp_path / "tree", TREE)
    fill(bucket, {"gone": b"x", "b/gone": b"y"})
    before = below(bucket)
    dry = sterna("sync", "--delete", "--dry-run", folder, bucket.url("p"))
    assert dry.code == 0, said(dry)
    assert below(bucket) == before
    assert re.findall(r"^would delete (\S+) ", dry.out, re.MULTILINE) == ["b/gone", "gone"], dry.out
    done = sterna("-v", "sync", "--delete", folder, bucket.url("p"))
    assert sorted(re.findall(r"^delete (\S+)", said(done), re.MULTILINE)) == ["b/gone", "gone"], said(done)


def test_H81_what_filters_leave_out_stays_on_both_sides(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    folder = plant(tmp_path / "tree", TREE)
    fill(bucket, {"gone": b"x", "x.log": b"l", "logs/1": b"l", "b/gone.log": b"l"})
    done = sterna("sync", "--delete", "--exclude", "*.log", "--exclude", "logs/*", folder, bucket.url("p"))
    assert done.code == 0, said(done)
    assert below(bucket) == TREE | {"x.log": b"l", "logs/1": b"l", "b/gone.log": b"l"}


def test_a_link_that_is_skipped_in_the_source_protects_what_bears_its_name(
    sterna: Sterna, bucket: Bucket, tmp_path: Path
) -> None:
    folder = plant(tmp_path / "tree", TREE)
    (folder / "link").symlink_to("a")
    (folder / "linked").symlink_to("b")
    fill(bucket, {"link": b"once", "linked/c": b"once", "linkedx": b"gone"})
    done = sterna("sync", "--delete", folder, bucket.url("p"))
    assert done.code == 0, said(done)
    assert below(bucket) == TREE | {"link": b"once", "linked/c": b"once"}
    assert "2 entries of the destination were kept" in said(done)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_H78_what_cannot_be_read_is_not_deleted(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    folder = plant(tmp_path / "tree", TREE)
    fill(bucket, TREE | {"gone": b"x", "e/gone": b"x"})
    (folder / "e").chmod(0)
    try:
        done = sterna("sync", "--delete", folder, bucket.url("p"))
    finally:
        (folder / "e").chmod(0o755)
    assert done.code == 1, said(done)
    assert below(bucket) == TREE | {"e/gone": b"x"}


def test_H73_a_name_that_is_no_key_fails_the_run_and_deletes_no_other(
    sterna: Sterna, bucket: Bucket, tmp_path: Path
) -> None:
    folder = plant(tmp_path / "tree", TREE)
    try:
        (Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9"))).write_bytes(b"x")
    except OSError:
        pytest.skip("no such names here")
    fill(bucket, {"gone": b"x"})
    done = sterna("sync", "--delete", folder, bucket.url("p"))
    assert done.code == 1, said(done)
    assert below(bucket) == TREE


# Guards


def test_H75_an_empty_source_is_refused_unless_that_is_meant(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    (folder := tmp_path / "tree").mkdir()
    fill(bucket, TREE)
    done = sterna("sync", "--delete", folder, bucket.url("p"))
    assert done.code == 5
    assert "The source is empty. Refused: 4 deletions; if that is right, add --allow-empty-source." in said(done)
    assert below(bucket) == TREE
    assert sterna("sync", "--delete", "--allow-empty-source", folder, bucket.url("p")).code == 0
    assert below(bucket) == {}


def test_H75_a_prefix_without_objects_is_refused_unless_that_is_meant(
    sterna: Sterna, bucket: Bucket, tmp_path: Path
) -> None:
    folder = plant(tmp_path / "tree", TREE)
    bucket.put("typo/", b"")
    done = sterna("sync", "--delete", bucket.url("typo"), folder)
    assert done.code == 5, said(done)
    assert tree(folder) == TREE
    assert sterna("sync", "--delete", "--allow-empty-source", bucket.url("typo"), folder).code == 0
    assert tree(folder) == {}


def test_H75_empty_folders_alone_are_an_empty_source(
    sterna: Sterna, bucket: Bucket, tmp_path: Path, server: Server
) -> None:
    if not server.facts.any_key:
        pytest.skip("keys are paths of a folder")
    folder = plant(tmp_path / "tree", TREE)
    bucket.put("p/b/", b"")
    bucket.put("p/e/", b"")
    assert sterna("sync", "--delete", bucket.url("p"), folder).code == 5
    assert tree(folder) == TREE


def test_H75_a_missing_source_deletes_nothing(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    fill(bucket, TREE)
    done = sterna("sync", "--delete", "--allow-empty-source", tmp_path / "missing", bucket.url("p"))
    assert done.code == 4, said(done)
    assert below(bucket) == TREE


def test_H82_too_many_deletions_are_refused_and_nothing_has_moved(
    sterna: Sterna, bucket: Bucket, tmp_path: Path
) -> None:
    folder = plant(tmp_path / "tree", TREE)
    fill(bucket, {"1": b"x", "2": b"x", "3": b"x"})
    run = ("sync", "--delete", folder, bucket.url("p"))
    done = sterna(*run, "--max-delete", "2")
    assert done.code == 5
    assert "3 of the destination's 3 entries would be deleted, and at most 2 may be (2)." in said(done)
    assert "Refused: 3 deletions; if that is right, add --max-delete 3, or none." in said(done)
    assert sorted(below(bucket)) == ["1", "2", "3"]
    assert sterna(*run, "--max-delete", "10%").code == 5
    assert sorted(below(bucket)) == ["1", "2", "3"]
    assert sterna(*run, "--max-delete", "3").code == 0
    assert below(bucket) == TREE


@pytest.mark.slow
def test_H84_a_nearly_empty_source_beside_a_rich_destination_is_refused(
    sterna: Sterna, bucket: Bucket, tmp_path: Path
) -> None:
    folder = plant(tmp_path / "tree", {f"{number:03}": b"x" for number in range(120)})
    bucket.put("p/only", b"x")
    run = ("sync", "--delete", "--max-delete", "none", bucket.url("p"), folder)
    done = sterna(*run)
    assert done.code == 5
    assert "as if the two were swapped. Refused: 120 deletions; if that is right, add --allow-swapped." in said(done)
    assert len(tree(folder)) == 120
    assert sterna(*run, "--allow-swapped").code == 0
    assert tree(folder) == {"only": b"x"}


def test_H84_a_home_is_no_destination_unless_that_is_meant(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    plant(sterna.home, {"precious": b"x"})
    (alias := tmp_path / "alias").symlink_to(sterna.home)
    fill(bucket, TREE)
    for name in (sterna.home, alias):
        done = sterna("sync", "--delete", bucket.url("p"), name)
        assert done.code == 5
        assert "add --allow-whole-machine." in said(done)
    assert tree(sterna.home) == {"precious": b"x"}
    done = sterna("sync", "--delete", "--allow-whole-machine", bucket.url("p"), sterna.home)
    assert done.code == 0, said(done)
    assert TREE.items() <= tree(sterna.home).items()
    assert "precious" not in tree(sterna.home)


def test_a_home_behind_a_link_is_seen_too(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    plant(sterna.home, {"precious": b"x"})
    (alias := tmp_path / "alias").symlink_to(sterna.home)
    fill(bucket, TREE)
    done = sterna("sync", "--delete", bucket.url("p"), sterna.home, env={"HOME": str(alias)})
    assert done.code == 5, said(done)


def test_H83_overlapping_roots_are_refused(sterna: Sterna, bucket: Bucket) -> None:
    fill(bucket, TREE)
    done = sterna("sync", "--delete", bucket.url("p"), bucket.url("p/b"))
    assert done.code == 5, said(done)
    assert "add --allow-overlap." in said(done)
    assert below(bucket) == TREE


def test_a_guard_refuses_before_leftovers_are_tidied(
    sterna: Sterna, bucket: Bucket, tmp_path: Path, server: Server
) -> None:
    if not server.facts.any_key:
        pytest.skip("keys are paths of a folder")
    dead = temporary_name().replace(f"-{os.getpid()}-", "-1-", 1)
    folder = plant(tmp_path / "tree", TREE | {dead: b"unfinished"})
    assert is_abandoned(dead)
    bucket.put("p/x/", b"")
    assert sterna("sync", "--delete", bucket.url("p"), folder).code == 5
    assert tree(folder) == TREE | {dead: b"unfinished"}
    assert sterna("sync", "--delete", "--allow-empty-source", bucket.url("p"), folder).code == 0
    assert tree(folder) == {}


@pytest.mark.parametrize("option", ["--max-delete=5", "--allow-empty-source", "--allow-swapped"])
def test_options_of_deleting_need_it(sterna: Sterna, tmp_path: Path, option: str) -> None:
    done = sterna("sync", option, tmp_path, "s3://bucket/p")
    assert done.code == 2
    assert "is for --delete" in done.err


# Trash


def runs(paths: list[str], trash: str) -> dict[str, set[str]]:
    """What each run has put into the trash."""
    found: dict[str, set[str]] = {}
    for path in paths:
        run, _, key = path.removeprefix(trash + "/").partition("/")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d{6}\.\d{6}Z", run), path
        found.setdefault(run, set()).add(key)
    return found


@pytest.mark.parametrize("trash", ["p/.trash", "bin"])
def test_a_bucket_keeps_in_its_trash_what_is_deleted_or_written_over(
    sterna: Sterna, bucket: Bucket, tmp_path: Path, trash: str
) -> None:
    folder = plant(tmp_path / "tree", TREE)
    fill(bucket, {"a": b"older", "gone": b"x", "b/c": b"22"})
    run = ("sync", "--delete", "--trash", bucket.url(trash), folder, bucket.url("p"))
    done = sterna(*run)
    assert done.code == 0, said(done)
    kept = bucket.contents(trash + "/")
    (names,) = runs(list(kept), trash).values()
    assert {"a", "gone"} == names
    assert sorted(kept.values()) == [b"older", b"x"]
    assert {key: body for key, body in below(bucket).items() if not key.startswith(".trash/")} == TREE
    assert does_nothing(sterna(*run))
    assert bucket.contents(trash + "/") == kept
    (folder / "a").write_bytes(b"newest")
    (folder / "b" / "d").unlink()
    assert sterna(*run).code == 0
    assert len(runs(bucket.keys(trash + "/"), trash)) == 2
    assert kept.items() <= bucket.contents(trash + "/").items()


@pytest.mark.parametrize("inside", [True, False], ids=["inside", "beside"])
@pytest.mark.parametrize("options", [(), ("--no-fsync",)], ids=["durable", "quick"])
def test_a_folder_keeps_in_its_trash_what_is_deleted_or_written_over(
    sterna: Sterna, bucket: Bucket, tmp_path: Path, inside: bool, options: tuple[str, ...]
) -> None:
    fill(bucket, TREE)
    folder = plant(tmp_path / "tree", {"a": b"older", "gone/x": b"x"}, LONG_AGO_NS)
    trash = folder / "bin" if inside else tmp_path / "bin"
    run: tuple[str | Path, ...] = ("sync", "--delete", "--trash", trash, *options, bucket.url("p"), folder)
    done = sterna(*run)
    assert done.code == 0, said(done)
    kept = tree(trash)
    (names,) = runs([f"bin/{name}" for name in kept], "bin").values()
    assert names == {"a", "gone/x"}
    assert sorted(kept.values()) == [b"older", b"x"]
    assert next(trash.rglob("a")).stat().st_mtime_ns == LONG_AGO_NS
    assert {name: body for name, body in tree(folder).items() if not name.startswith("bin/")} == TREE
    assert does_nothing(sterna(*run))
    assert tree(trash) == kept


def test_without_delete_the_trash_takes_what_is_written_over(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    folder = plant(tmp_path / "tree", TREE)
    fill(bucket, {"a": b"older", "more": b"x"})
    assert sterna("sync", "--trash", "bin", folder, bucket.url("p")).code == 0
    assert below(bucket) == TREE | {"more": b"x"}
    assert list(bucket.contents("bin/").values()) == [b"older"]


def test_a_dry_run_puts_nothing_into_the_trash(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    fill(bucket, TREE)
    folder = plant(tmp_path / "tree", {"a": b"older", "gone/x": b"x"})
    assert sterna("sync", "--delete", "--dry-run", "--trash", tmp_path / "bin", bucket.url("p"), folder).code == 0
    assert not (tmp_path / "bin").exists()
    assert tree(folder) == {"a": b"older", "gone/x": b"x"}


# An end that is asked for


@pytest.mark.slow
def test_ctrl_c_between_two_batches_leaves_the_rest_and_says_so(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path
) -> None:
    folder = plant(tmp_path / "tree", TREE)
    for number in range(1100):
        bucket.put(f"p/x{number:04}", b"")
    run = ("sync", "--delete", "--max-delete", "none", "--allow-swapped", folder, bucket.url("p"))
    started = sterna.start(*run)
    front.before("DeleteObjects", call=lambda _: started.send(signal.SIGINT))
    done = started.wait()
    assert done.code == 130, said(done)
    assert "100 deletions were left undone, since the run was ended" in said(done)
    assert len(bucket.keys("p/x")) == 100
    assert sterna(*run).code == 0
    assert below(bucket) == TREE


# A file where a folder is needed

OVER = {"a/b": b"1", "a/c/d": b"22", "a/c/e": b"333", "z": b"z"}
OLD = {"a": b"in the way", "a-x": b"", "a.x": b"4", "keep/file": b"5"}


def test_a_file_where_a_folder_is_needed_is_deleted_first(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    fill(bucket, OVER)
    folder = plant(tmp_path / "tree", OLD)
    done = sterna("sync", "--delete", bucket.url("p"), folder)
    assert done.code == 0, said(done)
    assert tree(folder) == OVER
    assert "4 downloaded" in done.out
    assert "4 deleted" in done.out
    assert does_nothing(sterna("sync", "--delete", bucket.url("p"), folder))


def test_a_file_where_a_folder_is_needed_goes_into_the_trash(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    fill(bucket, OVER)
    folder = plant(tmp_path / "tree", OLD)
    done = sterna("sync", "--delete", bucket.url("p"), folder, "--trash", tmp_path / "trash")
    assert done.code == 0, said(done)
    assert tree(folder) == OVER
    [run] = (tmp_path / "trash").iterdir()
    assert tree(run) == OLD


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ((), 1),
        (("--delete", "--exclude", "a"), 1),
        (("--delete", "--max-delete", "3"), 5),
        (("--delete", "--dry-run"), 0),
    ],
    ids=("no --delete", "left out by a filter", "a guard", "a dry run"),
)
def test_a_file_where_a_folder_is_needed_stays_where_it_may_not_be_deleted(
    sterna: Sterna, bucket: Bucket, tmp_path: Path, options: tuple[str, ...], code: int
) -> None:
    fill(bucket, OVER)
    folder = plant(tmp_path / "tree", OLD)
    done = sterna("sync", *options, bucket.url("p"), folder)
    assert done.code == code, said(done)
    assert {key: body for key, body in tree(folder).items() if key != "z"} == OLD
    if code == 1:
        assert f"{folder / 'a'} is a file, and a folder is needed there; move it away" in done.out


def test_a_plan_is_applied_over_a_file_where_a_folder_is_needed(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    fill(bucket, OVER)
    folder = plant(tmp_path / "tree", OLD)
    assert sterna("plan", "--delete", bucket.url("p"), folder, "-o", "plan").code == 0
    assert tree(folder) == OLD
    done = sterna("apply", "plan")
    assert done.code == 0, said(done)
    assert tree(folder) == OVER
    assert "4 deleted" in done.out
    again = sterna("apply", "plan")
    assert again.code == 0, said(again)
    assert "deleted" not in again.out


def test_a_plan_leaves_a_file_where_a_folder_is_needed_that_was_changed_since(
    sterna: Sterna, bucket: Bucket, tmp_path: Path
) -> None:
    fill(bucket, OVER)
    folder = plant(tmp_path / "tree", OLD)
    assert sterna("plan", "--delete", bucket.url("p"), folder, "-o", "plan").code == 0
    (folder / "a").write_bytes(b"of somebody else")
    done = sterna("apply", "plan")
    assert done.code != 0, said(done)
    assert tree(folder) == OLD | {"a": b"of somebody else", "z": b"z"}


def test_a_plan_deletes_no_file_in_the_way_of_what_the_source_has_no_more(
    sterna: Sterna, bucket: Bucket, tmp_path: Path
) -> None:
    fill(bucket, OVER)
    folder = plant(tmp_path / "tree", OLD)
    assert sterna("plan", "--delete", bucket.url("p"), folder, "-o", "plan").code == 0
    for key in ("a/b", "a/c/d", "a/c/e"):
        bucket.delete(f"p/{key}")
    done = sterna("apply", "plan")
    assert done.code == 6, said(done)
    assert tree(folder) == OLD | {"z": b"z"}


# A folder where a file is needed

FILE = {"blk": b"a file now", "k": b"k"}
FOLDER = {"blk/x": b"x", "blk/deep/er": b"y", "blk/deep/est": b"z", "k": b"k", "old": b"o"}


@pytest.mark.parametrize("way", ["sync", "plan"])
@pytest.mark.parametrize("trash", [False, True], ids=("", "trash"))
def test_a_folder_where_a_file_is_needed_goes_first(
    sterna: Sterna, bucket: Bucket, tmp_path: Path, way: str, trash: bool
) -> None:
    fill(bucket, FILE)
    folder = plant(tmp_path / "tree", FOLDER)
    to_trash = ("--trash", tmp_path / "trash") if trash else ()
    dry = sterna("sync", "--delete", "--dry-run", bucket.url("p"), folder)
    assert dry.code == 0, said(dry)
    if way == "sync":
        done = sterna("sync", "--delete", bucket.url("p"), folder, *to_trash)
    else:
        assert sterna("plan", "--delete", bucket.url("p"), folder, "-o", "plan", *to_trash).code == 0
        done = sterna("apply", "plan")
    assert done.code == 0, said(done)
    assert tree(folder) == FILE
    assert "4 deleted" in done.out, said(done)
    if trash:
        [run] = (tmp_path / "trash").iterdir()
        assert {key: body for key, body in tree(run).items() if key != "k"} == {
            key: body for key, body in FOLDER.items() if key != "k"
        }
    if way == "plan":
        again = sterna("apply", "plan")
        assert again.code == 0, said(again)
        assert "deleted" not in again.out
    assert does_nothing(sterna("sync", "--delete", bucket.url("p"), folder))


@pytest.mark.parametrize("way", ["sync", "dry", "plan"])
def test_a_folder_with_more_in_it_than_is_due_stays_and_a_dry_run_says_so(
    sterna: Sterna, bucket: Bucket, tmp_path: Path, way: str
) -> None:
    fill(bucket, FILE)
    folder = plant(tmp_path / "tree", FOLDER | {"blk/deep/kept": b"mine"})
    options = ("--delete", "--exclude", "**/kept", bucket.url("p"), folder)
    if way == "plan":
        done = sterna("plan", *options, "-o", "plan")
    else:
        done = sterna("sync", *options, *(("--dry-run",) if way == "dry" else ()))
    assert done.code == 1, said(done)
    assert "a folder" in said(done)
    assert "and a file is needed there" in said(done)
    assert "4 deletions were left undone" in said(done)
    assert tree(folder) == FOLDER | {"blk/deep/kept": b"mine"}


@pytest.mark.parametrize("trash", [False, True], ids=("", "trash"))
@pytest.mark.parametrize("apply", [False, True], ids=("", "apply"))
@pytest.mark.parametrize(
    ("new", "old", "failing"),
    [
        ({"0": b"0", "a/b": b"AB"}, {"a": b"precious"}, "p/a/b"),
        ({"0": b"0", "a": b"AB"}, {"a/b": b"precious", "a/c/d": b"too"}, "p/a"),
    ],
    ids=("file", "folder"),
)
def test_what_was_in_the_way_is_back_where_nothing_came(
    sterna: Sterna,
    bucket: Bucket,
    tmp_path: Path,
    front: Front,
    new: dict[str, bytes],
    old: dict[str, bytes],
    failing: str,
    apply: bool,
    trash: bool,
) -> None:
    fill(bucket, new)
    folder = plant(tmp_path / "tree", old)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    front.fault(("Get", "GetRange"), kind=ACCESS_DENIED, nth="always", key=failing)
    to_trash = ("--trash", tmp_path / "trash") if trash else ()
    if apply:
        planned = sterna("plan", "--delete", bucket.url("p"), folder, "-o", "plan", *to_trash)
        assert planned.code == 0, said(planned)
        done = sterna("apply", "plan")
    else:
        done = sterna("sync", "--delete", bucket.url("p"), folder, *to_trash)
    assert done.code == 1, said(done)
    assert {key: body for key, body in tree(folder).items() if key != "0"} == old
    assert times.items() <= {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}.items()
    assert not list(folder.rglob(".sterna-*"))
    assert f"{len(old)} deletion" in said(done)


@pytest.mark.parametrize("killed", [False, True], ids=("Ctrl-C", "killed"))
@pytest.mark.parametrize(
    ("new", "old"), [({"a/b": b"AB"}, {"a": b"precious"}), ({"a": b"AB"}, {"a/b": b"precious"})], ids=("file", "folder")
)
def test_a_run_that_ends_before_what_was_to_come_leaves_nothing_behind(
    sterna: Sterna,
    bucket: Bucket,
    tmp_path: Path,
    front: Front,
    new: dict[str, bytes],
    old: dict[str, bytes],
    killed: bool,
) -> None:
    fill(bucket, new)
    folder = plant(tmp_path / "tree", old)
    stall = front.fault(("Get", "GetRange"), kind=StallBeforeRequest(), nth="always")
    started = sterna.start("sync", "--delete", bucket.url("p"), folder)
    stall.wait_until_hit()
    if killed:
        started.send(signal.SIGKILL)
        started.wait(10)
        assert [path.name[:8] for path in folder.rglob("*") if path.is_file()] == [".sterna-"]
    else:
        started.send(signal.SIGINT)
        assert started.wait(10).code == 130
        assert tree(folder) == old
    front.remove(stall)
    assert sterna("sync", "--delete", bucket.url("p"), folder).code == 0
    assert {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()} == new


# A folder that became a file since the plan was made


@pytest.mark.parametrize("when", ["before", "since"])
def test_a_folder_of_the_source_that_became_a_file_has_no_keys_below_it(
    sterna: Sterna, bucket: Bucket, tmp_path: Path, server: Server, when: str
) -> None:
    if when == "before" and not server.facts.any_key:
        pytest.skip("keys are paths of a folder")
    folder = plant(tmp_path / "tree", {"k": b"k", "blk/x": b"x"} if when == "since" else {"k": b"k", "blk": b"file"})
    if when == "before":
        fill(bucket, {"blk/x": b"x"})
    assert sterna("plan", "--delete", folder, bucket.url("p"), "-o", "plan").code == 0
    if when == "since":
        (folder / "blk/x").unlink()
        (folder / "blk").rmdir()
        (folder / "blk").write_bytes(b"file")
    done = sterna("apply", "plan")
    if when == "since":
        assert done.code == 6, said(done)
        assert "The source does not have it any more" in said(done)
    else:
        assert done.code == 0, said(done)
        assert below(bucket) == {"k": b"k", "blk": b"file"}


def test_a_folder_of_the_destination_that_became_a_file_has_drifted(
    sterna: Sterna, bucket: Bucket, tmp_path: Path
) -> None:
    fill(bucket, {"blk/x": b"new words"})
    folder = plant(tmp_path / "tree", {"blk/x": b"x"})
    assert sterna("plan", bucket.url("p"), folder, "-o", "plan").code == 0
    (folder / "blk/x").unlink()
    (folder / "blk").rmdir()
    (folder / "blk").write_bytes(b"file")
    done = sterna("apply", "plan")
    assert done.code == 6, said(done)
    assert "The destination does not have it any more" in said(done)
    assert tree(folder) == {"blk": b"file"}


@pytest.mark.parametrize("up", [True, False], ids=("up", "down"))
def test_what_a_plan_deleted_before_is_not_counted_as_deleted_again(
    sterna: Sterna, bucket: Bucket, tmp_path: Path, up: bool
) -> None:
    both = {"k": b"k"}
    fill(bucket, both if not up else both | FOLDER)
    folder = plant(tmp_path / "tree", both if up else both | FOLDER)
    ends = (folder, bucket.url("p")) if up else (bucket.url("p"), folder)
    assert sterna("plan", "--delete", *ends, "-o", "plan").code == 0
    first = sterna("apply", "plan")
    assert first.code == 0, said(first)
    assert "4 deleted" in first.out
    again = sterna("apply", "plan")
    assert again.code == 0, said(again)
    assert "deleted" not in again.out
    assert f"{4 if up else 5} unchanged" in again.out
