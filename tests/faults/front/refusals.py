"""Kinds of faults: answers that refuse."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

from tests.faults.front.answer import Answer
from tests.faults.front.exchange import Exchange
from tests.faults.front.fault import Fault, Kind
from tests.faults.front.pages import key_of
from tests.faults.front.s3 import error


@dataclass(frozen=True)
class Refuse(Kind):
    """An error as S3 says it. ``early``: before the body is read, and the connection is closed, as S3 does."""

    status: int
    code: str = ""
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    inside: Mapping[str, str] = field(default_factory=dict)  # further elements of the <Error>, <Region> or <Endpoint>
    early: bool = False
    applied: bool = False  # the server is asked all the same; its answer is thrown away

    def instead(self, exchange: Exchange, fault: Fault) -> Answer | None:
        if self.applied:
            return None
        if not self.early:
            exchange.body()
        fault.hit()
        return self._answer(exchange)

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        if self.applied:
            answer.whole()
            fault.hit()
            said = self._answer(exchange)
            answer.status, answer.reason, answer.headers = said.status, said.reason, said.headers
            answer.replace(said.whole())

    def _answer(self, exchange: Exchange) -> Answer:
        code = self.code or HTTPStatus(self.status).phrase.replace(" ", "")
        answer = error(exchange.request, self.status, code, self.message, self.inside)
        for name, value in self.headers.items():
            answer.set(name, value)
        answer.close = self.early and not exchange.is_read
        return answer


@dataclass(frozen=True)
class Html(Kind):
    """A page for people, as gateways and captive portals send it: Html(), Html(502), Html(504)."""

    status: int = 200

    def instead(self, exchange: Exchange, fault: Fault) -> Answer | None:
        exchange.body()
        fault.hit()
        phrase = HTTPStatus(self.status).phrase
        body = f"<!DOCTYPE html>\n<html><head><title>{phrase}</title></head><body><h1>{phrase}</h1><hr></body></html>\n"
        return Answer(self.status, [("Content-Type", "text/html"), ("Server", "gateway")], body.encode())


@dataclass(frozen=True)
class Redirect(Kind):
    """Sent elsewhere: ``to`` is ``http://host:port``, the path and query stay."""

    to: str
    status: int = 307
    code: str = "TemporaryRedirect"
    with_location: bool = True

    def instead(self, exchange: Exchange, fault: Fault) -> Answer | None:
        exchange.body()
        fault.hit()
        answer = error(
            exchange.request, self.status, self.code, "Please use this address.", {"Endpoint": urlsplit(self.to).netloc}
        )
        if self.with_location:
            answer.set("Location", self.to + exchange.request.target)
        return answer


@dataclass(frozen=True)
class SkewedClock(Kind):
    """The server's clock is ``by_s`` seconds ahead: it says so in Date, and refuses what was signed 15 minutes off."""

    by_s: float

    def instead(self, exchange: Exchange, fault: Fault) -> Answer | None:
        signed = exchange.request.headers.get("x-amz-date", "")
        try:
            at = datetime.strptime(signed, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        except ValueError:
            return None
        if abs((self._now() - at).total_seconds()) <= 900:
            return None
        exchange.body()
        fault.hit()
        message = "The difference between the request time and the current time is too large."
        inside = {"RequestTime": signed, "ServerTime": self._now().strftime("%Y-%m-%dT%H:%M:%SZ")}
        return error(exchange.request, 403, "RequestTimeTooSkewed", message, inside)

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        answer.set("Date", format_datetime(self._now(), usegmt=True))

    def _now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.by_s)


@dataclass(frozen=True)
class RefuseChecksums(Kind):
    """The server refuses a request that names one of these headers, as strict old ones do."""

    headers: tuple[str, ...] = ("x-amz-checksum-crc64nvme",)
    status: int = 400
    code: str = "InvalidArgument"

    def instead(self, exchange: Exchange, fault: Fault) -> Answer | None:
        named = [name for name in self.headers if name in exchange.request.headers]
        if not named:
            return None
        exchange.body()
        fault.hit()
        return error(exchange.request, self.status, self.code, f"Unsupported header {named[0]}")


