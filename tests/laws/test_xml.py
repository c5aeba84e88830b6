"""Laws of the documents that servers send: read right, or refused; never a short page, never without bound."""

from __future__ import annotations

import re
import time
import tracemalloc
from urllib.parse import quote
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterna.model.entry import Entry
from sterna.model.errors import Corrupt
from sterna.wire.connection import Response
from sterna.wire.xml import Asked, Page, as_text, check_page, error_of, parse_document, parse_page

_XML_TEXT = st.characters(
    codec="utf-8", exclude_characters="\x7f\ufffe\uffff\r\n\t", exclude_categories=("Cc", "Cs"), max_codepoint=0x1FFFF
).filter(lambda one: ord(one) & 0xFFFE != 0xFFFE)
_ANY_TEXT = st.characters(exclude_categories=["Cs"])
_STAMPS = st.sampled_from(
    ["2009-10-12T17:50:30.000Z", "2024-02-29T23:59:59.123Z", "1970-01-01T00:00:00Z", "2024-01-01T00:00:00.000000+00:00"]
)
_OWNERS = ["<Owner><ID>abc</ID><DisplayName>me</DisplayName></Owner>", "<Owner><ID>abc</ID><DisplayName/></Owner>"]


@st.composite
def pages(draw: st.DrawFn) -> tuple[bytes, Page]:
    """A page as some server might write it, and what it says."""
    encoded = draw(st.booleans())
    text = st.text(_ANY_TEXT if encoded else _XML_TEXT, min_size=1, max_size=20)
    keys = sorted(draw(st.lists(text, max_size=5, unique=True)))
    prefixes = sorted(draw(st.lists(text, max_size=2, unique=True))) if draw(st.integers(0, 3)) == 0 else []
    gap = draw(st.sampled_from(["", "", "\n  ", "\r\n\t"]))

    def written(key: str) -> str:
        return quote(key, safe=draw(st.sampled_from(["/", ""]))) if encoded else as_text(key)

    entries, records = [], []
    for key in keys:
        size = draw(st.integers(0, 50 * 10**12))
        etag = draw(st.sampled_from(["", "d41d8cd98f00b204e9800998ecf8427e", "0123-17"]))
        stamp = draw(st.sampled_from(["", "2009-10-12T17:50:30.000Z", "2024-02-29T23:59:59.123Z"]))
        storage = draw(st.sampled_from(["", "STANDARD", "GLACIER"]))
        members = [f"<Key>{written(key)}</Key>", f"<Size>{size}</Size>"]
        if etag:
            quoted = draw(st.sampled_from(['"', "&quot;", "&#34;", ""]))
            members.append(f"<ETag>{quoted}{etag}{quoted}</ETag>")
        if stamp:
            members.append(f"<LastModified>{stamp}</LastModified>")
        if storage:
            members.append(f"<StorageClass>{storage}</StorageClass>")
        members += draw(
            st.lists(
                st.sampled_from(
                    [
                        *_OWNERS,
                        "<ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm>",
                        "<ChecksumType>FULL_OBJECT</ChecksumType>",
                        "<RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress></RestoreStatus>",
                    ]
                ),
                max_size=2,
            )
        )
        records.append(f"<Contents>{gap}{gap.join(draw(st.permutations(members)))}{gap}</Contents>")
        seconds = {"": 0, "2009-10-12T17:50:30.000Z": 1255369830_000, "2024-02-29T23:59:59.123Z": 1709251199_123}[stamp]
        entries.append(Entry(key, size, seconds * 10**6, etag, storage))
    token = draw(st.text(_XML_TEXT, min_size=1, max_size=20)) if draw(st.booleans()) else ""
    head = ["<Name>bucket</Name>", "<Prefix/>", f"<IsTruncated>{str(bool(token)).lower()}</IsTruncated>"]
    if encoded:
        head.append("<EncodingType>url</EncodingType>")
    if draw(st.booleans()):
        head.append(f"<KeyCount>{len(keys) + len(prefixes)}</KeyCount>")
    if token:
        head.append(f"<NextContinuationToken>{as_text(token)}</NextContinuationToken>")
    head = list(draw(st.permutations(head)))
    folders = [f"<CommonPrefixes><Prefix>{written(prefix)}</Prefix></CommonPrefixes>" for prefix in prefixes]
    cut = draw(st.integers(0, len(head)))
    members = [*head[:cut], *records, *folders, *head[cut:]]
    prolog = draw(st.sampled_from(["", '<?xml version="1.0" encoding="UTF-8"?>', '<?xml version="1.0"?>\n']))
    space = draw(st.sampled_from(["", ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"']))
    end = draw(st.sampled_from(["", "\n"]))
    body = f"{prolog}<ListBucketResult{space}>{gap}{gap.join(members)}{gap}</ListBucketResult>{end}"
    return body.encode(), Page(entries, prefixes, bool(token), token)


def _by_expat(body: bytes) -> bytes:
    """The same document in a form that only the slow way reads: the root's end tag has a space in it."""
    return re.sub(rb"</ListBucketResult>\s*$", b"</ListBucketResult >", body)


_BY_FOLDER = Asked(delimiter="/")


@settings(deadline=None)
@given(pages())
def test_H64_a_page_says_the_same_in_the_fast_way_and_by_expat(page: tuple[bytes, Page]) -> None:
    body, expected = page
    assert parse_page(body, _BY_FOLDER) == expected
    assert parse_page(bytearray(_by_expat(body)), _BY_FOLDER) == expected
    check_page(Response(200, {}, body))


@settings(max_examples=25, deadline=None)
@given(pages())
def test_H77_a_page_that_is_cut_anywhere_is_never_a_short_page(page: tuple[bytes, Page]) -> None:
    body, expected = page
    for cut in range(len(body)):
        for part in (body[:cut], body[cut + 1 :]):
            try:
                found = parse_page(part, _BY_FOLDER)
            except Corrupt:
                continue
            assert found == expected, part


@settings(max_examples=40, deadline=None)
@given(pages(), st.integers(0, 8))
def test_H77_a_page_with_a_counted_record_missing_is_corrupt(page: tuple[bytes, Page], wrong: int) -> None:
    body, expected = page
    total = len(expected.entries) + len(expected.prefixes)
    miscounted = re.sub(rb"<KeyCount>\d+<", b"<KeyCount>%d<" % wrong, body)
    honest = (total, len(expected.entries))
    for form in (miscounted, _by_expat(miscounted)):
        if b"<KeyCount>" in body and wrong not in honest:
            with pytest.raises(Corrupt):
                parse_page(form, _BY_FOLDER)
        else:
            assert parse_page(form, _BY_FOLDER) == expected


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_corrupt_or_a_page(noise: bytes) -> None:
    for body in (noise, b"<ListBucketResult>" + noise + b"</ListBucketResult>", noise + b"</ListBucketResult>"):
        for read in (parse_page, lambda body: parse_document(body, "ListBucketResult", "List")):
            try:
                read(body)
            except Corrupt:
                pass
        error_of(noise)


_PAGE = "<ListBucketResult><IsTruncated>{}</IsTruncated>{}</ListBucketResult>"
_RECORD = "<Contents><Key>{}</Key><LastModified>{}</LastModified><Size>{}</Size></Contents>"


@pytest.mark.parametrize(
    "inside",
    [
        _RECORD.format("", "2009-10-12T17:50:30.000Z", 1),
        "<Contents><Size>1</Size></Contents>",
        "<Contents><Key>a</Key></Contents>",
        "<Contents></Contents>",
        "<Contents/>",
        _RECORD.format("a", "yesterday", 1),
        _RECORD.format("a", "2009-10-12T17:50:30.000Z", -1),
        _RECORD.format("a", "2009-10-12T17:50:30.000Z", "1_000"),
        _RECORD.format("a", "2009-10-12T17:50:30.000Z", "٣"),
        _RECORD.format("a", "2009-10-12T17:50:30.000Z", "9" * 5000),
        _RECORD.format("a&unknown;", "2009-10-12T17:50:30.000Z", 1),
        _RECORD.format("a&#1114112;", "2009-10-12T17:50:30.000Z", 1),
        "<KeyCount>many</KeyCount>",
        "<KeyCount></KeyCount>",
        "<KeyCount>-1</KeyCount>" + _RECORD.format("a", "2009-10-12T17:50:30.000Z", 1),
        "<NextContinuationToken>&unknown;</NextContinuationToken>" + _RECORD.format("a", "2009-10-12T17:50:30.000Z", 1),
    ],
)
def test_H76_a_record_that_cannot_be_read_fails_the_page(inside: str) -> None:
    with pytest.raises(Corrupt):
        parse_page(_PAGE.format("false", inside).encode())
    with pytest.raises(Corrupt):
        parse_page(_by_expat(_PAGE.format("false", inside).encode()))


_ONE = _RECORD.format("a", "2009-10-12T17:50:30.000Z", 1)
_TOKEN = "<NextContinuationToken>t</NextContinuationToken>"


@pytest.mark.parametrize("inside", ["", _ONE, _ONE + _TOKEN, "<KeyCount>1</KeyCount>" + _ONE])
@pytest.mark.parametrize("word", ["True", "TRUE", " true\n", "False", "FALSE", " false "])
def test_H76_whether_more_follows_is_read_in_any_case(word: str, inside: str) -> None:
    body = _PAGE.format(word, inside).encode()
    assert parse_page(body).truncated == parse_page(_by_expat(body)).truncated == (word.strip().lower() == "true")


@pytest.mark.parametrize("inside", ["", _ONE, _ONE + _TOKEN])
@pytest.mark.parametrize("word", ["", " ", "yes", "1", "truе", "truefalse"])
def test_H76_a_page_that_says_neither_that_it_goes_on_nor_that_it_ends_is_corrupt(word: str, inside: str) -> None:
    for body in (_PAGE.format(word, inside), _PAGE.format(word, inside).replace("></IsTruncated>", "/>")):
        for form in (body.encode(), _by_expat(body.encode())):
            with pytest.raises(Corrupt, match="whether it goes on"):
                parse_page(form)


@pytest.mark.parametrize(
    ("inside", "asked", "truncated"),
    [
        ("", 1000, False),
        (_ONE, 1000, False),
        (_ONE + "<MaxKeys>2</MaxKeys>", 1000, False),
        ("<KeyCount>1</KeyCount>" + _ONE, 2, False),
        (_ONE + _TOKEN, 1000, True),
        ("<NextMarker>a</NextMarker>" + _ONE, 1, True),
        (_ONE, 1, None),
        (_ONE + "<MaxKeys>1</MaxKeys>", 1000, None),
        (_ONE + "<MaxKeys>many</MaxKeys>", 1000, None),
        ("<Marker/><NextMarker>a</NextMarker><MaxKeys>1</MaxKeys>" + _ONE, 1000, None),
    ],
)
def test_H76_a_page_without_a_word_of_it_ends_where_it_is_not_full(
    inside: str, asked: int, truncated: bool | None
) -> None:
    body = f"<ListBucketResult>{inside}</ListBucketResult>".encode()
    for form in (body, _by_expat(body)):
        if truncated is None:
            with pytest.raises(Corrupt, match="whether it goes on"):
                parse_page(form, Asked(asked))
        else:
            assert parse_page(form, Asked(asked)).truncated == truncated


_PLACE = "<Name>bucket</Name><Prefix>p/</Prefix>"
_FULL = (
    "<Contents><Key>p/a</Key><LastModified>2009-10-12T17:50:30.000Z</LastModified><ETag>&quot;e&quot;</ETag>"
    "<Size>1</Size><StorageClass>STANDARD</StorageClass></Contents>"
)
_LATE = "<Contents><Size>1</Size><Key>p/b</Key></Contents>"
_OF_P = Asked(bucket="bucket", prefix="p/")


@pytest.mark.parametrize(
    ("inside", "trouble"),
    [
        (_PLACE + _FULL + "<CommonPrefixes><Prefix>p/zz/</Prefix></CommonPrefixes>", "nobody asked for"),
        (_PLACE + "<CommonPrefixes><Prefix>p/zz/</Prefix></CommonPrefixes>", "nobody asked for"),
        (_PLACE + "<IsTruncated>true</IsTruncated>" + _FULL, "IsTruncated twice"),
        (_PLACE + _FULL + "<IsTruncated>true</IsTruncated>" + _LATE, "IsTruncated twice"),
        (_PLACE + _FULL + _LATE + "<IsTruncated>true</IsTruncated>", "IsTruncated twice"),
        (_PLACE + '<s3:IsTruncated xmlns:s3="u">true</s3:IsTruncated>' + _FULL, "IsTruncated twice"),
        (_PLACE + "<Also><IsTruncated>true</IsTruncated></Also>" + _FULL, "IsTruncated where"),
        (_PLACE + _PLACE + _FULL, "Name twice"),
        (_PLACE + _TOKEN + _FULL + _TOKEN, "NextContinuationToken twice"),
        (_PLACE + "<Error><Code>InternalError</Code></Error>" + _FULL, "has Error"),
        (_PLACE + _FULL + "<Error><Code>InternalError</Code></Error>" + _LATE, "has Error"),
        (_PLACE + _FULL + "<Error/>", "has Error"),
        (_PLACE + _FULL + f"<More>{_LATE}</More>", "Contents where"),
        (_PLACE + f"<More>{_FULL}</More>", "Contents where"),
        (_PLACE + _FULL.replace("</Key>", "</Key><Key>p/z</Key>"), "Key twice"),
        (_PLACE + _FULL + _LATE.replace("</Key>", "</Key><Key>p/z</Key>"), "Key twice"),
        (_PLACE + _LATE.replace("<Key>", "<Key>p/0</Key><Key>"), "Key twice"),
        (_PLACE + _LATE.replace("<Size>", "<Size>0</Size><Size>"), "Size twice"),
        (_PLACE + _LATE.replace("<Size>", "<ETag>e</ETag><Size>").replace("</Key>", "</Key><ETag/>"), "ETag twice"),
        (_PLACE.replace("bucket", "other") + _FULL, "another place .*Name other"),
        (_PLACE.replace("p/", "other/") + _FULL, "another place .*Prefix other/"),
        (_PLACE.replace("p/", "p/q/") + _FULL, "another place .*Prefix p/q/"),
        (_PLACE.replace("p/", "%70%2Fq") + "<EncodingType>url</EncodingType>" + _FULL, "another place .*Prefix"),
        (_PLACE + "<Delimiter>/</Delimiter>" + _FULL, "another place .*Delimiter /"),
    ],
)
def test_H76_a_page_that_contradicts_itself_or_is_of_another_place_is_corrupt(inside: str, trouble: str) -> None:
    body = _PAGE.format("false", inside).encode()
    for form in (body, _by_expat(body)):
        with pytest.raises(Corrupt, match=trouble):
            parse_page(form, _OF_P)


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("<Name>bucket</Name><Prefix>p/</Prefix>", _OF_P),
        ("<Name/><Prefix/><Delimiter/>", _OF_P),
        ("<Prefix>p%2F</Prefix><EncodingType>url</EncodingType>", _OF_P),
        ("<Prefix>p</Prefix>", _OF_P),
        ("<Prefix>a+b%25/</Prefix><EncodingType>url</EncodingType>", Asked(prefix="a b%/")),
        ("<Prefix>a+b%25/</Prefix><EncodingType>url</EncodingType>", Asked(prefix="a+b%25/")),
        ("<Prefix>a&amp;b/</Prefix>", Asked(prefix="a&b/")),
        ("<Prefix>a\ufffd/</Prefix>", Asked(prefix="a\x01/")),
        ("<Name>bucket</Name>", Asked(bucket="tenant:bucket")),
        ("<Name>bucket</Name>", Asked(bucket="arn:aws:s3:us-east-1:1:accesspoint/mine")),
        ("<Name>bucket</Name>", Asked(bucket="mine-abc-s3alias")),
        ("<Name>bucket</Name><Prefix>p/</Prefix>", Asked()),
        ("<Delimiter>%2F</Delimiter><EncodingType>url</EncodingType>", Asked(delimiter="/")),
        ("<CommonPrefixes/>", _OF_P),
    ],
)
def test_H76_what_servers_repeat_of_what_they_were_asked_in_forms_of_their_own_is_no_contradiction(
    said: str, asked: Asked
) -> None:
    body = _PAGE.format("false", said + _FULL).encode()
    for form in (body, _by_expat(body)):
        assert [entry.key for entry in parse_page(form, asked).entries] == ["p/a"]


def test_a_token_that_cannot_be_read_is_corrupt() -> None:
    with pytest.raises(Corrupt):
        parse_page(_PAGE.format("true", "<NextContinuationToken>&unknown;</NextContinuationToken>").encode())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \n",
        b"</ListBucketResult>",
        b"<a/></ListBucketResult>",
        b"<Error><Code>InternalError</Code></Error>",
        b"<ListAllMyBucketsResult></ListAllMyBucketsResult>",
        b"<html><body>Service unavailable</body></html>",
        b"<ListBucketResult>",
        b"<ListBucketResult></ListBucketResult><ListBucketResult></ListBucketResult>",
    ],
)
def test_H76_what_is_no_page_is_not_an_empty_one(body: bytes) -> None:
    with pytest.raises(Corrupt):
        parse_page(body)


