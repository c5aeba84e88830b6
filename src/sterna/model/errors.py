"""Everything that can go wrong, named by what the caller should do about it.

Foreign errors (OSError, ssl, botocore, HTTP answers) are translated into these once, where they enter.
Each carries one sentence for people, and where known the operation, the key, the server's words and its request id.
"""

from __future__ import annotations

from typing import Any


class SternaError(Exception):
    """The root: something that a user is told in one sentence. ``exit_code`` is the one of a run that ends by it."""

    exit_code = 1

    def __init__(
        self,
        sentence: str,
        *,
        operation: str = "",
        key: str = "",
        status: int = 0,
        code: str = "",
        words: str = "",
        request_id: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.operation = operation
        self.key = key
        self.status = status
        self.code = code
        self.words = words
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        self.attempts = 0
        self.elapsed_s = 0.0

    def facts(self) -> dict[str, Any]:
        """What is known, for logs: only the members that are set."""
        names = ("operation", "key", "status", "code", "words", "request_id")
        return {name: value for name in names if (value := getattr(self, name))}


class RetryLater(SternaError):
    """Nothing is known to be wrong with the request: the same one may succeed later."""


class SlowDown(RetryLater):
    """The server asks for fewer requests."""


class ConnectionLost(RetryLater):
    """The connection ended before the whole answer came; whether the request was applied is unknown.

    ``clean`` says that a kept connection was closed before a byte of the answer came: the peer had been idle.
    """

    def __init__(self, sentence: str, *, clean: bool = False, **facts: Any) -> None:
        super().__init__(sentence, **facts)
        self.clean = clean


class Corrupt(RetryLater):
    """Bytes or an answer did not survive the way: a checksum, a length or a document is wrong."""


class CredentialsExpired(SternaError):
    """The credentials were good and are no longer; refresh them and sign again."""

    exit_code = 3


class AccessDenied(SternaError):
    """The server knows us, or not, and refuses; or there are no credentials."""

    exit_code = 3


class WrongSetting(SternaError):
    """An option, a name, an endpoint or a region cannot be right; the sentence says what to change."""

    exit_code = 2


class HostUnknown(WrongSetting):
    """No address is known for the name of a server: it is wrong, or the network is not the one that knows it. The server
    was not reached, and that is what the exit code says."""

    exit_code = 1


class PlanUnusable(WrongSetting):
    """A plan file is cut, changed, or of another kind; nothing of it is carried out. Make it anew."""


class ManifestUnusable(WrongSetting):
    """A manifest is cut, changed, or of another kind; nothing is held against it. Take another copy of it."""


class Drifted(SternaError):
    """Source or destination is not what it was when the plan was made; what has changed is left as it is."""

    exit_code = 6


class SourceUnknown(SternaError):
    """The source could not be established: missing, unreadable, or its listing failed."""

    exit_code = 4


class ObjectGone(SternaError):
    """The object, upload or file is no longer there."""


class ObjectChanged(SternaError):
    """The source changed while it was read, or the destination was changed by somebody else."""


class Unstable(ObjectChanged):
    """The source changed during every attempt to read it."""


class NotProven(SternaError):
    """The server said yes, and a second look did not find what was sent."""


class Refused(SternaError):
    """This key cannot be carried here; nothing of it was moved."""


class LocalFault(SternaError):
    """The file system of this machine said no: permission, space, an I/O error."""


class DiskFull(LocalFault):
    """No room is left; further downloads would fail as well."""


class JournalUnusable(LocalFault):
    """The journal cannot be opened, or kept any longer. A run that needs nothing of what it knew goes on without it."""


class Unsupported(SternaError):
    """The server does not know this operation or header; another way may exist."""


class GuardRefused(SternaError):
    """A guard saw danger and refused; ``code`` is its name. Nothing that it guards was changed."""

    exit_code = 5


class Locked(SternaError):
    """Another run works on the same pair."""

    exit_code = 7


class Interrupted(SternaError):
    """The user or the system asked for an end; what is left can be taken up again."""

    exit_code = 130


def out_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first of our errors out of a task group's, where all of them are ours; else the group as it is.

    Raise it in a plain ``except``: what is raised inside ``except*`` comes out in a group again before Python 3.11.4.
    """
    ours, others = group.split(SternaError)
    if ours is None or others is not None:
        return group
    first: BaseException = ours
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first
