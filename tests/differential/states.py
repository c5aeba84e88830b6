"""Turn a tree into a folder or a bucket, and what stands there afterwards into values that can be compared."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from tests.differential.values import At, Link, Special, Thing, Tree
from tests.servers.oracle import Bucket

Seen = dict[str, str]  # what there is to see of one key, by name
State = dict[str, Seen]
Moments = Mapping[At, int]  # in whole seconds

_SHOWN = ("cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "expires")
_MARK = "x-amz-meta-was-here"  # of what stands in a destination from the start: who writes it anew loses it
_INODE = "inode"


def moments(now_s: int) -> dict[At, int]:
    return {At.LONG_AGO: 1_500_000_000, At.LATER: now_s + 3600}


# Making


def make_bucket(bucket: Bucket, tree: Tree, times: Moments, *, marked: bool) -> None:
    for key, thing in tree.items():
        assert isinstance(thing, bytes | Thing), f"a bucket has no {thing}"
        made = thing if isinstance(thing, Thing) else Thing(thing)
        headers = {name: str(times[value]) if isinstance(value, At) else value for name, value in made.headers.items()}
        bucket.put(key, made.data, headers | ({_MARK: "yes"} if marked else {}))


def make_folder(root: Path, tree: Tree, times: Moments, stored_s: Mapping[str, int]) -> None:
    """``stored_s`` is when the object was stored that stands for a path: for those files that are to have its time."""
    root.mkdir(parents=True)
    for name, thing in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        match thing:
            case Link(to):
                path.symlink_to(to)
            case Special.FOLDER:
                path.mkdir()
            case Special.PIPE:
                os.mkfifo(path)
            case bytes() | Thing():
                made = thing if isinstance(thing, Thing) else Thing(thing)
                path.write_bytes(made.data)
                at_s = stored_s[name] if made.at is At.STORED else times[made.at]
                os.utime(path, (at_s, at_s))


def stored_s(bucket: Bucket) -> dict[str, int]:
    """When each object was stored, as listings show it."""
    found = {listed.key: listed.last_modified for listed in bucket.listing()}
    return {key: int(datetime.fromisoformat(at).timestamp()) for key, at in found.items()}


# Seeing


def bucket_state(bucket: Bucket, *, keeps_time: bool) -> State:
    """Every key with its bytes and all that a user sees of it."""
    state: State = {}
    for listed in bucket.listing():
        headers = bucket.head(listed.key) or {}
        answer = bucket.oracle.ask("GET", bucket.name, listed.key)
        seen = {name: headers[name] for name in _SHOWN if name in headers}
        seen["bytes"] = (
            _content(answer.body) if answer.status == 200 else answer.code
        )  # what is archived is not given out
        seen["class"] = listed.storage_class
        seen["encryption"] = headers.get("x-amz-server-side-encryption", "-")
        for name, value in headers.items():
            if name == "x-amz-meta-mtime":
                seen |= {"own time": value} if keeps_time else {}
            elif name.startswith("x-amz-meta-"):
                short = name.removeprefix("x-amz-meta-")
                seen[f"metadata {short}"] = "set" if short == "sterna-token" else value  # it is another each time
        state[listed.key] = seen | (_tags(bucket, listed.key) if "x-amz-tagging-count" in answer.headers else {})
    return state


def _tags(bucket: Bucket, key: str) -> Seen:
    answer = bucket.oracle.must("GET", bucket.name, key, {"tagging": ""}).body.decode()
    return {f"tag {name}": value for name, value in re.findall("<Key>([^<]*)</Key><Value>([^<]*)</Value>", answer)}


def folder_state(root: Path, times: Moments, stored_s: Mapping[str, int]) -> State:
    """By its path: every file with bytes, time, and a mode that is not the usual one; every link; every empty folder."""
    known = {at_s: at for at, at_s in times.items()}
    state: State = {}
    for path in _below(root):
        name = os.path.relpath(path, root)
        state[name] = _file_state(path, known | ({stored_s[name]: At.STORED} if name in stored_s else {}))
    return state


def _below(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        names = files + [name for name in folders if (Path(folder) / name).is_symlink()]
        yield from (Path(folder) / name for name in names)
        if not folders and not files and Path(folder) != root:
            yield Path(folder)


def _file_state(path: Path, known: Mapping[int, At]) -> Seen:
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        return {"link to": os.readlink(path)}
    if not stat.S_ISREG(found.st_mode):
        return {"is": "a folder" if stat.S_ISDIR(found.st_mode) else "special"}
    at_s, fraction = divmod(found.st_mtime_ns, 10**9)
    at = known[at_s].value if at_s in known and not fraction else f"{datetime.fromtimestamp(at_s, UTC)} + {fraction} ns"
    seen = {"bytes": _content(path.read_bytes()), "changed": at}
    if (mode := stat.S_IMODE(found.st_mode)) != _usual_mode():
        seen["mode"] = f"{mode:o}"
    return seen | {_INODE: str(found.st_ino)}  # another one where a file was written anew, though it is as it was


def _usual_mode() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return 0o666 & ~mask


def _content(data: bytes) -> str:
    if len(data) <= 40:
        return repr(data)
    return f"{len(data)} bytes, SHA256 {hashlib.sha256(data).hexdigest()[:12]}"


# Comparing


def differences(aws: State, sterna: State) -> list[str]:
    """A line for each thing that the two left behind otherwise."""
    lines = []
    for key in sorted(aws.keys() | sterna.keys()):
        if key not in sterna or key not in aws:
            lines.append(f"{shown(key)}: only with {'aws' if key in aws else 'sterna'}")
            continue
        theirs, ours = aws[key], sterna[key]
        lines += [
            f"{shown(key)}, {name}: {theirs.get(name, '-')} with aws, {ours.get(name, '-')} with sterna"
            for name in sorted((theirs.keys() | ours.keys()) - {_INODE})
            if theirs.get(name) != ours.get(name)
        ]
    return lines


def changes(before: State, after: State) -> list[str]:
    """What a run has changed: ``+new``, ``~written-anew``, ``-deleted``."""
    lines = [f"+{shown(key)}" for key in after.keys() - before.keys()]
    lines += [f"-{shown(key)}" for key in before.keys() - after.keys()]
    lines += [f"~{shown(key)}" for key in before.keys() & after.keys() if before[key] != after[key]]
    return sorted(lines)


def shown(key: str) -> str:
    """A key as one word of plain characters."""
    return ascii(key)[1:-1].replace(" ", "\\x20")
