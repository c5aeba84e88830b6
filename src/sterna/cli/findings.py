"""Say what a comparison found, in lines or records: key by key, then the verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sterna.cli.invocation import Invocation
    from sterna.jobs.holding import HeldAgainst
    from sterna.jobs.verify import Verified
    from sterna.planning.holding import Holding
    from sterna.planning.verify import Finding


def teller(invocation: Invocation) -> Callable[[Sequence[Finding | Holding]], None]:
    """What says each key that is not equal, and with -v those that are.

    Who leaves a pipe has read enough, and does not change what is compared and with which code it ends.
    """
    from sterna.cli.speech import say_bytes, say_lines, until_the_reader_leaves

    tells_all = bool(invocation.verbosity)

    def tell(findings: Sequence[Finding | Holding]) -> None:
        told = [one for one in findings if tells_all or one.verdict.value != "equal"]
        if not told:
            return
        with until_the_reader_leaves():
            if invocation.json:
                say_bytes(b"".join(_json_line("finding", one) for one in told))
            elif not invocation.quiet:
                say_lines([f"{one.verdict.value}: {one.key}: {one.because}" for one in told])

    return tell


def say_verdict(invocation: Invocation, compared: Verified | HeldAgainst, verdict: str) -> int:
    """The last line, or the summary with it; gives the exit code."""
    from sterna.cli.speech import say, say_bytes, until_the_reader_leaves

    code = 0 if compared.is_equal else 1
    with until_the_reader_leaves():
        if invocation.json:
            say_bytes(_json_line("summary", compared, verdict=verdict, exit_code=code))
        elif not invocation.quiet or not compared.is_equal:
            say(verdict)
    return code


def verdict(compared: Verified | HeldAgainst, others: dict[str, int], said: str) -> str:
    """The last line: ``said``, after how many keys are not equal, by what they are instead."""
    if compared.is_equal:
        return f"Equal: {said}."
    counted = ", ".join(f"{count:,} {word}" for word, count in others.items() if count)
    return f"NOT EQUAL: {counted or 'not all could be listed'}; {said}."


def _json_line(kind: str, value: Finding | Holding | Verified | HeldAgainst, **more: Any) -> bytes:
    import msgspec

    from sterna.reporting.jsonlines import json_bytes

    return json_bytes({"type": kind} | msgspec.to_builtins(value) | more) + b"\n"
