"""Our signatures equal those of botocore's S3 signer for whatever is asked."""

from __future__ import annotations

import string
from datetime import UTC, datetime
from typing import Any
from unittest import mock
from urllib.parse import quote

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sterna.wire.encoding import encode_key, encode_query
from sterna.wire.sigv4 import EMPTY_SHA256, UNSIGNED_PAYLOAD, Signer, sha256_hex

_NAME_CHARACTERS = string.ascii_lowercase + string.digits + "-_%."
_OURS = {"host", "date", "authorization", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token"}
_USUAL = (
    "content-length content-type content-md5 user-agent range if-match x-amz-checksum-crc64nvme x-amz-copy-source "
    "x-amz-meta-mtime x-amz-storage-class x-amz-server-side-encryption x-amz-acl expect connection x-amz-sdk-checksum"
).split()

_names = st.one_of(
    st.sampled_from(_USUAL),
    st.text(_NAME_CHARACTERS, min_size=1, max_size=20).map(lambda tail: f"x-amz-meta-{tail}"),
    st.text(_NAME_CHARACTERS, min_size=1, max_size=20),
).filter(lambda name: name not in _OURS)
# What a header's value may hold (RFC 9110 §5.5). Blanks beyond ASCII are left out: botocore squeezes them as well,
# and then signs something else than what it sends.
_values = st.text(
    st.one_of(
        st.characters(min_codepoint=0x20, max_codepoint=0x7E),
        st.sampled_from(" \t"),
        st.characters(min_codepoint=0xA1, exclude_categories=["Cs", "Z", "Cc"]),
    ),
    max_size=40,
).map(lambda value: value.strip(" \t"))
_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
_keys = st.binary(max_size=60).map(lambda data: data.decode("utf-8", "surrogateescape")) | _text
_hosts = st.sampled_from(["bucket.s3.eu-west-1.amazonaws.com", "127.0.0.1:9000", "[::1]:80", "s3.example.com:8443"])
_identities = st.tuples(
    st.text(string.ascii_uppercase + string.digits, min_size=1, max_size=20),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=80),
    st.text(string.ascii_letters + string.digits + "+/=%", max_size=60),
)


def _of_botocore(
    identity: tuple[str, str, str],
    region: str,
    request: tuple[str, str, str, dict[str, str], bytes | None],
    second: int,
) -> dict[str, str]:
    method, path, query, headers, payload = request
    asked = AWSRequest(method, f"https://{headers['host']}{path}{'?' if query else ''}{query}", data=payload or b"")
    for name, value in headers.items():
        asked.headers[name] = value
    if payload is None:
        asked.context["payload_signing_enabled"] = False
        asked.context["has_streaming_input"] = True
    access_key, secret_key, token = identity
    signer = botocore.auth.S3SigV4Auth(ReadOnlyCredentials(access_key, secret_key, token, None), "s3", region)
    with mock.patch.object(botocore.auth, "get_current_datetime", return_value=datetime.fromtimestamp(second, UTC)):
        signer.add_auth(asked)
    wanted = {"authorization", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token"}
    return {name.lower(): value for name, value in asked.headers.items() if name.lower() in wanted}


def _parsed(lines: str) -> dict[str, str]:
    assert lines.endswith("\r\n")
    return dict(line.split(": ", 1) for line in lines.removesuffix("\r\n").split("\r\n"))


def _law(
    data: Any,
    identity: tuple[str, str, str],
    region: str,
    method: str,
    key: str,
    query: list[tuple[str, str]],
    second: int,
) -> None:
    headers = {"host": data.draw(_hosts), **data.draw(st.dictionaries(_names, _values, max_size=6))}
    payload = data.draw(st.none() | st.binary(max_size=30))
    if payload is None:  # botocore leaves a payload unsigned only beside a checksum
        headers.setdefault("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")
    path, canonical = f"/bucket/{encode_key(key)}", encode_query(query)
    digest = UNSIGNED_PAYLOAD if payload is None else sha256_hex(payload) if payload else EMPTY_SHA256
    access_key, secret_key, token = identity
    signer = Signer(access_key, secret_key, token, region=region)
    expected = _of_botocore(identity, region, (method, path, canonical, headers, payload), second)
    for moment in (second, second + 0.9):  # the second time, everything is cached
        assert _parsed(signer.sign(method, path, canonical, headers, digest, moment)) == expected


_requests = given(
    data=st.data(),
    identity=_identities,
    region=st.sampled_from(["us-east-1", "snow", "cn-north-1", "garage"]),
    method=st.sampled_from(["GET", "PUT", "HEAD", "DELETE", "POST"]),
    key=_keys,
    query=st.lists(st.tuples(_text, _text), max_size=4),
    second=st.integers(0, 4_000_000_000),
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@_requests
def test_signatures_equal_botocores(**request: Any) -> None:
    _law(**request)


@pytest.mark.thorough
@settings(max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@_requests
def test_signatures_equal_botocores_in_thousands_of_cases(**request: Any) -> None:
    _law(**request)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(_text, _text), min_size=1, max_size=5))
def test_queries_equal_botocores(pairs: list[tuple[str, str]]) -> None:
    signer = botocore.auth.S3SigV4Auth(None, "s3", "us-east-1")
    sent = "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in pairs)
    by_url = signer.canonical_query_string(AWSRequest("GET", f"https://host/?{sent}"))
    assert encode_query(pairs) == by_url
