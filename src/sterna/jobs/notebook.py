"""Keep in the journal what movers begin, and hand them what earlier runs left unfinished."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from sterna.model.transfers import OpenDownload, OpenUpload, SentPart, WrittenRange
from sterna.moving.resume import is_found
from sterna.planning.doubt import NONE, Doubts
from sterna.stores.s3 import S3Store
from sterna.stores.store import Store

if TYPE_CHECKING:
    from sterna.journal.journal import Journal


class JournalNotebook:
    """A run's notebook, which is its journal. What earlier runs left is read at the start: some hundreds at most."""

    def __init__(self, journal: Journal, uploads: Iterable[OpenUpload], downloads: Iterable[OpenDownload]) -> None:
        self._journal = journal
        self._uploads = {one.token: one for one in uploads}
        self._downloads = {one.temporary: one for one in downloads}
        self._untaken = {*self._uploads, *self._downloads}

    def __repr__(self) -> str:
        return f"<JournalNotebook {len(self._uploads)} uploads, {len(self._downloads)} downloads>"

    @property
    def is_kept(self) -> bool:
        return self._journal.is_kept

    @property
    def temporaries(self) -> Container[str]:
        return self._downloads

    def left(self, *, is_all_done: bool) -> tuple[list[OpenUpload], list[OpenDownload]]:
        """What nobody has taken. ``is_all_done``: everything that the run planned has arrived, so that nothing that is
        open is of use any more.
        """
        uploads = [one for token, one in self._uploads.items() if is_all_done or token in self._untaken]
        downloads = [one for name, one in self._downloads.items() if is_all_done or name in self._untaken]
        return uploads, downloads

    def doubts(self, keys: AbstractSet[str], target: Store) -> Doubts:
        """These keys, and those of uploads that may have been joined when nobody waited for it any more."""
        prefix = target.prefix if isinstance(target, S3Store) else ""
        own = {one.key.removeprefix(prefix): one for one in self._uploads.values() if one.key.startswith(prefix)}
        headless = {key for key, one in own.items() if is_found(one)}
        found = Doubts(frozenset(keys | own.keys()), frozenset(headless))
        return found if found.keys else NONE

    def take_uploads(self, key: str) -> Sequence[OpenUpload]:
        if not self._untaken:
            return ()
        taken = [one for token, one in self._uploads.items() if one.key == key and token in self._untaken]
        self._untaken -= {one.token for one in taken}
        return sorted(taken, key=lambda one: one.begun_ns, reverse=True)

    async def upload_begun(self, upload: OpenUpload) -> None:
        self._uploads[upload.token] = upload
        self._journal.upload_begun(upload)
        await self._journal.flushed(lasting=not upload.id)

    def part_sent(self, token: str, part: SentPart) -> None:
        self._journal.part_sent(token, part)

    def upload_ended(self, token: str) -> None:
        self._uploads.pop(token, None)
        self._journal.upload_ended(token)

    def take_downloads(self, key: str) -> Sequence[OpenDownload]:
        if not self._untaken:
            return ()
        taken = [one for name, one in self._downloads.items() if one.key == key and name in self._untaken]
        self._untaken -= {one.temporary for one in taken}
        return sorted(taken, key=lambda one: one.begun_ns, reverse=True)

    def download_begun(self, download: OpenDownload) -> None:
        self._downloads[download.temporary] = download
        self._journal.download_begun(download)

    def range_written(self, temporary: str, written: WrittenRange) -> None:
        self._journal.range_written(temporary, written)

    def download_ended(self, temporary: str) -> None:
        self._downloads.pop(temporary, None)
        self._journal.download_ended(temporary)
