"""Where keys come from: real botocore, real files and processes, and services played by a little server of our own."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from sterna.model.errors import AccessDenied, CredentialsExpired, RetryLater, SternaError, WrongSetting
from sterna.wire.credentials import Credentials, CredentialSource, Identity, Secret

_ROLE = "arn:aws:iam::123456789012:role/backup"
_FAR = "2099-01-01T00:00:00Z"


class Services:
    """STS, the instance metadata, a container's credentials service and SSO, on one loopback port.

    ``answers`` maps a path or an STS action to what is sent; ``asked`` holds what came, in order.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str], str]] = []
        self.answers: dict[str, Callable[[dict[str, str]], tuple[int, str]]] = {}
        services = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
                parts = urlsplit(self.path)
                given = {name: values[0] for name, values in parse_qs(body or parts.query).items()}
                what = given.get("Action") or parts.path
                services.asked.append((what, given, self.headers.get("authorization") or ""))
                status, text = services.answers[what](given) if what in services.answers else (404, "")
                data = text.encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.send_header("content-type", "text/xml" if text.startswith("<") else "application/json")
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = _serve  # noqa: N815

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def names(self) -> list[str]:
        return [what for what, _, _ in self.asked]

    def assume_role(self, *, action: str = "AssumeRole", expires: str = _FAR) -> None:
        """Give numbered keys to whoever assumes a role."""

        def answer(given: dict[str, str]) -> tuple[int, str]:
            number = self.names().count(action)
            return 200, (
                f"<{action}Response xmlns='https://sts.amazonaws.com/doc/2011-06-15/'><{action}Result><Credentials>"
                f"<AccessKeyId>ASIA{number}</AccessKeyId><SecretAccessKey>role-secret</SecretAccessKey>"
                f"<SessionToken>role-token</SessionToken><Expiration>{expires}</Expiration></Credentials>"
                f"<AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/backup/x</Arn>"
                f"<AssumedRoleId>AROA:x</AssumedRoleId></AssumedRoleUser></{action}Result>"
                f"<ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata></{action}Response>"
            )

        self.answers[action] = answer

    def refuse(self, action: str, status: int, code: str, message: str) -> None:
        error = f"<Error><Code>{code}</Code><Message>{message}</Message></Error><RequestId>r-2</RequestId>"
        self.answers[action] = lambda given: (status, f"<ErrorResponse>{error}</ErrorResponse>")


@pytest.fixture
def services() -> Iterator[Services]:
    played = Services()
    yield played
    played.close()


