"""Where requests go: hosts, paths, regions, and what is refused before anything is sent."""

from __future__ import annotations

import itertools
import os
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme

from sterna.model.errors import Refused, WrongSetting
from sterna.wire.endpoints import (
    Addressing,
    Endpoint,
    addressing_from_environment,
    endpoints_for,
    is_loopback,
    is_one_server,
    region_from_refusal,
    same_partition,
    tls_context,
)

_ACCESS_POINT = "arn:aws:s3:us-west-2:123456789012:accesspoint/myap"


def _only(addressing: Addressing, bucket: str, region: str = "") -> Endpoint:
    (endpoint,) = endpoints_for(addressing, bucket, region)
    return endpoint


def _url(addressing: Addressing, bucket: str, region: str = "", key: str = "k") -> str:
    endpoint = _only(addressing, bucket, region)
    host, path = endpoint.target(bucket, key)
    return f"{endpoint.scheme}://{host}{path}"


# -- AWS's own hosts


@pytest.mark.parametrize(
    ("bucket", "region", "url"),
    [
        ("bucket", "", "https://bucket.s3.us-east-1.amazonaws.com/k"),
        ("bucket", "us-east-1", "https://bucket.s3.us-east-1.amazonaws.com/k"),
        ("bucket", "eu-west-1", "https://bucket.s3.eu-west-1.amazonaws.com/k"),
        ("bucket", "aws-global", "https://bucket.s3.us-east-1.amazonaws.com/k"),
        ("bucket", "cn-north-1", "https://bucket.s3.cn-north-1.amazonaws.com.cn/k"),
        ("bucket", "us-gov-west-1", "https://bucket.s3.us-gov-west-1.amazonaws.com/k"),
        ("bucket", "us-iso-east-1", "https://bucket.s3.us-iso-east-1.c2s.ic.gov/k"),
        ("bucket", "us-isob-east-1", "https://bucket.s3.us-isob-east-1.sc2s.sgov.gov/k"),
        ("bucket", "eusc-de-east-1", "https://bucket.s3.eusc-de-east-1.amazonaws.eu/k"),
        ("a-name-s3alias", "us-west-2", "https://a-name-s3alias.s3.us-west-2.amazonaws.com/k"),
        ("my.bucket", "us-west-2", "https://s3.us-west-2.amazonaws.com/my.bucket/k"),
        ("My-Bucket", "us-east-1", "https://s3.us-east-1.amazonaws.com/My-Bucket/k"),
        ("under_score", "us-east-1", "https://s3.us-east-1.amazonaws.com/under_score/k"),
        ("", "eu-west-1", "https://s3.eu-west-1.amazonaws.com/k"),
    ],
)
def test_H99_aws_is_asked_in_the_host_where_its_certificate_allows_and_in_the_path_elsewhere(
    bucket: str, region: str, url: str
) -> None:
    assert _url(Addressing(), bucket, region) == url


def test_styles_can_be_asked_for() -> None:
    assert _url(Addressing(style="path"), "bucket", "eu-west-1") == "https://s3.eu-west-1.amazonaws.com/bucket/k"
    assert _url(Addressing(style="virtual"), "a.b", "eu-west-1") == "https://a.b.s3.eu-west-1.amazonaws.com/k"
    with pytest.raises(WrongSetting, match="--addressing-style path"):
        endpoints_for(Addressing(style="virtual"), "Big_One", "eu-west-1")


@pytest.mark.parametrize(
    ("addressing", "host"),
    [
        (Addressing(dualstack=True), "b1b.s3.dualstack.eu-west-1.amazonaws.com"),
        (Addressing(fips=True), "b1b.s3-fips.eu-west-1.amazonaws.com"),
        (Addressing(fips=True, dualstack=True), "b1b.s3-fips.dualstack.eu-west-1.amazonaws.com"),
        (Addressing(accelerate=True), "b1b.s3-accelerate.amazonaws.com"),
        (Addressing(accelerate=True, dualstack=True), "b1b.s3-accelerate.dualstack.amazonaws.com"),
    ],
)
def test_variants_of_awss_hosts(addressing: Addressing, host: str) -> None:
    endpoint = _only(addressing, "b1b", "eu-west-1")
    assert endpoint.host == host
    assert endpoint.target("b1b")[0] == host
    assert endpoint.region == "eu-west-1"


