"""The command ``mb``: make a bucket."""

from __future__ import annotations

from typing import Any

import click

from sterna.cli.invocation import Invocation
from sterna.cli.options import global_options, side_options, verb


@verb("Make a bucket.")
@click.argument("bucket")
@side_options()
@global_options
@click.pass_obj
def command(invocation: Invocation, /, bucket: str, **values: Any) -> int:
    """Make BUCKET, written as s3://bucket, in the region of --region."""
    from sterna.cli.settings import bucket_location, single_side
    from sterna.cli.speech import say, say_bytes
    from sterna.model.errors import WrongSetting

    where = bucket_location(bucket)
    if where.path:
        raise WrongSetting(f"mb makes a bucket, and {where} names something in one; write s3://{where.bucket}.")
    side = single_side(values, where)
    sentence = invocation.jobs.run(invocation.jobs.make_bucket(where, side))
    if invocation.json:
        from sterna.reporting.jsonlines import json_bytes

        say_bytes(json_bytes({"type": "bucket", "bucket": where.bucket, "words": sentence}) + b"\n")
    elif not invocation.quiet:
        say(sentence)
    return 0
