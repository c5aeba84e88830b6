"""Carry of a source what can be read, and give the rest to whoever knows of archives."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from sterna.jobs.carriers import Carrier
from sterna.jobs.thaw import ARCHIVED_CODE, Thaw
from sterna.model.actions import Action
from sterna.model.outcomes import Outcome


class ThawingCarrier(Carrier, frozen=True, kw_only=True):
    """A carrier that reads of archived objects only what has been brought back."""

    thaw: Thaw

    async def resolve(self, actions: Sequence[Action]) -> tuple[list[Action], list[Outcome]]:
        todo, settled = await super().resolve(actions)
        by_key = {action.key: action for action in actions}
        kept = []
        for one in settled:
            if one.error_code != ARCHIVED_CODE:
                kept.append(one)
            elif (judged := await self.thaw.met(by_key[one.key], one)) is not None:
                kept.append(judged)
        ready, others = await self.thaw.sorted_out(todo)
        return ready, kept + others

    async def move(self, actions: Sequence[Action]) -> list[Outcome]:
        outcomes = await super().move(actions)
        if all(one.error_code != ARCHIVED_CODE for one in outcomes):
            return outcomes
        by_key = {action.key: action for action in actions}
        return [
            settled
            for one in outcomes
            if (settled := await self.thaw.met(by_key[one.key], one) if one.error_code == ARCHIVED_CODE else one)
        ]


def thawing(carrier: Carrier, thaw: Thaw) -> Carrier:
    """The same carrier, for a source of which some may be archived."""
    return ThawingCarrier(**msgspec.structs.asdict(carrier), thaw=thaw)
