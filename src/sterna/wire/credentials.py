"""Turn an identity (a profile, a role, the environment) into keys to sign with. botocore enters here and nowhere else.

botocore is imported only when the environment does not already hold the keys: it costs a quarter of a second.
"""

from __future__ import annotations

import hmac
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from sterna.model.errors import AccessDenied, ConnectionLost, CredentialsExpired, RetryLater, SternaError, WrongSetting
from sterna.wire.endpoints import DEFAULT_REGION
from sterna.wire.sigv4 import Signer

REFRESH_AHEAD_S = 300.0  # botocore begins at 900, but roles chained or by a process may be given for 900 in all
_TRY_AGAIN_S = 30.0  # a refresh that failed is not tried anew by each of hundreds of waiting requests (H30)

_T = TypeVar("_T")

_NONE_FOUND = (
    "No credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, give --profile NAME, sign in with "
    "aws sso login, or give --no-sign-request for a public bucket."
)

# botocore's name of a provider, what we call it, and what its user does when it gives only expired keys.
_SOURCES = {
    "env": ("environment", "put fresh AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN in place"),
    "shared-credentials-file": ("shared credentials file", "put fresh keys into {profile}"),
    "config-file": ("shared config file", "put fresh keys into {profile}"),
    "assume-role": ("assumed role", "renew the credentials that assume the role"),
    "assume-role-with-web-identity": ("web identity", "renew the token in its web identity token file"),
    "sso": ("SSO", "run aws sso login{option}"),
    "login": ("aws login", "run aws login{option}"),
    "custom-process": ("credential_process", "look at what the credential_process of {profile} gives"),
    "container-role": ("container", "look at the container's credentials service"),
    "iam-role": ("instance metadata", "look at the instance's role"),
}


