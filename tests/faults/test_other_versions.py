"""A download meets several versions of an object: the file is one of them, and not an older one than was listed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

import sterna
from sterna.model.events import Summary
from tests.e2e.trees import leftovers, plant, tree
from tests.faults import front as f
from tests.faults.case import MIB, Case
from tests.faults.front import Front
from tests.servers.oracle import Bucket

PART = 5 * MIB
FIRST, SECOND = b"1" * (2 * PART + 1000), b"2" * (2 * PART + 1000)  # three ranges each


@pytest.fixture
def case(front: Front, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    with closing(Case(front, bucket, tmp_path, monkeypatch)) as case:
        yield case


@dataclass(frozen=True)
class Cached(f.Kind):
    """Something on the way answers with what it kept of the object: this body, of this age."""

    body: bytes
    etag: str = '"0123456789abcdef0123456789abcdef"'
    modified: str = "Fri, 13 Feb 2009 23:31:30 GMT"

    def instead(self, exchange: f.Exchange, fault: f.Fault) -> f.Answer:
        fault.hit()
        answer = f.Answer(200, [("ETag", self.etag), ("Last-Modified", self.modified)], self.body)
        span = exchange.request.headers.get("range")
        if exchange.request.method == "HEAD":
            answer.body, answer.no_body, answer.length = b"", True, len(self.body)
        elif span is not None:
            first, _, last = span.removeprefix("bytes=").partition("-")
            answer.status, answer.body = 206, self.body[int(first) : int(last) + 1]
            answer.set("Content-Range", f"bytes {span.removeprefix('bytes=')}/{len(self.body)}")
        return answer


def _down(case: Case, target: Path) -> Summary:
    summary = sterna.sync(case.bucket.url("p"), target, settings=case.settings())
    assert leftovers(target) == []
    return summary


@pytest.mark.slow
@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("in_parts", [True, False], ids=["no MD5", "MD5"])
def test_H42_ranges_are_not_mixed_where_the_server_shows_no_etag_with_them_and_knows_no_conditions(
    case: Case, tmp_path: Path, nth: int, in_parts: bool
) -> None:
    def put(body: bytes) -> None:
        if in_parts:  # so that nothing but its ETag tells one version from another
            case.bucket.put_multipart("p/a", body[:PART], body[PART:])
        else:
            case.bucket.put("p/a", body)

    put(FIRST)
    case.front.fault("GetRange", nth="always", kind=f.IgnoreConditions())
    case.front.fault("GetRange", nth="always", kind=f.SetHeader("ETag", None))
    case.front.before("GetRange", nth=nth, call=lambda _: put(SECOND))
    assert _down(case, tmp_path / "target").exit_code == 0
    assert tree(tmp_path / "target") == {"a": SECOND}


@pytest.mark.parametrize("is_large", [False, True], ids=["small", "large"])
@pytest.mark.parametrize("nth", [1, "always"])
def test_H42_an_older_version_out_of_a_cache_is_not_taken_for_the_one_that_was_listed(
    case: Case, tmp_path: Path, is_large: bool, nth: f.Nth
) -> None:
    older, newer = (FIRST, SECOND) if is_large else (b"older", b"newer")
    case.bucket.put("p/a", newer)
    target = plant(tmp_path / "target", {"a": b"the file as it was"})
    case.front.fault("Head" if is_large else "Get", nth=nth, kind=Cached(older))
    if is_large and nth == "always":
        case.front.fault("GetRange", nth="always", kind=Cached(older), must_hit=False)
    summary = _down(case, target)
    if nth == 1:
        assert (summary.exit_code, tree(target)) == (0, {"a": newer})
    else:
        assert (summary.exit_code, tree(target)) == (1, {"a": b"the file as it was"})
        assert "a cache is in the way" in summary.failures[0].error
