"""The second look: what closing listings and HEADs may say, and what is believed of it (H04, H06, H14, H16, H77-H80)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sterna.jobs.sides import open_bucket
from sterna.model.events import Tally
from sterna.model.location import BucketPath, parse_location
from sterna.stores.learned import Learned
from sterna.wire.loop import run
from tests.faults import front as f
from tests.faults.case import LARGE, PATIENCE, Case, Echo, noise
from tests.faults.front import Front
from tests.servers.oracle import Bucket

FILES = {f"{letter}.txt": letter.encode() * 9 for letter in "abcdefgh"}


@pytest.fixture
def case(front: Front, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    with closing(Case(front, bucket, tmp_path, monkeypatch)) as case:
        yield case


CLOSING = [
    f.TruncatedWithoutToken(),
    f.ShortPage(),
    f.ShortPage(0),
    f.EmptyList(),
    f.ShuffledPage(),
    f.ListWithout("p/c.txt", "p/h.txt"),
    f.ListWithout("p/c.txt", honest_count=False),
    f.WrongKeyCount(),
    f.Html(),
    f.EmptyBody(),
    f.CutXml(300),
    f.NOT_IMPLEMENTED,
    f.ACCESS_DENIED,
    f.WrongETag(),
    f.XmlBomb(),
]


@pytest.mark.parametrize("kind", CLOSING, ids=lambda kind: type(kind).__name__ + str(getattr(kind, "status", "")))
def test_H77_whatever_the_closing_listing_says_heads_settle_it(case: Case, kind: f.Kind) -> None:
    case.write(FILES)
    case.front.fault("ListV2", nth="from 2nd", kind=kind)
    ran = case.up()
    case.is_arrived(ran)
    assert case.front.count("Head") > 0


def test_H04_the_closing_listing_alone_proves_what_it_shows_as_it_was_sent(case: Case) -> None:
    case.write(FILES)
    ran = case.up()
    case.is_arrived(ran)
    assert (case.front.count("ListV2"), case.front.count("Head")) == (2, 0)
    assert all(one.proof.endswith("listed") for one in ran.outcomes.values())


def test_H04_a_listing_that_shows_what_heads_do_not_find_is_enough_of_a_look(case: Case) -> None:
    case.write(FILES)
    case.front.fault("Head", nth="always", kind=f.NO_SUCH_KEY, must_hit=False)
    case.is_arrived(case.up())


@pytest.mark.parametrize("requests", [1, 3])
@pytest.mark.parametrize("names", ["a.txt", "abcdefgh"])
def test_H04_what_is_seen_only_some_looks_later_is_no_failure(case: Case, requests: int, names: str) -> None:
    files = {"a.txt": b"one"} if names == "a.txt" else FILES
    case.write(files)
    case.front.fault("Put", key="p/a.txt", kind=f.DelayedVisibility(requests))
    case.is_arrived(case.up())


def test_H04_what_is_never_seen_is_looked_for_a_bounded_number_of_times(case: Case) -> None:
    case.write({"a.txt": b"one"})
    case.front.fault("Put", nth="always", kind=f.Lie())
    ran = case.up()
    assert case.front.count("Head") <= 6
    case.is_failed(ran, "a.txt", words="does not have it")


def test_H04_a_look_that_fails_is_no_proof(case: Case) -> None:
    case.write({"a.txt": b"one", "b.txt": b"two"})
    head = case.front.fault("Head", key="p/a.txt", nth="always", kind=f.INTERNAL_ERROR)
    ran = case.up()
    assert ran.summary.exit_code == 1
    assert [one.key for one in ran.summary.failures] == ["a.txt"]
    assert "looking at it failed" in ran.said
    assert "looking at it failed" in ran.log
    assert head.hits == PATIENCE.attempts
    case.converges()


def test_H14_a_server_with_other_etags_afterwards_is_settled_by_the_bytes(case: Case) -> None:
    case.write(FILES)
    case.front.fault(("Head", "ListV2"), nth="always", kind=f.WrongETag('"opaque"'))
    case.front.fault("Get", nth="always", kind=f.IgnoreConditions())
    ran = case.up()
    assert ran.summary.exit_code == 0, ran.said
    assert case.truth() == FILES


def test_H44_an_object_that_somebody_replaces_before_the_second_look_is_not_claimed(case: Case) -> None:
    case.write(FILES)
    case.front.after("Put", key="p/c.txt", call=lambda put: case.bucket.put("p/c.txt", b"another!!"))
    ran = case.up()
    assert (ran.summary.exit_code, [one.key for one in ran.summary.failures]) == (1, ["c.txt"]), ran.said
    assert "another object stands there" in ran.said
    assert case.truth() == FILES | {"c.txt": b"another!!"}


def test_H44_a_joined_object_that_somebody_replaces_before_the_second_look_is_not_claimed(case: Case) -> None:
    other = noise(LARGE, 3)
    case.write({"big.bin": noise(LARGE)})
    case.ignores_checksums()
    case.front.after("Complete", call=lambda done: case.bucket.put("p/big.bin", other))
    ran = case.up()
    assert (ran.summary.exit_code, [one.key for one in ran.summary.failures]) == (1, ["big.bin"]), ran.said
    assert "another object stands there" in ran.said
    assert case.truth() == {"big.bin": other}


# What the endpoint knows of checksums (H16, H20)


def _learned(case: Case, puts: int = 4) -> Learned:
    """What a store has learned after so many small uploads through the front."""
    location = parse_location(case.bucket.url("q"))
    assert isinstance(location, BucketPath)

    async def upload() -> Learned:
        async with open_bucket(location, case.settings().destination, case.settings(), Tally()) as store:
            for number in range(puts):
                await store.put(f"{number}", b"bytes %d" % number, {})
            return store.learned

    return run(upload())


def test_H16_a_server_that_shows_the_crc64nvme_that_it_computed_is_asked_for_no_other(case: Case) -> None:
    case.front.fault("Put", nth="always", kind=Echo())
    assert _learned(case).checksum == "CRC64NVME"
    assert "content-md5" not in case.front.requests_of("Put")[-1].headers


def test_H16_a_server_that_ignores_checksums_gets_content_md5(case: Case) -> None:
    case.ignores_checksums()
    assert _learned(case).checksum == "MD5"
    last = case.front.requests_of("Put")[-1].headers
    assert "content-md5" in last
    assert not [name for name in last if name.startswith(("x-amz-checksum", "x-amz-sdk-checksum"))]
    assert all("content-md5" in put.headers for put in case.front.requests_of("Put"))  # H20


@pytest.mark.parametrize("status, code", [(400, "InvalidArgument"), (400, "InvalidRequest"), (501, "NotImplemented"),
                                          (400, "BadRequest")])  # fmt: skip
def test_H16_a_server_that_refuses_crc64nvme_is_given_another(case: Case, status: int, code: str) -> None:
    case.front.fault("Put", nth="always", kind=f.RefuseChecksums(status=status, code=code))
    assert _learned(case).checksum in ("CRC32C", "MD5")
    assert case.bucket.contents("q/") == {f"q/{number}": b"bytes %d" % number for number in range(4)}
    assert sum("x-amz-checksum-crc64nvme" in put.headers for put in case.front.requests_of("Put")) == 1


def test_H16_a_server_that_knows_content_md5_alone_is_synced_to(case: Case) -> None:
    case.write({**FILES, "big.bin": noise(LARGE)})
    every = ("x-amz-checksum-crc64nvme", "x-amz-checksum-crc32c", "x-amz-checksum-algorithm", "x-amz-checksum-type")
    case.front.fault(("Put", "CreateMPU", "UploadPart"), nth="always", kind=f.RefuseChecksums(every))
    case.is_arrived(case.up())


def test_H18_one_checksum_algorithm_from_the_beginning_of_an_upload_to_its_end(case: Case) -> None:
    case.write({**FILES, "big.bin": noise(LARGE)})
    case.front.fault(("Put", "CreateMPU", "UploadPart", "Complete"), nth="always", kind=Echo())
    case.is_arrived(case.up())
    begun = case.front.requests_of("CreateMPU")[0].headers["x-amz-checksum-algorithm"]
    for part in case.front.requests_of("UploadPart"):
        assert [name for name in part.headers if name.startswith("x-amz-checksum-")] == [
            f"x-amz-checksum-{begun.lower()}"
        ]
