"""The command ``apply``: carry out a plan that was looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sterna.cli.invocation import Invocation
from sterna.cli.options import global_options, run_options, side_options, verb


@verb("Carry out a plan.")
@click.argument("file")
@run_options
@side_options(twins=True)
@global_options
@click.pass_obj
def command(invocation: Invocation, /, file: str, **values: Any) -> int:
    """Carry out the plan FILE that sterna plan has written: that, and nothing else.

    Source, destination, and what uploaded objects are given come from the plan; where the servers are and who we are
    there is said as for sync. Each action is looked at again right before. What changed since the plan was made is
    left as it is, and named: exit code 6. Deletions come last, if all else ended well. If it was interrupted, give the
    same command again.
    """
    from sterna.cli import cmd_plan, planned
    from sterna.cli.run import carry_out
    from sterna.cli.settings import deletion_said, run_settings
    from sterna.model.location import parse_location
    from sterna.planning.planfile import PlanFile

    with PlanFile.open(Path(file)) as plan:
        header = plan.header
        merged = planned.values(cmd_plan.command, header.settings, values)
        ends = parse_location(header.source), parse_location(header.destination)
        settings = run_settings(merged, *ends, deletion=deletion_said(merged))
        return carry_out(
            invocation,
            lambda emit, tally, stop: invocation.jobs.apply(plan, settings, emit=emit, tally=tally, stop=stop),
            command="apply",
            source=header.source,
            destination=header.destination,
            helped=True,
            control=settings.control,
        )
