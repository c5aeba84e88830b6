"""Buckets and prefixes that both tools sync to others of the same server."""

from __future__ import annotations

from functools import partial

from tests.differential.values import Scenario, Thing, Way, codes, only_with
from tests.places import ODD

_Across = partial(Scenario, way=Way.ACROSS)
_Within = partial(Scenario, way=Way.WITHIN)

_MIB = 1024 * 1024
_TREE = {"a.txt": b"1", "d/b.json": b"22", "d/e/c": b"333", "z": b""}
_MORE_ODD = ["100%", "a*[b]", "back\\slash", "~", "#?&=;", "'", "a:b", "x" * 255]
_DESCRIBED = {
    "cache-control": "max-age=60",
    "content-disposition": 'attachment; filename="x"',
    "content-language": "de",
    "content-type": "text/x-own",
    "x-amz-meta-mtime": "1500000000.5",
    "x-amz-meta-owner": "me",
    "x-amz-tagging": "a=1&b=2",
}
# Servers over files show a file's own time as the time at which the object was stored.
_OLD = {"x-amz-meta-mtime": "1500000000"}
_NEW = {"x-amz-meta-mtime": "1600000000"}

COPIES = (
    # What arrives, and where
    _Across(name="bucket-to-bucket", source=_TREE),
    _Across(
        name="prefix-to-prefix",
        source={"p/a": b"1", "p/q/b": b"2", "pq": b"3"},
        source_at="p",
        target={"x/y": b"o", "x/z": b"2"},
        target_at="x/y/",
    ),
    _Across(name="odd-prefixes", source={"a b%+é/x": b"1"}, source_at="a b%+é", target_at="%20/ü"),
    _Across(name="odd-keys-across", source={f"d/{key}": b"%d" % n for n, key in enumerate([*ODD, *_MORE_ODD])}),
    _Across(name="keys-that-no-file-has", source={"a": b"1", "a/b": b"2", "x//y": b"3", "/abs": b"4", "d/../c": b"5"}),
    _Across(
        name="markers-across", source={"d/": b"", "d/a": b"1", "e/": b"1"},
        because="Signs for folders", differs=only_with("sterna", "d/"),
    ),
    _Across(
        name="no-such-bucket-across", source=None, target={"x": b"1"}, both="--delete",
        ours="", because="Exit codes", differs=codes(1, 4),
    ),
    _Across(
        name="no-such-prefix-across", source={"a": b"1"}, source_at="typo",
        ours="", because="A prefix without objects", differs=codes(0, 4),
    ),
    _Within(name="prefix-to-another", source={"p/a": b"1", "p/d/b": b"2", "x": b"3"}, source_at="p", target_at="q"),
    _Within(
        name="prefix-to-one-below", source={"p/a": b"1"}, source_at="p", target_at="p/q",
        ours="", because="One place inside the other", differs=(*only_with("aws", "p/q/a"), *codes(0, 2)),
    ),
    _Within(
        name="prefix-to-itself", source={"p/a": b"1"}, source_at="p", target_at="p",
        ours="", because="One place inside the other", differs=codes(0, 2),
    ),
    # What is there already
    _Across(name="same-content", source={"a": b"1"}, target={"a": b"1"}, ours=""),
    _Across(
        name="same-size-and-other-content",
        source={"a": b"1"},
        target={"a": b"2"},
        because="Copies go by the content",
        differs=("a, bytes: b'2' with aws, b'1' with sterna", "a, metadata was-here: yes with aws, - with sterna"),
    ),
    _Across(
        name="by-size-only-across", source={"a": b"1", "b": b"12"}, target={"a": b"2", "b": b"1"},
        aws="--size-only", sterna="--compare size", ours="~b",
    ),
    _Across(
        name="newer-source", source={"a": Thing(b"1", headers=_NEW)}, target={"a": Thing(b"2", headers=_OLD)},
        server="rclone",
    ),
    _Across(
        name="newer-source-of-the-same-content",
        source={"a": Thing(b"1", headers=_NEW)},
        target={"a": Thing(b"1", headers=_OLD)},
        server="rclone",
        ours="",
        because="Copies go by the content",
        differs=(
            "a, metadata was-here: - with aws, yes with sterna",
            "a, own time: 1600000000 with aws, 1500000000 with sterna",
        ),
    ),
    # What belongs to an object
    _Across(name="described", source={"a": Thing(b"1", headers=_DESCRIBED), "b.html": b"2"}),
    _Across(
        name="described-in-parts",
        source={"a": Thing(bytes(9 * _MIB), headers=_DESCRIBED)},
        because="Copies keep what belongs to the object",
        differs=(
            "a, cache-control: - with aws, max-age=60 with sterna",
            'a, content-disposition: - with aws, attachment; filename="x" with sterna',
            "a, content-language: - with aws, de with sterna",
            "a, content-type: application/octet-stream with aws, text/x-own with sterna",
            "a, metadata owner: - with aws, me with sterna",
            "a, own time: - with aws, 1500000000.5 with sterna",
            "a, tag a: - with aws, 1 with sterna",
            "a, tag b: - with aws, 2 with sterna",
        ),
    ),
    _Across(
        name="metadata-across",
        source={"a": Thing(b"1", headers=_DESCRIBED)},
        both="--metadata mine=yes",
        aws="--metadata-directive REPLACE",
        because="Copies keep what belongs to the object",
        differs=(
            "a, cache-control: - with aws, max-age=60 with sterna",
            'a, content-disposition: - with aws, attachment; filename="x" with sterna',
            "a, content-language: - with aws, de with sterna",
            "a, own time: - with aws, 1500000000.5 with sterna",
        ),
    ),
    _Across(
        name="type-across",
        source={"a": Thing(b"1", headers=_DESCRIBED)},
        both="--content-type text/plain",
        because="Copies keep what belongs to the object",
        differs=("a, content-type: text/x-own with aws, text/plain with sterna",),
    ),
    _Across(name="class-across", source=_TREE, both="--storage-class STANDARD_IA --sse AES256"),
    # What is deleted, and what is left out
    _Across(
        name="delete-across", source=_TREE, target={"old": b"1", "d/old": b"1", "d/x y%+\n": b"2"}, both="--delete",
        ours="+a.txt +d/b.json +d/e/c +z -old -d/old -d/x\\x20y%+\\n",
    ),
    _Across(
        name="delete-markers-across", source={"a": b"1"}, target={"d/": b"", "d/x": b"1"}, both="--delete",
        ours="+a -d/ -d/x", because="Signs for folders", differs=only_with("aws", "d/"),
    ),
    _Across(
        name="delete-where-the-source-is-empty-across", source={}, target={"old": b"1"}, both="--delete",
        ours="", because="An empty source", differs=(*only_with("sterna", "old"), *codes(0, 5)),
    ),
    _Across(
        name="exclude-across", source=_TREE, target={"d/old": b"1", "old": b"2"}, both="--exclude 'd/*' --delete",
        ours="+a.txt +z -old",
    ),
    _Across(
        name="dry-run-across", source=_TREE, target={"old": b"1"}, both="--delete",
        aws="--dryrun", sterna="--dry-run", ours="",
    ),
)  # fmt: skip
