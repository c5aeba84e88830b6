"""A manifest is read as it was written, and one that was cut or changed is refused with a sentence."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from sterna.model.errors import ManifestUnusable, SternaError, WrongSetting
from sterna.planning.frames import blocks, packed
from sterna.planning.manifest import Head, ManifestFile, ManifestWriter, Row
from sterna.planning.merkle import Merkle, proof, root_by

HEAD = Head(
    algorithms=["CRC64NVME"],
    created="2026-11-22T01:00:00Z",
    destination="s3://bucket/p",
    filters=False,
    run="20261122T010000-abcdef",
    source="/data",
    sterna="1.0",
)
ROWS = [
    Row("a", 3, "1500000000.5", "abc=", etag="e"),
    Row("b/\u00e9", 0, "-1", "def=", "00ff", "f", "v1"),
    Row("c", state="failed"),
    Row("d", 4, "1", "ghi=", state="kept", basis="file"),
    Row("\ud800odd %41", 1, "2", "jkl="),
]


def write(path: Path, rows: list[Row] = ROWS, head: Head = HEAD) -> str:
    with ManifestWriter(path, head) as writer:
        writer.write(rows)
        return writer.finish()[1]


def read(path: Path) -> list[Row]:
    with ManifestFile.open(path) as manifest:
        return [row for page in manifest.pages() for row in page]


def text_of(path: Path) -> bytes:
    return b"".join(blocks([path.read_bytes()]))


def refused(path: Path, text: bytes) -> str:
    """What is said of a manifest of these lines."""
    path.write_bytes(packed(text))
    with pytest.raises(ManifestUnusable) as caught:
        ManifestFile.open(path)
    assert caught.value.sentence.endswith("; take another copy of it.")
    return caught.value.sentence


def resealed(lines: list[bytes]) -> bytes:
    """Lines with a root that is right for them."""
    tree = Merkle()
    for line in lines:
        tree.add(line)
    return b"\n".join([*lines, b'{"root":"%s"}' % tree.root.hex().encode(), b""])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "manifest"


def test_what_was_written_is_read(path: Path) -> None:
    root = write(path)
    with ManifestFile.open(path) as manifest:
        assert manifest.head == HEAD
        assert [row for page in manifest.pages() for row in page] == ROWS
        assert [row for page in manifest.pages() for row in page] == ROWS, "it may be asked for again"
        assert manifest.root == root
        assert (manifest.end.count, manifest.end.failed, manifest.end.bytes) == (4, 1, 8)
        assert not manifest.end.complete


def test_a_manifest_of_nothing_is_whole(path: Path) -> None:
    write(path, [])
    with ManifestFile.open(path) as manifest:
        assert list(manifest.pages()) == []
        assert manifest.end.complete


def test_the_lines_are_canonical_json_and_only_their_owner_reads_them(path: Path) -> None:
    write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lines = text_of(path).decode().splitlines()
    assert lines[1] == '{"crc64nvme":"abc=","etag":"e","key":"a","mtime":"1500000000.5","size":3}'
    assert lines[3] == '{"key":"c","state":"failed"}'
    assert json.loads(lines[5]) == {
        "crc64nvme": "jkl=", "key": "%ED%A0%80odd %2541", "mtime": "2", "quoted": True, "size": 1
    }  # fmt: skip
    for line in lines:
        assert line == json.dumps(json.loads(line), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def test_a_place_that_is_not_utf_8_comes_back(path: Path) -> None:
    from msgspec.structs import replace

    head = replace(HEAD, source="/odd\udcff%")
    write(path, head=head)
    with ManifestFile.open(path) as manifest:
        assert manifest.head == head


def test_who_packs_it_anew_changes_nothing(path: Path) -> None:
    root = write(path)
    text = text_of(path)
    path.write_bytes(packed(text[:50]) + packed(text[50:]))
    with ManifestFile.open(path) as manifest:
        assert manifest.root == root


def test_one_line_is_proved_without_the_others(path: Path) -> None:
    root = write(path)
    with ManifestFile.open(path) as manifest:
        lines = list(manifest.lines())
        way = proof(manifest.lines(), 2, len(lines))
    assert len(lines) == len(ROWS) + 2, "the head and the counts are below the root as well"
    assert root_by(lines[2], 2, len(lines), way).hex() == root


def test_rows_out_of_order_are_not_written(path: Path) -> None:
    with ManifestWriter(path, HEAD) as writer:
        with pytest.raises(ValueError, match="key order"):
            writer.write([Row("b", 1), Row("a", 1)])
        with pytest.raises(ValueError, match="key order"):
            writer.write([Row("b", 1)])
    assert not path.exists()


def test_what_is_not_finished_leaves_what_was_there(path: Path) -> None:
    path.write_bytes(b"before")
    with ManifestWriter(path, HEAD) as writer:
        writer.write(ROWS)
    assert path.read_bytes() == b"before"
    assert list(path.parent.iterdir()) == [path]


def test_a_manifest_goes_over_no_link_and_no_folder(path: Path) -> None:
    path.symlink_to(path.parent / "elsewhere")
    with pytest.raises(WrongSetting, match="no regular file"):
        ManifestWriter(path, HEAD)
    with pytest.raises(WrongSetting, match="no such path"):
        ManifestWriter(path.parent / "no" / "manifest", HEAD)


def test_other_files_are_no_manifests(path: Path, tmp_path: Path) -> None:
    path.write_bytes(b"plain text")
    with pytest.raises(ManifestUnusable, match="damaged"):
        ManifestFile.open(path)
    assert "no manifest of Sterna" in refused(path, b"")
    assert "no manifest of Sterna" in refused(path, b'{"format":"other","version":1}\n')
    assert "no manifest of Sterna" in refused(path, b"[]\n")
    with pytest.raises(WrongSetting, match="no such path"):
        ManifestFile.open(tmp_path / "none")
    with pytest.raises(SternaError, match="is a folder"):
        ManifestFile.open(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ManifestUnusable, match="no regular file"):
        ManifestFile.open(tmp_path / "pipe")


def test_a_later_version_is_named(path: Path) -> None:
    write(path)
    text = text_of(path).replace(b'"version":1}', b'"version":2,"what":"is new"}', 1)
    assert "has version 2, and this Sterna reads version 1" in refused(path, text)


def test_what_was_cut_is_refused(path: Path) -> None:
    write(path)
    whole, text = path.read_bytes(), text_of(path)
    for cut in (1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(ManifestUnusable, match="cut"):
            ManifestFile.open(path)
    assert "was cut" in refused(path, text[:-1])
    lines = text.splitlines(keepends=True)
    for count in range(1, len(lines)):
        refused(path, b"".join(lines[:count]))


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (b'"size":3', b'"size":4', "do not lead to the root"),
        (b'"source":"/data"', b'"source":"/date"', "do not lead to the root"),
        (b'"count":4', b'"count":5', "do not lead to the root"),
        (b'{"root":"', b'{"root":"0', "do not lead to the root"),
        (b'"key":"b/', b'"key":"B/', "out of order"),
        (b'"size":3', b'"size": 3', "otherwise than a manifest does"),
        (b'"size":3', b'"size":3,"more":1', "line of another kind"),
        (b'"size":3', b'"size":3\xff', "line of another kind"),
    ],
)
def test_an_edit_is_refused(path: Path, before: bytes, after: bytes, words: str) -> None:
    write(path)
    text = text_of(path)
    assert text.count(before) == 1
    assert words in refused(path, text.replace(before, after))


def test_an_edit_with_a_root_of_its_own_still_has_to_add_up(path: Path) -> None:
    write(path)
    lines = text_of(path).splitlines()[:-1]
    assert "counts otherwise" in refused(path, resealed([*lines[:2], *lines[3:]]))
    assert "out of order" in refused(path, resealed([lines[0], lines[2], lines[1], *lines[3:]]))
    assert "out of order" in refused(path, resealed([*lines[:2], *lines[1:]]))
    assert "writes its first line otherwise" in refused(path, resealed([lines[0].replace(b":", b": ", 1), *lines[1:]]))


def test_a_file_that_is_replaced_while_it_is_read_is_not_believed(path: Path) -> None:
    write(path)
    with ManifestFile.open(path) as manifest:
        other = path.with_name("other")
        write(other, ROWS[:2])
        path.write_bytes(other.read_bytes())
        with pytest.raises(ManifestUnusable, match="replaced while it was read"):
            list(manifest.pages())
