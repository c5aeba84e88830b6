"""Hold what a place shows of a key against the manifest's row for it, and choose which keys are to be read back."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from enum import Enum

import msgspec

from sterna.model.entry import Entry
from sterna.model.errors import WrongSetting
from sterna.model.units import printable
from sterna.planning.manifest import FAILED, Row
from sterna.stores.mtime import mtime_of


class Held(str, Enum):
    """What is known of one key of a manifest in a place, or of a place's key in the manifest."""

    EQUAL = "equal"
    DIFFERENT = "different"
    MISSING = "missing"
    EXTRA = "extra"
    UNKNOWN = "unknown"
    GONE = "gone"  # not there, as at the backup already


class Holding(msgspec.Struct, frozen=True, gc=False):
    """One key, what is known of it, and by what. ``is_sampled``: it was chosen to be read back."""

    verdict: Held
    key: str
    because: str
    row: Row | None = None
    entry: Entry | None = None
    is_sampled: bool = False


Judgement = tuple[Held, str]

_NOT_VOUCHED = (
    Held.UNKNOWN,
    "the manifest does not vouch for it: the backup could not bring it, or not prove that it came",
)
_NOT_READ = Held.UNKNOWN, "the backup could not read this folder; what is in it is not counted"


def not_vouched(row: Row) -> Judgement:
    """What there is to say of a key that failed."""
    return _NOT_READ if is_unread_folder(row) else _NOT_VOUCHED


def is_unread_folder(row: Row) -> bool:
    """Whether a row is that of a folder that could not be listed: no file has such a key."""
    return row.state == FAILED and row.key.endswith("/")


def by_listing(row: Row, entry: Entry) -> Judgement | None:
    """What a listing tells of a key that the manifest vouches for; None where only its content does.

    A file with its size and time, or an object with its size and ETag, is what it was as far as a listing can tell. Another
    time or ETag says nothing yet: the same bytes may have been written again.
    """
    if row.state == FAILED:
        return not_vouched(row)
    if entry.size != row.size:
        return Held.DIFFERENT, f"the sizes differ: {row.size} in the manifest, {entry.size} there"
    if not entry.size:
        return Held.EQUAL, "both are empty"
    if entry.etag:
        return (Held.EQUAL, "same size and ETag") if entry.etag == row.etag else None
    return (Held.EQUAL, "same size and time") if row.mtime and entry.mtime_ns == mtime_of(row.mtime) else None


def by_sums(row: Row, sums: Mapping[str, str]) -> Judgement:
    """The same by sums of the content: CRC64NVME in base64, SHA256 in hexadecimal digits, as the manifest has them."""
    known = {"SHA-256": (row.sha256, sums.get("SHA256")), "CRC64NVME": (row.crc64nvme, sums.get("CRC64NVME"))}
    both = {name: pair for name, pair in known.items() if pair[0] and pair[1]}
    for name, (said, found) in both.items():
        if said != found:
            return Held.DIFFERENT, f"{name} differs: {said} in the manifest, {found} there"
    if both:
        return Held.EQUAL, f"same size and {', '.join(both)}"
    return Held.UNKNOWN, "same size, and no checksum that both have; --read tells"


class Sample(msgspec.Struct, frozen=True):
    """How many of a manifest's objects are read back: so many, or a share of them in percent."""

    number: int = 0
    percent: float = 0.0

    @classmethod
    def read(cls, text: str) -> Sample:
        """From ``20`` or ``1%``; raises WrongSetting for anything else, and for none at all."""
        match = re.fullmatch(r"([0-9]{1,12})|([0-9]{1,3}(?:\.[0-9]{1,6})?)%", text.strip())
        sample = cls(int(match[1] or 0), float(match[2] or 0)) if match else cls()
        if not (sample.number or 0 < sample.percent <= 100):
            raise WrongSetting(
                f"--sample {printable(text)} is neither a number of objects nor a share; write 20 or 1%."
            )
        return sample

    def of(self, count: int) -> int:
        """How many of ``count`` these are: of a share at least one, if there are any."""
        if self.number:
            return min(self.number, count)
        return min(count, max(1, round(count * self.percent / 100)))


class Chooser:
    """Chooses ``wanted`` of ``count`` things that pass one after the other, each as likely as any other (Knuth, The Art of
    Computer Programming, volume 2, algorithm 3.4.2S). The same seed chooses the same, in constant memory.
    """

    def __init__(self, wanted: int, count: int, seed: int) -> None:
        self._wanted = wanted
        self._left = count
        self._random = random.Random(seed)

    def takes_next(self) -> bool:
        """Whether the next one is chosen."""
        is_chosen = self._left > 0 and self._random.random() * self._left < self._wanted
        self._left -= 1
        self._wanted -= is_chosen
        return is_chosen
