"""What is to be done for one key, and because of what."""

from __future__ import annotations

import enum

import msgspec

from sterna.model.entry import Entry


class Verb(str, enum.Enum):
    """The kinds of action. LOOK and COMPARE ask for more than the listings told, by a HEAD and by the content: what comes
    of them is another of these, or nothing.
    """

    UPLOAD = "upload"
    DOWNLOAD = "download"
    COPY = "copy"
    DELETE = "delete"
    KEEP = "keep"
    REFUSE = "refuse"
    LOOK = "look"
    COMPARE = "compare"


class Action(msgspec.Struct, frozen=True, gc=False):
    """One decision about one key. ``because`` is the sentence that log, report and dry run all print.

    ``source`` is what the listing said of the source, ``target`` what stands at the destination, if anything.
    ``place`` is the path in a folder, where it is another than the key.
    """

    verb: Verb
    key: str
    because: str
    source: Entry | None = None
    target: Entry | None = None
    place: str = ""

    @property
    def size(self) -> int:
        return self.source.size if self.source is not None else 0

    @property
    def bytes_concerned(self) -> int:
        """Bytes that are moved, or that are no more afterwards."""
        concerned = self.target if self.verb is Verb.DELETE else self.source
        return concerned.size if concerned is not None else 0
