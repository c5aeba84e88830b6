"""List the unfinished multipart uploads of a bucket or below a path, and abort them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import TypeVar

import msgspec

from sterna.jobs.ledger import Ledger
from sterna.jobs.listing import opened
from sterna.jobs.ours import Ours
from sterna.model.errors import (
    AccessDenied,
    CredentialsExpired,
    NotProven,
    ObjectGone,
    SternaError,
    Unsupported,
    WrongSetting,
    out_of,
)
from sterna.model.events import Emit, Event, Notice, RunEnded, Summary, Tally, ignore
from sterna.model.location import BucketPath
from sterna.model.outcomes import Outcome, Status
from sterna.model.stop import Stop
from sterna.model.units import printable, size_words
from sterna.reporting.words import count_words
from sterna.stores.multipart import Multipart, Upload
from sterna.stores.s3 import S3Store
from sterna.stores.unfinished import Unfinished, uploads_below
from sterna.wire.side import Side

T = TypeVar("T")
R = TypeVar("R")

_AT_ONCE = 32  # uploads looked at, or aborted, side by side
_LOOKS = 5  # after an abort: parts that were on their way may arrive behind it, and want another one
_NOT_TOLD = (AccessDenied, Unsupported)


class Choice(msgspec.Struct, frozen=True):
    """Which uploads are meant: only ``ours``, which a journal of this machine knows, or everybody's; where it is given,
    only those begun before a moment. Of one whose beginning the server does not tell, nobody knows that it is old.
    """

    ours: bool = False
    before_ns: int | None = None


class Found(msgspec.Struct, frozen=True, gc=False):
    """One unfinished upload by its whole key. ``parts`` and their ``size`` are None where the server does not tell them.

    ``is_in_use``: a run of this machine may be feeding it right now.
    """

    key: str
    id: str
    begun_ns: int
    storage_class: str
    parts: int | None
    size: int | None
    is_ours: bool
    is_in_use: bool


async def list_uploads(
    location: BucketPath,
    side: Side,
    state: Path,
    choice: Choice,
    *,
    emit: Emit = ignore,
    to_abort: bool = False,
) -> AsyncGenerator[list[Found], None]:
    """What is unfinished at and below a path, in key order, a batch at a time; notices tell what is not known of it.

    ``to_abort``: what ``abort_uploads`` would look at. Raises WrongSetting where there is no such bucket, Unsupported
    where the server does not list uploads.
    """
    async with opened(BucketPath(location.bucket), side, emit=emit) as store:
        ours = Ours(state, store)
        await ours.read()
        for sentence in ours.unreadable:
            emit(Notice(sentence, "warning", "journal"))
        uploads = _Uploads(store, location, ours, choice, emit)
        async with aclosing(uploads.found(by_journals=to_abort and choice.ours)) as batches:
            async for batch in batches:
                yield batch


async def abort_uploads(
    location: BucketPath,
    side: Side,
    state: Path,
    choice: Choice,
    *,
    emit: Emit = ignore,
    tally: Tally | None = None,
    stop: Stop | None = None,
) -> Summary:
    """Abort what ``choice`` means at and below a path, but what a run of this machine has in hand.

    Done means that the server was asked for the upload again and has none. No run goes on with an upload of ours
    meanwhile, since its journal is held; the journal forgets those that are gone. Outcomes have whole keys.
    """
    tally = tally if tally is not None else Tally()
    stop = stop or Stop()
    aborted_bytes = 0
    incomplete: list[str] = []

    def told(event: Event) -> None:
        if isinstance(event, RunEnded):
            _put_verdict(event.summary, stop, aborted_bytes, incomplete)
        emit(event)

    ledger = Ledger("uploads", "", str(location), emit=told, tally=tally, stop=stop)
    try:
        async with opened(BucketPath(location.bucket), side, tally, ledger.heard) as store, AsyncExitStack() as stack:
            ours = Ours(state, store)
            uploads = _Uploads(store, location, ours, choice, ledger.heard)
            await ours.read()
            await ours.take([one for one in ours.known if uploads.is_here(one[0])], stack)
            async with aclosing(uploads.found(by_journals=choice.ours)) as batches:
                async for batch in batches:
                    ledger.record([_outcome(one, Status.SKIPPED) for one in batch if one.is_in_use], unplanned=True)
                    idle = [one for one in batch if not one.is_in_use]
                    ledger.planned(len(idle), 0)
                    if stop.is_requested:
                        ledger.record([_outcome(one, Status.LEFT) for one in idle])
                        break
                    outcomes = await _each(uploads.abort, idle)
                    aborted_bytes += sum(one.size for one in outcomes if one.status is Status.DONE)
                    ledger.record(outcomes)
            for sentence in ours.unreadable:
                ledger.notice(sentence, "warning", "journal")
            incomplete += ours.unreadable
        tally.planning_done = True
        return await ledger.settle()
    finally:
        await ledger.close()


class _Uploads:
    """The unfinished uploads at and below one path. ``store`` is of the whole bucket, so that keys are whole."""

    def __init__(self, store: S3Store, location: BucketPath, ours: Ours, choice: Choice, emit: Emit) -> None:
        self._store = store
        self._location = location
        self._multipart = Multipart(store)
        self._ours = ours
        self._choice = choice
        self._emit = emit
        self._is_told = False  # that the server does not tell of parts

    def is_here(self, key: str) -> bool:
        """Whether a key is the location's own, or below it."""
        path = self._location.path
        return key.startswith(self._location.prefix) or (key == path and not self._location.says_folder)

    async def found(self, *, by_journals: bool) -> AsyncGenerator[list[Found], None]:
        """Those that are meant, each looked at, in key order. ``by_journals``: as these know them, without a listing."""
        known = [
            Unfinished(key, upload_id, known.upload.begun_ns)
            for (key, upload_id), known in self._ours.known.items()
            if self.is_here(key)
        ]
        known.sort(key=_key)
        async with aclosing(_once(known) if by_journals else self._listed(known)) as pages:
            async for page in pages:
                meant = [one for one in page if self._is_meant(one)]
                for at in range(0, len(meant), _AT_ONCE):
                    self._ours.look_again()
                    looked = await _each(self._look, meant[at : at + _AT_ONCE])
                    yield [one for one in looked if one is not None]

    async def _listed(self, known: Sequence[Unfinished]) -> AsyncGenerator[list[Unfinished], None]:
        """What the server lists, with what it does not list and we know of: MinIO lists those of a whole key alone."""
        rest = {(one.key, one.id): one for one in known}
        path = self._location.prefix if self._location.says_folder else self._location.path
        async with aclosing(uploads_below(self._store, path)) as pages:
            async for page in pages:
                for one in page:
                    rest.pop((one.key, one.id), None)
                passed = [one for one in rest.values() if one.key < page[-1].key]
                for one in passed:
                    del rest[one.key, one.id]
                yield sorted([*page, *passed], key=_key)
        yield list(rest.values())

    def _is_meant(self, one: Unfinished) -> bool:
        if self._choice.ours and (one.key, one.id) not in self._ours.known:
            return False
        return self._choice.before_ns is None or 0 < one.initiated_ns < self._choice.before_ns

    async def _look(self, one: Unfinished) -> Found | None:
        """What the server has of it; None where it is gone, which our journal may know then."""
        parts = size = None
        try:
            parts, size = await self._amount(one.key, one.id)
        except ObjectGone:
            self._ours.forget(one.key, one.id)
            return None
        except _NOT_TOLD as error:
            if not self._is_told:
                self._is_told = True
                self._emit(Notice(f"How much was sent is not known: {error.sentence}", "warning", "parts"))
        is_ours = (one.key, one.id) in self._ours.known
        is_in_use = self._ours.is_in_use(one.key, one.id)
        return Found(one.key, one.id, one.initiated_ns, one.storage_class, parts, size, is_ours, is_in_use)

    async def _amount(self, key: str, upload_id: str) -> tuple[int, int]:
        """How many parts there are, and their bytes; raises ObjectGone where there is no such upload."""
        async with self._store.client.gate:
            parts, _ = await self._multipart.sent(key, upload_id)
        return len(parts), sum(part.size for part in parts)

    async def abort(self, one: Found) -> Outcome:
        """Abort, and see that it is gone."""
        began = time.perf_counter()
        outcome = _outcome(one, Status.DONE)
        try:
            await self._give_up(one)
        except (CredentialsExpired, WrongSetting):
            raise
        except SternaError as error:
            outcome.fail(error)
        else:
            self._ours.forget(one.key, one.id)
        outcome.seconds = time.perf_counter() - began
        return outcome

    async def _give_up(self, one: Found) -> None:
        """Abort until the server has no such upload. Raises NotProven where it has one all the same (H11)."""
        client = self._store.client
        name = printable(f"{one.key}: the upload {one.id}")
        for look in range(_LOOKS):
            if look:
                await asyncio.sleep(client.retries.first_pause_s * 2 ** (look - 1))
            async with client.gate:
                await self._multipart.abort(Upload(one.key, one.id, "", ""))
            try:
                await self._amount(one.key, one.id)
            except ObjectGone:
                return
            except _NOT_TOLD as error:
                sentence = f"{name} was aborted, and whether anything is left of it is not known: {error.sentence}"
                raise NotProven(sentence, operation="ListParts", key=one.key, code=error.code) from error
        sentence = f"{name} was aborted {_LOOKS} times, and is still there; abort it again later."
        raise NotProven(sentence, operation="Abort", key=one.key, code="StillThere")


