"""Open two buckets, and find out whether the server can copy from one to the other by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sterna.jobs.settings import Settings
from sterna.jobs.sides import open_bucket
from sterna.model.errors import WrongSetting
from sterna.model.events import Emit, Tally, ignore
from sterna.model.location import BucketPath
from sterna.model.units import printable
from sterna.planning.guard import Places, overlap
from sterna.stores.s3 import S3Store
from sterna.wire.endpoints import is_one_server


@asynccontextmanager
async def open_buckets(
    source: BucketPath, destination: BucketPath, settings: Settings, tally: Tally, *, emit: Emit = ignore
) -> AsyncIterator[tuple[S3Store, S3Store, WrongSetting | None]]:
    """The stores of source and destination, and why the server cannot copy from one to the other, if it cannot: they can
    be listed and compared all the same. Nothing is asked of a server yet; where it is may stand in a profile, which is
    read here.

    The destination's requests name what is to be copied, so who may write there must be allowed to read the source:
    another user's credentials would be of no use. A source that everybody may read needs none.
    """
    async with (
        open_bucket(source, settings.source, settings, tally, emit=emit) as left,
        open_bucket(destination, settings.destination, settings, tally, emit=emit) as right,
    ):
        await left.client.prepare()
        await right.client.prepare()
        yield left, right, _obstacle(source, destination, settings, left, right)


def _obstacle(
    source: BucketPath, destination: BucketPath, settings: Settings, left: S3Store, right: S3Store
) -> WrongSetting | None:
    here, there = printable(str(source)), printable(str(destination))
    if not are_on_one_server(left, right):
        return WrongSetting(
            f"{here} and {there} are on different servers, and Sterna copies only within one as yet;"
            " sync to a folder, and from there."
        )
    identity = settings.source.identity
    if not identity.anonymous and identity != settings.destination.identity:
        return WrongSetting(
            f"{here} and {there} are to be reached with different credentials, and the server copies with one;"
            " give both sides those that may read the one and write the other."
        )
    return None


def are_on_one_server(left: S3Store, right: S3Store) -> bool:
    """Whether a bucket's name means the same on both sides, as far as their addresses tell."""
    return is_one_server(left.client.settled_side.addressing, right.client.settled_side.addressing)


def refuse_overlap(left: S3Store, right: S3Store) -> None:
    """Raise WrongSetting where what is written would be listed and copied again, or is what is read."""
    places = Places(left.location, right.location, same_server=are_on_one_server(left, right))
    if (how := overlap(places)) is not None:
        raise WrongSetting(f"{how}; give two places of which neither is inside the other.")
