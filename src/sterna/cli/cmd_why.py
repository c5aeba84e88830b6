"""The command ``why``: explain what a sync would do about one key."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from sterna.cli.invocation import Invocation
from sterna.cli.options import global_options, sync_options, verb

if TYPE_CHECKING:
    from sterna.jobs.why import Reason, Seen


@verb("Explain what a sync would do about one key.")
@click.argument("key")
@click.argument("source")
@click.argument("destination")
@sync_options
@global_options
@click.pass_obj
def command(invocation: Invocation, /, key: str, source: str, destination: str, **values: Any) -> int:
    """Explain what sterna sync SOURCE DESTINATION would do about KEY, and why: which filter, which comparison.

    KEY is the name below both, as sync prints it. Give the options that sync is given. Nothing is changed. The exit code
    is 1 where neither side has the key.
    """
    from sterna.cli.filters import filters_of
    from sterna.cli.settings import deletion_said, refuse_file, run_settings
    from sterna.cli.speech import say_bytes, say_lines, until_the_reader_leaves
    from sterna.model.errors import WrongSetting
    from sterna.model.location import BucketPath, LocalPath, parse_location

    ends = parse_location(source), parse_location(destination)
    if any(isinstance(end, LocalPath) and end.is_stream for end in ends):
        raise WrongSetting("why is about a sync, which works on folders and prefixes.")
    key = key.removeprefix("./")
    if not key:
        raise WrongSetting("KEY is empty; give a name below both locations.")
    refuse_file(ends[0])
    filters = filters_of(values, now_ns=time.time_ns(), source_is_bucket=isinstance(ends[0], BucketPath))
    settings = run_settings(values, *ends, filters, deletion_said(values))
    reason = invocation.jobs.run(invocation.jobs.why(key, *ends, settings))
    with until_the_reader_leaves():
        if invocation.json:
            import msgspec

            from sterna.reporting.jsonlines import json_bytes

            say_bytes(json_bytes({"type": "why"} | msgspec.to_builtins(reason)) + b"\n")
        else:
            say_lines(list(_lines(reason)))
    return 0 if reason.source.there or reason.destination.there else 1


def _lines(reason: Reason) -> Iterator[str]:
    yield f"key          {reason.key}"
    yield f"filters      {_filter_words(reason)}"
    yield f"source       {_side_words(reason.source)}"
    yield f"destination  {_side_words(reason.destination)}"
    if reason.last_source is not None and reason.last_destination is not None:
        yield f"last synced  source {_side_words(reason.last_source)}; destination {_side_words(reason.last_destination)}"
    if reason.included and reason.source.there and reason.destination.there:
        yield f"compared by  {_comparison_words(reason)}"
    yield f"sync         {_would_words(reason)}"


def _filter_words(reason: Reason) -> str:
    taken = "taken" if reason.included else "left out"
    if not reason.rule:
        return f"{taken}: {reason.filtered_by}"
    where = "" if reason.origin.startswith("--") else f", {reason.origin}"
    return f"{taken} by rule {reason.rule}: {reason.filtered_by}{where}"


def _side_words(seen: Seen) -> str:
    from sterna.model.units import size_words

    if seen.trouble:
        return seen.trouble
    if not seen.there:
        return "does not have it"
    words = [f"{seen.size:,} bytes" if seen.size < 1024 else f"{seen.size:,} bytes ({size_words(seen.size)})"]
    is_object = bool(seen.etag)
    if seen.mtime_ns or not is_object:  # of an object that it stored itself a run does not know when that was
        words.append(f"{'stored' if is_object else 'changed'} {_time_words(seen.mtime_ns)}")
    if seen.own_mtime_ns is not None:
        words.append(f"keeps the time {_time_words(seen.own_mtime_ns)}")
    if is_object:
        words.append(f"ETag {seen.etag}")
    if seen.checksum:
        words.append(seen.checksum.replace(":", " ", 1))
    if seen.storage_class:
        words.append(seen.storage_class)
    return ", ".join(words)


def _comparison_words(reason: Reason) -> str:
    return f"{reason.compare}; by the listings: {reason.listed}" if reason.listed else reason.compare


def _would_words(reason: Reason) -> str:
    words = {
        "keep": "leaves it as it is",
        "nothing": "does nothing about it",
        "refuse": "fails on it",
        "skip": "skips it",
    }.get(reason.would, f"would {reason.would} it")
    return f"{words}: {reason.because.rstrip('.')}"


def _time_words(ns: int) -> str:
    """Local time, with as much of a fraction as there is."""
    seconds, fraction = divmod(ns, 10**9)
    try:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OverflowError, OSError, ValueError):
        return f"{seconds} seconds after 1970"
    return f"{when}.{fraction:09d}".rstrip("0").rstrip(".")
