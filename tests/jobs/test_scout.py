"""A folder walked in pieces, by this process and by another, is listed as one: every file once, in order, or an error."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest

from sterna.jobs import scout
from sterna.jobs.scout import Errand, scouted
from sterna.model.errors import SourceUnknown, SternaError
from sterna.planning.filters import EVERYTHING, Filter
from sterna.planning.rules import in_order, option_rule
from sterna.stores import local
from sterna.stores.local import LocalStore, WalkLost
from sterna.stores.walk import Page, pages

COUNT = 3_400


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(COUNT):
        path = tmp_path / f"d{number // 700}" / f"f{number:05d}"
        if number % 700 == 0:
            path.parent.mkdir()
        path.touch()
    (tmp_path / "d1" / "f00900-is-a-pipe").unlink(missing_ok=True)
    os.mkfifo(tmp_path / "d1" / "f00900-is-a-pipe")
    os.close(os.open(os.fsencode(tmp_path) + b"/d2/not-\xff-utf8", os.O_CREAT | os.O_WRONLY))
    return tmp_path


@pytest.fixture(autouse=True)
def soon_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_LARGE", 1)


def by_a_thread(serve: Callable[[socket.socket], object]) -> Callable[[], socket.socket]:
    """What starts a scout: the real one's code, but in a thread, whose end is the end of its socket."""

    def start() -> socket.socket:
        ours, theirs = socket.socketpair()

        def run() -> None:
            with theirs:
                try:
                    serve(theirs)
                except OSError:
                    pass  # nobody listens any more

        threading.Thread(target=run, daemon=True).start()
        return ours

    return start


def identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


async def listed(folder: Path, serve: Callable[[socket.socket], object]) -> tuple[list[str], list[str]]:
    keys: list[str] = []
    troubles: list[str] = []
    with LocalStore.open(folder) as store:

        def elsewhere(start_after: str) -> AsyncGenerator[Page, None]:
            return scouted(by_a_thread(serve), Errand(os.fspath(folder), "skip", start_after, identity(folder)))

        store.elsewhere = elsewhere
        async for page in store.pages():
            keys += [entry.key for entry in page.entries]
            troubles += [one.key for one in page.troubles]
    return keys, troubles


def truth(folder: Path) -> tuple[list[str], list[str]]:
    walked = list(pages(folder))
    return [e.key for page in walked for e in page.entries], [t.key for page in walked for t in page.troubles]


def test_what_a_scout_lists_joins_what_was_listed_here(folder: Path) -> None:
    served: list[int] = []
    found = asyncio.run(listed(folder, lambda connected: served.append(scout.serve(connected))))
    assert found == truth(folder)
    assert len(found[0]) == COUNT
    assert len(found[1]) == 2  # the pipe, and the name that is not UTF-8
    assert served == [0]


