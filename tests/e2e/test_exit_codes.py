"""Each exit code as a shell sees it: the number, one sentence that says what to do, and no traceback."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import Done, Sterna
from tests.faults import front as f
from tests.faults.front import Front
from tests.servers.oracle import Bucket
from tests.servers.process import free_ports
from tests.servers.server import Server


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    for name in ("a.txt", "b.txt", "c.txt"):
        (folder / name).write_text(f"the file {name}\n")
    return folder


def says(done: Done, *words: str) -> bool:
    """All of the words, on either stream, and no traceback; fails with what was said instead."""
    said = done.out + done.err
    assert "Traceback" not in said, said
    for one in words:
        assert one in said, said
    return True


def test_0_everything_is_done_and_proved(sterna: Sterna, bucket: Bucket, source: Path) -> None:
    done = sterna("sync", source, bucket.url("p"))
    assert done.code == 0, done.err
    assert done.verdict.startswith("All 3 objects are in place")
    assert bucket.contents("p/") == {f"p/{path.name}": path.read_bytes() for path in source.iterdir()}
    again = sterna("sync", source, bucket.url("p"))
    assert again.code == 0
    assert says(again, "3 unchanged")


def test_1_H04_a_file_that_was_taken_and_not_stored(
    sterna: Sterna, front: Front, bucket: Bucket, source: Path, tmp_path: Path
) -> None:
    lie = front.fault("Put", key="p/b.txt", nth="always", kind=f.Lie())
    done = sterna("--log-file", tmp_path / "log", "sync", source, bucket.url("p"))
    assert done.code == 1
    assert done.verdict.startswith("INCOMPLETE")
    assert says(done, "b.txt", "does not have it")
    assert "exit code 1" in (tmp_path / "log").read_text()
    assert bucket.keys() == ["p/a.txt", "p/c.txt"]
    front.remove(lie)
    assert sterna("sync", source, bucket.url("p")).code == 0
    assert says(sterna("sync", source, bucket.url("p")), "3 unchanged")


def test_1_H02_a_large_file_whose_parts_were_never_joined(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path
) -> None:
    (tmp_path / "big.bin").write_bytes(bytes(9 << 20))
    front.fault(("CreateMPU", "UploadPart"), nth="always", kind=f.IgnoreChecksums())
    front.fault("Complete", nth="always", kind=f.Lie())
    done = sterna("copy", tmp_path / "big.bin", bucket.url("p/"), "--part-size", "5MiB")
    assert done.code == 1
    assert says(done, "big.bin", "does not have it")
    assert bucket.keys() == []


@pytest.mark.parametrize(
    "arguments", [["--no-such-option"], ["--part-size", "a lot"], ["--workers", "0"], ["--endpoint-url", "ftp://x"]]
)
def test_2_a_command_line_that_cannot_be_right(sterna: Sterna, source: Path, arguments: list[str]) -> None:
    done = sterna("copy", *arguments, source, "s3://bucket/p")
    assert done.code == 2
    assert says(done)
    assert done.err.strip()


def test_2_a_destination_bucket_that_does_not_exist(sterna: Sterna, server: Server, source: Path) -> None:
    done = sterna("sync", source, "s3://there-is-no-such-bucket/p")
    assert done.code == 2, done.err
    assert says(done, "there-is-no-such-bucket does not exist", "sterna mb s3://there-is-no-such-bucket")


def test_4_a_source_bucket_that_does_not_exist(sterna: Sterna, server: Server, tmp_path: Path) -> None:
    done = sterna("sync", "s3://there-is-no-such-bucket/p", tmp_path / "target")
    assert done.code == 4, done.err
    assert says(done, "there-is-no-such-bucket does not exist")


def test_4_a_source_listing_that_contradicts_itself(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path
) -> None:
    bucket.put("p/a", b"one")
    bucket.put("p/b", b"two")
    front.fault("ListV2", nth="always", kind=f.TruncatedWithoutToken())
    done = sterna("sync", bucket.url("p"), tmp_path / "target")
    assert done.code == 4, done.err
    assert says(done, "it is not complete")


def test_4_a_folder_that_does_not_exist(sterna: Sterna, server: Server, tmp_path: Path) -> None:
    done = sterna("sync", tmp_path / "nowhere", "s3://bucket-of-mine/p")
    assert done.code == 4, done.err
    assert says(done, "nowhere")


def test_4_a_file_where_a_folder_is_needed(sterna: Sterna, server: Server, source: Path) -> None:
    for arguments in (["sync"], ["plan", "-o", str(source / "plan")], ["why", "a.txt"]):
        done = sterna(*arguments, source / "a.txt", "s3://bucket-of-mine/p")
        assert done.code == 4, done.err
        assert says(done, "a.txt is a file, not a folder; use sterna copy for one file.")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
def test_2_a_destination_folder_that_cannot_be_made(sterna: Sterna, bucket: Bucket) -> None:
    bucket.put("p/a", b"a")
    done = sterna("sync", bucket.url("p"), "/proc/x")
    assert done.code == 2, done.err
    assert says(done, "The destination /proc/x cannot be made")


def test_2_a_bucket_whose_name_cannot_be_one(sterna: Sterna, server: Server, source: Path) -> None:
    done = sterna("sync", source, "s3://Bad_Bucket/p")
    assert done.code == 2, done.err
    assert says(done, "Bad_Bucket does not exist, and that is no name for a bucket")
    assert "sterna mb" not in done.err


def test_3_no_credentials(sterna: Sterna, server: Server, source: Path) -> None:
    none = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
    done = sterna("sync", source, "s3://bucket-of-mine/p", env=none)
    assert done.code == 3, done.err
    assert says(done, "redentials")


@pytest.mark.parametrize("operation", ["ListV2", "Put"])
def test_3_everything_is_denied(sterna: Sterna, front: Front, bucket: Bucket, source: Path, operation: str) -> None:
    front.fault(operation, nth="always", kind=f.ACCESS_DENIED)
    done = sterna("sync", source, bucket.url("p"))
    assert done.code == 3, done.err
    assert says(done, "denied", "allow s3:")


def test_3_a_credential_process_that_dies(sterna: Sterna, front: Front, bucket: Bucket, source: Path) -> None:
    config = sterna.home / "config"
    config.write_text(f"[profile vault]\ncredential_process = {sys.executable} -c 'import sys; sys.exit(\"sealed\")'\n")
    env = {"AWS_CONFIG_FILE": str(config), "AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
    done = sterna("sync", "--profile", "vault", source, bucket.url("p"), env=env)
    assert done.code == 3, done.err
    assert says(done, "vault")
    assert front.count() == 0


def test_1_an_endpoint_where_nobody_listens(sterna: Sterna, source: Path) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    url = f"http://127.0.0.1:{free_ports()}"
    began = time.monotonic()
    done = sterna("sync", "--endpoint-url", url, source, "s3://bucket-of-mine/p", env=keys)
    assert done.code == 1, done.err
    assert time.monotonic() - began < 10
    assert says(done, "cannot be reached", "check --endpoint-url")


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_130_a_signal_leaves_what_the_same_command_takes_up(
    sterna: Sterna, front: Front, bucket: Bucket, source: Path, number: signal.Signals, code: int
) -> None:
    stall = front.fault("Put", key="p/b.txt", nth="always", kind=f.StallBeforeRequest())
    started = sterna.start("sync", source, bucket.url("p"))
    stall.wait_until_hit()
    started.send(number)
    done = started.wait(5)
    assert done.code == code, done.err
    assert says(done, "INTERRUPTED", "the same command goes on from there")
    front.remove(stall)
    assert sterna("sync", source, bucket.url("p")).code == 0
    assert bucket.keys() == ["p/a.txt", "p/b.txt", "p/c.txt"]


@pytest.mark.parametrize("size", [10, 9 << 20], ids=["one put", "in parts"])
def test_1_H04_a_stream_that_was_taken_and_not_stored(sterna: Sterna, front: Front, bucket: Bucket, size: int) -> None:
    front.fault(("Put", "CreateMPU", "UploadPart"), nth="always", kind=f.IgnoreChecksums())
    lie = front.fault("Put" if size == 10 else "Complete", nth="always", kind=f.Lie())
    done = sterna("copy", "-", bucket.url("stream"), stdin=bytes(size))
    assert done.code == 1, done.err
    assert says(done, "does not have it")
    assert bucket.keys() == []
    front.remove(lie)
    assert sterna("copy", "-", bucket.url("stream"), stdin=bytes(size)).code == 0
    assert bucket.get("stream") == bytes(size)
