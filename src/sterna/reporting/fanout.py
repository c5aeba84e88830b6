"""Make one listener of several."""

from __future__ import annotations

from sterna.model.events import Emit, Event, ignore


def fanout(*listeners: Emit) -> Emit:
    """What is told to the result is told to each listener, in this order. Listeners are not to raise."""
    if not listeners:
        return ignore
    if len(listeners) == 1:
        return listeners[0]

    def emit(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return emit
