"""Read the members of a JSON list one by one, with a piece of its text in memory at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import IO

_CHUNK = 1024 * 1024  # characters read at a time; no member is as long
_BLANKS = re.compile(r"[ \t\r\n]*")
_decoder = json.JSONDecoder()


def members(stream: IO[str]) -> Iterator[object]:
    """The members of the one list of objects that a JSON text is. Raises ValueError for any other text."""
    text = _Text(stream)
    if text.next() != "[":
        raise ValueError("it does not begin with [")
    text.at += 1
    if text.next() != "]":
        while True:
            yield text.value()
            if (mark := text.next()) == "]":
                break
            if mark != ",":
                raise ValueError("it ends too early" if not mark else "a comma is missing between two records")
            text.at += 1
    text.at += 1
    if text.next():
        raise ValueError("something follows the list")


class _Text:
    """A text of which a piece at a time is in memory; ``at`` is where it is read next."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._text = ""
        self.at = 0

    def next(self) -> str:
        """The next character that is no blank, which stays; empty at the end."""
        while True:
            found = _BLANKS.match(self._text, self.at)
            assert found is not None
            self.at = found.end()
            if self.at < len(self._text) or not self._more():
                return self._text[self.at : self.at + 1]

    def value(self) -> object:
        """The next value."""
        if self.next() != "{":
            raise ValueError("it is no list of records")
        while True:
            try:
                value, self.at = _decoder.raw_decode(self._text, self.at)
            except ValueError:
                if len(self._text) - self.at > _CHUNK or not self._more():
                    raise
            else:
                return value

    def _more(self) -> bool:
        more = self._stream.read(_CHUNK)
        self._text, self.at = self._text[self.at :] + more, 0
        return bool(more)
