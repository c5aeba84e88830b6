"""A bucket listed through a front that lies about pages: a listing ends whole, or raises, or is whole but for what no
client could know (H26, H64, H76, H77, H79, H80)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from sterna.jobs.sides import open_bucket
from sterna.model.errors import SternaError
from sterna.model.events import Tally
from sterna.model.location import BucketPath, parse_location
from sterna.wire.loop import run
from tests.faults import front as f
from tests.faults.case import Case
from tests.faults.front import Front
from tests.servers.oracle import Bucket

pytestmark = [pytest.mark.thorough, pytest.mark.slow]  # ninety uploads before each

PAGE = 6
KEYS = sorted([f"dir-{n // 9:03d}/{n:05d}.bin" for n in range(90)] + ["a b+c%", "ä/\u4e00", "\uffee", "\U0001f426"])


@pytest.fixture
def case(front: Front, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    with closing(Case(front, bucket, tmp_path, monkeypatch)) as case:
        for key in KEYS:
            bucket.put(f"p/{key}", b"x")
        case.front.fault(("ListV2", "ListV1"), nth="always", kind=SmallPages())
        yield case


@dataclass(frozen=True)
class SmallPages(f.Kind):
    """The server shows fewer keys in a page than it is asked for, as every server may."""

    def fits(self, operation: str) -> bool:
        return operation in ("ListV2", "ListV1")

    def before(self, exchange: f.Exchange, fault: f.Fault) -> None:
        exchange.target = exchange.target.replace("max-keys=1000", f"max-keys={PAGE}")
        fault.hit()


@dataclass(frozen=True)
class WithoutStartAfter(f.Kind):
    """The server begins at the beginning of the bucket, whatever it is asked to start after."""

    def fits(self, operation: str) -> bool:
        return operation == "ListV2"

    def before(self, exchange: f.Exchange, fault: f.Fault) -> None:
        path, _, query = exchange.target.partition("?")
        exchange.target = path + "?" + "&".join(one for one in query.split("&") if not one.startswith("start-after="))
        fault.hit()


def listed(case: Case) -> tuple[list[str], SternaError | None]:
    """The keys that came, and the error by which the listing ended, if any."""
    location = parse_location(case.bucket.url("p"))
    assert isinstance(location, BucketPath)
    keys: list[str] = []

    async def read() -> SternaError | None:
        async with open_bucket(location, case.settings().source, case.settings(), Tally()) as store:
            try:
                async with aclosing(store.pages()) as pages:  # type: ignore[type-var]
                    async for page in pages:
                        keys.extend(entry.key for entry in page.entries)
            except SternaError as error:
                return error
        return None

    error = run(read())
    return keys, error


def test_an_honest_listing_is_whole_and_costs_at_most_half_more_than_a_serial_one(case: Case) -> None:
    assert listed(case) == (KEYS, None)
    assert case.front.count("ListV2") <= 1.5 * -(-len(KEYS) // PAGE)


@pytest.mark.parametrize(
    "kind", [f.INTERNAL_ERROR, f.Html(), f.EmptyBody(), f.CutXml(300), f.ResetBeforeRequest()], ids=repr
)
@pytest.mark.parametrize("nth", ["every 3rd", 1])
def test_H26_H76_a_page_that_fails_once_is_asked_for_again(case: Case, kind: f.Kind, nth: str | int) -> None:
    case.front.fault("ListV2", nth=nth, kind=kind)
    assert listed(case) == (KEYS, None)


NEVER_SHORT = [f.TruncatedWithoutToken(), f.RepeatedPage(), f.RepeatedToken(), f.WrongKeyCount(), f.ACCESS_DENIED,
               f.TokenButNotTruncated(), f.TruncatedWithoutToken(0)]  # fmt: skip


@pytest.mark.parametrize("kind", NEVER_SHORT, ids=repr)
@pytest.mark.parametrize("nth", [1, 3, 8])
def test_H76_H77_H80_whatever_page_lies_the_listing_is_whole_or_raises(case: Case, kind: f.Kind, nth: int) -> None:
    case.front.fault("ListV2", nth=nth, kind=kind, must_hit=False)
    keys, error = listed(case)
    assert keys == KEYS[: len(keys)]
    assert error is not None or keys == KEYS


@pytest.mark.parametrize("nth", [2, 5])
def test_H79_a_shuffled_page_is_refused_by_name(case: Case, nth: int) -> None:
    case.front.fault("ListV2", nth=nth, kind=f.ShuffledPage())
    keys, error = listed(case)
    assert keys == KEYS[: len(keys)]
    assert error is None or "in another order" in error.sentence
    assert error is not None or keys == KEYS


def test_H79_a_server_that_shuffles_every_page_from_the_first_on_is_sorted(case: Case) -> None:
    case.front.fault("ListV2", nth="always", kind=f.ShuffledPage())
    assert listed(case) == (KEYS, None)


def test_H77_a_server_that_overlooks_start_after_is_listed_serially(case: Case) -> None:
    case.front.fault("ListV2", nth="always", kind=WithoutStartAfter())
    assert listed(case) == (KEYS, None)


def test_a_server_without_the_second_version_is_listed_by_the_first(case: Case) -> None:
    case.front.fault("ListV2", nth="always", kind=f.NOT_IMPLEMENTED)
    assert listed(case) == (KEYS, None)
    assert case.front.count("ListV2") == 1


def _beside(element: bytes) -> f.Rewrite:
    return f.Rewrite(lambda page: page.replace(b"</ListBucketResult>", element + b"</ListBucketResult>"))


def _says(name: str, value: str) -> f.Rewrite:
    return f.Rewrite(lambda page: f.with_tag(page, name, value))


NOT_ASKED_FOR = {
    "prefixes": _beside(b"<CommonPrefixes><Prefix>p/zz/</Prefix></CommonPrefixes>"),
    "another word of its end": _beside(b"<IsTruncated>true</IsTruncated>"),
    "its end in another namespace": _beside(b'<s3:IsTruncated xmlns:s3="u">true</s3:IsTruncated>'),
    "an error": _beside(b"<Error><Code>InternalError</Code></Error>"),
    "another bucket": _says("Name", "other"),
    "another prefix": _says("Prefix", "other/"),
    "a delimiter": _says("Delimiter", "/"),
    "a second key": f.Rewrite(lambda page: page.replace(b"</Key>", b"</Key><Key>p/zz</Key>", 1)),
}


@pytest.mark.parametrize("name", NOT_ASKED_FOR)
@pytest.mark.parametrize("nth", [1, 3, "always"])
def test_H76_a_page_that_contradicts_itself_or_answers_another_question_fails_the_listing(
    case: Case, name: str, nth: f.Nth
) -> None:
    case.front.fault("ListV2", nth=nth, kind=NOT_ASKED_FOR[name])
    keys, error = listed(case)
    assert keys == KEYS[: len(keys)]
    if nth == 3 and error is None:  # a range that nobody needed
        assert keys == KEYS
    else:
        assert error is not None
        assert error.sentence.startswith("The listing")
