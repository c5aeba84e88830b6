"""Ask an S3 server for the truth, byte for byte, with a client that shares nothing with the code under test.

Signed by botocore's signer, sent by http.client, one request at a time. A key is the bytes of its path: nothing is
normalised, nothing retried, nothing guessed. Keys come back as str with undecodable bytes as surrogates, and such a
str may be passed in again.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes
from xml.etree import ElementTree as ET

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.servers.server import Server

Key = str | bytes


class Refused(Exception):
    """The server answered with an error: ``status``, S3's ``code`` and the whole answer."""

    def __init__(self, asked: str, answer: Answer) -> None:
        super().__init__(f"{asked}: {answer.status} {answer.code} {answer.body[:300]!r}")
        self.status = answer.status
        self.code = answer.code
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def code(self) -> str:
        found = re.search(rb"<Code>([^<]*)</Code>", self.body)
        return found[1].decode() if found else ""


@dataclass(frozen=True, slots=True)
class Listed:
    """One object as the listing shows it."""

    key: str
    size: int
    etag: str
    last_modified: str
    storage_class: str = ""


@dataclass(frozen=True, slots=True)
class Upload:
    """One unfinished multipart upload."""

    key: str
    upload_id: str


def key_bytes(key: Key) -> bytes:
    return key if isinstance(key, bytes) else key.encode("utf-8", "surrogateescape")


