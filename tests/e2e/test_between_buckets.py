"""The command copies from bucket to bucket on one server: what arrives is what was there, with all that belongs to it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.conftest import Sterna
from tests.e2e.trees import failures, summary
from tests.faults.front import Front
from tests.places import ODD
from tests.servers.oracle import Bucket, Oracle

pytestmark = pytest.mark.thorough

TREE = {"p/a": b"1", "p/d/b": b"22", "p/d/e/c.txt": b"333", "p/empty": b""}
DESCRIBED = {
    "cache-control": "max-age=60",
    "content-disposition": 'attachment; filename="x"',
    "content-language": "de",
    "content-type": "text/x-own",
    "x-amz-meta-mtime": "1500000000.5",
    "x-amz-meta-owner": "me",
}


@pytest.fixture
def other(oracle: Oracle, bucket: Bucket) -> Iterator[Bucket]:
    """A second bucket of the same server."""
    other = oracle.create_bucket(f"{bucket.name}-other")
    yield other
    if other.exists:
        other.clear()


def fill(bucket: Bucket, objects: Mapping[str, bytes]) -> None:
    for key, body in objects.items():
        bucket.put(key, body)


def renamed(objects: Mapping[str, bytes], old: str, new: str) -> dict[str, bytes]:
    return {new + key.removeprefix(old): body for key, body in objects.items()}


def described(bucket: Bucket, key: str) -> dict[str, str]:
    head = bucket.head(key)
    assert head is not None
    return {name: value for name, value in head.items() if name in DESCRIBED or name.startswith("x-amz-meta-")}


def tags(bucket: Bucket, key: str) -> dict[str, str]:
    answer = bucket.oracle.must("GET", bucket.name, key, {"tagging": ""}).body.decode()
    return dict(re.findall("<Tag><Key>([^<]*)</Key><Value>([^<]*)</Value></Tag>", answer))


@pytest.mark.parametrize("verb", ["sync", "copy"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_what_is_below_a_prefix_goes_to_another_bucket_once(
    sterna: Sterna, bucket: Bucket, other: Bucket, verb: str, slash: str
) -> None:
    fill(bucket, TREE | {"p_not": b"no"})
    arguments = ("--json", verb, bucket.url(f"p{slash}"), other.url(f"q{slash}"))
    done = sterna(*arguments)
    assert done.code == 0, done.out + done.err
    assert other.contents() == renamed(TREE, "p/", "q/")
    assert (summary(done)["copied"], summary(done)["kept"], summary(done)["moved_bytes"]) == (4, 0, 6)
    assert bucket.contents() == TREE | {"p_not": b"no"}
    again = sterna(*arguments)
    assert (again.code, summary(again)["copied"], summary(again)["kept"]) == (0, 0, 4)


def test_a_run_that_finds_nothing_to_do_only_lists(front: Front, sterna: Sterna, bucket: Bucket, other: Bucket) -> None:
    fill(bucket, TREE)
    assert sterna("sync", bucket.url("p"), other.url()).code == 0
    before = len(front.requests)
    assert sterna("sync", bucket.url("p"), other.url()).code == 0
    assert {request.operation for request in front.requests[before:]} == {"ListV2"}
    assert len(front.requests) - before == 3  # one of them asks whether the source holds anything


@pytest.mark.parametrize(
    "to, key",
    [("q/named", "q/named"), ("q/", "q/object.txt"), ("", "object.txt"), ("a b+c%20\u00e9", "a b+c%20\u00e9")],
)
def test_an_object_goes_under_the_name_that_is_given_or_below_a_slash(
    sterna: Sterna, bucket: Bucket, other: Bucket, to: str, key: str
) -> None:
    fill(bucket, {"p/object.txt": b"text", "p/object.txt.bak": b"no"})
    done = sterna("--json", "copy", bucket.url("p/object.txt"), other.url(to))
    assert done.code == 0, done.out + done.err
    assert other.contents() == {key: b"text"}
    again = sterna("--json", "copy", bucket.url("p/object.txt"), other.url(to))
    assert (again.code, summary(again)["copied"], summary(again)["kept"]) == (0, 0, 1)
    bucket.put("p/object.txt", b"next")
    third = sterna("--json", "copy", bucket.url("p/object.txt"), other.url(to))
    assert (third.code, summary(third)["copied"]) == (0, 1)
    assert other.contents() == {key: b"next"}


def test_within_one_bucket_an_object_gets_another_name(sterna: Sterna, bucket: Bucket) -> None:
    fill(bucket, {"p/a": b"1"})
    assert sterna("copy", bucket.url("p/a"), bucket.url("p/b")).code == 0
    assert sterna("sync", bucket.url("p"), bucket.url("q")).code == 0
    assert bucket.contents() == {"p/a": b"1", "p/b": b"1", "q/a": b"1", "q/b": b"1"}


def test_what_has_changed_at_the_source_is_copied_again(sterna: Sterna, bucket: Bucket, other: Bucket) -> None:
    fill(bucket, TREE)
    assert sterna("sync", bucket.url("p"), other.url()).code == 0
    fill(bucket, {"p/a": b"7", "p/d/b": b"4444"})
    done = sterna("--json", "sync", bucket.url("p"), other.url())
    assert (done.code, summary(done)["copied"], summary(done)["kept"]) == (0, 2, 2), done.out
    assert other.contents() == renamed(bucket.contents("p/"), "p/", "")


def test_what_was_changed_at_the_destination_is_made_as_the_source_though_it_is_younger_and_as_long(
    sterna: Sterna, bucket: Bucket, other: Bucket
) -> None:
    fill(bucket, TREE)
    assert sterna("sync", bucket.url("p"), other.url()).code == 0
    other.put("a", b"9")
    done = sterna("--json", "sync", bucket.url("p"), other.url())
    assert (done.code, summary(done)["copied"], summary(done)["kept"]) == (0, 1, 3), done.out
    assert other.contents() == renamed(TREE, "p/", "")


def test_a_dry_run_says_copy_and_changes_nothing(sterna: Sterna, bucket: Bucket, other: Bucket) -> None:
    fill(bucket, TREE)
    done = sterna("--json", "sync", "--dry-run", bucket.url("p"), other.url())
    assert done.code == 0, done.out + done.err
    assert summary(done)["planned_by_verb"] == {"copy": {"objects": 4, "bytes": 6}}
    assert other.keys() == []


# What belongs to an object


def test_metadata_content_headers_tags_and_class_go_along(sterna: Sterna, bucket: Bucket, other: Bucket) -> None:
    server = bucket.oracle.server
    headers = dict(DESCRIBED)
    if server.facts.tags:
        headers["x-amz-tagging"] = "a=1&b=%20%2B%C3%A9"
    if server.name == "ministack":  # the others have one class, or ignore it
        headers["x-amz-storage-class"] = "STANDARD_IA"
    bucket.put("p/x", b"described", headers)
    assert sterna("sync", bucket.url("p"), other.url()).code == 0
    assert described(other, "x") == described(bucket, "p/x")
    if server.facts.tags:
        assert described(other, "x") == DESCRIBED
        assert tags(other, "x") == {"a": "1", "b": " +\u00e9"}
    assert [found.storage_class for found in other.listing()] == [found.storage_class for found in bucket.listing()]


def test_what_is_given_replaces_what_it_names(front: Front, sterna: Sterna, bucket: Bucket, other: Bucket) -> None:
    bucket.put("p/x", b"described", DESCRIBED | {"x-amz-tagging": "a=1", "x-amz-storage-class": "STANDARD_IA"})
    options = ["--cache-control", "no-store", "--tag", "b=2", "--storage-class", "GLACIER_IR"]
    assert sterna("sync", *options, bucket.url("p"), other.url()).code == 0
    assert described(other, "x") == DESCRIBED | {"cache-control": "no-store"}
    assert tags(other, "x") == {"b": "2"}
    assert [found.storage_class for found in other.listing()] == ["GLACIER_IR"]
    assert sterna("sync", "--metadata", "mine=yes", bucket.url("p"), other.url("second")).code == 0
    expected = {name: value for name, value in DESCRIBED.items() if name != "x-amz-meta-owner"}
    assert described(other, "second/x") == expected | {"x-amz-meta-mine": "yes"}
    assert tags(other, "second/x") == {"a": "1"}
    copy = [request for request in front.requests if request.operation == "Copy"][-1]
    assert copy.headers["x-amz-storage-class"] == "STANDARD_IA"  # this server keeps it unasked, S3 does not


def test_encryption_and_the_users_own_key_go_along_on_both_sides(
    front: Front, sterna: Sterna, bucket: Bucket, other: Bucket, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_bytes(bytes(range(32)))
    key.chmod(0o600)
    source = tmp_path / "source"
    source.mkdir()
    (source / "x").write_bytes(b"sealed")
    assert sterna("sync", "--sse-c-key-file", key, source, bucket.url("p")).code == 0
    before = len(front.requests)
    sterna("sync", "--sse-c-key-file", key, bucket.url("p"), other.url())
    copy = next(request for request in front.requests[before:] if request.operation == "Copy")
    own = "server-side-encryption-customer"
    for name in (f"x-amz-{own}", f"x-amz-copy-source-{own}"):
        assert copy.headers[f"{name}-algorithm"] == "AES256"
        assert copy.headers[f"{name}-key"] == "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
        assert copy.headers[f"{name}-key-md5"]
    before = len(front.requests)
    sterna("sync", "--sse-kms-key-id", "some-key", bucket.url("p"), other.url("kms"))
    copy = next(request for request in front.requests[before:] if request.operation == "Copy")
    assert copy.headers["x-amz-server-side-encryption"] == "aws:kms"
    assert copy.headers["x-amz-server-side-encryption-aws-kms-key-id"] == "some-key"
    assert "x-amz-metadata-directive" not in copy.headers


def test_who_pays_and_who_must_own_are_said_of_both_buckets(
    front: Front, sterna: Sterna, bucket: Bucket, other: Bucket
) -> None:
    bucket.put("a", b"1")
    options = ["--source-request-payer", "--source-expected-bucket-owner", "1" * 12]
    sterna("copy", *options, "--destination-expected-bucket-owner", "2" * 12, bucket.url("a"), other.url())
    copy = next(request for request in front.requests if request.operation == "Copy")
    assert copy.headers["x-amz-source-expected-bucket-owner"] == "1" * 12
    assert copy.headers["x-amz-expected-bucket-owner"] == "2" * 12
    assert copy.headers["x-amz-request-payer"] == "requester"


# Keys


def test_any_key_is_carried_markers_too(sterna: Sterna, bucket: Bucket, other: Bucket) -> None:
    """Also those that no file could have."""
    keys = ["a?b#c&d=e;f", "a%2Fb", "e\u0301", "\u00e9" * 100]
    if bucket.oracle.server.facts.any_key:
        keys += [*ODD, "?versionId=x", "d/", "d/x/", "..", "../up", ".", "a//b", "/lead", "//", "a", "a/b", "x" * 1000]
    objects = {f"p/{key}": f"{number}".encode() for number, key in enumerate(keys)}
    fill(bucket, objects)
    stored = bucket.contents("p/")  # a server whose keys are paths has made its own of some
    done = sterna("sync", bucket.url("p"), other.url("q"))
    assert done.code == 0, done.out + done.err
    assert other.contents() == renamed(stored, "p/", "q/")
    again = sterna("--json", "sync", bucket.url("p"), other.url("q"))
    assert (again.code, summary(again)["kept"]) == (0, len(stored))


def test_H69_a_key_that_is_too_long_behind_the_prefix_of_the_destination_is_named(
    sterna: Sterna, bucket: Bucket, other: Bucket
) -> None:
    key = "x" * 200 + "/" + "y" * 200 + "/" + "z" * 200 + "/" + "v" * 200 + "/" + "w" * 200
    fill(bucket, {key: b"1", "short": b"2"})
    done = sterna("--json", "sync", bucket.url(), other.url("a-prefix-of-its-own-and-more"))
    assert done.code == 1
    assert list(failures(done)) == [key]
    assert "1,024 bytes" in failures(done)[key]
    assert other.contents() == {"a-prefix-of-its-own-and-more/short": b"2"}


# Deletions


def test_what_the_source_lacks_goes_only_with_delete_markers_too(sterna: Sterna, bucket: Bucket, other: Bucket) -> None:
    fill(bucket, TREE)
    fill(other, {"q/old": b"old", "q/d/b": b"other", "q/gone/": b"", "not-below": b"stays"})
    assert sterna("sync", bucket.url("p"), other.url("q")).code == 0
    assert other.head("q/old") is not None
    done = sterna("--json", "sync", "--delete", bucket.url("p"), other.url("q"))
    assert done.code == 0, done.out + done.err
    assert other.contents() == renamed(TREE, "p/", "q/") | {"not-below": b"stays"}
    assert summary(done)["deleted"] == (2 if other.oracle.server.facts.any_key else summary(done)["deleted"])


def test_an_empty_source_deletes_nothing(sterna: Sterna, bucket: Bucket, other: Bucket) -> None:
    fill(other, {"a": b"1"})
    done = sterna("sync", "--delete", bucket.url("p"), other.url())
    assert done.code == 5, done.out + done.err
    assert "--allow-empty-source" in done.err + done.out
    assert other.keys() == ["a"]


# What is refused


def test_a_prefix_with_nothing_below_is_a_slip(sterna: Sterna, bucket: Bucket, other: Bucket) -> None:
    bucket.put("there", b"1")
    for verb in ("sync", "copy"):
        done = sterna(verb, bucket.url("typo"), other.url())
        assert done.code == 4, done.out + done.err
        assert "typo" in done.err


def test_H83_one_place_and_one_inside_the_other_are_refused(sterna: Sterna, bucket: Bucket) -> None:
    fill(bucket, TREE)
    for source, target, words in [
        ("p", "p/", "one place"),
        ("p", "p/d", "is inside the source"),
        ("p/d", "p", "is inside the destination"),
        ("", "p", "is inside the source"),
    ]:
        for verb in ("sync", "copy"):
            done = sterna(verb, bucket.url(source), bucket.url(target))
            assert done.code == 2, done.out + done.err
            assert words in done.err
    assert sterna("sync", "--delete", bucket.url("p"), bucket.url("p/d")).code == 5
    assert bucket.contents() == TREE


def test_H83_an_object_is_not_copied_onto_itself(sterna: Sterna, bucket: Bucket) -> None:
    fill(bucket, {"p/a": b"1"})
    for to in ("p/a", "p/"):
        done = sterna("copy", "--cache-control", "no-store", bucket.url("p/a"), bucket.url(to))
        assert done.code == 2, done.out + done.err
        assert "onto itself" in done.err


def test_two_servers_and_two_users_are_refused_in_one_sentence(sterna: Sterna, bucket: Bucket) -> None:
    bucket.put("a", b"1")
    done = sterna("copy", "--destination-endpoint-url", "http://example.invalid:9", bucket.url(), "s3://elsewhere")
    assert done.code == 2
    assert "different servers" in done.err
    done = sterna("copy", "--destination-no-sign-request", bucket.url(), "s3://elsewhere")
    assert done.code == 2
    assert "different credentials" in done.err


def test_two_servers_are_compared_and_the_first_object_to_be_copied_ends_the_run(
    sterna: Sterna, front: Front, bucket: Bucket, other: Bucket
) -> None:
    fill(bucket, {"p/same": b"1", "p/sub/same": b"22"})
    assert sterna("sync", bucket.url("p"), other.url("p")).code == 0
    assert front.upstream is not None
    # The same server at another port, which nobody can know.
    across = ("--destination-endpoint-url", front.upstream.endpoint_url, bucket.url("p"), other.url("p"))
    assert sterna("sync", *across).code == 0
    assert sterna("verify", *across).code == 0

    bucket.put("p/new", b"333")
    other.put("p/foreign", b"4")
    planned = sterna("sync", "--dry-run", *across)
    assert planned.code == 0, planned.err
    assert "would copy 1 object" in planned.out
    assert "different servers" in planned.err
    for deleting in ((), ("--delete",)):
        done = sterna("sync", *deleting, *across)
        assert done.code == 2, done.out + done.err
        assert "different servers" in done.out + done.err
        assert other.contents() == {"p/same": b"1", "p/sub/same": b"22", "p/foreign": b"4"}


def test_a_missing_destination_is_named_before_anything_is_copied(sterna: Sterna, bucket: Bucket) -> None:
    bucket.put("p/a", b"1")
    done = sterna("sync", bucket.url("p"), "s3://there-is-no-such-bucket")
    assert done.code == 2
    assert "there-is-no-such-bucket does not exist" in done.err
