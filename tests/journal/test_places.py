"""Where journals are, and that nobody else gets at them."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from sterna.journal.places import private_folder, state_directory
from sterna.model.errors import JournalUnusable, WrongSetting
from tests.journal.made import NOBODY, ROUTE, database, fill, keys, opened

IS_ROOT = os.geteuid() == 0


def test_the_option_then_the_variable_then_the_systems_place() -> None:
    environ = {"STERNA_STATE_DIR": "/var/lib/sterna", "XDG_STATE_HOME": "/x", "HOME": "/home/ann"}
    assert state_directory("/given", environ) == Path("/given")
    assert state_directory("", environ) == Path("/var/lib/sterna")
    assert state_directory("relative", environ) == Path.cwd() / "relative"


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="they have places of their own")
def test_the_systems_place_is_that_of_the_xdg_specification() -> None:
    assert state_directory("", {"XDG_STATE_HOME": "/x", "HOME": "/home/ann"}) == Path("/x/sterna")
    assert state_directory("", {"XDG_STATE_HOME": "relative", "HOME": "/home/ann"}) == Path(
        "/home/ann/.local/state/sterna"
    )


@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
def test_H53_folder_and_files_are_for_us_alone_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    state = tmp_path / "state"
    before = os.umask(umask)
    try:
        state.mkdir(mode=0o700)
        state.chmod(0o700)
        journal = opened(state)
    finally:
        os.umask(before)
    journal.begin()
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (state / "journals").iterdir()}
    assert {name.removeprefix(ROUTE.name): mode for name, mode in found.items()} == {
        ".sqlite3": 0o600,
        ".sqlite3-wal": 0o600,
        ".sqlite3-shm": 0o600,
        ".lock": 0o600,
        ".holder": 0o600,
    }
    assert stat.S_IMODE((state / "journals").stat().st_mode) == 0o700
    assert journal.close()


def test_a_folder_that_was_opened_to_others_is_closed_again(tmp_path: Path) -> None:
    private_folder(tmp_path).chmod(0o777)
    assert stat.S_IMODE(private_folder(tmp_path).stat().st_mode) == 0o700


def test_a_state_directory_of_the_users_keeps_its_rights_and_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o755)
    (tmp_path / "real").chmod(0o755)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    private_folder(tmp_path / "link")
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == 0o755


@pytest.mark.parametrize("end", [".sqlite3", ".lock"])
def test_H56_a_planted_link_is_not_followed(tmp_path: Path, end: str) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (private_folder(tmp_path) / f"{ROUTE.name}{end}").symlink_to(victim)
    with pytest.raises(WrongSetting, match="is no plain file"):
        opened(tmp_path)
    assert victim.read_bytes() == b"precious"


def test_H56_a_link_in_place_of_what_the_holder_says_is_replaced(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    for end in (".holder", ".holder-new"):
        (private_folder(tmp_path) / f"{ROUTE.name}{end}").symlink_to(victim)
    assert opened(tmp_path).close()
    assert victim.read_bytes() == b"precious"


def test_H56_a_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "journals").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(WrongSetting, match="is a link or no folder"):
        private_folder(tmp_path)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    database(tmp_path).parent.mkdir(mode=0o700)
    database(tmp_path).mkdir()
    with pytest.raises(WrongSetting, match="is no plain file"):
        opened(tmp_path)


@pytest.mark.skipif(not IS_ROOT, reason="only root can give files away")
@pytest.mark.parametrize("what", ["journals", f"journals/{ROUTE.name}.sqlite3", f"journals/{ROUTE.name}.lock"])
def test_H56_what_belongs_to_another_user_is_refused(tmp_path: Path, what: str) -> None:
    fill(tmp_path, keys(3))
    os.chown(tmp_path / what, NOBODY, NOBODY)
    with pytest.raises(WrongSetting, match="belongs to another user"):
        opened(tmp_path)


def test_a_file_in_place_of_the_state_directory_is_said(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"")
    with pytest.raises(JournalUnusable, match="--state-dir names another place"):
        private_folder(tmp_path / "state")
