"""Options: the command line in, settings or one sentence out."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from sterna.cli.main import main
from sterna.jobs.settings import Settings
from sterna.model.location import BucketPath, LocalPath
from sterna.model.units import MIB
from sterna.moving.settings import Limits
from tests.cli.fakes import FakeJobs

KEY = bytes(range(32))


@pytest.fixture(autouse=True)
def _quiet_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


def settings_of(*arguments: str) -> Settings:
    jobs = FakeJobs()
    assert main(["sync", *arguments], jobs) == 0
    settings = jobs.calls[0][1][2]
    assert isinstance(settings, Settings)
    return settings


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one sentence with which a command line is refused before any job is started."""
    jobs = FakeJobs()
    assert main(arguments, jobs) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("sterna: ")
    assert said.err.count("\n") == 1
    assert jobs.calls == []
    return said.err.removeprefix("sterna: ").removesuffix("\n")


def test_nothing_said_gives_the_defaults() -> None:
    assert settings_of("folder", "s3://bucket/p") == Settings()


def test_every_option_of_a_side_arrives() -> None:
    side = settings_of(
        "folder", "s3://bucket", "--endpoint-url", "https://a", "--region", "snow",
        "--profile", "p", "--role-arn", "arn:aws:iam::1:role/r", "--role-session-name", "n", "--role-duration", "900",
        "--external-id", "x", "--ca-bundle", "ca.pem", "--request-payer", "--expected-bucket-owner", "1",
        "--addressing-style", "virtual",
    ).destination  # fmt: skip
    assert side.addressing.urls == ("https://a",)
    assert (side.addressing.region, side.addressing.style, side.addressing.ca_bundle) == ("snow", "virtual", "ca.pem")
    assert (side.identity.profile, side.identity.role_arn) == ("p", "arn:aws:iam::1:role/r")
    assert (side.identity.role_session_name, side.identity.role_duration_s, side.identity.external_id) == (
        "n",
        900,
        "x",
    )
    assert (side.request_payer, side.expected_bucket_owner) == (True, "1")


def test_switches_of_a_side_arrive() -> None:
    side = settings_of(
        "folder", "s3://bucket", "--no-verify-ssl", "--no-sign-request", "--dualstack", "--fips"
    ).destination
    assert (side.addressing.verify_tls, side.identity.anonymous) == (False, True)
    assert (side.addressing.dualstack, side.addressing.fips, side.addressing.accelerate) == (True, True, False)


def test_an_option_of_one_side_wins_over_the_plain_one() -> None:
    settings = settings_of(
        "s3://bucket", "folder", "--region", "plain", "--source-region", "own", "--endpoint-url", "http://h"
    )
    assert settings.source.addressing.region == "own"
    assert settings.source.addressing.urls == ("http://h",)
    assert settings.destination == Settings().destination


def test_what_uploads_are_given_arrives() -> None:
    upload = settings_of(
        "folder", "s3://bucket", "--storage-class", "GLACIER", "--sse-kms-key-id", "k", "--acl", "private",
        "--metadata", "Owner=me=you", "--metadata", "b=", "--tag", "t=1", "--cache-control", "no-store",
        "--content-encoding", "gzip", "--content-disposition", "inline", "--no-guess-mime-type",
    ).upload  # fmt: skip
    assert (upload.storage_class, upload.sse, upload.sse_kms_key_id, upload.acl) == (
        "GLACIER",
        "aws:kms",
        "k",
        "private",
    )
    assert upload.metadata == (("owner", "me=you"), ("b", ""))
    assert upload.tags == (("t", "1"),)
    assert (upload.cache_control, upload.content_encoding, upload.content_disposition) == ("no-store", "gzip", "inline")
    assert not upload.guess_mime_type


def test_limits_arrive() -> None:
    settings = settings_of(
        "folder", "s3://b-1", "--workers", "9", "--max-memory", "64MiB", "--part-size", "16MiB", "--symlinks", "follow"
    )
    assert settings.limits == Limits(workers=9, max_memory=64 * MIB, part_size=16 * MIB)
    assert settings.symlinks == "follow"
    assert not settings_of("s3://bucket", "folder", "--no-fsync").download.durable


def test_the_help_says_the_defaults_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sync", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"({Limits().workers})" in said
    assert f"({Limits().max_memory // MIB}MiB)" in said
    assert f"({Settings().symlinks})" in said


