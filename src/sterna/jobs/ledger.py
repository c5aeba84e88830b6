"""Count what came of every action, and turn the counts into a summary, a verdict and an exit code."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from sterna.model.entry import Trouble
from sterna.model.events import (
    FAILURES_KEPT,
    Emit,
    Notice,
    ObjectsEnded,
    Planned,
    RunEnded,
    RunStarted,
    Summary,
    Tally,
)
from sterna.model.outcomes import Outcome, Status
from sterna.model.stop import SIGNALLED, Stop
from sterna.reporting.summary import verdict
from sterna.stores.beside import is_about_manifests

_PEAK_S = 1.0  # peak speed is that of the best second
_UNWEIGHED = ("delete", "abort")  # verbs whose bytes are not planned
_OF_MANIFESTS = ("manifest", "verify")  # verbs whose key may be a manifest, which is none of the objects


class Ledger:
    """One run's counts. Planned is what has an outcome, or the run says so and fails (H108)."""

    def __init__(self, command: str, source: str, destination: str, *, emit: Emit, tally: Tally, stop: Stop) -> None:
        self.summary = Summary(command=command, source=source, destination=destination, started_s=time.time())
        self.tally = tally
        self.emit = emit
        self._stop = stop
        self._began = time.perf_counter()
        self._moved_before, self._wasted_before = tally.moved_bytes, tally.wasted_bytes
        self._resumed_before = tally.resumed_bytes
        self._ended = 0
        self.failed_moves = 0  # what was to be moved and was not; without names that a listing could not carry
        self._planned_before = tally.planned_objects
        self.remember: Callable[[Sequence[Outcome]], None] = lambda _: None
        self._watch = asyncio.get_running_loop().create_task(self._watch_speed())
        emit(RunStarted(command, source, destination, self.summary.started_s))

    @property
    def not_arrived(self) -> int:
        """How many of what was planned so far did not end well, or have not ended at all."""
        missing = self.tally.planned_objects - self._planned_before - self._ended
        return self.failed_moves + self.summary.left + missing

    def planned(self, count: int, size: int) -> None:
        """More objects are to be moved."""
        self.tally.planned_objects += count
        self.tally.planned_bytes += size

    def kept(self, count: int, size: int) -> None:
        """So many objects were found in place."""
        self.summary.kept += count
        self.summary.there_bytes += size
        self.tally.there_objects += count
        self.tally.there_bytes += size

    def notice(self, sentence: str, level: str = "info", code: str = "") -> None:
        """Something that the user should read once."""
        self.heard(Notice(sentence, level, code))

    def heard(self, event: object) -> None:
        """Pass an event of the wire on, and keep what the summary repeats."""
        if isinstance(event, Notice):
            if event.sentence not in self.summary.notices and len(self.summary.notices) < FAILURES_KEPT:
                self.summary.notices.append(event.sentence)
            self.emit(event)

    def troubles(self, troubles: Sequence[Trouble], verb: str) -> None:
        """Names that a listing could not carry: each is an outcome of its own."""
        if troubles:
            self.record([
                Outcome(verb, one.key, Status.SKIPPED if one.skipped else Status.FAILED, error=one.reason,
                        error_kind="" if one.skipped else "Unreadable", exit_code=0 if one.skipped else 1)
                for one in troubles
            ], unplanned=True)  # fmt: skip

    def record(self, outcomes: Sequence[Outcome], *, unplanned: bool = False) -> None:
        """Count outcomes, and tell them."""
        if not outcomes:
            return
        summary, tally = self.summary, self.tally
        if not unplanned:
            self._ended += len(outcomes)
            tally.ended_objects += len(outcomes)
        done_by_verb = tally.done_by_verb
        for one in outcomes:
            status = one.status
            if status is not Status.DONE and not unplanned and one.verb not in _UNWEIGHED:
                tally.unmoved_bytes += one.size
            if status is Status.DONE:
                tally.done_objects += 1
                done_by_verb[one.verb] = done_by_verb.get(one.verb, 0) + 1
                if one.verb == "upload":
                    summary.uploaded += 1
                elif one.verb == "download":
                    summary.downloaded += 1
                elif one.verb == "delete":
                    summary.deleted += 1
                elif one.verb == "abort":
                    summary.aborted += 1
                else:
                    summary.copied += 1
            elif status is Status.FAILED:
                if not (one.verb in _OF_MANIFESTS and is_about_manifests(one.key)):
                    summary.failed += 1
                    tally.failed_objects += 1
                self.failed_moves += not unplanned
                if len(summary.failures) < FAILURES_KEPT:
                    summary.failures.append(one)
            elif status is Status.KEPT:
                self.kept(1, one.size)
            elif status is Status.PLANNED:
                planned = summary.planned_by_verb.setdefault(one.verb, Planned())
                planned.objects += 1
                planned.bytes += one.size
            elif status is Status.SKIPPED:
                summary.skipped += 1
                tally.skipped_objects += 1
                if len(summary.skips) < FAILURES_KEPT:
                    summary.skips.append(one)
            else:
                summary.left += 1
                tally.left_objects += 1
        self.remember(outcomes)
        self.emit(ObjectsEnded(outcomes))

    async def close(self) -> None:
        """End the speed watch, when the run ends without a summary."""
        self._watch.cancel()
        await asyncio.gather(self._watch, return_exceptions=True)

    async def settle(self, *, durable: bool = True) -> Summary:
        """The end of the run: check that nothing planned is missing, and give the summary."""
        await self.close()
        summary, tally = self.summary, self.tally
        missing = tally.planned_objects - self._planned_before - self._ended
        summary.elapsed_s = time.perf_counter() - self._began
        summary.wasted_bytes = tally.wasted_bytes - self._wasted_before
        summary.moved_bytes = tally.moved_bytes - self._moved_before - summary.wasted_bytes
        summary.resumed_bytes = tally.resumed_bytes - self._resumed_before
        summary.there_bytes += summary.resumed_bytes
        summary.requests, summary.retries = tally.requests, tally.retries
        summary.peak_bytes_per_s = max(summary.peak_bytes_per_s, summary.mean_bytes_per_s)
        summary.durable = durable
        summary.planned_all = tally.planning_done
        if missing:
            self.notice(
                f"{missing} planned objects have no outcome, which is a fault of Sterna; please report it.", "warning"
            )
        if self._stop.is_requested:
            summary.exit_code = self._stop.exit_code
            if summary.exit_code not in SIGNALLED:  # of a signal the user knows
                self.notice(self._stop.reason)
        elif summary.failed or summary.failures or missing or summary.left:
            # Where all that went wrong went wrong for one reason, and nothing was done, the code can say which.
            codes = {one.exit_code for one in summary.failures}
            summary.exit_code = codes.pop() if len(codes) == 1 and not summary.done and not missing else 1
            summary.exit_code = summary.exit_code or 1
        summary.verdict = verdict(summary)
        self.emit(RunEnded(summary))
        return summary

    async def _watch_speed(self) -> None:
        """Keep the best second. It sleeps between looks, and costs nothing."""
        summary, tally = self.summary, self.tally
        moved, since = tally.moved_bytes, time.perf_counter()
        while True:
            await asyncio.sleep(_PEAK_S)
            now = time.perf_counter()
            summary.peak_bytes_per_s = max(summary.peak_bytes_per_s, (tally.moved_bytes - moved) / (now - since))
            moved, since = tally.moved_bytes, now
