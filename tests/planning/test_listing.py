"""The rules by which a bucket's listing is believed: it ends or raises, and is never just short."""

from __future__ import annotations

import asyncio
import re
from typing import Any, cast
from urllib.parse import parse_qs

import pytest

from sterna.model.errors import Corrupt, RetryLater, SternaError, Unsupported
from sterna.model.location import BucketPath
from sterna.stores.s3 import S3Store
from sterna.wire.client import Client, Request
from sterna.wire.connection import Response

OPEN = 50  # more pages than a test needs: a listing that is asked for so many goes on for ever


class Pages:
    """A client to whom a server answers each listing request with the next page, the last one for ever."""

    def __init__(self, *pages: bytes | SternaError) -> None:
        self._pages = pages
        self.gate = asyncio.Semaphore(16)
        self.asked: list[dict[str, list[str]]] = []

    async def call(self, request: Request) -> Response:
        return await self.send(request)

    async def send(self, request: Request) -> Response:
        self.asked.append(parse_qs(request.query, keep_blank_values=True))
        if len(self.asked) > OPEN:
            pytest.fail("the listing goes on for ever")
        page = self._pages[min(len(self.asked), len(self._pages)) - 1]
        await asyncio.sleep(0)
        if isinstance(page, SternaError):
            raise page
        response = Response(200, {}, page)
        if request.check is not None:
            request.check(response)
        return response


def page(keys: str, token: str | None = None, *, truncated: bool | None = None, count: int | None = None) -> bytes:
    records = "".join(
        f"<Contents><Key>{key}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified><Size>1</Size></Contents>"
        for key in keys.split()
    )
    more = str(token is not None if truncated is None else truncated).lower()
    following = f"<NextContinuationToken>{token}</NextContinuationToken>" if token is not None else ""
    return (
        f"<ListBucketResult><IsTruncated>{more}</IsTruncated><EncodingType>url</EncodingType>"
        f"<KeyCount>{len(keys.split()) if count is None else count}</KeyCount>{records}{following}</ListBucketResult>"
    ).encode()


def listed(
    *pages: bytes | SternaError, prefix: str = "", after: str = ""
) -> tuple[list[str], Pages, SternaError | None]:
    """The keys that came, the client, and the error by which the listing ended, if any."""
    client = Pages(*pages)
    store = S3Store(cast(Client, client), BucketPath("bucket", prefix))
    keys: list[str] = []

    async def test() -> SternaError | None:
        try:
            async for found in store.pages(after):
                keys.extend(entry.key for entry in found.entries)
        except SternaError as error:
            return error
        return None

    error = asyncio.run(asyncio.wait_for(test(), 30))
    return keys, client, error


def test_pages_follow_each_other_by_their_tokens() -> None:
    keys, client, error = listed(page("a b", "t&amp;%261"), page("", "t2"), page("c%20+d"))
    assert (keys, error) == (["a", "b", "c  d"], None)
    assert [one.get("continuation-token") for one in client.asked] == [None, ["t&%261"], ["t2"]]
    for asked in client.asked:
        assert asked["list-type"] == ["2"]
        assert asked["encoding-type"] == ["url"]
        assert "prefix" not in asked
        assert "start-after" not in asked


def test_the_prefix_is_asked_for_and_cut_off_and_its_own_marker_is_nobodys_file() -> None:
    keys, client, error = listed(page("p/ p/a p/b/c"), prefix="p", after="A")
    assert (keys, error) == (["a", "b/c"], None)
    assert client.asked[0]["prefix"] == ["p/"]
    assert client.asked[0]["start-after"] == ["p/A"]


def test_an_empty_bucket_is_an_empty_listing() -> None:
    assert listed(page(""))[::2] == ([], None)


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize(
    "fault",
    [
        RetryLater("Later."),
        page("x", "t", count=2),
        page("x y", "t")[:-30],
        b"",
        b"<Error><Code>InternalError</Code></Error>",
        b"<html>busy</html>",
        page("x", truncated=True),
        page("x", ""),
    ],
    ids=["error", "miscounted", "cut", "empty", "error document", "html", "no token", "empty token"],
)
def test_H76_H77_a_listing_of_which_any_page_fails_raises(at: int, fault: bytes | SternaError) -> None:
    good = [page("a b", "t1"), page("c d", "t2"), page("e f")]
    keys, _, error = listed(*good[:at], fault)
    assert keys == "a b c d".split()[: 2 * at]
    assert error is not None


@pytest.mark.parametrize(
    "pages",
    [
        [page("a b", "t"), page("c d", "t")],  # the token repeats
        [page("a b", "t1"), page("a b", "t2")],  # the page repeats
        [page("a b", "t1"), page("b c")],  # a key repeats
        [page("c d", "t1"), page("a b")],  # it goes backwards
        [page("a a")],
        [page("b a b")],
        [page("a", "t1"), page("c b")],
        [page("a%2F", "t1"), page("a-")],  # '/' sorts after '-': seen too late to be put right
        [page("b a", "t1"), page("d c", "t2"), page("b a", "t3")],
    ],
)
def test_H79_H80_a_listing_that_repeats_or_is_out_of_order_raises(pages: list[bytes]) -> None:
    _, client, error = listed(*pages)
    assert isinstance(error, Corrupt)
    assert len(client.asked) <= 3


