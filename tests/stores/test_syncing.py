"""Groups of drafts that become durable together."""

from __future__ import annotations

import os
import platform
import subprocess
import threading
from pathlib import Path

import pytest

from sterna.model.entry import Entry
from sterna.model.errors import LocalFault, ObjectChanged, SternaError
from sterna.stores.draft import Draft, write_small
from sterna.stores.folder import Folder
from sterna.stores.syncing import Committer, Syncing, _syncfs_tells_errors, commit

every_way = pytest.mark.parametrize("durable", ["syncfs", "fsync", "not durable"], indirect=True)


@pytest.fixture
def durable(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether a commit puts it on disk; with fsync as where syncfs does not tell errors."""
    if request.param == "fsync":
        monkeypatch.setattr(platform, "release", lambda: "5.7.19")
    return str(request.param) != "not durable"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder.open(tmp_path / "root", create=True)


def _drafts(folder: Folder, keys: list[str]) -> list[Draft]:
    # By turns unnamed and with a temporary name.
    return [write_small(folder, key, key.encode(), replaces=at % 2 == 1) for at, key in enumerate(keys)]


def _large(folder: Folder, key: str) -> Draft:
    draft = folder.create(key, 4)
    draft.write_at(b"data", 0)
    draft.seal(None)
    return draft


def _files(folder: Folder) -> list[str]:
    return sorted(str(path.relative_to(folder.path)) for path in folder.path.rglob("*") if path.is_file())


def _break(syncing: Syncing, flags: int) -> None:
    """From now on syncfs fails, as on a broken disk: its descriptor is one by which nothing can be flushed."""
    (volume,) = syncing._volumes.values()
    broken = os.open(syncing.folder.path, flags)
    os.dup2(broken, volume.fd)
    os.close(broken)


needs_o_path = pytest.mark.skipif(not hasattr(os, "O_PATH"), reason="breaks a flush by O_PATH, which is of Linux")


@every_way
def test_H47_a_group_is_committed_and_each_draft_has_its_result(folder: Folder, durable: bool) -> None:
    (folder.path / "d").mkdir()
    (folder.path / "d/taken").write_bytes(b"theirs")
    (folder.path / "d/old").write_bytes(b"old")
    keys = ["a", "d/taken", "d/old", "e/f/g"]
    expected: list[Entry | None] = [None, None, folder.look("d/old"), None]
    results = Syncing(folder, durable).commit(_drafts(folder, keys), expected)
    assert [type(result) for result in results] == [type(None), ObjectChanged, type(None), type(None)]
    assert _files(folder) == sorted(keys)
    assert (folder.path / "d/taken").read_bytes() == b"theirs"
    assert (folder.path / "d/old").read_bytes() == b"d/old"


def test_one_group_can_be_committed_by_itself(folder: Folder) -> None:
    assert commit(folder, [_large(folder, "a/b")], [None]) == [None]
    assert commit(folder, [], []) == []
    assert (folder.path / "a/b").read_bytes() == b"data"


@every_way
def test_one_flush_is_for_the_names_of_one_group_and_the_data_of_the_next(folder: Folder, durable: bool) -> None:
    committer: Committer[str] = Committer(Syncing(folder, durable))
    assert committer.is_idle
    told: list[str] = []
    before: list[str] = []
    for group in (["a", "b"], ["c/d", "e"], []):
        for draft in _drafts(folder, group):
            committer.stage(draft, None, draft.key)
        results = committer.cycle()
        assert all(error is None for _, error in results)
        told += [token for token, _ in results]
        if durable:
            assert [token for token, _ in results] == before
            before = group
    assert sorted(told) == _files(folder) == ["a", "b", "c/d", "e"]
    assert committer.is_idle
    assert committer.cycle() == []


def test_a_draft_that_cannot_have_its_name_is_told_at_once(folder: Folder) -> None:
    for durable in (True, False):
        committer: Committer[int] = Committer(Syncing(folder, durable))
        (folder.path / "taken").write_bytes(b"theirs")
        committer.stage(write_small(folder, "taken", b"ours"), None, 1)
        ((token, error),) = committer.cycle()
        assert token == 1
        assert isinstance(error, ObjectChanged)
        assert committer.is_idle
        assert _files(folder) == ["taken"]


def test_what_has_no_name_yet_can_be_taken_back(folder: Folder) -> None:
    committer: Committer[str] = Committer(Syncing(folder))
    committer.stage(_large(folder, "a"), None, "a")
    committer.cycle()
    committer.stage(_large(folder, "b"), None, "b")
    (draft,) = committer.abandon()
    assert draft.discard()
    assert committer.cycle() == [("a", None)]
    assert committer.is_idle
    assert _files(folder) == ["a"]


def test_without_durability_a_draft_has_its_name_at_once(folder: Folder) -> None:
    committer: Committer[int] = Committer(Syncing(folder, durable=False))
    committer.stage(write_small(folder, "f", b"data"), None, 1)
    assert _files(folder) == ["f"]
    assert committer.waiting == 1
    assert committer.cycle() == [(1, None)]


@needs_o_path
def test_H50_what_a_failed_flush_covered_is_not_done_and_nothing_after_it(folder: Folder) -> None:
    (folder.path / "a").write_bytes(b"old")
    seen = folder.look("a")
    syncing = Syncing(folder)
    drafts = _drafts(folder, ["a", "b"])
    _break(syncing, os.O_PATH)
    results = syncing.commit(drafts, [seen, None])
    assert all(isinstance(result, LocalFault) for result in results)
    assert str(results[0]).startswith(f"Cannot put on disk what was written to {folder.path}: ")
    assert _files(folder) == ["a"]
    assert (folder.path / "a").read_bytes() == b"old"
    # The disk seems well again; but whose pages were lost is not known.
    _break(syncing, os.O_RDONLY)
    assert all(syncing.commit(_drafts(folder, ["c"]), [None]))
    assert "1 file systems lost" in repr(syncing)
    assert Syncing(folder).commit(_drafts(folder, ["c"]), [None]) == [None]


@needs_o_path
def test_H50_names_whose_flush_failed_are_not_done(folder: Folder) -> None:
    syncing = Syncing(folder)
    committer: Committer[str] = Committer(syncing)
    committer.stage(_large(folder, "a"), None, "a")
    assert committer.cycle() == []
    committer.stage(_large(folder, "b"), None, "b")
    _break(syncing, os.O_PATH)
    results = dict(committer.cycle())
    assert {token: type(error) for token, error in results.items()} == {"a": LocalFault, "b": LocalFault}
    assert committer.is_idle
    assert _files(folder) == ["a"]  # its data is on disk; only its name may not be


@pytest.mark.parametrize("is_made_anew", [False, True])
@pytest.mark.parametrize("durable", [True, False])
def test_a_folder_that_was_moved_away_and_is_not_held_open_any_more_does_not_count_as_arrived(
    folder: Folder, durable: bool, is_made_anew: bool
) -> None:
    """Only so many folders are held open at once."""
    committer: Committer[str] = Committer(Syncing(folder, durable=durable))
    for key in ("a/x", "b/y", "z"):
        committer.stage(write_small(folder, key, b"1"), None, key)
    told = committer.cycle() if durable else []
    assert told == []
    os.rename(folder.path / "a", folder.path / "elsewhere")
    if is_made_anew:
        (folder.path / "a").mkdir()
    folder.forget()
    results = dict(committer.cycle())
    assert "its folder was moved or replaced" in str(results.pop("a/x"))
    assert results == {"b/y": None, "z": None}


@every_way
def test_a_folder_that_was_moved_away_does_not_count_as_arrived(folder: Folder, durable: bool) -> None:
    drafts = _drafts(folder, ["a/b/f", "c/f"])
    (folder.path / "a").rename(folder.path.parent / "elsewhere")
    results = Syncing(folder, durable).commit(drafts, [None, None])
    assert isinstance(results[0], ObjectChanged)
    assert "its folder was moved or replaced" in str(results[0])
    assert results[1] is None
    folder.path.rename(folder.path.parent / "other")
    results = Syncing(folder, durable).commit(_drafts(folder, ["g"]), [None])
    assert isinstance(results[0], ObjectChanged)


@every_way
def test_threads_stage_while_another_cycles(folder: Folder, durable: bool) -> None:
    committer: Committer[str] = Committer(Syncing(folder, durable))
    keys = [f"d{number % 3}/f{number}" for number in range(60)]

    def work(part: int) -> None:
        for key in keys[part::3]:
            committer.stage(write_small(folder, key, b"data"), None, key)

    threads = [threading.Thread(target=work, args=(part,)) for part in range(3)]
    for thread in threads:
        thread.start()
    told: list[tuple[str, SternaError | None]] = []
    while not committer.is_idle or any(thread.is_alive() for thread in threads):
        told += committer.cycle()
    told += committer.cycle() + committer.cycle()
    assert sorted(told) == sorted((key, None) for key in keys)
    assert _files(folder) == sorted(keys)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a second disk")
def test_H47_every_file_system_below_the_folder_is_flushed(folder: Folder) -> None:
    (folder.path / "disk").mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder.path / "disk")]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this system does not let us mount")
    try:
        syncing = Syncing(folder)
        drafts = _drafts(folder, ["disk/a", "disk/b/c", "d"])
        assert len({draft.device for draft in drafts}) == 2
        assert syncing.commit(drafts, [None] * 3) == [None] * 3
        assert len(syncing._volumes) == 2
    finally:
        folder.forget()
        subprocess.run(["umount", "-l", folder.path / "disk"], check=True)


@pytest.mark.parametrize(
    ("release", "tells"),
    [("6.18.44-fc", True), ("5.8.0", True), ("5.7.19", False), ("4.19.0-1", False), ("10.0", True), ("odd", False)],
)
def test_H50_syncfs_is_trusted_where_it_tells_errors(release: str, tells: bool) -> None:
    assert _syncfs_tells_errors(release) is tells
