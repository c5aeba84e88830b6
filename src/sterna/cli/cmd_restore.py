"""The command ``restore``: bring a backup back into a folder."""

from __future__ import annotations

import time
from typing import Any

import click

from sterna.cli.invocation import Invocation
from sterna.cli.options import comparison_options, filter_options, global_options, run_options, side_options, verb


@verb("Bring a backup back into a folder.")
@click.argument("source")
@click.argument("folder")
@click.option("--dry-run", is_flag=True, help="Say what would be done and why, and change nothing.")
@click.option(
    "--at",
    metavar="TIME",
    help="As it was then, in a bucket that keeps versions: 2026-03-01, 2026-03-01T12:30Z, or so long ago: 3d.",
)
@click.option("--request-restore", is_flag=True, help="Ask the server to bring archived objects (Glacier) back.")
@click.option(
    "--tier",
    type=click.Choice(["expedited", "standard", "bulk"]),
    help="How fast, for --request-restore: from minutes to days. (standard)",
)
@click.option(
    "--days",
    metavar="N",
    type=click.IntRange(1, 36_500),
    help="How long what is brought back stays readable, for --request-restore. (7)",
)
@click.option("--wait", is_flag=True, help="Go on until archived objects that are being brought back have come.")
@click.option(
    "--wait-interval",
    metavar="SECONDS",
    type=click.FloatRange(0.01, 86_400),
    help="How often to look, for --wait; less and less often while nothing comes. (60)",
)
@click.option("--no-manifest", is_flag=True, help="Do not hold what has come against the manifest beside the data.")
@filter_options
@comparison_options
@run_options
@side_options(twins=True)
@global_options
@click.pass_obj
def command(
    invocation: Invocation,
    /,
    source: str,
    folder: str,
    dry_run: bool,
    at: str | None,
    request_restore: bool,
    tier: str | None,
    days: int | None,
    wait: bool,
    wait_interval: float | None,
    no_manifest: bool,
    **values: Any,
) -> int:
    """Bring what is below SOURCE, s3://bucket/prefix, into FOLDER.

    What is there already, with the same size and time, is not moved again; nothing is deleted. Archived objects are
    counted, with what bringing them back takes; the same command brings them when they can be read. Where a manifest
    stands beside the data, the files are read again and held against it.
    """
    from sterna.cli.filters import filters_of
    from sterna.cli.run import carry_out
    from sterna.cli.settings import bucket_location, restore_settings
    from sterna.jobs.restore import moment_at
    from sterna.jobs.thaw import Thawing
    from sterna.model.errors import WrongSetting
    from sterna.model.location import BucketPath, parse_location
    from sterna.planning.archive import Tier

    here, there = bucket_location(source), parse_location(folder)
    if isinstance(there, BucketPath):
        raise WrongSetting("restore writes to a folder; from bucket to bucket, say sterna sync.")
    if there.is_stream:
        raise WrongSetting("restore writes to a folder; for standard output, say sterna copy.")
    for option, value in (("--tier", tier), ("--days", days)):
        if value is not None and not request_restore:
            raise WrongSetting(f"{option} is for --request-restore; add that, or leave this off.")
    if wait_interval is not None and not wait:
        raise WrongSetting("--wait-interval is for --wait; add that, or leave this off.")
    usual = Thawing()
    how = Thawing(
        is_requested=request_restore,
        tier=Tier(tier) if tier else usual.tier,
        days=days or usual.days,
        waits=wait,
        interval_s=wait_interval or usual.interval_s,
    )
    moment = moment_at(at) if at is not None else None
    filters = filters_of(values, now_ns=time.time_ns(), source_is_bucket=True)
    settings = restore_settings(values, here, there, filters)
    return carry_out(
        invocation,
        lambda emit, tally, stop: invocation.jobs.restore(
            here,
            there,
            settings,
            at=moment,
            how=how,
            is_held=not no_manifest,
            emit=emit,
            tally=tally,
            stop=stop,
            dry_run=dry_run,
        ),
        command="restore",
        source=str(here),
        destination=str(there),
        dry_run=dry_run,
        helped=not dry_run,
        control=settings.control,
    )
