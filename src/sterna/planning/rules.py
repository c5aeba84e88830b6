"""Read rules of what is looked at: of options, of filter files and of lists of keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from sterna.model.errors import WrongSetting
from sterna.model.units import printable
from sterna.planning.patterns import Sequence, rule_pattern, shell_pattern


class Rule(msgspec.Struct, frozen=True):
    """One pattern, what it decides about the keys that it matches, and where it was said."""

    includes: bool
    text: str  # as it was written: ``- *.tmp``, ``--exclude *.tmp``
    origin: str  # the option, or ``file:line``
    sequences: tuple[Sequence, ...]


class Group(msgspec.Struct, frozen=True):
    """Rules that were said together, by one option; the first that matches decides.

    ``forgets`` says that a ``!`` stood among them: what earlier options said no longer counts.
    """

    rules: tuple[Rule, ...]
    forgets: bool = False


def in_order(groups: Iterable[Group]) -> tuple[Rule, ...]:
    """The rules of a command line in the order of decision, the first match wins: later groups go first."""
    ordered: tuple[Rule, ...] = ()
    for group in groups:
        ordered = group.rules if group.forgets else (*group.rules, *ordered)
    return ordered


def option_rule(option: str, pattern: str) -> Group:
    """The rule of one ``--include`` or ``--exclude``. Raises WrongSetting.

    The pattern is for the key below the location. One that begins with a slash is refused: to the AWS tools it is a
    path of the whole machine, to users mostly the top of the location, and it would match next to nothing.
    """
    if pattern.startswith("/"):
        bare = pattern.lstrip("/")
        raise WrongSetting(
            f"{option} {printable(pattern)}: patterns begin at the location, so leave the first slash off"
            + (f": {option} '{printable(bare)}'." if bare else ".")
        )
    try:
        sequences = shell_pattern(pattern)
    except ValueError as error:
        raise WrongSetting(printable(f"{option} {pattern}: {error}.")) from error
    return Group((Rule(option == "--include", f"{option} {pattern}", option, sequences),))


def file_rules(data: bytes, name: str) -> Group:
    """The rules of a filter file, in the language of rclone's ``--filter-from``. Raises WrongSetting with the line.

    Blanks around a line are dropped; empty lines and those that begin with ``#`` or ``;`` say nothing; ``!`` forgets
    all that was said before. ``- folder/`` stands for all below the folder, as with rclone.
    """
    rules: list[Rule] = []
    forgets = False
    for number, line in enumerate(_lines(data, "--filter-from", name), 1):
        line = line.strip()
        if not line or line[0] in "#;":
            continue
        origin = f"{name}:{number}"
        if line == "!":
            rules, forgets = [], True
            continue
        try:
            rules.append(_file_rule(line, origin))
        except ValueError as error:
            raise WrongSetting(printable(f"{origin}: {line}: {error}.")) from error
    return Group(tuple(rules), forgets)


def _file_rule(line: str, origin: str) -> Rule:
    sign, pattern = line[:2], line[2:]
    if sign not in ("+ ", "- "):
        raise ValueError("a rule begins with '+ ' to include or '- ' to exclude, or is ! to forget those before")
    if pattern[0].isspace():  # of a line without blanks at its end, so there is something
        raise ValueError("the pattern would begin with a blank; leave one blank after the sign, or write [ ] for one")
    includes = sign == "+ "
    if pattern.endswith("/") and not includes:
        pattern += "**"
    return Rule(includes, line, origin, rule_pattern(pattern))


def listed_keys(data: bytes, name: str) -> frozenset[str]:
    """The keys that a list names. Raises WrongSetting.

    With a NUL in it, it is what ``find -print0`` writes: every byte between two NULs belongs to the name. Else each
    line is a key, without the blanks around it; empty lines and those that begin with ``#`` or ``;`` say nothing.
    One ``/`` or ``./`` in front of a key is dropped.
    """
    if b"\0" in data and not data.startswith(_OTHER_ENCODINGS):
        keys: Iterable[str] = data.decode("utf-8", "surrogateescape").split("\0")
    else:
        lines = (line.strip() for line in _lines(data, "--files-from", name))
        keys = (line for line in lines if line and line[0] not in "#;")
    return frozenset(
        filter(
            None,
            (key.removeprefix(".").removeprefix("/") if key[:2] == "./" else key.removeprefix("/") for key in keys),
        )
    )


_BOM = b"\xef\xbb\xbf"
_OTHER_ENCODINGS = (b"\xff\xfe", b"\xfe\xff")  # of UTF-16, which an editor or shell of Windows may write


def _lines(data: bytes, option: str, name: str) -> Iterator[str]:
    """The lines of a file. Bytes that are not UTF-8 become lone surrogates, as they do in names of files."""
    if data.startswith(_OTHER_ENCODINGS):
        raise WrongSetting(f"{option} {printable(name)} is written in UTF-16; save it as UTF-8.")
    if b"\0" in data:
        raise WrongSetting(f"{option} {printable(name)} holds NUL bytes, so it is no text; give a file of rules.")
    yield from data.removeprefix(_BOM).decode("utf-8", "surrogateescape").split("\n")
