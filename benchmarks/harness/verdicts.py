"""Turn runs into medians, per-pair ratios and verdicts."""

import os
import statistics
from dataclasses import dataclass

from harness.rounds import MEMORY_ROUND, Run
from harness.workloads import Bound, Workload


@dataclass(frozen=True)
class Verdict:
    """A bound beside what was measured; met is None where it could not be."""

    bound: Bound
    ratios: tuple[float, ...]

    @property
    def median(self) -> float | None:
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def met(self) -> bool | None:
        return None if self.median is None else self.median <= self.bound.at_most

    @property
    def stretched(self) -> bool:
        return self.median is not None and self.bound.stretch is not None and self.median <= self.bound.stretch


@dataclass(frozen=True)
class Result:
    """A workload with all its runs."""

    workload: Workload
    runs: tuple[Run, ...]

    def timed(self, tool: str) -> list[Run]:
        return [run for run in self.runs if run.tool == tool and run.round != MEMORY_ROUND and not run.problem]

    def median(self, tool: str, measure: str) -> float | None:
        values = [cost(run, measure) for run in self.timed(tool)]
        return statistics.median(values) if values else None

    def memory_mb(self, tool: str) -> float | None:
        """Peak of the sum of the PSS of all processes, in MB (10^6)."""
        peaks = [
            run.measurement.peak_pss_kib * 1024 / 1e6
            for run in self.runs
            if run.tool == tool and run.round == MEMORY_ROUND and not run.problem and run.measurement.samples
        ]
        return max(peaks) if peaks else None

    def ratios(self, peer: str, measure: str) -> tuple[float, ...]:
        """Ours over theirs, for each round that both finished."""
        theirs = {run.round: cost(run, measure) for run in self.timed(peer)}
        ours = {run.round: cost(run, measure) for run in self.timed("sterna")}
        return tuple(ours[n] / theirs[n] for n in sorted(ours) if theirs.get(n))

    def verdict(self, bound: Bound) -> Verdict:
        if bound.peer is None:
            return Verdict(bound, tuple(cost(run, bound.measure) for run in self.timed("sterna")))
        return Verdict(bound, self.ratios(bound.peer, bound.measure))

    @property
    def verdicts(self) -> list[Verdict]:
        return [self.verdict(bound) for bound in self.workload.bounds]

    @property
    def memory_met(self) -> bool | None:
        ours, most = self.memory_mb("sterna"), self.workload.memory_mb
        return None if ours is None or most is None else ours < most

    @property
    def problems(self) -> list[str]:
        return [f"{self.workload.name}: {run.tool}: {run.problem}" for run in self.runs if run.problem]

    @property
    def strangers(self) -> float:
        """The largest share of the machine that others took during a timed run."""
        cores = os.cpu_count() or 1
        shares = [
            run.measurement.others_s / (run.measurement.wall_s * cores)
            for run in self.runs
            if run.round != MEMORY_ROUND and run.measurement.wall_s > 0.5  # the clock of /proc/stat is coarse
        ]
        return max(shares, default=0.0)


def cost(run: Run, measure: str) -> float:
    return run.measurement.wall_s if measure == "wall" else run.measurement.cpu_s


def all_met(results: list[Result]) -> bool:
    return all(v.met is not False for r in results for v in r.verdicts) and all(
        r.memory_met is not False for r in results
    )
