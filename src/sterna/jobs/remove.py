"""Remove an object, or everything below a path, and see that it is gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from sterna.jobs.ledger import Ledger
from sterna.jobs.listing import itself, listed_as, nothing, opened
from sterna.model.actions import Action, Verb
from sterna.model.entry import Entry
from sterna.model.errors import (
    AccessDenied,
    CredentialsExpired,
    NotProven,
    ObjectChanged,
    ObjectGone,
    SternaError,
    WrongSetting,
    out_of,
)
from sterna.model.events import Emit, Event, RunEnded, Summary, Tally, ignore
from sterna.model.location import BucketPath
from sterna.model.outcomes import Outcome, Status
from sterna.model.stop import Stop
from sterna.model.units import printable
from sterna.moving.delete import BucketEraser, is_same, only_markers
from sterna.stores.look import has_size
from sterna.stores.s3 import PAGE_KEYS, S3Store
from sterna.wire.client import Request
from sterna.wire.dates import moment_s
from sterna.wire.encoding import encode_query
from sterna.wire.side import Side
from sterna.wire.xml import check_page

_BECAUSE = "asked for"
_BATCHES = 4  # DeleteObjects in flight: AWS takes 3,500 deletions a second from a prefix, and each carries 1,000
_LOOKS = 32  # HEADs and single deletions in flight
_PASSES = 3  # listings from the start: a server whose pages shift while one deletes shows the rest in the next one
_FAILED_KEPT = 10_000  # failed keys that are remembered, so that a further pass leaves them alone


async def remove(
    location: BucketPath,
    side: Side,
    *,
    recursive: bool,
    emit: Emit = ignore,
    tally: Tally | None = None,
    stop: Stop | None = None,
) -> Summary:
    """Remove the object that a path names or, with ``recursive``, it and everything below ``path/``, markers included.

    Done means that it was looked for again and is gone. Outcomes have the full keys of the
    bucket. Raises ObjectGone where there is nothing to remove.
    """
    tally = tally if tally is not None else Tally()
    stop = stop or Stop()
    if not location.path and not recursive:
        raise WrongSetting(f"{location} is a bucket, not an object; to remove all its objects, say so (--recursive).")

    def told(event: Event) -> None:
        if isinstance(event, RunEnded):
            _put_verdict(event.summary, stop)
        emit(event)

    ledger = Ledger("rm", "", str(location), emit=told, tally=tally, stop=stop)
    try:
        async with opened(location, side, tally, ledger.heard) as store:
            removal = _Removal(store, ledger, stop)
            if recursive:
                await removal.of_everything()
            else:
                await removal.of_one()
            return await ledger.settle()
    finally:
        await ledger.close()


def _put_verdict(summary: Summary, stop: Stop) -> None:
    """A removal in its own words; the ledger's speak of moving."""
    gone = f"{summary.deleted:,} object{'' if summary.deleted == 1 else 's'} removed, and seen to be gone"
    if stop.is_requested:
        summary.verdict = f"INTERRUPTED ({printable(stop.reason)}): {gone}; the same command removes the rest."
    elif summary.failed:
        summary.verdict = f"INCOMPLETE: {summary.failed:,} could not be removed, for the reasons above; {gone}."
    elif summary.exit_code == 0:
        summary.verdict = f"COMPLETE: {gone}."


