"""A disk that is full, read-only, forbidden or broken: exit 1, a sentence that says what to do, nothing harmed."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Done, Sterna
from tests.e2e.trees import MIB, failures, leftovers, plant, records, summary, tree
from tests.servers.oracle import Bucket

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the faults are made by means of Linux"),
    pytest.mark.usefixtures("front"),  # which makes it one server: what is behind does not matter here
]

LARGE = bytes(range(256)) * 4 * 1024 * 9  # 9 MiB
_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 24, 1, 2  # linux/prctl.h, linux/capability.h
_libc = ctypes.CDLL(None, use_errno=True)


def as_ordinary_user() -> None:
    """Take root's right to pass over permissions away from the program that is about to start."""
    if os.geteuid() == 0:
        for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
            if _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "prctl")


def run(
    sterna: Sterna, *arguments: str | Path, before: Callable[[], None] | None = None, tracer: list[str] | None = None
) -> Done:
    """The command with something done to its process first, or under a tracer."""
    began = time.monotonic()
    done = subprocess.run(
        [*(tracer or []), sys.executable, "-m", "sterna", *map(str, arguments)],
        env=sterna.env,
        cwd=sterna.cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        preexec_fn=before,
        timeout=60,
    )
    out, err = (text.decode(errors="backslashreplace") for text in (done.stdout, done.stderr))
    return Done(done.returncode, out, err, time.monotonic() - began)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 2 MiB."""
    where = tmp_path / "disk"
    where.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", where], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield where
    subprocess.run(["umount", "-l", where], check=True)


@pytest.mark.parametrize("options", ((), ("--no-fsync",)), ids=("durable", "no fsync"))
def test_a_disk_that_fills_up_stops_the_run_and_keeps_what_was_there_h49(
    sterna: Sterna, bucket: Bucket, small_disk: Path, options: tuple[str, ...]
) -> None:
    for number in range(30):
        bucket.put(f"p/{number:03d}", bytes([number]) * 200_000)
    plant(small_disk, {"029": b"the old good file"})
    done = sterna("--json", "sync", *options, bucket.url("p"), small_disk)
    assert done.code == 1
    said = summary(done)
    assert said["failed"] >= 1
    assert said["downloaded"] + said["failed"] + said["left"] == 30
    assert all("no space is left" in reason and "make room" in reason for reason in failures(done).values())
    there = tree(small_disk)
    assert there.pop("029") == b"the old good file"
    assert there == {name: bytes([int(name)]) * 200_000 for name in there}
    assert len(there) == said["downloaded"]


def test_a_large_object_that_does_not_fit_fails_before_it_is_fetched_h49(
    sterna: Sterna, bucket: Bucket, small_disk: Path
) -> None:
    bucket.put("p/large", LARGE)
    done = sterna("--json", "sync", bucket.url("p"), small_disk)
    assert done.code == 1
    assert "no space is left" in failures(done)["large"]
    assert summary(done)["moved_bytes"] == 0
    assert tree(small_disk) == {}


def test_room_made_the_same_command_goes_on_h49(sterna: Sterna, bucket: Bucket, small_disk: Path) -> None:
    bucket.put("p/a", b"a" * 1_500_000)
    plant(small_disk, {"ballast": bytes(1_500_000)})
    assert sterna("sync", bucket.url("p"), small_disk).code == 1
    (small_disk / "ballast").unlink()
    assert sterna("sync", bucket.url("p"), small_disk).code == 0
    assert tree(small_disk) == {"a": b"a" * 1_500_000}


def test_a_read_only_disk_is_named_h50(sterna: Sterna, bucket: Bucket, small_disk: Path) -> None:
    bucket.put("p/a", b"new and longer")
    bucket.put("p/large", LARGE)
    plant(small_disk, {"a": b"old"})
    if subprocess.run(["mount", "-o", "remount,ro", small_disk], capture_output=True).returncode:
        pytest.skip("a disk cannot be made read-only here")
    done = sterna("--json", "sync", bucket.url("p"), small_disk)
    assert done.code == 1
    assert sorted(failures(done)) == ["a", "large"]
    assert all("read-only" in reason for reason in failures(done).values())
    assert tree(small_disk) == {"a": b"old"}


# uvloop 0.23 crashes where a transport is aborted inside get_buffer(), which wire/connection.py does for a sink's error.


@pytest.mark.parametrize("size", (100_000, len(LARGE)), ids=("small", "large"))
def test_a_file_beyond_the_limit_of_its_size_is_named_h49(
    sterna: Sterna, bucket: Bucket, tmp_path: Path, size: int
) -> None:
    bucket.put("p/a", LARGE[:size])
    bucket.put("p/b", b"fits")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))

    done = run(sterna, "--json", "sync", bucket.url("p"), tmp_path / "target", before=limit)
    assert done.code == 1
    assert "ulimit -f" in failures(done)["a"]
    assert tree(tmp_path / "target") == {"b": b"fits"}


def test_few_descriptors_are_enough(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    files = {f"{number % 50}/{number}": b"%d" % number for number in range(200)}
    for name, data in files.items():
        bucket.put(f"p/{name}", data)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))

    done = run(sterna, "--json", "sync", bucket.url("p"), tmp_path / "target", before=limit)
    assert (done.code, failures(done)) == (0, {})
    assert tree(tmp_path / "target") == files


@pytest.mark.parametrize("size", (5, len(LARGE)), ids=("small", "large"))
def test_a_folder_in_the_way_of_a_file_and_a_file_in_the_way_of_a_folder_are_named_h67(
    sterna: Sterna, bucket: Bucket, tmp_path: Path, size: int
) -> None:
    bucket.put("p/name", LARGE[:size])
    bucket.put("p/file/below", LARGE[:size])
    target = plant(tmp_path / "target", {"name/inside": b"old", "file": b"old"})
    done = sterna("--json", "sync", bucket.url("p"), target)
    assert done.code == 1
    assert "is a folder" in failures(done)["name"]
    assert "is a file" in failures(done)["file/below"]
    assert all("move it away" in reason for reason in failures(done).values())
    assert tree(target) == {"name/inside": b"old", "file": b"old"}


@pytest.mark.parametrize("size", (5, len(LARGE)), ids=("small", "large"))
def test_a_folder_that_must_not_be_written_is_named_and_the_rest_arrives_h50(
    sterna: Sterna, bucket: Bucket, tmp_path: Path, size: int
) -> None:
    bucket.put("p/locked/a", LARGE[:size])
    bucket.put("p/open/a", b"2")
    target = plant(tmp_path / "target", {"locked/there": b"old", "open/there": b"old"})
    (target / "locked").chmod(0o500)
    try:
        done = run(sterna, "--json", "sync", bucket.url("p"), target, before=as_ordinary_user)
    finally:
        (target / "locked").chmod(0o700)
    assert done.code == 1
    assert list(failures(done)) == ["locked/a"]
    assert "permission denied; change its permissions" in failures(done)["locked/a"]
    assert tree(target) == {"locked/there": b"old", "open/there": b"old", "open/a": b"2"}


def test_a_destination_that_cannot_be_listed_is_named_h50(sterna: Sterna, bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("p/closed/a", b"newer")
    bucket.put("p/good", b"1")
    target = plant(tmp_path / "target", {"closed/a": b"old"})
    (target / "closed").chmod(0)
    try:
        done = run(sterna, "--json", "sync", bucket.url("p"), target, before=as_ordinary_user)
    finally:
        (target / "closed").chmod(0o700)
    assert done.code == 1
    assert list(failures(done)) == ["closed/a"]
    assert tree(target) == {"closed/a": b"old", "good": b"1"}


def test_a_destination_root_that_is_closed_or_a_file_ends_the_run_with_a_sentence_h50(
    sterna: Sterna, bucket: Bucket, tmp_path: Path
) -> None:
    bucket.put("p/a", b"1")
    target = plant(tmp_path / "target", {"there": b"old"})
    target.chmod(0)
    try:
        done = run(sterna, "sync", bucket.url("p"), target, before=as_ordinary_user)
    finally:
        target.chmod(0o700)
    assert done.code in (1, 4)
    assert "permission denied" in done.err
    done = sterna("sync", bucket.url("p"), target / "there")
    assert done.code == 2
    assert "is not a folder" in done.err
    assert tree(target) == {"there": b"old"}


def test_a_source_file_that_cannot_be_read_is_named_and_the_rest_goes_up_h50(
    sterna: Sterna, bucket: Bucket, tmp_path: Path
) -> None:
    source = plant(tmp_path / "source", {"a": b"1", "closed": b"2", "folder/x": b"3", "large": LARGE, "z": b"4"})
    for name in ("closed", "folder", "large"):
        (source / name).chmod(0)
    try:
        done = run(sterna, "--json", "sync", source, bucket.url("p"), before=as_ordinary_user)
    finally:
        (source / "folder").chmod(0o700)
    assert done.code == 1
    assert sorted(failures(done)) == ["closed", "folder/", "large"]
    assert all("permission denied" in reason for reason in failures(done).values())
    assert bucket.keys() == ["p/a", "p/z"]


# Errors of single system calls


@pytest.fixture(scope="session")
def strace() -> str:
    program = shutil.which("strace")
    if program is None:
        pytest.skip("strace is not installed")
    probe = subprocess.run(
        [program, "-f", "-o", "/dev/null", "-e", "inject=syncfs:error=EIO", "true"], capture_output=True
    )
    if probe.returncode:
        pytest.skip(f"strace cannot trace here: {probe.stderr.decode().strip()[:200]}")
    return program


def injecting(strace: str, call: str, code: str, when: str = "1+") -> list[str]:
    inject = f"inject={call}:error={code}:when={when}"
    return [strace, "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject]


FAULTS = [
    ("small", "linkat", "EIO"),
    ("small", "linkat", "EDQUOT"),
    ("small", "utimensat", "EIO"),
    ("small", "syncfs", "EIO"),
    ("small", "syncfs", "ENOSPC"),
    pytest.param("large", "pwrite64", "EIO"),
    pytest.param("large", "pwrite64", "ENOSPC"),
    pytest.param("large", "pwrite64", "EDQUOT"),
    ("large", "fallocate", "ENOSPC"),
    ("large", "fchmod", "EIO"),
    ("large", "utimensat", "EPERM"),
    ("large", "syncfs", "EIO"),
    ("large", "renameat2", "EIO"),
]


@pytest.mark.parametrize("kind, call, code", FAULTS)
def test_an_error_of_any_call_that_writes_fails_the_object_with_advice_h50(
    sterna: Sterna, bucket: Bucket, tmp_path: Path, strace: str, kind: str, call: str, code: str
) -> None:
    bucket.put("p/a", LARGE if kind == "large" else b"new")
    target = plant(tmp_path / "target", {"b": b"old"})
    done = run(sterna, "--json", "sync", bucket.url("p"), target, tracer=injecting(strace, call, code))
    assert done.code == 1, done.err
    assert [record["error_code"] for record in records(done) if record["status"] == "failed"] == [code]
    advice = {
        "EIO": "I/O error; look at the system log",
        "ENOSPC": "make room",
        "EDQUOT": "quota",
        "EPERM": "does not permit",
    }
    assert advice[code] in failures(done)["a"]
    there = tree(target)
    if call == "syncfs":  # where the flush of the names failed the file is there, and not called done
        there.pop("a", None)
    assert there == {"b": b"old"}
    assert leftovers(target) == []


@pytest.mark.parametrize("is_new", (True, False), ids=("new", "replaced"))
@pytest.mark.parametrize("kind", ("small", "large"))
def test_the_bytes_are_on_disk_before_the_name_and_the_name_before_it_is_called_done_h47(
    sterna: Sterna, bucket: Bucket, tmp_path: Path, strace: str, kind: str, is_new: bool
) -> None:
    bucket.put("p/a", LARGE if kind == "large" else b"new")
    target = plant(tmp_path / "target", {} if is_new else {"a": b"old one"})
    calls = {"pwrite64", "linkat", "rename", "renameat", "renameat2", "syncfs", "fsync"}
    log = tmp_path / "strace"
    tracer = [strace, "-f", "--seccomp-bpf", "-qq", "-o", str(log), "-e", f"trace={','.join(sorted(calls))}"]
    assert run(sterna, "sync", bucket.url("p"), target, "--no-journal", tracer=tracer).code == 0
    made = [word.split("(")[0] for word in log.read_text().split() if word.split("(")[0] in calls and "(" in word]
    names = [at for at, call in enumerate(made) if call.startswith(("rename", "linkat"))]
    flushes = [at for at, call in enumerate(made) if call.endswith("sync") or call == "syncfs"]
    writes = [at for at, call in enumerate(made) if call == "pwrite64"]
    assert any(max(writes, default=-1) < at < names[-1] for at in flushes), made
    assert flushes[-1] > names[-1], made

    log.unlink()
    (target / "a").write_bytes(b"another one")
    assert run(sterna, "sync", "--no-fsync", "--no-journal", bucket.url("p"), target, tracer=tracer).code == 0
    assert "sync" not in log.read_text()


@pytest.mark.parametrize("kind", ("small", "large"))
def test_an_error_while_an_old_file_is_replaced_leaves_the_old_one_h50_h51(
    sterna: Sterna, bucket: Bucket, tmp_path: Path, strace: str, kind: str
) -> None:
    bucket.put("p/a", LARGE if kind == "large" else b"new and longer")
    target = plant(tmp_path / "target", {"a": b"the old good file"})
    calls = "rename,renameat,renameat2"
    done = run(sterna, "--json", "sync", bucket.url("p"), target, tracer=injecting(strace, calls, "EIO"))
    assert done.code == 1, done.err
    assert "I/O error" in failures(done)["a"]
    assert tree(target) == {"a": b"the old good file"}


def test_a_flush_that_failed_is_not_called_good_by_a_second_one_h50(
    sterna: Sterna, bucket: Bucket, tmp_path: Path, strace: str
) -> None:
    for name in "abcdef":
        bucket.put(f"p/{name}", b"1")
    tracer = injecting(strace, "syncfs", "EIO", when="1")
    done = run(sterna, "--json", "sync", bucket.url("p"), tmp_path / "target", tracer=tracer)
    assert done.code == 1
    assert summary(done)["downloaded"] == 0
    assert len(failures(done)) == 6
    assert errno.errorcode[errno.EIO] in {record["error_code"] for record in records(done)}


def test_a_file_that_cannot_be_read_to_its_end_is_not_uploaded_h50(
    sterna: Sterna, bucket: Bucket, tmp_path: Path, strace: str
) -> None:
    source = plant(tmp_path / "source", {"large": LARGE[: 8 * MIB + 1]})
    calls = "read,pread64,preadv,preadv2,sendfile"
    tracer = [*injecting(strace, calls, "EIO"), "-P", str(source / "large")]
    done = run(sterna, "--json", "sync", source, bucket.url("p"), tracer=tracer)
    assert done.code == 1
    assert "I/O error" in failures(done)["large"]
    assert bucket.keys() == []
    assert bucket.uploads() == []
