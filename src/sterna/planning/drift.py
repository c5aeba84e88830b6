"""Tell whether the world still is what an action was planned for."""

from __future__ import annotations

from sterna.model.actions import Action
from sterna.model.entry import Entry
from sterna.planning.compare import same_time


def drift(action: Action, source: Entry | None, target: Entry | None) -> str | None:
    """What is otherwise than when the plan was made, in words; None where nothing is.

    ``source`` and ``target`` are what a look shows now. An action that carries needs its source as it was. At the
    destination stands what stood there, or nothing where nothing did: what somebody put there since is not replaced.
    """
    if (how := change(action.source, source)) is not None:
        return f"the source {how}"
    if (how := change(action.target, target)) is not None:
        return f"the destination {how}"
    return None


def change(then: Entry | None, now: Entry | None) -> str | None:
    """How one side is otherwise than it was; None where it is not."""
    if then is None:
        return None if now is None else "has it now, and did not when the plan was made"
    if now is None:
        return "does not have it any more"
    if then.size != now.size:
        return f"has another size: {now.size}, planned for {then.size}"
    if then.version and now.version and then.version != now.version:
        return "has another version"
    if then.etag and now.etag:
        return None if then.etag == now.etag else "has another ETag"
    return None if same_time(then.mtime_ns, now.mtime_ns) else "was changed since"
