"""One folder on its way into one bucket, through a front that lies: what the tests of faults have in common."""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import sterna
from sterna.jobs.settings import Journaling, Settings
from sterna.model.events import Event, ObjectsEnded, Summary
from sterna.model.outcomes import Outcome, Status
from sterna.moving.settings import Limits
from sterna.reporting.fanout import fanout
from sterna.reporting.log import LogFile
from sterna.reporting.summary import summary_lines
from sterna.wire.checksum import algorithm
from sterna.wire.credentials import Identity
from sterna.wire.endpoints import Addressing
from sterna.wire.pool import Timeouts
from sterna.wire.retry import Retries
from sterna.wire.side import Side
from tests.faults import front as f
from tests.faults.front import Front
from tests.servers.oracle import Bucket

MIB = 1 << 20
LARGE = 5 * MIB + 100_000  # two parts
PATIENCE = Retries(first_pause_s=0.001, longest_pause_s=0.01)
PARTS = Limits(part_threshold=MIB, part_size=5 * MIB)
_LEFT_OUT = ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION",
             "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy")  # fmt: skip


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


@dataclass
class Ran:
    """A run through the library, and all that it said."""

    summary: Summary
    events: list[Event]
    log: str
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    @property
    def said(self) -> str:
        return "\n".join(summary_lines(self.summary))


