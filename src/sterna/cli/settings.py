"""Turn parsed options into settings, and refuse those that contradict each other."""

from __future__ import annotations

import base64
import binascii
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from sterna.cli.speech import complain
from sterna.jobs.control import Control
from sterna.jobs.settings import Deletion, Journaling, Manifesting, Settings
from sterna.model.errors import SourceUnknown, WrongSetting
from sterna.model.location import BucketPath, LocalPath, Location, parse_location
from sterna.model.units import printable, size_words
from sterna.moving.settings import Customer, DownloadOptions, Limits, UploadOptions
from sterna.planning.collide import OnCollision
from sterna.planning.compare import Compare
from sterna.planning.filters import EVERYTHING, Filter
from sterna.planning.guard import Guard, allowed_by
from sterna.wire.credentials import Identity
from sterna.wire.endpoints import Addressing, addressing_from_environment, endpoints_for
from sterna.wire.side import Side

Values = Mapping[str, Any]

# Parameters of the command line by what they concern. An option that could have no effect is refused, not ignored.
_SIDE = (
    "endpoint_url region profile role_arn role_session_name role_duration external_id ca_bundle no_verify_ssl "
    "no_sign_request request_payer expected_bucket_owner addressing_style dualstack fips accelerate"
).split()
_UPLOADS_ONLY = (
    "storage_class sse sse_kms_key_id acl metadata tag cache_control content_type content_encoding "
    "content_disposition no_guess_mime_type one_file_system"
).split()
_DOWNLOADS_ONLY = ("no_fsync",)
_FILES_ONLY = ("no_guess_mime_type", "one_file_system")  # of uploads, those that are about the file
_ALLOWS = [guard.option[2:].replace("-", "_") for guard in Guard if guard is not Guard.MAX_DELETE]
_KEY_BYTES = 32


def bucket_location(text: str) -> BucketPath:
    """A location that must be in a bucket."""
    location = parse_location(text)
    if isinstance(location, LocalPath):
        refuse_missing_slash(location)
        raise WrongSetting(f"{printable(text)} is no bucket; write s3://bucket or s3://bucket/path.")
    return location


def single_side(values: Values, location: BucketPath | None) -> Side:
    """The side of a command that has only one."""
    return _side({name: values[name] for name in _SIDE}, location.bucket if location else "")


def run_settings(
    values: Values,
    source: Location,
    destination: Location,
    filters: Filter = EVERYTHING,
    deletion: Deletion | None = None,
) -> Settings:
    """Everything that ``sync`` or ``copy`` is told. Raises WrongSetting for what cannot be right."""
    _refuse_pair(source, destination)
    is_upload = isinstance(destination, BucketPath)
    is_copy = is_upload and isinstance(source, BucketPath)
    others: dict[str, Sequence[str]]
    if is_copy:
        kind, others = "a copy from bucket to bucket", {"downloads": _DOWNLOADS_ONLY, "uploads": _FILES_ONLY}
    else:
        kind = "an upload" if is_upload else "a download"
        others = {"downloads": _DOWNLOADS_ONLY} if is_upload else {"uploads": _UPLOADS_ONLY}
    for other, names in others.items():
        for name in names:
            if values[name]:
                raise WrongSetting(f"{_option(name)} is for {other}, and this is {kind}; leave it off.")
    _refuse_names(values, is_upload=is_upload, is_copy=is_copy)
    return Settings(
        source=_side_of_run(values, "source", source),
        destination=_side_of_run(values, "destination", destination),
        upload=_upload_options(values),
        download=DownloadOptions(durable=not values["no_fsync"]),
        customer=_customer(values["sse_c_key_file"]),
        limits=(limits := _limits(values)),
        control=_control(values, limits),
        filters=filters,
        compare=Compare(values.get("compare") or "auto"),
        deletion=deletion,
        trash=values.get("trash") or "",
        symlinks=values["symlinks"] or "skip",
        one_file_system=values["one_file_system"],
        on_collision=OnCollision(values["on_collision"] or "fail"),
        journal=_journaling(values),
        manifest=_manifesting(values),
    )


def _journaling(values: Values) -> Journaling:
    directory = values["state_dir"]
    if directory and values["no_journal"]:
        raise WrongSetting("--state-dir and --no-journal exclude each other; leave one of them off.")
    if directory is not None and not directory.strip():
        raise WrongSetting("--state-dir is empty; name a folder.")
    return Journaling(directory or "", is_kept=not values["no_journal"])


