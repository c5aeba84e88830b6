"""Find out whether two places hold the same bytes under a key, with as few requests and as little reading as will do."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from sterna.jobs.summing import Summer, Sums, summer
from sterna.model.entry import Entry
from sterna.model.errors import Corrupt, Interrupted, ObjectChanged, SternaError
from sterna.model.units import MIB, printable
from sterna.moving.buffers import Buffers
from sterna.moving.disk import Disk
from sterna.moving.parts import part_size
from sterna.planning.verify import Checksums, Sum, Verdict, compared, even_cut, likely_cuts, sums_shown
from sterna.stores.folder import Identity, SourceFile
from sterna.stores.local import LocalStore
from sterna.stores.look import Look
from sterna.stores.s3 import S3Store

SLICE = 8 * MIB  # of an object that is read, by one request
_BITE = 512 * 1024  # of a file: it is still in the processor's cache when it is summed
_SPARE = 64 * 1024  # an answer may be longer than it should be; then it is noticed, not cut off

Place = LocalStore | S3Store
Judgement = tuple[Verdict, str]


class Contents:
    """Compares what stands under keys that both places list with the same size.

    Stored checksums come first: a HEAD shows them, and a file is summed here, in threads. Where they cannot tell, bytes
    are read if ``may_download``; with ``reads_all`` they are read in any case. ``on_read`` is called for each object that
    had to be downloaded for want of a checksum. Bounded by the gates of the buckets and by ``buffers``.
    """

    def __init__(
        self,
        left: Place,
        right: Place,
        buffers: Buffers,
        *,
        may_download: bool = True,
        reads_all: bool = False,
        on_read: Callable[[], object] = lambda: None,
    ) -> None:
        self._left = left
        self._right = right
        self._buffers = buffers
        self._disk = Disk()
        self._ended = threading.Event()
        self._may_download = may_download
        self._reads_all = reads_all
        self._on_read = on_read

    def end(self) -> None:
        """Have what is still being compared raise Interrupted soon."""
        self._ended.set()

    def close(self) -> None:
        """End what is still being compared, and wait for it."""
        self._ended.set()
        self._disk.close()

    async def compared(self, left: Entry, right: Entry) -> Judgement:
        """What two entries of one key are to each other. Raises ObjectChanged or ObjectGone where one of them is no
        longer what was listed, and whatever else keeps it from being read.
        """
        if left.size != right.size or not left.size:
            return compared(left, right, {}, {})
        if self._reads_all or (isinstance(self._left, LocalStore) and isinstance(self._right, LocalStore)):
            return await self._by_reading(left, right)
        judgement = await self._by_sums(left, right)
        if judgement[0] is Verdict.UNKNOWN and self._may_download:
            self._on_read()
            verdict, because = await self._by_reading(left, right)
            return verdict, f"{because}, which were read for want of a checksum"
        return judgement

    # By sums

    async def _by_sums(self, left: Entry, right: Entry) -> Judgement:
        a, b = self._left, self._right
        if isinstance(a, S3Store) and isinstance(b, S3Store):
            one, other = await asyncio.gather(_looked(a, left), _looked(b, right))
            sure = a.learned.etag_is_md5 and b.learned.etag_is_md5
            return compared(left, right, _values(_shown(a, one, sure)), _values(_shown(b, other, sure)))
        if isinstance(a, LocalStore) and isinstance(b, S3Store):
            return await self._file_by_sums(a, b, left, right, turned=False)
        assert isinstance(a, S3Store)
        assert isinstance(b, LocalStore)
        return await self._file_by_sums(b, a, left, right, turned=True)

    async def _file_by_sums(
        self, folder: LocalStore, bucket: S3Store, left: Entry, right: Entry, *, turned: bool
    ) -> Judgement:
        key, size = left.key, left.size
        entry = left if turned else right
        shown = _shown(bucket, await _looked(bucket, entry), bucket.learned.etag_is_md5)

        async def judged(by: Sum, lengths: Sequence[int], name: str) -> Judgement:
            file = {name: await self._disk.slow(self._sum_of_file, folder, key, size, by, lengths)}
            stored = {name: by.value}
            return compared(left, right, stored, file) if turned else compared(left, right, file, stored)

        for by in shown:
            told = await _even_parts(bucket, entry, by.parts) if by.parts else [size]
            cuts = [told] if told is not None else likely_cuts(size, by.parts, part_size(size))
            for lengths in cuts:
                judgement = await judged(by, lengths, by.name)
                if judgement[0] is not Verdict.UNKNOWN:
                    if judgement[0] is Verdict.EQUAL and by.is_etag and not by.parts:
                        bucket.learned.etag_is_md5 = True
                    return judgement
            if told is not None and by.parts and not by.is_etag:
                # Either the bytes differ, or the parts were not as long as they seemed: ask for each.
                exact = told if by.parts <= 2 else await _exact_parts(bucket, entry, told[0], by.parts)
                if exact is not None:
                    return await judged(by, exact, by.name.removesuffix("?"))
        return Verdict.UNKNOWN, "same size, and no checksum that both sides have"

    def _sum_of_file(self, folder: LocalStore, key: str, size: int, by: Sum, lengths: Sequence[int]) -> str:
        """The sum of a file as the server would show it; runs in a thread."""
        with folder.folder.open_source(key) as source:
            if source.identity.size != size:
                raise _changed(key)
            scratch = memoryview(bytearray(min(_BITE, size)))
            digests, start = [], 0
            for length in lengths:
                digests.append(self._digest(source, scratch, start, length, summer(by.algorithm)))
                start += length
            source.check_unchanged()
        return _written(by, digests)

    def _digest(self, source: SourceFile, scratch: memoryview, start: int, length: int, summer: Summer) -> bytes:
        for offset in range(0, length, _BITE):
            self._check_ended()
            bite = scratch[: min(_BITE, length - offset)]
            if source.read_into(bite, start + offset) != len(bite):
                raise _changed(source.key)
            summer.update(bite)
        return summer.digest()

    def _check_ended(self) -> None:
        if self._ended.is_set():
            raise Interrupted("The run has ended.")

    # By reading

    async def _by_reading(self, left: Entry, right: Entry) -> Judgement:
        """Slice by slice, until one differs."""
        one, other = Reader(self._left, left, self._disk), Reader(self._right, right, self._disk)
        gates = [place.client.gate for place in (self._left, self._right) if isinstance(place, S3Store)]
        for start in range(0, left.size, SLICE):
            length = min(SLICE, left.size - start)
            self._check_ended()
            async with AsyncExitStack() as within:  # gates before memory, as everywhere
                for gate in gates:
                    await within.enter_async_context(gate)
                within.enter_context(await self._buffers.room(2 * length))
                a, b = await asyncio.gather(one.read(start, length), other.read(start, length))
                if a != b:
                    return Verdict.DIFFERENT, f"the bytes differ, the first of them at {_first_difference(a, b, start)}"
        return Verdict.EQUAL, "same bytes"


class Reader:
    """Reads slices of one version of a file or an object."""

    def __init__(self, place: Place, entry: Entry, disk: Disk) -> None:
        self._place = place
        self._entry = entry
        self._disk = disk
        self._etag = ""
        self._identity: Identity | None = None

    async def read(self, start: int, length: int) -> bytes:
        if isinstance(self._place, LocalStore):
            return await self._disk.slow(self._from_file, self._place, start, length)
        return await self._from_object(self._place, start, length)

    def _from_file(self, store: LocalStore, start: int, length: int) -> bytes:
        with store.folder.open_source(self._entry.key) as source:
            self._identity = self._identity or source.identity
            data = bytearray(length)
            if source.identity != self._identity or source.identity.size != self._entry.size:
                raise _changed(self._entry.key)
            if source.read_into(memoryview(data), start) != length:
                raise _changed(self._entry.key)
            source.check_unchanged()
        return bytes(data)

    async def _from_object(self, bucket: S3Store, start: int, length: int) -> bytes:
        """Within the gate. All slices are of the version that the first one came from."""
        key, size = self._entry.key, self._entry.size
        span = (start, start + length) if length < size else None
        response = await bucket.get(key, limit=length + _SPARE, etag=self._etag, span=span, version=self._entry.version)
        look = bucket.look_of(key, response)
        if look.entry.size != size or (self._etag and look.entry.etag != self._etag):
            raise _changed(key)
        self._etag = look.entry.etag
        if len(response.body) != length:
            raise Corrupt(f"{printable(key)}: {len(response.body)} bytes came, and {length} were asked for.", key=key)
        return bytes(response.body)


async def sums_of_object(
    bucket: S3Store, entry: Entry, names: Sequence[str], buffers: Buffers, disk: Disk
) -> dict[str, str]:
    """The sums of all that one version of an object holds, read slice by slice; in base64."""
    reader, sums = Reader(bucket, entry, disk), Sums(names)
    for start in range(0, entry.size, SLICE):
        length = min(SLICE, entry.size - start)
        async with bucket.client.gate:  # gates before memory, as everywhere
            with await buffers.room(length):
                await disk.slow(sums.update, memoryview(await reader.read(start, length)))
    return sums.values


def _written(by: Sum, digests: Sequence[bytes]) -> str:
    """The digests of the parts, or the one of the whole, as the server writes it."""
    digest = digests[0]
    if by.parts:
        of_parts = summer(by.algorithm)
        of_parts.update(memoryview(b"".join(digests)))
        digest = of_parts.digest()
    text = digest.hex() if by.is_etag else base64.b64encode(digest).decode("ascii")
    return f"{text}-{by.parts}" if by.parts else text


async def _looked(bucket: S3Store, entry: Entry) -> Look:
    found = await bucket.head(entry.key, version=entry.version)
    if found is None or found.entry.size != entry.size:
        raise _changed(entry.key)
    return found


def _shown(bucket: S3Store, look: Look, surely_md5: bool) -> list[Sum]:
    headers = look.headers
    checksums = {look.checksum_name: look.checksum} if look.checksum else {}
    for name in ("SHA256", "SHA1"):
        if value := headers.get(f"x-amz-checksum-{name.lower()}".encode()):
            checksums[name] = value.decode("latin-1")
    sealed = (
        headers.get(b"x-amz-server-side-encryption", b"").startswith(b"aws:kms")
        or b"x-amz-server-side-encryption-customer-algorithm" in headers
        or bool(bucket.own_headers)
    )
    return sums_shown(
        checksums,
        look.entry.etag,
        composite=headers.get(b"x-amz-checksum-type") == b"COMPOSITE",
        maybe_md5=not sealed,
        surely_md5=surely_md5 and "sterna-token" not in look.metadata,  # which marks what was sent in parts
    )


def _values(shown: Sequence[Sum]) -> Checksums:
    return {one.name: one.value for one in shown}


async def _even_parts(bucket: S3Store, entry: Entry, parts: int) -> list[int] | None:
    """The lengths of an object's parts, if they are as even as most programs make them; None where nothing tells."""
    if parts == 1:
        return [entry.size]
    first = await _part_length(bucket, entry, 1)
    return even_cut(entry.size, first, parts) if first is not None else None


async def _exact_parts(bucket: S3Store, entry: Entry, first: int, parts: int) -> list[int] | None:
    """The same, of each part as the server says."""
    said = await asyncio.gather(*(_part_length(bucket, entry, number) for number in range(2, parts)))
    lengths = [first]
    for length in said:
        if length is None:
            return None
        lengths.append(length)
    lengths.append(entry.size - sum(lengths))
    return lengths if lengths[-1] > 0 else None


async def _part_length(bucket: S3Store, entry: Entry, number: int) -> int | None:
    try:
        found = await bucket.head(entry.key, part=number, version=entry.version)
    except SternaError:
        return None  # not every server knows such a question
    length = found.headers.get(b"content-length", b"") if found is not None else b""
    return int(length) if length.isdigit() else None


def _first_difference(a: bytes, b: bytes, start: int) -> str:
    low, high = 0, len(a)  # a[:low] is equal, a[:high] is not
    while high - low > 1:
        middle = (low + high) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    return f"byte {start + low}"


def _changed(key: str) -> ObjectChanged:
    return ObjectChanged(f"{printable(key)} was changed while it was compared.", key=key)
