"""The command copies a file, a folder, an object, a prefix or a stream to where one would expect it."""

from __future__ import annotations

import base64
import os
import zlib
from pathlib import Path

import pytest

from tests.conftest import Sterna
from tests.e2e.trees import MIB, failures, leftovers, mtimes, plant, summary, tree
from tests.faults.front import SLOW_DOWN, CutBody, FlipBit, Front, Kind
from tests.servers.oracle import Bucket
from tests.servers.server import Server

OTHER_SERVERS_ARE_THOROUGH = True

LARGE = os.urandom(MIB) * 8 + b"and a little more"


@pytest.mark.parametrize(
    "to, key",
    [
        ("p/named", "p/named"),
        ("p/", "p/file.txt"),
        ("", "file.txt"),
        ("p/a b+c%20\u00e9", "p/a b+c%20\u00e9"),
        ("n", "n"),
    ],
)
def test_a_file_goes_under_the_name_that_is_given_or_below_a_slash(
    sterna: Sterna, bucket: Bucket, tmp_path: Path, to: str, key: str
) -> None:
    source = plant(tmp_path / "source", {"file.txt": b"text", "file.txt.bak": b"no"})
    done = sterna("--json", "copy", source / "file.txt", bucket.url(to))
    assert done.code == 0, done.err
    assert bucket.contents() == {key: b"text"}
    assert summary(done)["uploaded"] == 1
    head = bucket.head(key)
    assert head is not None
    if key.endswith(".txt"):
        assert head["content-type"].startswith("text/plain")
    again = sterna("--json", "copy", source / "file.txt", bucket.url(to))
    assert (again.code, summary(again)["uploaded"], summary(again)["kept"]) == (0, 0, 1)


def test_a_relative_path_a_name_with_a_dash_and_a_link_are_files_too(
    sterna: Sterna, bucket: Bucket, tmp_path: Path
) -> None:
    plant(sterna.home, {"here.txt": b"1", "--odd": b"2"})
    (sterna.home / "link").symlink_to("here.txt")
    assert sterna("copy", "here.txt", bucket.url("a")).code == 0
    assert sterna("copy", "--", "--odd", bucket.url("b")).code == 0
    assert sterna("copy", "link", bucket.url("c")).code == 0
    assert bucket.contents() == {"a": b"1", "b": b"2", "c": b"1"}


@pytest.mark.parametrize("slash_from", ("", "/"))
@pytest.mark.parametrize("slash_to", ("", "/"))
def test_a_folder_goes_below_a_prefix_with_or_without_slashes(
    sterna: Sterna, bucket: Bucket, tmp_path: Path, slash_from: str, slash_to: str
) -> None:
    source = plant(tmp_path / "source", {"a": b"1", "d/b": b"2"})
    assert sterna("copy", f"{source}{slash_from}", bucket.url(f"p{slash_to}")).code == 0
    assert bucket.contents() == {"p/a": b"1", "p/d/b": b"2"}
    target = f"{tmp_path}/target{slash_to}"
    assert sterna("copy", bucket.url(f"p{slash_from}"), target).code == 0
    assert tree(Path(target)) == tree(source)
    assert mtimes(Path(target)) == mtimes(source)


def test_an_object_goes_to_a_name_into_a_folder_and_over_an_older_file(
    sterna: Sterna, bucket: Bucket, tmp_path: Path
) -> None:
    bucket.put("p/object.txt", b"new text", {"x-amz-meta-mtime": "1500000000.5"})
    folder = plant(tmp_path / "folder", {"old": b"old", "object.txt/x": b"in the way"})
    url = bucket.url("p/object.txt")
    assert sterna("copy", url, tmp_path / "named").code == 0
    assert sterna("copy", url, folder / "old").code == 0
    (tmp_path / "other").mkdir()
    assert sterna("copy", url, tmp_path / "other").code == 0
    assert sterna("copy", url, f"{tmp_path}/made/below/it").code == 0
    for path in ("named", "folder/old", "other/object.txt", "made/below/it"):
        assert (tmp_path / path).read_bytes() == b"new text"
        assert (tmp_path / path).stat().st_mtime_ns == 1_500_000_000_500_000_000
    again = sterna("--json", "copy", url, tmp_path / "named")
    assert (again.code, summary(again)["kept"]) == (0, 1)

    blocked = sterna("--json", "copy", url, folder)
    assert blocked.code == 1
    assert "is a folder" in failures(blocked)["object.txt"]
    assert tree(folder)["object.txt/x"] == b"in the way"
    assert leftovers(tmp_path) == []