class Case:
    """Files below ``folder`` go to the prefix ``p`` of ``bucket``, through the front or, where that is said, past it."""

    def __init__(self, front: Front, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.front = front
        self.bucket = bucket
        self.folder = tmp_path / "tree"
        self.folder.mkdir()
        self._log = tmp_path / "log"
        self._runs = 0
        self._honest: Front | None = None
        self._knows_no_checksums = False
        for name in _LEFT_OUT:
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", front.server.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", front.server.secret_key)
        monkeypatch.setenv("AWS_REGION", front.server.region)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no config"))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no credentials"))

    def write(self, files: Mapping[str, bytes]) -> None:
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def touch(self, name: str) -> None:
        """Make a file younger than what stands in the bucket already."""
        later = time.time() + 60
        os.utime(self.folder / name, (later, later))

    def settings(
        self, *, url: str | None = None, idle_s: float = 10.0, retries: Retries = PATIENCE, limits: Limits = PARTS,
        identity: Identity | None = None, region: str | None = None, ca_bundle: str | None = None,
        connect_s: float = 5.0, resumes: bool = False,
    ) -> Settings:  # fmt: skip
        """``resumes``: with a journal, so that a run leaves what was cut off to the next one (test_resume.py)."""
        side = Side(
            addressing=Addressing(urls=(url or self.front.endpoint_url,), region=region, ca_bundle=ca_bundle),
            identity=identity or Identity(),
            timeouts=Timeouts(connect_s=connect_s, idle_s=idle_s),
            retries=retries,
        )
        return Settings(source=side, destination=side, limits=limits, journal=Journaling(is_kept=resumes))

    def up(self, settings: Settings | None = None) -> Ran:
        """Sync the folder into the bucket."""
        return self._run(str(self.folder), self.bucket.url("p"), settings or self.settings())

    def down(self, target: Path, settings: Settings | None = None) -> Ran:
        return self._run(self.bucket.url("p"), str(target), settings or self.settings())

    def _run(self, source: str, destination: str, settings: Settings) -> Ran:
        self._runs += 1
        log = LogFile(self._log.with_suffix(f".{self._runs}"))
        events: list[Event] = []
        try:
            summary = sterna.sync(source, destination, settings=settings, on_event=fanout(events.append, log))
        finally:
            log.close()
        ran = Ran(summary, events, log.path.read_text())
        for event in events:
            if isinstance(event, ObjectsEnded):
                ran.outcomes |= {one.key: one for one in event.outcomes}
        return ran

    def truth(self) -> dict[str, bytes]:
        """What the bucket holds below the prefix, by the name of the file."""
        return {key.removeprefix("p/"): body for key, body in self.bucket.contents("p/").items()}

    def files(self) -> dict[str, bytes]:
        return {
            path.relative_to(self.folder).as_posix(): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file()
        }

    def ignores_checksums(self) -> None:
        """Behind the front is a server that knows no checksum headers; ministack is slow at summing large parts."""
        self._knows_no_checksums = True
        self.front.fault(
            ("Put", "CreateMPU", "UploadPart", "Complete"), nth="always", kind=f.IgnoreChecksums(), must_hit=False
        )

    def shows_checksums(self) -> None:
        """Behind the front is a server that shows the CRC64NVME that it computed, so that large parts go out straight
        from their file. Declare it after the faults that change bodies."""
        self._knows_no_checksums = True  # past the front, where time counts more
        every = ("Put", "CreateMPU", "UploadPart", "Complete")
        self.front.fault(every, nth="always", kind=Echo(), must_hit=False)

    def is_arrived(self, ran: Ran) -> None:
        """The run ended well, everything is there, nothing is left behind, and another run has nothing to do."""
        assert ran.summary.exit_code == 0, ran.said
        assert ran.summary.failed == 0, ran.said
        assert self.truth() == self.files()
        assert self.bucket.uploads() == []
        self.does_nothing()

    def is_failed(
        self, ran: Ran, *names: str, words: str = "", code: int = 1, kept: Mapping[str, bytes] | None = None
    ) -> None:
        """These failed and are named, with ``words``, in the summary and the log; the others arrived; a run past the
        front brings what is missing, and one more does nothing. ``kept``: what stands in the place of what failed."""
        assert ran.summary.exit_code == code, ran.said
        assert sorted(one.key for one in ran.summary.failures) == sorted(names), ran.said
        for name in names:
            assert any(line.startswith("  ") and name in line for line in ran.said.splitlines()), ran.said
            logged = next(line for line in ran.log.splitlines() if f"\t{name}\t" in line)
            assert words in ran.said, ran.said
            assert words in logged, logged
            assert "failed" in logged, logged
            assert ran.outcomes[name].status is Status.FAILED
        expected = {name: body for name, body in self.files().items() if name not in names} | dict(kept or {})
        assert self.truth() == expected
        assert self.bucket.uploads() == []
        self.converges()

    def converges(self) -> None:
        """A second, clean run brings what is missing; a third does nothing."""
        second = self.up(self.clean())
        assert second.summary.exit_code == 0, second.said
        assert self.truth() == self.files()
        self.does_nothing()

    def does_nothing(self) -> None:
        third = self.up(self.clean())
        assert (third.summary.exit_code, third.summary.uploaded, third.summary.kept) == (0, 0, len(self.files()))

    def clean(self) -> Settings:
        """Settings that go past the front and its faults, to the server itself."""
        if self._honest is None:
            self._honest = Front(self.front.upstream)
            if self._knows_no_checksums:
                self._honest.fault("*", nth="always", kind=f.IgnoreChecksums(), must_hit=False)
        return self.settings(url=self._honest.endpoint_url)

    def close(self) -> None:
        if self._honest is not None:
            self._honest.close()
            self._honest.check()


class Echo(f.Kind):
    """A server that stores what comes, checks nothing, and shows the CRC64NVME of what it stored. Declare it after the
    faults that change bodies. It sums by itself: ministack would take a second for 8 MiB."""

    def upward(self, exchange: f.Exchange, fault: f.Fault) -> None:
        if exchange.request.operation == "Complete":  # ministack has no sums of parts to compare these with
            exchange.replace_body(re.sub(rb"<(Checksum\w+)>[^<]*</\1>", b"", exchange.body()))
        exchange.body()
        names = ("x-amz-checksum-crc64nvme", "x-amz-sdk-checksum-algorithm", "x-amz-checksum-algorithm")
        exchange.drop_header(*names, "x-amz-checksum-type", "content-md5")

    def downward(self, exchange: f.Exchange, fault: f.Fault, answer: f.Answer) -> None:
        named = "x-amz-checksum-crc64nvme" in exchange.request.headers
        if named and answer.status == 200 and exchange.request.operation in ("Put", "UploadPart"):
            fault.hit()
            kind = algorithm("CRC64NVME")
            answer.set("x-amz-checksum-crc64nvme", kind.encode(kind.update(exchange.whole or b"", 0)))
