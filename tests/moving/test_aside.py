"""What is in the way is put aside, and comes back where nothing came in its place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sterna.model.actions import Action, Verb
from sterna.model.entry import Entry
from sterna.model.outcomes import Status
from sterna.moving.aside import Aside, InTheWay
from sterna.stores.folder import Folder
from sterna.stores.names import is_temporary
from sterna.stores.trash import FolderTrash


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    folder = Folder.open(tmp_path / "tree", create=True)
    for path, body in (("a", "file"), ("d/x", "1"), ("d/e/y", "22")):
        (folder.path / path).parent.mkdir(parents=True, exist_ok=True)
        (folder.path / path).write_text(body)
    yield folder
    if folder.trash is not None:
        folder.trash.close()
    folder.close()


def due(folder: Folder, *keys: str) -> list[Action]:
    entries = [folder.look(key) or Entry(key, 0, 0) for key in keys]
    return [Action(Verb.DELETE, one.key, "due", None, one) for one in entries]


def file_in_the_way(folder: Folder) -> InTheWay:
    return InTheWay("a", due(folder, "a"))


def folder_in_the_way(folder: Folder) -> InTheWay:
    return InTheWay("d", due(folder, "d/e/y", "d/x"), is_folder=True)


def tree(folder: Folder) -> dict[str, str]:
    found = {str(path.relative_to(folder.path)): path for path in folder.path.rglob("*")}
    return {name: path.read_text() for name, path in found.items() if path.is_file() and not is_temporary(path.name)}


def never(path: str) -> bool:
    return False


WHOLE = {"a": "file", "d/x": "1", "d/e/y": "22"}


@pytest.mark.parametrize("trash", [False, True], ids=("", "trash"))
def test_what_nothing_came_in_place_of_is_back_as_it_was(folder: Folder, tmp_path: Path, trash: bool) -> None:
    if trash:
        folder.trash = FolderTrash(folder, tmp_path / "trash")
    times = {name: (folder.path / name).stat().st_mtime_ns for name in WHOLE}
    aside = Aside(folder)
    assert aside.take(file_in_the_way(folder)) == (["a"], [])
    assert aside.take(folder_in_the_way(folder)) == (["d/e/y", "d/x"], [])
    assert tree(folder) == {}
    assert not (folder.path / "d").exists()
    (folder.path / "a/half").mkdir(parents=True)  # made for what did not come
    assert aside.settle(never) == ([], ["a", "d/e/y", "d/x"])
    assert tree(folder) == WHOLE
    assert times == {name: (folder.path / name).stat().st_mtime_ns for name in WHOLE}
    assert not [name for name in os.listdir(folder.path) if is_temporary(name)]


@pytest.mark.parametrize("trash", [False, True], ids=("", "trash"))
def test_what_something_came_in_place_of_is_gone_for_good(folder: Folder, tmp_path: Path, trash: bool) -> None:
    if trash:
        folder.trash = FolderTrash(folder, tmp_path / "trash")
    aside = Aside(folder)
    aside.take(file_in_the_way(folder))
    aside.take(folder_in_the_way(folder))
    (folder.path / "a").mkdir()
    (folder.path / "a/b").write_text("new")
    (folder.path / "d").write_text("new")
    outcomes, back = aside.settle(never)
    assert {one.key: one.status for one in outcomes} == dict.fromkeys(WHOLE, Status.DONE)
    assert not back
    assert tree(folder) == {"a/b": "new", "d": "new"}
    assert not [name for name in os.listdir(folder.path) if is_temporary(name)]
    if trash:
        assert {name: (tmp_path / "trash" / name).read_text() for name in WHOLE} == WHOLE


def test_a_folder_that_was_wanted_for_itself_has_come(folder: Folder) -> None:
    aside = Aside(folder)
    aside.take(file_in_the_way(folder))
    (folder.path / "a").mkdir()
    outcomes, back = aside.settle("a/".__eq__)
    assert ([one.key for one in outcomes], back) == (["a"], [])
    assert (folder.path / "a").is_dir()


@pytest.mark.parametrize("more", ["file", "link", "changed"])
def test_a_folder_goes_as_a_whole_or_not_at_all(folder: Folder, more: str) -> None:
    one = folder_in_the_way(folder)
    if more == "file":
        (folder.path / "d/e/new").write_text("somebody's")
    elif more == "link":
        (folder.path / "d/e/new").symlink_to("nowhere")
    else:
        (folder.path / "d/x").write_text("newer words")
    before = tree(folder)
    aside = Aside(folder)
    done, outcomes = aside.take(one)
    assert done == []
    assert [(each.key, each.status) for each in outcomes] == ([("d/x", Status.FAILED)] if more == "changed" else [])
    assert tree(folder) == before
    assert aside.settle(never) == ([], [])


def test_empty_folders_are_nothing_in_a_folder(folder: Folder) -> None:
    (folder.path / "d/none/at/all").mkdir(parents=True)
    aside = Aside(folder)
    aside.take(folder_in_the_way(folder))
    assert not (folder.path / "d").exists()


def test_a_file_that_was_changed_or_is_gone_is_told_at_once(folder: Folder) -> None:
    one = file_in_the_way(folder)
    (folder.path / "a").write_text("newer words")
    aside = Aside(folder)
    assert [each.status for each in aside.take(one)[1]] == [Status.FAILED]
    assert tree(folder)["a"] == "newer words"
    (folder.path / "a").unlink()
    assert [each.proof for each in aside.take(one)[1]] == ["it was gone already"]
    assert aside.settle(never) == ([], [])


def test_nothing_is_put_aside_any_more_when_the_run_is_over(folder: Folder) -> None:
    aside = Aside(folder)
    aside.settle(never, is_over=True)
    assert aside.take(file_in_the_way(folder)) == ([], [])
    assert tree(folder) == WHOLE


def test_a_folder_in_the_way_that_a_killed_run_has_emptied_is_found_and_goes_h54(folder: Folder) -> None:
    (folder.path / "left/deep/er").mkdir(parents=True)
    aside = Aside(folder)
    assert aside.hollow(["left", "d", "a", "nothing", "d/x"]) == ["left"]
    assert aside.take(InTheWay("left", (), is_folder=True)) == ([], [])
    assert not (folder.path / "left").exists()
    assert aside.settle(never) == ([], [])