def test_requests_about_no_bucket_are_never_accelerated() -> None:
    assert _only(Addressing(accelerate=True), "", "eu-west-1").host == "s3.eu-west-1.amazonaws.com"


def test_the_side_s_region_stands_in_where_nothing_better_is_known() -> None:
    assert _only(Addressing(region="eu-west-1"), "bucket").region == "eu-west-1"
    assert _only(Addressing(region="eu-west-1"), "bucket", "eu-north-1").region == "eu-north-1"


@pytest.mark.parametrize(
    ("addressing", "bucket", "region", "words"),
    [
        (Addressing(accelerate=True, fips=True), "bucket", "us-east-1", "--accelerate and --fips"),
        (Addressing(accelerate=True, style="path"), "bucket", "us-east-1", "--addressing-style path"),
        (Addressing(accelerate=True), "my.bucket", "us-east-1", "my.bucket"),
        (Addressing(accelerate=True), "bucket", "cn-north-1", "cn-north-1"),
        (Addressing(accelerate=True), "bucket", "us-gov-west-1", "us-gov-west-1"),
        (Addressing(fips=True), "bucket", "cn-north-1", "cn-north-1"),
        (Addressing(fips=True, urls=("http://h",)), "bucket", "x", "--fips .* --endpoint-url"),
        (Addressing(dualstack=True, urls=("http://h",)), "bucket", "x", "--dualstack .* --endpoint-url"),
        (Addressing(accelerate=True, urls=("http://h",)), "bucket", "x", "--accelerate .* --endpoint-url"),
        (Addressing(urls=("http://a:1", "http://b:1")), "bucket", "x", "more than one server, and requests go to one"),
        (Addressing(), "bucket", "snow", "--endpoint-url for another server"),
        (Addressing(), "bucket", "evil.example.com/", "no region's name"),
        (Addressing(urls=("http://h",)), "bucket", "a b", "no region's name"),
        (Addressing(), "b--usw2-az1--x-s3", "us-west-2", "directory bucket"),
    ],
)
def test_contradictions_are_refused_with_one_sentence(
    addressing: Addressing, bucket: str, region: str, words: str
) -> None:
    with pytest.raises(WrongSetting, match=words) as caught:
        endpoints_for(addressing, bucket, region)
    assert "\n" not in caught.value.sentence


# -- access points


@pytest.mark.parametrize(
    ("addressing", "url"),
    [
        (Addressing(), "https://myap-123456789012.s3-accesspoint.us-west-2.amazonaws.com/k"),
        (Addressing(dualstack=True), "https://myap-123456789012.s3-accesspoint.dualstack.us-west-2.amazonaws.com/k"),
        (Addressing(fips=True), "https://myap-123456789012.s3-accesspoint-fips.us-west-2.amazonaws.com/k"),
        (Addressing(urls=("https://vpce.example.com",)), "https://myap-123456789012.vpce.example.com/k"),
    ],
)
def test_an_access_point_has_its_own_host_and_region(addressing: Addressing, url: str) -> None:
    for arn in (_ACCESS_POINT, _ACCESS_POINT.replace("point/", "point:")):
        assert _url(addressing, arn, "eu-west-1") == url
        assert _only(addressing, arn, "eu-west-1").region == "us-west-2"


@pytest.mark.parametrize(
    ("arn", "words"),
    [
        ("arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap", "multi-Region"),
        ("arn:aws:s3-outposts:us-west-2:123456789012:outpost:op-01:accesspoint:myap", "no access point of S3"),
        ("arn:aws:s3-object-lambda:us-west-2:123456789012:accesspoint/myap", "no access point of S3"),
        ("arn:aws:s3:us-west-2:123:accesspoint/myap", "no access point of S3"),
        ("arn:aws:s3:us-west-2:123456789012:accesspoint/a.evil.example", "no access point of S3"),
        ("arn:aws-cn:s3:us-west-2:123456789012:accesspoint/myap", "partition aws-cn"),
        ("arn:aws:s3:cn-north-1:123456789012:accesspoint/myap", "partition aws"),
        ("arn:aws:s3:::bucket", "no access point of S3"),
    ],
)
def test_arns_that_we_cannot_reach_are_refused(arn: str, words: str) -> None:
    with pytest.raises(WrongSetting, match=words):
        endpoints_for(Addressing(), arn, "us-west-2")


