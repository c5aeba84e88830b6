"""The command ``runs``: what earlier runs did."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from sterna.cli.invocation import Invocation
from sterna.cli.options import global_options, verb

if TYPE_CHECKING:
    from sterna.journal.values import PastRun


@verb("List earlier runs.")
@click.option("--state-dir", metavar="FOLDER", help="Where the journals are. (STERNA_STATE_DIR, or the user's own)")
@click.option("-n", "--most", metavar="N", type=click.IntRange(1), default=20, show_default=True, help="The last N.")
@global_options
@click.pass_obj
def command(invocation: Invocation, /, state_dir: str | None, most: int) -> int:
    """List the last runs that kept a journal, the newest first: when, how they ended, what they did, and where.

    A run is called by the name in the first column: sterna runs show NAME.
    """
    from sterna.cli.exit_codes import ExitCode
    from sterna.cli.speech import complain, say, say_bytes, until_the_reader_leaves

    found = invocation.jobs.history(state_dir or "", most)
    with until_the_reader_leaves():
        for past in found.runs:
            if invocation.json:
                say_bytes(json_line(past.run))
            else:
                say(_line(past.run))
        if not found.runs and not (invocation.json or invocation.quiet):
            say("No run has kept a journal yet.")
    for sentence in found.unreadable:
        complain(sentence)
    return ExitCode.SOME_FAILED if found.unreadable else ExitCode.DONE


def json_line(run: PastRun) -> bytes:
    """A run as a line of JSON; times are seconds since 1970."""
    import msgspec

    from sterna.reporting.jsonlines import json_bytes

    members: dict[str, Any] = {"type": "run"} | msgspec.to_builtins(run)
    members["options"] = {name: _plain(word) for name, word in members["options"].items()}
    members["started_s"], members["ended_s"] = members.pop("started_ns") / 1e9, members.pop("ended_ns") / 1e9
    return json_bytes(members) + b"\n"


def _plain(word: str) -> Any:
    """What a run keeps of its options as it is to be read: structures are JSON in the journal."""
    import json

    return json.loads(word) if word.startswith("{") else word


def not_known(run: PastRun) -> str:
    """Why nobody knows how much a run did; empty where that is known."""
    from sterna.journal.values import State

    if run.state is State.ENDED or run.counts:
        return ""
    if run.state is State.RUNNING:
        return "it goes on, and how much it did is known at its end"
    return "it was killed, and how much it did is not known"


def how_it_ended(run: PastRun) -> str:
    """In a word or two."""
    from sterna.journal.values import State

    if run.state is State.RUNNING:
        return "running"
    if run.state is State.INTERRUPTED:
        return f"cut off ({run.exit_code})" if run.exit_code else "cut off"
    return "done" if not run.exit_code else f"exit {run.exit_code}"


def _line(run: PastRun) -> str:
    from sterna.jobs.history import can_be_retried
    from sterna.model.units import printable, size_words

    counts, unknown = run.counts, not_known(run)
    moved = sum(counts.get(name, 0) for name in ("uploaded", "downloaded", "copied"))
    facts = [f"{moved:,} moved ({size_words(counts.get('moved_bytes', 0))})"]
    facts += [
        f"{counts[name]:,} {name}" for name in ("kept", "deleted", "skipped", "failed", "left") if counts.get(name)
    ]
    if unknown:
        again = f"; sterna retry {run.name} does the rest" if can_be_retried(run) else ""
        facts = [f"{unknown}{again}"]
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.started_ns / 1e9))
    places = f"{printable(run.source)} → {printable(run.target)}"
    return f"{run.name}  {when}  {run.command:<6} {how_it_ended(run):<10} {places}  {', '.join(facts)}"
