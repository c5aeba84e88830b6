"""Filters beside the tools whose languages they speak: aws-cli, rclone and rsync decide the same about every key."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from sterna.model.entry import Entry
from sterna.model.errors import WrongSetting
from sterna.planning.filters import Filter
from sterna.planning.moments import Moment
from sterna.planning.rules import file_rules, in_order, listed_keys, option_rule
from tests.servers import rclone
from tests.servers.server import CannotBeHad

pytestmark = pytest.mark.extended

_NOW_NS = time.time_ns()
_DAY_NS = 86400 * 10**9

_PARTS = ["a", "b", "ab", "a.b", "c", "a b", "[a]", "\u00e9"]
_NAMES = {
    *("a b", "b", "c", "ab", "a.b", "[a]", "\u00e9", "a!b", "acb", "a-b", "abb", ".b", "aab", "aé", "a1b", "1"),
    *(f"{folder}/{name}" for folder in ("a", "ab.d", "d") for name in _PARTS),
    *(f"a/{folder}/{name}" for folder in ("d", "b.d", "é") for name in ("a", "b", "a.b", "ab")),
    *("d/d/a/b", "d/d/d/d", "d/d/a.b", "x/a/y/b", "x/y/a/b/c"),
}
_KEYS = sorted(key for key in _NAMES if not any(other.startswith(key + "/") for other in _NAMES))
_RUNS = settings(
    deadline=None,
    max_examples=150,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    for key in _KEYS:
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def _output(*command: str | Path) -> list[str]:
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def _taken(rules: str) -> list[str]:
    chosen = Filter(rules=in_order([file_rules(rules.encode(), "rules")]))
    return [key for key in _KEYS if chosen.takes_key(key)]


# aws-cli: the class that its commands filter with.


@pytest.fixture(scope="module")
def aws() -> Callable[[list[tuple[str, str]], list[str]], list[str]]:
    try:
        theirs: Any = import_module("awscli.customizations.s3.filters")
    except ImportError as error:
        pytest.skip(f"awscli is not installed: {error}")

    def taken(options: list[tuple[str, str]], keys: list[str]) -> list[str]:
        made = theirs.Filter([(option[2:], pattern) for option, pattern in options], "bucket/root", "/folder")
        found = made.call([SimpleNamespace(src=f"bucket/root/{key}", src_type="s3") for key in keys])
        return [one.src.removeprefix("bucket/root/") for one in found]

    return taken


@settings(_RUNS, max_examples=3000)
@given(
    st.lists(
        st.tuples(st.sampled_from(["--include", "--exclude"]), st.text("aab*?/.[]!-^é\n", min_size=1, max_size=8)),
        min_size=1,
        max_size=5,
    ),
    st.lists(st.text("ab./-]é\n\udc80", min_size=1, max_size=8), max_size=10),
)
def test_options_decide_as_aws_does(
    aws: Callable[[list[tuple[str, str]], list[str]], list[str]], options: list[tuple[str, str]], keys: list[str]
) -> None:
    assume(not any(pattern.startswith("/") for _, pattern in options))
    options = [("--exclude", "zz"), *options]  # includes alone are refused here
    chosen = Filter(rules=in_order(option_rule(*option) for option in options))
    assert [key for key in keys + _KEYS if chosen.takes_key(key)] == aws(options, keys + _KEYS)


# rclone: lsf with a file of rules.

_PIECES = ["a", "b", "c", "d", "ab", ".", "*", "**", "?", "/", "d/", "[ab]", "[a-c]", "{a,b}", "{a,d/**}", "{,.}b", "é"]
_PIECES += ["\\[", "[[:alpha:]]", "\\d", "!", " ", "1", "{b,{c,d}}"]
_PATTERNS = (
    st.tuples(st.sampled_from(["", "", "/"]), st.lists(st.sampled_from(_PIECES), min_size=1, max_size=4).map("".join))
    .map("".join)
    .filter(lambda text: "***" not in text and not text.startswith(" ") and "//" not in text)
)


@pytest.fixture(scope="module")
def lsf() -> Path:
    try:
        return rclone.program()
    except CannotBeHad as error:
        pytest.skip(str(error))


@_RUNS
@given(st.lists(st.tuples(st.sampled_from(["+", "-", "-"]), _PATTERNS).map(" ".join), min_size=1, max_size=5))
def test_rules_decide_as_rclone_does(lsf: Path, tree: Path, tmp_path: Path, lines: list[str]) -> None:
    rules = "\n".join([*lines, "- zz"])
    file = tmp_path / "rules"
    file.write_text(rules, encoding="utf-8")
    command = (lsf, "lsf", "-R", "--files-only", "--config", "/dev/null", "--filter-from", file, tree)
    assert _taken(rules) == sorted(_output(*command))


@pytest.mark.parametrize(
    ("rule", "theirs", "ours"),
    [
        ("- /a[!c]b", {"a!b", "acb"}, {"a b", "a!b", "a-b", "a.b", "a1b", "aab", "abb"}),
        ("- /d[^x]a", {"d/a"}, set()),
        ("- /a\\", set(), set()),
    ],
)
def test_what_rclone_decides_otherwise(
    lsf: Path, tree: Path, tmp_path: Path, rule: str, theirs: set[str], ours: set[str]
) -> None:
    file = tmp_path / "rules"
    file.write_text(rule, encoding="utf-8")
    found = _output(lsf, "lsf", "-R", "--files-only", "--config", "/dev/null", "--filter-from", file, tree)
    assert set(_KEYS) - set(found) == theirs
    if rule.endswith("\\"):
        with pytest.raises(WrongSetting):
            file_rules(rule.encode(), "rules")
    else:
        assert set(_KEYS) - set(_taken(rule)) == ours


@pytest.mark.parametrize("rule", ["- ***", "- []a]", "- [z-a]", "- a]", "- [a", "- {a", "- a}", "+a", "include a"])
def test_what_rclone_refuses(lsf: Path, tree: Path, tmp_path: Path, rule: str) -> None:
    file = tmp_path / "rules"
    file.write_text(rule, encoding="utf-8")
    run = subprocess.run([lsf, "lsf", "--config", "/dev/null", "--filter-from", file, tree], capture_output=True)
    assert run.returncode != 0
    if rule != "- []a]":  # as rsync takes it
        with pytest.raises(WrongSetting):
            file_rules(rule.encode(), "rules")


@_RUNS
@given(st.lists(st.sampled_from([*_KEYS, "#a", "; b", "", " c ", "/ab", "none"]), max_size=8))
def test_lists_name_what_they_do_for_rclone(lsf: Path, tree: Path, tmp_path: Path, lines: list[str]) -> None:
    data = "\n".join(lines).encode()
    file = tmp_path / "list"
    file.write_bytes(data)
    found = _output(lsf, "lsf", "-R", "--files-only", "--config", "/dev/null", "--files-from", file, tree)
    chosen = Filter(listed=listed_keys(data, "list"))
    assert [key for key in _KEYS if chosen.takes_key(key)] == sorted(found)


@pytest.mark.parametrize(
    ("option", "chosen"),
    [
        ("--max-size=10B", Filter(max_size=10)),
        ("--max-age=7d", Filter(newer_than=Moment(_NOW_NS - 7 * _DAY_NS, "", ""))),
    ],
    ids=["size", "time"],
)
def test_rclone_deletes_what_its_source_was_left_out_of(lsf: Path, tmp_path: Path, option: str, chosen: Filter) -> None:
    """The hazard that makes us decide on pairs (H81), seen: the key is on both sides, and one is left out."""
    sides = tmp_path / "source", tmp_path / "target"
    for side, size, age_ns in zip(sides, (50, 5), (10 * _DAY_NS, 0), strict=True):
        side.mkdir()
        (side / "a").write_bytes(bytes(size))
        os.utime(side / "a", ns=(_NOW_NS - age_ns, _NOW_NS - age_ns))
    run = subprocess.run(
        [lsf, "sync", "--config", "/dev/null", option, *sides], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    assert not (sides[1] / "a").exists()
    assert not chosen.takes_pair((Entry("a", 50, _NOW_NS - 10 * _DAY_NS), Entry("a", 5, _NOW_NS)))


# rsync: with every folder entered, since it leaves out what is below a folder that a rule leaves out.

_RSYNC_PIECES = [
    "a",
    "b",
    "c",
    "d",
    "ab",
    ".",
    "*",
    "?",
    "/",
    "d/",
    "[ab]",
    "[!a]",
    "[^a]",
    "[a-c]",
    "é",
    "\\[",
    "[]a]",
]
_RSYNC_PATTERNS = (
    st.tuples(
        st.sampled_from(["", "", "/"]), st.lists(st.sampled_from(_RSYNC_PIECES), min_size=1, max_size=4).map("".join)
    )
    .map("".join)
    .filter(lambda text: "**" not in text and "//" not in text and not text.endswith("/"))
)
_FOLDERS = st.sampled_from(["a/", "/a/", "d/", "/d/", "a/d/", "*.d/", "/?/", "/d/d/", "x/*/"])


@pytest.fixture(scope="module")
def rsync() -> str:
    found = shutil.which("rsync")
    if found is None:
        pytest.skip("rsync is not installed")
    return found


@_RUNS
@given(
    st.lists(_FOLDERS.map("- ".__add__), max_size=2),
    st.lists(st.tuples(st.sampled_from("+-"), _RSYNC_PATTERNS).map(" ".join), min_size=1, max_size=4),
)
def test_rules_decide_as_rsync_does(
    rsync: str, tree: Path, tmp_path: Path, folders: list[str], lines: list[str]
) -> None:
    rules = "\n".join([*folders, "+ */", *lines, "- zz"])
    file = tmp_path / "rules"
    file.write_text(rules, encoding="utf-8")
    options = ("-r", "--dry-run", "--8-bit-output", "--out-format=%n", f"--filter=merge {file}")
    found = _output(rsync, *options, f"{tree}/", f"{tmp_path}/nothing/")
    # To rsync a character is a byte, and é is two.
    assert {key for key in _taken(rules) if key.isascii()} == {key for key in found if key.isascii()} & set(_KEYS)


@pytest.mark.parametrize(
    ("rule", "theirs"),
    [("- **/b", {"b", "a/b"}), ("- /a", {"a/b", "a/c"}), ("- /a/***", {"a/b"}), ("+ /a/b\n- *", {"a/b"})],
)
def test_what_rsync_decides_otherwise(rsync: str, tree: Path, tmp_path: Path, rule: str, theirs: set[str]) -> None:
    file = tmp_path / "rules"
    file.write_text(rule, encoding="utf-8")
    options = ("-r", "--dry-run", "--8-bit-output", "--out-format=%n", f"--filter=merge {file}")
    found = _output(rsync, *options, f"{tree}/", f"{tmp_path}/nothing/")
    assert theirs <= set(_KEYS) - set(found)
