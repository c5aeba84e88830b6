"""Show a folder going to an S3 server of the demo's own, changing, and coming back equal."""

from __future__ import annotations

import filecmp
import http.client
import importlib.util
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from sterna.jobs.buckets import make_bucket
from sterna.jobs.settings import Journaling, Settings
from sterna.jobs.sync import sync
from sterna.model.errors import SternaError, WrongSetting
from sterna.model.events import Event, ObjectsEnded, Summary
from sterna.model.location import BucketPath, LocalPath, Location
from sterna.model.outcomes import Outcome, Status
from sterna.model.units import MIB, size_words
from sterna.moving.parts import part_size, parts
from sterna.wire.endpoints import Addressing
from sterna.wire.loop import run
from sterna.wire.side import Side

_START_S = 15.0  # ministack answers after 0.6 s on an idle machine
_LARGE = 24 * MIB
_SMALL_FILES = 300
_ODD_NAMES = (
    "letters/un café à Zürich.txt",
    "letters/100% + a bit more.txt",
    "letters/what? & why; #1 (copy).txt",
    "birds/Küstenseeschwalbe 🐦.txt",
    "birds/キョクアジサシ.txt",
    "birds/.hidden",
    "empty.dat",
)

# The server ends when its standard input does: with this process, however that comes about.
_SERVER = """
import os, sys, threading
def wait_for_the_end():
    sys.stdin.buffer.read()
    os._exit(0)
threading.Thread(target=wait_for_the_end, daemon=True).start()
sys.argv = ["ministack"]
from ministack.app import main
main()
"""


def demo(emit_line: Callable[[str], None]) -> int:
    """Sync a small tree up, change it, sync again, sync it down elsewhere and compare: 0 if all came back equal.

    It needs no network and no settings, and leaves nothing behind. While it runs the environment's AWS variables are
    set aside. Raises WrongSetting without ministack, SternaError if the server does not start.
    """
    if importlib.util.find_spec("ministack") is None:
        raise WrongSetting("The demo's S3 server is not installed; get it with: pip install ministack")
    began = time.perf_counter()
    with _ending_cleanly(), tempfile.TemporaryDirectory(prefix="sterna-demo-") as name:
        work = Path(name)
        with _environment(), _server(work) as (url, seconds):
            emit_line("Sterna carries a folder to an S3 server and back, and proves that it arrived.")
            emit_line("")
            _say(emit_line, "server", f"ministack at {url}, on this machine only; up after {seconds:.1f} s")
            return _Demo(work, url, emit_line).show(began)


