"""The command ``check``: what works with a location, what does not, and what to change."""

from __future__ import annotations

from typing import Any

import click

from sterna.cli.exit_codes import ExitCode
from sterna.cli.invocation import Invocation
from sterna.cli.options import global_options, side_options, verb


@verb("Find out what works, and what to change.")
@click.argument("location")
@side_options()
@global_options
@click.pass_obj
def command(invocation: Invocation, /, location: str, **values: Any) -> int:
    """Examine LOCATION. Of s3://bucket or s3://bucket/path: credentials, endpoint, permissions, clock, abilities.

    Of a folder: whether it can be read and written, room, names and times.
    """
    from sterna.cli.settings import refuse_missing_slash, single_side
    from sterna.cli.speech import say, say_bytes
    from sterna.model.location import BucketPath, parse_location

    where = parse_location(location)
    refuse_missing_slash(where)
    side = single_side(values, where if isinstance(where, BucketPath) else None)

    async def examine() -> int:
        wrong = 0
        async for finding in invocation.jobs.check(where, side):
            wrong += finding.ok is False
            if invocation.json:
                from sterna.reporting.jsonlines import json_bytes

                members = {name: getattr(finding, name) for name in ("name", "ok", "words", "advice")}
                say_bytes(json_bytes({"type": "finding"} | members) + b"\n")
                continue
            if invocation.quiet and finding.ok is not False:
                continue
            sign = {True: "yes", False: "NO", None: "-"}[finding.ok]
            say(f"{sign:>3}  {finding.name}: {finding.words}")
            if finding.advice:
                say(f"     → {finding.advice}")
        return wrong

    wrong = invocation.jobs.run(examine())
    if not invocation.json and (wrong or not invocation.quiet):
        say(f"{where}: {wrong} of these must be changed." if wrong else f"{where}: nothing has to be changed.")
    return ExitCode.SOME_FAILED if wrong else ExitCode.DONE
