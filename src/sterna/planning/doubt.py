"""Have looked into what a run that was cut off had in hand: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import NamedTuple

from sterna.model.actions import Action, Verb
from sterna.planning.compare import Plan
from sterna.planning.known import SAME, Known
from sterna.planning.merge import Pair

CUT_OFF = "a run that was cut off, or failed, had it in hand: what stands there may be older than the file"
NO_HEADERS = "it was joined of parts that another run had begun, and nobody has seen its headers"


class Doubts(NamedTuple):
    """Keys that earlier runs had in hand and did not bring to an end.

    A request may have been carried out after its run was gone, and then what stands there is younger than the file, and
    made of an older version of it: sizes and times say nothing. ``headless``: of these the headers are not known either.
    """

    keys: Container[str] = ()
    headless: Container[str] = ()


NONE = Doubts()


def doubted(page: Sequence[Pair], plan: Plan, known: Known | None, doubts: Doubts, verb: Verb) -> Plan:
    """The plan of a page in which what it would keep by size and time, and is in doubt, is compared by its content (of
    two buckets: by what the server shows of both), or brought again. What the last-synced tree has as it is now was seen
    by a run that ended, and is in no doubt.
    """
    acted = {action.key: action for action in plan.actions}
    others: dict[str, Action] = {}
    kept, kept_bytes = plan.kept, plan.kept_bytes
    for source, target in page:
        if source is None or target is None or not (source.key in doubts.keys or source.key in doubts.headless):
            continue
        action = acted.get(source.key)
        if action is not None and action.verb is not Verb.LOOK:
            continue
        if source.key in doubts.headless:
            others[source.key] = Action(verb, source.key, NO_HEADERS, source, target)
        elif (known or {}).get(source.key) is SAME or not source.size:
            continue
        else:
            way = Verb.LOOK if verb is Verb.COPY else Verb.COMPARE
            others[source.key] = Action(way, source.key, CUT_OFF, source, target)
        if action is None:
            kept, kept_bytes = kept - 1, kept_bytes - source.size
    if not others:
        return plan
    actions = [others.pop(action.key, action) for action in plan.actions]
    found = [pair for pair in plan.found if pair[0] is None or pair[0].key not in others]
    return Plan([*actions, *others.values()], kept, kept_bytes, found)
