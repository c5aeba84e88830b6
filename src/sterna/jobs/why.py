"""Explain what a sync would do about one key, and because of what, by asking the same questions for it alone."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
from msgspec.structs import replace

from sterna.jobs.carriers import Carrier
from sterna.jobs.job import Opened
from sterna.jobs.listing import listed_as
from sterna.jobs.memory import Memory
from sterna.jobs.places import with_trash
from sterna.jobs.settings import Settings
from sterna.jobs.sync import sync
from sterna.model.actions import Verb
from sterna.model.entry import Entry
from sterna.model.errors import AccessDenied, Refused
from sterna.model.events import Summary, Tally
from sterna.model.location import Location
from sterna.model.outcomes import Status
from sterna.model.synced import Seen as Saw
from sterna.model.synced import Synced
from sterna.moving.prove import just_before
from sterna.planning.filters import Filter
from sterna.planning.known import Known, judged
from sterna.planning.merge import Pair
from sterna.stores.local import LocalStore
from sterna.stores.s3 import S3Store

Place = LocalStore | S3Store


class Seen(msgspec.Struct, kw_only=True):
    """What one side has under the key. ``trouble`` says why it cannot be carried, if it cannot.

    ``own_mtime_ns`` is the file's time that an object keeps, ``checksum`` the one that its server shows, ``NAME:value``.
    """

    there: bool = False
    size: int = 0
    mtime_ns: int = 0
    etag: str = ""
    storage_class: str = ""
    own_mtime_ns: int | None = None
    checksum: str = ""
    trouble: str = ""


class Reason(msgspec.Struct, kw_only=True):
    """What a sync would do about one key. ``would`` is upload, download, copy, delete, keep, refuse, skip or nothing.

    ``rule`` is the number of the filter's rule that decided, 0 where none did, and ``origin`` where that was said.
    ``listed`` is what the listings alone came to, where a look was needed to settle it; it goes by what the last run left
    in the journal where that has the key: ``last_source`` and ``last_destination``.
    """

    key: str
    source: Seen
    destination: Seen
    last_source: Seen | None = None
    last_destination: Seen | None = None
    included: bool
    filtered_by: str
    rule: int
    origin: str
    compare: str
    listed: str = ""
    would: str = "nothing"
    because: str = ""
    requests: int = 0


async def why(key: str, source: Location, destination: Location, settings: Settings | None = None) -> Reason:
    """Explain one key, relative to both locations. Nothing is changed, and a few requests are made; where an earlier run
    leaves doubt that only the content settles, that is read as a sync would read it.

    Raises SternaError where a side cannot be reached.
    """
    # The trash is out of sight of a run, and is opened by none that does nothing.
    settings = replace(with_trash(settings or Settings(), source, destination), trash="")
    reasons: list[Reason] = []

    async def explain(run: Opened) -> Summary:
        assert isinstance(run.source, LocalStore | S3Store)
        assert isinstance(run.target, LocalStore | S3Store)
        asked = replace(settings, filters=run.filters)
        reasons.append(await _explained(key, run.source, run.target, run.carrier, run.memory, asked))
        return await run.ledger.settle()

    tally = Tally()
    await sync(source, destination, settings, tally=tally, dry_run=True, flow=explain, command="why")
    [reason] = reasons
    reason.requests = tally.requests
    return reason


async def _explained(
    key: str, source: Place, target: Place, carrier: Carrier, memory: Memory, settings: Settings
) -> Reason:
    a, one = await _seen(source, key)
    b, other = await _seen(target, key)
    decision = settings.filters.explain(key, a or b, only_at_destination=a is None)
    reason = Reason(
        key=key,
        source=one,
        destination=other,
        included=decision.included,
        filtered_by=decision.because,
        rule=decision.number,
        origin=decision.origin,
        compare=settings.compare.value,
    )
    if not decision.included:
        reason.because = "a filter leaves it out, on both sides"
    elif one.trouble:
        reason.would, reason.because = "skip", one.trouble
    elif a is None:
        _without_source(reason, settings, keeps_markers=carrier.verb is not Verb.COPY)
    else:
        if isinstance(source, S3Store) and isinstance(target, LocalStore):
            await _pass_those_around(source, carrier, settings.filters, a, b)
        known = await memory.known_alone(key)
        if known is not None and b is not None:
            _say_last(reason, known, key)
        await _compared(reason, carrier, a, b, known)
    return reason


def _say_last(reason: Reason, known: Known, key: str) -> None:
    """What both sides had when they were last the same."""
    row = known.get(key)
    if isinstance(row, Synced) and row.is_sure and row.source is not None and row.target is not None:
        reason.last_source, reason.last_destination = _saw(row.source), _saw(row.target)


def _saw(seen: Saw) -> Seen:
    return Seen(there=True, size=seen.size, mtime_ns=seen.mtime_ns, etag=seen.etag, checksum=seen.checksum)


def _without_source(reason: Reason, settings: Settings, *, keeps_markers: bool) -> None:
    if not reason.destination.there:
        reason.because = "neither side has it"
    elif settings.deletion is None:
        reason.because = "the source does not have it, and nothing is deleted without --delete"
    elif reason.destination.trouble:
        reason.because = f"it is no file of ours to delete: {reason.destination.trouble}"
    elif keeps_markers and reason.key.endswith("/"):
        reason.because = "it stands for a folder, and files do not tell whether it is still wanted: it is never deleted"
    else:
        reason.would = "delete"
        reason.because = "the source does not have it; last of all, and only if no guard refuses"


async def _compared(reason: Reason, carrier: Carrier, source: Entry, target: Entry | None, known: Known | None) -> None:
    """The plan for this pair alone, with what earlier runs saw of it; and where it wants a look, that look."""
    actions = carrier.plan([(source, target)], time.time_ns(), known).actions
    if not actions:
        reason.would, reason.because = "keep", _kept(reason, source, target, known)
        return
    [action] = actions
    if action.verb in (Verb.LOOK, Verb.COMPARE):
        reason.listed = action.because
    todo, settled = await carrier.resolve(actions)
    for chosen in todo:
        reason.would, reason.because = chosen.verb.value, chosen.because
    for outcome in settled:
        if outcome.status is Status.KEPT:
            reason.would, reason.because = "keep", outcome.because
        else:
            reason.would, reason.because = "refuse", outcome.error or outcome.because


def _kept(reason: Reason, source: Entry, target: Entry | None, known: Known | None) -> str:
    if reason.compare == "exists":
        return "the destination has it, and --compare exists writes over nothing"
    if reason.compare != "auto":
        return "same size" if source.size else "both are empty"
    if target is not None and known is not None and judged(source, target, known.get(source.key)) == "":
        return "both sides are as they were when they were last synced"
    if target is not None and source.etag and source.etag == target.etag:
        return "same size and ETag"
    if target is not None and source.mtime_ns // 10**9 < target.mtime_ns // 10**9:
        return "same size, and it was stored after it was last changed"
    return "same size and time, as the listings tell them"


async def _seen(place: Place, key: str) -> tuple[Entry | None, Seen]:
    """What a side has: the entry as its listing shows it, and what a look adds."""
    if isinstance(place, LocalStore):
        return _seen_file(place, key)
    entry = await listed_as(place, place.key_of(key))
    if entry is None:
        return None, Seen()
    entry = msgspec.structs.replace(entry, key=key)
    seen = Seen(
        there=True, size=entry.size, mtime_ns=entry.mtime_ns, etag=entry.etag, storage_class=entry.storage_class
    )
    try:
        look = await place.head(key)
    except AccessDenied:
        return entry, seen  # who may list need not be allowed to look
    if look is not None:
        seen.own_mtime_ns = look.mtime_ns
        seen.checksum = f"{look.checksum_name}:{look.checksum}" if look.checksum else ""
    return entry, seen


def _seen_file(store: LocalStore, key: str) -> tuple[Entry | None, Seen]:
    try:
        entry = store.folder.look(key)
    except Refused as error:
        return None, Seen(there=True, trouble=error.sentence)
    if entry is None or entry.is_directory_marker:
        return None, Seen()
    return entry, Seen(there=True, size=entry.size, mtime_ns=entry.mtime_ns)


async def _pass_those_around(
    source: S3Store, carrier: Carrier, filters: Filter, entry: Entry, target: Entry | None
) -> None:
    """Have the plan see the objects that may be in the way of this one, and in whose way it may be: ``a`` is a file where
    ``a/b`` needs a folder."""

    async def pages() -> AsyncGenerator[list[Pair], None]:
        key = entry.key
        end = key.find("/")
        while 0 < end < len(key) - 1:
            above = await listed_as(source, source.key_of(key[:end]))
            if above is not None:
                above = replace(above, key=key[:end])
                yield filters.chosen([(one, None) for one in filters.visible([above])])
            end = key.find("/", end + 1)
        yield [(entry, target)]
        if (below := await _first_below(source, filters, key)) is not None:
            yield [(below, None)]

    async with aclosing(pages()) as around:
        async for _ in carrier.settled(around, dry_run=True):
            pass


async def _first_below(source: S3Store, filters: Filter, key: str) -> Entry | None:
    """The first object that needs a folder of this name, unless filters leave it out."""
    folder = key + "/"
    if key.endswith("/") or source.is_unordered or not filters.may_hold(folder):
        return None
    after, more = just_before(folder), True
    while more:
        entries, more = await source.list_some(after)
        for entry in entries:
            if entry.key < folder:
                continue
            if not entry.key.startswith(folder):
                return None
            if filters.visible([entry]) and filters.chosen([(entry, None)]):
                return entry
        after = entries[-1].key if entries else after
        more = more and bool(entries)
    return None
