"""Guess a Content-Type from a key."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mimetypes import MimeTypes


def guess_type(key: str) -> str:
    """A media type by the key's ending, or an empty string."""
    name = key[key.rfind("/") + 1 :]
    dot = name.rfind(".")
    if dot < 0:
        return ""
    before = name.rfind(".", 0, dot)
    return _guess(name[before if before >= 0 else dot :])


@functools.cache
def _types() -> MimeTypes:
    """The tables of the standard library alone: /etc/mime.types would make the same file another object on another
    machine. Made at the first use, which takes 2 ms."""
    from mimetypes import MimeTypes

    return MimeTypes(filenames=())


@functools.lru_cache(maxsize=4096)
def _guess(ending: str) -> str:
    return _types().guess_type("x" + ending)[0] or ""
