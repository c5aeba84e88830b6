"""Which proxy the environment asks for."""

from __future__ import annotations

import base64

import pytest

from sterna.model.errors import WrongSetting
from sterna.wire.endpoints import Addressing, Endpoint, endpoints_for
from sterna.wire.proxies import Proxy, proxy_for


def _endpoint(url: str) -> Endpoint:
    return endpoints_for(Addressing(urls=(url,)), "bucket")[0]


_TLS = _endpoint("https://s3.example.com")
_PLAIN = _endpoint("http://s3.example.com:9000")
_P, _Q = "http://p:3128", "http://q:3128"


@pytest.mark.parametrize(
    ("endpoint", "environ", "host"),
    [
        (_TLS, {}, None),
        (_TLS, {"HTTPS_PROXY": _P}, "p"),
        (_TLS, {"https_proxy": _P}, "p"),
        (_TLS, {"https_proxy": _P, "HTTPS_PROXY": _Q}, "p"),
        (_TLS, {"https_proxy": "", "HTTPS_PROXY": _Q}, None),
        (_TLS, {"HTTP_PROXY": _P}, None),
        (_TLS, {"ALL_PROXY": _P}, "p"),
        (_TLS, {"all_proxy": _P, "HTTPS_PROXY": _Q}, "q"),
        (_PLAIN, {"HTTPS_PROXY": _P}, None),
        (_PLAIN, {"HTTP_PROXY": _P}, "p"),
        (_PLAIN, {"http_proxy": _P}, "p"),
        (_PLAIN, {"HTTP_PROXY": _P, "REQUEST_METHOD": "GET"}, None),  # a CGI program: the header Proxy of a client
        (_PLAIN, {"http_proxy": _P, "REQUEST_METHOD": "GET"}, "p"),
        (_PLAIN, {"HTTP_PROXY": "  "}, None),
    ],
)
def test_a_proxy_is_chosen_by_the_endpoints_scheme(
    endpoint: Endpoint, environ: dict[str, str], host: str | None
) -> None:
    proxy = proxy_for(endpoint, environ)
    assert (proxy.host if proxy else None) == host


@pytest.mark.parametrize(
    ("said", "proxy"),
    [
        ("http://p:3128", Proxy("p", 3128)),
        ("http://p", Proxy("p", 80)),
        ("https://p", Proxy("p", 443, is_tls=True)),
        ("https://p:8443/", Proxy("p", 8443, is_tls=True)),
        ("p:3128", Proxy("p", 3128)),
        ("http://[fd00::1]:3128", Proxy("fd00::1", 3128)),
    ],
)
def test_a_proxy_is_read_from_its_url(said: str, proxy: Proxy) -> None:
    assert proxy_for(_TLS, {"HTTPS_PROXY": said}) == proxy


def test_the_users_name_and_password_become_a_header() -> None:
    proxy = proxy_for(_TLS, {"HTTPS_PROXY": "http://us%40er:p%3Aass@p:3128"})
    assert proxy is not None
    assert proxy.authorization == "Basic " + base64.b64encode(b"us@er:p:ass").decode()
    assert proxy.host == "p"


def test_H96_a_proxys_password_is_not_shown() -> None:
    proxy = proxy_for(_TLS, {"HTTPS_PROXY": "http://user:canary@p:3128"})
    assert proxy is not None
    for shown in (repr(proxy), str(proxy)):
        assert "canary" not in shown
        assert base64.b64encode(b"user:canary").decode() not in shown
    for url in ("socks5://user:canary@p:1080", "http://user:canary@:x"):
        with pytest.raises(WrongSetting) as caught:
            proxy_for(_TLS, {"HTTPS_PROXY": url})
        assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("socks5://p:1080", "HTTPS_PROXY: .* socks5:// is not supported; use http:// or https://"),
        ("ftp://p", "ftp:// is not supported"),
        ("http://", "no proxy's URL"),
        ("http://p:port", "no proxy's URL"),
    ],
)
def test_other_proxies_are_refused_by_a_sentence(said: str, words: str) -> None:
    with pytest.raises(WrongSetting, match=words):
        proxy_for(_TLS, {"HTTPS_PROXY": said})


@pytest.mark.parametrize(
    ("url", "no_proxy", "is_exempt"),
    [
        ("https://s3.example.com", "*", True),
        ("https://s3.example.com", "example.com", True),
        ("https://s3.example.com", ".example.com", True),
        ("https://s3.example.com", "*.example.com", True),
        ("https://s3.example.com", "EXAMPLE.com.", True),
        ("https://s3.example.com", "other.org , example.com", True),
        ("https://s3.example.com", "other.org example.com", True),
        ("https://example.com", ".example.com", True),
        ("https://badexample.com", "example.com", False),
        ("https://s3.example.com.evil.org", "example.com", False),
        ("https://s3.example.com", "s3.example.com:443", True),
        ("https://s3.example.com", "s3.example.com:8443", False),
        ("https://s3.example.com:8443", "example.com:8443", True),
        ("https://s3.example.com", "", False),
        ("https://s3.example.com", ",. ,", False),
        ("https://10.1.2.3", "10.0.0.0/8", True),
        ("https://11.1.2.3", "10.0.0.0/8", False),
        ("https://10.1.2.3", "10.1.2.3", True),
        ("https://10.1.2.3:9000", "10.1.2.3:9000", True),
        ("https://10.1.2.3:9001", "10.1.2.3:9000", False),
        ("https://10.1.2.3", "1.2.3", False),
        ("https://10.1.2.3", "nonsense/8", False),
        ("https://s3.example.com", "10.0.0.0/8", False),
        ("https://[fd00::5]", "fd00::/16", True),
        ("https://[fd00::5]", "fd00::5", True),
        ("https://[fd00::5]", "[fd00:0::5]", True),
        ("https://[fd00::5]:9000", "[fd00::5]:9000", True),
        ("https://[fd00::5]:9000", "[fd00::5]:9001", False),
    ],
)
def test_no_proxy_exempts_hosts(url: str, no_proxy: str, is_exempt: bool) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        assert (proxy_for(_endpoint(url), {"HTTPS_PROXY": _P, name: no_proxy}) is None) is is_exempt


@pytest.mark.parametrize("url", ["http://localhost:9000", "http://127.0.0.1:9000", "https://[::1]:9000"])
def test_this_machine_is_never_reached_through_a_proxy(url: str) -> None:
    assert proxy_for(_endpoint(url), {"ALL_PROXY": _P, "HTTP_PROXY": _P, "HTTPS_PROXY": _P}) is None
