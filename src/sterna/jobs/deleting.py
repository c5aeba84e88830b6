"""Delete at the destination what the source lacks: last, guarded, and only what is still as it was listed."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Protocol, Self

from sterna import __version__
from sterna.jobs.ledger import Ledger
from sterna.model.actions import Action
from sterna.model.entry import Trouble
from sterna.model.outcomes import Outcome
from sterna.model.stop import Stop
from sterna.planning.deletions import Deletions
from sterna.planning.filters import Filter
from sterna.planning.guard import (
    Allowed,
    Counts,
    Places,
    Remembered,
    before_deleting,
    before_listing,
    refuse,
)
from sterna.planning.merge import Pair
from sterna.planning.planfile import Header, PlanFile, PlanWriter

_HELD = 20_000  # actions that wait in memory for the guards; beyond, they wait in a file


class Eraser(Protocol):
    """Whatever removes entries of the destination that are still as they were listed, and looks whether they are gone."""

    async def erase(self, actions: Sequence[Action]) -> list[Outcome]: ...


class Deleter:
    """The deletions of one run; to be used in a ``with``."""

    def __init__(
        self,
        eraser: Eraser,
        places: Places,
        filters: Filter,
        allowed: Allowed,
        remembered: Remembered | None = None,
        *,
        keeps_markers: bool = True,
    ) -> None:
        self._eraser = eraser
        self._places = places
        self._allowed = allowed
        self._remembered = remembered or Remembered()
        self._counts = Counts()
        self._deletions = Deletions(
            takes=None if filters.takes_everything else filters.takes_pair, keeps_markers=keeps_markers
        )

    def __enter__(self) -> Self:
        """Ask the guards that need no listing; raises GuardRefused."""
        refuse(before_listing(self._places, self._remembered, self._allowed))
        return self

    def __exit__(self, *_: object) -> None:
        self._deletions.close()

    def unknown(self, troubles: Sequence[Trouble]) -> None:
        """Of these, and what is below them, nobody knows whether it is there."""
        self._deletions.unknown.add(troubles)

    def see(self, page: Sequence[Pair]) -> None:
        """A page of what both sides have, as the filters let it pass."""
        self._counts.see(page)
        self._deletions.add(page)

    async def guarded(self, plans: AsyncGenerator[Sequence[Action], None]) -> AsyncGenerator[Sequence[Action], None]:
        """Hold all plans back until both sides are listed to their end and no guard refuses; raises GuardRefused."""
        held: list[Sequence[Action]] = []
        count = 0
        async with aclosing(plans):
            async for plan in plans:
                held.append(plan)
                count += len(plan)
                if count > _HELD:
                    break
            else:
                self._ask_guards()
                for plan in held:
                    yield plan
                return
            with tempfile.TemporaryDirectory(prefix="sterna-") as folder:
                path = Path(folder) / "plan"
                with PlanWriter(path, Header(sterna=__version__, source="", destination="", created_s=0)) as writer:
                    for plan in held:
                        writer.write(plan)
                    held.clear()
                    async for plan in plans:
                        writer.write(plan)
                    writer.finish()
                self._ask_guards()
                with PlanFile.open(path) as file:
                    for page in file.pages():
                        yield page

    def _ask_guards(self) -> None:
        self._deletions.listed()
        self._counts.deletions = self._deletions.count().objects
        refuse(before_deleting(self._counts, self._remembered, self._allowed))

    async def delete(
        self, ledger: Ledger, stop: Stop, instead: Callable[[Sequence[Action]], list[Outcome]] | None
    ) -> None:
        """Delete what is due, if all that was to arrive has arrived; ``instead`` says what a dry run makes of it."""
        due = self._counts.deletions
        if not due or stop.is_requested:
            return
        failed = ledger.failed_moves
        if failed and instead is None:
            ledger.notice(
                f"{due:,} deletion{'' if due == 1 else 's'} were left for the next run, since {failed:,} of what was to"
                " be carried first failed.",
                "warning",
                "deletions-left",
            )
            return
        for batch in self._deletions.batches():
            if stop.is_requested:
                break
            ledger.planned(len(batch), 0)
            ledger.record(await self._eraser.erase(batch) if instead is None else instead(batch))