class World:
    """The environment and the shared files of one test, and nobody else's."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._monkeypatch = monkeypatch
        for name in list(os.environ):
            if name.startswith("AWS_") or name.lower().endswith("_proxy"):
                monkeypatch.delenv(name)
        self.set(
            HOME=str(folder),
            AWS_CONFIG_FILE=str(folder / "config"),
            AWS_SHARED_CREDENTIALS_FILE=str(folder / "credentials"),
            AWS_EC2_METADATA_DISABLED="true",
            AWS_MAX_ATTEMPTS="1",
        )

    def set(self, **variables: str) -> None:
        for name, value in variables.items():
            self._monkeypatch.setenv(name, value)

    def unset(self, *names: str) -> None:
        for name in names:
            self._monkeypatch.delenv(name)

    def config(self, text: str) -> None:
        (self.folder / "config").write_text(textwrap.dedent(text))

    def credentials(self, text: str) -> None:
        (self.folder / "credentials").write_text(textwrap.dedent(text))

    def process(self, body: str) -> str:
        """A credential_process of one shell script; it counts its runs in the file ``runs``."""
        script = self.folder / "give"
        script.write_text(f"#!/bin/sh\necho run >> {self.folder}/runs\n{body}\n")
        script.chmod(0o755)
        return str(script)

    def runs(self) -> int:
        return len((self.folder / "runs").read_text().splitlines())


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


class FakeClock:
    """Seconds since 1970 that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = datetime.now(UTC).timestamp()

    def __call__(self) -> float:
        return self.now_s

    def after(self, seconds: float) -> str:
        """The time in so many seconds, as the services write it."""
        return (datetime.fromtimestamp(self.now_s, UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _keys(credentials: Credentials | None) -> tuple[str, str, str]:
    assert credentials is not None
    return credentials.access_key, credentials.secret_key.reveal(), credentials.token.reveal()


def _found(identity: Identity | None = None) -> Credentials:
    credentials = CredentialSource(identity or Identity()).now()
    assert credentials is not None
    return credentials


def _gives(access_key: str, expires: str) -> str:
    """Shell that prints keys as a credential_process does; ``access_key`` may hold a variable."""
    keys = f'"AccessKeyId": "{access_key}", "SecretAccessKey": "s", "SessionToken": "t", "Expiration": "{expires}"'
    return f'cat <<END\n{{"Version": 1, {keys}}}\nEND'


# -- secrets


def test_H96_a_secret_shows_itself_to_nobody() -> None:
    secret = Secret("canary")
    credentials = Credentials("AKID", secret, Secret("canary-token"), source="given")
    for shown in (
        repr(secret), str(secret), f"{secret}", f"{secret!r:>20}", f"{secret:>3}", f"{secret:s}",
        repr([secret]), repr(credentials), str(credentials), f"{credentials}", repr(CredentialSource(Identity())),
    ):  # fmt: skip
        assert "canary" not in shown
    with pytest.raises(TypeError):
        json.dumps(secret)
    with pytest.raises(TypeError):
        "AWS4" + secret  # type: ignore[operator]
    assert secret.reveal() == "canary"


def test_H96_a_traceback_with_variables_does_not_show_keys(world: World) -> None:
    world.set(AWS_ACCESS_KEY_ID="AKID", AWS_SECRET_ACCESS_KEY="canary", AWS_SESSION_TOKEN="canary")
    source = CredentialSource(Identity(), {**os.environ})
    old = source.now()
    assert old is not None
    with pytest.raises(CredentialsExpired) as caught:
        source.refreshed(old)
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True).format()
    assert "canary" not in "".join(shown)
    assert "canary" not in repr(source)


def test_secrets_compare_copy_and_travel() -> None:
    secret = Secret("a")
    assert secret == Secret("a")
    assert secret != Secret("b")
    assert secret != "a"
    assert hash(secret) == hash(Secret("a"))
    assert copy.deepcopy(secret) == secret
    assert bool(secret)
    assert not Secret("")
    credentials = Credentials("AKID", secret)
    assert pickle.loads(pickle.dumps(credentials)) == credentials


def test_credentials_make_a_signer() -> None:
    signer = Credentials("AKID", Secret("s"), Secret("t")).signer("eu-west-1")
    lines = signer.sign("GET", "/", "", {"host": "h"}, "UNSIGNED-PAYLOAD", 1e9)
    assert "Credential=AKID/20010909/eu-west-1/s3/" in lines
    assert "x-amz-security-token: t\r\n" in lines


# -- the environment


def test_static_keys_come_from_the_environment(world: World) -> None:
    environ = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "s"}
    assert CredentialSource(Identity(), environ).now() == Credentials("AKID", Secret("s"), source="environment")
    environ |= {"AWS_SESSION_TOKEN": "t", "AWS_CREDENTIAL_EXPIRATION": "2099-01-01T00:00:00Z"}
    credentials = CredentialSource(Identity(), environ).now()
    assert _keys(credentials) == ("AKID", "s", "t")
    assert credentials is not None
    assert credentials.expires_s == datetime(2099, 1, 1, tzinfo=UTC).timestamp()
    environ |= {"AWS_SESSION_TOKEN": "", "AWS_SECURITY_TOKEN": "old"}
    assert _keys(CredentialSource(Identity(), environ).now()) == ("AKID", "s", "old")


def test_half_of_the_keys_is_a_mistake_and_named() -> None:
    with pytest.raises(AccessDenied, match="AWS_SECRET_ACCESS_KEY is not"):
        CredentialSource(Identity(), {"AWS_ACCESS_KEY_ID": "AKID"}).now()
    wrong = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "s", "AWS_CREDENTIAL_EXPIRATION": "soon"}
    with pytest.raises(WrongSetting, match="AWS_CREDENTIAL_EXPIRATION"):
        CredentialSource(Identity(), wrong).now()


