"""The command explains what a sync would do about one key, and a sync then does that."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Sterna
from tests.e2e.trees import LONG_AGO_NS, plant, tree
from tests.servers.oracle import Bucket

ONE_SERVER_IS_ENOUGH = True
pytestmark = pytest.mark.thorough


@pytest.fixture
def there(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> Path:
    folder = plant(tmp_path / "tree", {"same": b"s" * 10, "size": b"x", "sub/kept.tmp": b"t", "link-to": b"l"})
    assert sterna("sync", folder, bucket.url("p"), "--no-journal").code == 0  # else it is told what that run saw
    (folder / "size").write_bytes(b"xx")
    (folder / "new").write_bytes(b"n")
    (folder / "link").symlink_to("same")
    bucket.put("p/only-there", b"o")
    return folder


def reason(sterna: Sterna, *arguments: str | Path, code: int = 0) -> dict[str, Any]:
    done = sterna("why", *arguments, "--json")
    assert done.code == code, done
    found = json.loads(done.out)
    assert found["type"] == "why"
    assert isinstance(found, dict)
    return found


def test_each_key_has_its_reason_and_a_sync_does_what_it_says(sterna: Sterna, bucket: Bucket, there: Path) -> None:
    would = {key: reason(sterna, key, there, bucket.url("p")) for key in ("same", "size", "new", "link", "only-there")}
    assert {key: (one["would"], one["because"]) for key, one in would.items() if key != "link"} == {
        "same": ("keep", "same size, and it was stored after it was last changed"),
        "size": ("upload", "the sizes differ: 2 at the source, 1 at the destination"),
        "new": ("upload", "new"),
        "only-there": ("nothing", "the source does not have it, and nothing is deleted without --delete"),
    }
    assert would["link"]["would"] == "skip"
    same = would["same"]
    assert (same["source"]["size"], same["source"]["mtime_ns"]) == (10, LONG_AGO_NS)
    assert same["destination"]["own_mtime_ns"] == LONG_AGO_NS
    assert same["destination"]["etag"]
    assert same["requests"] <= 4
    done = sterna("sync", there, bucket.url("p"), "--json", "--dry-run")
    planned = {
        one["key"]: one["because"] for one in map(json.loads, done.out.splitlines()) if one.get("verb") == "upload"
    }
    assert {key: because for key, because in planned.items() if because} == {
        key: one["because"] for key, one in would.items() if one["would"] == "upload"
    }


def test_it_says_which_rule_leaves_a_key_out(sterna: Sterna, bucket: Bucket, there: Path) -> None:
    found = reason(sterna, "sub/kept.tmp", there, bucket.url("p"), "--exclude", "*.log", "--exclude", "*.tmp")
    assert (found["included"], found["filtered_by"], found["origin"]) == (False, "--exclude *.tmp", "--exclude")
    assert (found["would"], found["rule"]) == ("nothing", 1)
    rules = there.parent / "rules"
    rules.write_text("- *.log\n+ same\n- **\n")
    found = reason(sterna, "same", there, bucket.url("p"), "--filter-from", rules)
    assert (found["included"], found["rule"], found["origin"]) == (True, 2, f"{rules}:2")
    done = sterna("why", "new", there, bucket.url("p"), "--max-size", "0")
    assert "left out: --max-size 0 B" in done.out


def test_what_is_in_the_trash_is_out_of_sight_and_not_deleted(sterna: Sterna, bucket: Bucket, there: Path) -> None:
    bucket.put("p/trash/x", b"kept")
    said = ("--delete", "--trash", bucket.url("p/trash"))
    found = reason(sterna, "trash/x", there, bucket.url("p"), *said)
    assert (found["would"], found["included"], found["origin"]) == ("nothing", False, "--trash")
    assert sterna("sync", there, bucket.url("p"), *said).code == 0
    assert bucket.get("p/trash/x") == b"kept"


def test_a_sign_for_a_folder_is_not_deleted_for_want_of_a_file(sterna: Sterna, bucket: Bucket, there: Path) -> None:
    bucket.put("p/sign/", b"")
    found = reason(sterna, "sign/", there, bucket.url("p"), "--delete")
    assert found["would"] == "nothing"
    assert "never deleted" in found["because"]
    assert sterna("sync", there, bucket.url("p"), "--delete").code == 0
    assert bucket.head("p/sign/") is not None


def test_a_link_at_the_destination_is_not_said_to_be_deleted(
    sterna: Sterna, bucket: Bucket, there: Path, tmp_path: Path
) -> None:
    target = plant(tmp_path / "target", {"same": b"s"})
    (target / "link-there").symlink_to("same")
    found = reason(sterna, "link-there", bucket.url("p"), target, "--delete")
    assert (found["would"], "no file of ours" in found["because"]) == ("nothing", True)


def test_a_deletion_is_explained(sterna: Sterna, bucket: Bucket, there: Path) -> None:
    found = reason(sterna, "only-there", there, bucket.url("p"), "--delete")
    assert found["would"] == "delete"
    assert bucket.get("p/only-there") == b"o"


def test_words_for_people(sterna: Sterna, bucket: Bucket, there: Path) -> None:
    done = sterna("why", "./same", there, bucket.url("p"), "--compare", "checksum", env={"TZ": "UTC"})
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == "key          same"
    assert lines[1] == "filters      taken: nothing is filtered by name"
    assert lines[2] == "source       10 bytes, changed 2017-07-14 02:40:00.123456789"
    assert lines[3].startswith("destination  10 bytes, stored 20")
    assert "keeps the time 2017-07-14 02:40:00.123456789" in lines[3]
    assert lines[4] == "compared by  checksum; by the listings: same size, and the content is compared"
    assert lines[5].startswith("sync         leaves it as it is: same size and ")


def test_a_download_is_explained_and_makes_nothing(sterna: Sterna, bucket: Bucket, there: Path, tmp_path: Path) -> None:
    missing = tmp_path / "not there"
    found = reason(sterna, "same", bucket.url("p"), missing)
    assert (found["would"], found["because"]) == ("download", "new")
    assert not missing.exists()
    folder = plant(tmp_path / "target", {"same": b"s" * 10})
    found = reason(sterna, "same", bucket.url("p"), folder)
    assert found["would"] == "keep"
    assert found["because"].startswith("same size and time")  # by a look, or where a server tells it by its listing
    assert found["listed"] == "same size, and the time needs a look"
    os.utime(folder / "same", ns=(5 * 10**18, 5 * 10**18))
    assert reason(sterna, "same", bucket.url("p"), folder)["because"] == "same size, and another time"
    assert tree(folder) == {"same": b"s" * 10}


def test_a_file_in_the_way_of_a_folder_is_explained(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    if not bucket.oracle.server.facts.any_key:
        pytest.skip("this server cannot hold a beside a/b")
    bucket.put("q/a", b"1")
    bucket.put("q/a/b", b"2")
    found = reason(sterna, "a/b", bucket.url("q"), tmp_path)
    assert (found["would"], found["because"]) == (
        "refuse",
        "a/b needs a folder where a is a file; rename one of the two.",
    )
    found = reason(sterna, "a", bucket.url("q"), tmp_path)
    assert (found["would"], found["because"]) == (
        "refuse",
        "a is a file where a/b needs a folder; rename one of the two.",
    )


@pytest.mark.parametrize("key", ("a", "a/b"))
def test_what_filters_leave_out_is_in_nobodys_way(sterna: Sterna, bucket: Bucket, tmp_path: Path, key: str) -> None:
    if not bucket.oracle.server.facts.any_key:
        pytest.skip("this server cannot hold a beside a/b")
    bucket.put("q/a", b"1")
    bucket.put("q/a-b", b"1")
    bucket.put("q/a.~b", b"1")
    bucket.put("q/a/b", b"2")
    other = "a" if key == "a/b" else "a/*"
    found = reason(sterna, key, bucket.url("q"), tmp_path, "--exclude", other)
    assert (found["would"], found["because"]) == ("download", "new")
    found = reason(sterna, key, bucket.url("q"), tmp_path, "--on-collision", "skip")
    assert found["would"] == "refuse"
    found = reason(sterna, key, bucket.url("q"), tmp_path, "--on-collision", "escape")
    assert (found["would"], found["because"]) == ("download", "new")


def test_what_neither_side_has_ends_with_one(sterna: Sterna, bucket: Bucket, there: Path) -> None:
    assert reason(sterna, "nowhere", there, bucket.url("p"), code=1)["because"] == "neither side has it"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["", "a", "s3://bucket"], "KEY is empty"), (["k", "-", "s3://bucket"], "folders and prefixes")],
)
def test_what_cannot_be_right_is_refused(sterna: Sterna, arguments: list[str], words: str) -> None:
    done = sterna("why", *arguments)
    assert (done.code, done.out) == (2, "")
    assert words in done.err