def test_an_object_goes_below_a_name_that_ends_in_a_slash_and_is_not_there_yet(
    sterna: Sterna, bucket: Bucket, tmp_path: Path
) -> None:
    bucket.put("p/object.txt", b"text")
    assert sterna("copy", bucket.url("p/object.txt"), f"{tmp_path}/new/").code == 0
    assert (tmp_path / "new" / "object.txt").read_bytes() == b"text"


def test_the_object_is_meant_where_an_object_and_a_prefix_have_one_name_h74(
    sterna: Sterna, server: Server, bucket: Bucket, tmp_path: Path
) -> None:
    if not server.facts.any_key:
        pytest.skip(f"{server.name} holds paths of a folder")
    for key in ("logs", "logs/a", "logs_backup/a"):
        bucket.put(key, key.encode())
    assert sterna("copy", bucket.url("logs"), tmp_path / "object").code == 0
    assert (tmp_path / "object").read_bytes() == b"logs"
    assert sterna("copy", bucket.url("logs/"), tmp_path / "prefix").code == 0
    assert tree(tmp_path / "prefix") == {"a": b"logs/a"}


def test_copying_a_prefix_takes_no_siblings_and_deletes_nothing_h74(
    sterna: Sterna, bucket: Bucket, tmp_path: Path
) -> None:
    for key in ("logs/a", "logs_backup/a", "logs.json", "log"):
        bucket.put(key, key.encode())
    target = plant(tmp_path / "target", {"mine": b"stays"})
    assert sterna("copy", bucket.url("logs"), target).code == 0
    assert tree(target) == {"a": b"logs/a", "mine": b"stays"}


@pytest.mark.parametrize("what", ("missing", "lo", "logs/missing", "missing/"))
def test_a_source_that_is_not_there_is_code_4_and_a_sentence(
    sterna: Sterna, bucket: Bucket, tmp_path: Path, what: str
) -> None:
    bucket.put("logs/a", b"1")
    down = sterna("copy", bucket.url(what), tmp_path / "target")
    assert down.code == 4, down.err
    assert "is neither an object nor a prefix" in down.err
    assert not (tmp_path / "target").exists()
    up = sterna("copy", tmp_path / what, bucket.url("p"))
    assert up.code == 4, up.err
    assert "does not exist" in up.err
    assert bucket.keys() == ["logs/a"]


def test_a_prefix_with_a_marker_of_its_own_is_a_prefix_with_what_is_below(
    sterna: Sterna, server: Server, bucket: Bucket, tmp_path: Path
) -> None:
    if not server.facts.any_key:
        pytest.skip(f"{server.name} holds paths of a folder")
    for key in ("photos/", "photos/a", "photos/b", "only/"):
        bucket.put(key, b"" if key[-1] == "/" else key.encode())
    assert sterna("copy", bucket.url("photos"), tmp_path / "target").code == 0
    assert tree(tmp_path / "target") == {"a": b"photos/a", "b": b"photos/b"}
    assert sterna("copy", bucket.url("photos"), bucket.url("other")).code == 0
    assert bucket.contents("other/a") == {"other/a": b"photos/a"}
    refused = sterna("copy", bucket.url("only"), tmp_path / "nothing")
    assert (refused.code, "is neither an object nor a prefix" in refused.err) == (4, True)


