"""Folders to pages, on real trees."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sterna.model.entry import Trouble
from sterna.model.errors import SourceUnknown
from sterna.stores.names import temporary_name
from sterna.stores.walk import Page, pages

KEYS = [
    "a", "a-b", "a.b", "a/b", "a0", "a/b-c", "b/c/d", "b/c.d", "b/c/e/f", "é/x", "e\u0301", "\uffee", "😀/\U0001f601",
    "z/", "Z", " ", "\x01", "b/~", "~", "q/" + "r/" * 30 + "s",
]  # fmt: skip


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that anybody can reach; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o777)
        yield Path(place)


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Without the rights of root, if we have them."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def _descriptors() -> int:
    """How many this process holds, without those that wait in garbage."""
    gc.collect()
    return len(os.listdir("/dev/fd"))


def tree(root: Path, keys: list[str]) -> list[str]:
    """Make these files, as far as they can stand together; returns the keys in order."""
    made = []
    for key in keys:
        path = root / key
        with contextlib.suppress(FileExistsError, NotADirectoryError, IsADirectoryError):
            path.parent.mkdir(parents=True, exist_ok=True)
            if not key.endswith("/"):
                path.write_bytes(key.encode())
                made.append(key)
    return sorted(set(made))


def whole(root: Path, **options: object) -> Page:
    """All pages as one."""
    one = Page([], [], [])
    for page in pages(root, **options):  # type: ignore[arg-type]
        one.entries.extend(page.entries)
        one.troubles.extend(page.troubles)
        one.abandoned.extend(page.abandoned)
    return one


def keys_of(page: Page) -> list[str]:
    return [entry.key for entry in page.entries]


@pytest.mark.parametrize("page_size", [1, 2, 3, 1000])
def test_entries_come_in_key_order_with_size_and_time(tmp_path: Path, page_size: int) -> None:
    expected = tree(tmp_path, KEYS)
    listed = list(pages(tmp_path, page_size=page_size))
    entries = [entry for page in listed for entry in page.entries]
    assert [entry.key for entry in entries] == expected == sorted(expected, key=str.encode)
    assert all(0 < len(page.entries) <= page_size for page in listed)
    assert not any(page.troubles or page.abandoned for page in listed)
    for entry in entries:
        status = (tmp_path / entry.key).stat()
        assert (entry.size, entry.mtime_ns) == (status.st_size, status.st_mtime_ns)


def test_random_trees_come_in_key_order_and_go_on_after_any_key(tmp_path: Path) -> None:
    dice = random.Random(7)
    for number in range(12):
        root = tmp_path / str(number)
        wild = ["/".join(dice.choices(["a", "b", "a.", "a-", "a0", "é", "B"], k=dice.randint(1, 4))) for _ in range(40)]
        expected = tree(root, wild)
        assert keys_of(whole(root, page_size=7)) == expected
        for after in [*expected, "a", "a/", "a/a", "a0/", "a/a/", "b/zz", "\U0010ffff", "A", "a.", "a-/b"]:
            assert keys_of(whole(root, start_after=after, page_size=5)) == [key for key in expected if key > after]


def test_an_empty_folder_and_empty_folders_below_have_no_entries(tmp_path: Path) -> None:
    (tmp_path / "a/b/c").mkdir(parents=True)
    assert list(pages(tmp_path)) == []


def test_a_missing_root_is_unknown_and_not_empty(tmp_path: Path) -> None:
    with pytest.raises(SourceUnknown, match="does not exist; check the path"):
        list(pages(tmp_path / "nothing"))
    (tmp_path / "file").touch()
    with pytest.raises(SourceUnknown, match="is not a folder"):
        list(pages(tmp_path / "file"))


def test_a_root_that_cannot_be_read_is_unknown(open_place: Path) -> None:
    with as_nobody():
        (open_place / "root").mkdir(mode=0)
        with pytest.raises(SourceUnknown, match="permission denied"):
            list(pages(open_place / "root"))
    (open_place / "root").chmod(0o700)


def test_an_unreadable_folder_is_unknown_below_and_the_rest_is_listed(open_place: Path) -> None:
    with as_nobody():
        tree(open_place, ["a", "closed/b", "listed only/c", "z"])
        (open_place / "closed").chmod(0)
        (open_place / "listed only").chmod(0o400)
        page = whole(open_place)
        for name in ("closed", "listed only"):
            (open_place / name).chmod(0o700)
    assert keys_of(page) == ["a", "z"]
    assert page.troubles == [
        Trouble("closed/", "cannot be read: permission denied", subtree=True),
        Trouble("listed only/c", "cannot be looked at: permission denied"),
    ]


def test_H111_special_files_are_skipped_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, ["a", "z"])
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)  # a socket's path is at most 108 bytes long
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
    if not os.geteuid():
        os.mknod(tmp_path / "device", 0o020600, os.makedev(1, 3))
    page = whole(tmp_path)
    assert keys_of(page) == ["a", "z"]
    assert all(trouble.skipped and not trouble.subtree for trouble in page.troubles)
    reasons = {trouble.key: trouble.reason for trouble in page.troubles}
    assert reasons.pop("device", "is a character device, not a file") == "is a character device, not a file"
    assert reasons == {"pipe": "is a named pipe, not a file", "socket": "is a socket, not a file"}


def test_H112_symbolic_links_are_skipped_by_name_unless_asked_for(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    tree(root, ["a", "m/b", "z"])
    tree(outside, ["secret", "d/e"])
    (root / "file").symlink_to(outside / "secret")
    (root / "folder").symlink_to(outside / "d")
    (root / "lost").symlink_to(outside / "nothing")
    page = whole(root)
    assert keys_of(page) == ["a", "m/b", "z"]
    assert [(trouble.key, trouble.skipped) for trouble in page.troubles] == [
        ("file", True), ("folder", True), ("lost", True),
    ]  # fmt: skip
    page = whole(root, symlinks="follow", page_size=2)
    assert keys_of(page) == ["a", "file", "folder/e", "m/b", "z"]
    assert page.entries[1].size == len("secret")
    assert [(trouble.key, trouble.skipped) for trouble in page.troubles] == [("lost", False)]
    assert "leads nowhere" in page.troubles[0].reason or "cannot be followed" in page.troubles[0].reason


def test_H112_following_ends_at_links_to_folders_above(tmp_path: Path) -> None:
    tree(tmp_path, ["a/b/c/f"])
    (tmp_path / "a/to root").symlink_to(tmp_path)
    (tmp_path / "a/b/self").symlink_to(".")
    (tmp_path / "a/b/c/up").symlink_to("../..")
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    page = whole(tmp_path, symlinks="follow")
    assert keys_of(page) == ["a/b/c/f"]
    assert [(trouble.key, trouble.subtree) for trouble in page.troubles] == [
        ("a/b/c/up/", True), ("a/b/self/", True), ("a/to root/", True), ("one", True), ("two", True),
    ]  # fmt: skip


def test_H112_a_link_to_a_folder_above_the_root_is_named_and_not_entered(tmp_path: Path) -> None:
    tree(tmp_path, ["beside", "other/x", "top/root/a/f"])
    root = tmp_path / "top/root"
    (root / "link_up").symlink_to("..")
    (root / "a/far").symlink_to("/")
    (root / "b").symlink_to(tmp_path / "other")
    (tmp_path / "other/up").symlink_to(tmp_path / "top")
    for place in (root, tmp_path / "way"):
        if place != root:
            place.symlink_to(root)
        page = whole(place, symlinks="follow")
        assert keys_of(page) == ["a/f", "b/x"]
        assert [(trouble.key, trouble.subtree, trouble.skipped) for trouble in page.troubles] == [
            ("a/far/", True, True), ("b/up/", True, True), ("link_up/", True, True),
        ]  # fmt: skip
        assert all("above the one that was named" in trouble.reason for trouble in page.troubles)


def test_H73_names_that_are_not_utf8_are_troubles_that_show_their_bytes(tmp_path: Path) -> None:
    tree(tmp_path, ["a", "d/b", "é"])
    raw = os.fsencode(tmp_path)
    with open(raw + b"/caf\xe9", "wb"), open(raw + b"/d/\xff\xfe", "wb"):
        os.mkdir(raw + b"/bad\x80folder")
    with open(raw + b"/bad\x80folder/x", "wb"):
        os.symlink(b"a", raw + b"/link\xff")
    page = whole(tmp_path)
    assert keys_of(page) == ["a", "d/b", "é"]
    found = {trouble.key: trouble for trouble in page.troubles}
    assert set(found) == {"caf\\xe9", "d/\\xff\\xfe", "bad\\x80folder/", "link\\xff"}
    assert {key for key, trouble in found.items() if trouble.subtree} == {"bad\\x80folder/", "link\\xff"}
    assert all(os.fsencode(trouble.raw).decode("utf-8", "backslashreplace") == key for key, trouble in found.items())
    assert not any(trouble.skipped for trouble in found.values())


def test_H48_unfinished_files_are_invisible_and_abandoned_ones_are_told_apart(tmp_path: Path) -> None:
    living = temporary_name()
    host = living[8:16]
    dead = f".sterna-{host}-4194305-1-1.part"
    elsewhere = f".sterna-{int(host, 16) ^ 1:08x}-4194305-1-1.part"
    mine = [".sterna-notes.part", ".sterna-", f"x{dead}", f"{dead}.txt"]
    tree(tmp_path, ["a", "d/e", living, dead, f"d/{dead}", elsewhere, *mine])
    page = whole(tmp_path)
    assert keys_of(page) == sorted(["a", "d/e", *mine])
    assert sorted(page.abandoned) == sorted([dead, f"d/{dead}"])
    assert page.troubles == []


def test_H41_what_vanishes_while_we_list_is_absent(tmp_path: Path) -> None:
    tree(tmp_path, ["a", "b", "c", "d/e", "f/g", "h"])
    listing = pages(tmp_path, page_size=1)
    assert keys_of(next(listing)) == ["a"]
    (tmp_path / "b").unlink()
    shutil.rmtree(tmp_path / "d")
    rest = [page for page in listing if page]
    assert [key for page in rest for key in keys_of(page)] == ["c", "f/g", "h"]
    assert not any(page.troubles for page in rest)


def test_H62_a_folder_swapped_for_a_link_while_we_list_is_not_followed(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    tree(root, ["a", "d/e", "f", "z"])
    tree(outside, ["secret"])
    listing = pages(root, page_size=1)
    assert keys_of(next(listing)) == ["a"]
    shutil.rmtree(root / "d")
    (root / "d").symlink_to(outside)
    (root / "f").unlink()
    (root / "f").symlink_to(outside / "secret")
    rest = list(listing)
    assert [key for page in rest for key in keys_of(page)] == ["z"]
    troubles = [trouble for page in rest for trouble in page.troubles]
    assert [(trouble.key, trouble.subtree, trouble.skipped) for trouble in troubles] == [
        ("d/", True, False), ("f", False, True),
    ]  # fmt: skip


def _dig(root: Path, depth: int) -> None:
    """A chain of folders, each with a file that sorts after the next folder."""
    fd = os.open(root, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(os.open("e", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        os.close(fd)
        fd = below
    os.close(fd)


def _fill_in(root: Path) -> None:
    """Remove such a chain; what would do it in one go gives up at such a depth."""
    while (root / "d").exists():
        fds = [os.open(root, os.O_RDONLY)]
        try:
            while len(fds) < 400:
                fds.append(os.open("d", os.O_RDONLY, dir_fd=fds[-1]))
        except FileNotFoundError:
            pass
        if len(fds) == 400:
            # Cut the chain in the middle, and hang the rest beside the root.
            os.rename("d", "rest", src_dir_fd=fds[-1], dst_dir_fd=fds[0])
        for fd in reversed(fds):
            with contextlib.suppress(FileNotFoundError):
                os.unlink("e", dir_fd=fd)
            with contextlib.suppress(FileNotFoundError):
                os.rmdir("d", dir_fd=fd)
        for fd in fds:
            os.close(fd)
        if (root / "rest").exists():
            (root / "rest").rename(root / "d")


@pytest.mark.slow
def test_H112_a_tree_of_ten_thousand_levels_is_listed_with_few_descriptors(tmp_path: Path) -> None:
    depth = 10_000
    memory = Path("/dev/shm")  # where a folder is made in microseconds
    root = Path(tempfile.mkdtemp(dir=memory if os.access(memory, os.W_OK) else tmp_path))
    _dig(root, depth)
    try:
        before = _descriptors()
        most = count = 0
        last = ""
        for page in pages(root, page_size=500):
            most = max(most, _descriptors() - before)
            assert not page.troubles
            assert all(earlier.key < later.key for earlier, later in zip(page.entries, page.entries[1:], strict=False))
            assert last < page.entries[0].key
            last = page.entries[-1].key
            count += len(page.entries)
        assert count == depth
        assert last == "e"
        assert most < 80
    finally:
        _fill_in(root)
        root.rmdir()


def test_a_folder_moved_away_below_a_deep_listing_is_a_trouble_and_not_a_short_listing(tmp_path: Path) -> None:
    _dig(tmp_path, 100)
    listing = pages(tmp_path, page_size=1)
    next(listing)
    # The listing is at the bottom, and the levels near the root are closed. Level 20 becomes another folder.
    cut = tmp_path / ("d/" * 20)
    (cut / "d").rename(tmp_path / "elsewhere")
    cut.rename(tmp_path / "old")
    cut.mkdir()
    (cut / "e").touch()
    found = [page for page in listing if page]
    troubles = [trouble for page in found for trouble in page.troubles]
    assert troubles
    assert all(trouble.subtree and not trouble.skipped for trouble in troubles)
    assert [key for page in found for key in keys_of(page)][-1] == "e"
    shutil.rmtree(tmp_path / "elsewhere")


@pytest.mark.parametrize("pages_taken", [0, 1, 40])
def test_a_listing_that_is_given_up_leaves_no_descriptor_open(tmp_path: Path, pages_taken: int) -> None:
    tree(tmp_path, ["/".join(["d"] * depth) + "/x" for depth in range(1, 60)])
    before = _descriptors()
    listing = pages(tmp_path, page_size=1)
    for _ in range(pages_taken):
        next(listing)
    listing.close()  # type: ignore[attr-defined]
    assert _descriptors() == before
