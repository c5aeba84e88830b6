"""What a path argument means."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sterna.model.errors import WrongSetting
from sterna.model.location import BucketPath, LocalPath, parse_location
from sterna.model.units import printable

_POINT = "arn:aws:s3:us-west-2:123456789012:accesspoint/mine"


@pytest.mark.parametrize(
    ("text", "bucket", "path", "prefix", "says_folder"),
    [
        ("s3://bucket", "bucket", "", "", True),
        ("s3://bucket/", "bucket", "", "", True),
        ("S3://bucket/logs", "bucket", "logs", "logs/", False),
        ("s3://bucket/logs/", "bucket", "logs", "logs/", True),
        ("s3://bucket/logs//", "bucket", "logs/", "logs//", True),
        ("s3://bucket//logs", "bucket", "/logs", "/logs/", False),
        ("s3://bucket/a/./../b", "bucket", "a/./../b", "a/./../b/", False),
        ("s3://bucket/a b+%41é", "bucket", "a b+%41é", "a b+%41é/", False),
        ("s3://bucket/a@b:c?d#e", "bucket", "a@b:c?d#e", "a@b:c?d#e/", False),
        ("s3://My_Old.Bucket/x", "My_Old.Bucket", "x", "x/", False),
        ("s3://tenant:bucket/x", "tenant:bucket", "x", "x/", False),
        (f"s3://{_POINT}", _POINT, "", "", True),
        (f"s3://{_POINT}/a/b", _POINT, "a/b", "a/b/", False),
        (f"s3://{_POINT.replace('/', ':')}/a/b", _POINT.replace("/", ":"), "a/b", "a/b/", False),
    ],
)
def test_a_bucket_and_what_stands_behind_it(text: str, bucket: str, path: str, prefix: str, says_folder: bool) -> None:
    found = parse_location(text)
    assert found == BucketPath(bucket, path, says_folder)
    assert isinstance(found, BucketPath)
    assert found.prefix == prefix


@pytest.mark.parametrize(
    "text", ["folder", "/a/b", ".", "-", "./s3:/x", "C:\\x", "c://x", "s3:/bucket", "a b/é", "\udcff"]
)
def test_anything_without_a_scheme_is_of_this_machine(text: str) -> None:
    found = parse_location(text)
    assert found == LocalPath(Path(text))
    assert isinstance(found, LocalPath)
    assert found.is_stream == (text == "-")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("http://host/bucket", "http:// is not known"),
        ("file:///x", "file:// is not known"),
        ("s3://", "s3:// names no bucket; write s3://bucket"),
        ("s3:///key", "s3:///key names no bucket"),
        ("s3://ab", "ab is no bucket name"),
        ("s3://-bucket/x", "-bucket is no bucket name"),
        ("s3://bucket-", "bucket- is no bucket name"),
        ("s3://bu cket/x", "bu cket is no bucket name"),
        ("s3://b\x1b[31mad/x", "\\x1b"),
        ("s3://key:secret@bucket/x", "takes no keys"),
        ("s3://bucket/a\x00b", "NUL"),
        ("s3://bucket//", "begin with a slash"),
        ("x\u202e+s3://y", ""),
    ],
)
def test_anything_else_is_refused_in_one_printable_sentence(text: str, says: str) -> None:
    if says:
        with pytest.raises(WrongSetting) as caught:
            parse_location(text)
        assert says in caught.value.sentence
        assert printable(caught.value.sentence) == caught.value.sentence
        assert "secret" not in caught.value.sentence
    else:
        assert isinstance(parse_location(text), LocalPath)


@settings(deadline=None)
@given(st.text(max_size=30))
@example("t7//")
@example("t7///")
def test_H74_a_location_names_itself_and_never_more_than_was_asked_for(path: str) -> None:
    try:
        found = parse_location(f"s3://bucket/{path}")
    except WrongSetting as error:
        sentence = error.sentence
        assert printable(sentence) == sentence
        return
    assert isinstance(found, BucketPath)
    again = parse_location(str(found))
    assert isinstance(again, BucketPath)
    assert (again.bucket, again.path, again.prefix) == (found.bucket, found.path, found.prefix)
    assert (found.prefix == "") == (path == "")
    if path:
        assert found.prefix == (path if path.endswith("/") else path + "/")
