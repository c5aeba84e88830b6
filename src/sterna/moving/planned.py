"""Hold what is written and read to what a plan says of it: the conditions, and what is meant where one is refused."""

from __future__ import annotations

from sterna.model.entry import Entry
from sterna.model.errors import Drifted, ObjectChanged, ObjectGone, SternaError
from sterna.stores.look import Look
from sterna.stores.objects import Condition
from sterna.stores.s3 import S3Store


def condition_of(target: Entry | None, written: str = "") -> Condition:
    """On what a write hangs: that at the destination stands what was planned for, or what we have ``written`` ourselves
    (its ETag). What has no ETag can be told by no condition.
    """
    etag = written or (target.etag if target is not None else "")
    if etag:
        return {"if-match": f'"{etag}"'}
    return {"if-none-match": "*"} if target is None else {}


def is_refused(condition: Condition, error: SternaError) -> bool:
    """Whether this may say that the condition does not hold. S3 answers 404 to If-Match where nothing is."""
    if not condition:
        return False
    return isinstance(error, ObjectChanged) or (isinstance(error, ObjectGone) and error.code != "NoSuchUpload")


async def must_stand(store: S3Store, key: str, target: Entry | None, found: Look | None) -> None:
    """Raise Drifted unless what a look has found is what was planned for; by one within the gate.

    Where it is, the server judges conditions in a way of its own: one takes an ETag only without its quotes (H09). Some
    servers' looks show other ETags than their listings (H14).
    """
    if target is None and found is None:
        return
    if target is not None and found is not None:
        if found.entry.etag == target.etag:
            return
        listed = await store.listed_in_gate(key)
        if listed is not None and listed.etag == target.etag and listed.size == target.size:
            return
    raise drifted("destination", key, is_there=found is not None)


async def must_still_be(store: S3Store, key: str, source: Entry) -> None:
    """Raise Drifted unless a listing shows the planned version of an object, though a look shows another (H14); by one
    within the gate."""
    listed = await store.listed_in_gate(key)
    if listed is None or listed.etag != source.etag:
        raise drifted("source", key, is_there=listed is not None)
    store.learned.listed_etags_differ = True


def must_be_planned(key: str, source: Entry | None, size: int, mtime_ns: int) -> None:
    """Raise Drifted where a file is not the version that was planned for."""
    if source is not None and (size, mtime_ns) != (source.size, source.mtime_ns):
        raise drifted("source", key, is_there=True)


def drifted(side: str, key: str, *, is_there: bool) -> Drifted:
    """The error of what was changed after its second look."""
    how = "was changed" if is_there else "was deleted"
    return Drifted(f"The {side} {how} after it was looked at.", key=key, code="drifted")