@pytest.mark.slow
def test_static_keys_and_a_region_import_no_botocore(world: World) -> None:
    world.config("[default]\noutput = json\n")
    code = """
        import os, sys
        from sterna.wire.credentials import CredentialSource, Identity
        source = CredentialSource(Identity())
        assert source.now().access_key == "AKID"
        assert source.region() == (os.environ.get("AWS_REGION") or None)
        assert source.endpoint_url() is None
        source.now().signer("eu-west-1").sign("GET", "/", "", {"host": "h"}, "UNSIGNED-PAYLOAD", 1e9)
        assert "botocore" not in sys.modules and "ssl" not in sys.modules
    """
    world.set(AWS_ACCESS_KEY_ID="AKID", AWS_SECRET_ACCESS_KEY="s")
    for region in ("eu-west-1", ""):
        world.set(AWS_REGION=region)
        subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=30)


def test_anonymous_is_nobody() -> None:
    environ = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "s"}
    source = CredentialSource(Identity(anonymous=True), environ)
    assert source.now() is None
    assert repr(source) == "CredentialSource(anonymous)"


def test_no_credentials_at_all_names_the_ways(world: World) -> None:
    with pytest.raises(AccessDenied) as caught:
        _found()
    for way in ("AWS_ACCESS_KEY_ID", "--profile", "aws sso login", "--no-sign-request"):
        assert way in caught.value.sentence
    assert caught.value.exit_code == 3


# -- shared files


def test_profiles_come_from_the_shared_files(world: World) -> None:
    world.credentials("""
        [default]
        aws_access_key_id = DEFAULT
        aws_secret_access_key = s
        [other]
        aws_access_key_id = OTHER
        aws_secret_access_key = s
        aws_session_token = t
    """)
    world.config("""
        [profile third]
        aws_access_key_id = THIRD
        aws_secret_access_key = s
    """)
    assert _keys(_found())[0] == "DEFAULT"
    assert _keys(_found(Identity(profile="other"))) == ("OTHER", "s", "t")
    assert _found(Identity(profile="third")).source == "shared config file"
    world.set(AWS_PROFILE="other")
    assert _keys(_found())[0] == "OTHER"
    world.set(AWS_ACCESS_KEY_ID="ENV", AWS_SECRET_ACCESS_KEY="s")
    assert _keys(_found())[0] == "ENV"  # as botocore: AWS_PROFILE stands behind keys, --profile before them
    assert _keys(_found(Identity(profile="third")))[0] == "THIRD"


def test_a_missing_profile_is_refused_with_the_names_of_the_others(world: World) -> None:
    with pytest.raises(WrongSetting, match="There is no profile x; neither"):
        _found(Identity(profile="x"))
    world.config("[profile work]\nregion = eu-west-1\n[default]\nregion = eu-west-1\n")
    with pytest.raises(WrongSetting, match="There is no profile x; known are default, work"):
        _found(Identity(profile="x"))
    with pytest.raises(WrongSetting, match="There is no profile x; known are"):
        CredentialSource(Identity(profile="x")).region()
    world.set(AWS_PROFILE="y")
    with pytest.raises(WrongSetting, match="There is no profile y; known are default, work"):
        _found()


def test_a_profile_without_keys_says_so(world: World) -> None:
    world.config("[profile work]\nregion = eu-west-1\n")
    with pytest.raises(AccessDenied, match="profile work holds no credentials"):
        _found(Identity(profile="work"))
    world.config("[profile work]\naws_access_key_id = AKID\n")
    with pytest.raises(AccessDenied, match=r"profile work .* aws_secret_access_key"):
        _found(Identity(profile="work"))


def test_H96_a_file_that_cannot_be_parsed_is_named_and_not_repeated(world: World) -> None:
    world.credentials("[default]\naws_access_key_id = AKID\ncanary\n")
    with pytest.raises(WrongSetting, match="cannot be parsed") as caught:
        _found()
    assert str(world.folder / "credentials") in caught.value.sentence
    assert "canary" not in "".join(traceback.format_exception(caught.value))


# -- processes


