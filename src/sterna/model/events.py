"""What a run tells while it goes on, and its end. Whoever wants to hear it passes ``emit``; nobody has to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from sterna.model.outcomes import Outcome


class Tally(msgspec.Struct):
    """Plain counters that the data plane raises and the display reads at its own pace. All grow only.

    Planned figures are refined while listing goes on; ``planning_done`` says that they are final.
    """

    planned_objects: int = 0
    planned_bytes: int = 0
    planning_done: bool = False
    ended_objects: int = 0  # of the planned ones, however they ended: done, kept after a look, failed, left
    unmoved_bytes: int = 0  # planned bytes of those of them that came to nothing, and need not be moved any more
    done_objects: int = 0
    done_by_verb: dict[str, int] = msgspec.field(default_factory=dict)
    moved_bytes: int = 0  # bytes of objects sent or received, raised as they pass
    wasted_bytes: int = 0  # of those, bytes of attempts that failed
    resumed_bytes: int = 0  # of objects that are moved now, sent or received by earlier runs
    there_objects: int = 0  # found in place, not moved
    there_bytes: int = 0
    skipped_objects: int = 0
    failed_objects: int = 0
    left_objects: int = 0
    in_flight: int = 0  # requests that await their answer now
    lanes: int = 0  # how many may be
    requests: int = 0
    retries: int = 0
    listed_source: int = 0
    listed_target: int = 0
    limited_by: str = ""  # disk, network, server, CPU, listing: what holds the run back now


class RunStarted(msgspec.Struct, frozen=True, tag="run_started"):
    """The first event."""

    command: str
    source: str
    destination: str
    time_s: float  # seconds since 1970


class ObjectsEnded(msgspec.Struct, frozen=True, tag="objects"):
    """Outcomes, in batches: kept ones are counted in the Tally and not told one by one."""

    outcomes: Sequence[Outcome]


class Notice(msgspec.Struct, frozen=True, tag="notice"):
    """One sentence that a user should read: a fallback taken, a retry storm, a clock that is off."""

    sentence: str
    level: str = "info"  # info, warning
    code: str = ""


class Planned(msgspec.Struct):
    """How much a dry run would have done by one verb."""

    objects: int = 0
    bytes: int = 0


class ManifestWritten(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run left its manifest, how many objects that vouches for, and the Merkle root by which it is known."""

    path: str
    location: str
    count: int
    failed: int
    is_complete: bool
    root: str


class Summary(msgspec.Struct, kw_only=True):
    """What a run did: the typed result of the library, the last record of the JSON log, the words of the report.

    Bytes and seconds. ``failures`` holds at most ``FAILURES_KEPT`` outcomes; ``failed`` counts all of them.
    ``planned_by_verb`` is empty unless it was a dry run. ``planned_all``: both
    sides were listed to their end. ``filtered`` says that filters chose what was looked at.
    ``there_bytes`` were at the destination before; ``resumed_bytes`` of them are of objects that runs left unfinished.
    """

    command: str
    source: str
    destination: str
    exit_code: int = 0
    verdict: str = ""
    uploaded: int = 0
    downloaded: int = 0
    copied: int = 0
    deleted: int = 0
    aborted: int = 0  # unfinished uploads
    kept: int = 0
    planned_by_verb: dict[str, Planned] = msgspec.field(default_factory=dict)
    skipped: int = 0
    gone: int = 0  # of the skipped: keys that an earlier run left, and the source does not have any more
    failed: int = 0
    left: int = 0
    moved_bytes: int = 0
    there_bytes: int = 0
    resumed_bytes: int = 0
    wasted_bytes: int = 0
    started_s: float = 0.0
    elapsed_s: float = 0.0
    peak_bytes_per_s: float = 0.0
    requests: int = 0
    retries: int = 0
    durable: bool = True
    planned_all: bool = False
    filtered: bool = False
    failures: list[Outcome] = msgspec.field(default_factory=list)
    skips: list[Outcome] = msgspec.field(default_factory=list)
    notices: list[str] = msgspec.field(default_factory=list)
    manifest: ManifestWritten | None = None

    @property
    def done(self) -> int:
        """Objects moved and proved."""
        return self.uploaded + self.downloaded + self.copied + self.deleted + self.aborted

    @property
    def planned(self) -> int:
        """Objects that a dry run would have moved or deleted."""
        return sum(one.objects for one in self.planned_by_verb.values())

    @property
    def mean_bytes_per_s(self) -> float:
        return self.moved_bytes / self.elapsed_s if self.elapsed_s else 0.0


class RunEnded(msgspec.Struct, frozen=True, tag="run_ended"):
    """The last event."""

    summary: Summary


FAILURES_KEPT = 10_000  # a summary stays bounded; the log file has every one

Event = RunStarted | ObjectsEnded | Notice | RunEnded
Emit = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The default listener."""
