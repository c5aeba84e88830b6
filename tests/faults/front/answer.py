"""What is about to be answered, which faults may change until its head is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus


@dataclass
class Answer:
    """What is about to be answered. An iterator as body is sent as it comes; bytes go out in one piece."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes | Iterator[bytes] = b""
    reason: str = ""
    length: int | None = None  # what Content-Length says, where it is not the length of the body; None: computed
    chunked: bool = False
    until_close: bool = False  # no length: the end of the connection is the end of the body
    no_body: bool = False  # HEAD, 204, 304: headers about a body that is not sent
    close: bool = False
    close_unsaid: bool = False  # closes after the answer without a Connection header
    copies: int = 1
    status_line_is_out: bool = False
    cut_head_at: int | None = None
    on_cut: Callable[[], None] | None = None

    def header(self, name: str) -> str | None:
        wanted = name.lower()
        return next((value for name, value in self.headers if name.lower() == wanted), None)

    def set(self, name: str, value: str | None) -> None:
        """Replace a header, or remove it."""
        wanted = name.lower()
        self.headers = [(name, old) for name, old in self.headers if name.lower() != wanted]
        if value is not None:
            self.headers.append((name, value))

    def whole(self) -> bytes:
        """The body as bytes, read to its end."""
        if not isinstance(self.body, bytes):
            self.body = b"".join(self.body)
        return self.body

    def replace(self, body: bytes) -> None:
        """Another body, with a Content-Length that is right."""
        self.body, self.length, self.chunked, self.until_close = body, None, False, False

    def pieces(self) -> Iterator[bytes]:
        """The body as an iterator that a fault may wrap."""
        return iter((self.body,)) if isinstance(self.body, bytes) else self.body

    def announced(self) -> int | None:
        """How many bytes of body the head promises."""
        if self.chunked or self.until_close:
            return None
        if self.length is not None:
            return self.length
        return len(self.body) if isinstance(self.body, bytes) else None

    def stream(self, body: Iterator[bytes]) -> None:
        """Send this instead, under the Content-Length that stands."""
        self.length = self.announced()
        self.body = body


def head_of(answer: Answer, is_head: bool) -> bytes:
    reason = answer.reason
    if not reason:
        try:
            reason = HTTPStatus(answer.status).phrase
        except ValueError:
            reason = "Unknown"
    lines = [f"HTTP/1.1 {answer.status} {reason}"]
    lines += [f"{name}: {value}" for name, value in answer.headers]
    length = answer.announced()
    if answer.no_body:
        if answer.length is not None:
            lines.append(f"Content-Length: {answer.length}")
    elif answer.chunked:
        lines.append("Transfer-Encoding: chunked")
    elif length is not None:
        lines.append(f"Content-Length: {length}")
    if answer.close or answer.until_close:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
