"""A folder's listing while other things go on in the same loop."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from sterna.stores.local import LocalStore
from sterna.stores.walk import PAGE_SIZE


def test_a_listing_that_is_left_early_holds_up_nobody_else(tmp_path: Path) -> None:
    """The walk is a page ahead: whoever needs no more waits for that page, and the loop does not."""
    for number in range(PAGE_SIZE):
        (tmp_path / f"a{number}").touch()
    (tmp_path / "z").mkdir()
    is_walking, may_go_on = threading.Event(), threading.Event()

    def may_hold(folder: str) -> bool:
        is_walking.set()
        return may_go_on.wait(10)  # a slow disk

    async def test() -> None:
        with LocalStore.open(tmp_path) as store:
            store.may_hold = may_hold
            pages = store.pages()
            first = await anext(pages)
            assert len(first.entries) == PAGE_SIZE
            await asyncio.to_thread(is_walking.wait)
            asyncio.get_running_loop().call_later(0.01, may_go_on.set)
            await pages.aclose()  # type: ignore[attr-defined]
            assert may_go_on.is_set()

    asyncio.run(asyncio.wait_for(test(), 30))
