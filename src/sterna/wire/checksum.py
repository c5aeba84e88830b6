"""Turn bytes into the checksums that S3 knows, and the checksums of parts into that of the whole."""

from __future__ import annotations

import base64
import ctypes
import hashlib
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Final

import msgspec

Bytes = bytes | bytearray | memoryview


NAMES = ("CRC64NVME", "CRC32C", "CRC32")  # best first
_HEADERS = {name: f"x-amz-checksum-{name.lower()}" for name in NAMES}
_HEADER_BYTES = {name: header.encode() for name, header in _HEADERS.items()}


class Algorithm(msgspec.Struct, frozen=True):
    """One checksum that can be computed piece by piece and combined from parts.

    ``update(data, previous)`` continues a sum; ``combine(first, second, length of second)`` joins two. CRC64NVME runs
    at 54 GB/s and combines in 0.3 µs (awscrt; measured in docs/decisions/0003), so it costs nothing beside a copy.
    """

    name: str  # as S3 writes it: CRC64NVME
    width: int  # bytes
    update: Callable[[Bytes, int], int]
    combine: Callable[[int, int, int], int]

    @property
    def header(self) -> str:
        """The header that carries it."""
        return _HEADERS[self.name]

    @property
    def header_bytes(self) -> bytes:
        """The same among an answer's headers."""
        return _HEADER_BYTES[self.name]

    def encode(self, value: int) -> str:
        """Base64 of the big-endian sum, as S3's headers carry it."""
        return base64.b64encode(value.to_bytes(self.width, "big")).decode("ascii")

    def composite(self, values: list[int]) -> str:
        """The checksum of checksums that servers without full-object sums give a multipart object, ``sum-parts``."""
        joined = b"".join(value.to_bytes(self.width, "big") for value in values)
        return f"{self.encode(self.update(joined, 0))}-{len(values)}"


_known: dict[str, Algorithm] = {}


# The release of awscrt whose functions for sums were seen to need nothing of what its import prepares.
_SEEN: Final = "0.38.1"
_SUMS: Final = {"CRC64NVME": ("crc64nvme", 8), "CRC32C": ("crc32c", 4), "CRC32": ("crc32", 4)}
_CHECK: Final = (b"123456789", 0xAE8B14860A799888)  # of CRC64NVME, from its definition


def algorithm(name: str) -> Algorithm:
    """CRC64NVME, CRC32C or CRC32 by name. awscrt is loaded here, late: a listing does not need its 12 MB."""
    if not _known:
        functions = _taken_out() or _imported()
        for each, (function, width) in _SUMS.items():
            _known[each] = Algorithm(each, width, *functions[function])
    return _known[name]


_Functions = dict[str, tuple[Callable[[Bytes, int], int], Callable[[int, int, int], int]]]


def _imported() -> _Functions:
    """How to sum and how to combine, from awscrt as it is meant to be used."""
    from awscrt import checksums

    return {
        function: (getattr(checksums, function), getattr(checksums, f"combine_{function}"))
        for function, _ in _SUMS.values()
    }


class _MethodDef(ctypes.Structure):
    """PyMethodDef of Python's stable ABI."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


_ARGUMENTS_AS_TUPLE: Final = 1  # METH_VARARGS
_kept: list[object] = []  # what the functions made here point to


def _taken_out() -> _Functions | None:
    """The same functions, without an import of their module; None where that cannot be, or is not known to be right.

    The import prepares TLS, reads the system's certificates and measures for 40 ms how the processor's clock jitters,
    for random numbers: 50 ms of the processor, in each process that moves bytes. The sums need none of it.
    """
    import awscrt

    spec = find_spec("_awscrt")
    if awscrt.__version__ != _SEEN or spec is None or not spec.origin:
        return None
    try:
        library = ctypes.PyDLL(spec.origin)
        make = ctypes.pythonapi.PyCFunction_NewEx
        make.argtypes, make.restype = [ctypes.c_void_p, ctypes.py_object, ctypes.py_object], ctypes.py_object

        def function(name: str) -> Any:
            called = ctypes.cast(getattr(library, f"aws_py_checksums_{name}"), ctypes.c_void_p).value
            method = _MethodDef(name.encode(), called, _ARGUMENTS_AS_TUPLE, None)
            _kept.append(method)
            return make(ctypes.addressof(method), None, None)

        functions = {name: (function(name), function(f"{name}_combine")) for name, _ in _SUMS.values()}
    except (AttributeError, OSError):  # another build of it, which shows less of itself
        return None
    data, right = _CHECK
    return functions if functions["crc64nvme"][0](data, 0) == right else None


def content_md5(data: Bytes) -> str:
    """The value of Content-MD5. 0.86 GB/s: only for servers that know nothing better, and for DeleteObjects."""
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode("ascii")


def sum_of(name: str, data: Bytes) -> str:
    """The sum by S3's name of the algorithm, MD5 among them, in base64."""
    if name == "MD5":
        return content_md5(data)
    kind = algorithm(name)
    return kind.encode(kind.update(data, 0))


def md5_hex(data: Bytes) -> str:
    """What a plain PUT's ETag is on most servers."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
