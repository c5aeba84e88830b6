"""What the heads of answers say of an object."""

from __future__ import annotations

import asyncio
import tracemalloc

import pytest

from sterna.model.errors import Corrupt
from sterna.model.location import BucketPath
from sterna.stores.look import http_time_ns, size_of
from sterna.stores.mtime import mtime_of, mtime_text
from sterna.stores.readback import Summing
from sterna.stores.s3 import S3Store
from sterna.wire.checksum import sum_of
from sterna.wire.client import Client
from sterna.wire.connection import Response
from sterna.wire.credentials import Identity
from sterna.wire.endpoints import Addressing
from sterna.wire.side import Side
from tests.wire.loopback import listening


@pytest.mark.parametrize(
    ("text", "mtime_ns"),
    [
        ("0", 0),
        ("1700000000", 1_700_000_000 * 10**9),
        ("1700000000.25", 1_700_000_000_250_000_000),
        ("1700000000.1234567899", 1_700_000_000_123_456_789),
        ("-1.5", -1_500_000_000),
        ("7.", 7 * 10**9),
    ],
)
def test_the_time_that_an_object_keeps_is_read(text: str, mtime_ns: int) -> None:
    assert mtime_of(text) == mtime_ns
    assert mtime_of(mtime_text(mtime_ns)) == mtime_ns


@pytest.mark.parametrize("text", ["", "-", ".", ".5", "--1", "yesterday", "²", "1.²", "-²", "٣", "1e9", "1" * 5000])
def test_what_is_no_time_is_not_taken_for_one(text: str) -> None:
    assert mtime_of(text) is None


@pytest.mark.parametrize("stamp", [b"", b"yesterday", b"Sun, 06 Nov 1994 08:49:37 +" + b"9" * 20])
def test_a_date_of_nobody_knows_when_is_none(stamp: bytes) -> None:
    assert http_time_ns(stamp) == 0


@pytest.mark.parametrize(
    ("said", "size"),
    [
        (b"bytes 0-4/7", 7),
        (b"bytes 0-4/*", 5),
        (b"bytes 0-4/" + b"9" * 5000, 5),
        (b"bytes 0-4/\xb2", 5),
        (b"lines 0-4/7", 5),
    ],
)
def test_the_size_of_the_whole_is_read_where_a_range_came(said: bytes, size: int) -> None:
    headers = {b"content-range": said, b"content-length": b"5"}
    assert size_of(Response(206, headers, b"")) == size


@pytest.mark.parametrize("name", ["CRC64NVME", "CRC32C", "CRC32", "MD5"])
def test_what_is_read_back_is_summed_and_not_kept(name: str) -> None:
    data = bytes(range(256)) * 1000
    sink = Summing(name, len(data))

    def receive(what: bytes) -> None:
        for start in range(0, len(what), 60_000):
            piece = what[start : start + 60_000]
            sink.room()[: len(piece)] = piece
            sink.wrote(len(piece))

    receive(data[:100_000])
    sink.restart()
    receive(data)
    assert sink.value == sum_of(name, data)
    with pytest.raises(Corrupt):
        receive(b"x")


def test_an_upload_whose_etag_tells_nothing_is_read_back_without_being_held_twice() -> None:
    """A server that knows no checksums and makes ETags of its own: whether it stored what was sent, only the bytes tell."""
    data = memoryview(bytes(8 << 20))
    piece = data[: 1 << 16]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := (await reader.readuntil(b"\r\n\r\n")).decode().lower():
            if head.startswith("put"):
                refused = "x-amz-checksum" in head
                for _ in range(int(head.split("content-length: ")[1].split("\r")[0]) // len(piece)):
                    await reader.readexactly(len(piece))
                status = "501 Not Implemented" if refused else "200 OK"
                writer.write(f'HTTP/1.1 {status}\r\netag: "{"0" * 32}"\r\ncontent-length: 0\r\n\r\n'.encode())
            else:
                writer.write(f'HTTP/1.1 200 OK\r\netag: "{"0" * 32}"\r\ncontent-length: {len(data)}\r\n\r\n'.encode())
                for _ in range(len(data) // len(piece)):
                    writer.write(piece)
                    await writer.drain()

    async def test() -> int:
        async with listening(serve) as port:
            addressing = Addressing(urls=(f"http://127.0.0.1:{port}",), region="us-east-1")
            client = Client(Side(addressing=addressing, identity=Identity(anonymous=True)), "b")
            store = S3Store(client, BucketPath("b", ""))
            tracemalloc.start()
            try:
                async with client.gate:
                    _, proof, _ = await store.put("k", data, {})
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
                await client.aclose()
        assert (proof, store.learned.etag_is_opaque) == ("Content-MD5", True)
        return peak

    assert asyncio.run(asyncio.wait_for(test(), 30)) < 6 << 20
