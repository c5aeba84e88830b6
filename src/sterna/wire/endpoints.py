"""Turn what is said of a bucket's place into endpoints: the hosts to connect to, the host and path of each request.

Sources: "Amazon S3 endpoints and quotas", "Virtual hosting of buckets", "Using dual-stack endpoints" (S3 User Guide).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import replace

from sterna.model.errors import WrongSetting
from sterna.wire.encoding import encode_key, encode_value

if TYPE_CHECKING:
    import ssl

DEFAULT_REGION = "us-east-1"  # what AWS and nearly every other server answer to when nobody names a region

_DEFAULT_PORTS = {"http": 80, "https": 443}
_REGION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")  # elsewhere regions are called snow, garage, auto, us_east …
_AWS_REGION = re.compile(r"[a-z]{2,}(?:-[a-z0-9]+)*-[0-9]+")
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9_])?\.?")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{1,61})[a-z0-9]")  # a bucket that can be one label of a host name
_LABELS = re.compile(r"[a-z0-9](?:[a-z0-9.-]{1,61})[a-z0-9]")
_ACCESS_POINT = re.compile(
    r"arn:(aws[a-z-]*):s3:([a-z0-9-]+):([0-9]{12}):accesspoint[:/]([a-z0-9][a-z0-9-]{1,48}[a-z0-9])"
)
_HASHED_CERTIFICATE = re.compile(r"[0-9a-f]{8}\.[0-9]+")


class Addressing(msgspec.Struct, frozen=True):
    """What the user said about where one side is. ``style`` auto means: path for given URLs, virtual-host on AWS."""

    urls: tuple[str, ...] = ()
    region: str | None = None
    style: Literal["auto", "path", "virtual"] = "auto"
    dualstack: bool = False
    fips: bool = False
    accelerate: bool = False
    ca_bundle: str | None = None
    verify_tls: bool = True


class Endpoint(msgspec.Struct, frozen=True, dict=True):
    """One URL of a side, as it serves one bucket: ``host`` is what to connect to and to check certificates against.

    ``region`` is the one to sign for: an access point's own, whatever the side's is. With ``is_virtual`` the bucket
    is part of the host, so the endpoint serves no other; one in path style serves every bucket.
    """

    scheme: str
    host: str
    port: int
    base_path: str
    region: str
    bucket: str = ""
    is_virtual: bool = False

    @cached_property
    def _host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @cached_property
    def _root(self) -> str:
        """What a key's path begins with."""
        bucket = "" if self.is_virtual or not self.bucket else f"/{encode_value(self.bucket)}"
        return f"{self.base_path}{bucket}/"

    def __str__(self) -> str:
        return f"{self.scheme}://{self._host_header}{self.base_path}"

    @property
    def is_tls(self) -> bool:
        return self.scheme == "https"

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.host)

    def target(self, bucket: str, key: str = "") -> tuple[str, str]:
        """The Host header and the encoded path of a request for a key, or for the bucket itself.

        The port stands in the header only if it is not the scheme's own. Raises Refused for a key without an encoding.
        """
        if bucket != self.bucket:
            if self.is_virtual:
                raise ValueError(f"{self} serves {self.bucket} only, not {bucket}")
            return replace(self, bucket=bucket).target(bucket, key)
        if not key:
            return self._host_header, self._root.removesuffix("/") or "/"
        return self._host_header, self._root + encode_key(key)


def endpoints_for(addressing: Addressing, bucket: str, region: str = "") -> tuple[Endpoint, ...]:
    """The endpoints through which a bucket is reached, one so far; an empty bucket gives those for requests about none.

    ``region`` is what is known by now (a profile's, a corrected one) and goes before the addressing's. Raises
    WrongSetting with one sentence for whatever cannot be right.
    """
    region = region or addressing.region or DEFAULT_REGION
    if not _REGION.fullmatch(region):
        raise WrongSetting(f"--region {region!r} is no region's name; write for example eu-west-1.")
    _refuse_contradictions(addressing)
    if bucket.startswith("arn:"):
        return _of_access_point(addressing, bucket)
    if bucket.endswith("--x-s3"):
        raise WrongSetting(
            f"{bucket} is a directory bucket (S3 Express), which is not supported; use a general purpose bucket."
        )
    if addressing.urls:
        return tuple(_of_url(url, addressing, bucket, region) for url in dict.fromkeys(addressing.urls))
    return (_of_aws(addressing, bucket, region),)


