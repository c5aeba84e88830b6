"""The command restore, from a bucket as it is, as it was, and out of an archive."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.conftest import Sterna
from tests.e2e.trees import plant, records, summary, tree
from tests.faults.front import Front
from tests.faults.front.archive import Archive
from tests.servers.oracle import Bucket

ONE_SERVER_IS_ENOUGH = True

FILES = {"a": b"one", "b/c": b"two", "d": b"three"}


def test_a_folder_comes_back_and_the_files_that_were_deleted_since(
    sterna: Sterna, bucket: Bucket, tmp_path: Path
) -> None:
    bucket.enable_versions()
    folder = plant(tmp_path / "tree", FILES)
    assert sterna("sync", folder, bucket.url("p")).code == 0
    body = bucket.oracle.must("GET", bucket.name, query={"versions": ""}).body.decode()
    newest = max(re.findall("<LastModified>(.*?)</", body))
    if "." not in newest:
        pytest.skip("this server tells whole seconds, and what comes next comes within the same one")
    for name in FILES:
        bucket.delete(f"p/{name}")
    bucket.put("p/ransom", b"pay")
    done = sterna("restore", bucket.url("p"), tmp_path / "back", "--at", newest.replace("Z", "1Z"))
    assert done.code == 0, done
    assert tree(tmp_path / "back") == FILES
    assert done.verdict.startswith("All 3 objects are in place: 3 downloaded and proved")
    now = sterna("restore", bucket.url("p"), tmp_path / "now", "--json")
    assert (now.code, tree(tmp_path / "now"), summary(now)["command"]) == (0, {"ransom": b"pay"}, "restore")


@pytest.mark.thorough
def test_archived_objects_are_counted_asked_for_and_waited_for(
    sterna: Sterna, bucket: Bucket, front: Front, tmp_path: Path
) -> None:
    for name, data in FILES.items():
        bucket.put(f"p/{name}", data)
    ice = Archive({"p/a": "GLACIER", "p/b/c": "DEEP_ARCHIVE"}, looks=1)
    front.fault("*", nth="always", kind=ice, must_hit=False)
    first = sterna("restore", bucket.url("p"), tmp_path / "back")
    assert first.code == 1
    assert "Archived in GLACIER: 1 object (3 B)." in first.err
    assert "--request-restore asks for it" in first.out
    assert first.verdict.startswith("INCOMPLETE: 1 of 3 objects is in place; 2 objects (6 B) are archived")
    asked = sterna("restore", bucket.url("p"), tmp_path / "back", "--request-restore", "--tier", "bulk", "--days", "2")
    assert asked.code == 1
    assert sorted(ice.asked) == [("p/a", "Bulk", 2), ("p/b/c", "Bulk", 2)]
    assert "come again in up to 48 hours" in asked.verdict
    waited = sterna("restore", bucket.url("p"), tmp_path / "back", "--wait", "--wait-interval", "0.01", "--json")
    assert waited.code == 0, waited
    assert sorted(one["key"] for one in records(waited) if one["status"] == "done") == ["a", "b/c"]
    assert tree(tmp_path / "back") == FILES
    assert all(json.loads(line) for line in waited.out.splitlines())
