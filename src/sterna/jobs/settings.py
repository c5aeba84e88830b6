"""Everything that a job is told beside its two locations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sterna.moving.settings import Customer, DownloadOptions, Limits, UploadOptions
from sterna.planning.filters import EVERYTHING, Filter
from sterna.wire.side import Side


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
    symlinks: Literal["skip", "follow"] = "skip"
