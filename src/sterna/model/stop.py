"""The one way in which a run is asked to end early."""

from __future__ import annotations

from collections.abc import Callable

SIGNALLED = (129, 130, 143)  # the exit codes of runs that SIGHUP, SIGINT and SIGTERM ended: 128 and the signal's number


class Stop:
    """A request to end: take no new work, park what can be resumed, say what is left. Asked once, it stays asked.

    ``exit_code`` is 130 after SIGINT, 143 after SIGTERM, 129 after SIGHUP, or that of the error that ended the run.
    """

    def __init__(self) -> None:
        self.reason = ""
        self.exit_code = 0
        self._callbacks: list[Callable[[], None]] = []

    @property
    def is_requested(self) -> bool:
        return bool(self.reason)

    def request(self, reason: str, exit_code: int) -> None:
        """Ask for the end. Later requests change nothing. Call it in the thread of the loop."""
        if self.reason:
            return
        self.reason = reason
        self.exit_code = exit_code
        for callback in self._callbacks:
            callback()

    def on_request(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called once when the end is asked for; at once if it already was."""
        if self.reason:
            callback()
        else:
            self._callbacks.append(callback)