def test_a_process_gives_keys(world: World) -> None:
    world.config(f"[profile p]\ncredential_process = {world.process(_gives('PROC', _FAR))}\n")
    credentials = _found(Identity(profile="p"))
    assert _keys(credentials) == ("PROC", "s", "t")
    assert credentials.expires_s == datetime(2099, 1, 1, tzinfo=UTC).timestamp()
    assert credentials.source == "credential_process"


def test_H96_a_process_that_fails_is_told_without_what_it_wrote(world: World) -> None:
    for words in ("no ticket; canary", "Missing required key in response: canary", "Unsupported version canary"):
        process = world.process(f'echo "{words}" >&2; echo more canary >&2; exit 1')
        world.config(f"[profile p]\ncredential_process = {process}\n")
        with pytest.raises(AccessDenied, match="profile p gave no credentials: its credential_process") as caught:
            _found(Identity(profile="p"))
        assert "canary" not in "".join(traceback.format_exception(caught.value))
        assert "canary" not in str(caught.value.facts())


def test_a_process_that_fails_is_told_with_how_to_see_why(world: World) -> None:
    world.config(f"[profile p]\ncredential_process = {world.process('echo no ticket >&2; exit 1')}\n")
    with pytest.raises(AccessDenied, match="its credential_process failed; run that command by itself to see why"):
        _found(Identity(profile="p"))
    world.config("[profile p]\ncredential_process = /nowhere/give\n")
    with pytest.raises(AccessDenied, match="/nowhere/give: No such file"):
        _found(Identity(profile="p"))


def test_H96_what_a_process_says_wrongly_is_not_repeated(world: World) -> None:
    process = world.process("""echo '{"SecretAccessKey": "canary" '""")
    world.config(f"[profile p]\ncredential_process = {process}\n")
    with pytest.raises(AccessDenied, match="cannot be read") as caught:
        _found(Identity(profile="p"))
    assert "canary" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"Version": 1, "SecretAccessKey": "canary"}, "answers without AccessKeyId"),
        ({"Version": "canary", "AccessKeyId": "a", "SecretAccessKey": "b"}, "does not answer with version 1"),
    ],
)
def test_H96_what_is_wrong_with_the_answer_of_a_process_is_said(
    world: World, answer: dict[str, object], words: str
) -> None:
    process = world.process(f"echo '{json.dumps(answer)}'")
    world.config(f"[profile p]\ncredential_process = {process}\n")
    with pytest.raises(AccessDenied, match=words) as caught:
        _found(Identity(profile="p"))
    assert "canary" not in "".join(traceback.format_exception(caught.value))


# -- roles


@pytest.mark.slow
def test_a_role_is_assumed_with_keys_of_the_environment(world: World, services: Services) -> None:
    services.assume_role()
    world.set(AWS_ACCESS_KEY_ID="AKID", AWS_SECRET_ACCESS_KEY="s", AWS_ENDPOINT_URL_STS=services.url)
    identity = Identity(role_arn=_ROLE, role_session_name="me", role_duration_s=3600, external_id="x 1")
    credentials = _found(identity)
    assert _keys(credentials) == ("ASIA1", "role-secret", "role-token")
    assert credentials.source == "assumed role"
    assert credentials.expires_s == datetime(2099, 1, 1, tzinfo=UTC).timestamp()
    ((_, given, authorization),) = services.asked
    assert "Credential=AKID/" in authorization
    assert given["RoleArn"] == _ROLE
    assert (given["RoleSessionName"], given["DurationSeconds"], given["ExternalId"]) == ("me", "3600", "x 1")


@pytest.mark.slow
def test_a_role_is_assumed_with_a_profile_and_where_a_region_says(world: World, services: Services) -> None:
    services.assume_role()
    world.set(AWS_ENDPOINT_URL_STS=services.url)
    world.credentials("[work]\naws_access_key_id = WORK\naws_secret_access_key = s\n")
    source = CredentialSource(Identity(profile="work", role_arn=_ROLE), region="eu-west-1")
    assert _keys(source.now())[0] == "ASIA1"
    world.set(AWS_REGION="eu-north-1")
    CredentialSource(Identity(profile="work", role_arn=_ROLE), region="eu-west-1").now()
    (_, given, first), (_, _, second) = services.asked
    assert "Credential=WORK/" in first
    assert "/eu-west-1/sts/" in first
    assert "/eu-north-1/sts/" in second
    assert given["RoleSessionName"].startswith("sterna-")
    assert "ExternalId" not in given


