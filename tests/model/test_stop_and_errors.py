"""The end that is asked for once, and errors that know what they know."""

from __future__ import annotations

from sterna.model.actions import Action, Verb
from sterna.model.entry import Entry
from sterna.model.errors import AccessDenied, ConnectionLost, Corrupt, RetryLater, SternaError
from sterna.model.outcomes import Outcome, Status
from sterna.model.stop import Stop


def test_the_first_request_to_stop_stands() -> None:
    stop, heard = Stop(), list[str]()
    stop.on_request(lambda: heard.append("early"))
    assert not stop.is_requested
    stop.request("Ctrl-C", 130)
    stop.request("SIGTERM", 143)
    stop.on_request(lambda: heard.append("late"))
    assert stop.is_requested
    assert (stop.reason, stop.exit_code, heard) == ("Ctrl-C", 130, ["early", "late"])


def test_an_error_tells_only_what_it_knows() -> None:
    assert SternaError("No.").facts() == {}
    error = Corrupt("No.", operation="Get", key="a", status=200, code="x", words="y", request_id="z")
    assert error.facts() == {
        "operation": "Get",
        "key": "a",
        "status": 200,
        "code": "x",
        "words": "y",
        "request_id": "z",
    }
    assert (str(error), error.sentence) == ("No.", "No.")
    assert isinstance(error, RetryLater)
    assert not ConnectionLost("Gone.").clean


def test_a_failed_outcome_says_what_its_error_knew() -> None:
    outcome = Outcome("upload", "a", Status.DONE, attempts=2)
    error = AccessDenied("Denied.", code="AccessDenied", words="no", request_id="r")
    error.attempts = 1
    assert outcome.fail(error) is outcome
    assert (outcome.status, outcome.error, outcome.error_code, outcome.error_words) == (
        Status.FAILED,
        "Denied.",
        "AccessDenied",
        "no",
    )
    assert (outcome.request_id, outcome.error_kind, outcome.exit_code, outcome.attempts) == ("r", "AccessDenied", 3, 2)


def test_an_action_has_the_size_of_its_source() -> None:
    assert Action(Verb.UPLOAD, "a", "new", Entry("a", 5, 0)).size == 5
    assert Action(Verb.DELETE, "a", "gone").size == 0
    assert Entry("a/", 0, 0).is_directory_marker
    assert not Entry("a", 0, 0).is_directory_marker
