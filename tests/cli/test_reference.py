"""The reference: the tree of commands in, Markdown out."""

from __future__ import annotations

import re

import click
import pytest

from sterna.cli.exit_codes import ExitCode
from sterna.cli.main import VERBS, sterna
from sterna.cli.reference import reference


def test_it_names_every_command_option_and_exit_code() -> None:
    text = reference()
    context = click.Context(sterna)
    for verb in VERBS:
        command = sterna.get_command(context, verb)
        assert command is not None
        (section,) = re.findall(rf"^## sterna {verb}$.*?(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL)
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert all(name in section for name in parameter.opts), (verb, parameter.opts)
    for code in ExitCode:
        assert f"| {code.value} | {code.meaning} |" in text


def test_it_does_not_depend_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    wide = reference()
    monkeypatch.setenv("COLUMNS", "30")
    assert reference() == wide
    assert not [line for line in reference().splitlines() if line.endswith(" ")]
