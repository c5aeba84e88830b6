"""Settle by their content whether two sides are the same: for ``--compare checksum``, and where a journal leaves doubt."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sterna.model.actions import Action, Verb
from sterna.model.errors import Interrupted, ObjectChanged, ObjectGone, SternaError
from sterna.model.events import Emit, Notice
from sterna.model.outcomes import Outcome, Status
from sterna.model.stop import Stop
from sterna.moving.buffers import Buffers

if TYPE_CHECKING:
    from sterna.jobs.contents import Contents, Place

Looker = Callable[[Action], Awaitable[Action | Outcome]]

_READ = "Some objects show no checksum by which they could be compared, so they are read to compare them."


@contextmanager
def comparing(verb: Verb, source: Place, target: Place, buffers: Buffers, emit: Emit, stop: Stop) -> Iterator[Looker]:
    """What settles an action by the content of both places. It is told once if objects have to be read for that.

    Most runs never ask, so what it takes is made for the first who does.
    """
    made: list[Contents] = []

    def contents() -> Contents:
        if not made:
            from sterna.jobs.contents import Contents

            told: list[bool] = []

            def on_read() -> None:
                if not told:
                    told.append(True)
                    emit(Notice(_READ, code="read"))

            made.append(Contents(source, target, buffers, on_read=on_read))
            stop.on_request(made[0].end)
        return made[0]

    async def look(action: Action) -> Action | Outcome:
        from sterna.planning.verify import Verdict

        assert action.source is not None
        assert action.target is not None
        outcome = Outcome(verb.value, action.key, Status.KEPT, size=action.size, because=action.because)
        try:
            verdict, because = await contents().compared(action.source, action.target)
        except (ObjectChanged, ObjectGone):
            because, verdict = "it was changed while it was compared", Verdict.UNKNOWN
        except Interrupted:
            outcome.status, outcome.error = Status.LEFT, stop.reason
            return outcome
        except SternaError as error:
            return outcome.fail(error)
        if verdict is Verdict.EQUAL:
            outcome.because = because
            return outcome
        return Action(verb, action.key, because, action.source, action.target)

    try:
        yield look
    finally:
        for one in made:
            one.close()
