"""Laws of the checksums: the sum of the whole out of the sums of its parts."""

from __future__ import annotations

import base64
import binascii
import hashlib
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterna.wire import checksum
from sterna.wire.checksum import NAMES, algorithm, content_md5, md5_hex, sum_of

_CHECK = b"123456789"  # the catalogue of parametrised CRC algorithms gives each one's sum of it


@pytest.mark.parametrize(
    ("name", "value"), [("CRC64NVME", 0xAE8B14860A799888), ("CRC32C", 0xE3069283), ("CRC32", 0xCBF43926)]
)
def test_the_published_check_values(name: str, value: int) -> None:
    kind = algorithm(name)
    assert kind.update(_CHECK, 0) == value
    assert kind.encode(value) == base64.b64encode(value.to_bytes(kind.width, "big")).decode()
    assert sum_of(name, _CHECK) == kind.encode(value)
    assert kind.header == f"x-amz-checksum-{name.lower()}" == kind.header_bytes.decode()


@settings(deadline=None)
@given(st.sampled_from(NAMES), st.lists(st.binary(max_size=50), max_size=8))
def test_sums_of_parts_combine_to_the_sum_of_the_whole(name: str, pieces: list[bytes]) -> None:
    kind = algorithm(name)
    whole = kind.update(b"".join(pieces), 0)
    combined = continued = 0
    for piece in pieces:
        combined = kind.combine(combined, kind.update(piece, 0), len(piece))
        continued = kind.update(memoryview(bytearray(piece)), continued)
    assert combined == continued == whole
    assert 0 <= whole < 1 << (8 * kind.width)


@settings(deadline=None)
@given(st.sampled_from(NAMES), *[st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 2**50))] * 3)
def test_combining_is_associative_whatever_the_lengths(
    name: str, a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]
) -> None:
    join = algorithm(name).combine
    left = join(join(a[0], b[0], b[1]), c[0], c[1])
    assert left == join(a[0], join(b[0], c[0], c[1]), b[1] + c[1])


@settings(deadline=None)
@given(st.binary(max_size=300), st.integers(0, 2399))
def test_a_flipped_bit_changes_every_sum(data: bytes, at: int) -> None:
    if at < 8 * len(data):
        flipped = bytearray(data)
        flipped[at // 8] ^= 1 << at % 8
        for name in (*NAMES, "MD5"):
            assert sum_of(name, data) != sum_of(name, flipped)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_CRC32_and_MD5_are_those_of_the_standard_library(data: bytes) -> None:
    assert algorithm("CRC32").update(data, 0) == binascii.crc32(data)
    digest = hashlib.md5(data, usedforsecurity=False).digest()
    assert md5_hex(data) == digest.hex()
    assert base64.b64decode(content_md5(data)) == digest
    assert sum_of("MD5", data) == base64.b64encode(digest).decode()


@settings(deadline=None)
@given(st.sampled_from(NAMES), st.lists(st.binary(max_size=20), min_size=1, max_size=5))
def test_the_sum_of_sums_is_that_of_their_bytes(name: str, pieces: list[bytes]) -> None:
    kind = algorithm(name)
    sums = [kind.update(piece, 0) for piece in pieces]
    joined = b"".join(base64.b64decode(kind.encode(one)) for one in sums)
    assert kind.composite(sums) == f"{sum_of(name, joined)}-{len(pieces)}"


@settings(deadline=None)
@given(st.sampled_from(["crc64nvme", "crc32c", "crc32"]), st.binary(max_size=200), st.binary(max_size=200))
def test_functions_taken_out_of_awscrt_give_what_its_own_give(name: str, first: bytes, second: bytes) -> None:
    taken_out = checksum._taken_out()
    if taken_out is None:
        assert sys.platform != "linux", "the release of awscrt in requirements is another than was looked at"
        pytest.skip("this build of awscrt does not show its functions")
    update, combine = taken_out[name]
    own_update, own_combine = checksum._imported()[name]
    assert update(memoryview(bytearray(first)), 0) == own_update(first, 0)
    assert update(second, update(first, 0)) == own_update(first + second, 0)
    parts = own_update(first, 0), own_update(second, 0), len(second)
    assert combine(*parts) == own_combine(*parts) == own_update(first + second, 0)


def test_a_sum_needs_no_more_of_awscrt_than_its_functions() -> None:
    code = (
        "import sys; from sterna.wire.checksum import sum_of; print(sum_of('CRC64NVME', b''), '_awscrt' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.split()[0] == "AAAAAAAAAAA="
    assert run.stdout.split()[1] == str(checksum._taken_out() is None)


def test_what_is_no_data_is_an_error_of_python() -> None:
    with pytest.raises(TypeError):
        algorithm("CRC32").update(5, 0)  # type: ignore[arg-type]
