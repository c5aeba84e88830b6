"""Turn the name of an S3 server into a running one on loopback."""

from __future__ import annotations

from collections.abc import Callable

from tests.servers import ceph, ministack, rclone, versitygw
from tests.servers.process import DidNotStart
from tests.servers.running import Running
from tests.servers.server import CannotBeHad, Facts, Server

DEFAULT = ("ministack", "rclone")

_STARTERS: dict[str, Callable[[], Running]] = {
    "ministack": ministack.start,
    "rclone": rclone.start,
    "ceph": ceph.start,
    "versitygw": versitygw.start,
}
NAMES = tuple(_STARTERS)


def start(name: str) -> Running:
    """Start a server of that name, on ports and in a folder of its own.

    Raises CannotBeHad where the machine lacks it, DidNotStart where it is there and broken. A second attempt is made
    with other ports: another process may have taken one of ours between looking and binding.
    """
    try:
        return _STARTERS[name]()
    except DidNotStart:
        return _STARTERS[name]()


__all__ = ["DEFAULT", "NAMES", "CannotBeHad", "DidNotStart", "Facts", "Running", "Server", "start"]
