"""Signatures against the vectors that AWS publishes, and the promises of the signer."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

import pytest

from sterna.wire.encoding import encode_key, encode_query
from sterna.wire.sigv4 import EMPTY_SHA256, UNSIGNED_PAYLOAD, Signer, sha256_hex

# "Signature Calculations for the Authorization Header: Transferring Payload in a Single Chunk", S3 API Reference.
_S3_TIME = datetime(2013, 5, 24, tzinfo=UTC).timestamp()
_S3_HOST = "examplebucket.s3.amazonaws.com"
_WELCOME = b"Welcome to Amazon S3."
# The generic test suite of Signature Version 4 (aws-sig-v4-test-suite); its service is called "service".
_SUITE_TIME = datetime(2015, 8, 30, 12, 36, 0, tzinfo=UTC).timestamp()


def _s3_signer(token: str = "") -> Signer:
    secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    return Signer("AKIAIOSFODNN7EXAMPLE", secret, token, region="us-east-1")


def _signature(lines: str) -> str:
    match = re.search(r", Signature=([0-9a-f]{64})\r\n", lines)
    assert match is not None
    return match[1]


def _signed_headers(lines: str) -> str:
    match = re.search(r", SignedHeaders=([^,]*), ", lines)
    assert match is not None
    return match[1]


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "payload", "signature"),
    [
        pytest.param(
            "GET", "/test.txt", [], {"range": "bytes=0-9"}, b"",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41", id="get-object",
        ),
        pytest.param(
            "PUT", "/test$file.text", [],
            {"date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"}, _WELCOME,
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd", id="put-object",
        ),
        pytest.param(
            "GET", "/", [("lifecycle", "")], {}, b"",
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543", id="get-lifecycle",
        ),
        pytest.param(
            "GET", "/", [("max-keys", "2"), ("prefix", "J")], {}, b"",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7", id="list-objects",
        ),
    ],
)  # fmt: skip
def test_the_examples_of_the_s3_reference(
    method: str, path: str, query: list[tuple[str, str]], headers: dict[str, str], payload: bytes, signature: str
) -> None:
    sent = {"host": _S3_HOST, **headers}
    digest = sha256_hex(payload)
    lines = _s3_signer().sign(method, encode_key(path), encode_query(query), sent, digest, _S3_TIME)
    assert _signature(lines) == signature
    names = ";".join(sorted([*sent, "x-amz-content-sha256", "x-amz-date"]))
    assert lines == (
        "x-amz-date: 20130524T000000Z\r\n"
        "authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        f"SignedHeaders={names}, Signature={signature}\r\n"
        f"x-amz-content-sha256: {digest}\r\n"
    )


class _SuiteSigner(Signer):
    """The generic suite signs no x-amz-content-sha256, which S3 wants: here its requests go through our encoding, our
    day's key and our HMAC, and only the canonical request is put together by hand."""

    def sign_generic(self, method: str, path: str, query: str, headers: dict[str, str], payload: bytes) -> str:
        """The signature of a request whose only header of ours is x-amz-date."""
        sent = {**headers, "x-amz-date": "20150830T123600Z"}
        names = sorted(sent)
        fields = "".join([f"{name}:{sent[name]}\n" for name in names])
        canonical = f"{method}\n{path}\n{query}\n{fields}\n{';'.join(names)}\n{sha256_hex(payload)}"
        now = self._at(int(_SUITE_TIME))
        inner, outer = now.inner.copy(), now.outer.copy()
        inner.update(sha256_hex(canonical.encode()).encode())
        outer.update(inner.digest())
        return str(outer.hexdigest())


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "payload", "signature"),
    [
        pytest.param(
            "GET", "/", [], {}, b"",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31", id="get-vanilla",
        ),
        pytest.param(
            "GET", "/", [("Param2", "value2"), ("Param1", "value1")], {}, b"",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500", id="get-vanilla-query-order-key-case",
        ),
        pytest.param(
            "GET", "/ሴ", [], {}, b"",
            "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85", id="get-utf8",
        ),
        pytest.param(
            "POST", "/", [], {}, b"",
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b", id="post-vanilla",
        ),
        pytest.param(
            "POST", "/", [("Param1", "value1")], {}, b"",
            "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11", id="post-vanilla-query",
        ),
        pytest.param(
            "POST", "/", [], {"my-header1": "VALUE1"}, b"",
            "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d", id="post-header-value-case",
        ),
        pytest.param(
            "POST", "/", [], {"content-type": "application/x-www-form-urlencoded"}, b"Param1=value1",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a", id="post-x-www-form-urlencoded",
        ),
    ],
)  # fmt: skip
def test_the_generic_suite_of_signature_version_4(
    method: str, path: str, query: list[tuple[str, str]], headers: dict[str, str], payload: bytes, signature: str
) -> None:
    secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
    signer = _SuiteSigner("AKIDEXAMPLE", secret, region="us-east-1", service="service")
    sent = {"host": "example.amazonaws.com", **headers}
    assert signer.sign_generic(method, encode_key(path), encode_query(query), sent, payload) == signature


