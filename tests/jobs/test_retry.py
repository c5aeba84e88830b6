"""Trying again: exactly what an earlier run did not do, told what that run was told."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

import sterna
from sterna.jobs.apply import apply
from sterna.jobs.backup import Backup, backup
from sterna.jobs.copy import copy
from sterna.jobs.history import history
from sterna.jobs.memory import PLANNED_ALL
from sterna.jobs.plan import plan
from sterna.jobs.repeat import STATE_FILE, filters_of, path_of, settings_of, words_of
from sterna.jobs.settings import Deletion, Journaling, Manifesting, Settings
from sterna.jobs.sync import sync
from sterna.journal.database import journals, reading
from sterna.journal.journal import Journal
from sterna.journal.lock import Lock
from sterna.journal.questions import route_of
from sterna.model.errors import Locked, SternaError, WrongSetting
from sterna.model.events import Event, Notice, ObjectsEnded, Summary
from sterna.model.location import LocalPath, parse_location
from sterna.model.outcomes import Status
from sterna.model.stop import Stop
from sterna.moving.settings import Customer, Limits, UploadOptions
from sterna.planning.compare import Compare
from sterna.planning.filters import Filter
from sterna.planning.guard import Allowed
from sterna.planning.moments import Moment, parse_moment
from sterna.planning.planfile import PlanFile
from sterna.planning.rules import file_rules, in_order, option_rule
from sterna.wire.credentials import Identity
from sterna.wire.endpoints import Addressing
from sterna.wire.side import Side
from tests.e2e.trees import plant, tree
from tests.faults import front as f
from tests.faults.front import Front
from tests.servers.oracle import Bucket

ONE_SERVER_IS_ENOUGH = True

NO = f.Refuse(400, "EntityTooLarge", "no")
FILES = {name: name.encode() for name in ("a", "b/c", "d", "e")}


class Case:
    """A folder, a bucket behind a front, and runs between them of which some fail."""

    def __init__(self, front: Front, bucket: Bucket, side: Side, tmp_path: Path, state: Path) -> None:
        self.front = front
        self.bucket = bucket
        self.folder = plant(tmp_path / "tree", FILES)
        self.settings = Settings(source=side, destination=side)
        self.state = state

    def up(self, settings: Settings | None = None, *, failing: str = "", folder: str = "") -> Summary:
        """A sync of which the Puts of some keys, a regular expression, fail."""
        fault = self.front.fault("Put", kind=NO, nth="always", key=re.compile(failing)) if failing else None
        try:
            ends = parse_location(folder or str(self.folder)), parse_location(self.bucket.url("p"))
            return asyncio.run(sync(*ends, settings or self.settings))
        finally:
            if fault is not None:
                self.front.remove(fault)
            self.front.forget()

    def retry(self, run: str = "", **how: str) -> Summary:
        return sterna.retry(run, settings=self.settings, on_event=self.hear, **how)

    def hear(self, event: Event) -> None:
        if isinstance(event, ObjectsEnded):
            self.ended = {one.key: one for one in event.outcomes}

    def puts(self) -> list[str]:
        return sorted(one.key for one in self.front.requests_of("Put"))

    def names(self) -> list[str]:
        return [past.run.name for past in history(self.state).runs]


@pytest.fixture
def case(front: Front, bucket: Bucket, fronted: Side, tmp_path: Path, state: Path) -> Case:
    return Case(front, bucket, fronted, tmp_path, state)


def test_only_what_failed_is_sent_again(case: Case) -> None:
    assert case.up(failing="p/(b/c|e)").failed == 2
    plant(case.folder, {"new": b"that run never met it"})
    summary = case.retry()
    assert (summary.exit_code, summary.uploaded, summary.kept) == (0, 2, 0)
    assert case.puts() == ["p/b/c", "p/e"]
    [name, before] = case.names()
    assert dict(history(case.state).runs[0].run.notes) == {PLANNED_ALL: 1}, "how much there is, it has not seen"
    assert f"2 objects that failed or were left by the run {before} are tried again." in summary.notices
    assert (
        case.retry(name[:-3]).verdict
        == f"Nothing is left to do of the run {name}: nothing failed, and nothing was left."
    )


def test_what_fails_again_stays_to_be_tried(case: Case) -> None:
    case.up(failing="p/(b/c|e)")
    fault = case.front.fault("Put", kind=NO, nth="always", key="p/e")
    summary = case.retry()
    assert (summary.exit_code, summary.uploaded, summary.failed) == (1, 1, 1)
    case.front.remove(fault)
    case.front.forget()
    assert case.retry().uploaded == 1
    assert case.puts() == ["p/e"]


def test_an_older_run_is_tried_again_by_its_name(case: Case) -> None:
    case.up(failing="p/e")
    [name] = case.names()
    case.up()
    summary = case.retry(name)
    assert (summary.exit_code, summary.kept) == (0, 1), "it was sent by another run since"
    assert case.puts() == []


def test_where_nothing_failed_nobody_is_asked_for_anything(case: Case) -> None:
    assert case.up().exit_code == 0
    summary = case.retry()
    assert (summary.exit_code, summary.requests) == (0, 0)
    assert case.front.count() == 0


def test_it_is_told_what_that_run_was_told(case: Case) -> None:
    told = UploadOptions(metadata=(("who", "us"),), content_type="x/y", storage_class="STANDARD_IA")
    case.up(replace(case.settings, upload=told), failing="p/e")
    assert case.retry().uploaded == 1
    head = case.bucket.head("p/e")
    assert head is not None
    assert (head["x-amz-meta-who"], head["content-type"]) == ("us", "x/y")
    assert case.front.requests_of("Put")[0].headers["x-amz-storage-class"] == "STANDARD_IA"


def test_it_finds_the_folder_from_another_one(case: Case, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    case.up(failing="p/e", folder="tree")
    monkeypatch.chdir("/")
    assert case.retry().uploaded == 1


def test_a_retry_never_deletes(case: Case) -> None:
    case.bucket.put("p/only-there", b"x")
    deleting = replace(case.settings, deletion=Deletion(Allowed()))
    assert case.up(deleting, failing="p/e").failed
    assert case.retry().uploaded == 1
    assert case.bucket.get("p/only-there") == b"x"
    assert case.front.count(("Delete", "DeleteObjects")) == 0


def test_after_a_run_that_ended_in_its_listing_all_is_looked_at_with_its_filters(case: Case) -> None:
    """What it never came to is in no journal."""
    case.front.fault("ListV2", kind=f.ACCESS_DENIED)
    chosen = Filter(rules=in_order([option_rule("--exclude", "d*")]))
    with pytest.raises(SternaError):
        case.up(replace(case.settings, filters=chosen))
    summary = case.retry()
    assert (summary.exit_code, summary.uploaded) == (0, 3)
    assert case.puts() == ["p/a", "p/b/c", "p/e"]
    assert "ended before all was listed" in summary.notices[0]


def test_after_a_run_that_was_asked_to_end_what_it_left_is_done(case: Case) -> None:
    ends = parse_location(str(case.folder)), parse_location(case.bucket.url("p"))
    small = replace(case.settings, limits=Limits(workers=1))

    async def run() -> Summary:
        stop, loop = Stop(), asyncio.get_running_loop()
        end = "the end was asked for", 130
        case.front.after("Put", call=lambda _: loop.call_soon_threadsafe(stop.request, *end))
        return await sync(*ends, small, stop=stop)

    interrupted = asyncio.run(run())
    assert interrupted.exit_code == 130
    before = set(case.bucket.keys())
    case.front.forget()
    assert case.retry().exit_code == 0
    assert set(case.puts()) == {f"p/{name}" for name in FILES} - before
    assert case.bucket.contents("p/") == {f"p/{name}": data for name, data in FILES.items()}


def test_downloads_are_tried_again_too(case: Case, tmp_path: Path) -> None:
    for name, data in FILES.items():
        case.bucket.put(f"p/{name}", data)
    fault = case.front.fault("Get", kind=f.ACCESS_DENIED, nth="always", key="p/e")
    ends = parse_location(case.bucket.url("p")), parse_location(str(tmp_path / "down"))
    assert asyncio.run(sync(*ends, case.settings)).failed == 1
    case.front.remove(fault)
    case.front.forget()
    assert case.retry().downloaded == 1
    assert [one.key for one in case.front.requests_of("Get")] == ["p/e"]
    assert tree(tmp_path / "down") == FILES


def test_copies_of_folders_are_tried_again(case: Case) -> None:
    fault = case.front.fault("Put", kind=NO, nth="always", key="p/e")
    ends = parse_location(str(case.folder)), parse_location(case.bucket.url("p"))
    assert asyncio.run(copy(*ends, case.settings)).failed == 1
    case.front.remove(fault)
    assert case.retry().uploaded == 1


def test_a_retry_of_a_backup_is_a_backup(case: Case, tmp_path: Path) -> None:
    """What is in place counts only where its content is the same, also when it is tried again; the state file is kept."""
    path = tmp_path / "state.json"
    fault = case.front.fault("Put", kind=NO, nth="always", key=re.compile("p/(a|e)"))
    ends = parse_location(str(case.folder)), parse_location(case.bucket.url("p"))
    assert asyncio.run(backup(*ends, case.settings, Backup(str(path)))).failed == 2
    case.front.remove(fault)
    case.bucket.put("p/a", b"A")
    case.front.forget()
    summary = case.retry(state_file=str(path))
    assert (summary.command, summary.exit_code, summary.uploaded) == ("backup", 0, 2)
    assert case.puts() == ["p/a", "p/e"]
    assert {one["filename"]: one["uploadedSuccess"] for one in json.loads(path.read_bytes())} == dict.fromkeys(
        "acde", 1
    )


def test_what_a_state_file_says_counts_more_than_the_journal(case: Case, tmp_path: Path) -> None:
    assert case.up().exit_code == 0
    case.bucket.delete("p/d")
    path = tmp_path / "state.json"
    path.write_text(
        json.dumps([
            {"filepath": str(case.folder / name), "filename": name, "uploadedSuccess": int(name != "d")} for name in FILES
        ])
    )  # fmt: skip
    assert case.retry("last", state_file=str(path)).uploaded == 1
    assert case.puts() == ["p/d"]


class Kept:
    """Backups of the case's folder to two places, of each of which a state file says that something failed."""

    def __init__(self, case: Case, tmp_path: Path) -> None:
        self.case = case
        self.files = {name: tmp_path / f"{name}.json" for name in "pq"}
        fault = case.front.fault("Put", kind=NO, nth="always", key=re.compile("[pq]/(a|e)"))
        for name, path in self.files.items():
            ends = parse_location(str(case.folder)), parse_location(case.bucket.url(name))
            assert asyncio.run(backup(*ends, case.settings, Backup(str(path)))).failed == 2
        case.front.remove(fault)
        case.front.forget()

    def undone(self, name: str) -> set[str]:
        records = json.loads(self.files[name].read_bytes())
        return {one["filename"] for one in records if not one["uploadedSuccess"]}


