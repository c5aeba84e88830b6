"""Turn options into a running null server that can be asked what it holds."""

import http.client
import json
import re
import ssl
import subprocess
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.programs import Certificate

_CONTENTS = re.compile(r"<Contents><Key>([^<]*)</Key>.*?<Size>(\d+)</Size>")
_NEXT = re.compile(r"<NextContinuationToken>([^<]*)<")


@dataclass(frozen=True)
class ServerOptions:
    """keys=0 makes buckets empty at first; else they hold that many synthetic objects of `size`."""

    keys: int = 0
    size: int = 4096
    latency_ms: int = 0
    list_latency_ms: int | None = None
    layout: str = "tree"
    tls: bool = False


@dataclass(frozen=True)
class NullServer:
    """A running server, as clients see it and as the harness asks it."""

    port: int
    pid: int
    authority: Path | None

    @property
    def url(self) -> str:
        return f"{'https' if self.authority else 'http'}://127.0.0.1:{self.port}"

    def statistics(self) -> dict[str, int]:
        """Requests by kind since the start, bytes in and out, connections."""
        answer: dict[str, int] = json.loads(self._get("/-/stats", self._connection()))
        return answer

    def objects(self, bucket: str, prefix: str = "") -> dict[str, int]:
        """Key (after the prefix) and size of all that a bucket holds."""
        found: dict[str, int] = {}
        token = ""
        connection = self._connection()
        while True:
            query = {"list-type": "2", "encoding-type": "url", "prefix": prefix}
            if token:
                query["continuation-token"] = token
            page = self._get(f"/{bucket}?{urllib.parse.urlencode(query)}", connection)
            for key, size in _CONTENTS.findall(page):
                found[urllib.parse.unquote(key)[len(prefix) :]] = int(size)
            following = _NEXT.search(page)
            if following is None:
                return found
            token = following.group(1)

    def _connection(self) -> http.client.HTTPConnection:
        if self.authority is None:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        context = ssl.create_default_context(cafile=str(self.authority))
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=context)

    def _get(self, target: str, connection: http.client.HTTPConnection) -> str:
        connection.request("GET", target)
        answer = connection.getresponse()
        text = answer.read().decode()
        if answer.status != 200:
            raise RuntimeError(f"the null server answered {answer.status} to {target}: {text[:200]}")
        return text


@contextmanager
def null_server(program: Path, options: ServerOptions, certificate: Certificate | None) -> Iterator[NullServer]:
    """Start a server for the length of a `with`. It watches its stdin, so it ends with us even if we are killed."""
    words = [f"keys={options.keys}", f"size={options.size}", f"latency_ms={options.latency_ms}"]
    words.append(f"layout={options.layout}")
    if options.list_latency_ms is not None:
        words.append(f"list_latency_ms={options.list_latency_ms}")
    if options.tls:
        assert certificate is not None
        words.append(f"tls={certificate.chain},{certificate.key}")
    command = [str(program), "port=0", "stdin=watch", "get_checksum=1", *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line.startswith("PORT "):
                raise RuntimeError(f"the null server did not start: {' '.join(command)}")
            authority = certificate.authority if options.tls and certificate else None
            yield NullServer(int(line.split()[1]), process.pid, authority)
        finally:
            process.stdin.close()
            process.wait(timeout=10)
