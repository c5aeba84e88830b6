"""Tell which unfinished uploads of a bucket the journals of this machine know, and which a run has in hand now."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

from sterna.jobs.identity import AWS, identity
from sterna.journal import questions
from sterna.journal.database import journals, reading
from sterna.journal.journal import Journal
from sterna.journal.lock import is_held
from sterna.journal.places import journals_folder
from sterna.journal.route import Route, named, route_between
from sterna.model.errors import JournalUnusable, Locked, SternaError, WrongSetting
from sterna.model.location import BucketPath, parse_location
from sterna.model.transfers import OpenUpload
from sterna.stores.s3 import S3Store


class Known(NamedTuple):
    """An upload by its whole key, as the journal at ``path`` has it."""

    key: str
    upload: OpenUpload
    path: Path
    route: Route


class Ours:
    """What the journals below a state directory know of one bucket's uploads. ``read`` looks them up.

    ``known`` is by key and id; an upload whose id the server never told is not in it, since it may be somebody else's.
    ``unreadable`` has a sentence for each journal that could not be read, or not be taken.
    """

    def __init__(self, state: Path, store: S3Store) -> None:
        self.known: dict[tuple[str, str], Known] = {}
        self.unreadable: list[str] = []
        self._state = state
        self._store = store
        self._endpoints: frozenset[str] = frozenset()
        self._held: dict[Path, Journal] = {}
        self._closed: set[Path] = set()  # which others hold, or nobody can have
        self._going_on: list[BucketPath] = []

    def __repr__(self) -> str:
        return f"<Ours of {self._store.bucket}: {len(self.known)} uploads known, {len(self._held)} journals held>"

    async def read(self) -> None:
        """Look up what is known now."""
        place = await identity(self._store, self._store.location)
        route = route_between(
            self._store.location,
            self._store.location,
            target_endpoints=[] if place == AWS else place.split(),
        )
        self._endpoints = frozenset(route.target_endpoint.split())
        self.known.clear()
        for path in self._journals():
            try:
                with reading(path) as connection:
                    target = self._target(questions.route_of(connection))
                    own = named(questions.route_of(connection), path.stem)
                    if target is not None and own is not None:
                        for one in questions.open_uploads(connection):
                            if one.id:
                                self.known[one.key, one.id] = Known(one.key, one, path, own)
            except JournalUnusable as error:
                self._note(error)
        self.look_again()

    def look_again(self) -> None:
        """Ask which runs go on now. An upload below the destination of one may be its own, also before its journal says."""
        self._going_on = []
        for path in self._journals():
            if path in self._held or not is_held(path):
                continue
            try:
                with reading(path) as connection:
                    target = self._target(questions.route_of(connection))
            except JournalUnusable as error:
                self._note(error)
                target = BucketPath(self._store.bucket)  # it could be anywhere
            if target is not None:
                self._going_on.append(target)

    async def take(self, keys: Collection[tuple[str, str]], stack: AsyncExitStack) -> None:
        """Take the journals that know these uploads, so that no run goes on with one meanwhile, and read them again.
        ``stack`` lets go of them. One that another run holds stays with it.
        """
        for path, route in {one.path: one.route for one in map(self.known.__getitem__, keys)}.items():
            try:
                # Blocks for some milliseconds, in which there is nothing else to do.
                journal = Journal.open(route, self._state, command="uploads --abort")
            except Locked:
                self._closed.add(path)
            except (JournalUnusable, WrongSetting) as error:
                self._closed.add(path)
                self._note(error)
            else:
                self._held[path] = journal
                stack.push_async_callback(journal.closed)
                self.unreadable += journal.news()
        await self.read()

    def is_in_use(self, key: str, upload_id: str) -> bool:
        """Whether a run may be feeding this upload now, as far as this machine's journals tell."""
        known = self.known.get((key, upload_id))
        if known is None:
            return any(
                not target.path or key.startswith(target.prefix) or key == target.path for target in self._going_on
            )
        return known.path not in self._held and (known.path in self._closed or is_held(known.path))

    def forget(self, key: str, upload_id: str) -> None:
        """The server has it no more. Of a journal that is not ours to write, the next run finds that out."""
        known = self.known.get((key, upload_id))
        if known is not None and known.path in self._held:
            self._held[known.path].upload_ended(known.upload.token)

    def _journals(self) -> list[Path]:
        return journals(self._state) if journals_folder(self._state).exists() else []

    def _target(self, route: Route) -> BucketPath | None:
        """Where the runs of a route write to, if that is in this bucket."""
        if not route.target.startswith("s3://"):
            return None
        there = frozenset(route.target_endpoint.split())
        target = parse_location(route.target)
        is_here = isinstance(target, BucketPath) and target.bucket == self._store.bucket
        is_same = bool(there & self._endpoints) or there == self._endpoints  # of several endpoints one is enough
        return target if is_here and is_same and isinstance(target, BucketPath) else None

    def _note(self, error: SternaError) -> None:
        if error.sentence not in self.unreadable:
            self.unreadable.append(error.sentence)
