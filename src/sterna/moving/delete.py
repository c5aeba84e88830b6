"""Remove what is still as it was listed, and look whether it is gone."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence

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
from sterna.model.units import printable
from sterna.moving.prove import just_before
from sterna.stores.folder import Folder
from sterna.stores.s3 import S3Store
from sterna.wire.client import Request
from sterna.wire.xml import parse_document

_FEW = 2  # keys that a page must show, else HEADs are fewer requests than listings
# Of a single key in an answer to DeleteObjects: worth a request of its own, which is retried by the table.
_TRANSIENT = ("InternalError", "SlowDown", "ServiceUnavailable", "OperationAborted", "RequestTimeout")
# What the XML of DeleteObjects cannot carry (XML 1.0, section 2.2), or what parsers along the way like to change.
_NOT_FOR_XML = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]|^\\s|\\s$")


class BucketEraser:
    """Deletes objects in batches. Each is looked at right before: DeleteObjects knows no conditions on most servers, so
    what was written since it was listed is kept by this look, but for one round trip (H44). And each is looked for
    right after: an answer that names a key as deleted is a claim (H05).
    """

    def __init__(self, store: S3Store) -> None:
        self._store = store
        self._has_asked = False

    async def erase(self, actions: Sequence[Action]) -> list[Outcome]:
        """Delete up to 1,000 targets, in key order; an outcome for each."""
        began_s, began = time.time(), time.perf_counter()
        targets = {action.key: action.target for action in actions if action.target is not None}
        failed: dict[str, SternaError] = {}
        gone: set[str] = set()
        now = await self._as_they_are(list(targets), failed)
        due = []
        for key, target in targets.items():
            if key in failed:
                continue
            found = now.get(key)
            if found is None:
                gone.add(key)
            elif is_same(target, found):
                due.append(key)
            else:
                failed[key] = ObjectChanged(
                    f"{printable(key)} was written again after it was listed; it was left.",
                    operation="Delete", key=key, code="Replaced",
                )  # fmt: skip
        await self._delete(due, failed)
        await self._see(due, targets, failed)
        await self._tell_of_versions()
        outcomes = []
        for action in actions:
            outcome = Outcome(
                action.verb.value, action.key, Status.DONE, size=action.bytes_concerned, because=action.because,
                started_s=began_s, seconds=time.perf_counter() - began,
            )  # fmt: skip
            if (error := failed.get(action.key)) is not None:
                outcome.fail(error)
            else:
                outcome.proof = "it was gone already" if action.key in gone else "seen to be gone"
            outcomes.append(outcome)
        return outcomes

    async def _as_they_are(self, keys: Sequence[str], failed: dict[str, SternaError]) -> dict[str, Entry]:
        """The entries of those keys that are there: by listings where the keys lie close together, else by HEADs."""
        found: dict[str, Entry] = {}
        at = 0
        try:
            while at < len(keys):
                entries, more = await self._store.list_some(just_before(keys[at]))
                shown = {entry.key: entry for entry in entries}
                last = entries[-1].key if more and entries else None
                first = at
                while at < len(keys) and (at == first or last is None or keys[at] <= last):
                    if keys[at] in shown:
                        found[keys[at]] = shown[keys[at]]
                    at += 1
                if at - first < _FEW and at < len(keys):
                    break
        except (AccessDenied, Corrupt):
            pass  # HEADs tell
        await asyncio.gather(*(self._look(key, found, failed) for key in keys[at:]))
        return found

    async def _look(self, key: str, found: dict[str, Entry], failed: dict[str, SternaError]) -> None:
        try:
            look = await self._store.head(key)
        except (CredentialsExpired, WrongSetting):
            raise
        except SternaError as error:
            failed[key] = error
            return
        if look is not None:
            found[key] = look.entry

    async def _delete(self, keys: Sequence[str], failed: dict[str, SternaError]) -> None:
        """By one request for all that its XML can carry; errors of single keys stay with their keys."""
        singly = [key for key in keys if _NOT_FOR_XML.search(self._store.prefix + key)]
        together = [key for key in keys if key not in set(singly)]
        if len(together) == 1:
            singly, together = [*singly, *together], []
        if together:
            try:
                refused = await self._store.remove_many(together)
            except (AccessDenied, CredentialsExpired, WrongSetting):
                raise
            except Corrupt:
                refused = {}  # the look afterwards decides
            except SternaError as error:
                if error.status not in (400, 404, 405, 411, 413, 415):  # the document or the operation is refused
                    failed |= dict.fromkeys(together, error)
                    return
                refused, singly = {}, [*singly, *together]
            for key, why in refused.items():
                if why.code in _TRANSIENT:
                    singly.append(key)
                elif why.code or why.words:
                    failed[key] = SternaError(
                        f"The server did not remove it: {printable(why.words or why.code)}",
                        operation="DeleteObjects", key=key, code=why.code, words=why.words,
                    )  # fmt: skip
        await asyncio.gather(*(self._delete_one(key, failed) for key in singly))

    async def _delete_one(self, key: str, failed: dict[str, SternaError]) -> None:
        try:
            await self._store.remove(key)
        except (CredentialsExpired, WrongSetting):
            raise
        except SternaError as error:
            failed[key] = error

    async def _see(self, keys: Sequence[str], targets: dict[str, Entry], failed: dict[str, SternaError]) -> None:
        """Look again. What still is as it was is deleted once more, singly: some servers misread odd keys."""
        asked = [key for key in keys if key not in failed]
        there = await self._as_they_are(asked, failed)
        await asyncio.gather(*(self._insist(key, targets[key], there[key], failed) for key in asked if key in there))

    async def _insist(self, key: str, target: Entry, found: Entry, failed: dict[str, SternaError]) -> None:
        try:
            if not is_same(target, found):
                raise ObjectChanged(
                    f"{printable(key)} was written again by somebody else meanwhile; it was left.",
                    operation="Delete", key=key, code="Replaced",
                )  # fmt: skip
            await self._store.remove(key)
            left: dict[str, Entry] = {}
            await self._look(key, left, failed)
            if key in left:
                raise NotProven(
                    f"{printable(key)}: the server says that it is deleted, and still has it.",
                    operation="Delete", key=key, code="StillThere",
                )  # fmt: skip
        except (CredentialsExpired, WrongSetting):
            raise
        except SternaError as error:
            failed[key] = error

    async def _tell_of_versions(self) -> None:
        """Once, whether deleting only adds markers here. Who may not ask is not told."""
        if self._has_asked:
            return
        self._has_asked = True
        client = self._store.client
        try:
            response = await client.call(Request("GetVersioning", "GET", self._store.bucket, query="versioning="))
            answer = parse_document(response.body, "VersioningConfiguration", "GetVersioning")
        except SternaError:
            return
        if answer.findtext("Status") in ("Enabled", "Suspended"):
            sentence = (
                f"The bucket {self._store.bucket} keeps versions: delete markers were added, older versions stay."
            )
            client.emit(Notice(sentence, code="delete_marker"))


class FolderEraser:
    """Removes files that are still what the listing showed, one by one, and the folders that this leaves empty."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    async def erase(self, actions: Sequence[Action]) -> list[Outcome]:
        """Remove the targets; an outcome for each."""
        return await asyncio.to_thread(self._erase, actions)

    def _erase(self, actions: Sequence[Action]) -> list[Outcome]:
        outcomes = []
        emptied: set[str] = set()
        for action in actions:
            began = time.perf_counter()
            outcome = Outcome(
                action.verb.value, action.key, Status.DONE, size=action.bytes_concerned, because=action.because,
                started_s=time.time(), proof="seen to be gone",
            )  # fmt: skip
            try:
                assert action.target is not None, "a deletion has a target"
                self._folder.remove(action.key, action.target)
                if self._folder.look(action.key) is not None:
                    raise NotProven(f"{printable(action.key)} was removed, and is there again.", key=action.key)
                emptied.add(action.key.rpartition("/")[0])
            except ObjectGone:
                outcome.proof = "it was gone already"
            except SternaError as error:
                outcome.fail(error)
            outcome.seconds = time.perf_counter() - began
            outcomes.append(outcome)
        for path in sorted(emptied, key=len, reverse=True):
            self._prune(path)
        return outcomes

    def _prune(self, path: str) -> None:
        """Remove a folder and those above it as long as they are empty; the root stays. One that is not empty says so."""
        while path:
            try:
                self._folder.remove(path + "/", Entry(path + "/", 0, 0))
            except SternaError:
                return
            path = path.rpartition("/")[0]


def is_same(listed: Entry, now: Entry) -> bool:
    """Whether an object is still the one that was listed: the same ETag and size, and not written later (H44)."""
    same = now.etag == listed.etag and now.size == listed.size
    return same and now.mtime_ns // 10**9 <= listed.mtime_ns // 10**9
