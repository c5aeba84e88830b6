"""Buckets that both tools sync to a folder."""

from __future__ import annotations

from functools import partial

from tests.differential.values import At, Link, Scenario, Special, Thing, Way, codes, only_with
from tests.places import ODD

_Down = partial(Scenario, way=Way.DOWN)

_MIB = 1024 * 1024
_TREE = {"a.txt": b"1", "d/b.json": b"22", "d/e/c": b"333", "z": b""}
_BELOW = {"p/a": b"1", "p/q/b": b"2", "pq/c": b"3", "c": b"4"}
_MORE_ODD = ["100%", "a*[b]", "back\\slash", "~", "#?&=;", "'", "a:b", "x" * 255]
_KEPT = {"x-amz-meta-mtime": At.LONG_AGO}

DOWNLOADS = (
    # What arrives, and where
    _Down(name="bucket", source=_TREE),
    _Down(name="bucket-to-a-new-folder", source=_TREE, target=None, target_at="x/y"),
    _Down(name="prefix", source=_BELOW, source_at="p"),
    _Down(name="prefix-with-a-slash", source=_BELOW, source_at="p/"),
    _Down(name="prefix-within-a-prefix", source=_BELOW, source_at="p/q", target={"q/x": b"1"}, target_at="q"),
    _Down(name="odd-prefix", source={"100%/a b+c%20é/#?/x": b"1", "100%/a b": b"2"}, source_at="100%/a b+c%20é/#?/"),
    _Down(name="prefix-that-is-an-object-too", source={"p/a": b"1", "p": b"2"}, source_at="p"),
    _Down(
        name="prefix-that-is-an-object-only", source={"p": b"2"}, source_at="p",
        ours="", because="A prefix without objects", differs=codes(0, 4),
    ),
    _Down(
        name="no-such-prefix", source={"a": b"1"}, source_at="typo", target={"x": b"1"},
        ours="", because="A prefix without objects", differs=codes(0, 4),
    ),
    _Down(
        name="no-such-prefix-to-a-new-folder", source={"a": b"1"}, source_at="typo", target=None,
        ours="", because="A prefix without objects", differs=codes(0, 4),
    ),
    _Down(
        name="no-such-prefix-and-delete",
        source={"a": b"1"},
        source_at="typo",
        target={"x": b"1"},
        both="--delete",
        ours="",
        because="An empty source",
        differs=(*only_with("sterna", "x"), *codes(0, 5)),
    ),
    _Down(
        name="no-such-bucket", source=None, target={"x": b"1"}, both="--delete",
        ours="", because="Exit codes", differs=codes(1, 4),
    ),
    _Down(name="empty-bucket", source={}, target={"x": b"1"}, ours=""),
    _Down(name="odd-keys-down", source={f"d/{key}": b"%d" % n for n, key in enumerate([*ODD, *_MORE_ODD])}),
    _Down(name="both-spellings-of-an-accent-down", source={"\u00e9": b"1", "e\u0301": b"2"}),
    _Down(name="capitals-down", source={"README": b"1", "readme": b"2"}),
    _Down(name="keys-around-a-slash-down", source={"a-b": b"1", "a/b": b"2", "a.b": b"3", "a0": b"4"}),
    _Down(name="parts-down", source={"a": bytes(8 * _MIB - 1), "b": bytes(8 * _MIB), "c": bytes(8 * _MIB + 1)}),
    _Down(name="packed-object", source={"a.gz": Thing(b"\x1f\x8b no gzip", headers={"content-encoding": "gzip"})}),
    _Down(
        name="archived-object",
        source={"a": b"1", "b": Thing(b"2", headers={"x-amz-storage-class": "GLACIER"})},
        ours="+a",
        because="Archived objects",
        differs=codes(2, 1),
    ),
    _Down(
        name="archived-object-left-out",
        source={"a": b"1", "b": Thing(b"2", headers={"x-amz-storage-class": "GLACIER"})},
        sterna="--storage-class-is STANDARD",
        ours="+a",
        because="Archived objects",
        differs=codes(2, 0),
    ),
    # Keys that are no names of files
    _Down(
        name="a-and-a-slash-b",
        source={"a": b"1", "a/b": b"2", "c": b"3"},
        ours="+c",
        because="A file in the place of a folder",
        differs=only_with("aws", "a/b"),
    ),
    _Down(
        name="a-and-a-slash-b-left-out", source={"a": b"1", "a/b": b"2", "c": b"3"},
        aws="--exclude a --exclude 'a/*'", sterna="--on-collision skip", ours="+c",
    ),
    _Down(
        name="two-slashes", source={"x//y": b"1", "x/z": b"2"},
        ours="+x/z", because="Keys that are no paths", differs=(*only_with("aws", "x/y"), *codes(0, 1)),
    ),
    _Down(
        # Both bring the same byte: which of the two aws-cli writes last is not settled.
        name="two-slashes-beside-one", source={"x//y": b"1", "x/y": b"1"},
        ours="+x/y", because="Keys that are no paths", differs=codes(0, 1),
    ),
    _Down(
        name="slash-in-front", source={"/abs": b"1", "c": b"2"},
        ours="+c", because="Keys that are no paths", differs=(*only_with("aws", "abs"), *codes(0, 1)),
    ),
    _Down(
        name="dots", source={"d/./a": b"1", "d/../b": b"2", "c": b"3"},
        ours="+c", because="Keys that are no paths", differs=(*only_with("aws", "b", "d/a"), *codes(0, 1)),
    ),
    _Down(
        name="up-and-out", source={"../out": b"1", "c": b"3"},
        ours="+c", because="Keys that are no paths", differs=codes(2, 1),
    ),
    _Down(
        name="markers-down", source={"d/": b"", "d/a": b"1", "e/": b""},
        ours="+d/a +e", because="Signs for folders", differs=only_with("sterna", "e"),
    ),
    _Down(name="marker-with-bytes", source={"d/": b"1", "d/a": b"1"}, ours="+d/a"),
    _Down(name="name-that-is-too-long", source={"x" * 256: b"1", "y" * 255: b"2"}, ours="+" + "y" * 255),
    # What is there already
    _Down(name="same-size-and-time", source={"a": b"1"}, target={"a": Thing(b"2", At.STORED)}, ours=""),
    _Down(
        name="older-file-of-the-same-size",
        source={"a": b"1"},
        target={"a": b"2"},
        because="An older file of the same size",
        differs=(
            "a, bytes: b'2' with aws, b'1' with sterna",
            "a, changed: long ago with aws, the time at which the object was stored with sterna",
        ),
    ),
    _Down(name="older-file-with-exact-timestamps", source={"a": b"1"}, target={"a": b"2"}, aws="--exact-timestamps"),
    _Down(name="newer-file-of-the-same-size", source={"a": b"1"}, target={"a": Thing(b"2", At.LATER)}),
    _Down(
        name="other-sizes-down", source={"a": b"1", "b": b""},
        target={"a": Thing(b"", At.STORED), "b": Thing(b"1", At.LATER)},
    ),
    _Down(
        name="by-size-only-down",
        source={"a": b"1", "b": b"12"},
        target={"a": Thing(b"2", At.LATER), "b": b"1"},
        aws="--size-only",
        sterna="--compare size",
        ours="~b",
    ),
    _Down(
        name="own-time-down",
        source={"a": Thing(b"1", headers=_KEPT)},
        because="The time of a file",
        differs=("a, changed: the time at which the object was stored with aws, long ago with sterna",),
    ),
    _Down(
        name="own-time-with-exact-timestamps",
        source={"a": Thing(b"1", headers=_KEPT)},
        target={"a": b"1"},
        aws="--exact-timestamps",
        ours="",
        because="The time of a file",
        differs=("a, changed: the time at which the object was stored with aws, long ago with sterna",),
    ),
    _Down(name="foreign-files", source=_TREE, target={"foreign": b"1", "d/foreign": b"1", "empty": Special.FOLDER}),
    _Down(
        name="dry-run-down", source=_TREE, target={"a.txt": b"", "x": b"1"}, both="--delete",
        aws="--dryrun", sterna="--dry-run", ours="",
    ),
    _Down(name="file-in-the-place-of-a-folder", source={"a/b": b"1", "c": b"2"}, target={"a": b"1"}, ours="+c"),
    _Down(name="folder-in-the-place-of-a-file", source={"a": b"1", "c": b"2"}, target={"a/b": b"1"}, ours="+c"),
    _Down(
        name="file-in-the-place-of-a-folder-and-delete",
        source={"a/b": b"1", "c": b"2"},
        target={"a": b"1"},
        both="--delete",
        ours="-a +a/b +c",
    ),
    # What is deleted
    _Down(
        name="delete-down", source=_TREE, target={"old": b"1", "d/old": b"1"}, both="--delete",
        ours="+a.txt +d/b.json +d/e/c +z -old -d/old",
    ),
    _Down(
        name="delete-and-emptied-folders",
        source={"a": b"1"},
        target={"d/e/old": b"1", "empty": Special.FOLDER},
        both="--delete",
        ours="+a -d/e/old",
        because="Emptied folders",
        differs=only_with("aws", "d/e"),
    ),
    _Down(
        name="delete-after-a-failure",
        source={"x" * 256: b"1", "a": b"1"},
        target={"old": b"1"},
        both="--delete",
        ours="+a",
        because="Deletions after a failure",
        differs=only_with("sterna", "old"),
    ),
    _Down(
        name="delete-where-the-bucket-is-empty", source={}, target={"x": b"1"}, both="--delete",
        ours="", because="An empty source", differs=(*only_with("sterna", "x"), *codes(0, 5)),
    ),
    _Down(
        name="delete-and-links",
        source={"a": b"1"},
        target={"a": Thing(b"1", At.STORED), "b": Link("a"), "old": b"1"},
        both="--delete",
        ours="-old",
        because="Links in a destination",
        differs=only_with("sterna", "b"),
    ),
    _Down(
        name="delete-what-stood-beside-a-marker", source={"a": b"1", "d/": b""}, target={"d/old": b"1"},
        both="--delete", ours="+a +d -d/old",
    ),
    # Filters
    _Down(
        name="exclude-down",
        source=_TREE,
        target={"d/old": b"1", "x.txt": b"1", "old": b"1"},
        both="--exclude 'd/*' --exclude '*.txt' --delete",
        ours="+z -old",
    ),
    _Down(
        name="exclude-all-and-include-some-down",
        source={f"p/{key}": body for key, body in _TREE.items()},
        source_at="p",
        both="--exclude '*' --include 'd/*'",
        ours="+d/b.json +d/e/c",
    ),
    # Links
    _Down(
        name="links-in-the-way",
        source={"a": b"1", "d/b": b"2"},
        target={"a": Link("x"), "x": b"xx", "d": Link("e"), "e": Special.FOLDER},
        ours="",
        because="Links in a destination",
        differs=(
            "a, bytes: b'1' with aws, - with sterna",
            "a, changed: the time at which the object was stored with aws, - with sterna",
            "a, link to: - with aws, x with sterna",
            *only_with("sterna", "e"),
            *only_with("aws", "e/b"),
            *codes(0, 1),
        ),
    ),
    _Down(name="stored-links", source={"a.rclonelink": b"b"}),
    _Down(name="from-a-file-tree", source={"a": b"1", "d/b c%": b"22", "é": b""}, target={"a": b""}, server="rclone"),
)  # fmt: skip