class _Demo:
    """The steps, in the order in which they are told."""

    def __init__(self, work: Path, url: str, emit_line: Callable[[str], None]) -> None:
        self._emit_line = emit_line
        self._folder = work / "photos"
        self._copy = work / "restored"
        self._bucket = BucketPath("sterna-demo", "photos")
        side = Side(addressing=Addressing(urls=(url,), region="us-east-1"))
        self._side = side
        self._settings = Settings(source=side, destination=side, journal=Journaling(str(work / "state")))
        self._ended: list[Outcome] = []
        self._step = 0

    def show(self, began: float) -> int:
        count, size = _make_tree(self._folder)
        _say(
            self._emit_line,
            "folder",
            f"{count} files, {size_words(size)}; one of {size_words(_LARGE)}, one of 0 B, and odd names:",
        )
        _say(self._emit_line, "", " · ".join(name.rpartition("/")[2] for name in _ODD_NAMES[:4]))
        run(make_bucket(self._bucket, self._side))
        good = self._up(count) and self._again(count)
        new, edited, touched = _change_tree(self._folder)
        good = good and self._changes(new, edited, touched, count)
        good = good and self._down(count + new)
        if not good:
            self._emit_line("")
            self._emit_line("FAILED: what moved is not what should have moved; please report this.")
            return 1
        return self._compare(began)

    def _up(self, count: int) -> bool:
        self._title("The folder goes up")
        summary = self._sync(LocalPath(self._folder), self._bucket)
        pieces = len(list(parts(_LARGE, part_size(_LARGE))))
        self._tell(f"{summary.uploaded} uploaded, {self._speed(summary)}; the large file in {pieces} parts")
        self._tell(f"proved: {self._proofs()}")
        return summary.uploaded == count and summary.exit_code == 0

    def _again(self, count: int) -> bool:
        self._title("The same once more, with nothing changed")
        summary = self._sync(LocalPath(self._folder), self._bucket)
        self._tell(
            f"{summary.uploaded} uploaded, {summary.kept} unchanged, by {_requests(summary)} in {summary.elapsed_s:.2f} s"
        )
        return summary.uploaded == 0 and summary.kept == count

    def _changes(self, new: int, edited: int, touched: int, count: int) -> bool:
        self._title(f"{new} files are added, {edited} edited, {touched} touched, and it goes up again")
        summary = self._sync(LocalPath(self._folder), self._bucket)
        self._tell(
            f"{summary.uploaded} uploaded, {summary.kept} unchanged, by {_requests(summary)} in {summary.elapsed_s:.2f} s"
        )
        for because, many in Counter(_shortly(one.because) for one in self._ended).most_common():
            self._tell(f"{many:>4} because: {because}")
        changed = edited + touched
        return summary.uploaded == new + changed and summary.kept == count - changed

    def _down(self, count: int) -> bool:
        self._title("The bucket comes down, into an empty folder")
        summary = self._sync(self._bucket, LocalPath(self._copy))
        self._tell(
            f"{summary.downloaded} downloaded, {self._speed(summary)}; checked while they were written, and on disk"
        )
        return summary.downloaded == count and summary.exit_code == 0

    def _compare(self, began: float) -> int:
        self._title("Both folders are read and compared, without Sterna")
        wrong, equal, size = _differences(self._folder, self._copy)
        self._tell(f"{equal} files, {size_words(size)}: each byte and each time of change compared")
        for line in wrong[:10]:
            self._tell(f"DIFFERENT: {line}")
        self._emit_line("")
        if wrong:
            self._emit_line(f"FAILED: {len(wrong)} files did not come back as they were; please report this.")
            return 1
        seconds = time.perf_counter() - began
        self._emit_line(
            f"EQUAL: all {equal} files came back, byte for byte. The whole took {seconds:.1f} s; nothing is left behind."
        )
        return 0

    def _sync(self, source: Location, destination: Location) -> Summary:
        self._ended = []
        self._tell(f"$ sterna sync {self._short(source)} {self._short(destination)}")

        def emit(event: Event) -> None:
            if isinstance(event, ObjectsEnded):
                self._ended += event.outcomes

        summary = run(sync(source, destination, self._settings, emit=emit))
        for one in summary.failures[:10]:
            self._tell(f"failed: {one.key}: {one.error}")
        return summary

    def _proofs(self) -> str:
        """What was seen of the uploads, most frequent first."""
        done = Counter(one.proof for one in self._ended if one.status is Status.DONE)
        return "; ".join(f"{many} by {_proof_words(proof)}" for proof, many in done.most_common())

    def _speed(self, summary: Summary) -> str:
        speed = f"{size_words(summary.mean_bytes_per_s)}/s"
        return f"{size_words(summary.moved_bytes)} in {summary.elapsed_s:.2f} s ({speed}, {_requests(summary)})"

    def _short(self, location: Location) -> str:
        return location.path.name if isinstance(location, LocalPath) else str(location)

    def _title(self, words: str) -> None:
        self._step += 1
        self._emit_line("")
        self._emit_line(f"{self._step}. {words}")

    def _tell(self, words: str) -> None:
        self._emit_line(f"     {words}")


def _say(emit_line: Callable[[str], None], what: str, words: str) -> None:
    emit_line(f"   {what:<8} {words}")


def _requests(summary: Summary) -> str:
    return f"{summary.requests} request{'' if summary.requests == 1 else 's'}"


def _proof_words(proof: str) -> str:
    """``CRC64NVME, listed`` in words."""
    sums, _, look = proof.rpartition(", ")
    seen = {"listed": "a closing listing", "seen": "a look at each"}.get(look, look)
    if not sums:
        return seen
    return f"a {sums} that the server {'checked' if sums == 'Content-MD5' else 'computed'}, and {seen}"


def _shortly(because: str) -> str:
    return because.partition(":")[0]


# The tree.


def _make_tree(folder: Path) -> tuple[int, int]:
    """A few hundred files of fixed content, with times of the past; gives their number and bytes."""
    dice = random.Random(2026)
    sizes: dict[str, int] = {"film/arctic tern.mov": _LARGE}
    for number in range(_SMALL_FILES):
        sizes[f"{2019 + number % 7}/{number // 25:02d}/IMG_{number:04d}.jpg"] = dice.randrange(1, 24 * 1024)
    for name in _ODD_NAMES:
        sizes[name] = 0 if name == "empty.dat" else dice.randrange(1, 4096)
    now_ns = time.time_ns()
    for name, size in sizes.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(dice.randbytes(size))
        mtime_ns = now_ns - dice.randrange(10**13, 2 * 10**17)  # three hours to six years ago
        os.utime(path, ns=(mtime_ns, mtime_ns))
    return len(sizes), sum(sizes.values())


