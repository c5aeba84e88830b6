"""How finely a file system keeps times, out of what Linux says of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sterna.stores.timestep import step_of, time_step_ns

MOUNTS = """\
22 28 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw
28 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
94 28 8:17 / /media/a\\040stick rw,relatime shared:49 master:3 - vfat /dev/sdb1 rw,fmask=0022
95 28 8:33 / /media/card rw - exfat /dev/sdc1 rw
96 28 8:49 / /odd rw -
"""


@pytest.mark.parametrize(
    ("numbers", "step_ns"),
    [("8:17", 2_000_000_000), ("8:33", 10_000_000), ("8:1", 1), ("0:20", 1), ("8:49", 1), ("9:9", 1)],
)
def test_H117_the_kind_of_file_system_tells_its_step(numbers: str, step_ns: int) -> None:
    assert step_of(MOUNTS, numbers) == step_ns


def test_this_machine_answers(tmp_path: Path) -> None:
    assert time_step_ns(os.stat(tmp_path).st_dev) >= 1
