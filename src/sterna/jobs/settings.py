"""Everything that a job is told beside its two locations."""

from __future__ import annotations

from typing import Literal

import msgspec

from sterna.jobs.control import Control
from sterna.moving.settings import Customer, DownloadOptions, Limits, UploadOptions
from sterna.planning.collide import OnCollision
from sterna.planning.compare import Compare
from sterna.planning.filters import EVERYTHING, Filter
from sterna.planning.guard import Allowed
from sterna.wire.side import Side


class Deletion(msgspec.Struct, frozen=True):
    """What the source lacks is deleted at the destination, as far as the guards allow it."""

    allowed: Allowed = msgspec.field(default_factory=Allowed)


class Journaling(msgspec.Struct, frozen=True):
    """Where the journals of runs are, empty for the usual place, and whether this run keeps one."""

    directory: str = ""
    is_kept: bool = True


class Manifesting(msgspec.Struct, frozen=True):
    """An upload leaves a manifest of what is at its destination: beside the data, and in ``file``, empty for the usual
    place. ``sha256``: with the SHA-256 of each file, for which it is read once more.
    """

    sha256: bool = False
    file: str = ""


class Settings(msgspec.Struct, frozen=True):
    """The options of a run, assembled by ``cli`` or by the caller of the library; each member says more at its class.

    ``trash``: what ``sync`` deletes or writes over is moved there instead, below a name for the run: a prefix of the
    destination's bucket, or a folder on the destination's file system. ``control``: by what ``limits`` may change while
    the run goes on.
    """

    source: Side = msgspec.field(default_factory=Side)
    destination: Side = msgspec.field(default_factory=Side)
    upload: UploadOptions = msgspec.field(default_factory=UploadOptions)
    download: DownloadOptions = msgspec.field(default_factory=DownloadOptions)
    customer: Customer = msgspec.field(default_factory=Customer)
    limits: Limits = msgspec.field(default_factory=Limits)
    control: Control | None = None
    filters: Filter = EVERYTHING
    compare: Compare = Compare.AUTO
    deletion: Deletion | None = None
    trash: str = ""
    symlinks: Literal["skip", "follow", "store"] = "skip"
    one_file_system: bool = False
    journal: Journaling = msgspec.field(default_factory=Journaling)
    on_collision: OnCollision = OnCollision.FAIL
    manifest: Manifesting | None = None

    @property
    def escapes(self) -> bool:
        """Whether names in the folder are read as escaped ones."""
        return self.on_collision is OnCollision.ESCAPE
