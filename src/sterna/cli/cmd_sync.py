"""The command ``sync``: bring a destination in step with its source."""

from __future__ import annotations

import time
from typing import Any

import click

from sterna.cli.invocation import Invocation
from sterna.cli.options import global_options, manifest_options, sync_options, verb


@verb("Bring a destination in step with its source.")
@click.argument("source")
@click.argument("destination")
@click.option("--dry-run", is_flag=True, help="Say what would be done and why, and change nothing.")
@manifest_options
@sync_options
@global_options
@click.pass_obj
def command(invocation: Invocation, /, source: str, destination: str, dry_run: bool, **values: Any) -> int:
    """Bring what SOURCE has and DESTINATION lacks, or has in another version, to DESTINATION.

    One of them is a folder, the other s3://bucket/prefix; or both are in buckets of one server, which then copies by
    itself. Files with the same size and time of modification are not
    moved again. A file counts as done when a second look has found it at the destination. Nothing is deleted without
    --delete; with it, what the filters leave out stays, and guards refuse what looks like an accident.
    """
    from sterna.cli.filters import filters_of
    from sterna.cli.run import carry_out
    from sterna.cli.settings import deletion_said, refuse_file, run_settings
    from sterna.model.errors import WrongSetting
    from sterna.model.location import BucketPath, LocalPath, parse_location

    ends = parse_location(source), parse_location(destination)
    if any(isinstance(end, LocalPath) and end.is_stream for end in ends):
        raise WrongSetting("sync works on folders; for standard input or output, say sterna copy.")
    refuse_file(ends[0])
    filters = filters_of(values, now_ns=time.time_ns(), source_is_bucket=isinstance(ends[0], BucketPath))
    settings = run_settings(values, *ends, filters, deletion_said(values))
    return carry_out(
        invocation,
        lambda emit, tally, stop: invocation.jobs.sync(
            *ends, settings, emit=emit, tally=tally, stop=stop, dry_run=dry_run
        ),
        command="sync",
        source=str(ends[0]),
        destination=str(ends[1]),
        dry_run=dry_run,
        helped=not dry_run,
        control=settings.control,
    )
