"""Keys to open files below a root, on real trees, with enemies."""

from __future__ import annotations

import contextlib
import errno
import gc
import itertools
import os
import shutil
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sterna.model.entry import Entry
from sterna.model.errors import (
    DiskFull,
    LocalFault,
    ObjectChanged,
    ObjectGone,
    Refused,
    SourceUnknown,
    SternaError,
    WrongSetting,
)
from sterna.stores.draft import libc, write_small
from sterna.stores.folder import Folder, translate
from sterna.stores.names import temporary_name

LIMIT = 1 << 20


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder.open(tmp_path / "root", create=True)


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A tree outside of the root; whatever happens, it stays as it is (I7)."""
    outside = tmp_path / "outside"
    (outside / "d/e").mkdir(parents=True)
    for name in ("f", "d/f", "d/e/f"):
        (outside / name).write_bytes(b"canary")
    before = _photograph(outside)
    yield outside
    assert _photograph(outside) == before


def _photograph(root: Path) -> list[tuple[str, int, int, bytes]]:
    return [
        (str(path), status.st_mode, status.st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted([root, *root.rglob("*")])
        if (status := path.lstat())
    ]


@contextlib.contextmanager
def as_nobody() -> Iterator[Path]:
    """A folder that anybody can reach, without the rights of root."""
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o777)
        is_root = not os.geteuid()
        if is_root:
            os.seteuid(65534)
        try:
            yield Path(place)
        finally:
            if is_root:
                os.seteuid(0)


def _descriptors() -> int:
    """How many this process holds, without those that wait in garbage."""
    gc.collect()
    return len(os.listdir("/dev/fd"))


def _put(folder: Folder, key: str, data: bytes = b"data") -> None:
    write_small(folder, key, data).publish(None)


# Reading


@pytest.mark.parametrize("size", [0, 1, 4096, 300_000])
def test_a_whole_file_is_read_with_its_identity(folder: Folder, size: int) -> None:
    path = folder.path / "a/b"
    path.parent.mkdir()
    path.write_bytes(os.urandom(size))
    content = folder.read_whole("a/b", LIMIT)
    status = path.stat()
    assert content.data == path.read_bytes()
    found = content.identity
    assert (found.size, found.mtime_ns, found.ctime_ns) == (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    assert (found.inode, found.device) == (status.st_ino, status.st_dev)


def test_H41_a_file_or_folder_that_vanished_is_gone_and_named(folder: Folder) -> None:
    for key in ("nothing", "no/such/folder"):
        with pytest.raises(ObjectGone, match=f"{folder.path}/{key.split('/')[0]}.*vanished"):
            folder.read_whole(key, LIMIT)
        with pytest.raises(ObjectGone):
            folder.open_source(key)
        assert folder.look(key) is None


def test_H41_a_file_that_grew_beyond_what_is_read_at_once_has_changed(folder: Folder) -> None:
    (folder.path / "log").write_bytes(b"x" * 11)
    with pytest.raises(ObjectChanged, match="grew to 11 B since it was listed"):
        folder.read_whole("log", 10)


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs a file that is longer than it says")
def test_H41_a_file_that_is_longer_than_its_length_has_changed() -> None:
    with pytest.raises(ObjectChanged, match="changed while it was read"):
        Folder.open("/proc/self").read_whole("status", LIMIT)


class _Meddling(int):
    """A limit that does something when a size is compared with it: right after the first look at the file."""

    act: Callable[[], object]

    def __lt__(self, other: int) -> bool:
        self.act()
        return int(self) < other


CHANGES: dict[str, Callable[[Path], object]] = {
    "append": lambda path: _write_at(path, b"x", 10),
    "truncate": lambda path: os.truncate(path, 5),
    "rewrite": lambda path: _write_at(path, b"9876543210", 0),
    "rewrite and set the time back": lambda path: os.utime(_write_at(path, b"9876543210", 0), ns=(1, 1)),
    "touch": lambda path: os.utime(path, ns=(2, 2)),
    "chmod": lambda path: path.chmod(0o600),
}


def _write_at(path: Path, data: bytes, offset: int) -> Path:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)
    return path


@pytest.mark.parametrize("change", CHANGES)
def test_H40_a_file_that_changes_while_it_is_read_whole_is_noticed(folder: Folder, change: str) -> None:
    path = folder.path / "f"
    path.write_bytes(b"0123456789")
    os.utime(path, ns=(1, 1))
    limit = _Meddling(LIMIT)
    limit.act = lambda: CHANGES[change](path)
    with pytest.raises(ObjectChanged, match="changed while it was read"):
        folder.read_whole("f", limit)


def test_H41_a_file_replaced_by_rename_while_it_is_read_is_its_old_version(folder: Folder) -> None:
    path = folder.path / "f"
    path.write_bytes(b"old")
    limit = _Meddling(LIMIT)

    def replace() -> None:
        (folder.path / "new").write_bytes(b"newer")
        (folder.path / "new").rename(path)

    limit.act = replace
    with contextlib.suppress(ObjectChanged):  # losing its name changes a file's ctime: that may be told as a change
        assert folder.read_whole("f", limit).data == b"old"
    assert folder.read_whole("f", LIMIT).data == b"newer"


@pytest.mark.parametrize("change", CHANGES)
def test_H40_a_source_that_changes_while_it_is_open_is_noticed(folder: Folder, change: str) -> None:
    path = folder.path / "f"
    path.write_bytes(b"0123456789")
    os.utime(path, ns=(1, 1))
    with folder.open_source("f") as source:
        source.check_unchanged()
        CHANGES[change](path)
        with pytest.raises(ObjectChanged, match="changed while it was read"):
            source.check_unchanged()


def test_H41_a_source_replaced_by_rename_is_read_on_as_the_version_that_was_opened(folder: Folder) -> None:
    (folder.path / "f").write_bytes(b"old version")
    with folder.open_source("f") as source:
        (folder.path / "new").write_bytes(b"new")
        (folder.path / "new").rename(folder.path / "f")
        buffer = bytearray(11)
        assert source.read_into(memoryview(buffer), 0) == 11
        assert buffer == b"old version"
    source.close()  # twice is fine


def test_a_source_is_read_in_parts_and_short_only_at_its_end(folder: Folder) -> None:
    (folder.path / "f").write_bytes(b"0123456789")
    buffer = bytearray(4)
    with folder.open_source("f") as source:
        counts = [source.read_into(memoryview(buffer), offset) for offset in (0, 4, 8, 10, 99)]
    assert counts == [4, 4, 2, 0, 0]


@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "folder", "link", "link to folder"])
def test_H111_what_is_no_file_is_refused_and_nothing_blocks(
    folder: Folder, kind: str, monkeypatch: pytest.MonkeyPatch, canary: Path
) -> None:
    path = folder.path / "x"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "socket":
            monkeypatch.chdir(folder.path)
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind("x")
        case "device":
            if os.geteuid():
                pytest.skip("only root makes devices")
            os.mknod(path, 0o020600, os.makedev(1, 5))
        case "folder":
            path.mkdir()
        case "link":
            path.symlink_to(canary / "f")
        case "link to folder":
            path.symlink_to(canary / "d")
    with pytest.raises(Refused, match=f"{path} is a "):
        folder.read_whole("x", LIMIT)
    with pytest.raises(Refused, match=f"{path} is a "):
        folder.open_source("x")
    if kind == "folder":
        assert folder.look("x") == Entry("x/", 0, path.stat().st_mtime_ns)
    else:
        with pytest.raises(Refused):
            folder.look("x")
    with pytest.raises(Refused):
        folder.remove("x", Entry("x", 0, 0))
    assert os.path.lexists(path)


def test_a_file_that_may_not_be_read_says_so() -> None:
    with as_nobody() as place:
        (place / "f").touch(0)
        with pytest.raises(LocalFault, match=f"Cannot read {place}/f: permission denied; change its permissions"):
            Folder.open(place).read_whole("f", LIMIT)


def test_a_folder_that_may_be_entered_and_not_listed_is_good_enough() -> None:
    with as_nobody() as place:
        (place / "drop box").mkdir()
        (place / "drop box").chmod(0o300)
        _put(Folder.open(place), "drop box/f")
        assert Folder.open(place).read_whole("drop box/f", LIMIT).data == b"data"
        (place / "drop box").chmod(0o700)


def test_links_are_followed_for_reading_when_asked_and_never_for_writing(tmp_path: Path, canary: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").symlink_to(canary / "f")
    (root / "folder").symlink_to(canary / "d")
    folder = Folder.open(root, symlinks="follow")
    for key in ("file", "folder/f", "folder/e/f"):
        assert folder.read_whole(key, LIMIT).data == b"canary"
        look = folder.look(key) if key == "file" else None
        assert look is None or look.size == 6
        with folder.open_source(key) as source:
            assert source.identity.size == 6
    with pytest.raises(Refused, match="symbolic link"):
        _put(folder, "folder/new")
    with pytest.raises(Refused):
        _put(folder, "file")
    with pytest.raises(Refused):
        folder.read_whole("folder/../../x", LIMIT)


def test_a_folder_that_was_replaced_is_found_anew(folder: Folder) -> None:
    _put(folder, "a/b/f", b"old")
    assert folder.read_whole("a/b/f", LIMIT).data == b"old"
    shutil.rmtree(folder.path / "a")
    (folder.path / "a/b").mkdir(parents=True)
    (folder.path / "a/b/g").write_bytes(b"new")
    assert not folder.is_current("a/b/")
    assert folder.read_whole("a/b/g", LIMIT).data == b"new"
    shutil.rmtree(folder.path / "a")
    _put(folder, "a/b/h", b"newer")
    assert (folder.path / "a/b/h").read_bytes() == b"newer"


# Opening


def test_a_missing_folder_is_unknown_or_made(tmp_path: Path) -> None:
    with pytest.raises(SourceUnknown, match="does not exist; check the path"):
        Folder.open(tmp_path / "a/b")
    Folder.open(tmp_path / "a/b", create=True)
    assert (tmp_path / "a/b").is_dir()
    (tmp_path / "f").touch()
    with pytest.raises(SourceUnknown, match="is not a folder"):
        Folder.open(tmp_path / "f")
    for path in ("f", "f/below"):
        with pytest.raises(WrongSetting, match="is not a folder"):
            Folder.open(tmp_path / path, create=True)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
def test_a_destination_that_cannot_be_made_is_said_to_be_one() -> None:
    with pytest.raises(WrongSetting, match="The destination /proc/x cannot be made: no folder can be made there"):
        Folder.open("/proc/x", create=True)


def test_descriptors_stay_bounded_and_close(tmp_path: Path) -> None:
    before = _descriptors()
    folder = Folder.open(tmp_path / "root", create=True)
    drafts = [write_small(folder, f"d{number}/e/f", b"x") for number in range(700)]
    held = _descriptors() - before
    assert held <= 512
    for draft in drafts:
        draft.publish(None)  # those whose directory went from the cache too
    for number in range(700):
        assert folder.read_whole(f"d{number}/e/f", 9).data == b"x"
    assert _descriptors() - before <= 512
    folder.forget()
    del drafts, draft
    assert _descriptors() - before == 1
    folder.close()
    del folder
    assert _descriptors() == before


def test_threads_share_a_folder_while_its_directories_come_and_go(folder: Folder) -> None:
    folder._most = 4
    keys = [f"d{number % 12}/f{number}" for number in range(240)]
    wrong: list[object] = []

    def work(part: int) -> None:
        try:
            for key in keys[part::4]:
                _put(folder, key, key.encode())
            for key in keys[part::4] * 3:
                assert folder.read_whole(key, LIMIT).data == key.encode()
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert sorted(path.relative_to(folder.path).as_posix() for path in folder.path.glob("d*/*")) == sorted(keys)


# Enemies

_PIECES = ("..", ".", "", "/etc", "...", "x\x00y", "d", "out", "link", "\ud800", "n" * 300)
HOSTILE = sorted(
    {
        *("/".join(pieces) for count in (1, 2, 3) for pieces in itertools.product(_PIECES[:8], repeat=count)),
        *("../" * count + "outside/f" for count in range(1, 12)),
        *(f"{piece}/{other}" for piece in _PIECES for other in _PIECES),
        "out/f", "out/new", "out/d/f", "link", "out/../outside/f", "d/../../outside/f", "root/../outside", "~/f",
        "~root/f", "C:\\f", "..\\outside\\f", "\\\\host\\share", "file:///etc/passwd", "%2e%2e/outside/f",
        "..%2foutside", "．．/f", "../outside/../outside/f", "./../outside/f", "outside", "d/./../f", "\n/../f", "\r",
        "/proc/self/root/etc/passwd",
    },
    key=repr,
)  # fmt: skip


def test_H59_no_key_leads_out_of_the_root(folder: Folder, canary: Path) -> None:
    assert len(HOSTILE) >= 150
    (folder.path / "out").symlink_to(canary)
    (folder.path / "link").symlink_to(canary / "f")
    beside = sorted(path.name for path in folder.path.parent.iterdir())
    written, sentences = [], []
    for key in HOSTILE:
        try:
            _put(folder, key)
            written.append(key)
        except (Refused, ObjectChanged) as error:
            sentences.append(error.sentence)
        with contextlib.suppress(SternaError):
            assert folder.read_whole(key, LIMIT).data == b"data"
        with contextlib.suppress(SternaError):
            folder.make_folder(key)
        with contextlib.suppress(SternaError):
            folder.look(key)
        if key not in written:
            with contextlib.suppress(SternaError):
                folder.remove(key, Entry(key, 6, (canary / "f").stat().st_mtime_ns))
    assert all("\x00" not in sentence and sentence.endswith(".") for sentence in sentences)
    # What was written stands exactly where its key says, and nothing else was made anywhere.
    for key in written:
        assert ".." not in key.split("/")
        assert (folder.path / key).read_bytes() == b"data"
    files = [path for path in folder.path.rglob("*") if path.is_file() and not path.is_symlink()]
    assert sorted(str(path.relative_to(folder.path)) for path in files) == sorted(written)
    assert sorted(path.name for path in folder.path.parent.iterdir()) == beside


def test_H62_a_planted_link_is_not_written_through_and_is_named(folder: Folder, canary: Path) -> None:
    (folder.path / "d").mkdir()
    (folder.path / "d/link").symlink_to(canary / "d")
    (folder.path / "d/f").symlink_to(canary / "f")
    for key in ("d/link/f", "d/link/new", "d/link/e/f", "d/link/new/f"):
        with pytest.raises(Refused, match=r"d/link/? is a symbolic link"):
            _put(folder, key)
        with pytest.raises(Refused, match=r"d/link/? is a symbolic link"):
            folder.read_whole(key, LIMIT)
        with pytest.raises(Refused):
            folder.remove(key, Entry(key, 6, 0))
    with pytest.raises(Refused, match="d/f is a symbolic link"):
        _put(folder, "d/f")
    with pytest.raises(Refused, match="is a symbolic link"):
        folder.make_folder("d/link/new")
    assert os.listdir(folder.path / "d") in (["link", "f"], ["f", "link"])


def test_H62_a_thread_that_swaps_folders_for_links_leads_nothing_outside(folder: Folder, canary: Path) -> None:
    exchange = libc("renameat2")
    if exchange is None:
        pytest.skip("needs an exchange of two names")
    (folder.path / "d/e").mkdir(parents=True)
    (folder.path / "to d").symlink_to(canary / "d")
    (folder.path / "d/to e").symlink_to(canary / "d/e")
    root = os.fsencode(folder.path)
    end = threading.Event()
    swaps = 0

    def swap() -> None:
        nonlocal swaps
        while not end.is_set():
            for one, other in ((b"/d", b"/to d"), (b"/d/e", b"/d/to e")):
                for _ in "there and back":
                    swaps += not exchange(-100, root + one, -100, root + other, 2)

    rival = threading.Thread(target=swap)
    rival.start()
    done = refused = 0
    deadline = time.monotonic() + 1
    try:
        for number in itertools.count():
            if time.monotonic() > deadline:
                break
            if number % 3 == 0:
                folder.forget()
            key = f"d/e/f{number % 50}"
            try:
                draft = write_small(folder, key, b"ours", 1)
                draft.publish(folder.look(key))
                assert folder.read_whole(key, LIMIT).data == b"ours"
                folder.remove(key, Entry(key, 4, 1))
                done += 1
            except SternaError:
                refused += 1
    finally:
        end.set()
        rival.join()
    assert swaps > 100
    assert done
    assert refused


def test_H67_a_file_where_a_folder_is_needed_is_refused_and_kept(folder: Folder) -> None:
    _put(folder, "a", b"file")
    with pytest.raises(Refused, match="root/a is a file, and a folder is needed there"):
        _put(folder, "a/b")
    assert (folder.path / "a").read_bytes() == b"file"


def test_H69_long_keys_go_in_and_come_out_whole(folder: Folder) -> None:
    for key in ("n" * 255, "é" * 127, "/".join(["n" * 250] * 4) + "/" + "n" * 20, "/".join(["d"] * 511) + "/f"):
        assert len(key.encode()) <= 1024
        _put(folder, key, key.encode())
        assert folder.read_whole(key, LIMIT).data == key.encode()
    folder.forget()
    assert folder.read_whole("/".join(["d"] * 511) + "/f", LIMIT).data.endswith(b"/f")


# Changing


def test_H68_folders_are_made_and_removed_when_empty(folder: Folder) -> None:
    folder.make_folder("a/b/")
    folder.make_folder("a/b")
    assert (folder.path / "a/b").is_dir()
    _put(folder, "a/f")
    folder.remove("a/b/", Entry("a/b/", 0, 0))
    with pytest.raises(ObjectChanged):
        folder.remove("a/", Entry("a/", 0, 0))
    assert (folder.path / "a/f").exists()


def test_only_the_file_that_was_listed_is_removed(folder: Folder) -> None:
    _put(folder, "a/f", b"four")
    seen = folder.look("a/f")
    assert seen is not None
    (folder.path / "a/f").write_bytes(b"more!")
    with pytest.raises(ObjectChanged, match="changed by somebody else since it was listed"):
        folder.remove("a/f", seen)
    assert (folder.path / "a/f").read_bytes() == b"more!"
    now = folder.look("a/f")
    assert now is not None
    folder.remove("a/f", now)
    with pytest.raises(ObjectGone):
        folder.remove("a/f", now)


def test_H48_only_abandoned_files_of_ours_are_removed(folder: Folder, canary: Path) -> None:
    host = temporary_name()[8:16]
    dead = [f".sterna-{host}-4194305-1-{number}.part" for number in range(6)]
    keep = [temporary_name(), ".sterna-notes.part", f".sterna-{int(host, 16) ^ 1:08x}-4194305-1-1.part"]
    (folder.path / "d").mkdir()
    (folder.path / "out").symlink_to(canary)
    paths = [dead[0], f"d/{dead[1]}", *keep]
    for path in paths:
        (folder.path / path).touch()
    (folder.path / dead[2]).mkdir()
    (folder.path / dead[3]).symlink_to(canary / "f")
    kept = 5
    if not os.geteuid():
        (folder.path / dead[5]).touch()
        os.chown(folder.path / dead[5], 65534, 65534)
        kept += 1
    assert folder.remove_abandoned([*paths, *dead[2:], f"out/{dead[0]}", "no/such/" + dead[0]]) == 2
    assert not (folder.path / dead[0]).exists()
    assert not (folder.path / "d" / dead[1]).exists()
    assert len([name for name in os.listdir(folder.path) if name.startswith(".sterna-")]) == kept


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.ENOSPC, DiskFull, "no space"),
        (errno.EDQUOT, DiskFull, "quota"),
        (errno.EROFS, LocalFault, "read-only"),
        (errno.EACCES, LocalFault, "permission denied"),
        (errno.EPERM, LocalFault, "does not permit"),
        (errno.EIO, LocalFault, "I/O error"),
        (errno.ESTALE, LocalFault, "stale"),
        (errno.EFBIG, LocalFault, "larger than its file system"),
        (errno.EMFILE, LocalFault, "ulimit -n"),
        (errno.ENAMETOOLONG, Refused, "too long"),
        (errno.ELOOP, Refused, "symbolic link"),
        (errno.ENOTDIR, Refused, "folder is needed"),
        (errno.EISDIR, Refused, "is a folder"),
        (errno.ENOENT, ObjectGone, "vanished"),
        (errno.ENOTEMPTY, ObjectChanged, "not there before"),
        (errno.ETXTBSY, LocalFault, "text file busy"),
    ],
)
def test_H50_every_errno_becomes_one_sentence_that_names_the_file(
    number: int, kind: type[SternaError], words: str
) -> None:
    error = translate(OSError(number, os.strerror(number)), "write", "/some/where\n", "where\n")
    assert type(error) is kind
    assert error.sentence.startswith("Cannot write /some/where\\x0a: ")
    assert words in error.sentence
    assert error.sentence.endswith(".")
    assert (error.code, error.key, error.operation) == (errno.errorcode[number], "where\n", "write")


def test_H98_made_folders_are_as_open_as_the_umask_allows_and_no_more(folder: Folder) -> None:
    before = os.umask(0o027)
    try:
        folder.make_folder("a/b")
    finally:
        os.umask(before)
    assert stat.S_IMODE((folder.path / "a/b").stat().st_mode) & 0o777 == 0o750
