"""Guess a Content-Type from a key."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mimetypes import MimeTypes


# What the standard library's tables lack, or say otherwise, in some of the versions that we run on (3.11 to 3.14): the
# same file is to be the same object whichever of them uploads it. From IANA's registry, where it has the ending.
_OURS = {
    "7z": "application/x-7z-compressed", "aac": "audio/aac", "apng": "image/apng", "avif": "image/avif",
    "bmp": "image/bmp", "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "epub": "application/epub+zip", "flac": "audio/flac", "geojson": "application/geo+json", "heic": "image/heic",
    "heif": "image/heif", "ico": "image/vnd.microsoft.icon", "ics": "text/calendar", "jar": "application/java-archive",
    "js": "text/javascript", "jsonld": "application/ld+json", "m4a": "audio/mp4", "m4v": "video/x-m4v",
    "map": "application/json", "md": "text/markdown", "mjs": "text/javascript", "mkv": "video/matroska",
    "odp": "application/vnd.oasis.opendocument.presentation", "ods": "application/vnd.oasis.opendocument.spreadsheet",
    "odt": "application/vnd.oasis.opendocument.text", "ogg": "audio/ogg", "ogv": "video/ogg", "opus": "audio/opus",
    "otf": "font/otf", "parquet": "application/vnd.apache.parquet",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation", "rar": "application/vnd.rar",
    "rtf": "application/rtf", "sql": "application/sql", "toml": "application/toml", "ttf": "font/ttf",
    "wasm": "application/wasm", "wav": "audio/x-wav", "weba": "audio/webm", "webm": "video/webm",
    "webmanifest": "application/manifest+json", "webp": "image/webp", "woff": "font/woff", "woff2": "font/woff2",
    "xhtml": "application/xhtml+xml", "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "xml": "text/xml", "yaml": "application/yaml", "yml": "application/yaml",
    "zip": "application/zip", "zst": "application/zstd",
}  # fmt: skip


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
    """The tables of the standard library and ours: /etc/mime.types would make the same file another object on another
    machine. Made at the first use, which takes 2 ms."""
    from mimetypes import MimeTypes

    types = MimeTypes(filenames=())
    for ending, media in _OURS.items():
        types.add_type(media, f".{ending}")
    return types


@functools.lru_cache(maxsize=4096)
def _guess(ending: str) -> str:
    return _types().guess_type("x" + ending)[0] or ""
