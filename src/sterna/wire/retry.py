"""Decide what an answer or a broken connection means, and whether and when to try again: the one retry table."""

from __future__ import annotations

import random
import re
from typing import Final

import msgspec

from sterna.model.errors import (
    AccessDenied,
    ConnectionLost,
    Corrupt,
    CredentialsExpired,
    ObjectChanged,
    ObjectGone,
    RetryLater,
    SlowDown,
    SternaError,
    Unsupported,
    WrongSetting,
)
from sterna.model.units import printable
from sterna.wire.connection import Response
from sterna.wire.xml import error_of

# Code → what it means. Where a code is not here, its status decides (below). Sources: S3's error list, and what other
# servers were seen to send.
_BY_CODE: Final[dict[str, type[SternaError]]] = {
    "SlowDown": SlowDown,
    "SlowDownRead": SlowDown,
    "SlowDownWrite": SlowDown,
    "RequestLimitExceeded": SlowDown,
    "Throttling": SlowDown,
    "ThrottlingException": SlowDown,
    "TooManyRequests": SlowDown,
    "ServiceUnavailable": SlowDown,
    "XMinioServerNotInitialized": RetryLater,
    "InternalError": RetryLater,
    "RequestTimeout": RetryLater,
    "OperationAborted": RetryLater,
    "ConditionalRequestConflict": RetryLater,
    "IncompleteBody": RetryLater,
    "BadDigest": Corrupt,
    "XAmzContentSHA256Mismatch": Corrupt,
    "XAmzContentChecksumMismatch": Corrupt,
    "InvalidDigest": Corrupt,
    "RequestTimeTooSkewed": RetryLater,
    "ExpiredToken": CredentialsExpired,
    "ExpiredTokenException": CredentialsExpired,
    "TokenRefreshRequired": CredentialsExpired,
    "AccessDenied": AccessDenied,
    "AllAccessDisabled": AccessDenied,
    "AccountProblem": AccessDenied,
    "InvalidAccessKeyId": AccessDenied,
    "XAdminUserNotFound": AccessDenied,
    "InvalidToken": AccessDenied,
    "SignatureDoesNotMatch": AccessDenied,
    "NotSignedUp": AccessDenied,
    "InvalidPayer": AccessDenied,
    "NoSuchBucket": WrongSetting,
    "InvalidBucketName": WrongSetting,
    "PermanentRedirect": WrongSetting,
    "AuthorizationHeaderMalformed": WrongSetting,
    "IllegalLocationConstraintException": WrongSetting,
    "NoSuchKey": ObjectGone,
    "NoSuchUpload": ObjectGone,
    "NoSuchVersion": ObjectGone,
    "PreconditionFailed": ObjectChanged,
    "InvalidObjectState": SternaError,
    "GlacierExpeditedRetrievalNotAvailable": SternaError,  # a 503 that asks for another tier, not for fewer requests
    "NotImplemented": Unsupported,
    "XNotImplemented": Unsupported,
    "MissingContentMD5": Unsupported,
}
_BY_STATUS: Final[dict[int, type[SternaError]]] = {
    301: WrongSetting,
    304: Corrupt,  # no read of ours asks whether something has changed: whoever answers so, answers something else
    307: WrongSetting,
    308: WrongSetting,
    401: AccessDenied,
    403: AccessDenied,
    404: ObjectGone,
    408: RetryLater,
    409: SternaError,
    412: ObjectChanged,
    429: SlowDown,
    500: RetryLater,
    501: Unsupported,
    502: RetryLater,
    503: SlowDown,
    504: RetryLater,
}


class Retries(msgspec.Struct, frozen=True):
    """How long to go on.

    ``attempts`` of one request, ``first_pause_s`` doubled per attempt up to ``longest_pause_s``, with full jitter.
    ``budget``: repetitions that one endpoint may cost before successes have paid for them: a tenth of a try is paid
    back per success, so that 10 % errors go on for ever and 100 % errors end soon (H27).
    """

    attempts: int = 8
    first_pause_s: float = 0.1
    longest_pause_s: float = 20.0
    budget: float = 500.0


def judge(response: Response, operation: str, bucket: str, key: str) -> SternaError:
    """The error that an answer other than the expected one is, with one sentence for people."""
    code, words, request_id = error_of(response.body)
    request_id = request_id or response.text(b"x-amz-request-id")
    status = response.status
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status)
    if kind is None:
        kind = RetryLater if status >= 500 or 200 <= status < 300 else SternaError
    said = printable(f"{code}: {words}" if words else code or f"HTTP status {status}")[:500]
    name = printable(key) if key else f"s3://{bucket}"
    return kind(
        _sentence(kind, code, status, operation, bucket, name, said),
        operation=operation,
        key=key,
        status=status,
        code=printable(code)[:100] or str(status),
        words=printable(words)[:500],
        request_id=printable(request_id)[:200],
        retry_after_s=_retry_after(response),
    )