def test_an_access_point_is_not_reached_in_the_path() -> None:
    for addressing in (Addressing(style="path"), Addressing(accelerate=True)):
        with pytest.raises(WrongSetting, match="leave"):
            endpoints_for(addressing, _ACCESS_POINT)


# -- given URLs


@pytest.mark.parametrize(
    ("url", "style", "expected"),
    [
        ("http://localhost:9000", "auto", "http://localhost:9000/bucket/k"),
        ("http://127.0.0.1:9000/", "auto", "http://127.0.0.1:9000/bucket/k"),
        ("http://127.0.0.1:80", "auto", "http://127.0.0.1/bucket/k"),
        ("http://127.0.0.1:443", "auto", "http://127.0.0.1:443/bucket/k"),
        ("https://minio.example.com:443", "auto", "https://minio.example.com/bucket/k"),
        ("HTTPS://MinIO.Example.com/base//", "auto", "https://minio.example.com/base/bucket/k"),
        ("http://[::1]:9000", "auto", "http://[::1]:9000/bucket/k"),
        ("https://[fd00::1]", "auto", "https://[fd00::1]/bucket/k"),
        ("https://oss.example.com", "virtual", "https://bucket.oss.example.com/k"),
        ("https://oss.example.com/base", "virtual", "https://bucket.oss.example.com/base/k"),
        ("https://s3.eu-west-1.amazonaws.com", "auto", "https://s3.eu-west-1.amazonaws.com/bucket/k"),
        ("https://s3-accelerate.amazonaws.com", "auto", "https://bucket.s3-accelerate.amazonaws.com/k"),
        ("https://bücher.example", "auto", "https://xn--bcher-kva.example/bucket/k"),
    ],
)
def test_a_given_url_is_used_as_it_stands(url: str, style: Any, expected: str) -> None:
    assert _url(Addressing(urls=(url,), style=style), "bucket", "snow") == expected


def test_an_ipv6_address_is_connected_to_without_its_brackets() -> None:
    endpoint = _only(Addressing(urls=("http://[::1]:9000",)), "bucket")
    assert (endpoint.host, endpoint.port) == ("::1", 9000)


def test_a_url_that_is_given_twice_is_one_endpoint() -> None:
    assert str(_only(Addressing(urls=("http://b:1", "http://b:1")), "bucket")) == "http://b:1"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("localhost:9000", "write http://localhost:9000"),
        ("127.0.0.1:9000/base", "write http://127.0.0.1:9000/base"),
        ("minio.example.com", "write https://minio.example.com"),
        ("ftp://host", "ftp:// is not known"),
        ("s3://bucket", "s3:// is not known"),
        ("http://", "names no host"),
        ("http://:9000", "names no host"),
        ("http://h:port", "no URL"),
        ("http://h:99999", "no URL"),
        ("http://h:0", "no port 0"),
        ("http://h/?x=1", "write http://h/$"),
        ("http://h/#x", "write http://h/$"),
        ("http://a b", "names no host"),
        ("http://-h", "names no host"),
        ("http://h/ü", "percent-encoded"),
        ("http://[::1", "no URL"),
        ("", "lacks http"),
    ],
)
def test_a_url_that_cannot_be_right_is_refused_with_what_to_write(url: str, words: str) -> None:
    with pytest.raises(WrongSetting, match=words) as caught:
        endpoints_for(Addressing(urls=(url,)), "bucket")
    assert "\n" not in caught.value.sentence


@pytest.mark.parametrize("url", ["https://AKIA:canary@host", "AKIA:canary@host:9000", "https://host/?token=canary"])
def test_H96_H97_a_secret_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(WrongSetting) as caught:
        endpoints_for(Addressing(urls=(url,)), "bucket")
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("url", ["https://bucket.s3.eu-west-1.amazonaws.com", "https://account.r2.example.com/bucket/"])
def test_a_url_that_already_names_the_bucket_is_refused(url: str) -> None:
    with pytest.raises(WrongSetting, match="already names the bucket"):
        endpoints_for(Addressing(urls=(url,)), "bucket")


def test_a_bucket_cannot_stand_before_an_address() -> None:
    for url in ("http://127.0.0.1:9000", "http://[::1]:9000"):
        with pytest.raises(WrongSetting, match="--addressing-style path"):
            endpoints_for(Addressing(urls=(url,), style="virtual"), "bucket")


