"""The command ``du``: how many objects there are, and how many bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from sterna.cli.invocation import Invocation
from sterna.cli.options import global_options, side_options, verb


@verb("Count objects and bytes.")
@click.argument("location")
@click.option("-h", "--human-readable", is_flag=True, help="Sizes as 1.5 KiB only, without the exact bytes.")
@side_options()
@global_options
@click.pass_obj
def command(invocation: Invocation, /, location: str, human_readable: bool, **values: Any) -> int:
    """Count the objects and bytes of LOCATION, s3://bucket or s3://bucket/path.

    A line for all, and where there are several storage classes, one for each. Older versions and uploads that were
    never finished take room as well, and are not counted.
    """
    from sterna.cli.settings import bucket_location, single_side
    from sterna.cli.speech import say, say_bytes, until_the_reader_leaves

    where = bucket_location(location)
    side = single_side(values, where)
    usage = invocation.jobs.run(invocation.jobs.usage(where, side))
    with until_the_reader_leaves():
        if invocation.json:
            from sterna.reporting.jsonlines import json_bytes

            amounts = {name: {"objects": count, "bytes": size} for name, (count, size) in usage.by_class.items()}
            members = {"location": str(where), "objects": usage.objects, "bytes": usage.bytes, "by_class": amounts}
            say_bytes(json_bytes({"type": "usage"} | members) + b"\n")
            return 0
        rows = [(usage.objects, usage.bytes, str(where))]
        if len(usage.by_class) > 1:
            by_size = sorted(usage.by_class.items(), key=lambda item: (-item[1][1], item[0]))
            rows += [(count, size, f"of these {name}") for name, (count, size) in by_size]
        for line in _table(rows, exact=not human_readable):
            say(line)
    return 0


def _table(rows: Sequence[tuple[int, int, str]], *, exact: bool) -> list[str]:
    """A line for each row of objects, bytes and name: numbers to the right, units to the left."""
    from sterna.model.units import size_words

    amounts = []
    for count, size, _ in rows:
        number, unit = size_words(size).split(" ")
        pairs = [(f"{count:,}", "object" if count == 1 else "objects"), (number, unit)]
        amounts.append([*pairs, (f"{size:,}", "byte" if size == 1 else "bytes")] if exact else pairs)
    widths = [[max(map(len, parts)) for parts in zip(*column, strict=True)] for column in zip(*amounts, strict=True)]
    lines = []
    for pairs, (_, _, name) in zip(amounts, rows, strict=True):
        cells = [f"{number:>{w}} {unit:<{v}}" for (number, unit), (w, v) in zip(pairs, widths, strict=True)]
        lines.append("  ".join((*cells, name)))
    return lines