def _sentence(
    kind: type[SternaError], code: str, status: int, operation: str, bucket: str, name: str, said: str
) -> str:
    if code == "NoSuchBucket" or (code == "InvalidBucketName" and not can_be_made(bucket)):
        return _no_such_bucket(bucket, operation)
    if code in ("InvalidAccessKeyId", "XAdminUserNotFound"):
        return "The server does not know the access key; check the profile or AWS_ACCESS_KEY_ID, and the endpoint."
    if code == "SignatureDoesNotMatch":
        return "The server computes another signature: the secret key is wrong, or a proxy changes requests."
    if code == "RequestTimeTooSkewed":
        return "The clocks of this machine and of the server differ by more than 15 minutes; set this machine's clock."
    if code == "InvalidObjectState":
        return f"{name} is archived (Glacier); request its restore before it can be read."
    if kind is AccessDenied:
        return f"{operation} of {name} is denied ({said}); allow {_permission(operation)} or use other credentials."
    if kind is CredentialsExpired:
        return f"The credentials have expired ({said})."
    if kind is ObjectGone:
        return f"{name} is not there ({said})."
    if code in ("PermanentRedirect", "AuthorizationHeaderMalformed") or status in (301, 307, 308):
        return f"The bucket {bucket} is in another region or behind another endpoint ({said}); give --region."
    return f"{operation} of {name} failed: {said}."


def no_such_bucket(bucket: str) -> str:
    """The sentence for who looks into a bucket: an empty new one would not help."""
    return f"The bucket {bucket} does not exist at this endpoint; check its name, the endpoint and the region."


def can_be_made(bucket: str) -> bool:
    """Whether a new bucket may have this name; older ones, and those of some servers, have others too."""
    return re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket) is not None


def _no_such_bucket(bucket: str, operation: str) -> str:
    if not can_be_made(bucket) and not bucket.startswith("arn:"):
        return (
            f"The bucket {bucket} does not exist, and that is no name for a bucket, which is 3 to 63 of a-z, 0-9, - and .;"
            " check it."
        )
    if operation in _WRITES:
        return f"The bucket {bucket} does not exist; create it with: sterna mb s3://{bucket}"
    if operation == "List":  # the first request of a sync to the bucket as well as of one from it
        looked = no_such_bucket(bucket).rstrip(".")
        return f"{looked}, or, where it is to be written to, create it with: sterna mb s3://{bucket}"
    return no_such_bucket(bucket)


_WRITES = ("Put", "Copy", "CreateUpload", "UploadPart", "CopyPart", "Complete")
_PERMISSIONS = {
    "Put": "s3:PutObject",
    "Copy": "s3:GetObject at the source and s3:PutObject at the destination (with tags also s3:GetObjectTagging and"
    " s3:PutObjectTagging)",
    "CopyPart": "s3:GetObject at the source and s3:PutObject at the destination",
    "GetTagging": "s3:GetObjectTagging",
    "PutTagging": "s3:PutObjectTagging",
    "CreateUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "Complete": "s3:PutObject",
    "Abort": "s3:AbortMultipartUpload",
    "ListUploads": "s3:ListBucketMultipartUploads",
    "ListParts": "s3:ListMultipartUploadParts",
    "Get": "s3:GetObject",
    "Head": "s3:GetObject (and s3:ListBucket, without which absent and forbidden look alike)",
    "List": "s3:ListBucket",
    "ListVersions": "s3:ListBucketVersions",
    "HeadBucket": "s3:ListBucket",
    "Delete": "s3:DeleteObject",
    "DeleteObjects": "s3:DeleteObject",
    "CreateBucket": "s3:CreateBucket",
    "ListBuckets": "s3:ListAllMyBuckets",
}


def _permission(operation: str) -> str:
    return _PERMISSIONS.get(operation, f"s3:{operation}")


def _retry_after(response: Response) -> float | None:
    value = response.headers.get(b"retry-after", b"")
    return min(float(value), 300.0) if value.isdigit() else None


class Budget:
    """The tries that an endpoint may still cost."""

    def __init__(self, retries: Retries) -> None:
        self._retries = retries
        self._left = retries.budget

    def __repr__(self) -> str:
        return f"<Budget {self._left:.1f} of {self._retries.budget:.0f}>"

    def succeeded(self) -> None:
        """An attempt succeeded and pays a tenth of a try back."""
        if self._left < self._retries.budget:
            self._left = min(self._retries.budget, self._left + 0.1)

    def pause_s(self, error: SternaError, attempt: int) -> float | None:
        """How long to wait before attempt ``attempt + 1``, or None: give up. Takes a try from the budget.

        A kept connection that was closed before any answer costs nothing and waits for nothing (H36). SlowDown is
        answered by the pace, not by the budget.
        """
        if not isinstance(error, RetryLater) or attempt >= self._retries.attempts:
            return None
        if isinstance(error, ConnectionLost) and error.clean and attempt <= 2:
            return 0.0
        if not isinstance(error, SlowDown):
            if self._left < 1:
                return None
            self._left -= 1
        ceiling = min(self._retries.longest_pause_s, self._retries.first_pause_s * 2 ** (attempt - 1))
        pause = random.uniform(0, ceiling)
        return max(pause, error.retry_after_s or 0.0)
