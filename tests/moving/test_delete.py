"""What is erased was listed so, is looked for again, and nothing else is touched."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from sterna.model.actions import Action, Verb
from sterna.model.entry import Entry
from sterna.model.events import Event, Notice
from sterna.model.outcomes import Outcome, Status
from sterna.model.stop import Stop
from sterna.moving.delete import BucketEraser, FolderEraser
from sterna.stores.folder import Folder
from sterna.stores.s3 import S3Store
from sterna.stores.trash import COPY_BYTES, BucketTrash, FolderTrash
from sterna.wire.client import Client
from sterna.wire.side import Side
from tests.faults import front as f
from tests.faults.front import Front
from tests.places import ODD, at
from tests.servers.oracle import Bucket

GONE = f.Refuse(404, "NoSuchKey")
OTHER = b"somebody's newer words"
T = TypeVar("T")


def deletions(entries: list[Entry]) -> list[Action]:
    return [Action(Verb.DELETE, entry.key, "the source does not have it", None, entry) for entry in entries]


class Place:
    """Objects below ``p`` of a bucket as a listing showed them, and an eraser for them."""

    def __init__(self, bucket: Bucket, side: Side) -> None:
        self.bucket = bucket
        self.side = side
        self.said: list[Event] = []
        self.listed: list[Entry] = []

    def run(self, work: Callable[[S3Store], Awaitable[T]]) -> T:
        async def inside() -> T:
            client = Client(self.side, self.bucket.name, emit=self.said.append)
            try:
                return await work(S3Store(client, at(self.bucket, "p")))
            finally:
                await client.aclose()

        return asyncio.run(inside())

    def fill(self, *names: str) -> None:
        """Store objects, and list them."""
        for name in names:
            self.bucket.put(f"p/{name}", name.encode())

        async def listing(store: S3Store) -> list[Entry]:
            return [entry async for page in store.pages() for entry in page.entries]

        self.listed = self.run(listing)

    def erase(self, *, trash: str = "", most: int = COPY_BYTES, stop: Stop | None = None) -> dict[str, Outcome]:
        async def work(store: S3Store) -> list[Outcome]:
            bin_ = BucketTrash(store, trash, most=most) if trash else None
            return await BucketEraser(store, trash=bin_, stop=stop).erase(deletions(self.listed))

        return {one.key: one for one in self.run(work)}

    def left(self) -> list[str]:
        return [key.removeprefix("p/") for key in self.bucket.keys("p/")]


@pytest.fixture
def place(bucket: Bucket, fronted: Side) -> Place:
    return Place(bucket, fronted)


def statuses(outcomes: dict[str, Outcome]) -> dict[str, str]:
    return {key: one.status.value for key, one in outcomes.items()}


# In a bucket


def test_what_is_erased_is_seen_to_be_gone_by_three_requests(front: Front, place: Place) -> None:
    place.fill("a", "b", "c")
    before = len(front.requests)
    done = place.erase()
    assert statuses(done) == {"a": "done", "b": "done", "c": "done"}
    assert {one.proof for one in done.values()} == {"seen to be gone"}
    assert place.left() == []
    asked = [request.operation for request in front.requests[before:]]
    assert asked == ["ListV2", "DeleteObjects", "ListV2", "GetBucketSub"]


def test_every_key_can_be_erased_and_no_other_is(front: Front, place: Place) -> None:
    place.fill(*ODD, "a/b/", "a/b/c", "\U0001f426", "\uffee", "keep")
    place.listed = [entry for entry in place.listed if entry.key != "keep"]
    done = place.erase()
    assert set(statuses(done).values()) == {"done"}, {key: one.error for key, one in done.items()}
    assert place.left() == ["keep"]


def test_H05_a_lie_is_insisted_on(front: Front, place: Place) -> None:
    place.fill("a", "b", "c")
    front.fault("DeleteObjects", kind=f.Lie())
    assert set(statuses(place.erase()).values()) == {"done"}
    assert place.left() == []


def test_H05_a_lie_that_is_repeated_fails_by_name(front: Front, place: Place) -> None:
    place.fill("a", "b", "c")
    front.fault("DeleteObjects", nth="always", kind=f.Lie())
    front.fault("Delete", key="p/b", nth="always", kind=f.Lie())
    done = place.erase()
    assert statuses(done) == {"a": "done", "b": "failed", "c": "done"}
    assert "b: the server says that it is deleted, and still has it" in done["b"].error
    assert place.left() == ["b"]


def test_H05_what_a_look_denies_and_a_listing_shows_is_not_deleted(front: Front, place: Place) -> None:
    place.fill("a", "b")
    front.fault(("DeleteObjects", "Delete"), nth="always", kind=f.Lie())
    front.fault("Head", nth="always", kind=GONE)
    done = place.erase()
    assert set(statuses(done).values()) == {"failed"}
    assert "still lists it" in done["a"].error
    assert place.left() == ["a", "b"]


def test_H05_errors_of_single_keys_stay_with_their_keys(front: Front, place: Place) -> None:
    place.fill("a", "b", "c", "d")
    front.fault("DeleteObjects", kind=f.DeleteErrors(keys=("p/b", "p/c"), twice=True, strange=("p/keep",)))
    done = place.erase()
    assert statuses(done) == {"a": "done", "b": "failed", "c": "failed", "d": "done"}
    assert done["b"].error == "The server did not remove it: said the front"
    assert done["b"].error_code == "AccessDenied"
    assert place.left() == ["b", "c"]


def test_H86_a_key_that_the_server_locks_is_named_with_its_words(front: Front, place: Place) -> None:
    place.fill("a", "b", "c")
    front.fault("DeleteObjects", kind=f.DeleteErrors(keys=("p/b",), code="ObjectLocked"))
    done = place.erase()
    assert statuses(done) == {"a": "done", "b": "failed", "c": "done"}
    assert (done["b"].error_code, done["b"].error_words) == ("ObjectLocked", "said the front")


def test_H05_an_error_of_a_key_that_is_gone_all_the_same_is_none(front: Front, place: Place, bucket: Bucket) -> None:
    place.fill("a", "b", "c")
    front.fault("DeleteObjects", kind=f.DeleteErrors(keys=("p/b",)))
    front.after("DeleteObjects", call=lambda _: bucket.delete("p/b"))
    assert set(statuses(place.erase()).values()) == {"done"}


@pytest.mark.parametrize("fault", [f.DeleteErrors(silent=True, count=2), f.DeleteErrors(code="InternalError", count=2),
                                   f.EmptyBody(), f.CutXml(60), f.ErrorIn200(), f.NOT_IMPLEMENTED,
                                   f.Refuse(400, "MalformedXML"), f.Refuse(405, "MethodNotAllowed")], ids=repr)  # fmt: skip
def test_H05_H19_whatever_becomes_of_the_request_for_many_all_are_erased(
    front: Front, place: Place, fault: f.Kind
) -> None:
    place.fill("a", "b", "c")
    front.fault("DeleteObjects", nth="always", kind=fault)
    done = place.erase()
    assert set(statuses(done).values()) == {"done"}, {key: one.error for key, one in done.items()}
    assert place.left() == []


class KnowsNoTies(f.Kind):
    """A server whose parser refuses what DeleteObjects says beside the key."""

    def instead(self, exchange: f.Exchange, fault: f.Fault) -> f.Answer | None:
        if b"<ETag>" not in exchange.body():
            return None
        fault.hit()
        return f.error(exchange.request, 400, "MalformedXML", "said the front")


def test_a_server_that_knows_no_conditions_in_a_batch_is_asked_without(front: Front, place: Place) -> None:
    place.fill("a", "b", "c")
    front.fault("DeleteObjects", nth="always", kind=KnowsNoTies())
    assert set(statuses(place.erase()).values()) == {"done"}
    assert [one.operation for one in front.requests].count("DeleteObjects") == 2
    assert "Delete" not in [one.operation for one in front.requests]


def test_a_server_that_compares_etags_in_its_own_way_is_asked_without(front: Front, place: Place) -> None:
    place.fill("a", "b", "c")
    front.fault("DeleteObjects", nth="always", kind=f.DeleteErrors(code="PreconditionFailed"))
    front.fault("Delete", nth="always", kind=f.PRECONDITION_FAILED, where=lambda asked: "if-match" in asked.headers)
    front.fault("Delete", nth="always", kind=f.IgnoreConditions(), must_hit=False)
    front._faults[-2].must_hit = False
    assert set(statuses(place.erase()).values()) == {"done"}
    assert place.left() == []


@pytest.mark.parametrize("names", [("a", "b", "c"), ("b",)], ids=["many", "one"])
def test_H44_what_was_written_since_it_was_listed_is_kept(
    front: Front, place: Place, bucket: Bucket, names: tuple[str, ...]
) -> None:
    place.fill(*names)
    front.fault("*", nth="always", kind=f.IgnoreConditions(), must_hit=False)
    bucket.put("p/b", OTHER)
    done = place.erase()
    assert done["b"].status is Status.FAILED
    assert done["b"].error == "b was written again after it was listed; it was left."
    assert bucket.contents("p/") == {"p/b": OTHER}


@pytest.mark.parametrize("names", [("a", "b", "c"), ("b",)], ids=["many", "one"])
def test_H44_what_is_written_after_the_last_look_is_kept_where_the_server_knows_conditions(
    front: Front, place: Place, bucket: Bucket, names: tuple[str, ...]
) -> None:
    place.fill(*names)
    if len(names) > 1:  # ministack overlooks the ETags of a batch: the front stands for a server that obeys them
        front.fault("DeleteObjects", kind=f.DeleteErrors(keys=("p/b",), code="PreconditionFailed"))
    front.before("DeleteObjects" if len(names) > 1 else "Delete", call=lambda _: bucket.put("p/b", OTHER))
    done = place.erase()
    assert statuses(done) == {name: "failed" if name == "b" else "done" for name in names}
    assert "was written again by somebody else meanwhile" in done["b"].error
    assert bucket.contents("p/") == {"p/b": OTHER}


def test_H44_each_key_goes_with_the_etag_that_was_listed(front: Front, place: Place) -> None:
    place.fill("a", "b")
    front.keep_bodies = True
    place.erase()
    body = next(one.body for one in front.requests if one.operation == "DeleteObjects") or b""
    for entry in place.listed:
        assert f"<Key>p/{entry.key}</Key><ETag>&quot;{entry.etag}&quot;</ETag>".encode() in body


def test_what_is_gone_already_is_said_to_be(front: Front, place: Place, bucket: Bucket) -> None:
    place.fill("a", "b", "c")
    bucket.delete("p/b")
    done = place.erase()
    assert set(statuses(done).values()) == {"done"}
    assert done["b"].proof == "it was gone already"


@pytest.mark.parametrize("lie", [f.EmptyList(), f.TruncatedWithoutToken(), f.Html(), f.ACCESS_DENIED], ids=repr)
def test_H77_a_listing_that_lies_makes_nothing_absent(front: Front, place: Place, lie: f.Kind) -> None:
    place.fill("a", "b", "c")
    front.fault("ListV2", nth="always", kind=lie)
    done = place.erase()
    assert set(statuses(done).values()) == {"done"}, {key: one.error for key, one in done.items()}
    assert {one.proof for one in done.values()} == {"seen to be gone"}
    assert place.left() == []


def test_who_may_list_and_not_read_can_erase(front: Front, place: Place) -> None:
    place.fill("a", "b\x01", "c")
    front.fault("Head", nth="always", kind=f.ACCESS_DENIED, must_hit=False)
    assert set(statuses(place.erase()).values()) == {"done"}
    assert place.left() == []


def test_what_nobody_can_look_at_is_not_erased(front: Front, place: Place) -> None:
    place.fill("a", "b")
    front.fault(("Head", "ListV2"), nth="always", kind=f.ACCESS_DENIED)
    done = place.erase()
    assert set(statuses(done).values()) == {"failed"}
    assert done["a"].exit_code == 3
    assert place.left() == ["a", "b"]


def test_H85_a_bucket_with_versions_says_that_markers_were_added(front: Front, place: Place, bucket: Bucket) -> None:
    bucket.enable_versions()
    place.fill("a", "b")
    place.erase()
    told = [event.sentence for event in place.said if isinstance(event, Notice)]
    assert told == [f"The bucket {bucket.name} keeps versions: delete markers were added, the older versions stay."]


def test_what_is_asked_to_stop_takes_no_further_key(front: Front, place: Place) -> None:
    place.fill("a\x01", "b\x01")
    stop = Stop()
    stop.request("SIGINT", 130)
    done = place.erase(stop=stop)
    assert set(statuses(done).values()) == {"left"}
    assert place.left() == ["a\x01", "b\x01"]


# Into the trash of a bucket


def test_the_trash_of_a_bucket_has_bytes_and_metadata(front: Front, place: Place, bucket: Bucket) -> None:
    place.fill("a", "b c+%41", "d/")
    bucket.put("p/a", b"words", {"x-amz-meta-mtime": "1234.5", "content-type": "text/odd"})
    place.fill()
    done = place.erase(trash="p/bin/run")
    assert {one.proof for one in done.values()} == {"in the trash, and seen to be gone"}
    assert bucket.contents() == {"p/bin/run/a": b"words", "p/bin/run/b c+%41": b"b c+%41", "p/bin/run/d/": b"d/"}
    kept = bucket.head("p/bin/run/a")
    assert kept is not None
    assert (kept["x-amz-meta-mtime"], kept["content-type"]) == ("1234.5", "text/odd")


@pytest.mark.parametrize("lie", [f.Lie(), f.EmptyBody(), f.ErrorIn200(), f.CutXml(50), f.ACCESS_DENIED], ids=repr)
def test_H02_what_is_not_proved_to_be_in_the_trash_is_not_erased(front: Front, place: Place, lie: f.Kind) -> None:
    place.fill("a", "b", "c")
    front.fault("Copy", key="bin/b", nth="always", kind=lie)
    done = place.erase(trash="bin")
    assert statuses(done) == {"a": "done", "b": "failed", "c": "done"}
    assert place.left() == ["b"]


def test_H44_what_was_written_since_it_was_listed_is_not_moved_to_the_trash(
    front: Front, place: Place, bucket: Bucket
) -> None:
    place.fill("a", "b", "c")
    front.fault("*", nth="always", kind=f.IgnoreConditions(), must_hit=False)
    front.after("Copy", key="bin/b", call=lambda _: bucket.put("p/b", OTHER))
    assert statuses(place.erase(trash="bin")) == {"a": "done", "b": "failed", "c": "done"}
    assert bucket.contents("p/") == {"p/b": OTHER}


def test_what_is_too_large_for_one_copy_stays_and_is_named(front: Front, place: Place) -> None:
    place.fill("a", "large")
    done = place.erase(trash="bin", most=4)
    assert statuses(done) == {"a": "done", "large": "failed"}
    assert done["large"].error.startswith("large has 5 B, and a server copies at most 4 B in one request")
    assert place.left() == ["large"]


# In a folder


class Files:
    """Files of a folder as a listing showed them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        self.folder = Folder.open(root)

    def write(self, *names: str) -> list[Entry]:
        entries = []
        for name in names:
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
            os.utime(path, ns=(10**18, 10**18))
            entries.append(Entry(name, len(name), 10**18))
        return entries

    def erase(
        self, entries: list[Entry], keeps: Callable[[str], bool] | None = None, stop: Stop | None = None
    ) -> dict[str, Outcome]:
        done = asyncio.run(FolderEraser(self.folder, stop=stop).erase(deletions(entries), keeps))
        return {one.key: one for one in done}

    def left(self) -> list[str]:
        return sorted(
            path.relative_to(self.root).as_posix() + ("/" if path.is_dir() and not path.is_symlink() else "")
            for path in self.root.rglob("*")
        )


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "root")


