"""Have everything compared by its content of which no earlier run has kept that it is the same: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Sequence

from sterna.model.actions import Action, Verb
from sterna.model.entry import Entry
from sterna.model.synced import Synced
from sterna.planning.compare import Plan
from sterna.planning.known import AllSame, Known, Same, is_proved, judged
from sterna.planning.merge import Pair

UNPROVED = "no earlier run has seen that it is the same, so the content is compared"


def thorough(page: Sequence[Pair], plan: Plan, known: Known | None) -> Plan:
    """The plan of a page in which what would be kept, or looked at for its time alone, is compared by its content, unless
    an earlier run has proved both sides and both are that version still. Time and size alone prove nothing here.
    """
    if isinstance(known, AllSame) and not plan.actions:
        return plan
    decided = {action.key: action for action in plan.actions}
    actions: list[Action] = []
    doubted = set()
    kept = kept_bytes = 0
    for source, target in page:
        if source is None:
            continue
        action = decided.get(source.key)
        if action is not None and action.verb is not Verb.LOOK:
            actions.append(action)
        elif target is not None and source.size and not _is_proved(source, target, (known or {}).get(source.key)):
            doubted.add(source.key)
            actions.append(Action(Verb.COMPARE, source.key, UNPROVED, source, target))
        elif action is not None:  # two files without a byte, of whose times nothing is proved
            actions.append(action)
        else:
            kept += 1
            kept_bytes += source.size
    found = [pair for pair in plan.found if pair[0] is not None and pair[0].key not in doubted]
    return Plan(actions, kept, kept_bytes, found)


def _is_proved(source: Entry, target: Entry, row: Synced | Same | None) -> bool:
    return is_proved(row) and judged(source, target, row) == ""


def kept_of(page: Sequence[Pair], plan: Plan) -> list[Entry]:
    """What of a page is kept as it is."""
    if not plan.actions:
        return [source for source, _ in page if source is not None]
    acted = {action.key for action in plan.actions}
    return [source for source, _ in page if source is not None and source.key not in acted]
