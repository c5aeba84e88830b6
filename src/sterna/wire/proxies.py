"""Turn the proxy variables of the environment into the proxy for one endpoint, or none.

There is no standard for these variables; where tools differ, this follows what curl's manual and Go's httpproxy share.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes, urlsplit

import msgspec

from sterna.model.errors import WrongSetting
from sterna.wire.endpoints import Endpoint

_DEFAULT_PORTS = {"http": 80, "https": 443}


class Proxy(msgspec.Struct, frozen=True):
    """Whom to ask for a connection. ``authorization`` is the value of Proxy-Authorization or empty; ``is_tls`` says how
    the proxy itself is spoken to."""

    host: str
    port: int
    authorization: str = ""
    is_tls: bool = False

    def __repr__(self) -> str:
        return f"<Proxy {self}{', with a password' if self.authorization else ''}>"  # which nobody is shown

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.is_tls else 'http'}://{host}:{self.port}"


def proxy_for(endpoint: Endpoint, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy that the environment asks for; never one for an endpoint on this machine.

    Lower-case names go before upper-case ones, ``HTTPS_PROXY`` and ``HTTP_PROXY`` (by the endpoint's scheme) before
    ``ALL_PROXY``. Raises WrongSetting for a proxy that is neither http:// nor https://.
    """
    if endpoint.is_loopback:
        return None
    for name in (f"{endpoint.scheme}_proxy", "all_proxy"):
        said, text = _variable(name, environ)
        if text:
            break
    else:
        return None
    if _is_exempt(endpoint, _variable("no_proxy", environ)[1]):
        return None
    return _parsed(said, text)


def _variable(name: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """The name and the value of a variable in either case; set and empty in lower case switches it off, as in curl."""
    if name in environ:
        return name, environ[name].strip()
    # In a CGI program HTTP_PROXY is a header that any client can send (httpoxy, CVE-2016-5385).
    if name == "http_proxy" and "REQUEST_METHOD" in environ:
        return name, ""
    return name.upper(), environ.get(name.upper(), "").strip()


def _parsed(said: str, text: str) -> Proxy:
    """A proxy from its URL; its password is never repeated in a sentence (H96)."""
    url = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    if not host:
        raise WrongSetting(f"{said} is no proxy's URL; write for example http://proxy.example.com:3128.")
    scheme = parts.scheme.lower()
    if scheme not in _DEFAULT_PORTS:
        raise WrongSetting(f"{said}: a proxy of the kind {scheme}:// is not supported; use http:// or https://.")
    authorization = ""
    if parts.username is not None:
        user = unquote_to_bytes(parts.username) + b":" + unquote_to_bytes(parts.password or "")
        authorization = "Basic " + base64.b64encode(user).decode("ascii")
    return Proxy(host, port or _DEFAULT_PORTS[scheme], authorization, scheme == "https")


def _is_exempt(endpoint: Endpoint, no_proxy: str) -> bool:
    rules = no_proxy.replace(",", " ").split()
    return any(_covers(rule.lower(), endpoint.host.rstrip(".").lower(), endpoint.port) for rule in rules)


def _covers(rule: str, host: str, port: int) -> bool:
    """Whether one rule of NO_PROXY names a host: ``*``, a name and all below it, an address or a network; with a port
    or without."""
    if rule == "*":
        return True
    address = _address(host)
    if "/" in rule:
        network = _network(rule)
        return network is not None and address is not None and address in network
    if _address(rule) is None:  # an IPv6 address has colons of its own
        name, colon, wanted = rule.rpartition(":")
        if colon and wanted.isdecimal():
            if int(wanted) != port:
                return False
            rule = name
    if address is not None:
        return address == _address(rule)
    rule = rule.removeprefix("*").removeprefix(".").rstrip(".")
    return bool(rule) and (host == rule or host.endswith(f".{rule}"))


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None
