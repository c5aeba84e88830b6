"""What movers in processes of their own and the process that directs them say to each other: frames over a socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import Self

import msgspec

from sterna.model.actions import Action
from sterna.model.events import Notice
from sterna.model.outcomes import Outcome

_LENGTH = struct.Struct("<I")


class Begin(msgspec.Struct, tag="begin"):
    """The first message to a helper. ``task`` is a pickled ``jobs.crewmate.Task``: both ends are one program."""

    task: bytes


class Work(msgspec.Struct, tag="work"):
    """Actions to carry; their outcomes come back in any order."""

    actions: list[Action]


class Rest(msgspec.Struct, tag="rest"):
    """Nothing more is on its way for now: what waits for company need not wait any longer."""


class End(msgspec.Struct, tag="end"):
    """The run is asked to end early: leave what is queued, park what is in flight."""

    reason: str
    exit_code: int


class Allow(msgspec.Struct, tag="allow"):
    """What a helper may use from now on: its part of ``wire.limits.Allowance``."""

    workers: int
    memory: int
    up: float | None
    down: float | None
    requests: float | None


class Keys(msgspec.Struct, tag="keys"):
    """The answer to AskKeys: pickled credentials, or the pickled error that came instead."""

    pickled: bytes


class AskKeys(msgspec.Struct, tag="ask_keys"):
    """A helper needs keys. ``ended`` are pickled ones that a server called expired, empty where they are only old."""

    ended: bytes


class Report(msgspec.Struct, tag="report"):
    """What a helper has done since its last report. Figures are differences, ``cpu_s`` is the thread's time so far."""

    carried: int  # actions that left its lanes: so many more it can take
    outcomes: list[Outcome]
    moved_bytes: int
    wasted_bytes: int
    requests: int
    retries: int
    in_flight: int
    lanes: int
    cpu_s: float
    pid: int
    notices: list[Notice]
    stop_reason: str = ""  # it met what ends the whole run (a full disk, dead credentials)
    stop_code: int = 0
    wants_bytes: bool = False  # it could move more than its part of --bwlimit
    wants_requests: bool = False
    fault: str = ""  # an error of ours: the run must fail


ToHelper = Begin | Allow | Work | Rest | End | Keys
FromHelper = AskKeys | Report
_encode = msgspec.msgpack.Encoder().encode
_decode_to_helper = msgspec.msgpack.Decoder(ToHelper).decode
_decode_from_helper = msgspec.msgpack.Decoder(FromHelper).decode


class Link:
    """One end of the socket between two processes. An object costs about 2 µs of both together, going and coming."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, connected: socket.socket) -> Self:
        """Take over a connected socket."""
        return cls(*await asyncio.open_unix_connection(sock=connected))

    def send(self, message: ToHelper | FromHelper) -> None:
        """Queue a message; whoever sends much bounds it by what has come back. To a peer that is gone it goes nowhere."""
        if not self._writer.is_closing():
            data = _encode(message)
            self._writer.write(_LENGTH.pack(len(data)) + data)

    async def from_helper(self) -> FromHelper | None:
        """The next message; None when the helper is gone."""
        data = await self._frame()
        return None if data is None else _decode_from_helper(data)

    async def to_helper(self) -> ToHelper | None:
        """The next message; None when whoever directs is gone, or needs no more help."""
        data = await self._frame()
        return None if data is None else _decode_to_helper(data)

    async def _frame(self) -> bytes | None:
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            return await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, OSError):
            return None

    def close(self) -> None:
        """The other end sees the end of the messages."""
        self._writer.close()

    async def aclose(self) -> None:
        """``close``, when all that was sent is on its way."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