def _change_tree(folder: Path) -> tuple[int, int, int]:
    """Add files, edit some (two of them keep their size), touch one; gives how many of each.

    Buckets keep times in whole seconds, so the edits wait for the next one.
    """
    dice = random.Random(7)
    time.sleep(1.0 - time.time() % 1.0 + 0.01)
    for name in ("2026/new one.jpg", "2026/new two.jpg", "letters/naïve — draft.txt"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(dice.randbytes(5000))
    old = sorted(folder.glob("20*/*/IMG_*.jpg"))
    for path in old[:2]:
        with path.open("ab") as file:
            file.write(b"more")
    for path in old[2:4]:
        path.write_bytes(bytes(byte ^ 0xFF for byte in path.read_bytes()))
    old[4].touch()
    return 3, 4, 1


def _differences(one: Path, other: Path) -> tuple[list[str], int, int]:
    """What is not the same in two folders, in words; the number of files that are, and their bytes."""
    ours = {path.relative_to(one).as_posix(): path for path in one.rglob("*") if path.is_file()}
    theirs = {path.relative_to(other).as_posix(): path for path in other.rglob("*") if path.is_file()}
    wrong = [f"{name} is missing" for name in sorted(ours.keys() - theirs.keys())]
    wrong += [f"{name} is too many" for name in sorted(theirs.keys() - ours.keys())]
    equal = size = 0
    for name in sorted(ours.keys() & theirs.keys()):
        if not filecmp.cmp(ours[name], theirs[name], shallow=False):
            wrong.append(f"{name} has other bytes")
        elif ours[name].stat().st_mtime_ns != theirs[name].stat().st_mtime_ns:
            wrong.append(f"{name} has another time")
        else:
            equal += 1
            size += ours[name].stat().st_size
    return wrong, equal, size


# The server, and what surrounds it.


@contextmanager
def _server(work: Path) -> Iterator[tuple[str, float]]:
    """ministack on a free port of loopback, without any of its other listeners; gives its URL and the seconds it took."""
    home = work / "server"
    home.mkdir()
    log = home / "log"
    for turn in range(3):  # somebody else may take the port between our look and the server's
        port = _free_port()
        began = time.perf_counter()
        with log.open("wb") as output:
            server = subprocess.Popen(
                [sys.executable, "-c", _SERVER],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=home,
                env=_server_environment(home, port),
                start_new_session=True,  # Ctrl-C is for the demo, which ends the server afterwards
            )
        try:
            if _answers(server, port):
                yield f"http://127.0.0.1:{port}", time.perf_counter() - began
                return
        finally:
            server.kill()
            server.wait()
            if server.stdin is not None:
                server.stdin.close()
        if server.returncode == -signal.SIGKILL or turn == 2:
            break
    words = log.read_text("utf-8", "replace").strip().rpartition("\n")[2]
    raise SternaError(f"The demo's S3 server did not start ({words or 'it says nothing'}).")


def _server_environment(home: Path, port: int) -> dict[str, str]:
    keep = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "SYSTEMROOT", "LANG", "LC_ALL")
    return {name: os.environ[name] for name in keep if name in os.environ} | {
        "HOME": str(home),
        "TMPDIR": str(home),
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "SERVICES": "s3",
        "S3_DATA_DIR": str(home / "s3"),
        "IOT_MTLS_ENABLED": "0",  # it would listen on every address of the machine
        "DOCKER_HOST": f"unix://{home / 'none'}",  # it would remove containers that it thinks are its own
        "LOG_LEVEL": "WARNING",
        "AUTH": "false",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _answers(server: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the server speaks HTTP; False if it ends first, or takes too long."""
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and server.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/")
            connection.getresponse().read()
            return True
        except (OSError, http.client.HTTPException):
            time.sleep(0.02)
        finally:
            connection.close()
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _environment() -> Iterator[None]:
    """Throw-away keys and nothing else of AWS in the environment, so that no setting of the user reaches the demo."""
    before = dict(os.environ)
    try:
        for name in before:
            if name.upper().startswith("AWS_"):
                del os.environ[name]
        os.environ["AWS_ACCESS_KEY_ID"] = "demo"
        os.environ["AWS_SECRET_ACCESS_KEY"] = "demo"  # the demo's server asks for none
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _ending_cleanly() -> Iterator[None]:
    """Have SIGTERM and SIGHUP end the demo as Ctrl-C does, so that folder and server go with it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        signal.raise_signal(signal.SIGINT)  # the one that event loops translate into a cancellation

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, end) for number in numbers}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        if asked:
            raise SystemExit(128 + asked[0]) from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