FILTERS = (("--exclude", "*"), ("--max-size", "1"), ("--files-from", "/dev/null"))


@pytest.mark.parametrize("option", FILTERS, ids=lambda option: option[0])
def test_filters_are_refused_where_one_file_object_or_stream_is_named(
    sterna: Sterna, bucket: Bucket, tmp_path: Path, option: tuple[str, str]
) -> None:
    bucket.put("p/object", b"text")
    source = plant(tmp_path / "source", {"a": b"text"})
    for ends in (
        (source / "a", bucket.url("b")),
        (bucket.url("p/object"), tmp_path / "b"),
        (bucket.url("p/object"), bucket.url("b")),
        ("-", bucket.url("b")),
        (bucket.url("p/object"), "-"),
    ):
        done = sterna("copy", *ends, *option, stdin=b"x")
        assert (done.code, done.out) == (2, ""), ends
        assert "choose among what is below a folder or prefix" in done.err
    assert bucket.keys() == ["p/object"]
    assert not (tmp_path / "b").exists()


def test_a_journal_below_the_folder_of_a_single_file_is_no_filter(sterna: Sterna, bucket: Bucket) -> None:
    bucket.put("object", b"text")
    assert sterna("copy", "--state-dir", sterna.home / "state", bucket.url("object"), f"{sterna.home}/").code == 0


# Keys of a list


def test_keys_of_a_list_that_the_source_does_not_have_are_named_and_fail_the_run(
    sterna: Sterna, bucket: Bucket, tmp_path: Path
) -> None:
    source = plant(tmp_path / "source", {"a": b"1", "b": b"2", "d/c": b"3", "e/f": b"4"})
    (tmp_path / "list").write_text("a\n.//b\nnowhere/x\n*\nd\nd/c\ne\n")
    for command in (("sync", "--dry-run"), ("sync",)):
        done = sterna("--json", *command, source, bucket.url("p"), "--files-from", tmp_path / "list")
        assert done.code == 1
        assert set(failures(done)) == {"/b", "nowhere/x", "*"}
        assert "the source does not have it" in failures(done)["nowhere/x"]
        assert summary(done)["skipped"] == 1  # e, a folder of which the list names nothing
    assert bucket.keys() == ["p/a", "p/d/c"]
    down = sterna("--json", "copy", bucket.url("p"), tmp_path / "down", "--files-from", tmp_path / "list")
    assert (down.code, set(failures(down))) == (1, {"/b", "nowhere/x", "*", "e"})


def test_a_list_as_find_writes_it_is_carried_without_a_complaint(
    sterna: Sterna, bucket: Bucket, tmp_path: Path
) -> None:
    source = plant(tmp_path / "source", {"a": b"1", "d/c": b"3"})
    (source / "empty").mkdir()
    (tmp_path / "list").write_bytes(b".\0./a\0./d\0./d/c\0./empty\0")
    done = sterna("--json", "sync", source, bucket.url("p"), "--files-from", tmp_path / "list")
    assert (done.code, failures(done)) == (0, {})
    keys = bucket.keys()
    assert [key for key in keys if key[-1] != "/"] == ["p/a", "p/d/c"]


def test_a_listed_key_that_only_the_destination_has_is_deleted_where_that_was_asked_for(
    sterna: Sterna, bucket: Bucket, tmp_path: Path
) -> None:
    source = plant(tmp_path / "source", {"a": b"1", "b": b"2"})
    bucket.put("p/gone", b"3")
    (tmp_path / "list").write_text("a\ngone\n")
    kept = sterna("--json", "sync", source, bucket.url("p"), "--files-from", tmp_path / "list")
    assert (kept.code, set(failures(kept))) == (1, {"gone"})
    done = sterna("--json", "sync", "--delete", source, bucket.url("p"), "--files-from", tmp_path / "list")
    assert (done.code, summary(done)["deleted"], bucket.keys()) == (0, 1, ["p/a"])


# Streams


