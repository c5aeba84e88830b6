"""Keys and queries as a URL holds them, and back."""

from __future__ import annotations

from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sterna.model.errors import Refused
from sterna.wire.encoding import decode_key, encode_key, encode_query, encode_value


def _key(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    ("key", "encoded"),
    [
        ("", ""),
        ("plain/file-1.2_3~.bin", "plain/file-1.2_3~.bin"),
        ("a b", "a%20b"),
        ("a+b", "a%2Bb"),
        ("a%20b", "a%2520b"),
        ("a%2Fb", "a%252Fb"),
        ("//a/./../b/", "//a/./../b/"),
        ("é", "%C3%A9"),
        ("e\u0301", "e%CC%81"),
        ("🐦", "%F0%9F%90%A6"),
        ("\x00\x01\n\r\x7f\ufffe", "%00%01%0A%0D%7F%EF%BF%BE"),
        ("a'b(c)!*;:@&=$,?#[]", "a%27b%28c%29%21%2A%3B%3A%40%26%3D%24%2C%3F%23%5B%5D"),
        ("\udcff", "%FF"),
    ],
)
def test_H65_a_key_has_one_encoding(key: str, encoded: str) -> None:
    assert encode_key(key) == encoded
    assert decode_key(encoded) == key


def test_a_parameter_encodes_its_slashes_too() -> None:
    assert encode_value("a/b c") == "a%2Fb%20c"
    assert encode_value("plain-._~") == "plain-._~"


def test_a_query_is_sorted_by_what_is_sent() -> None:
    assert encode_query([]) == ""
    assert encode_query([("uploads", "")]) == "uploads="
    # "é" encodes to %C3…, which sorts before letters; by its own characters it would come last.
    pairs = [("prefix", "b"), ("é", "1"), ("prefix", "a/"), ("list-type", "2"), ("a+", ""), ("a", "é")]
    assert encode_query(pairs) == "%C3%A9=1&a=%C3%A9&a%2B=&list-type=2&prefix=a%2F&prefix=b"


def test_a_query_leaves_its_argument_as_it_was() -> None:
    pairs = [("b", "1"), ("a", "2")]
    encode_query(pairs)
    assert pairs == [("b", "1"), ("a", "2")]


@pytest.mark.parametrize("text", ["\ud800", "a/\udfffb"])
def test_a_lone_surrogate_is_refused_by_name(text: str) -> None:
    with pytest.raises(Refused, match="lone surrogate") as caught:
        encode_key(text)
    assert caught.value.key == text
    assert caught.value.sentence.isprintable()


@pytest.mark.parametrize(
    ("listed", "key"),
    [
        ("a+b", "a b"),  # AWS lists a space as +
        ("a%2Bb", "a+b"),
        ("a%2520b", "a%20b"),
        ("a%252520b", "a%2520b"),
        ("100%", "100%"),
        ("%zz%4", "%zz%4"),
        ("%c3%a9", "é"),
        ("é%C3%A9", "éé"),  # what a server leaves as it is stays
        ("%F0%9F+%90%A6", "\udcf0\udc9f \udc90\udca6"),
        ("%0D%0A%00", "\r\n\0"),
    ],
)
def test_H64_H65_a_listed_key_is_decoded_exactly_once(listed: str, key: str) -> None:
    assert decode_key(listed) == key


@given(st.binary(max_size=1024))
def test_H64_every_key_that_a_server_can_hold_survives_the_way_there_and_back(data: bytes) -> None:
    encoded = encode_key(_key(data))
    assert unquote_to_bytes(encoded) == data
    assert decode_key(encoded).encode("utf-8", "surrogateescape") == data
    assert decode_key(encode_value(_key(data))).encode("utf-8", "surrogateescape") == data


@given(st.binary(max_size=200))
def test_H65_encoding_twice_needs_decoding_twice(data: bytes) -> None:
    once = encode_key(_key(data))
    assert decode_key(encode_key(once)) == once


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_the_encoding_is_the_standard_librarys(text: str) -> None:
    assert encode_key(text) == quote(text, safe="/~")
    assert encode_value(text) == quote(text, safe="~")
