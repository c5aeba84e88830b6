"""Turn the options that a plan was made with into the words of its header, and these into options again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import click

from sterna.cli.options import COMPARING, DELETING, UPLOADED, GroupedOption
from sterna.model.errors import WrongSetting

OWN_KEY = "sse_c_key_file"  # of it, a plan says only that there was one

# What changes what is done goes along with a plan: whole groups, and these. How fast it is done, and as whom, is said
# anew for each run; and what was looked at is in the plan already.
_GROUPS = (UPLOADED, DELETING, COMPARING)
_KEPT = ("symlinks", "on_collision", "one_file_system")


def is_kept(option: click.Parameter) -> bool:
    """Whether an option of ``plan`` is taken from the plan when it is applied."""
    return isinstance(option, GroupedOption) and (option.group in _GROUPS or option.name in _KEPT)


def words(command: click.Command, values: Mapping[str, Any]) -> dict[str, str]:
    """The words for the header: each option that was given, by its name, and its value as JSON. No secrets."""
    kept = {option.name or "": values[option.name or ""] for option in command.params if is_kept(option)}
    kept[OWN_KEY] = bool(values[OWN_KEY])
    return {name: json.dumps(value) for name, value in kept.items() if value not in (None, False, ())}


def values(command: click.Command, words: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, Any]:
    """What the options of ``plan`` were, with those ``given`` to ``apply``. Raises WrongSetting where the two
    contradict each other, or where the words are of another Sterna.
    """
    options = {option.name or "": option for option in command.params}
    merged = unsaid(command) | dict(given)
    for name, text in words.items():
        if name not in options:
            raise WrongSetting(f"The plan was made with {_named(name)}, which this Sterna does not know; make it anew.")
        if name == OWN_KEY:
            continue
        value = _unlisted(json.loads(text))
        if given.get(name) not in (None, False, (), value):
            raise WrongSetting(
                f"{_said(name, given[name])} contradicts the plan, which was made with {_said(name, value)};"
                " leave it off, or make another plan."
            )
        merged[name] = value
    for name, value in given.items():
        if is_kept(options[name]) and name not in words and value not in (None, False, ()):
            raise WrongSetting(
                f"{_said(name, value)} contradicts the plan, which was made without; leave it off, or make another plan."
            )
    if OWN_KEY in words and not merged[OWN_KEY]:
        raise WrongSetting("The plan was made with --sse-c-key-file, and does not hold the key; add it.")
    if merged[OWN_KEY] and OWN_KEY not in words:
        raise WrongSetting("The plan was made without --sse-c-key-file; leave it off, or make another plan.")
    return merged


def option_texts(words: Mapping[str, str]) -> Iterator[str]:
    """``--storage-class STANDARD_IA``, for each option out of a header."""
    for name, text in words.items():
        yield _named(name) if name == OWN_KEY else _said(name, _unlisted(json.loads(text)))


def unsaid(command: click.Command) -> dict[str, Any]:
    """The values that options have which nobody gives."""
    return {
        option.name or "": () if option.multiple else False if getattr(option, "is_flag", False) else None
        for option in command.params
    }


def _unlisted(value: Any) -> Any:
    """Lists of JSON as the tuples that options have."""
    return tuple(_unlisted(one) for one in value) if isinstance(value, list) else value


def _said(name: str, value: Any) -> str:
    if value is True:
        return _named(name)
    if isinstance(value, tuple):
        return " ".join(f"{_named(name)} {'='.join(one) if isinstance(one, tuple) else one}" for one in value)
    return f"{_named(name)} {value}"


def _named(name: str) -> str:
    return "--" + name.replace("_", "-")
