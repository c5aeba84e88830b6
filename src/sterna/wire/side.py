"""How one side of a transfer is reached: where its servers are, who we are there, what every request must say."""

from __future__ import annotations

from dataclasses import dataclass, field

from sterna.wire.credentials import Identity
from sterna.wire.endpoints import Addressing
from sterna.wire.pool import Timeouts
from sterna.wire.retry import Retries


@dataclass(frozen=True, slots=True)
class Side:
    """The settings of one side. ``addressing.urls`` may hold several endpoints of the same bucket."""

    addressing: Addressing = field(default_factory=Addressing)
    identity: Identity = field(default_factory=Identity)
    request_payer: bool = False
    expected_bucket_owner: str = ""
    timeouts: Timeouts = field(default_factory=Timeouts)
    retries: Retries = field(default_factory=Retries)
