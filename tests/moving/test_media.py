"""Content types by the key's ending, the same on every machine."""

from __future__ import annotations

import mimetypes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterna.moving.media import guess_type


@pytest.mark.parametrize(
    ("key", "media"),
    [
        ("a/b.txt", "text/plain"),
        ("page.HTML", "text/html"),
        ("x.tar.gz", "application/x-tar"),
        ("photo.jpeg", "image/jpeg"),
        ("a.b/c", ""),
        ("no-ending", ""),
        ("", ""),
        ("folder/", ""),
        ("a.unknown-ending", ""),
        ("ends.", ""),
        (".json", "application/json"),
        ("dir.txt/.hidden", ""),
        ("a;b,c.txt", "text/plain"),
        ("site/app.js", "text/javascript"),
        ("site/font.woff2", "font/woff2"),
        ("photo.WEBP", "image/webp"),
        ("README.md", "text/markdown"),
        ("report.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ("feed.xml", "text/xml"),
        ("é🐦.pdf", "application/pdf"),
    ],
)
def test_the_ending_decides(key: str, media: str) -> None:
    assert guess_type(key) == media


def test_the_tables_of_this_machine_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [guess_type(f"a.{ending}") for ending in ("qqq", "txt")]
    mimetypes.add_type("application/x-local", ".qqq")
    try:
        assert [guess_type(f"b.{ending}") for ending in ("qqq", "txt")] == before == ["", "text/plain"]
    finally:
        mimetypes.init()


@settings(deadline=None)
@given(st.text(max_size=40), st.sampled_from([".txt", ".data", ".json", ".", ".x.y", ""]))
def test_every_key_has_a_type_that_a_header_can_carry(key: str, ending: str) -> None:
    media = guess_type(key + ending)
    assert media == guess_type(key + ending)
    assert media.isascii()
    assert media.isprintable()
