"""How an object is named as what is to be copied."""

from __future__ import annotations

import asyncio

import pytest

from sterna.model.location import BucketPath
from sterna.stores.objects import customer_headers
from sterna.stores.s3 import S3Store
from sterna.wire.client import Client
from sterna.wire.endpoints import Addressing
from sterna.wire.side import Side

POINT = "arn:aws:s3:us-west-2:123456789012:accesspoint/myap"


def source(
    location: BucketPath, key: str, etag: str = "", own: bytes = b"", side: Side | None = None
) -> dict[str, str]:
    async def named() -> dict[str, str]:
        client = Client(side or Side(addressing=Addressing(region="us-west-2")), location.bucket)
        try:
            return S3Store(client, location, customer_headers(own)).copy_source(key, etag)
        finally:
            await client.aclose()

    return asyncio.run(named())


@pytest.mark.parametrize(
    ("bucket", "key", "expected"),
    [
        ("bucket", "a/b", "bucket/p/a/b"),
        ("bucket", "a b+c%20d", "bucket/p/a%20b%2Bc%2520d"),
        ("bucket", "/lead//\u00e9", "bucket/p//lead//%C3%A9"),
        ("bucket", "?versionId=x#y", "bucket/p/%3FversionId%3Dx%23y"),
        ("bucket", "d/", "bucket/p/d/"),
        (POINT, "a", "arn%3Aaws%3As3%3Aus-west-2%3A123456789012%3Aaccesspoint/myap/object/p/a"),
    ],
)
def test_H65_a_source_is_encoded_once_and_not_normalised(bucket: str, key: str, expected: str) -> None:
    assert source(BucketPath(bucket, "p"), key) == {"x-amz-copy-source": expected}


def test_a_source_is_pinned_to_its_version_and_read_with_its_key() -> None:
    headers = source(BucketPath("bucket"), "a", "some-etag", bytes(32))
    assert headers["x-amz-copy-source-if-match"] == '"some-etag"'
    own = "x-amz-copy-source-server-side-encryption-customer-"
    assert {name.removeprefix(own) for name in headers if name.startswith(own)} == {"algorithm", "key", "key-md5"}
    assert not any(name.startswith("x-amz-server-side") for name in headers)
