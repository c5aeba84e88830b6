"""A folder whose links and odd names stand for keys."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterna.model.entry import Entry
from sterna.model.errors import ObjectChanged, Refused, SternaError
from sterna.stores.folding import Folding, folding_of
from sterna.stores.named import NamedFolder, why_leads_out
from sterna.stores.names import temporary_name
from sterna.stores.trash import FolderTrash
from tests.stores.test_walk import whole


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[NamedFolder]:
    (tmp_path / "root").mkdir()
    with_links = NamedFolder.open_named(tmp_path / "root", False, symlinks="store", escapes=True)
    yield with_links
    with_links.close()


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("a", b"b"),
        ("d/a", b"../b"),
        ("d/e/a", b"../../b/c"),
        ("a", b"./b//c/"),
        ("a", b"."),
        ("d/a", b".."),
        ("a", b"\xff"),
    ],
)
def test_H63_links_within_the_folder_are_made(folder: NamedFolder, path: str, target: bytes) -> None:
    folder.put_link(path, target, 10**18 + 5, None, durable=True)
    made = folder.path / path
    assert os.readlink(os.fsencode(made)) == target
    assert made.lstat().st_mtime_ns == 10**18 + 5
    key = path + ".rclonelink"
    found = folder.look(key)
    assert found is not None
    assert (found.key, found.size, found.mtime_ns) == (key, len(target), 10**18 + 5)
    assert folder.read_whole(key, 10**6).data == target


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("a", b"/etc"), ("a", b".."), ("a", b"../b"), ("d/a", b"../../b"), ("d/a", b"../.././b"), ("d/a", b".././../b"),
        ("d/a", b"b/.."), ("d/a", b"b/../c"), ("d/a", b"../b/../c"), ("a", b""), ("a", b"a\0b"), ("a", b"x" * 5000),
    ],
)  # fmt: skip
def test_H63_links_that_might_lead_out_are_refused_by_name(folder: NamedFolder, path: str, target: bytes) -> None:
    with pytest.raises(Refused, match="is not made"):
        folder.put_link(path, target, None, None, durable=False)
    assert not os.path.lexists(folder.path / path)
    assert os.listdir(folder.path) == []


@settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join),
            st.lists(st.sampled_from(["a", "b", "c", "..", "..", "."]), min_size=1, max_size=5).map("/".join),
        ),
        max_size=6,
    )
)
def test_H63_no_set_of_links_leads_out_through_each_other(
    tmp_path_factory: pytest.TempPathFactory, links: list[tuple[str, str]]
) -> None:
    root = tmp_path_factory.mktemp("world") / "root"
    root.mkdir()
    folder = NamedFolder.open_named(root, False, symlinks="store", escapes=False)
    made = []
    for path, target in links:
        try:
            folder.put_link(path, target.encode(), None, None, durable=False)
            made.append(path)
        except SternaError:
            continue
    folder.close()
    for path in made:
        try:
            real = os.path.realpath(root / path, strict=True)
        except OSError:
            continue  # it dangles, or never ends
        assert (real + "/").startswith(str(root) + "/")


def test_a_link_takes_the_place_of_the_link_that_was_listed_and_of_nothing_else(folder: NamedFolder) -> None:
    folder.put_link("a", b"x", 10**18, None, durable=False)
    listed = folder.look("a.rclonelink")
    folder.put_link("a", b"y", 2 * 10**18, listed, durable=False)
    assert os.readlink(folder.path / "a") == "y"
    with pytest.raises(ObjectChanged):
        folder.put_link("a", b"z", None, listed, durable=False)  # it is another by now
    with pytest.raises(ObjectChanged):
        folder.put_link("a", b"z", None, None, durable=False)
    (folder.path / "file").write_bytes(b"kept")
    for expect in (None, Entry("file.rclonelink", 4, 0)):
        with pytest.raises(ObjectChanged):
            folder.put_link("file", b"z", None, expect, durable=False)
    assert os.readlink(folder.path / "a") == "y"
    assert (folder.path / "file").read_bytes() == b"kept"
    assert sorted(os.listdir(folder.path)) == ["a", "file"]


def test_a_link_is_removed_itself_if_it_still_is_what_was_listed(folder: NamedFolder) -> None:
    (folder.path / "target").write_bytes(b"kept")
    folder.put_link("a", b"target", 10**18, None, durable=False)
    with pytest.raises(ObjectChanged):
        folder.remove("a.rclonelink", Entry("a.rclonelink", 6, 10**18 + 1))
    folder.remove("a.rclonelink", Entry("a.rclonelink", 6, 10**18))
    assert os.listdir(folder.path) == ["target"]
    assert folder.look("a.rclonelink") is None


def test_a_key_is_found_under_whichever_of_its_names_is_there(folder: NamedFolder) -> None:
    root = folder.path
    (root / "a%-").write_bytes(b"file")
    (root / "a").mkdir()
    (root / "a" / "b").write_bytes(b"below")
    (root / "%44ir%=").mkdir()
    (root / "%44ir%=" / "My%20File").write_bytes(b"literal")
    for key, path, data in (
        ("a", "a%-", b"file"),
        ("a/b", "a/b", b"below"),
        ("Dir/My%20File", "%44ir%=/My%20File", b"literal"),
    ):
        assert folder.path_of(key) == path
        assert folder.read_whole(key, 100).data == data
        found = folder.look(key)
        assert found is not None
        assert found.key == key
    assert folder.path_of("Dir/new") == "%44ir%=/new"
    assert folder.path_of("x//y") == "x/%=/y"
    folder.remove("a", folder.look("a") or Entry("", 0, 0))
    assert folder.look("a") == Entry("a/", 0, (root / "a").stat().st_mtime_ns)
    assert (root / "a" / "b").exists()


def test_why_a_link_is_refused_is_said_so_that_it_can_be_printed() -> None:
    assert "\x1b" not in why_leads_out("a", b"/\x1b[2J")


def test_H70_H71_a_folder_is_asked_which_names_it_takes_for_one(folder: NamedFolder) -> None:
    (folder.path / "probe").touch()
    case = (folder.path / "PROBE").exists()
    os.unlink(folder.path / "probe")
    assert folding_of(folder).case is case
    assert isinstance(folding_of(folder), Folding)
    assert os.listdir(folder.path) == []


def test_H48_unfinished_links_of_dead_runs_are_removed_and_no_others(folder: NamedFolder) -> None:
    dead = f".sterna-{temporary_name()[8:16]}-4194305-1-1.part"
    alive = temporary_name()
    for name in (dead, alive, "link"):
        (folder.path / name).symlink_to("x")
    (folder.path / "d").mkdir()
    (folder.path / "d" / dead).touch()
    page = whole(folder.path, symlinks="store")
    assert [entry.key for entry in page.entries] == ["link.rclonelink"]
    assert sorted(page.abandoned) == [dead, f"d/{dead}"]
    assert folder.remove_abandoned([*page.abandoned, alive, "link"]) == 2
    assert sorted(os.listdir(folder.path)) == sorted([alive, "d", "link"])


def test_a_link_that_would_have_to_be_kept_is_left(folder: NamedFolder, tmp_path: Path) -> None:
    folder.put_link("a", b"x", 10**18, None, durable=False)
    with closing(FolderTrash(folder, tmp_path / "trash")) as folder.trash:
        with pytest.raises(Refused, match="which the trash does not take"):
            folder.put_link("a", b"y", 10**18, folder.look("a.rclonelink"), durable=False)
        folder.put_link("b", b"y", 10**18, None, durable=False)
    assert {path.name: os.readlink(path) for path in folder.path.iterdir()} == {"a": "x", "b": "y"}


@pytest.mark.parametrize("durable", [True, False])
def test_a_link_in_a_folder_that_was_moved_away_does_not_count_as_arrived(folder: NamedFolder, durable: bool) -> None:
    folder.put_link("a/b/first", b"x", None, None, durable=durable)
    (folder.path / "a").rename(folder.path.parent / "elsewhere")
    with pytest.raises(ObjectChanged, match="its folder was moved or replaced"):
        folder.put_link("a/b/second", b"x", None, None, durable=durable)


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="asks Linux which folder a descriptor is")
def test_a_link_is_on_disk_with_every_folder_that_was_made_for_it(
    folder: NamedFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    root = folder.path
    monkeypatch.setattr(
        os, "fsync", lambda fd: synced.append(os.path.relpath(os.readlink(f"/proc/self/fd/{fd}"), root))
    )
    folder.put_link("a/b/first", b"x", None, None, durable=True)
    assert synced == ["a/b", "a", "."]
    folder.put_link("a/b/second", b"x", None, None, durable=True)
    assert synced[3:] == ["a/b"]
    folder.put_link("a/c/third", b"x", None, None, durable=True)
    assert synced[4:] == ["a/c", "a", "."]
    folder.put_link("top", b"x", None, None, durable=False)
    assert len(synced) == 7
