"""Turn the options of what is looked at into one filter, with the files that they name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sterna.cli.values import Said
from sterna.model.errors import WrongSetting
from sterna.model.units import printable
from sterna.planning.filters import Filter
from sterna.planning.moments import Moment, parse_moment
from sterna.planning.rules import Group, file_rules, in_order, listed_keys, option_rule

Read = Callable[[str, str], bytes]  # of an option, and of the file that it names

# AWS's, to know a slip in the case by. Other vendors have names of their own, some in lower case.
_CLASSES = frozenset(
    "STANDARD STANDARD_IA ONEZONE_IA INTELLIGENT_TIERING GLACIER GLACIER_IR DEEP_ARCHIVE REDUCED_REDUNDANCY OUTPOSTS "
    "SNOW EXPRESS_ONEZONE FSX_OPENZFS FSX_ONTAP".split()
)


def filters_of(
    values: Mapping[str, Any], *, now_ns: int, source_is_bucket: bool, input_is_taken: bool = False
) -> Filter:
    """The filter that the values of ``filter_options`` mean. Raises WrongSetting.

    Files are read here, once. ``input_is_taken`` says that standard input is the source, so no file can be ``-``.
    """
    read = _reader(input_is_taken)
    return filter_said(values, read, now_ns=now_ns, source_is_bucket=source_is_bucket)


def filter_said(values: Mapping[str, Any], read: Read, *, now_ns: int, source_is_bucket: bool) -> Filter:
    """The same, with ``read`` to give the bytes of the files."""
    said: list[Said] = sorted([*values["include"], *values["exclude"], *values["filter_from"]])
    lists = [listed_keys(read("--files-from", name), name) for name in values["files_from"]]
    return Filter(
        rules=in_order(_group(one, read) for one in said),
        listed=frozenset[str]().union(*lists) if lists else None,
        min_size=values["min_size"],
        max_size=values["max_size"],
        newer_than=moment("--newer-than", values["newer_than"], now_ns),
        older_than=moment("--older-than", values["older_than"], now_ns),
        storage_classes=_classes(values["storage_class_is"], source_is_bucket),
    )


def _group(said: Said, read: Read) -> Group:
    if said.option == "--filter-from":
        return file_rules(read(said.option, said.value), "standard input" if said.value == "-" else said.value)
    return option_rule(said.option, said.value)


def moment(option: str, text: str | None, now_ns: int) -> Moment | None:
    if text is None:
        return None
    try:
        return parse_moment(text, now_ns)
    except ValueError as error:
        raise WrongSetting(printable(f"{option} {text}: {error}.")) from error


def _classes(names: tuple[str, ...], source_is_bucket: bool) -> frozenset[str]:
    if names and not source_is_bucket:
        raise WrongSetting("--storage-class-is is for a source in a bucket, and files have no class; leave it off.")
    for name in names:
        if name not in _CLASSES and name.upper() in _CLASSES:
            raise WrongSetting(f"--storage-class-is {name}: there is no such class; write {name.upper()}.")
        if not name.strip():
            raise WrongSetting("--storage-class-is needs the name of a class, for example GLACIER.")
    return frozenset(names)


def _reader(input_is_taken: bool) -> Read:
    taken_by = "the source" if input_is_taken else ""

    def read(option: str, name: str) -> bytes:
        nonlocal taken_by
        try:
            if name != "-":
                return Path(name).read_bytes()
            if taken_by:
                raise WrongSetting(f"{option} -: standard input is taken by {taken_by} already; give a file.")
            taken_by = f"{option} -"
            if sys.stdin is None:
                raise WrongSetting(f"{option} -: standard input is closed; give a file.")
            return sys.stdin.buffer.read()
        except OSError as error:
            raise WrongSetting(printable(f"{option} {name} cannot be read: {error.strerror}.")) from error

    return read
