"""Multipart uploads request by request: what each carries, and that one upload's parts make one object."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

import sterna
from sterna.moving.settings import Customer
from sterna.stores.objects import customer_headers
from tests.faults.case import LARGE, MIB, Case, noise
from tests.faults.front import Front
from tests.servers.oracle import Bucket

KEY = bytes(range(32))
SECRET = "x-amz-server-side-encryption-customer-key"


@pytest.fixture
def case(front: Front, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    with closing(Case(front, bucket, tmp_path, monkeypatch)) as case:
        yield case


def test_a_customers_key_goes_with_every_request_about_an_object_also_with_complete(case: Case, tmp_path: Path) -> None:
    """S3 refuses a Complete without it, where the upload was begun with a checksum, and a HEAD always."""
    files = {"small": b"first", "big.bin": noise(LARGE)}
    case.write(files)
    case.ignores_checksums()
    settings = replace(case.settings(), customer=Customer(KEY))
    assert sterna.sync(case.folder, case.bucket.url("p"), settings=settings).exit_code == 0
    assert sterna.sync(case.bucket.url("p"), tmp_path / "target", settings=settings).exit_code == 0
    sent = customer_headers(KEY)
    assert len(sent) == 3
    about_objects = ("Put", "CreateMPU", "UploadPart", "Complete", "Head", "Get", "GetRange")
    for operation in about_objects:
        requests = case.front.requests_of(operation)
        assert requests, f"this test saw no {operation}"
        for request in requests:
            assert {name: request.headers.get(name) for name in sent} == sent, request
    for request in case.front.requests_of("ListV2"):
        assert SECRET not in request.headers
    assert {path.name: path.read_bytes() for path in (tmp_path / "target").iterdir()} == files
    assert LARGE > 5 * MIB
