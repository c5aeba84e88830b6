"""The command ``runs show``: what one earlier run was told, how it ended, and what it did not do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from sterna.cli.invocation import Invocation
from sterna.cli.options import global_options, verb

if TYPE_CHECKING:
    from sterna.jobs.history import Past

_FAILED = ("failed", "left")
_ALL = (*_FAILED, "skipped")


@verb("Say what one earlier run did.")
@click.argument("run", required=False, default="last")
@click.option("--failed", is_flag=True, help="Only what failed or was left, one to a line.")
@click.option("--state-dir", metavar="FOLDER", help="Where the journals are. (STERNA_STATE_DIR, or the user's own)")
@global_options
@click.pass_obj
def command(invocation: Invocation, /, run: str, failed: bool, state_dir: str | None) -> int:
    """Say what RUN was told, how it ended, and name all that it did not do, each with its reason.

    RUN is the name that sterna runs lists, or as much of it as is needed; without one it is the last. Of what was done
    there is no list: --log-file writes one while a run goes on.
    """
    from sterna.cli.cmd_runs import json_line
    from sterna.cli.exit_codes import ExitCode
    from sterna.cli.speech import say, say_bytes, until_the_reader_leaves
    from sterna.reporting.history import outcome_json, outcome_line

    past = invocation.jobs.run_called(state_dir or "", run)
    with until_the_reader_leaves():
        if invocation.json and not failed:
            say_bytes(json_line(past.run))
        elif not failed:
            for line in _lines(past):
                say(line)
        for outcome in invocation.jobs.not_done(past, _FAILED if failed else _ALL):
            if invocation.json:
                say_bytes(outcome_json(outcome))
            else:
                say(outcome_line(outcome))
        for key in invocation.jobs.in_hand(past):
            if invocation.json:
                say_bytes(outcome_json(key))
            else:
                say(outcome_line(key))
    return ExitCode.DONE


def _lines(past: Past) -> Iterator[str]:
    from sterna.cli.cmd_runs import how_it_ended, not_known
    from sterna.jobs.history import can_be_retried
    from sterna.model.units import duration_words, printable, size_words

    run, counts = past.run, past.run.counts
    yield f"run       {run.name}"
    yield f"command   {run.command} {printable(run.source)} {printable(run.target)}"
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.started_ns / 1e9))
    took = f", {duration_words((run.ended_ns - run.started_ns) / 1e9)}" if run.ended_ns else ""
    yield f"began     {began}{took}, with Sterna {run.sterna}"
    why = printable(run.verdict) or not_known(run)
    yield f"ended     {how_it_ended(run)}{f': {why}' if why else ''}"
    if counts:
        names = ("uploaded", "downloaded", "copied", "kept", "deleted", "skipped", "failed", "left")
        yield "objects   " + (", ".join(f"{counts[name]:,} {name}" for name in names if counts.get(name)) or "none")
        yield f"bytes     {size_words(counts.get('moved_bytes', 0))} moved, {counts.get('requests', 0):,} requests"
    if can_be_retried(run):
        yield f"retry     sterna retry {run.name} does what it left"
    yield f"journal   {printable(str(past.path))}"
