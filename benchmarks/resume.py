"""Measure what is sent again after a kill -9 at a random instant of an upload, on the wire.

    PYTHONPATH=. .venv/bin/python benchmarks/resume.py [--size MIB] [--rounds N] [--server NAME] [--seed S]

Each round uploads one file of random content through a relay that counts what passes, kills the run, gives the same
command again, and looks at the object. *Again* is what passed in both runs beyond the file's size: parts that were cut
off, and requests with their answers left out as far as they are below a kilobyte each. The servers are those of the tests:
versitygw (``make versitygw``) keeps up with a quick upload, ministack takes a second to sum 8 MiB.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from tests.servers import start
from tests.servers.oracle import Oracle
from tests.servers.server import Server

MIB = 1 << 20
WITHIN_S = 300.0


class Relay:
    """Passes connections on to a server, and counts the bytes that go there."""

    def __init__(self, server: Server) -> None:
        url = urlsplit(server.endpoint_url)
        assert url.hostname is not None
        assert url.port is not None
        self._server = url.hostname, url.port
        self.sent = self.open = self.most = 0
        self._changed = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                upstream = socket.create_connection(self._server)
                threading.Thread(
                    target=self._pass, args=(client, upstream), kwargs={"counts": True}, daemon=True
                ).start()
                threading.Thread(target=self._pass, args=(upstream, client), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, *, counts: bool = False) -> None:
        scratch = memoryview(bytearray(256 * 1024))
        with self._changed:
            self.open += counts
            self.most = max(self.most, self.open)
        with suppress(OSError):
            while count := source.recv_into(scratch):
                if counts:
                    with self._changed:
                        self.sent += count
                target.sendall(scratch[:count])
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        with self._changed:
            self.open -= counts

    def close(self) -> None:
        self._listener.close()


@contextmanager
def relayed(server: Server) -> Iterator[Relay]:
    relay = Relay(server)
    try:
        yield relay
    finally:
        relay.close()


def made(path: Path, size: int) -> str:
    """A file of random content; gives its SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for at in range(0, size, 16 * MIB):
            piece = os.urandom(min(16 * MIB, size - at))
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--size", type=int, default=2048, help="MiB")
    options.add_argument("--rounds", type=int, default=20)
    options.add_argument("--server", default="versitygw")
    options.add_argument("--seed", type=int, default=1)
    told = options.parse_args()
    chance, size = random.Random(told.seed), told.size * MIB
    ratios: list[float] = []
    with start(told.server) as running, tempfile.TemporaryDirectory(prefix="sterna-resume-") as scratch:
        server, home = running.server, Path(scratch)
        file = home / "large"
        sha256 = made(file, size)
        bucket = Oracle(server).create_bucket("resumed")
        environment = os.environ | server.environment | {"HOME": scratch, "NO_PROXY": "*"}

        def run(relay: Relay) -> subprocess.Popen[str]:
            command = [
                sys.executable,
                "-m",
                "sterna",
                "copy",
                str(file),
                "s3://resumed/p/large",
                "--json",
                "--no-progress",
            ]
            return subprocess.Popen(
                [*command, "--endpoint-url", relay.url], env=environment, stdout=subprocess.PIPE, text=True
            )

        with relayed(server) as relay:
            began = time.monotonic()
            if run(relay).wait(WITHIN_S):
                return 2
            whole_s = time.monotonic() - began
            print(f"{told.size} MiB to {told.server}: {whole_s:.1f} s where nothing is killed", flush=True)
            for number in range(1, told.rounds + 1):
                bucket.delete("p/large")
                shutil.rmtree(home / ".local", ignore_errors=True)
                relay.sent = relay.most = 0
                at = chance.uniform(0.05, 0.95)
                killed = run(relay)
                while relay.sent < at * size and killed.poll() is None:
                    time.sleep(0.001)
                killed.kill()
                killed.wait()
                connections = relay.most
                done = run(relay)
                said = done.communicate(timeout=WITHIN_S)[0].splitlines()
                summary = json.loads(said[-1])
                again = relay.sent - size
                parts = (
                    bucket.oracle.must("HEAD", "resumed", "p/large")
                    .headers.get("etag", "")
                    .strip('"')
                    .rpartition("-")[2]
                )
                each = 8 * MIB if size <= 1024 * MIB else 16 * MIB
                right = hashlib.sha256(bucket.get("p/large")).hexdigest() == sha256 and not bucket.uploads()
                ratios.append(again / (connections * each))
                print(
                    f"{number:3}  killed at {at:4.0%}  {connections:3} connections, {parts} parts; again"
                    f" {again / MIB:7.1f} MiB = {ratios[-1]:.2f} parts each; there {summary['there_bytes'] / MIB:.0f}"
                    f" MiB, {'right' if right and not done.returncode else 'WRONG'}",
                    flush=True,
                )
                if not right or done.returncode:
                    return 2
    print(f"median {statistics.median(ratios):.2f} parts a connection, worst {max(ratios):.2f}; the bound is 2")
    return 0 if statistics.median(ratios) <= 2 else 1


if __name__ == "__main__":
    sys.exit(main())
