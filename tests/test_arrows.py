"""Read the imports of the package and print every arrow that points up or sideways."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).resolve().parent.parent / "src" / "sterna"

# What each folder may import of ours, besides itself. A new folder is given its place here first.
_ARROWS = {
    "model": "",
    "wire": "model",
    "stores": "wire model",
    "planning": "stores wire model",
    "moving": "stores wire model",
    "journal": "model",
    "reporting": "model",
    "jobs": "planning moving journal reporting stores wire model",
    "config": "jobs planning moving journal reporting stores wire model",
    "cli": "config jobs planning moving journal reporting stores wire model",
    "__init__": "jobs reporting model",  # the library's front
    "__main__": "cli",
}

# Each library enters through one file (or one folder, with a slash), so that swapping it is a change of one place.
_DOORS = {
    "awscrt": "wire/checksum.py",
    "backports": "planning/frames.py",
    "botocore": "wire/credentials.py",
    "click": "cli/",
    "compression": "planning/frames.py",  # what backports.zstd is before Python 3.14
    "httptools": "wire/parser.py",
    "ministack": "cli/",
    "msgspec": "",  # the values of model are made of it: everywhere
    "rich": "cli/screen.py",
    "uvloop": "wire/loop.py",
}


class Import(NamedTuple):
    """One imported module, absolute, and where it stands. ``name`` is what is taken out of it, if anything."""

    line: int
    module: str
    name: str


def imports(source: str, module: str) -> Iterator[Import]:
    """Every import of a module's text: at the top, inside functions, under TYPE_CHECKING, and by import_module."""
    package = module.split(".")[:-1]
    for node in ast.walk(ast.parse(source, module)):
        match node:
            case ast.Import():
                for alias in node.names:
                    yield Import(node.lineno, alias.name, "")
            case ast.ImportFrom():
                start = package[: len(package) - node.level + 1] if node.level else []
                base = ".".join([*start, *([node.module] if node.module else [])])
                for alias in node.names:
                    yield Import(node.lineno, base, alias.name)
            case ast.Call(
                func=ast.Name(id=called) | ast.Attribute(attr=called), args=[ast.Constant(value=str(name)), *_]
            ):
                if called in ("import_module", "__import__"):
                    yield Import(node.lineno, name, "")


def complaints(path: str, source: str) -> list[str]:
    """What is wrong with the arrows of one file, a sentence each. ``path`` is relative to the package."""
    parts = path.removesuffix(".py").split("/")
    ours = parts[0]
    if ours not in _ARROWS:
        return [
            f"{path}: {ours}/ has no place among the arrows: give it one in tests/test_arrows.py and ARCHITECTURE.md"
        ]
    allowed = {ours, *_ARROWS[ours].split()}
    found = []
    for line, module, name in imports(source, ".".join(["sterna", *parts])):
        top, *rest = module.split(".")
        if top == "sterna":
            target = rest[0] if rest else name
            if target == "__version__" or target in allowed:
                continue
            found.append(f"{path}:{line}: {ours} → {target} points {_direction(ours, target)}")
        elif top not in sys.stdlib_module_names:
            door = _DOORS.get(top)
            if door is None:
                found.append(
                    f"{path}:{line}: {top} is no dependency of ours: name its one door in tests/test_arrows.py"
                )
            elif not (path == door or (door.endswith("/") and path.startswith(door)) or door == ""):
                found.append(f"{path}:{line}: {top} enters through {door} only")
    return found


def _direction(ours: str, target: str) -> str:
    if target not in _ARROWS:
        return "nowhere: there is no such folder"
    return "up" if ours in _ARROWS[target].split() or target.startswith("__") else "sideways"


def _files() -> list[tuple[str, str]]:
    return [
        (path.relative_to(SOURCE).as_posix(), path.read_text(encoding="utf-8")) for path in sorted(SOURCE.rglob("*.py"))
    ]


def test_no_import_points_up_or_sideways() -> None:
    found = [complaint for path, source in _files() for complaint in complaints(path, source)]
    assert not found, "\n" + "\n".join(found)


def test_every_module_says_in_its_first_line_what_it_does() -> None:
    silent = []
    for path, source in _files():
        first = (ast.get_docstring(ast.parse(source, path)) or "").partition("\n")[0]
        if not re.fullmatch(r"\S+( \S+){2,}[.?]", first):
            silent.append(f"{path}: {first!r} is no sentence on one line")
    assert not silent, "\n" + "\n".join(silent)


def test_an_arrow_that_points_up_is_named() -> None:
    assert complaints("model/entry.py", "import os\nfrom sterna.wire import pool\n") == [
        "model/entry.py:2: model → wire points up"
    ]
    assert complaints("jobs/sync.py", "def f():\n    import sterna.cli.main\n") == [
        "jobs/sync.py:2: jobs → cli points up"
    ]
    assert complaints("wire/pool.py", "from sterna import sync\n") == [
        "wire/pool.py:1: wire → sync points nowhere: there is no such folder"
    ]


def test_an_arrow_between_siblings_is_named() -> None:
    for source in (
        "from sterna.moving.upload import send",
        "from sterna import moving",
        "from ..moving import upload",
        "import importlib; importlib.import_module('sterna.moving.upload')",
        "if TYPE_CHECKING: import sterna.moving",
    ):
        assert complaints("planning/merge.py", source) == ["planning/merge.py:1: planning → moving points sideways"]
    assert complaints("reporting/log.py", "import sterna.stores.s3") == [
        "reporting/log.py:1: reporting → stores points sideways"
    ]


def test_downward_arrows_and_the_version_are_fine() -> None:
    assert not complaints(
        "planning/merge.py", "from sterna.model.entry import Entry\nfrom .pages import page\nimport sterna.wire"
    )
    assert not complaints(
        "cli/main.py", "from sterna import __version__\nimport click, asyncio\nfrom sterna.jobs import sync"
    )


def test_a_library_by_the_wrong_door_is_named() -> None:
    assert not complaints("wire/parser.py", "import httptools")
    assert complaints("stores/s3.py", "from botocore.session import Session\nimport requests") == [
        "stores/s3.py:1: botocore enters through wire/credentials.py only",
        "stores/s3.py:2: requests is no dependency of ours: name its one door in tests/test_arrows.py",
    ]


def test_a_new_folder_must_be_given_its_place() -> None:
    (complaint,) = complaints("helpers/strings.py", "")
    assert "helpers/ has no place" in complaint
