"""Compare what the documents say with what is there: commands, options, links, make targets, tests, locks."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part.startswith(".") or part in ("dist", "build") for part in path.relative_to(ROOT).parts[:-1])
)


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# Commands and options


@cache
def _root_command() -> click.Group:
    from sterna.cli import main

    groups = [value for value in vars(main).values() if isinstance(value, click.Group)]
    assert groups, "sterna.cli.main holds no click group"
    return groups[0]


def _commands(group: click.Group, path: str = "sterna") -> Iterator[tuple[str, click.Command]]:
    """Every visible command below a group, by the words that one types."""
    yield path, group
    context = click.Context(group)
    for word in group.list_commands(context):
        command = group.get_command(context, word)
        assert command is not None
        if command.hidden:
            continue
        if isinstance(command, click.Group):
            yield from _commands(command, f"{path} {word}")
        else:
            yield f"{path} {word}", command


def _options(command: click.Command) -> set[str]:
    return {
        word
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.hidden
        for word in (*parameter.opts, *parameter.secondary_opts)
    }


def test_the_reference_is_the_generated_one() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "sterna.cli.reference"], capture_output=True, text=True, timeout=60, check=True, cwd=ROOT
    )
    written = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert written == run.stdout, "write it anew: .venv/bin/python -m sterna.cli.reference > docs/commands.md"


def test_every_command_and_option_is_in_the_reference() -> None:
    reference = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    said = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", reference))
    missing = []
    for path, command in _commands(_root_command()):
        if path not in reference:
            missing.append(path)
        missing += [f"{path} {option}" for option in sorted(_options(command) - said)]
    assert not missing, f"not in docs/commands.md: {missing}"


def _code_lines(document: Path) -> Iterator[str]:
    """The lines of a document's code blocks; a line that ends in a backslash is joined with the next."""
    text = document.read_text(encoding="utf-8").replace("\\\n", " ")
    for block in re.findall(r"^```[^\n]*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        yield from (line.strip().removeprefix("$ ") for line in block.splitlines())


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_sterna_commands_in_code_blocks_exist(document: Path) -> None:
    wrong = []
    for line in _code_lines(document):
        words = line.split("#")[0].split()
        while words and re.fullmatch(r"[A-Z_]+=\S*|\(|sudo|exec", words[0]):
            words = words[1:]
        if not words or words[0] not in ("sterna", ".venv/bin/sterna") or len(words) < 2:
            continue
        known = dict(_commands(_root_command()))
        path = "sterna"
        for word in words[1:]:
            if f"{path} {word}" in known:
                path = f"{path} {word}"
        used = {word.split("=")[0] for word in words[1:] if re.fullmatch(r"--[a-z].*", word)}
        unknown = used - _options(known[path]) - _options(known["sterna"]) - {"--help"}
        if unknown or (path == "sterna" and not words[1].startswith("-")):
            wrong.append(f"{line}   ({', '.join(sorted(unknown)) or 'no such command'})")
    assert not wrong, f"{_name(document)}:\n" + "\n".join(wrong)


# Make targets


def _targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z0-9-]+):", makefile, flags=re.MULTILINE))


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_make_targets_in_documents_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    code = [*re.findall(r"`([^`\n]+)`", text), *_code_lines(document)]
    named = {target for piece in code for target in re.findall(r"^make (?:PYTHON=\S+ )?([a-z][a-z0-9-]*)", piece)}
    assert named <= _targets()


def test_every_make_target_says_what_it_does() -> None:
    run = subprocess.run(
        ["make", "--no-print-directory", "help"], capture_output=True, text=True, timeout=60, check=True, cwd=ROOT
    )
    assert _targets() - {"moved"} == {line.split()[1] for line in run.stdout.splitlines()}


# Links


def _anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as the forges make them: lower case, no punctuation, blanks to hyphens."""
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ +(.+?)\s*$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_links_resolve(document: Path) -> None:
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"`[^`\n]*`", "", text)
    broken = []
    for link in re.findall(r"\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)", text):
        if re.match(r"[a-z]+:", link):
            continue  # elsewhere: tests reach no network
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        found = target.exists() and target.is_relative_to(ROOT)
        if not found or (anchor and target.suffix == ".md" and anchor not in _anchors(target)):
            broken.append(link)
    assert not broken


# Hazards


def _hazards() -> list[tuple[str, list[str]]]:
    """The rows of docs/hazards.md: the hazard's number, and the tests that its last column names."""
    rows = []
    for line in (ROOT / "docs" / "hazards.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if re.fullmatch(r"H\d+", cells[0]):
            rows.append((cells[0], re.findall(r"tests/[\w/]+\.py(?:::\w+)+", cells[-1])))
    return rows


def test_every_hazard_names_tests_that_exist() -> None:
    rows = _hazards()
    assert rows, "docs/hazards.md has no rows"
    missing = []
    for hazard, tests in rows:
        if not tests:
            missing.append(f"{hazard}: names no test")
        for test in tests:
            file, *names = test.split("::")
            path = ROOT / file
            text = path.read_text(encoding="utf-8") if path.exists() else ""
            if not all(
                re.search(rf"^\s*(?:async )?(?:def|class) {name}\b", text, flags=re.MULTILINE) for name in names
            ):
                missing.append(f"{hazard}: there is no {test}")
    assert not missing, "\n" + "\n".join(missing)


def test_no_hazard_has_two_rows() -> None:
    numbers = [hazard for hazard, _ in _hazards()]
    assert len(numbers) == len(set(numbers))


# Locks


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _pins(lock: str) -> dict[str, str]:
    text = (ROOT / "requirements" / lock).read_text(encoding="utf-8")
    return {_canonical(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)", text, flags=re.MULTILINE)}


def test_what_runs_is_what_was_tested() -> None:
    assert _pins("run.txt").items() <= _pins("test.txt").items()


def test_the_locks_hold_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    needed = project["project"]["dependencies"]
    extras = project["project"]["optional-dependencies"].values()
    groups = project["dependency-groups"].values()
    every = [*needed, *(item for group in (*extras, *groups) for item in group if isinstance(item, str))]

    def names(requirements: list[str]) -> set[str]:
        return {_canonical(re.split(r"[^\w.-]", requirement)[0]) for requirement in requirements}

    assert names(needed) <= _pins("run.txt").keys()
    assert names(every) <= _pins("test.txt").keys()


@pytest.mark.parametrize("lock", ["run.txt", "test.txt"])
def test_the_locks_name_no_index_and_pin_by_hash(lock: str) -> None:
    text = (ROOT / "requirements" / lock).read_text(encoding="utf-8")
    assert "://" not in text
    assert "--find-links" not in text
    assert "index" not in text
    for entry in re.split(r"\n(?=\S)", text.strip()):
        assert entry.startswith("#") or "--hash=sha256:" in entry, entry


# Figures


def test_the_exit_codes_in_the_overview_are_those_of_the_table() -> None:
    from sterna.cli.exit_codes import ExitCode

    overview = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for code in ExitCode:
        assert f"\n| {code.value} | {code.meaning} |\n" in overview


def test_the_memory_in_the_document_on_limits_is_what_a_run_takes() -> None:
    from sterna.model.units import MIB
    from sterna.moving.settings import Limits

    rows = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8").splitlines()
    said = next(row for row in rows if row.startswith("| `--max-memory SIZE`"))
    assert said.endswith(f"| {Limits().max_memory // MIB} MiB |")