def test_a_role_of_a_profile_is_assumed(world: World, services: Services) -> None:
    services.assume_role()
    world.config(f"""
        [profile role]
        role_arn = {_ROLE}
        source_profile = base
        external_id = abc
        endpoint_url = {services.url}
        [profile base]
        aws_access_key_id = BASE
        aws_secret_access_key = s
    """)
    credentials = _found(Identity(profile="role"))
    assert _keys(credentials)[0] == "ASIA1"
    assert services.asked[0][1]["ExternalId"] == "abc"


def test_a_role_without_anybody_to_assume_it(world: World) -> None:
    with pytest.raises(AccessDenied, match="No credentials were found"):
        _found(Identity(role_arn=_ROLE))


@pytest.mark.slow
def test_a_role_that_is_refused_is_told_in_the_words_of_sts(world: World, services: Services) -> None:
    services.refuse("AssumeRole", 403, "AccessDenied", "User x is not authorized")
    world.set(AWS_ACCESS_KEY_ID="AKID", AWS_SECRET_ACCESS_KEY="s", AWS_ENDPOINT_URL_STS=services.url)
    with pytest.raises(AccessDenied, match=r"AssumeRole was refused.*User x is not authorized") as caught:
        _found(Identity(role_arn=_ROLE))
    assert caught.value.facts() == {
        "operation": "AssumeRole", "status": 403, "code": "AccessDenied",
        "words": "User x is not authorized", "request_id": "r-2",
    }  # fmt: skip
    services.refuse("AssumeRole", 400, "ExpiredToken", "too old")
    with pytest.raises(CredentialsExpired):
        _found(Identity(role_arn=_ROLE))
    services.refuse("AssumeRole", 503, "ServiceUnavailable", "later")
    with pytest.raises(RetryLater):
        _found(Identity(role_arn=_ROLE))


def test_an_sts_that_is_not_there_may_be_there_later(world: World) -> None:
    world.set(AWS_ACCESS_KEY_ID="AKID", AWS_SECRET_ACCESS_KEY="s", AWS_ENDPOINT_URL_STS="http://127.0.0.1:1")
    with pytest.raises(RetryLater, match="not reached"):
        _found(Identity(role_arn=_ROLE))


@pytest.mark.slow
def test_an_mfa_code_needs_a_terminal_and_never_reads_standard_input(world: World) -> None:
    world.config(f"""
        [profile role]
        role_arn = {_ROLE}
        source_profile = base
        mfa_serial = arn:aws:iam::123456789012:mfa/me
        [profile base]
        aws_access_key_id = BASE
        aws_secret_access_key = s
    """)
    code = """
        import sys
        from sterna.model.errors import AccessDenied
        from sterna.wire.credentials import CredentialSource, Identity
        try:
            CredentialSource(Identity(profile="role")).now()
        except AccessDenied as error:
            assert "MFA" in error.sentence and "terminal" in error.sentence, error.sentence
            assert sys.stdin.read() == "the data"
            raise SystemExit(0)
    """
    command = [sys.executable, "-c", textwrap.dedent(code) + "\nraise SystemExit(1)"]
    subprocess.run(command, input="the data", text=True, check=True, start_new_session=True, timeout=30)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Identity(external_id="x"), "--external-id .* --role-arn"),
        (lambda: Identity(role_session_name="x"), "--role-session-name .* --role-arn"),
        (lambda: Identity(role_duration_s=900), "--role-duration .* --role-arn"),
        (lambda: Identity(role_arn="backup"), "is no ARN"),
        (lambda: Identity(role_arn=_ROLE, role_duration_s=60), "900 seconds"),
        (lambda: Identity(anonymous=True, profile="x"), "--no-sign-request and --profile"),
        (lambda: Identity(anonymous=True, role_arn=_ROLE), "--no-sign-request and --role-arn"),
    ],
)
def test_contradictory_identities_are_refused(make: Callable[[], Identity], words: str) -> None:
    with pytest.raises(WrongSetting, match=words):
        make()