@pytest.mark.parametrize("how", ("size", "mtime", "checksum", "exists"))
def test_a_stream_is_compared_with_nothing_and_who_asks_for_it_is_told(
    sterna: Sterna, bucket: Bucket, how: str
) -> None:
    bucket.put("there", b"old")
    for ends in (("-", bucket.url("there")), (bucket.url("there"), "-")):
        done = sterna("copy", *ends, "--compare", how, stdin=b"new")
        assert (done.code, done.out) == (2, "")
        assert f"--compare {how}" in done.err
    assert bucket.contents() == {"there": b"old"}


@pytest.mark.slow
@pytest.mark.parametrize("data", (b"", b"a few bytes", LARGE), ids=("empty", "small", "large"))
def test_standard_input_and_output_carry_every_byte(sterna: Sterna, bucket: Bucket, data: bytes) -> None:
    up = sterna("copy", "-", bucket.url("p/stream"), stdin=data)
    assert up.code == 0, up.err
    assert bucket.get("p/stream") == data
    assert bucket.uploads() == []
    down = sterna("copy", bucket.url("p/stream"), "-")
    assert down.code == 0, down.err
    assert down.out_bytes == data


@pytest.mark.slow
def test_a_stream_of_exactly_one_part_is_whole(sterna: Sterna, bucket: Bucket) -> None:
    data = LARGE[: 8 * MIB]
    assert sterna("copy", "-", bucket.url("stream"), stdin=data).code == 0
    assert bucket.get("stream") == data


@pytest.mark.slow
@pytest.mark.parametrize("kind", (CutBody(3 * MIB), FlipBit(5), SLOW_DOWN), ids=("cut", "flipped", "503"))
def test_a_stream_to_standard_output_is_right_or_the_code_says_otherwise_h37(
    sterna: Sterna, front: Front, bucket: Bucket, kind: Kind
) -> None:
    checksum = base64.b64encode(zlib.crc32(LARGE).to_bytes(4)).decode()
    bucket.put("large", LARGE, {"x-amz-checksum-crc32": checksum})
    front.fault("GetRange", kind=kind)
    done = sterna("copy", bucket.url("large"), "-")
    if isinstance(kind, FlipBit):
        assert done.code == 1
        assert "throw them away" in done.err
    else:
        assert done.code == 0, done.err
        assert done.out_bytes == LARGE


def test_a_stream_needs_a_whole_key_and_one_object(sterna: Sterna, bucket: Bucket) -> None:
    bucket.put("p/a", b"1")
    for arguments, words in (
        (("-", bucket.url("p/")), "whole key"),
        (("-", bucket.url()), "whole key"),
        ((bucket.url("p"), "-"), "only one object"),
    ):
        done = sterna("copy", *arguments, stdin=b"x")
        assert (done.code, done.out) == (2, "")
        assert words in done.err
    missing = sterna("copy", bucket.url("missing"), "-")
    assert (missing.code, missing.out) == (4, "")
    assert bucket.keys() == ["p/a"]


def test_a_reader_of_standard_output_that_leaves_ends_the_run_soon(sterna: Sterna, bucket: Bucket) -> None:
    bucket.put("large", LARGE)
    run = sterna.start("copy", bucket.url("large"), "-")
    assert run.process.stdout is not None
    assert len(run.process.stdout.read(1000)) == 1000
    run.process.stdout.close()
    assert run.process.wait(10) not in (0, 2)


def test_options_of_one_direction_are_refused_in_the_other(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("a", b"1")
    source = plant(tmp_path / "source", {"a": b"1"})
    assert sterna("copy", "--storage-class", "GLACIER", bucket.url("a"), tmp_path / "x").code == 2
    assert sterna("copy", "--no-fsync", source / "a", bucket.url("b")).code == 2
    assert sterna("copy", source / "a", tmp_path / "b").code == 2
    assert sterna("copy", "--no-fsync", bucket.url("a"), bucket.url("b")).code == 2
    assert bucket.keys() == ["a"]
    assert not (tmp_path / "x").exists()
