"""What the suites of this folder share: a process that forks, and a front that kills."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Fleet
from tests.crash.bench import Bench
from tests.crash.forker import Forker
from tests.faults.front import Front


@pytest.fixture(scope="session")
def forker() -> Iterator[Forker]:
    if not (hasattr(os, "fork") and sys.platform == "linux"):
        pytest.skip("processes are forked, and seen through /proc: Linux only")
    forker = Forker()
    yield forker
    forker.close()


@pytest.fixture(scope="session")
def room() -> Iterator[Path]:
    """A folder in memory where there is one: what a flush costs on a busy disk is of no interest here."""
    memory = Path("/dev/shm")
    inside = memory if os.access(memory, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="sterna-crash-", dir=inside))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def bench(forker: Forker, fleet: Fleet, room: Path) -> Iterator[Bench]:
    server = fleet.server("ministack")
    front = Front(server)
    yield Bench(forker, front, fleet.oracle(server), room)
    front.close()
    front.check()
