"""Laws of manifests: any rows come back, no other lines pass for them, and the root is what its definition says."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterna.model.errors import ManifestUnusable
from sterna.planning.frames import blocks, packed
from sterna.planning.holding import Chooser
from sterna.planning.manifest import Head, ManifestFile, ManifestWriter, Row
from sterna.planning.merkle import Merkle, proof, root_by

KEYS = st.text(st.characters(exclude_categories=()), min_size=1, max_size=8)
SUMS = st.sampled_from(["", "abcd", "+/=="])
NUMBERS = st.integers(0, 2**50)
HEAD = Head(algorithms=[], created="", destination="d", filters=False, run="r", source="s", sterna="1")


@st.composite
def rows(draw: st.DrawFn, most: int = 12) -> list[Row]:
    keys = sorted(draw(st.sets(KEYS, max_size=most)))
    return [
        Row(key, state="failed")
        if draw(st.booleans())
        else Row(key, draw(NUMBERS), draw(SUMS), draw(SUMS), draw(SUMS), draw(SUMS), draw(SUMS))
        for key in keys
    ]


def write(path: Path, given: list[Row]) -> None:
    with ManifestWriter(path, HEAD) as writer:
        writer.write(given)
        writer.finish()


def read(path: Path) -> list[Row]:
    with ManifestFile.open(path) as manifest:
        return [row for page in manifest.pages() for row in page]


def naive(lines: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word by word."""
    if not lines:
        return sha256().digest()
    if len(lines) == 1:
        return sha256(b"\0" + lines[0]).digest()
    k = 1
    while k * 2 < len(lines):
        k *= 2
    return sha256(b"\1" + naive(lines[:k]) + naive(lines[k:])).digest()


@settings(deadline=None)
@given(rows())
def test_any_rows_are_read_as_they_were_written(given: list[Row]) -> None:
    with TemporaryDirectory() as folder:
        write(Path(folder) / "m", given)
        assert read(Path(folder) / "m") == given


@settings(deadline=None, max_examples=60)
@given(rows(6), st.data())
def test_no_other_lines_pass_for_them(given: list[Row], data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "m"
        write(path, given)
        text = b"".join(blocks([path.read_bytes()]))
        lines = text.splitlines(keepends=True)
        at, other = (data.draw(st.integers(0, len(lines) - 1)) for _ in range(2))
        swapped = lines.copy()
        swapped[at], swapped[other] = lines[other], lines[at]
        byte, flip = data.draw(st.integers(0, len(text) - 1)), data.draw(st.integers(1, 255))
        flipped = text[:byte] + bytes([text[byte] ^ flip]) + text[byte + 1 :]
        removed, added = lines[:at] + lines[at + 1 :], [*lines[:at], lines[other], *lines[at:]]
        for changed in (flipped, b"".join(removed), b"".join(added), b"".join(swapped)):
            if changed == text:
                continue
            path.write_bytes(packed(changed))
            with pytest.raises(ManifestUnusable):
                ManifestFile.open(path)


@settings(deadline=None, max_examples=60)
@given(rows(6), st.data())
def test_no_flipped_byte_of_the_file_changes_what_is_read(given: list[Row], data: st.DataObject) -> None:
    """A few bits of a frame mean nothing; whatever else is flipped is found."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "m"
        write(path, given)
        whole = path.read_bytes()
        byte, flip = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(1, 255))
        path.write_bytes(whole[:byte] + bytes([whole[byte] ^ flip]) + whole[byte + 1 :])
        try:
            assert read(path) == given
        except ManifestUnusable:
            pass


@given(st.lists(st.binary(max_size=4), max_size=40), st.data())
def test_the_root_is_the_one_of_the_definition_and_each_line_is_proved_by_its_path(
    lines: list[bytes], data: st.DataObject
) -> None:
    tree = Merkle()
    for line in lines:
        tree.add(line)
    assert tree.root == naive(lines)
    if lines:
        number = data.draw(st.integers(0, len(lines) - 1))
        assert root_by(lines[number], number, len(lines), proof(lines, number, len(lines))) == tree.root


@given(st.integers(0, 60), st.integers(0, 80), st.integers())
def test_a_chooser_takes_as_many_as_are_wanted_and_the_same_again(wanted: int, count: int, seed: int) -> None:
    chosen = [Chooser(wanted, count, seed) for _ in range(2)]
    first, again = ([one.takes_next() for _ in range(count)] for one in chosen)
    assert first == again
    assert sum(first) == min(wanted, count)