def test_the_token_is_sent_and_signed() -> None:
    lines = _s3_signer("token%s/+=").sign("GET", "/", "", {"host": _S3_HOST}, EMPTY_SHA256, _S3_TIME)
    assert "x-amz-security-token: token%s/+=\r\n" in lines
    assert _signed_headers(lines) == "host;x-amz-content-sha256;x-amz-date;x-amz-security-token"


def test_what_a_proxy_may_change_is_not_signed() -> None:
    signer = _s3_signer()
    bare = signer.sign("GET", "/", "", {"host": _S3_HOST}, EMPTY_SHA256, _S3_TIME)
    more = {"user-agent": "sterna", "connection": "close", "host": _S3_HOST, "expect": "100-continue"}
    assert signer.sign("GET", "/", "", more, EMPTY_SHA256, _S3_TIME) == bare


def test_blanks_in_a_value_count_once() -> None:
    signer = _s3_signer()

    def signed(value: str) -> str:
        headers = {"host": _S3_HOST, "x-amz-meta-note": value}
        return signer.sign("PUT", "/k", "", headers, UNSIGNED_PAYLOAD, _S3_TIME)

    assert signed("a  b \t c") == signed("a b c") != signed("ab c")


def test_the_order_of_the_headers_does_not_matter() -> None:
    signer = _s3_signer()
    one = {"host": _S3_HOST, "range": "bytes=0-9", "x-amz-meta-z": "1", "x-amz-copy-source": "b/k"}
    other = dict(reversed(one.items()))
    assert signer.sign("GET", "/k", "", one, EMPTY_SHA256, 1e9) == signer.sign(
        "GET", "/k", "", other, EMPTY_SHA256, 1e9
    )


def test_H29_H119_each_request_carries_the_time_that_it_is_signed_at() -> None:
    """Seconds and days are cached: a clock that leaps either way must not be answered from the cache."""
    signer = _s3_signer()
    moments = [1.9, 2.0, 86_399.999, 86_400.0, 3e9, 1.0, 86_401.0]
    for moment in [*moments, *moments]:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(int(moment)))
        lines = signer.sign("GET", "/", "", {"host": _S3_HOST}, EMPTY_SHA256, moment)
        assert lines.startswith(f"x-amz-date: {stamp}\r\n")
        assert f"/{stamp[:8]}/us-east-1/s3/" in lines
        assert lines == _s3_signer().sign("GET", "/", "", {"host": _S3_HOST}, EMPTY_SHA256, moment)


def test_names_of_metadata_do_not_pile_up() -> None:
    signer = _s3_signer()
    for number in range(1000):
        signer.sign("PUT", "/k", "", {"host": _S3_HOST, f"x-amz-meta-{number}": "1"}, UNSIGNED_PAYLOAD, _S3_TIME)
    assert len(signer._now.shapes) <= 256


def test_a_request_without_a_host_or_with_headers_of_the_signer_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="host"):
        _s3_signer().sign("GET", "/", "", {}, EMPTY_SHA256, _S3_TIME)
    with pytest.raises(ValueError, match="x-amz-date"):
        _s3_signer().sign("GET", "/", "", {"host": "h", "x-amz-date": "now"}, EMPTY_SHA256, _S3_TIME)


def test_H96_a_signer_does_not_show_its_keys() -> None:
    signer = _s3_signer("canary-token")
    signer.sign("GET", "/", "", {"host": _S3_HOST}, EMPTY_SHA256, _S3_TIME)
    assert repr(signer) == str(signer) == "Signer(AKIAIOSFODNN7EXAMPLE, region=us-east-1, service=s3)"


def test_the_hash_of_nothing() -> None:
    assert sha256_hex(b"") == EMPTY_SHA256
    assert sha256_hex(memoryview(bytearray(b"abc"))) == sha256_hex(b"abc")
