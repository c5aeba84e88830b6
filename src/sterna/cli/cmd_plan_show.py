"""The command ``plan show``: what a plan would do, and what that would take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sterna.cli.exit_codes import ExitCode
from sterna.cli.invocation import Invocation
from sterna.cli.options import global_options, verb

if TYPE_CHECKING:
    from sterna.model.actions import Action


@verb("Say what a plan would do, and what that would take.")
@click.argument("file")
@click.option("--prices", metavar="FILE", help="Table of prices for the estimate, instead of Amazon's.")
@global_options
@click.pass_obj
def command(invocation: Invocation, /, file: str, prices: str | None) -> int:
    """Sum up the plan FILE: its deletions first, then all by verb, reason, folder and size, and the largest by name.

    With -v each action comes before, in the order in which they are carried out. Nothing is asked of any server.
    """
    from sterna.cli.planned import option_texts
    from sterna.cli.speech import say, say_bytes, say_lines, until_the_reader_leaves
    from sterna.planning.estimate import read_prices
    from sterna.planning.planfile import PlanFile
    from sterna.reporting.jsonlines import json_bytes
    from sterna.reporting.plan import action_line, action_members, heading_lines, review_lines, review_members

    table = read_prices(Path(prices)) if prices else None

    def tell(page: Sequence[Action]) -> None:
        if invocation.json:
            say_bytes(b"".join(json_bytes(action_members(action)) + b"\n" for action in page))
        else:
            say_lines([action_line(action) for action in page])

    with PlanFile.open(Path(file)) as plan, until_the_reader_leaves():
        review = invocation.jobs.review(plan, prices=table, each=tell if invocation.verbosity else None)
        if invocation.json:
            members: dict[str, Any] = review_members(review) | {"digest": plan.footer.digest}
            say_bytes(json_bytes(members) + b"\n")
        elif not invocation.quiet:
            for line in [*heading_lines(review, list(option_texts(review.settings))), *review_lines(review)]:
                say(line)
    return ExitCode.DONE