@pytest.fixture
def kept(case: Case, tmp_path: Path) -> Kept:
    return Kept(case, tmp_path)


def test_a_state_file_leads_to_where_its_run_went_and_not_where_the_last_one_did(kept: Kept) -> None:
    notices: list[str] = []

    def hear(event: Event) -> None:
        if isinstance(event, Notice):
            notices.append(event.sentence)

    case, path = kept.case, str(kept.files["p"])
    summary = sterna.retry(settings=case.settings, state_file=path, on_event=hear)
    assert (summary.exit_code, summary.destination) == (0, case.bucket.url("p"))
    assert case.puts() == ["p/a", "p/e"]
    assert (kept.undone("p"), kept.undone("q")) == (set(), {"a", "e"})
    assert re.match(rf"The backup \S+ is tried again: {case.folder} → {case.bucket.url('p')} at http", notices[0])


def test_a_run_and_a_state_file_of_two_places_are_refused_by_both_names(kept: Kept) -> None:
    case = kept.case
    [later, _] = case.names()
    with pytest.raises(WrongSetting) as refused:
        case.retry(later, state_file=str(kept.files["p"]))
    assert case.bucket.url("p") in refused.value.sentence
    assert case.bucket.url("q") in refused.value.sentence
    assert case.puts() == []
    assert kept.undone("p") == {"a", "e"}


