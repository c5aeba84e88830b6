"""What every store promises (the docstring of ``stores/store.py``), asked of each of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sterna.model.entry import Entry
from sterna.model.errors import ObjectGone, Refused, SternaError
from sterna.model.location import BucketPath
from sterna.stores.asof import AsOf
from sterna.stores.local import LocalStore
from sterna.stores.s3 import S3Store
from sterna.stores.store import Store
from sterna.wire.client import Client
from sterna.wire.credentials import Identity
from sterna.wire.endpoints import Addressing
from sterna.wire.loop import run
from sterna.wire.side import Side
from tests.conftest import Fleet
from tests.memory import MemoryStore
from tests.servers import NAMES
from tests.servers.server import Facts

PREFIX = "a prefix"
LATER_NS = 4_000_000_000 * 10**9  # behind all that is written here: what was there then is what is there now
Check = Callable[[Store], Awaitable[None]]


class Stores:
    """One kind of store: a fresh, empty one for each check, and what it cannot hold."""

    def __init__(self, name: str, facts: Facts, opened: Callable[[], Any]) -> None:
        self.name = name
        self.facts = facts  # of the server; for the others: what they do
        self.is_folder = name.startswith("local")  # which cannot hold every key
        self._opened = opened

    def check(self, check: Check) -> None:
        """Run a check in a loop of its own."""

        async def go() -> None:
            async with self._opened() as store:
                await check(store)

        run(go())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "stores" in metafunc.fixturenames:
        chosen = [name for name in str(metafunc.config.getoption("--servers")).split(",") if name in NAMES]
        names = ["memory", "local", "local, --symlinks follow", *(f"s3: {name}" for name in chosen)]
        names += [f"as of: {name}" for name in chosen]
        metafunc.parametrize("stores", names, indirect=True)


@pytest.fixture
def stores(
    request: pytest.FixtureRequest, fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterable[Stores]:
    kind, _, name = str(request.param).partition(": ")
    if kind in ("s3", "as of"):
        server = fleet.server(name)
        for variable, value in server.environment.items():
            monkeypatch.setenv(variable, value)
        oracle = fleet.oracle(server)
        bucket = oracle.create_bucket(f"contract-{tmp_path.name[-40:].strip('_-').replace('_', '-').lower()}")
        if kind == "as of" and server.facts.versions:
            bucket.enable_versions()
        # Beside the store, what is not its own: it must neither be listed nor touched (H74).
        neighbours = {f"{PREFIX}-sibling/x": b"s", f"{PREFIX}.txt": b"t", "a": b"u", "z": b"v"}
        for key, data in neighbours.items():
            bucket.put(key, data)

        @asynccontextmanager
        async def opened_bucket() -> AsyncIterator[Store]:
            side = Side(Addressing(urls=(server.endpoint_url,), region=server.region), Identity())
            client = Client(side, bucket.name)
            try:
                store = S3Store(client, BucketPath(bucket.name, PREFIX))
                yield store if kind == "s3" else AsOf(store, LATER_NS)
            finally:
                await client.aclose()

        encodes = server.facts.encodes_listings and (kind == "s3" or server.facts.encodes_versions)
        yield Stores(request.param, replace(server.facts, encodes_listings=encodes), opened_bucket)
        assert {key: bucket.get(key) for key in neighbours} == neighbours
        return

    @asynccontextmanager
    async def opened() -> AsyncIterator[Store]:
        if kind == "memory":
            yield MemoryStore(page_size=100)
        else:
            folder = tmp_path / "folder"
            with LocalStore.open(folder, create=True, symlinks="follow" if "follow" in kind else "skip") as store:
                yield store

    yield Stores(str(request.param), Facts(any_key=kind == "memory"), opened)


async def listed(store: Store, start_after: str = "") -> list[Entry]:
    found: list[Entry] = []
    async for page in store.pages(start_after):
        assert page.troubles == []
        found += page.entries
    return found


async def fill(store: Store, keys: Iterable[str]) -> None:
    await asyncio.gather(*(store.write(key, key.encode()) for key in keys))


KEYS = [
    "-dash",
    ".dot",
    "100%",
    "A",
    "a b",
    "a%20b",
    "a+b",
    "a-b",
    "a.b",
    "a/b/c/d",
    "a/b/c0",
    "a/b-c",
    "a0",
    "back\\slash",
    "cafe\u0301",
    "caf\u00e9",
    "q?x=1#f&y",
    "x" * 255,
    "\uff5e fullwidth",  # U+FF5E comes before U+1F426 in UTF-8, and after it in UTF-16
    "\U0001f426",
]
CONTROLS = ["bell\x07", "line\nfeed", "return\rhere", "tab\tstop", "delete\x7f"]


@pytest.mark.parametrize("keys", (KEYS, CONTROLS), ids=("odd", "control characters"))
def test_keys_come_strictly_ascending_by_their_bytes(stores: Stores, keys: list[str]) -> None:
    if keys is CONTROLS and not stores.facts.encodes_listings:
        pytest.skip(f"{stores.name} lists control characters in XML that cannot be read")

    async def check(store: Store) -> None:
        await fill(store, keys)
        found = [entry.key for entry in await listed(store)]
        assert found == sorted(keys, key=str.encode)
        assert found == sorted(keys)  # by code point, which is the same order

    stores.check(check)


def test_an_empty_store_lists_nothing_and_ends(stores: Stores) -> None:
    async def check(store: Store) -> None:
        assert await listed(store) == []
        assert await listed(store, "anything") == []

    stores.check(check)


@pytest.mark.slow
def test_a_listing_goes_on_over_its_pages_and_is_never_short(stores: Stores) -> None:
    keys = [f"{number // 100}/{number:04d}" for number in range(1005)]

    async def check(store: Store) -> None:
        await fill(store, keys)
        pages = [[entry.key for entry in page.entries] async for page in store.pages()]
        assert len(pages) > 1
        assert all(pages)
        assert [key for page in pages for key in page] == sorted(keys)
        for after in ("5/0550", "5/0550x", min(keys), sorted(keys)[-2]):
            assert [entry.key for entry in await listed(store, after)] == [key for key in sorted(keys) if key > after]

    stores.check(check)


def test_a_listing_begins_after_a_key_that_may_not_exist(stores: Stores) -> None:
    async def check(store: Store) -> None:
        await fill(store, KEYS)
        for after in ("", "A", "a", "a ", "a/", "a/b", "a/b/c", "a/b/c/d", "a/b/c/d/e", "a/b0", "b", "z", "\U0001f426"):
            expected = sorted(key for key in KEYS if key > after)
            assert [entry.key for entry in await listed(store, after)] == expected, after

    stores.check(check)


def test_a_listing_may_be_taken_again_and_left_early(stores: Stores) -> None:
    async def check(store: Store) -> None:
        await fill(store, "abc")
        pages = store.pages()
        await anext(pages)
        await pages.aclose()  # type: ignore[attr-defined]
        assert [entry.key for entry in await listed(store)] == list("abc")
        assert [entry.key for entry in await listed(store)] == list("abc")

    stores.check(check)


def test_what_was_written_is_looked_at_listed_and_read(stores: Stores) -> None:
    async def check(store: Store) -> None:
        for data in (b"", b"1", bytes(range(256)) * 1000):
            written = await store.write("folder/key", data)
            assert (written.key, written.size) == ("folder/key", len(data))
            seen = await store.look("folder/key")
            assert seen is not None
            assert seen == written
            (entry,) = await listed(store)
            assert (entry.key, entry.size, entry.etag) == ("folder/key", len(data), written.etag)
            assert entry.mtime_ns // 10**9 == written.mtime_ns // 10**9
            assert await store.read("folder/key") == data

    stores.check(check)


def test_a_write_replaces_all_of_what_was_there(stores: Stores) -> None:
    async def check(store: Store) -> None:
        await store.write("key", b"a long one at first")
        await store.write("key", b"short")
        assert await store.read("key") == b"short"
        assert [entry.size for entry in await listed(store)] == [5]

    stores.check(check)


def test_what_is_not_there_is_none_to_a_look_and_gone_to_a_read(stores: Stores) -> None:
    async def check(store: Store) -> None:
        await store.write("a/b", b"1")
        for key in ("missing", "a", "a/b/c", "a/bb", "missing/below"):
            if key == "a/b/c" and not stores.facts.any_key:
                continue  # below a file of a folder: gone or refused, both are true
            assert await store.look(key) is None, key
        for key in ("missing", "missing/below"):
            with pytest.raises(ObjectGone):
                await store.read(key)

    stores.check(check)


def test_removing_is_content_when_the_key_is_already_gone(stores: Stores) -> None:
    async def check(store: Store) -> None:
        await store.write("a", b"1")
        await store.write("d/b", b"2")
        await store.remove("a")
        await store.remove("a")
        await store.remove("never/was")
        assert await store.look("a") is None
        assert [entry.key for entry in await listed(store)] == ["d/b"]
        await store.remove("d/b")
        assert await listed(store) == []

    stores.check(check)


def test_keys_that_the_store_cannot_hold_are_refused_and_nothing_is_written(stores: Stores) -> None:
    async def check(store: Store) -> None:
        refused = ["k" * 1025, "\u00e9" * 513]
        if stores.is_folder:
            refused += ["../x", "a/../x", "./x", "a//b", "/abs", "x" * 256, "nul\x00", ".sterna-01234567-1-1-1.part"]
        for key in refused:
            with pytest.raises(Refused) as error:
                await store.write(key, b"1")
            assert error.value.sentence
        assert await listed(store) == []

    stores.check(check)


def test_a_key_beside_another_that_continues_it_is_held_or_refused(stores: Stores) -> None:
    if stores.name.startswith(("s3", "as of")) and not stores.facts.any_key:
        pytest.skip(f"{stores.name} holds paths of a folder, and says so by a 500, which is tried again for seconds")

    async def check(store: Store) -> None:
        await store.write("a", b"1")
        if not stores.is_folder:
            await store.write("a/b", b"2")
            assert [entry.key for entry in await listed(store)] == ["a", "a/b"]
        else:
            with pytest.raises(SternaError):
                await store.write("a/b", b"2")
            assert [entry.key for entry in await listed(store)] == ["a"]
        assert await store.read("a") == b"1"

    stores.check(check)


def test_writes_side_by_side_do_not_mix(stores: Stores) -> None:
    async def check(store: Store) -> None:
        contents = {f"{number:03d}": bytes([number]) * 5000 for number in range(50)}
        await asyncio.gather(*(store.write(key, data) for key, data in contents.items()))
        found = await asyncio.gather(*(store.read(key) for key in contents))
        assert dict(zip(contents, found, strict=True)) == contents

    stores.check(check)
