"""Blank out in a text what would let its reader act as somebody else."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

# Variables whose values are secrets of the tools that we share an environment with.
_SECRET_VARIABLES = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
)
_SHORTEST_SECRET = 8  # a shorter value ("test", "minio") would blank out ordinary words

_BLANK = "***"
_USERINFO = re.compile(r"(://)[^/\s@]*:[^/\s@]*@|(://)[^/\s@]+@")
_QUERY = re.compile(
    r"((?:X-Amz-(?:Signature|Credential|Security-Token)|Signature|AWSAccessKeyId)=)[^&\s\"'<>]+", re.IGNORECASE
)
_HEADER = re.compile(
    r"((?:authorization|x-amz-security-token|x-amz-server-side-encryption-customer-key|"
    r"aws_secret_access_key|aws_session_token|SecretAccessKey|SessionToken)[\"']?\s*[:=>]\s*[\"']?)"
    r"(AWS4-HMAC-SHA256 )?[^\r\n\"'<]+",
    re.IGNORECASE,
)


def scrub(text: str, environ: Mapping[str, str] | None = None) -> str:
    """Give the text back without credentials: URLs with a user, signatures, tokens, secret variables (H96).

    The last line of defence, for sentences and traces of errors: secrets are kept out of those in the first place.
    """
    if "://" in text and "@" in text:
        text = _USERINFO.sub(rf"\g<1>\g<2>{_BLANK}@", text)
    if "=" in text:
        text = _QUERY.sub(rf"\g<1>{_BLANK}", text)
    text = _HEADER.sub(rf"\g<1>{_BLANK}", text)
    environ = os.environ if environ is None else environ
    for name in _SECRET_VARIABLES:
        secret = environ.get(name, "")
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, _BLANK)
    return text
