"""Only what the source surely lacks may be deleted."""

from __future__ import annotations

from pathlib import Path

import pytest

from sterna.model.actions import Verb
from sterna.model.entry import Entry, Trouble
from sterna.model.errors import Corrupt, ObjectGone
from sterna.planning.deletions import BATCH, BECAUSE, Count, Deletions
from sterna.planning.merge import Pair
from sterna.planning.unknown import Unknown


def only_there(*keys: str) -> list[Pair]:
    return [(None, Entry(key, 1, 1, "etag", "GLACIER", "v")) for key in keys]


def deleted(deletions: Deletions) -> list[str]:
    return [action.key for batch in deletions.batches() for action in batch]


def test_what_only_the_destination_has_is_deleted_once_both_were_listed() -> None:
    both = (Entry("b", 1, 1), Entry("b", 1, 1))
    with Deletions() as deletions:
        deletions.add([*only_there("a"), both, (Entry("c", 1, 1), None), *only_there("d")])
        assert deleted(deletions) == [], "the listing has not ended"
        assert deletions.count() == Count()
        assert not deletions.holds(Entry("a", 1, 1))
        deletions.listed()
        assert deletions.count() == Count(objects=2, bytes=2)
        assert "2 candidates in memory, listed to the end" in repr(deletions)
        ((first, second),) = deletions.batches()
        assert (first.verb, first.key, first.because, first.source) == (Verb.DELETE, "a", BECAUSE, None)
        assert second.target == Entry("d", 1, 1, "etag", "GLACIER", "v")


def test_H76_a_run_that_breaks_off_deletes_nothing() -> None:
    with Deletions() as deletions:
        for page in (only_there("a", "b"), only_there("c")):
            deletions.add(page)
        assert list(deletions.batches()) == []


def test_H77_nothing_is_deleted_before_both_sides_are_listed_to_their_end() -> None:
    with Deletions() as deletions:
        deletions.add(only_there("a", "b"))
        assert (deleted(deletions), deletions.count()) == ([], Count())
        deletions.listed()
        assert deleted(deletions) == ["a", "b"]


def test_H78_nothing_below_a_folder_that_could_not_be_read_is_deleted() -> None:
    keys = ("a", "a-b", "a.b", "a/", "a/b", "a/b/c", "a0", "b/x", "b/x/y", "b/z", "c")
    with Deletions(keeps_markers=False) as deletions:
        deletions.add(only_there(*keys))
        deletions.listed()
        deletions.unknown.add([Trouble("a/", "cannot be read", subtree=True), Trouble("b/x", "a socket", skipped=True)])
        assert deleted(deletions) == ["a-b", "a.b", "a0", "b/z", "c"]
        assert deletions.count() == Count(objects=5, bytes=5, unknown=6)


def test_H78_a_trouble_that_is_told_late_counts_as_much() -> None:
    with Deletions() as deletions:
        deletions.add(only_there("a/b", "c"))
        deletions.listed()
        assert deleted(deletions) == ["a/b", "c"]
        deletions.unknown.add([Trouble("a/", "cannot be read", subtree=True)])
        assert deleted(deletions) == ["c"]


def test_a_root_that_is_unknown_makes_everything_unknown() -> None:
    with Deletions() as deletions:
        deletions.add(only_there("a", "b/c"))
        deletions.listed()
        deletions.unknown.add([Trouble("", "could not be listed to its end", subtree=True)])
        assert deleted(deletions) == []


def test_a_name_that_is_not_utf8_may_be_any_key_that_is_no_text() -> None:
    unknown = Unknown([Trouble("a/b\\xff/", "its name is not UTF-8", subtree=True)])
    assert unknown.covers("a/b\udcff/c")
    assert unknown.covers("\udcfe")
    assert not unknown.covers("a/b")


def test_more_troubles_than_can_be_remembered_are_all_there_is() -> None:
    unknown = Unknown((Trouble(f"{number}/", "") for number in range(3)), most=3)
    assert not unknown.covers("7")
    unknown.add([Trouble("3", "")])
    assert unknown.covers("7")
    assert (bool(unknown), unknown.failed, repr(unknown)) == (True, True, "<Unknown: everything>")


def test_nested_troubles_are_remembered_once() -> None:
    unknown = Unknown([Trouble("a/b/c", ""), Trouble("a/b/d", ""), Trouble("a/b-c", ""), Trouble("a/b/", "")])
    assert repr(unknown) == "<Unknown: 2 names>"
    unknown.add([Trouble("a/b/e", "")])
    assert repr(unknown) == "<Unknown: 2 names>"
    assert not Unknown()
    assert not Unknown([Trouble("a", "a link", skipped=True)]).failed


def test_markers_stay_where_the_source_does_not_tell_of_empty_folders() -> None:
    for keeps, expected in ((True, ["a"]), (False, ["a", "a/"])):
        with Deletions(keeps_markers=keeps) as deletions:
            deletions.add(only_there("a", "a/"))
            deletions.listed()
            assert deleted(deletions) == expected


def test_H81_what_the_filters_leave_out_is_never_deleted() -> None:
    with Deletions(takes=lambda pair: pair[1] is not None and not pair[1].key.endswith(".log")) as deletions:
        deletions.add(only_there("a.log", "b"))
        deletions.listed()
        assert deleted(deletions) == ["b"]


@pytest.mark.parametrize("second", ["a", "b"])
def test_H79_nothing_is_deleted_by_a_listing_that_is_out_of_order(second: str) -> None:
    with Deletions() as deletions:
        deletions.add(only_there("b"))
        with pytest.raises(Corrupt, match="out of order"):
            deletions.add(only_there(second))


def test_many_candidates_lie_in_a_file_that_nobody_sees(tmp_path: Path) -> None:
    keys = [f"{number:05}" for number in range(2_500)] + ["\n", "é\udcff"]
    keys.sort()
    with Deletions(folder=tmp_path, in_memory=100) as deletions:
        for start in range(0, len(keys), 90):
            deletions.add(only_there(*keys[start : start + 90]))
        deletions.listed()
        assert "in file" in repr(deletions)
        assert list(tmp_path.iterdir()) == []
        batches = list(deletions.batches())
        assert [len(batch) for batch in batches] == [BATCH, BATCH, 502]
        assert [action.key for batch in batches for action in batch] == keys
        assert deletions.count().objects == len(keys)
        interleaved = zip(deletions.batches(1), deletions.batches(1), strict=True)
        assert all(one == other for one, other in interleaved), "two readers do not disturb each other"
    assert list(deletions.batches()) == []


def test_a_damaged_file_of_candidates_deletes_nothing_more(tmp_path: Path) -> None:
    with Deletions(folder=tmp_path, in_memory=1) as deletions:
        deletions.add(only_there("a"))
        deletions.listed()
        assert deletions._file is not None
        deletions._file.seek(12)
        deletions._file.write(b"X")
        with pytest.raises(Corrupt, match="damaged"):
            list(deletions.batches())


def test_a_folder_that_cannot_hold_the_candidates_is_named(tmp_path: Path) -> None:
    with Deletions(folder=tmp_path / "missing", in_memory=1) as deletions, pytest.raises(ObjectGone, match="missing"):
        deletions.add(only_there("a"))