# -- services that give keys


@pytest.mark.slow
def test_a_web_identity_is_exchanged_for_keys(world: World, services: Services) -> None:
    services.assume_role(action="AssumeRoleWithWebIdentity")
    (world.folder / "token").write_text("a.web.token")
    world.set(
        AWS_ROLE_ARN=_ROLE,
        AWS_WEB_IDENTITY_TOKEN_FILE=str(world.folder / "token"),
        AWS_ENDPOINT_URL_STS=services.url,
        AWS_REGION="eu-west-1",
    )
    credentials = _found()
    assert _keys(credentials)[0] == "ASIA1"
    assert credentials.source == "web identity"
    ((_, given, authorization),) = services.asked
    assert given["WebIdentityToken"] == "a.web.token"
    assert authorization == ""
    world.set(AWS_WEB_IDENTITY_TOKEN_FILE=str(world.folder / "gone"))
    with pytest.raises(AccessDenied, match="gone: No such file"):
        _found()


def test_a_container_gives_keys(world: World, services: Services) -> None:
    keys = {"AccessKeyId": "CONT", "SecretAccessKey": "s", "Token": "t", "Expiration": _FAR}
    services.answers["/creds"] = lambda given: (200, json.dumps(keys))
    world.set(AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{services.url}/creds", AWS_CONTAINER_AUTHORIZATION_TOKEN="bearer")
    credentials = _found()
    assert _keys(credentials) == ("CONT", "s", "t")
    assert credentials.source == "container"
    assert services.asked[0][2] == "bearer"


def test_H100_a_container_service_on_another_host_is_not_asked(world: World) -> None:
    world.set(AWS_CONTAINER_CREDENTIALS_FULL_URI="http://192.0.2.1/creds")
    with pytest.raises(WrongSetting, match=r"Unsupported host '192\.0\.2\.1'"):
        _found()


def _play_instance(services: Services, expires: str = _FAR) -> None:
    path = "/latest/meta-data/iam/security-credentials/"
    keys = {"Code": "Success", "AccessKeyId": "IMDS", "SecretAccessKey": "s", "Token": "t", "Expiration": expires}
    services.answers["/latest/api/token"] = lambda given: (200, "imds-token")
    services.answers[path] = lambda given: (200, "node")
    services.answers[f"{path}node"] = lambda given: (200, json.dumps(keys))


def test_an_instance_gives_keys(world: World, services: Services) -> None:
    _play_instance(services)
    world.set(AWS_EC2_METADATA_SERVICE_ENDPOINT=services.url, AWS_EC2_METADATA_DISABLED="false")
    credentials = _found()
    assert _keys(credentials) == ("IMDS", "s", "t")
    assert credentials.source == "instance metadata"
    assert services.names()[0] == "/latest/api/token"  # version 2


def test_H100_instance_metadata_can_be_switched_off(world: World, services: Services) -> None:
    _play_instance(services)
    world.set(AWS_EC2_METADATA_SERVICE_ENDPOINT=services.url, AWS_EC2_METADATA_DISABLED="true")
    with pytest.raises(AccessDenied, match="No credentials were found"):
        _found()
    assert services.asked == []


@pytest.fixture
def sso(world: World, services: Services, monkeypatch: pytest.MonkeyPatch) -> World:
    """A profile that signs in by SSO; botocore took the folder of its tokens from HOME when it was imported."""
    import hashlib

    import botocore.credentials

    cache = world.folder / "sso"
    cache.mkdir()
    monkeypatch.setattr(botocore.credentials.SSOProvider, "_SSO_TOKEN_CACHE_DIR", str(cache))
    start = "https://example.awsapps.com/start"
    world.config(f"""
        [profile work]
        sso_start_url = {start}
        sso_region = eu-west-1
        sso_account_id = 123456789012
        sso_role_name = admin
    """)
    world.set(AWS_ENDPOINT_URL_SSO=services.url)
    token = {"startUrl": start, "region": "eu-west-1", "accessToken": "sso-token", "expiresAt": _FAR}
    (cache / f"{hashlib.sha1(start.encode()).hexdigest()}.json").write_text(json.dumps(token))
    keys = {"accessKeyId": "SSO", "secretAccessKey": "s", "sessionToken": "t", "expiration": 4_070_908_800_000}
    services.answers["/federation/credentials"] = lambda given: (200, json.dumps({"roleCredentials": keys}))
    return world


@pytest.mark.slow
def test_sso_gives_keys(sso: World) -> None:
    credentials = _found(Identity(profile="work"))
    assert _keys(credentials) == ("SSO", "s", "t")
    assert credentials.source == "SSO"
    assert credentials.expires_s == 4_070_908_800


@pytest.mark.slow
def test_H30_an_sso_session_that_has_ended_says_how_to_sign_in(sso: World, services: Services) -> None:
    source = CredentialSource(Identity(profile="work"))
    old = source.now()
    assert old is not None
    services.answers["/federation/credentials"] = lambda given: (401, '{"__type": "UnauthorizedException"}')
    with pytest.raises(CredentialsExpired, match="run aws sso login --profile work and run the command again"):
        source.refreshed(old)
    for token in (sso.folder / "sso").iterdir():
        token.unlink()
    with pytest.raises(CredentialsExpired, match="run aws sso login --profile work"):
        _found(Identity(profile="work"))


# -- refreshing


def _source_of_process(world: World, clock: FakeClock) -> CredentialSource:
    """Keys that are new at each run of the process, good for an hour."""
    number = f"n=$((`wc -l < {world.folder}/runs`))\n"
    give = world.process(number + _gives("K$n", clock.after(3600)))
    world.config(f"[profile p]\ncredential_process = {give}\n")
    return CredentialSource(Identity(profile="p"), clock=clock)


def test_H30_credentials_are_refreshed_once_for_all_who_ask(world: World) -> None:
    source = _source_of_process(world, FakeClock())
    old = source.now()
    assert old is not None
    assert source.now() is old
    with ThreadPoolExecutor(16) as threads:
        fresh = set(threads.map(lambda _: source.refreshed(old), range(64)))
    assert len(fresh) == 1
    assert fresh.pop().access_key == "K2"
    assert world.runs() == 2
    assert repr(source) == "CredentialSource(K2 from credential_process)"
    assert source.refreshed(old) is source.now()


def test_many_threads_that_begin_together_ask_once(world: World) -> None:
    source = _source_of_process(world, FakeClock())
    with ThreadPoolExecutor(16) as threads:
        assert len(set(threads.map(lambda _: source.now(), range(64)))) == 1
    assert world.runs() == 1


def test_H30_credentials_are_renewed_shortly_before_they_expire(world: World) -> None:
    clock = FakeClock()
    source = _source_of_process(world, clock)
    assert _keys(source.now())[0] == "K1"
    clock.now_s += 3200
    assert _keys(source.now())[0] == "K1"
    clock.now_s += 200
    assert _keys(source.now())[0] == "K2"


def test_H30_credentials_that_cannot_be_renewed_early_serve_to_their_end(world: World) -> None:
    clock = FakeClock()
    source = _source_of_process(world, clock)
    source.now()
    (world.folder / "give").write_text(f"#!/bin/sh\necho run >> {world.folder}/runs\necho gone >&2; exit 1\n")
    clock.now_s += 3400
    for _ in range(10):
        assert _keys(source.now())[0] == "K1"
    assert world.runs() == 2  # not once for each request
    clock.now_s += 300
    with pytest.raises(AccessDenied, match="its credential_process failed"):
        source.now()


def test_H30_a_refresh_that_failed_is_not_tried_by_each_who_waits(world: World) -> None:
    clock = FakeClock()
    source = _source_of_process(world, clock)
    old = source.now()
    assert old is not None
    good = (world.folder / "give").read_text()
    (world.folder / "give").write_text(f"#!/bin/sh\necho run >> {world.folder}/runs\necho gone >&2; exit 1\n")
    for _ in range(5):
        with pytest.raises(
            CredentialsExpired, match=r"could not be renewed: .*its credential_process failed"
        ) as caught:
            source.refreshed(old)
        assert caught.value.exit_code == 3
        assert isinstance(caught.value.__cause__, AccessDenied)
    assert world.runs() == 2
    clock.now_s += 31
    (world.folder / "give").write_text(good)
    assert source.refreshed(old).access_key == "K3"


def test_H30_keys_that_stay_the_same_have_expired_for_good(world: World) -> None:
    environ = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}
    source = CredentialSource(Identity(), environ)
    old = source.now()
    assert old is not None
    with pytest.raises(CredentialsExpired, match=r"\(environment\) have expired; put fresh AWS_ACCESS_KEY_ID"):
        source.refreshed(old)


