"""Find out what works with a location and what its server or file system can do, and say what to change.

A bucket is tried with small objects of our own under names that nobody else has; they are removed again, whatever
comes between. No probe that fails ends the examination: what it met becomes a finding.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence

from sterna.config import abilities, listings, permissions, way
from sterna.config.finding import Finding, advice_for
from sterna.config.folder import folder_findings
from sterna.config.probes import Probes
from sterna.model.errors import SternaError
from sterna.model.location import BucketPath, LocalPath, Location
from sterna.wire.endpoints import addressing_from_environment, endpoints_for
from sterna.wire.side import Side

# What is looked at once the bucket is known to be there, and the name of the finding where a look ends in an error.
# Later ones rest on what earlier ones found to be allowed.
_LOOKS: tuple[tuple[str, Callable[[Probes], AsyncIterator[Finding]]], ...] = (
    ("list", permissions.listing),
    ("put", permissions.objects),
    ("multipart", permissions.multipart),
    ("multipart", abilities.whole_sum),
    ("checksums", abilities.checksums),
    ("conditional writes", abilities.conditions),
    ("listing order", listings.order),
    ("versions", abilities.versions),
)


async def check(location: Location, side: Side) -> AsyncIterator[Finding]:
    """Examine a folder or a bucket; findings come as they are made. A bucket is left as it was found."""
    if isinstance(location, LocalPath):
        for finding in await asyncio.to_thread(lambda: list(folder_findings(location.path))):
            yield finding
        return
    found: list[Finding] = []
    async for finding in _way_to(location, side):
        found.append(finding)
        yield finding
    if not _is_open(found):
        return
    probes = Probes(location, side)
    try:
        async for finding in _bucket(probes):
            yield finding
        for finding in await probes.tidied():
            yield finding
    finally:
        await probes.aclose()


async def _way_to(location: BucketPath, side: Side) -> AsyncIterator[Finding]:
    """Settings, credentials and each endpoint, without a request to the bucket."""
    try:
        addressing = addressing_from_environment(side.addressing, os.environ)
        endpoints = endpoints_for(addressing, location.bucket)
    except SternaError as error:
        yield Finding("settings", False, error.sentence, "Change the option or the variable that the sentence names.")
        return
    async for finding in way.credentials(side.identity):
        yield finding
    for endpoint in endpoints:
        async for finding in way.reach(endpoint, addressing):
            yield finding


def _is_open(found: Sequence[Finding]) -> bool:
    """Whether requests can be signed, and one endpoint at least can be reached."""
    can_sign = all(finding.ok is not False for finding in found if finding.name == "credentials")
    return can_sign and any(finding.name == "endpoint" and finding.ok is not False for finding in found)


async def _bucket(probes: Probes) -> AsyncIterator[Finding]:
    """All that is to be known of a bucket, the ones that others rest on first."""
    is_there = False
    async for finding in _told("bucket", permissions.bucket_itself(probes)):
        is_there = is_there or (finding.name == "bucket" and finding.ok is True)
        yield finding
    if not is_there:
        return
    for name, look in _LOOKS:
        async for finding in _told(name, look(probes)):
            yield finding
    yield abilities.connections(probes)


async def _told(name: str, findings: AsyncIterator[Finding]) -> AsyncIterator[Finding]:
    """The findings of a look; an error that ends it is one more."""
    try:
        async for finding in findings:
            yield finding
    except SternaError as error:
        yield Finding(name, False, error.sentence, advice_for(error))
