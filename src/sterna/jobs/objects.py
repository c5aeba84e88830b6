"""List, count and remove what is in a bucket, or make one: the few object commands beside copying."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from sterna.jobs.ledger import Ledger
from sterna.model.entry import Entry
from sterna.model.errors import (
    AccessDenied,
    Corrupt,
    CredentialsExpired,
    NotProven,
    ObjectChanged,
    ObjectGone,
    RetryLater,
    SternaError,
    WrongSetting,
    out_of,
)
from sterna.model.events import Emit, Event, RunEnded, Summary, Tally, ignore
from sterna.model.location import BucketPath
from sterna.model.outcomes import Outcome, Status
from sterna.model.stop import Stop
from sterna.model.units import printable
from sterna.stores.s3 import PAGE_KEYS, S3Store
from sterna.wire.client import Client, Request
from sterna.wire.connection import Response
from sterna.wire.encoding import encode_query
from sterna.wire.side import Side
from sterna.wire.xml import check_page, parse_document, parse_page

_BATCHES = 4  # DeleteObjects in flight: AWS takes 3,500 deletions a second from a prefix, and each carries 1,000
_LOOKS = 32  # HEADs and single deletions in flight
_PASSES = 3  # listings from the start: a server whose pages shift while one deletes shows the rest in the next one
_FAILED_KEPT = 10_000  # failed keys that are remembered, so that a further pass leaves them alone

# Of a single key in an answer to DeleteObjects: worth a request of its own, which is retried by the table.
_TRANSIENT = ("InternalError", "SlowDown", "ServiceUnavailable", "OperationAborted", "RequestTimeout")
# What the XML of DeleteObjects cannot carry (XML 1.0, section 2.2), or what parsers along the way like to change.
_NOT_FOR_XML = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]|^\\s|\\s$")


class Listed(msgspec.Struct, frozen=True, gc=False):
    """One line of a listing. ``key`` is relative to the location; the object that the location itself names, and its
    marker ``path/``, appear under their last component. For a bucket it is the name, ``mtime_ns`` its creation."""

    key: str
    size: int = 0
    mtime_ns: int = 0
    storage_class: str = ""
    etag: str = ""
    is_prefix: bool = False


class Usage(msgspec.Struct, frozen=True):
    """How much there is; ``by_class`` has objects and bytes of each storage class."""

    objects: int
    bytes: int
    by_class: dict[str, tuple[int, int]]


@asynccontextmanager
async def _open(
    location: BucketPath, side: Side, tally: Tally | None = None, emit: Emit = ignore
) -> AsyncIterator[S3Store]:
    client = Client(side, location.bucket, tally=tally, emit=emit)
    try:
        yield S3Store(client, location)
    finally:
        await client.aclose()


# Listing.


async def list_objects(location: BucketPath | None, side: Side, *, recursive: bool) -> AsyncIterator[list[Listed]]:
    """What is in a bucket or below a path, page by page; all buckets where ``location`` is None.

    A path means the object of that name and what is below ``path/``; without ``recursive`` only the next level, deeper
    ones as prefixes. Raises ObjectGone where there is neither, WrongSetting where there is no such bucket.
    """
    if location is None:
        async for buckets in _buckets(side):
            yield buckets
        return
    async with _open(location, side) as store:
        found = False
        itself = await _itself(store)
        if itself:
            found = True
            own = location.path.rpartition("/")[2]
            yield [_listed(entry, own + entry.key[len(location.path) :]) for entry in itself]
        async for page in _below(store) if recursive else _next_level(store):
            found = True
            yield page
        if not found and location.path:
            raise _nothing(location)


async def _below(store: S3Store) -> AsyncIterator[list[Listed]]:
    async for page in store.pages():
        yield [_listed(entry, entry.key) for entry in page.entries]


async def _next_level(store: S3Store) -> AsyncIterator[list[Listed]]:
    token, cut = "", len(store.prefix)
    while True:
        page = await store.folder_page(token)
        for key in (*page.prefixes, *(entry.key for entry in page.entries)):
            if not key.startswith(store.prefix):
                raise Corrupt(f"The listing of {store.location} shows a key of another place.", operation="List")
        listed = [_listed(entry, entry.key[cut:]) for entry in page.entries if len(entry.key) > cut]
        listed += [Listed(prefix[cut:], is_prefix=True) for prefix in page.prefixes if len(prefix) > cut]
        if listed:
            listed.sort(key=lambda one: one.key)
            yield listed
        if not page.truncated:
            return
        if not page.token or page.token == token:
            raise Corrupt("The listing says that it goes on, and not where; it is not complete.", operation="List")
        token = page.token


async def _buckets(side: Side) -> AsyncIterator[list[Listed]]:
    client = Client(side, "")
    try:
        token = ""
        while True:
            query = encode_query([("continuation-token", token)]) if token else ""
            response = await client.call(Request("ListBuckets", "GET", "", query=query, check=_check_buckets))
            answer = parse_document(response.body, "ListAllMyBucketsResult", "ListBuckets")
            listed = [
                Listed(node.findtext("Name") or "", mtime_ns=_moment_ns(node.findtext("CreationDate") or ""))
                for node in answer.iterfind("Buckets/Bucket")
            ]
            if listed:
                yield listed
            before, token = token, answer.findtext("ContinuationToken") or ""
            if not token or token == before:
                return
    finally:
        await client.aclose()


def _check_buckets(response: Response) -> None:
    parse_document(response.body, "ListAllMyBucketsResult", "ListBuckets")


def _moment_ns(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return 0
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()) * 10**9


def _listed(entry: Entry, key: str) -> Listed:
    return Listed(key, entry.size, entry.mtime_ns, entry.storage_class, entry.etag)


async def _itself(store: S3Store) -> list[Entry]:
    """The object that the location names and the marker ``path/``, as far as they are there; keys are full.

    By listings, not by HEAD: who may list a bucket need not be allowed to read its objects.
    """
    path = store.location.path
    if not path:
        return []
    return [entry for key in (path, path + "/") if (entry := await _listed_as(store, key)) is not None]


async def _listed_as(store: S3Store, key: str) -> Entry | None:
    """The entry with exactly this full key: as a prefix of itself it is the first that a listing shows."""
    query = encode_query([("list-type", "2"), ("encoding-type", "url"), ("max-keys", "1"), ("prefix", key)])
    response = await store.client.call(Request("List", "GET", store.bucket, query=query, check=check_page))
    return next((entry for entry in parse_page(response.body).entries if entry.key == key), None)


def _nothing(location: BucketPath) -> ObjectGone:
    return ObjectGone(f"{printable(str(location))} does not exist: there is no such object, and nothing below it.")


# Counting.


async def usage(location: BucketPath, side: Side) -> Usage:
    """Objects and bytes of a location, the object that it names and markers of folders included.

    Raises ObjectGone where there is nothing at a path; an empty bucket is no error.
    """
    classes: dict[str, tuple[int, int]] = {}

    def add(entries: Sequence[Entry]) -> None:
        for kind in {entry.storage_class for entry in entries}:
            sizes = [entry.size for entry in entries if entry.storage_class == kind]
            objects, size = classes.get(kind or "STANDARD", (0, 0))
            classes[kind or "STANDARD"] = (objects + len(sizes), size + sum(sizes))

    async with _open(location, side) as store:
        add(await _itself(store))
        async for page in store.pages():
            add(page.entries)
    if not classes and location.path:
        raise _nothing(location)
    return Usage(sum(one[0] for one in classes.values()), sum(one[1] for one in classes.values()), classes)


async def count(location: BucketPath, side: Side) -> Usage:
    """What ``remove`` with ``recursive`` would take."""
    return await usage(location, side)


# Making a bucket.


async def make_bucket(location: BucketPath, side: Side) -> str:
    """Make a bucket in the region of the side or its profile; gives a sentence that says what is now the case.

    One that exists and is ours is fine. Raises WrongSetting where the name is somebody else's or cannot be one.
    """
    bucket = location.bucket
    name = f"s3://{bucket}"
    ours = f"{name} exists already, and it is yours; nothing was changed."
    async with _open(BucketPath(bucket), side) as store:
        was_there = await _is_there(store)  # in us-east-1 AWS answers 200 to making one's own bucket again
        try:
            await store.create_bucket()
        except SternaError as error:
            if error.code == "BucketAlreadyOwnedByYou" or (error.status == 409 and await _is_ours(bucket, side)):
                return ours
            raise _not_made(error, bucket, store.client.region) from error
        if was_there:
            return ours
        if not await _is_there(store):
            raise NotProven(f"The server says that {name} is made, and does not show it.", operation="CreateBucket")
        return f"{name} is made, in the region {store.client.region}."


async def _is_there(store: S3Store) -> bool:
    """Whether the bucket is to be seen. A refusal says nothing: making it will tell."""
    try:
        await store.head_bucket()
    except (RetryLater, CredentialsExpired):
        raise
    except SternaError:
        return False
    return True


def _not_made(error: SternaError, bucket: str, region: str) -> SternaError:
    """The refusal to make a bucket as a sentence that says what to change."""
    said = error.words or error.code
    sentences = {
        "BucketAlreadyExists": f"The name {bucket} is taken: somebody else has a bucket of that name. Choose another.",
        "InvalidBucketName": f"{bucket} is refused as a bucket's name; take 3 to 63 of a-z, 0-9 and -.",
        "InvalidLocationConstraint": f"The server makes no buckets in the region {region} ({said}); give another "
        "--region (us-east-1 leaves the choice to the server).",
    }
    sentences["IllegalLocationConstraintException"] = sentences["InvalidLocationConstraint"]
    sentence = sentences.get(error.code)
    if sentence is None:
        return error
    return WrongSetting(
        sentence,
        operation="CreateBucket",
        status=error.status,
        code=error.code,
        words=error.words,
        request_id=error.request_id,
    )


async def _is_ours(bucket: str, side: Side) -> bool:
    """Whether the bucket is among ours: some servers say only that it exists."""
    try:
        async for page in _buckets(side):
            if any(one.key == bucket for one in page):
                return True
    except SternaError:
        return False
    return False


# Removing.


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
        async with _open(location, side, tally, ledger.heard) as store:
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
        summary.verdict = f"INCOMPLETE: {summary.failed:,} could not be removed, each named above; {gone}."
    elif summary.exit_code == 0:
        summary.verdict = f"COMPLETE: {gone}."


@dataclass(slots=True)
class _Batch:
    """Some entries of one page. ``after`` is the key after which they were listed, ``outcomes`` go by full key."""

    after: str
    entries: list[Entry]
    began: float = field(default_factory=time.perf_counter)
    failed: dict[str, SternaError] = field(default_factory=dict)


class _Removal:
    """One removal under way. What was listed below the location has keys relative to it; ``full`` keys are whole."""

    def __init__(self, store: S3Store, ledger: Ledger, stop: Stop) -> None:
        self._store = store
        self._client = store.client
        self._ledger = ledger
        self._stop = stop
        self._places = asyncio.Semaphore(_LOOKS)
        self._failed: set[str] = set()
        self._marked = False  # a deletion answered that it only put a delete marker on top

    async def of_one(self) -> None:
        """The object that the path names."""
        path = self._store.location.path
        entry = await self._look(path)
        if entry is None:
            raise await self._no_object()
        self._ledger.planned(1, 0)
        self._ledger.record([await self._singly(entry)])
        self._tell_of_markers()

    async def _no_object(self) -> SternaError:
        location = self._store.location
        try:
            entries, _ = await self._store.list_some("", 1)
        except SternaError:
            entries = []
        if not entries:
            return _nothing(location)
        name = printable(str(location))
        return ObjectGone(f"{name} is no object, but there are objects below it; to remove those, add --recursive.")

    async def of_everything(self) -> None:
        """All at and below the path, page by page, until a listing shows nothing that was there when this began.

        The object itself and the marker come last: where markers are folders, they go when they are empty.
        """
        began_ns = time.time_ns()
        itself = await _itself(self._store)
        found = len(itself)
        for turn in range(_PASSES):
            found += await self._pass(began_ns if turn else None)
            if self._stop.is_requested or (not found and not turn):
                break
            there, more = await self._store.list_some("", PAGE_KEYS)
            left = [entry for entry in there if entry.key not in self._failed]
            if turn + 1 == _PASSES or len(self._failed) >= _FAILED_KEPT or not _before(began_ns, left):
                self._tell_of_new(left, more)
                break
        if not found and self._store.location.path:
            raise _nothing(self._store.location)
        self._ledger.tally.planning_done = True
        if itself:
            self._ledger.planned(len(itself), 0)
            if self._stop.is_requested:
                self._ledger.record([_outcome(entry.key, entry, Status.LEFT) for entry in itself])
            else:
                self._ledger.record(await asyncio.gather(*(self._singly(entry) for entry in itself)))
        if found and not self._marked:
            await self._ask_versioning()
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
                        batches.create_task(self._remove_batch(_Batch(after, todo), places))
                    if not more or not entries:
                        break
                    after = entries[-1].key
        except BaseExceptionGroup as errors:
            raise out_of(errors) from None
        return seen

    def _tell_of_new(self, left: Sequence[Entry], more: bool) -> None:
        if left:
            many = f"{len(left):,}{' or more' if more else ''} object{'' if len(left) == 1 else 's'}"
            self._ledger.notice(
                f"{many} were written here while the removal went on, and stay.", "warning", "written_meanwhile"
            )

    # A batch.

    async def _remove_batch(self, batch: _Batch, places: asyncio.Semaphore) -> None:
        try:
            singles = [entry for entry in batch.entries if _NOT_FOR_XML.search(self._full(entry.key))]
            apart = {entry.key for entry in singles}
            together = [entry for entry in batch.entries if entry.key not in apart]
            if len(together) > 1:
                singles += await self._delete_many(batch, together)
            else:
                singles = batch.entries
            await asyncio.gather(*(self._delete_into(batch, entry) for entry in singles))
            await self._prove(batch)
            outcomes = []
            for entry in batch.entries:
                outcome = _outcome(self._full(entry.key), entry, Status.DONE)
                outcome.seconds = time.perf_counter() - batch.began
                if (error := batch.failed.get(entry.key)) is not None:
                    outcome.fail(error)
                    if len(self._failed) < _FAILED_KEPT:
                        self._failed.add(entry.key)
                outcomes.append(outcome)
            self._ledger.record(outcomes)
        finally:
            places.release()

    async def _delete_many(self, batch: _Batch, entries: list[Entry]) -> list[Entry]:
        """One DeleteObjects; gives what must be deleted singly: keys that may go at another try, or all where the server
        does not take the request.

        Errors of single keys (H05) stay with their keys; keys that the answer does not name are unknown, and the look
        afterwards decides. Raises what would end every further batch as well.
        """
        try:
            refused = await self._store.remove_many([entry.key for entry in entries])
        except (AccessDenied, CredentialsExpired, WrongSetting):
            raise
        except Corrupt:
            return []
        except SternaError as failure:
            if failure.status in (400, 404, 405, 411, 413, 415):  # the document, its size or the operation is refused
                return entries
            batch.failed |= {entry.key: failure for entry in entries}
            return []
        for key, error in refused.items():
            if error.code not in _TRANSIENT and (error.code or error.words):
                batch.failed[key] = SternaError(
                    f"The server did not remove it: {printable(error.words or error.code)}",
                    operation="DeleteObjects",
                    key=key,
                    code=error.code,
                    words=error.words,
                    request_id=error.request_id,
                )
        return [entry for entry in entries if entry.key in refused and refused[entry.key].code in _TRANSIENT]

    async def _delete_into(self, batch: _Batch, entry: Entry) -> None:
        try:
            await self._delete(self._full(entry.key))
        except (CredentialsExpired, WrongSetting):
            raise
        except SternaError as error:
            batch.failed[entry.key] = error

    async def _prove(self, batch: _Batch) -> None:
        """See that what is called deleted is gone: by a listing of the batch's range, then by looks at what it shows.

        What is still as it was listed is deleted once more, singly: some servers misread odd keys in a document.
        """
        last = batch.entries[-1].key
        unproven = {entry.key: entry for entry in batch.entries if entry.key not in batch.failed}
        there: list[Entry] = []
        after, most = batch.after, 2  # nothing is expected up to ``last``; one may be the folder's own marker
        try:
            while unproven:
                entries, more = await self._store.list_some(after, most)
                there += [unproven[entry.key] for entry in entries if entry.key in unproven]
                if not more or not entries or entries[-1].key >= last:
                    break
                after, most = entries[-1].key, PAGE_KEYS
        except SternaError:
            there = list(unproven.values())
        await asyncio.gather(*(self._insist(batch, entry) for entry in there))

    async def _insist(self, batch: _Batch, entry: Entry) -> None:
        full = self._full(entry.key)
        try:
            # A listing that shows it weighs as much as a look that does not: one of them is wrong, and which, who knows.
            now = await self._look(full) or await _listed_as(self._store, full)
            if now is None:
                return
            if not _is_same(entry, now):
                raise _written_again(full)
            await self._delete(full)
            await self._must_be_gone(full, entry)
            if await _listed_as(self._store, full) is not None:
                raise NotProven(
                    f"{printable(full)}: the server says that it is deleted, and still lists it.",
                    operation="Delete",
                    key=full,
                )
        except SternaError as error:
            batch.failed[entry.key] = error

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
                response = await self._client.call(Request("Head", "HEAD", self._store.bucket, full))
        except ObjectGone:
            return None
        except AccessDenied:
            return await _listed_as(self._store, full)
        return self._store.look_of(full, response).entry

    async def _must_be_gone(self, full: str, entry: Entry) -> None:
        """Look again. Raises NotProven where the object is still there, ObjectChanged where it is another one."""
        now = await self._look(full)
        if now is None:
            return
        if not _is_same(entry, now):
            raise _written_again(full)
        raise NotProven(
            f"{printable(full)}: the server says that it is deleted, and still has it.", operation="Delete", key=full
        )

    def _full(self, key: str) -> str:
        return self._store.prefix + key

    # What deleting means here.

    async def _ask_versioning(self) -> None:
        """Whether the bucket keeps versions, of which a batch does not tell. Who may not ask is not told either."""
        try:
            response = await self._client.call(Request("GetVersioning", "GET", self._store.bucket, query="versioning="))
            answer = parse_document(response.body, "VersioningConfiguration", "GetVersioning")
        except SternaError:
            return
        self._marked = answer.findtext("Status") in ("Enabled", "Suspended")

    def _tell_of_markers(self) -> None:
        if self._marked:
            self._ledger.notice(
                f"The bucket {self._store.bucket} keeps versions: delete markers were added, the older versions stay.",
                code="delete_marker",
            )


def _outcome(full: str, entry: Entry, status: Status) -> Outcome:
    proof = "seen to be gone" if status is Status.DONE else ""
    return Outcome("delete", full, status, size=entry.size, because="asked for", etag=entry.etag, proof=proof)


def _is_same(entry: Entry, now: Entry) -> bool:
    """Whether an object is still the one that was listed: the same ETag and size, and not written later (H44)."""
    same = now.etag == entry.etag and now.size == entry.size
    return same and now.mtime_ns // 10**9 <= entry.mtime_ns // 10**9


def _before(moment_ns: int, entries: Sequence[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.mtime_ns < moment_ns]


def _written_again(full: str) -> ObjectChanged:
    sentence = f"{printable(full)} was written again by somebody else meanwhile; it was left."
    return ObjectChanged(sentence, operation="Delete", key=full, code="Replaced")
