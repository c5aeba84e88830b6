"""Tell how finely the file system of a folder keeps the times of its files."""

from __future__ import annotations

import os
from pathlib import Path

# FAT keeps steps of two seconds, and local time; exFAT hundredths of a second. Whole seconds need no entry: such times
# show that they have no fraction. https://learn.microsoft.com/windows/win32/sysinfo/file-times
_STEPS_NS = {
    "vfat": 2_000_000_000,
    "msdos": 2_000_000_000,
    "umsdos": 2_000_000_000,
    "exfat": 10_000_000,
}
_MOUNTS = Path("/proc/self/mountinfo")


def time_step_ns(device: int) -> int:
    """The step of the file system with this device number; 1, that is unknown or a nanosecond, where nothing tells."""
    try:
        mounts = _MOUNTS.read_text("utf-8", "surrogateescape")
    except OSError:
        return 1
    return step_of(mounts, f"{os.major(device)}:{os.minor(device)}")


def step_of(mounts: str, numbers: str) -> int:
    """The same from the text of ``/proc/self/mountinfo``: proc_pid_mountinfo(5) has the numbers in the third field,
    and the kind of file system in the first behind the lone hyphen.
    """
    for line in mounts.splitlines():
        before, _, behind = line.partition(" - ")
        fields = before.split()
        if len(fields) > 2 and fields[2] == numbers:
            kind = behind.split()
            return _STEPS_NS.get(kind[0], 1) if kind else 1
    return 1
