"""The command where it is not at home: descriptors closed or few, its folder deleted, keys with a line end in them."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Done, Sterna
from tests.e2e.test_exit_codes import says
from tests.e2e.trees import MIB, leftovers, plant, tree
from tests.faults.front import Front, IgnoreChecksums, Latency
from tests.servers.oracle import Bucket

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="a shell of Linux and its ulimit")]


def shell(sterna: Sterna, line: str, *arguments: str | Path, cwd: Path | None = None) -> Done:
    """The command by a shell: ``line`` says how, with ``"$@"`` where the command stands."""
    command = [sys.executable, "-m", "sterna", *map(str, arguments)]
    done = subprocess.run(
        ["sh", "-c", line, "sh", *command], env=sterna.env, cwd=cwd or sterna.cwd, capture_output=True, timeout=60
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode(), 0.0)


# Descriptors

CLOSED = ["<&-", ">&- 2>&-", "<&- >&- 2>&-"]


@pytest.mark.parametrize("closed", CLOSED)
def test_H107_no_file_gets_the_number_of_a_closed_standard_descriptor(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path, closed: str
) -> None:
    files = {f"{number}": b"%d" % number * 100 for number in range(20)} | {"large": bytes(9 * MIB)}
    source = plant(tmp_path / "source", files)
    front.fault(("CreateMPU", "UploadPart", "Complete"), nth="always", kind=IgnoreChecksums(), must_hit=False)
    up = shell(sterna, f'"$@" {closed}', "-v", "sync", source, bucket.url("p"))
    assert up.code == 0, up.err
    assert bucket.sizes("p/") == {f"p/{name}": len(data) for name, data in files.items()}
    down = shell(sterna, f'"$@" {closed}', "-v", "sync", bucket.url("p"), tmp_path / "target")
    assert down.code == 0, down.err
    assert tree(tmp_path / "target") == files
    assert tree(source) == files


def test_H107_an_error_has_its_exit_code_where_nobody_can_be_told(sterna: Sterna, front: Front, tmp_path: Path) -> None:
    done = shell(sterna, '"$@" <&- >&- 2>&-', "sync", tmp_path / "nowhere", "s3://bucket-of-mine/p")
    assert (done.code, done.out, done.err) == (4, "", "")
    assert front.count() == 0


@pytest.mark.parametrize("options", [(), ("--no-fsync",)], ids=["durable", "no fsync"])
@pytest.mark.parametrize("most", [48, 64])
def test_H107_few_descriptors_are_enough_for_many_small_objects(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path, options: tuple[str, ...], most: int
) -> None:
    files = {f"{number % 7}/{number}": b"%d" % number for number in range(150)}
    there_and_back(sterna, front, bucket, tmp_path, files, most, *options)


def test_H107_few_descriptors_are_enough_for_large_objects(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path
) -> None:
    files = {f"{number % 7}/{number}": bytes([number]) * (8 * MIB + number) for number in range(1, 17)}
    there_and_back(sterna, front, bucket, tmp_path, files, 48)


def there_and_back(
    sterna: Sterna, front: Front, bucket: Bucket, folder: Path, files: dict[str, bytes], most: int, *options: str
) -> None:
    """Sync with so few descriptors, where the server is slow enough for as many requests at once as are allowed."""
    front.fault(("Put", "UploadPart", "Get", "GetRange"), nth="always", kind=Latency(0.02))
    line = f'ulimit -n {most} && exec "$@"'
    source = plant(folder / "source", files)
    up = shell(sterna, line, "sync", source, bucket.url("p"))
    assert up.code == 0, up.out + up.err
    down = shell(sterna, line, "sync", *options, bucket.url("p"), folder / "target")
    assert down.code == 0, down.out + down.err
    assert tree(folder / "target") == files
    assert leftovers(folder / "target") == []


# A current folder that is no more


@pytest.fixture
def deleted(sterna: Sterna, tmp_path: Path) -> Callable[..., Done]:
    """The command in a folder that is deleted before it starts."""

    def run(*arguments: str | Path) -> Done:
        folder = tmp_path / "gone"
        folder.mkdir(exist_ok=True)
        return shell(sterna, f'rmdir {shlex.quote(str(folder))} && exec "$@"', *arguments, cwd=folder)

    return run


@pytest.mark.parametrize("command", ["sync", "copy"])
def test_H75_a_current_folder_that_was_deleted_is_no_empty_source(
    deleted: Callable[..., Done], front: Front, bucket: Bucket, command: str
) -> None:
    done = deleted(command, ".", bucket.url("p"))
    assert done.code == 4, done.err
    assert says(done, "has been deleted", "change into another")
    assert front.count() == 0 or front.count() == front.count("ListV2")


@pytest.mark.parametrize("name", [".", "f", "sub/f", "./sub/"])
def test_copying_into_a_current_folder_that_was_deleted_is_a_setting_to_change(
    deleted: Callable[..., Done], front: Front, bucket: Bucket, name: str
) -> None:
    bucket.put("p/f", b"x")
    done = deleted("copy", bucket.url("p/f"), name)
    assert done.code == 2, done.err
    assert says(done, "the current folder has been deleted", "change into another")
    assert len(done.err.splitlines()) == 1
    assert front.count(("Get", "GetRange")) == 0


def test_copying_with_whole_paths_needs_no_current_folder(
    deleted: Callable[..., Done], front: Front, bucket: Bucket, tmp_path: Path
) -> None:
    bucket.put("p/f", b"x")
    assert deleted("copy", bucket.url("p/f"), tmp_path / "f").code == 0
    assert (tmp_path / "f").read_bytes() == b"x"
    assert deleted("copy", tmp_path / "f", bucket.url("q/")).code == 0
    assert bucket.get("q/f") == b"x"


# Keys that would be headers


@pytest.mark.parametrize(
    "name, end",
    [
        ("AWS_SESSION_TOKEN", "\r\n"),
        ("AWS_SESSION_TOKEN", "\n"),
        ("AWS_SESSION_TOKEN", "\x1b"),
        ("AWS_ACCESS_KEY_ID", "\r"),
        ("AWS_SECRET_ACCESS_KEY", "\n"),
    ],
)
def test_H96_a_key_with_a_line_end_in_it_is_refused_and_nothing_is_sent(
    sterna: Sterna, front: Front, tmp_path: Path, name: str, end: str
) -> None:
    source = plant(tmp_path / "source", {"a": b"one"})
    done = sterna("sync", source, "s3://bucket-of-mine/p", env={name: f"SECRETWORD{end}x-evil: yes"})
    assert done.code == 2, done.err
    assert says(done, "holds a line end or another control character; copy it anew")
    assert "SECRETWORD" not in done.out + done.err
    assert len(done.err.splitlines()) == 1
    assert front.count() == 0


# Paths that cannot be, and readers that leave

TOO_LONG = "x" * 300


def test_paths_that_cannot_be_looked_at_are_told_in_a_sentence(sterna: Sterna, front: Front, bucket: Bucket) -> None:
    plant(sterna.home / "source", {"a": b"1"})
    bucket.put("object", b"1")
    here, there = sterna.home / "source", bucket.url("p")
    for code, words, *arguments in (
        (4, "too long", "copy", TOO_LONG, there),
        (4, "does not exist", "copy", here / "a" / "b", there),
        (2, "too long", "copy", bucket.url("object"), TOO_LONG),
        (2, "too long", "copy", bucket.url("object"), f"{here}/{TOO_LONG}/b"),
        (1, "cannot be looked at", "check", TOO_LONG),
        (2, "no regular file", "plan", here, there, "-o", "."),
        (2, "no regular file", "plan", here, there, "-o", "/"),
        (2, "does not exist", "plan", here, there, "-o", here / "none" / "plan"),
        (2, "no such path", "plan", here, there, "-o", here / "a" / "plan"),
        (2, "no such path", "plan", here, there, "-o", "plan", "--prices", "nosuch"),
        (2, "no such path", "apply", "nosuch.plan"),
        (2, "no such path", "apply", here / "a" / "plan"),
        (2, "no such path", "plan", "show", "nosuch.plan"),
    ):
        done = sterna(*arguments)
        said = done.out + done.err
        assert done.code == code, (arguments, said)
        assert "not foreseen" not in said, (arguments, said)
        assert "vanished" not in said, (arguments, said)
        assert words in said, (arguments, said)
    assert bucket.keys() == ["object"]
    assert tree(sterna.home / "source") == {"a": b"1"}


def test_a_list_from_a_closed_standard_input_is_a_setting_to_change(
    sterna: Sterna, front: Front, bucket: Bucket
) -> None:
    plant(sterna.home / "source", {"a": b"1"})
    for option in ("--files-from", "--filter-from"):
        done = shell(sterna, '"$@" <&-', "sync", "source", bucket.url("p"), option, "-")
        assert (done.code, done.out) == (2, "")
        assert f"{option} -: standard input is closed" in done.err


def test_a_reader_that_leaves_changes_nothing_of_what_verify_finds(sterna: Sterna, tmp_path: Path) -> None:
    (tmp_path / "right").mkdir()
    files = {f"{'long' * 20}-{number}": b"" for number in range(3000)}
    left = plant(tmp_path / "left", files)
    for more in ((), ("--json",)):
        done = shell(sterna, '{ "$@"; echo "code $?" >&2; } | head -1', *("verify", left, tmp_path / "right"), *more)
        assert done.err == "code 1\n"
        assert done.out.count("\n") == 1