def test_a_state_file_that_no_journal_knows_is_not_guessed_at(kept: Kept, tmp_path: Path) -> None:
    copied = shutil.copy(kept.files["p"], tmp_path / "copied.json")
    for path in (copied, tmp_path / "none.json"):
        with pytest.raises(WrongSetting, match="knows a run that kept the state file"):
            kept.case.retry(state_file=str(path))
    [_, earlier] = kept.case.names()
    assert kept.case.retry(earlier, state_file=str(copied)).uploaded == 2, (
        "where the run is named, the file is of its place"
    )


def test_the_state_file_that_a_run_kept_is_brought_up_to_date_without_being_named(kept: Kept) -> None:
    assert kept.case.retry().uploaded == 2
    assert (kept.undone("q"), kept.undone("p")) == (set(), {"a", "e"})


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "it is not there any more"), ("[]", "it is empty"), ("mine", "no state file")],
)
def test_a_state_file_that_cannot_be_gone_on_with_is_told_of_and_stays(kept: Kept, text: str, words: str) -> None:
    notices: list[Event] = []
    path = kept.files["q"]
    path.write_text(text)
    assert sterna.retry(settings=kept.case.settings, on_event=notices.append).uploaded == 2
    assert any(isinstance(one, Notice) and "not brought up to date" in one.sentence and words in one.sentence
               for one in notices)  # fmt: skip
    assert path.read_text() == text


