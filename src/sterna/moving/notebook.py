"""Where movers write down what they have begun, so that another run can go on with it."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Protocol

from sterna.model.transfers import OpenDownload, OpenUpload, SentPart, WrittenRange


class Notebook(Protocol):
    """What earlier runs left unfinished, by key, and what this one begins.

    ``take_uploads`` and ``take_downloads`` hand a key's transfers over: whoever takes one goes on with it, leaves it to
    another run, or ends it. What nobody takes is given to ``Resumable.clear`` when a run has gone well.
    """

    @property
    def is_kept(self) -> bool:
        """Whether another run will find what is written here."""

    @property
    def temporaries(self) -> Container[str]:
        """The paths of unfinished files that earlier runs left, below the folder."""

    def take_uploads(self, key: str) -> Sequence[OpenUpload]:
        """Uploads of this key, the last one first."""

    async def upload_begun(self, upload: OpenUpload) -> None:
        """An upload is about to be asked for (without ``id``), or is there. Returns when that would outlast us."""

    def part_sent(self, token: str, part: SentPart) -> None:
        """The server has a part."""

    def upload_ended(self, token: str) -> None:
        """The server has no such upload any more."""

    def take_downloads(self, key: str) -> Sequence[OpenDownload]:
        """Unfinished files of this key, the last one first."""

    def download_begun(self, download: OpenDownload) -> None:
        """An unfinished file is about to be made."""

    def range_written(self, temporary: str, written: WrittenRange) -> None:
        """A range was received and written."""

    def download_ended(self, temporary: str) -> None:
        """The unfinished file has its name, or is gone."""


class Blank:
    """The notebook of a run that nobody goes on with."""

    is_kept = False
    temporaries: Container[str] = ()

    def take_uploads(self, key: str) -> Sequence[OpenUpload]:
        return ()

    async def upload_begun(self, upload: OpenUpload) -> None:
        pass

    def part_sent(self, token: str, part: SentPart) -> None:
        pass

    def upload_ended(self, token: str) -> None:
        pass

    def take_downloads(self, key: str) -> Sequence[OpenDownload]:
        return ()

    def download_begun(self, download: OpenDownload) -> None:
        pass

    def range_written(self, temporary: str, written: WrittenRange) -> None:
        pass

    def download_ended(self, temporary: str) -> None:
        pass


class Resumable(Protocol):
    """A mover's hand that begins what another run may go on with."""

    def keep_in(self, notebook: Notebook) -> None:
        """Write into this notebook from now on, and go on with what is in it."""

    async def clear(self, uploads: Sequence[OpenUpload], downloads: Sequence[OpenDownload]) -> None:
        """Give these up for good: nothing of this run had a use for them."""