def test_files_go_and_the_folders_that_they_leave_empty(files: Files) -> None:
    (files.root / "mine").mkdir()
    files.write("x/kept")
    done = files.erase(files.write("a/b/c", "a/b/d", "a/e", "x/y/z", "top"))
    assert set(statuses(done).values()) == {"done"}
    assert files.left() == ["mine/", "x/", "x/kept"]


def test_the_root_stays_though_it_is_empty(files: Files) -> None:
    files.erase(files.write("a", "b/c"))
    assert files.root.is_dir()
    assert files.left() == []


def test_a_folder_that_the_source_has_stays_though_it_is_empty(files: Files) -> None:
    files.erase(files.write("a/b/c", "d/e"), lambda path: path == "a/b/")
    assert files.left() == ["a/", "a/b/"]


def test_a_folder_stays_while_anything_is_in_it(files: Files) -> None:
    entries = files.write("a/x", "b/x", "c/x")
    (files.root / "a" / "link").symlink_to("nowhere")
    (files.root / "b" / ".sterna-1.part").write_text("unfinished")
    (files.root / "c" / "empty").mkdir()
    files.erase(entries)
    assert files.left() == ["a/", "a/link", "b/", "b/.sterna-1.part", "c/", "c/empty/"]


def test_a_folder_whose_files_went_by_others_hands_is_not_removed(files: Files) -> None:
    entries = files.write("a/x")
    (files.root / "a" / "x").unlink()
    assert files.erase(entries)["a/x"].proof == "it was gone already"
    assert files.left() == ["a/"]