def _outcome(one: Found, status: Status) -> Outcome:
    because = f"a run goes on that may be feeding the upload {one.id}" if one.is_in_use else f"the upload {one.id}"
    proof = "seen to be gone" if status is Status.DONE else ""
    return Outcome("abort", one.key, status, size=one.size or 0, because=because, proof=proof)


def _put_verdict(summary: Summary, stop: Stop, aborted_bytes: int, incomplete: Sequence[str]) -> None:
    """An abort in its own words; the ledger's speak of moving."""
    gone = f"{count_words(summary.aborted, 'upload')} ({size_words(aborted_bytes)}) aborted, and seen to be gone"
    if not summary.aborted:
        gone = "nothing was aborted"
    if summary.skipped:
        stay = "stays" if summary.skipped == 1 else "stay"
        gone += f"; {summary.skipped:,} may be in use by a run that goes on, and {stay}"
    if stop.is_requested:
        summary.verdict = f"INTERRUPTED ({printable(stop.reason)}): {gone}; the same command aborts the rest."
    elif summary.failed:
        summary.verdict = f"INCOMPLETE: {summary.failed:,} could not be aborted, for the reasons above; {gone}."
    elif incomplete:
        summary.exit_code = summary.exit_code or 1
        summary.verdict = f"INCOMPLETE: not every journal could be used, so some of ours may remain; {gone}."
    elif summary.exit_code == 0:
        summary.verdict = f"COMPLETE: {gone}." if summary.aborted or summary.skipped else "There was nothing to abort."


async def _once(page: list[T]) -> AsyncGenerator[list[T], None]:
    yield page


async def _each(function: Callable[[T], Awaitable[R]], values: Sequence[T]) -> list[R]:
    """The results for all values, side by side; the first error of ours ends the others."""

    async def one(value: T) -> R:
        return await function(value)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(value)) for value in values]
    except BaseExceptionGroup as errors:
        raise out_of(errors) from None
    return [task.result() for task in tasks]


def _key(one: Unfinished) -> str:
    return one.key
