"""How one side of a transfer is reached: where its servers are, who we are there, what every request must say."""

from __future__ import annotations

import msgspec

from sterna.wire.credentials import Identity
from sterna.wire.endpoints import Addressing
from sterna.wire.pool import Timeouts
from sterna.wire.retry import Retries


class Side(msgspec.Struct, frozen=True):
    """The settings of one side."""

    addressing: Addressing = msgspec.field(default_factory=Addressing)
    identity: Identity = msgspec.field(default_factory=Identity)
    request_payer: bool = False
    expected_bucket_owner: str = ""
    timeouts: Timeouts = msgspec.field(default_factory=Timeouts)
    retries: Retries = msgspec.field(default_factory=Retries)
