"""Settle by their content what a plan wants looked at (``--compare checksum``)."""

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
from sterna.planning.compare import Compare

if TYPE_CHECKING:
    from sterna.jobs.contents import Place

Looker = Callable[[Action], Awaitable[Action | Outcome]]

_READ = "Some objects show no checksum by which they could be compared, so they are read to compare them."


@contextmanager
def looking_into(
    verb: Verb, source: Place, target: Place, compare: Compare, buffers: Buffers, emit: Emit, stop: Stop
) -> Iterator[Looker | None]:
    """What settles a LOOK between two places; None where times or sizes do that. It is told once if objects are read."""
    if compare is not Compare.CHECKSUM:
        yield None
        return
    from sterna.jobs.contents import Contents
    from sterna.planning.verify import Verdict

    told = False

    def on_read() -> None:
        nonlocal told
        if not told:
            told = True
            emit(Notice(_READ, code="read"))

    contents = Contents(source, target, buffers, on_read=on_read)
    stop.on_request(contents.end)

    async def look(action: Action) -> Action | Outcome:
        assert action.source is not None
        assert action.target is not None
        outcome = Outcome(verb.value, action.key, Status.KEPT, size=action.size, because=action.because)
        try:
            verdict, because = await contents.compared(action.source, action.target)
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
        contents.close()
