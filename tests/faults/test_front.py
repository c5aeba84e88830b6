"""Hold the front to what it says: each fault is seen from outside, with plain sockets."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.conftest import Sterna
from tests.faults import front as f
from tests.faults.front import Front, classify, is_nth
from tests.servers.oracle import Bucket
from tests.servers.server import Server

BODY = bytes(range(256)) * 40  # 10,240 bytes
CRC = {"x-amz-checksum-crc32": "AAAAAA=="}


@dataclass
class Said:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        found = re.search(rb"<Code>(\w+)</Code>", self.body)
        return found[1].decode() if found else ""


@contextmanager
def connection(front: Front, timeout_s: float = 10) -> Iterator[http.client.HTTPConnection]:
    with closing(http.client.HTTPConnection(front.host, front.port, timeout=timeout_s)) as opened:
        yield opened


def ask_on(
    opened: http.client.HTTPConnection,
    method: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Said:
    opened.request(method, path, body, dict(headers or {}))
    answer = opened.getresponse()
    content = answer.read()
    return Said(answer.status, {name.lower(): value for name, value in answer.getheaders()}, content)


def ask(
    front: Front, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
) -> Said:
    with connection(front) as opened:
        return ask_on(opened, method, path, headers, body)


def raw(front: Front) -> socket.socket:
    return socket.create_connection((front.host, front.port), 10)


def all_of(sock: socket.socket) -> bytes:
    """Everything that comes until the other side closes."""
    found = b""
    while data := sock.recv(65536):
        found += data
    return found


def path(bucket: Bucket, key: str = "k", query: str = "") -> str:
    return f"/{bucket.name}/{key}" + (f"?{query}" if query else "")


def listing(front: Front, bucket: Bucket, query: str = "") -> bytes:
    return ask(front, "GET", f"/{bucket.name}?list-type=2&{query}").body


def keys_in(page: bytes) -> list[str]:
    return [key.decode() for key in re.findall(rb"<Contents>.*?<Key>(.*?)</Key>", page, re.DOTALL)]


def fill(bucket: Bucket, count: int) -> list[str]:
    keys = [f"k{number:02d}" for number in range(count)]
    for key in keys:
        bucket.put(key, key.encode())
    return keys


# Operations


@pytest.mark.parametrize(
    ("method", "target", "headers", "operation"),
    [
        ("GET", "/", {}, "ListBuckets"),
        ("HEAD", "/b", {}, "HeadBucket"),
        ("PUT", "/b", {}, "CreateBucket"),
        ("PUT", "/b/", {}, "CreateBucket"),
        ("PUT", "/b?versioning", {}, "PutBucketSub"),
        ("DELETE", "/b", {}, "DeleteBucket"),
        ("GET", "/b?location", {}, "GetLocation"),
        ("GET", "/b?list-type=2&prefix=a", {}, "ListV2"),
        ("GET", "/b?prefix=a", {}, "ListV1"),
        ("GET", "/b/?delimiter=/", {}, "ListV1"),
        ("GET", "/b?versions", {}, "ListVersions"),
        ("GET", "/b?uploads", {}, "ListUploads"),
        ("GET", "/b?acl", {}, "GetBucketSub"),
        ("POST", "/b?delete", {}, "DeleteObjects"),
        ("HEAD", "/b/k", {}, "Head"),
        ("GET", "/b/k", {}, "Get"),
        ("GET", "/b/k", {"Range": "bytes=0-1"}, "GetRange"),
        ("GET", "/b/k?uploadId=1", {}, "ListParts"),
        ("GET", "/b/k?tagging", {}, "GetSub"),
        ("PUT", "/b/k", {}, "Put"),
        ("PUT", "/b//", {}, "Put"),
        ("PUT", "/b/k", {"x-amz-copy-source": "/b/o"}, "Copy"),
        ("PUT", "/b/k?partNumber=1&uploadId=1", {}, "UploadPart"),
        ("PUT", "/b/k?partNumber=1&uploadId=1", {"x-amz-copy-source": "/b/o"}, "UploadPartCopy"),
        ("POST", "/b/k?uploads", {}, "CreateMPU"),
        ("POST", "/b/k?uploadId=1", {}, "Complete"),
        ("DELETE", "/b/k?uploadId=1", {}, "Abort"),
        ("DELETE", "/b/k", {}, "Delete"),
        ("DELETE", "/b/k?tagging", {}, "DeleteSub"),
        ("PATCH", "/b/k", {}, "Other"),
    ],
)
def test_requests_are_classified(method: str, target: str, headers: dict[str, str], operation: str) -> None:
    lines = "".join(f"\r\n{name}: {value}" for name, value in headers.items())
    request = f.parse_request(f"{method} {target} HTTP/1.1\r\nHost: h{lines}".encode(), 1, 1)
    assert request.operation == operation
    assert request.operation == classify(method, request.key, request.bucket, request.query, request.headers)


def test_keys_are_decoded_once() -> None:
    request = f.parse_request(b"GET /b/a%2520b/%2F%2e%C3%A9%FF?prefix=a%20b HTTP/1.1", 1, 1)
    assert request.key == "a%20b//.é\udcff"
    assert request.query == {"prefix": "a b"}


def test_nth_is_a_number_a_range_or_words() -> None:
    def meant(nth: f.Nth) -> list[int]:
        return [count for count in range(1, 8) if is_nth(nth, count)]

    assert meant(2) == [2]
    assert meant(range(2, 4)) == [2, 3]
    assert meant({1, 7}) == [1, 7]
    assert meant("always") == [1, 2, 3, 4, 5, 6, 7]
    assert meant("every 3rd") == [3, 6]
    assert meant("from 6th") == [6, 7]
    with pytest.raises(ValueError, match="nth is"):
        is_nth("sometimes", 1)


# The front as a mirror


@pytest.mark.parametrize("size", [0, 1, 10_000, 3_000_000])
def test_without_faults_everything_goes_through(front: Front, bucket: Bucket, size: int) -> None:
    body = (BODY * 300)[:size]
    with connection(front) as opened:
        assert ask_on(opened, "PUT", path(bucket), body=body).status == 200
        assert ask_on(opened, "GET", path(bucket)).body == body
        head = ask_on(opened, "HEAD", path(bucket))
        assert head.headers["content-length"] == str(size)
        assert head.body == b""
        if size:
            part = ask_on(opened, "GET", path(bucket), {"Range": "bytes=0-0"})
            assert (part.status, part.body) == (206, body[:1])
        assert ask_on(opened, "GET", path(bucket, "absent")).code == "NoSuchKey"
        assert ask_on(opened, "DELETE", path(bucket)).status == 204
    assert bucket.keys() == []
    assert front.connections == 1
    assert front.counts()["Put"] == 1


def test_requests_are_recorded(front: Front, bucket: Bucket) -> None:
    front.keep_bodies = True
    with connection(front) as opened:
        ask_on(opened, "PUT", path(bucket, "a%20b"), {"x-amz-meta-A": "1"}, b"body")
        ask_on(opened, "GET", path(bucket, "a%20b"))
    put, get = front.requests
    assert (put.operation, put.key, put.length, put.body, put.status) == ("Put", "a b", 4, b"body", 200)
    assert put.headers["x-amz-meta-a"] == "1"
    assert (get.connection, get.nth_on_connection) == (1, 2)
    assert put.at < put.answered_at <= get.at
    assert front.count("Put") == front.count("Put", key="a b") == front.count(key=re.compile("^a")) - 1 == 1
    assert "2 requests" in repr(front)


def test_a_chunked_upload_is_stored_whole(front: Front, bucket: Bucket) -> None:
    with connection(front) as opened:
        opened.request("PUT", path(bucket), iter([b"ab", b"c" * 100_000]), encode_chunked=True)
        assert opened.getresponse().read() == b""
    assert bucket.get("k") == b"ab" + b"c" * 100_000


def test_the_front_says_continue_before_a_body(front: Front, bucket: Bucket) -> None:
    with raw(front) as sock:
        head = f"PUT {path(bucket)} HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
        sock.sendall(head.encode())
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"abc")
        assert sock.recv(12) == b"HTTP/1.1 200"
    assert bucket.get("k") == b"abc"


def test_it_speaks_tls(front: Front, bucket: Bucket, tmp_path: Path) -> None:
    authority = trustme.CA()
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server_side)
    client_side = ssl.create_default_context()
    authority.configure_trust(client_side)
    with Front(front.upstream, tls=server_side) as secure:
        assert secure.endpoint_url.startswith("https://")
        opened = http.client.HTTPSConnection("127.0.0.1", secure.port, context=client_side, timeout=10)
        with closing(opened):
            assert ask_on(opened, "PUT", path(bucket), body=BODY * 20).status == 200
            assert ask_on(opened, "GET", path(bucket)).body == BODY * 20
            secure.fault("Get", kind=f.CutBody(100, by="RST"))
            with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
                ask_on(opened, "GET", path(bucket))


# Rules


def test_a_fault_hits_only_its_operation_key_and_turn(front: Front, bucket: Bucket) -> None:
    fault = front.fault("Put", kind=f.SLOW_DOWN, nth=2, key="k")
    statuses = [ask(front, "PUT", path(bucket, key), body=b"1").status for key in ("k", "other", "k", "k")]
    assert statuses == [200, 200, 503, 200]
    assert front.hits(fault) == fault.hits == 1
    assert fault.seen == 3


def test_where_narrows_a_fault_down(front: Front, bucket: Bucket) -> None:
    front.fault("*", kind=f.ResetBeforeRequest(), where=lambda request: request.nth_on_connection > 1)
    with connection(front) as opened:
        ask_on(opened, "HEAD", path(bucket))
        with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected)):
            ask_on(opened, "HEAD", path(bucket))


def test_a_removed_fault_is_over(front: Front, bucket: Bucket) -> None:
    fault = front.fault("Head", kind=f.INTERNAL_ERROR, nth="always", must_hit=False)
    assert ask(front, "HEAD", path(bucket)).status == 500
    front.remove(fault)
    assert ask(front, "HEAD", path(bucket)).status == 404


def test_a_fault_that_was_never_hit_fails_the_test() -> None:
    with pytest.raises(AssertionError, match=r"never hit:\n  Put nth=1 Lie"), Front() as front:
        front.fault("Put", kind=f.Lie())
        front.fault("Get", kind=f.EmptyBody(), must_hit=False)


def test_what_a_hook_raises_fails_the_test() -> None:
    def wrong(request: f.Request) -> None:
        raise LookupError(request.key)

    with pytest.raises(LookupError, match="k"), Front() as front:
        front.before("Get", call=wrong)
        ask(front, "GET", "/b/k")


def test_a_server_that_fails_behind_the_front_fails_the_test() -> None:
    before_nothing = Front(Server("gone", "http://127.0.0.1:1"))
    with pytest.raises(http.client.RemoteDisconnected):
        ask(before_nothing, "GET", "/b/k")
    before_nothing.close()
    with pytest.raises(f.UpstreamBroke):
        before_nothing.check()


def test_mistaken_declarations_are_refused() -> None:
    with Front() as front:
        with pytest.raises(ValueError, match="no operation is called Putt"):
            front.fault("Putt", kind=f.Lie())
        with pytest.raises(ValueError, match="cannot happen to Get"):
            front.fault(("Put", "Get"), kind=f.Lie())
        with pytest.raises(ValueError, match="cannot happen to everything"):
            front.fault("*", kind=f.EmptyList())
        with pytest.raises(ValueError, match="cannot happen to Connect"):
            front.fault("Connect", kind=f.Lie())
        with pytest.raises(ValueError, match="nth is"):
            front.fault("Put", kind=f.Lie(), nth="often")


def test_two_faults_act_together(front: Front, bucket: Bucket) -> None:
    front.fault("Get", kind=f.Latency(0.05))
    front.fault("Get", kind=f.NO_SUCH_KEY)
    began = time.monotonic()
    assert ask(front, "GET", path(bucket)).code == "NoSuchKey"
    assert time.monotonic() - began >= 0.05


# Moments


def test_code_runs_before_and_after_the_server(front: Front, bucket: Bucket) -> None:
    bucket.put("k", b"old")
    front.before("Get", nth=2, call=lambda request: bucket.put("k", b"new"))
    front.after("Get", nth=2, call=lambda request: bucket.put("k", b"newest"))
    assert [ask(front, "GET", path(bucket)).body for _ in range(3)] == [b"old", b"new", b"newest"]


def test_a_test_can_wait_for_a_request(front: Front, bucket: Bucket) -> None:
    threading.Timer(0.05, lambda: ask(front, "PUT", path(bucket, "later"), body=b"1")).start()
    assert front.wait_for("Put").key == "later"
    assert front.wait_for("Put", answered=True).status == 200
    with pytest.raises(AssertionError, match="1 of 2 Put"):
        front.wait_for("Put", 2, timeout_s=0.01)


def test_a_stalled_request_goes_on_when_released(front: Front, bucket: Bucket) -> None:
    stall = front.fault("Put", kind=f.StallBeforeRequest())
    said: list[Said] = []
    thread = threading.Thread(target=lambda: said.append(ask(front, "PUT", path(bucket), body=b"1")))
    thread.start()
    stall.wait_until_hit()
    assert bucket.keys() == []
    assert front.in_flight == 1
    stall.release()
    thread.join()
    assert said[0].status == 200
    assert bucket.keys() == ["k"]


# Connections


def test_connections_are_refused_then_taken_again(front: Front, bucket: Bucket) -> None:
    with connection(front) as opened:
        ask_on(opened, "HEAD", path(bucket))
        with front.refusing_connections():
            with pytest.raises(ConnectionRefusedError):
                raw(front)
            with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected)):
                ask_on(opened, "HEAD", path(bucket))
    assert ask(front, "HEAD", path(bucket)).status == 404


@pytest.mark.skipif(sys.platform != "linux", reason="a full queue of connections behaves like this on Linux")
def test_connecting_hangs(front: Front) -> None:
    with front.hanging_connections(), socket.socket() as sock:
        sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            sock.connect((front.host, front.port))
    raw(front).close()


def test_a_connection_is_reset_when_accepted(front: Front) -> None:
    front.fault("Connect", kind=f.ResetBeforeRequest(), nth=2)
    raw(front).close()
    with pytest.raises(ConnectionResetError), raw(front) as sock:  # the reset may come while it still connects
        sock.recv(1)


@pytest.mark.parametrize(("by", "end"), [("RST", ConnectionResetError), ("FIN", http.client.RemoteDisconnected)])
def test_ended_before_the_request(front: Front, bucket: Bucket, by: f.By, end: type[Exception]) -> None:
    front.fault("Put", kind=f.ResetBeforeRequest(by))
    with pytest.raises(end):
        ask(front, "PUT", path(bucket), body=b"1")
    assert bucket.keys() == []


def test_reset_at_a_byte_of_the_request(front: Front, bucket: Bucket) -> None:
    front.fault("Put", kind=f.ResetAtRequestByte(5000))
    with raw(front) as sock:
        sock.sendall(f"PUT {path(bucket)} HTTP/1.1\r\nHost: h\r\nContent-Length: 10240\r\n\r\n".encode() + BODY[:5000])
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    assert bucket.keys() == []


@pytest.mark.parametrize(("by", "end"), [("RST", ConnectionResetError), ("FIN", http.client.RemoteDisconnected)])
def test_ended_after_it_was_applied(front: Front, bucket: Bucket, by: f.By, end: type[Exception]) -> None:
    front.fault("Put", kind=f.ResetAfterApply(by))
    with pytest.raises(end):
        ask(front, "PUT", path(bucket), body=b"1")
    assert bucket.keys() == ["k"]


@pytest.mark.parametrize("size", [0, 1, 5000, 10_239])
def test_a_body_is_cut_by_fin(front: Front, bucket: Bucket, size: int) -> None:
    bucket.put("k", BODY)
    front.fault("Get", kind=f.CutBody(size))
    with pytest.raises(http.client.IncompleteRead) as cut:
        ask(front, "GET", path(bucket))
    assert cut.value.partial == BODY[:size]


def test_a_body_is_cut_by_rst(front: Front, bucket: Bucket) -> None:
    bucket.put("k", BODY)
    front.fault("Get", kind=f.CutBody(100, by="RST"))
    with pytest.raises(ConnectionResetError):
        ask(front, "GET", path(bucket))


def test_a_body_is_cut_and_ends_as_if_it_were_whole(front: Front, bucket: Bucket) -> None:
    bucket.put("k", BODY)
    front.fault("Get", kind=f.CutBody(100, pretty=True))
    said = ask(front, "GET", path(bucket))
    assert said.body == BODY[:100]
    assert "content-length" not in said.headers


def test_the_head_is_cut(front: Front, bucket: Bucket) -> None:
    front.fault("Head", kind=f.CutHead(11))
    with raw(front) as sock:
        sock.sendall(f"HEAD {path(bucket)} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        assert all_of(sock) == b"HTTP/1.1 40"


@pytest.mark.parametrize("announced", [False, True])
def test_the_connection_is_closed_after_the_answer(front: Front, bucket: Bucket, announced: bool) -> None:
    front.fault("Head", kind=f.CloseAfterAnswer(announced))
    with raw(front) as sock:
        sock.sendall(f"HEAD {path(bucket)} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        assert (b"Connection: close" in all_of(sock)) is announced


@pytest.mark.parametrize("by", ["FIN", "RST"])
def test_idle_connections_are_closed(front: Front, bucket: Bucket, by: f.By) -> None:
    def limit(request: f.Request) -> None:  # from the first answer on: the request itself may be slow to come
        front.idle_limit_s, front.idle_end = 0.05, by

    front.before("Head", call=limit)
    with raw(front) as sock:
        sock.sendall(f"HEAD {path(bucket)} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        if by == "FIN":
            assert all_of(sock).startswith(b"HTTP/1.1 404")
        else:
            with pytest.raises(ConnectionResetError):
                all_of(sock)


# Time


def test_a_stall_ends_when_the_client_leaves(front: Front, bucket: Bucket) -> None:
    for kind in (f.StallBeforeRequest(), f.StallAtRequestByte(2), f.StallBeforeAnswer()):
        stall = front.fault("Put", kind=kind)
        with raw(front) as sock:
            sock.sendall(f"PUT {path(bucket)} HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nabcd".encode())
            stall.wait_until_hit()
        with front._changed:
            assert front._changed.wait_for(lambda: front.in_flight == 0, f.WAIT_S)
        front.remove(stall)
    assert bucket.keys() == ["k"]  # the last was applied before it stalled


def test_a_request_body_stalls(front: Front, bucket: Bucket) -> None:
    stall = front.fault("Put", kind=f.StallAtRequestByte(3))
    with raw(front) as sock:
        sock.sendall(f"PUT {path(bucket)} HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabcdef".encode())
        stall.wait_until_hit()
        assert bucket.keys() == []
        stall.release()
        assert sock.recv(12) == b"HTTP/1.1 200"
    assert bucket.get("k") == b"abcdef"


def test_a_response_body_stalls(front: Front, bucket: Bucket) -> None:
    bucket.put("k", BODY)
    stall = front.fault("Get", kind=f.StallAtBodyByte(100))
    with connection(front) as opened:
        opened.request("GET", path(bucket))
        answer = opened.getresponse()
        assert answer.read(100) == BODY[:100]
        stall.wait_until_hit()
        stall.release()
        assert answer.read() == BODY[100:]


def test_an_accepted_connection_stalls(front: Front, bucket: Bucket) -> None:
    stall = front.fault("Connect", kind=f.StallBeforeRequest())
    with raw(front) as sock:
        sock.sendall(f"HEAD {path(bucket)} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        stall.wait_until_hit()
        assert front.count() == 0
        stall.release()
        assert sock.recv(12) == b"HTTP/1.1 404"


def test_bodies_drip_in_both_directions(front: Front, bucket: Bucket) -> None:
    front.fault("Put", kind=f.SlowIntake(1024, 0.01))
    front.fault("Get", kind=f.Drip(1024, 0.01))
    began = time.monotonic()
    ask(front, "PUT", path(bucket), body=BODY)
    assert time.monotonic() - began > 0.09
    assert ask(front, "GET", path(bucket)).body == BODY
    assert time.monotonic() - began > 0.18


# Refusals


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        (f.SLOW_DOWN, 503, "SlowDown"),
        (f.INTERNAL_ERROR, 500, "InternalError"),
        (f.TOO_MANY_REQUESTS, 429, "TooManyRequests"),
        (f.REQUEST_TIMEOUT, 400, "RequestTimeout"),
        (f.EXPIRED_TOKEN, 400, "ExpiredToken"),
        (f.ACCESS_DENIED, 403, "AccessDenied"),
        (f.NO_SUCH_UPLOAD, 404, "NoSuchUpload"),
        (f.CONDITIONAL_CONFLICT, 409, "ConditionalRequestConflict"),
        (f.PRECONDITION_FAILED, 412, "PreconditionFailed"),
        (f.INVALID_RANGE, 416, "InvalidRange"),
        (f.Refuse(418), 418, "I'maTeapot"),
    ],
    ids=lambda value: getattr(value, "code", str(value)),
)
def test_errors_look_like_those_of_s3(front: Front, bucket: Bucket, kind: f.Refuse, status: int, code: str) -> None:
    front.fault("Put", kind=kind)
    with connection(front) as opened:
        said = ask_on(opened, "PUT", path(bucket), body=b"1")
        assert (said.status, said.headers["content-type"]) == (status, "application/xml")
        assert f"<Code>{code}</Code>".encode() in said.body
        assert "date" in said.headers
        assert ask_on(opened, "HEAD", path(bucket)).status == 404  # the connection lives on; nothing was stored
    assert front.connections == 1


def test_retry_after_is_sent(front: Front, bucket: Bucket) -> None:
    front.fault("Get", kind=f.TOO_MANY_REQUESTS)
    assert ask(front, "GET", path(bucket)).headers["retry-after"] == "1"


def test_an_early_refusal_does_not_read_the_body(front: Front, bucket: Bucket) -> None:
    front.fault("Put", kind=f.Refuse(400, "RequestTimeout", early=True))
    with raw(front) as sock:
        head = f"PUT {path(bucket)} HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 99\r\n\r\n"
        sock.sendall(head.encode())
        answer = all_of(sock)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"Connection: close" in answer


def test_a_refusal_may_follow_the_deed(front: Front, bucket: Bucket) -> None:
    front.fault("Put", kind=f.Refuse(500, "InternalError", applied=True))
    assert ask(front, "PUT", path(bucket), body=b"1").status == 500
    assert bucket.keys() == ["k"]


def test_regions_and_redirects(front: Front, bucket: Bucket) -> None:
    front.fault("Get", kind=f.permanent_redirect("eu-west-1"), nth=1)
    front.fault("Get", kind=f.wrong_region("eu-west-1"), nth=2)
    front.fault("Get", kind=f.Redirect("http://127.0.0.1:9"), nth=3)
    moved, wrong, elsewhere = (ask(front, "GET", path(bucket)) for _ in range(3))
    assert (moved.status, moved.headers["x-amz-bucket-region"]) == (301, "eu-west-1")
    assert "location" not in moved.headers
    assert (wrong.status, wrong.code) == (400, "AuthorizationHeaderMalformed")
    assert b"<Region>eu-west-1</Region>" in wrong.body
    assert (elsewhere.status, elsewhere.headers["location"]) == (307, f"http://127.0.0.1:9{path(bucket)}")


@pytest.mark.parametrize("status", [200, 502, 504])
def test_a_gateway_answers_with_a_page(front: Front, bucket: Bucket, status: int) -> None:
    front.fault("ListV2", kind=f.Html(status))
    said = ask(front, "GET", f"/{bucket.name}?list-type=2")
    assert (said.status, said.headers["content-type"]) == (status, "text/html")
    assert said.body.startswith(b"<!DOCTYPE html>")


def test_a_skewed_clock_refuses_what_was_signed_by_ours(front: Front, bucket: Bucket) -> None:
    front.fault("Put", kind=f.SkewedClock(3600), nth="always")
    ours = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    theirs = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() + 3600))
    refused = ask(front, "PUT", path(bucket), {"x-amz-date": ours}, b"1")
    assert (refused.status, refused.code) == (403, "RequestTimeTooSkewed")
    assert refused.headers["date"][17:22] == time.strftime("%H:%M", time.gmtime(time.time() + 3600))
    assert ask(front, "PUT", path(bucket), {"x-amz-date": theirs}, b"1").status == 200


# Lies


def test_a_put_that_was_never_stored_looks_stored(front: Front, bucket: Bucket) -> None:
    front.fault("Put", kind=f.Lie())
    said = ask(front, "PUT", path(bucket), CRC, BODY)
    assert said.status == 200
    assert said.headers["etag"] == f'"{hashlib.md5(BODY).hexdigest()}"'
    assert said.headers["x-amz-checksum-crc32"] == CRC["x-amz-checksum-crc32"]
    assert bucket.keys() == []


def test_a_completion_that_never_was_looks_complete(front: Front, bucket: Bucket) -> None:
    upload_id = bucket.create_upload("k")
    etag = bucket.put_part("k", upload_id, 1, BODY)
    front.fault("Complete", kind=f.Lie())
    asked = f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>".encode()
    asked += b"</CompleteMultipartUpload>"
    said = ask(front, "POST", path(bucket, query=f"uploadId={upload_id}"), {"x-amz-checksum-crc64nvme": "A="}, asked)
    whole = hashlib.md5(hashlib.md5(BODY).digest()).hexdigest()
    assert f"<ETag>&quot;{whole}-1&quot;</ETag><ChecksumCRC64NVME>A=</ChecksumCRC64NVME>".encode() in said.body
    assert bucket.keys() == []
    assert len(bucket.uploads()) == 1


@pytest.mark.parametrize(
    ("method", "query", "headers", "root"),
    [
        ("POST", "uploads", {}, b"<InitiateMultipartUploadResult"),
        ("PUT", "", {"x-amz-copy-source": "/b/o"}, b"<CopyObjectResult"),
        ("PUT", "partNumber=1&uploadId=u", {"x-amz-copy-source": "/b/o"}, b"<CopyPartResult"),
        ("PUT", "partNumber=1&uploadId=u", {}, b""),
        ("DELETE", "", {}, b""),
        ("DELETE", "uploadId=u", {}, b""),
    ],
)
def test_there_is_a_lie_for_every_write(method: str, query: str, headers: dict[str, str], root: bytes) -> None:
    with Front() as front:
        front.fault(f.WRITES, kind=f.Lie())
        said = ask(front, method, f"/b/k?{query}", headers, b"body" if method != "DELETE" else None)
        assert said.status in (200, 204)
        assert root in said.body


def test_deleted_says_a_lie_of_each_key() -> None:
    with Front() as front:
        front.fault("DeleteObjects", kind=f.Lie())
        body = b"<Delete><Object><Key>a&amp;b</Key></Object><Object><Key>c</Key></Object></Delete>"
        assert b"<Key>a&amp;b</Key></Deleted><Deleted><Key>c</Key>" in ask(front, "POST", "/b?delete", {}, body).body


@pytest.mark.parametrize("applied", [False, True])
def test_empty_success(front: Front, bucket: Bucket, applied: bool) -> None:
    bucket.put("o", b"1")
    front.fault("Copy", kind=f.EmptyBody(applied=applied))
    said = ask(front, "PUT", path(bucket), {"x-amz-copy-source": f"/{bucket.name}/o"})
    assert (said.status, said.body) == (200, b"")
    assert bucket.keys() == (["k", "o"] if applied else ["o"])


def test_an_error_hides_in_success(front: Front, bucket: Bucket) -> None:
    bucket.put("o", b"1")
    front.fault("Copy", kind=f.ErrorIn200(blanks=5000))
    said = ask(front, "PUT", path(bucket), {"x-amz-copy-source": f"/{bucket.name}/o"})
    assert (said.status, said.code) == (200, "InternalError")
    assert re.match(rb"<\?xml[^>]*\?>\s{5000,}<Error>", said.body)
    assert bucket.keys() == ["o"]


@pytest.mark.parametrize("applied", [False, True])
def test_xml_is_cut(front: Front, bucket: Bucket, applied: bool) -> None:
    bucket.put("o", b"1")
    front.fault("Copy", kind=f.CutXml(60, applied))
    said = ask(front, "PUT", path(bucket), {"x-amz-copy-source": f"/{bucket.name}/o"})
    assert (said.status, len(said.body)) == (200, 60)
    assert bucket.keys() == (["k", "o"] if applied else ["o"])


def test_a_short_store_looks_whole(front: Front, bucket: Bucket) -> None:
    front.fault("Put", kind=f.ShortStore(100))
    said = ask(front, "PUT", path(bucket), {**CRC, "Content-MD5": "AAAA", "x-amz-content-sha256": "00"}, BODY)
    assert said.status == 200
    assert said.headers["etag"] == f'"{hashlib.md5(BODY).hexdigest()}"'
    assert said.headers["x-amz-checksum-crc32"] == CRC["x-amz-checksum-crc32"]
    assert bucket.get("k") == BODY[:100]


def test_a_short_store_sees_through_aws_chunks(front: Front, bucket: Bucket) -> None:
    front.fault("Put", kind=f.ShortStore(3))
    framed = b"5;chunk-signature=0\r\nabcde\r\n0;chunk-signature=0\r\n\r\n"
    said = ask(front, "PUT", path(bucket), {"Content-Encoding": "aws-chunked"}, framed)
    assert said.headers["etag"] == f'"{hashlib.md5(b"abcde").hexdigest()}"'
    assert bucket.get("k") == b"abc"


def test_a_short_part_can_be_completed(front: Front, bucket: Bucket) -> None:
    front.fault("UploadPart", kind=f.ShortStore(100))
    upload_id = bucket.create_upload("k")
    said = ask(front, "PUT", path(bucket, query=f"partNumber=1&uploadId={upload_id}"), CRC, BODY)
    part = f"<Part><PartNumber>1</PartNumber><ETag>{said.headers['etag']}</ETag><ChecksumCRC32>A</ChecksumCRC32></Part>"
    asked = f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>".encode()
    done = ask(front, "POST", path(bucket, query=f"uploadId={upload_id}"), body=asked)
    assert b"<CompleteMultipartUploadResult" in done.body
    assert bucket.get("k") == BODY[:100]


def test_a_flipped_request_is_refused_where_it_can_be_checked(front: Front, bucket: Bucket) -> None:
    front.fault("Put", kind=f.FlipRequestBit(7))
    front.fault("Put", kind=f.FlipRequestBit(7, unnoticed=True), nth=2)
    checked = {"Content-MD5": base64.b64encode(hashlib.md5(b"12345678").digest()).decode()}
    assert ask(front, "PUT", path(bucket), checked, b"12345678").status == 400
    assert ask(front, "PUT", path(bucket), checked, b"12345678").status == 200
    assert bucket.get("k") == b"12345679"


def test_what_was_put_appears_later(front: Front, bucket: Bucket) -> None:
    bucket.put("other", b"1")
    front.fault("Put", kind=f.DelayedVisibility(3))
    ask(front, "PUT", path(bucket), body=b"1")
    assert ask(front, "HEAD", path(bucket)).status == 404
    assert keys_in(listing(front, bucket)) == ["other"]
    assert ask(front, "GET", path(bucket)).code == "NoSuchKey"
    assert ask(front, "HEAD", path(bucket)).status == 200
    assert keys_in(listing(front, bucket)) == ["k", "other"]


# Wrong answers


def test_headers_are_wrong(front: Front, bucket: Bucket) -> None:
    front.fault("Put", kind=f.WrongETag(), nth=1)
    front.fault("Put", kind=f.SetHeader("ETag", None), nth=2)
    front.fault("Put", kind=f.Lie(), nth=3)  # ministack checks a checksum and does not echo it
    front.fault("Put", kind=f.WrongChecksum(), nth=3)
    etag, none, checksum = (ask(front, "PUT", path(bucket), CRC if n == 3 else {}, b"1").headers for n in (1, 2, 3))
    assert etag["etag"] == '"00000000000000000000000000000bad"'
    assert "etag" not in none
    assert checksum["x-amz-checksum-crc32"] not in ("", CRC["x-amz-checksum-crc32"])


@pytest.mark.parametrize("delta", [-10, 10])
def test_the_content_length_is_wrong(front: Front, bucket: Bucket, delta: int) -> None:
    bucket.put("k", BODY)
    front.fault("Get", kind=f.WrongContentLength(delta))
    with raw(front) as sock:
        sock.sendall(f"GET {path(bucket)} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        head, _, body = all_of(sock).partition(b"\r\n\r\n")
    assert f"Content-Length: {len(BODY) + delta}".encode() in head
    assert body == BODY


def test_ranges_are_wrong(front: Front, bucket: Bucket) -> None:
    bucket.put("k", BODY)
    front.fault("GetRange", kind=f.IgnoreRange(), nth=1)
    front.fault("GetRange", kind=f.WrongContentRange(1), nth=2)
    front.fault("GetRange", kind=f.OtherRange(1), nth=3)
    ignored, misnamed, other = (ask(front, "GET", path(bucket), {"Range": "bytes=10-19"}) for _ in range(3))
    assert (ignored.status, ignored.body) == (200, BODY)
    assert (misnamed.status, misnamed.headers["content-range"]) == (206, "bytes 11-20/10240")
    assert misnamed.body == BODY[10:20]
    assert (other.body, other.headers["content-range"]) == (BODY[11:21], "bytes 10-19/10240")


def test_conditions_are_ignored(front: Front, bucket: Bucket) -> None:
    bucket.put("k", b"1")
    front.fault("Put", kind=f.IgnoreConditions(), nth=1)
    statuses = [ask(front, "PUT", path(bucket), {"If-None-Match": "*"}, b"2").status for _ in range(2)]
    assert statuses == [200, 412]


def test_checksums_are_ignored_or_refused(front: Front, bucket: Bucket) -> None:
    front.fault("Put", kind=f.IgnoreChecksums(), nth=1)
    front.fault("Put", kind=f.RefuseChecksums(("x-amz-checksum-crc32",)), nth=2)
    ignored, refused = (ask(front, "PUT", path(bucket), CRC, b"1") for _ in range(2))
    assert ignored.status == 200  # the checksum is wrong, and nobody looked
    assert not any(name.startswith("x-amz-checksum") for name in ignored.headers)
    assert (refused.status, refused.code) == (400, "InvalidArgument")


@pytest.mark.parametrize(("at", "index"), [(0, 0), (5000, 5000), (-1, 10_239)])
def test_a_bit_of_the_body_is_flipped(front: Front, bucket: Bucket, at: int, index: int) -> None:
    bucket.put("k", BODY)
    front.fault("Get", kind=f.FlipBit(at))
    body = ask(front, "GET", path(bucket)).body
    assert [i for i in range(len(BODY)) if body[i] != BODY[i]] == [index]


def test_a_proxy_compresses(front: Front, bucket: Bucket) -> None:
    bucket.put("k", BODY)
    front.fault("Get", kind=f.Gzip())
    said = ask(front, "GET", path(bucket))
    assert said.headers["content-encoding"] == "gzip"
    assert gzip.decompress(said.body) == BODY


def test_an_answer_comes_twice(front: Front, bucket: Bucket) -> None:
    bucket.put("k", b"once")
    front.fault("Get", kind=f.Duplicate())
    with raw(front) as sock:
        sock.sendall(f"GET {path(bucket)} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
        assert all_of(sock).count(b"\r\n\r\nonce") == 2


def test_a_body_is_rewritten(front: Front, bucket: Bucket) -> None:
    bucket.put("k", b"abc")
    front.fault("Get", kind=f.Rewrite(bytes.upper))
    assert ask(front, "GET", path(bucket)).body == b"ABC"


# Too much


def test_a_huge_header(front: Front, bucket: Bucket) -> None:
    front.fault("Head", kind=f.HugeHeader(1_000_000))
    with raw(front) as sock:
        sock.sendall(f"HEAD {path(bucket)} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
        answer = all_of(sock)
    assert answer.startswith(b"HTTP/1.1 404")
    assert len(answer) > 1_000_000
    assert answer.count(b"HTTP/1.1") == 1
    assert answer.endswith(b"\r\n\r\n")


def test_a_body_without_an_end(front: Front, bucket: Bucket) -> None:
    front.fault("ListV2", kind=f.EndlessBody(size=2_000_000))
    front.fault("Get", kind=f.EndlessBody(500, 1_000_000, b"x"))
    assert len(listing(front, bucket)) > 2_000_000
    said = ask(front, "GET", path(bucket))
    assert (said.status, said.body[:3]) == (500, b"xxx")
    assert len(said.body) >= 1_000_000


def test_an_endless_body_stops_when_the_client_leaves(front: Front, bucket: Bucket) -> None:
    endless = front.fault("Get", kind=f.EndlessBody(200))
    with raw(front) as sock:
        sock.sendall(f"GET {path(bucket)} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        endless.wait_until_hit()
        sock.recv(1000)
    with front._changed:
        assert front._changed.wait_for(lambda: front.open_connections == 0, f.WAIT_S)


def test_continue_again_and_again(front: Front, bucket: Bucket) -> None:
    front.fault("Head", kind=f.EndlessContinue(2500))
    with raw(front) as sock:
        sock.sendall(f"HEAD {path(bucket)} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
        assert all_of(sock).count(b"HTTP/1.1 100 Continue\r\n\r\n") == 2500


def test_an_xml_bomb(front: Front, bucket: Bucket) -> None:
    front.fault("ListV2", kind=f.XmlBomb())
    page = listing(front, bucket)
    assert b"<!ENTITY e10" in page
    assert b"&e10;</ListBucketResult>" in page


# Listings


def test_a_listing_is_truncated_without_a_token(front: Front, bucket: Bucket) -> None:
    fill(bucket, 4)
    front.fault("ListV2", kind=f.TruncatedWithoutToken(), nth=1)
    front.fault("ListV2", kind=f.TruncatedWithoutToken(keep=1), nth=2)
    for keep in (2, 1):
        page = listing(front, bucket)
        assert keys_in(page) == ["k00", "k01"][:keep]
        assert f.tag(page, "IsTruncated") == "true"
        assert f.tag(page, "NextContinuationToken") is None
        assert f.tag(page, "KeyCount") == str(keep)


def test_a_listing_has_a_token_and_claims_to_be_whole(front: Front, bucket: Bucket) -> None:
    fill(bucket, 4)
    front.fault("ListV2", kind=f.TokenButNotTruncated())
    page = listing(front, bucket, "max-keys=2")
    assert f.tag(page, "IsTruncated") == "false"
    assert f.tag(page, "NextContinuationToken")


def test_a_listing_is_short_or_empty(front: Front, bucket: Bucket) -> None:
    fill(bucket, 4)
    front.fault("ListV2", kind=f.ShortPage(3), nth=1)
    front.fault(("ListV2", "ListV1"), kind=f.EmptyList(), nth={2, 3})
    short, empty = listing(front, bucket), listing(front, bucket)
    old = ask(front, "GET", f"/{bucket.name}").body
    assert keys_in(short) == ["k00", "k01", "k02"]
    assert keys_in(empty) == keys_in(old) == []
    for page in (short, empty, old):
        assert f.tag(page, "IsTruncated") == "false"
    assert f.tag(empty, "KeyCount") == "0"


def pages(front: Front, bucket: Bucket, size: int, limit: int = 6) -> list[list[str]]:
    """The pages as a client sees them that believes everything, up to a limit."""
    found: list[list[str]] = []
    token = ""
    while len(found) < limit:
        page = listing(front, bucket, f"max-keys={size}{token}")
        found.append(keys_in(page))
        if f.tag(page, "IsTruncated") != "true":
            break
        token = f"&continuation-token={f.tag(page, 'NextContinuationToken')}"
    return found


def test_a_page_is_repeated(front: Front, bucket: Bucket) -> None:
    fill(bucket, 3)
    front.fault("ListV2", kind=f.RepeatedPage(), nth=2)
    assert pages(front, bucket, 1) == [["k00"], ["k00"], ["k01"], ["k02"]]


def test_a_token_is_repeated(front: Front, bucket: Bucket) -> None:
    fill(bucket, 3)
    front.fault("ListV2", kind=f.RepeatedToken(), nth="from 2nd")
    assert pages(front, bucket, 1, limit=4) == [["k00"], ["k01"], ["k01"], ["k01"]]


def test_a_page_is_missing(front: Front, bucket: Bucket) -> None:
    fill(bucket, 6)
    front.fault("ListV2", kind=f.MissingPage(), nth=2)
    assert pages(front, bucket, 2) == [["k00", "k01"], ["k04", "k05"]]


def test_a_page_is_shuffled(front: Front, bucket: Bucket) -> None:
    keys = fill(bucket, 5)
    front.fault("ListV2", kind=f.ShuffledPage())
    shuffled = keys_in(listing(front, bucket))
    assert shuffled != keys
    assert sorted(shuffled) == keys


def test_keys_are_left_out(front: Front, bucket: Bucket) -> None:
    bucket.put("a b", b"")
    bucket.put("c", b"")
    front.fault("ListV2", kind=f.ListWithout("a b"), nth=1)
    front.fault("ListV2", kind=f.ListWithout("a b", honest_count=False), nth=2)
    front.fault("ListV2", kind=f.WrongKeyCount(5), nth=3)
    honest, not_honest, wrong = (listing(front, bucket, "encoding-type=url") for _ in range(3))
    assert keys_in(honest) == keys_in(not_honest) == ["c"]
    assert [f.tag(page, "KeyCount") for page in (honest, not_honest, wrong)] == ["1", "2", "7"]


def delete(front: Front, bucket: Bucket, keys: list[str]) -> bytes:
    objects = "".join(f"<Object><Key>{key}</Key></Object>" for key in keys)
    body = f"<Delete>{objects}</Delete>".encode()

    md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
    said = ask(front, "POST", f"/{bucket.name}?delete", {"Content-MD5": md5}, body)
    assert said.status == 200
    return said.body


def test_some_deletes_fail(front: Front, bucket: Bucket) -> None:
    fill(bucket, 3)
    front.fault("DeleteObjects", kind=f.DeleteErrors(("k01",), strange=("never",), twice=True))
    said = delete(front, bucket, ["k00", "k01", "k02"])
    assert said.count(b"<Error><Key>k01</Key><Code>AccessDenied</Code>") == 2
    assert b"<Deleted><Key>never</Key></Deleted>" in said
    assert bucket.keys() == ["k01"]


def test_all_deletes_fail(front: Front, bucket: Bucket) -> None:
    keys = fill(bucket, 3)
    front.fault("DeleteObjects", kind=f.DeleteErrors(code="InternalError"))
    assert delete(front, bucket, keys).count(b"<Code>InternalError</Code>") == 3
    assert bucket.keys() == keys


def test_a_delete_is_forgotten(front: Front, bucket: Bucket) -> None:
    keys = fill(bucket, 3)
    front.fault("DeleteObjects", kind=f.DeleteErrors(count=1, silent=True))
    assert b"k00" not in delete(front, bucket, keys)
    assert bucket.keys() == ["k00"]


# What the tests stand on


def test_a_server_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux ties a child to its parent")

    program = (
        "import sys, time; from tests import servers; r = servers.start('ministack');"
        "print(r.children[0].pid, r.server.port, r.folder.path, flush=True); time.sleep(60)"
    )
    root = Path(__file__).resolve().parent.parent.parent
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=root, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout as said:
        pid, port, folder = said.readline().split()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", int(port)), 1).close()
            except OSError:
                break
            assert time.monotonic() < deadline, f"{pid} outlives its parent"
            time.sleep(0.01)
    finally:
        shutil.rmtree(folder)


def test_the_oracle_sees_keys_as_bytes(bucket: Bucket) -> None:
    keys = ["plain", "sp ace", "pl+us", "per%20cent", "é", "e\u0301", "😀", "&<>\"'", "?q#f"]
    if bucket.oracle.server.facts.any_key:
        keys += ["//", "/x", "..", "a/../b", "./", "a//b", "\x01\x1f", "\n", "\r\n", "a\x7f", "tr/", "k" * 1024]
    for key in keys:
        bucket.put(key, key.encode())
    assert sorted(bucket.keys()) == sorted(keys)
    assert bucket.contents() == {key: key.encode() for key in keys}
    bucket.clear()
    assert bucket.keys() == []


def test_the_oracle_sees_unfinished_uploads(bucket: Bucket) -> None:
    upload_id = bucket.create_upload("big")
    bucket.put_part("big", upload_id, 1, b"x" * 10)
    (upload,) = bucket.uploads()
    assert (upload.key, bucket.parts(upload)) == ("big", {1: 10})
    bucket.abort(upload)
    assert bucket.uploads() == []
    bucket.put_multipart("big", b"a" * (5 << 20), b"b")
    assert bucket.sizes() == {"big": (5 << 20) + 1}


def test_the_command_sees_nothing_of_our_environment(sterna: Sterna, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "mine")
    done = sterna("--version", timeout_s=30)
    assert (done.code, done.err) == (0, "")
    assert not {"AWS_PROFILE", "AWS_ENDPOINT_URL"} & set(sterna.env)


def test_the_command_is_sent_through_the_front(sterna: Sterna, front: Front, bucket: Bucket) -> None:
    assert sterna.env["AWS_ENDPOINT_URL"] == front.endpoint_url
    assert bucket.oracle.server.endpoint_url != front.endpoint_url
