"""Turn the settings of a run into words that its journal keeps, and these into settings again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from sterna.jobs.settings import Manifesting, Settings
from sterna.model.errors import WrongSetting
from sterna.model.location import LocalPath, Location
from sterna.moving.settings import Customer, DownloadOptions, UploadOptions
from sterna.planning.collide import OnCollision
from sterna.planning.compare import Compare
from sterna.planning.filters import EVERYTHING, Filter
from sterna.planning.moments import Moment
from sterna.wire.endpoints import Addressing
from sterna.wire.side import Side

_MOST_LISTED = 1000  # keys of --files-from that are kept with a run: of more, only that there was a list
STATE_FILE = "state_file"
_MARK = "told"  # a run that keeps no words of itself, an older Sterna's, has not even this one


class _Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of a side: where it is, and never who we are there."""

    addressing: Addressing = msgspec.field(default_factory=Addressing)
    request_payer: bool = False
    expected_bucket_owner: str = ""


class _Looked(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of a filter: its rules as they were written, each with where that was."""

    rules: tuple[tuple[str, str], ...] = ()
    listed: tuple[str, ...] | None = None
    min_size: int | None = None
    max_size: int | None = None
    newer_than: Moment | None = None
    older_than: Moment | None = None
    storage_classes: tuple[str, ...] = ()
    fingerprint: str = ""


class _Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of the settings, what decides what is done; how fast, and as whom, is said anew for each run."""

    source: _Place = msgspec.field(default_factory=_Place)
    destination: _Place = msgspec.field(default_factory=_Place)
    upload: UploadOptions = msgspec.field(default_factory=UploadOptions)
    download: DownloadOptions = msgspec.field(default_factory=DownloadOptions)
    filters: _Looked = msgspec.field(default_factory=_Looked)
    compare: Compare = Compare.AUTO
    trash: str = ""
    symlinks: Literal["skip", "follow", "store"] = "skip"
    one_file_system: bool = False
    on_collision: OnCollision = OnCollision.FAIL
    has_own_key: bool = False
    manifest: Manifesting | None = None


def words_of(
    settings: Settings,
    source: Location,
    destination: Location,
    state_file: str = "",
    *,
    again: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The words for the journal. No secrets: of a customer's key only that there was one. Folders stand there as paths that
    mean the same from another folder. Empty where it cannot be said in words: then nobody repeats the run by them.
    ``again``: the words of the run that is tried again, of which the filters stay: of one that looks at some keys alone and
    is cut off, nobody could tell them otherwise.
    """
    told = _Told(
        source=_place(settings.source),
        destination=_place(settings.destination),
        upload=settings.upload,
        download=settings.download,
        filters=_looked(settings.filters) if again is None else _told(again).filters,
        compare=settings.compare,
        trash=settings.trash,
        symlinks=settings.symlinks,
        one_file_system=settings.one_file_system,
        on_collision=settings.on_collision,
        has_own_key=bool(settings.customer.key),
        manifest=_manifest(settings.manifest),
    )
    try:
        words = {_MARK: msgspec.json.encode(told).decode()}
        for name, location in (("source", source), ("destination", destination)):
            if isinstance(location, LocalPath):
                words[name] = _path_word(os.path.abspath(location.path))
        if state_file:
            words[STATE_FILE] = _path_word(os.path.realpath(state_file))
    except (UnicodeEncodeError, OSError):  # a rule that is no text; a current folder that is no more
        return {}
    return words


def path_of(words: Mapping[str, str], name: str) -> str:
    """The folder that was the run's ``source`` or ``destination``, or its state file; empty where that was none."""
    word = words.get(name, "")
    return os.fsdecode(msgspec.json.decode(word, type=bytes)) if word.startswith('"') else word


def settings_of(words: Mapping[str, str], now: Settings, run: str) -> Settings:
    """The settings of a run out of its words: with the identities, the limits and the customer's key of ``now``, and where
    its sides say where they are, with that. Raises WrongSetting.
    """
    if _MARK not in words:
        raise WrongSetting(f"What {run} was told is not in its journal; give the command of it again.")
    try:
        told = _told(words)
    except msgspec.MsgspecError as error:
        raise WrongSetting(f"What {run} was told is not known to this Sterna; give the command of it again.") from error
    if told.has_own_key != bool(now.customer.key):
        how = "with --sse-c-key-file, and no journal holds the key; add it" if told.has_own_key else "without"
        also = "" if told.has_own_key else " --sse-c-key-file; leave it off"
        raise WrongSetting(f"{run} was made {how}{also}.")
    return replace(
        now,
        source=_side(told.source, now.source),
        destination=_side(told.destination, now.destination),
        upload=told.upload,
        download=told.download,
        customer=now.customer if told.has_own_key else Customer(),
        filters=EVERYTHING,
        compare=told.compare,
        deletion=None,
        trash=told.trash,
        symlinks=told.symlinks,
        one_file_system=told.one_file_system,
        on_collision=told.on_collision,
        manifest=told.manifest,
    )


def filters_of(words: Mapping[str, str], run: str) -> Filter:
    """What a run looked at. Raises WrongSetting where its words do not say all of it."""
    kept = _told(words).filters
    again = WrongSetting(f"The filters of {run} are not all in its journal; give the command of it again.")
    try:
        found = Filter(
            rules=tuple(_rule(text, origin) for text, origin in kept.rules),
            listed=frozenset(kept.listed) if kept.listed is not None else None,
            min_size=kept.min_size,
            max_size=kept.max_size,
            newer_than=kept.newer_than,
            older_than=kept.older_than,
            storage_classes=frozenset(kept.storage_classes),
        )
    except WrongSetting as error:
        raise again from error
    if kept.fingerprint and found.fingerprint != kept.fingerprint:
        raise again
    return found


def _told(words: Mapping[str, str]) -> _Told:
    return msgspec.json.decode(words[_MARK], type=_Told)


def _path_word(path: str) -> str:
    """An absolute path as it is; one that is not UTF-8 as its bytes, in base64 and quotes, with which no path begins."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return msgspec.json.encode(os.fsencode(path)).decode()
    return path


def _manifest(asked: Manifesting | None) -> Manifesting | None:
    return replace(asked, file=os.path.abspath(asked.file)) if asked is not None and asked.file else asked


def _place(side: Side) -> _Place:
    return _Place(side.addressing, side.request_payer, side.expected_bucket_owner)


def _side(place: _Place, now: Side) -> Side:
    """A side as it was, and who we are there as it is now; what is said now of where it is goes before."""
    usual = Addressing()
    said = {
        name: value for name, value in msgspec.structs.asdict(now.addressing).items() if value != getattr(usual, name)
    }
    return replace(
        now,
        addressing=replace(place.addressing, **said),
        request_payer=place.request_payer or now.request_payer,
        expected_bucket_owner=now.expected_bucket_owner or place.expected_bucket_owner,
    )


def _looked(filters: Filter) -> _Looked:
    if filters.takes_everything:
        return _Looked()
    is_short = filters.listed is not None and len(filters.listed) <= _MOST_LISTED
    return _Looked(
        rules=tuple((rule.text, rule.origin) for rule in filters.rules),
        listed=tuple(sorted(filters.listed)) if filters.listed is not None and is_short else None,
        min_size=filters.min_size,
        max_size=filters.max_size,
        newer_than=filters.newer_than,
        older_than=filters.older_than,
        storage_classes=tuple(sorted(filters.storage_classes)),
        fingerprint=filters.fingerprint,
    )


def _rule(text: str, origin: str) -> Any:
    from sterna.planning.rules import file_rules, option_rule

    if origin in ("--include", "--exclude"):
        group = option_rule(origin, text.removeprefix(f"{origin} "))
    else:
        group = file_rules(text.encode("utf-8", "surrogateescape"), origin)
    if len(group.rules) != 1:
        raise WrongSetting(f"{origin}: this is no rule.")
    return replace(group.rules[0], origin=origin)