def test_locations_arrive() -> None:
    jobs = FakeJobs()
    assert main(["copy", "-", "s3://bucket/key"], jobs) == 0
    source, destination, _ = jobs.calls[0][1]
    assert isinstance(source, LocalPath)
    assert source.is_stream
    assert destination == BucketPath("bucket", "key")


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ("sync s3://a-1 s3://b-1 --symlinks follow", ["--symlinks", "both sides are in buckets"]),
        ("sync s3://a-1 s3://b-1 --no-guess-mime-type", ["--no-guess-mime-type", "bucket to bucket"]),
        ("copy s3://a-1 s3://b-1 --no-fsync", ["--no-fsync", "downloads", "bucket to bucket"]),
        ("sync a b", ["Neither", "s3://"]),
        ("sync a s3:/bucket/t", ["s3:/bucket/t is no bucket, for want of a slash; write s3://bucket/t."]),
        ("copy S3:/bucket/t a", ["write s3://bucket/t."]),
        ("verify s3:/bucket/t a", ["write s3://bucket/t."]),
        ("ls s3:/bucket", ["write s3://bucket."]),
        ("check s3:bucket", ["write s3://bucket."]),
        ("sync a s3://", ["s3:// names no bucket; write s3://bucket or s3://bucket/prefix."]),
        ("sync - s3://b-1", ["sync", "copy"]),
        ("copy s3://b-1/k - --json", ["--json", "-"]),
        ("sync a s3://b-1 -v -q", ["--verbose", "--quiet"]),
        ("-q sync a s3://b-1 --verbose", ["--verbose", "--quiet"]),
        ("sync a s3://b-1 --no-sign-request --profile p", ["--no-sign-request", "--profile"]),
        ("sync a s3://b-1 --no-sign-request --role-arn arn:x", ["--no-sign-request", "--role-arn"]),
        ("sync a s3://b-1 --external-id x", ["--external-id", "--role-arn"]),
        ("sync a s3://b-1 --role-duration 900", ["--role-duration", "--role-arn"]),
        ("sync a s3://b-1 --role-session-name x", ["--role-session-name", "--role-arn"]),
        ("sync a s3://b-1 --role-arn arn:x --role-duration 5", ["--role-duration", "900"]),
        ("ls s3://b-1 --ca-bundle x --no-verify-ssl", ["--ca-bundle", "--no-verify-ssl"]),
        ("ls s3://b-1 --endpoint-url http://h --dualstack", ["--endpoint-url", "--dualstack"]),
        ("ls s3://b-1 --endpoint-url http://h --fips", ["--endpoint-url", "--fips"]),
        ("ls s3://b-1 --endpoint-url http://h --accelerate", ["--endpoint-url", "--accelerate"]),
        ("ls s3://b-1 --accelerate --addressing-style path", ["--accelerate", "--addressing-style"]),
        ("ls s3://b-1 --accelerate --fips", ["--accelerate", "--fips"]),
        ("ls s3://b-1 --endpoint-url http://g --endpoint-url http://h", ["--endpoint-url", "requests go to one"]),
        ("ls s3://b-1 --endpoint-url h:9000", ["--endpoint-url", "https://h:9000"]),
        ("sync a s3://b-1 --sse AES256 --sse-kms-key-id k", ["--sse", "--sse-kms-key-id"]),
        ("sync a s3://b-1 --sse AES256 --sse-c-key-file k", ["--sse", "--sse-c-key-file"]),
        ("sync a s3://b-1 --sse-kms-key-id k --sse-c-key-file k", ["--sse-kms-key-id", "--sse-c-key-file"]),
        ("sync a s3://b-1 --content-type x --no-guess-mime-type", ["--content-type", "--no-guess-mime-type"]),
        ("sync a s3://b-1 --part-size 1GiB --max-memory 512MiB", ["--part-size", "--max-memory"]),
        ("sync s3://b-1 a --storage-class X", ["--storage-class", "download"]),
        ("sync s3://b-1 a --tag a=b", ["--tag", "download"]),
        ("sync s3://b-1 a --symlinks follow", ["--symlinks", "download"]),
        ("sync a s3://b-1 --no-fsync", ["--no-fsync", "upload"]),
        ("sync a s3://b-1 --source-region x", ["--source-region", "source"]),
        ("sync s3://b-1 a --destination-no-verify-ssl", ["--destination-no-verify-ssl", "destination"]),
        ("ls --recursive", ["--recursive", "s3://"]),
        ("ls folder", ["folder", "s3://"]),
        ("mb s3://b-1/x", ["s3://b-1/x", "s3://b-1"]),
        ("rm s3://b-1", ["s3://b-1", "--recursive"]),
        ("sync a s3://b-1 --workers 0", ["--workers", "0"]),
        ("sync a s3://b-1 --part-size 1MiB", ["--part-size", "5.0 MiB"]),
        ("sync a s3://b-1 --part-size many", ["--part-size", "many"]),
        ("sync a s3://b-1 --max-memory 1K", ["--max-memory", "32MiB"]),
        ("sync a s3://b-1 --metadata novalue", ["--metadata", "NAME=VALUE"]),
        ("sync a s3://b-1 --metadata a=1 --metadata A=2", ["--metadata", "twice"]),
        ("sync a s3://b-1 --metadata mtime=1", ["--metadata", "mtime"]),
        ("sync a s3://b-1 --metadata x-amz-meta-a=1", ["--metadata", "without"]),
        ("sync a s3://b-1 --metadata a(b=1", ["--metadata", "letters"]),
        (f"sync a s3://b-1 --metadata a={'x' * 2048}", ["--metadata", "1,984"]),
        ("sync a s3://b-1 " + " ".join(f"--tag t{n}=1" for n in range(11)), ["--tag", "10"]),
        ("sync a s3://b-1 --tag a=1 --tag a=2", ["--tag", "twice"]),
        (f"sync a s3://b-1 --tag a={'x' * 257}", ["--tag", "256"]),
        ("sync a s3://b-1 --region a/b", ["--region", "a/b"]),
        ("sync a", ["DESTINATION"]),
        ("sync a s3://b-1 c", ["unexpected"]),
        ("snyc a s3://b-1", ["snyc", "Did you mean sync?"]),
        ("cp a s3://b-1", ["cp", "Did you mean copy?"]),
        ("nothing-like-it", ["nothing-like-it"]),
        ("sync a s3://b-1 --regoin x", ["--regoin", "--region"]),
        ("--jsn sync a s3://b-1", ["--jsn", "--json"]),
        ("sync a gs://b-1", ["gs://"]),
        ("sync a s3://b-1 --log-file /nowhere/log", ["/nowhere/log", "No such file"]),
    ],
)
def test_what_cannot_be_right_is_refused_in_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: str, names: list[str]
) -> None:
    sentence = refused(capsys, *arguments.split(" "))
    assert sentence.isprintable()
    assert all(name in sentence for name in names), sentence


