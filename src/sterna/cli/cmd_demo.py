"""The command ``demo``: the whole of it, against a server of its own."""

from __future__ import annotations

import click

from sterna.cli.invocation import Invocation
from sterna.cli.options import global_options, verb


@verb("Show all of it, with a server of its own.")
@global_options
@click.pass_obj
def command(invocation: Invocation) -> int:
    """Show what Sterna does: sync a small folder to an S3 server on this machine and back, and compare.

    It needs no account and no settings, and leaves nothing behind.
    """
    import sys

    from sterna.cli.speech import say

    def emit_line(line: str) -> None:
        if not invocation.quiet:
            say(line)
            sys.stdout.flush()

    return invocation.jobs.demo(emit_line)