def test_rotated_keys_are_read_again(world: World) -> None:
    environ = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "s"}
    source = CredentialSource(Identity(), environ)
    old = source.now()
    assert old is not None
    environ["AWS_SECRET_ACCESS_KEY"] = "s2"
    assert _keys(source.refreshed(old)) == ("AKID", "s2", "")

    text = "[default]\naws_access_key_id = AKID\naws_secret_access_key = %s\n"
    world.credentials(text % "one")
    source = CredentialSource(Identity())
    old = source.now()
    assert old is not None
    world.credentials(text % "two")
    assert _keys(source.refreshed(old)) == ("AKID", "two", "")
    assert source.now() is source.refreshed(old)


@pytest.mark.slow
def test_an_assumed_role_is_assumed_again(world: World, services: Services) -> None:
    services.assume_role()
    world.set(AWS_ACCESS_KEY_ID="AKID", AWS_SECRET_ACCESS_KEY="s", AWS_ENDPOINT_URL_STS=services.url)
    source = CredentialSource(Identity(role_arn=_ROLE))
    old = source.now()
    assert old is not None
    assert source.refreshed(old).access_key == "ASIA2"
    services.refuse("AssumeRole", 403, "AccessDenied", "no more")
    with pytest.raises(CredentialsExpired, match="no more") as caught:
        source.refreshed(source.refreshed(old))
    assert caught.value.request_id == "r-2"


