"""Open the two sides of a job, and close them whatever happens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sterna.jobs.control import governed
from sterna.jobs.scout import pruning
from sterna.jobs.settings import Settings
from sterna.model.events import Emit, Tally, ignore
from sterna.model.location import BucketPath, LocalPath
from sterna.stores.local import LocalStore
from sterna.stores.objects import customer_headers
from sterna.stores.s3 import S3Store
from sterna.wire.client import Client, KeySource
from sterna.wire.side import Side


@asynccontextmanager
async def open_bucket(
    location: BucketPath,
    side: Side,
    settings: Settings,
    tally: Tally,
    *,
    emit: Emit = ignore,
    keys: KeySource | None = None,
) -> AsyncIterator[S3Store]:
    """The store of a bucket and prefix; nothing is asked of the server yet."""
    client = Client(side, location.bucket, workers=settings.limits.workers, tally=tally, emit=emit, keys=keys)
    try:
        async with governed(client, settings.control, settings.limits, emit):
            yield S3Store(client, location, customer_headers(settings.customer.key))
    finally:
        await client.aclose()


def open_folder(location: LocalPath, settings: Settings, *, create: bool) -> LocalStore:
    """The store of a folder, to be used in a ``with``; raises SourceUnknown where there is none."""
    store = LocalStore.open(
        location.path,
        create=create,
        symlinks=settings.symlinks,
        one_file_system=settings.one_file_system,
        escapes=settings.escapes,
    )
    store.may_hold = pruning(settings.filters)
    return store
