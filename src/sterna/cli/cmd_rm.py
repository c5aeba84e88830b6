"""The command ``rm``: remove an object, or everything below a path."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from sterna.cli.invocation import Invocation
from sterna.cli.options import global_options, side_options, verb

if TYPE_CHECKING:
    from sterna.model.location import BucketPath
    from sterna.wire.side import Side


@verb("Remove an object, or everything below a path.")
@click.argument("location")
@click.option("-r", "--recursive", is_flag=True, help="Everything below LOCATION; it is counted first.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@side_options()
@global_options
@click.pass_obj
def command(invocation: Invocation, /, location: str, recursive: bool, yes: bool, **values: Any) -> int:
    """Remove the object LOCATION, s3://bucket/key, or with --recursive everything below it.

    With --recursive it counts first and asks; without a terminal, and for a whole bucket, it wants --yes.
    """
    from sterna.cli.run import carry_out
    from sterna.cli.settings import bucket_location, single_side
    from sterna.model.errors import WrongSetting

    where = bucket_location(location)
    if not where.path and not recursive:
        raise WrongSetting(f"{where} is a bucket, not an object; with --recursive, all its objects are removed.")
    side = single_side(values, where)
    if recursive:
        _ask(invocation, where, side, yes=yes)
    return carry_out(
        invocation,
        lambda emit, tally, stop: invocation.jobs.remove(
            where, side, recursive=recursive, emit=emit, tally=tally, stop=stop
        ),
        command="rm",
        source="",
        destination=str(where),
    )


def _ask(invocation: Invocation, where: BucketPath, side: Side, *, yes: bool) -> None:
    """Count what would go, and go on only with a yes. Raises GuardRefused without one."""
    from sterna.cli.speech import tell
    from sterna.model.errors import GuardRefused
    from sterna.model.units import size_words
    from sterna.reporting.words import count_words

    if not yes and not where.path:
        raise GuardRefused(f"{where} is a whole bucket; to remove everything in it, add --yes. Nothing was removed.")
    if not yes and not (sys.stdin is not None and sys.stdin.isatty()):
        raise GuardRefused(
            "There is no terminal to ask on; to remove without being asked, add --yes. Nothing was removed."
        )
    usage = invocation.jobs.run(invocation.jobs.usage(where, side))
    words = f"{count_words(usage.objects)} ({size_words(usage.bytes)}) below {where}"
    if yes:
        if not invocation.quiet:
            tell(f"removing {words}")
    elif usage.objects:
        tell(f"This removes {words}.")
        if not click.confirm("Go on?", err=True):
            raise GuardRefused("Nothing was removed.")