# -- requests


def test_the_path_of_the_bucket_itself_has_no_slash_behind() -> None:
    assert _only(Addressing(urls=("http://h:1/base",)), "bucket").target("bucket") == ("h:1", "/base/bucket")
    assert _only(Addressing(), "bucket", "eu-west-1").target("bucket") == ("bucket.s3.eu-west-1.amazonaws.com", "/")
    assert _only(Addressing(urls=("http://h:1/base",), style="virtual"), "bucket").target("bucket")[1] == "/base"


def test_an_endpoint_in_path_style_serves_every_bucket_and_none() -> None:
    endpoint = _only(Addressing(urls=("http://h:1",)), "bucket")
    assert endpoint.target("other", "k") == ("h:1", "/other/k")
    assert endpoint.target("tenant:other") == ("h:1", "/tenant%3Aother")
    assert endpoint.target("") == ("h:1", "/")
    with pytest.raises(ValueError, match="serves bucket only"):
        _only(Addressing(), "bucket", "eu-west-1").target("other")


def test_H65_keys_are_encoded_once_and_not_normalised() -> None:
    endpoint = _only(Addressing(urls=("http://h:1",)), "bucket")
    assert endpoint.target("bucket", "/a//b/../c d%20é")[1] == "/bucket//a//b/../c%20d%2520%C3%A9"
    with pytest.raises(Refused):
        endpoint.target("bucket", "\ud800")


def test_equal_endpoints_are_equal() -> None:
    one, other = (_only(Addressing(urls=("http://h:1",)), "bucket") for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert one != _only(Addressing(urls=("http://h:1",)), "bucket", "eu-west-1")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"])
def test_hosts_of_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["localhost.example.com", "127.0.0.1.example.com", "10.0.0.1", "::2", "notlocalhost"])
def test_hosts_of_other_machines(host: str) -> None:
    assert not is_loopback(host)


class _Caught(Exception):
    """What keeps botocore from sending."""


