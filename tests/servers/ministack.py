"""Start ministack: a complete S3 in Python, there in half a second; it checks everything but signatures."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from tests.servers.process import Child, Folder, free_ports, plain_environment
from tests.servers.running import Running
from tests.servers.server import CannotBeHad, Facts, Server

FACTS = Facts(
    checks_signatures=False,
    echoes_checksums=False,
    combines_crc64nvme=False,  # compares the client's full-object value with a composite one, and refuses it
    encodes_versions=False,
    idle_limit_s=5.0,
)


def command() -> list[str]:
    if find_spec("ministack") is None:
        raise CannotBeHad("ministack is not installed: pip install ministack")
    return [sys.executable, "-P", str(Path(__file__).with_name("quick_ministack.py"))]


def start() -> Running:
    line, folder, port = command(), Folder("ministack"), free_ports()
    env = plain_environment(
        folder.path,
        BIND_HOST="127.0.0.1",
        MINISTACK_HOST="127.0.0.1",
        GATEWAY_PORT=str(port),
        SERVICES="s3",
        AUTH="false",
        LOG_LEVEL="WARNING",
        S3_DATA_DIR=str(folder.path / "s3"),
        DOCKER_HOST="unix:///nonexistent",
    )
    child = Child(line, log=folder.path / "log", env=env, grace_s=1.0)
    running = Running(Server("ministack", f"http://127.0.0.1:{port}", facts=FACTS), [child], folder)
    try:
        child.wait_until_it_answers(port, 60)
    except BaseException:
        running.stop()
        raise
    return running
