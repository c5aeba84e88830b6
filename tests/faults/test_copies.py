"""Copy from bucket to bucket through a front that lies, loses and cuts: what counts as copied is there, whole, and the
source's (H02, H03, H06, H07, H35, H38, H43, H90, H91)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

import sterna
from sterna.jobs.settings import Settings
from sterna.model.events import Event, ObjectsEnded, Summary
from sterna.model.outcomes import Outcome
from sterna.moving.settings import Limits
from sterna.reporting.summary import summary_lines
from sterna.wire.pool import Timeouts
from tests.faults import front as f
from tests.faults.case import LARGE, MIB, Case, noise
from tests.faults.front import Front, Request
from tests.servers.oracle import Bucket, Oracle

pytestmark = pytest.mark.thorough

SMALL = {"a": b"first", "d/b": b"second", "d/c": b"third", "e": b"fourth"}
IN_PARTS = Limits(copy_threshold=MIB, part_size=5 * MIB)
BIG = noise(LARGE)  # two parts
NOT_COPIED = [f.EmptyBody(), *(f.CutXml(at) for at in (1, 40, 100, 150)), f.ErrorIn200(), f.ErrorIn200(blanks=70_000),
              f.Html()]  # fmt: skip
KNOWN = {"content-type": "text/x-own", "x-amz-meta-owner": "me", "x-amz-meta-mtime": "1500000000.5"}


@dataclass
class Ran:
    summary: Summary
    outcomes: dict[str, Outcome]

    @property
    def said(self) -> str:
        return "\n".join(summary_lines(self.summary))


@dataclass
class Between:
    """What is below ``p`` of one bucket goes below ``q`` of another."""

    case: Case
    front: Front
    source: Bucket
    target: Bucket

    def put(self, objects: dict[str, bytes]) -> None:
        for key, body in objects.items():
            self.source.put(f"p/{key}", body)

    def run(self, limits: Limits | None = None, *, clean: bool = False, settings: Settings | None = None) -> Ran:
        events: list[Event] = []
        chosen = settings or (self.case.clean() if clean else self.case.settings(limits=limits or Limits()))
        summary = sterna.sync(self.source.url("p"), self.target.url("q"), settings=chosen, on_event=events.append)
        ended = [one for event in events if isinstance(event, ObjectsEnded) for one in event.outcomes]
        return Ran(summary, {one.key: one for one in ended})

    def truth(self) -> dict[str, bytes]:
        return {key.removeprefix("q/"): body for key, body in self.target.contents("q/").items()}

    def sources(self) -> dict[str, bytes]:
        return {key.removeprefix("p/"): body for key, body in self.source.contents("p/").items()}

    def is_arrived(self, ran: Ran) -> None:
        """The run ended well, all is there, nothing is left behind, and another run has nothing to do."""
        assert ran.summary.exit_code == 0, ran.said
        assert self.truth() == self.sources()
        assert self.target.uploads() == []
        self.does_nothing()

    def is_failed(self, ran: Ran, key: str, words: str, kept: bytes | None = None) -> None:
        """This one failed and is named with ``words``; the others arrived; a run past the front brings what is missing.
        ``kept``: what stands in its place."""
        assert ran.summary.exit_code == 1, ran.said
        assert [one.key for one in ran.summary.failures] == [key], ran.said
        assert words in ran.said
        expected = {name: body for name, body in self.sources().items() if name != key}
        assert self.truth() == expected | ({} if kept is None else {key: kept})
        assert self.target.uploads() == []
        again = self.run(clean=True)
        assert again.summary.exit_code == 0, again.said
        assert self.truth() == self.sources()
        self.does_nothing()

    def does_nothing(self) -> None:
        ran = self.run(clean=True)
        assert (ran.summary.exit_code, ran.summary.copied, ran.summary.kept) == (0, 0, len(self.sources())), ran.said

    def asked(self, operation: str) -> list[Request]:
        return [request for request in self.front.requests if request.operation == operation]


@pytest.fixture
def between(
    front: Front, oracle: Oracle, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Between]:
    other = oracle.create_bucket(f"{bucket.name}-other")
    with closing(Case(front, bucket, tmp_path, monkeypatch)) as case:
        yield Between(case, front, bucket, other)
    other.clear()


# By one request


@pytest.mark.parametrize("kind", NOT_COPIED, ids=repr)
def test_H03_a_copy_answered_200_with_no_result_is_repeated(between: Between, kind: f.Kind) -> None:
    between.put(SMALL)
    between.front.fault("Copy", key="q/d/b", kind=kind)
    between.is_arrived(between.run())
    assert len(between.asked("Copy")) == len(SMALL) + 1


@pytest.mark.parametrize("kind", NOT_COPIED, ids=repr)
@pytest.mark.parametrize("older", [None, b"SECOND"], ids=["new", "older"])
def test_H03_a_copy_that_is_never_answered_with_a_result_fails_by_name(
    between: Between, kind: f.Kind, older: bytes | None
) -> None:
    if older is not None:
        between.target.put("q/d/b", older)  # of the same size: by its size alone it would be taken for the copy
    between.put(SMALL)
    between.front.fault("Copy", key="q/d/b", nth="always", kind=kind)
    between.is_failed(between.run(), "d/b", "d/b", kept=older)


def test_H03_an_error_in_a_200_is_told_in_the_servers_words(between: Between) -> None:
    between.put({"a": b"1"})
    between.front.fault("Copy", nth="always", kind=f.ErrorIn200("AccessDenied", "Not today."))
    between.is_failed(between.run(), "a", "Not today.")


@pytest.mark.parametrize("count", [1, 4], ids=["looked at", "listed"])
def test_H04_a_copy_that_was_a_lie_is_a_failure(between: Between, count: int) -> None:
    between.put(dict(list(SMALL.items())[:count]))
    between.front.fault("Copy", key="q/a", nth="always", kind=f.Lie())
    between.is_failed(between.run(), "a", "does not have it")


def test_H07_an_older_object_of_the_same_size_is_not_taken_for_the_copy(between: Between) -> None:
    between.target.put("q/a", b"FIRST")
    between.put(SMALL)
    between.front.fault("Copy", key="q/a", nth="always", kind=f.Lie())
    between.is_failed(between.run(), "a", "another object stands there", kept=b"FIRST")


def test_H35_a_copy_whose_answer_is_lost_is_repeated(between: Between) -> None:
    between.put(SMALL)
    between.front.fault("Copy", key="q/a", kind=f.ResetAfterApply())
    between.front.fault("Copy", key="q/d/b", kind=f.CutBody(30))
    between.front.fault("Copy", key="q/e", kind=f.ResetBeforeRequest())
    between.is_arrived(between.run())


@pytest.mark.parametrize("knows_conditions", [True, False])
def test_H43_an_object_that_is_replaced_between_listing_and_copy_arrives_as_it_is_now(
    between: Between, knows_conditions: bool
) -> None:
    between.put(SMALL)
    between.front.before("Copy", key="q/a", call=lambda _: between.source.put("p/a", b"replaced, and longer"))
    if not knows_conditions:
        between.front.fault("Copy", nth="always", kind=f.IgnoreConditions())
    ran = between.run()
    between.is_arrived(ran)
    assert ran.outcomes["a"].attempts == 2
    assert ran.outcomes["a"].size == len(b"replaced, and longer")


def test_H43_an_object_that_is_replaced_each_time_fails_as_unstable(between: Between) -> None:
    between.put(SMALL)
    versions = iter(range(100))
    between.front.before(
        "Copy", key="q/a", nth="always", call=lambda _: between.source.put("p/a", f"version {next(versions)}".encode())
    )
    between.is_failed(between.run(), "a", "replaced each of 3 times")


def test_H43_an_object_that_vanishes_before_it_is_copied_is_named_as_that(between: Between) -> None:
    between.put(SMALL)
    between.front.before("Copy", key="q/a", call=lambda _: between.source.delete("p/a"))
    ran = between.run()
    between.is_failed(ran, "a", "vanished before it was copied")


def test_an_archived_object_is_named_as_that(between: Between) -> None:
    between.put(SMALL)
    between.front.fault("Copy", key="q/a", nth="always", kind=f.INVALID_OBJECT_STATE)
    between.is_failed(between.run(), "a", "a is archived; request its restore")
    assert len([request for request in between.asked("Copy") if request.key == "q/a"]) == 1


def test_a_refusal_names_what_must_be_allowed(between: Between) -> None:
    between.put({"a": b"1"})
    between.front.fault("Copy", nth="always", kind=f.ACCESS_DENIED)
    ran = between.run()
    assert ran.summary.exit_code == 3
    assert "s3:GetObject at the source and s3:PutObject at the destination" in ran.said


@dataclass(frozen=True)
class Blanks(f.Kind):
    """A server that sends a blank now and then while it copies, so that nobody takes the connection for dead."""

    count: int

    def downward(self, exchange: f.Exchange, fault: f.Fault, answer: f.Answer) -> None:
        declaration, rest = answer.whole().split(b"?>", 1)
        answer.replace(declaration + b"?>" + b" " * self.count + rest)
        f.Drip(40, 0.05).downward(exchange, fault, answer)


def test_a_copy_that_takes_long_is_waited_for(between: Between) -> None:
    """A server is silent, or sends blanks, while it moves the bytes: by the limits of other requests it would be dead."""
    between.put({"a": b"1", "b": b"2"})
    between.front.fault("Copy", key="q/a", kind=f.Latency(1.0))
    between.front.fault("Copy", key="q/b", kind=Blanks(600))
    settings = between.case.settings(limits=Limits())
    short = Timeouts(idle_s=0.3, slow_s=0.3, slowest_bytes_per_s=100_000.0, look_s=0.01)
    side = replace(settings.source, timeouts=short)
    between.is_arrived(between.run(settings=replace(settings, source=side, destination=side)))
    assert len(between.asked("Copy")) == 2


# In parts


@pytest.fixture
def large(between: Between) -> Between:
    """A large object beside small ones."""
    headers = KNOWN | {"x-amz-tagging": "a=1&b=%20%26%C3%A9", "x-amz-storage-class": "STANDARD_IA"}
    between.source.put("p/big", BIG, headers)
    between.put({"a": b"small"})
    return between


def test_H90_H91_a_large_object_is_copied_in_parts_and_keeps_what_belongs_to_it(large: Between) -> None:
    ran = large.run(IN_PARTS)
    large.is_arrived(ran)
    ranges = sorted(request.headers["x-amz-copy-source-range"] for request in large.asked("UploadPartCopy"))
    assert ranges == [f"bytes=0-{5 * MIB - 1}", f"bytes={5 * MIB}-{LARGE - 1}"]
    assert [request.key for request in large.asked("Copy")] == ["q/a"]
    head = large.target.head("q/big")
    assert head is not None
    assert {name: head.get(name) for name in KNOWN} == KNOWN
    assert {found.key: found.storage_class for found in large.target.listing()}["q/big"] == "STANDARD_IA"
    tags = large.target.oracle.must("GET", large.target.name, "q/big", {"tagging": ""}).body.decode()
    assert "<Key>a</Key><Value>1</Value>" in tags
    assert "<Key>b</Key><Value> &amp;é</Value>" in tags
    assert ran.summary.moved_bytes == LARGE + 5
    assert ran.outcomes["big"].proof.startswith("server copy, ")


def test_H91_tags_that_may_not_be_read_are_no_tags_that_are_lost(large: Between) -> None:
    large.front.fault("GetSub", key="p/big", nth="always", kind=f.ACCESS_DENIED)
    ran = large.run(IN_PARTS)
    large.is_failed(ran, "big", "s3:GetObjectTagging")


def test_a_server_that_knows_no_tags_has_none_to_keep(large: Between) -> None:
    large.front.fault("GetSub", key="p/big", nth="always", kind=f.NOT_IMPLEMENTED)
    large.is_arrived(large.run(IN_PARTS))


@pytest.mark.parametrize("kind", NOT_COPIED, ids=repr)
def test_H03_a_part_whose_copy_was_answered_200_with_no_result_is_repeated(large: Between, kind: f.Kind) -> None:
    large.front.fault("UploadPartCopy", nth=2, kind=kind)
    large.is_arrived(large.run(IN_PARTS))


@pytest.mark.parametrize("kind", [f.EmptyBody(), f.ErrorIn200(), f.INTERNAL_ERROR], ids=repr)
def test_H03_a_part_that_is_never_copied_fails_the_object_and_leaves_nothing(large: Between, kind: f.Kind) -> None:
    large.target.put("q/big", b"older")
    large.front.fault("UploadPartCopy", nth="every 2nd", kind=kind)
    large.front.fault("UploadPartCopy", nth="from 3rd", kind=kind)
    large.is_failed(large.run(IN_PARTS), "big", "big", kept=b"older")


@pytest.mark.parametrize("kind", [f.Lie(), f.ResetAfterApply(), f.ResetBeforeRequest()], ids=repr)
def test_H06_H07_the_end_of_a_copy_in_parts_is_believed_only_where_it_is_seen(large: Between, kind: f.Kind) -> None:
    large.target.put("q/big", noise(LARGE, 2))
    large.front.fault("Complete", kind=kind)
    ran = large.run(IN_PARTS)
    if isinstance(kind, f.Lie):
        assert ran.summary.exit_code == 1, ran.said
        assert "another object stands there" in ran.said
    else:
        large.is_arrived(ran)


def test_H06_a_completion_whose_answer_was_lost_and_that_is_unknown_afterwards_is_found_by_its_token(
    large: Between,
) -> None:
    large.front.fault("Complete", kind=f.ResetAfterApply())
    large.front.fault("Complete", nth="from 2nd", kind=f.NO_SUCH_UPLOAD)
    large.is_arrived(large.run(IN_PARTS))


@pytest.mark.parametrize("knows_conditions", [True, False])
def test_H43_parts_of_two_versions_are_never_joined(large: Between, knows_conditions: bool) -> None:
    other = noise(LARGE, 3)
    large.front.before("UploadPartCopy", nth=2, call=lambda _: large.source.put("p/big", other))
    joined: list[object] = []
    large.front.before("Complete", nth="always", call=joined.append)
    if not knows_conditions:
        large.front.fault("UploadPartCopy", nth="always", kind=f.IgnoreConditions())
    large.is_arrived(large.run(IN_PARTS))
    assert len(joined) == 1
    assert large.target.get("q/big") == other


def test_H21_what_was_joined_of_other_bytes_is_a_failure_and_taken_back(large: Between) -> None:
    for key, value in {"p/big": "AAAAAAAAAAA=", "q/big": "AAAAAAAAAAE="}.items():
        large.front.fault("Head", key=key, nth="always", kind=f.SetHeader("x-amz-checksum-crc64nvme", value))
        large.front.fault("Head", key=key, nth="always", kind=f.SetHeader("x-amz-checksum-type", "FULL_OBJECT"))
    large.is_failed(large.run(IN_PARTS), "big", "joined other bytes")
