"""Describe a running S3 server: where it is, who may use it, and what it is known not to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

ACCESS_KEY = "testaccess"
SECRET_KEY = "testsecret0123456789"
REGION = "us-east-1"


class CannotBeHad(Exception):
    """This machine has no such server; the text says what is missing and how to get it."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server does as S3 documents it. True is the documented behaviour; a test asks before it relies on one.

    These are observations of the versions that the tests use, not promises of their makers.
    """

    checks_signatures: bool = True
    checks_checksums: bool = True  # a wrong x-amz-checksum-* is refused
    echoes_checksums: bool = True  # the answer to a PUT has the checksum that the server computed
    returns_checksums: bool = True  # HEAD shows it under x-amz-checksum-mode
    combines_crc64nvme: bool = True  # takes the full-object CRC64NVME of a multipart upload
    completes_with_etag: bool = True  # the answer to a Complete has the object's ETag; False: an empty element
    conditions: bool = True  # If-Match and If-None-Match are obeyed
    any_key: bool = True  # keys are bytes; False: they are paths of a folder (no `a` beside `a/b`, no `//`, no `..`)
    range_is_206: bool = True  # False: a range is answered 200 with a Content-Range
    copies_parts: bool = True  # UploadPartCopy answers as documented
    replaces_parts: bool = True  # a part may be sent again
    encodes_listings: bool = True  # encoding-type=url is obeyed, so that control characters can be listed
    versions: bool = True
    encodes_versions: bool = True  # encoding-type=url is obeyed in listings of versions too
    tags: bool = True
    idle_limit_s: float = 60.0  # closes a connection that is idle for this long


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers at ``endpoint_url``; path-style addresses always work."""

    name: str
    endpoint_url: str
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY
    region: str = REGION
    facts: Facts = field(default_factory=Facts)

    @property
    def host(self) -> str:
        return urlsplit(self.endpoint_url).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.endpoint_url).port or 80

    @property
    def environment(self) -> dict[str, str]:
        """What a child process needs in its environment to find this server and be let in."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