def addressing_from_environment(addressing: Addressing, environ: Mapping[str, str]) -> Addressing:
    """Fill what was not said explicitly from the variables that the AWS tools read."""

    def said(*names: str) -> str:
        return next((value for name in names if (value := environ.get(name, "").strip())), "")

    def is_on(name: str) -> bool:
        return said(name).lower() in ("true", "1")

    url = "" if is_on("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") else said("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    urls = addressing.urls or ((url,) if url else ())
    return replace(
        addressing,
        urls=urls,
        region=addressing.region or said("AWS_REGION", "AWS_DEFAULT_REGION") or None,
        ca_bundle=addressing.ca_bundle or (said("AWS_CA_BUNDLE") or None if addressing.verify_tls else None),
        # A given URL is used as it stands. FIPS is a promise to somebody: it is not dropped but refused beside a URL.
        dualstack=addressing.dualstack or (is_on("AWS_USE_DUALSTACK_ENDPOINT") and not urls),
        fips=addressing.fips or is_on("AWS_USE_FIPS_ENDPOINT"),
    )


def region_from_refusal(status: int, headers: Mapping[bytes, bytes], body: bytes) -> str | None:
    """The region that a server's refusal names as the bucket's, if it does; header names are in lower case.

    Only a plain region name is believed, never the host in ``Endpoint`` or ``Location`` (H31, H95, H100).
    """
    if status not in (301, 302, 307, 308, 400):
        return None
    said = headers.get(b"x-amz-bucket-region", b"")
    if not said and _REGION_REFUSED.search(body):
        match = _REGION_NAMED.search(body)
        said = match[1] if match else b""
    named = said.decode("ascii", "replace").strip()
    return named if _REGION.fullmatch(named) and named.lower() not in ("null", "none") else None


def is_loopback(host: str) -> bool:
    """Whether a host name or address stays on this machine."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _address(name)
    return address is not None and address.is_loopback


def same_partition(region: str, other: str) -> bool:
    """Whether AWS serves both regions from one partition: keys of one have no business in another (H95)."""
    return _partition(region) == _partition(other)


def is_one_server(one: Addressing, other: Addressing) -> bool:
    """Whether two sides are one server, which can copy between their buckets by itself: they share an endpoint, by
    host, port and path; or both are AWS in one partition, where regions copy from each other.
    """
    return bool(_servers(one) & _servers(other))


def _servers(addressing: Addressing) -> set[tuple[str, int, str]]:
    amazon = f"AWS {_partition(addressing.region or DEFAULT_REGION)}", 0, ""
    found = set()
    for url in addressing.urls:
        _, host, port, path = _parts_of(url)
        host = host.lower().rstrip(".")
        if host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
            found.add(amazon)
        else:
            found.add(("this machine" if is_loopback(host) else host, port, path))
    return found or {amazon}


def tls_context(addressing: Addressing) -> ssl.SSLContext:
    """The TLS settings of a side; the bundle, where there is one, replaces the system's certificates.

    Raises WrongSetting for a bundle that is missing, unreadable or holds no certificate.
    """
    import ssl  # only those who speak TLS need it, and it costs ten milliseconds

    if not addressing.verify_tls and addressing.ca_bundle:
        raise WrongSetting("--no-verify-ssl and --ca-bundle exclude each other; leave one of them off.")
    bundle = addressing.ca_bundle
    try:
        if bundle is None:
            context = ssl.create_default_context()
        elif Path(bundle).is_dir():
            if not any(_HASHED_CERTIFICATE.fullmatch(entry.name) for entry in Path(bundle).iterdir()):
                raise WrongSetting(
                    f"--ca-bundle {bundle}: no certificates by hash are in it; run: openssl rehash {bundle}"
                )
            context = ssl.create_default_context(capath=bundle)
        else:
            context = ssl.create_default_context(cafile=bundle)
    except ssl.SSLError as error:
        raise WrongSetting(f"--ca-bundle {bundle} holds no certificate in PEM form ({error.reason}).") from error
    except OSError as error:
        raise WrongSetting(f"--ca-bundle {bundle} cannot be read: {error.strerror}.") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if not addressing.verify_tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


_REGION_REFUSED = re.compile(
    rb"<Code>\s*(?:AuthorizationHeaderMalformed|PermanentRedirect|TemporaryRedirect)\s*</Code>"
)
_REGION_NAMED = re.compile(rb"<Region>([^<>]{1,80})</Region>")

# AWS's partitions: how their regions' names begin, and the domain below which their hosts are.
_PARTITIONS = {
    "aws-cn": ("cn-", "amazonaws.com.cn"),
    "aws-us-gov": ("us-gov-", "amazonaws.com"),
    "aws-iso": ("us-iso-", "c2s.ic.gov"),
    "aws-iso-b": ("us-isob-", "sc2s.sgov.gov"),
    "aws-iso-e": ("eu-isoe-", "cloud.adc-e.uk"),
    "aws-iso-f": ("us-isof-", "csp.hci.ic.gov"),
    "aws-eusc": ("eusc-", "amazonaws.eu"),
    "aws": ("", "amazonaws.com"),
}


def _partition(region: str) -> str:
    return next(name for name, (start, _) in _PARTITIONS.items() if region.startswith(start))


def _refuse_contradictions(addressing: Addressing) -> None:
    if len(set(addressing.urls)) > 1:
        raise WrongSetting(
            "--endpoint-url names more than one server, and requests go to one; leave the others off. Where source and"
            " destination are on different servers, give --source-endpoint-url and --destination-endpoint-url."
        )
    switches = {"--dualstack": addressing.dualstack, "--fips": addressing.fips, "--accelerate": addressing.accelerate}
    for name, is_on in switches.items():
        if is_on and addressing.urls:
            raise WrongSetting(f"{name} chooses among AWS's own hosts and cannot be combined with --endpoint-url.")
    if addressing.accelerate and addressing.fips:
        raise WrongSetting("--accelerate and --fips exclude each other: AWS has no FIPS endpoint for acceleration.")
    if addressing.accelerate and addressing.style == "path":
        raise WrongSetting("--accelerate works with virtual-host addressing only; leave off --addressing-style path.")


def _of_aws(addressing: Addressing, bucket: str, region: str) -> Endpoint:
    region, suffix = _aws_region(region, addressing)
    dual = ".dualstack" if addressing.dualstack else ""
    if addressing.accelerate and bucket:
        if _partition(region) != "aws":
            raise WrongSetting(f"--accelerate is not offered in {region}; leave it off.")
        if not _LABEL.fullmatch(bucket):
            raise WrongSetting(f"--accelerate needs a bucket name of a-z, 0-9 and -, which {bucket} is not.")
        return Endpoint("https", f"{bucket}.s3-accelerate{dual}.{suffix}", 443, "", region, bucket, is_virtual=True)
    host = f"s3{'-fips' if addressing.fips else ''}{dual}.{region}.{suffix}"
    # A wildcard certificate covers one label, so a dotted name must stay in the path (H99).
    if bucket and (addressing.style == "virtual" or (addressing.style == "auto" and _LABEL.fullmatch(bucket))):
        return Endpoint("https", _virtual_host(bucket, host), 443, "", region, bucket, is_virtual=True)
    return Endpoint("https", host, 443, "", region, bucket)


def _of_url(url: str, addressing: Addressing, bucket: str, region: str) -> Endpoint:
    scheme, host, port, base_path = _parts_of(url)
    is_aws = host.endswith((".amazonaws.com", ".amazonaws.com.cn"))
    if bucket and ((is_aws and host.startswith(f"{bucket}.")) or base_path.endswith(f"/{bucket}")):
        raise WrongSetting(f"--endpoint-url {url} already names the bucket {bucket}; write the URL without it.")
    must_be_virtual = is_aws and host.startswith("s3-accelerate.") and addressing.style == "auto"
    if bucket and (addressing.style == "virtual" or must_be_virtual):
        return Endpoint(scheme, _virtual_host(bucket, host), port, base_path, region, bucket, is_virtual=True)
    return Endpoint(scheme, host, port, base_path, region, bucket)


def _of_access_point(addressing: Addressing, bucket: str) -> tuple[Endpoint, ...]:
    match = _ACCESS_POINT.fullmatch(bucket)
    if match is None:
        if ":accesspoint" in bucket and bucket.endswith(".mrap"):
            raise WrongSetting(
                f"{bucket} is a multi-Region access point, which needs signatures (SigV4A) that are not supported; "
                "use the bucket or a regional access point."
            )
        raise WrongSetting(
            f"{bucket} is no access point of S3; write arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME, or the bucket."
        )
    partition, region, account, name = match.groups()
    if addressing.accelerate:
        raise WrongSetting(f"--accelerate cannot be used with an access point ({bucket}); leave it off.")
    if addressing.style == "path":
        raise WrongSetting(f"{bucket}: an access point is reached by its host name; leave off --addressing-style path.")
    label = f"{name}-{account}"
    if addressing.urls:
        given = [_parts_of(url) for url in dict.fromkeys(addressing.urls)]
        return tuple(
            Endpoint(scheme, _virtual_host(label, host), port, base_path, region, bucket, is_virtual=True)
            for scheme, host, port, base_path in given
        )
    region, suffix = _aws_region(region, addressing)
    if partition != _partition(region):
        raise WrongSetting(f"{bucket}: the region {region} is not in the partition {partition}.")
    fips, dual = "-fips" if addressing.fips else "", ".dualstack" if addressing.dualstack else ""
    host = f"{label}.s3-accesspoint{fips}{dual}.{region}.{suffix}"
    return (Endpoint("https", host, 443, "", region, bucket, is_virtual=True),)


def _aws_region(region: str, addressing: Addressing) -> tuple[str, str]:
    """The region and its domain, both checked."""
    if region == "aws-global":
        region = DEFAULT_REGION
    if not _AWS_REGION.fullmatch(region):
        raise WrongSetting(
            f"{region} is no region of AWS; write for example --region eu-west-1, or --endpoint-url for another server."
        )
    if addressing.fips and _partition(region) == "aws-cn":
        raise WrongSetting(f"--fips: AWS has no FIPS endpoints in {region}; leave it off.")
    return region, _PARTITIONS[_partition(region)][1]


def _virtual_host(label: str, host: str) -> str:
    if not _LABELS.fullmatch(label) or ".." in label:
        raise WrongSetting(f"{label} cannot be part of a host name; use --addressing-style path.")
    if _address(host) is not None:
        raise WrongSetting(f"{label} cannot stand before the address {host}; use --addressing-style path.")
    return f"{label}.{host}"


def _parts_of(url: str) -> tuple[str, str, int, str]:
    """Scheme, host, port and path of an endpoint's URL. What could be a secret is not repeated in a sentence (H96)."""
    text = url.strip()
    if "@" in text:
        raise WrongSetting("--endpoint-url takes no user or password; put the keys into the environment or a profile.")
    shown = re.split("[?#]", text)[0]
    if "://" not in text:
        host = text.partition("/")[0].partition(":")[0]
        scheme = "http" if is_loopback(host) or _address(host) is not None else "https"
        raise WrongSetting(f"--endpoint-url {shown} lacks http:// or https://; write {scheme}://{shown}")
    if shown != text:
        raise WrongSetting(f"--endpoint-url takes no ? or #; write {shown}")
    try:
        parts = urlsplit(text)
        host, port = (parts.hostname or "").encode("idna").decode("ascii"), parts.port
    except (ValueError, UnicodeError) as error:
        raise WrongSetting(f"--endpoint-url {shown} is no URL: {error}.") from error
    scheme = parts.scheme.lower()
    if scheme not in _DEFAULT_PORTS:
        raise WrongSetting(f"--endpoint-url {shown}: {scheme}:// is not known; write http:// or https://.")
    if not (_HOST.fullmatch(host) or (_address(host) is not None and "%" not in host)):
        raise WrongSetting(f"--endpoint-url {shown} names no host; write for example https://s3.example.com.")
    if port == 0:
        raise WrongSetting(f"--endpoint-url {shown}: there is no port 0.")
    path = parts.path.rstrip("/")
    if re.search(r"[^\x21-\x7e]", path):
        raise WrongSetting(f"--endpoint-url {shown!a}: the path must be percent-encoded.")
    return scheme, host, port or _DEFAULT_PORTS[scheme], path


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None
