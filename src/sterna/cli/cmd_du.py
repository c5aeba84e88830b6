"""The command ``du``: how many objects there are, and how many bytes."""

from __future__ import annotations

from typing import Any

import click

from sterna.cli.invocation import Invocation
from sterna.cli.options import global_options, side_options, verb


@verb("Count objects and bytes.")
@click.argument("location")
@click.option("-h", "--human-readable", is_flag=True, help="Sizes as 1.5 KiB.")
@side_options()
@global_options
@click.pass_obj
def command(invocation: Invocation, /, location: str, human_readable: bool, **values: Any) -> int:
    """Count the objects and bytes of LOCATION, s3://bucket or s3://bucket/path, also by storage class."""
    from sterna.cli.settings import bucket_location, single_side
    from sterna.cli.speech import say, say_bytes, until_the_reader_leaves
    from sterna.model.units import size_words

    where = bucket_location(location)
    side = single_side(values, where)
    usage = invocation.jobs.run(invocation.jobs.usage(where, side))
    with until_the_reader_leaves():
        if invocation.json:
            from sterna.reporting.jsonlines import json_bytes

            members = {
                "location": str(where),
                "objects": usage.objects,
                "bytes": usage.bytes,
                "by_class": usage.by_class,
            }
            say_bytes(json_bytes(members) + b"\n")
            return 0
        rows = [(usage.bytes, usage.objects, str(where))]
        if len(usage.by_class) > 1:
            rows += [(size, count, name) for name, (count, size) in sorted(usage.by_class.items())]
        for size, count, name in rows:
            say(f"{size_words(size) if human_readable else size:>15} {count:>12} {name}")
    return 0
