"""The command ``retry``: try again what an earlier run did not do."""

from __future__ import annotations

from typing import Any

import click

from sterna.cli.invocation import Invocation
from sterna.cli.options import global_options, repeating_options, side_options, verb


@verb("Try again what an earlier run did not do.")
@click.argument("run", required=False, default="")
@click.option(
    "--state-file",
    metavar="FILE",
    help="Go by what this state file of a backup says is not uploaded, and bring it up to date; without RUN, from where "
    "to where the backup went that kept it.",
)
@repeating_options
@side_options(twins=True)
@global_options
@click.pass_obj
def command(invocation: Invocation, /, run: str, state_file: str | None, **values: Any) -> int:
    """Send again what failed in RUN or was never finished, and nothing else; it is proved as it was to be then.

    RUN is the name that sterna runs lists, or as much of it as is needed; without one it is the last, or the last that
    kept the state file. Source, destination, and what objects are given come from the journal; credentials and profile
    are those of now. Where RUN ended before all was listed, all is looked at again, and what is in place is not sent. A
    state file that RUN kept is brought up to date. Nothing is deleted.
    """
    from sterna.cli import cmd_sync, planned
    from sterna.cli.run import carry_out
    from sterna.cli.settings import run_settings
    from sterna.model.errors import WrongSetting
    from sterna.reporting.summary import brief_lines

    if state_file is not None and not state_file.strip():
        raise WrongSetting("--state-file is empty; name a file.")
    what = invocation.jobs.repeatable(values["state_dir"] or "", run, state_file or "")
    settings = run_settings(planned.unsaid(cmd_sync.command) | values, what.source, what.destination)
    return carry_out(
        invocation,
        lambda emit, tally, stop: invocation.jobs.retry(
            what, settings, state_file=state_file or "", emit=emit, tally=tally, stop=stop
        ),
        command=what.past.run.command,
        source=str(what.source),
        destination=str(what.destination),
        helped=True,
        lines=lambda summary: brief_lines(summary, log_file=invocation.log_file),
        control=settings.control,
    )
