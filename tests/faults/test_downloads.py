"""Whatever goes wrong while an object comes down, the file is the whole object, or as it was before, and is told of."""

from __future__ import annotations

import base64
import os
import re
import stat
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest

import sterna
from sterna.jobs.settings import Journaling, Settings
from sterna.model.events import Event, ObjectsEnded, Summary
from sterna.model.outcomes import Outcome
from sterna.moving.settings import DownloadOptions, Limits
from sterna.wire.endpoints import Addressing
from sterna.wire.pool import Timeouts
from sterna.wire.retry import Retries
from sterna.wire.side import Side
from tests.e2e.trees import MIB, leftovers, plant, tree
from tests.faults.front import (
    ACCESS_DENIED,
    INTERNAL_ERROR,
    SLOW_DOWN,
    Answer,
    By,
    CutBody,
    Drip,
    Exchange,
    Fault,
    FlipBit,
    Front,
    Gzip,
    HeadLength,
    Html,
    IgnoreConditions,
    IgnoreRange,
    Kind,
    Nth,
    OtherRange,
    Refuse,
    Request,
    ResetBeforeRequest,
    Rewrite,
    SetHeader,
    StallAtBodyByte,
    StallBeforeAnswer,
    WrongChecksum,
    WrongContentLength,
    WrongContentRange,
    WrongETag,
)
from tests.servers.oracle import Bucket

SMALL = bytes(range(256)) * 40
PART = 5 * MIB
LARGE = os.urandom(11 * MIB) + b"end"  # three ranges of 5 MiB at most
OTHER = os.urandom(11 * MIB) + b"END"  # another of the same length
NOW_S = 1_600_000_000
KEPT = {"x-amz-meta-mtime": f"{NOW_S}.25"}
MTIME_NS = NOW_S * 10**9 + 250_000_000
QUICK = Retries(attempts=3, first_pause_s=0.001, longest_pause_s=0.01)


def crc32(data: bytes) -> dict[str, str]:
    """The header by which an object gets a checksum of the cheap kind."""
    return {"x-amz-checksum-crc32": base64.b64encode(zlib.crc32(data).to_bytes(4)).decode()}


@dataclass(frozen=True)
class Unmodified(Kind):
    """304, though nobody has asked whether something has changed."""

    def instead(self, exchange: Exchange, fault: Fault) -> Answer:
        fault.hit()
        return Answer(304, [("ETag", '"0123456789abcdef0123456789abcdef"')], no_body=True)


