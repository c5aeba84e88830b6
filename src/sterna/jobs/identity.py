"""Tell whether a place is the one that it was: the server of a bucket, the file system and number of a folder."""

from __future__ import annotations

import os

from sterna.model.location import LocalPath, Location
from sterna.stores.local import LocalStore
from sterna.stores.s3 import S3Store
from sterna.stores.store import Store
from sterna.wire.endpoints import endpoints_for

AWS = "AWS"  # where names of buckets are the same from all its hosts


async def identity(store: Store, location: Location) -> str:
    """In words that stay the same as long as the place does; empty where there is none yet."""
    if isinstance(store, S3Store):
        await store.client.prepare()
        addressing = store.client.settled_side.addressing
        if not addressing.urls:
            return AWS
        found = endpoints_for(addressing, store.bucket)
        return " ".join(sorted({AWS if _is_aws(one.host) else str(one) for one in found}))
    assert isinstance(store, LocalStore)
    assert isinstance(location, LocalPath)
    if not os.path.lexists(location.path):
        return ""
    path = store.folder.path
    return f"folder {os.stat(path).st_ino} of file system {os.statvfs(path).f_fsid or os.stat(path).st_dev}"


def is_one_place(then: str, now: str) -> bool:
    """Whether two identities are of one place; of several endpoints one is enough."""
    if then.startswith("folder ") or now.startswith("folder "):
        return then == now
    return bool(set(then.split()) & set(now.split()))


def _is_aws(host: str) -> bool:
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))
