"""Files that are whole before they have their names."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
import random
import resource
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sterna.model.entry import Entry
from sterna.model.errors import DiskFull, LocalFault, NotProven, ObjectChanged, Refused, SternaError
from sterna.stores.draft import Draft, look_then_rename, write_small
from sterna.stores.folder import Folder
from sterna.stores.names import is_temporary

MTIME_NS = 1_600_000_000_123_456_789


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder.open(tmp_path / "root", create=True)


@contextlib.contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def _descriptors() -> int:
    """How many this process holds, without those that wait in garbage."""
    gc.collect()
    return len(os.listdir("/dev/fd"))


def _large(folder: Folder, key: str, data: bytes) -> Draft:
    draft = folder.create(key, len(data))
    draft.write_at(data, 0)
    draft.seal(MTIME_NS)
    return draft


def _small(folder: Folder, key: str, data: bytes) -> Draft:
    return write_small(folder, key, data, MTIME_NS)


def _unnamed(folder: Folder, key: str, data: bytes) -> Draft:
    return write_small(folder, key, data, MTIME_NS, replaces=False)


every_way = pytest.mark.parametrize("written", [_large, _small, _unnamed])
Written = Callable[[Folder, str, bytes], Draft]


def _names(folder: Folder) -> list[str]:
    return sorted(str(path.relative_to(folder.path)) for path in folder.path.rglob("*") if not path.is_dir())


def _listed(folder: Folder, key: str) -> Entry:
    found = folder.look(key)
    assert found is not None
    return found


@every_way
@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_H46_a_file_has_its_name_only_when_it_is_whole(folder: Folder, written: Written, size: int) -> None:
    data = random.Random(size).randbytes(size)
    draft = written(folder, "a/b", data)
    names = _names(folder)
    assert len(names) == (written is not _unnamed or not hasattr(os, "O_TMPFILE"))
    assert all(is_temporary(name.removeprefix("a/")) for name in names)
    assert "sealed" in repr(draft)
    draft.publish(None)
    assert _names(folder) == ["a/b"]
    assert (folder.path / "a/b").read_bytes() == data
    found = folder.look("a/b")
    assert found is not None
    assert (found.key, found.size, found.mtime_ns) == ("a/b", size, MTIME_NS)
    assert draft.discard()
    assert _names(folder) == ["a/b"]


@every_way
def test_H51_the_file_that_was_listed_is_replaced_in_one_step(folder: Folder, written: Written) -> None:
    (folder.path / "f").write_bytes(b"old")
    inode = (folder.path / "f").stat().st_ino
    draft = written(folder, "f", b"new one")
    assert (folder.path / "f").read_bytes() == b"old"
    draft.publish(_listed(folder, "f"))
    assert (folder.path / "f").read_bytes() == b"new one"
    assert (folder.path / "f").stat().st_ino != inode
    assert _names(folder) == ["f"]


@every_way
@pytest.mark.parametrize("expected", [None, Entry("f", 3, 5), Entry("f", 4, 6)])
def test_H51_a_file_that_somebody_else_wrote_meanwhile_is_kept(
    folder: Folder, written: Written, expected: Entry | None
) -> None:
    draft = written(folder, "f", b"ours")
    (folder.path / "f").write_bytes(b"them")
    os.utime(folder.path / "f", ns=(5, 5))
    with pytest.raises(ObjectChanged, match=f"{folder.path}/f .*since it was listed; it is left as it is"):
        draft.publish(expected)
    assert (folder.path / "f").read_bytes() == b"them"
    assert _names(folder) == ["f"]


@every_way
@pytest.mark.parametrize("expected", [None, Entry("f", 3, 5)])
@pytest.mark.parametrize("kind", ["folder", "link", "link to nothing", "pipe"])
def test_H67_what_is_no_file_is_never_replaced(
    folder: Folder, tmp_path: Path, written: Written, expected: Entry | None, kind: str
) -> None:
    draft = written(folder, "f", b"ours")
    path = folder.path / "f"
    match kind:
        case "folder":
            path.mkdir()
        case "link":
            (tmp_path / "outside").write_bytes(b"canary")
            path.symlink_to(tmp_path / "outside")
        case "link to nothing":
            path.symlink_to(tmp_path / "nothing")
        case "pipe":
            os.mkfifo(path)
    before = path.lstat()
    with pytest.raises(Refused, match=f"{path} is a "):
        draft.publish(expected)
    assert path.lstat() == before
    assert [name for name in os.listdir(folder.path) if name != "f"] == []
    assert not (tmp_path / "nothing").exists()


def test_a_file_that_was_to_be_replaced_and_is_gone_is_written_all_the_same(folder: Folder) -> None:
    write_small(folder, "f", b"new").publish(Entry("f", 3, 5))
    assert (folder.path / "f").read_bytes() == b"new"


@every_way
def test_H62_a_folder_that_was_moved_away_meanwhile_fails_by_name(folder: Folder, written: Written) -> None:
    draft = written(folder, "a/f", b"data")
    (folder.path / "a").rename(folder.path / "b")
    folder.forget()
    with pytest.raises(SternaError, match=r"root/a.* vanished|moved away"):
        draft.publish(None)


def test_parts_come_in_any_order_and_from_several_threads(folder: Folder) -> None:
    data = random.Random(1).randbytes(1_000_000)
    starts = list(range(0, len(data), 65_536))
    random.Random(2).shuffle(starts)
    with folder.create("f", len(data)) as draft:

        def work(part: int) -> None:
            for start in starts[part::3]:
                draft.write_at(memoryview(data)[start : start + 65_536], start)

        threads = [threading.Thread(target=work, args=(part,)) for part in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        draft.begin_writeback(0, len(data))
        assert draft.missing() == []
        draft.seal(None)
        draft.publish(None)
    assert (folder.path / "f").read_bytes() == data


def test_H46_a_part_that_is_missing_is_noticed_before_the_file_gets_its_name(folder: Folder) -> None:
    with folder.create("f", 10) as draft:
        draft.write_at(b"89", 8)
        draft.write_at(b"012", 0)
        assert draft.missing() == [(3, 8)]
        with pytest.raises(NotProven, match="bytes 3 to 8 did not come"):
            draft.seal(None)
        with pytest.raises(RuntimeError, match="must be sealed"):
            draft.publish(None)
        draft.write_at(b"34567", 3)
        draft.seal(None)
        draft.publish(None)
    assert (folder.path / "f").read_bytes() == b"0123456789"


def test_H46_bytes_beyond_the_end_are_noticed(folder: Folder) -> None:
    with folder.create("f", 3) as draft:
        draft.write_at(b"0123", 0)
        with pytest.raises(NotProven, match="has 4 bytes on disk and 3 were sent"):
            draft.seal(None)
    assert _names(folder) == []


def test_a_file_of_unknown_size_ends_where_it_ends(folder: Folder) -> None:
    with folder.create("f", None) as draft:
        draft.write_at(b"0123", 0)
        draft.write_at(b"45", 4)
        draft.seal(None)
        draft.publish(None)
    assert draft.size == 6


def test_H47_reserved_room_is_never_read_as_zeros(folder: Folder) -> None:
    with folder.create("f", 1_000_000) as draft:
        draft.preallocate(1_000_000)
        draft.write_at(b"only this", 0)
        assert (folder.path / _names(folder)[0]).read_bytes() == b"only this"
        with pytest.raises(NotProven):
            draft.seal(None)
    assert _names(folder) == []


def test_H49_reserving_more_than_there_is_says_that_the_disk_is_full(folder: Folder) -> None:
    with folder.create("f", 1 << 46) as draft, contextlib.suppress(LocalFault):
        draft.preallocate(1 << 46)  # beyond ext4's largest file too; tmpfs and ext4 say no, others reserve nothing
        assert draft.missing() == [(0, 1 << 46)]
    assert _names(folder) == []


def test_H52_the_time_is_set_when_all_is_written_and_not_before(folder: Folder) -> None:
    with folder.create("f", 4) as draft:
        draft.write_at(b"data", 0)
        assert (folder.path / _names(folder)[0]).stat().st_mtime_ns > MTIME_NS
        draft.seal(MTIME_NS)
        assert (folder.path / _names(folder)[0]).stat().st_mtime_ns == MTIME_NS
        draft.publish(None)


@pytest.mark.parametrize("mtime_ns", [10**40, -(10**40)])
def test_a_time_that_no_file_can_have_is_refused(folder: Folder, mtime_ns: int) -> None:
    with pytest.raises(Refused, match="modification time"):
        write_small(folder, "f", b"data", mtime_ns)
    with folder.create("f", 0) as draft, pytest.raises(Refused, match="modification time"):
        draft.seal(mtime_ns)
    assert _names(folder) == []


@every_way
@pytest.mark.parametrize("mask", [0, 0o022, 0o077])
def test_H53_files_are_as_open_as_the_umask_allows(folder: Folder, written: Written, mask: int) -> None:
    with umask(mask):
        written(folder, "f", b"data").publish(None)
    assert stat.S_IMODE((folder.path / "f").stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize("mode", [0o4777, 0o2777, 0o1777, 0o7777])
def test_H53_no_file_gets_special_rights(folder: Folder, mode: int) -> None:
    with umask(0):
        write_small(folder, "small", b"data", None, mode).publish(None)
        with folder.create("large", 0) as draft:
            assert stat.S_IMODE((folder.path / draft.temporary).stat().st_mode) == 0o600
            draft.seal(None, mode)
            draft.publish(None)
    for name in ("small", "large"):
        assert stat.S_IMODE((folder.path / name).stat().st_mode) == 0o777


@every_way
def test_H49_a_file_that_is_too_large_for_its_system_fails_and_leaves_the_old_one(
    folder: Folder, written: Written
) -> None:
    (folder.path / "f").write_bytes(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(LocalFault, match=f"Cannot write {folder.path}/f: it is larger than its file system"):
            written(folder, "f", bytes(100_000)).publish(_listed(folder, "f"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (folder.path / "f").read_bytes() == b"old"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small disk")
@every_way
def test_H49_a_full_disk_is_named_and_leaves_the_old_file_and_nothing_else(tmp_path: Path, written: Written) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("this system does not let us mount")
    try:
        (place / "f").write_bytes(b"old")
        folder = Folder.open(place)
        draft = None
        with pytest.raises(DiskFull, match="no space is left on its disk; make room"):
            if written is _large:
                draft = folder.create("f", 100_000)
                draft.write_at(bytes(100_000), 0)
            else:
                written(folder, "f", bytes(100_000))
        if draft is not None:
            with pytest.raises(DiskFull):
                draft.preallocate(100_000)
            assert draft.discard()
        assert _names(folder) == ["f"]
        assert (place / "f").read_bytes() == b"old"
        folder.close()
        del folder, draft
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_H48_a_discarded_draft_leaves_nothing_and_may_be_discarded_twice(folder: Folder) -> None:
    draft = folder.create("a/f", 10)
    draft.write_at(b"data", 0)
    assert draft.discard()
    assert draft.discard()
    sealed = write_small(folder, "a/f", b"data")
    assert sealed.discard()
    with pytest.raises(RuntimeError, match="abandoned"), folder.create("a/f", 10):
        raise RuntimeError("abandoned")
    assert _names(folder) == []
    assert "discarded" in repr(draft)


def test_H71_a_taken_name_is_noticed_where_the_system_cannot_refuse_by_itself(folder: Folder) -> None:
    fd = folder.root.fd
    (folder.path / "old").write_bytes(b"old")
    (folder.path / "taken").write_bytes(b"taken")
    assert not look_then_rename(fd, "old", "taken")
    assert (folder.path / "taken").read_bytes() == b"taken"
    assert look_then_rename(fd, "old", "free")
    assert _names(folder) == ["free", "taken"]


def test_H71_two_names_that_are_one_here_are_both_named(folder: Folder) -> None:
    # No file system that ignores case is at hand: a hard link stands for the other spelling of one file.
    (folder.path / "README").write_bytes(b"theirs")
    os.link(folder.path / "README", folder.path / "Readme")
    draft = write_small(folder, "Readme", b"ours")
    with pytest.raises((Refused, ObjectChanged), match=r"Readme"):
        draft.publish(None)
    assert (folder.path / "README").read_bytes() == b"theirs"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors by /proc")
def test_sealed_drafts_hold_no_descriptors(folder: Folder) -> None:
    before = _descriptors()
    drafts = [write_small(folder, f"f{number}", b"x") for number in range(300)]
    assert _descriptors() == before
    for draft in drafts:
        draft.publish(None)
    assert len(_names(folder)) == 300


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="this system has no unnamed files")
def test_unnamed_drafts_hold_a_bounded_number_of_descriptors_and_give_them_back(folder: Folder) -> None:
    before = _descriptors()
    folder._free_places = 5
    for _ in range(2):
        drafts = [_unnamed(folder, f"f{number}", b"data") for number in range(12)]
        assert _descriptors() == before + 5
        assert len(_names(folder)) == 7
        for draft in drafts:
            assert draft.discard()
            assert draft.discard()
        assert _descriptors() == before
    with pytest.raises(Refused):
        write_small(folder, "f", b"data", 10**40, replaces=False)
    with pytest.raises(Refused):
        write_small(folder, "f/../g", b"data", replaces=False)
    (folder.path / "f").write_bytes(b"old")
    _unnamed(folder, "f", b"new").publish(_listed(folder, "f"))
    _unnamed(folder, "g", b"new").publish(None)
    _unnamed(folder, "h", b"new").publish(Entry("h", 1, 1))
    assert folder._free_places == 5
    assert _names(folder) == ["f", "g", "h"]


def test_H21_what_was_written_can_be_read_back_as_its_md5(folder: Folder) -> None:
    data = random.Random(5).randbytes(3_000_000)
    with folder.create("f", len(data)) as draft:
        draft.write_at(data, 0)
        assert draft.md5_hex() == hashlib.md5(data, usedforsecurity=False).hexdigest()


def test_the_modules_are_imported_where_the_calls_of_posix_are_missing() -> None:
    program = """
import os, sys
there = ("O_RDONLY", "O_WRONLY", "O_RDWR", "O_CREAT", "O_EXCL")
for name in [name for name in vars(os) if name.startswith("O_") and name not in there]:
    delattr(os, name)
for name in ("preadv", "pread", "pwrite", "fchmod", "geteuid", "mkfifo", "posix_fallocate"):
    delattr(os, name)
sys.modules["fcntl"] = sys.modules["resource"] = None
sys.platform = "win32"
import sterna.stores.syncing, sterna.stores.walk
"""
    subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": ":".join(sys.path)}, check=True)
