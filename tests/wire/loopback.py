"""Serve connections on a port of loopback, each to its end."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The port, where ``serve`` talks to each connection until it returns or the client leaves.

    Afterwards all of them are closed. A transport that the end of its loop cuts off would be reported later, as a
    ResourceWarning that fails whichever test runs when it is collected.
    """
    before = asyncio.all_tasks()

    async def to_its_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()
        try:
            await writer.wait_closed()
        except ConnectionError:
            pass

    server = await asyncio.start_server(to_its_end, "127.0.0.1", 0, ssl=tls)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        while started := asyncio.all_tasks() - before:  # also those that the server has accepted and not yet served
            await asyncio.wait(started)
