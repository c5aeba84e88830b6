"""The command ``copy``: carry a file, a folder, an object or a prefix."""

from __future__ import annotations

import time
from typing import Any

import click

from sterna.cli.invocation import Invocation
from sterna.cli.options import (
    comparison_options,
    filter_options,
    global_options,
    manifest_options,
    run_options,
    side_options,
    upload_options,
    verb,
)


@verb("Carry a file, folder, object or prefix.")
@click.argument("source")
@click.argument("destination")
@filter_options
@comparison_options
@upload_options
@manifest_options
@run_options
@side_options(twins=True)
@global_options
@click.pass_obj
def command(invocation: Invocation, /, source: str, destination: str, **values: Any) -> int:
    """Copy SOURCE, a file, folder, object or prefix, to DESTINATION.

    One of them is a local path or - (standard input or output), the other s3://bucket/key; or both are in buckets of
    one server, which then copies by itself. What is there already, with
    the same size and time, is not moved again; nothing is deleted.
    """
    from sterna.cli.filters import filters_of
    from sterna.cli.run import carry_out
    from sterna.cli.settings import run_settings
    from sterna.model.errors import WrongSetting
    from sterna.model.location import BucketPath, LocalPath, parse_location

    ends = parse_location(source), parse_location(destination)
    to_output = isinstance(ends[1], LocalPath) and ends[1].is_stream
    if to_output and invocation.json:
        raise WrongSetting("--json and the destination - both want standard output; leave one of them off.")
    filters = filters_of(
        values,
        now_ns=time.time_ns(),
        source_is_bucket=isinstance(ends[0], BucketPath),
        input_is_taken=isinstance(ends[0], LocalPath) and ends[0].is_stream,
    )
    settings = run_settings(values, *ends, filters)
    return carry_out(
        invocation,
        lambda emit, tally, stop: invocation.jobs.copy(*ends, settings, emit=emit, tally=tally, stop=stop),
        command="copy",
        source=str(ends[0]),
        destination=str(ends[1]),
        output_is_data=to_output,
        helped=not to_output,
        control=settings.control,
    )
