"""Turn a key into the names of folders and file below a root, one to one, or refuse it."""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import re
import socket
import sys
from collections.abc import Callable

from sterna.model.errors import Refused, WrongSetting
from sterna.model.units import printable

NAME_MAX = 255  # bytes; the limit of every file system in common use, and of Windows in UTF-16 units

_TEMPORARY_START = ".sterna-"
_TEMPORARY = re.compile(  # the accent is of stores.folding, which tries whether names are told apart by such
    r"\.sterna-([0-9a-f]{8})-([1-9][0-9]{0,9})-(0|[1-9][0-9]{0,19})-(0|[1-9][0-9]{0,11})\.part(?:\u00e9|e\u0301)?"
)

# The fast path: 63 characters are at most 252 bytes. What it does not take is looked at by hand.
_REFUSED_ON_WINDOWS = '\\\\:*?"<>|\x01-\x1f' if os.name == "nt" else ""
_LETTER = rf"[^/\x00\ud800-\udfff{_REFUSED_ON_WINDOWS}]"
_NAME = rf"(?!\.(?:\.?(?:/|\Z)|sterna-)){_LETTER}{{1,63}}+"
is_plain_name: Callable[[str], object] = re.compile(_NAME).fullmatch
is_plain_key: Callable[[str], object] = re.compile(rf"(?:{_NAME}(?:/(?!\Z)|\Z))+").fullmatch

_SURROGATE = re.compile("[\ud800-\udfff]")
_WINDOWS_LETTER = re.compile(r'[\\:*?"<>|\x01-\x1f]')
_WINDOWS_DEVICE = re.compile(r"(?:CON|PRN|AUX|NUL|COM[0-9¹²³]|LPT[0-9¹²³])(?:\.|\Z)", re.IGNORECASE)


def components(key: str) -> tuple[str, ...]:
    """The names that lead from the root to the file of this key.

    Joined by ``/`` they are the key again, so that no two keys share a file. A key that no file can stand for
    (an empty name, ``.``, ``..``, NUL, a name over 255 bytes, …) raises Refused, and names the reason (H59, H61, H66,
    H69). A trailing slash is an empty name: callers take directory markers out before.
    """
    if os.name == "nt" or is_plain_key(key) is None:
        reason = why_refused(key)
        if reason:
            raise refusal(key, reason)
    return tuple(key.split("/"))


def folders_of(key: str) -> list[str]:
    """The folder that holds a key's file and all above it, the root as the empty path, the innermost first."""
    names = key.split("/")[:-1]
    return ["".join(name + "/" for name in names[:depth]) for depth in range(len(names), -1, -1)]


def refusal(key: str, reason: str) -> Refused:
    """The error for a key that cannot be a file's path."""
    shown = printable(key) if len(key) <= 1100 else printable(key[:1000]) + "…"
    return Refused(f"{shown or 'The empty key'}: {reason}", operation="name", key=key)


def why_refused(key: str, *, windows: bool = os.name == "nt") -> str:
    """Why no file can have this key, as the rest of a sentence; empty if one can."""
    if not key:
        return "a file needs a name."
    if key.startswith("/"):
        return "the key begins with a slash, and a folder cannot hold a file without a name; rename the object."
    if key.endswith("/"):
        return "the key ends in a slash, so it names a folder and not a file."
    for name in key.split("/"):
        reason = _why_name_refused(name, windows)
        if reason:
            return reason
    return ""


def _why_name_refused(name: str, windows: bool) -> str:
    if not name:
        return "the key holds //, and a folder cannot hold one without a name; rename the object."
    if name in (".", ".."):
        return f"the key holds the name {name}, which would lead to another folder; rename the object."
    if "\x00" in name:
        return "the key holds a NUL, which no file name can; rename the object."
    if _SURROGATE.search(name):
        return "the key is not valid Unicode, so it has no file name."
    length = len(name.encode())
    if length > NAME_MAX:
        return f"the key holds a name of {length} bytes, and file systems end at {NAME_MAX}; rename the object."
    if is_temporary(name):
        return "the key holds a name that Sterna keeps for its unfinished files; rename the object."
    return why_windows_refuses(name) if windows else ""


def why_windows_refuses(name: str) -> str:
    """Why Windows would take no such name, or take it for another; empty if it is an ordinary one (H72)."""
    letter = _WINDOWS_LETTER.search(name)
    if letter:
        return f"the key holds {printable(letter[0])}, which Windows does not allow in a name; rename the object."
    if name[-1:] in (".", " "):
        return "the key holds a name that ends in a dot or a space, which Windows would drop; rename the object."
    if _WINDOWS_DEVICE.match(name):
        return f"the key holds the name {name}, which is a device on Windows; rename the object."
    return ""


def key_of(path: bytes) -> str:
    """The key of a file from its path below the root, as the file system gives it (``/`` between names).

    The inverse of ``components``: bytes that are not UTF-8, or that no key maps to, raise Refused (H73).
    """
    try:
        key = path.decode()
    except UnicodeDecodeError:
        shown = path.decode("utf-8", "backslashreplace")
        raise refusal(shown, "the file's name is not UTF-8, so it cannot be a key; rename the file.") from None
    components(key)
    return key


def check_locale() -> None:
    """Raise WrongSetting where Python would write names in another encoding than UTF-8, so that keys would change."""
    if sys.getfilesystemencoding() != "utf-8":
        raise WrongSetting(
            f"This locale writes file names in {sys.getfilesystemencoding()}; set PYTHONUTF8=1 or LC_ALL=C.UTF-8."
        )


_numbers = itertools.count(1)


def temporary_name() -> str:
    """A name for an unfinished file, unique on this machine: it tells host, process and the process's start.

    So the next run can see whether its owner still lives. Under 80 characters.
    """
    return f"{_own_start_of_name(os.getpid())}{next(_numbers)}.part"


def is_temporary(name: str) -> bool:
    """Whether a name is one that ``temporary_name`` could have given, here or on another machine."""
    return name.startswith(_TEMPORARY_START) and _TEMPORARY.fullmatch(name) is not None


def is_abandoned(name: str) -> bool:
    """Whether a temporary name is of this machine and its owner is surely dead. In doubt it is not (H48)."""
    match = _TEMPORARY.fullmatch(name)
    if match is None or match[1] != _host() or os.name == "nt":
        return False
    pid, start = int(match[2]), int(match[3])
    if pid == os.getpid():
        return start != _process_start(pid)
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        pass  # alive, and of somebody else
    now = _process_start(pid)
    return start != 0 and now != 0 and now != start


@functools.lru_cache(maxsize=4)
def _own_start_of_name(pid: int) -> str:
    # By pid, since a forked child must not go on with its parent's.
    return f"{_TEMPORARY_START}{_host()}-{pid}-{_process_start(pid)}-"


@functools.lru_cache(maxsize=1)
def _host() -> str:
    """Eight hex digits for this machine and this space of process numbers: in another container, pid 7 is another."""
    parts = [socket.gethostname().encode("utf-8", "replace")]
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        try:
            with open(path, "rb") as file:
                parts.append(file.read(64).strip())
            break
        except OSError:
            continue
    try:
        parts.append(os.readlink(b"/proc/self/ns/pid"))
    except OSError:
        pass
    return hashlib.sha256(b"\n".join(parts)).hexdigest()[:8]


def _process_start(pid: int) -> int:
    """When a process started, in the kernel's ticks since boot (proc(5), field 22); 0 where that is not to be had."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            line = file.read(4096)
        return int(line[line.rindex(b")") + 2 :].split()[19])
    except (OSError, ValueError, IndexError):
        return 0
