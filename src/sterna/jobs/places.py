"""Settle what the places of a run, its trash among them, are to each other before anything is listed."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from msgspec.structs import replace

from sterna.jobs.settings import Settings
from sterna.jobs.usual import places_now
from sterna.model.errors import WrongSetting
from sterna.model.location import BucketPath, LocalPath, Location, parse_location
from sterna.model.units import printable
from sterna.planning.guard import Places, Refusal, Remembered, before_listing, changed_since, refuse
from sterna.planning.patterns import Sequence as Pattern
from sterna.planning.patterns import Wild
from sterna.planning.rules import Rule
from sterna.stores.folder import translate
from sterna.stores.store import Store


def check_places(settings: Settings, source: Location, destination: Location, *, same_server: bool = True) -> None:
    """Ask the guards that need no listing; raises GuardRefused."""
    if settings.deletion is not None:
        places = Places(_resolved(source), _resolved(destination), home=_home(), same_server=same_server)
        refuse(before_listing(places, settings.deletion.allowed))


def refused_by_memory(
    settings: Settings,
    ends: tuple[Location, Location],
    stores: tuple[Store, Store],
    remembered: Remembered,
    filters: str,
) -> list[Refusal]:
    """What the guards say that know of earlier runs, before anything is listed."""
    if settings.deletion is None:
        return []
    now = places_now(ends, stores, one_file_system=settings.one_file_system)
    source, target = _resolved(ends[0]), _resolved(ends[1])
    decided_by = filters or settings.filters.fingerprint
    places = Places(source, target, now.source_at, now.target_at, filters=decided_by, mounts=now.mounts)
    return changed_since(places, remembered, settings.deletion.allowed)


def without_state(settings: Settings, source: Location, destination: Location) -> Settings:
    """The settings with journals and manifests out of sight, where they are below a folder of the run: they change while
    it goes on, and are nobody's data."""
    from sterna.journal.places import journals_folder, manifests_folder, state_directory

    state = state_directory(settings.journal.directory)
    ours = [_real(folder).as_posix() for folder in (journals_folder(state), manifests_folder(state))]
    filters = settings.filters
    for location in (source, destination):
        if isinstance(location, LocalPath) and not location.is_stream:
            root = _real(location.path).as_posix()
            patterns = tuple(Pattern((inside + "/", Wild.PATH)) for one in ours if (inside := _below(one, root)))
            if patterns:
                rule = Rule(False, "the journals of runs", "--state-dir", patterns)
                filters = replace(filters, rules=(rule, *filters.rules))
    return settings if filters is settings.filters else replace(settings, filters=filters)


def with_trash(settings: Settings, source: Location, destination: Location) -> Settings:
    """The settings with the place for this run in their trash, ``TRASH/<time>``, and with that trash out of sight.

    A bucket's trash is a prefix of that bucket, as ``s3://bucket/prefix`` or from the bucket's top; a folder's is a
    folder on the same file system. Raises WrongSetting for what cannot be one.
    """
    if not settings.trash:
        return settings
    run = datetime.now(UTC).strftime("%Y-%m-%dT%H%M%S.%fZ")
    said = printable(settings.trash)
    if isinstance(destination, BucketPath):
        prefix = _prefix_of_trash(settings.trash, destination)
        inside = _below(prefix, destination.path)
        root = source.path if isinstance(source, BucketPath) and source.bucket == destination.bucket else None
        if root is not None and (in_source := _below(prefix, root)) is not None:
            where = "inside the source" if in_source else "the source itself"
            raise WrongSetting(f"--trash {said} is {where}, so the next run would carry it; name another place.")
        place = f"{prefix}/{run}"
    else:
        if settings.trash.startswith("s3://"):
            raise WrongSetting(f"--trash {said} is in a bucket, and the destination is a folder; name a folder.")
        if settings.symlinks == "store":
            raise WrongSetting(
                "--trash takes files and no links, and --symlinks store writes over links; leave one off."
            )
        folder, target = Path(os.path.realpath(settings.trash)), Path(os.path.realpath(destination.path))
        inside = _below(folder.as_posix(), target.as_posix())
        if _device(folder) != _device(target):
            raise WrongSetting(
                f"--trash {said} is on another file system than {printable(str(destination))}, so files cannot just be"
                " moved there; name a folder on the same one."
            )
        place = str(folder / run)
    if inside == "":
        raise WrongSetting(f"--trash {said} is the destination itself; name a place below it or beside it.")
    filters = settings.filters
    if inside is not None:
        rule = Rule(False, f"--trash {settings.trash}", "--trash", (Pattern((inside + "/", Wild.PATH)),))
        filters = replace(filters, rules=(rule, *filters.rules))
    return replace(settings, trash=place, filters=filters)


def _prefix_of_trash(text: str, destination: BucketPath) -> str:
    said = printable(text)
    prefix = text
    if text.startswith("s3://"):
        location = parse_location(text)
        assert isinstance(location, BucketPath)
        if location.bucket != destination.bucket:
            raise WrongSetting(
                f"--trash {said} is in another bucket than the destination; name a prefix of {destination.bucket}."
            )
        prefix = location.path
    prefix = prefix.rstrip("/")
    if not prefix or prefix.startswith("/"):
        raise WrongSetting(f"--trash {said} is no prefix; write one as trash, or s3://{destination.bucket}/trash.")
    return prefix


def _below(place: str, root: str) -> str | None:
    """The key that a place has below a root, empty where they are one; None where it is elsewhere."""
    if place == root:
        return ""
    start = root.rstrip("/") + "/" if root else ""
    return place[len(start) :] if place.startswith(start) else None


def _device(path: Path) -> int:
    """The file system that a path is on, or will be made on."""
    while True:
        try:
            return path.stat().st_dev
        except FileNotFoundError:
            if path == path.parent:
                raise
            path = path.parent
        except OSError as error:
            raise translate(error, "look at", str(path)) from error


def _resolved(location: Location) -> Location:
    """A local path with its symbolic links followed: two names of one folder must be seen to be one."""
    return LocalPath(_real(location.path)) if isinstance(location, LocalPath) else location


def _real(path: Path) -> Path:
    """A path with its links followed; as it is where it begins in a current folder that is no more, of which whoever
    opens it will tell."""
    try:
        return Path(os.path.realpath(path))
    except OSError:
        return path


def _home() -> Path | None:
    try:
        return Path(os.path.realpath(Path.home()))
    except RuntimeError:  # a user without an entry, and without HOME
        return None