class Oracle:
    """A signed-in client of one server; safe to use from several threads, one request at a time."""

    def __init__(self, server: Server, timeout_s: float = 60) -> None:
        self.server = server
        self._timeout_s = timeout_s
        self._signer = S3SigV4Auth(Credentials(server.access_key, server.secret_key), "s3", server.region)
        self._connection: http.client.HTTPConnection | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Oracle of {self.server.name} at {self.server.endpoint_url}>"

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def ask(
        self,
        method: str,
        bucket: str = "",
        key: Key | None = None,
        query: Mapping[str, str | bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """Send one signed request and return whatever is answered."""
        path = "/" + quote(bucket, safe="")
        if key is not None:
            path += "/" + quote(key_bytes(key), safe="/-_.~")
        if query:
            path += "?" + "&".join(
                f"{quote(name, safe='-_.~')}={quote(key_bytes(value), safe='-_.~')}"
                for name, value in sorted(query.items())
            )
        with self._lock:
            return self._send(method, path, dict(headers or {}), body)

    def _send(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        request = AWSRequest(method, self.server.endpoint_url + target, headers=headers, data=body)
        request.headers["x-amz-content-sha256"] = hashlib.sha256(body).hexdigest()
        self._signer.add_auth(request)
        # A connection a request: the servers close idle ones each after its own time, and the oracle never retries.
        self.close()
        self._connection = http.client.HTTPConnection(self.server.host, self.server.port, timeout=self._timeout_s)
        self._connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        self._connection.putheader("Host", f"{self.server.host}:{self.server.port}")
        for name, value in request.headers.items():
            if name.lower() not in ("host", "content-length"):
                self._connection.putheader(name, value)
        if body or method in ("PUT", "POST"):
            self._connection.putheader("Content-Length", str(len(body)))
        self._connection.endheaders(body or None)
        answer = self._connection.getresponse()
        try:
            content = answer.read()
        finally:
            self.close()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, content)

    def must(
        self,
        method: str,
        bucket: str = "",
        key: Key | None = None,
        query: Mapping[str, str | bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """As ``ask``, but an answer other than 2xx, or an error inside a 200, raises Refused."""
        answer = self.ask(method, bucket, key, query, headers, body)
        if not 200 <= answer.status < 300 or re.match(rb"\s*(<\?xml[^>]*>)?\s*<Error[ >]", answer.body):
            raise Refused(f"{method} {bucket}/{key!r} {dict(query or {})}", answer)
        return answer

    def buckets(self) -> list[str]:
        return [_text(found, "Name") for found in _root(self.must("GET").body).iter("Bucket")]

    def create_bucket(self, name: str, headers: Mapping[str, str] | None = None) -> Bucket:
        self.must("PUT", name, headers=headers)
        return Bucket(self, name)

    def bucket(self, name: str) -> Bucket:
        """A bucket that is there already, or is not."""
        return Bucket(self, name)


class Bucket:
    """One bucket, seen and changed directly, past everything that stands in front of the server."""

    def __init__(self, oracle: Oracle, name: str) -> None:
        self.oracle = oracle
        self.name = name

    def __repr__(self) -> str:
        return f"<Bucket {self.name} of {self.oracle.server.name}>"

    def url(self, key: str = "") -> str:
        """``s3://bucket/key``, as one types it."""
        return f"s3://{self.name}/{key}"

    @property
    def exists(self) -> bool:
        return self.oracle.ask("HEAD", self.name).status == 200

    # Objects

    def put(self, key: Key, body: bytes = b"", headers: Mapping[str, str] | None = None) -> str:
        """Store an object; returns its ETag."""
        return self.oracle.must("PUT", self.name, key, headers=headers, body=body).headers.get("etag", "")

    def get(self, key: Key, headers: Mapping[str, str] | None = None) -> bytes:
        return self.oracle.must("GET", self.name, key, headers=headers).body

    def head(self, key: Key, headers: Mapping[str, str] | None = None) -> Mapping[str, str] | None:
        """The headers of an object, or None where there is none."""
        answer = self.oracle.ask("HEAD", self.name, key, headers=headers)
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise Refused(f"HEAD {self.name}/{key!r}", answer)
        return answer.headers

    def delete(self, key: Key) -> None:
        self.oracle.must("DELETE", self.name, key)

    def put_multipart(self, key: Key, *parts: bytes, headers: Mapping[str, str] | None = None) -> str:
        """Store an object out of parts, as another program would; returns its ETag."""
        upload_id = self.create_upload(key, headers)
        done = []
        for number, part in enumerate(parts, 1):
            etag = self.put_part(key, upload_id, number, part)
            done.append(f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
        body = f"<CompleteMultipartUpload>{''.join(done)}</CompleteMultipartUpload>".encode()
        answer = self.oracle.must("POST", self.name, key, {"uploadId": upload_id}, body=body)
        return _text(_root(answer.body), "ETag")

    # Listings

    def listing(self, prefix: Key = "") -> list[Listed]:
        """Every object below a prefix, in the server's order. A listing that does not move on raises."""
        return list(self._listed(prefix))

    def keys(self, prefix: Key = "") -> list[str]:
        return [found.key for found in self._listed(prefix)]

    def contents(self, prefix: Key = "") -> dict[str, bytes]:
        """Every key below a prefix with its bytes, by GET."""
        return {key: self.get(key) for key in self.keys(prefix)}

    def sizes(self, prefix: Key = "") -> dict[str, int]:
        return {found.key: found.size for found in self._listed(prefix)}

    def _listed(self, prefix: Key) -> Iterator[Listed]:
        query: dict[str, str | bytes] = {"list-type": "2", "encoding-type": "url"}
        if prefix:
            query["prefix"] = key_bytes(prefix)
        seen: set[str] = set()
        while True:
            root = _root(self.oracle.must("GET", self.name, query=query).body)
            encoded = root.findtext("EncodingType") == "url"
            for found in root.iter("Contents"):
                yield Listed(
                    _decoded(_text(found, "Key"), encoded),
                    int(_text(found, "Size")),
                    _text(found, "ETag"),
                    _text(found, "LastModified"),
                    _text(found, "StorageClass"),
                )
            if _text(root, "IsTruncated") != "true":
                return
            token = _text(root, "NextContinuationToken")
            assert token, "the server says that there is more, and gives no token"
            assert token not in seen, "the server's listing goes in circles"
            seen.add(token)
            query["continuation-token"] = token

    # Multipart uploads

    def create_upload(self, key: Key, headers: Mapping[str, str] | None = None) -> str:
        return _text(_root(self.oracle.must("POST", self.name, key, {"uploads": ""}, headers).body), "UploadId")

    def put_part(self, key: Key, upload_id: str, number: int, body: bytes) -> str:
        query = {"partNumber": str(number), "uploadId": upload_id}
        return self.oracle.must("PUT", self.name, key, query, body=body).headers["etag"]

    def uploads(self) -> list[Upload]:
        """Every unfinished multipart upload."""
        query: dict[str, str | bytes] = {"uploads": "", "encoding-type": "url"}
        found: list[Upload] = []
        while True:
            answer = self.oracle.ask("GET", self.name, query=query)
            if answer.code == "NoSuchUpload":  # rclone's way to say that there are none
                return found
            if answer.status != 200:
                raise Refused(f"the uploads of {self.name}", answer)
            root = _root(answer.body)
            encoded = root.findtext("EncodingType") == "url"
            page = [Upload(_decoded(_text(u, "Key"), encoded), _text(u, "UploadId")) for u in root.iter("Upload")]
            new = [upload for upload in page if upload not in found]
            found += new
            if _text(root, "IsTruncated") != "true" or not new:
                return found
            query["key-marker"] = _text(root, "NextKeyMarker")
            query["upload-id-marker"] = _text(root, "NextUploadIdMarker")

    def parts(self, upload: Upload) -> dict[int, int]:
        """The sizes of the parts that the server holds, by number (the first 1,000)."""
        answer = self.oracle.must("GET", self.name, upload.key, {"uploadId": upload.upload_id})
        return {int(_text(p, "PartNumber")): int(_text(p, "Size")) for p in _root(answer.body).iter("Part")}

    def abort(self, upload: Upload) -> None:
        self.oracle.must("DELETE", self.name, upload.key, {"uploadId": upload.upload_id})

    # The bucket itself

    def enable_versions(self) -> None:
        body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
        md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
        self.oracle.must("PUT", self.name, query={"versioning": ""}, headers={"Content-MD5": md5}, body=body)

    def clear(self) -> None:
        """Remove every object and every unfinished upload."""
        for upload in self.uploads():
            self.abort(upload)
        for key in self.keys():
            self.delete(key)

    def remove(self) -> None:
        self.clear()
        self.oracle.must("DELETE", self.name)


def _root(body: bytes) -> ET.Element:
    """The parsed answer without its namespaces."""
    root = ET.fromstring(body)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def _text(element: ET.Element, name: str) -> str:
    return element.findtext(name) or ""


def _decoded(text: str, encoded: bool) -> str:
    if not encoded:
        return text
    return unquote_to_bytes(text.replace("+", " ")).decode("utf-8", "surrogateescape")
