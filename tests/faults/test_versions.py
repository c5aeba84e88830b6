"""Versions listed through a front that lies about pages: the tree as it was comes whole, or the restore says that it
cannot tell (H64, H76, H77, H79)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

import sterna
from sterna.model.errors import SternaError
from tests.e2e.trees import tree
from tests.faults import front as f
from tests.faults.case import Case
from tests.faults.front import Front
from tests.servers.oracle import Bucket

KEYS = ["a", "a b+c%", "dir/1", "dir/2", "é/\u4e00", "\U0001f426"]
THEN = dict.fromkeys(KEYS, b"second")


@dataclass(frozen=True)
class SmallPages(f.Kind):
    """Three versions in a page: every other key is cut in two."""

    def fits(self, operation: str) -> bool:
        return operation == "ListVersions"

    def before(self, exchange: f.Exchange, fault: f.Fault) -> None:
        exchange.target = exchange.target.replace("max-keys=1000", "max-keys=3")
        fault.hit()


@dataclass(frozen=True)
class WithoutVersionMarker(f.ListFault):
    """The page says which key it goes on with, and not which version of it."""

    def change(self, page: bytes, exchange: f.Exchange, fault: f.Fault) -> bytes | None:
        return f.without_tag(page, "NextVersionIdMarker") if f.tag(page, "NextVersionIdMarker") else None


@dataclass(frozen=True)
class OneVersionTwice(f.ListFault):
    """The first record of the page stands there twice."""

    def change(self, page: bytes, exchange: f.Exchange, fault: f.Fault) -> bytes | None:
        found = f.entries(page)
        return f.with_entries(page, [found[0], *found])


@pytest.fixture
def case(front: Front, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    with closing(Case(front, bucket, tmp_path, monkeypatch)) as case:
        bucket.enable_versions()
        for key in KEYS:
            for body in (b"first", b"second"):
                bucket.put(f"p/{key}", body)
        bucket.put("p/gone", b"x")
        bucket.delete("p/gone")
        front.fault("ListVersions", nth="always", kind=SmallPages())
        yield case


def restored(case: Case, target: Path) -> tuple[int, str]:
    """The exit code of a restore to a moment that lies behind all that was written, and the sentence that ended it."""
    try:
        summary = sterna.restore(case.bucket.url("p"), target, at="0s", settings=case.settings())
    except SternaError as error:
        return error.exit_code, error.sentence
    return summary.exit_code, ""


def test_small_pages_are_put_together(case: Case, tmp_path: Path) -> None:
    assert restored(case, tmp_path / "t") == (0, "")
    assert tree(tmp_path / "t") == THEN
    assert case.front.count("ListVersions") >= 5


@pytest.mark.parametrize(
    "kind",
    [f.CutXml(at=200), f.EmptyBody(), f.ErrorIn200(), f.Html(), f.INTERNAL_ERROR],
    ids=lambda kind: type(kind).__name__,
)
def test_H76_a_page_that_does_not_arrive_whole_is_asked_for_again(case: Case, tmp_path: Path, kind: f.Kind) -> None:
    case.front.fault("ListVersions", nth=4, kind=kind)
    assert restored(case, tmp_path / "t") == (0, "")
    assert tree(tmp_path / "t") == THEN


@pytest.mark.parametrize(
    "kind, words",
    [
        (f.TruncatedWithoutToken(), "goes on, and not where"),
        (f.RepeatedToken(), "a version twice"),
        (f.RepeatedPage(), "does not move on"),
        (f.ShuffledPage(), "cannot be trusted"),
        (WithoutVersionMarker(), "goes on, and not where"),
        (OneVersionTwice(), "a version twice"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_H77_pages_that_contradict_themselves_are_no_tree(case: Case, tmp_path: Path, kind: f.Kind, words: str) -> None:
    case.front.fault("ListVersions", nth=range(2, 100), kind=kind)
    code, sentence = restored(case, tmp_path / "t")
    assert (code, words in sentence) == (4, True), sentence
    assert tree(tmp_path / "t").items() <= THEN.items()


def test_a_server_that_lists_no_versions_is_taken_at_its_word_of_times(case: Case, tmp_path: Path) -> None:
    case.front.fault("ListVersions", nth="always", kind=f.NOT_IMPLEMENTED)
    assert restored(case, tmp_path / "t") == (0, "")
    assert tree(tmp_path / "t") == THEN


def test_who_may_not_list_versions_hears_of_the_permission(case: Case, tmp_path: Path) -> None:
    case.front.fault("ListVersions", nth="always", kind=f.ACCESS_DENIED)
    code, sentence = restored(case, tmp_path / "t")
    assert (code, "s3:ListBucketVersions" in sentence) == (3, True), sentence
    assert not (tmp_path / "t").exists()
