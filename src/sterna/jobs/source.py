"""What is asked of a source before anything goes by it: that it is there, and that its errors say that it is not."""

from __future__ import annotations

from sterna.model.errors import AccessDenied, SourceUnknown, SternaError
from sterna.model.units import printable
from sterna.stores.s3 import S3Store


def as_source(error: SternaError) -> SternaError:
    """An error of a listing as that of a source: the same words, and another meaning: there is nothing to go by."""
    if error.exit_code in (SourceUnknown.exit_code, AccessDenied.exit_code):
        return error
    return SourceUnknown(error.sentence, **error.facts())


async def must_hold_something(bucket: S3Store, *, instead: str = "") -> None:
    """Raise SourceUnknown where nothing is below a prefix: that is a slip more often than an empty place, and no folder
    is made for it. ``instead``: what else may have been meant, in words.
    """
    try:
        found, more = await bucket.list_some("", most=2)  # the first may be the prefix's own marker
    except SternaError as error:
        told = as_source(error)
        raise told from (error if told is not error else error.__cause__)
    if not found and not more and bucket.location.path:
        what = printable(str(bucket.location))
        raise SourceUnknown(f"{what} has no objects below it; look at sterna ls {what}{instead}.")