def test_a_role_whose_keys_have_ended_when_they_come_is_an_error(world: World, services: Services) -> None:
    services.assume_role(expires="2001-01-01T00:00:00Z")
    world.set(AWS_ACCESS_KEY_ID="AKID", AWS_SECRET_ACCESS_KEY="s", AWS_ENDPOINT_URL_STS=services.url)
    with pytest.raises(SternaError, match="expired"):
        _found(Identity(role_arn=_ROLE))


# -- settings of a profile


def test_the_region_comes_from_the_environment_or_the_profile(world: World) -> None:
    assert CredentialSource(Identity()).region() is None
    world.config("[default]\nregion = eu-west-1\n[profile work]\nregion = eu-north-1\n[profile bare]\noutput = json\n")
    assert CredentialSource(Identity()).region() == "eu-west-1"
    assert CredentialSource(Identity(anonymous=True)).region() == "eu-west-1"
    assert CredentialSource(Identity(profile="work")).region() == "eu-north-1"
    assert CredentialSource(Identity(profile="bare")).region() is None
    world.set(AWS_PROFILE="work")
    assert CredentialSource(Identity()).region() == "eu-north-1"
    world.set(AWS_DEFAULT_REGION="us-west-1")
    assert CredentialSource(Identity()).region() == "us-west-1"
    world.set(AWS_REGION="us-west-2")
    assert CredentialSource(Identity(profile="work")).region() == "us-west-2"


def test_the_endpoint_comes_from_the_profile_or_its_services(world: World) -> None:
    assert CredentialSource(Identity()).endpoint_url() is None
    world.config("""
        [default]
        endpoint_url = http://all:1
        [profile work]
        services = mine
        endpoint_url = http://other:1
        [services mine]
        s3 =
          endpoint_url = http://s3:1
        [profile bare]
        region = eu-west-1
    """)
    assert CredentialSource(Identity()).endpoint_url() == "http://all:1"
    assert CredentialSource(Identity(profile="work")).endpoint_url() == "http://s3:1"
    assert CredentialSource(Identity(profile="bare")).endpoint_url() is None
    world.set(AWS_IGNORE_CONFIGURED_ENDPOINT_URLS="true")
    assert CredentialSource(Identity(profile="work")).endpoint_url() is None
