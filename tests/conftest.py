"""Give tests real servers, fresh buckets, a faulty front and the command."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from msgspec.structs import replace

from sterna.wire.retry import Retries
from sterna.wire.side import Side
from tests import servers
from tests.faults.front import Front
from tests.places import side_of
from tests.servers.oracle import Bucket, Oracle
from tests.servers.server import Server

_CANNOT = "NO SERVER"  # how the reason of such a skip begins
_SOURCES = Path(__file__).resolve().parent.parent / "src"
_FAILED = pytest.StashKey[bool]()
_numbers = itertools.count(1)
_MEMORY = "/dev/shm"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--servers",
        metavar="NAME,...",
        default=",".join(servers.DEFAULT),
        help=f"the S3 servers to test against, of {', '.join(servers.NAMES)} (default: %(default)s)",
    )


def _chosen(config: pytest.Config) -> list[str]:
    names = [name.strip() for name in str(config.getoption("--servers")).split(",") if name.strip()]
    unknown = sorted(set(names) - set(servers.NAMES))
    if unknown or not names:
        raise pytest.UsageError(f"--servers {','.join(unknown) or 'nothing'}: there are {', '.join(servers.NAMES)}")
    return names


def pytest_configure(config: pytest.Config) -> None:
    _chosen(config)
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:  # as in the background of a script: so would the commands do
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: in a quarter of its time, a worker waits for a pause or a disk."""
    mine = os.sched_getaffinity(0) if sys.platform == "linux" else range(os.cpu_count() or 1)
    return len(mine) + 1


@pytest.fixture(scope="session")
def states() -> Iterator[Path]:
    """A folder in memory, where the system has one: each run makes a journal, and would wait for the disk."""
    memory = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="sterna-states-", dir=memory) as name:
        yield Path(name)


