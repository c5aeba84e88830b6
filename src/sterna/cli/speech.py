"""Bring words to standard output and standard error: escaped, scrubbed, and calm when nobody reads them."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from sterna.model.units import printable
from sterna.reporting.scrub import scrub  # not when it is needed: then there may be no file left to open


def say(line: str) -> None:
    """A line of what was asked for, on standard output. Raises OSError where it cannot be written."""
    if sys.stdout is not None:
        sys.stdout.write(printable(line) + "\n")


def say_lines(lines: list[str]) -> None:
    """``say`` for many lines, brought out together."""
    if sys.stdout is None or not lines:
        return
    if not "".join(lines).isprintable():
        lines = [printable(line) for line in lines]
    sys.stdout.write("\n".join(lines) + "\n")


def say_bytes(data: bytes) -> None:
    """Whole lines, already escaped, brought out at once."""
    if sys.stdout is None:
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def tell(line: str) -> None:
    """A line beside what was asked for, on standard error. If that is gone, so is the line."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(printable(line) + "\n")
            sys.stderr.flush()


def complain(sentence: str) -> None:
    """One sentence of what went wrong, without anybody's credentials (H96)."""
    tell(f"sterna: {scrub(sentence)}")


@contextlib.contextmanager
def until_the_reader_leaves() -> Iterator[None]:
    """Let a listing end well when its reader has seen enough: ``sterna ls … | head``."""
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        silence_output()


def silence_output() -> None:
    """Send to nowhere what is still buffered for a reader that left: the interpreter would stumble over it at exit."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, sys.stdout.fileno())
        finally:
            os.close(nowhere)


def calm_libraries() -> None:
    """Keep what asyncio and its loops log to themselves: what matters of it reaches a user as a sentence of ours.
    STERNA_DEBUG lets it through.
    """
    import logging

    if os.environ.get("STERNA_DEBUG", "0") in ("", "0"):
        logging.getLogger("asyncio").addHandler(logging.NullHandler())  # else Python prints it on standard error


def never_stumble() -> None:
    """Have both streams write what their encoding lacks as escapes, instead of raising in the middle of a report."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            with contextlib.suppress(OSError, ValueError):
                stream.reconfigure(errors="backslashreplace")
