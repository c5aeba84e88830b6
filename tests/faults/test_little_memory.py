"""Large and small objects together under little memory: none waits for what the other holds, for ever (H38, H106)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

import sterna
from sterna.jobs.settings import Settings
from sterna.model.events import Summary
from sterna.moving.settings import DownloadOptions, Limits
from sterna.moving.sink import SLICE
from tests.e2e.trees import tree
from tests.faults import front as f
from tests.faults.case import MIB, Case
from tests.faults.front import Front
from tests.servers.oracle import Bucket

SMALL, PART = 3 * MIB // 2, 5 * MIB  # one of each is more than there is


@pytest.fixture
def case(front: Front, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    with closing(Case(front, bucket, tmp_path, monkeypatch)) as case:
        yield case


def ended(run: Callable[[], Summary]) -> Summary:
    """What a run gives that must end; one that does not is left behind."""
    found: list[Summary] = []
    thread = threading.Thread(target=lambda: found.append(run()), daemon=True)
    thread.start()
    thread.join(10)
    assert found, "the run waits for itself"
    return found[0]


def mixed() -> dict[str, bytes]:
    large = {f"{number}/large": bytes(3 * PART) for number in range(2)}
    return large | {f"{number}/small-{again}": bytes(SMALL) for number in range(2) for again in range(3)}


@pytest.mark.slow
def test_H38_uploads_under_little_memory_do_not_wait_for_each_other(case: Case) -> None:
    case.write(mixed())
    case.ignores_checksums()  # so that parts go through buffers, not from their files
    case.front.fault(("Put", "UploadPart"), nth="always", kind=f.Latency(0.005))
    limits = Limits(workers=2, max_memory=6 * MIB, part_threshold=SMALL, part_size=PART)
    settings = case.settings(limits=limits)
    assert ended(lambda: case.up(settings).summary).exit_code == 0
    assert case.truth() == case.files()


@pytest.mark.slow
def test_H38_downloads_under_little_memory_do_not_wait_for_each_other(case: Case, tmp_path: Path) -> None:
    files = mixed()
    for name, body in files.items():
        case.bucket.put(f"p/{name}", body)
    case.front.fault(("Get", "GetRange"), nth="always", kind=f.Latency(0.005))
    limits = Limits(workers=2, max_memory=2 * SLICE + SMALL // 2, part_threshold=SMALL, part_size=PART)
    settings = case.settings(limits=limits)
    settings = Settings(source=settings.source, limits=limits, download=DownloadOptions(durable=False))
    target = tmp_path / "target"
    run = lambda: sterna.sync(case.bucket.url("p"), target, settings=settings)  # noqa: E731
    assert ended(run).exit_code == 0
    assert tree(target) == files