def _manifesting(values: Values) -> Manifesting | None:
    file, is_wanted = values.get("manifest_file"), bool(values.get("manifest"))
    for option, value in (("--manifest-file", file), ("--sha256", values.get("sha256"))):
        if value and not is_wanted:
            raise WrongSetting(f"{option} is for --manifest; add that, or leave this off.")
    if file is not None and not file.strip():
        raise WrongSetting("--manifest-file is empty; name a file.")
    return Manifesting(sha256=bool(values.get("sha256")), file=file or "") if is_wanted else None


def _refuse_names(values: Values, *, is_upload: bool, is_copy: bool) -> None:
    """What the options say of links and odd names must concern a folder, and the direction."""
    links, collision = values["symlinks"], values["on_collision"]
    if is_copy and (links or collision):
        option = "--symlinks" if links else "--on-collision"
        raise WrongSetting(f"{option} is for folders, and both sides are in buckets; leave it off.")
    if links in ("skip", "follow") and not is_upload:
        raise WrongSetting(f"--symlinks {links} is for uploads, and this is a download; leave it off.")
    if collision in ("fail", "skip") and is_upload:
        raise WrongSetting(
            f"--on-collision {collision} is for downloads, and this is an upload: a bucket holds every name; leave it off."
        )


def restore_settings(values: Values, source: BucketPath, destination: LocalPath, filters: Filter) -> Settings:
    """What ``restore`` is told: a download, whose command line knows nothing of uploads."""
    unsaid: dict[str, Any] = dict.fromkeys(_UPLOADS_ONLY) | {"metadata": (), "tag": ()}
    return run_settings(unsaid | dict(values), source, destination, filters)


def looking_settings(values: Values, left: Location, right: Location, filters: Filter) -> Settings:
    """What a command is told that reads on two sides and moves nothing. The two may be of any kind."""
    refuse_missing_slash(left)
    refuse_missing_slash(right)
    for name in ("symlinks", "on_collision"):
        if values[name] and isinstance(left, BucketPath) and isinstance(right, BucketPath):
            raise WrongSetting(f"{_option(name)} is for folders, and both sides are in buckets; leave it off.")
    usual = Limits()
    return Settings(
        source=_side_of_run(values, "source", left),
        destination=_side_of_run(values, "destination", right),
        customer=_customer(values["sse_c_key_file"]),
        limits=replace(
            usual,
            workers=values["workers"] or usual.workers,
            max_memory=values["max_memory"] or usual.max_memory,
        ),
        filters=filters,
        symlinks=values["symlinks"] or "skip",
        on_collision=OnCollision(values["on_collision"] or "fail"),
    )


def deletion_said(values: Values) -> Deletion | None:
    """What the options say of deletions: None where nothing is to be deleted."""
    given = [_option(name) for name in _ALLOWS if values[name]]
    if not values["delete"]:
        given += ["--max-delete"] if values["max_delete"] is not None else []
        if given:
            raise WrongSetting(
                f"{given[0]} is for --delete, without which nothing is deleted; add it, or leave this off."
            )
        return None
    return Deletion(allowed_by(given, values["max_delete"]))


def refuse_missing_slash(location: Location) -> None:
    """A path below ``s3:`` means a bucket, unless there is such a folder."""
    path = str(location)
    rest = path[3:].lstrip("/")
    if isinstance(location, LocalPath) and path[:3].lower() == "s3:" and rest and not os.path.lexists(path[:3]):
        raise WrongSetting(f"{printable(path)} is no bucket, for want of a slash; write s3://{printable(rest)}.")


def refuse_file(source: Location) -> None:
    """Raise SourceUnknown where a folder is needed and a file is named."""
    if isinstance(source, LocalPath) and os.path.isfile(source.path):
        raise SourceUnknown(f"{printable(str(source))} is a file, not a folder; use sterna copy for one file.")


def _refuse_pair(source: Location, destination: Location) -> None:
    refuse_missing_slash(source)
    refuse_missing_slash(destination)
    if isinstance(source, LocalPath) and isinstance(destination, LocalPath):
        raise WrongSetting("Neither location is in a bucket; write one of them as s3://bucket/prefix.")


def _side_of_run(values: Values, role: str, location: Location) -> Side:
    own = {name: values[f"{role}_{name}"] for name in _SIDE}
    if isinstance(location, LocalPath):
        for name, value in own.items():
            if value:
                raise WrongSetting(
                    f"{_option(f'{role}_{name}')} is for a bucket, and the {role} is none; leave it off."
                )
        return Side()
    return _side({name: own[name] or values[name] for name in _SIDE}, location.bucket)