@pytest.mark.slow
@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1", "cn-north-1", "us-gov-west-1", "us-isob-east-1"])
def test_our_urls_equal_botocores(region: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """For every combination that both accept, the URL that botocore would send a GetObject to."""
    import botocore.session
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    session = botocore.session.Session()
    session.set_credentials("AKID", "secret")
    seen: list[str] = []

    def catch(request: Any, **_: Any) -> None:
        seen.append(request.url)
        raise _Caught

    arn = f"arn:{'aws-cn' if region.startswith('cn') else 'aws'}:s3:{region}:123456789012:accesspoint/myap"
    buckets = ["bucket", "my.bucket"] + ([arn] if region in ("us-east-1", "eu-west-1", "cn-north-1") else [])
    compared = 0
    for dualstack, fips, accelerate in itertools.product((False, True), repeat=3):
        s3 = {"use_accelerate_endpoint": accelerate, "us_east_1_regional_endpoint": "regional"}
        config = Config(use_dualstack_endpoint=dualstack, use_fips_endpoint=fips, s3=s3, retries={"max_attempts": 0})
        addressing = Addressing(dualstack=dualstack, fips=fips, accelerate=accelerate)
        for bucket in buckets:
            seen.clear()
            try:
                client = session.create_client("s3", region_name=region, config=config)
                client.meta.events.register("before-send.s3.GetObject", catch)
                client.get_object(Bucket=bucket, Key="a b/é")
            except (_Caught, BotoCoreError):
                pass
            try:
                ours = _url(addressing, bucket, region, "a b/é")
            except WrongSetting:
                assert accelerate or not seen  # for some places without acceleration botocore makes up a host
                continue
            assert [ours] == seen, (dualstack, fips, accelerate, bucket)
            compared += 1
    assert compared >= 6


# -- the environment


def test_the_environment_fills_what_was_not_said() -> None:
    environ = {
        "AWS_ENDPOINT_URL": "http://all:1",
        "AWS_ENDPOINT_URL_S3": "http://s3:1",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "us-west-2",
        "AWS_CA_BUNDLE": "/ca.pem",
    }
    filled = addressing_from_environment(Addressing(), environ)
    assert filled == Addressing(urls=("http://s3:1",), region="eu-west-1", ca_bundle="/ca.pem")
    del environ["AWS_ENDPOINT_URL_S3"], environ["AWS_REGION"]
    filled = addressing_from_environment(Addressing(), environ)
    assert filled == Addressing(urls=("http://all:1",), region="us-west-2", ca_bundle="/ca.pem")
    environ["AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"] = "true"
    assert addressing_from_environment(Addressing(), environ).urls == ()


def test_what_was_said_explicitly_wins_over_the_environment() -> None:
    said = Addressing(urls=("http://mine:1",), region="snow", ca_bundle="/mine.pem")
    environ = {"AWS_ENDPOINT_URL": "http://all:1", "AWS_REGION": "eu-west-1", "AWS_CA_BUNDLE": "/ca.pem"}
    environ["AWS_USE_DUALSTACK_ENDPOINT"] = "true"  # of no meaning beside a URL
    assert addressing_from_environment(said, environ) == said
    unverified = Addressing(verify_tls=False)
    assert addressing_from_environment(unverified, {"AWS_CA_BUNDLE": "/ca.pem"}) == unverified


def test_the_environment_chooses_among_awss_hosts() -> None:
    environ = {"AWS_USE_DUALSTACK_ENDPOINT": "TRUE", "AWS_USE_FIPS_ENDPOINT": "true"}
    assert addressing_from_environment(Addressing(), environ) == Addressing(dualstack=True, fips=True)
    environ = {"AWS_USE_DUALSTACK_ENDPOINT": "false", "AWS_USE_FIPS_ENDPOINT": "", "AWS_REGION": " "}
    assert addressing_from_environment(Addressing(), environ) == Addressing()


def test_a_promise_of_fips_is_not_dropped_beside_a_url() -> None:
    filled = addressing_from_environment(Addressing(urls=("http://h:1",)), {"AWS_USE_FIPS_ENDPOINT": "true"})
    with pytest.raises(WrongSetting, match="--fips"):
        endpoints_for(filled, "bucket")


# -- refusals that name a region

_MALFORMED = (
    b"<?xml version='1.0'?>\n<Error><Code>AuthorizationHeaderMalformed</Code><Message>the region 'us-east-1' is wrong; "
    b"expecting 'eu-west-1'</Message><Region>eu-west-1</Region><RequestId>1</RequestId></Error>"
)
_MOVED = (
    b"<Error><Code>PermanentRedirect</Code><Endpoint>evil.example.com</Endpoint><Bucket>bucket</Bucket>"
    b"<Region>eu-central-1</Region></Error>"
)


@pytest.mark.parametrize(
    ("status", "headers", "body", "region"),
    [
        (301, {b"x-amz-bucket-region": b"eu-west-1"}, b"", "eu-west-1"),
        (307, {b"x-amz-bucket-region": b"eu-west-1", b"location": b"https://evil.example.com/"}, b"", "eu-west-1"),
        (400, {b"x-amz-bucket-region": b"eu-west-1"}, b"", "eu-west-1"),  # a HEAD has no body to say it in
        (400, {}, _MALFORMED, "eu-west-1"),
        (301, {}, _MOVED, "eu-central-1"),
        (301, {b"x-amz-bucket-region": b"eu-north-1"}, _MOVED, "eu-north-1"),
        (400, {}, b"<Error><Code>InvalidArgument</Code><Region>eu-west-1</Region></Error>", None),
        (403, {b"x-amz-bucket-region": b"eu-west-1"}, b"", None),
        (200, {b"x-amz-bucket-region": b"eu-west-1"}, _MALFORMED, None),
        (301, {}, b"", None),
        (301, {b"location": b"https://evil.example.com/"}, b"", None),
        (301, {b"x-amz-bucket-region": b""}, b"", None),
        (301, {b"x-amz-bucket-region": b"null"}, b"", None),
        (400, {}, _MALFORMED.replace(b">eu-west-1<", b"><"), None),
        (400, {}, _MALFORMED.replace(b">eu-west-1<", b">null<"), None),
    ],
)
def test_H31_a_refusal_names_the_region(
    status: int, headers: dict[bytes, bytes], body: bytes, region: str | None
) -> None:
    assert region_from_refusal(status, headers, body) == region


@pytest.mark.parametrize(
    "said",
    [b"evil.example.com", b"x@evil", b"eu-west-1/..", b"a" * 64, b"eu west", b"\xff", b"-x", b"a\r\nb", b"[::1]"],
)
def test_H95_H100_what_could_become_a_host_is_no_region(said: bytes) -> None:
    assert region_from_refusal(301, {b"x-amz-bucket-region": said}, b"") is None
    assert region_from_refusal(301, {}, _MOVED.replace(b"eu-central-1", said)) is None


def test_H95_partitions_are_told_apart() -> None:
    assert same_partition("us-east-1", "eu-west-1")
    assert not same_partition("us-east-1", "cn-north-1")
    assert not same_partition("us-east-1", "us-gov-west-1")
    assert same_partition("cn-north-1", "cn-northwest-1")


# -- TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def test_a_bundle_replaces_the_systems_certificates(authority: trustme.CA, tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    context = tls_context(Addressing(ca_bundle=str(bundle)))
    assert len(context.get_ca_certs()) == 1
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_H99_certificates_are_checked_unless_somebody_says_otherwise() -> None:
    context = tls_context(Addressing())
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    unchecked = tls_context(Addressing(verify_tls=False))
    assert unchecked.verify_mode is ssl.CERT_NONE
    assert not unchecked.check_hostname


def test_a_folder_of_certificates_is_found_by_hash(authority: trustme.CA, tmp_path: Path) -> None:
    with pytest.raises(WrongSetting, match="openssl rehash"):
        tls_context(Addressing(ca_bundle=str(tmp_path)))
    authority.cert_pem.write_to_path(str(tmp_path / "12345678.0"))
    assert tls_context(Addressing(ca_bundle=str(tmp_path))).verify_mode is ssl.CERT_REQUIRED


def test_a_bundle_that_is_missing_or_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongSetting, match="cannot be read: No such file"):
        tls_context(Addressing(ca_bundle=str(tmp_path / "none.pem")))
    (tmp_path / "text.pem").write_text("not a certificate")
    with pytest.raises(WrongSetting, match="no certificate in PEM form"):
        tls_context(Addressing(ca_bundle=str(tmp_path / "text.pem")))
    with pytest.raises(WrongSetting, match="--no-verify-ssl and --ca-bundle"):
        tls_context(Addressing(ca_bundle=str(tmp_path / "text.pem"), verify_tls=False))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_bundle_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.touch(mode=0)
    with pytest.raises(WrongSetting, match="cannot be read: Permission denied"):
        tls_context(Addressing(ca_bundle=str(bundle)))


