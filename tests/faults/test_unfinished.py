"""Unfinished uploads through the command, listed and aborted behind a front that lies (H11, H76, H80, H94)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Sterna
from tests.e2e.test_exit_codes import says
from tests.faults import front as f
from tests.faults.case import MIB
from tests.faults.front import Front
from tests.servers.oracle import Bucket

KEYS = [f"p/{number}" for number in range(7)]


class SmallPages(f.Kind):
    """The server shows three uploads in a page, as every server may."""

    def before(self, exchange: f.Exchange, fault: f.Fault) -> None:
        exchange.target = exchange.target.replace("max-uploads=1000", "max-uploads=3")
        fault.hit()


@pytest.fixture
def uploads(front: Front, bucket: Bucket) -> None:
    for key in KEYS:
        bucket.put_part(key, bucket.create_upload(key), 1, b"x" * 100)
    front.fault("ListUploads", nth="always", kind=SmallPages())


@pytest.mark.usefixtures("uploads")
def test_H80_an_honest_server_with_small_pages_is_listed_and_cleared_to_the_end(sterna: Sterna, bucket: Bucket) -> None:
    done = sterna("uploads", "--json", bucket.url("p"))
    *lines, total = map(json.loads, done.out.splitlines())
    assert (done.code, [line["key"] for line in lines], total["bytes"]) == (0, KEYS, 700)
    done = sterna("uploads", "--abort", "--all", "--yes", bucket.url("p"))
    assert done.code == 0, done.err
    assert done.verdict == "COMPLETE: 7 uploads (700 B) aborted, and seen to be gone."
    assert bucket.uploads() == []


@pytest.mark.usefixtures("uploads")
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (f.TruncatedWithoutToken(), "says that it goes on, and not where"),
        (f.RepeatedPage(), "in another order"),
        (f.Rewrite(lambda page: f.with_tag(page, "NextKeyMarker", "p/0")), "in another order"),
        (f.ACCESS_DENIED, "s3:ListBucketMultipartUploads"),
    ],
    ids=["cut short", "again and again", "going round", "denied"],
)
def test_H76_H80_a_listing_that_is_cut_or_goes_round_ends_with_a_sentence_and_no_total(
    sterna: Sterna, front: Front, bucket: Bucket, kind: f.Kind, words: str
) -> None:
    front.fault("ListUploads", nth=range(3, 1000), kind=kind)  # the first is for the upload of the path itself
    done = sterna("uploads", bucket.url("p"))
    assert done.code == (3 if kind is f.ACCESS_DENIED else 1), done.out + done.err
    assert says(done, words)
    assert "total" not in done.out


@pytest.mark.slow
@pytest.mark.usefixtures("uploads")
def test_H11_H94_an_abort_that_was_answered_and_not_done_fails_by_name(
    sterna: Sterna, front: Front, bucket: Bucket
) -> None:
    front.fault("Abort", key="p/3", nth="always", kind=f.Lie())
    done = sterna("uploads", "--abort", "--all", "--yes", bucket.url("p"))
    assert done.code == 1, done.out + done.err
    assert says(done, "p/3", "still there")
    assert done.verdict.startswith("INCOMPLETE: 1 could not be aborted")
    assert [one.key for one in bucket.uploads()] == ["p/3"]


@pytest.mark.slow
def test_H94_what_a_killed_run_left_is_ours_and_is_cleared_up_when_it_is_dead(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "large").write_bytes(b"x" * (17 * MIB))
    stalled = front.fault("UploadPart", nth=range(2, 1000), kind=f.StallBeforeAnswer())
    run = sterna.start("sync", tmp_path / "tree", bucket.url("p"), "--part-size", "5MiB")
    stalled.wait_until_hit()
    alive = sterna("uploads", "--abort", "--yes", bucket.url())
    assert alive.code == 0, alive.err
    assert says(alive, "p/large", "may be in use")
    assert [one.key for one in bucket.uploads()] == ["p/large"]
    run.kill()
    run.wait()
    front.remove(stalled)
    done = sterna("uploads", "--abort", "--yes", bucket.url())
    assert done.code == 0, done.err
    assert done.verdict.startswith("COMPLETE: 1 upload")
    assert bucket.uploads() == []


def test_a_server_without_the_operation_is_named(sterna: Sterna, front: Front, bucket: Bucket) -> None:
    front.fault("ListUploads", nth="always", kind=f.NOT_IMPLEMENTED)
    done = sterna("uploads", bucket.url())
    assert done.code == 1
    assert says(done, "does not list unfinished uploads")
