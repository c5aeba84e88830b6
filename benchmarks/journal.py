"""Measure what the journal costs: CPU of keeping objects beside a busy event loop, and of reading them back in order.

Run it with the project's Python: ``.venv/bin/python benchmarks/journal.py``. Figures are the least of some rounds.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import time
from pathlib import Path

from sterna.journal.journal import Journal
from sterna.journal.route import Route
from sterna.model.events import Summary
from sterna.model.synced import Seen, Synced

ROUTE = Route("/home/ann/photos", "s3://archive/photos", "", "https://s3.example.org")
RANGE = 1000
BUSY_S = 50e-6  # the loop's own work for each object, as an upload has it


def keys(count: int) -> list[str]:
    return [f"folder-{at // 1000:04d}/sub/file-{at:07d}.bin" for at in range(count)]


def work(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


async def objects(names: list[str], journal: Journal | None, busy_s: float) -> None:
    run = journal.begin() if journal is not None else None
    for start in range(0, len(names), RANGE):
        part = names[start : start + RANGE]
        if run is not None:
            flight = run.depart(part)
        synced = []
        for at, key in enumerate(part, start):
            if busy_s:
                work(busy_s)
                if at % 10 == 0:
                    await asyncio.sleep(0)
            if run is not None:
                synced.append(
                    Synced(
                        key,
                        Seen(
                            4096, 1_790_000_000_123_456_789 + at, "", "", "", 1_790_000_000_123_456_789 + at, at, 64768
                        ),
                        Seen(4096, 1_790_000_000_000_000_000, ETAGS[at], "CRC64NVME:AAAAAAAAAAA="),
                    )
                )
        if run is not None and journal is not None:
            run.done(synced)
            run.land(flight)
            await journal.room()
    if run is not None and journal is not None:
        run.end(Summary(command="sync", source="", destination=""))
        await journal.closed()


async def read(journal: Journal) -> int:
    count = 0
    async for page in journal.tree():
        count += len(page)
    return count


def cpu(names: list[str], state: Path | None, busy_s: float) -> tuple[float, float]:
    journal = Journal.open(ROUTE, state, command="benchmark") if state is not None else None
    wall, begun = time.perf_counter(), time.process_time()
    asyncio.run(objects(names, journal, busy_s))
    return (time.process_time() - begun) / len(names) * 1e6, time.perf_counter() - wall


def main() -> None:
    for count, busy_s, rounds in ((20_000, 0.0, 7), (20_000, BUSY_S, 5), (200_000, 0.0, 3)):
        names = keys(count)
        without = min(cpu(names, None, busy_s) for _ in range(rounds))
        fresh, again, reads, opens = [], [], [], []
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as folder:
                state = Path(folder)
                fresh.append(cpu(names, state, busy_s))
                again.append(cpu(names, state, busy_s))
                begun = time.process_time()
                journal = Journal.open(ROUTE, state, command="benchmark")
                opens.append((time.process_time() - begun) * 1e3)
                begun = time.process_time()
                assert asyncio.run(read(journal)) == count
                reads.append((time.process_time() - begun) / count * 1e6)
                journal.close()
                size = sum(path.stat().st_size for path in state.rglob("*.sqlite3")) / count
        print(
            f"{count:,} keys, {busy_s * 1e6:.0f} µs of other work each: without {without[0]:.2f} µs of CPU a key;"
            f" kept {min(fresh)[0] - without[0]:.2f} more, again {min(again)[0] - without[0]:.2f} more;"
            f" read {min(reads):.2f} µs; opened in {min(opens):.1f} ms; {size:.0f} bytes a key"
        )


ETAGS = [hashlib.md5(str(at).encode(), usedforsecurity=False).hexdigest() for at in range(200_000)]

if __name__ == "__main__":
    main()
