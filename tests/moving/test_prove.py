"""Where a closing listing begins, and what a second look holds in memory."""

from __future__ import annotations

import asyncio
import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st

from sterna.model.location import BucketPath
from sterna.model.outcomes import Outcome, Status
from sterna.moving.prove import Prover, just_before
from sterna.stores.s3 import S3Store
from sterna.wire.checksum import sum_of
from sterna.wire.client import Client
from sterna.wire.credentials import Identity
from sterna.wire.endpoints import Addressing
from sterna.wire.retry import Retries
from sterna.wire.side import Side
from tests.wire.loopback import listening

_KEYS = st.one_of(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
    st.text(st.sampled_from(' !"/0a}~\x7f\x01é\U0001f426'), min_size=1, max_size=4),
)


@settings(deadline=None)
@given(_KEYS)
def test_a_listing_that_begins_just_before_a_key_shows_it(key: str) -> None:
    start = just_before(key)
    assert start < key
    assert start.encode() < key.encode()
    assert start.isascii() or not key.isascii()


@settings(deadline=None)
@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=6), st.data())
def test_hardly_any_other_key_lies_in_between(key: str, data: st.DataObject) -> None:
    if "!" < key[-1] <= "~":
        other = data.draw(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7D), min_size=1, max_size=7))
        assert not just_before(key) < other < key


def test_the_start_in_examples() -> None:
    assert just_before("ab") == "aa~"
    assert just_before("a/") == "a.~"
    assert just_before("a") == "`~"
    assert just_before(" ") == ""
    assert just_before("aé") == "a"


def test_what_only_its_bytes_can_prove_is_read_again_and_not_kept() -> None:
    """A server that shows another ETag afterwards, and no checksum."""
    data = bytes(16 << 20)
    piece = data[: 1 << 16]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            writer.write(f'HTTP/1.1 200 OK\r\netag: "another"\r\ncontent-length: {len(data)}\r\n\r\n'.encode())
            for _ in range(0 if head.startswith(b"HEAD") else len(data) // len(piece)):
                writer.write(piece)
                await writer.drain()

    async def test() -> tuple[list[Outcome], int]:
        sums = {"right": sum_of("CRC64NVME", data), "wrong": sum_of("CRC64NVME", data[1:])}
        outcomes = [
            Outcome("upload", key, Status.DONE, size=len(data), etag="one", checksum=f"CRC64NVME:{value}")
            for key, value in sums.items()  # so few that none is looked for in a listing
        ]
        async with listening(serve) as port:
            addressing = Addressing(urls=(f"http://127.0.0.1:{port}",), region="us-east-1")
            retries = Retries(first_pause_s=0.001)
            client = Client(Side(addressing=addressing, identity=Identity(anonymous=True), retries=retries), "b")
            prover = Prover(S3Store(client, BucketPath("b")))
            tracemalloc.start()
            try:
                await prover.prove(outcomes)
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
                await client.aclose()
        return outcomes, peak

    outcomes, peak = asyncio.run(asyncio.wait_for(test(), 60))
    assert [one.status for one in outcomes] == [Status.DONE, Status.FAILED]
    assert outcomes[1].error_kind == "ObjectChanged"
    assert peak < 8 << 20
