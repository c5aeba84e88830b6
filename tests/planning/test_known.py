"""What an earlier run saw, held against what stands there now."""

from __future__ import annotations

import pytest

from sterna.model.entry import Entry
from sterna.model.synced import Seen, Synced
from sterna.planning.known import OTHER_TIME, judged

FILE = Entry("k", 5, 100, ctime_ns=200, inode=7)
OBJECT = Entry("k", 5, 300, "e1")
SAW = Synced("k", Seen(5, 100, ctime_ns=200, inode=7), Seen(5, etag="e1"))


@pytest.mark.parametrize(
    ("file", "thing", "saw", "told"),
    [
        (FILE, OBJECT, SAW, ""),
        (FILE, Entry("k", 5, 999, "e1"), SAW, ""),
        (FILE, OBJECT, None, None),
        (FILE, OBJECT, Synced("k", SAW.source, None), None),
        (FILE, OBJECT, Synced("k", SAW.source, SAW.target, is_sure=False), "the machine went down"),
        (Entry("k", 6, 100, ctime_ns=200, inode=7), OBJECT, SAW, None),
        (Entry("k", 5, 101, ctime_ns=200, inode=7), OBJECT, SAW, OTHER_TIME),
        (Entry("k", 5, 100, ctime_ns=201, inode=7), OBJECT, SAW, "something of the file was changed"),
        (Entry("k", 5, 100, ctime_ns=200, inode=8), OBJECT, SAW, "something of the file was changed"),
        (Entry("k", 5, 100), OBJECT, SAW, None),
        (FILE, OBJECT, Synced("k", Seen(5, 100, inode=7), SAW.target), "in the moment in which it was read"),
        (FILE, Entry("k", 5, 300, "e2"), SAW, "the object was replaced"),
        (FILE, OBJECT, Synced("k", SAW.source, Seen(5)), None),
    ],
)
def test_a_pair_is_what_it_was_or_in_doubt_or_not_known(
    file: Entry, thing: Entry, saw: Synced | None, told: str | None
) -> None:
    for one, other, row in (
        (file, thing, saw),
        (thing, file, saw and Synced("k", saw.target, saw.source, 0, saw.is_sure)),
    ):
        found = judged(one, other, row)
        assert (found is None) == (told is None)
        assert (told or "") in (found or "")
        assert bool(told) == bool(found)
