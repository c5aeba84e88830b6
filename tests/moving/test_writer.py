"""What was downloaded is put in place by threads, and whoever waits for it is told."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, cast

import pytest

from sterna.model.outcomes import Outcome, Status
from sterna.model.stop import Stop
from sterna.moving.buffers import Buffers
from sterna.moving.writer import Ticket, Writer
from sterna.stores.folder import Folder

_NOT_AN_ENTRY = cast(Any, "what nobody foresees: a fault of ours")


@pytest.mark.parametrize("durable", [True, False])
def test_a_fault_in_a_thread_ends_the_wait_for_its_files_and_no_other(tmp_path: Path, durable: bool) -> None:
    async def test() -> None:
        buffers = Buffers(100)
        writer = Writer(Folder.open(tmp_path), durable=durable, is_quiet=lambda: True, stop=Stop())

        async def put(key: str, data: Any = b"data", expect: Any = None) -> Ticket:
            ticket = writer.ticket(Outcome("download", key, Status.DONE), time.perf_counter())
            writer.put(key, data, None, expect, ticket, await buffers.room(1))
            return ticket

        (tmp_path / "there").write_bytes(b"")
        in_writing = await put("a", data=_NOT_AN_ENTRY)
        with pytest.raises(TypeError):
            await in_writing.done
        in_naming = await put("there", expect=_NOT_AN_ENTRY)
        with pytest.raises(AttributeError):
            await in_naming.done
        good = await put("b")
        assert (await good.done).status is Status.DONE
        await writer.aclose()
        assert buffers.lent == 0

    asyncio.run(asyncio.wait_for(test(), 30))
    assert (tmp_path / "b").read_bytes() == b"data"
    assert (tmp_path / "there").read_bytes() == b""
    assert not (tmp_path / "a").exists()
