"""Remember, beside a run, what a manifest will need of it: which keys each side had, and what the files sum up to."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Iterator, Sequence
from typing import Self

import msgspec
from msgspec.structs import replace

from sterna.jobs.carriers import Carrier
from sterna.jobs.summing import hexadecimal, sums_of_file
from sterna.model.errors import Interrupted, SternaError
from sterna.model.outcomes import Outcome, Status
from sterna.model.synced import Seen
from sterna.moving.disk import Disk
from sterna.moving.prove import Prover
from sterna.planning.compare import Plan
from sterna.planning.frames import blocks, packed
from sterna.planning.known import Known
from sterna.planning.merge import Pair
from sterna.stores.local import LocalStore
from sterna.stores.s3 import S3Store

_PIECE = 1 << 18


class Met(msgspec.Struct, array_like=True):
    """A page of what the two listings showed: the keys that the source has, and what only the destination has."""

    keys: list[str]
    others: list[tuple[str, int, str]]  # key, size, ETag

    @property
    def last(self) -> str:
        """The last key of the page."""
        return max(self.keys[-1] if self.keys else "", self.others[-1][0] if self.others else "")


class Witness:
    """Sees the pairs of a run pass, in key order, and keeps their keys in a file without a name: memory does not grow
    with their number. Use it in a ``with``.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  closed by __exit__
        self._encode = msgspec.msgpack.Encoder().encode

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def beside(self, carrier: Carrier, prover: Prover | None) -> Carrier:
        """The same carrier, with the witness looking on; ``prover`` in the place of its own."""
        planner = carrier.planner

        def seen_first(page: Sequence[Pair], now_ns: int, known: Known | None) -> Plan:
            self._saw(page)
            return planner(page, now_ns, known)

        return msgspec.structs.replace(carrier, planner=seen_first, prover=prover or carrier.prover)

    def _saw(self, page: Sequence[Pair]) -> None:
        keys = [source.key for source, _ in page if source is not None]
        others = [(target.key, target.size, target.etag) for source, target in page if source is None and target]
        if page:
            self._file.write(packed(self._encode(Met(keys, others))))

    def pages(self) -> Iterator[Met]:
        """What was seen, page by page."""
        decode = msgspec.msgpack.Decoder(Met).decode
        self._file.seek(0)
        for block in blocks(iter(lambda: self._file.read(_PIECE), b"")):
            yield decode(block)


class SummingProver(Prover):
    """Has uploads proved, and then sums the files by SHA-256, while the system still has them in memory.

    Whether the file is still what was sent shows the checksum that went along, computed in the same reading: what is not
    gets no sum here, and whoever needs one finds out.
    """

    def __init__(self, prover: Prover, store: S3Store, folder: LocalStore, disk: Disk, ended: threading.Event) -> None:
        super().__init__(store)
        self._prover = prover
        self._folder = folder
        self._disk = disk
        self._ended = ended

    async def prove(self, outcomes: Sequence[Outcome]) -> None:
        await self._prover.prove(outcomes)
        await asyncio.gather(*(self._sum(one) for one in outcomes if one.status is Status.DONE))

    async def _sum(self, outcome: Outcome) -> None:
        source = outcome.source
        if not isinstance(source, Seen):
            return
        name, _, value = outcome.checksum.partition(":")
        names = dict.fromkeys(filter(None, (name, "CRC64NVME", "SHA256")))
        try:
            sums, _ = await self._disk.slow(sums_of_file, self._folder, outcome.key, list(names), self._ended, source)
        except (SternaError, Interrupted):
            return
        if name and sums[name] == value:
            outcome.source = replace(
                source, checksum=f"CRC64NVME:{sums['CRC64NVME']}", sha256=hexadecimal(sums["SHA256"])
            )
