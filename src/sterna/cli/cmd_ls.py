"""The command ``ls``: list buckets, or what is in one."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

import click

from sterna.cli.invocation import Invocation
from sterna.cli.options import global_options, side_options, verb

if TYPE_CHECKING:
    from sterna.jobs.listing import Listed


@verb("List buckets, or what is in one.")
@click.argument("location", required=False)
@click.option("-r", "--recursive", is_flag=True, help="Everything below, not only the next level.")
@click.option("-h", "--human-readable", is_flag=True, help="Sizes as 1.5 KiB.")
@side_options()
@global_options
@click.pass_obj
def command(
    invocation: Invocation, /, location: str | None, recursive: bool, human_readable: bool, **values: Any
) -> int:
    """List what is in LOCATION, s3://bucket or s3://bucket/path; without it, list buckets.

    Columns: time of the last change (local), size, key. PRE marks what has more below it.
    """
    from sterna.cli.settings import bucket_location, single_side
    from sterna.cli.speech import say_bytes, say_lines, until_the_reader_leaves
    from sterna.model.errors import WrongSetting

    if location is None and recursive:
        raise WrongSetting("--recursive lists what is in a bucket; name one, as s3://bucket.")
    where = bucket_location(location) if location is not None else None
    side = single_side(values, where)

    async def list_all() -> None:
        jobs = invocation.jobs
        pages = jobs.list_buckets(side) if where is None else jobs.list_objects(where, side, recursive=recursive)
        async for page in pages:
            if invocation.json:
                say_bytes(_json_lines(page))
            else:
                say_lines([_line(listed, is_bucket=where is None, human=human_readable) for listed in page])

    with until_the_reader_leaves():
        invocation.jobs.run(list_all())
    return 0


def _line(listed: Listed, *, is_bucket: bool, human: bool) -> str:
    if listed.is_prefix:
        return f"{'PRE':>33} {listed.key}"
    minute, second = divmod(listed.mtime_ns // 1_000_000_000, 60)
    when = f"{_minute(minute)}:{second:02d}"
    if is_bucket:
        return f"{when} {listed.key}"
    if not human:
        return f"{when} {listed.size:>13} {listed.key}"
    from sterna.model.units import size_words

    return f"{when} {size_words(listed.size):>13} {listed.key}"


@functools.lru_cache(maxsize=4096)
def _minute(since_1970: int) -> str:
    """A minute as local time. Kept, since it takes 2 µs and objects are often written together."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(since_1970 * 60))


def _json_lines(page: list[Listed]) -> bytes:
    import msgspec

    from sterna.reporting.jsonlines import json_bytes

    return b"".join(json_bytes(msgspec.to_builtins(listed)) + b"\n" for listed in page)
