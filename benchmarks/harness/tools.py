"""Turn a job (what is to be moved where) into the command line and environment of each tool."""

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from harness.programs import Programs
from harness.server import NullServer

PREFIX = "in/here"


class Kind(Enum):
    UP = "up"  # a folder into an empty bucket
    DOWN = "down"  # a bucket into an empty folder
    UNCHANGED = "unchanged"  # a folder into a bucket that has it all
    LIST = "list"  # every key of a bucket
    USAGE = "usage"  # how many there are, and their bytes
    VERSION = "version"


LISTS = (Kind.LIST, Kind.USAGE)


@dataclass(frozen=True)
class Job:
    """One run: `folder` and `bucket` are its own, `home` is where the tool may keep what it likes."""

    kind: Kind
    folder: Path
    bucket: str
    server: NullServer | None
    home: Path
    durable: bool = False
    names: Path | None = None  # a file with the names or keys, for the floor
    object_size: int = 0
    connections: int = 8

    @property
    def url(self) -> str:
        assert self.server is not None
        return self.server.url

    @property
    def authority(self) -> Path | None:
        return self.server.authority if self.server else None

    @property
    def target(self) -> str:
        """Where uploads go: below a prefix, as people do."""
        return f"s3://{self.bucket}/{PREFIX}"


@dataclass(frozen=True)
class Tool:
    name: str
    command: Callable[[Job], list[str]]
    environment: Callable[[Job], dict[str, str]] = field(default=lambda _job: {})


def tools(programs: Programs, sterna: list[str] | None) -> dict[str, Tool]:
    """All tools that are there, by name."""
    found = {"floor": Tool("floor", lambda job: _floor(programs.floor, job))}
    if sterna:
        found["sterna"] = Tool("sterna", lambda job: _sterna(sterna, job))
    makers = {"s5cmd": _s5cmd, "rclone": _rclone, "aws": _aws, "mc": _mc}
    for name, path in programs.peers.items():
        found[name] = makers[name](str(path))
    return found


def environment_of(tool: Tool, job: Job) -> dict[str, str]:
    """A bare environment with static keys, the same for all tools, and what the tool itself needs."""
    kept = ("PATH", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH")
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        "HOME": str(job.home),
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        **tool.environment(job),
    }


def _then_flush(command: list[str], job: Job) -> list[str]:
    """A tool that leaves its writes to the system is followed by `sync -f` of the folder where they must be durable."""
    if not (job.durable and job.kind is Kind.DOWN):
        return command
    return ["sh", "-c", f"{shlex.join(command)} && sync -f {shlex.quote(str(job.folder))}"]


def _sterna(sterna: list[str], job: Job) -> list[str]:
    if job.kind is Kind.VERSION:
        return [*sterna, "--version"]
    if job.kind in LISTS:
        verb = ["ls", "-r"] if job.kind is Kind.LIST else ["du"]
        return [*sterna, *verb, f"s3://{job.bucket}", "--endpoint-url", job.url]
    ends = [f"s3://{job.bucket}", str(job.folder)] if job.kind is Kind.DOWN else [str(job.folder), job.target]
    options = ["--endpoint-url", job.url, "--no-progress"]
    if job.kind is Kind.DOWN and not job.durable:
        options.append("--no-fsync")
    if job.authority:
        options += ["--ca-bundle", str(job.authority)]
    return [*sterna, "sync", *ends, *options]


def _s5cmd(program: str) -> Tool:
    def command(job: Job) -> list[str]:
        if job.kind is Kind.VERSION:
            return [program, "version"]
        if job.kind in LISTS:
            return [program, "--endpoint-url", job.url, "ls", f"s3://{job.bucket}/*"]
        verb = "sync" if job.kind is Kind.UNCHANGED else "cp"  # cp lists no destination: its fastest way
        ends = [f"s3://{job.bucket}/*", f"{job.folder}/"]
        if job.kind is not Kind.DOWN:
            ends = [f"{job.folder}/", f"{job.target}/"]
        return _then_flush([program, "--endpoint-url", job.url, verb, *ends], job)

    return Tool("s5cmd", command, lambda job: {"SSL_CERT_FILE": str(job.authority)} if job.authority else {})


def _rclone(program: str) -> Tool:
    def command(job: Job) -> list[str]:
        if job.kind is Kind.VERSION:
            return [program, "version"]
        if job.kind in LISTS:
            return [program, "lsf", "-R", "--fast-list", f"null:{job.bucket}"]
        ends = [f"null:{job.bucket}", str(job.folder)]
        if job.kind is not Kind.DOWN:
            ends = [str(job.folder), f"null:{job.bucket}/{PREFIX}"]
        words = ["sync", "--size-only", "--fast-list"] if job.kind is Kind.UNCHANGED else ["copy"]
        if job.authority:
            words += ["--ca-cert", str(job.authority)]
        return _then_flush([program, *words, *ends], job)

    def environment(job: Job) -> dict[str, str]:
        return {
            "RCLONE_CONFIG": "",
            "RCLONE_CONFIG_NULL_TYPE": "s3",
            "RCLONE_CONFIG_NULL_PROVIDER": "Other",
            "RCLONE_CONFIG_NULL_ENV_AUTH": "true",
            "RCLONE_CONFIG_NULL_ENDPOINT": job.server.url if job.server else "",
        }

    return Tool("rclone", command, environment)


def _aws(program: str) -> Tool:
    def command(job: Job) -> list[str]:
        if job.kind is Kind.VERSION:
            return [program, "--version"]
        ends = [f"s3://{job.bucket}", str(job.folder)] if job.kind is Kind.DOWN else [str(job.folder), job.target]
        verb = ["sync"] if job.kind is Kind.UNCHANGED else ["cp", "--recursive"]
        return _then_flush([program, "--endpoint-url", job.url, "s3", *verb, "--no-progress", *ends], job)

    return Tool("aws", command, lambda job: {"AWS_CA_BUNDLE": str(job.authority)} if job.authority else {})


def _mc(program: str) -> Tool:
    def command(job: Job) -> list[str]:
        if job.kind is Kind.VERSION:
            return [program, "--version"]
        ends = [f"null/{job.bucket}", str(job.folder)]
        if job.kind is not Kind.DOWN:
            ends = [str(job.folder), f"null/{job.bucket}/{PREFIX}"]
        return _then_flush([program, "mirror", *ends], job)

    def environment(job: Job) -> dict[str, str]:
        own = {"SSL_CERT_FILE": str(job.authority)} if job.authority else {}
        if job.server:
            scheme, rest = job.server.url.split("://")
            own["MC_HOST_null"] = f"{scheme}://AKIAIOSFODNN7EXAMPLE:verysecretkey@{rest}"
        return own

    return Tool("mc", command, environment)


def _floor(program: Path, job: Job) -> list[str]:
    """The least work for the job; names come from a file."""
    assert job.server is not None
    mode = {Kind.UP: "put", Kind.DOWN: "get", Kind.UNCHANGED: "list"}[job.kind]
    where = job.bucket if job.kind is Kind.DOWN else f"{job.bucket}/{PREFIX}"
    words = [str(program), mode, str(job.server.port), where, str(job.folder), f"connections={job.connections}"]
    if job.kind is Kind.DOWN:
        words += [f"size={job.object_size}", f"sync={int(job.durable)}"]
    if job.authority:
        words.append("tls=1")
    if job.kind is Kind.UNCHANGED:
        return words
    return ["sh", "-c", f"exec {shlex.join(words)} < {shlex.quote(str(job.names))}"]
