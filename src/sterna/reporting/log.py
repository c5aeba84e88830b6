"""Turn events into lines of a log file, one for each object."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from sterna.model.errors import WrongSetting
from sterna.model.events import Event, Notice, ObjectsEnded, RunEnded, RunStarted
from sterna.model.outcomes import Outcome, Status
from sterna.model.units import printable, size_words
from sterna.reporting.scrub import scrub
from sterna.reporting.words import reason_words

COLUMNS = ("time", "action", "key", "bytes", "seconds", "speed", "attempts", "outcome")


class LogFile:
    """A listener that appends to a file: columns parted by tabs, notes in lines that start with ``#``.

    Keys and the server's words are escaped, so that a line is a line and a column a column (H103). Every batch is
    written before the listener returns. A new file is readable by its owner alone (H98). A log that cannot be written
    does not stop a run: the first error stays in ``error`` until the end, where it must not be passed over.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self.error = ""
        self._clock = clock
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise WrongSetting(f"The log file {printable(str(path))} cannot be opened: {error.strerror}.") from error

    def __repr__(self) -> str:
        return f"<LogFile {self.path} {self.error or 'good'}>"

    def __call__(self, event: Event) -> None:
        now = iso_time(self._clock())
        match event:
            case ObjectsEnded():
                self._write(log_line(outcome, now) for outcome in event.outcomes)
            case RunStarted():
                self._write(
                    (
                        f"# {now} {event.command} {_one_line(event.source)} → {_one_line(event.destination)}",
                        "# " + "\t".join(COLUMNS),
                    )
                )
            case Notice():
                self._write((f"# {now} {event.level}: {_one_line(event.sentence)}",))
            case RunEnded():
                summary = event.summary
                self._write((f"# {now} exit code {summary.exit_code}: {_one_line(summary.verdict)}",))

    def close(self) -> None:
        """Bring the lines to the disk; an error of that is kept in ``error`` as well. May be called twice."""
        if self._file < 0:
            return
        descriptor, self._file = self._file, -1
        try:
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EROFS):  # a pipe or a terminal has no disk
                self._note(error)

    def _write(self, lines: Iterable[str]) -> None:
        if self.error or self._file < 0:
            return
        rest = memoryview("".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            self._note(error)

    def _note(self, error: OSError) -> None:
        if not self.error:
            self.error = f"The log file {printable(str(self.path))} is not complete: {error.strerror}."


def log_line(outcome: Outcome, now: str) -> str:
    """The line of one outcome, without its end."""
    speed = f"{size_words(outcome.moved / outcome.seconds)}/s" if outcome.moved and outcome.seconds > 0 else "-"
    ended = outcome.status.value
    reason = outcome.proof if outcome.status is Status.DONE and outcome.proof else reason_words(outcome)
    columns = (
        now,
        printable(outcome.verb),
        printable(outcome.key),
        str(outcome.size),
        f"{outcome.seconds:.3f}",
        speed,
        str(outcome.attempts),
        f"{ended}: {printable(reason)}" if reason else ended,
    )
    return "\t".join(columns)


def iso_time(seconds: float) -> str:
    """Seconds since 1970 as ``2026-11-21T01:44:00.123Z``."""
    whole, milliseconds = divmod(int(seconds * 1000), 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{milliseconds:03d}Z"


def _one_line(text: str) -> str:
    return scrub(printable(text))
