"""The command ``plan``: write what a sync would do into a file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sterna.cli.invocation import Invocation
from sterna.cli.options import global_options, sync_options, verb

if TYPE_CHECKING:
    from sterna.model.events import Emit, Summary, Tally
    from sterna.model.plans import Review
    from sterna.model.stop import Stop


@verb("Write what a sync would do into a file, to be looked at.")
@click.argument("source")
@click.argument("destination")
@click.option("-o", "--output", metavar="FILE", required=True, help="Where to write the plan.")
@click.option("--prices", metavar="FILE", help="Table of prices for the estimate, instead of Amazon's.")
@sync_options
@global_options
@click.pass_obj
def command(
    invocation: Invocation, /, source: str, destination: str, output: str, prices: str | None, **values: Any
) -> int:
    """Write into FILE what sterna sync would do with SOURCE and DESTINATION, and why; change nothing.

    It ends with a summary and an estimate of requests, cost and time, which sterna plan show FILE prints again. With
    --delete the guards are asked now; where one refuses, no file is written. sterna apply FILE carries the plan out.
    """
    from sterna.cli.filters import filters_of
    from sterna.cli.planned import words
    from sterna.cli.run import carry_out
    from sterna.cli.settings import deletion_said, refuse_file, run_settings
    from sterna.model.errors import WrongSetting
    from sterna.model.location import BucketPath, LocalPath, parse_location
    from sterna.planning.estimate import read_prices
    from sterna.reporting.plan import planned_end_lines

    ends = parse_location(source), parse_location(destination)
    if any(isinstance(end, LocalPath) and end.is_stream for end in ends):
        raise WrongSetting("plan works on folders; standard input and output cannot be planned for.")
    refuse_file(ends[0])
    filters = filters_of(values, now_ns=time.time_ns(), source_is_bucket=isinstance(ends[0], BucketPath))
    settings = run_settings(values, *ends, filters, deletion_said(values))
    table = read_prices(Path(prices)) if prices else None
    said = words(command, values)
    review: Review | None = None

    async def job(emit: Emit, tally: Tally, stop: Stop) -> Summary:
        nonlocal review
        summary, review = await invocation.jobs.plan(
            *ends, settings, Path(output), words=said, prices=table, emit=emit, tally=tally, stop=stop
        )
        return summary

    return carry_out(
        invocation,
        job,
        command="plan",
        source=str(ends[0]),
        destination=str(ends[1]),
        lines=lambda summary: planned_end_lines(summary, review),
        control=settings.control,
    )
