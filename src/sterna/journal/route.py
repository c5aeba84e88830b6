"""Turn the two locations of a run and their endpoints into the identity of a journal."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec

from sterna.model.location import LocalPath, Location

_PORTS = {"http": 80, "https": 443}


class Route(msgspec.Struct, frozen=True):
    """Two locations, in a direction, each normalised, with the endpoint that gives a bucket's name its meaning.

    There and back are two routes. ``machine`` is empty unless the journal's directory is shared by machines: then the same
    path is another folder on each of them.
    """

    source: str
    target: str
    source_endpoint: str = ""
    target_endpoint: str = ""
    machine: str = ""

    @property
    def name(self) -> str:
        """What its files are called: 80 bits of a hash, so that no two routes share one by chance."""
        members = (self.source, self.target, self.source_endpoint, self.target_endpoint, self.machine)
        text = "\0".join(members).encode("utf-8", "surrogatepass")
        return hashlib.sha256(text).hexdigest()[:20]

    def __str__(self) -> str:
        return f"{_with(self.source, self.source_endpoint)} → {self.destination}"

    @property
    def destination(self) -> str:
        """Where it leads to, with the server where that is not AWS."""
        return _with(self.target, self.target_endpoint)


def route_between(
    source: Location,
    target: Location,
    *,
    source_endpoints: Sequence[str] = (),
    target_endpoints: Sequence[str] = (),
    is_shared: bool = False,
) -> Route:
    """The route from one location to another.

    Of a folder counts where it really is, links followed; of several endpoints, which they are and not their order.
    ``is_shared``: other machines may use the same state directory (it is on a network file system).
    """
    is_local = isinstance(source, LocalPath) or isinstance(target, LocalPath)
    return Route(
        _normal(source),
        _normal(target),
        _endpoints(source_endpoints),
        _endpoints(target_endpoints),
        _machine() if is_shared and is_local else "",
    )


def named(route: Route, name: str) -> Route | None:
    """The route whose files are called so, of which a journal does not tell the machine; None for another machine's."""
    alike = (route, msgspec.structs.replace(route, machine=_machine()))
    return next((one for one in alike if one.name == name), None)


def _normal(location: Location) -> str:
    if not isinstance(location, LocalPath):
        return str(location)
    return str(location) if location.is_stream else os.path.normcase(os.path.realpath(location.path))


def _endpoints(urls: Sequence[str]) -> str:
    return " ".join(sorted({_endpoint(url) for url in urls}))


def _endpoint(url: str) -> str:
    """Scheme, host and port. What else a URL may hold, a password above all, has no place in a journal."""
    parts = urlsplit(url if "://" in url else f"https://{url}")
    host = (parts.hostname or "").rstrip(".")
    host = f"[{host}]" if ":" in host else host
    port = parts.port or _PORTS.get(parts.scheme, 0)
    path = parts.path.rstrip("/")
    return f"{parts.scheme}://{host}{'' if port == _PORTS.get(parts.scheme) else f':{port}'}{path}"


def _machine() -> str:
    try:
        with open("/etc/machine-id", encoding="ascii") as file:
            return file.read(64).strip() or socket.gethostname()
    except (OSError, ValueError):
        return socket.gethostname()


def _with(location: str, endpoint: str) -> str:
    return f"{location} at {endpoint}" if endpoint else location
