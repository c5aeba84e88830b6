"""Measure Sterna beside its peers: every workload paired, against a null server on loopback.

python benchmarks/bench.py [--quick] [--only up-small …] [--rounds 5]; README.md says how to read what comes out.
"""

import argparse
import fnmatch
import json
import shlex
import signal
import subprocess
import sys
import time
from compileall import compile_dir
from functools import partial
from pathlib import Path

from harness.plot import svg
from harness.programs import Programs, prepared
from harness.report import as_json, machine, table
from harness.rounds import MEMORY_ROUND, Run, runs_of, scratch_folder
from harness.tools import LISTS, Tool, tools
from harness.verdicts import Result, all_met
from harness.workloads import WORKLOADS, Workload, quick

HERE = Path(__file__).resolve().parent
PEERS = ("s5cmd", "rclone", "aws", "mc")


def main() -> int:
    """0: every bound that was measured is met. 1: one is not. 2: something could not be measured."""
    options = _options()
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, lambda number, _frame: sys.exit(128 + number))
    if options.list:
        print("\n".join(f"{workload.name:22} {workload.title}" for workload in WORKLOADS))
        return 0
    peers = [name for name in options.peers.split(",") if name]
    programs = prepared(options.cache, peers, may_build_mc=not options.quick)
    sterna = shlex.split(options.sterna) if options.sterna is not None else [sys.executable, "-m", "sterna"]
    notes = [f"{name} is not measured: {reason}" for name, reason in programs.absent.items()]
    if sterna and (reason := _unusable(sterna)):
        notes.append(f"sterna is not measured: {reason}")
        sterna = []
    if options.sterna is None:
        compile_dir(HERE.parent / "src", quiet=1)  # as an install from a wheel does, which the peers had
    available = tools(programs, sterna)
    results = []
    shown_peers = {}
    chosen = _chosen(options, programs, notes)
    with scratch_folder(options.cache, options.scratch) as scratch:
        for workload in chosen:
            wanted = peers if options.every_peer and workload.name != "version" else workload.peers
            shown_peers[workload.name] = [name for name in wanted if name in peers]
            measuring = partial(_measured, programs=programs, options=options, scratch=scratch)
            results.append(measuring(workload, shown_peers[workload.name], available))
    _write(results, shown_peers, notes, options)
    problems = [problem for result in results for problem in result.problems]
    if problems or (options.sterna != "" and not sterna):
        return 2
    return 0 if options.quick or all_met(results) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=["*"], metavar="NAME", help="workloads; * and ? are wild")
    parser.add_argument("--rounds", type=int, help="pairs per workload (default 3; with --quick 1)")
    parser.add_argument("--quick", action="store_true", help="cut workloads, under two minutes; marks are no verdict")
    parser.add_argument(
        "--out", type=Path, default=HERE / "results", help="where table.txt, results.json and plot.svg go"
    )
    parser.add_argument("--peers", default=",".join(PEERS), help=f"of {','.join(PEERS)} (default: all)")
    parser.add_argument(
        "--every-peer", action="store_true", help="each peer on each workload, also where it has no bound"
    )
    parser.add_argument("--sterna", metavar="CMD", help="our command (default: this Python's -m sterna; '' for none)")
    parser.add_argument("--cache", type=Path, default=HERE / ".build", help="programs, peers and data, kept")
    parser.add_argument("--scratch", type=Path, help="where downloads land (default: in the cache; they need a disk)")
    parser.add_argument("--list", action="store_true", help="name the workloads and stop")
    options = parser.parse_args()
    options.cache = options.cache.resolve()
    options.rounds = options.rounds or (1 if options.quick else 3)
    return options


def _unusable(sterna: list[str]) -> str | None:
    try:
        done = subprocess.run([*sterna, "--version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    lines = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
    return f"{shlex.join(sterna)} --version: {lines[-1]}" if done.returncode else None


def _chosen(options: argparse.Namespace, programs: Programs, notes: list[str]) -> list[Workload]:
    names = [workload.name for workload in WORKLOADS]
    for pattern in options.only:
        if not fnmatch.filter(names, pattern):
            sys.exit(f"bench: no workload is called {pattern}; --list names them")
    chosen = [w for w in WORKLOADS if any(fnmatch.fnmatchcase(w.name, pattern) for pattern in options.only)]
    if programs.certificate is None and any(workload.tls for workload in chosen):
        chosen = [workload for workload in chosen if not workload.tls]
        notes.append("the TLS workloads are skipped")
    return [quick(workload) for workload in chosen] if options.quick else chosen


def _measured(
    workload: Workload,
    peers: list[str],
    available: dict[str, Tool],
    *,
    programs: Programs,
    options: argparse.Namespace,
    scratch: Path,
) -> Result:
    """All runs of a workload, told as they come."""
    has_floor = workload.name != "version" and workload.kind not in LISTS
    names = ["sterna", *peers, "floor"] if has_floor else ["sterna", *peers]
    taking_part = {name: available[name] for name in names if name in available}
    print(f"\n{workload.title}", flush=True)
    runs = []
    begun = time.monotonic()
    timeout_s = 120.0 if options.quick else 1800.0
    arguments = (workload, taking_part, programs, options.cache, scratch)
    for run in runs_of(*arguments, rounds=options.rounds, timeout_s=timeout_s):
        runs.append(run)
        print(f"  {_said(run)}", flush=True)
    print(f"  ({time.monotonic() - begun:.0f} s)", flush=True)
    return Result(workload, tuple(runs))


def _said(run: Run) -> str:
    cost = run.measurement
    if run.problem:
        return f"{run.tool:8} FAILED: {run.problem}"
    if run.round == MEMORY_ROUND:
        return f"{run.tool:8} peak memory {cost.peak_pss_kib * 1024 / 1e6:.0f} MB in {cost.samples} samples"
    ours = f"{run.tool:8} wall {cost.wall_s:7.3f} s  CPU {cost.cpu_s:7.3f} s"
    return f"{ours}  server {cost.server_s:6.2f} s  others {cost.others_s:5.2f} s"


def _write(
    results: list[Result], shown_peers: dict[str, list[str]], notes: list[str], options: argparse.Namespace
) -> None:
    options.out.mkdir(parents=True, exist_ok=True)
    problems = [problem for result in results for problem in result.problems]
    about = machine()
    hardware = f"{about['cores']} cores of {about['cpu']}, {about['memory_gib']} GiB"
    lines = [
        f"{hardware}, Linux {about['kernel']}, Python {about['python']}, {options.rounds} rounds",
        "seconds and MB are medians; a ratio is the median of the pairs, ± half their range",
        *(["cut workloads (--quick): the marks are no verdict"] if options.quick else []),
        "",
        table(results, shown_peers),
        "",
        *notes,
        *(f"FAILED {problem}" for problem in problems),
    ]
    text = "\n".join(lines).rstrip() + "\n"
    said = {"rounds": options.rounds, "quick": options.quick, "only": options.only, "sterna": options.sterna}
    (options.out / "table.txt").write_text(text)
    (options.out / "results.json").write_text(json.dumps(as_json(results, notes, said), indent=1) + "\n")
    (options.out / "plot.svg").write_text(svg(results, shown_peers))
    print(f"\n{text}\n{options.out}: table.txt, results.json, plot.svg")


if __name__ == "__main__":
    sys.exit(main())
