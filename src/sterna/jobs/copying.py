"""Put together what carries from one bucket into another: its plan, its mover and its proof."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from sterna.jobs.carriers import Carrier, kept_first, trash_of
from sterna.jobs.settings import Settings
from sterna.model.actions import Action, Verb
from sterna.model.errors import ObjectGone, SternaError, WrongSetting
from sterna.model.events import Tally
from sterna.model.outcomes import Outcome, Status
from sterna.model.stop import Stop
from sterna.model.units import printable
from sterna.moving.buffers import Buffers
from sterna.moving.copy import MADE_OF, Copier
from sterna.moving.mover import Mover
from sterna.moving.prove import Prover
from sterna.planning.compare import Compare, Plan
from sterna.planning.copies import Seen, plan_copies, why_copied
from sterna.planning.known import Known
from sterna.planning.merge import Pair
from sterna.stores.look import Look
from sterna.stores.s3 import S3Store


@asynccontextmanager
async def copy_carrier(
    source: S3Store,
    target: S3Store,
    settings: Settings,
    tally: Tally,
    stop: Stop,
    obstacle: WrongSetting | None = None,
) -> AsyncIterator[Carrier]:
    """From a bucket into another of the same server, which does the copying. Where there is an ``obstacle``, both are
    compared all the same, and the first object that would have to be copied ends the run with it.
    """
    copier = Copier(source, target, settings.upload, settings.limits, tally)

    async def refuse(action: Action) -> Outcome:
        assert obstacle is not None
        stop.request(obstacle.sentence, obstacle.exit_code)
        return Outcome(Verb.COPY.value, action.key, Status.FAILED, because=action.because).fail(obstacle)

    carry = refuse if obstacle is not None else kept_first(copier.carry, trash_of(target, settings))
    mover = Mover(carry, target.client.gate, stop)

    async def look(action: Action) -> Action | Outcome:
        return await _look_at_both(source, target, action, settings.compare)

    def planner(page: Sequence[Pair], now_ns: int, known: Known | None) -> Plan:
        return plan_copies(page, settings.compare, known=known)

    try:
        yield Carrier(
            Verb.COPY, target, mover, Buffers(settings.limits.max_memory), None, planner, Prover(target), looker=look,
            tells_same=settings.compare is not Compare.MTIME, resumable=copier,
        )  # fmt: skip
    finally:
        await mover.aclose()


async def _look_at_both(source: S3Store, target: S3Store, action: Action, compare: Compare) -> Action | Outcome:
    """Settle a LOOK between two buckets by a HEAD of each."""
    outcome = Outcome(Verb.COPY.value, action.key, Status.KEPT, size=action.size, because=action.because)
    try:
        there, here = await target.head(action.key), await source.head(action.key)
    except SternaError as error:
        return outcome.fail(error)
    if here is None:
        return outcome.fail(ObjectGone(f"{printable(action.key)} vanished before it was copied.", code="vanished"))
    because = why_copied(_seen(here), None if there is None else _seen(there), compare)
    if because:
        return Action(Verb.COPY, action.key, because, here.entry, None if there is None else there.entry)
    outcome.because = "same content, or made of it"
    return outcome


def _seen(found: Look) -> Seen:
    checksum = f"{found.checksum_name}:{found.checksum}" if found.whole else ""
    entry = found.entry
    made_of = found.metadata.get(MADE_OF.removeprefix("x-amz-meta-"), "")
    return Seen(entry.size, entry.mtime_ns, found.mtime_ns, entry.etag, found.plain_md5, checksum, made_of)
