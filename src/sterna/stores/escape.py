"""Give any name of a key a name that a folder can hold, and find the way back."""

from __future__ import annotations

import re

from sterna.stores.names import is_temporary, why_windows_refuses

# A mark at the end that stands for nothing. It gives a file or a folder a second name, and an empty name a first one.
_OF_FILE, _OF_FOLDER = "%-", "%="

_CODE = re.compile("(?:%[0-9A-F]{2})+")
_MISLEADING = re.compile(r"%(?=[0-9A-Fa-f]{2}|[-=]\Z)")
_REFUSED_ON_WINDOWS = re.compile(r'[\\:*?"<>|\x01-\x1f]|[. ]\Z')
# What no file system changes or takes for something else; whatever is not in here is written as its bytes.
_FOLDS = re.compile(r"[^a-z0-9 !#$&'()+,\-.;=@\[\]^_`{}~]")


def escaped(name: str, *, is_folder: bool, windows: bool = False) -> str:
    """The usual name for one name of a key: itself, unless no folder can hold it, or it would be read as another.

    ``%41`` stands for the byte 0x41, and is written for what must not stand there itself: ``.`` and ``..``, NUL, names
    of our unfinished files, a ``%`` that would be read as the beginning of such a code, and where the folder is on
    Windows, what is reserved there. An empty name is ``%=`` as a folder (``x//y`` becomes ``x/%=/y``).
    """
    if not name:
        return _OF_FOLDER if is_folder else _OF_FILE
    text = _MISLEADING.sub("%25", name)
    if windows:
        text = _REFUSED_ON_WINDOWS.sub(_coded, text)
    must_differ = name in (".", "..") or is_temporary(name) or (windows and why_windows_refuses(text))
    if must_differ and text[:1] != "%":  # what begins with a code differs already
        text = _code(text[0]) + text[1:]
    return text.replace("\0", "%00")


def apart(name: str, *, is_folder: bool) -> str:
    """Another name for the same, for where the usual one is taken by another key: ``a`` beside ``a/b``, ``Readme`` beside
    ``README``. Capitals and what is not ASCII are written as codes, so it is no other name's on any file system.
    """
    text = _FOLDS.sub(_coded, name)
    if why_windows_refuses(text) and text[:1] != "%":  # what begins with a code is told from all else
        text = _code(text[:1]) + text[1:]
    return text + (_OF_FOLDER if is_folder else _OF_FILE)


def unescaped(name: str, *, is_folder: bool) -> str:
    """What a name in a folder stands for. What ``escaped`` and ``apart`` never give stands for itself."""
    if "%" not in name:
        return name
    plain = name.removesuffix(_OF_FOLDER if is_folder else _OF_FILE)
    try:
        plain = _CODE.sub(_decoded, plain)
    except UnicodeDecodeError:
        return name
    return plain if name in _escapes(plain, is_folder=is_folder) else name


def names_of(name: str, *, is_folder: bool) -> list[str]:
    """All names in a folder that stand for this, the usual one first."""
    found = _escapes(name, is_folder=is_folder)
    if name not in found and name and unescaped(name, is_folder=is_folder) == name:
        found.append(name)
    return list(dict.fromkeys(found))


def escaped_path(key: str, *, windows: bool = False) -> str:
    """The usual path for a key. A slash at its end stays: such a key is a folder."""
    if not key:
        return key
    *folders, name = key.split("/")
    path = [escaped(folder, is_folder=True, windows=windows) for folder in folders]
    return "/".join([*path, escaped(name, is_folder=False, windows=windows) if name or not folders else ""])


def _escapes(name: str, *, is_folder: bool) -> list[str]:
    here = escaped(name, is_folder=is_folder)
    there = escaped(name, is_folder=is_folder, windows=True)  # a tree may come from there
    return [here, there, apart(name, is_folder=is_folder)]


def _code(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


def _coded(match: re.Match[str]) -> str:
    return _code(match[0])


def _decoded(match: re.Match[str]) -> str:
    return bytes.fromhex(match[0].replace("%", "")).decode()