def change(path: Path) -> None:
    path.write_text("other")
    os.utime(path, ns=(10**18 + 1, 10**18 + 1))


def swap_for_link(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def swap_for_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("happens", [change, swap_for_link, swap_for_folder])
@pytest.mark.parametrize("with_trash", [False, True], ids=["deleted", "trash"])
def test_H44_a_file_that_is_another_one_now_stays_and_is_named(
    files: Files, tmp_path: Path, happens: Callable[[Path], None], with_trash: bool
) -> None:
    entries = files.write("a/file", "b")
    if with_trash:
        files.folder.trash = FolderTrash(files.folder, tmp_path / "bin")
    happens(files.root / "a" / "file")
    before = files.left()
    done = files.erase(entries)
    assert statuses(done) == {"a/file": "failed", "b": "done"}
    assert "a/file" in done["a/file"].error
    assert files.left() == [name for name in before if name != "b"]


def test_H62_nothing_is_erased_through_a_link(files: Files, tmp_path: Path) -> None:
    entries = files.write("a/file")
    (files.root / "a").rename(tmp_path / "elsewhere")
    (files.root / "a").symlink_to(tmp_path / "elsewhere")
    assert files.erase(entries)["a/file"].status is Status.FAILED
    assert (tmp_path / "elsewhere" / "file").exists()


def test_nothing_is_erased_in_a_folder_that_was_moved_away(files: Files, tmp_path: Path) -> None:
    entries = files.write("a/1", "a/2")
    files.erase(entries[:1])  # the folder is held open from now on
    (files.root / "a").rename(tmp_path / "safe")
    assert files.erase(entries[1:])["a/2"].proof == "it was gone already"
    assert (tmp_path / "safe" / "2").exists()


def test_nothing_is_erased_in_a_root_that_was_moved_away(files: Files, tmp_path: Path) -> None:
    entries = files.write("a/1", "b")
    files.root.rename(tmp_path / "safe")
    files.root.mkdir()
    done = files.erase(entries)
    assert set(statuses(done).values()) == {"failed"}
    assert "was moved or replaced" in done["b"].error
    assert (tmp_path / "safe" / "b").exists()


def test_files_are_left_when_the_end_is_asked_for(files: Files) -> None:
    stop = Stop()
    stop.request("SIGINT", 130)
    assert statuses(files.erase(files.write("a"), stop=stop)) == {"a": "left"}
    assert files.left() == ["a"]


# Into the trash of a folder


def test_the_trash_of_a_folder_has_the_very_files(files: Files, tmp_path: Path) -> None:
    entries = files.write("a/b", "c")
    inode = (files.root / "a" / "b").stat().st_ino
    files.folder.trash = FolderTrash(files.folder, tmp_path / "bin" / "run")
    done = files.erase(entries)
    assert {one.proof for one in done.values()} == {"in the trash, and seen to be gone"}
    kept = (tmp_path / "bin" / "run" / "a" / "b").stat()
    assert (kept.st_ino, kept.st_mtime_ns) == (inode, 10**18)
    assert files.left() == []


def test_no_trash_is_made_for_nothing(files: Files, tmp_path: Path) -> None:
    files.folder.trash = FolderTrash(files.folder, tmp_path / "bin" / "run")
    files.erase([Entry("a", 1, 1)])
    assert not (tmp_path / "bin").exists()


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="needs a second file system")
def test_a_file_on_another_file_system_than_the_trash_stays(files: Files) -> None:
    other = Path("/dev/shm") / f"sterna-test-{os.getpid()}"
    if os.stat("/dev/shm").st_dev == files.root.stat().st_dev:
        pytest.skip("/dev/shm is no file system of its own")
    files.folder.trash = FolderTrash(files.folder, other)
    try:
        done = files.erase(files.write("a"))
        assert done["a"].status is Status.FAILED
        assert "is on another file system than the trash" in done["a"].error
        assert files.left() == ["a"]
    finally:
        other.rmdir()


def test_what_is_written_over_is_in_the_trash_and_the_name_is_never_free(files: Files, tmp_path: Path) -> None:
    (entry,) = files.write("a/b")
    files.folder.trash = FolderTrash(files.folder, tmp_path / "bin")
    with files.folder.create("a/b", 3) as draft:
        draft.write_at(b"new", 0)
        draft.seal(None)
        draft.publish(entry)
    assert (files.root / "a" / "b").read_text() == "new"
    kept = tmp_path / "bin" / "a" / "b"
    assert (kept.read_text(), kept.stat().st_mtime_ns) == ("a/b", 10**18)


def test_what_is_not_written_over_after_all_is_not_in_the_trash(files: Files, tmp_path: Path) -> None:
    files.write("a/b")
    trash = FolderTrash(files.folder, tmp_path / "bin")
    directory, name = files.folder.locate("a/b")
    with pytest.raises(ValueError, match="no"), trash.keeping(directory, name, "a/b"):
        assert (tmp_path / "bin" / "a" / "b").exists()
        raise ValueError("no")
    assert not (tmp_path / "bin" / "a" / "b").exists()
    assert files.left() == ["a/", "a/b"]