class Secret:
    """Text that shows itself only to those who ask by name: every way of printing it gives ``***`` (H96)."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return "***"

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode("utf-8", "replace"), other._text.encode("utf-8", "replace"))

    def __hash__(self) -> int:
        return hash(self._text)


class Credentials(msgspec.Struct, frozen=True):
    """Keys to sign with. ``expires_s`` is in seconds since 1970, None where nobody said; ``source`` is for people."""

    access_key: str
    secret_key: Secret
    token: Secret = msgspec.field(default_factory=lambda: Secret(""))
    expires_s: float | None = None
    source: str = "given"

    def signer(self, region: str, service: str = "s3") -> Signer:
        return Signer(self.access_key, self.secret_key.reveal(), self.token.reveal(), region=region, service=service)


class Identity(msgspec.Struct, frozen=True):
    """Who the user asked to be. With ``role_arn`` the profile (or whatever else is found) is what assumes the role."""

    profile: str | None = None
    role_arn: str | None = None
    role_session_name: str | None = None
    role_duration_s: int | None = None
    external_id: str | None = None
    anonymous: bool = False

    def __post_init__(self) -> None:
        of_role = {
            "--role-session-name": self.role_session_name,
            "--role-duration": self.role_duration_s,
            "--external-id": self.external_id,
        }
        for option, value in of_role.items():
            if value is not None and not self.role_arn:
                raise WrongSetting(f"{option} is for assuming a role; give --role-arn as well, or leave it off.")
        for option, value in {"--profile": self.profile, "--role-arn": self.role_arn}.items():
            if value and self.anonymous:
                raise WrongSetting(f"--no-sign-request and {option} exclude each other; leave one of them off.")
        if self.role_arn and not self.role_arn.startswith("arn:"):
            raise WrongSetting(f"--role-arn {self.role_arn} is no ARN; write arn:aws:iam::ACCOUNT:role/NAME.")
        if self.role_duration_s is not None and not 900 <= self.role_duration_s <= 43_200:
            raise WrongSetting("--role-duration must be between 900 seconds (15 minutes) and 43200 (12 hours).")


class CredentialSource:
    """Where one side's keys come from, asked as often as needed; safe to share between threads.

    Every method may block (files, a process, HTTP): on an event loop, call them in a thread. ``environ`` is what keys
    and region are read from directly; botocore itself reads the environment of the process. ``region`` is where to ask
    STS if neither environment nor profile names one.
    """

    def __init__(
        self,
        identity: Identity,
        environ: Mapping[str, str] = os.environ,
        *,
        region: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._identity = identity
        self._environ = environ
        self._sts_region = region
        self._clock = clock
        self._lock = threading.Lock()
        self._current: Credentials | None = None
        self._look_again_s = 0.0
        self._failed: tuple[Credentials, float, SternaError] | None = None

    def __repr__(self) -> str:
        if self._identity.anonymous:
            return "CredentialSource(anonymous)"
        current = self._current
        return (
            f"CredentialSource({current.access_key} from {current.source})" if current else "CredentialSource(unused)"
        )

    def now(self) -> Credentials | None:
        """Keys that are good now, None for anonymous. Quick once they are known; renewed shortly before they expire.

        Raises AccessDenied where there are none or a service refuses, CredentialsExpired where somebody must sign in
        again, WrongSetting for a profile or configuration that cannot be right, RetryLater if a service is not reached.
        """
        if self._identity.anonymous:
            return None
        current = self._current
        if current is not None and not self._is_ending(current):
            return current
        with self._lock:
            current = self._current
            if current is None:
                self._current = current = self._found()
            elif self._is_ending(current):
                self._current = current = self._renewed_early(current)
            return current

    def refreshed(self, old: Credentials) -> Credentials:
        """Other keys than ``old``, which a server called expired: fetched once, whoever and however many ask.

        Raises CredentialsExpired with what the user should do if there are none to be had.
        """
        with self._lock:
            if self._current is not None and not _same_keys(self._current, old):
                return self._current
            if self._failed is not None and _same_keys(self._failed[0], old) and self._clock() < self._failed[1]:
                raise _ended(old, self._failed[2]) from self._failed[2]
            try:
                fresh = self._found()
                if _same_keys(fresh, old):
                    advice = self._advice(old.source)
                    raise CredentialsExpired(f"The credentials ({old.source}) have expired; {advice}.")
            except SternaError as error:
                self._failed = (old, self._clock() + _TRY_AGAIN_S, error)
                raise _ended(old, error) from error
            self._current = fresh
            self._failed = None
            return fresh

    def region(self) -> str | None:
        """The region that the environment or the profile names; botocore is asked only if a file mentions one."""
        return self._said("AWS_REGION", "AWS_DEFAULT_REGION") or self._of_profile("region", _region_of)

    def endpoint_url(self) -> str | None:
        """The S3 endpoint that the profile names (``endpoint_url``, or that of its ``services`` section), if any."""
        if self._said("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS").lower() == "true":
            return None
        return self._of_profile("endpoint_url", _endpoint_url_of)

    # -- finding

    def _is_ending(self, credentials: Credentials) -> bool:
        if credentials.expires_s is None:
            return False
        now = self._clock()
        return now >= credentials.expires_s - REFRESH_AHEAD_S and now >= self._look_again_s

    def _renewed_early(self, current: Credentials) -> Credentials:
        """Fresh keys, or the present ones while they last."""
        self._look_again_s = self._clock() + _TRY_AGAIN_S
        try:
            return self._found()
        except SternaError:
            if current.expires_s is not None and self._clock() < current.expires_s:
                return current
            raise

    def _found(self) -> Credentials:
        """Look everywhere anew: files, caches, processes and services may have changed since the last time."""
        static = None if self._identity.profile else self._from_environment()
        if static is not None and not self._identity.role_arn:
            return static
        return self._asked(lambda: self._from_botocore(static))

    def _from_environment(self) -> Credentials | None:
        access_key, secret_key = self._said("AWS_ACCESS_KEY_ID"), self._said("AWS_SECRET_ACCESS_KEY")
        if not access_key:
            return None
        if not secret_key:
            raise AccessDenied("AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not; set both or neither.")
        expires = self._said("AWS_CREDENTIAL_EXPIRATION")
        try:
            expires_s = _seconds(datetime.fromisoformat(expires)) if expires else None
        except ValueError:
            raise WrongSetting(f"AWS_CREDENTIAL_EXPIRATION is no ISO 8601 time: {expires!a}.") from None
        token = Secret(self._said("AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"))
        return Credentials(access_key, Secret(secret_key), token, expires_s, _SOURCES["env"][0])

    def _from_botocore(self, static: Credentials | None) -> Credentials:
        from botocore.credentials import Credentials as BotocoreCredentials

        session = self._session()
        if static is None:
            source = session.get_credentials()
        else:
            source = BotocoreCredentials(static.access_key, static.secret_key.reveal(), static.token.reveal() or None)
        if source is None:
            if self._identity.profile:
                raise AccessDenied(f"The profile {self._identity.profile} holds no credentials, nor are there others.")
            raise AccessDenied(_NONE_FOUND)
        if self._identity.role_arn:
            source = self._role_assumed_by(source, session)
        keys = source.get_frozen_credentials()
        # There is no public name for it; without it only a server's refusal would tell of the end.
        expires = getattr(source, "_expiry_time", None)
        expires_s = _seconds(expires) if isinstance(expires, datetime) else None
        name = _SOURCES[source.method][0] if source.method in _SOURCES else str(source.method)
        return Credentials(keys.access_key, Secret(keys.secret_key), Secret(keys.token or ""), expires_s, name)

    def _role_assumed_by(self, source: Any, session: Any) -> Any:
        from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials

        identity = self._identity
        wanted = {
            "RoleSessionName": identity.role_session_name or f"sterna-{int(self._clock())}",
            "DurationSeconds": identity.role_duration_s,
            "ExternalId": identity.external_id,
        }
        fetcher = AssumeRoleCredentialFetcher(
            session.create_client,
            source,
            identity.role_arn,
            extra_args={name: value for name, value in wanted.items() if value is not None},
        )
        return DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")

    def _session(self) -> Any:
        """A new session each time: one remembers what it has read, and we ask again because something changed."""
        import botocore.session

        session = botocore.session.Session(profile=self._identity.profile)
        # botocore does not know AWS_REGION, and without a region it signs for no STS but the global one.
        region = self._said("AWS_REGION") or session.get_config_variable("region") or self._sts_region
        session.set_config_variable("region", region or DEFAULT_REGION)
        # getpass falls back to standard input, which may be the data. There is no public way to give a prompter.
        session.get_component("credential_provider").get_provider("assume-role")._prompter = _mfa_code
        return session

    # -- the profile's settings

    def _said(self, *names: str) -> str:
        return next((value for name in names if (value := self._environ.get(name, "").strip())), "")

    def _of_profile(self, setting: str, ask: Callable[[Any], str | None]) -> str | None:
        """A setting in the shared files. Whether they hold its name at all is seen in 0.1 ms; botocore takes 250."""
        files = (
            self._said("AWS_CONFIG_FILE") or "~/.aws/config",
            self._said("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials",
        )
        if not self._identity.profile and not any(_mentions(file, setting) for file in files):
            return None

        def asked() -> str | None:
            import botocore.session

            return ask(botocore.session.Session(profile=self._identity.profile))

        return self._asked(asked)

    # -- what went wrong, in our words

    def _advice(self, source: str) -> str:
        """What to do about keys of this source that have expired, as the end of a sentence."""
        profile = self._identity.profile or self._said("AWS_PROFILE", "AWS_DEFAULT_PROFILE")
        advice = next((advice for name, advice in _SOURCES.values() if name == source), "renew them")
        words = advice.format(
            profile=f"the profile {profile}" if profile else "the default profile",
            option=f" --profile {profile}" if profile else "",
        )
        return f"{words} and run the command again"

    def _asked(self, ask: Callable[[], _T]) -> _T:
        """Ask botocore and translate its errors. Some hold what was read, secrets included: those lose their cause."""
        from json import JSONDecodeError

        from botocore import exceptions as its

        profile = self._identity.profile or self._said("AWS_PROFILE", "AWS_DEFAULT_PROFILE")
        who = f"The profile {profile}" if profile else "The default profile"
        try:
            return ask()
        except SternaError:
            raise
        except its.ProfileNotFound as error:
            raise WrongSetting(f"There is no profile {profile}; {_known_profiles()}.") from error
        except its.ConfigParseError as error:
            path = error.kwargs.get("path", "the config file")
            raise WrongSetting(
                f"{path} cannot be parsed; look for a line that is no [section] and no name = value."
            ) from None
        except (its.SSOError, its.TokenRetrievalError) as error:
            raise CredentialsExpired(
                f"There is no valid SSO session; {self._advice('SSO')}.", words=str(error)
            ) from error
        except its.LoginError as error:
            raise CredentialsExpired(
                f"There is no valid login session; {self._advice('aws login')}.", words=str(error)
            ) from error
        except its.PartialCredentialsError as error:
            raise AccessDenied(
                f"{who} has a part of the credentials only; add {error.kwargs.get('cred_var')}."
            ) from error
        except its.ClientError as error:
            raise _of_service(error) from error
        except (its.ConnectionError, its.HTTPClientError) as error:
            raise ConnectionLost(f"The service that gives out credentials was not reached: {_line(error)}") from error
        except (its.CredentialRetrievalError, its.MetadataRetrievalError) as error:
            if error.kwargs.get("provider") == "custom-process":
                # What it wrote would also stand in the cause.
                raise AccessDenied(_of_process(who, str(error.kwargs.get("error_msg", "")))) from None
            words = f"{error.kwargs.get('provider', 'metadata service')}: {_line(error.kwargs.get('error_msg', ''))}"
            raise AccessDenied(f"{who} gave no credentials ({words}).") from error
        except its.BotoCoreError as error:
            raise WrongSetting(f"{who} cannot be used: {_line(error)}") from error
        except OSError as error:
            what = error.filename or "a file"
            raise AccessDenied(f"{who} gave no credentials: {what}: {error.strerror}.") from error
        except RuntimeError as error:  # what botocore raises for fresh credentials that have already ended
            raise AccessDenied(f"{who} gives credentials that have expired: {_line(error)}") from error
        except (JSONDecodeError, UnicodeDecodeError):
            raise AccessDenied(
                f"{who} gave no credentials: what its process or service answered cannot be read."
            ) from None
        except ValueError as error:
            raise WrongSetting(f"{who} cannot be used: {_line(error)}") from error


def _of_service(error: Any) -> SternaError:
    """The refusal of STS or SSO as an error of ours."""
    said, meta = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
    code, status = str(said.get("Code", "")), int(meta.get("HTTPStatusCode", 0))
    kind: type[SternaError] = AccessDenied
    if code in ("ExpiredToken", "ExpiredTokenException"):
        kind = CredentialsExpired
    elif status >= 500 or "Throttl" in code:
        kind = RetryLater
    words = str(said.get("Message", ""))
    return kind(
        f"{error.operation_name} was refused ({code}): {_line(words)}",
        operation=str(error.operation_name),
        status=status,
        code=code,
        words=words,
        request_id=str(meta.get("RequestId", "")),
    )


def _of_process(who: str, said: str) -> str:
    """Why a credential_process gave nothing. botocore gives its standard error word for word, where programs like to
    show their command lines and environments: no pattern finds every secret in that, so none of it is repeated (H96).
    """
    if missing := re.fullmatch("Missing required key in response: '(AccessKeyId|SecretAccessKey)'", said):
        return f"{who} gave no credentials: its credential_process answers without {missing[1]}."
    if said.startswith("Unsupported version "):
        return f"{who} gave no credentials: its credential_process does not answer with version 1."
    return (
        f"{who} gave no credentials: its credential_process failed; run that command by itself to see why "
        "(what it said is not repeated here, since it may hold secrets)."
    )


def _ended(old: Credentials, error: SternaError) -> CredentialsExpired:
    """Why ``old`` cannot be renewed, as the error that ends a run."""
    sentence = error.sentence
    if not isinstance(error, CredentialsExpired):
        sentence = f"The credentials ({old.source}) have expired and could not be renewed: {sentence}"
    return CredentialsExpired(sentence, code=error.code, words=error.words, request_id=error.request_id)


def _same_keys(one: Credentials, other: Credentials) -> bool:
    return (one.access_key, one.secret_key, one.token) == (other.access_key, other.secret_key, other.token)


def _region_of(session: Any) -> str | None:
    return session.get_config_variable("region") or None


def _endpoint_url_of(session: Any) -> str | None:
    """As the AWS SDKs' reference guide has it: the services section's S3 entry, else the profile's own."""
    profile = session.get_scoped_config()
    services = session.full_config.get("services", {}).get(profile.get("services"), {})
    of_s3 = services.get("s3")
    url = of_s3.get("endpoint_url") if isinstance(of_s3, dict) else None
    return url or profile.get("endpoint_url") or None


def _known_profiles() -> str:
    import botocore.session

    names = botocore.session.Session(profile=None).full_config.get("profiles", {})
    return f"known are {', '.join(sorted(names))}" if names else "neither ~/.aws/config nor ~/.aws/credentials has any"


def _mfa_code(prompt: str) -> str:
    import getpass

    if os.name == "posix":
        try:
            os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
        except OSError:
            raise AccessDenied(
                "The profile asks for an MFA code (mfa_serial), and there is no terminal to type it at; run the "
                "command in a terminal, or put the keys of a session into the environment first."
            ) from None
    try:
        return getpass.getpass(prompt)
    except EOFError:
        raise AccessDenied("No MFA code was typed; run the command again.") from None


def _mentions(file: str, word: str) -> bool:
    try:
        return word in Path(file).expanduser().read_text("utf-8", "replace")
    except OSError:
        return False


def _seconds(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _line(words: object) -> str:
    """Foreign words as one line, cut to what fits a sentence."""
    return " ".join(str(words).split())[:300] or "no reason given"
