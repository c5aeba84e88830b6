"""Give the journal's tests a directory in memory: they flush often, and a busy disk would make each wait for others."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_MEMORY = "/dev/shm"  # the disk is not what is tried here: kill -9 leaves what the system has in memory


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if os.access(_MEMORY, os.W_OK):
        with tempfile.TemporaryDirectory(prefix="sterna-journal-", dir=_MEMORY) as folder:
            yield Path(folder)
    else:
        yield tmp_path_factory.mktemp("journal")
