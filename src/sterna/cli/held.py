"""Hold a place against a manifest, and say in lines or records what differs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sterna.cli.invocation import Invocation
    from sterna.jobs.holding import HeldAgainst
    from sterna.jobs.looking import Depth
    from sterna.jobs.settings import Settings
    from sterna.model.location import Location


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

    from sterna.cli.findings import say_verdict, teller
    from sterna.model.errors import WrongSetting
    from sterna.planning.holding import Sample

    if seed is not None and sample is None:
        raise WrongSetting("--seed chooses the --sample, and there is none; add it, or leave --seed off.")
    if sample is not None and depth.value == "read":
        raise WrongSetting("--sample reads some, and --read all; leave one of them off.")
    chosen = Sample.read(sample) if sample is not None else None
    seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    found = teller(invocation)
    held = invocation.jobs.run(
        invocation.jobs.hold(manifest, location, settings, depth=depth, sample=chosen, seed=seed, found=found)
    )
    return say_verdict(invocation, held, _verdict(held))


def _verdict(held: HeldAgainst) -> str:
    """The last line: what was found, by what, and against which root."""
    from sterna.cli.findings import verdict
    from sterna.model.units import size_words
    from sterna.reporting.words import count_words, unread_words

    by = {
        "listed": "by sizes and ETags or times",
        "checksum": "by checksums",
        "read": "by reading all of it",
    }[held.depth.value]
    parts = [f"{held.equal:,} equal ({size_words(held.equal_bytes)}), {by}"]
    if held.seed is not None:
        parts.append(f"{held.sampled:,} read back (--seed {held.seed})")
    if held.gone:
        parts.append(f"{held.gone:,} deleted from the source before that backup")
    if held.skipped:
        parts.append(f"{held.skipped:,} left out by rule")
    if held.unread_folders:
        parts.append(f"at the backup {unread_words(held.unread_folders)}")
    lacking = "" if held.is_complete else ", and says itself that it is not complete"
    parts.append(f"the manifest of {count_words(held.count)} has the root {held.root}{lacking}")
    others = {"different": held.different, "missing": held.missing, "extra": held.extra, "unknown": held.unknown}
    return verdict(held, others, "; ".join(parts))