def _side(values: Values, bucket: str) -> Side:
    if values["ca_bundle"] and values["no_verify_ssl"]:
        raise WrongSetting("--ca-bundle and --no-verify-ssl exclude each other; leave one of them off.")
    side = Side(
        addressing=Addressing(
            urls=tuple(values["endpoint_url"]),
            region=values["region"],
            style=values["addressing_style"] or "auto",
            dualstack=values["dualstack"],
            fips=values["fips"],
            accelerate=values["accelerate"],
            ca_bundle=values["ca_bundle"],
            verify_tls=not values["no_verify_ssl"],
        ),
        identity=Identity(
            profile=values["profile"],
            role_arn=values["role_arn"],
            role_session_name=values["role_session_name"],
            role_duration_s=values["role_duration"],
            external_id=values["external_id"],
            anonymous=values["no_sign_request"],
        ),
        request_payer=values["request_payer"],
        expected_bucket_owner=values["expected_bucket_owner"] or "",
    )
    endpoints_for(addressing_from_environment(side.addressing, os.environ), bucket)  # raises for what cannot be right
    return side


def _upload_options(values: Values) -> UploadOptions:
    sse, kms_key, own_key = values["sse"], values["sse_kms_key_id"], values["sse_c_key_file"]
    if own_key and (sse or kms_key):
        other = "--sse" if sse else "--sse-kms-key-id"
        raise WrongSetting(f"--sse-c-key-file and {other} exclude each other: an object is encrypted in one way.")
    if kms_key and sse == "AES256":
        raise WrongSetting("--sse AES256 and --sse-kms-key-id exclude each other; give --sse aws:kms, or no key.")
    if values["content_type"] and values["no_guess_mime_type"]:
        raise WrongSetting("--content-type and --no-guess-mime-type exclude each other: a given type is not guessed.")
    return UploadOptions(
        storage_class=values["storage_class"] or "",
        sse=sse or ("aws:kms" if kms_key else ""),
        sse_kms_key_id=kms_key or "",
        acl=values["acl"] or "",
        metadata=values["metadata"],
        tags=values["tag"],
        cache_control=values["cache_control"] or "",
        content_type=values["content_type"] or "",
        content_encoding=values["content_encoding"] or "",
        content_disposition=values["content_disposition"] or "",
        guess_mime_type=not values["no_guess_mime_type"],
    )


def _limits(values: Values) -> Limits:
    usual = Limits()
    memory = values["max_memory"] or usual.max_memory
    part = values["part_size"]
    if part and part > memory:
        raise WrongSetting(
            f"--part-size {size_words(part)} does not fit into --max-memory {size_words(memory)}; change one of them."
        )
    return Limits(
        workers=values["workers"] or usual.workers,
        max_memory=memory,
        part_size=part,
        processes=values.get("processes"),
        bwlimit=values.get("bwlimit") or usual.bwlimit,
        max_requests_per_second=values.get("max_requests_per_second"),
    )


def _control(values: Values, limits: Limits) -> Control | None:
    """What may change the limits, where anything does: a file, a timetable, or a signal that lifts them for a while.
    Raises WrongSetting for a mistake in the file."""
    file = values.get("control")
    is_limited = limits.bwlimit.is_set or limits.max_requests_per_second is not None
    return Control(limits, Path(file) if file else None) if file or is_limited else None


def _customer(file: str | None) -> Customer:
    """The key in a file, which is never repeated in a sentence."""
    if not file:
        return Customer()
    shown = printable(file)
    try:
        with Path(file).open("rb") as stream:
            data = stream.read(4096)
            mode = os.fstat(stream.fileno()).st_mode
    except OSError as error:
        raise WrongSetting(f"--sse-c-key-file {shown} cannot be read: {error.strerror}.") from error
    if os.name == "posix" and stat.S_ISREG(mode) and mode & 0o077:
        complain(f"note: others may read the key in {shown}; run: chmod 600 {shown}")
    if len(data) == _KEY_BYTES:
        return Customer(data)
    try:
        key = base64.b64decode(data.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        raise WrongSetting(
            f"--sse-c-key-file {shown} holds {len(data)} bytes, and a key is 32 bytes, or those in base64."
        )
    return Customer(key)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
