"""Folders that both tools sync to a bucket."""

from __future__ import annotations

import mimetypes
from functools import partial

from sterna.moving.media import guess_type
from tests.differential.values import At, Link, Scenario, Special, Thing, Tree, Way, codes, only_with
from tests.places import ODD

_Up = partial(Scenario, way=Way.UP)

_MIB = 1024 * 1024
_TREE = {"a.txt": b"1", "d/b.json": b"22", "d/e/c": b"333", "z": b""}
_MORE_ODD = [".hidden", "-dash", "~", "100%", "a%20b", "#?&=;", "a*[b]", "back\\slash", "'", "a:b", "ü b/+c", "x" * 255]
_LINKS: Tree = {"a": b"1", "b": Link("a"), "d/c": b"2", "e": Link("d")}
_MANY = {f"{number:03}": b"" for number in range(101)}
_NO_TYPE = "application/octet-stream"  # what ministack says of an object that was given none
_TYPES = "a.html b.css d.json e.png f.JPG g.tar.gz h.svgz i.unknown j.mp4 k.pdf m.csv q. t.tar.bz2 u.jpeg.txt v".split()
_TYPES_BY_MACHINE = "a.js b.xml c.md d.woff2 e.webp f.7z g.bak".split()
_TYPES_HERE = tuple(
    f"{name}, content-type: {mimetypes.guess_type(name)[0] or _NO_TYPE} with aws, {guess_type(name) or _NO_TYPE} with sterna"
    for name in _TYPES_BY_MACHINE
    if mimetypes.guess_type(name)[0] != (guess_type(name) or None)
)
_HEADERS = (
    "--cache-control 'max-age=60, public' --content-encoding gzip --sse AES256 --storage-class STANDARD_IA "
    "--content-disposition 'attachment; filename=\"x y\"'"
)

