"""Find out who we are for a bucket, and whether its endpoints can be reached."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from sterna.config.finding import Finding, advice_for
from sterna.model.errors import SternaError
from sterna.model.units import printable
from sterna.wire.credentials import CredentialSource, Identity
from sterna.wire.endpoints import Addressing, Endpoint, tls_context
from sterna.wire.proxies import proxy_for

if TYPE_CHECKING:
    import ssl

_CONNECT_S = 8.0
_CERTIFICATE_DAYS = 14


async def credentials(identity: Identity) -> AsyncIterator[Finding]:
    """Whose keys requests would be signed with, from where, and for how long."""
    source = CredentialSource(identity, os.environ)
    try:
        found = await asyncio.to_thread(source.now)
    except SternaError as error:
        yield Finding("credentials", False, error.sentence, advice_for(error))
        return
    if found is None:
        yield Finding("credentials", None, "none: requests are anonymous (--no-sign-request).")
        return
    shown = f"{found.access_key[:4]}…{found.access_key[-4:]}" if len(found.access_key) > 11 else found.access_key
    words = f"from the {found.source}, access key {printable(shown)}"
    if found.expires_s is None:
        yield Finding("credentials", True, f"{words}, without an end that is known.")
        return
    left_s = found.expires_s - time.time()
    until = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found.expires_s))
    advice = "" if left_s > 900 else "They end soon; renew them before a long run."
    yield Finding("credentials", left_s > 0, f"{words}, valid until {until} ({_span_words(left_s)}).", advice)


async def reach(endpoint: Endpoint, addressing: Addressing) -> AsyncIterator[Finding]:
    """Name, addresses, TCP and TLS of one endpoint, by connections of our own."""
    where = f"{endpoint.host}:{endpoint.port}"
    try:
        proxy = proxy_for(endpoint, os.environ)
    except SternaError as error:
        yield Finding("endpoint", False, error.sentence, "Change or unset the proxy variable.")
        return
    if proxy is not None:
        yield Finding("endpoint", None, f"{endpoint}, through the proxy {proxy}; what is behind it shows below.")
        return
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    except OSError as error:
        words = f"The name {endpoint.host} cannot be looked up ({error.strerror or error})."
        yield Finding("endpoint", False, words, "Look at --endpoint-url, --region and this machine's name service.")
        return
    addresses = list(dict.fromkeys((family, address[0]) for family, _, _, _, address in found))
    tried = await asyncio.gather(*(_tcp(family, str(address), endpoint.port) for family, address in addresses[:16]))
    silent = [f"{address} ({error})" for (_, address), error in zip(addresses, tried, strict=False) if error]
    many = f"{len(addresses)} address{'' if len(addresses) == 1 else 'es'}"
    if len(silent) == len(tried):
        words = f"{where} has {many}, and none answers: {'; '.join(silent[:3])}."
        yield Finding("endpoint", False, words, "Look at --endpoint-url, at firewalls, and whether a proxy is needed.")
        return
    if silent:
        words = f"{where} has {many}; no answer from {', '.join(silent[:3])}."
        yield Finding("endpoint", None, words, "Sterna goes to the others; a broken route costs time at each start.")
    else:
        yield Finding(
            "endpoint", True, f"{endpoint} has {many}, {'which answers' if len(addresses) == 1 else 'all answer'}."
        )
    if endpoint.is_tls:
        yield await _tls(endpoint, addressing)
    elif not endpoint.is_loopback:
        advice = "Use https:// where the server has it; over http:// anybody on the way reads the objects."
        yield Finding("TLS", None, "not used: what is sent can be read on the way.", advice)


async def _tls(endpoint: Endpoint, addressing: Addressing) -> Finding:
    import ssl

    where = f"{endpoint.host}:{endpoint.port}"
    try:
        context = tls_context(addressing)
        async with asyncio.timeout(_CONNECT_S):
            _, writer = await asyncio.open_connection(
                endpoint.host, endpoint.port, ssl=context, server_hostname=endpoint.host
            )
    except SternaError as error:
        return Finding("TLS", False, error.sentence, "Give another --ca-bundle.")
    except ssl.SSLCertVerificationError as error:
        advice = "Give the certificate of its authority with --ca-bundle FILE, or have the server's renewed."
        return Finding("TLS", False, f"The certificate of {where} is not trusted: {error.verify_message}.", advice)
    except (OSError, TimeoutError) as error:
        said = getattr(error, "reason", None) or error.strerror or type(error).__name__
        advice = "If the server does not speak TLS, write http:// in --endpoint-url."
        return Finding("TLS", False, f"No TLS with {where}: {said}.", advice)
    try:
        return _tls_finding(writer.get_extra_info("ssl_object"), is_checked=addressing.verify_tls)
    finally:
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError, TimeoutError):
            async with asyncio.timeout(1):
                await writer.wait_closed()


def _span_words(seconds: float) -> str:
    if seconds < 0:
        return "which is over"
    if seconds < 7200:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.0f} hours" if seconds < 2 * 86400 else f"{seconds / 86400:.0f} days"


async def _tcp(family: int, address: str, port: int) -> str:
    """Why a TCP connection cannot be had; empty where it can."""
    loop = asyncio.get_running_loop()
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            async with asyncio.timeout(_CONNECT_S):
                await loop.sock_connect(probe, (address, port))
    except TimeoutError:
        return f"no answer within {_CONNECT_S:g} s"
    except OSError as error:
        return os.strerror(error.errno) if error.errno else type(error).__name__  # uvloop's strerror has other words
    return ""


def _tls_finding(connection: ssl.SSLObject, *, is_checked: bool) -> Finding:
    import ssl

    version = connection.version() or "TLS"
    if not is_checked:
        words = f"{version}; the certificate is not checked (--no-verify-ssl): anybody may pretend to be the server."
        return Finding("TLS", None, words, "Give the server's authority with --ca-bundle FILE instead.")
    until = (connection.getpeercert() or {}).get("notAfter")
    if not isinstance(until, str):
        return Finding("TLS", True, f"{version}, the certificate is trusted.")
    days = (ssl.cert_time_to_seconds(until) - time.time()) / 86400
    advice = "" if days > _CERTIFICATE_DAYS else "Have the server's certificate renewed before it ends."
    return Finding(
        "TLS", None if advice else True, f"{version}, a trusted certificate, valid for {days:.0f} more days.", advice
    )
