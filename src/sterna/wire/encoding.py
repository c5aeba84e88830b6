"""Turn keys and query parameters into the characters of a URL, and listed keys back into keys.

A key is text that stands for bytes: what is not UTF-8 lives in it as surrogate escapes (PEP 383), so that every key a
server can hold has a name here, and goes back to the server as the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from sterna.model.errors import Refused

_PLAIN_KEY = re.compile(r"[A-Za-z0-9\-._~/]*").fullmatch
_PLAIN_VALUE = re.compile(r"[A-Za-z0-9\-._~]*").fullmatch
_OTHER_IN_KEY = re.compile(r"[^A-Za-z0-9\-._~/]+").sub
_OTHER_IN_VALUE = re.compile(r"[^A-Za-z0-9\-._~]+").sub
_ESCAPES = re.compile(r"(?:%[0-9A-Fa-f]{2})+").sub

_HEX = tuple(f"%{byte:02X}" for byte in range(256))


def encode_key(key: str) -> str:
    """A key as it stands in the path of a URL: slashes stay, dots and double slashes too, nothing is normalised.

    Raises Refused for text that stands for no bytes (a lone surrogate, as a Windows file name can have).
    """
    if _PLAIN_KEY(key):
        return key
    return _encoded(key, _OTHER_IN_KEY)


def encode_value(text: str) -> str:
    """A parameter's name or value as it stands in a query string: slashes are encoded as well."""
    if _PLAIN_VALUE(text):
        return text
    return _encoded(text, _OTHER_IN_VALUE)


def encode_query(pairs: Sequence[tuple[str, str]]) -> str:
    """A query string in the canonical form of Signature Version 4: sorted after encoding, ``name=`` where empty."""
    if not pairs:
        return ""
    encoded = [(encode_value(name), encode_value(value)) for name, value in pairs]
    encoded.sort()
    return "&".join([f"{name}={value}" for name, value in encoded])


def decode_key(text: str) -> str:
    """A key, prefix or marker out of a listing with ``encoding-type=url``, decoded exactly once (H65).

    ``+`` is a space, as AWS sends it; a percent sign that starts no escape stays.
    """
    if "+" in text:
        text = text.replace("+", " ")
    if "%" in text:
        text = _ESCAPES(_unescape, text)
    return text


def _encoded(text: str, substitute: Callable[[Callable[[re.Match[str]], str], str], str]) -> str:
    try:
        return substitute(_escape, text)
    except UnicodeEncodeError:
        raise Refused(f"{text!a}: the name holds a lone surrogate, which no S3 key can; rename it.", key=text) from None


def _escape(match: re.Match[str]) -> str:
    return "".join([_HEX[byte] for byte in match[0].encode("utf-8", "surrogateescape")])


def _unescape(match: re.Match[str]) -> str:
    return bytes.fromhex(match[0].replace("%", "")).decode("utf-8", "surrogateescape")
