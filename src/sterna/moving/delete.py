"""Remove what is still as it was listed, and look whether it is gone."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence

from sterna.model.actions import Action
from sterna.model.entry import Entry
from sterna.model.errors import (
    AccessDenied,
    Corrupt,
    CredentialsExpired,
    NotProven,
    ObjectChanged,
    ObjectGone,
    SternaError,
    WrongSetting,
)
from sterna.model.events import Notice
from sterna.model.outcomes import Outcome, Status
from sterna.model.stop import Stop
from sterna.model.units import printable
from sterna.moving.aside import Aside
from sterna.moving.looks import as_they_are
from sterna.stores.folder import Folder
from sterna.stores.s3 import S3Store
from sterna.stores.trash import BucketTrash
from sterna.wire.client import Request
from sterna.wire.encoding import encode_query
from sterna.wire.xml import Asked, check_page, parse_document, parse_page

# Of a single key in an answer to DeleteObjects: worth a request of its own, which is retried by the table.
TRANSIENT = ("InternalError", "SlowDown", "ServiceUnavailable", "OperationAborted", "RequestTimeout")
# What the XML of DeleteObjects cannot carry (XML 1.0, section 2.2), or what parsers along the way like to change.
NOT_FOR_XML = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]|^\\s|\\s$")
GONE_ALREADY = "it was gone already"  # the proof of a deletion that somebody else made
REFUSED_DOCUMENT = (400, 404, 405, 411, 413, 415, 501)  # the document, its size or the operation is refused
HOPELESS = (AccessDenied, CredentialsExpired, WrongSetting)  # of a request for many: the next one ends like it


class BucketEraser:
    """Deletes objects in batches, each one only while it is as it was listed (H44).

    Each is looked at right before, and where the server knows conditions, they are tied to the ETag that was listed:
    what knows none ignores them, and then this look protects, but for one round trip. Each is looked for right after:
    an answer that names a key as deleted is a claim, one that names an error another (H05). With a ``trash`` each is
    copied there first, and stays where that fails. What is asked to stop takes no further key singly.

    ``is_fresh`` says that the targets were listed a moment ago, and are to go whoever wrote them: they are not looked at
    before, nor tied to their ETags, which takes the right to read them. Then what would end every further batch as well
    (no right to delete, credentials that have expired) is raised.
    """

    def __init__(
        self, store: S3Store, *, trash: BucketTrash | None = None, stop: Stop | None = None, is_fresh: bool = False
    ) -> None:
        self._store = store
        self._trash = trash
        self._stop = stop or Stop()
        self._is_fresh = is_fresh
        self._ties_batches = not is_fresh  # until the server refuses the document because of them, or gets them wrong
        self._has_told = False

    async def erase(
        self, actions: Sequence[Action], keeps_folder: Callable[[str], bool] | None = None
    ) -> list[Outcome]:
        """Delete up to 1,000 targets, in key order; an outcome for each. Raises nothing that concerns single keys."""
        began_s, began = time.time(), time.perf_counter()
        targets = {action.key: action.target for action in actions if action.target is not None}
        failed: dict[str, SternaError] = {}
        left: set[str] = set()
        if self._trash is not None:
            await asyncio.gather(*(self._keep(self._trash, entry, failed, left) for entry in targets.values()))
        todo = [key for key in targets if key not in failed and key not in left]
        now = {key: targets[key] for key in todo} if self._is_fresh else await self._as_they_are(todo, failed)
        # Absent is only what a HEAD has not found either: a page may be short, and we would tell of a deletion.
        await asyncio.gather(*(self._look(key, now, failed) for key in todo if key not in now and key not in failed))
        due = []
        for key in todo:
            found = now.get(key)
            if found is None or key in failed:
                continue
            if self._is_fresh or await self._is_still(targets[key], found):
                due.append(key)
            else:
                failed[key] = _replaced(key, "after it was listed")
        doubts = await self._delete(due, targets, left)
        asked = [key for key in due if key not in left]
        await self._see(asked, targets, doubts, failed)
        if any(key not in failed for key in asked):
            await self._tell_of_versions()
        gone = {key for key in todo if key not in now}
        outcomes = []
        for action in actions:
            outcome = _outcome(action, began_s)
            outcome.seconds = time.perf_counter() - began
            if action.key in left:
                outcome.status, outcome.error, outcome.proof = Status.LEFT, self._stop.reason, ""
            elif (error := failed.get(action.key)) is not None:
                outcome.proof = ""
                outcome.fail(error)
            elif action.key in gone:
                outcome.proof = GONE_ALREADY
            elif self._trash is not None:
                outcome.proof = "in the trash, and seen to be gone"
            outcomes.append(outcome)
        return outcomes

    async def _keep(self, trash: BucketTrash, target: Entry, failed: dict[str, SternaError], left: set[str]) -> None:
        key = target.key
        if self._stop.is_requested:
            left.add(key)
            return
        try:
            found = await trash.keep(key)
            if found is not None and not await self._is_still(target, found.entry):
                raise _replaced(key, "after it was listed")
        except SternaError as error:
            failed[key] = error

    # Looking.

    async def _as_they_are(self, keys: Sequence[str], failed: dict[str, SternaError]) -> dict[str, Entry]:
        return await as_they_are(self._store, keys, failed, look=lambda key, found: self._look(key, found, failed))

    async def _look(self, key: str, found: dict[str, Entry], failed: dict[str, SternaError]) -> None:
        """By HEAD; who may list and not read is answered by a listing."""
        try:
            look = await self._store.head(key)
            entry = look.entry if look is not None else None
        except AccessDenied as denied:
            try:
                entry = await self._listed(key)
            except SternaError:
                failed[key] = denied
                return
        except SternaError as error:
            failed[key] = error
            return
        if entry is not None:
            found[key] = entry

    async def _listed(self, key: str) -> Entry | None:
        """What a listing shows of exactly this key: as a prefix of itself it comes first."""
        full = self._store.key_of(key)
        query = encode_query([("list-type", "2"), ("encoding-type", "url"), ("max-keys", "1"), ("prefix", full)])
        request = Request("List", "GET", self._store.bucket, query=query, check=check_page)
        page = parse_page((await self._store.client.call(request)).body, Asked(bucket=self._store.bucket, prefix=full))
        return next((
            Entry(key, one.size, one.mtime_ns, one.etag, one.storage_class) for one in page.entries if one.key == full
        ), None)  # fmt: skip

    async def _still_lists(self, key: str) -> bool:
        """Whether a listing shows the key; a listing that may not be had, or is in no order, shows nothing."""
        if self._store.is_unordered:
            return False
        try:
            return await self._listed(key) is not None
        except AccessDenied:
            return False

    async def _is_still(self, target: Entry, found: Entry) -> bool:
        """Whether what a look has found is what was listed. Some servers' HEADs show other ETags, or other times, than
        their listings (H14): what differs in one of the two is the same while the listing shows it as before.
        """
        if is_same(target, found):
            return True
        is_later = found.mtime_ns // 10**9 > target.mtime_ns // 10**9
        if found.size != target.size or (is_later and found.etag != target.etag):
            return False
        try:
            listed = await self._listed(target.key)
        except SternaError:
            return False
        return listed is not None and is_same(target, listed)

    # Deleting.

    async def _delete(
        self, keys: Sequence[str], targets: Mapping[str, Entry], left: set[str]
    ) -> dict[str, SternaError]:
        """By one request for all that its XML can carry, the others singly; gives what speaks against single keys."""
        doubts: dict[str, SternaError] = {}
        singly = [key for key in keys if NOT_FOR_XML.search(self._store.prefix + key)]
        apart = set(singly)
        together = [key for key in keys if key not in apart]
        if len(together) > 1:
            singly += await self._delete_together(together, targets, doubts)
        else:
            singly += together
        await asyncio.gather(*(self._delete_one(targets[key], doubts, left) for key in singly))
        return doubts

    async def _delete_together(
        self, keys: list[str], targets: Mapping[str, Entry], doubts: dict[str, SternaError]
    ) -> list[str]:
        """One DeleteObjects; gives the keys that need a request of their own."""
        tied = self._ties_batches
        try:
            refused = await self._store.remove_many(keys, [targets[key].etag for key in keys] if tied else ())
        except Corrupt:
            return []  # the look afterwards decides
        except SternaError as error:
            if self._is_fresh and isinstance(error, HOPELESS):
                raise
            if error.status == 400 and tied:
                self._ties_batches = False  # it may be the conditions that it does not know
                return await self._delete_together(keys, targets, doubts)
            if error.status in REFUSED_DOCUMENT:
                return keys
            doubts |= dict.fromkeys(keys, error)
            return []
        again = []
        for key, why in refused.items():
            if why.code in TRANSIENT:
                again.append(key)
            elif why.code or why.words:
                doubts[key] = SternaError(
                    f"The server did not remove it: {printable(why.words or why.code)}", operation="DeleteObjects",
                    key=key, status=why.status, code=why.code, words=why.words, request_id=why.request_id,
                )  # fmt: skip
        return again

    async def _delete_one(self, target: Entry, doubts: dict[str, SternaError], left: set[str]) -> None:
        if self._stop.is_requested:
            left.add(target.key)
            return
        try:
            await self._store.remove(target.key, "" if self._is_fresh else target.etag)
        except SternaError as error:
            if self._is_fresh and isinstance(error, (CredentialsExpired, WrongSetting)):
                raise
            doubts[target.key] = error

    # Looking again.

    async def _see(
        self,
        keys: Sequence[str],
        targets: Mapping[str, Entry],
        doubts: Mapping[str, SternaError],
        failed: dict[str, SternaError],
    ) -> None:
        """What is not there any more is deleted, whatever was answered; what still is, is insisted on or has failed."""
        there = await self._as_they_are(keys, failed)
        await asyncio.gather(
            *(self._insist(targets[key], there[key], doubts.get(key), failed) for key in keys if key in there)
        )

    async def _insist(
        self, target: Entry, found: Entry, doubt: SternaError | None, failed: dict[str, SternaError]
    ) -> None:
        """Delete once more, singly, what is said to be deleted and still is as it was: some servers misread odd keys.

        So is what is as it was although the server says that its ETag is another: it compares them in a way of its own.
        """
        key = target.key
        try:
            if not await self._is_still(target, found):
                raise _replaced(key, "by somebody else meanwhile")
            if doubt is not None and not _is_condition(doubt):
                raise doubt
            if doubt is not None:
                self._ties_batches = False
            now: dict[str, Entry] = {}
            await self._look(key, now, failed)
            if key in failed:
                return
            if key in now and not await self._is_still(target, now[key]):
                raise _replaced(key, "by somebody else meanwhile")
            # A listing that shows it weighs as much as a look that does not: one of them is wrong, and which, who knows.
            await self._store.remove(key, target.etag if doubt is None and not self._is_fresh else "")
            left: dict[str, Entry] = {}
            await self._look(key, left, failed)
            if key in left:
                raise NotProven(
                    f"{printable(key)}: the server says that it is deleted, and still has it.",
                    operation="Delete", key=key, code="StillThere",
                )  # fmt: skip
            if key not in failed and await self._still_lists(key):
                raise NotProven(
                    f"{printable(key)}: the server says that it is deleted, and still lists it.",
                    operation="Delete", key=key, code="StillThere",
                )  # fmt: skip
        except SternaError as error:
            failed[key] = error

    async def _tell_of_versions(self) -> None:
        """Once, whether deleting only adds markers here. Who may not ask is not told."""
        if not self._has_told:
            self._has_told = True
            if await keeps_versions(self._store):
                self._store.client.emit(Notice(only_markers(self._store.bucket), code="delete_marker"))


class FolderEraser:
    """Removes files that are still what the listing showed, one by one, and the folders that this leaves empty; into the
    folder's trash, where it has one. ``aside`` is for those that are in the way of others.
    """

    def __init__(self, folder: Folder, *, stop: Stop | None = None) -> None:
        self._folder = folder
        self._stop = stop or Stop()
        self.aside = Aside(folder)

    async def erase(
        self, actions: Sequence[Action], keeps_folder: Callable[[str], bool] | None = None
    ) -> list[Outcome]:
        """Remove the targets; an outcome for each. Folders for which ``keeps_folder`` holds stay, empty or not."""
        return await asyncio.to_thread(self._erase, actions, keeps_folder or _none)

    def _erase(self, actions: Sequence[Action], keeps_folder: Callable[[str], bool]) -> list[Outcome]:
        outcomes = []
        emptied: set[str] = set()
        for action in actions:
            began = time.perf_counter()
            outcome = _outcome(action, time.time())
            try:
                if self._stop.is_requested:
                    outcome.status, outcome.error, outcome.proof = Status.LEFT, self._stop.reason, ""
                else:
                    outcome.proof = self._remove(action)
                    emptied.add(action.key.rpartition("/")[0])
            except ObjectGone:
                outcome.proof = GONE_ALREADY
            except SternaError as error:
                outcome.proof = ""
                outcome.fail(error)
            outcome.seconds = time.perf_counter() - began
            outcomes.append(outcome)
        for path in sorted(emptied, key=len, reverse=True):
            self._prune(path, keeps_folder)
        return outcomes

    def _remove(self, action: Action) -> str:
        folder, key = self._folder, action.key
        assert action.target is not None, "a deletion has a target"
        if not folder.is_current(""):
            sentence = (
                f"{printable(folder.shown(''))} was moved or replaced while files were deleted; the rest is left."
            )
            raise ObjectChanged(sentence, operation="Delete", key=key, code="Replaced")
        if not folder.is_current(key[: key.rfind("/") + 1]):
            folder.forget()  # the folder that we hold open was moved away, and what is in it is not ours to delete
        if folder.trash is not None:
            folder.trash.take(key, action.target)
        else:
            folder.remove(key, action.target)
        if folder.look(key) is not None:
            raise NotProven(f"{printable(key)} was removed, and is there again.", operation="Delete", key=key)
        return "in the trash, and seen to be gone" if folder.trash is not None else "seen to be gone"

    def _prune(self, path: str, keeps_folder: Callable[[str], bool]) -> None:
        """Remove a folder and those above it as long as they are empty; the root stays. One that is not empty says so."""
        while path and not keeps_folder(path + "/"):
            try:
                self._folder.remove(path + "/", Entry(path + "/", 0, 0))
            except SternaError:
                return
            path = path.rpartition("/")[0]


def is_same(listed: Entry, now: Entry) -> bool:
    """Whether an object is still the one that was listed: the same ETag and size, and not written later (H44)."""
    same = now.etag == listed.etag and now.size == listed.size
    return same and now.mtime_ns // 10**9 <= listed.mtime_ns // 10**9


async def keeps_versions(store: S3Store) -> bool:
    """Whether deleting only adds markers in this bucket, as far as one may ask."""
    try:
        request = Request("GetVersioning", "GET", store.bucket, query="versioning=")
        answer = parse_document((await store.client.call(request)).body, "VersioningConfiguration", "GetVersioning")
    except SternaError:
        return False
    return answer.findtext("Status") in ("Enabled", "Suspended")


def only_markers(bucket: str) -> str:
    """What to say of such a bucket."""
    return f"The bucket {bucket} keeps versions: delete markers were added, the older versions stay."


def _outcome(action: Action, began_s: float) -> Outcome:
    return Outcome(
        action.verb.value, action.key, Status.DONE, size=action.bytes_concerned, because=action.because,
        started_s=began_s, proof="seen to be gone",
    )  # fmt: skip


def _replaced(key: str, when: str) -> ObjectChanged:
    return ObjectChanged(
        f"{printable(key)} was written again {when}; it was left.", operation="Delete", key=key, code="Replaced"
    )


def _is_condition(doubt: SternaError) -> bool:
    return isinstance(doubt, ObjectChanged) or doubt.code == "PreconditionFailed"


def _none(path: str) -> bool:
    return False