def test_H77_the_token_is_found_behind_the_longest_prefix_and_marker() -> None:
    long = quote("é" * 512)
    token = "t" * 3000
    head = f"<Prefix>{long}</Prefix><StartAfter>{long}</StartAfter><ContinuationToken>{token}</ContinuationToken>"
    tail = f"<NextContinuationToken>{token}n</NextContinuationToken>"
    records = "".join(_RECORD.format(f"{i:04}" + "x" * 1000, "2009-10-12T17:50:30.000Z", i) for i in range(1000))
    for inside in (head + tail + records, head + records + tail, head + tail, tail + head):
        body = _PAGE.format("true", inside).encode()
        assert parse_page(body).token == token + "n"
    assert parse_page(_PAGE.format("true", head).encode())[2:4] == (True, "")
    assert parse_page(_PAGE.format("false", tail).encode())[2:4] == (False, token + "n")


_BILLION = "<!DOCTYPE l [<!ENTITY a 'aaaaaaaaaa'>{}]>".format(
    "".join(f"<!ENTITY a{i} '{f'&a{i - 1 if i else str()};' * 10}'>" for i in range(12))
)
BOMBS = {
    "billion laughs": (_BILLION + "<ListBucketResult>&a11;</ListBucketResult>").encode(),
    "external entity": b'<!DOCTYPE l [<!ENTITY x SYSTEM "file:///etc/passwd">]><ListBucketResult>&x;</ListBucketResult>',
    "external document type": b'<!DOCTYPE l SYSTEM "http://127.0.0.1:1/x"><ListBucketResult></ListBucketResult>',
    "a bomb in UTF-16": (_BILLION + "<ListBucketResult>&a11;</ListBucketResult>").encode("utf-16"),
    "an error with a bomb": (_BILLION + "<Error><Code>&a11;</Code></Error>").encode(),
    "deep nesting": b"<ListBucketResult>" + b"<a>" * 5_000_000 + b"</ListBucketResult>",
    "deep nesting that ends": b"<ListBucketResult>" + b"<a>" * 99_000 + b"</a>" * 99_000 + b"</ListBucketResult>",
    "empty elements": b"<ListBucketResult>" + b"<a/>" * 4_000_000 + b"</ListBucketResult>",
    "empty records": b"<ListBucketResult>" + b"<Contents></Contents>" * 700_000 + b"</ListBucketResult>",
    "attributes": b"<ListBucketResult " + b"".join(b'a%d="" ' % i for i in range(1_000_000)) + b"></ListBucketResult>",
    "spaces in a record": b"<ListBucketResult><Contents>" + b" " * 8_000_000 + b"<x></ListBucketResult>",
    "a record that never ends": b"<ListBucketResult>" + b"<Contents><Key>" * 99_000 + b"</ListBucketResult>",
    "an owner that never ends": b"<ListBucketResult><Contents><Owner>" + b"<a/>" * 100_000 + b"</ListBucketResult>",
    "a long key without an end": b"<ListBucketResult><Contents><Key>" + b"a" * 8_000_000 + b"</ListBucketResult>",
    "entities in a key": b"<ListBucketResult><Contents><Key>"
    + b"&amp" * 2_000_000
    + b"</Key></Contents></ListBucketResult>",
    "too large": b"<ListBucketResult>" + b" " * (17 << 20) + b"</ListBucketResult>",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_H101_a_bomb_is_refused_in_bounded_time_and_memory(name: str) -> None:
    body = BOMBS[name]
    began = time.process_time()
    for read in (
        lambda: parse_page(body),
        lambda: check_page(Response(200, {}, body)),
        lambda: parse_document(body, "ListBucketResult", "List"),
    ):
        try:
            read()
        except Corrupt:
            continue
        assert name == "deep nesting that ends" or read() is None
    assert error_of(body) == ("", "", "")
    assert time.process_time() - began < 8


def test_H101_the_memory_of_the_largest_document_that_is_parsed_is_bounded() -> None:
    body = b"<ListBucketResult>" + b"<a/>" * 199_000 + b"</ListBucketResult>"
    tracemalloc.start()
    try:
        parse_document(body, "ListBucketResult", "List")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 << 20


@settings(deadline=None)
@given(st.text(_XML_TEXT, max_size=20), st.text(_XML_TEXT, max_size=20), st.booleans())
def test_an_error_document_gives_its_code_message_and_request_id(code: str, message: str, namespace: bool) -> None:
    space = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"' if namespace else ""
    body = (
        f'<?xml version="1.0"?>\n<Error{space}><Code>{escape(code)}</Code><Message>{escape(message)}</Message>'
        "<RequestId>4442587FB7D0A2F9</RequestId></Error>"
    ).encode()
    assert error_of(body) == (code, message, "4442587FB7D0A2F9")
    for cut in range(len(body)):
        assert error_of(body[:cut]) == ("", "", "")


@settings(deadline=None)
@given(st.text(_XML_TEXT.filter(lambda one: True) | st.sampled_from("\r\n\t&<>\"'"), max_size=30))
def test_text_written_into_a_document_is_read_as_it_was(text: str) -> None:
    element = parse_document(f"<R><V>{as_text(text)}</V></R>".encode(), "R", "Get")
    assert element.findtext("V") == text


def test_a_document_has_the_root_that_is_due_or_the_other() -> None:
    assert parse_document(b" \n <a:R xmlns:a='u'><a:B>1</a:B></a:R>", "R", "Complete").findtext("B") == "1"
    assert parse_document(b"<Short/>", "Long", "CreateUpload", "Short").tag == "Short"
    for body in (b"<Error/>", b"<R>", b"", b"   "):
        with pytest.raises(Corrupt):
            parse_document(body, "R", "Complete")
