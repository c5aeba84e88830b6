"""Find out what a folder and its file system can do."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from sterna.config.finding import Finding
from sterna.config.probes import DATA, PROBE
from sterna.model.units import GIB, size_words

_LOW_SPACE = GIB


def folder_findings(path: Path) -> Iterator[Finding]:
    """What a folder is like. Where one may write, it is tried by files of our own, which are removed again."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            yield Finding("folder", False, f"{path} is a symbolic link to nothing.", "Give a folder that exists.")
        else:
            yield Finding("folder", False, f"{path} does not exist.", f"Make it with: mkdir -p '{path}'")
        return
    except OSError as error:
        words = f"{path} cannot be looked at: {error.strerror}."
        yield Finding("folder", False, words, "Give another path, or run as its owner.")
        return
    if not stat.S_ISDIR(status.st_mode):
        yield Finding("folder", None, f"{path} is a file of {size_words(status.st_size)}, not a folder.")
        path = path.absolute().parent
    else:
        yield Finding("folder", True, f"{path} is there.")
    try:
        with os.scandir(path) as entries:
            first = next(entries, None)
        yield Finding(
            "readable",
            True,
            "its names can be listed" + ("; what is below was not looked at." if first else "; it is empty."),
        )
    except OSError as error:
        advice = f"Give yourself the permission: chmod u+rx '{path}', or run as its owner."
        yield Finding("readable", False, f"its names cannot be listed: {error.strerror}.", advice)
    yield from _space(path)
    yield _file_system(path)
    probe = path / f"{PROBE}{secrets.token_hex(6)}a"
    try:
        probe.write_bytes(DATA)
    except OSError as error:
        advice = f"For downloads: chmod u+w '{path}', or run as its owner; uploads from here work all the same."
        if error.errno == errno.EROFS:
            advice = "The file system is read-only: uploads from here work, downloads to here do not."
        yield Finding("writable", None, f"no file can be made: {error.strerror}.", advice)
        return
    try:
        yield Finding("writable", True, "files can be made.")
        yield from _names_and_times(path, probe)
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


def _space(path: Path) -> Iterator[Finding]:
    try:
        disk = shutil.disk_usage(path)
    except OSError as error:
        yield Finding("space", None, f"not known: {error.strerror}.")
        return
    words = f"{size_words(disk.free)} free of {size_words(disk.total)}."
    advice = "" if disk.free > _LOW_SPACE or not disk.total else "Make room before downloading."
    yield Finding("space", None if advice else True, words, advice)
    if hasattr(os, "statvfs"):
        inodes = os.statvfs(path)
        if inodes.f_files and inodes.f_favail < 10_000:
            words = f"{inodes.f_favail:,} more files can be made (inodes)."
            yield Finding("files", None, words, "Remove files, or use a file system with more inodes.")


def _file_system(path: Path) -> Finding:
    """The kind of file system, by the mount that holds the folder; known on Linux only."""
    try:
        lines = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines()
        device = os.stat(path).st_dev
    except OSError:
        return Finding("file system", None, f"its kind is not told by {sys.platform}.")
    wanted = f"{os.major(device)}:{os.minor(device)}"
    real = os.path.realpath(path)
    best, kind = -1, ""
    for line in lines:
        fields, _, more = line.partition(" - ")
        number, at = fields.split()[2], fields.split()[4]
        at = at.encode("utf-8", "surrogateescape").decode("unicode_escape", "replace") if "\\" in at else at
        is_above = real == at or real.startswith(at.rstrip("/") + "/")
        rank = len(at) + (10_000 if number == wanted else 0)
        if is_above and rank > best:
            best, kind = rank, more.split()[0]
    if kind.startswith(("nfs", "cifs", "smb", "fuse", "9p", "ceph", "gluster", "lustre", "afs")):
        words = f"{kind}: over the network, or in another program; what counts as on disk is what that says."
        return Finding("file system", None, words)
    if kind in ("tmpfs", "ramfs"):
        return Finding("file system", None, f"{kind}: in memory, gone after a restart.")
    if kind in ("vfat", "msdos"):
        return Finding(
            "file system", None, f"{kind}: no file above 4 GiB, times of two seconds.", "Use exFAT, NTFS or ext4."
        )
    return Finding("file system", None, f"{kind or 'unknown'}.")


def _names_and_times(path: Path, probe: Path) -> Iterator[Finding]:
    folded = path / (probe.name[:-1] + "A")
    if folded.exists():
        words = "A and a are one name here: of keys that differ only in that, one is refused by name."
        yield Finding("case", None, words)
    else:
        yield Finding("case", True, "names that differ in case only are different files.")
    composed = path / unicodedata.normalize("NFC", probe.name + "é")
    try:
        composed.write_bytes(b"")
        try:
            is_folded = (path / unicodedata.normalize("NFD", composed.name)).exists()
        finally:
            composed.unlink()
        words = (
            "é as one character and as two are one name here."
            if is_folded
            else "é as one character and as two are two names."
        )
        yield Finding("Unicode", None if is_folded else True, words)
    except (OSError, UnicodeError) as error:
        yield Finding("Unicode", None, f"names beyond ASCII cannot be made ({error}).", "Set a UTF-8 locale.")
    yield _time_precision(probe)
    if hasattr(os, "pathconf"):
        with contextlib.suppress(OSError, ValueError):
            most = os.pathconf(path, "PC_NAME_MAX")
            words = f"up to {most} bytes between two slashes; S3 takes 1,024 in all."
            yield Finding("names", True if most >= 255 else None, words)


def _time_precision(probe: Path) -> Finding:
    wanted = 1_234_567_891_123_456_789
    try:
        os.utime(probe, ns=(wanted, wanted))
        kept = probe.stat().st_mtime_ns
    except OSError as error:
        advice = "Syncs back look at each object."
        return Finding("times", None, f"cannot be set: {error.strerror}.", advice)
    for step, words in (
        (1, "a nanosecond"),
        (100, "100 nanoseconds"),
        (1000, "a microsecond"),
        (10**6, "a millisecond"),
        (10**9, "a second"),
        (2 * 10**9, "two seconds"),
    ):
        if kept // step == wanted // step:
            return Finding("times", True if step <= 10**9 else None, f"kept to {words}.")
    return Finding("times", None, f"are changed by {abs(kept - wanted) / 10**9:g} s when they are set.")
