"""Guess a Content-Type from a key."""

from __future__ import annotations

import functools
import mimetypes

# The tables of the standard library alone: /etc/mime.types would make the same file another object on another machine.
_types = mimetypes.MimeTypes(filenames=())


def guess_type(key: str) -> str:
    """A media type by the key's ending, or an empty string."""
    name = key[key.rfind("/") + 1 :]
    dot = name.rfind(".")
    if dot < 0:
        return ""
    before = name.rfind(".", 0, dot)
    return _guess(name[before if before >= 0 else dot :])


@functools.lru_cache(maxsize=4096)
def _guess(ending: str) -> str:
    return _types.guess_type("x" + ending)[0] or ""