def test_endpoints_say_where_they_are() -> None:
    endpoint = _only(Addressing(urls=("https://h:8443/base",)), "bucket")
    assert str(endpoint) == "https://h:8443/base"
    assert urlsplit(str(endpoint)).port == 8443
    assert endpoint.is_tls
    assert not endpoint.is_loopback


# -- Two sides


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (Addressing(), Addressing(), True),
        (Addressing(region="eu-west-1"), Addressing(region="us-east-2"), True),
        (Addressing(region="eu-west-1", dualstack=True), Addressing(fips=True), True),
        (Addressing(region="us-gov-west-1"), Addressing(), False),
        (Addressing(region="cn-north-1"), Addressing(region="eu-west-1"), False),
        (Addressing(urls=("https://s3.eu-west-1.amazonaws.com",), region="eu-west-1"), Addressing(), True),
        (Addressing(urls=("https://s3.example.com",)), Addressing(), False),
        (Addressing(urls=("https://s3.example.com",)), Addressing(urls=("https://S3.Example.com.:443/",)), True),
        (Addressing(urls=("https://s3.example.com",)), Addressing(urls=("https://s3.example.com:8443",)), False),
        (Addressing(urls=("https://s3.example.com/a",)), Addressing(urls=("https://s3.example.com/b",)), False),
        (Addressing(urls=("https://evil-amazonaws.com",)), Addressing(), False),
        (Addressing(urls=("http://localhost:9000",)), Addressing(urls=("http://127.0.0.1:9000",)), True),
        (Addressing(urls=("http://a:1", "http://b:1")), Addressing(urls=("http://b:1", "http://c:1")), True),
        (Addressing(urls=("http://a:1",)), Addressing(urls=("http://b:1",)), False),
    ],
)
def test_two_sides_are_one_server_where_they_share_an_endpoint_or_a_partition(
    one: Addressing, other: Addressing, expected: bool
) -> None:
    assert is_one_server(one, other) is expected
    assert is_one_server(other, one) is expected
