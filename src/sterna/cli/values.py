"""Check the values of single options; what belongs together is checked in ``settings``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import click

from sterna.model.units import GIB, MIB, parse_size, size_words

ORDER = "sterna.cli.options.order"  # of the parameters as they stood on the command line, in a context's meta
_HEADER_TEXT = re.compile(r"[\x20-\x7e]*")
_METADATA_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, 5.6.2: a token
_METADATA_MOST = 2048 - 64  # S3 takes 2 KiB of names and values together; some of it is for the time of modification
_TAGS_MOST = 10
LEAST_PART, LARGEST_PART = 5 * MIB, 5 * GIB  # what S3 takes
LARGEST_PUT = 5 * GIB


class Said(NamedTuple):
    """One value of a repeatable option, and where it stood on the command line among all that was given."""

    at: int
    option: str
    value: str


def size_value(ctx: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """A size in bytes out of ``512MiB``."""
    if value is None:
        return None
    try:
        return parse_size(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from error


def speed_value(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Any:
    """A timetable of speeds, of one or of several."""
    if value is None:
        return None
    from sterna.wire.timetable import parse_timetable

    try:
        return parse_timetable(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from error


def part_size_value(ctx: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """A size that S3 takes for a part."""
    size = size_value(ctx, parameter, value)
    if size is not None and not LEAST_PART <= size <= LARGEST_PART:
        raise click.BadParameter(f"{value} is not between {size_words(LEAST_PART)} and {size_words(LARGEST_PART)}.")
    return size


def single_part_value(ctx: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """A size that S3 takes in one request."""
    size = size_value(ctx, parameter, value)
    if size is not None and size > LARGEST_PUT:
        raise click.BadParameter(
            f"{value} is more than {size_words(LARGEST_PUT)}, the most that S3 takes in one request."
        )
    return size


def memory_value(ctx: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """A size that a run can live in."""
    size = size_value(ctx, parameter, value)
    if size is not None and size < 32 * MIB:
        raise click.BadParameter(f"{value} is too little; give 32MiB or more.")
    return size


def header_text(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Text that may stand in an HTTP header: nothing else could be smuggled into the request (a line break could)."""
    if value is not None and not _HEADER_TEXT.fullmatch(value):
        raise click.BadParameter(f"{value!a} holds characters that an HTTP header cannot carry; printable ASCII only.")
    return value


def metadata_pairs(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    """``k=v`` options as pairs with lower-case names."""
    pairs: dict[str, str] = {}
    for name, value in _pairs(values):
        name = name.lower()
        if name.startswith("x-amz-meta-"):
            raise click.BadParameter(f"write {name.removeprefix('x-amz-meta-')}= without x-amz-meta-.")
        if not _METADATA_NAME.fullmatch(name):
            raise click.BadParameter(f"{name!a} is no name of metadata: letters, digits, - and _ only.")
        if name == "mtime":
            raise click.BadParameter("mtime is written by Sterna itself, from the file.")
        if name in pairs:
            raise click.BadParameter(f"{name} is given twice; names of metadata know no case.")
        header_text(ctx, parameter, value)
        pairs[name] = value
    if sum(len(name) + len(value) for name, value in pairs.items()) > _METADATA_MOST:
        raise click.BadParameter(f"names and values are more than {_METADATA_MOST:,} bytes together.")
    return tuple(pairs.items())


def tag_pairs(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """``k=v`` options as pairs."""
    pairs: dict[str, str] = {}
    for name, value in _pairs(values):
        if name in pairs:
            raise click.BadParameter(f"{name!a} is given twice.")
        if len(name) > 128 or len(value) > 256:
            raise click.BadParameter(f"{name[:20]!a}: a name takes 128 characters at most, a value 256.")
        pairs[name] = value
    if len(pairs) > _TAGS_MOST:
        raise click.BadParameter(f"{len(pairs)} are given; an object takes {_TAGS_MOST} at most.")
    return tuple(pairs.items())


def said_in_order(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[Said, ...]:
    """The values of an option with their places, so that those of several options can be put in order."""
    places = [at for at, name in enumerate(ctx.meta.get(ORDER, ())) if name == parameter.name]
    return tuple(Said(at, parameter.opts[0], value) for at, value in zip(places, values, strict=True))


def _pairs(values: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for text in values:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{text!a} is no NAME=VALUE.")
        yield name, value
