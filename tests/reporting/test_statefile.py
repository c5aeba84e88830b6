"""The state file: what it says, that it is whole at every instant, and what is never written over."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sterna.model.errors import WrongSetting
from sterna.reporting.statefile import Counts, StateFile

TO = "s3://bucket/p at http://127.0.0.1:9000"
ODD = ['quo"te', 'a","filename":"b', "new\nline", "é 😀", "back\\slash", "tab\t", "]", "x,", "\x01"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    folder.mkdir()
    return folder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kept" / "state.json"


@pytest.fixture
def file(path: Path, folder: Path) -> Iterator[StateFile]:
    path.parent.mkdir()
    file = StateFile(path, folder, TO)
    yield file
    file.close()


def read(path: Path) -> dict[str, dict[str, Any]]:
    """The records by what the files are called."""
    records = json.loads(path.read_bytes())
    assert isinstance(records, list)
    return {record["filename"]: record for record in records}


def note(file: StateFile, key: str, *, is_uploaded: bool = True, size: int = 1, error: str = "") -> None:
    head, line = file.changed(key, is_uploaded=is_uploaded, size=size, checksum="MD5:x", error=error)
    file.publish({head: line})


def test_a_record_has_what_scripts_go_by(file: StateFile, folder: Path, path: Path) -> None:
    file.clear()
    assert json.loads(path.read_bytes()) == []
    file.plan([("a/b.txt", 3), ("c", 0)])
    file.planned()
    note(file, "a/b.txt", size=3)
    assert json.loads(path.read_bytes()) == [
        {"filepath": f"{folder}/a/b.txt", "filename": "b.txt", "uploadedSuccess": 1, "size": 3, "checksum": "MD5:x",
         "error": "", "destination": TO},
        {"filepath": f"{folder}/c", "filename": "c", "uploadedSuccess": 0, "size": 0, "checksum": "", "error": "",
         "destination": TO},
    ]  # fmt: skip
    assert file.look() == Counts(records=2, undone=1)
    assert list(file.undone()) == [("c", "")]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_list_is_planned_page_by_page_and_changes_keep_their_places(file: StateFile, path: Path) -> None:
    file.clear()
    file.plan([(name, 1) for name in "abc"])
    assert json.loads(path.read_bytes()) == [], "not before all is planned"
    file.plan([(name, 2) for name in "de"])
    file.planned()
    note(file, "d", is_uploaded=False, error="refused")
    note(file, "b")
    note(file, "new")
    assert [record["filename"] for record in json.loads(path.read_bytes())] == [*"abcde", "new"]
    records = read(path)
    assert [name for name, record in records.items() if record["uploadedSuccess"]] == ["b", "new"]
    assert records["d"]["error"] == "refused"
    assert file.records == 6


@pytest.mark.parametrize("name", ODD)
def test_any_name_comes_back_as_it_was(file: StateFile, path: Path, name: str) -> None:
    file.clear()
    file.plan([(f"x/{name}", 1), (name, 1)])
    file.planned()
    assert list(file.undone()) == [(f"x/{name}", ""), (name, "")]
    note(file, name, error=name, is_uploaded=False)
    assert [record["error"] for record in json.loads(path.read_bytes())] == ["", name]


def test_a_folder_whose_name_is_not_utf_8_has_a_state_file(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    file = StateFile(tmp_path / "state", folder, TO)
    file.clear()
    file.plan([("é", 1)])
    file.planned()
    assert list(file.undone()) == [("é", "")]
    assert json.loads((tmp_path / "state").read_bytes())[0]["filename"] == "é"
    file.close()


def test_it_is_replaced_by_a_rename_and_nothing_unfinished_stays(file: StateFile, path: Path) -> None:
    path.with_name(f"{file.beside}0123.part").write_text("of a run that was killed")
    file.clear()
    before = path.open(encoding="utf-8")
    file.plan([("a", 1)])
    file.planned()
    with before:
        assert before.read() == "[]\n", "who has the old one open reads it to its end"
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_who_was_let_in_stays_so(file: StateFile, path: Path) -> None:
    path.write_text("[]")
    path.chmod(0o644)
    file.clear()
    note(file, "a")
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_link_stays_a_link(tmp_path: Path, folder: Path, path: Path) -> None:
    path.parent.mkdir()
    (tmp_path / "link").symlink_to(path)
    file = StateFile(tmp_path / "link", folder, TO)
    file.clear()
    file.close()
    assert (tmp_path / "link").is_symlink()
    assert path.read_text() == "[]\n"


def test_a_list_laid_out_by_others_is_gone_on_with(file: StateFile, folder: Path, path: Path) -> None:
    """A script that was there before, or an editor: the four members that count, with blanks, and more of them."""
    records = [{"filename": name, "mine": [1], "uploadedSuccess": name == "a", "filepath": f"{folder}/{name}"}
               for name in ("a", "b")]  # fmt: skip
    path.write_text("\ufeff\n " + json.dumps(records, indent=4) + "\n\n")
    assert file.look() == Counts(2, 1, unbound=2), "where they were uploaded, nobody says"
    assert [key for key, _ in file.undone()] == ["b"]
    file.go_on()
    note(file, "b")
    assert {name: record["uploadedSuccess"] for name, record in read(path).items()} == {"a": 1, "b": 1}


def test_records_are_read_whole_wherever_a_piece_of_the_file_ends(file: StateFile, path: Path) -> None:
    file.clear()
    keys = [(f"{number:05d}-{'é' * (number % 7)}", number) for number in range(12_000)]
    file.plan(keys)
    file.planned()
    assert path.stat().st_size > 1 << 20
    assert [key for key, _ in file.undone()] == [key for key, _ in keys]


GOOD = '{"filepath": "/x/a", "filename": "a", "uploadedSuccess": 1}'


@pytest.mark.parametrize(
    "text",
    [
        "hello", "{}", GOOD, "[", "[" + GOOD, "[" + GOOD + ",", "[" + GOOD + ",]", f"[{GOOD} {GOOD}]", f"[{GOOD}] more",
        "[1]", '["a"]', "[[" * 10_000, '[{"filepath": "/x/a"}]', '[{"filename": "a", "uploadedSuccess": 1}]',
        GOOD.replace("1", "2").join("[]"), GOOD.replace("1", '"1"').join("[]"), '[{"filepath": "' + "a" * (3 << 20),
        "\x00", "null",
    ],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_what_is_no_state_file_is_refused_and_stays(file: StateFile, path: Path, text: str) -> None:
    path.write_text(text.replace("/x", file._root))
    was = path.read_bytes()
    with pytest.raises(WrongSetting, match="damaged, or is no state file") as refused:
        file.look()
    assert "state.json" in refused.value.sentence
    with pytest.raises(WrongSetting):
        file.go_on()
    assert path.read_bytes() == was
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_bytes_that_are_no_text_are_refused(file: StateFile, path: Path) -> None:
    path.write_bytes(b"[\xff\xfe]")
    with pytest.raises(WrongSetting, match="no state file"):
        file.look()


def test_another_folders_is_refused_by_both_names(file: StateFile, folder: Path, path: Path) -> None:
    path.write_text(f'[{{"filepath": "{folder}-other/a", "filename": "a", "uploadedSuccess": 1}}]')
    with pytest.raises(WrongSetting, match=r"state file of another folder than .*tree: it names .*tree-other/a"):
        file.look()


def test_another_destinations_is_refused_by_both_names(file: StateFile, folder: Path, path: Path) -> None:
    file.clear()
    file.plan([("a", 1)])
    file.planned()
    was = path.read_bytes()
    other = StateFile(path, folder, "s3://bucket/q")
    for reading in (other.look, other.go_on, lambda: list(other.undone())):
        with pytest.raises(WrongSetting, match=f"state file of a backup to {TO}, and this one goes to s3://bucket/q"):
            reading()
    assert path.read_bytes() == was


def test_the_same_folder_by_another_path_is_the_same(tmp_path: Path, folder: Path, path: Path, file: StateFile) -> None:
    (tmp_path / "link").symlink_to(folder)
    file.clear()
    file.plan([("a", 1)])
    file.planned()
    other = StateFile(path, tmp_path / "link", TO)
    assert list(other.undone()) == [("a", "")]


def test_what_is_no_file_is_refused(tmp_path: Path, folder: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, words in (("pipe", "no regular file"), ("tree", "no regular file"), ("no/such", "no such folder")):
        with pytest.raises(WrongSetting, match=words):
            StateFile(tmp_path / name, folder, TO).look()
    assert StateFile(tmp_path / "absent", folder, TO).look() is None
    (tmp_path / "empty").touch()
    assert StateFile(tmp_path / "empty", folder, TO).look() is None


def test_one_that_cannot_be_written_is_told_of_and_stops_nothing(file: StateFile, path: Path) -> None:
    file.clear()
    path.unlink()
    path.parent.rmdir()
    file.plan([("a", 1)])
    file.planned()
    note(file, "a")
    assert file.error == f"The state file {path} is not up to date: No such file or directory."
    path.parent.write_text("a file where a folder was")
    with pytest.raises(WrongSetting, match="cannot be written: Not a directory"):
        StateFile(path, Path("tree"), TO).clear()
