"""Start versitygw, a gateway over a folder: the strictest here on signatures, payload hashes and checksums."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.servers.process import Child, Folder, free_ports, plain_environment
from tests.servers.running import Running
from tests.servers.server import ACCESS_KEY, SECRET_KEY, CannotBeHad, Facts, Server

VERSION = "v1.7.0"
FACTS = Facts(any_key=False, encodes_listings=False)


def cached_program() -> Path:
    """Where `python -m tests.servers.install versitygw` puts the program."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "sterna-test-servers" / "bin" / "versitygw"


def program() -> Path:
    if cached_program().exists():
        return cached_program()
    if found := shutil.which("versitygw"):
        return Path(found)
    raise CannotBeHad("versitygw is not installed: python -m tests.servers.install versitygw (it needs Go)")


def start() -> Running:
    command, folder, port = program(), Folder("versitygw"), free_ports()
    tree = folder.path / "tree"
    versions = folder.path / "versions"
    tree.mkdir()
    versions.mkdir()
    env = plain_environment(folder.path, ROOT_ACCESS_KEY=ACCESS_KEY, ROOT_SECRET_KEY=SECRET_KEY)
    child = Child(
        # Without --keep-alive it closes each connection after one answer.
        [
            *(command, "--port", f"127.0.0.1:{port}", "--keep-alive", "--quiet"),
            *("posix", "--versioning-dir", versions, tree),
        ],
        log=folder.path / "log",
        env=env,
        grace_s=1.0,
    )
    running = Running(Server("versitygw", f"http://127.0.0.1:{port}", facts=FACTS), [child], folder)
    try:
        child.wait_until_it_answers(port, 30)
    except BaseException:
        running.stop()
        raise
    return running
