"""The command ``uploads``: list unfinished multipart uploads, or abort them."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from sterna.cli.invocation import Invocation
from sterna.cli.options import global_options, side_options, verb

if TYPE_CHECKING:
    from sterna.jobs.uploads import Choice, Found
    from sterna.model.events import Event
    from sterna.model.location import BucketPath
    from sterna.wire.side import Side

_UNITS = ((86400, "d"), (3600, "h"), (60, "m"))


@verb("List unfinished uploads, or abort them.")
@click.argument("location")
@click.option("--abort", is_flag=True, help="Abort them; they are counted first. Only ours, without --all.")
@click.option("--older-than", metavar="TIME", help="Only those begun before: 7d or 12h ago, 2026-03-01, …")
@click.option("--ours", is_flag=True, help="Only those that a journal of this machine knows.")
@click.option("--all", "everybodys", is_flag=True, help="Also those of others, which is the rule without --abort.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--state-dir", metavar="FOLDER", help="Where the journals are. (STERNA_STATE_DIR, or the user's own)")
@side_options()
@global_options
@click.pass_obj
def command(
    invocation: Invocation,
    /,
    location: str,
    abort: bool,
    older_than: str | None,
    ours: bool,
    everybodys: bool,
    yes: bool,
    state_dir: str | None,
    **values: Any,
) -> int:
    """List the multipart uploads at and below LOCATION, s3://bucket or s3://bucket/path, that were begun and never
    finished: their parts take room and cost money, and no listing of objects shows them.

    Columns: age, parts and bytes sent so far, storage class, whose, upload id, key. Ours are those that a journal of this
    machine knows. With --abort it counts first and asks; without a terminal, and for everybody's in a whole bucket, it
    wants --yes. What a run that goes on may be sending is never aborted.
    """
    from sterna.cli.filters import moment
    from sterna.cli.run import carry_out
    from sterna.cli.settings import bucket_location, single_side
    from sterna.jobs.uploads import Choice
    from sterna.model.errors import WrongSetting

    if ours and everybodys:
        raise WrongSetting("--ours and --all exclude each other; leave one of them off.")
    if yes and not abort:
        raise WrongSetting("--yes answers what --abort asks, and there is no --abort; leave it off.")
    where = bucket_location(location)
    side = single_side(values, where)
    before = moment("--older-than", older_than, time.time_ns())
    choice = Choice(ours or (abort and not everybodys), before.ns if before is not None else None)
    state = state_dir or ""
    if not abort:
        return _list(invocation, where, side, state, choice)
    _ask(invocation, where, side, state, choice, yes=yes)
    return carry_out(
        invocation,
        lambda emit, tally, stop: invocation.jobs.abort_uploads(
            where, side, state, choice, emit=emit, tally=tally, stop=stop
        ),
        command="uploads",
        source="",
        destination=str(where),
    )


class _Total:
    """Counts what comes by."""

    def __init__(self) -> None:
        self.uploads = self.ours = self.in_use = self.parts = self.bytes = 0
        self.is_whole = True  # the server told how much was sent of each

    def add(self, one: Found) -> None:
        self.uploads += 1
        self.ours += one.is_ours
        self.in_use += one.is_in_use
        self.parts += one.parts or 0
        self.bytes += one.size or 0
        self.is_whole = self.is_whole and one.size is not None

    @property
    def words(self) -> str:
        """``3 uploads (1.5 GiB)``."""
        from sterna.model.units import size_words
        from sterna.reporting.words import count_words

        return (
            f"{count_words(self.uploads, 'upload')} ({'' if self.is_whole else 'more than '}{size_words(self.bytes)})"
        )


def _list(invocation: Invocation, where: BucketPath, side: Side, state: str, choice: Choice) -> int:
    from sterna.cli.exit_codes import ExitCode
    from sterna.cli.speech import say, say_bytes, say_lines, until_the_reader_leaves
    from sterna.reporting.jsonlines import json_bytes
    from sterna.reporting.words import count_words

    total, now_s, hear = _Total(), time.time(), _Ear()

    async def list_all() -> None:
        async for batch in invocation.jobs.list_uploads(where, side, state, choice, emit=hear):
            for one in batch:
                total.add(one)
            if invocation.json:
                say_bytes(b"".join(json_bytes(_members(one, now_s)) + b"\n" for one in batch))
            else:
                say_lines([_line(one, now_s) for one in batch])

    with until_the_reader_leaves():
        invocation.jobs.run(list_all())
        if invocation.json:
            counts = {"uploads": total.uploads, "ours": total.ours, "parts": total.parts, "bytes": total.bytes}
            say_bytes(json_bytes({"type": "uploads", "location": str(where)} | counts) + b"\n")
        elif not invocation.quiet:
            mine = f"; {total.ours:,} of them ours" if total.uploads and not choice.ours else ""
            say(f"total: {total.words} in {count_words(total.parts, 'part')} unfinished at {where}{mine}")
    return ExitCode.SOME_FAILED if hear.is_incomplete else ExitCode.DONE


def _ask(invocation: Invocation, where: BucketPath, side: Side, state: str, choice: Choice, *, yes: bool) -> None:
    """Count what would be aborted, and go on only with a yes. Raises GuardRefused without one."""
    from sterna.cli.speech import tell
    from sterna.model.errors import GuardRefused

    whose = "of ours" if choice.ours else "of everybody"
    if not yes and not where.path and not choice.ours:
        raise GuardRefused(
            f"{where} is a whole bucket; to abort everybody's uploads in it, add --yes. Nothing was aborted."
        )
    if not yes and not (sys.stdin is not None and sys.stdin.isatty()):
        raise GuardRefused(
            "There is no terminal to ask on; to abort without being asked, add --yes. Nothing was aborted."
        )
    total = _Total()

    async def count() -> None:
        async for batch in invocation.jobs.list_uploads(where, side, state, choice, to_abort=True):
            for one in batch:
                if not one.is_in_use:
                    total.add(one)

    invocation.jobs.run(count())
    words = f"{total.words} {whose} at {where}"
    if yes:
        if total.uploads and not invocation.quiet:
            tell(f"aborting {words}")
    elif total.uploads:
        tell(f"This aborts {words}. Who is still sending one must begin anew.")
        if not click.confirm("Go on?", err=True):
            raise GuardRefused("Nothing was aborted.")


class _Ear:
    """Hears what a listing has to say beside its lines. A journal that cannot be read makes it incomplete."""

    def __init__(self) -> None:
        self.is_incomplete = False

    def __call__(self, event: Event) -> None:
        from sterna.cli.speech import complain
        from sterna.model.events import Notice

        if isinstance(event, Notice):
            complain(f"note: {event.sentence}")
            self.is_incomplete = self.is_incomplete or event.code == "journal"


def _whose(one: Found) -> str:
    return "in use" if one.is_in_use else "ours" if one.is_ours else "others'"


def _line(one: Found, now_s: float) -> str:
    from sterna.model.units import size_words

    parts = "?" if one.parts is None else f"{one.parts:,}"
    size = "?" if one.size is None else size_words(one.size)
    age = age_words(now_s - one.begun_ns / 1e9) if one.begun_ns else "?"
    kind = one.storage_class or "-"
    return f"{age:>5} {parts:>6} {size:>10} {kind:<12} {_whose(one):<7} {one.id} {one.key}"


def _members(one: Found, now_s: float) -> dict[str, Any]:
    begun_s = one.begun_ns / 1e9 if one.begun_ns else None
    return {
        "type": "upload", "key": one.key, "upload_id": one.id, "begun_s": begun_s,
        "age_s": max(0.0, now_s - begun_s) if begun_s is not None else None, "parts": one.parts, "bytes": one.size,
        "storage_class": one.storage_class, "is_ours": one.is_ours, "is_in_use": one.is_in_use,
    }  # fmt: skip


def age_words(seconds: float) -> str:
    """``12d``, ``5h``, ``3m``, ``8s``: in whole units, as ``--older-than`` takes it."""
    whole = max(0, int(seconds))
    return next((f"{whole // unit}{letter}" for unit, letter in _UNITS if whole >= unit), f"{whole}s")
