"""Bring archived objects to where they can be read: look at them, ask for them, and wait for them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence

import msgspec

from sterna.jobs.ledger import Ledger
from sterna.model.actions import Action
from sterna.model.errors import RetryLater, SternaError
from sterna.model.events import Summary
from sterna.model.outcomes import Outcome, Status
from sterna.model.stop import Stop
from sterna.model.units import KIB, duration_words, printable, size_words
from sterna.planning.archive import ARCHIVES, Archive, State, Tier, archive_of, expires, takes, wait_of
from sterna.planning.estimate import Prices
from sterna.reporting.summary import verdict
from sterna.reporting.words import count_words
from sterna.stores.s3 import S3Store
from sterna.wire.checksum import content_md5
from sterna.wire.client import Request
from sterna.wire.encoding import encode_query

_MOST_HELD = 100_000  # objects that one run waits for, about 80 MB: the others are for the next one
_LOOKS = 1_000  # HEADs in a round at objects that are not there yet: requests in a bounded number, however many wait
_TOGETHER = 200  # of them at once; the gate lets through what it can
_MOST_FAULTS = 12  # looks in a row at one object that came to nothing, an outage of some hours
_SLOWER = 1.5  # each round in which nothing came is followed by a longer pause,
_SLOWEST = 15  # up to so many times the first
_ERROR_ROOM = 64 * KIB  # for what a server says instead of a byte
ARCHIVED_CODE = "InvalidObjectState"


class Thawing(msgspec.Struct, frozen=True):
    """What a restore does about archived objects, beside counting them.

    ``is_requested``: it asks the server to bring them back, by ``tier``, for ``days``. ``waits``: it goes on until they
    have come, and looks after ``interval_s``, then less and less often.
    """

    is_requested: bool = False
    tier: Tier = Tier.STANDARD
    days: int = 7  # long enough for a retry after a week-end
    waits: bool = False
    interval_s: float = 60.0  # the fastest tier takes one to five minutes; it grows to a quarter of an hour


class Count(msgspec.Struct):
    """How many objects, and how large."""

    objects: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        self.objects += 1
        self.bytes += size

    def __str__(self) -> str:
        return f"{count_words(self.objects)} ({size_words(self.bytes)})"


class _Held(msgspec.Struct):
    """One that is waited for, where it is archived, and how many looks at it in a row came to nothing."""

    action: Action
    archive: str
    faults: int = 0


class Thaw:
    """The archived objects of one run: those to be read are let through, the others become outcomes, or are held until
    they have come. In a dry run nothing is asked for.
    """

    def __init__(self, bucket: S3Store, ledger: Ledger, how: Thawing, stop: Stop, *, is_dry: bool) -> None:
        self._bucket = bucket
        self._ledger = ledger
        self._how = how
        self._stop = stop
        self._is_dry = is_dry
        self._held: deque[_Held] = deque()
        self.archived: dict[str, Count] = {}  # by archive: nobody has asked for them
        self.coming: dict[str, Count] = {}
        self.requested: dict[str, Count] = {}  # of those, by this run
        self._trying = asyncio.Lock()
        self._refuses: bool | None = None  # what was found out of the server
        self._ended = asyncio.Event()
        stop.on_request(self._ended.set)

    def __repr__(self) -> str:
        return f"<Thaw {len(self._held)} held, archived: {self.archived}, coming: {self.coming}>"

    @property
    def held(self) -> Count:
        """What is waited for."""
        return Count(len(self._held), sum(one.action.size for one in self._held))

    # Before anything is read

    async def sorted_out(self, actions: Sequence[Action]) -> tuple[list[Action], list[Outcome]]:
        """The actions whose objects can be read, and what became of the others that are not held."""
        doubtful = [one for one in actions if one.source is not None and one.source.storage_class in ARCHIVES]
        if not doubtful:
            return list(actions), []
        judged = await asyncio.gather(*(self._judged(action) for action in doubtful))
        keys = {action.key for action in doubtful}
        ready = [action for action in actions if action.key not in keys]
        ready += [one for one in judged if isinstance(one, Action)]
        return ready, [one for one in judged if isinstance(one, Outcome)]

    async def met(self, action: Action, refused: Outcome) -> Outcome | None:
        """What becomes of an object that turned out to be archived as it was read; None where it is held."""
        self._refuses = True
        judged = await self._judged(action)
        return refused if isinstance(judged, Action) else judged

    async def _judged(self, action: Action) -> Action | Outcome | None:
        try:
            archive = await self._archive_of(action)
            if archive.state is State.ARCHIVED and not await self._is_refused(action):
                return action
            if archive.state is State.ARCHIVED and self._how.is_requested and not self._is_dry:
                archive = await self._requested(action, archive)
        except SternaError as error:
            return _outcome(action, Status.FAILED).fail(error)
        if archive.state is State.READABLE:
            return action
        counts = self.coming if archive.state is State.COMING else self.archived
        counts.setdefault(archive.name, Count()).add(action.size)
        if archive.state is State.ARCHIVED:
            return _outcome(action, Status.FAILED).fail(_is_archived(action, archive))
        if self._how.waits and not self._is_dry and len(self._held) < _MOST_HELD:
            self._held.append(_Held(action, archive.name))
            return None
        return _outcome(action, Status.LEFT, f"it is being brought back from {archive.name}")

    async def _archive_of(self, action: Action) -> Archive:
        assert action.source is not None
        found = await self._bucket.head(action.key, version=action.source.version)
        headers = found.headers if found is not None else {}  # what is gone is told by whoever reads it
        return archive_of(action.source.storage_class if found is not None else "", headers)

    async def _is_refused(self, action: Action) -> bool:
        """Whether what is called archived cannot be read here: to some servers that class is a name. One is tried."""
        assert action.source is not None
        async with self._trying:
            if self._refuses is None:
                span = (0, 1) if action.size else None
                try:
                    async with self._bucket.client.gate:
                        await self._bucket.get(action.key, limit=_ERROR_ROOM, span=span, version=action.source.version)
                except SternaError as error:
                    if error.code != ARCHIVED_CODE:
                        raise
                    self._refuses = True
                else:
                    self._refuses = False
            return self._refuses

    async def _requested(self, action: Action, archive: Archive) -> Archive:
        """Have an object brought back. What is under way already, or was done, is as good.

        https://docs.aws.amazon.com/AmazonS3/latest/API/API_RestoreObject.html
        """
        assert action.source is not None
        how = self._how
        if wait_of(archive.name, how.tier) is None:
            raise SternaError(
                f"{printable(action.key)} is in {archive.name}, which has no {how.tier.value} tier; ask again with"
                " --tier standard or bulk."
            )
        days = f"<Days>{how.days}</Days>" if expires(archive.name) else ""
        body = (
            f'<RestoreRequest xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{days}<GlacierJobParameters>'
            f"<Tier>{how.tier.value.capitalize()}</Tier></GlacierJobParameters></RestoreRequest>"
        ).encode()
        query = [("restore", "")]
        if action.source.version:
            query.append(("versionId", action.source.version))
        request = Request(
            "RestoreObject", "POST", self._bucket.bucket, self._bucket.key_of(action.key), query=encode_query(query),
            headers={"content-md5": content_md5(body), "content-type": "application/xml"}, body=body, good=(200, 202),
        )  # fmt: skip
        try:
            response = await self._bucket.client.call(request)
        except SternaError as error:
            if error.code == "ObjectAlreadyInActiveTierError":
                return Archive(archive.name, State.READABLE)
            if error.code != "RestoreAlreadyInProgress":
                raise
        else:
            self.requested.setdefault(archive.name, Count()).add(action.size)
            if response.status == 200:  # a copy is there, and stays for so many days from now
                return Archive(archive.name, State.READABLE)
        return Archive(archive.name, State.COMING)

    # While it is waited for

    async def thawed(self) -> AsyncGenerator[list[Action], None]:
        """What is held, a batch at a time as it comes; ends when nothing is held any more, or the run is to end."""
        pause_s = self._how.interval_s
        while self._held and not self._stop.is_requested:
            await self._pause(pause_s)
            has_come = False
            left = len(self._held)
            looks = _LOOKS
            while left and looks > 0 and not self._stop.is_requested:
                batch = [self._held.popleft() for _ in range(min(left, looks, _TOGETHER))]
                left -= len(batch)
                found = await asyncio.gather(*(self._looked(one) for one in batch))
                ready = [one for one in found if isinstance(one, Action)]
                looks -= len(batch) - len(ready)  # those that have come cost no more than their reading
                self._ledger.record([one for one in found if isinstance(one, Outcome)])
                if ready:
                    has_come = True
                    yield ready
            pause_s = self._how.interval_s if has_come else min(pause_s * _SLOWER, self._how.interval_s * _SLOWEST)

    async def _looked(self, held: _Held) -> Action | Outcome | None:
        """One more look at an object; None where it is still held, at the end of the queue."""
        try:
            archive = await self._archive_of(held.action)
        except RetryLater as error:  # an outage; what comes in hours may see one
            return self._held_on(held, error)
        except SternaError as error:
            self._no_longer(held)
            return _outcome(held.action, Status.FAILED).fail(error)
        if archive.state is State.READABLE:
            self._no_longer(held)
            return held.action
        if archive.state is State.ARCHIVED:
            return self._held_on(held, _is_archived(held.action, archive))
        held.faults = 0
        self._held.append(held)
        return None

    def _held_on(self, held: _Held, error: SternaError) -> Outcome | None:
        held.faults += 1
        if held.faults < _MOST_FAULTS:
            self._held.append(held)
            return None
        self._no_longer(held)
        return _outcome(held.action, Status.FAILED).fail(error)

    def _no_longer(self, held: _Held) -> None:
        """It is not waited for any more: what is told of those that are still coming is without it."""
        count = self.coming[held.archive]
        count.objects -= 1
        count.bytes -= held.action.size

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        except TimeoutError:
            pass

    def leave(self) -> None:
        """The run ends before what is held has come."""
        self._ledger.record([_outcome(one.action, Status.LEFT, self._stop.reason) for one in self._held])
        self._held.clear()

    # What is said of it

    def tell(self, prices: Prices) -> None:
        """Say what is archived, and what it takes."""
        notice = self._ledger.notice
        for name, count in sorted(self.archived.items()):
            ask = "" if self._how.is_requested else " --request-restore asks for it."
            told = f"Archived in {name}: {count}. Bringing that back takes {takes(name, count.bytes, prices)}.{ask}"
            notice(told, "warning", "archived")
        for name, count in sorted(self.requested.items()):
            wait = wait_of(name, self._how.tier)
            stays = f"; a copy stays readable for {self._how.days} days" if expires(name) else ""
            lasts = f": it takes {wait.words}" if wait is not None else ""
            notice(
                f"Asked for, from {name} by the {self._how.tier.value} tier: {count}{lasts}{stays}.", code="requested"
            )
        if self._held:
            every = duration_words(self._how.interval_s)
            notice(f"Waiting for {self.held}, looking every {every} at first, and then less often.", code="waiting")

    def verdict(self, summary: Summary) -> str:
        """The verdict on a run that had to do with archived objects; empty where the usual one says all."""
        archived, coming = _sum(self.archived), _sum(self.coming)
        others = summary.failed - archived.objects, summary.left - coming.objects
        if self._is_dry or self._stop.is_requested or not (archived.objects or coming.objects):
            return ""
        if any(others):
            sentence = f"{verdict(summary)[:-1]};"
        else:
            total = summary.done + summary.kept + summary.skipped + summary.failed + summary.left
            there = summary.done + summary.kept
            sentence = f"INCOMPLETE: {there:,} of {total:,} objects {'is' if there == 1 else 'are'} in place;"
        pieces = []
        if coming.objects:
            pieces.append(
                f"{coming} {_are(coming)} being brought back from the archive, come again in {self._when()} with the"
                " same command"
            )
        if archived.objects:
            pieces.append(f"{archived} {_are(archived)} archived, and --request-restore asks for {_them(archived)}")
        return f"{sentence} {'; '.join(pieces)}."

    def _when(self) -> str:
        """When all that is coming has come; of what others have asked for nobody knows by which tier."""
        tier = self._how.tier if self.requested else Tier.STANDARD
        waits = [wait for name, count in self.coming.items() if count.objects and (wait := wait_of(name, tier))]
        return max(waits, key=lambda wait: wait.most_s).words if waits else "some hours"


def _outcome(action: Action, status: Status, error: str = "") -> Outcome:
    return Outcome(
        action.verb.value, action.key, status, size=action.size, because=action.because, error=error, exit_code=0
    )


def _is_archived(action: Action, archive: Archive) -> SternaError:
    return SternaError(
        f"{printable(action.key)} is archived in {archive.name}, and can be read when it has been brought back:"
        " --request-restore asks for it.",
        operation="Head", key=action.key, code=ARCHIVED_CODE,
    )  # fmt: skip


def _sum(counts: dict[str, Count]) -> Count:
    return Count(sum(one.objects for one in counts.values()), sum(one.bytes for one in counts.values()))


def _are(count: Count) -> str:
    return "is" if count.objects == 1 else "are"


def _them(count: Count) -> str:
    return "it" if count.objects == 1 else "them"