def test_a_retry_that_looks_at_everything_leaves_the_manifest_of_the_backup(case: Case) -> None:
    case.front.fault("ListV2", kind=f.ACCESS_DENIED)
    told = replace(case.settings, manifest=Manifesting(sha256=True))
    ends = parse_location(str(case.folder)), parse_location(case.bucket.url("p"))
    with pytest.raises(SternaError):
        asyncio.run(backup(*ends, told))
    summary = case.retry()
    assert (summary.exit_code, summary.uploaded) == (0, 4)
    assert summary.manifest is not None
    assert summary.manifest.count == 4


def test_a_retry_of_some_says_that_it_leaves_no_manifest(case: Case) -> None:
    fault = case.front.fault("Put", kind=NO, nth="always", key="p/e")
    ends = parse_location(str(case.folder)), parse_location(case.bucket.url("p"))
    assert asyncio.run(backup(*ends, replace(case.settings, manifest=Manifesting()))).failed == 1
    case.front.remove(fault)
    summary = case.retry()
    assert (summary.uploaded, summary.manifest) == (1, None)
    assert "A run that tries again what was left writes no manifest; the next backup does." in summary.notices


def test_a_retry_of_some_keys_that_is_cut_off_forgets_no_filter(case: Case) -> None:
    """What the first run was told to leave out is left out by the retry of its retry as well."""
    chosen = Filter(rules=in_order([option_rule("--exclude", "d*")]))
    case.up(replace(case.settings, filters=chosen), failing="p/e")
    case.front.fault("ListV2", kind=f.ACCESS_DENIED)
    with pytest.raises(SternaError):
        case.retry()
    case.front.forget()
    summary = case.retry()
    assert (summary.exit_code, summary.uploaded) == (0, 1)
    assert "p/d" not in case.bucket.contents()


