"""Connections that end, stall and are slow, servers that ask for patience: hazards H26, H27, H32, H33, H35, H36, H38."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trustme

from sterna.jobs.sides import open_bucket
from sterna.model.errors import ConnectionLost, RetryLater, WrongSetting
from sterna.model.events import Tally
from sterna.model.location import BucketPath, parse_location
from sterna.wire.loop import run
from sterna.wire.retry import Retries
from tests.conftest import Sterna
from tests.faults import front as f
from tests.faults.case import LARGE, PATIENCE, Case, noise
from tests.faults.front import Front
from tests.servers.oracle import Bucket
from tests.servers.process import free_ports

SMALL = {f"{letter}.txt": letter.encode() * 9 for letter in "abcd"}
BIG = {"big.bin": noise(LARGE)}


@pytest.fixture
def case(front: Front, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    with closing(Case(front, bucket, tmp_path, monkeypatch)) as case:
        yield case


# Answers that mean: later

LATER = (
    f.INTERNAL_ERROR,
    f.BAD_GATEWAY,
    f.SERVICE_UNAVAILABLE,
    f.GATEWAY_TIMEOUT,
    f.Refuse(429, "TooManyRequests", headers={"Retry-After": "0"}),
    f.REQUEST_TIMEOUT,  # 400 (H33)
)
OPERATIONS = ["ListV2", "Put", "CreateMPU", "UploadPart", "Complete", "Head"]


def _later(operation: str) -> tuple[f.Kind, ...]:
    return LATER if operation != "Head" else LATER[:-1]  # a HEAD's 400 has no body that says which it is


def _provoke_heads(case: Case) -> None:
    """Have the closing listing say nothing, so that uploads are looked at one by one."""
    case.front.fault("ListV2", nth="from 2nd", kind=f.EmptyList(), must_hit=False)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_H26_every_answer_that_means_later_is_obeyed_on_every_operation(case: Case, operation: str) -> None:
    case.write(BIG if operation in ("CreateMPU", "UploadPart", "Complete") else SMALL)
    case.ignores_checksums()
    if operation == "Head":
        _provoke_heads(case)
    faults = [case.front.fault(operation, nth=nth, kind=kind) for nth, kind in enumerate(_later(operation), 1)]
    ran = case.up()
    assert [fault.hits for fault in faults] == [1] * len(faults)
    assert ran.summary.retries == len(faults)
    case.is_arrived(ran)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_H26_an_operation_that_fails_at_first_and_every_third_time_still_gets_done(case: Case, operation: str) -> None:
    case.write(SMALL | BIG)
    case.ignores_checksums()
    _provoke_heads(case)
    case.front.fault(operation, nth={1, *range(3, 100, 3)}, kind=f.INTERNAL_ERROR)
    case.is_arrived(case.up())


@pytest.mark.parametrize("kind", [f.INTERNAL_ERROR, f.SLOW_DOWN, f.ResetBeforeRequest(), f.ResetAfterApply()],
                         ids=["500", "SlowDown", "reset before", "reset after"])  # fmt: skip
def test_H27_a_key_that_always_fails_costs_a_bounded_number_of_requests(case: Case, kind: f.Kind) -> None:
    case.write(SMALL)
    fault = case.front.fault("Put", key="p/b.txt", nth="always", kind=kind)
    ran = case.up()
    assert fault.hits <= PATIENCE.attempts + 2
    assert ran.summary.exit_code == 1
    assert [one.key for one in ran.summary.failures] == ["b.txt"]
    assert "b.txt" in ran.said
    assert {name: body for name, body in case.truth().items() if name != "b.txt"} == {
        name: body for name, body in SMALL.items() if name != "b.txt"
    }
    case.converges()


def test_H27_a_server_that_only_fails_ends_the_run_after_a_bounded_number_of_requests(case: Case) -> None:
    case.write({f"{number:03}": b"x" for number in range(60)})
    case.front.fault("Put", nth="always", kind=f.INTERNAL_ERROR)
    retries = Retries(first_pause_s=0.0, longest_pause_s=0.0, budget=40.0)
    ran = case.up(case.settings(retries=retries))
    assert (ran.summary.exit_code, ran.summary.failed) == (1, 60)
    assert case.front.count("Put") <= 60 + 41
    assert case.truth() == {}


def test_H27_ten_percent_of_failures_cost_at_most_three_tenths_more_requests(case: Case) -> None:
    case.write({f"{number:03}": b"%d" % number for number in range(100)})
    case.front.fault(("Put", "ListV2", "Head"), nth="every 10th", kind=f.INTERNAL_ERROR)
    case.is_arrived(case.up())
    assert case.front.count() <= 1.3 * 102


def test_H26_retry_after_is_waited_for(case: Case) -> None:
    case.write({"a.txt": b"one"})
    case.front.fault("Put", kind=f.Refuse(503, "SlowDown", headers={"Retry-After": "1"}))
    case.is_arrived(case.up())
    first, second = case.front.requests_of("Put")
    assert second.at - first.answered_at >= 0.99


def test_H26_slow_down_halves_what_is_in_flight_and_the_uploads_end_well(case: Case) -> None:
    location = parse_location(case.bucket.url("p"))
    assert isinstance(location, BucketPath)
    case.front.fault("Put", nth={1, 2, *range(10, 18)}, kind=f.SLOW_DOWN)
    tally = Tally()

    async def upload() -> tuple[int, int]:
        async with open_bucket(location, case.settings().destination, case.settings(), tally) as store:
            before = store.client.gate.limit

            async def one(number: int) -> None:
                async with store.client.gate:
                    await store.put(f"{number}", b"%d" % number, {})

            await asyncio.gather(*(one(number) for number in range(40)))
            return before, store.client.gate.halvings

    before, halvings = run(upload())
    assert halvings >= 1
    assert tally.lanes < before
    assert case.truth() == {f"{number}": b"%d" % number for number in range(40)}


# Connections that end


@pytest.mark.parametrize("operation", [*OPERATIONS, "Abort"])
@pytest.mark.parametrize("kind", [f.ResetBeforeRequest(), f.ResetBeforeRequest("FIN"), f.ResetAfterApply(),
                                  f.ResetAfterApply("FIN"), f.CutHead(30)],
                         ids=["RST before", "FIN before", "RST after", "FIN after", "cut head"])  # fmt: skip
def test_H35_a_connection_lost_before_or_after_the_request_was_done(case: Case, operation: str, kind: f.Kind) -> None:
    case.write(SMALL | BIG if operation in ("CreateMPU", "UploadPart", "Complete", "Abort") else SMALL)
    case.ignores_checksums()
    case.front.fault(operation, nth={1, 2}, kind=kind)
    if operation == "Head":
        _provoke_heads(case)
    if operation == "Abort":
        case.front.fault("Complete", nth="always", kind=f.NO_SUCH_KEY)
        ran = case.up()
        assert ran.summary.exit_code == 1
        assert case.bucket.uploads() == []
        return
    ran = case.up()
    assert ran.summary.exit_code == 0, ran.said
    assert case.truth() == case.files()
    if operation == "CreateMPU" and isinstance(kind, f.ResetAfterApply | f.CutHead):
        # An upload whose id was lost with the answer: nobody can name it but a listing of uploads.
        assert len(case.bucket.uploads()) == 2
    else:
        assert case.bucket.uploads() == []


@pytest.mark.parametrize("at", [1, 65_536, 1 << 20, 5 << 20])
def test_H32_an_upload_cut_at_any_byte_is_sent_again_from_the_first(case: Case, at: int) -> None:
    case.write(BIG)
    case.ignores_checksums()
    case.front.fault("UploadPart", nth={1, 3}, kind=f.ResetAtRequestByte(at), must_hit=False)
    case.is_arrived(case.up())


@pytest.mark.parametrize("announced", [True, False])
def test_H36_a_server_that_closes_after_every_answer_is_no_trouble(case: Case, announced: bool) -> None:
    case.write(SMALL | BIG)
    case.ignores_checksums()
    case.front.fault("*", nth="always", kind=f.CloseAfterAnswer(announced=announced))
    case.is_arrived(case.up())


def _wait_until_closed(front: Front) -> None:
    with front._changed:
        assert front._changed.wait_for(lambda: not front.open_connections, f.WAIT_S)


@pytest.mark.parametrize("by", ["FIN", "RST"])
def test_H36_a_connection_closed_while_idle_is_no_trouble(case: Case, by: f.By) -> None:
    case.front.idle_limit_s, case.front.idle_end = 0.02, by
    location = parse_location(case.bucket.url("p"))
    assert isinstance(location, BucketPath)

    async def upload() -> None:
        async with open_bucket(location, case.settings().destination, case.settings(), Tally()) as store:
            for number in range(4):
                await store.put(f"{number}", b"%d" % number, {})
                await asyncio.to_thread(_wait_until_closed, case.front)

    run(upload())
    assert case.truth() == {f"{number}": b"%d" % number for number in range(4)}


@pytest.mark.parametrize("by", ["FIN", "RST"])
def test_H36_a_kept_connection_that_ends_with_the_next_request_costs_no_attempt(case: Case, by: f.By) -> None:
    case.write(SMALL)
    retries = Retries(attempts=2, first_pause_s=0.0)
    case.front.fault("*", nth="always", kind=f.ResetBeforeRequest(by), where=lambda one: one.nth_on_connection == 2)
    ran = case.up(case.settings(retries=retries))
    assert ran.summary.exit_code == 0, ran.said
    assert case.truth() == SMALL


# Connections that stall


@pytest.mark.parametrize("operation", ["ListV2", "Put", "UploadPart", "Complete"])
@pytest.mark.parametrize("kind", [f.StallBeforeRequest(), f.StallBeforeAnswer()], ids=lambda kind: type(kind).__name__)
def test_H38_a_stall_ends_by_the_idle_timeout_and_is_tried_again(case: Case, operation: str, kind: f.Kind) -> None:
    case.write(BIG if operation in ("UploadPart", "Complete") else SMALL)
    case.ignores_checksums()
    stall = case.front.fault(operation, kind=kind)
    began = time.monotonic()
    ran = case.up(case.settings(idle_s=0.2))
    assert time.monotonic() - began < 10  # what the other tests set
    assert stall.hits == 1
    case.is_arrived(ran)


@pytest.mark.parametrize("from_file", [False, True])
def test_H38_a_part_that_stalls_half_way_is_tried_again(case: Case, from_file: bool) -> None:
    case.write(SMALL | BIG)
    case.front.fault("UploadPart", kind=f.StallAtRequestByte(100_000))
    if from_file:
        case.shows_checksums()
    else:
        case.ignores_checksums()
    case.is_arrived(case.up(case.settings(idle_s=0.3)))


def test_H38_a_server_that_never_answers_fails_the_run_in_bounded_time(case: Case) -> None:
    case.write(SMALL)
    case.front.fault("*", nth="always", kind=f.StallBeforeRequest())
    with pytest.raises(ConnectionLost, match="stalled"):
        case.up(case.settings(idle_s=0.05))
    assert case.front.count() <= 4


def test_H38_ctrl_c_ends_a_stalled_upload_within_five_seconds_and_aborts_it(
    sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path
) -> None:
    (tmp_path / "big.bin").write_bytes(noise(9 << 20))
    front.fault(("CreateMPU", "UploadPart"), nth="always", kind=f.IgnoreChecksums())
    stall = front.fault("UploadPart", nth="always", kind=f.StallAtRequestByte(1000))
    started = sterna.start("copy", tmp_path / "big.bin", bucket.url("p/"), "--part-size", "5MiB", "--no-progress")
    stall.wait_until_hit()
    began = time.monotonic()
    started.send(signal.SIGINT)
    done = started.wait(15)
    assert time.monotonic() - began < 5
    assert done.code == 130, done.err
    assert "INTERRUPTED" in done.out
    assert "1 left" in done.out
    assert bucket.uploads() == []
    assert bucket.keys() == []
    front.remove(stall)
    assert sterna("copy", tmp_path / "big.bin", bucket.url("p/"), "--part-size", "5MiB").code == 0
    assert bucket.get("p/big.bin") == noise(9 << 20)


def test_H38_a_second_ctrl_c_ends_it_at_once(sterna: Sterna, front: Front, bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "big.bin").write_bytes(noise(9 << 20))
    stall = front.fault("UploadPart", nth="always", kind=f.StallAtRequestByte(1000))
    started = sterna.start("copy", tmp_path / "big.bin", bucket.url("p/"), "--part-size", "5MiB", "--no-progress")
    stall.wait_until_hit()
    started.send(signal.SIGINT)
    began = time.monotonic()
    while started.process.poll() is None and time.monotonic() - began < f.WAIT_S:
        started.send(signal.SIGINT)
        time.sleep(0.05)
    done = started.wait(5)
    assert "left at once" in done.err  # and not after the time that a single one gives what is in flight
    assert done.code == 130
    assert bucket.keys() == []


def test_H38_one_stalled_upload_does_not_hold_up_the_others(case: Case) -> None:
    case.write(SMALL)
    stall = case.front.fault("Put", nth=1, kind=f.StallBeforeRequest())
    others = case.front.fault("Put", nth=4, kind=f.Call(lambda put: stall.release(), is_after=True))
    ran = case.up()
    assert others.hits == 1
    assert ran.summary.retries == 0  # the idle timeout did not have to end it
    case.is_arrived(ran)


# Servers that cannot be reached


def test_an_endpoint_that_refuses_connections_is_told_in_one_sentence_in_bounded_time(case: Case) -> None:
    case.write(SMALL)
    port = free_ports()
    began = time.monotonic()
    with pytest.raises(RetryLater, match=rf"127\.0\.0\.1:{port} cannot be reached: .*; check --endpoint-url"):
        case.up(case.settings(url=f"http://127.0.0.1:{port}"))
    assert time.monotonic() - began < 5  # as long as connecting may take where nothing refuses it


def test_an_unknown_host_is_told_in_one_sentence_in_bounded_time(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.write(SMALL)
    with pytest.raises((WrongSetting, RetryLater), match=r"The name nowhere\.invalid .*"):
        case.up(case.settings(url="http://nowhere.invalid:9000"))


def test_a_certificate_that_nobody_vouches_for_is_told_with_what_to_give(case: Case, tmp_path: Path) -> None:
    case.write(SMALL)
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with closing(Front(case.front.upstream, tls=context)) as secure:
        with pytest.raises(WrongSetting, match=r"is not trusted .*--ca-bundle"):
            case.up(case.settings(url=secure.endpoint_url))
        assert secure.count() == 0
        bundle = tmp_path / "ca.pem"
        authority.cert_pem.write_to_path(str(bundle))
        case.is_arrived(case.up(case.settings(url=secure.endpoint_url, ca_bundle=str(bundle))))


def test_a_certificate_of_another_name_is_refused(case: Case, tmp_path: Path) -> None:
    case.write(SMALL)
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("s3.example.com").configure_cert(context)
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    with closing(Front(case.front.upstream, tls=context)) as secure:
        with pytest.raises(WrongSetting, match="is not trusted"):
            case.up(case.settings(url=secure.endpoint_url, ca_bundle=str(bundle)))
        assert secure.count() == 0


def test_https_towards_a_server_without_tls_is_told_with_what_to_write(case: Case) -> None:
    case.write(SMALL)
    assert case.front.upstream is not None
    with pytest.raises(WrongSetting, match="does not speak TLS; write http://"):
        case.up(case.settings(url=case.front.upstream.endpoint_url.replace("http:", "https:")))


def test_a_connection_that_neither_succeeds_nor_fails_ends_by_the_connect_timeout(case: Case) -> None:
    case.write(SMALL)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        try:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            with pytest.raises(RetryLater, match=r"does not answer within 0.1 s|cannot be reached"):
                case.up(case.settings(url=url, connect_s=0.1))
        finally:
            for filler in fillers:
                filler.close()


# Answers that do not end


@pytest.mark.parametrize("kind", [f.HugeHeader(), f.EndlessBody(500), f.EndlessBody(200)], ids=["head", "500", "200"])
@pytest.mark.parametrize("operation", ["ListV2", "Put"])
def test_H39_an_answer_without_an_end_is_cut_off_and_asked_for_again(case: Case, operation: str, kind: f.Kind) -> None:
    case.write(SMALL)
    case.front.fault(operation, kind=kind)
    case.is_arrived(case.up())
