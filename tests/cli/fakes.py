"""Jobs that the commands of these tests start in place of the real ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from sterna.cli.jobs import Jobs
from sterna.model.events import Emit, ObjectsEnded, Planned, RunEnded, RunStarted, Summary, Tally
from sterna.model.outcomes import Outcome, Status
from sterna.model.stop import Stop

T = TypeVar("T")


class Row(msgspec.Struct):
    """What a listing gives."""

    key: str
    size: int = 0
    mtime_ns: int = 0
    storage_class: str = "STANDARD"
    etag: str = ""
    is_prefix: bool = False


@dataclass
class Amount:
    """What counting gives."""

    objects: int
    bytes: int
    by_class: dict[str, Any] = field(default_factory=dict)


@dataclass
class Found:
    """What an examination gives."""

    name: str
    ok: bool | None
    words: str
    advice: str = ""


@dataclass
class FakeJobs(Jobs):
    """Does what its members say, and notes in ``calls`` what it was asked for."""

    outcomes: list[Outcome] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    error: BaseException | None = None
    pages: list[list[Row]] = field(default_factory=list)
    uploads: list[list[Any]] = field(default_factory=list)
    amount: Amount = field(default_factory=lambda: Amount(0, 0))
    findings: list[Found] = field(default_factory=list)
    before: Callable[[Emit, Tally, Stop], Coroutine[Any, Any, None]] | None = None
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        return asyncio.run(main)

    def run_helped(self, main: Coroutine[Any, Any, T]) -> T:
        return self.run(main)

    async def sync(self, *arguments: Any, **more: Any) -> Summary:
        return await self._run("sync", arguments, more)

    async def copy(self, *arguments: Any, **more: Any) -> Summary:
        return await self._run("copy", arguments, more)

    async def restore(self, *arguments: Any, **more: Any) -> Summary:
        return await self._run("restore", arguments, more)

    async def remove(self, *arguments: Any, **more: Any) -> Summary:
        return await self._run("rm", arguments, more)

    async def list_objects(self, *arguments: Any, **more: Any) -> AsyncIterator[Any]:
        self.calls.append(("list_objects", arguments, more))
        self._raise()
        for page in self.pages:
            yield page

    async def list_buckets(self, *arguments: Any, **more: Any) -> AsyncIterator[Any]:
        self.calls.append(("list_buckets", arguments, more))
        self._raise()
        for page in self.pages:
            yield page

    async def usage(self, *arguments: Any, **more: Any) -> Any:
        return self._amount("usage", arguments, more)

    async def make_bucket(self, *arguments: Any, **more: Any) -> str:
        self._amount("make_bucket", arguments, more)
        return "It is made."

    async def list_uploads(self, *arguments: Any, **more: Any) -> AsyncIterator[Any]:
        self.calls.append(("list_uploads", arguments, more))
        self._raise()
        for batch in self.uploads:
            yield batch

    async def abort_uploads(self, *arguments: Any, **more: Any) -> Summary:
        return await self._run("uploads", arguments, more)

    async def check(self, *arguments: Any, **more: Any) -> AsyncIterator[Any]:
        self.calls.append(("check", arguments, more))
        self._raise()
        for finding in self.findings:
            yield finding

    def demo(self, emit_line: Callable[[str], None]) -> int:
        self.calls.append(("demo", (), {}))
        emit_line("one line\x1b[2J")
        return 0

    async def _run(self, name: str, arguments: tuple[Any, ...], more: dict[str, Any]) -> Summary:
        self.calls.append((name, arguments, more))
        emit, tally, stop = more["emit"], more["tally"], more["stop"]
        emit(RunStarted(name, "x", "y", 0.0))
        if self.before is not None:
            await self.before(emit, tally, stop)
        if self.outcomes:
            emit(ObjectsEnded(self.outcomes))
        self._raise()
        failures = [outcome for outcome in self.outcomes if outcome.status is Status.FAILED]
        members: dict[str, Any] = {
            "uploaded": sum(outcome.status is Status.DONE for outcome in self.outcomes),
            "failed": len(failures),
            "failures": failures,
            "planned_by_verb": {
                outcome.verb: Planned(1, outcome.size) for outcome in self.outcomes if outcome.status is Status.PLANNED
            },
            "elapsed_s": 1.5,
        }
        summary = Summary(**({"command": name, "source": "x", "destination": "y"} | members | self.summary))
        emit(RunEnded(summary))
        return summary

    def _amount(self, name: str, arguments: tuple[Any, ...], more: dict[str, Any]) -> Amount:
        self.calls.append((name, arguments, more))
        self._raise()
        return self.amount

    def _raise(self) -> None:
        if self.error is not None:
            raise self.error
