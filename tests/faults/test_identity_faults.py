"""Keys that expire, permissions that lack, clocks and regions that are wrong, redirects: hazards H28, H30, H31, H95."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import sterna
from sterna.model.errors import AccessDenied, CredentialsExpired, WrongSetting
from sterna.wire.credentials import Identity
from tests.faults import front as f
from tests.faults.case import LARGE, Case, noise
from tests.faults.front import Front
from tests.servers.oracle import Bucket

FILES = {f"{letter}.txt": letter.encode() * 9 for letter in "abcdefgh"}
CANARY = "CANARY-session-token-7f3a"
SECRET = "CANARY-of-the-key-91bc"


@pytest.fixture
def case(front: Front, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    with closing(Case(front, bucket, tmp_path, monkeypatch)) as case:
        yield case


class Provider:
    """A profile whose ``credential_process`` gives other keys at each call, until it dies; it counts its calls."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *, dies_after: int = 99) -> None:
        self._calls = folder / "calls"
        script = folder / "provider.py"
        script.write_text(
            "import json, pathlib, sys\n"
            f"calls = pathlib.Path({str(self._calls)!r})\n"
            "calls.touch()\n"
            "n = len(calls.read_text()) + 1\n"
            "calls.write_text('x' * n)\n"
            f"if n > {dies_after}:\n"
            "    sys.exit('the vault is sealed')\n"
            "print(json.dumps({'Version': 1, 'AccessKeyId': f'KEY{n}',\n"
            f"    'SecretAccessKey': '{SECRET}',\n"
            f"    'SessionToken': f'{CANARY}-{{n}}', 'Expiration': '2099-01-01T00:00:00Z'}}))\n"
        )
        config = folder / "config"
        config.write_text(f"[profile vault]\ncredential_process = {sys.executable} {script}\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
        self.identity = Identity(profile="vault")

    @property
    def calls(self) -> int:
        return len(self._calls.read_text())


def _key_of(request: f.Request) -> str:
    """The access key that signed a request."""
    return request.headers["authorization"].partition("Credential=")[2].partition("/")[0]


@pytest.fixture
def vault(tmp_path: Path, case: Case, monkeypatch: pytest.MonkeyPatch) -> Provider:
    return Provider(tmp_path, monkeypatch)


def test_H30_expired_keys_are_refreshed_once_for_all_requests(case: Case, vault: Provider) -> None:
    case.write(FILES)
    case.front.fault("Put", nth="always", kind=f.EXPIRED_TOKEN, where=lambda put: _key_of(put) == "KEY1")
    case.front.fault("Put", nth="always", kind=f.Latency(0.05), where=lambda put: _key_of(put) == "KEY1")
    ran = case.up(case.settings(identity=vault.identity))
    assert vault.calls == 2
    assert ran.summary.exit_code == 0, ran.said
    assert ran.summary.retries == 0  # a refreshed key is no failed attempt
    assert case.truth() == FILES
    case.converges()


def test_H30_keys_that_expire_every_few_requests_only_cost_their_renewal(case: Case, vault: Provider) -> None:
    case.write(FILES)
    uses: dict[str, int] = {}
    lock = threading.Lock()

    def is_used_up(put: f.Request) -> bool:
        with lock:
            uses[_key_of(put)] = uses.get(_key_of(put), 0) + 1
            return uses[_key_of(put)] > 3

    case.front.fault("Put", nth="always", kind=f.EXPIRED_TOKEN, where=is_used_up)
    ran = case.up(case.settings(identity=vault.identity))
    assert ran.summary.exit_code in (0, 1)  # two renewals at most for one request, then it fails by name
    assert 2 <= vault.calls <= len(FILES)
    case.converges()


def test_H30_an_expired_key_under_a_look_is_renewed_although_a_head_cannot_say_why(case: Case, vault: Provider) -> None:
    case.write({"a.txt": b"one"})
    case.front.fault("Head", nth="always", kind=f.EXPIRED_TOKEN, where=lambda head: _key_of(head) == "KEY1")
    ran = case.up(case.settings(identity=vault.identity))
    assert ran.summary.exit_code == 0, ran.said
    assert vault.calls == 2
    assert case.truth() == {"a.txt": b"one"}


def test_H30_a_provider_that_dies_ends_the_run_with_exit_code_3_and_says_so(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = Provider(tmp_path, monkeypatch, dies_after=1)
    case.write(FILES)
    case.front.fault("Put", nth="always", kind=f.EXPIRED_TOKEN)
    ran = case.up(case.settings(identity=vault.identity))
    assert ran.summary.exit_code == 3
    assert vault.calls == 2
    assert "its credential_process failed" in ran.said
    assert "expired" in ran.said
    assert CANARY not in ran.said + ran.log
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no config"))
    case.converges()


def test_H30_a_provider_that_dies_in_the_middle_ends_the_run_with_exit_code_3(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = Provider(tmp_path, monkeypatch, dies_after=1)
    case.write(FILES)
    case.front.fault("Put", nth="from 4th", kind=f.EXPIRED_TOKEN)
    ran = case.up(case.settings(identity=vault.identity))
    assert ran.summary.exit_code == 3, ran.said
    assert len(case.truth()) == 3
    assert vault.calls == 2
    assert "its credential_process failed" in ran.said
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no config"))
    case.converges()


def test_H30_static_keys_that_expire_before_the_listing_end_the_run(case: Case) -> None:
    case.write(FILES)
    case.front.fault("ListV2", nth="always", kind=f.EXPIRED_TOKEN)
    with pytest.raises(CredentialsExpired, match="expired") as caught:
        case.up()
    assert caught.value.exit_code == 3
    assert case.front.count() <= 2


# Permissions


def test_a_key_that_may_not_be_written_fails_by_name_and_the_others_arrive(case: Case) -> None:
    case.write(FILES)
    denied = case.front.fault("Put", key="p/c.txt", nth="always", kind=f.ACCESS_DENIED)
    case.is_failed(case.up(), "c.txt", words="Access Denied")
    assert denied.hits == 1  # a refusal is not repeated


def test_a_bucket_that_may_not_be_written_ends_with_exit_code_3(case: Case) -> None:
    case.write(FILES)
    case.front.fault("Put", nth="always", kind=f.ACCESS_DENIED)
    case.is_failed(case.up(), *FILES, words="allow s3:PutObject", code=3)


def test_a_bucket_that_may_not_be_listed_ends_with_exit_code_3(case: Case) -> None:
    case.write(FILES)
    case.front.fault("ListV2", nth="always", kind=f.ACCESS_DENIED)
    with pytest.raises(AccessDenied, match="allow s3:ListBucket"):
        case.up()


@pytest.mark.parametrize("kind, sentence", [(f.INVALID_ACCESS_KEY, "does not know the access key"),
                                            (f.SIGNATURE_MISMATCH, "the secret key is wrong")])  # fmt: skip
def test_wrong_keys_are_told_with_what_to_check(case: Case, kind: f.Kind, sentence: str) -> None:
    case.write(FILES)
    case.front.fault("ListV2", kind=kind)
    with pytest.raises(AccessDenied, match=sentence) as caught:
        case.up()
    assert caught.value.exit_code == 3


def test_parts_that_may_not_be_written_are_aborted(case: Case) -> None:
    case.write({"a.txt": b"one", "big.bin": noise(LARGE)})
    case.ignores_checksums()
    case.front.fault("UploadPart", nth="always", kind=f.ACCESS_DENIED)
    case.is_failed(case.up(), "big.bin", words="Access Denied")


# Clocks


@pytest.mark.parametrize("by_s", [3600, -3600, 86_400])
def test_H28_a_wrong_clock_is_corrected_by_the_servers_date(case: Case, by_s: float) -> None:
    case.write(FILES)
    clock = case.front.fault("*", nth="always", kind=f.SkewedClock(by_s))
    ran = case.up()
    assert ran.summary.exit_code == 0, ran.said
    assert clock.hits <= 2
    assert case.truth() == FILES
    assert any("clock is off" in notice for notice in ran.summary.notices)
    case.converges()


def test_H28_a_wrong_clock_is_found_out_by_a_head_as_well(case: Case) -> None:
    case.write({"a.txt": b"one"})
    case.front.fault("Head", nth="always", kind=f.SkewedClock(7200))
    case.is_arrived(case.up())


# Regions and redirects


def _region_of(request: f.Request) -> str:
    return request.headers["authorization"].partition("Credential=")[2].split("/")[2]


@pytest.mark.parametrize("refusal", [f.wrong_region("us-east-1"), f.permanent_redirect("us-east-1")],
                         ids=["400", "301"])  # fmt: skip
def test_H31_a_wrong_region_is_corrected_once_for_all_requests(case: Case, refusal: f.Refuse) -> None:
    case.write(FILES)
    wrong = case.front.fault("ListV2", nth="always", kind=refusal, where=lambda one: _region_of(one) != "us-east-1")
    ran = case.up(case.settings(region="eu-west-1"))
    assert wrong.hits == 1
    assert [notice for notice in ran.summary.notices if "is in us-east-1, not in eu-west-1" in notice]
    assert {_region_of(one) for one in case.front.requests_of("Put")} == {"us-east-1"}
    case.is_arrived(ran)


@pytest.mark.parametrize("refusal", [f.wrong_region("us-east-1"), f.permanent_redirect("us-east-1")],
                         ids=["400", "301"])  # fmt: skip
def test_H31_a_wrong_region_is_found_out_by_a_head_as_well(case: Case, refusal: f.Refuse) -> None:
    case.write({"a.txt": b"one"})
    case.front.fault("Head", nth="always", kind=refusal, where=lambda one: _region_of(one) != "us-east-1")
    summary = sterna.copy(case.folder / "a.txt", case.bucket.url("p/a.txt"), settings=case.settings(region="eu-west-1"))
    assert (summary.exit_code, summary.uploaded) == (0, 1)
    assert case.truth() == {"a.txt": b"one"}


def test_H31_a_server_that_wants_another_region_each_time_is_not_followed_for_ever(case: Case) -> None:
    case.write(FILES)
    case.front.fault("ListV2", nth="every 2nd", kind=f.wrong_region("eu-west-1"))
    case.front.fault("ListV2", nth={1, 3, 5, 7}, kind=f.wrong_region("us-west-2"))
    with pytest.raises(WrongSetting, match="another region"):
        case.up()
    assert case.front.count("ListV2") <= 3


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("operation", ["ListV2", "Put", "Head"])
def test_H95_a_redirect_to_another_host_is_never_followed(
    case: Case, vault: Provider, status: int, operation: str
) -> None:
    case.write({"a.txt": b"one"} if operation == "Head" else FILES)
    with closing(Front(None)) as sink:
        case.front.fault(operation, nth="always", kind=f.Redirect(sink.endpoint_url, status))
        settings = case.settings(identity=vault.identity)
        said = ""
        if operation == "ListV2":
            with pytest.raises(Exception, match=r"List|region") as caught:
                case.up(settings)
            said = str(caught.value)
        else:
            ran = case.up(settings)
            assert ran.summary.exit_code != 0, ran.said
            said = ran.said + ran.log
        assert sink.connections == 0
    assert CANARY not in said


def test_H96_no_secret_is_in_anything_that_is_said(case: Case, vault: Provider) -> None:
    case.write(FILES)
    case.front.fault("Put", nth="always", kind=f.SIGNATURE_MISMATCH)
    ran = case.up(case.settings(identity=vault.identity))
    assert ran.summary.exit_code == 3
    said = "\n".join((ran.said, ran.log, *map(repr, ran.events)))
    assert SECRET not in said
    assert CANARY not in said
    assert case.front.requests_of("Put")[0].headers["x-amz-security-token"].startswith(CANARY)
