"""Contents are compared by what a server shows of them, and no lie, gap or oddity of it makes a false alarm or hides one."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

import sterna
from sterna.jobs.looking import Depth
from sterna.jobs.settings import Settings
from sterna.jobs.verify import Verified, verify
from sterna.model.errors import SourceUnknown
from sterna.model.events import Event, Notice, Summary
from sterna.model.location import LocalPath
from sterna.planning.compare import Compare
from sterna.planning.verify import Finding
from sterna.wire.checksum import algorithm
from sterna.wire.side import Side
from tests.e2e.trees import plant
from tests.faults import front as f
from tests.faults.front import Front
from tests.places import at
from tests.servers.oracle import Bucket

pytestmark = pytest.mark.thorough

DATA = bytes(range(256)) * 50
OTHER = DATA[:-1] + b"!"


@dataclass
class Case:
    """One file and one object, compared through the front."""

    front: Front
    bucket: Bucket
    folder: Path
    side: Side

    def put(self, data: bytes = DATA) -> None:
        plant(self.folder, {"a": DATA})
        self.bucket.put("p/a", data)

    def verify(self, depth: Depth) -> tuple[Verified, list[Finding]]:
        told: list[Finding] = []
        settings = Settings(source=self.side, destination=self.side)
        done = asyncio.run(
            verify(LocalPath(self.folder), at(self.bucket, "p"), settings, depth=depth, found=told.extend)
        )
        return done, told

    def says(self, depth: Depth) -> str:
        _, [one] = self.verify(depth)
        return f"{one.verdict.value}: {one.because}"

    def sync(self) -> tuple[Summary, list[str]]:
        heard: list[str] = []

        def hear(event: Event) -> None:
            if isinstance(event, Notice):
                heard.append(event.code)

        settings = Settings(destination=self.side, compare=Compare.CHECKSUM)
        return sterna.sync(self.folder, self.bucket.url("p"), settings=settings, on_event=hear), heard


@pytest.fixture
def case(front: Front, bucket: Bucket, tmp_path: Path, fronted: Side) -> Case:
    return Case(front, bucket, tmp_path / "tree", fronted)


@dataclass(frozen=True)
class Shows(f.Kind):
    """HEAD shows an object as AWS shows one that was sent in parts: the sum of sums, and the length of each part."""

    data: bytes
    cut: tuple[int, ...]
    name: str = "crc32c"
    whole: bool = False
    knows_parts: bool = True

    def downward(self, exchange: f.Exchange, fault: f.Fault, answer: f.Answer) -> None:
        fault.hit()
        number = int(exchange.request.query.get("partNumber", "0"))
        for header in ("x-amz-checksum-crc64nvme", "x-amz-checksum-crc32"):
            answer.set(header, None)
        answer.set("ETag", '"opaque"')
        if number and self.knows_parts:
            answer.length = self.cut[number - 1]
            answer.set("Content-Length", None)
            return
        pieces, start = [], 0
        for length in self.cut:
            pieces.append(self.data[start : start + length])
            start += length
        if self.name == "sha256":
            value = base64.b64encode(
                hashlib.sha256(b"".join(hashlib.sha256(piece).digest() for piece in pieces)).digest()
            ).decode()
            value += f"-{len(pieces)}"
        else:
            kind = algorithm(self.name.upper())
            value = kind.composite([kind.update(piece, 0) for piece in pieces])
        if self.whole:
            value = base64.b64encode(hashlib.sha256(self.data).digest()).decode()
        answer.set(f"x-amz-checksum-{self.name}", value)
        answer.set("x-amz-checksum-type", "FULL_OBJECT" if self.whole else "COMPOSITE")


EVEN = (5000, 5000, 2800)
UNEVEN = (5000, 4000, 3800)


@pytest.mark.parametrize("name", ["crc32c", "crc32", "sha256"])
@pytest.mark.parametrize("cut", [EVEN, UNEVEN, (10000, 2800), (12800,)])
def test_H18_a_sum_of_sums_is_compared_part_by_part_however_it_was_cut(
    case: Case, cut: tuple[int, ...], name: str
) -> None:
    case.put()
    case.front.fault("Head", kind=Shows(DATA, cut, name), nth="always")
    assert case.says(Depth.CHECKSUM).startswith(f"equal: same size and {name.upper()}")
    case.front.forget()


@pytest.mark.parametrize("cut", [EVEN, UNEVEN, (10000, 2800)])
def test_other_bytes_under_a_sum_of_sums_are_proved_and_not_only_suspected(case: Case, cut: tuple[int, ...]) -> None:
    case.put(OTHER)
    case.front.fault("Head", kind=Shows(OTHER, cut), nth="always")
    assert case.says(Depth.CHECKSUM).startswith(f"different: CRC32C of {len(cut)} parts differs: ")
    assert case.front.count(("Get", "GetRange")) == 0


def test_a_sha256_of_the_whole_decides(case: Case) -> None:
    case.put()
    fault = case.front.fault("Head", kind=Shows(DATA, (), "sha256", whole=True), nth="always")
    assert case.says(Depth.CHECKSUM) == "equal: same size and SHA256"
    case.front.remove(fault)
    case.front.fault("Head", kind=Shows(OTHER, (), "sha256", whole=True), nth="always")
    assert case.says(Depth.CHECKSUM).startswith("different: SHA256 differs")


def test_where_the_cut_is_not_told_nothing_is_known_without_reading(case: Case) -> None:
    case.put(OTHER)
    case.front.fault("Head", kind=Shows(OTHER, EVEN, knows_parts=False), nth="always")
    assert case.says(Depth.CHECKSUM) == "unknown: same size, and no checksum that both sides have"
    assert case.says(Depth.READ) == f"different: the bytes differ, the first of them at byte {len(DATA) - 1}"


@pytest.mark.parametrize(
    "etag", ['"00000000000000000000000000000bad"', '"opaque"', '"00000000000000000000000000000bad-7"']
)
def test_H13_H14_an_etag_that_is_no_md5_is_no_alarm_and_nothing_is_carried_again(case: Case, etag: str) -> None:
    case.put()
    case.front.fault("*", kind=f.IgnoreChecksums(), nth="always", must_hit=False)
    case.front.fault("Head", kind=f.WrongETag(etag), nth="always")
    case.front.fault("Get", kind=f.WrongETag(etag), nth="always", must_hit=False)
    assert case.says(Depth.CHECKSUM) == "unknown: same size, and no checksum that both sides have"
    summary, heard = case.sync()
    assert (summary.uploaded, summary.kept, summary.exit_code) == (0, 1, 0)
    assert heard == ["read"]
    assert case.front.count("Put") == 0


@pytest.mark.parametrize("shows_md5", [True, False])
def test_H23_other_bytes_of_the_same_size_are_found_on_a_server_without_checksums(case: Case, shows_md5: bool) -> None:
    case.put(OTHER)
    case.front.fault("*", kind=f.IgnoreChecksums(), nth="always", must_hit=False)
    if not shows_md5:
        case.front.fault("Head", kind=f.WrongETag('"opaque"'))
    summary, heard = case.sync()
    assert (summary.uploaded, summary.kept, heard) == (1, 0, ["read"])
    assert case.bucket.get("p/a") == DATA


def test_H14_once_an_etag_was_seen_to_be_the_md5_another_one_proves_other_bytes(case: Case) -> None:
    plant(case.folder, {"a": DATA, "b": DATA})
    case.bucket.put("p/a", DATA)
    case.bucket.put("p/b", OTHER)
    case.front.fault("*", kind=f.IgnoreChecksums(), nth="always", must_hit=False)
    _, found = case.verify(Depth.CHECKSUM)
    assert found[0].because == "same size and MD5"
    assert found[1].verdict.value in ("unknown", "different")  # b may have been looked at before a
    assert found[1].verdict.value != "equal"


def test_a_bucket_that_cannot_be_listed_to_its_end_is_no_finding(case: Case) -> None:
    case.put()
    case.front.fault("ListV2", kind=f.ACCESS_DENIED, nth="always")
    with pytest.raises(Exception, match="ccess"):
        case.verify(Depth.LISTED)


def test_a_source_whose_listing_fails_is_unknown(case: Case) -> None:
    case.put()
    case.front.fault("ListV2", kind=f.INTERNAL_ERROR, nth="from 2nd")
    told: list[Sequence[Finding]] = []
    settings = Settings(source=case.side)
    with pytest.raises(SourceUnknown):
        asyncio.run(verify(at(case.bucket, "p"), LocalPath(case.folder), settings, found=told.append))
    assert told == []


def test_an_object_that_cannot_be_read_is_unknown_and_the_others_are_compared(case: Case) -> None:
    plant(case.folder, {"a": DATA, "b": DATA})
    case.bucket.put("p/a", DATA)
    case.bucket.put("p/b", DATA)
    case.front.fault("Get", kind=f.ACCESS_DENIED, nth="always", key="p/a")
    done, found = case.verify(Depth.READ)
    assert [one.verdict.value for one in found] == ["unknown", "equal"]
    assert (done.unknown, done.equal, done.is_equal) == (1, 1, False)


@pytest.mark.parametrize("knows_conditions", [True, False])
def test_an_object_that_is_replaced_between_two_slices_is_unknown(case: Case, knows_conditions: bool) -> None:
    large = os.urandom(1 << 20) * 9
    plant(case.folder, {"a": large})
    case.bucket.put("p/a", large)
    if not knows_conditions:
        case.front.fault("GetRange", kind=f.IgnoreConditions(), nth="always")
    other = b"-" * (8 << 20) + large[8 << 20 :]  # its second slice is the same
    case.front.after("GetRange", call=lambda _: case.bucket.put("p/a", other))
    assert case.says(Depth.READ).startswith("unknown: ")


def test_an_object_that_changes_while_it_is_compared_is_carried_and_not_taken_for_equal(case: Case) -> None:
    case.put()
    case.front.before("Head", call=lambda _: case.bucket.put("p/a", b"another size"))
    summary, _ = case.sync()
    assert (summary.uploaded, summary.kept) == (1, 0)
    assert case.bucket.get("p/a") == DATA
