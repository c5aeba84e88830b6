"""List our buckets, or make one more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from msgspec.structs import replace

from sterna.jobs.listing import Listed, opened
from sterna.model.errors import AccessDenied, CredentialsExpired, NotProven, RetryLater, SternaError, WrongSetting
from sterna.model.location import BucketPath
from sterna.stores.s3 import S3Store
from sterna.wire.client import Client, Request
from sterna.wire.connection import Response
from sterna.wire.encoding import encode_query
from sterna.wire.side import Side
from sterna.wire.xml import parse_document

_USUAL_REGION = "eu-west-1"  # of a backup's bucket, where nobody names one
_REFUSED_REGION = ("InvalidLocationConstraint", "IllegalLocationConstraintException", "InvalidRegion")


async def list_buckets(side: Side) -> AsyncIterator[list[Listed]]:
    """Our buckets, page by page."""
    client = Client(side, "")
    try:
        token = ""
        while True:
            query = encode_query([("continuation-token", token)]) if token else ""
            response = await client.call(Request("ListBuckets", "GET", "", query=query, check=_check_buckets))
            answer = parse_document(response.body, "ListAllMyBucketsResult", "ListBuckets")
            listed = [
                Listed(node.findtext("Name") or "", mtime_ns=_moment_ns(node.findtext("CreationDate") or ""))
                for node in answer.iterfind("Buckets/Bucket")
            ]
            if listed:
                yield listed
            before, token = token, answer.findtext("ContinuationToken") or ""
            if not token or token == before:
                return
    finally:
        await client.aclose()


def _check_buckets(response: Response) -> None:
    parse_document(response.body, "ListAllMyBucketsResult", "ListBuckets")


def _moment_ns(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return 0
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()) * 10**9


async def make_bucket(location: BucketPath, side: Side) -> str:
    """Make a bucket in the region of the side or its profile; gives a sentence that says what is now the case.

    One that exists and is ours is fine. Raises WrongSetting where the name is somebody else's or cannot be one.
    """
    bucket = location.bucket
    name = f"s3://{bucket}"
    ours = f"{name} exists already, and it is yours; nothing was changed."
    async with opened(BucketPath(bucket), side) as store:
        was_there = await _is_there(store)  # in us-east-1 AWS answers 200 to making one's own bucket again
        try:
            await store.create_bucket()
        except SternaError as error:
            if error.code == "BucketAlreadyOwnedByYou" or (error.status == 409 and await _is_ours(bucket, side)):
                return ours
            raise _not_made(error, bucket, store.client.region) from error
        if was_there:
            return ours
        if not await _is_there(store):
            raise NotProven(f"The server says that {name} is made, and does not show it.", operation="CreateBucket")
        return f"{name} is made, in the region {store.client.region}."


async def made_if_absent(location: BucketPath, side: Side) -> tuple[Side, str]:
    """Have a bucket to write to: one of ours is taken, one that is absent is made, in the region of the side or its
    profile, else in eu-west-1. Gives the side to go on with, and a sentence where one was made.

    Raises WrongSetting where the bucket is somebody else's, unless the side says whose it is to be
    (``expected_bucket_owner``): whoever takes the name of a bucket that is gone would be sent what was meant for it.
    """
    bucket = location.bucket
    if bucket.startswith("arn:") or side.identity.anonymous:
        return side, ""  # an access point leads to a bucket that is there
    region: str | None = None
    client = Client(side, bucket)
    try:
        await S3Store(client, BucketPath(bucket)).head_bucket()
        is_there = True
    except WrongSetting as error:
        if error.code != "NoSuchBucket":
            raise
        is_there = False
        region = side.addressing.region or await asyncio.to_thread(client.keys.region)
    except AccessDenied:
        is_there = True  # or it may not be told, which the first request to it will say
    finally:
        await client.aclose()
    if is_there:
        if not side.expected_bucket_owner and await _is_ours(bucket, side) is False:
            raise WrongSetting(
                f"s3://{bucket} is there, and is not among your buckets: somebody else has it. Choose another name, or give"
                " --expected-bucket-owner ACCOUNT where that account is meant to have it.",
                operation="HeadBucket",
            )
        return client.settled_side, ""
    if region:
        return side, await make_bucket(BucketPath(bucket), side)
    usual = replace(side, addressing=replace(side.addressing, region=_USUAL_REGION))
    try:
        return usual, await make_bucket(BucketPath(bucket), usual)
    except WrongSetting as error:
        if error.code not in _REFUSED_REGION:
            raise
        return side, await make_bucket(BucketPath(bucket), side)  # another server than Amazon's, with names of its own


async def _is_there(store: S3Store) -> bool:
    """Whether the bucket is to be seen. A refusal says nothing: making it will tell."""
    try:
        await store.head_bucket()
    except (RetryLater, CredentialsExpired):
        raise
    except SternaError:
        return False
    return True


def _not_made(error: SternaError, bucket: str, region: str) -> SternaError:
    """The refusal to make a bucket as a sentence that says what to change."""
    said = error.words or error.code
    sentences = {
        "BucketAlreadyExists": f"The name {bucket} is taken: somebody else has a bucket of that name. Choose another.",
        "InvalidBucketName": f"{bucket} is refused as a bucket's name; take 3 to 63 of a-z, 0-9 and -.",
        "InvalidLocationConstraint": f"The server makes no buckets in the region {region} ({said}); give another "
        "--region (us-east-1 leaves the choice to the server).",
    }
    sentences["IllegalLocationConstraintException"] = sentences["InvalidLocationConstraint"]
    sentence = sentences.get(error.code)
    if sentence is None:
        return error
    return WrongSetting(
        sentence,
        operation="CreateBucket",
        status=error.status,
        code=error.code,
        words=error.words,
        request_id=error.request_id,
    )


async def _is_ours(bucket: str, side: Side) -> bool | None:
    """Whether the bucket is among ours: some servers say only that it exists. None where the server does not tell."""
    try:
        async for page in list_buckets(side):
            if any(one.key == bucket for one in page):
                return True
    except SternaError:
        return None
    return False
