"""Know by name what a run keeps beside the data that it wrote, which is nobody's data."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence

from sterna.model.entry import Entry

FOLDER = ".sterna/manifests/"
SUFFIX = ".jsonl.zst"
_AFTER = ".sterna/manifests0"  # "0" follows "/"
_OF_A_RUN = r"\.sterna/manifests/[0-9]{8}T[0-9]{6}-[0-9a-f]{6}\.jsonl\.zst"


def manifest_key(run: str) -> str:
    """The key of the manifest of a run, by the run's name, below the location that it was written to."""
    return f"{FOLDER}{run}{SUFFIX}"


def is_manifest(key: str) -> bool:
    """Whether a key is one that ``manifest_key`` gives."""
    return re.fullmatch(_OF_A_RUN, key) is not None


def is_about_manifests(key: str) -> bool:
    """Whether a key is that of a manifest, or of where they are: no object of the data."""
    return key == FOLDER or is_manifest(key)


def is_reserved(path: str) -> bool:
    """Whether a place in a bucket is where manifests are kept, or inside that."""
    return f"/{FOLDER}" in f"/{path}/"


def without_manifests(entries: Sequence[Entry]) -> Sequence[Entry]:
    """The entries of a listing, in key order, without the manifests: two comparisons for a page that has none."""
    if not entries or entries[0].key > _AFTER or entries[-1].key < FOLDER:
        return entries
    start = bisect_left(entries, FOLDER, key=_key)
    end = bisect_left(entries, _AFTER, key=_key)
    return [*entries[:start], *(one for one in entries[start:end] if not is_manifest(one.key)), *entries[end:]]


def _key(entry: Entry) -> str:
    return entry.key