@pytest.mark.parametrize(
    "option", ["--metadata=a=", "--cache-control=", "--content-type=", "--content-disposition=", "--acl=", "--region="]
)
def test_h103_no_option_carries_a_line_break_into_a_request(capsys: pytest.CaptureFixture[str], option: str) -> None:
    assert "\\r\\n" in refused(capsys, "sync", "a", "s3://b-1", option + "x\r\nx-amz-acl: public-read")


def test_a_group_without_a_verb_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "sync" in said.err


@pytest.mark.parametrize("data", [KEY, base64.b64encode(KEY), base64.b64encode(KEY) + b"\n"])
def test_a_customers_key_is_32_bytes_or_their_base64(
    tmp_path: Path, data: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "key"
    file.write_bytes(data)
    file.chmod(0o600)
    settings = settings_of("folder", "s3://bucket", "--sse-c-key-file", str(file))
    assert settings.customer.key == KEY
    assert "note" not in capsys.readouterr().err


def test_h98_a_key_that_others_may_read_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "key"
    file.write_bytes(KEY)
    file.chmod(0o644)
    settings_of("folder", "s3://bucket", "--sse-c-key-file", str(file))
    assert f"chmod 600 {file}" in capsys.readouterr().err


@pytest.mark.parametrize("data", [b"", b"canary", KEY + b"x", KEY[:31], base64.b64encode(KEY[:30]), b"canary" * 2000])
def test_h96_a_wrong_key_is_refused_and_not_repeated(
    tmp_path: Path, data: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "key"
    file.write_bytes(data)
    file.chmod(0o600)
    sentence = refused(capsys, "sync", "folder", "s3://bucket", "--sse-c-key-file", str(file))
    assert "32 bytes" in sentence
    assert "canary" not in sentence


def test_a_key_file_that_cannot_be_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sentence = refused(capsys, "sync", "folder", "s3://bucket", "--sse-c-key-file", str(tmp_path / "none"))
    assert "No such file" in sentence
    assert "Is a directory" in refused(capsys, "sync", "folder", "s3://bucket", "--sse-c-key-file", str(tmp_path))


@pytest.mark.parametrize(
    "arguments",
    [
        ["sync", "a", "s3://canary-id:canary-secret@bucket/x"],
        ["ls", "https://canary-id:canary-secret@host/bucket"],
        ["sync", "a", "ftp://canary-id:canary-secret@host/x"],
        ["ls", "s3://b-1", "--endpoint-url", "https://canary-id:canary-secret@host"],
        ["sync", "a", "s3://b-1", "--destination-endpoint-url", "https://canary-id:canary-secret@host"],
    ],
)
@pytest.mark.parametrize("loud", [[], ["-vv"], ["--json"]])
def test_h96_h97_a_secret_in_an_argument_is_refused_and_not_repeated(
    capsys: pytest.CaptureFixture[str], arguments: list[str], loud: list[str]
) -> None:
    assert "canary" not in refused(capsys, *arguments, *loud)


def test_h97_no_option_takes_a_secret() -> None:
    import click

    from sterna.cli.main import VERBS, sterna

    context = click.Context(sterna)
    for verb in VERBS:
        command = sterna.get_command(context, verb)
        assert command is not None
        names = {name for parameter in command.params for name in parameter.opts}
        assert not {
            name for name in names if any(word in name for word in ("secret", "token", "password", "access-key"))
        }


def test_h96_settings_do_not_show_the_customers_key(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"canary" * 5 + b"xx")
    file.chmod(0o600)
    settings: Any = settings_of("folder", "s3://bucket", "--sse-c-key-file", str(file))
    assert "canary" not in repr(settings)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("sync a s3://b-1 --size-only", "There is no --size-only here: --compare says by what "),
        ("copy a s3://b-1 --recursive", "There is no --recursive and no need: "),
        ("sync a s3://b-1 --dryrun", "No such option --dryrun. Did you mean --dry-run? See "),
        ("sync a s3://b-1 --transfers 4", "No such option --transfers. Did you mean --workers? See "),
        ("sync a s3://b-1 --limit-rate 1M", "No such option --limit-rate. Did you mean --bwlimit? See "),
        ("ls s3://b-1 --bwlimit 1M", "No such option --bwlimit. See "),
        ("ls s3://b-1 --transfers 4", "No such option --transfers. See "),
        ("sync a s3://b-1 --prune", "No such option --prune. See "),
        ("rm s3://b-1/x --dry-run", "No such option --dry-run. See "),
        ("du s3://b-1 --max-depth 1", "No such option --max-depth. See "),
    ],
)
def test_an_option_that_is_not_there_is_told_so_and_another_named_only_where_it_is_close(
    capsys: pytest.CaptureFixture[str], arguments: str, sentence: str
) -> None:
    said = refused(capsys, *arguments.split(" "))
    assert said.startswith(sentence)
    assert said.endswith("--help.")