class _Removal:
    """One removal under way. What was listed below the location has keys relative to it; ``full`` keys are whole."""

    def __init__(self, store: S3Store, ledger: Ledger, stop: Stop) -> None:
        self._store = store
        self._client = store.client
        self._ledger = ledger
        self._stop = stop
        self._eraser = BucketEraser(store, stop=stop, is_fresh=True)
        self._places = asyncio.Semaphore(_LOOKS)
        self._failed: set[str] = set()
        self._marked = False  # a deletion answered that it only put a delete marker on top

    async def of_one(self) -> None:
        """The object that the path names."""
        path = self._store.location.path
        if self._store.location.says_folder:
            name = printable(str(self._store.location))
            raise WrongSetting(
                f"{name}/ ends in a slash, which no single object is meant by; leave the slash off, or add --recursive."
            )
        entry = await self._look(path)
        if entry is None:
            raise await self._no_object()
        self._ledger.planned(1, 0)
        self._ledger.record([await self._singly(entry)])
        self._tell_of_markers()

    async def _no_object(self) -> SternaError:
        location = self._store.location
        try:
            entries, more = await self._store.list_some("", 2)  # the first may be the marker ``path/``
        except SternaError:
            entries, more = [], False
        if not entries and not more:
            return nothing(location)
        name = printable(str(location))
        return ObjectGone(f"{name} is no object, but there are objects below it; to remove those, add --recursive.")

    async def of_everything(self) -> None:
        """All at and below the path, page by page, until a listing shows nothing that was there when this began.

        The object itself and the marker come last: where markers are folders, they go when they are empty.
        """
        began_ns = await self._server_time_ns()
        named = await itself(self._store)
        found = len(named)
        for turn in range(_PASSES):
            found += await self._pass(began_ns if turn else None)
            if self._stop.is_requested or (not found and not turn):
                break
            if not await self._is_more_to_remove(began_ns, is_last=turn + 1 == _PASSES):
                break
        if not found and self._store.location.path:
            raise nothing(self._store.location)
        self._ledger.tally.planning_done = True
        if named:
            self._ledger.planned(len(named), 0)
            if self._stop.is_requested:
                self._ledger.record([_outcome(entry.key, entry, Status.LEFT) for entry in named])
            else:
                self._ledger.record(await asyncio.gather(*(self._singly(entry) for entry in named)))
        self._tell_of_markers()

    async def _pass(self, until_ns: int | None) -> int:
        """List from the start and remove what comes; gives how many there were.

        Pages follow each other by key, not by token: some servers count a token's position anew while keys go.
        ``until_ns`` leaves what was written later: a second pass must not take what somebody else put there.
        """
        seen, after = 0, ""
        places = asyncio.Semaphore(_BATCHES)
        try:
            async with asyncio.TaskGroup() as batches:
                while not self._stop.is_requested:
                    entries, more = await self._store.list_some(after, PAGE_KEYS)
                    todo = [entry for entry in entries if entry.key not in self._failed]
                    todo = todo if until_ns is None else _before(until_ns, todo)
                    if todo:
                        seen += len(todo)
                        self._ledger.tally.listed_target += len(todo)
                        self._ledger.planned(len(todo), 0)
                        await places.acquire()
                        if self._stop.is_requested:
                            self._ledger.record([_outcome(self._full(entry.key), entry, Status.LEFT) for entry in todo])
                            break
                        batches.create_task(self._remove_batch(todo, places))
                    if not more or not entries:
                        break
                    after = entries[-1].key
        except BaseExceptionGroup as errors:
            raise out_of(errors) from None
        return seen

    async def _server_time_ns(self) -> int:
        """The server's clock, by which the times of its objects are; ours where it does not tell."""
        query = encode_query([("list-type", "2"), ("max-keys", "1"), ("prefix", self._store.prefix)])
        response = await self._client.call(Request("List", "GET", self._store.bucket, query=query, check=check_page))
        try:
            return int(moment_s(response.headers.get(b"date", b""))) * 10**9
        except ValueError:
            return time.time_ns()

    async def _is_more_to_remove(self, began_ns: int, *, is_last: bool) -> bool:
        """Whether a listing still shows what was there when this began, so that another pass is due. After the last one
        that has failed. What is newer is told of, once no pass is to come.
        """
        many, after = 0, ""
        while not self._stop.is_requested:
            entries, more = await self._store.list_some(after, PAGE_KEYS)
            left = [entry for entry in entries if entry.key not in self._failed]
            old = _before(began_ns, left)
            is_known = len(self._failed) < _FAILED_KEPT  # beyond that, what is left may have been told already
            if old and is_known and not is_last:
                return True
            if old and is_known:
                self._ledger.planned(len(old), 0)
                self._ledger.record([
                    _outcome(full, entry, Status.FAILED).fail(_passed_over(full))
                    for entry in old if (full := self._full(entry.key))
                ])  # fmt: skip
            many += len(left) - len(old)
            if not more or not entries:
                break
            after = entries[-1].key
        if many:
            objects = f"{many:,} object{'' if many == 1 else 's'}"
            self._ledger.notice(
                f"{objects} were written here while the removal went on, and stay.", "warning", "written_meanwhile"
            )
        return False

    async def _remove_batch(self, entries: Sequence[Entry], places: asyncio.Semaphore) -> None:
        try:
            outcomes = await self._eraser.erase([Action(Verb.DELETE, one.key, _BECAUSE, None, one) for one in entries])
            for outcome in outcomes:
                if outcome.status is Status.FAILED and len(self._failed) < _FAILED_KEPT:
                    self._failed.add(outcome.key)
                outcome.key = self._full(outcome.key)
            self._ledger.record(outcomes)
        finally:
            places.release()

    # Single objects, by their full keys.

    async def _singly(self, entry: Entry) -> Outcome:
        """Delete and look; the entry has its full key."""
        began = time.perf_counter()
        outcome = _outcome(entry.key, entry, Status.DONE)
        try:
            await self._delete(entry.key)
            await self._must_be_gone(entry.key, entry)
        except (CredentialsExpired, WrongSetting):
            raise
        except SternaError as error:
            outcome.fail(error)
        outcome.seconds = time.perf_counter() - began
        return outcome

    async def _delete(self, full: str) -> None:
        async with self._places:
            request = Request("Delete", "DELETE", self._store.bucket, full, good=(204, 200, 404))
            response = await self._client.call(request)
        if response.headers.get(b"x-amz-delete-marker") == b"true":
            self._marked = True

    async def _look(self, full: str) -> Entry | None:
        """The object as it is now, or None. Who may list and not read is answered by a listing."""
        try:
            async with self._places:
                response = await self._client.call(Request("Head", "HEAD", self._store.bucket, full, check=has_size))
        except ObjectGone:
            return None
        except AccessDenied:
            return await listed_as(self._store, full)
        return self._store.look_of(full, response).entry

    async def _must_be_gone(self, full: str, entry: Entry) -> None:
        """Look again. Raises NotProven where the object is still there, ObjectChanged where it is another one."""
        now = await self._look(full)
        if now is None:
            return
        if not is_same(entry, now):
            raise _written_again(full)
        raise NotProven(
            f"{printable(full)}: the server says that it is deleted, and still has it.", operation="Delete", key=full
        )

    def _full(self, key: str) -> str:
        return self._store.prefix + key

    # What deleting means here.

    def _tell_of_markers(self) -> None:
        sentence = only_markers(self._store.bucket)
        if self._marked and sentence not in self._ledger.summary.notices:
            self._ledger.notice(sentence, code="delete_marker")


def _outcome(full: str, entry: Entry, status: Status) -> Outcome:
    proof = "seen to be gone" if status is Status.DONE else ""
    return Outcome("delete", full, status, size=entry.size, because=_BECAUSE, etag=entry.etag, proof=proof)


def _before(moment_ns: int, entries: Sequence[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.mtime_ns < moment_ns]


def _passed_over(full: str) -> NotProven:
    sentence = f"{printable(full)}: listings showed it only between the passes; the same command removes it."
    return NotProven(sentence, operation="Delete", key=full, code="StillThere")


def _written_again(full: str) -> ObjectChanged:
    sentence = f"{printable(full)} was written again by somebody else meanwhile; it was left."
    return ObjectChanged(sentence, operation="Delete", key=full, code="Replaced")
