"""The command ``backup``: bring a folder into a bucket, prove all of it, and leave a record."""

from __future__ import annotations

import time
from typing import Any

import click

from sterna.cli.invocation import Invocation
from sterna.cli.options import (
    backup_options,
    filter_options,
    global_options,
    side_options,
    upload_options,
    upload_run_options,
    verb,
)
from sterna.model.units import GIB

_SINGLE_PART_MAX = 1 * GIB  # of --md5: larger files are worth being sent by several connections, and taken up again


@verb("Back a folder up into a bucket, and prove it.")
@click.argument("folder")
@click.argument("destination")
@backup_options
@filter_options
@upload_options
@upload_run_options
@side_options(twins=True)
@global_options
@click.pass_obj
def command(
    invocation: Invocation,
    /,
    folder: str,
    destination: str,
    state_file: str | None,
    retry_failed: bool,
    md5: bool,
    single_part_max: int | None,
    no_manifest: bool,
    **values: Any,
) -> int:
    """Bring every file below FOLDER that DESTINATION, s3://bucket/prefix, lacks or has in another version there.

    The bucket is made where it is absent, in the region of --region or the profile, else in eu-west-1; one of somebody
    else's is refused. Nothing is deleted. Every object is verified: what is sent, by a second look; what is in place, by
    what an earlier run has proved of both sides, or else by its content. At the end a manifest says what is there.
    """
    from msgspec.structs import replace

    from sterna.cli.filters import filters_of
    from sterna.cli.run import carry_out
    from sterna.cli.settings import refuse_file, run_settings
    from sterna.model.errors import WrongSetting
    from sterna.model.location import BucketPath, LocalPath, parse_location
    from sterna.reporting.summary import brief_lines, summary_lines

    source, target = parse_location(folder), parse_location(destination)
    if not isinstance(source, LocalPath) or source.is_stream or not isinstance(target, BucketPath):
        raise WrongSetting("A backup is of a folder, and goes into a bucket: sterna backup FOLDER s3://bucket/prefix.")
    refuse_file(source)
    if single_part_max is not None and not md5:
        raise WrongSetting("--single-part-max is for --md5; add that, or leave this off.")
    if state_file is not None and not state_file.strip():
        raise WrongSetting("--state-file is empty; name a file.")
    has_manifest = not no_manifest and not values["no_journal"]  # it is written from the journal
    for option, name in (("--manifest-file", "manifest_file"), ("--sha256", "sha256")):
        if values[name] and not has_manifest:
            left_out = "--no-manifest" if no_manifest else "--no-journal"
            raise WrongSetting(f"{option} is for the manifest, which {left_out} leaves out; leave one of them off.")
    filters = filters_of(values, now_ns=time.time_ns(), source_is_bucket=False)
    settings = run_settings(values | {"manifest": has_manifest, "no_fsync": False}, source, target, filters)
    if md5:
        most = single_part_max if single_part_max is not None else _SINGLE_PART_MAX
        settings = replace(settings, upload=replace(settings.upload, md5_up_to=most))
    lines = brief_lines if retry_failed else summary_lines
    return carry_out(
        invocation,
        lambda emit, tally, stop: invocation.jobs.backup(
            source,
            target,
            settings,
            state_file=state_file or "",
            retry_failed=retry_failed,
            emit=emit,
            tally=tally,
            stop=stop,
        ),
        command="backup",
        source=str(source),
        destination=str(target),
        helped=True,
        lines=lambda summary: lines(summary, log_file=invocation.log_file),
        control=settings.control,
    )
