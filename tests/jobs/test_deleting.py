"""Nothing moves before all is listed and guarded, and nothing is deleted before all has moved."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from pathlib import Path

import pytest

from sterna.jobs.deleting import Deleter
from sterna.jobs.ledger import Ledger
from sterna.model.actions import Action, Verb
from sterna.model.entry import Entry, Trouble
from sterna.model.errors import DiskFull, GuardRefused, SternaError
from sterna.model.events import Summary, Tally, ignore
from sterna.model.outcomes import Outcome, Status
from sterna.model.stop import Stop
from sterna.moving.delete import FolderEraser
from sterna.planning.filters import EVERYTHING
from sterna.planning.guard import Allowed, Guard, MaxDelete
from sterna.planning.merge import Pair
from sterna.stores.local import LocalStore

pytestmark = pytest.mark.thorough

ALL = Allowed(frozenset({Guard.SWAPPED}), MaxDelete())


class Eraser:
    """Erases on paper. ``then`` is told of each batch, and may change its outcomes."""

    def __init__(self, then: Callable[[list[Outcome]], object] = bool) -> None:
        self.batches: list[int] = []
        self._then = then

    async def erase(
        self, actions: Sequence[Action], keeps_folder: Callable[[str], bool] | None = None
    ) -> list[Outcome]:
        self.batches.append(len(actions))
        outcomes = [Outcome("delete", one.key, Status.DONE) for one in actions]
        self._then(outcomes)
        return outcomes


def orphan(key: str) -> Pair:
    return None, Entry(key, 1, 1)


def both(key: str) -> Pair:
    return Entry(key, 1, 1), Entry(key, 1, 1)


def upload(key: str, verb: Verb = Verb.UPLOAD) -> Action:
    return Action(verb, key, "new", Entry(key, 1, 1))


def listed(count: int, *, source: bool = True) -> list[Pair]:
    return [*([both("0")] if source else []), *(orphan(f"o{number:06}") for number in range(count))]


class Run:
    """A run without stores: pages as the merge would give them, plans as planning would."""

    def __init__(self, eraser: Eraser, allowed: Allowed = ALL, *, held: int = 20_000) -> None:
        self.stop = Stop()
        self.eraser = eraser
        self.deleter = Deleter(eraser, EVERYTHING, allowed, stop=self.stop, held=held)
        self.moved: list[str] = []
        self.on_page: Callable[[int], object] = bool

    async def plans(
        self, pages: Sequence[list[Pair]], plans: Sequence[list[Action]]
    ) -> AsyncGenerator[list[Action], None]:
        for number, (page, plan) in enumerate(zip(pages, plans, strict=True)):
            self.on_page(number)
            if not self.deleter.see(page):
                return
            if plan:
                yield plan

    def __call__(
        self,
        pages: Sequence[list[Pair]],
        plans: Sequence[list[Action]],
        failing: Sequence[str] = (),
        *,
        dry: bool = False,
    ) -> Summary:
        async def run() -> Summary:
            ledger = Ledger("sync", "a", "b", emit=ignore, tally=Tally(), stop=self.stop)
            try:
                with self.deleter:
                    async for plan in self.deleter.guarded(self.plans(pages, plans)):
                        ledger.planned(len(plan), 0)
                        for one in plan:
                            self.moved.append(one.key)
                            status = Status.FAILED if one.key in failing else Status.DONE
                            if one.key != "lost":
                                ledger.record([Outcome(one.verb.value, one.key, status)])
                    await self.deleter.delete(ledger, self.stop, planned if dry else None)
                return await ledger.settle()
            finally:
                await ledger.close()

        return asyncio.run(run())


def planned(actions: Sequence[Action]) -> list[Outcome]:
    return [Outcome("delete", one.key, Status.PLANNED) for one in actions]


def test_deletions_come_last_and_in_batches_of_a_thousand() -> None:
    run = Run(eraser := Eraser(lambda _: run.moved.append("deleted")))
    summary = run([listed(2500)], [[upload("a"), upload("b")]])
    assert (summary.deleted, summary.uploaded, summary.exit_code) == (2500, 2, 0)
    assert run.moved == ["a", "b", "deleted", "deleted", "deleted"]
    assert eraser.batches == [1000, 1000, 500]


@pytest.mark.parametrize("held", [20_000, 1], ids=["in memory", "in a file"])
def test_nothing_moves_when_a_guard_refuses(held: int) -> None:
    run = Run(eraser := Eraser(), Allowed(), held=held)
    with pytest.raises(GuardRefused, match=r"at most 100 may be"):
        run([[both("0"), *(orphan(f"o{n:03}") for n in range(90))], [orphan(f"p{n:03}") for n in range(90)]],
            [[upload("a"), upload("b")], [upload("c")]])  # fmt: skip
    assert (run.moved, eraser.batches) == ([], [])


def test_what_waits_in_a_file_comes_out_as_it_was() -> None:
    run = Run(Eraser(), held=1)
    plans = [
        [upload("a"), upload("b\x01")],
        [upload("c", Verb.LOOK)],
        [],
        [upload("d", Verb.REFUSE), upload("\U0001f426")],
    ]
    summary = run([listed(1), [], [], []], plans)
    assert run.moved == ["a", "b\x01", "c", "d", "\U0001f426"]
    assert summary.deleted == 1


def test_H49_a_plan_for_which_there_is_no_room_ends_the_run_before_anything_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    run = Run(eraser := Eraser(), held=1)
    with pytest.raises(SternaError, match="make a folder for the plan"):
        run([listed(1), []], [[upload("a"), upload("b")], [upload("c")]])
    assert (run.moved, eraser.batches) == ([], [])


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_H49_a_disk_that_fills_while_the_plan_is_written_ends_the_run_before_anything_moves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import resource
    import signal

    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    run = Run(eraser := Eraser(), held=1)
    keys = [f"{number:06}" + "x" * 900 for number in range(20_000)]
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 12, old[1]))
        with pytest.raises(SternaError) as raised:
            run([listed(1), []], [[upload("000")], [upload(key) for key in keys]])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, before)
    assert not isinstance(raised.value, DiskFull)  # EFBIG here; its sentence is as good
    assert (run.moved, eraser.batches) == ([], [])


@pytest.mark.parametrize("held", [20_000, 1], ids=["in memory", "in a file"])
def test_an_end_that_is_asked_for_while_all_is_listed_leaves_everything(held: int) -> None:
    run = Run(eraser := Eraser(), held=held)
    run.on_page = lambda number: run.stop.request("SIGINT", 130) if number == 2 else None
    summary = run(
        [listed(5), [both("p")], [both("q")], [both("r")]], [[upload("a")], [upload("b"), upload("c")], [], []]
    )
    assert (run.moved, eraser.batches) == ([], [])
    assert summary.exit_code == 130


def test_an_end_that_is_asked_for_while_batches_go_leaves_the_rest_and_says_so() -> None:
    run = Run(eraser := Eraser(lambda _: run.stop.request("SIGINT", 130)))
    summary = run([listed(2500)], [[]])
    assert eraser.batches == [1000]
    assert summary.deleted == 1000
    assert "1,500 deletions were left undone, since the run was ended." in summary.notices


def test_a_failed_transfer_leaves_all_deletions_for_the_next_run() -> None:
    run = Run(eraser := Eraser())
    summary = run([listed(2)], [[upload("a"), upload("b")]], failing=["b"])
    assert (eraser.batches, summary.exit_code, summary.deleted) == ([], 1, 0)
    assert summary.notices == ["2 deletions were left undone, since 1 of what was to be carried first failed."]


def test_a_transfer_of_which_nobody_knows_leaves_all_deletions() -> None:
    run = Run(eraser := Eraser())
    assert run([listed(2)], [[upload("a"), upload("lost")]]).exit_code == 1
    assert eraser.batches == []


def test_a_dry_run_leaves_the_deletions_that_the_real_one_would_leave() -> None:
    run = Run(eraser := Eraser())
    summary = run([listed(2)], [[upload("a")]], failing=["a"], dry=True)
    assert (summary.planned_by_verb, eraser.batches) == ({}, [])
    assert "2 deletions were left" in summary.notices[0]


def test_a_dry_run_tells_of_deletions_and_makes_none() -> None:
    run = Run(eraser := Eraser())
    summary = run([listed(1200)], [[]], dry=True)
    assert (summary.planned_by_verb["delete"].objects, eraser.batches) == (1200, [])


def test_H78_an_unreadable_name_protects_what_is_below_it_and_nothing_else() -> None:
    run = Run(Eraser())
    run.deleter.unknown([Trouble("o/", "cannot be read", subtree=True), Trouble("q", "is a link", skipped=True)])
    summary = run([[both("0"), orphan("o/1"), orphan("o/2/3"), orphan("o2"), orphan("q"), orphan("r")]], [[]])
    assert summary.deleted == 2
    assert summary.notices == [
        "3 entries of the destination were kept: whether the source still has them could not be told."
    ]


def refuse_all(outcomes: list[Outcome]) -> None:
    for one in outcomes:
        one.status, one.exit_code, one.error_kind = Status.FAILED, 3, "AccessDenied"


def test_H86_what_ends_each_deletion_of_a_batch_is_not_asked_for_again() -> None:
    run = Run(eraser := Eraser(refuse_all))
    summary = run([listed(2500)], [[]])
    assert (eraser.batches, summary.failed, summary.exit_code) == ([1000], 1000, 3)
    assert "1,500 deletions were left undone, since they would end as those before." in summary.notices


def forget_keys(outcomes: list[Outcome]) -> None:
    for one in outcomes:
        one.status, one.exit_code, one.error_kind, one.error = Status.FAILED, 3, "CredentialsExpired", "They are old."


def test_expired_credentials_end_the_run() -> None:
    run = Run(eraser := Eraser(forget_keys))
    assert run([listed(2500)], [[]]).exit_code == 3
    assert eraser.batches == [1000]


def test_a_folder_of_the_source_is_known_to_be_there() -> None:
    run = Run(Eraser())
    run.deleter.see([(Entry("a/", 0, 1), None), both("b")])
    assert run.deleter._keeps_folder("a/")
    assert not run.deleter._keeps_folder("b/")


# A file where a folder is needed

IN_THE_WAY: list[Pair] = [
    (None, Entry("a", 3, 1)),
    orphan("a-x"),
    (Entry("a/b", 1, 1), None),
    (Entry("a/c", 1, 1), None),
]


class Recording(FolderEraser):
    """Notes the keys of each batch."""

    def __init__(self, store: LocalStore, keys: list[list[str]]) -> None:
        super().__init__(store.folder)
        self._keys = keys

    async def erase(
        self, actions: Sequence[Action], keeps_folder: Callable[[str], bool] | None = None
    ) -> list[Outcome]:
        self._keys.append([one.key for one in actions])
        return await super().erase(actions, keeps_folder)


@pytest.fixture
def in_the_way(tmp_path: Path) -> Iterator[LocalStore]:
    """The destination of ``IN_THE_WAY``."""
    for name, body in (("a", b"old"), ("a-x", b"1")):
        (tmp_path / name).write_bytes(body)
        os.utime(tmp_path / name, ns=(1, 1))
    with LocalStore.open(tmp_path) as store:
        yield store


def names(store: LocalStore) -> list[str]:
    below = store.folder.path
    return sorted(str(path.relative_to(below)) for path in below.rglob("*") if not path.name.startswith(".sterna-"))


def carried(
    eraser: FolderEraser, allowed: Allowed = ALL, *, arrives: Callable[[], object] = bool, has_failed: bool = False
) -> Summary:
    """A run of two plans that need the folder ``a``, both at once."""
    deleter = Deleter(eraser, EVERYTHING, allowed)

    async def plans() -> AsyncGenerator[list[Action], None]:
        deleter.see(IN_THE_WAY)
        yield [upload("a/b", Verb.DOWNLOAD)]
        yield [upload("a/c", Verb.DOWNLOAD)]

    async def run() -> Summary:
        stop = Stop()
        ledger = Ledger("sync", "a", "b", emit=ignore, tally=Tally(), stop=stop)
        try:
            with deleter:
                guarded = [plan async for plan in deleter.guarded(plans())]
                if has_failed:
                    ledger.planned(1, 0)
                    ledger.record([Outcome("download", "0", Status.FAILED)])
                await asyncio.gather(*(deleter.clear(plan, ledger) for plan in guarded))
                arrives()
                await deleter.delete(ledger, stop, None)
            return await ledger.settle()
        finally:
            await ledger.close()

    return asyncio.run(run())


def test_a_file_where_a_folder_is_needed_goes_first_and_once(in_the_way: LocalStore) -> None:
    keys: list[list[str]] = []

    def arrives() -> None:
        (in_the_way.folder.path / "a").mkdir()
        (in_the_way.folder.path / "a/b").write_bytes(b"1")

    summary = carried(Recording(in_the_way, keys), arrives=arrives)
    assert keys == [["a-x"]]
    assert summary.deleted == 2
    assert names(in_the_way) == ["a", "a/b"]


def test_a_file_in_whose_place_nothing_came_is_back_and_goes_as_the_others(in_the_way: LocalStore) -> None:
    keys: list[list[str]] = []
    seen: list[list[str]] = []
    summary = carried(Recording(in_the_way, keys), arrives=lambda: seen.append(names(in_the_way)))
    assert "a" not in seen[0]
    assert keys == [["a", "a-x"]]
    assert summary.deleted == 2


def test_a_run_that_breaks_off_puts_back_what_was_in_the_way(in_the_way: LocalStore) -> None:
    def breaks() -> None:
        (in_the_way.folder.path / "a/c").mkdir(parents=True)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        carried(Recording(in_the_way, []), arrives=breaks)
    assert names(in_the_way) == ["a", "a-x"]
    assert (in_the_way.folder.path / "a").read_bytes() == b"old"


def test_a_file_where_a_folder_is_needed_stays_once_something_has_failed(in_the_way: LocalStore) -> None:
    seen: list[list[str]] = []
    carried(Recording(in_the_way, []), arrives=lambda: seen.append(names(in_the_way)), has_failed=True)
    assert seen == [["a", "a-x"]]
    assert names(in_the_way) == ["a", "a-x"]


def test_a_file_where_a_folder_is_needed_waits_for_the_guards(in_the_way: LocalStore) -> None:
    keys: list[list[str]] = []
    with pytest.raises(GuardRefused):
        carried(Recording(in_the_way, keys), Allowed(frozenset({Guard.SWAPPED}), MaxDelete(1)))
    assert keys == []
    assert names(in_the_way) == ["a", "a-x"]


def test_a_file_where_a_folder_is_needed_stays_if_it_is_no_longer_what_was_listed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"of somebody else")
    (tmp_path / "a-x").write_bytes(b"1")
    with LocalStore.open(tmp_path) as store:
        summary = carried(FolderEraser(store.folder))
    assert summary.failed == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a-x"]
