"""Hold what a command line says to every command: how to speak, where to log, which jobs to start."""

from __future__ import annotations

import os

from sterna.cli.jobs import Jobs

DEBUGGING = 2  # -vv


class Invocation:
    """One call of the command. Global options fill it, before the verb and after it; a later one adds to an earlier."""

    def __init__(self, jobs: Jobs | None = None) -> None:
        self.jobs = jobs or Jobs()
        self.json = False
        self.log_file = ""
        self.verbosity = 0
        self.quiet = False
        self.progress = True

    def __repr__(self) -> str:
        return f"<Invocation json={self.json} log_file={self.log_file!r} verbosity={self.verbosity} quiet={self.quiet}>"

    @property
    def is_debugging(self) -> bool:
        return self.verbosity >= DEBUGGING or os.environ.get("STERNA_DEBUG", "0") not in ("", "0")
