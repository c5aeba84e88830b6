"""Everything that a job is told beside its two locations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sterna.moving.settings import Customer, DownloadOptions, Limits, UploadOptions
from sterna.planning.filters import EVERYTHING, Filter
from sterna.planning.guard import Allowed
from sterna.wire.side import Side


@dataclass(frozen=True, slots=True)
class Deletion:
    """What the source lacks is deleted at the destination, as far as the guards allow it. ``trash``: it is moved there
    instead, a prefix of the same bucket or a folder beside the destination, and so is what is written over.
    """

    allowed: Allowed = field(default_factory=Allowed)
    trash: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of a run, assembled by ``cli`` or by the caller of the library; each member says more at its class."""

    source: Side = field(default_factory=Side)
    destination: Side = field(default_factory=Side)
    upload: UploadOptions = field(default_factory=UploadOptions)
    download: DownloadOptions = field(default_factory=DownloadOptions)
    customer: Customer = field(default_factory=Customer)
    limits: Limits = field(default_factory=Limits)
    filters: Filter = EVERYTHING
    deletion: Deletion | None = None
    symlinks: Literal["skip", "follow"] = "skip"