def test_limits_of_speed_and_requests_arrive_and_only_then_is_there_a_control(tmp_path: Path) -> None:
    file = tmp_path / "control"
    file.write_text("workers = 3")
    settings = settings_of("a", "s3://b-1", "--bwlimit", "08:00,1MiB Sat-00:00,off", "--max-requests-per-second", "9")
    assert len(settings.limits.bwlimit.moments) == 8
    assert settings.limits.max_requests_per_second == 9
    assert settings.control is not None
    assert settings_of("a", "s3://b-1").control is None
    assert "workers 3" in str(settings_of("a", "s3://b-1", "--control", str(file)).control)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--bwlimit", "fast", "'fast' is no speed; write for example 10MiB"),
        ("--bwlimit", "100", "1KiB is the least"),
        ("--bwlimit", "08:00,1M 25:00,2M", "'25:00,2M' is no moment of a timetable"),
        ("--max-requests-per-second", "0", "0 is not in the range"),
        ("--control", ".", "The control file . cannot be read: "),
    ],
)
def test_limits_that_cannot_be_right_are_refused_in_one_sentence(
    capsys: pytest.CaptureFixture[str], option: str, value: str, words: str
) -> None:
    assert words in refused(capsys, "sync", "a", "s3://b-1", option, value)


def test_a_mistake_in_a_control_file_is_refused_before_anything_is_done(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "control"
    file.write_text("bandwidth = 1M")
    said = refused(capsys, "sync", "a", "s3://b-1", "--control", str(file))
    assert "'bandwidth' is none of bwlimit, max-requests-per-second, workers, max-memory." in said
