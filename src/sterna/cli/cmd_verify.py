"""The command ``verify``: compare two places, and move nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from sterna.cli.invocation import Invocation
from sterna.cli.options import filter_options, global_options, looking_options, side_options, verb

if TYPE_CHECKING:
    from sterna.jobs.verify import Verified
    from sterna.planning.verify import Finding


@verb("Compare two places, and move nothing.")
@click.argument("source")
@click.argument("destination")
@click.option(
    "--checksum", is_flag=True, help="Compare the content by the checksums that servers keep; nothing is read."
)
@click.option("--read", is_flag=True, help="Compare the content by reading all of both sides.")
@filter_options
@looking_options
@side_options(twins=True)
@global_options
@click.pass_obj
def command(invocation: Invocation, /, source: str, destination: str, checksum: bool, read: bool, **values: Any) -> int:
    """Compare what is below SOURCE and DESTINATION, each a folder or s3://bucket/prefix.

    A line for each key that is different, only on one side or unknown, and with -v for those that are equal. Without
    --checksum or --read, what has the same size counts as equal. The exit code is 0 where all is equal, else 1.
    """
    from sterna.cli.filters import filters_of
    from sterna.cli.settings import looking_settings
    from sterna.cli.speech import say, say_bytes, say_lines, until_the_reader_leaves
    from sterna.jobs.verify import Depth
    from sterna.model.errors import WrongSetting
    from sterna.model.location import BucketPath, LocalPath, parse_location

    left, right = parse_location(source), parse_location(destination)
    if checksum and read:
        raise WrongSetting("--checksum and --read exclude each other; --read compares more and costs more.")
    if any(isinstance(end, LocalPath) and end.is_stream for end in (left, right)):
        raise WrongSetting("verify works on folders and prefixes, not on standard input or output.")
    filters = filters_of(values, now_ns=time.time_ns(), source_is_bucket=isinstance(left, BucketPath))
    settings = looking_settings(values, left, right, filters)
    depth = Depth.READ if read else Depth.CHECKSUM if checksum else Depth.LISTED
    tells_all = bool(invocation.verbosity)

    def found(findings: Sequence[Finding]) -> None:
        told = [one for one in findings if tells_all or one.verdict.value != "equal"]
        if not told:
            return
        with until_the_reader_leaves():
            if invocation.json:
                say_bytes(b"".join(_json_line("finding", one) for one in told))
            elif not invocation.quiet:
                say_lines([f"{one.verdict.value}: {one.key}: {one.because}" for one in told])

    # Who leaves a pipe has read enough, and does not change what is compared and with which code it ends.
    verified = invocation.jobs.run(invocation.jobs.verify(left, right, settings, depth=depth, found=found))
    with until_the_reader_leaves():
        if invocation.json:
            say_bytes(_json_line("summary", verified, verdict=_verdict(verified), exit_code=int(not verified.is_equal)))
        elif not invocation.quiet or not verified.is_equal:
            say(_verdict(verified))
    return 0 if verified.is_equal else 1


def _verdict(verified: Verified) -> str:
    """The last line: what was found, and by what."""
    from sterna.model.units import size_words

    by = {
        "listed": "by names and sizes; --checksum compares the content",
        "checksum": "by checksums",
        "read": "byte by byte",
    }[verified.depth.value]
    equal = f"{verified.equal:,} equal ({size_words(verified.equal_bytes)})"
    skipped = f"; {verified.skipped:,} left out by rule" if verified.skipped else ""
    if verified.is_equal:
        return f"Equal: {equal}, {by}{skipped}."
    counts = (
        (verified.different, "different"),
        (verified.only_left, "only left"),
        (verified.only_right, "only right"),
        (verified.unknown, "unknown"),
    )
    others = ", ".join(f"{count:,} {word}" for count, word in counts if count)
    return f"NOT EQUAL: {others or 'not all could be listed'}; {equal}, {by}{skipped}."


def _json_line(kind: str, value: Finding | Verified, **more: Any) -> bytes:
    import msgspec

    from sterna.reporting.jsonlines import json_bytes

    return json_bytes({"type": kind} | msgspec.to_builtins(value) | more) + b"\n"
