"""Put an object by one request, with the best checksum and the condition that its endpoint takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sterna.model.errors import Corrupt, SternaError
from sterna.model.units import GIB, printable
from sterna.stores.learned import (
    Learned,
    check_sum,
    is_same_md5,
    may_refuse_condition,
    other_bytes,
    refuses_checksum,
)
from sterna.stores.objects import Condition, Objects, left_behind
from sterna.wire.checksum import algorithm, content_md5
from sterna.wire.client import Body, Request
from sterna.wire.connection import FilePart, Response

LARGEST_PUT = 5 * GIB  # of one request: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
_ERROR_ROOM = 64 * 1024  # for what a server says instead of an object


class Summed(NamedTuple):
    """What is known of a body before it is sent: its MD5 as Content-MD5 carries it, which the server is to check, what is
    called before it is sent again, which may raise, and what is told of the bytes that went out.
    """

    md5: str
    restart: Callable[[], None]
    passed: Callable[[int], None]


async def put_object(
    store: Objects, key: str, data: Body, headers: dict[str, str], condition: Condition, summed: Summed | None = None
) -> tuple[Response, str, str]:
    """``S3Store.put`` once it is this upload's turn to find out what the endpoint takes, or that is known."""
    name, sums, expected = _sums(store.learned, data) if summed is None else ("MD5", {"content-md5": summed.md5}, "")
    asked, left_off = store.obeyed(condition) if condition else condition, Condition()
    stored: list[str] = []  # the ETag of each answer
    weighs_md5 = "content-md5" in sums
    sealed = bool(store.own_headers)

    def is_right(response: Response) -> None:
        etag = response.headers.get(b"etag", b"").decode("latin-1").strip('"')
        if not etag:  # S3 gives one: whoever answered was not the server (H12)
            raise Corrupt(f"{printable(key)}: the answer to Put has no ETag.", operation="Put", key=key)
        stored.append(etag)
        for header in condition:
            request.headers.pop(header, None)  # what stands there now is what this request has put
        check_sum(name, expected, key, response)
        if weighs_md5:
            same = is_same_md5(response, sums, sealed=sealed)
            if same is False and store.learned.etag_is_md5:
                raise other_bytes(key, "its MD5")
            store.learned.etag_is_md5 |= bool(same)

    while True:
        named = headers | sums | store.own_headers
        if asked and not stored:
            named |= asked
        request = Request("Put", "PUT", store.bucket, store.key_of(key), headers=named, body=data, check=is_right,
                          restart=summed.restart if summed is not None else None, final=("InvalidDigest",),
                          passed=summed.passed if summed is not None else None)  # fmt: skip
        try:
            response = await store.client.send(request)
        except SternaError as error:
            if asked and may_refuse_condition(error):
                asked, left_off = Condition(), asked  # it may be that; what is wrong otherwise comes again
                continue
            if summed is None and refuses_checksum(error) and store.learned.refused(name):
                name, sums, expected = _sums(store.learned, data)
                weighs_md5 = "content-md5" in sums
                asked, left_off = asked or left_off, Condition()
                continue
            if stored and (trouble := await _take_back_wrong(store, key, stored)):
                error.sentence += trouble
            raise
        except asyncio.CancelledError:
            if stored:
                await asyncio.shield(_take_back_wrong(store, key, stored, within_s=2.0))
            raise
        if left_off:
            store.refuses(left_off)
        other = weighs_md5 and is_same_md5(response, sums, sealed=sealed) is False
        if other and not store.learned.etag_is_opaque:
            # Either this server's ETags are no MD5, or it stored other bytes: only they can tell.
            if not await _holds(store, key, len(data), sums["content-md5"]):
                store.learned.etag_is_md5 = True
                continue
            store.learned.etag_is_opaque = True
        return response, store.learned.proof(name, response), f"{name}:{expected or sums['content-md5']}"


async def _holds(store: Objects, key: str, size: int, md5: str) -> bool:
    """Read back what was just put, and hold it against the MD5 of what was sent."""
    from sterna.stores.readback import Summing  # rarely needed

    again = Summing("MD5", size + _ERROR_ROOM)  # an object of another size is another one, and no broken answer
    await store.get(key, limit=_ERROR_ROOM, sink=again, restart=again.restart)
    return again.value == md5


async def _take_back_wrong(store: Objects, key: str, etags: Sequence[str], within_s: float | None = None) -> str:
    """Remove what was stored and is known to be wrong: it has the size and the time of the file, and the next run
    would take it for unchanged. Only while it is still what an answer was about. Gives what to say if that failed.
    """
    try:
        async with asyncio.timeout(within_s):
            found = await store.head_in_gate(key)
            if found is not None and found.entry.etag in etags:
                await store.take_back(found)
    except (SternaError, TimeoutError) as error:
        return f" {left_behind(error)}"
    return ""


def _sums(learned: Learned, data: Body) -> tuple[str, dict[str, str], str]:
    """The checksum headers for some bytes: algorithm, headers, and the value that the server should show."""
    name = learned.candidate
    assert not isinstance(data, FilePart)
    if name == "MD5":
        return name, {"content-md5": content_md5(data)}, ""
    kind = algorithm(name)
    value = kind.encode(kind.update(data, 0))
    if learned.checksum:
        return name, {kind.header: value, "x-amz-sdk-checksum-algorithm": name}, value
    return name, {kind.header: value, "x-amz-sdk-checksum-algorithm": name, "content-md5": content_md5(data)}, value
