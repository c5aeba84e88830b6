"""The power fails in the middle of a run: of what the journal says, the disk has all, and the same command goes on."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.bench import Bench
from tests.crash.orders import Kill
from tests.crash.scenarios import SCENARIOS, SMALL, Scenario

pytestmark = [pytest.mark.slow, pytest.mark.extended]

_SEED = 47
_EACH = 3  # of a scenario: more than 60 of all
_SIZE = 96 << 20


class Disk:
    """An ext4 file system on a loop device whose power can be cut.

    What the device has at an instant is what is in its image then; what only the kernel holds is lost with the power.
    """

    def __init__(self, folder: Path) -> None:
        self._image = folder / "image"
        self.room = folder / "disk"
        self.room.mkdir()
        with self._image.open("wb") as file:
            file.truncate(_SIZE)
        _must("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", self._image)
        self._device = _must("losetup", "--find", "--show", self._image)
        try:
            self._mount()
        except BaseException:
            _must("losetup", "-d", self._device)
            raise

    def _mount(self) -> None:
        _must("mount", self._device, self.room)

    def sync(self) -> None:
        """Put on disk what was written so far: the world before the run."""
        _must("sync", "--file-system", self.room)

    def cut(self) -> None:
        """Cut the power, and start again."""
        there = self._image.read_bytes()
        _must("umount", self.room)  # which writes what the kernel still held: it does not count
        with self._image.open("r+b") as image:
            image.write(there)
        self._mount()

    def close(self) -> None:
        _must("umount", "-l", self.room)
        _must("losetup", "-d", self._device)


def _must(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def disk(room: Path) -> Iterator[Disk]:
    if os.geteuid() != 0:
        pytest.skip("a disk of one's own takes root")
    missing = [name for name in ("mkfs.ext4", "losetup", "mount") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"a disk of one's own takes {', '.join(missing)}")
    folder = room / "powered"
    folder.mkdir()
    try:
        disk = Disk(folder)
    except subprocess.CalledProcessError as cannot:
        pytest.skip(f"there can be no disk of one's own here: {cannot.stderr.strip()}")
    yield disk
    disk.close()


# A stream leaves nothing on this disk.
@pytest.mark.parametrize("scenario", [one for one in SCENARIOS if one.job != "stream"], ids=str)
def test_after_a_power_cut_the_journal_claims_no_more_than_the_disk_has_h47(
    bench: Bench, disk: Disk, scenario: Scenario
) -> None:
    on_disk = Bench(bench.forker, bench.front, bench.oracle, disk.room)
    chance = random.Random(f"{_SEED} {scenario}")
    with on_disk.trial(scenario) as trial:
        steps = sum(isinstance(point, Kill) for point in trial.reach().points)
    hit = 0
    for _ in range(_EACH * 2):
        point = Kill(chance.randint(1, steps))
        with on_disk.trial(scenario) as trial:
            disk.sync()
            ended = trial.run(point)
            disk.cut()
            try:
                trial.must_be_sound()
                trial.must_recover()
            except AssertionError as error:
                raise AssertionError(f"{point}: {error}\n  after {ended}") from error
            hit += ended.was_killed
        if hit == _EACH:
            return
    raise AssertionError(f"only {hit} runs were in the middle of something")


def test_what_was_not_flushed_is_gone_with_the_power(bench: Bench, disk: Disk) -> None:
    """Else the other tests here would prove nothing."""
    careless = Scenario("download without flushing", "down", SMALL, options=("--no-fsync",))
    with Bench(bench.forker, bench.front, bench.oracle, disk.room).trial(careless) as trial:
        disk.sync()
        trial.must_have_ended_well(trial.run())
        disk.cut()
        assert trial.target.holds() != trial.new
        trial.must_recover()
