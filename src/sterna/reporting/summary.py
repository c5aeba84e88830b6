"""Turn a summary into the lines that end a run, the last of which is the verdict."""

from __future__ import annotations

from collections.abc import Sequence

from sterna.model.events import Summary
from sterna.model.outcomes import Outcome
from sterna.model.stop import SIGNALLED
from sterna.model.units import duration_words, printable, size_words
from sterna.reporting.reasons import lines_by_reason
from sterna.reporting.scrub import scrub
from sterna.reporting.words import count_words

_MOVING_NOTHING = ("rm", "uploads")
NAMED = 20  # more names than that are for a file, not for a screen


def summary_lines(summary: Summary, *, log_file: str = "") -> list[str]:
    """Counts, bytes, times, speeds, the failures by name, and the verdict as the last line.

    ``log_file`` is where every failure stands, if the user asked for a log.
    """
    rows = [("objects", _counts(summary))]
    if summary.command not in _MOVING_NOTHING:
        moved = f"{size_words(summary.moved_bytes)} moved in this run"
        if summary.wasted_bytes:
            moved += f" ({size_words(summary.wasted_bytes)} more by attempts that came to nothing)"
        there = f"{size_words(summary.there_bytes)} already there"
        if summary.resumed_bytes:
            there += f" ({size_words(summary.resumed_bytes)} of it from transfers that were cut off)"
        rows.append(("bytes", f"{moved}, {there}"))
    rows.append(("elapsed", _elapsed(summary.elapsed_s)))
    if summary.command not in _MOVING_NOTHING:
        peak = max(summary.peak_bytes_per_s, summary.mean_bytes_per_s)
        rows.append(("speed", f"{size_words(summary.mean_bytes_per_s)}/s mean, {size_words(peak)}/s peak"))
    rows.append(("requests", f"{summary.requests:,}, {summary.retries:,} of them retries"))
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {words}" for name, words in rows]

    if summary.skips:
        lines += _named("skipped", summary.skips, summary.skipped, log_file)
    if summary.failures:
        lines += _named("failed", summary.failures, summary.failed, log_file)
    said = verdict(summary, log_file=log_file) if summary.failed and log_file else summary.verdict
    lines.append(scrub(printable(said or verdict(summary, log_file=log_file))))
    return lines


def brief_lines(summary: Summary, *, log_file: str = "") -> list[str]:
    """The verdict alone of a run that had nothing to do; else as ``summary_lines``."""
    lines = summary_lines(summary, log_file=log_file)
    met = summary.done + summary.kept + summary.skipped + summary.failed + summary.left
    return lines if met else lines[-1:]


def verdict(summary: Summary, *, log_file: str = "") -> str:
    """One plain sentence that says the same as the exit code."""
    total = summary.done + summary.kept + summary.planned + summary.skipped + summary.failed + summary.left
    if summary.planned and not summary.left and (summary.failed or not summary.exit_code):
        return dry_run_verdict(summary)
    if summary.failed:
        return _failed(summary, total, log_file)
    if summary.failures and not summary.left and summary.exit_code not in SIGNALLED:
        there = _all(summary.done + summary.kept)
        return f"INCOMPLETE: {there[0].lower()}{there[1:]} {_state(summary)}, but not the manifest; why is named above."
    word = "INTERRUPTED" if summary.exit_code in SIGNALLED else "INCOMPLETE"
    why = f": {summary.notices[-1].rstrip('.')}" if summary.notices and word == "INCOMPLETE" else ""
    if summary.left:
        there = f"{summary.done + summary.kept:,} of {total:,} objects are {_state(summary)}"
        return f"{word}{why}: {there}, {count_words(summary.left)} {_are(summary.left)} left; {_AGAIN}."
    if word == "INTERRUPTED":
        there = f"{count_words(summary.done)} {_are(summary.done)} {_state(summary)}"
        if summary.planned_all:
            return f"INTERRUPTED when all that was planned was done: {there}; {_AGAIN}."
        return f"INTERRUPTED before all was listed: {there}; {_AGAIN}."
    if summary.exit_code:
        return f"{word}{why} (exit code {summary.exit_code})."
    return _succeeded(summary)


def dry_run_verdict(summary: Summary) -> str:
    """One sentence of what would be done."""
    would = [
        f"{verb} {count_words(one.objects)}" + (f" ({size_words(one.bytes)})" if one.bytes else "")
        for verb, one in sorted(summary.planned_by_verb.items())
    ]
    sentence = "Dry run, nothing was changed: it would " + (" and ".join(would) if would else "change nothing")
    sentence += f"; {count_words(summary.kept)} would stay as {'it is' if summary.kept == 1 else 'they are'}"
    if summary.skipped:
        sentence += f"; {count_words(summary.skipped)} would be skipped and {_are(summary.skipped)} named above"
    if summary.failed:
        sentence += f"; {count_words(summary.failed)} would fail and {_are(summary.failed)} named above"
    return sentence + "."


