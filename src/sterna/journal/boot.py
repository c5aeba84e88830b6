"""Tell one start of this machine from another: what was in memory only did not outlive it."""

from __future__ import annotations


def boot_id() -> str:
    """A name of the running system's start (random(4)); empty where the system gives none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read(64).strip()
    except (OSError, ValueError):
        return ""
