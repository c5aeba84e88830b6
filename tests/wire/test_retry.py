"""The one retry table: what an answer means, whether and when to try again, and what people are told."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterna.model.errors import (
    AccessDenied,
    ConnectionLost,
    Corrupt,
    CredentialsExpired,
    ObjectChanged,
    ObjectGone,
    RetryLater,
    SlowDown,
    SternaError,
    Unsupported,
    WrongSetting,
)
from sterna.model.units import printable
from sterna.wire.connection import Response
from sterna.wire.retry import Budget, Retries, can_be_made, judge
from sterna.wire.xml import as_text

# status, code → what it is. An empty code: an answer without a document.
TABLE = """
503 SlowDown                       SlowDown
503 ServiceUnavailable             SlowDown
503 -                              SlowDown
429 -                              SlowDown
400 RequestLimitExceeded           SlowDown
400 ThrottlingException            SlowDown
500 InternalError                  RetryLater
200 InternalError                  RetryLater
500 -                              RetryLater
502 -                              RetryLater
504 -                              RetryLater
599 -                              RetryLater
200 -                              RetryLater
408 -                              RetryLater
400 RequestTimeout                 RetryLater
400 IncompleteBody                 RetryLater
409 OperationAborted               RetryLater
409 ConditionalRequestConflict     RetryLater
403 RequestTimeTooSkewed           RetryLater
400 BadDigest                      Corrupt
400 XAmzContentSHA256Mismatch      Corrupt
400 XAmzContentChecksumMismatch    Corrupt
400 ExpiredToken                   CredentialsExpired
403 ExpiredToken                   CredentialsExpired
400 TokenRefreshRequired           CredentialsExpired
403 AccessDenied                   AccessDenied
403 InvalidAccessKeyId             AccessDenied
403 SignatureDoesNotMatch          AccessDenied
400 InvalidToken                   AccessDenied
403 -                              AccessDenied
401 -                              AccessDenied
404 NoSuchBucket                   WrongSetting
400 InvalidBucketName              WrongSetting
400 AuthorizationHeaderMalformed   WrongSetting
301 PermanentRedirect              WrongSetting
301 -                              WrongSetting
304 -                              Corrupt
307 -                              WrongSetting
404 NoSuchKey                      ObjectGone
404 NoSuchUpload                   ObjectGone
404 -                              ObjectGone
412 PreconditionFailed             ObjectChanged
412 -                              ObjectChanged
501 NotImplemented                 Unsupported
501 -                              Unsupported
400 MissingContentMD5              Unsupported
403 InvalidObjectState             SternaError
409 BucketNotEmpty                 SternaError
400 SomethingElse                  SternaError
416 -                              SternaError
405 -                              SternaError
0   -                              SternaError
"""
KINDS: dict[str, type[SternaError]] = {
    kind.__name__: kind
    for kind in (
        AccessDenied, Corrupt, CredentialsExpired, ObjectChanged, ObjectGone, RetryLater, SlowDown, SternaError,
        Unsupported, WrongSetting,
    )
}  # fmt: skip
ROWS = [tuple(line.split()) for line in TABLE.strip().splitlines()]


def answer(status: int, code: str = "", words: str = "", headers: dict[bytes, bytes] | None = None) -> Response:
    body = f"<Error><Code>{as_text(code)}</Code><Message>{as_text(words)}</Message><RequestId>R1</RequestId></Error>"
    return Response(status, headers or {}, body.encode() if code else b"")


@pytest.mark.parametrize(("status", "code", "kind"), ROWS, ids=[f"{status} {code}" for status, code, _ in ROWS])
def test_the_table(status: str, code: str, kind: str) -> None:
    error = judge(answer(int(status), code.strip("-"), "why"), "Put", "bucket", "key")
    assert type(error) is KINDS[kind]
    assert (error.status, error.operation, error.key) == (int(status), "Put", "key")
    assert error.code == (code if code != "-" else status)


@pytest.mark.parametrize(
    ("status", "code", "operation", "key", "says"),
    [
        (404, "NoSuchBucket", "Put", "k", "create it with: sterna mb s3://bucket"),
        (404, "NoSuchBucket", "List", "", "where it is to be written to, create it with: sterna mb s3://bucket"),
        (404, "NoSuchBucket", "List", "", "check its name, the endpoint and the region"),
        (403, "InvalidAccessKeyId", "Put", "k", "check the profile or AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", "Put", "k", "the secret key is wrong, or a proxy"),
        (403, "RequestTimeTooSkewed", "Put", "k", "set this machine's clock"),
        (403, "InvalidObjectState", "Get", "k", "request its restore"),
        (403, "AccessDenied", "Put", "k", "allow s3:PutObject or use other credentials"),
        (403, "AccessDenied", "List", "", "s3:ListBucket"),
        (403, "AccessDenied", "Odd", "", "s3:Odd"),
        (403, "", "Head", "k", "HTTP status 403"),
        (301, "PermanentRedirect", "Get", "k", "give --region"),
        (307, "", "Get", "k", "give --region"),
        (400, "AuthorizationHeaderMalformed", "Get", "k", "give --region"),
        (404, "NoSuchKey", "Get", "k", "k is not there"),
    ],
)
def test_the_sentence_says_what_to_do(status: int, code: str, operation: str, key: str, says: str) -> None:
    sentence = judge(answer(status, code, "why"), operation, "bucket", key).sentence
    assert says in sentence
    assert sentence.endswith(".") or "sterna mb" in sentence


@pytest.mark.parametrize("operation", ["Get", "Head", "HeadBucket", "Delete", "DeleteObjects", "GetVersioning"])
def test_who_does_not_write_is_not_told_to_make_a_bucket(operation: str) -> None:
    sentence = judge(answer(404, "NoSuchBucket", "why"), operation, "bucket", "k").sentence
    assert sentence == (
        "The bucket bucket does not exist at this endpoint; check its name, the endpoint and the region."
    )


@pytest.mark.parametrize("operation", ["Put", "List", "Get"])
@pytest.mark.parametrize("code", ["NoSuchBucket", "InvalidBucketName"])
def test_nobody_is_told_to_make_a_bucket_whose_name_cannot_be_one(operation: str, code: str) -> None:
    sentence = judge(answer(404, code, "why"), operation, "Bad_Bucket", "k").sentence
    assert sentence == (
        "The bucket Bad_Bucket does not exist, and that is no name for a bucket, which is 3 to 63 of a-z, 0-9, - and .;"
        " check it."
    )
    assert can_be_made("a.good-1")
    assert not any(map(can_be_made, ("ab", "-bc", "ab.", "A" * 3, "a" * 64, "")))


@settings(deadline=None)
@given(
    st.sampled_from([0, 200, 301, 400, 403, 404, 409, 412, 500, 503]),
    st.text(st.characters(), max_size=30),
    st.text(st.characters(), max_size=30),
    st.text(st.characters(), max_size=30),
    st.binary(max_size=20),
)
def test_H103_every_sentence_is_printable_whatever_the_server_says(
    status: int, code: str, words: str, key: str, request_id: bytes
) -> None:
    body = f"<Error><Code>{as_text(code)}</Code><Message>{as_text(words)}</Message></Error>"
    response = Response(status, {b"x-amz-request-id": request_id}, body.encode("utf-8", "surrogatepass"))
    error = judge(response, "Put", "bucket", key)
    for text in (error.sentence, error.words, error.request_id):
        assert printable(text) == text
        assert len(text) < 1200


def test_H103_a_code_is_printable_too() -> None:
    error = judge(answer(400, "\u202eevil"), "Put", "bucket", "k")
    assert printable(error.code) == error.code


def test_the_request_id_is_that_of_the_document_or_of_the_header() -> None:
    header = {b"x-amz-request-id": b"R2"}
    assert judge(answer(500, "InternalError", headers=header), "Put", "b", "k").request_id == "R1"
    assert judge(answer(500, headers=header), "Put", "b", "k").request_id == "R2"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"", None),
        (b"0", 0.0),
        (b"7", 7.0),
        (b"301", 300.0),
        (b"9" * 400, 300.0),
        (b"-1", None),
        (b"soon", None),
        (b"1.5", None),
    ],
)
def test_retry_after_is_read_and_bounded(value: bytes, seconds: float | None) -> None:
    assert judge(answer(503, "SlowDown", headers={b"retry-after": value}), "Put", "b", "k").retry_after_s == seconds


# When.

PLAIN = RetryLater("Later.")


@pytest.mark.parametrize(
    "kind", [AccessDenied, CredentialsExpired, ObjectChanged, ObjectGone, SternaError, Unsupported, WrongSetting]
)
def test_what_cannot_change_is_not_tried_again(kind: type[SternaError]) -> None:
    budget = Budget(Retries())
    assert budget.pause_s(kind("No."), 1) is None
    assert repr(budget) == "<Budget 500.0 of 500>"


@settings(deadline=None)
@given(st.integers(1, 20), st.sampled_from([RetryLater, SlowDown, ConnectionLost, Corrupt]))
def test_pauses_are_jittered_and_double_up_to_the_longest(attempt: int, kind: type[SternaError]) -> None:
    retries = Retries(attempts=100)
    pause = Budget(retries).pause_s(kind("Later."), attempt)
    assert pause is not None
    assert 0 <= pause <= min(20.0, 0.1 * 2 ** (attempt - 1))


def test_the_jitter_is_full() -> None:
    budget = Budget(Retries(budget=1e9))
    pauses = [pause for _ in range(400) if (pause := budget.pause_s(PLAIN, 4)) is not None]
    assert min(pauses) < 0.08
    assert max(pauses) > 0.72
    assert 0.3 < sum(pauses) / len(pauses) < 0.5


def test_the_server_may_ask_for_a_longer_pause() -> None:
    assert Budget(Retries()).pause_s(RetryLater("Later.", retry_after_s=7.0), 1) == 7.0
    pause = Budget(Retries()).pause_s(RetryLater("Later.", retry_after_s=0.0), 1)
    assert pause is not None
    assert pause <= 0.1


def test_the_last_attempt_is_the_last() -> None:
    budget = Budget(Retries(attempts=3))
    assert budget.pause_s(PLAIN, 2) is not None
    assert budget.pause_s(PLAIN, 3) is None
    assert Budget(Retries(attempts=1)).pause_s(PLAIN, 1) is None


def test_H36_a_kept_connection_that_was_closed_costs_nothing_twice() -> None:
    budget = Budget(Retries(budget=1.0))
    clean = ConnectionLost("Closed.", clean=True)
    assert [budget.pause_s(clean, 1), budget.pause_s(clean, 2)] == [0.0, 0.0]
    assert repr(budget) == "<Budget 1.0 of 1>"
    assert budget.pause_s(clean, 3) is not None
    assert repr(budget) == "<Budget 0.0 of 1>"
    assert budget.pause_s(clean, 3) is None


def test_slow_down_is_answered_by_the_pace_and_not_by_the_budget() -> None:
    budget = Budget(Retries(budget=1.0))
    for _ in range(50):
        assert budget.pause_s(SlowDown("Slow."), 1) is not None
    assert repr(budget) == "<Budget 1.0 of 1>"


@settings(deadline=None)
@given(st.lists(st.booleans(), max_size=400), st.integers(1, 20))
def test_H27_repetitions_are_bounded_by_the_budget_and_a_tenth_of_the_successes(fates: list[bool], most: int) -> None:
    budget = Budget(Retries(budget=float(most)))
    tries = successes = 0
    for succeeds in fates:
        if succeeds:
            budget.succeeded()
            successes += 1
        else:
            tries += budget.pause_s(PLAIN, 1) is not None
        assert tries <= most + successes * 0.1 + 1e-6


def test_H27_ten_per_cent_errors_go_on_for_ever_and_nothing_but_errors_ends() -> None:
    budget = Budget(Retries(budget=5.0))
    for _ in range(2000):
        for _ in range(10):
            budget.succeeded()
        assert budget.pause_s(PLAIN, 1) is not None
    assert sum(budget.pause_s(PLAIN, 1) is not None for _ in range(100)) <= 5
