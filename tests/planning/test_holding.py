"""What a listing and sums tell of a key against its row, and what a sample is."""

from __future__ import annotations

import pytest

from sterna.model.entry import Entry
from sterna.model.errors import WrongSetting
from sterna.planning.holding import Chooser, Sample, by_listing, by_sums
from sterna.planning.manifest import Row

ROW = Row("a", 3, "1.5", "crc=", "00ff", "etag")


@pytest.mark.parametrize(
    ("row", "entry", "told"),
    [
        (ROW, Entry("a", 3, 0, "etag"), "equal: same size and ETag"),
        (ROW, Entry("a", 3, 0, "other"), "None"),
        (ROW, Entry("a", 4, 0, "etag"), "different: the sizes differ: 3 in the manifest, 4 there"),
        (ROW, Entry("a", 3, 1_500_000_000), "equal: same size and time"),
        (ROW, Entry("a", 3, 1_500_000_001), "None"),
        (Row("a", 3), Entry("a", 3, 0), "None"),
        (Row("a", 3), Entry("a", 3, 0, "etag"), "None"),
        (Row("a", 0), Entry("a", 0, 7), "equal: both are empty"),
        (Row("a", state="failed"), Entry("a", 3, 0, "etag"),
         "unknown: the manifest does not vouch for it: the backup could not bring it, or not prove that it came"),
    ],
)  # fmt: skip
def test_by_listing(row: Row, entry: Entry, told: str) -> None:
    judgement = by_listing(row, entry)
    assert (f"{judgement[0].value}: {judgement[1]}" if judgement else "None") == told


@pytest.mark.parametrize(
    ("row", "sums", "told"),
    [
        (ROW, {"CRC64NVME": "crc=", "SHA256": "00ff"}, "equal: same size and SHA-256, CRC64NVME"),
        (ROW, {"CRC64NVME": "crc="}, "equal: same size and CRC64NVME"),
        (ROW, {"CRC64NVME": "other="}, "different: CRC64NVME differs: crc= in the manifest, other= there"),
        (ROW, {"CRC64NVME": "crc=", "SHA256": "00"}, "different: SHA-256 differs: 00ff in the manifest, 00 there"),
        (ROW, {"CRC32C": "x"}, "unknown: same size, and no checksum that both have; --read tells"),
        (
            Row("a", 3),
            {"CRC64NVME": ""},
            "unknown: same size, and no checksum that both have; --read tells",
        ),
    ],
)
def test_by_sums(row: Row, sums: dict[str, str], told: str) -> None:
    verdict, because = by_sums(row, sums)
    assert f"{verdict.value}: {because}" == told


@pytest.mark.parametrize(
    ("text", "count", "chosen"),
    [("20", 100, 20), ("20", 7, 7), ("1%", 1000, 10), ("1%", 5, 1), ("1%", 0, 0), ("100%", 9, 9), ("0.5%", 1000, 5)],
)
def test_how_many_a_sample_is(text: str, count: int, chosen: int) -> None:
    assert Sample.read(text).of(count) == chosen


@pytest.mark.parametrize("text", ["", "0", "0%", "101%", "-1", "1.5", "x", "1 %", "%"])
def test_what_is_no_sample(text: str) -> None:
    with pytest.raises(WrongSetting, match="--sample"):
        Sample.read(text)


def test_another_seed_chooses_others() -> None:
    chosen = {
        tuple(number for number in range(1000) if chooser.takes_next())
        for chooser in (Chooser(10, 1000, seed) for seed in range(5))
    }
    assert len(chosen) == 5
    assert all(len(one) == 10 for one in chosen)
