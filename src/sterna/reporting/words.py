"""Turn an outcome into the words that log, summary and screen all print."""

from __future__ import annotations

import errno

from sterna.model.outcomes import Outcome, Status
from sterna.model.units import printable
from sterna.reporting.scrub import scrub


def reason_words(outcome: Outcome) -> str:
    """Why an outcome is what it is: our sentence, then the server's words and its request id where they are known."""
    if outcome.status is Status.FAILED or outcome.error:
        sentence = sentence_of(outcome)
        facts = []
        if outcome.error_words and outcome.error_words not in sentence:
            who = "system" if outcome.error_code in errno.errorcode.values() else "server"
            facts.append(f'the {who} said "{outcome.error_words}"')
        elif outcome.error_code and outcome.error_code not in sentence and outcome.request_id:
            facts.append(f"the server said {outcome.error_code}")
        facts += circumstances(outcome)
        return scrub(printable(f"{sentence} ({'; '.join(facts)})" if facts else sentence))
    return printable(outcome.because)


def sentence_of(outcome: Outcome) -> str:
    """Our sentence of why something failed or was skipped, without its full stop."""
    if outcome.status is Status.LEFT and outcome.error.startswith("by "):  # whose signal it was
        return f"left, since the run was ended {outcome.error}"
    return (outcome.error or outcome.because or "the reason is not known").rstrip(".")


def circumstances(outcome: Outcome) -> list[str]:
    """What is this object's own, where many fail for one reason."""
    facts = []
    if outcome.request_id and outcome.request_id not in sentence_of(outcome):
        facts.append(f"request id {outcome.request_id}")
    if outcome.attempts > 1:
        facts.append(f"{outcome.attempts} attempts")
    return facts


def failure_line(outcome: Outcome) -> str:
    """One line for people: the key, escaped, and why it failed."""
    key, reason = printable(outcome.key), reason_words(outcome)
    return reason if reason.startswith(key) else f"{key}: {reason}"


def unread_words(folders: int) -> str:
    """What a manifest does not count: ``1 folder could not be read; what is in it is not counted``."""
    it = "it" if folders == 1 else "them"
    return f"{count_words(folders, 'folder')} could not be read; what is in {it} is not counted"


def count_words(count: int, noun: str = "object") -> str:
    """``1 object``, ``20,000 objects``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