UPLOADS = (
    # What arrives, and where
    _Up(name="tree", source=_TREE),
    _Up(name="tree-to-a-prefix", source=_TREE, target_at="p/q"),
    _Up(name="tree-to-a-prefix-with-a-slash", source=_TREE, target={"p": b"o", "pq": b"x"}, target_at="p/"),
    _Up(name="tree-to-an-odd-prefix", source=_TREE, target_at="100%/a b+c%20é/#?"),
    _Up(name="folder-below", source={"p/q/a": b"1", "p/b": b"2", "c": b"3"}, source_at="p/q", target_at="p"),
    _Up(name="folder-with-a-slash", source={"p/q/a": b"1", "p/b": b"2", "c": b"3"}, source_at="p/"),
    _Up(name="empty-folder", source={"d": Special.FOLDER}, target={"x": b"1"}, ours=""),
    _Up(name="empty-folders-beside-files", source={"d": Special.FOLDER, "e/f": Special.FOLDER, "e/a": b"1"}),
    _Up(name="odd-keys", source={f"d/{key}": b"%d" % n for n, key in enumerate([*ODD, *_MORE_ODD])}),
    _Up(name="both-spellings-of-an-accent", source={"\u00e9": b"1", "e\u0301": b"2", "\u00e9.d/e\u0301": b"3"}),
    _Up(name="names-that-sort-around-a-slash", source={"a-b": b"1", "a/b": b"2", "a.": b"3", "a0": b"4"}),
    _Up(name="deep", source={"/".join("abcdefghijklmnopqrstuvwxyz"): b"1"}),
    _Up(name="many", source={f"{n:02}": b"%d" % n for n in range(40)}, target={f"{n:02}": b"" for n in range(20)}),
    _Up(name="just-below-a-part", source={"a": bytes(8 * _MIB - 1)}),
    _Up(name="just-a-part", source={"a.bin": bytes(8 * _MIB)}),
    _Up(
        name="just-above-a-part",
        source={"a": bytes(8 * _MIB + 1)},
        because="The sign of an upload in parts",
        differs=("a, metadata sterna-token: - with aws, set with sterna",),
    ),
    # No empty file: of those, some uploads of aws-cli to rclone wait for a minute.
    _Up(name="to-a-file-tree", source={"a": b"1", "d/b c%": b"22", "d/é": b"3"}, target={"a": b""}, server="rclone"),
    _Up(
        name="file-as-the-source", source={"a": b"1"}, source_at="a",
        ours="", because="Exit codes", differs=codes(2, 4),
    ),
    _Up(
        name="no-such-folder", source=None, target={"x": b"1"}, both="--delete",
        ours="", because="Exit codes", differs=codes(255, 4),
    ),
    # What is there already
    _Up(name="same-size-and-older", source={"a": b"1", "b": b"12"}, target={"a": b"2", "b": b"1"}, ours="~b"),
    _Up(name="same-size-and-later", source={"a": Thing(b"1", At.LATER)}, target={"a": b"2"}),
    _Up(name="touched-later", source={"a": Thing(b"1", At.LATER)}, target={"a": b"1"}),
    _Up(name="other-sizes", source={"a": b"1", "b": b""}, target={"a": b"", "b": b"1"}),
    _Up(
        name="later-by-size-only",
        source={"a": Thing(b"1", At.LATER), "b": b"12"},
        target={"a": b"2", "b": b"1"},
        aws="--size-only",
        sterna="--compare size",
        ours="~b",
    ),
    _Up(
        name="time-in-the-future",
        source={"a": Thing(b"1", At.LATER)},
        target={"a": Thing(b"1", headers={"x-amz-meta-mtime": At.LATER})},
        ours="",
        because="Files with a time in the future",
        differs=("a, metadata was-here: - with aws, yes with sterna",),
    ),
    _Up(name="foreign-objects", source=_TREE, target={"foreign": b"f", "d/foreign": b"f", "d/": b""}),
    _Up(
        name="dry-run", source=_TREE, target={"a.txt": b"", "x": b"1"}, both="--delete",
        aws="--dryrun", sterna="--dry-run", ours="",
    ),
    # What is deleted
    _Up(
        name="delete",
        source=_TREE,
        target={"old": b"1", "d/old": b"1", "d/e/f/old": b"1", "a.txt": b"12"},
        both="--delete",
        ours="+d/b.json +d/e/c +z ~a.txt -old -d/old -d/e/f/old",
    ),
    _Up(
        name="delete-below-a-prefix",
        source={"a": b"1"},
        target={"p/old": b"1", "p": b"1", "p-old": b"1", "q/old": b"1"},
        target_at="p",
        both="--delete",
        ours="+p/a -p/old",
    ),
    _Up(
        name="delete-odd-keys",
        source={"a": b"1", "\u00e9": b"2", "readme": b"3"},
        target={"d/100%": b"", "d/a b+c": b"", "d/new\nline": b"", "d//e": b"", "e\u0301": b"2", "README": b"3"},
        both="--delete",
        ours="+a +\\xe9 +readme -d/100% -d/a\\x20b+c -d/new\\nline -d//e -e\\u0301 -README",
    ),
    _Up(
        name="delete-markers",
        source={"a": b"1"},
        target={"d/": b"", "d/e/": b"", "f/": b"1", "d/x": b"1"},
        both="--delete",
        ours="+a -d/x",
        because="Signs for folders",
        differs=only_with("sterna", "f/"),
    ),
    _Up(
        name="delete-where-the-source-is-empty", source={}, target={"x": b"1"}, both="--delete",
        ours="", because="An empty source", differs=(*only_with("sterna", "x"), *codes(0, 5)),
    ),
    _Up(
        name="delete-where-that-is-allowed", source={}, target={"x": b"1"}, both="--delete",
        sterna="--allow-empty-source", ours="-x",
    ),
    _Up(
        name="delete-many",
        source={"a": b"1", "b": b"2"},
        target=_MANY,
        both="--delete",
        ours="",
        because="Many deletions",
        differs=(*only_with("sterna", *_MANY), *only_with("aws", "a", "b"), *codes(0, 5)),
    ),
    # Filters
    _Up(
        name="exclude", source={**_TREE, "b.tmp": b"1", "d/c.tmp": b"1"}, both="--exclude '*.tmp'",
        ours="+a.txt +d/b.json +d/e/c +z",
    ),
    _Up(
        name="exclude-all-and-include-some", source=_TREE, both="--exclude '*' --include 'd/*' --exclude '*/c'",
        ours="+d/b.json",
    ),
    _Up(
        name="exclude-by-sets",
        source={"a1": b"", "ab": b"", "a-": b"", "a": b"", "[a]": b""},
        both="--exclude 'a[0-9]' --exclude 'a[!0-9b]' --exclude '[[]*'",
        ours="+ab +a",
    ),
    _Up(
        name="exclude-and-delete",
        source=_TREE,
        target={"d/old": b"1", "old": b"1", "d/b.json": b""},
        both="--exclude 'd/*' --delete",
        ours="+a.txt +z -old",
    ),
    _Up(
        name="exclude-below-a-prefix",
        source=_TREE,
        target={"p/d/old": b"1", "p/x.txt": b"1"},
        target_at="p",
        both="--exclude 'd/*' --exclude '*.txt' --delete",
        ours="+p/z",
    ),
    _Up(
        name="include-alone", source=_TREE, both="--include '*.txt'",
        ours="", because="Patterns that change nothing", differs=(*only_with("aws", *_TREE), *codes(0, 2)),
    ),
    _Up(
        name="exclude-with-a-slash-in-front", source=_TREE, both="--exclude '/a.txt'",
        ours="", because="Patterns that change nothing", differs=(*only_with("aws", *_TREE), *codes(0, 2)),
    ),
    # What objects are given
    _Up(name="types", source={f"n/{name}": b"1" for name in _TYPES}),
    _Up(
        name="types-by-machine", source=dict.fromkeys(_TYPES_BY_MACHINE, b"1"),
        because="Content-Type" if _TYPES_HERE else "", differs=_TYPES_HERE,
    ),
    _Up(
        name="names-that-are-endings",
        source={"d/.json": b"1", "d/.x.html": b"2"},
        because="Content-Type",
        differs=(f"d/.json, content-type: {_NO_TYPE} with aws, application/json with sterna",),
    ),
    _Up(name="types-not-guessed", source={"a.html": b"1", "b": b"2"}, both="--no-guess-mime-type"),
    _Up(name="one-type", source=_TREE, both="--content-type text/x-own"),
    _Up(name="headers", source=_TREE, both=_HEADERS),
    _Up(
        name="metadata", source={"a": b"1"},
        aws="--metadata One=1,two='b c'", sterna="--metadata One=1 --metadata two='b c'",
    ),
    _Up(
        name="own-time", source={"a": b"1"}, keeps_time=True,
        because="The time of a file", differs=("a, own time: - with aws, 1500000000 with sterna",),
    ),
    # Links, and what is no file
    _Up(
        name="links", source=_LINKS,
        ours="+a +d/c", because="Links in a source", differs=only_with("aws", "b", "e/c"),
    ),
    _Up(name="links-followed", source=_LINKS, sterna="--symlinks follow", ours="+a +b +d/c +e/c"),
    _Up(name="links-not-followed", source=_LINKS, aws="--no-follow-symlinks", ours="+a +d/c"),
    _Up(
        name="link-that-leads-nowhere", source={"a": b"1", "b": Link("nowhere")}, sterna="--symlinks follow",
        ours="+a", because="Links in a source", differs=codes(2, 1),
    ),
    _Up(
        name="link-in-a-circle",
        source={"d/a": b"1", "d/up": Link("../d")},
        sterna="--symlinks follow",
        ours="+d/a",
        because="Links in a source",
        # As often as Linux follows links in one path.
        differs=(*only_with("aws", *(f"d{'/up' * times}/a" for times in range(1, 41))), *codes(2, 0)),
    ),
    _Up(
        name="link-and-delete",
        source={"a": b"1", "b": Link("a")},
        target={"b": b"old"},
        both="--delete",
        aws="--no-follow-symlinks",
        ours="+a",
        because="Links in a source",
        differs=only_with("sterna", "b"),
    ),
    _Up(
        name="pipe", source={"a": b"1", "p": Special.PIPE},
        ours="+a", because="Pipes, sockets, devices", differs=codes(2, 0),
    ),
    _Up(name="name-that-is-not-utf-8", source={"a": b"1", "b\udcff": b"2"}, ours="+a"),
    _Up(name="name-that-begins-as-ours", source={".sterna-x": b"1", "a": b"1"}),
)  # fmt: skip
