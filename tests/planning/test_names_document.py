"""The tables of docs/names.md: which links are made, and under which names keys are written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sterna.planning.collide import Collisions, Folds, OnCollision
from sterna.stores.named import why_leads_out
from sterna.stores.names import why_refused
from tests.planning.test_collide import places

_DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "names.md").read_text(encoding="utf-8")
_LINKS = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \| (made|refused) \|$", _DOCUMENT, re.MULTILINE)
_PATHS = re.findall(
    r"^\| `([^`]+)`(?:, beside `([^`]+)`)?(, where case is folded|, on Windows)? \| `([^`]+)` \|$",
    _DOCUMENT,
    re.MULTILINE,
)


def test_the_document_has_its_examples() -> None:
    assert (len(_LINKS), len(_PATHS)) == (9, 11)


@pytest.mark.parametrize(("path", "target", "becomes"), _LINKS)
def test_H63_a_link_is_made_or_refused_as_it_says(path: str, target: str, becomes: str) -> None:
    assert (why_leads_out(path, target.encode()) == "") is (becomes == "made")


@pytest.mark.parametrize(("key", "other", "where", "path"), _PATHS)
def test_a_key_is_written_where_it_says(key: str, other: str, where: str, path: str) -> None:
    windows = "Windows" in where
    keys = sorted({key, *([other] if other else [])})
    folds = Folds(str.casefold)
    for one in keys:
        folds.see(one)
    collisions = Collisions(
        lambda one: why_refused(one, windows=windows) or None,
        OnCollision.ESCAPE,
        windows=windows,
        folded=folds.found if "case" in where else None,
    )
    assert places(collisions, keys)[key] == path
