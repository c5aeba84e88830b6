"""What a run may use, told anew while it goes on: by a file, the time of day, or whoever asks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from sterna.jobs import control as module
from sterna.jobs.control import Control, governed, limits_in
from sterna.model.errors import WrongSetting
from sterna.model.events import Event, Notice
from sterna.model.units import KIB, MIB
from sterna.moving.settings import Limits
from sterna.wire.client import Client
from sterna.wire.limits import Allowance
from sterna.wire.side import Side
from sterna.wire.timetable import parse_timetable

SAID = Limits(workers=64, max_memory=256 * MIB, bwlimit=parse_timetable("10MiB"))


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


class Watched:
    """A client, and what its user was told."""

    def __init__(self) -> None:
        self.client = Client(Side(), "bucket")
        self.events: list[Event] = []

    def told(self, event: Event) -> None:
        self.events.append(event)

    @property
    def sentences(self) -> list[str]:
        return [event.sentence for event in self.events if isinstance(event, Notice)]

    @property
    def allowance(self) -> Allowance:
        assert self.client.allowance is not None
        return self.client.allowance


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(2000):
        if holds():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("it did not come to hold")


@pytest.mark.parametrize(
    "text",
    [
        "workers = 8\nmax-memory = 64MiB # less\n\n# a comment\nbwlimit = 1MiB:off\nmax_requests_per_second=100",
        '--workers=8\nMAX-MEMORY="64M"\nbwlimit=1MiB:off\nmax-requests-per-second = 100\n',
        '{"workers": 8, "max_memory": "64MiB", "bwlimit": "1MiB:off", "max-requests-per-second": 100}',
        '\n {"workers": "8", "max-memory": 67108864, "bwlimit": "1MiB:off", "max-requests-per-second": "100"}',
    ],
)
def test_lines_and_json_say_the_same(text: str) -> None:
    assert limits_in(text, SAID) == replace(
        SAID, workers=8, max_memory=64 * MIB, bwlimit=parse_timetable("1MiB:off"), max_requests_per_second=100
    )


def test_what_the_file_does_not_name_stays_as_it_was_said() -> None:
    assert limits_in("", SAID) == SAID
    assert limits_in("{}", SAID) == SAID
    assert limits_in('{"workers": null}', SAID) == SAID
    assert limits_in("workers = 1", SAID) == replace(SAID, workers=1)
    assert limits_in("bwlimit = off\nmax-requests-per-second = off", SAID).bwlimit.is_set is False


@pytest.mark.parametrize(
    "text, words",
    [
        ("speed = 1M", "'speed' is none of bwlimit, max-requests-per-second, workers, max-memory"),
        ("workers = 0", "workers: '0' is no number from 1 to 10,000"),
        ("workers = many", "workers: 'many' is no number"),
        ("workers 8", "line 1 is no NAME = VALUE"),
        ("\nworkers =", "line 2 is no NAME = VALUE"),
        ("workers = 8\n--workers = 9", "workers is there twice"),
        ("max-memory = 1M", "max-memory: 1M is too little; give 32.0 MiB or more"),
        ("max-requests-per-second = 0", "max-requests-per-second: '0' is neither a number"),
        ("bwlimit = 5", "bwlimit: 5 is 5 bytes a second"),
        ("{", "it is no JSON"),
        ('{"bwlimit": {"up": 1}}', "bwlimit: "),
        ('{"workers": true}', "workers: 'True' is no number"),
    ],
)
def test_a_mistake_is_one_sentence(text: str, words: str) -> None:
    with pytest.raises(ValueError) as refused:
        limits_in(text, SAID)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_parts_must_fit_into_the_memory_that_is_left() -> None:
    with pytest.raises(ValueError, match=r"parts of 64\.0 MiB do not fit"):
        limits_in("max-memory = 32MiB", replace(SAID, part_size=64 * MIB))


def test_a_mistake_in_the_file_is_refused_at_the_door(tmp_path: Path) -> None:
    file = tmp_path / "control"
    for text in (b"workers = none", b"\xff", b"x" * 70_000):
        file.write_bytes(text)
        with pytest.raises(WrongSetting, match="The control file"):
            Control(SAID, file)
    with pytest.raises(WrongSetting, match="cannot be read"):
        Control(SAID, tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(WrongSetting, match="no regular file"):
        Control(SAID, tmp_path / "pipe")


def test_a_change_of_the_file_takes_effect_and_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK_S", 0.005)
    file = tmp_path / "control"

    async def test() -> None:
        before = asyncio.all_tasks()
        watched = Watched()
        control = Control(SAID, file)  # which is not there yet
        async with control.over(watched.client, watched.told):
            assert watched.allowance == Allowance(64, 256 * MIB, 10 * MIB, 10 * MIB)
            file.write_text("workers = 8\nbwlimit = 1MiB:off")
            await until(lambda: watched.allowance == Allowance(8, 256 * MIB, MIB, None))
            assert watched.client.gate.most == 8
            assert watched.sentences == ["From now on: bwlimit 1.0 MiB/s up, no limit down, workers 8."]

            file.write_text("workers = 8\nbwlimit = quick!")
            await until(lambda: len(watched.sentences) == 2)
            await asyncio.sleep(0.05)
            assert watched.allowance.workers == 8
            assert "'quick!' is no speed" in watched.sentences[1]
            assert len(watched.sentences) == 2

            file.write_text("workers = 9")
            await until(lambda: watched.allowance == Allowance(9, 256 * MIB, 10 * MIB, 10 * MIB))
            file.unlink()
            await until(lambda: watched.allowance.workers == 64)
        assert asyncio.all_tasks() == before
        await watched.client.aclose()

    run(test)


def test_whoever_asks_has_the_file_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK_S", 3600)
    file = tmp_path / "control"
    file.write_text("workers = 8")

    async def test() -> None:
        watched = Watched()
        control = Control(SAID, file)
        async with control.over(watched.client, watched.told):
            assert watched.allowance.workers == 8
            file.write_text("workers = 7")
            control.look_now()
            await until(lambda: watched.allowance.workers == 7)
            assert "workers 7" in str(control)
        await watched.client.aclose()

    run(test)


def test_the_speed_is_lifted_and_put_back_by_whoever_asks() -> None:
    async def test() -> None:
        watched = Watched()
        control = Control(SAID)
        async with control.over(watched.client, watched.told):
            control.toggle_speed()
            assert watched.allowance.up is None
            control.toggle_speed()
            assert watched.allowance.up == 10 * MIB
        assert watched.sentences == ["From now on: bwlimit no limit.", "From now on: bwlimit 10.0 MiB/s."]
        await watched.client.aclose()

    run(test)


def test_a_timetable_is_followed_while_the_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK_S", 0.005)
    now = datetime(2026, 3, 2, 22, 59, tzinfo=UTC)

    async def test() -> None:
        nonlocal now
        watched = Watched()
        control = Control(Limits(bwlimit=parse_timetable("08:00,512KiB 23:00,off")), clock=lambda: now)
        async with control.over(watched.client, watched.told):
            assert watched.allowance.up == 512 * KIB
            now = now.replace(hour=23, minute=0)
            await until(lambda: watched.allowance.up is None)
        assert watched.sentences == ["From now on: bwlimit no limit."]
        await watched.client.aclose()

    run(test)


def test_two_sides_follow_one_control_and_it_is_told_once() -> None:
    async def test() -> None:
        one, other = Watched(), Watched()
        control = Control(SAID)
        async with control.over(one.client, one.told), control.over(other.client, other.told):
            control.toggle_speed()
            assert (one.allowance.up, other.allowance.up) == (None, None)
        assert (len(one.sentences), len(other.sentences)) == (1, 0)
        await one.client.aclose()
        await other.client.aclose()

    run(test)


def test_a_run_without_limits_has_no_task_and_no_allowance() -> None:
    async def test() -> None:
        before = asyncio.all_tasks()
        watched = Watched()
        async with governed(watched.client, None, Limits(), watched.told):
            assert watched.client.allowance is None
            assert asyncio.all_tasks() == before
        async with governed(watched.client, None, Limits(max_requests_per_second=5), watched.told):
            assert watched.allowance.requests == 5
        await watched.client.aclose()

    run(test)
