"""What a run says, where it says it, and the code that it ends with."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.conftest import Sterna
from tests.e2e.trees import plant, tree
from tests.servers.oracle import Bucket
from tests.servers.server import Server

OTHER_SERVERS_ARE_THOROUGH = True


@pytest.fixture
def any_key(server: Server) -> None:
    """Leave out a server that cannot hold the key that a test needs."""
    if not server.facts.any_key:
        pytest.skip(f"{server.name} holds paths of a folder: this key cannot be stored")


def test_the_summary_counts_and_ends_with_a_verdict(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    source = plant(tmp_path / "source", {"a": b"1" * 1000, "b": b"2" * 24})
    done = sterna("sync", source, bucket.url("p"))
    assert done.code == 0
    assert re.search(r"^objects +2 uploaded", done.out, re.MULTILINE)
    assert re.search(r"^bytes +1.0 KiB moved in this run, 0 B already there", done.out, re.MULTILINE)
    assert re.search(
        r"^elapsed +0:00:0\d \(\d+\.\d\d seconds, 0\.\d\d minutes, 0\.\d{3} hours\)", done.out, re.MULTILINE
    )
    assert re.search(r"^requests +\d+, 0 of them retries", done.out, re.MULTILINE)
    assert "in place" in done.verdict or done.verdict.startswith("COMPLETE")
    again = sterna("sync", source, bucket.url("p"))
    assert re.search(r"^objects +2 unchanged", again.out, re.MULTILINE)
    assert re.search(r"^bytes +0 B moved in this run, 1.0 KiB already there", again.out, re.MULTILINE)


def test_a_verdict_of_nothing_to_move_says_whether_filters_let_nothing_pass(
    sterna: Sterna, bucket: Bucket, tmp_path: Path
) -> None:
    source = plant(tmp_path / "source", {"a": b"1", "d/b": b"2"})
    done = sterna("sync", source, bucket.url("p"), "--exclude", "*")
    assert done.code == 0
    assert done.verdict == "There was nothing to move: the source holds nothing that the filters let pass."


@pytest.mark.usefixtures("any_key")
def test_a_failure_is_named_in_every_record_and_the_code_is_1(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("p/" + "x" * 256, b"1")
    bucket.put("p/good", b"2")
    log = tmp_path / "log"
    done = sterna("--log-file", log, "sync", bucket.url("p"), tmp_path / "target")
    assert done.code == 1
    assert "x" * 256 in done.out
    assert "256 bytes" in done.out
    assert done.verdict.startswith("INCOMPLETE: 1 ")
    lines = log.read_text().splitlines()
    row = next(line.split("\t") for line in lines if "\t" + "x" * 256 + "\t" in line)
    assert row[7].startswith("failed")
    assert "exit code 1" in lines[-1]
    as_json = sterna("--json", "sync", bucket.url("p"), tmp_path / "target")
    summary = json.loads(as_json.out.splitlines()[-1])
    assert (as_json.code, summary["exit_code"], summary["failed"]) == (1, 1, 1)
    assert [failure["key"] for failure in summary["failures"]] == ["x" * 256]


def test_quiet_says_nothing_when_all_is_well_and_speaks_when_it_is_not(
    sterna: Sterna, bucket: Bucket, tmp_path: Path
) -> None:
    source = plant(tmp_path / "source", {"a": b"1", "k/" * 550 + "too long": b"2"})
    good = plant(tmp_path / "good", {"a": b"1"})
    done = sterna("--quiet", "sync", good, bucket.url("p"))
    assert (done.code, done.out, done.err) == (0, "", "")
    done = sterna("--quiet", "sync", source, bucket.url("q"))
    assert done.code == 1
    assert done.out == ""
    assert "1,024" in done.err


def test_verbose_names_each_object(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    source = plant(tmp_path / "source", {"a": b"1", "d/b": b"2"})
    done = sterna("-v", "sync", source, bucket.url("p"))
    assert "upload a (1 B): done" in done.err
    assert "upload d/b (1 B): done" in done.err


def test_a_stream_to_standard_output_is_all_that_goes_there(sterna: Sterna, bucket: Bucket) -> None:
    bucket.put("a", b"the bytes")
    done = sterna("-v", "copy", bucket.url("a"), "-")
    assert (done.code, done.out) == (0, "the bytes")
    refused = sterna("--json", "copy", bucket.url("a"), "-")
    assert (refused.code, refused.out) == (2, "")


def test_a_bucket_that_does_not_exist_is_a_sentence_that_says_what_to_do(
    sterna: Sterna, tmp_path: Path, server: Server
) -> None:
    source = plant(tmp_path / "source", {"a": b"1"})
    missing = "s3://no-such-bucket-here/p"
    for code, where, to in ((2, source, missing), (4, missing, tmp_path / "t")):
        done = sterna("sync", where, to)
        assert done.code == code, done.err
        assert "no-such-bucket-here does not exist at this endpoint; check its name" in done.err + done.out
        assert "Traceback" not in done.err


def test_a_folder_that_does_not_exist_is_code_4(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    done = sterna("sync", tmp_path / "missing", bucket.url("p"))
    assert done.code == 4
    assert "does not exist" in done.err
    assert bucket.keys() == []


def test_wrong_keys_are_code_3_where_the_server_checks_them(
    sterna: Sterna, server: Server, bucket: Bucket, tmp_path: Path
) -> None:
    if not server.facts.checks_signatures:
        pytest.skip(f"{server.name} lets everybody in")
    source = plant(tmp_path / "source", {"a": b"1"})
    done = sterna("sync", source, bucket.url("p"), env={"AWS_SECRET_ACCESS_KEY": "wrong"})
    assert done.code == 3, done.out + done.err
    assert bucket.keys() == []


def test_no_credentials_is_code_3_and_an_endpoint_where_nobody_listens_is_a_sentence(
    sterna: Sterna, bucket: Bucket, tmp_path: Path
) -> None:
    source = plant(tmp_path / "source", {"a": b"1"})
    done = sterna("sync", source, bucket.url("p"), env={"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None})
    assert done.code == 3, done.err
    done = sterna("sync", "--endpoint-url", "http://127.0.0.1:1", source, bucket.url("p"))
    assert done.code not in (0, 130), done.err
    assert "127.0.0.1:1" in done.err
    assert "Traceback" not in done.err


# ls, du, mb, rm


def test_ls_shows_the_next_level_or_all_of_it(sterna: Sterna, bucket: Bucket) -> None:
    for key in ("p/a", "p/d/b", "p_sibling"):
        bucket.put(key, b"123")
    lines = sterna("ls", bucket.url("p/")).out.splitlines()
    assert [line.split()[-1] for line in lines] == ["a", "d/"] or [line.split()[-1] for line in lines] == ["d/", "a"]
    everything = sterna("ls", "-r", bucket.url("p")).out.splitlines()
    assert len(everything) == 2
    assert all("p_sibling" not in line for line in everything)
    as_json = [json.loads(line) for line in sterna("--json", "ls", "-r", bucket.url("p")).out.splitlines()]
    assert [found["size"] for found in as_json] == [3, 3]
    assert bucket.name in sterna("ls").out


def test_du_counts_objects_and_bytes_of_a_path_and_not_of_its_siblings_h74(sterna: Sterna, bucket: Bucket) -> None:
    for key in ("p/a", "p/d/b", "p_sibling"):
        bucket.put(key, b"1" * 1000)
    found = json.loads(sterna("--json", "du", bucket.url("p")).out)
    assert (found["objects"], found["bytes"]) == (2, 2000)
    assert sterna("du", bucket.url("p")).out == f"2 objects  2.0 KiB  2,000 bytes  {bucket.url('p')}\n"


def test_mb_makes_a_bucket_once(sterna: Sterna, bucket: Bucket) -> None:
    name = f"{bucket.name}-made"
    assert sterna("mb", f"s3://{name}").code == 0
    assert bucket.oracle.bucket(name).exists
    assert sterna("mb", f"s3://{name}").code == 0


def test_rm_removes_one_object_and_below_a_prefix_only_with_yes_h74(sterna: Sterna, bucket: Bucket) -> None:
    for key in ("p/a", "p/d/b", "p_sibling", "p.txt"):
        bucket.put(key, b"1")
    assert sterna("rm", bucket.url("p/a")).code == 0
    assert sorted(bucket.keys()) == ["p.txt", "p/d/b", "p_sibling"]
    refused = sterna("rm", "--recursive", bucket.url("p"))
    assert refused.code == 5
    assert "--yes" in refused.err
    assert len(bucket.keys()) == 3
    assert sterna("rm", "--recursive", "--yes", bucket.url("p")).code == 0
    assert sorted(bucket.keys()) == ["p.txt", "p_sibling"]


def test_a_log_file_is_appended_to_and_never_in_the_synced_tree_by_accident(
    sterna: Sterna, bucket: Bucket, tmp_path: Path
) -> None:
    source = plant(tmp_path / "source", {"a": b"1"})
    log = tmp_path / "log"
    for _ in range(2):
        assert sterna("--log-file", log, "sync", source, bucket.url("p")).code == 0
    runs = [line for line in log.read_text().splitlines() if line.startswith("# ") and " sync " in line]
    assert len(runs) == 2
    assert tree(source) == {"a": b"1"}
