"""Wait for a call that a pipe may hold for as long as its other end likes, and be able to wait no longer."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


async def held(call: Callable[[Unpack[Ts]], T], *arguments: *Ts) -> T:
    """Run a call in a thread of its own; gives what it gives.

    Cancelled, it is left alone: a read of a terminal at which nobody types ends with the process, and neither the run
    nor the interpreter's exit waits for it, as they would for the threads of an executor. What the call was given must
    not be used by others then.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def give(result: T) -> None:
        if not future.done():
            future.set_result(result)

    def fail(error: BaseException) -> None:
        if not future.done():
            future.set_exception(error)

    def run() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile, and nobody asks any more
            try:
                result = call(*arguments)
            except BaseException as error:
                loop.call_soon_threadsafe(fail, error)
            else:
                loop.call_soon_threadsafe(give, result)

    threading.Thread(target=run, name="pipe", daemon=True).start()
    return await future
