"""The demo ends well, leaves nothing behind, and says what is missing."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sterna.jobs.demo import demo
from sterna.model.errors import WrongSetting


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    """A user's environment that would lead anywhere but to the demo's server."""
    kept = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    return kept | {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "AWS_PROFILE": "no-such-profile",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "HTTP_PROXY": "http://127.0.0.1:1",
        **more,
    }


def started(tmp_path: Path) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", "import sys; from sterna.jobs.demo import demo; sys.exit(demo(print))"]
    return subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(tmp_path, PYTHONUNBUFFERED="1"),
    )


def server_port(process: subprocess.Popen[str]) -> int:
    """Read until the demo says where its server is."""
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"127\.0\.0\.1:(\d+)", line):
            return int(found[1])
    raise AssertionError("the demo named no server")


def is_listening(port: int) -> bool:
    table = Path("/proc/net/tcp").read_text(encoding="ascii")
    return any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A" for line in table.splitlines()[1:])


@pytest.mark.slow
def test_the_demo_ends_equal_and_leaves_nothing_behind(tmp_path: Path) -> None:
    began = time.monotonic()
    process = started(tmp_path)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert time.monotonic() - began < 20
    last = out.strip().splitlines()[-1]
    assert last.startswith("EQUAL: all 311 files came back")
    assert "0 uploaded, 308 unchanged" in out
    assert "8 uploaded, 303 unchanged" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=["INT", "TERM", "KILL"])
def test_the_server_ends_with_the_demo_however_that_ends(number: signal.Signals, tmp_path: Path) -> None:
    process = started(tmp_path)
    port = server_port(process)
    assert is_listening(port)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode not in (0, None)
    deadline = time.monotonic() + 5
    while is_listening(port) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_listening(port)
    if number is not signal.SIGKILL:
        assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_the_server_listens_on_loopback_only(tmp_path: Path) -> None:
    process = started(tmp_path)
    try:
        server_port(process)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii").split()
        inodes = {
            os.readlink(link).partition("[")[2].rstrip("]")
            for child in children
            for link in Path(f"/proc/{child}/fd").iterdir()
            if os.readlink(link).startswith("socket:")
        }
        addresses = set()
        for table in ("tcp", "tcp6"):
            for line in Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and fields[9] in inodes:
                    addresses.add(fields[1].partition(":")[0])
        assert addresses == {"0100007F"}
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_without_its_server_the_demo_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def find_all_but_one(name: str, package: str | None = None) -> Any:
        return None if name == "ministack" else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find_all_but_one)
    with pytest.raises(WrongSetting, match=r"pip install ministack"):
        demo(print)
