"""List and make buckets, against real servers and through a front that lies."""

from __future__ import annotations

import asyncio

import pytest

from sterna.jobs.buckets import list_buckets, make_bucket
from sterna.model.errors import SternaError, WrongSetting
from sterna.model.location import BucketPath
from sterna.wire.side import Side
from tests.faults import front as faults
from tests.faults.front import Front
from tests.servers.oracle import Bucket


def test_buckets_are_listed(bucket: Bucket, side: Side) -> None:
    async def all_buckets() -> dict[str, int]:
        return {one.key: one.mtime_ns async for page in list_buckets(side) for one in page}

    assert asyncio.run(all_buckets())[bucket.name] > 10**18


def test_a_bucket_is_made_once_and_then_it_is_there(bucket: Bucket, side: Side) -> None:
    place = BucketPath(f"{bucket.name}-new")
    assert "is made" in asyncio.run(make_bucket(place, side))
    assert "exists already, and it is yours" in asyncio.run(make_bucket(place, side))


def test_a_name_of_somebody_else_is_a_clear_error(bucket: Bucket, fronted: Side, front: Front) -> None:
    front.fault("HeadBucket", kind=faults.ACCESS_DENIED, nth="always")
    front.fault("CreateBucket", kind=faults.Refuse(409, "BucketAlreadyExists"), nth="always")
    front.fault("ListBuckets", kind=faults.ACCESS_DENIED, nth="always")
    with pytest.raises(WrongSetting, match=r"is taken.*Choose another"):
        asyncio.run(make_bucket(BucketPath("somebody-elses"), fronted))


def test_a_bucket_that_the_server_made_and_does_not_show_is_not_made(fronted: Side, front: Front) -> None:
    front.fault("CreateBucket", kind=faults.Lie())
    with pytest.raises(SternaError, match="does not show it"):
        asyncio.run(make_bucket(BucketPath("sterna-a-lie"), fronted))
