"""Send a request to one side's servers: signed, retried by the table, corrected once where region or clock are off."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Callable
from typing import Protocol

from msgspec.structs import replace

from sterna.model.descriptors import requests_at_once
from sterna.model.errors import CredentialsExpired, SlowDown, SternaError, WrongSetting
from sterna.model.events import Emit, Notice, Tally, ignore
from sterna.wire.connection import FilePart, Response, Sink
from sterna.wire.credentials import Credentials, CredentialSource
from sterna.wire.dates import moment_s
from sterna.wire.endpoints import (
    DEFAULT_REGION,
    Endpoint,
    addressing_from_environment,
    endpoints_for,
    region_from_refusal,
    same_partition,
    tls_context,
)
from sterna.wire.limits import Allowance, Held, places_at
from sterna.wire.pace import Gate
from sterna.wire.pool import Pool
from sterna.wire.proxies import proxy_for
from sterna.wire.retry import Budget, Retries, judge
from sterna.wire.side import Side
from sterna.wire.sigv4 import EMPTY_SHA256, UNSIGNED_PAYLOAD, Signer, sha256_hex

Body = bytes | bytearray | memoryview | FilePart
_HASH_INLINE = 256 * 1024  # bytes that SHA-256 does in 0.13 ms; above it, a thread hashes while the loop goes on
_RENEW_AHEAD_S = 300.0  # as long as the credential sources themselves renew ahead
_USER_AGENT = "sterna"


class Request:
    """One request as an S3 operation. ``headers`` have lower-case names and stripped values, without host and length.

    ``query`` is canonical. ``good`` are the statuses that are no error. ``sink`` takes the body of 200 and 206;
    ``restart`` is called before each further attempt, to make the sink empty again. ``check`` looks at an answer with a
    good status and raises SternaError where it is not what it must be: such an answer is one more failed attempt.
    ``passed`` is told how many bytes of a large body went out. Errors whose code is in ``final`` are the caller's to deal
    with, and never repeated. ``takes_long``: the server moves bytes before it answers, and may send blanks meanwhile.
    """

    __slots__ = (
        "body",
        "bucket",
        "check",
        "final",
        "good",
        "headers",
        "key",
        "limit",
        "method",
        "operation",
        "passed",
        "query",
        "restart",
        "sink",
        "takes_long",
    )

    def __init__(
        self,
        operation: str,
        method: str,
        bucket: str,
        key: str = "",
        *,
        query: str = "",
        headers: dict[str, str] | None = None,
        body: Body | None = None,
        good: tuple[int, ...] = (200,),
        sink: Sink | None = None,
        restart: Callable[[], None] | None = None,
        limit: int = 16 * 1024 * 1024,
        check: Callable[[Response], None] | None = None,
        final: tuple[str, ...] = (),
        passed: Callable[[int], None] | None = None,
        takes_long: bool = False,
    ) -> None:
        self.operation = operation
        self.method = method
        self.bucket = bucket
        self.key = key
        self.query = query
        self.headers = headers or {}
        self.body = body
        self.good = good
        self.sink = sink
        self.restart = restart
        self.limit = limit
        self.check = check
        self.final = final
        self.passed = passed
        self.takes_long = takes_long


class KeySource(Protocol):
    """What a client asks for credentials, and for what a profile says; each may block, and is called in threads."""

    def now(self) -> Credentials | None: ...

    def refreshed(self, old: Credentials) -> Credentials: ...

    def region(self) -> str | None: ...

    def endpoint_url(self) -> str | None: ...


class Client:
    """One side: its endpoints, connections, credentials and pace. It lives in one loop; ``aclose`` ends it.

    ``gate`` bounds the requests in flight: whoever sends many enters it around each. ``keys`` is where credentials come
    from, by default what the side's identity names.
    """

    def __init__(
        self,
        side: Side,
        bucket: str,
        *,
        workers: int = 256,
        tally: Tally | None = None,
        emit: Emit = ignore,
        keys: KeySource | None = None,
    ) -> None:
        environ = os.environ
        self.bucket = bucket
        self.tally = tally if tally is not None else Tally()
        self.emit = emit
        self._most = requests_at_once()  # whatever is allowed besides
        self.gate = Gate(min(workers, self._most), self.tally)
        self.gate.held_by = self._held_by
        self.allowance: Allowance | None = None  # what the run may use; None for all that comes
        self.divide: Callable[[Allowance], Allowance] = _undivided  # gives the part of it that is this process's
        self._addressing = addressing_from_environment(side.addressing, environ)
        self._side = side
        self.keys: KeySource = keys or CredentialSource(side.identity, environ, region=self._addressing.region)
        self._region = self._addressing.region or ""
        self._credentials: Credentials | None = None
        self._signer: Signer | None = None
        self._renew_s = float("inf")  # when to ask for fresh keys, in seconds since 1970
        self._ready = False
        self._lock = asyncio.Lock()
        self._pools: list[Pool] = []
        self._retired: list[Pool] = []  # of a region that was wrong
        self._budget = Budget(side.retries)
        self._skew_s = 0.0
        self._region_corrected = False
        self._common: dict[str, str] = {}
        if side.request_payer:
            self._common["x-amz-request-payer"] = "requester"
        if side.expected_bucket_owner:
            self._common["x-amz-expected-bucket-owner"] = side.expected_bucket_owner

    def __repr__(self) -> str:
        return f"<Client {self.bucket} in {self._region or 'no region yet'}: {self.gate!r}, {self._pools!r}>"

    @property
    def endpoint(self) -> Endpoint:
        """Where requests go; known after the first."""
        return self._pools[0].endpoint

    @property
    def region(self) -> str:
        """The region that requests are signed for; known after the first."""
        return self._region

    @property
    def credentials(self) -> Credentials | None:
        """The keys of now, None for anonymous; known after the first request."""
        return self._credentials

    @property
    def settled_side(self) -> Side:
        """The side with region and endpoints as they were found out: nothing of it needs to be looked up again."""
        return replace(self._side, addressing=replace(self._addressing, region=self._region))

    @property
    def sends_files(self) -> bool:
        """Whether a body may be a FilePart: nothing encrypts it on the way. Known after the first request."""
        return bool(self._pools) and self._pools[0].sends_files

    @property
    def taps_bodies(self) -> bool:
        """Whether threads read the bodies of large objects (see ``Tap``). Known after the first request."""
        return bool(self._pools) and self._pools[0].taps_bodies

    @property
    def decrypts(self) -> bool:
        """Whether answers come over TLS. Known after the first request."""
        return bool(self._pools) and self._pools[0].endpoint.is_tls

    @property
    def hashes_payloads(self) -> bool:
        """Whether a FilePart needs its SHA-256: requests are signed, and neither TLS nor loopback protects the body."""
        return self._signer is not None and not self._pools[0].is_trusted

    def allow(self, allowance: Allowance) -> None:
        """Use no more than this from now on, also for what is in flight."""
        self.allowance = allowance
        own = self.divide(allowance)
        self.gate.set_most(min(own.workers, self._most, places_at(own.up), places_at(own.down)))
        for pool in self._pools:
            pool.throttle.allow(own)

    def held(self) -> Held:
        """Which limits hold requests back."""
        each = [pool.throttle.held() for pool in self._pools if pool.throttle.is_set]
        return Held(*map(any, zip(*each, strict=True))) if each else Held()

    def _held_by(self) -> str:
        """In words, what the run may not go beyond; nothing where it is not held back."""
        held = self.held()
        return "--max-requests-per-second" if held.requests else "--bwlimit" if held.up or held.down else ""

    @property
    def skew_s(self) -> float:
        """How far the server's clock is ahead of ours, as far as a refusal has shown it."""
        return self._skew_s

    @property
    def retries(self) -> Retries:
        """How long this side goes on, also for those who look again and again."""
        return self._side.retries

    async def aclose(self) -> None:
        """End the connections."""
        await self.gate.aclose()
        for pool in (*self._retired, *self._pools):
            await pool.close()

    async def prepare(self) -> None:
        """Find credentials, region and endpoints, unless that has been done. ``send`` does it by itself."""
        if not self._ready:
            await self._prepare()

    async def call(self, request: Request) -> Response:
        """``send`` within the gate: for requests that nobody else paces."""
        async with self.gate:
            return await self.send(request)

    async def send(self, request: Request) -> Response:
        """Send until an answer with a good status came; raises the error that the last attempt was.

        Repeats what the retry table allows, on a fresh signature each time. Expired credentials are refreshed once
        for all requests; a wrong region and a wrong clock are corrected once. None of these counts as an attempt.
        """
        if not self._ready:
            await self._prepare()
        if time.time() > self._renew_s:
            await self._renew()
        attempt, refreshed, skewed = 1, 0, False
        began = time.monotonic()
        while True:
            credentials = self._credentials
            region = self._region
            try:
                response = await self._attempt(request)
                if response.status in request.good:
                    if request.check is not None:
                        request.check(response)
                    self._budget.succeeded()
                    return response
                error = judge(response, request.operation, request.bucket, request.key)
                # The answer to HEAD has no body, so it does not say why: its Date tells a wrong clock.
                untold = request.method == "HEAD" and error.code == str(response.status)
                if response.status in (301, 307, 308, 400, 403) and await self._follow_region(response, region):
                    continue
                late = error.code == "RequestTimeTooSkewed" or (untold and response.status == 403)
                if late and not skewed:
                    skewed = self._correct_clock(response)
                    if skewed:
                        continue
                if untold and response.status == 400 and not refreshed and await self._has_fresher(credentials):
                    refreshed += 1  # S3 answers 400 for an expired token; a session's keys are asked for anew, once
                    continue
            except SternaError as lost:
                error = lost
                error.operation = error.operation or request.operation
                error.key = error.key or request.key
            error.attempts = attempt
            error.elapsed_s = time.monotonic() - began
            if isinstance(error, CredentialsExpired) and refreshed < 2:
                refreshed += 1
                await self._refresh(credentials)
                continue
            if isinstance(error, SlowDown):
                self.gate.slow_down()
            if error.code in request.final:
                raise error
            pause = self._budget.pause_s(error, attempt)
            if pause is None or (not self._pools[0].has_answered and attempt >= 4):
                raise error
            self.tally.retries += 1
            attempt += 1
            if pause:
                await asyncio.sleep(pause)
            if request.restart is not None:
                request.restart()

    async def _attempt(self, request: Request) -> Response:
        pool = self._pools[0]
        throttle = pool.throttle
        brings_object = throttle.is_set and await throttle.admit(
            request.method, request.key, len(request.body) if request.body is not None else None
        )
        connection = pool.idle() or await pool.open()
        connection.brings_object = brings_object
        try:
            head = await self._head(pool, request)
            connection.is_patient = request.takes_long
            self.tally.requests += 1
            return await connection.exchange(
                head, request.body, bodyless=request.method == "HEAD", sink=request.sink, limit=request.limit,
                passed=request.passed,
            )  # fmt: skip
        finally:
            pool.release(connection)

    async def _head(self, pool: Pool, request: Request) -> bytes:
        endpoint = pool.endpoint
        host, path = endpoint.target(request.bucket, request.key)
        headers = {"host": host, **request.headers}
        if request.bucket:
            headers |= self._common
        body = request.body
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        if body is not None:
            lines += f"content-length: {len(body)}\r\n"
        elif request.method in ("PUT", "POST"):
            lines += "content-length: 0\r\n"
        signer = self._signer
        if signer is not None:
            if body is None:
                payload_hash = EMPTY_SHA256
            elif pool.is_trusted:
                payload_hash = UNSIGNED_PAYLOAD
            elif isinstance(body, FilePart):
                payload_hash = body.sha256
            elif len(body) <= _HASH_INLINE:
                payload_hash = sha256_hex(body)
            else:
                payload_hash = await asyncio.to_thread(sha256_hex, body)
            lines += signer.sign(request.method, path, request.query, headers, payload_hash, time.time() + self._skew_s)
        target = f"{path}?{request.query}" if request.query else path
        prefix, grant = pool.absolute
        return f"{request.method} {prefix}{target} HTTP/1.1\r\n{lines}{grant}user-agent: {_USER_AGENT}\r\n\r\n".encode(
            "utf-8", "surrogateescape"
        )

    async def _prepare(self) -> None:
        async with self._lock:
            if self._ready:
                return
            await asyncio.to_thread(self._find)
            self._settle()
            self._ready = True

    def _find(self) -> None:
        """Credentials, region and endpoint, as far as options and environment leave them to a profile; may block."""
        self._credentials = self.keys.now()
        if not self._addressing.urls and (url := self.keys.endpoint_url()):
            self._addressing = replace(self._addressing, urls=(url,))
        if not self._region:
            self._region = self.keys.region() or DEFAULT_REGION

    def _settle(self) -> None:
        """Make pools and signer of what is known now."""
        endpoints = endpoints_for(self._addressing, self.bucket, self._region)
        if [pool.endpoint for pool in self._pools] != list(endpoints):
            for pool in self._pools:
                pool.retire()
            self._retired += self._pools
            self._pools = [
                Pool(endpoint, proxy_for(endpoint, os.environ), self._tls, self._side.timeouts)
                for endpoint in endpoints
            ]
            if self.allowance is not None:
                self.allow(self.allowance)
        credentials = self._credentials
        # An access point has a region of its own, whatever the side's is.
        if credentials is not None:
            _refuse_control(credentials)
        self._signer = credentials.signer(self._pools[0].endpoint.region) if credentials is not None else None
        expires_s = credentials.expires_s if credentials is not None else None
        self._renew_s = expires_s - _RENEW_AHEAD_S if expires_s is not None else float("inf")

    def _tls(self) -> ssl.SSLContext:
        return tls_context(self._addressing)

    async def _refresh(self, old: Credentials | None) -> None:
        async with self._lock:
            if old is None or self._credentials is not old:
                return  # somebody else has been here
            self._credentials = await asyncio.to_thread(self.keys.refreshed, old)
            self._settle()
            self.emit(Notice("The credentials had expired and were refreshed.", code="credentials"))

    async def _has_fresher(self, old: Credentials | None) -> bool:
        """Whether keys of a session could be replaced; those without a token do not expire."""
        if old is None or not old.token:
            return False
        try:
            await self._refresh(old)
        except SternaError:
            return False  # then it was not that, or nothing can be done: the answer stands
        return True

    async def _renew(self) -> None:
        """Take fresh keys before the present ones expire; where there are none yet, these still serve."""
        async with self._lock:
            if time.time() <= self._renew_s:
                return
            self._renew_s = time.time() + 60  # the next try, if this one brings the same keys
            fresh = await asyncio.to_thread(self.keys.now)
            if fresh is not None and fresh != self._credentials:
                self._credentials = fresh
                self._settle()

    async def _follow_region(self, response: Response, used: str) -> bool:
        """Take the bucket's region from a refusal, once; true where the request is worth sending again."""
        if self._region != used:
            return True  # another request has learned it meanwhile
        region = region_from_refusal(response.status, response.headers, bytes(response.body))
        if region is None or region == self._region or self._region_corrected:
            return False
        if not self._addressing.urls and not same_partition(region, self._region):
            return False  # keys of one partition have no business in another (H95)
        self._region_corrected = True
        async with self._lock:
            self.emit(
                Notice(
                    f"The bucket {self.bucket} is in {region}, not in {self._region}; going on there.", code="region"
                )
            )
            self._region = region
            self._settle()
        return True

    def _correct_clock(self, response: Response) -> bool:
        """Take the server's time from its Date header (H28)."""
        try:
            server = moment_s(response.headers.get(b"date", b""))
        except ValueError:
            return False
        skew = server - time.time()
        if abs(skew - self._skew_s) < 60:
            return False
        self._skew_s = skew
        self.emit(
            Notice(f"This machine's clock is off by {-skew:+.0f} s; signing by the server's.", "warning", "clock")
        )
        return True


def _undivided(allowance: Allowance) -> Allowance:
    return allowance


def _refuse_control(credentials: Credentials) -> None:
    """Keys go into headers: a line end in one would begin another header."""
    for text in (credentials.access_key, credentials.secret_key.reveal(), credentials.token.reveal()):
        if any(ord(letter) < 0x20 or ord(letter) == 0x7F for letter in text):
            raise WrongSetting("A key or token holds a line end or another control character; copy it anew.")
