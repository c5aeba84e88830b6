"""Each guard alone: what it sees, what it says, what allows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sterna.model.entry import Entry
from sterna.model.errors import GuardRefused, WrongSetting
from sterna.model.location import BucketPath, LocalPath, Location, parse_location
from sterna.planning.guard import (
    DEFAULT_MAX_DELETE,
    Allowed,
    Counts,
    Guard,
    MaxDelete,
    Places,
    Remembered,
    allowed_by,
    before_deleting,
    before_listing,
    changed_since,
    overlap,
    parse_max_delete,
    refuse,
    swapped,
)

NOTHING = Remembered()
STRICT = Allowed()


def places(source: str = "/data", target: str = "s3://bucket/data", **more: object) -> Places:
    return Places(parse_location(source), parse_location(target), **more)  # type: ignore[arg-type]


def told(counts: Counts, remembered: Remembered = NOTHING, allowed: Allowed = STRICT) -> list[str]:
    return [refusal.guard.label for refusal in before_deleting(counts, remembered, allowed)]


def test_H75_an_empty_source_deletes_nothing_unless_that_is_allowed() -> None:
    counts = Counts(source=0, target=3, deletions=3)
    (refusal,) = before_deleting(counts, NOTHING, STRICT)
    assert refusal.sentence == (
        "The source is empty. Refused: 3 deletions; if that is right, add --allow-empty-source."
    )
    with pytest.raises(GuardRefused) as refused:
        refuse([refusal])
    assert (refused.value.exit_code, refused.value.code) == (5, "empty-source")
    refuse(before_deleting(counts, NOTHING, allowed_by(["--allow-empty-source"])))


def test_where_nothing_is_to_be_deleted_nothing_is_refused() -> None:
    assert told(Counts(source=0, target=1000), Remembered(source_entries=10_000)) == []


@pytest.mark.parametrize(
    ("now", "before", "refused"),
    [(50, 100, False), (49, 100, True), (49, None, False), (1, 2, False), (1, 3, True), (200, 100, False)],
)
def test_H75_a_source_that_shrank_by_more_than_half_deletes_nothing(
    now: int, before: int | None, refused: bool
) -> None:
    labels = told(Counts(source=now, target=50, deletions=1), Remembered(source_entries=before))
    assert labels == (["shrunken-source"] if refused else [])


def test_H75_another_file_system_under_the_same_path_is_refused() -> None:
    remembered = Remembered(source_file_system="1", target_file_system="2")
    assert changed_since(places(source_file_system="1"), remembered, STRICT) == []
    (refusal,) = changed_since(places(source_file_system="3"), remembered, STRICT)
    assert refusal.guard is Guard.OTHER_FILE_SYSTEM
    assert "The source /data is on another file system than at the last run" in refusal.sentence
    (refusal,) = changed_since(places("s3://bbb", "/data", target_file_system="3"), remembered, STRICT)
    assert "The destination /data" in refusal.sentence
    assert changed_since(places(source_file_system="3"), NOTHING, STRICT) == []


@pytest.mark.parametrize(
    ("deletions", "target", "limit", "refused"),
    [
        (100, 100, DEFAULT_MAX_DELETE, False),
        (101, 1_000, DEFAULT_MAX_DELETE, True),
        (1_000, 10_000, DEFAULT_MAX_DELETE, False),
        (1_001, 10_000, DEFAULT_MAX_DELETE, True),
        (1, 10, parse_max_delete("0"), True),
        (5, 10, parse_max_delete("50%"), False),
        (6, 10, parse_max_delete("50%"), True),
        (1_000_000, 1_000_000, parse_max_delete("none"), False),
        (10, 10, parse_max_delete("100%"), False),
    ],
)
def test_H82_more_deletions_than_allowed_are_refused_all(
    deletions: int, target: int, limit: MaxDelete, refused: bool
) -> None:
    counts = Counts(source=target, target=target, deletions=deletions)
    assert told(counts, allowed=Allowed(max_delete=limit)) == (["max-delete"] if refused else [])


def test_the_limit_is_told_with_what_would_allow_it() -> None:
    (refusal,) = before_deleting(Counts(source=900, target=1000, deletions=101), NOTHING, STRICT)
    assert refusal.sentence == (
        "101 of the destination's 1000 entries would be deleted, and at most 100 may be (100 or 10%, whichever is more)."
        " Refused: 101 deletions; if that is right, add --max-delete 101, or none."
    )


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "101%", "1_000", "٣", "%", "10 %", "1e3", "nan%", "0.123%"])
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"deletions|none"):
        parse_max_delete(text)
    with pytest.raises(WrongSetting, match="--max-delete"):
        allowed_by([], text)


@pytest.mark.parametrize("text", ["0", "500", "20%", "0.5%", "12.25%", "none"])
def test_a_limit_is_shown_as_it_is_read(text: str) -> None:
    assert str(parse_max_delete(text)) == text


def test_several_guards_are_told_at_once() -> None:
    counts = Counts(source=1, target=1000, deletions=999)
    refusals = before_deleting(counts, Remembered(source_entries=1000), STRICT)
    with pytest.raises(GuardRefused) as refused:
        refuse(refusals)
    for option in ("--allow-shrunken-source", "--allow-swapped", "--max-delete 999"):
        assert option in refused.value.sentence
    options = ["--allow-shrunken-source", "--allow-swapped"]
    refuse(before_deleting(counts, Remembered(source_entries=1000), allowed_by(options, "none")))


def test_an_option_that_overrides_nothing_is_refused() -> None:
    with pytest.raises(WrongSetting, match="--allow-all overrides no guard"):
        allowed_by(["--allow-all"])


def test_H84_a_rich_destination_and_a_nearly_empty_source_look_swapped() -> None:
    assert swapped(Counts(source=1, target=100)) == "The destination has 100 entries and the source 1"
    assert swapped(Counts(source=1, target=99)) is None
    assert swapped(Counts(source=2, target=199)) is None
    assert "swapped" in told(Counts(source=1, target=100, deletions=99))


def test_H84_a_destination_that_is_newer_throughout_looks_swapped() -> None:
    counts = Counts(source=50, target=50, replaced=10, replaced_newer=10, deletions=1)
    assert told(counts) == ["swapped"]
    counts.replaced_newer = 9
    assert told(counts) == []


def test_H75_what_was_mounted_below_a_folder_and_is_not_now_is_missed() -> None:
    remembered = Remembered(mounts={"/data/a": "1", "/data/b": ""})
    assert changed_since(places(mounts={"/data/a": "1", "/data/b": "", "/data/c": "9"}), remembered, STRICT) == []
    for now in ({"/data/a": "1"}, {"/data/a": "2", "/data/b": ""}):
        (refusal,) = changed_since(places(mounts=now), remembered, STRICT)
        assert refusal.guard is Guard.OTHER_FILE_SYSTEM
        assert "was mounted at /data/" in refusal.sentence
    assert changed_since(places(), remembered, allowed_by(["--allow-other-file-system"])) == []


def test_counts_are_of_pairs() -> None:
    counts = Counts()
    counts.see([(Entry("a", 1, 5), None), (None, Entry("b", 1, 5)), (Entry("c", 1, 5), Entry("c", 1, 9))])
    counts.see([(Entry("d", 1, 5), Entry("d", 2, 9)), (Entry("e", 1, 9), Entry("e", 2, 5))])
    assert counts == Counts(source=4, target=4, replaced=2, replaced_newer=1)


def test_H81_changed_filters_are_refused_before_anything_is_listed() -> None:
    remembered = Remembered(filters="old")
    (refusal,) = changed_since(places(filters="new"), remembered, STRICT)
    assert refusal.guard is Guard.CHANGED_FILTERS
    assert changed_since(places(filters="old"), remembered, STRICT) == []
    assert changed_since(places(filters="new"), NOTHING, STRICT) == []
    assert changed_since(places(filters="new"), remembered, allowed_by(["--allow-changed-filters"])) == []


@pytest.mark.parametrize(
    ("source", "target", "how"),
    [
        ("s3://aaa", "s3://bbb", None),
        ("s3://aaa/x", "s3://aaa/y", None),
        ("s3://aaa/logs", "s3://aaa/logs_backup", None),
        ("s3://aaa/x", "s3://aaa/x/", "one place"),
        ("s3://aaa", "s3://aaa/x", "The destination s3://aaa/x is inside the source"),
        ("s3://aaa/x/y", "s3://aaa/x", "The source s3://aaa/x/y is inside the destination"),
        ("/data", "s3://data", None),
    ],
)
def test_H83_overlapping_roots_are_seen(source: str, target: str, how: str | None) -> None:
    found = overlap(places(source, target))
    assert found is None if how is None else how in (found or "")


def test_H83_a_bucket_of_the_same_name_on_another_server_is_another_place() -> None:
    assert overlap(places("s3://aaa", "s3://aaa", same_server=False)) is None


@pytest.mark.parametrize(
    ("target", "what"),
    [
        (LocalPath(Path("/")), "the root / of a file system"),
        (LocalPath(Path("/home/ada")), "the home folder /home/ada"),
        (LocalPath(Path("/home")), "/home, where home folders are"),
        (LocalPath(Path("/home/ada/backup")), None),
        (LocalPath(Path("/home/bob")), None),
        (BucketPath("home"), None),
    ],
)
def test_H84_a_whole_machine_is_no_destination_to_delete_from(target: Location, what: str | None) -> None:
    found = before_listing(Places(BucketPath("a"), target, home=Path("/home/ada")), STRICT)
    assert [refusal.guard for refusal in found] == ([Guard.WHOLE_MACHINE] if what else [])
    if what:
        assert what in found[0].sentence


def test_every_guard_but_the_limit_has_an_option_of_its_own() -> None:
    options = [guard.option for guard in Guard]
    assert len(set(options)) == len(options)
    assert allowed_by([option for option in options if option != "--max-delete"]).guards == set(Guard) - {
        Guard.MAX_DELETE
    }