@dataclass
class Watcher:
    """Looks at a folder again and again: under a final name stands what stood there before, or the whole new file with
    its time set (H46, H51, H52). ``look`` may be called at any moment too, from a hook of the front.
    """

    folder: Path
    allowed: Mapping[str, set[tuple[int, int]]]  # by name: sizes and times
    seen: int = 0
    wrong: list[str] = field(default_factory=list)
    _end: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def look(self, *_: object) -> None:
        with os.scandir(self.folder) as listing:
            for item in listing:
                if item.name.startswith(".sterna-"):
                    continue
                status = item.stat(follow_symlinks=False)
                self.seen += 1
                if (status.st_size, status.st_mtime_ns) not in self.allowed.get(item.name, set()):
                    self.wrong.append(f"{item.name}: {status.st_size} bytes, time {status.st_mtime_ns}")

    def __enter__(self) -> Self:
        def watch() -> None:
            while not self._end.wait(0.0005):
                self.look()

        self._thread = threading.Thread(target=watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        assert self._thread is not None
        self._thread.join()
        self.look()
        assert self.wrong == []


@dataclass
class Run:
    """A download by the library: quick to give up, with small ranges."""

    front: Front
    bucket: Bucket
    target: Path
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def __call__(
        self,
        *,
        timeouts: Timeouts | None = None,
        retries: Retries = QUICK,
        durable: bool = True,
        threshold: int = MIB,
    ) -> Summary:
        def heard(event: Event) -> None:
            if isinstance(event, ObjectsEnded):
                self.outcomes |= {outcome.key: outcome for outcome in event.outcomes}

        side = Side(
            addressing=Addressing(urls=(self.front.endpoint_url,), region="us-east-1"),
            timeouts=timeouts or Timeouts(),
            retries=retries,
        )
        settings = Settings(
            source=side,
            download=DownloadOptions(durable=durable),
            limits=Limits(part_threshold=threshold, part_size=PART),
            journal=Journaling(is_kept=False),  # so that nothing is left for another run (tests/faults/test_resume.py)
        )
        summary = sterna.sync(self.bucket.url("p"), self.target, settings=settings, on_event=heard)
        assert leftovers(self.target) == []
        assert summary.exit_code == (1 if summary.failed else 0) or summary.exit_code == 3
        return summary


@pytest.fixture
def run(front: Front, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    for name, value in front.server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(tmp_path))
    target = tmp_path / "target"
    target.mkdir()
    return Run(front, bucket, target)


def old_file(target: Path) -> None:
    plant(target, {"a": b"the old good file"})


CUTS = [(0, "FIN"), (1, "RST"), (len(SMALL) // 2, "FIN"), (len(SMALL) // 2, "RST"), (len(SMALL) - 1, "FIN")]


@pytest.mark.parametrize("at, by", CUTS)
@pytest.mark.parametrize("is_large", (False, True), ids=("small", "large"))
def test_a_body_that_is_cut_comes_whole_by_another_attempt_h37(run: Run, at: int, by: By, is_large: bool) -> None:
    data = LARGE[: 2 * PART] if is_large else SMALL  # whichever range is asked for first, the cut is within it
    run.bucket.put("p/a", data, KEPT)
    at = at * PART // len(SMALL) if is_large else at
    run.front.fault("GetRange" if is_large else "Get", kind=CutBody(at, by))
    with Watcher(run.target, {"a": {(len(data), MTIME_NS)}}):
        summary = run()
    assert (summary.downloaded, summary.failed, summary.retries) == (1, 0, 1)
    assert tree(run.target) == {"a": data}


ALWAYS: list[tuple[str, Kind]] = [
    ("cut at 0", CutBody(0)),
    ("cut in the middle, RST", CutBody(5000, "RST")),
    ("cut before the last byte", CutBody(len(SMALL) - 1)),
    ("cut, and ended as if all had come", CutBody(5000, pretty=True)),
    ("cut at 0, and ended as if all had come", CutBody(0, pretty=True)),
    ("longer than announced", WrongContentLength(-1)),
    ("shorter than announced", WrongContentLength(1)),
    ("a page of a portal", Html(200)),
    ("compressed on the way", Gzip()),
    ("internal error", INTERNAL_ERROR),
    ("slow down", SLOW_DOWN),
    ("reset", ResetBeforeRequest()),
]


@pytest.mark.parametrize("kind", [kind for _, kind in ALWAYS], ids=[name for name, _ in ALWAYS])
@pytest.mark.parametrize("has_checksum", (False, True), ids=("md5", "checksum"))
def test_a_small_object_that_never_comes_whole_fails_by_name_and_harms_nothing_h12_h22_h37_h46_h51(
    run: Run, kind: Kind, has_checksum: bool
) -> None:
    run.bucket.put("p/a", SMALL, crc32(SMALL) if has_checksum else {})
    run.bucket.put("p/b", b"another", KEPT)
    old_file(run.target)
    before = (run.target / "a").stat()
    run.front.fault("Get", kind=kind, nth="always", key="p/a")
    with Watcher(run.target, {"a": {(before.st_size, before.st_mtime_ns)}, "b": {(7, MTIME_NS)}}):
        summary = run()
    assert [outcome.key for outcome in summary.failures] == ["a"]
    assert summary.failures[0].error
    assert summary.downloaded == 1
    assert tree(run.target) == {"a": b"the old good file", "b": b"another"}


@pytest.mark.parametrize("kind", [kind for _, kind in ALWAYS], ids=[name for name, _ in ALWAYS])
def test_a_small_object_comes_right_after_one_bad_answer_h12_h22_h37(run: Run, kind: Kind) -> None:
    run.bucket.put("p/a", SMALL, KEPT)
    old_file(run.target)
    run.front.fault("Get", kind=kind)
    assert run().downloaded == 1
    assert tree(run.target) == {"a": SMALL}
    assert (run.target / "a").stat().st_mtime_ns == MTIME_NS


LARGE_ALWAYS: list[tuple[str, Kind]] = [
    ("cut at 0", CutBody(0)),
    ("cut in the middle, RST", CutBody(PART // 2, "RST")),
    ("cut before the last byte of the last", CutBody(MIB + 2)),
    ("cut, and ended as if all had come", CutBody(MIB, pretty=True)),
    ("longer than announced", WrongContentLength(-1)),
    ("shorter than announced", WrongContentLength(1)),
    ("the whole instead of a range", IgnoreRange()),
    ("bytes of another range, and it says so", WrongContentRange(1)),
    ("no sense in the range", WrongContentRange(value="bytes */5")),
    ("a page of a portal", Html(200)),
    ("compressed on the way", Gzip()),
    ("internal error", INTERNAL_ERROR),
    ("slow down", SLOW_DOWN),
    ("gone", Refuse(404, "NoSuchKey")),
]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for _, kind in LARGE_ALWAYS], ids=[name for name, _ in LARGE_ALWAYS])
def test_a_large_object_that_never_comes_whole_fails_by_name_and_harms_nothing_h12_h22_h37_h46_h51(
    run: Run, kind: Kind
) -> None:
    run.bucket.put("p/a", LARGE)
    old_file(run.target)
    before = (run.target / "a").stat()
    run.front.fault("GetRange", kind=kind, nth="always", must_hit=False)
    with Watcher(run.target, {"a": {(before.st_size, before.st_mtime_ns)}}):
        summary = run()
    assert [outcome.key for outcome in summary.failures] == ["a"]
    assert summary.failures[0].error
    assert tree(run.target) == {"a": b"the old good file"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for _, kind in LARGE_ALWAYS[:-1]], ids=[n for n, _ in LARGE_ALWAYS[:-1]])
def test_a_large_object_comes_right_after_one_bad_range_h12_h22_h37(run: Run, kind: Kind) -> None:
    run.bucket.put("p/a", LARGE, KEPT)
    run.front.fault("GetRange", kind=kind, must_hit=False)
    with Watcher(run.target, {"a": {(len(LARGE), MTIME_NS)}}):
        assert run().downloaded == 1
    assert tree(run.target) == {"a": LARGE}


@pytest.mark.parametrize("is_large", (False, True), ids=("small", "large"))
@pytest.mark.parametrize("has_checksum", (False, True), ids=("md5", "checksum"))
@pytest.mark.parametrize("at", (0, 1234, -1))
def test_a_flipped_bit_is_found_and_the_object_read_again_h21(
    run: Run, is_large: bool, has_checksum: bool, at: int
) -> None:
    data = LARGE if is_large else SMALL
    run.bucket.put("p/a", data, KEPT | (crc32(data) if has_checksum else {}))
    run.front.fault("GetRange" if is_large else "Get", kind=FlipBit(at))
    with Watcher(run.target, {"a": {(len(data), MTIME_NS)}}):
        assert run().downloaded == 1
    assert tree(run.target) == {"a": data}


@pytest.mark.parametrize("is_large", (False, True), ids=("small", "large"))
def test_bytes_that_never_have_their_checksum_are_not_kept_h21(run: Run, is_large: bool) -> None:
    data = LARGE if is_large else SMALL
    run.bucket.put("p/a", data, crc32(data))
    old_file(run.target)
    run.front.fault("GetRange" if is_large else "Get", kind=FlipBit(77), nth="always")
    summary = run()
    assert "checksum" in summary.failures[0].error
    assert tree(run.target) == {"a": b"the old good file"}


@pytest.mark.parametrize("is_large", (False, True), ids=("small", "large"))
def test_a_checksum_that_is_wrong_itself_fails_the_object_h21(run: Run, is_large: bool) -> None:
    data = LARGE if is_large else SMALL
    run.bucket.put("p/a", data, crc32(data))
    run.front.fault(("Get", "GetRange", "Head"), kind=WrongChecksum(), nth="always")
    assert "checksum" in run().failures[0].error
    assert tree(run.target) == {}


@pytest.mark.parametrize("cut", [None, 3 * PART - MIB], ids=["whole", "cut"])
def test_the_whole_object_in_place_of_a_range_writes_over_no_other_range_h12_h21(run: Run, cut: int | None) -> None:
    """The sums of all ranges are right then, and so is the sum of the object: only the file would be wrong."""
    data = os.urandom(4 * PART)
    run.bucket.put("p/a", data, crc32(data))

    def is_second(request: Request) -> bool:
        return request.headers["range"] == f"bytes={PART}-{2 * PART - 1}"

    # The second range comes last, and brings the beginning of the object to where the third already is.
    run.front.before("GetRange", where=is_second, call=lambda _: run.front.wait_for("GetRange", 3, answered=True))
    run.front.fault("GetRange", kind=IgnoreRange(), where=is_second)
    if cut:  # so that nothing is written behind the end of the file, where it would be found
        run.front.fault("GetRange", kind=CutBody(cut), where=is_second, must_hit=False)
    assert run().downloaded == 1
    assert tree(run.target) == {"a": data}


def test_the_bytes_of_another_range_are_found_by_the_checksum_h12_h21(run: Run) -> None:
    run.bucket.put("p/a", LARGE, crc32(LARGE))
    old_file(run.target)
    run.front.fault(
        "GetRange", kind=OtherRange(1), nth="always", where=lambda r: r.headers["range"] == "bytes=0-5242879"
    )
    summary = run()
    assert [outcome.key for outcome in summary.failures] == ["a"]
    assert tree(run.target) == {"a": b"the old good file"}


@pytest.mark.parametrize("is_large", (False, True), ids=("small", "large"))
def test_an_etag_that_looks_like_an_md5_and_is_none_is_no_false_alarm_h13_h14(run: Run, is_large: bool) -> None:
    data = LARGE if is_large else SMALL
    run.bucket.put("p/a", data, KEPT)
    run.front.fault("*", kind=WrongETag('"0123456789abcdef0123456789abcdef"'), nth="always")
    run.front.fault(("Get", "GetRange"), kind=IgnoreConditions(), nth="always", must_hit=False)
    summary = run()
    assert (summary.downloaded, summary.failed) == (1, 0)
    assert tree(run.target) == {"a": data}


def test_an_answer_without_an_etag_is_no_objects_h12(run: Run) -> None:
    run.bucket.put("p/a", SMALL)
    run.bucket.put("p/b", SMALL, crc32(SMALL))  # whose checksum says enough
    run.front.fault("Get", kind=SetHeader("ETag", None), nth="always")
    assert [outcome.key for outcome in run().failures] == ["a"]
    assert tree(run.target) == {"b": SMALL}


OF_PARTS = WrongETag('"0123456789abcdef0123456789abcdef-3"')  # no MD5, so that nothing but the length is proved
ZEROS = Rewrite(lambda body: bytes(len(body)))
BARE = SetHeader("ETag", None)


def _of_parts(run: Run) -> None:
    """An object of which nothing but its ETag tells one version from another."""
    run.bucket.put("p/a", LARGE)
    run.front.fault(("ListV2", "Head", "GetRange"), kind=OF_PARTS, nth="always", must_hit=False)
    run.front.fault("GetRange", kind=IgnoreConditions(), nth="always")


@pytest.mark.parametrize("nth", (1, 2, 3, "every 3rd"))
def test_a_range_without_the_etag_that_others_have_is_asked_for_again_h12(run: Run, nth: Nth) -> None:
    _of_parts(run)
    run.front.fault("GetRange", kind=BARE, nth=nth)
    run.front.fault("GetRange", kind=ZEROS, nth=nth)
    summary = run()
    assert (summary.exit_code, tree(run.target)) == (0, {"a": LARGE})


def test_of_a_server_that_shows_no_etags_with_ranges_two_readings_must_agree_h12(run: Run) -> None:
    _of_parts(run)
    run.front.fault("GetRange", kind=BARE, nth="always")
    run.front.fault("GetRange", kind=ZEROS, nth=2)
    summary = run()
    assert (summary.exit_code, tree(run.target)) == (0, {"a": LARGE})
    assert run.outcomes["a"].attempts == 2
    assert run.front.count("GetRange") == 4 * -(-len(LARGE) // PART)


def test_a_server_that_never_sends_the_same_without_etags_is_not_believed_h12(run: Run) -> None:
    _of_parts(run)
    old_file(run.target)
    noise = Rewrite(lambda body: os.urandom(len(body)))
    run.front.fault("GetRange", kind=BARE, nth="always")
    run.front.fault("GetRange", kind=noise, nth="always")
    assert [outcome.key for outcome in run().failures] == ["a"]
    assert tree(run.target) == {"a": b"the old good file"}


def test_ranges_without_etags_that_have_the_checksum_are_read_once_h12(run: Run) -> None:
    run.bucket.put("p/a", LARGE, crc32(LARGE))
    run.front.fault("GetRange", kind=BARE, nth="always")
    summary = run()
    assert (summary.exit_code, tree(run.target)) == (0, {"a": LARGE})
    assert run.front.count("GetRange") == -(-len(LARGE) // PART)


@pytest.mark.parametrize("operation", ("Get", "GetRange", "Head"))
def test_an_answer_that_nothing_has_changed_is_asked_for_again_h12(run: Run, operation: str) -> None:
    run.bucket.put("p/a", LARGE if operation != "Get" else SMALL)
    run.front.fault(operation, kind=Unmodified())
    summary = run()
    assert (summary.exit_code, summary.downloaded) == (0, 1)


@pytest.mark.parametrize("length", (None, 0), ids=("none", "another"))
@pytest.mark.parametrize("lists_etags", (True, False))
def test_a_head_without_the_right_length_never_makes_an_empty_file_h12_h37(
    run: Run, length: int | None, lists_etags: bool
) -> None:
    run.bucket.put("p/a", LARGE, KEPT)
    old_file(run.target)
    run.front.fault("Head", kind=HeadLength(length), nth="always")
    if not lists_etags:
        without = Rewrite(lambda body: re.sub(rb"<ETag>.*?</ETag>", b"", body))
        run.front.fault("ListV2", kind=without, nth="always")
    assert [outcome.key for outcome in run().failures] == ["a"]
    assert tree(run.target) == {"a": b"the old good file"}


@pytest.mark.parametrize(
    "kind", (Html(200), SetHeader("ETag", None), WrongContentLength(-MIB)), ids=("portal", "no ETag", "a wrong length")
)
def test_a_head_that_speaks_of_something_else_is_not_believed_h12(run: Run, kind: Kind) -> None:
    run.bucket.put("p/a", LARGE)
    old_file(run.target)
    run.front.fault("Head", kind=kind, nth="always", must_hit=False)
    summary = run()
    if summary.failed:
        assert tree(run.target) == {"a": b"the old good file"}
    else:
        assert tree(run.target) == {"a": LARGE}
    assert summary.failed == (0 if isinstance(kind, WrongContentLength) else 1)


@dataclass(frozen=True)
class KnowsParts(Kind):
    """HEAD with partNumber tells the length of that part, as S3 does; ministack tells that of the whole."""

    length: int

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        if "partNumber" in exchange.request.query:
            fault.hit()
            answer.length = self.length


@pytest.mark.parametrize("algorithm", ("CRC32", "CRC32C"))
@pytest.mark.parametrize("nth", (1, "always"))
def test_a_flipped_bit_in_a_small_object_of_parts_is_found_h13_h21(run: Run, algorithm: str, nth: int | str) -> None:
    data = LARGE[: PART + 1000]
    run.bucket.put_multipart("p/a", data[:PART], data[PART:], headers={"x-amz-checksum-algorithm": algorithm})
    head = run.bucket.head("p/a", {"x-amz-checksum-mode": "ENABLED"})
    assert head is not None
    assert head[f"x-amz-checksum-{algorithm.lower()}"].endswith("-2")
    run.front.fault("Head", kind=KnowsParts(PART), nth="always")
    run.front.fault("GetRange", kind=FlipBit(5), nth=nth)
    summary = run(threshold=8 * MIB)
    assert (summary.downloaded, summary.failed) == ((0, 1) if nth == "always" else (1, 0))
    assert tree(run.target) == ({} if nth == "always" else {"a": data})


def test_an_object_stored_as_gzip_keeps_its_bytes_h22(run: Run) -> None:
    import gzip

    data = gzip.compress(SMALL)
    run.bucket.put("p/a", data, {"content-encoding": "gzip"})
    assert run().downloaded == 1
    assert tree(run.target) == {"a": data}


# The object changes while it is read


@pytest.mark.slow
@pytest.mark.parametrize("nth", (1, 2, 3))
@pytest.mark.parametrize("obeys_conditions", (True, False), ids=("If-Match", "no If-Match"))
def test_an_object_that_is_replaced_between_two_ranges_is_never_mixed_h42(
    run: Run, nth: int, obeys_conditions: bool
) -> None:
    run.bucket.put("p/a", LARGE, KEPT)
    if not obeys_conditions:
        run.front.fault("GetRange", kind=IgnoreConditions(), nth="always")
    run.front.before("GetRange", nth=nth, call=lambda _: run.bucket.put("p/a", OTHER, KEPT))
    with Watcher(run.target, {"a": {(len(OTHER), MTIME_NS)}}):
        summary = run()
    assert (summary.downloaded, summary.failed) == (1, 0)
    assert tree(run.target) == {"a": OTHER}


def test_an_object_that_is_replaced_all_the_time_fails_and_leaves_the_old_file_h42_h51(run: Run) -> None:
    run.bucket.put("p/a", LARGE)
    old_file(run.target)
    versions = iter(range(1000))
    lock = threading.Lock()

    def replace(_: object) -> None:
        with lock:
            run.bucket.put("p/a", LARGE[:-4] + next(versions).to_bytes(4))

    run.front.before("GetRange", nth="always", call=replace)
    summary = run()
    assert [outcome.error_kind for outcome in summary.failures] == ["ObjectChanged"]
    assert tree(run.target) == {"a": b"the old good file"}


@pytest.mark.parametrize("new", (b"", b"short", SMALL[::-1], LARGE), ids=("empty", "short", "same length", "large"))
def test_a_small_object_that_is_replaced_after_it_was_listed_comes_whole_h42(run: Run, new: bytes) -> None:
    run.bucket.put("p/a", SMALL, KEPT)
    run.front.after("ListV2", nth=2, call=lambda _: run.bucket.put("p/a", new, KEPT))
    with Watcher(run.target, {"a": {(len(new), MTIME_NS)}}):
        assert run().downloaded == 1
    assert tree(run.target) == {"a": new}


@pytest.mark.parametrize("new", (b"", b"short"), ids=("empty", "short"))
@pytest.mark.parametrize("has_checksum", (False, True), ids=("md5", "checksum"))
def test_a_large_object_that_becomes_small_after_it_was_listed_comes_whole_h42(
    run: Run, new: bytes, has_checksum: bool
) -> None:
    run.bucket.put("p/a", LARGE, KEPT)
    headers = KEPT | (crc32(new) if has_checksum else {})
    run.front.after("ListV2", nth=2, call=lambda _: run.bucket.put("p/a", new, headers))
    assert run().downloaded == 1
    assert tree(run.target) == {"a": new}


@pytest.mark.parametrize("is_large", (False, True), ids=("small", "large"))
def test_an_object_that_is_deleted_after_it_was_listed_is_named_h42(run: Run, is_large: bool) -> None:
    run.bucket.put("p/a", LARGE if is_large else SMALL)
    run.bucket.put("p/b", b"stays")
    run.front.after("ListV2", nth=2, call=lambda _: run.bucket.delete("p/a"))
    summary = run()
    assert [(outcome.key, outcome.error_kind) for outcome in summary.failures] == [("a", "ObjectGone")]
    assert "deleted" in summary.failures[0].error
    assert tree(run.target) == {"b": b"stays"}


def test_an_object_that_is_deleted_between_two_ranges_is_named_h42(run: Run) -> None:
    run.bucket.put("p/a", LARGE)
    run.front.before("GetRange", nth=2, call=lambda _: run.bucket.delete("p/a"))
    assert [outcome.error_kind for outcome in run().failures] == ["ObjectGone"]
    assert tree(run.target) == {}


# Time


@pytest.mark.slow
@pytest.mark.parametrize("is_large", (False, True), ids=("small", "large"))
@pytest.mark.parametrize("kind", (StallAtBodyByte(0), StallAtBodyByte(3000), StallBeforeAnswer()))
def test_a_stalled_body_is_left_and_read_again_h38(run: Run, kind: Kind, is_large: bool) -> None:
    data = LARGE if is_large else SMALL
    run.bucket.put("p/a", data, KEPT)
    stall = run.front.fault("GetRange" if is_large else "Get", kind=kind)
    summary = run(timeouts=Timeouts(idle_s=0.3))
    assert stall.hits == 1  # what is slow besides, on a machine with other work, is tried again as well
    assert (summary.downloaded, summary.retries >= 1) == (1, True)
    assert summary.elapsed_s < 5
    assert tree(run.target) == {"a": data}


@pytest.mark.slow
def test_a_body_that_always_stalls_fails_in_bounded_time_h38(run: Run) -> None:
    run.bucket.put("p/a", SMALL)
    old_file(run.target)
    run.front.fault("Get", kind=StallAtBodyByte(3000), nth="always")
    began = time.monotonic()
    summary = run(timeouts=Timeouts(idle_s=0.2), retries=Retries(attempts=2, first_pause_s=0.001))
    assert time.monotonic() - began < 5
    assert [outcome.error_kind for outcome in summary.failures] == ["ConnectionLost"]
    assert tree(run.target) == {"a": b"the old good file"}


@pytest.mark.slow
def test_a_body_that_drips_is_left_and_read_again_h38(run: Run) -> None:
    run.bucket.put("p/a", SMALL)
    drip = run.front.fault("Get", kind=Drip(50, 0.05))
    summary = run(timeouts=Timeouts(idle_s=5, slow_s=0.4, slowest_bytes_per_s=5000))
    assert drip.hits == 1
    assert (summary.downloaded, summary.retries >= 1) == (1, True)
    assert tree(run.target) == {"a": SMALL}


@pytest.mark.parametrize("kind", (SLOW_DOWN, INTERNAL_ERROR), ids=("503", "500"))
def test_many_objects_arrive_through_a_server_that_refuses_every_third_h26(run: Run, kind: Kind) -> None:
    files = {f"{number:03d}": b"%d" % number for number in range(60)}
    for name, data in files.items():
        run.bucket.put(f"p/{name}", data)
    run.front.fault("Get", kind=kind, nth="every 3rd")
    summary = run(retries=Retries(attempts=8, first_pause_s=0.001, longest_pause_s=0.01))
    assert (summary.downloaded, summary.failed) == (60, 0)
    assert summary.retries >= 20
    assert tree(run.target) == files


@pytest.mark.parametrize("is_large", (False, True), ids=("small", "large"))
def test_one_forbidden_object_is_named_and_the_others_arrive(run: Run, is_large: bool) -> None:
    for name in "abc":
        run.bucket.put(f"p/{name}", LARGE if is_large and name == "b" else name.encode())
    run.front.fault(("Get", "GetRange"), kind=ACCESS_DENIED, key="p/b", nth="always")
    summary = run()
    assert [(outcome.key, outcome.error_kind) for outcome in summary.failures] == [("b", "AccessDenied")]
    assert "s3:GetObject" in summary.failures[0].error
    assert run.front.count(("Get", "GetRange"), "p/b") <= 3  # the ranges that were under way, each once
    assert tree(run.target) == {"a": b"a", "c": b"c"}


@pytest.mark.parametrize(("etag", "proof"), [(None, "MD5"), ('"0123456789abcdef0123456789abcdef"', "length")])
def test_the_proof_of_a_small_object_is_what_was_checked(run: Run, etag: str | None, proof: str) -> None:
    run.bucket.put("p/a", SMALL)
    run.front.fault("Get", nth="always", kind=IgnoreConditions(), must_hit=etag is not None)
    run.front.fault("Get", nth="always", kind=NoChecksums(etag))
    assert run().downloaded == 1
    assert run.outcomes["a"].proof == proof


@dataclass(frozen=True)
class NoChecksums(Kind):
    """A server that knows no checksums, and makes ETags of its own where one is given."""

    etag: str | None

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        fault.hit()
        for name, _ in list(answer.headers):
            if name.lower().startswith("x-amz-checksum-"):
                answer.set(name, None)
        if self.etag is not None:
            answer.set("ETag", self.etag)


def test_an_object_that_has_grown_large_since_it_was_listed_is_asked_for_once_before_its_ranges(run: Run) -> None:
    run.bucket.put("p/a", SMALL)
    run.front.before("Get", call=lambda _: run.bucket.put("p/a", LARGE, KEPT))
    summary = run()
    assert (summary.downloaded, summary.failed, summary.retries) == (1, 0, 0)
    assert run.front.count("Get", "p/a") == 1
    assert tree(run.target) == {"a": LARGE}


def test_an_answer_that_says_it_is_much_longer_than_the_object_is_asked_for_again(run: Run) -> None:
    run.bucket.put("p/a", SMALL)
    run.front.fault("Get", kind=WrongContentLength(2 * MIB))
    summary = run()
    assert (summary.downloaded, summary.failed) == (1, 0)
    assert tree(run.target) == {"a": SMALL}


# What stands at the destination


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b" and more")


CHANGES: list[tuple[str, Callable[[Path], object], bytes]] = [
    ("appears", lambda path: path.write_bytes(b"somebody's"), b"somebody's"),
    ("grows", _append, b"the old good file and more"),
]


@pytest.mark.parametrize("change, left", [c[1:] for c in CHANGES], ids=[c[0] for c in CHANGES])
@pytest.mark.parametrize("is_large", (False, True), ids=("small", "large"))
@pytest.mark.parametrize("durable", (False, True), ids=("no fsync", "durable"))
def test_a_file_that_somebody_writes_meanwhile_is_left_as_it_is_h51(
    run: Run, change: Callable[[Path], object], left: bytes, is_large: bool, durable: bool
) -> None:
    run.bucket.put("p/a", LARGE if is_large else SMALL)
    if change is _append:
        old_file(run.target)
    run.front.before("GetRange" if is_large else "Get", call=lambda _: change(run.target / "a"))
    summary = run(durable=durable)
    assert [outcome.error_kind for outcome in summary.failures] == ["ObjectChanged"]
    assert tree(run.target) == {"a": left}


@pytest.mark.parametrize("durable", (False, True), ids=("no fsync", "durable"))
def test_files_appear_whole_with_their_time_and_the_umasks_permissions_h46_h52_h53(run: Run, durable: bool) -> None:
    sizes = {f"{number:03d}": 1 + number * 997 for number in range(40)} | {"large": len(LARGE)}
    for name, size in sizes.items():
        run.bucket.put(f"p/{name}", LARGE[:size], KEPT | {"x-amz-meta-mode": "4777"})
    old = os.umask(0o027)
    try:
        with Watcher(run.target, {name: {(size, MTIME_NS)} for name, size in sizes.items()}) as watcher:
            run.front.before(("Get", "GetRange"), nth="always", call=watcher.look)
            assert run(durable=durable).downloaded == len(sizes)
    finally:
        os.umask(old)
    assert watcher.seen >= len(sizes)
    assert {stat.S_IMODE((run.target / name).stat().st_mode) for name in sizes} == {0o640}
    assert tree(run.target) == {name: LARGE[:size] for name, size in sizes.items()}


@pytest.mark.slow
def test_a_folder_that_is_swapped_for_a_link_again_and_again_leads_nowhere_h62(run: Run, tmp_path: Path) -> None:
    files = {f"d/{number:03d}": b"%d" % number for number in range(60)} | {"d/large": LARGE}
    for name, data in files.items():
        run.bucket.put(f"p/{name}", data)
    outside = plant(tmp_path / "outside", {"canary": b"canary"})
    real, hidden = run.target / "d", run.target / "hidden"
    real.mkdir()
    end = threading.Event()

    def swap() -> None:
        while not end.is_set():
            try:
                real.rename(hidden)
                real.symlink_to(outside)
                time.sleep(0.001)
                real.unlink()
                hidden.rename(real)
                time.sleep(0.001)
            except OSError:  # the run has made the folder anew in between: it stays as it is from here on
                return

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        run()
    finally:
        end.set()
        thread.join()
    assert tree(outside) == {"canary": b"canary"}
    if real.is_symlink():
        real.unlink()
    run()
    assert tree(real) == {name.removeprefix("d/"): data for name, data in files.items()}
