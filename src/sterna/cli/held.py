"""Hold a place against a manifest, and say in lines or records what differs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sterna.cli.invocation import Invocation
    from sterna.jobs.holding import HeldAgainst
    from sterna.jobs.settings import Settings
    from sterna.jobs.verify import Depth
    from sterna.model.location import Location
    from sterna.planning.holding import Holding


def print_held(
    invocation: Invocation,
    manifest: Location,
    location: Location,
    settings: Settings,
    depth: Depth,
    sample: str | None,
    seed: int | None,
) -> int:
    """Do it; gives the exit code."""
    import random

    from sterna.cli.speech import say, say_bytes, say_lines, until_the_reader_leaves
    from sterna.model.errors import WrongSetting
    from sterna.planning.holding import Sample

    if seed is not None and sample is None:
        raise WrongSetting("--seed chooses the --sample, and there is none; add it, or leave --seed off.")
    if sample is not None and depth.value == "read":
        raise WrongSetting("--sample reads some, and --read all; leave one of them off.")
    tells_all = bool(invocation.verbosity)

    def found(held: Sequence[Holding]) -> None:
        told = [one for one in held if tells_all or one.verdict.value != "equal"]
        if not told:
            return
        with until_the_reader_leaves():
            if invocation.json:
                say_bytes(b"".join(_json_line("finding", one) for one in told))
            elif not invocation.quiet:
                say_lines([f"{one.verdict.value}: {one.key}: {one.because}" for one in told])

    chosen = Sample.read(sample) if sample is not None else None
    seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    held = invocation.jobs.run(
        invocation.jobs.hold(manifest, location, settings, depth=depth, sample=chosen, seed=seed, found=found)
    )
    with until_the_reader_leaves():
        if invocation.json:
            say_bytes(_json_line("summary", held, verdict=_verdict(held), exit_code=int(not held.is_equal)))
        elif not invocation.quiet or not held.is_equal:
            say(_verdict(held))
    return 0 if held.is_equal else 1


def _verdict(held: HeldAgainst) -> str:
    """The last line: what was found, by what, and against which root."""
    from sterna.model.units import size_words

    by = {
        "listed": "by sizes and ETags or times",
        "checksum": "by checksums",
        "read": "by reading all of it",
    }[held.depth.value]
    parts = [f"{held.equal:,} equal ({size_words(held.equal_bytes)}), {by}"]
    if held.seed is not None:
        parts.append(f"{held.sampled:,} read back (--seed {held.seed})")
    if held.skipped:
        parts.append(f"{held.skipped:,} left out by rule")
    parts.append(f"the manifest of {held.count:,} has the root {held.root}")
    if not held.is_complete:
        parts.append("and says that it is not complete")
    said = "; ".join(parts)
    if held.is_equal:
        return f"Equal: {said}."
    counts = (
        (held.different, "different"),
        (held.missing, "missing"),
        (held.extra, "extra"),
        (held.unknown, "unknown"),
    )
    others = ", ".join(f"{count:,} {word}" for count, word in counts if count)
    return f"NOT EQUAL: {others or 'not all could be listed'}; {said}."


def _json_line(kind: str, value: Holding | HeldAgainst, **more: Any) -> bytes:
    import msgspec

    from sterna.reporting.jsonlines import json_bytes

    return json_bytes({"type": kind} | msgspec.to_builtins(value) | more) + b"\n"
