"""The command ``verify``: compare two places, or one with a manifest, and move nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from sterna.cli.held import print_held
from sterna.cli.invocation import Invocation
from sterna.cli.options import filter_options, global_options, looking_options, side_options, verb

if TYPE_CHECKING:
    from sterna.jobs.verify import Verified


@verb("Compare two places, or one with a manifest, and move nothing.")
@click.argument("source")
@click.argument("destination", required=False)
@click.option(
    "--checksum", is_flag=True, help="Compare the content by the checksums that servers keep; nothing is read."
)
@click.option("--read", is_flag=True, help="Compare the content by reading all of both sides.")
@click.option(
    "--manifest",
    metavar="FILE",
    help="Hold the one place that is given against this manifest, a file or s3://bucket/key.",
)
@click.option("--sample", metavar="N|N%", help="With --manifest: read so many objects back, chosen by chance.")
@click.option("--seed", metavar="N", type=int, help="Choose the same sample again. (Another each time; it is told.)")
@filter_options
@looking_options
@side_options(twins=True)
@global_options
@click.pass_obj
def command(
    invocation: Invocation,
    /,
    source: str,
    destination: str | None,
    checksum: bool,
    read: bool,
    manifest: str | None,
    sample: str | None,
    seed: int | None,
    **values: Any,
) -> int:
    """Compare what is below SOURCE and DESTINATION, each a folder or s3://bucket/prefix; or hold one of them against a
    manifest, which is found whole first.

    A line for each key that is different, only on one side or unknown, and with -v for those that are equal. Without
    --checksum or --read, what has the same size counts as equal; against a manifest it must have the same ETag, or the
    same time, too. The exit code is 0 where all is equal, else 1.
    """
    from sterna.cli.filters import filters_of
    from sterna.cli.findings import say_verdict, teller
    from sterna.cli.settings import looking_settings
    from sterna.jobs.looking import Depth
    from sterna.model.errors import WrongSetting
    from sterna.model.location import BucketPath, LocalPath, parse_location

    first, second = _two(source, destination, manifest)
    left, right = parse_location(first), parse_location(second)
    if checksum and read:
        raise WrongSetting("--checksum and --read exclude each other; --read compares more and costs more.")
    if any(isinstance(end, LocalPath) and end.is_stream for end in (left, right)):
        raise WrongSetting("verify works on folders and prefixes, not on standard input or output.")
    filters = filters_of(values, now_ns=time.time_ns(), source_is_bucket=isinstance(left, BucketPath))
    settings = looking_settings(values, left, right, filters)
    depth = Depth.READ if read else Depth.CHECKSUM if checksum else Depth.LISTED
    if manifest is not None:
        return print_held(invocation, left, right, settings, depth, sample, seed)
    if sample is not None or seed is not None:
        raise WrongSetting("--sample and --seed are for --manifest; add that, or leave them off.")
    verified = invocation.jobs.run(invocation.jobs.verify(left, right, settings, depth=depth, found=teller(invocation)))
    return say_verdict(invocation, verified, _verdict(verified))


def _two(source: str, destination: str | None, manifest: str | None) -> tuple[str, str]:
    """The two that are compared: a manifest stands in the place of a source."""
    if manifest is not None and destination is not None:
        raise click.UsageError("--manifest stands for one of the two places; give only the other.")
    if manifest is None and destination is None:
        raise click.UsageError("Missing argument 'DESTINATION', or --manifest FILE in its place.")
    return (manifest, source) if manifest is not None else (source, destination or "")


def _verdict(verified: Verified) -> str:
    """The last line: what was found, and by what."""
    from sterna.cli.findings import verdict
    from sterna.model.units import size_words

    by = {
        "listed": "by names and sizes; --checksum compares the content",
        "checksum": "by checksums",
        "read": "byte by byte",
    }[verified.depth.value]
    equal = f"{verified.equal:,} equal ({size_words(verified.equal_bytes)})"
    skipped = f"; {verified.skipped:,} left out by rule" if verified.skipped else ""
    others = {
        "different": verified.different,
        "only left": verified.only_left,
        "only right": verified.only_right,
        "unknown": verified.unknown,
    }
    return verdict(verified, others, f"{equal}, {by}{skipped}")