def test_a_scout_that_dies_is_replaced_by_this_process_from_where_it_was_h94(folder: Path) -> None:
    class Lost(Exception):
        pass

    def dies_after_a_page(connected: socket.socket) -> None:
        sent = 0

        class Counting:
            def recv(self, count: int) -> bytes:
                return connected.recv(count)

            def sendall(self, data: bytes) -> None:
                nonlocal sent
                sent += 1
                if sent == 2:
                    connected.sendall(data[: len(data) // 2])  # killed while it wrote
                    raise Lost
                connected.sendall(data)

        try:
            scout.serve(Counting())  # type: ignore[arg-type]
        except Lost:
            pass
        assert sent == 2

    found, wanted = asyncio.run(listed(folder, dies_after_a_page)), truth(folder)
    assert found == wanted


def test_neither_this_process_nor_a_scout_enters_folders_that_the_filters_leave_out(folder: Path) -> None:
    filters = Filter(rules=in_order([option_rule("--exclude", "d0/*"), option_rule("--exclude", "d3/*")]))

    async def run(errand: Errand) -> tuple[list[str], list[str]]:
        keys, troubles = [], []
        with LocalStore.open(folder, one_file_system=errand.one_file_system) as store:
            store.may_hold = scout.pruning(filters)
            store.elsewhere = lambda start_after: scouted(
                by_a_thread(scout.serve), errand._replace(start_after=start_after)
            )
            async for page in store.pages():
                keys += [entry.key for entry in page.entries]
                troubles += [one.key for one in page.troubles]
        return keys, troubles

    found, troubles = asyncio.run(run(Errand(os.fspath(folder), "skip", "", identity(folder), filters)))
    assert found == [key for key in truth(folder)[0] if filters.takes_key(key)]
    assert len(found) == 700 + 700 + 600  # of d0, which this process met, and of d3, which the scout met, nothing
    assert sorted(troubles) == sorted(truth(folder)[1])
    assert scout.pruning(EVERYTHING) is None


def test_a_scout_reads_links_and_escaped_names_as_this_process_does(folder: Path) -> None:
    for number in range(3):
        (folder / f"d{number}" / "f-link").symlink_to("x")
        (folder / f"d{number}" / "%2E.").touch()

    async def run() -> list[str]:
        with LocalStore.open(folder, symlinks="store", escapes=True) as store:
            errand = Errand(os.fspath(folder), "store", "", identity(folder), escapes=True)
            store.elsewhere = lambda start_after: scouted(
                by_a_thread(scout.serve), errand._replace(start_after=start_after)
            )
            return [entry.key async for page in store.pages() for entry in page.entries]

    found = asyncio.run(run())
    assert found == [e.key for page in pages(folder, symlinks="store", escapes=True) for e in page.entries]
    assert [key for key in found if key.endswith((".rclonelink", ".."))] == [
        f"d{number}/{name}" for number in range(3) for name in ("..", "f-link.rclonelink")
    ]


def test_a_scout_that_cannot_be_started_is_not_missed(folder: Path) -> None:
    async def run() -> list[str]:
        with LocalStore.open(folder) as store:

            def no_process() -> socket.socket:
                raise OSError("no more processes")

            store.elsewhere = lambda start_after: scouted(no_process, Errand(str(folder), "skip", start_after, (0, 0)))
            return [entry.key async for page in store.pages() for entry in page.entries]

    assert asyncio.run(run()) == truth(folder)[0]


def test_a_scout_that_finds_another_folder_under_the_path_says_nothing_of_it(folder: Path, tmp_path: Path) -> None:
    async def run() -> list[Page]:
        errand = Errand(os.fspath(folder), "skip", "", (1, 1))
        return [page async for page in scouted(by_a_thread(scout.serve), errand)]

    with pytest.raises(WalkLost):
        asyncio.run(run())


def test_an_error_of_the_walk_is_that_of_the_listing_never_its_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> object:
        raise SourceUnknown("The folder has gone.", key="x")

    monkeypatch.setattr(scout, "pages", gone)
    with pytest.raises(SternaError) as told:
        asyncio.run(listed(folder, scout.serve))
    assert isinstance(told.value, SourceUnknown)
    assert told.value.sentence == "The folder has gone."
    assert told.value.key == "x"


@pytest.mark.parametrize("has_scout", (True, False))
def test_a_folder_that_is_replaced_while_it_is_listed_is_listed_to_its_own_end_h75(
    folder: Path, has_scout: bool
) -> None:
    """As an unmounted disk or a snapshot that is switched leaves it: nothing of the other folder counts as the rest."""
    wanted = truth(folder)

    async def run() -> list[str]:
        keys: list[str] = []
        with LocalStore.open(folder) as store:
            root = identity(folder)
            if has_scout:
                store.elsewhere = lambda start_after: scouted(
                    by_a_thread(scout.serve), Errand(os.fspath(folder), "skip", start_after, root)
                )
            async for page in store.pages():
                if not keys:
                    folder.rename(folder.with_name(f"{folder.name}, moved away"))
                    folder.mkdir()
                    (folder / "another").touch()
                keys += [entry.key for entry in page.entries]
        return keys

    assert asyncio.run(run()) == wanted[0]
