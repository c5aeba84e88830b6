"""The command carries a folder into a bucket and back, whatever its files are called."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from tests.conftest import Sterna
from tests.e2e.trees import LONG_AGO_NS, MIB, failures, leftovers, mtimes, plant, records, summary, tree
from tests.servers.oracle import Bucket
from tests.servers.server import Server

PREFIX = "r"  # with its slash two bytes: what is left of a key's 1,024
LONGEST = "/".join(("k" * 255, "l" * 255, "m" * 255, "n" * 254))  # 1,022 bytes

NAMES = [
    "plain.txt",
    "with space.txt",
    " leading and trailing ",
    "a+b",
    "100%",
    "%20",
    "a%20b",
    "a%2Fb",
    "%00",
    "caf\u00e9",  # é as one character (NFC)
    "cafe\u0301",  # and as two (NFD)
    "tern \U0001f426.txt",
    "\u4f60\u597d/\u4e16\u754c",
    "back\\slash",
    "-dash",
    "--delete",
    ".dot",
    "..dots",
    "...",
    "~tilde",
    "it's",
    'a "quote"',
    "a&b<c>d",
    "q?x=1#y;z",
    "*[a-z]{b}",
    "n" * 255,
    "\u00e9" * 127 + "n",
    "sterna-1.part",
    ".sterna",
    "empty",
    "dir/one",
    "dir/two",
    "dir.suffix",
    "dir-more/one",
    "dir0",
    "/".join(f"d{level}" for level in range(60)),
    LONGEST,
]
CONTROLS = [
    "tab\there",
    "line\nfeed",
    "carriage\rreturn",
    "bell\x07",
    "\x01first",
    "delete\x7f",
    "esc\x1b[2J",
    "\u2028",
]


def named(names: list[str]) -> dict[str, bytes]:
    """Files of these names, whose bytes tell the names."""
    return {name: b"" if name == "empty" else f"{name!r}\n".encode() * 3 for name in names}


@pytest.mark.slow
def test_every_odd_name_goes_up_and_comes_down_again_with_bytes_and_times_h61_h65_h69_h70(
    sterna: Sterna, bucket: Bucket, tmp_path: Path
) -> None:
    check_there_and_back(named(NAMES), sterna, bucket, tmp_path)


@pytest.mark.slow
def test_control_characters_in_names_go_up_and_come_down_again_h64(
    sterna: Sterna, server: Server, bucket: Bucket, tmp_path: Path
) -> None:
    if not server.facts.encodes_listings:
        pytest.skip(f"{server.name} lists control characters in XML that cannot be read")
    check_there_and_back(named(CONTROLS), sterna, bucket, tmp_path)


def check_there_and_back(files: dict[str, bytes], sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    source, target = plant(tmp_path / "source", files), tmp_path / "target"

    up = sterna("--json", "sync", source, bucket.url(PREFIX))
    assert (up.code, failures(up)) == (0, {}), up.err
    assert bucket.contents() == {f"{PREFIX}/{name}": data for name, data in files.items()}
    assert summary(up)["uploaded"] == len(files)

    down = sterna("--json", "sync", bucket.url(PREFIX), target)
    assert (down.code, failures(down)) == (0, {}), down.err
    assert tree(target) == files
    assert mtimes(target) == mtimes(source)
    assert summary(down)["downloaded"] == len(files)

    for again in (
        sterna("--json", "sync", source, bucket.url(PREFIX)),
        sterna("--json", "sync", bucket.url(PREFIX), target),
    ):
        assert again.code == 0
        said = summary(again)
        assert (said["done"], said["moved_bytes"], said["kept"]) == (0, 0, len(files))


@pytest.mark.slow
def test_files_of_exactly_the_part_threshold_and_one_byte_more_go_both_ways(
    sterna: Sterna, server: Server, bucket: Bucket, tmp_path: Path
) -> None:
    pattern = os.urandom(MIB)
    files = {"a small one": b"1", "and another": b"2", "exact": pattern * 8, "more": pattern * 8 + b"!"}
    source = plant(tmp_path / "source", files)
    up = sterna("--json", "sync", source, bucket.url())
    assert (up.code, failures(up)) == (0, {}), up.err
    assert bucket.uploads() == []
    assert bucket.sizes() == {name: len(data) for name, data in files.items()}

    down = sterna("--json", "sync", bucket.url(), tmp_path / "target")
    assert (down.code, failures(down)) == (0, {}), down.err
    assert tree(tmp_path / "target") == files
    assert mtimes(tmp_path / "target") == mtimes(source)
    again = sterna("--json", "sync", source, bucket.url())
    assert (summary(again)["uploaded"], summary(again)["kept"]) == (0, len(files))


def test_times_before_1970_and_in_the_future_and_to_the_nanosecond_come_back(
    sterna: Sterna, bucket: Bucket, tmp_path: Path
) -> None:
    source = plant(tmp_path / "source", {"old": b"o", "new": b"n", "exact": b"e"})
    os.utime(source / "old", ns=(-86_400_500_000_000, -86_400_500_000_000))
    os.utime(source / "new", ns=(4_000_000_000_000_000_001, 4_000_000_000_000_000_001))
    assert sterna("sync", source, bucket.url("t")).code == 0
    assert sterna("sync", bucket.url("t"), tmp_path / "target").code == 0
    assert mtimes(tmp_path / "target") == mtimes(source)
    for again in (
        sterna("--json", "sync", source, bucket.url("t")),
        sterna("--json", "sync", bucket.url("t"), tmp_path / "target"),
    ):
        assert (summary(again)["done"], summary(again)["kept"]) == (0, 3)


def test_a_file_that_was_changed_is_carried_again_and_only_that_one(
    sterna: Sterna, bucket: Bucket, tmp_path: Path
) -> None:
    source = plant(tmp_path / "source", {"a": b"one", "b": b"two", "c": b"three"})
    target = tmp_path / "target"
    assert sterna("sync", source, bucket.url("p")).code == 0
    assert sterna("sync", bucket.url("p"), target).code == 0
    (source / "b").write_bytes(b"another length")
    up = sterna("--json", "sync", source, bucket.url("p"))
    assert [record["key"] for record in records(up) if record["status"] == "done"] == ["b"]
    down = sterna("--json", "sync", bucket.url("p"), target)
    assert [record["key"] for record in records(down) if record["status"] == "done"] == ["b"]
    assert tree(target) == tree(source)
    assert mtimes(target) == mtimes(source)


def test_a_trailing_slash_on_either_side_changes_nothing(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    source = plant(tmp_path / "source", {"a": b"1", "d/b": b"2"})
    for folder, url in ((f"{source}", bucket.url("p")), (f"{source}/", bucket.url("p/")), (f"{source}/", "")):
        done = sterna("--json", "sync", folder, url or bucket.url("p"))
        assert done.code == 0
    assert sorted(bucket.keys()) == ["p/a", "p/d/b"]
    for number, url in enumerate((bucket.url("p"), bucket.url("p/"))):
        assert sterna("sync", url, f"{tmp_path}/t{number}/").code == 0
        assert tree(tmp_path / f"t{number}") == tree(source)


def test_a_prefix_never_takes_its_siblings_h74(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    for key in ("logs/a", "logs_backup/a", "logs.json", "logs-old/x", "logs0", "log"):
        bucket.put(key, key.encode())
    for number, url in enumerate((bucket.url("logs"), bucket.url("logs/"))):
        done = sterna("--json", "sync", url, tmp_path / f"t{number}")
        assert done.code == 0
        assert tree(tmp_path / f"t{number}") == {"a": b"logs/a"}
    source = plant(tmp_path / "source", {"a": b"logs/a"})
    done = sterna("--json", "sync", source, bucket.url("logs"))
    assert done.code == 0
    assert bucket.get("logs_backup/a") == b"logs_backup/a"
    assert len(bucket.keys()) == 6


def test_a_key_beyond_1024_bytes_is_refused_by_name_and_the_rest_arrives_h69(
    sterna: Sterna, bucket: Bucket, tmp_path: Path
) -> None:
    too_long = LONGEST + "n"
    source = plant(tmp_path / "source", {"before": b"1", too_long: b"2", "z after": b"3"})
    done = sterna("--json", "sync", source, bucket.url(PREFIX))
    assert done.code == 1
    assert list(failures(done)) == [too_long]
    assert "1,024" in failures(done)[too_long]
    assert sorted(bucket.keys()) == [f"{PREFIX}/before", f"{PREFIX}/z after"]


@pytest.mark.skipif(os.name == "nt", reason="no such names and files on Windows")
def test_names_that_are_not_utf8_and_special_files_are_named_and_do_not_hold_the_run_h73_h111(
    sterna: Sterna, bucket: Bucket, tmp_path: Path
) -> None:
    source = plant(tmp_path / "source", {"good": b"1"})
    (Path(os.fsdecode(os.fsencode(source) + b"/bad\xff"))).write_bytes(b"2")
    os.mkfifo(source / "pipe")
    (source / "link").symlink_to("good")
    (source / "gone").symlink_to("nowhere")
    done = sterna("--json", "sync", source, bucket.url("p"))
    assert done.code == 1
    assert bucket.keys() == ["p/good"]
    assert list(failures(done)) == ["bad\\xff"]
    assert {record["key"] for record in records(done) if record["status"] == "skipped"} == {"gone", "link", "pipe"}


def test_types_and_metadata_are_stored_with_the_object(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    source = plant(tmp_path / "source", {"page.html": b"<p>", "photo.png": b"png", "unknown.zzz": b"?"})
    options = ["--metadata", "Team=arctic", "--metadata", "b=2"]
    assert sterna("sync", *options, source, bucket.url("p")).code == 0
    page, photo = bucket.head("p/page.html"), bucket.head("p/photo.png")
    assert page is not None
    assert photo is not None
    assert (page["content-type"].split(";")[0], photo["content-type"]) == ("text/html", "image/png")
    assert (page["x-amz-meta-team"], page["x-amz-meta-b"]) == ("arctic", "2")
    seconds, _, fraction = page["x-amz-meta-mtime"].partition(".")
    assert int(seconds) * 10**9 + int(fraction.ljust(9, "0")) == LONG_AGO_NS

    assert sterna("sync", "--content-type", "text/x-own", source, bucket.url("q")).code == 0
    own = bucket.head("q/photo.png")
    assert own is not None
    assert own["content-type"] == "text/x-own"


def test_headers_for_readers_are_stored_with_the_object(
    sterna: Sterna, server: Server, bucket: Bucket, tmp_path: Path
) -> None:
    if server.name == "rclone":
        pytest.skip("rclone keeps no headers but metadata of one's own")
    source = plant(tmp_path / "source", {"page.html": b"<p>"})
    options = ["--cache-control", "max-age=60", "--content-disposition", "attachment", "--content-encoding", "x-own"]
    assert sterna("sync", *options, source, bucket.url("p")).code == 0
    page = bucket.head("p/page.html")
    assert page is not None
    assert (page["cache-control"], page["content-disposition"]) == ("max-age=60", "attachment")
    assert page["content-encoding"] == "x-own"


def test_tags_are_stored_where_the_server_knows_them(
    sterna: Sterna, server: Server, bucket: Bucket, tmp_path: Path
) -> None:
    if not server.facts.tags:
        pytest.skip(f"{server.name} knows no tags")
    source = plant(tmp_path / "source", {"a": b"1"})
    assert sterna("sync", "--tag", "team=arctic + co/1@x", source, bucket.url("p")).code == 0
    answer = bucket.oracle.must("GET", bucket.name, "p/a", {"tagging": ""}).body
    assert b"<Key>team</Key>" in answer
    assert b"<Value>arctic + co/1@x</Value>" in answer


def test_downloaded_files_have_the_permissions_that_the_umask_leaves_h53(
    sterna: Sterna, bucket: Bucket, tmp_path: Path
) -> None:
    # What other tools keep of a file's mode and owner is not obeyed: it may be anybody's wish.
    bucket.put("p/a", b"1", {"x-amz-meta-mode": "104777", "x-amz-meta-uid": "12345", "x-amz-meta-mtime": "1.5"})
    old = os.umask(0o027)
    try:
        assert sterna("sync", bucket.url("p"), tmp_path / "target").code == 0
    finally:
        os.umask(old)
    status = (tmp_path / "target" / "a").stat()
    assert stat.S_IMODE(status.st_mode) == 0o640
    assert status.st_uid == os.geteuid()
    assert status.st_mtime_ns == 1_500_000_000


def test_json_and_log_file_hold_a_record_of_every_object(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    source = plant(tmp_path / "source", {"a b": b"1", "tab\there": b"22"} if os.name != "nt" else {"a b": b"1"})
    log = tmp_path / "log"
    done = sterna("--json", "--log-file", log, "sync", source, bucket.url("p"))
    assert done.code == 0
    kinds = [json.loads(line)["type"] for line in done.out.splitlines()]
    assert (kinds[0], kinds[-1]) == ("run_started", "summary")
    assert {record["key"]: (record["verb"], record["status"], record["size"]) for record in records(done)} == {
        "a b": ("upload", "done", 1),
        "tab\there": ("upload", "done", 2),
    }
    assert all(record["proof"] for record in records(done))
    assert summary(done)["exit_code"] == 0
    assert (summary(done)["uploaded"], summary(done)["moved_bytes"]) == (2, 3)
    assert summary(done)["requests"] >= 3
    assert summary(done)["elapsed_s"] > 0

    lines = log.read_text().splitlines()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    assert {row[2]: (row[1], row[3]) for row in rows} == {"a b": ("upload", "1"), "tab\\x09here": ("upload", "2")}
    assert all(row[7].startswith("done: ") for row in rows)
    assert "exit code 0" in lines[-1]


def test_a_dry_run_moves_nothing_in_either_direction(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    source = plant(tmp_path / "source", {"a": b"1", "d/b": b"2"})
    up = sterna("sync", "--dry-run", source, bucket.url("p"))
    assert up.code == 0
    assert bucket.keys() == []
    assert "a" in up.out
    assert "Dry run" in up.verdict

    bucket.put("p/a", b"1")
    down = sterna("--json", "sync", "--dry-run", bucket.url("p"), tmp_path / "empty")
    assert down.code == 0, down.err
    assert not (tmp_path / "empty").exists()
    assert [(record["key"], record["status"]) for record in records(down)] == [("a", "planned")]
    assert leftovers(tmp_path) == []


def test_empty_markers_of_folders_become_folders_once_h68(
    sterna: Sterna, server: Server, bucket: Bucket, tmp_path: Path
) -> None:
    if not server.facts.any_key:
        pytest.skip(f"{server.name} holds paths of a folder, and no markers")
    for key in ("p/", "p/tr/", "p/tr/deep/", "p/a"):
        bucket.put(key, b"1" if key == "p/a" else b"")
    first = sterna("--json", "sync", bucket.url("p"), tmp_path / "target")
    assert (first.code, failures(first)) == (0, {})
    assert (tmp_path / "target/tr/deep").is_dir()
    assert tree(tmp_path / "target") == {"a": b"1"}
    again = sterna("--json", "sync", bucket.url("p"), tmp_path / "target")
    assert (again.code, summary(again)["done"]) == (0, 0)
    dry = sterna("--json", "sync", bucket.url("p"), tmp_path / "target", "--dry-run")
    assert (dry.code, summary(dry)["planned"], summary(dry)["kept"]) == (0, 0, summary(again)["kept"])
    assert sterna("plan", bucket.url("p"), tmp_path / "target", "-o", "plan").code == 0
    assert "nothing to do" in sterna("plan", "show", "plan").out


def test_a_folder_of_many_pages_goes_both_ways_h79(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    files = {f"d{number % 7}/{number:05d}": b"%d" % number for number in range(1203)}
    source = plant(tmp_path / "source", files)
    up = sterna("--json", "sync", source, bucket.url("many"))
    assert (up.code, summary(up)["uploaded"]) == (0, 1203)
    down = sterna("--json", "sync", bucket.url("many"), tmp_path / "target")
    assert (down.code, summary(down)["downloaded"]) == (0, 1203)
    assert tree(tmp_path / "target") == files


def test_what_links_lead_to_is_carried_where_that_is_asked_for_also_below_a_linked_folder_h112(
    sterna: Sterna, bucket: Bucket, tmp_path: Path
) -> None:
    real = plant(tmp_path / "real", {"a.txt": b"1", "deep/b.txt": b"2", "large": b"3" * (9 * MIB)})
    source = plant(tmp_path / "source", {"own": b"4"})
    (source / "linked").symlink_to(real)
    (source / "to a file").symlink_to(real / "a.txt")
    up = sterna("--json", "sync", "--symlinks", "follow", source, bucket.url("p"))
    assert up.code == 0, up.err
    wanted = {f"linked/{name}": data for name, data in tree(real).items()} | {"own": b"4", "to a file": b"1"}
    assert {key.removeprefix("p/"): body for key, body in bucket.contents("p/").items()} == wanted
    again = sterna("--json", "sync", "--symlinks", "follow", source, bucket.url("p"))
    assert (again.code, summary(again)["kept"]) == (0, len(wanted))


def test_a_dry_run_names_what_it_would_skip(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    source = plant(tmp_path / "source", {"a": b"1"})
    (source / "link").symlink_to("a")
    done = sterna("sync", "--dry-run", source, bucket.url("p"))
    assert done.code == 0
    assert "would skip: link" in done.out
    assert "1 object would be skipped" in done.verdict
