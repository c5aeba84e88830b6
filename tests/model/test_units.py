"""Numbers as people read them, and text that commands no terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterna.model.units import GIB, KIB, MIB, TIB, duration_words, parse_size, printable, size_words


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1000", 1000),
        ("1000B", 1000),
        ("8MiB", 8 * MIB),
        ("8M", 8 * MIB),
        ("8m", 8 * MIB),
        (" 8 mib ", 8 * MIB),
        ("8MB", 8_000_000),
        ("8mb", 8_000_000),
        ("1.5GB", 1_500_000_000),
        ("1.5GiB", 3 * GIB // 2),
        ("0.5k", 512),
        ("2T", 2 * TIB),
        ("1P", 1024 * TIB),
        ("9007199254740993", 9007199254740993),  # a float would round it
        ("1.1KiB", 1126),
    ],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "M", "-1", "1e6", "8 M B", "8iB", "8i", "8MiBs", "1,5M", "٣", "0x10", "nan", "1.", ".5", "9" * 400 + ".5"],
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_size(text)


@settings(deadline=None)
@given(st.integers(0, 10**18))
def test_every_whole_number_of_bytes_is_read_exactly(size: int) -> None:
    assert parse_size(str(size)) == size
    assert parse_size(f"{size}KiB") == size * KIB


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (MIB - 1, "1.0 MiB"),
        (MIB, "1.0 MiB"),
        (int(2.25 * GIB), "2.2 GiB"),
        (3 * TIB, "3.0 TiB"),
        (5000 * TIB, "4.9 PiB"),
    ],
)
def test_sizes_are_written(size: int, words: str) -> None:
    assert size_words(size) == words


@settings(deadline=None)
@given(st.integers(0, 10**18))
def test_a_written_size_has_at_most_four_digits_before_the_point(size: int) -> None:
    number, unit = size_words(size).split()
    assert float(number) < 1024 or unit == "PiB"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0:00:00"), (0.5, "0:00:01"), (59.4, "0:00:59"), (59.5, "0:01:00"), (3723, "1:02:03"), (360000, "100:00:00")],
)
def test_durations_are_written(seconds: float, words: str) -> None:
    assert duration_words(seconds) == words


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 漢字 🐦 name", "plain é 漢字 🐦 name"),
        ("a\u3000b\u00a0c", "a\u3000b\u00a0c"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x1b]8;;http://x\x07link", "\\x1b]8;;http://x\\x07link"),
        ("\x9b31m", "\\x9b31m"),
        ("a\r\nb\tc", "a\\x0d\\x0ab\\x09c"),
        ("fdp.\u202eexe", "fdp.\\u202eexe"),
        ("\u061c\u00ad\u180e", "\\u061c\\xad\\u180e"),
        ("\u200b\u2066\u206f\ufeff", "\\u200b\\u2066\\u206f\\ufeff"),
        ("\U000e0001\U000e0041\U000e007f", "\\U000e0001\\U000e0041\\U000e007f"),
        ("\u2028\u2029\x85", "\\u2028\\u2029\\x85"),
        ("\udcff", "\\udcff"),
    ],
)
def test_H103_what_commands_a_terminal_or_hides_is_shown_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_H103_no_control_format_or_separator_character_of_unicode_survives() -> None:
    bad = [
        chr(point) for point in range(0x110000) if unicodedata.category(chr(point)) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    ]
    assert [f"U+{ord(one):04X}" for one in bad if one in printable(f"a{one}b")] == []
    shown = printable("".join(bad))
    assert shown.isascii()
    assert shown.isprintable()


@settings(deadline=None)
@given(st.text(st.characters()))
def test_H103_what_was_made_printable_stays_as_it_is(text: str) -> None:
    shown = printable(text)
    assert printable(shown) == shown
    shown.encode("utf-8")
    assert len(shown.splitlines()) <= 1


def test_all_characters_that_people_write_stay() -> None:
    kept = "".join(
        chr(point)
        for point in range(0x20, 0x30000)
        if unicodedata.category(chr(point))[0] in "LMNPS" or unicodedata.category(chr(point)) in ("Zs", "Co")
    )
    assert printable(kept) == kept
