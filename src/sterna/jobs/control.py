"""Have what a run may use change while it goes on: by the time of day, by a file that is looked at, by whoever asks."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

from sterna.model.errors import WrongSetting
from sterna.model.events import Emit, Notice
from sterna.model.units import MIB, parse_size, printable, size_words
from sterna.moving.settings import Limits
from sterna.wire.client import Client
from sterna.wire.limits import Allowance
from sterna.wire.timetable import Speed, parse_timetable

_LOOK_S: Final = 1.0
_LARGEST: Final = 64 * 1024  # of a control file; it has a handful of lines
_LEAST_MEMORY: Final = 32 * MIB
_MOST_WORKERS: Final = 10_000
_MOST_PER_SECOND: Final = 1_000_000

Clock = Callable[[], datetime]


def wall_clock() -> datetime:
    """The time of day where this machine is."""
    return datetime.now().astimezone()


class Control:
    """What a run may use: what was said at its start, over it what the control file says, and of a timetable the speed of
    now. It tells the clients of the run whenever that changes, and the user by a Notice.

    A file with a mistake changes nothing: the mistake is told once, and what held before holds until it is mended. A file
    that is not there says nothing.
    """

    def __init__(self, limits: Limits, file: Path | None = None, clock: Clock = wall_clock) -> None:
        self._said = limits
        self._limits = limits
        self._file = file
        self._clock = clock
        self._is_off = False  # the speed, by whoever asked
        self._clients: list[tuple[Client, Emit]] = []
        self._seen: tuple[int, int, int] | None = None  # by which a changed file is known
        self._told = ""  # the mistake in it, once the user knows
        self._asked = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        if file is not None:
            self._read(file)
        self._applied = self._allowance()

    def __repr__(self) -> str:
        return f"<Control {self}>"

    def __str__(self) -> str:
        """What holds now, in words."""
        return ", ".join(f"{name} {words}" for name, words in _words(self._applied).items())

    def look_now(self) -> None:
        """Read the file at once, changed or not."""
        self._seen, self._told = None, ""
        self._asked.set()

    def toggle_speed(self) -> None:
        """Lift the limit of the speed, or have it hold again."""
        self._is_off = not self._is_off
        if not self._limits.bwlimit.is_set:
            self._tell(Notice("There is no --bwlimit that could be lifted.", code="control"))
        self._apply()

    @asynccontextmanager
    async def over(self, client: Client, emit: Emit) -> AsyncIterator[None]:
        """Tell a client what it may use, as long as this lasts."""
        self._clients.append((client, emit))
        client.allow(self._applied)
        if self._watching is None:
            self._watching = asyncio.get_running_loop().create_task(self._watch())
        try:
            yield
        finally:
            self._clients = [one for one in self._clients if one[0] is not client]
            if not self._clients:
                watching, self._watching = self._watching, None
                watching.cancel()
                await asyncio.wait([watching])

    async def _watch(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_LOOK_S):
                    await self._asked.wait()
            except TimeoutError:
                pass
            self._asked.clear()
            if self._file is not None:
                try:
                    await asyncio.to_thread(self._read, self._file)
                except WrongSetting as error:
                    if error.sentence != self._told:
                        self._told = error.sentence
                        self._tell(Notice(f"{error.sentence} Nothing of it is taken.", "warning", "control"))
                else:
                    self._told = ""
            self._apply()

    def _read(self, file: Path) -> None:
        """Take what the file says, if it has changed; may block. Raises WrongSetting for a mistake in it."""
        try:
            found = file.stat()
            seen = (found.st_mtime_ns, found.st_size, found.st_ino)
            if seen == self._seen:
                if self._told:
                    raise WrongSetting(self._told)
                return
            text = _text_of(file)
        except FileNotFoundError:
            seen, text = None, ""
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise WrongSetting(f"The control file {printable(str(file))} cannot be read: {why}.") from None
        self._seen = seen
        try:
            self._limits = limits_in(text, self._said)
        except ValueError as error:
            raise WrongSetting(f"The control file {printable(str(file))}: {error}.") from None

    def _apply(self) -> None:
        before, now = self._applied, self._allowance()
        if now == before:
            return
        self._applied = now
        for client, _ in self._clients:
            client.allow(now)
        said = _words(before)
        changed = [f"{name} {words}" for name, words in _words(now).items() if words != said[name]]
        if changed:
            self._tell(Notice(f"From now on: {', '.join(changed)}.", code="control"))

    def _tell(self, notice: Notice) -> None:
        if self._clients:
            self._clients[0][1](notice)

    def _allowance(self) -> Allowance:
        limits = self._limits
        speed = Speed() if self._is_off else limits.bwlimit.at(self._clock())
        return Allowance(limits.workers, limits.max_memory, speed.up, speed.down, limits.max_requests_per_second)


@asynccontextmanager
async def governed(client: Client, control: Control | None, limits: Limits, emit: Emit) -> AsyncIterator[None]:
    """Hold a client to the limits of its run, where it has any beside those that it was made with."""
    if control is None and (limits.bwlimit.is_set or limits.max_requests_per_second is not None):
        control = Control(limits)
    if control is None:
        yield
        return
    async with control.over(client, emit):
        yield


def _words(allowance: Allowance) -> dict[str, str]:
    return {
        "bwlimit": str(Speed(allowance.up, allowance.down)),
        "max-requests-per-second": f"{allowance.requests:g}" if allowance.requests is not None else "no limit",
        "workers": str(allowance.workers),
        "max-memory": size_words(allowance.memory),
    }


def limits_in(text: str, said: Limits) -> Limits:
    """The limits of a control file, over those that were ``said`` before: JSON, or lines as ``workers = 8``. What it does
    not name stays as it was said. Raises ValueError with a sentence."""
    changes: dict[str, Any] = {}
    for name, value in _pairs_in(text):
        plain = name.strip().removeprefix("--").replace("_", "-").lower()
        if plain not in _READERS:
            raise ValueError(f"{name!a} is none of {', '.join(_READERS)}")
        member = plain.replace("-", "_")
        if member in changes:
            raise ValueError(f"{plain} is there twice")
        try:
            changes[member] = _READERS[plain](value)
        except ValueError as error:
            raise ValueError(f"{plain}: {error}") from None
    limits = replace(said, **changes)
    if limits.part_size is not None and limits.part_size > limits.max_memory:
        raise ValueError(f"max-memory: parts of {size_words(limits.part_size)} do not fit into it")
    return limits


def _pairs_in(text: str) -> list[tuple[str, str]]:
    if text.lstrip().startswith("{"):
        import json

        try:
            pairs = json.loads(text, object_pairs_hook=list)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"it is no JSON: {error}") from None
        return [(name, str(value)) for name, value in pairs if value is not None]
    pairs = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.partition("#")[0].strip()
        if line:
            name, equals, value = line.partition("=")
            if not equals or not value.strip():
                raise ValueError(f"line {number} is no NAME = VALUE")
            pairs.append((name.strip(), value.strip().strip("\"'")))
    return pairs


def _text_of(file: Path) -> str:
    """What a small regular file holds; ValueError for anything else."""
    fd = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # a pipe without a writer would be waited for
    with os.fdopen(fd, "rb") as stream:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ValueError("it is no regular file")
        data = stream.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise ValueError(f"it has more than {_LARGEST:,} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None


def _memory(text: str) -> int:
    size = parse_size(text)
    if size < _LEAST_MEMORY:
        raise ValueError(f"{text} is too little; give {size_words(_LEAST_MEMORY)} or more")
    return size


def _workers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_WORKERS:
        raise ValueError(f"{text!a} is no number from 1 to {_MOST_WORKERS:,}")
    return int(text)


def _per_second(text: str) -> int | None:
    if text.lower() == "off":
        return None
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_PER_SECOND:
        raise ValueError(f"{text!a} is neither a number from 1 to {_MOST_PER_SECOND:,} nor off")
    return int(text)


_READERS: Final[dict[str, Callable[[str], Any]]] = {
    "bwlimit": parse_timetable,
    "max-requests-per-second": _per_second,
    "workers": _workers,
    "max-memory": _memory,
}
