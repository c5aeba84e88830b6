"""What came of one action."""

from __future__ import annotations

import enum

import msgspec

from sterna.model.errors import SternaError
from sterna.model.synced import Seen


class Status(str, enum.Enum):
    """How an action ended. DONE means proved: seen at the destination by a second look; PLANNED is as far as a dry run
    goes."""

    DONE = "done"
    PLANNED = "planned"
    KEPT = "kept"
    SKIPPED = "skipped"
    FAILED = "failed"
    LEFT = "left"


class Outcome(msgspec.Struct, gc=False):
    """The end of one action. Sizes are bytes, times seconds.

    ``moved`` counts the bytes of the object that this run sent or received, without what earlier attempts wasted.
    ``etag`` is what the answer to the write said, ``checksum`` what we computed (``NAME:value``), ``token`` what the
    metadata of a multipart object carries: the proof compares them with what a second look shows. ``source`` and
    ``target`` are the versions that were read and written, where whoever carried knows more of them than stands here.
    """

    verb: str
    key: str
    status: Status
    size: int = 0
    moved: int = 0
    started_s: float = 0.0
    seconds: float = 0.0
    attempts: int = 1
    because: str = ""
    etag: str = ""
    checksum: str = ""
    token: str = ""
    version: str = ""
    proof: str = ""
    error: str = ""
    error_code: str = ""
    error_words: str = ""
    request_id: str = ""
    error_kind: str = ""
    exit_code: int = 0
    source: Seen | msgspec.UnsetType = msgspec.UNSET  # for the journal; left out of what is told
    target: Seen | msgspec.UnsetType = msgspec.UNSET

    def fail(self, error: SternaError) -> Outcome:
        """Mark as failed with what the error knows, and give itself back."""
        self.status = Status.FAILED
        self.error = error.sentence
        self.error_code = error.code
        self.error_words = error.words
        self.request_id = error.request_id
        self.error_kind = type(error).__name__
        self.exit_code = error.exit_code
        self.attempts = max(self.attempts, error.attempts)
        return self