@pytest.mark.parametrize(
    ("pages", "expected"),
    [
        ([page("b a")], "a b"),
        ([page("a%2F a-")], "a- a/"),
        ([page("d b", "t1"), page("c", "t2"), page("a e")], "a b c d e"),
        ([page("%F0%9F%90%A6 %EF%BF%AE")], "\uffee \U0001f426"),  # the order of UTF-16, which some servers keep
        ([page("a/%F0%9F%90%A6", "t1"), page("a/%EF%BF%AE", "t2"), page("b")], "a/\uffee a/\U0001f426 b"),
    ],
)
def test_H79_H89_a_listing_in_another_order_from_its_first_page_on_is_sorted(pages: list[bytes], expected: str) -> None:
    keys, client, error = listed(*pages)
    assert (keys, error) == (expected.split(), None)
    assert len(client.asked) == len(pages)


def test_H77_a_token_beside_the_word_that_nothing_follows_is_followed() -> None:
    keys, _, error = listed(page("a b", "t1", truncated=False), page("c"))
    assert (keys, error) == (["a", "b", "c"], None)


def test_a_server_that_overlooks_start_after_is_listed_from_its_beginning() -> None:
    keys, _, error = listed(page("a b", "t1"), page("c d"), after="c")
    assert (keys, error) == (["d"], None)


def test_H79_a_server_without_order_is_listed_from_its_beginning_whatever_was_to_be_left_out() -> None:
    keys, client, error = listed(page("d c", "t1"), page("d c", "t2"), page("a b"), after="a")
    assert (keys, error) == (["b", "c", "d"], None)
    assert [one.get("start-after") for one in client.asked] == [["a"], None, None]


def v1(keys: str, *, truncated: bool = False) -> bytes:
    body = page(keys, truncated=truncated).decode()
    return re.sub(r"<KeyCount>\d+</KeyCount>", "<Marker></Marker>", body).encode()


def test_a_server_that_only_knows_the_first_version_is_asked_by_markers() -> None:
    keys, client, error = listed(v1("a b", truncated=True), v1("c d", truncated=True), v1("e"))
    assert (keys, error) == ("a b c d e".split(), None)
    assert [one.get("marker") for one in client.asked] == [None, ["b"], ["d"]]
    assert [one.get("list-type") for one in client.asked] == [["2"], None, None]


def test_a_server_that_refuses_the_second_version_is_asked_for_the_first() -> None:
    refusal = Unsupported("No.", status=501, code="NotImplemented")
    keys, client, error = listed(refusal, v1("a b", truncated=True), v1("c"))
    assert (keys, error) == ("a b c".split(), None)
    assert [one.get("list-type") for one in client.asked] == [["2"], None, None]


def test_H80_the_first_version_without_keys_or_going_round_raises() -> None:
    assert isinstance(listed(v1("", truncated=True))[2], Corrupt)
    assert isinstance(listed(v1("a b", truncated=True))[2], Corrupt)
    assert isinstance(listed(v1("b a", truncated=True))[2], Corrupt)


def test_H80_empty_pages_without_end_raise() -> None:
    _, _, error = listed(page("", "t1"), *[page("", f"t{n % 2}") for n in range(OPEN + 1)])
    assert isinstance(error, Corrupt)


def test_a_key_of_another_place_raises() -> None:
    keys, _, error = listed(page("p/a q/b"), prefix="p")
    assert isinstance(error, Corrupt)
    assert keys == []


def test_H77_the_longest_prefix_and_token_do_not_hide_that_there_is_more() -> None:
    long = "%C3%A9" * 510
    body = page(f"{long}/a", "t" * 1500).replace(
        b"<IsTruncated>", f"<Prefix>{long}/</Prefix><StartAfter>{long}/</StartAfter><IsTruncated>".encode()
    )
    keys, _, error = listed(body, page(f"{long}/b"), prefix="é" * 510)
    assert (keys, error) == (["a", "b"], None)


def test_who_stops_reading_leaves_no_request_behind() -> None:
    client = Pages(page("a", "t1"), page("b", "t2"), page("c"))
    store = S3Store(cast(Client, client), BucketPath("bucket"))

    async def test() -> None:
        before = asyncio.all_tasks()
        pages: Any = store.pages()
        assert [entry.key for entry in (await anext(pages)).entries] == ["a"]
        await pages.aclose()
        assert asyncio.all_tasks() == before

    asyncio.run(test())


def test_some_entries_after_a_key() -> None:
    client = Pages(page("b c", "t"))
    store = S3Store(cast(Client, client), BucketPath("bucket"))
    entries, more = asyncio.run(store.list_some("a", 2))
    assert ([entry.key for entry in entries], more) == (["b", "c"], True)
    assert client.asked[0]["max-keys"] == ["2"]
    with pytest.raises(Corrupt):
        asyncio.run(store.list_some("b", 2))  # this server does not know start-after
