"""Bring a backup back into a folder: as it is, or as it was at a moment; archived objects when they can be read."""

from __future__ import annotations

import re
import time
from contextlib import aclosing
from datetime import UTC, datetime

from sterna.jobs.identity import AWS, identity
from sterna.jobs.job import Opened, carried, carry
from sterna.jobs.settings import Settings
from sterna.jobs.source import as_source, must_hold_something
from sterna.jobs.standby import Standby
from sterna.jobs.sync import sync
from sterna.jobs.thaw import Thaw, Thawing
from sterna.jobs.thawing import thawing
from sterna.model.errors import SourceUnknown, SternaError, WrongSetting
from sterna.model.events import Emit, Event, RunEnded, Summary, Tally, ignore
from sterna.model.location import BucketPath, LocalPath
from sterna.model.stop import Stop
from sterna.model.units import printable
from sterna.planning.estimate import NO_PRICES, default_prices
from sterna.planning.moments import Moment, parse_moment
from sterna.stores.s3 import S3Store

_SAYS_ZONE = re.compile(r"(?:[Zz]|[+-][0-9]{2}:?[0-9]{2})")
_SECOND_NS = 1_000_000_000
_AT = ", or say --at TIME for what was there then"


async def restore(
    source: BucketPath,
    destination: LocalPath,
    settings: Settings | None = None,
    *,
    at: Moment | None = None,
    how: Thawing | None = None,
    is_held: bool = True,
    emit: Emit = ignore,
    tally: Tally | None = None,
    stop: Stop | None = None,
    dry_run: bool = False,
    standby: Standby | None = None,
) -> Summary:
    """Bring what is below ``source`` into a folder that lacks it, or has it in another version; nothing is deleted.

    ``at``: the objects as they were then, by the versions that the bucket keeps. ``how``: what is done about archived
    objects. ``is_held``: what has come is held against the newest manifest beside the data, if there is one. Raises as
    ``sync`` does; SourceUnknown where nothing was there then.
    """
    settings = settings or Settings()
    run = _Restore(at, how or Thawing(), destination, settings, emit, is_held=is_held)
    return await sync(
        source,
        destination,
        settings,
        emit=run.told,
        tally=tally,
        stop=stop,
        dry_run=dry_run,
        standby=standby,
        flow=run.flow,
        command="restore",
        view=run.seen,
    )


def moment_at(text: str) -> Moment:
    """The moment that ``--at`` says; raises WrongSetting for what is none, or is still to come."""
    now_ns = time.time_ns()
    try:
        moment = parse_moment(text, now_ns)
    except ValueError as error:
        raise WrongSetting(f"--at {printable(text)}: {error}.") from error
    if moment.ns > now_ns:
        raise WrongSetting(f"--at {printable(text)} is still to come; leave it off for what is there now.")
    return moment


class _Restore:
    """One restore: how its source is seen, what is done between the two sides, and what is said at the end."""

    def __init__(
        self, at: Moment | None, how: Thawing, folder: LocalPath, settings: Settings, emit: Emit, *, is_held: bool
    ) -> None:
        self._at = at
        self._how = how
        self._folder = folder
        self._settings = settings
        self._emit = emit
        self._is_held = is_held
        self._thaw: Thaw | None = None

    def told(self, event: Event) -> None:
        """Pass on what the run says, with a verdict that tells of archived objects."""
        if isinstance(event, RunEnded) and self._thaw is not None:
            event.summary.verdict = self._thaw.verdict(event.summary) or event.summary.verdict
        self._emit(event)

    async def seen(self, bucket: S3Store) -> S3Store:
        """The bucket as it is to be brought back; raises SourceUnknown where nothing is there, or was there then."""
        if self._at is None:
            await must_hold_something(bucket, instead=_AT)
            return bucket
        from sterna.stores.asof import AsOf

        past = AsOf(bucket, self._at.ns)
        try:
            async with aclosing(past.pages()) as pages:
                async for page in pages:
                    if page.entries or page.troubles:
                        return past
        except SternaError as error:
            told = as_source(error)
            raise told from (error if told is not error else error.__cause__)
        raise SourceUnknown(f"{printable(str(bucket.location))} had no objects below it at {_written(self._at)}.")

    async def flow(self, run: Opened) -> Summary:
        """The flow of a sync, and then, as they come, the objects that were waited for."""
        assert isinstance(run.source, S3Store)
        ledger = run.ledger
        thaw = self._thaw = Thaw(run.source, ledger, self._how, run.stop, is_dry=run.dry_run)
        if self._at is not None:
            run.memory.doubt(is_trouble=True)  # what was not there then says nothing of what is there now
            if self._at.meaning.startswith("at ") and not _SAYS_ZONE.search(self._at.text, 10):
                ledger.notice(
                    f"--at {self._at.text} is taken in this machine's zone: {_written(self._at)}.", code="zone"
                )
        await carried(run._replace(carrier=thawing(run.carrier, thaw)))
        is_priced = thaw.archived and await identity(run.source, run.source.location) == AWS
        thaw.tell(default_prices() if is_priced else NO_PRICES)
        if thaw.held.objects:
            await carry(thaw.thawed(), run)
            thaw.leave()
        if self._is_held and not run.dry_run and not run.stop.is_requested:
            from sterna.jobs.vouched import hold_against_manifest

            await hold_against_manifest(run, self._folder, self._settings)
        return await ledger.settle(durable=run.carrier.is_durable)


def _written(moment: Moment) -> str:
    """A moment as people write it, with its zone."""
    found = datetime.fromtimestamp(moment.ns // _SECOND_NS, UTC).astimezone()
    return found.isoformat()