def test_it_goes_nowhere_else_than_that_run(case: Case, front: Front) -> None:
    """The same bucket's name means another bucket at another server: then it is refused before anything is sent."""
    case.up(failing="p/e")
    other = Front(front.upstream)
    try:
        side = replace(case.settings.destination, addressing=Addressing(urls=(other.endpoint_url,), region="us-east-1"))
        with pytest.raises(WrongSetting, match="and this would be"):
            sterna.retry(settings=replace(case.settings, destination=side))
        assert other.count("Put") == 0
    finally:
        other.close()
    nobody_says = replace(case.settings.destination, addressing=Addressing())
    assert sterna.retry(settings=replace(case.settings, destination=nobody_says)).uploaded == 1


def test_what_cannot_be_tried_again_says_what_to_do(case: Case, tmp_path: Path) -> None:
    with pytest.raises(WrongSetting, match="knows a run last"):
        case.retry()
    path = tmp_path / "plan"
    ends = parse_location(str(case.folder)), parse_location(case.bucket.url("p"))
    asyncio.run(plan(*ends, case.settings, path))
    with PlanFile.open(path) as made:
        asyncio.run(apply(made, case.settings))
    with pytest.raises(WrongSetting, match="was sterna apply"):
        case.retry()
    one = parse_location(str(case.folder / "a")), parse_location(case.bucket.url("one"))
    asyncio.run(copy(*one, case.settings))
    with pytest.raises(WrongSetting, match="copied one file"):
        case.retry()
    case.up(failing="p/e")
    without = replace(case.settings, journal=Journaling(is_kept=False))
    with pytest.raises(WrongSetting, match="--no-journal"):
        sterna.retry(settings=without)
    with pytest.raises(WrongSetting, match="was made without --sse-c-key-file; leave it off"):
        sterna.retry(settings=replace(case.settings, customer=Customer(b"k" * 32)))


def test_a_run_that_goes_on_is_not_tried_again(case: Case) -> None:
    case.up(failing="p/e")
    [path] = journals(case.state)
    with reading(path) as connection:
        route = route_of(connection)
    journal = Journal.open(route, case.state, command="sync")
    try:
        journal.begin(source=str(case.folder), target=case.bucket.url("p"))
        asyncio.run(journal.flushed())
        with pytest.raises(Locked, match="goes on"):
            case.retry()
    finally:
        journal.close()


def test_a_source_that_is_gone_is_told_of(case: Case) -> None:
    case.up(failing="p/e")
    shutil.rmtree(case.folder)
    with pytest.raises(SternaError) as told:
        case.retry()
    assert told.value.exit_code == 4


# What a journal keeps of settings


FULL = Settings(
    source=Side(),
    destination=Side(
        addressing=Addressing(urls=("http://127.0.0.1:1",), region="snow", style="path"),
        identity=Identity(profile="secret-profile", role_arn="arn:aws:iam::1:role/secret", external_id="secret-id"),
        request_payer=True,
    ),
    upload=UploadOptions(storage_class="GLACIER", metadata=(("a", "b"),), tags=(("c", "d"),), md5_up_to=7),
    filters=Filter(
        rules=in_order([option_rule("--exclude", "*.t[a-c]p"), file_rules(b"+ /keep/**\n- {x,y}/\n", "rules")]),
        min_size=1,
        newer_than=parse_moment("7d", 10**18),
    ),
    compare=Compare.CHECKSUM,
    trash="old",
    symlinks="follow",
    one_file_system=True,
)


def test_settings_come_back_out_of_their_words() -> None:
    words = words_of(FULL, parse_location("tree"), parse_location("s3://bucket"))
    assert "secret" not in str(words)
    now = Settings(limits=Limits(workers=3))
    found = replace(settings_of(words, now, "R"), filters=filters_of(words, "R"))
    identity = replace(FULL.destination, identity=Identity())
    assert found == replace(FULL, destination=identity, limits=now.limits)
    assert found.filters.fingerprint == FULL.filters.fingerprint
    assert found.filters.newer_than == Moment(10**18 - 7 * 86400 * 10**9, "7d", f"{7 * 86400 * 10**9}ns ago")


