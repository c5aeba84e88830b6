"""Delete at the destination what the source lacks: last, guarded, and only what is still as it was listed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from sterna import __version__
from sterna.jobs.ledger import Ledger
from sterna.model.actions import Action, Verb
from sterna.model.entry import Entry, Trouble
from sterna.model.errors import CredentialsExpired, Refused
from sterna.model.outcomes import Outcome, Status
from sterna.model.stop import Stop
from sterna.model.units import printable
from sterna.moving.aside import InTheWay
from sterna.moving.delete import FolderEraser
from sterna.planning.blockers import Blockers
from sterna.planning.deletions import BECAUSE, Deletions
from sterna.planning.filters import Filter
from sterna.planning.guard import Allowed, Counts, Refusal, Remembered, before_deleting, refuse
from sterna.planning.merge import Pair
from sterna.stores.folder import translate

if TYPE_CHECKING:
    import tempfile

_HELD = 20_000  # actions that wait in memory for the guards; beyond, they wait in a file
_FOLDERS = 100_000  # empty folders of the source that are remembered; where it has more, no folder is removed
_WHOLESALE = (2, 3)  # exit codes of errors that the next batch would meet as well: a setting, a permission


class Eraser(Protocol):
    """Whatever removes entries of the destination that are still as they were listed, and looks whether they are gone.
    Folders for which ``keeps_folder`` holds stay, though they are empty.
    """

    async def erase(
        self, actions: Sequence[Action], keeps_folder: Callable[[str], bool] | None = None
    ) -> list[Outcome]: ...


class Deleter:
    """The deletions of one run; to be used in a ``with``."""

    def __init__(
        self,
        eraser: Eraser,
        filters: Filter,
        allowed: Allowed,
        remembered: Remembered | None = None,
        *,
        already: Sequence[Refusal] = (),
        stop: Stop | None = None,
        keeps_markers: bool = True,
        held: int = _HELD,
    ) -> None:
        self._eraser = eraser
        self._allowed = allowed
        self._remembered = remembered or Remembered()
        self._already = already
        self._stop = stop or Stop()
        self._held = held
        self._counts = Counts()
        self._folders: set[str] | None = set()  # those of which the source says that they are there; None: too many
        self._unknown = 0
        self._blockers = Blockers()
        self.cleared: set[str] = set()  # deletions that are done with, or put aside
        self._aside = eraser.aside if isinstance(eraser, FolderEraser) else None  # in a bucket nothing is in the way
        self._refused = 0
        self._clearing = asyncio.Lock()
        self._deletions = Deletions(
            takes=None if filters.takes_everything else filters.takes_pair, keeps_markers=keeps_markers
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._aside is not None:
            self._aside.settle(self._keeps_folder, is_over=True)  # of a run that broke off
        self._deletions.close()

    def begin(self) -> None:
        """Before anything is listed: what speaks against the run by what earlier ones saw. Raises GuardRefused."""
        refuse(self._already)

    def unknown(self, troubles: Sequence[Trouble]) -> None:
        """Of these, and what is below them, nobody knows whether it is there."""
        self._deletions.unknown.add(troubles)

    def see(self, page: Sequence[Pair]) -> bool:
        """A page of what both sides have, as the filters let it pass. False when the run is to end here."""
        if self._stop.is_requested:
            return False
        self._counts.see(page)
        self._deletions.add(page)
        if self._aside is not None:
            self._blockers.see(page)
        if self._folders is not None:
            self._folders.update(source.key for source, _ in page if source is not None and source.key[-1] == "/")
            if len(self._folders) > _FOLDERS:
                self._folders = None
        return True

    async def guarded(self, plans: AsyncGenerator[Sequence[Action], None]) -> AsyncGenerator[Sequence[Action], None]:
        """Hold all plans back until both sides are listed to their end and no guard refuses; raises GuardRefused.

        Where the run is asked to end before, nothing has moved and nothing comes.
        """
        held: list[Sequence[Action]] = []
        count = 0
        async with aclosing(plans):
            async for plan in plans:
                if self._stop.is_requested:
                    return
                held.append(plan)
                count += len(plan)
                if count > self._held:
                    break
            else:
                if not self._stop.is_requested:
                    self._ask_guards()
                    for plan in held:
                        yield plan
                return
            from sterna.planning.planfile import Header, PlanFile, PlanWriter

            with _spool() as folder:
                path = Path(folder) / "plan"
                header = Header(sterna=__version__, source="", destination="", created_s=0)
                with PlanWriter(path, header, exact=True) as writer:
                    for plan in held:
                        writer.write(plan)
                    held.clear()
                    async for plan in plans:
                        writer.write(plan)
                    writer.finish()
                if self._stop.is_requested:
                    return
                self._ask_guards()
                with PlanFile.open(path) as file:
                    for page in file.pages():
                        yield page

    def due(self, ledger: Ledger) -> Iterator[list[Action]]:
        """For a plan, once both sides are listed to their end and all else is looked at: what is to be deleted. It is
        nothing, and that is said, where something else failed already. Raises GuardRefused.
        """
        self._ask_guards()
        self._tell_unknown(ledger)
        self._refuse_folders(ledger)
        if (failed := ledger.failed_moves + self._refused) and self._counts.deletions:
            self._leave(ledger, self._counts.deletions, _since(failed))
            return iter(())
        return self._deletions.batches()

    async def erase(self, actions: Sequence[Action], keeps_folder: Callable[[str], bool]) -> list[Outcome]:
        """Of a plan: delete what is still as it was; an outcome for each."""
        return await self._eraser.erase(actions, keeps_folder)

    async def clear(self, actions: Sequence[Action], ledger: Ledger) -> None:
        """Before these are moved: put aside what stands where they need a folder, or a file, where it is to be deleted
        anyway. It cannot wait for the end: what it is in the way of would fail, and then nothing is deleted. It comes back
        where that fails after all (``settle``), and stays where something has failed already.

        Both sides are listed and the guards have let everything pass when this is called, as ``guarded`` sees to.
        """
        if self._aside is None:
            return
        async with self._clearing:  # several pages move at once, and may wait for the same one
            in_the_way = self._in_the_way(actions)
            new = {action.place or action.key for action in actions if action.target is None}
            places = [one for one in new - {one.place for one in in_the_way} if not self._keeps_folder(one + "/")]
            hollow = await asyncio.to_thread(self._aside.hollow, places)
            await self.set_aside([*in_the_way, *(InTheWay(one, (), is_folder=True) for one in hollow)], ledger)

    async def set_aside(self, all_in_the_way: Sequence[InTheWay], ledger: Ledger) -> None:
        """Put these aside until ``settle``. What comes of those that cannot be is recorded."""
        for one in all_in_the_way:
            if self._aside is None or self._stop.is_requested or ledger.failed_moves:
                return
            done, outcomes = await asyncio.to_thread(self._aside.take, one)
            self.cleared.update(done)
            self.cleared.update(outcome.key for outcome in outcomes)
            ledger.planned(len(outcomes), 0)
            ledger.record(outcomes)

    async def settle(self, ledger: Ledger, keeps_folder: Callable[[str], bool] | None = None) -> None:
        """When all has been moved: delete for good what was put aside, where something stands in its place now. The rest
        is back, and as due for deletion as it was.
        """
        if self._aside is not None:
            outcomes, back = await asyncio.to_thread(self._aside.settle, keeps_folder or self._keeps_folder)
            self.cleared.difference_update(back)
            ledger.planned(len(outcomes), 0)
            ledger.record(outcomes)

    def _in_the_way(self, actions: Sequence[Action]) -> list[InTheWay]:
        """Of what is in the way of these, that which is to be deleted and was not met before."""
        found: dict[str, InTheWay] = {}
        for action in actions:
            if action.verb is not Verb.DOWNLOAD:
                continue
            place = action.place or action.key
            for one in self._blockers.above(place):
                if one.key not in self.cleared and self._deletions.holds(one):
                    found[one.key] = InTheWay(one.key, [_deletion(one)])
            below = self._blockers.below.get(place, ())
            if below and all(one.key not in self.cleared and self._deletions.holds(one) for one in below):
                found[place] = InTheWay(place, [_deletion(one) for one in below], is_folder=True)
        return list(found.values())

    def _refuse_folders(self, ledger: Ledger) -> None:
        """For a dry run: name the folders that stand where a file is needed, and hold more than is to be deleted."""
        if self._aside is None:
            return
        for place, below in self._blockers.below.items():
            one = InTheWay(place, [_deletion(entry) for entry in below], is_folder=True)
            if not all(self._deletions.holds(entry) for entry in below) or not self._aside.holds_only(one):
                outcome = Outcome(Verb.DOWNLOAD.value, place, Status.FAILED)
                sentence = (
                    f"{printable(place)} is a folder at the destination, with more in it than is to be deleted, and a file"
                    " is needed there; move it away, or leave this key out."
                )
                ledger.record([outcome.fail(Refused(sentence, operation="open", key=place))], unplanned=True)
                self._refused += 1

    def _ask_guards(self) -> None:
        self._deletions.listed()
        count = self._deletions.count()
        self._counts.deletions, self._unknown = count.objects, count.unknown
        refuse(before_deleting(self._counts, self._remembered, self._allowed))

    async def delete(
        self, ledger: Ledger, stop: Stop, instead: Callable[[Sequence[Action]], list[Outcome]] | None
    ) -> None:
        """Delete what is due, if all that was to arrive has arrived; ``instead`` says what a dry run makes of it."""
        if instead is None:
            await self.settle(ledger)
        else:
            self._refuse_folders(ledger)
        due = self._counts.deletions - len(self.cleared)
        self._tell_unknown(ledger)
        if not due:
            return
        if stop.is_requested:
            self._leave(ledger, due, "since the run was ended")
            return
        failed = ledger.not_arrived if instead is None else ledger.failed_moves + self._refused
        if failed:
            self._leave(ledger, due, _since(failed))
            return
        ended = 0
        for batch in self._deletions.batches():
            batch = [action for action in batch if action.key not in self.cleared]
            if not batch:
                continue
            if stop.is_requested:
                self._leave(ledger, due - ended, "since the run was ended")
                break
            ledger.planned(len(batch), 0)
            outcomes = await self._eraser.erase(batch, self._keeps_folder) if instead is None else instead(batch)
            ledger.record(outcomes)
            ended += len(batch)
            first = outcomes[0]
            if first.error_kind == CredentialsExpired.__name__:
                stop.request(first.error, first.exit_code)
            elif all(one.status is Status.FAILED and one.exit_code in _WHOLESALE for one in outcomes) and ended < due:
                self._leave(ledger, due - ended, "since they would end as those before")
                break

    def _tell_unknown(self, ledger: Ledger) -> None:
        if self._unknown:
            kept = _number(self._unknown, "entry of the destination was", "entries of the destination were")
            ledger.notice(f"{kept} kept: whether the source still has them could not be told.", code="unknown-kept")

    def _leave(self, ledger: Ledger, count: int, why: str) -> None:
        were = _number(count, "deletion was", "deletions were")
        ledger.notice(f"{were} left undone, {why}.", "warning", "deletions-left")

    def _keeps_folder(self, path: str) -> bool:
        return self._folders is None or path in self._folders


def _spool() -> tempfile.TemporaryDirectory[str]:
    import tempfile

    try:
        return tempfile.TemporaryDirectory(prefix="sterna-")
    except OSError as error:
        raise translate(error, "make a folder for the plan in", tempfile.gettempdir()) from error


def _deletion(entry: Entry) -> Action:
    return Action(Verb.DELETE, entry.key, BECAUSE, None, entry)


def _since(failed: int) -> str:
    return f"since {failed:,} of what was to be carried first failed"


def _number(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
