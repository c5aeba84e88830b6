"""The last-synced tree: what is kept comes back, in order, for any key."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from sterna.journal import questions
from sterna.journal.database import reading
from sterna.journal.journal import Journal
from sterna.journal.rows import key_bytes, key_text
from sterna.journal.writer import Pace
from sterna.model.errors import Corrupt, JournalUnusable
from sterna.model.synced import Seen, Synced
from tests.journal.made import asked, database, fill, flushed, kept, keys, opened, synced

ODD = [
    " ", "a", "a/", "a//b", "a\nb", "é", "e\u0301", "\uffff", "😀", "\x7f", "Z" * 1024,
    "not-utf8-\udcff", "not-utf8-\udc80\udcbf", "\udced\udca0\udc80",
]  # fmt: skip


async def _streamed(journal: Journal, start_after: str = "") -> list[Synced]:
    return [one async for page in journal.tree(start_after) for one in page]


def test_every_key_comes_back_in_the_order_of_its_bytes(tmp_path: Path) -> None:
    names = ODD + keys(2500)
    random.Random(1).shuffle(names)
    fill(tmp_path, names)
    journal = opened(tmp_path)
    streamed = asyncio.run(_streamed(journal))
    assert [one.key for one in streamed] == sorted(names, key=key_bytes)
    assert [one.key for one in asyncio.run(_streamed(journal, "é"))] == sorted(
        [name for name in names if key_bytes(name) > "é".encode()], key=key_bytes
    )
    assert journal.close()
    assert kept(tmp_path) == streamed


@pytest.mark.parametrize("key", ODD)
def test_H73_a_key_is_its_bytes(key: str) -> None:
    assert key_text(key_bytes(key)) == key


def test_text_that_stands_for_no_bytes_is_kept_as_well_as_can_be() -> None:
    assert key_bytes("a\ud800") == b"a\xed\xa0\x80"


def test_both_sides_come_back_as_they_were_seen(tmp_path: Path) -> None:
    file = Seen(2**50, -1, ctime_ns=2**62, inode=2**64 - 1, device=2**32)
    copy = Seen(2**50, 1_790_000_000_123_456_789, "abc-7", "CRC64NVME:AAAAAAAAAAA=", "v.1")
    rows = [Synced("a", file, copy), Synced("b", None, copy), Synced("c", file, None)]
    journal = opened(tmp_path)
    run = journal.begin()
    run.done(rows)
    assert flushed(journal)
    assert kept(tmp_path) == [Synced(one.key, one.source, one.target, run.number) for one in rows]
    assert asked(journal, questions.last_synced, "b") == Synced("b", None, copy, run.number)
    assert asked(journal, questions.last_synced, "d") is None
    assert journal.close()


def test_the_last_word_on_a_key_counts_within_a_batch_and_across(tmp_path: Path) -> None:
    journal = opened(tmp_path, pace=Pace(rows=10_000, seconds=60))
    run = journal.begin()
    run.done([synced("b", 1), synced("a", 1), synced("b", 2)])
    run.gone(["b", "c"])
    run.done([synced("c", 3)])
    run.done([synced("c", 4)])
    assert flushed(journal)
    assert [(one.key, one.source.size if one.source else 0) for one in kept(tmp_path)] == [("a", 1), ("c", 4)]
    run.gone(["a"])
    run.done([synced("b", 5)])
    assert journal.close()
    assert [one.key for one in kept(tmp_path)] == ["b", "c"]


def test_the_tree_may_be_changed_while_it_is_read(tmp_path: Path) -> None:
    names = keys(5000)
    fill(tmp_path, names)
    journal = opened(tmp_path)
    run = journal.begin()

    async def read() -> list[str]:
        found: list[str] = []
        async for page in journal.tree():
            found += [one.key for one in page]
            run.done([synced(one.key, 9) for one in page])
            run.gone([page[0].key])
        return found

    assert asyncio.run(read()) == names
    assert journal.close()
    assert len(kept(tmp_path)) == 5000 - 5


def test_H58_what_was_not_flushed_is_unsure_once_the_machine_was_started_anew(tmp_path: Path) -> None:
    fill(tmp_path, ["sure"])
    journal = opened(tmp_path)
    journal.begin(is_durable=False).done([synced("unsure")])
    assert journal.close()
    assert [one.is_sure for one in kept(tmp_path)] == [True, True]  # the same start: what is in memory, is there
    journal = opened(tmp_path)
    asked(journal, lambda connection: connection.execute("UPDATE runs SET boot = 'an earlier one'"))
    assert journal.close()
    assert {one.key: one.is_sure for one in kept(tmp_path)} == {"sure": True, "unsure": False}
    journal = opened(tmp_path)
    assert [one.is_sure for one in asyncio.run(_streamed(journal))] == [True, False]
    journal.begin().done([synced("unsure")])  # seen again
    assert journal.close()
    assert [one.is_sure for one in kept(tmp_path)] == [True, True]


def test_a_tree_that_is_out_of_order_ends_in_an_error_and_not_early(tmp_path: Path) -> None:
    fill(tmp_path, keys(3))
    with reading(database(tmp_path)) as connection:
        backwards = _Backwards(connection.execute("SELECT key, run, source, target FROM tree ORDER BY key DESC"))
        with pytest.raises(Corrupt, match="out of order"):
            questions.tree_page(backwards, b"", frozenset())  # type: ignore[arg-type]


class _Backwards:
    """A connection that gives rows which a sound file never would."""

    def __init__(self, rows: object) -> None:
        self._rows = rows

    def execute(self, sql: str, arguments: object) -> object:
        return self._rows


def test_a_run_without_a_journal_reads_an_empty_tree_and_keeps_nothing() -> None:
    journal = Journal.without("The disk is full; this run keeps no journal.")
    run = journal.begin(source="a", target="b")
    run.done([synced("a")])
    assert asyncio.run(_streamed(journal)) == []
    assert not journal.is_kept
    assert not flushed(journal)
    assert journal.news() == ["The disk is full; this run keeps no journal."]
    assert journal.news() == []
    with pytest.raises(JournalUnusable, match="disk is full"):
        asked(journal, questions.runs)
    assert not journal.close()