@pytest.fixture(autouse=True)
def state(states: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory of the test's own, for runs within this process; commands have theirs in their HOME."""
    folder = states / f"state-{next(_numbers)}"  # made by the first who keeps a journal
    monkeypatch.setenv("STERNA_STATE_DIR", str(folder))
    return folder


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "server" in metafunc.fixturenames:
        # Behind the front stands ministack alone: the front changes requests, which breaks their signatures.
        names = ["ministack"] if "front" in metafunc.fixturenames else _chosen(metafunc.config)
        others: list[Any] = list(names[1:])
        if getattr(metafunc.module, "ONE_SERVER_IS_ENOUGH", False):  # it is ours that is tried
            others = []
        elif getattr(metafunc.module, "OTHER_SERVERS_ARE_THOROUGH", False):  # whole commands, once more each
            others = [pytest.param(name, marks=pytest.mark.thorough) for name in others]
        metafunc.parametrize("server", [names[0], *others], indirect=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.excinfo is not None:
        item.stash[_FAILED] = True
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say loudly which servers were asked for and could not be had: such a run has proved less than it seems. And of
    the long suites, what each test tells of what it did (``record_property("row", …)``).
    """
    if terminalreporter.config.option.markexpr == "extended":
        reports = (report for status in ("passed", "failed") for report in terminalreporter.stats.get(status, ()))
        for row in sorted(str(row) for report in reports for name, row in report.user_properties if name == "row"):
            terminalreporter.write_line(row)
    reasons: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reason = reason.removeprefix("Skipped: ")
        if reason.startswith(_CANNOT):
            reasons[reason] = reasons.get(reason, 0) + 1
    for reason, count in reasons.items():
        terminalreporter.write_sep("!", "a server was asked for and is not there", red=True, bold=True)
        terminalreporter.write_line(f"{reason}; {count} tests did not run", red=True)


class Fleet:
    """The servers of this process, each started when it is first asked for and kept until the end."""

    def __init__(self) -> None:
        self._running: dict[str, servers.Running] = {}
        self._missing: dict[str, str] = {}
        self._oracles: dict[str, Oracle] = {}

    def server(self, name: str) -> Server:
        """The running server of that name. Skips the test where this machine cannot have it."""
        if name in self._missing:
            pytest.skip(self._missing[name])
        running = self._running.get(name)
        if running is None or not running.is_running:
            try:
                running = self._running[name] = servers.start(name)
            except servers.CannotBeHad as cannot:
                self._missing[name] = f"{_CANNOT} {name}: {cannot}"
                pytest.skip(self._missing[name])
            self._oracles.pop(name, None)
        return running.server

    def oracle(self, server: Server) -> Oracle:
        if server.name not in self._oracles:
            self._oracles[server.name] = Oracle(server)
        return self._oracles[server.name]

    def stop(self) -> None:
        for running in self._running.values():
            running.stop()
        self._running.clear()


@pytest.fixture(scope="session")
def fleet() -> Iterator[Fleet]:
    fleet = Fleet()
    yield fleet
    fleet.stop()


@pytest.fixture
def server(request: pytest.FixtureRequest, fleet: Fleet) -> Server:
    """Each of the servers that the run was told to use; only ministack in a test with a front."""
    return fleet.server(request.param)


@pytest.fixture
def oracle(server: Server, fleet: Fleet) -> Oracle:
    """A client of the server that shares no code with ours, past any front: what it sees is the truth."""
    return fleet.oracle(server)


@pytest.fixture
def bucket(oracle: Oracle) -> Iterator[Bucket]:
    """A fresh, empty bucket of this test's own, seen by the oracle."""
    bucket = oracle.create_bucket(f"test-{os.getpid()}-{next(_numbers)}")
    yield bucket
    # The server goes at the end anyway; until then it may hold everything in memory.
    try:
        if sum(found.size for found in bucket.listing()) > 8 << 20:
            bucket.clear()
    except Exception as ignored:  # a test may have removed the bucket, or killed the server
        del ignored


@pytest.fixture
def front(request: pytest.FixtureRequest, fleet: Fleet) -> Iterator[Front]:
    """A fault-injecting front before ministack. A declared fault that was never hit fails the test."""
    front = Front(fleet.server("ministack"))
    yield front
    front.close()
    if not request.node.stash.get(_FAILED, False):
        front.check()


@pytest.fixture
def side(server: Server, monkeypatch: pytest.MonkeyPatch) -> Side:
    """The side of the server, with its keys in the environment."""
    return side_of(server, monkeypatch)


@pytest.fixture
def fronted(front: Front, monkeypatch: pytest.MonkeyPatch) -> Side:
    """The side behind the front, with pauses too short to wait for."""
    quick = Retries(attempts=3, first_pause_s=0.001, longest_pause_s=0.001)
    return replace(side_of(front.server, monkeypatch), retries=quick)


@dataclass(frozen=True, slots=True)
class Done:
    """What a run of the command left behind."""

    code: int
    out: str
    err: str
    seconds: float
    out_bytes: bytes = b""

    @property
    def verdict(self) -> str:
        """The last line that it wrote."""
        lines = (self.out.strip() or self.err.strip()).splitlines()
        return lines[-1] if lines else ""


class Started:
    """The command while it runs: to be signalled, then waited for."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._at = time.monotonic()

    @property
    def pid(self) -> int:
        return self.process.pid

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, timeout_s: float = 60, stdin: bytes | None = None) -> Done:
        """Wait for its end; a run that does not end in time is killed, and fails the test with what it said."""
        try:
            out, err = self.process.communicate(stdin, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            out, err = self.process.communicate()
            said = (out[-2000:] + b"\n" + err[-4000:]).decode(errors="replace")
            pytest.fail(f"{self.process.args!r} did not end in {timeout_s:g} s:\n{said}")
        seconds = time.monotonic() - self._at
        return Done(self.process.returncode, _text(out), _text(err), seconds, out)

    def kill(self) -> None:
        """End it and all that it started."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


class Sterna:
    """The command, run as a subprocess: ``sterna("sync", folder, bucket.url("p"))``.

    Its environment holds nothing of ours but PATH and the sources; a HOME in the test's folder; and the server's address
    and keys (those of the front, where the test has one; none in a test without a server).
    """

    def __init__(self, home: Path, server: Server | None) -> None:
        self.server = server
        self.home = home
        self.cwd = home
        self.env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(home),
            "PYTHONPATH": str(_SOURCES),  # so that it is this tree's, installed or not
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "*",
            "no_proxy": "*",
        }
        if server is not None:
            self.env |= server.environment
        for name in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG", "SYSTEMROOT"):
            if name in os.environ:
                self.env[name] = os.environ[name]
        self._started: list[Started] = []

    def __call__(
        self,
        *args: str | Path,
        stdin: bytes = b"",
        timeout_s: float = 60,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
    ) -> Done:
        """Run it to its end. ``env`` adds variables, or removes those that are None."""
        return self.start(*args, env=env, cwd=cwd).wait(timeout_s, stdin)

    def start(self, *args: str | Path, env: Mapping[str, str | None] | None = None, cwd: Path | None = None) -> Started:
        """Start it, in a process group of its own, and return at once. What still runs after the test is killed."""
        merged = self.env | dict(env or {})
        process = subprocess.Popen(
            [sys.executable, "-m", "sterna", *map(str, args)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={name: value for name, value in merged.items() if value is not None},
            cwd=cwd or self.cwd,
            start_new_session=True,
        )
        started = Started(process)
        self._started.append(started)
        return started

    def end(self) -> None:
        for started in self._started:
            if started.process.poll() is None:
                started.kill()
                started.process.communicate()
            for pipe in (started.process.stdin, started.process.stdout, started.process.stderr):
                if pipe is not None:
                    pipe.close()


class HasEndpoint(Protocol):
    @property
    def server(self) -> Server: ...


@pytest.fixture
def sterna(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sterna]:
    """The command, told to use the test's server: the front if the test has one."""
    server: Server | None = None
    if "front" in request.fixturenames:
        behind: HasEndpoint = request.getfixturevalue("front")
        server = behind.server
    elif "server" in request.fixturenames:
        server = request.getfixturevalue("server")
    home = tmp_path / "home"
    home.mkdir()
    command = Sterna(home, server)
    yield command
    command.end()