@dataclass(frozen=True)
class DeleteErrors(Kind):
    """DeleteObjects answers 200, with an <Error> for some keys, which were not deleted.

    ``keys`` or the first ``count`` of those asked for (None: all). ``twice``: each error stands there twice;
    ``strange``: keys that nobody asked for are in the answer; ``silent``: they are in neither list.
    """

    keys: tuple[str, ...] = ()
    count: int | None = None
    code: str = "AccessDenied"
    twice: bool = False
    silent: bool = False
    strange: tuple[str, ...] = ()

    def fits(self, operation: str) -> bool:
        return operation == "DeleteObjects"

    def upward(self, exchange: Exchange, fault: Fault) -> None:
        spared = self._spared(exchange)
        body = re.sub(
            rb"<Object>.*?</Object>",
            lambda m: b"" if key_of(m[0]) in spared else m[0],
            exchange.body(),
            flags=re.DOTALL,
        )
        fault.hit()
        exchange.replace_body(body)
        md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
        exchange.header_lines.append(("Content-MD5", md5))

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        spared = self._spared(exchange)
        if b"<DeleteResult" not in answer.whole():  # all were spared, and some servers refuse an empty request
            answer.status, answer.reason = 200, ""
            answer.set("Content-Type", "application/xml")
            answer.replace(b'<?xml version="1.0" encoding="UTF-8"?>\n<DeleteResult></DeleteResult>')
        body = re.sub(rb"<DeleteResult([^>]*)/>", rb"<DeleteResult\1></DeleteResult>", answer.whole())
        errors = "".join(
            f"<Error><Key>{escape(key)}</Key><Code>{self.code}</Code><Message>said the front</Message></Error>"
            for key in ([] if self.silent else [*spared, *(spared if self.twice else [])])
        )
        errors += "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in self.strange)
        answer.replace(body.replace(b"</DeleteResult>", errors.encode("utf-8", "surrogateescape") + b"</DeleteResult>"))

    def _spared(self, exchange: Exchange) -> list[str]:
        sent = exchange.body() if exchange.request.body is None else exchange.request.body
        asked = [key_of(found) for found in re.findall(rb"<Object>.*?</Object>", sent, re.DOTALL)]
        return [key for key in asked if key in self.keys] if self.keys else asked[: self.count]


SLOW_DOWN = Refuse(503, "SlowDown", "Please reduce your request rate.")
SERVICE_UNAVAILABLE = Refuse(503, "ServiceUnavailable")
INTERNAL_ERROR = Refuse(500, "InternalError", "We encountered an internal error. Please try again.")
BAD_GATEWAY = Html(502)
GATEWAY_TIMEOUT = Html(504)
TOO_MANY_REQUESTS = Refuse(429, "TooManyRequests", headers={"Retry-After": "1"})
REQUEST_TIMEOUT = Refuse(400, "RequestTimeout", "Your socket connection was not read from or written to in time.")
EXPIRED_TOKEN = Refuse(400, "ExpiredToken", "The provided token has expired.")
ACCESS_DENIED = Refuse(403, "AccessDenied", "Access Denied")
INVALID_ACCESS_KEY = Refuse(403, "InvalidAccessKeyId")
SIGNATURE_MISMATCH = Refuse(403, "SignatureDoesNotMatch")
NO_SUCH_KEY = Refuse(404, "NoSuchKey")
NO_SUCH_BUCKET = Refuse(404, "NoSuchBucket")
NO_SUCH_UPLOAD = Refuse(404, "NoSuchUpload", "The specified multipart upload does not exist.")
PRECONDITION_FAILED = Refuse(412, "PreconditionFailed")
CONDITIONAL_CONFLICT = Refuse(409, "ConditionalRequestConflict")
OPERATION_ABORTED = Refuse(409, "OperationAborted")
INVALID_RANGE = Refuse(416, "InvalidRange")
NOT_IMPLEMENTED = Refuse(501, "NotImplemented")
BAD_DIGEST = Refuse(400, "BadDigest")
INVALID_OBJECT_STATE = Refuse(403, "InvalidObjectState", "The operation is not valid for the object's storage class")


def permanent_redirect(region: str) -> Refuse:
    """301 without a Location, as S3 answers in the wrong region; the right one is in a header."""
    inside = {"Endpoint": f"s3.{region}.amazonaws.com"}
    return Refuse(301, "PermanentRedirect", "Wrong region.", {"x-amz-bucket-region": region}, inside)


def wrong_region(region: str) -> Refuse:
    """400 AuthorizationHeaderMalformed with the region that S3 expects."""
    message = f"The authorization header is malformed; the region is wrong; expecting '{region}'"
    headers = {"x-amz-bucket-region": region}
    return Refuse(400, "AuthorizationHeaderMalformed", message, headers, {"Region": region})
