"""Carry a job out: listen to it, show where it stands, and end with a verdict and an exit code."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from sterna.cli.exit_codes import ExitCode
from sterna.cli.faults import is_interrupt, known_error
from sterna.cli.invocation import Invocation
from sterna.cli.screen import EVERY_S, Screen
from sterna.cli.signals import Signals
from sterna.cli.speech import complain, say, say_bytes, silence_output, tell
from sterna.jobs.control import Control
from sterna.model.errors import Interrupted
from sterna.model.events import Emit, Event, Notice, ObjectsEnded, RunEnded, RunStarted, Summary, Tally
from sterna.model.outcomes import Outcome, Status
from sterna.model.stop import Stop
from sterna.model.units import duration_words, printable, size_words
from sterna.reporting.dryrun import end_lines, end_verdict, is_planned, planned_line
from sterna.reporting.fanout import fanout
from sterna.reporting.jsonlines import JsonLines
from sterna.reporting.log import LogFile
from sterna.reporting.meter import Meter, Reading, finished_objects
from sterna.reporting.plain import PlainLines, standing
from sterna.reporting.scrub import scrub
from sterna.reporting.summary import NAMED, exit_code_of, summary_lines, verdict
from sterna.reporting.words import count_words, failure_line

_PLAIN_EVERY_S = 0.5  # without a display, the meter still needs samples for the peak

Job = Callable[[Emit, Tally, Stop], Awaitable[Summary]]


class Display(Protocol):
    """Whatever shows a run while it goes on. ``lines`` takes text that is already escaped; nothing raises."""

    def tick(self, tally: Tally, reading: Reading, now_s: float) -> None: ...

    def lines(self, lines: Sequence[str]) -> None: ...

    def close(self) -> None: ...


class Lines:
    """The display without a terminal: a line now and then, or none."""

    def __init__(self, now_s: float, *, progress: bool) -> None:
        self._plain = PlainLines(tell, now_s) if progress else None

    def tick(self, tally: Tally, reading: Reading, now_s: float) -> None:
        if self._plain is not None:
            self._plain.tick(tally, reading, now_s)

    def lines(self, lines: Sequence[str]) -> None:
        for line in lines:
            tell(line)

    def close(self) -> None:
        """There is nothing to take away."""


def carry_out(
    invocation: Invocation,
    job: Job,
    *,
    command: str,
    source: str,
    destination: str,
    dry_run: bool = False,
    output_is_data: bool = False,
    helped: bool = False,
    lines: Callable[[Summary], list[str]] | None = None,
    control: Control | None = None,
) -> int:
    """Run a job to its end, tell of it as the invocation says, and give the exit code.

    ``output_is_data``: standard output carries an object's bytes, so nothing else goes there. ``helped``: more
    processes than this one may be of use. ``lines`` end it, if not those that end every run. ``control`` is the settings'
    own, for the signals that ask for it. Errors of ours are told
    here, with what was done before them; surprises are raised.
    """
    run = _Run(
        invocation,
        f"{command} --dry-run" if dry_run else command,
        source,
        destination,
        dry_run,
        output_is_data,
        control,
    )
    run.tell_all(RunStarted(run.command, source, destination, time.time()))
    surprise: BaseException | None = None
    complaint = ""
    gc.freeze()  # what was imported is never looked at again
    try:
        carry = invocation.jobs.run_helped if helped else invocation.jobs.run
        summary = carry(run.attend(job))
    except BaseException as error:
        known = known_error(error)
        summary = run.summary_without_end(known.exit_code if known else ExitCode.SOME_FAILED)
        if is_interrupt(error) or isinstance(known, Interrupted):
            summary.exit_code = run.stop.exit_code or ExitCode.INTERRUPTED
        elif known is not None:
            summary.verdict = complaint = known.sentence
        else:
            summary.verdict = f"An unexpected error ended the run: {type(error).__name__}."
            surprise = error
    finally:
        run.display.close()
        run.signals.cancel_watchdog()
    run.complete(summary)
    run.tell_all(RunEnded(summary))
    incomplete = run.close()
    if surprise is not None:
        raise surprise

    if complaint:
        complain(complaint)
        if run.tally.done_objects:
            done = run.tally.done_objects
            tell(f"{count_words(done)} {'was' if done == 1 else 'were'} done before that.")
    else:
        run.conclude(summary, lines)
    for sentence in incomplete:
        complain(sentence)
    code = int(summary.exit_code or (ExitCode.SOME_FAILED if incomplete else ExitCode.DONE))
    run.signals.exit_soon(code)
    return code


class _Run:
    """What listens to one run, and what it has heard."""

    def __init__(
        self,
        invocation: Invocation,
        command: str,
        source: str,
        destination: str,
        dry_run: bool,
        output_is_data: bool,
        control: Control | None,
    ) -> None:
        self._invocation = invocation
        self.command = command
        self._ends = (source, destination)
        self._dry_run = dry_run
        self._output_is_data = output_is_data
        self._control = control
        self._log = LogFile(Path(invocation.log_file)) if invocation.log_file else None
        self._json = JsonLines(say_bytes) if invocation.json else None
        self._told_of_log = False
        self._failures = 0
        self._began_s = time.monotonic()
        self._meter = Meter(self._began_s)
        self.tally, self.stop = Tally(), Stop()
        self.display = self._chosen_display()
        self.signals = Signals(
            self.stop,
            self.tally,
            lambda line: self.display.lines([line]),
            on_usr1=self._say_where_it_stands,
            on_usr2=self._toggle_speed,
            writes_files=not (dry_run or output_is_data) and command != "plan" and not destination.startswith("s3://"),
        )
        listeners = (self._log, self._json, self._speak)
        self.tell_all = fanout(*(listener for listener in listeners if listener is not None))

    async def attend(self, job: Job) -> Summary:
        """The job, with signals obeyed and the display drawn while it goes on."""
        with self.signals.obeyed():
            ticking = asyncio.create_task(self._tick())
            try:
                return await job(self._heard, self.tally, self.stop)
            finally:
                ticking.cancel()
                await asyncio.wait([ticking])

    async def _tick(self) -> None:
        every_s = EVERY_S if isinstance(self.display, Screen) else _PLAIN_EVERY_S
        while True:
            await asyncio.sleep(every_s)
            now_s = time.monotonic()
            self.display.tick(self.tally, self._meter.sample(self.tally, now_s), now_s)

    def _say_where_it_stands(self) -> None:
        """By SIGUSR1: a line of progress, whether progress is shown or not; and the control file is read at once."""
        reading = self._meter.sample(self.tally, time.monotonic())
        pieces = standing(self.tally, reading)
        if self._control is not None:
            self._control.look_now()
            pieces.append(str(self._control))
        self.display.lines([f"sterna: {duration_words(reading.elapsed_s)}  {', '.join(pieces)}"])

    def _toggle_speed(self) -> None:
        """By SIGUSR2."""
        if self._control is not None:
            self._control.toggle_speed()

    def _heard(self, event: Event) -> None:
        """What the job emits. The first and the last event are told by ``carry_out``: an error leaves a job no last."""
        if isinstance(event, RunStarted | RunEnded):
            return
        self.tell_all(event)
        if self._log is not None and self._log.error and not self._told_of_log:
            self._told_of_log = True
            self.display.lines([f"sterna: note: {self._log.error} The run goes on."])

    def complete(self, summary: Summary) -> None:
        """Fill in what is measured here, and have verdict and exit code say the same."""
        now_s = time.monotonic()
        summary.elapsed_s = summary.elapsed_s or now_s - self._began_s
        summary.peak_bytes_per_s = max(summary.peak_bytes_per_s, self._meter.sample(self.tally, now_s).peak)
        summary.exit_code = exit_code_of(summary)
        if self.stop.is_requested and summary.left:
            summary.exit_code = self.stop.exit_code
        if self._dry_run:
            summary.command = self.command
            summary.verdict = end_verdict(summary)
        elif not summary.verdict:
            summary.verdict = verdict(summary, log_file=self._invocation.log_file)

    def summary_without_end(self, exit_code: int) -> Summary:
        """What can still be said of a run that an error ended."""
        tally, done = self.tally, self.tally.done_by_verb
        uploaded, downloaded, deleted, aborted = (
            done.get(verb, 0) for verb in ("upload", "download", "delete", "abort")
        )
        return Summary(
            command=self.command,
            source=self._ends[0],
            destination=self._ends[1],
            exit_code=int(exit_code),
            uploaded=uploaded,
            downloaded=downloaded,
            copied=tally.done_objects - uploaded - downloaded - deleted - aborted,
            deleted=deleted,
            aborted=aborted,
            kept=tally.there_objects,
            skipped=tally.skipped_objects,
            failed=tally.failed_objects,
            left=max(tally.left_objects, tally.planned_objects - finished_objects(tally), 0),
            moved_bytes=max(0, tally.moved_bytes - tally.wasted_bytes),
            there_bytes=tally.there_bytes + tally.resumed_bytes,
            resumed_bytes=tally.resumed_bytes,
            wasted_bytes=tally.wasted_bytes,
            requests=tally.requests,
            retries=tally.retries,
        )

    def close(self) -> list[str]:
        """End the log; gives a sentence for each record of the run that is not complete."""
        if self._log is not None:
            self._log.close()
        errors = (self._log.error if self._log else "", self._json.error if self._json else "")
        return [error for error in errors if error]

    def conclude(self, summary: Summary, ending: Callable[[Summary], list[str]] | None = None) -> None:
        """The last lines: on standard output, unless that carries JSON or an object, or is to be quiet."""
        log_file = self._invocation.log_file
        lines = end_lines(summary) if self._dry_run else summary_lines(summary, log_file=log_file)
        if ending is not None:
            lines = ending(summary)
        quiet = self._invocation.quiet or self._invocation.json or self._output_is_data
        if not quiet:
            with _calm_output():
                for line in lines:
                    say(line)
                if sys.stdout is not None:
                    sys.stdout.flush()
        elif summary.exit_code or (self._output_is_data and isinstance(self.display, Screen)):
            for line in lines:
                tell(line)

    def _speak(self, event: Event) -> None:
        """Notices, with -v every object, and on a terminal the first failures as they come."""
        if isinstance(event, Notice):
            if event.level != "info" or not self._invocation.quiet:
                self.display.lines([f"sterna: note: {scrub(printable(event.sentence))}"])
        elif isinstance(event, ObjectsEnded):
            lines = [line for outcome in event.outcomes if (line := self._object_line(outcome))]
            if lines:
                self.display.lines(lines)
            if self._dry_run and not (self._invocation.json or self._invocation.quiet):
                with _calm_output():
                    for outcome in filter(is_planned, event.outcomes):
                        say(planned_line(outcome))

    def _object_line(self, outcome: Outcome) -> str:
        verbose = bool(self._invocation.verbosity)
        if outcome.status is Status.FAILED:
            self._failures += 1
            shown = verbose or (isinstance(self.display, Screen) and self._failures <= NAMED)
            return f"failed: {failure_line(outcome)}" if shown else ""
        if not verbose or is_planned(outcome):
            return ""
        return f"{outcome.verb} {printable(outcome.key)} ({size_words(outcome.size)}): {outcome.status.value}"

    def _chosen_display(self) -> Display:
        """A live display needs a capable terminal on standard error, and the same terminal free of other lines."""
        progress = self._invocation.progress and not self._invocation.quiet
        busy = self._dry_run or self._json is not None or self._output_is_data
        if progress and _is_capable_terminal() and not (busy and sys.stdout is not None and sys.stdout.isatty()):
            return Screen(self._began_s)
        return Lines(self._began_s, progress=progress)


def _is_capable_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")


@contextlib.contextmanager
def _calm_output() -> Iterator[None]:
    """A reader that left changes neither what the run does nor its exit code."""
    try:
        yield
    except BrokenPipeError:
        silence_output()
