"""The command as a process of its own, with a scripted job: ``python -m tests.cli.scripted SCRIPT ARGUMENTS …``."""

from __future__ import annotations

import asyncio
import sys
import threading
import time

from sterna.cli.jobs import Jobs
from sterna.cli.main import main
from sterna.model.events import Emit, ObjectsEnded, Tally
from sterna.model.outcomes import Outcome, Status
from sterna.model.stop import Stop
from tests.cli.fakes import FakeJobs, Row


class OnTheRealLoop(FakeJobs):
    """Fake jobs, but on the event loop of the command: signals are that loop's business."""

    run = Jobs.run


def done(count: int) -> list[Outcome]:
    return [Outcome("upload", f"key-{number}", Status.DONE, size=10, moved=10) for number in range(count)]


async def parks(emit: Emit, tally: Tally, stop: Stop) -> None:
    """Work that ends soon after it is asked to."""
    tally.planned_objects, tally.planned_bytes, tally.planning_done = 20, 2000, True
    emit(ObjectsEnded(done(12)))
    tally.done_objects = tally.ended_objects = 12
    asked = asyncio.Event()
    stop.on_request(asked.set)
    print("ready", file=sys.stderr, flush=True)
    await asked.wait()


async def stalls(emit: Emit, tally: Tally, stop: Stop) -> None:
    """Work that does not hear, like a part whose server says nothing."""
    tally.planned_objects, tally.planning_done = 20, True
    tally.done_objects = tally.ended_objects = 12
    print("ready", file=sys.stderr, flush=True)
    await asyncio.sleep(60)


async def parks_and_stalls(emit: Emit, tally: Tally, stop: Stop) -> None:
    """Work of which some is given up when it is asked to end, and one object does not hear."""
    tally.planned_objects = 6
    tally.done_objects, tally.there_objects, tally.failed_objects, tally.left_objects = 1, 1200, 2, 1
    tally.ended_objects = 5  # one of those that are there was looked at
    print("ready", file=sys.stderr, flush=True)
    await asyncio.sleep(60)


async def finds_one(emit: Emit, tally: Tally, stop: Stop) -> None:
    """A single object, and it does not hear."""
    tally.planned_objects, tally.planning_done, tally.there_objects = 1, True, 1
    print("ready", file=sys.stderr, flush=True)
    await asyncio.sleep(60)


async def blocks_a_thread(emit: Emit, tally: Tally, stop: Stop) -> None:
    """Work that ends when asked, but leaves a thread in the kernel that the interpreter's exit would wait for."""
    threading.Thread(target=time.sleep, args=(60,)).start()
    await parks(emit, tally, stop)


async def moves(emit: Emit, tally: Tally, stop: Stop) -> None:
    """Work of a second and a half, to be watched."""
    tally.planned_objects, tally.planned_bytes, tally.lanes = 30, 30 << 20, 16
    for number in range(30):
        tally.planning_done = number > 10
        tally.moved_bytes += 1 << 20
        tally.done_objects += 1
        tally.ended_objects += 1
        tally.in_flight = 7
        if number == 15:
            emit(ObjectsEnded([Outcome("upload", "bad\x1b[2J", Status.FAILED, error="No.")]))
        await asyncio.sleep(0.05)


SCRIPTS = {
    "good": OnTheRealLoop(outcomes=done(3), summary={"kept": 2}),
    "failing": OnTheRealLoop(outcomes=[*done(3), Outcome("upload", "bad", Status.FAILED, error="No.")]),
    "surprise": OnTheRealLoop(outcomes=done(1), error=ZeroDivisionError("canary-secret")),
    "parks": OnTheRealLoop(before=parks, summary={"uploaded": 12, "left": 8}),
    "stalls": OnTheRealLoop(before=stalls),
    "parks and stalls": OnTheRealLoop(before=parks_and_stalls),
    "finds one": OnTheRealLoop(before=finds_one),
    "blocks": OnTheRealLoop(before=blocks_a_thread, summary={"uploaded": 12, "left": 8}),
    "moves": OnTheRealLoop(before=moves, summary={"uploaded": 30}),
    "lists": OnTheRealLoop(pages=[[Row(f"key-{number}", number) for number in range(1000)]] * 100),
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[2:], SCRIPTS[sys.argv[1]]))