def drifted_verdict(summary: Summary, drifted: int) -> str:
    """One sentence of a plan of which a part was not carried out, since the world is not what it was made for."""
    word = "DRIFTED" if drifted == summary.failed else "INCOMPLETE"
    has = "has" if drifted == 1 else "have"
    sentence = f"{word}: {count_words(drifted)} {has} changed since the plan was made, and {_are(drifted)} left so"
    if others := summary.failed - drifted:
        sentence += f"; {count_words(others)} failed"
    done = summary.done + summary.kept
    return f"{sentence}; {count_words(done)} {_are(done)} done. Make another plan."


_AGAIN = "the same command goes on from there"


def exit_code_of(summary: Summary) -> int:
    """The summary's exit code, which is never 0 while anything failed or is left."""
    if summary.exit_code == 0 and (summary.failed or summary.left):
        return 1
    return summary.exit_code


def _succeeded(summary: Summary) -> str:
    skipped = _skipped(summary)
    if summary.command == "rm":
        return f"{_all(summary.deleted)} removed." + skipped if summary.deleted else "There was nothing to remove."
    in_place = summary.done - summary.deleted + summary.kept
    if not in_place and not summary.deleted and summary.gone:
        return f"There was nothing to move.{skipped}"
    if not in_place and not summary.deleted:
        holds = "nothing that the filters let pass" if summary.filtered else "no objects"
        return f"There was nothing to move: the source holds {holds}.{skipped}"
    sentence = f"{_all(in_place)} {_state(summary)}: {_counts(summary, short=True)}."
    if not summary.durable and summary.downloaded:
        sentence += " When they reach the disk is left to the system (--no-fsync)."
    return sentence + skipped


def _skipped(summary: Summary) -> str:
    """Sentences for the end of a verdict, each with the blank before it."""
    by_rule, sentences = summary.skipped - summary.gone, ""
    if summary.gone:
        sentences = f" {count_words(summary.gone)} {_are(summary.gone)} skipped: not at the source any more."
    if by_rule:
        sentences += f" {count_words(by_rule)} {_are(by_rule)} skipped by rule."
    return sentences


def _failed(summary: Summary, total: int, log_file: str) -> str:
    if summary.failed <= NAMED and len(summary.failures) >= summary.failed:
        named = "it is named above" if summary.failed == 1 else "they are named above"
    elif log_file:
        named = f"every one is named in {log_file}"
    else:
        named = "some of them are named above"
    sentence = f"INCOMPLETE: {summary.failed:,} of {total:,} objects failed; {named}"
    if summary.left:
        sentence += f"; {summary.left:,} {_are(summary.left)} left, {_AGAIN}"
    return sentence + "."


def _all(count: int) -> str:
    if count == 1:
        return "The one object is"
    return f"All {count:,} objects are"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _state(summary: Summary) -> str:
    return "removed" if summary.command == "rm" else "in place"


def _counts(summary: Summary, *, short: bool = False) -> str:
    """How many ended how. The short form leaves out what did not happen, except for what was uploaded and kept."""
    moved = [("uploaded", summary.uploaded), ("downloaded", summary.downloaded), ("copied", summary.copied)]
    proved = " and proved" if short and not summary.exit_code else ""
    counts = [(name + proved, count) for name, count in moved if count]
    if summary.command not in _MOVING_NOTHING:
        counts.append(("unchanged", summary.kept))
    counts += [
        (name, count)
        for name, count in (
            ("deleted", summary.deleted),
            ("aborted", summary.aborted),
            ("planned", summary.planned),
            ("skipped", 0 if short else summary.skipped),
            ("failed", summary.failed),
            ("left", summary.left),
        )
        if count
    ]
    return ", ".join(f"{count:,} {name}" for name, count in counts) or "none"


def _elapsed(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    return f"{duration_words(seconds)} ({seconds:,.2f} seconds, {minutes:,.2f} minutes, {hours:,.3f} hours)"


def _named(heading: str, outcomes: Sequence[Outcome], count: int, log_file: str) -> list[str]:
    lines, named = lines_by_reason(outcomes, NAMED)
    lines = [f"{heading}:", *(f"  {line}" for line in lines)]
    if (more := max(count, len(outcomes)) - named) > 0:
        where = f"every one is in {printable(log_file)}" if log_file else "--log-file FILE or --json names every one"
        lines.append(f"  … and {more:,} more; {where}")
    return lines