def test_what_is_said_now_of_where_a_side_is_goes_before() -> None:
    words = words_of(FULL, parse_location("tree"), parse_location("s3://bucket"))
    here = Side(addressing=Addressing(urls=("http://127.0.0.1:2",)), identity=Identity(profile="now"))
    found = settings_of(words, Settings(destination=here), "R").destination
    assert found.addressing == Addressing(urls=("http://127.0.0.1:2",), region="snow", style="path")
    assert found.identity.profile == "now"


def test_of_a_long_list_only_its_mark_is_kept_and_then_it_is_not_repeated_as_a_whole() -> None:
    listed = Settings(filters=Filter(listed=frozenset(map(str, range(5000)))))
    words = words_of(listed, parse_location("tree"), parse_location("s3://bucket"))
    assert len(str(words)) < 5000
    with pytest.raises(WrongSetting, match="give the command of it again"):
        filters_of(words, "R")
    short = Settings(filters=Filter(listed=frozenset({"a", "b"})))
    assert filters_of(words_of(short, parse_location("tree"), parse_location("s3://bucket")), "R") == short.filters


def test_a_run_without_words_is_not_guessed_at() -> None:
    with pytest.raises(WrongSetting, match="is not in its journal"):
        settings_of({}, Settings(), "R")
    own_key = words_of(Settings(customer=Customer(b"k" * 32)), parse_location("tree"), parse_location("s3://bucket"))
    assert "kkkk" not in str(own_key)
    with pytest.raises(WrongSetting, match="--sse-c-key-file"):
        settings_of(own_key, Settings(), "R")


def test_paths_are_kept_as_they_are_where_they_are_text(tmp_path: Path) -> None:
    words = words_of(Settings(), LocalPath(tmp_path), parse_location("s3://bucket"), "/x/state.json")
    assert (words["source"], words[STATE_FILE]) == (str(tmp_path), "/x/state.json")
    odd = tmp_path / os.fsdecode(b"\xff")
    words = words_of(Settings(), LocalPath(odd), parse_location("s3://bucket"))
    words["source"].encode()
    assert path_of(words, "source") == str(odd)
    assert path_of({"source": '"L2RhdGE="'}, "source") == "/data", "as earlier versions kept it"


def test_rules_that_are_no_text_keep_no_run_from_going_on() -> None:
    odd = Settings(filters=Filter(rules=in_order([option_rule("--exclude", os.fsdecode(b"\xff"))])))
    assert words_of(odd, parse_location("tree"), parse_location("s3://bucket")) == {}


def test_of_what_a_run_had_in_hand_when_it_died_nothing_is_passed_over(case: Case) -> None:
    """Torn off after all was listed, its journal does not say so: all is looked at, and what is there is kept."""
    case.up(failing="p/e")
    [path] = journals(case.state)
    with reading(path) as connection:
        route = route_of(connection)
    journal = Journal.open(route, case.state, command="sync")
    words = words_of(case.settings, parse_location(str(case.folder)), parse_location(case.bucket.url("p")))
    run = journal.begin(source=str(case.folder), target=case.bucket.url("p"), options=words)
    run.depart(["d", "e"])
    journal.close()
    summary = case.retry()
    assert (summary.exit_code, summary.uploaded, summary.kept) == (0, 1, 3)
    assert case.ended["e"].status is Status.DONE


def test_the_lock_of_the_route_is_held_while_it_is_tried_again(case: Case) -> None:
    case.up(failing="p/e")
    [path] = journals(case.state)
    lock = Lock.take(path.with_suffix(".lock"), "sync")
    try:
        with pytest.raises(Locked):
            case.retry()
    finally:
        lock.release()
