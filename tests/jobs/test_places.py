"""Where the trash of a run may be, and that no run carries it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sterna.jobs.places import with_trash
from sterna.jobs.settings import Settings
from sterna.model.errors import WrongSetting
from sterna.model.location import parse_location

pytestmark = pytest.mark.thorough


@pytest.mark.parametrize(
    ("trash", "words"),
    [
        ("s3://other/trash", "is in another bucket than the destination"),
        ("s3://bucket", "is no prefix"),
        ("/trash", "is no prefix"),
        ("p", "is the destination itself"),
        ("s3://bucket/p/", "is the destination itself"),
    ],
)
def test_a_trash_that_cannot_be_is_refused_by_name(trash: str, words: str) -> None:
    with pytest.raises(WrongSetting, match=words):
        with_trash(Settings(trash=trash), parse_location("/tmp"), parse_location("s3://bucket/p"))


@pytest.mark.parametrize("trash", ["a", "a/", "s3://bucket/a"])
def test_a_trash_at_the_source_is_refused(trash: str) -> None:
    with pytest.raises(WrongSetting, match="is the source itself"):
        with_trash(Settings(trash=trash), parse_location("s3://bucket/a"), parse_location("s3://bucket/b"))


def test_a_trash_inside_the_source_is_refused() -> None:
    with pytest.raises(WrongSetting, match="is inside the source"):
        with_trash(Settings(trash="a/bin"), parse_location("s3://bucket/a"), parse_location("s3://bucket/b"))


@pytest.mark.parametrize(
    ("trash", "key", "takes"),
    [
        ("p/bin", "bin/x", False),
        ("p/bin", "bin", True),
        ("p/bin", "bin2/x", True),
        ("bin", "bin/x", True),
        ("s3://bucket/p/a/b/", "a/b/c", False),
    ],
)
def test_a_trash_inside_the_destination_is_out_of_sight(trash: str, key: str, takes: bool) -> None:
    settings = with_trash(Settings(trash=trash), parse_location("/tmp"), parse_location("s3://bucket/p"))
    assert settings.filters.takes_key(key) is takes


def test_a_trash_of_a_folder_is_out_of_sight_by_whatever_name_it_is_given(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "alias").symlink_to(tmp_path / "root")
    settings = with_trash(
        Settings(trash=str(tmp_path / "alias" / "bin")),
        parse_location("s3://bucket/p"),
        parse_location(str(tmp_path / "root")),
    )
    assert not settings.filters.takes_key("bin/x")
    assert settings.trash.startswith(str(tmp_path / "root" / "bin" / "2"))


def test_a_trash_on_another_file_system_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongSetting, match="is on another file system than"):
        with_trash(Settings(trash="/proc/trash"), parse_location("s3://bucket/p"), parse_location(str(tmp_path)))
    with pytest.raises(WrongSetting, match="is in a bucket"):
        with_trash(Settings(trash="s3://bucket/trash"), parse_location("s3://bucket/p"), parse_location(str(tmp_path)))
