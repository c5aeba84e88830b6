"""Findings about buckets and folders: true to what the server is known to do, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from sterna.config.check import check
from sterna.config.finding import Finding
from sterna.model.location import BucketPath, LocalPath, Location
from sterna.wire.credentials import Identity
from sterna.wire.endpoints import Addressing
from sterna.wire.side import Side
from tests.faults import front as faults
from tests.faults.front import Front
from tests.places import at
from tests.servers.oracle import Bucket
from tests.servers.server import Server

Findings = dict[str, Finding]


def found(location: Location, side: Side) -> Findings:
    async def all_findings() -> list[Finding]:
        return [finding async for finding in check(location, side)]

    findings = asyncio.run(all_findings())
    for finding in findings:
        assert finding.words.strip()
        assert finding.ok is not False or finding.advice, f"no advice for {finding}"
    return {finding.name: finding for finding in findings}


def wrong(findings: Findings) -> list[str]:
    return [name for name, finding in findings.items() if finding.ok is False]


# A bucket


def test_a_good_place_has_nothing_to_change_and_is_left_as_it_was(bucket: Bucket, side: Side) -> None:
    bucket.put("p/mine", b"1")
    findings = found(at(bucket, "p"), side)
    assert wrong(findings) == []
    for name in (
        "credentials",
        "endpoint",
        "clock",
        "bucket",
        "region",
        "list",
        "put",
        "head",
        "get",
        "delete",
        "multipart",
    ):
        assert findings[name].ok is True, findings[name]
    assert bucket.keys() == ["p/mine"]
    assert bucket.uploads() == []


def test_what_the_server_can_do_is_found_out(bucket: Bucket, side: Side, server: Server) -> None:
    findings = found(at(bucket), side)
    facts = server.facts
    for name in ("CRC64NVME", "CRC32C", "CRC32", "SHA256"):
        assert findings[name].ok is (True if facts.checks_checksums else None), findings[name]
    if not facts.checks_checksums:
        assert "taken and not checked" in findings["CRC64NVME"].words
    assert findings["Content-MD5"].ok is True
    assert findings["proof"].ok is True
    assert findings["conditional writes"].ok is (True if facts.conditions else None)
    if server.name != "ceph":  # it obeys conditions of writes only
        assert findings["conditional deletes"].ok is (True if facts.conditions else None)
    assert findings["ranges"].ok is (True if facts.conditions else None)
    assert findings["whole-object checksum"].ok is (True if facts.combines_crc64nvme else None)
    assert findings["odd keys"].ok is (True if facts.any_key else None)
    assert findings["listing order"].ok is True
    assert findings["listing pages"].ok is True
    assert findings["listing encoding"].ok is (True if facts.encodes_listings else None)


def test_versions_that_the_check_made_are_removed_too(bucket: Bucket, side: Side, server: Server) -> None:
    if not server.facts.versions:
        pytest.skip("no versions here")
    bucket.enable_versions()
    findings = found(at(bucket), side)
    assert findings["versions"].words.startswith("kept")
    assert findings["tidying"].ok is True
    answer = bucket.oracle.ask("GET", bucket.name, query={"versions": ""})
    assert b"<Key>" not in answer.body


def test_a_missing_bucket_is_a_finding_with_the_command_that_makes_it(server: Server, side: Side) -> None:
    findings = found(BucketPath("sterna-no-such-bucket"), side)
    assert wrong(findings) == ["bucket"]
    assert "sterna mb s3://sterna-no-such-bucket" in findings["bucket"].advice
    assert "list" not in findings


def test_wrong_keys_are_a_finding(bucket: Bucket, side: Side, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    if not server.facts.checks_signatures:
        pytest.skip("any key will do here")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    findings = found(at(bucket), side)
    assert wrong(findings) == ["bucket"]
    assert "secret key is wrong" in findings["bucket"].words


def test_no_credentials_are_a_finding(
    bucket: Bucket, side: Side, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    findings = found(at(bucket), side)
    assert wrong(findings) == ["credentials"]


def test_an_endpoint_that_is_not_there_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    for url, words in (("http://127.0.0.1:1", "none answers"), ("https://no-such-host.invalid", "cannot be looked up")):
        findings = found(BucketPath("bucket"), Side(addressing=Addressing(urls=(url,))))
        assert wrong(findings) == ["endpoint"]
        assert words in findings["endpoint"].words


def test_tls_where_there_is_none_is_a_finding(bucket: Bucket, server: Server, side: Side) -> None:
    url = server.endpoint_url.replace("http://", "https://")
    findings = found(at(bucket), Side(addressing=Addressing(urls=(url,), region="us-east-1")))
    assert findings["TLS"].ok is False
    assert "http://" in findings["TLS"].advice


def test_contradicting_settings_are_a_finding(bucket: Bucket, server: Server, side: Side) -> None:
    addressing = Addressing(urls=(server.endpoint_url,), accelerate=True)
    assert wrong(found(at(bucket), Side(addressing=addressing))) == ["settings"]


def test_anonymous_is_a_fact(bucket: Bucket, side: Side, server: Server) -> None:
    findings = found(at(bucket), Side(addressing=side.addressing, identity=Identity(anonymous=True)))
    assert findings["credentials"].ok is None


@pytest.mark.parametrize(
    "operation, name, permission",
    [
        ("ListV2", "list", "s3:ListBucket"),
        ("Put", "put", "s3:PutObject"),
        ("Head", "head", "s3:GetObject"),
        ("Get", "get", "s3:GetObject"),
        ("Delete", "delete", "s3:DeleteObject"),
        ("CreateMPU", "multipart", "s3:PutObject"),
        ("Abort", "multipart", "s3:AbortMultipartUpload"),
    ],
)
def test_a_missing_permission_is_named(
    operation: str, name: str, permission: str, bucket: Bucket, fronted: Side, front: Front
) -> None:
    front.fault(operation, kind=faults.ACCESS_DENIED, nth="always")
    findings = found(at(bucket, "p"), fronted)
    assert findings[name].ok is False
    assert permission in findings[name].advice
    assert findings["bucket"].ok is True


def test_probe_objects_that_cannot_be_removed_are_told(bucket: Bucket, fronted: Side, front: Front) -> None:
    front.fault("Delete", kind=faults.ACCESS_DENIED, nth="always")
    findings = found(at(bucket, "p"), fronted)
    left = bucket.keys()
    assert left
    assert all(key.startswith("p/.sterna-check-") for key in left)
    assert findings["tidying"].ok is False
    assert f"{len(left)} probe objects" in findings["tidying"].words


def test_a_server_that_does_not_keep_what_it_takes_is_caught(bucket: Bucket, fronted: Side, front: Front) -> None:
    front.fault("Put", kind=faults.Lie(), nth="always")
    findings = found(at(bucket), fronted)
    assert findings["head"].ok is False
    assert "does not keep" in findings["head"].words


def test_a_server_that_ignores_conditions_and_checksums_is_seen_through(
    bucket: Bucket, fronted: Side, front: Front
) -> None:
    front.fault(("Put", "Get", "GetRange", "Delete"), kind=faults.IgnoreConditions(), nth="always")
    front.fault("Put", kind=faults.IgnoreChecksums(), nth="always")
    findings = found(at(bucket), fronted)
    assert findings["conditional writes"].ok is None
    assert findings["ranges"].ok is None
    assert "taken and not checked" in findings["CRC64NVME"].words


def test_a_listing_out_of_order_is_a_finding(bucket: Bucket, fronted: Side, front: Front) -> None:
    front.fault("ListV2", kind=faults.ShuffledPage(), nth="always")
    findings = found(at(bucket), fronted)
    assert findings["listing order"].ok is None  # it is sorted
    assert "sort what comes" in findings["listing order"].advice


def test_a_listing_that_loses_pages_is_a_finding(bucket: Bucket, fronted: Side, front: Front) -> None:
    front.fault("ListV2", kind=faults.MissingPage(), nth="always")
    findings = found(at(bucket), fronted)
    assert findings["listing pages"].ok is False


def test_a_clock_that_is_off_is_a_finding(bucket: Bucket, fronted: Side, front: Front) -> None:
    front.fault("HeadBucket", kind=faults.SetHeader("Date", "Mon, 01 Jan 2024 00:00:00 GMT"), nth="always")
    findings = found(at(bucket), fronted)
    assert findings["clock"].ok is False
    assert "ahead" in findings["clock"].words


def test_a_server_that_closes_each_connection_is_a_finding(bucket: Bucket, fronted: Side, front: Front) -> None:
    front.fault("*", kind=faults.SetHeader("Connection", "close"), nth="always")
    assert found(at(bucket), fronted)["keep-alive"].ok is False


def test_a_server_that_answers_nonsense_ends_in_findings(bucket: Bucket, fronted: Side, front: Front) -> None:
    front.fault(("ListV2", "CreateMPU", "GetBucketSub"), kind=faults.Html(200), nth="always")
    findings = found(at(bucket), fronted)
    assert findings["list"].ok is False
    assert findings["multipart"].ok is False
    assert bucket.keys() == []


def test_whoever_stops_listening_leaves_nothing_behind(bucket: Bucket, side: Side) -> None:
    async def until_put() -> None:
        findings = check(at(bucket), side)
        async for finding in findings:
            if finding.name == "get":
                break
        await findings.aclose()  # type: ignore[attr-defined]

    asyncio.run(until_put())
    assert bucket.keys() == []


# A folder


def test_a_folder_is_described(tmp_path: Path) -> None:
    began = time.monotonic()
    findings = found(LocalPath(tmp_path), Side())
    assert wrong(findings) == []
    assert {"folder", "readable", "writable", "space", "file system", "case", "Unicode", "times"} <= findings.keys()
    assert list(tmp_path.iterdir()) == []
    assert time.monotonic() - began < 1


def test_a_folder_that_is_not_there_is_a_finding(tmp_path: Path) -> None:
    findings = found(LocalPath(tmp_path / "none"), Side())
    assert wrong(findings) == ["folder"]
    assert "mkdir" in findings["folder"].advice


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12")
    findings = found(LocalPath(tmp_path / "file"), Side())
    assert findings["folder"].ok is None
    assert "is a file of 2 B" in findings["folder"].words


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may do everything")
def test_a_folder_that_may_not_be_read_is_a_finding(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o300)
    findings = found(LocalPath(closed), Side())
    assert findings["readable"].ok is False
    closed.chmod(0o700)
