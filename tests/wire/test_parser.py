"""The head of an answer: what it says, how its body is framed, and what is none."""

from __future__ import annotations

import pytest

from sterna.model.errors import Corrupt
from sterna.wire.parser import Head


def head(text: str) -> Head:
    return Head(text.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n")


def test_names_become_lower_case_and_the_last_value_stands() -> None:
    found = head('HTTP/1.1 206 Partial Content\nETag:  "a" \nX-Twice: 1\nx-twice: 2\nX-Empty:')
    assert found.status == 206
    assert found.headers == {b"etag": b'"a"', b"x-twice": b"2", b"x-empty": b""}


@pytest.mark.parametrize(
    ("text", "keep_alive", "length", "is_chunked"),
    [
        ("HTTP/1.1 200 OK\nContent-Length: 5", True, 5, False),
        ("HTTP/1.1 200 OK\nContent-Length: 0", True, 0, False),
        ("HTTP/1.1 200 OK\nContent-Length: 0\nConnection: close", False, 0, False),
        ("HTTP/1.1 200 OK\nContent-Length: 5\nConnection: Close", False, 5, False),
        ("HTTP/1.1 200 OK\nContent-Length: 5\nConnection: keep-alive, close", False, 5, False),
        ("HTTP/1.0 200 OK\nContent-Length: 5", False, 5, False),
        ("HTTP/1.0 200 OK\nContent-Length: 5\nConnection: keep-alive", True, 5, False),
        ("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", True, None, True),
        ("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nConnection: close", False, None, True),
        ("HTTP/1.1 200 OK", False, None, False),
        ("HTTP/1.1 204 No Content", True, None, False),
        ("HTTP/1.1 304 Not Modified\nContent-Length: 7", True, 7, False),
        ("HTTP/1.1 503 Slow Down\nContent-Length: 3", True, 3, False),
    ],
)
def test_the_framing_and_whether_another_exchange_may_follow(
    text: str, keep_alive: bool, length: int | None, is_chunked: bool
) -> None:
    found = head(text)
    assert (found.keep_alive, found.length, found.chunked) == (keep_alive, length, is_chunked)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SSH-2.0-OpenSSH",
        "HTTP/2 200",
        "HTTP/1.1 20",
        "HTTP/1.1 2000 OK",
        "GET / HTTP/1.1",
        "HTTP/1.1 200 OK\nContent-Length: 5\nContent-Length: 6",
        "HTTP/1.1 200 OK\nContent-Length: -5",
        "HTTP/1.1 200 OK\nContent-Length: 5 6",
        "HTTP/1.1 200 OK\nContent-Length: 99999999999999999999999",
        "HTTP/1.1 200 OK\nContent-Length: 5\nTransfer-Encoding: chunked",
        "HTTP/1.1 200 OK\nA b: c",
        "HTTP/1.1 200 OK\n: c",
        "HTTP/1.1 200 OK\nName: a\x00b",
        "HTTP/1.1 200 OK\nNo colon",
    ],
)
def test_what_is_not_HTTP_is_corrupt(text: str) -> None:
    with pytest.raises(Corrupt):
        head(text)


CHUNKS = b"3\r\nabc\r\n1;x=y\r\nd\r\n0\r\n"


@pytest.mark.parametrize("trailer", [b"", b'ETag: "forged"\r\nx-amz-checksum-crc32c: AAAA\r\n'])
def test_chunks_split_anywhere_are_the_same_body_and_trailers_are_no_headers(trailer: bytes) -> None:
    raw = CHUNKS + trailer + b"\r\n"
    for cut in range(len(raw) + 1):
        found = head('HTTP/1.1 200 OK\nETag: "real"\nTransfer-Encoding: chunked')
        pieces = found.feed_chunked(raw[:cut])
        assert found.ended == (cut == len(raw))
        pieces += found.feed_chunked(raw[cut:])
        assert b"".join(pieces) == b"abcd"
        assert found.ended
        assert found.headers == {b"etag": b'"real"', b"transfer-encoding": b"chunked"}


@pytest.mark.parametrize("raw", [b"x\r\n", b"3\r\nabcd\r\n", b"-1\r\n", b"fffffffffffffffffff\r\n", b"3\nabc\n0\n\n"])
def test_broken_chunks_are_corrupt(raw: bytes) -> None:
    with pytest.raises(Corrupt):
        head("HTTP/1.1 200 OK\nTransfer-Encoding: chunked").feed_chunked(raw)


@pytest.mark.parametrize("together", [True, False])
def test_a_second_answer_behind_the_last_chunk_is_corrupt_and_not_part_of_the_first(together: bool) -> None:
    found = head("HTTP/1.1 200 OK\nTransfer-Encoding: chunked")
    evil = b"HTTP/1.1 200 OK\r\nX-Evil: yes\r\nContent-Length: 5\r\n\r\nEVIL!"
    if not together:
        found.feed_chunked(CHUNKS + b"\r\n")
    with pytest.raises(Corrupt):
        found.feed_chunked(evil if not together else CHUNKS + b"\r\n" + evil)
    assert b"x-evil" not in found.headers
