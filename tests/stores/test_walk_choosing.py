"""What a walk leaves out, takes for more than it is, or reads under another name."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from sterna.model.entry import Trouble
from sterna.planning.filters import Filter
from sterna.planning.rules import in_order, option_rule
from sterna.stores.escape import escaped_path
from sterna.stores.names import temporary_name
from sterna.stores.walk import LINK_SUFFIX, pages
from tests.stores.test_walk import keys_of, tree, whole

ELSEWHERE = "is on another file system, which --one-file-system leaves out"


def test_folders_that_hold_nothing_asked_for_are_not_entered(tmp_path: Path) -> None:
    tree(tmp_path, ["a/b", "big/x", "big/deep/y", "big-/z", "c"])
    asked = []

    def may_hold(prefix: str) -> bool:
        asked.append(prefix)
        return prefix != "big/"

    (tmp_path / "big").chmod(0)  # whoever enters it, and is not root, has a trouble to tell of
    os.mkfifo(tmp_path / "a" / "pipe")
    page = whole(tmp_path, may_hold=may_hold)
    (tmp_path / "big").chmod(0o700)
    assert keys_of(page) == ["a/b", "big-/z", "c"]
    assert [one.key for one in page.troubles] == ["a/pipe"]
    assert asked == ["a/", "big-/", "big/"]


def test_a_pruned_walk_has_all_that_the_filter_takes_in_order_and_from_any_key(tmp_path: Path) -> None:
    dice = random.Random(11)
    for number, patterns in enumerate((["a/*"], ["*/a/*", "b*"], ["a*/*"], ["*"])):
        root = tmp_path / str(number)
        wild = ["/".join(dice.choices(["a", "b", "a.", "a-", "a0"], k=dice.randint(1, 4))) for _ in range(60)]
        made = tree(root, wild)
        filters = Filter(rules=in_order(option_rule("--exclude", pattern) for pattern in patterns))
        expected = [key for key in made if filters.takes_key(key)]
        page = whole(root, may_hold=filters.may_hold, page_size=3)
        assert keys_of(page) == sorted(set(keys_of(page)))
        assert [key for key in keys_of(page) if filters.takes_key(key)] == expected
        if patterns != ["*/a/*", "b*"]:
            assert len(page.entries) < len(made)
        for after in [*made, "a/", "a0/a", "b"]:
            rest = keys_of(whole(root, may_hold=filters.may_hold, start_after=after, page_size=2))
            assert [key for key in rest if filters.takes_key(key)] == [key for key in expected if key > after]


def test_what_is_mounted_below_is_named_once_and_not_entered() -> None:
    mounts = sorted(name for name in os.listdir("/dev") if os.path.ismount("/dev/" + name) and name != "mqueue")
    if not mounts:
        pytest.skip("nothing is mounted below /dev")
    told = [one for page in pages("/dev", one_file_system=True) for one in page.troubles if one.reason == ELSEWHERE]
    for name in mounts:
        is_folder = os.path.isdir("/dev/" + name)
        key = name + "/" if is_folder else name
        assert told.count(Trouble(key, ELSEWHERE, subtree=is_folder, skipped=True)) == 1
        assert not any(one.key.startswith(key) and one.key != key for one in told)


def test_followed_links_do_not_lead_to_another_file_system(tmp_path: Path) -> None:
    if not os.path.isdir("/dev/shm") or os.stat("/dev/shm").st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other file system")
    tree(tmp_path, ["here/a"])
    (tmp_path / "shm").symlink_to("/dev/shm")
    (tmp_path / "null").symlink_to("/proc/self/status")
    (tmp_path / "same").symlink_to("here")
    page = whole(tmp_path, symlinks="follow", one_file_system=True)
    assert keys_of(page) == ["here/a", "same/a"]
    assert page.troubles == [
        Trouble("null", ELSEWHERE, skipped=True),
        Trouble("shm/", ELSEWHERE, subtree=True, skipped=True),
    ]


def test_stored_links_are_entries_with_the_size_of_their_targets_and_are_not_followed(tmp_path: Path) -> None:
    tree(tmp_path, ["d/f", "z"])
    for name, target in {"a": "d", "d/up": "../z", "gone": "nowhere", "é": "d/f", "loop": "."}.items():
        (tmp_path / name).symlink_to(target)
    (tmp_path / temporary_name()).symlink_to("z")  # of a run that was about to put it in place
    page = whole(tmp_path, symlinks="store")
    sizes = {entry.key: entry.size for entry in page.entries}
    links = {"a": 1, "d/up": 4, "gone": 7, "loop": 1, "é": 3}
    assert sizes == {"d/f": 3, "z": 1} | {name + LINK_SUFFIX: size for name, size in links.items()}
    assert keys_of(page) == sorted(sizes)
    assert page.troubles == []
    times = {entry.key: entry.mtime_ns for entry in page.entries}
    assert times["a" + LINK_SUFFIX] == (tmp_path / "a").lstat().st_mtime_ns
    for after in [*sizes, "a", "d/"]:
        assert keys_of(whole(tmp_path, symlinks="store", start_after=after)) == [
            key for key in keys_of(page) if key > after
        ]


def test_a_file_that_is_called_like_a_stored_link_is_a_trouble_where_links_are_stored(tmp_path: Path) -> None:
    tree(tmp_path, ["a.rclonelink", "b.rclonelink", "d.rclonelink/f"])
    (tmp_path / "a").symlink_to("b")
    assert keys_of(whole(tmp_path)) == ["a.rclonelink", "b.rclonelink", "d.rclonelink/f"]
    page = whole(tmp_path, symlinks="store")
    assert keys_of(page) == ["d.rclonelink/f"]  # of the link and the file that want one key, neither
    assert [(one.key, one.skipped) for one in page.troubles] == [("a.rclonelink", False), ("b.rclonelink", False)]


def test_escaped_names_are_read_as_the_keys_that_they_stand_for(tmp_path: Path) -> None:
    keys = ["x//y", "/abs", "../up", "a/./b", "100%", "a%20b", "plain", "a-b/c", "a/b"]
    for key in keys:
        path = tmp_path / escaped_path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "a%-").touch()  # stands for a, beside the folder a
    page = whole(tmp_path, escapes=True)
    assert keys_of(page) == sorted([*keys, "a"])
    assert page.troubles == []
    for after in [*keys, "a", "a/", "x//"]:
        rest = keys_of(whole(tmp_path, escapes=True, start_after=after, page_size=2))
        assert rest == [key for key in keys_of(page) if key > after]
    assert "a%-" in keys_of(whole(tmp_path))  # unless it is asked for, names are what they are


def test_two_names_for_one_key_are_a_trouble(tmp_path: Path) -> None:
    tree(tmp_path, ["a", "a%-", "d%=/x", "d/y", "My%20File"])
    page = whole(tmp_path, escapes=True)
    assert keys_of(page) == ["My%20File", "a", "d/y"]
    assert sorted((one.key, one.subtree, one.skipped) for one in page.troubles) == [
        ("a%-", False, False),
        ("d%=/", True, False),
    ]


def test_stored_links_have_escaped_names_too(tmp_path: Path) -> None:
    (tmp_path / "a%-").symlink_to("x")
    (tmp_path / "%2E.").symlink_to("y")
    page = whole(tmp_path, symlinks="store", escapes=True)
    assert keys_of(page) == [".." + LINK_SUFFIX, "a" + LINK_SUFFIX]
