"""Turn the head of an HTTP answer into a status, headers and the way its body is framed."""

from __future__ import annotations

import httptools

from sterna.model.errors import Corrupt

HEAD_LIMIT = 64 * 1024  # bytes of status line and headers; real answers stay below 4 KiB (H39)


class Head:
    """The head of one answer, fed once with all its bytes up to the empty line.

    ``headers`` maps lower-case names to values; of a repeated name the last value stands. ``length`` is the
    Content-Length, or None; ``chunked`` bodies are decoded by feeding ``feed_chunked`` until ``ended``. Trailers are
    no headers: nobody announced them when the head was judged.
    """

    __slots__ = ("_complete", "_parser", "chunked", "collected", "ended", "headers", "keep_alive", "length", "status")

    def __init__(self, data: bytes) -> None:
        self.headers: dict[bytes, bytes] = {}
        self.collected: list[bytes] = []
        self.ended = False
        self._complete = False
        self.keep_alive = False
        parser = self._parser = httptools.HttpResponseParser(self)
        try:
            parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise Corrupt(f"The server's answer is not HTTP: {error}.") from None
        if not self._complete:
            raise Corrupt("The server's answer is not HTTP: it has no status line.")
        self.status: int = parser.get_status_code()
        self.chunked = b"transfer-encoding" in self.headers
        length = self.headers.get(b"content-length")
        self.length = int(length) if length is not None and length.isdigit() and not self.chunked else None

    def on_headers_complete(self) -> None:
        """Called by the parser at the empty line; after a message without a body it would have forgotten."""
        self._complete = True
        self.keep_alive = self._parser.should_keep_alive()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser for each header, and for each trailer."""
        if not self._complete:
            self.headers[name.lower()] = value.rstrip(b" \t")

    def on_message_begin(self) -> None:
        """Called by the parser at the first byte of a message: of a second one, where more follows the last chunk."""
        if self.ended:
            raise ValueError("more follows its end")

    def on_body(self, data: bytes) -> None:
        """Called by the parser for each piece of a chunked body."""
        self.collected.append(data)

    def on_message_complete(self) -> None:
        """Called by the parser after the last chunk (or at once where there is no body)."""
        self.ended = True

    def feed_chunked(self, data: bytes) -> list[bytes]:
        """Decode more of a chunked body; gives the pieces that it completed. ``ended`` tells when it was the last."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise Corrupt(f"The server's chunked answer is broken: {error}.") from None
        pieces, self.collected = self.collected, []
        return pieces
