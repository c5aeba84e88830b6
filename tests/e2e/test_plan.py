"""Plans through the command: made, looked at, carried out, and what becomes of them when the world goes on."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.conftest import Sterna
from tests.e2e.trees import failures, mtimes, plant, records, summary, tree
from tests.faults import front as f
from tests.faults.front import Front
from tests.places import ODD
from tests.servers.oracle import Bucket

ONE_SERVER_IS_ENOUGH = True
pytestmark = pytest.mark.thorough

FILES = {"a.txt": b"one", "b/c.txt": b"two two", "b/d.txt": b"", "e.bin": b"x" * 3000}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return plant(tmp_path / "source", FILES)


def test_a_plan_changes_nothing_and_apply_does_what_it_says(
    sterna: Sterna, bucket: Bucket, source: Path, tmp_path: Path
) -> None:
    bucket.put("p/gone.txt", b"old")
    bucket.put("p/a.txt", b"another size")
    made = sterna("plan", source, bucket.url("p"), "-o", tmp_path / "plan", "--delete")
    assert made.code == 0, made.err
    assert made.verdict.startswith("Planned, and nothing was changed: delete 1 object (3 B) and upload 4 objects")
    assert sorted(bucket.keys()) == ["p/a.txt", "p/gone.txt"]
    assert (tmp_path / "plan").stat().st_mode & 0o777 == 0o600

    shown = sterna("plan", "show", tmp_path / "plan", "-v")
    assert shown.code == 0, shown.err
    dry = sterna("sync", source, bucket.url("p"), "--delete", "--dry-run")
    would = [line.removeprefix("would ") for line in dry.out.splitlines() if line.startswith("would ")]
    lines = shown.out.splitlines()
    assert sorted(lines[: len(would)]) == sorted(would)
    assert lines[len(would) - 1] == "delete gone.txt (3 B): the source does not have it"
    assert f"{source} → {bucket.url('p')}" in lines[len(would)]
    assert lines[len(would) + 1] == "options: --delete"
    assert lines[len(would) + 2] == "deletions: 1 object, 3 B"
    assert "cost: no estimate" in shown.out

    done = sterna("apply", tmp_path / "plan")
    assert done.code == 0, done.err
    assert bucket.contents("p/") == {f"p/{name}": data for name, data in FILES.items()}
    assert sterna("sync", source, bucket.url("p"), "--delete", "--dry-run").verdict.startswith(
        "Dry run, nothing was changed: it would change nothing; 4 objects"
    )


def test_a_download_is_planned_and_applied_with_its_deletions(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    for key in ("p/x", "p/y/z"):
        bucket.put(key, key.encode())
    target = tmp_path / "target"
    made = sterna("plan", bucket.url("p"), target, "-o", "plan")
    assert made.code == 0, made.err
    assert not target.exists()
    assert sterna("apply", "plan").code == 0
    assert tree(target) == {"x": b"p/x", "y/z": b"p/y/z"}
    plant(target, {"more/old": b"old"})
    assert sterna("plan", bucket.url("p"), target, "-o", "plan", "--delete").code == 0
    assert "more/old" in tree(target)
    done = sterna("apply", "plan")
    assert done.code == 0, done.err
    assert tree(target) == {"x": b"p/x", "y/z": b"p/y/z"}
    assert not (target / "more").exists()


def test_a_plan_of_nothing_is_a_plan(sterna: Sterna, bucket: Bucket, source: Path) -> None:
    assert sterna("sync", source, bucket.url("p")).code == 0
    made = sterna("plan", source, bucket.url("p"), "-o", "plan", "--delete")
    assert made.code == 0, made.err
    assert made.verdict.startswith("Planned, and nothing was changed: nothing is to be done.")
    assert "nothing to do" in sterna("plan", "show", "plan").out
    done = sterna("apply", "plan", "--json")
    assert done.code == 0, done.err
    assert (summary(done)["done"], summary(done)["failed"]) == (0, 0)


def test_H75_a_guard_refuses_when_the_plan_is_made_and_leaves_no_file(
    sterna: Sterna, bucket: Bucket, tmp_path: Path
) -> None:
    bucket.put("p/a", b"one")
    (tmp_path / "empty").mkdir()
    refused = sterna("plan", tmp_path / "empty", bucket.url("p"), "-o", tmp_path / "out" / "plan", "--delete")
    assert refused.code != 0  # there is no such folder to write to
    (tmp_path / "out").mkdir()
    refused = sterna("plan", tmp_path / "empty", bucket.url("p"), "-o", tmp_path / "out" / "plan", "--delete")
    assert refused.code == 5, refused.err
    assert "--allow-empty-source" in refused.err
    assert list((tmp_path / "out").iterdir()) == []
    allowed = sterna(
        "plan", tmp_path / "empty", bucket.url("p"), "-o", tmp_path / "out" / "plan", "--delete", "--allow-empty-source"
    )
    assert allowed.code == 0, allowed.err
    assert sterna("apply", tmp_path / "out" / "plan").code == 0
    assert bucket.keys() == []


def test_a_plan_for_a_prefix_with_an_empty_part_stays_there(
    sterna: Sterna, bucket: Bucket, source: Path, tmp_path: Path
) -> None:
    if not bucket.oracle.server.facts.any_key:
        pytest.skip("keys are paths of a folder")
    bucket.put("p//old", b"old")
    bucket.put("p/old", b"old")
    there = f"{bucket.url('p')}//"
    made = sterna("plan", source, there, "-o", "plan", "--delete")
    assert made.code == 0, made.err
    assert f"{source} → {there}" in sterna("plan", "show", "plan").out
    done = sterna("apply", "plan")
    assert done.code == 0, done.err
    assert bucket.contents("p/") == {f"p//{name}": data for name, data in FILES.items()} | {"p/old": b"old"}


def test_a_plan_in_which_something_failed_deletes_nothing(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path
) -> None:
    target = plant(tmp_path / "target", {"new": b"stale", "old": b"old"})
    bucket.put("p/new", b"fresh")
    hidden = front.fault("Head", key="p/new", nth="always", kind=f.Refuse(403, "AccessDenied"))
    made = sterna("plan", bucket.url("p"), target, "-o", "plan", "--delete", "--json")
    assert made.code == 3, made.err
    assert summary(made)["notices"] == ["1 deletion was left undone, since 1 of what was to be carried first failed."]
    assert [record["key"] for record in records(made) if record["verb"] == "delete"] == []
    front.remove(hidden)
    assert "nothing to do" in sterna("plan", "show", "plan").out
    assert sterna("apply", "plan").code == 0
    assert tree(target) == {"new": b"stale", "old": b"old"}


def test_a_source_that_changed_since_is_named_and_left(sterna: Sterna, bucket: Bucket, source: Path) -> None:
    bucket.put("p/gone.txt", b"old")
    assert sterna("plan", source, bucket.url("p"), "-o", "plan", "--delete").code == 0
    (source / "a.txt").write_bytes(b"longer than it was")
    (source / "b/c.txt").unlink()
    done = sterna("apply", "plan", "--json")
    assert done.code == 6, done.err
    assert failures(done) == {
        "a.txt": "The source has another size: 18, planned for 3.",
        "b/c.txt": "The source does not have it any more.",
    }
    assert bucket.keys() == ["p/b/d.txt", "p/e.bin", "p/gone.txt"]  # no deletion while anything else has failed
    assert summary(done)["verdict"].startswith("DRIFTED: 2 objects have changed since the plan was made")
    assert any("1 deletion was not carried out" in notice for notice in summary(done)["notices"])


def test_a_file_of_the_same_size_and_another_time_has_drifted(sterna: Sterna, bucket: Bucket, source: Path) -> None:
    assert sterna("plan", source, bucket.url("p"), "-o", "plan").code == 0
    (source / "a.txt").write_bytes(b"eno")
    done = sterna("apply", "plan", "--json")
    assert done.code == 6
    assert failures(done) == {"a.txt": "The source was changed since."}
    assert bucket.head("p/a.txt") is None


def test_a_destination_that_changed_appeared_or_vanished_since_is_named_and_left(
    sterna: Sterna, bucket: Bucket, source: Path
) -> None:
    bucket.put("p/b/c.txt", b"before")
    bucket.put("p/e.bin", b"before")
    assert sterna("plan", source, bucket.url("p"), "-o", "plan").code == 0
    bucket.put("p/a.txt", b"new")  # of the same size as the file, and not it
    bucket.put("p/b/c.txt", b"elsewise")
    bucket.delete("p/e.bin")
    done = sterna("apply", "plan", "--json")
    assert done.code == 6, done.err
    assert failures(done) == {
        "a.txt": "The destination has it now, and did not when the plan was made.",
        "b/c.txt": "The destination has another size: 8, planned for 6.",
        "e.bin": "The destination does not have it any more.",
    }
    assert bucket.contents("p/") == {"p/a.txt": b"new", "p/b/c.txt": b"elsewise", "p/b/d.txt": b""}
    said = sterna("apply", "plan")
    assert said.code == 6
    assert "The destination does not have it any more" in said.out


def test_a_download_whose_sides_changed_since_is_named_and_left(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    for name in ("changed", "gone", "new", "there"):
        bucket.put(f"p/{name}", b"planned")
    target = plant(tmp_path / "target", {"there": b"older"})
    assert sterna("plan", bucket.url("p"), target, "-o", "plan").code == 0
    bucket.put("p/changed", b"elsewise")
    bucket.delete("p/gone")
    plant(target, {"new": b"somebody's"})
    os.utime(target / "there")
    done = sterna("apply", "plan", "--json")
    assert done.code == 6, done.err
    assert set(failures(done)) == {"changed", "gone", "new", "there"}
    assert tree(target) == {"new": b"somebody's", "there": b"older"}


def test_what_drifted_is_not_deleted(sterna: Sterna, bucket: Bucket, source: Path) -> None:
    for name in ("changed", "found", "gone", "old"):
        bucket.put(f"p/{name}", b"old")
    assert sterna("plan", source, bucket.url("p"), "-o", "plan", "--delete").code == 0
    bucket.put("p/changed", b"newer")
    bucket.delete("p/gone")
    plant(source, {"found": b"old"})
    done = sterna("apply", "plan", "--json")
    assert done.code == 6, done.err
    assert set(failures(done)) == {"changed", "found"}
    assert failures(done)["found"] == "The source has it now, and did not when the plan was made."
    assert sorted(bucket.keys()) == ["p/a.txt", "p/b/c.txt", "p/b/d.txt", "p/changed", "p/e.bin", "p/found"]


def test_an_interrupted_apply_is_finished_by_the_same_command(
    sterna: Sterna, front: Front, bucket: Bucket, source: Path
) -> None:
    bucket.put("p/gone.txt", b"old")
    assert sterna("plan", source, bucket.url("p"), "-o", "plan", "--delete").code == 0
    stall = front.fault("Put", key="p/b/c.txt", nth="always", kind=f.StallBeforeRequest())
    started = sterna.start("apply", "plan")
    stall.wait_until_hit()
    started.send(signal.SIGINT)
    ended = started.wait(10)
    assert ended.code == 130, ended.err
    assert bucket.head("p/gone.txt") is not None
    front.remove(stall)
    done = sterna("apply", "plan", "--json")
    assert done.code == 0, done.err
    assert bucket.contents("p/") == {f"p/{name}": data for name, data in FILES.items()}
    again = sterna("apply", "plan", "--json")
    assert again.code == 0, again.err
    assert (summary(again)["uploaded"], summary(again)["deleted"], summary(again)["kept"]) == (0, 0, 5)


def test_a_download_that_was_applied_is_in_place_the_second_time(
    sterna: Sterna, bucket: Bucket, source: Path, tmp_path: Path
) -> None:
    assert sterna("sync", source, bucket.url("p")).code == 0
    assert sterna("plan", bucket.url("p"), tmp_path / "target", "-o", "plan").code == 0
    assert sterna("apply", "plan").code == 0
    assert mtimes(tmp_path / "target") == mtimes(source)
    again = sterna("apply", "plan", "--json")
    assert again.code == 0, again.err
    assert (summary(again)["downloaded"], summary(again)["kept"]) == (0, 4)


@pytest.mark.parametrize("harm", ["cut", "edited", "empty", "other"])
def test_a_plan_that_was_harmed_is_refused_and_nothing_is_done(
    sterna: Sterna, bucket: Bucket, source: Path, tmp_path: Path, harm: str
) -> None:
    path = tmp_path / "plan"
    assert sterna("plan", source, bucket.url("p"), "-o", path).code == 0
    data = path.read_bytes()
    middle = len(data) // 2
    harmed = {
        "cut": data[:middle],
        "edited": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
        "empty": b"",
        "other": b"not a plan at all, but a text\n" * 10,
    }
    path.write_bytes(harmed[harm])
    for verb in (["apply"], ["plan", "show"]):
        done = sterna(*verb, path)
        assert done.code == 2, done.err
        assert "make it anew" in done.err
        assert "Traceback" not in done.err
    assert bucket.keys() == []


def test_a_file_that_is_no_plan_is_not_written_over(sterna: Sterna, bucket: Bucket, source: Path) -> None:
    precious = sterna.home / "precious"
    precious.write_text("data")
    refused = sterna("plan", source, bucket.url("p"), "-o", precious)
    assert refused.code == 2
    assert "is no plan" in refused.err
    assert precious.read_text() == "data"
    assert sterna("plan", source, bucket.url("p"), "-o", "plan").code == 0
    assert sterna("plan", source, bucket.url("p"), "-o", "plan").code == 0


def test_H62_odd_keys_go_through_a_plan(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    if bucket.oracle.server.name == "versitygw":
        pytest.skip("versitygw does not give back every odd key that it takes")
    files = {name: name.encode() for name in ODD} | {f"deep/{name}": b"x" for name in ODD}
    source = plant(tmp_path / "source", files)
    (source / os.fsdecode(b"\xff-not-utf-8")).write_bytes(b"x")
    plant(tmp_path / "more", {"zz": b""})
    made = sterna("plan", source, bucket.url("p"), "-o", "plan", "--json")
    named = {record["key"] for record in records(made) if record["status"] == "planned"}
    assert named == set(files)
    done = sterna("apply", "plan", "--json")
    assert done.code == 0, (done.err, failures(done))
    assert bucket.contents("p/") == {f"p/{name}": data for name, data in files.items()}
    for path in source.rglob("*"):
        if path.is_file():
            path.unlink()
    deleting = sterna(
        "plan", source, bucket.url("p"), "-o", "plan", "--delete", "--allow-empty-source", "--max-delete", "none"
    )
    assert deleting.code == 0, deleting.err
    done = sterna("apply", "plan", "--json")
    assert done.code == 0, (done.err, failures(done))
    assert bucket.keys() == []


def test_the_settings_of_a_plan_are_those_of_its_apply(sterna: Sterna, bucket: Bucket, source: Path) -> None:
    given = ["--metadata", "colour=blue", "--content-type", "text/x-own", "--exclude", "*.bin"]
    assert sterna("plan", source, bucket.url("p"), "-o", "plan", *given).code == 0
    assert "options: --content-type text/x-own --metadata colour=blue" in sterna("plan", "show", "plan").out
    assert sterna("apply", "plan").code == 0
    assert bucket.keys() == ["p/a.txt", "p/b/c.txt", "p/b/d.txt"]
    head = bucket.head("p/a.txt")
    assert head is not None
    assert (head["x-amz-meta-colour"], head["content-type"]) == ("blue", "text/x-own")


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (["--symlinks", "follow"], "--symlinks follow contradicts the plan, which was made without"),
        (["--storage-class", "GLACIER"], "settled by the plan"),
        (["--delete"], "settled by the plan"),
        (["--endpoint-url", "http://127.0.0.1:9"], "The plan was made for"),
        (["--sse-c-key-file", "key"], "made without --sse-c-key-file"),
    ],
)
def test_what_contradicts_a_plan_is_refused_by_name(
    sterna: Sterna, bucket: Bucket, source: Path, option: list[str], says: str
) -> None:
    (sterna.home / "key").write_bytes(b"k" * 32)
    assert sterna("plan", source, bucket.url("p"), "-o", "plan").code == 0
    refused = sterna("apply", "plan", *option)
    assert refused.code == 2, refused.err
    assert says in refused.err
    assert bucket.keys() == []


def test_the_key_of_a_customer_is_asked_for_and_never_in_the_plan(sterna: Sterna, bucket: Bucket, source: Path) -> None:
    key = b"0123456789abcdefghijklmnopqrstuv"
    (sterna.home / "key").write_bytes(key)
    (sterna.home / "key").chmod(0o600)
    assert sterna("plan", source, bucket.url("p"), "-o", "plan", "--sse-c-key-file", "key").code == 0
    plain = json.dumps(_lines(sterna.home / "plan"))
    assert "sse_c_key_file" in plain
    for secret in (key.decode(), "MDEyMzQ1Njc4", *sterna.env.get("AWS_SECRET_ACCESS_KEY", "-no-").split()):
        assert secret not in plain
    refused = sterna("apply", "plan")
    assert refused.code == 2
    assert "add it" in refused.err


def _lines(path: Path) -> list[str]:
    from sterna.planning.frames import blocks

    data = path.read_bytes()
    return [line for block in blocks(iter([data])) for line in block.decode().splitlines()]


def test_a_destination_folder_that_was_replaced_is_another(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("p/a", b"one")
    target = tmp_path / "target"
    target.mkdir()
    assert sterna("plan", bucket.url("p"), target, "-o", "plan").code == 0
    target.rename(tmp_path / "elsewhere")
    target.mkdir()
    done = sterna("apply", "plan")
    assert done.code == 6, done.err
    assert "is not the folder that the plan was made for" in done.err
    assert tree(target) == {}


def test_a_relative_folder_is_the_same_from_another_place(
    sterna: Sterna, bucket: Bucket, source: Path, tmp_path: Path
) -> None:
    assert sterna("plan", "source", bucket.url("p"), "-o", "plan", cwd=tmp_path).code == 0
    assert sterna("apply", tmp_path / "plan").code == 0
    assert len(bucket.keys()) == 4


def test_show_as_json_is_one_document_and_with_v_a_line_for_each_action(
    sterna: Sterna, bucket: Bucket, source: Path, tmp_path: Path
) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text(
        'provider = "Ours"\nsource = "a contract"\ndate = "2026-01-01"\ncurrency = "EUR"\nlist_per_1000 = 1\n'
        "[storage.STANDARD]\nper_gb_month = 1\nwrite_per_1000 = 1000\nread_per_1000 = 0\n"
    )
    bucket.put("p/old", b"old")
    assert sterna("plan", source, bucket.url("p"), "-o", "plan", "--delete").code == 0
    (one,) = map(json.loads, sterna("plan", "show", "plan", "--json", "--prices", prices).out.splitlines())
    assert one["type"] == "plan"
    assert one["summary"]["verbs"] == {"upload": {"actions": 4, "bytes": 3010}, "delete": {"actions": 1, "bytes": 3}}
    assert one["estimate"]["requests"] == {"put": 4, "list": 2, "delete": 1}
    assert one["estimate"]["cost"] == pytest.approx(4.002)
    assert "cost, estimate: 4.00 EUR" in sterna("plan", "show", "plan", "--prices", prices).out
    lines = list(map(json.loads, sterna("plan", "show", "plan", "--json", "-v").out.splitlines()))
    assert [(line["type"], line.get("verb"), line.get("key")) for line in lines] == [
        ("action", "upload", "a.txt"),
        ("action", "upload", "b/c.txt"),
        ("action", "upload", "b/d.txt"),
        ("action", "upload", "e.bin"),
        ("action", "delete", "old"),
        ("plan", None, None),
    ]


def test_a_plan_that_is_interrupted_leaves_no_file(
    sterna: Sterna, front: Front, bucket: Bucket, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    stall = front.fault("ListV2", nth="always", kind=f.StallBeforeRequest())
    started = sterna.start("plan", source, bucket.url("p"), "-o", tmp_path / "out" / "plan")
    stall.wait_until_hit()
    started.send(signal.SIGINT)
    assert started.wait(10).code == 130
    assert list((tmp_path / "out").iterdir()) == []
