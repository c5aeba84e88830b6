"""Read a pattern of either language as the sequences of characters that it stands for.

Two languages are known: that of ``aws s3 --include``, which is fnmatch's, and that of rclone's and rsync's filter
files. Both come to the same few tokens, so whatever is found out of a pattern (does it match, can it match below
this folder) is found out once. Case counts, always: keys are bytes. docs/filters.md tells users all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import NamedTuple

Ranges = tuple[tuple[int, int], ...]

_LAST = 0x10FFFF
_SLASH = ord("/")
_MOST_SEQUENCES = 1_000  # that one pattern may stand for: {a,b}{c,d} is four of them
_DEEPEST = 20  # braces within braces


class Wild(Enum):
    """A run of characters of any length, none included."""

    NAME = "*"  # not across a slash
    PATH = "**"  # across slashes too


class Chars(NamedTuple):
    """One character out of these ranges of code points, which are in order and do not touch."""

    ranges: Ranges

    def holds(self, character: str) -> bool:
        point = ord(character)
        return any(low <= point <= high for low, high in self.ranges)


Token = str | Chars | Wild


class Sequence(NamedTuple):
    """Tokens that follow each other; where it is ``floating``, they may begin after any slash of a key, else only at
    the key's beginning. They always end at its end. Text is never empty, two texts or two wilds never stand together.
    """

    tokens: tuple[Token, ...]
    floating: bool = False


def _joined(ranges: Iterable[tuple[int, int]]) -> Ranges:
    joined: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if joined and low <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    return tuple(joined)


def complement(ranges: Ranges) -> Ranges:
    """All other code points."""
    others = []
    start = 0
    for low, high in ranges:
        if start < low:
            others.append((start, low - 1))
        start = high + 1
    if start <= _LAST:
        others.append((start, _LAST))
    return tuple(others)


ANY = Chars(((0, _LAST),))
NO_SLASH = Chars(complement(((_SLASH, _SLASH),)))


def _sequence(tokens: Iterable[Token], *, floating: bool) -> Sequence:
    """The plainest form: texts joined, wilds joined, and what floats by itself told as a ``**`` in front."""
    plain: list[Token] = []
    for token in tokens:
        before = plain[-1] if plain else None
        if isinstance(token, str) and isinstance(before, str):
            plain[-1] = before + token
        elif isinstance(token, Wild) and isinstance(before, Wild):
            if token is Wild.PATH:
                plain[-1] = token
        else:
            plain.append(token)
    if floating and plain and isinstance(plain[0], Wild):
        # Whatever ends as the rest says has a last slash somewhere before it, or none: from there on it is a name.
        plain[0] = Wild.PATH
        floating = False
    return Sequence(tuple(plain), floating)


# What ``aws s3`` takes for --include and --exclude.


def shell_pattern(text: str) -> tuple[Sequence, ...]:
    """The language of fnmatch: ``*`` and ``?`` stand for slashes too, ``[…]`` and ``[!…]`` for one character.

    The pattern is for the whole key. Nothing but an empty text is wrong: a ``[`` without its ``]`` is a character
    like others, and a range from a later character to an earlier one is empty. Raises ValueError.
    """
    if not text:
        raise ValueError("a pattern is missing; write for example '*.tmp'")
    tokens: list[Token] = []
    at = 0
    while at < len(text):
        character = text[at]
        at += 1
        if character == "*":
            tokens.append(Wild.PATH)
        elif character == "?":
            tokens.append(ANY)
        elif character == "[" and (end := _shell_class_end(text, at)) > 0:
            tokens.append(_shell_class(text[at:end]))
            at = end + 1
        else:
            tokens.append(character)
    return (_sequence(tokens, floating=False),)


def _shell_class_end(text: str, at: int) -> int:
    if text[at : at + 1] == "!":
        at += 1
    return text.find("]", at + 1)  # one that comes first is a member


def _shell_class(inside: str) -> Chars:
    members = inside.removeprefix("!")
    ranges: list[tuple[int, int]] = []
    at = 0
    while at < len(members):
        low = high = members[at]
        if at + 2 < len(members) and members[at + 1] == "-":
            high = members[at + 2]
            at += 2
        at += 1
        if low <= high:
            ranges.append((ord(low), ord(high)))
    joined = _joined(ranges)
    return Chars(complement(joined) if members != inside else joined)


# What rclone takes in a filter file.


def rule_pattern(text: str) -> tuple[Sequence, ...]:
    """The language of filter files: ``*`` ``**`` ``?`` ``[…]`` ``{a,b}`` and ``\\``; a leading ``/`` anchors.

    Without that, the pattern may begin after any slash. Raises ValueError with what is wrong and what to write.
    """
    if not text:
        raise ValueError("a pattern is missing")
    floating = not text.startswith("/")
    reader = _RuleReader(text if floating else text[1:])
    return tuple(dict.fromkeys(_sequence(tokens, floating=floating) for tokens in reader.alternatives()))


_DIGIT: Ranges = ((0x30, 0x39),)
_LOWER: Ranges = ((0x61, 0x7A),)
_UPPER: Ranges = ((0x41, 0x5A),)
_WORD = _joined((*_DIGIT, *_LOWER, *_UPPER, (0x5F, 0x5F)))
_SPACE: Ranges = ((0x09, 0x0A), (0x0C, 0x0D), (0x20, 0x20))
_PUNCTUATION: Ranges = ((0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E))
_ESCAPED = {"d": _DIGIT, "s": _SPACE, "w": _WORD}
_ESCAPED |= {letter.upper(): complement(ranges) for letter, ranges in _ESCAPED.items()}
_NAMED = {
    "alnum": _joined((*_DIGIT, *_LOWER, *_UPPER)),
    "alpha": _joined((*_LOWER, *_UPPER)),
    "ascii": ((0x00, 0x7F),),
    "blank": ((0x09, 0x09), (0x20, 0x20)),
    "cntrl": ((0x00, 0x1F), (0x7F, 0x7F)),
    "digit": _DIGIT,
    "graph": ((0x21, 0x7E),),
    "lower": _LOWER,
    "print": ((0x20, 0x7E),),
    "punct": _PUNCTUATION,
    "space": ((0x09, 0x0D), (0x20, 0x20)),
    "upper": _UPPER,
    "word": _WORD,
    "xdigit": _joined((*_DIGIT, (0x41, 0x46), (0x61, 0x66))),
}


class _RuleReader:
    """Reads one pattern from left to right; ``at`` is the next character."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def alternatives(self) -> list[list[Token]]:
        found = self._until_comma()
        if self._at < len(self._text):
            raise ValueError("a } has no { before it; write \\} for the character itself")
        return found

    def _until_comma(self) -> list[list[Token]]:
        """All that the text up to the end, or within braces up to ``,`` or ``}``, stands for."""
        found: list[list[Token]] = [[]]
        while self._at < len(self._text):
            character = self._text[self._at]
            if character == "}" or (character == "," and self._depth):
                break
            self._at += 1
            if character == "{":
                inner = self._braces()
                if len(found) * len(inner) > _MOST_SEQUENCES:
                    raise ValueError(
                        f"its braces stand for more than {_MOST_SEQUENCES:,} patterns; write several rules"
                    )
                found = [[*tokens, *more] for tokens in found for more in inner]
            else:
                token = self._token(character)
                for tokens in found:
                    tokens.append(token)
        return found

    def _braces(self) -> list[list[Token]]:
        if self._text.startswith("{", self._at):
            raise ValueError("{{…}} is a regular expression to rclone, and Sterna takes none; write it with * and […]")
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ValueError(f"its braces are more than {_DEEPEST} deep; write several rules")
        found = self._until_comma()
        while self._text.startswith(",", self._at):
            self._at += 1
            found += self._until_comma()
            if len(found) > _MOST_SEQUENCES:
                raise ValueError(f"its braces stand for more than {_MOST_SEQUENCES:,} patterns; write several rules")
        if self._at >= len(self._text):
            raise ValueError("a { has no } after it; write \\{ for the character itself")
        self._at += 1
        self._depth -= 1
        return found

    def _token(self, character: str) -> Token:
        if character == "*":
            return self._stars()
        if character == "?":
            return NO_SLASH
        if character == "[":
            return self._class()
        if character == "]":
            raise ValueError("a ] has no [ before it; write \\] for the character itself")
        if character == "\\":
            escaped = self._escaped()
            return escaped if isinstance(escaped, str) else _without_slash(escaped)
        return character

    def _stars(self) -> Wild:
        start = self._at - 1
        while self._text.startswith("*", self._at):
            self._at += 1
        count = self._at - start
        if count > 2:
            raise ValueError("more than two stars stand together; write ** for everything below")
        return Wild.PATH if count == 2 else Wild.NAME

    def _escaped(self) -> str | Ranges:
        """What a backslash makes of the next character."""
        if self._at >= len(self._text):
            raise ValueError("it ends in a backslash; write \\\\ for the character itself")
        character = self._text[self._at]
        self._at += 1
        if character in _ESCAPED:
            return _ESCAPED[character]
        if character.isalnum():
            raise ValueError(f"\\{character} means nothing; of letters, only \\d \\s \\w and \\D \\S \\W do")
        if character == "/":
            raise ValueError("a slash needs no backslash; leave it off")
        return character

    def _class(self) -> Chars:
        negated = self._text[self._at : self._at + 1] in ("!", "^")
        self._at += negated
        ranges: list[tuple[int, int]] = []
        first = True
        while True:
            if self._at >= len(self._text):
                raise ValueError("a [ has no ] after it; write \\[ for the character itself")
            if self._text[self._at] == "]" and not first:
                break
            first = False
            low = self._member()
            if not isinstance(low, str):
                ranges += low
                continue
            high = low
            if self._text.startswith("-", self._at) and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                self._at += 1
                end = self._member()
                if not isinstance(end, str) or end < low:
                    raise ValueError("a range of […] goes backwards; write the smaller character first")
                high = end
            if low == high == "/":
                raise ValueError("[…] never stands for a slash; write the slash outside of it")
            ranges.append((ord(low), ord(high)))
        self._at += 1
        joined = _joined(ranges)
        return _without_slash(complement(joined) if negated else joined)

    def _member(self) -> str | Ranges:
        character = self._text[self._at]
        if self._text.startswith("[:", self._at) and (end := self._text.find(":]", self._at)) > 0:
            name = self._text[self._at + 2 : end]
            if name not in _NAMED:
                raise ValueError(f"[:{name}:] is unknown; there are {', '.join(_NAMED)}")
            self._at = end + 2
            return _NAMED[name]
        self._at += 1
        return self._escaped() if character == "\\" else character


def _without_slash(ranges: Ranges) -> Chars:
    return Chars(complement(_joined((*complement(ranges), (_SLASH, _SLASH)))))


def units(sequence: Sequence) -> Iterator[Token]:
    """The tokens with their texts a character at a time."""
    for token in sequence.tokens:
        if isinstance(token, str):
            yield from token
        else:
            yield token


def spelling(sequence: Sequence) -> str:
    """A text that no other sequence has, and that stays the same from release to release."""
    told = ["~" if sequence.floating else "^"]
    for token in sequence.tokens:
        if isinstance(token, str):
            told.append(f"{len(token)}:{token}")
        elif isinstance(token, Wild):
            told.append(token.value)
        else:
            told.append("[" + " ".join(f"{low:x}-{high:x}" for low, high in token.ranges) + "]")
    return "".join(told)
