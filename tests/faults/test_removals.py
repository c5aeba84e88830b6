"""A removal counts when nothing shows the object any more, neither a look nor a listing (H05, H120)."""

from __future__ import annotations

import pytest

from tests.conftest import Sterna
from tests.e2e.test_exit_codes import says
from tests.faults import front as f
from tests.faults.front import Front
from tests.servers.oracle import Bucket

GONE = f.Refuse(404, "NoSuchKey")


def test_H05_a_removal_that_a_look_confirms_and_a_listing_contradicts_fails_by_name(
    sterna: Sterna, front: Front, bucket: Bucket
) -> None:
    bucket.put("p/a", b"one")
    bucket.put("p/b", b"two")
    front.fault("DeleteObjects", nth="always", kind=f.Lie())
    front.fault("Delete", key="p/a", nth="always", kind=f.Lie())
    front.fault("Head", key="p/a", nth="always", kind=GONE)
    done = sterna("rm", "--recursive", "--yes", bucket.url("p"))
    assert done.code == 1, done.out + done.err
    assert says(done, "p/a", "still lists it")
    assert bucket.keys() == ["p/a"]


@pytest.mark.parametrize("recursive", [(), ("--recursive", "--yes")], ids=["one", "recursive"])
def test_H05_a_removal_that_was_answered_and_not_done_fails_by_name(
    sterna: Sterna, front: Front, bucket: Bucket, recursive: tuple[str, ...]
) -> None:
    bucket.put("p/a", b"one")
    front.fault(("Delete", "DeleteObjects"), nth="always", kind=f.Lie())
    done = sterna("rm", *recursive, bucket.url("p" if recursive else "p/a"))
    assert done.code == 1, done.out + done.err
    assert says(done, "p/a")
    assert bucket.keys() == ["p/a"]
