"""Whatever a server does while an object goes to standard output: what came is the object, or the exit code says not."""

from __future__ import annotations

import os
from dataclasses import dataclass

import pytest

from tests.conftest import Sterna
from tests.e2e.trees import MIB
from tests.faults.front import (
    Answer,
    Exchange,
    Fault,
    FlipBit,
    Front,
    HeadLength,
    IgnoreConditions,
    Kind,
    Rewrite,
    SetHeader,
    WrongETag,
)
from tests.servers.oracle import Bucket

LARGE = os.urandom(11 * MIB) + b"end"
OTHER = os.urandom(11 * MIB) + b"END"


@dataclass(frozen=True)
class OfParts(Kind):
    """The ETag looks like that of an object that was uploaded in parts: no MD5."""

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        if etag := answer.header("ETag"):
            fault.hit()
            answer.set("ETag", f'"{etag.strip(chr(34))}-2"')


def test_a_head_that_tells_no_length_is_asked_again_and_not_taken_for_an_empty_object_h12_h37(
    sterna: Sterna, front: Front, bucket: Bucket
) -> None:
    bucket.put("a", LARGE)
    front.fault("Head", kind=HeadLength(), nth="every 2nd")
    done = sterna("copy", bucket.url("a"), "-")
    assert done.code == 0, done.err
    assert done.out_bytes == LARGE


def test_an_object_that_is_replaced_between_two_ranges_is_told_h42(
    sterna: Sterna, front: Front, bucket: Bucket
) -> None:
    bucket.put("a", LARGE)
    front.fault("GetRange", kind=IgnoreConditions(), nth="always")
    front.before("GetRange", nth=2, call=lambda _: bucket.put("a", OTHER))
    done = sterna("copy", bucket.url("a"), "-")
    assert done.code == 1
    assert "was replaced while it was read" in done.err


def test_two_versions_that_nothing_but_a_second_look_tells_apart_are_told_h42(
    sterna: Sterna, front: Front, bucket: Bucket
) -> None:
    bucket.put("a", LARGE)
    front.fault("Head", kind=OfParts(), nth="always")
    front.fault("GetRange", kind=IgnoreConditions(), nth="always")
    front.fault("GetRange", kind=SetHeader("ETag", None), nth="always")
    front.before("GetRange", nth=2, call=lambda _: bucket.put("a", OTHER))
    done = sterna("copy", bucket.url("a"), "-")
    assert done.code == 1
    assert "throw away what was written" in done.err


@pytest.mark.parametrize("nth", [1, 2])
def test_zeros_without_an_etag_in_place_of_a_range_are_found_by_a_second_reading_h12(
    sterna: Sterna, front: Front, bucket: Bucket, nth: int
) -> None:
    bucket.put("a", LARGE)
    front.fault(("Head", "Get", "GetRange"), kind=OfParts(), nth="always", must_hit=False)
    front.fault(("Get", "GetRange"), kind=IgnoreConditions(), nth="always", must_hit=False)
    front.fault("GetRange", kind=SetHeader("ETag", None), nth="always")
    front.fault("GetRange", kind=Rewrite(lambda body: bytes(len(body))), nth=nth)
    done = sterna("copy", bucket.url("a"), "-")
    assert done.code == 1
    assert "throw away what was written" in done.err


def test_a_server_that_shows_no_etags_with_ranges_is_read_twice_h12(
    sterna: Sterna, front: Front, bucket: Bucket
) -> None:
    bucket.put("a", LARGE)
    front.fault(("Head", "Get", "GetRange"), kind=OfParts(), nth="always", must_hit=False)
    front.fault(("Get", "GetRange"), kind=IgnoreConditions(), nth="always", must_hit=False)
    front.fault("GetRange", kind=SetHeader("ETag", None), nth="always")
    done = sterna("copy", bucket.url("a"), "-")
    assert done.code == 0, done.err
    assert done.out_bytes == LARGE
    assert front.count("Get") == 1


def test_a_flipped_bit_is_found_by_an_etag_that_is_an_md5_h21(sterna: Sterna, front: Front, bucket: Bucket) -> None:
    bucket.put("a", LARGE)
    front.fault("GetRange", kind=FlipBit(5))
    done = sterna("copy", bucket.url("a"), "-")
    assert done.code == 1
    assert "throw away what was written" in done.err


@pytest.mark.parametrize("data", [LARGE, b""], ids=["large", "empty"])
def test_an_etag_that_looks_like_an_md5_and_is_none_is_no_false_alarm_h13_h14(
    sterna: Sterna, front: Front, bucket: Bucket, data: bytes
) -> None:
    bucket.put("a", data)
    front.fault(("Head", "Get", "GetRange"), kind=WrongETag('"0123456789abcdef0123456789abcdef"'), nth="always")
    front.fault(("Get", "GetRange"), kind=IgnoreConditions(), nth="always")
    done = sterna("copy", bucket.url("a"), "-")
    assert done.code == 0, done.err
    assert done.out_bytes == data


def test_an_etag_that_is_an_md5_costs_no_second_reading(sterna: Sterna, front: Front, bucket: Bucket) -> None:
    bucket.put("a", LARGE)
    done = sterna("copy", bucket.url("a"), "-")
    assert done.code == 0, done.err
    assert done.out_bytes == LARGE
    assert front.count("Get") == 0
