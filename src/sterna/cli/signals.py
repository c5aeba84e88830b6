"""Turn signals into a request to end or to tell, and end the process where an end takes too long."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVarTuple, Unpack

from sterna.cli.exit_codes import ExitCode
from sterna.model.events import Tally
from sterna.model.stop import Stop
from sterna.reporting.meter import finished_objects
from sterna.reporting.words import count_words

Ts = TypeVarTuple("Ts")

PATIENCE_S = 4.5  # from the first signal to the end at all costs: within 5 s is what users are promised
_ONE_PRESS_S = 0.25  # timeout(1) and shells deliver one signal twice, to the process and to its group
_EXIT_S = 2.0  # after a signal: threads that hang in the kernel do not hold the interpreter's exit longer
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
_AGAIN = {"SIGINT": "; press Ctrl-C again to leave at once", "SIGTERM": "; a second signal ends it at once"}
_CLEAR_AND_SHOW_CURSOR = b"\r\x1b[J\x1b[?25h"


class Signals:
    """What SIGINT, SIGTERM and SIGHUP do: once, the run is asked to end; twice, the process leaves at once.

    SIGUSR1 asks where the run stands (``on_usr1``), SIGUSR2 for its other speed (``on_usr2``). ``writes_files``: a run
    that leaves at once may leave some of them unfinished.

    A watchdog ends the process if the run has not ended by then: a disk or a server that hangs does not hold it.
    Signals that were ignored when the command was started (nohup, background jobs of scripts) stay ignored.
    """

    def __init__(
        self,
        stop: Stop,
        tally: Tally,
        say: Callable[[str], None],
        on_usr1: Callable[[], None],
        on_usr2: Callable[[], None],
        *,
        writes_files: bool = False,
    ) -> None:
        self._others = {"SIGUSR1": on_usr1, "SIGUSR2": on_usr2}
        self._stop = stop
        self._tally = tally
        self._say = say
        self._writes_files = writes_files
        self._first_s: float | None = None
        self._watchdog: threading.Timer | None = None

    @contextlib.contextmanager
    def obeyed(self) -> Iterator[None]:
        """Take the signals over, in the running loop, and give them back."""
        loop = asyncio.get_running_loop()
        taken = []
        for name in (*_NAMES, *self._others):
            number = getattr(signal, name, None)
            if number is None or signal.getsignal(number) is signal.SIG_IGN:
                continue
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # Windows, or not the main thread
                other = self._others.get(name)
                if other is not None:
                    loop.add_signal_handler(number, other)
                else:
                    loop.add_signal_handler(number, self.received, number)
                taken.append(number)
        try:
            yield
        finally:
            for number in taken:
                loop.remove_signal_handler(number)

    def received(self, number: signal.Signals) -> None:
        """The first asks, the second ends. A hang-up never counts as the second: shells send it along."""
        now_s = time.monotonic()
        if self._first_s is None:
            self._first_s = now_s
            self._watchdog = _timer(PATIENCE_S, self._lose_patience)
            self._say(f"stopping: what is in flight may end{_AGAIN.get(number.name, '')}")
            self._stop.request(f"by {number.name}", 128 + number)
        elif now_s - self._first_s > _ONE_PRESS_S and number.name != "SIGHUP":
            self._leave("left at once")

    def cancel_watchdog(self) -> None:
        """The run has ended by itself."""
        if self._watchdog is not None:
            self._watchdog.cancel()

    def exit_soon(self, code: int) -> None:
        """After a signal, do not let the interpreter wait for a thread that the kernel does not give back."""
        if self._first_s is not None:
            _timer(_EXIT_S, os._exit, code)

    def _lose_patience(self) -> None:
        self._leave("not everything ended in time")

    def _leave(self, why: str) -> None:
        """End the process now, from whichever thread: no locks are taken and no buffers flushed."""
        tally = self._tally
        there = tally.done_objects + tally.there_objects
        left = max(0, tally.planned_objects - finished_objects(tally))
        text = f"{why}: {count_words(there)} {_are(there)} proved to be in place, {left:,} {_are(left)} not, or not yet"
        text += f", {tally.failed_objects:,} failed" if tally.failed_objects else ""
        text += "" if tally.planning_done else ", and not all was listed"
        text += "; the same command goes on from there"
        if self._writes_files:
            text += ", also in what is unfinished (.sterna-….part)"
        with contextlib.suppress(OSError):
            os.write(2, (_CLEAR_AND_SHOW_CURSOR if os.isatty(2) else b"") + f"sterna: {text}.\n".encode())
        os._exit(self._stop.exit_code or ExitCode.INTERRUPTED)


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _timer(seconds: float, function: Callable[[Unpack[Ts]], object], *arguments: *Ts) -> threading.Timer:
    timer = threading.Timer(seconds, function, arguments)
    timer.daemon = True
    timer.start()
    return timer
