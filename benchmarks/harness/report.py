"""Turn results into a text table, and into JSON that holds every run."""

import dataclasses
import os
import platform
from pathlib import Path

from harness.verdicts import Result, Verdict
from harness.workloads import Bound

HEADINGS = ("workload", "against", "ours: wall", "CPU", "theirs: wall", "CPU", "wall ratio", "CPU ratio")
MORE_HEADINGS = ("floor: wall", "CPU", "ours MB", "theirs MB", "others")


def table(results: list[Result], shown_peers: dict[str, list[str]]) -> str:
    """A line per workload and peer."""
    rows: list[tuple[str, ...]] = [(*HEADINGS, *MORE_HEADINGS)]
    for result in results:
        peers: list[str | None] = [*shown_peers[result.workload.name]]
        rows += [_row(result, peer) for peer in peers or [None]]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _row(result: Result, peer: str | None) -> tuple[str, ...]:
    first = peer is None or peer == next((b.peer for b in result.workload.bounds), None)
    ours_mb, their_mb = result.memory_mb("sterna"), result.memory_mb(peer) if peer else None
    memory = _number(ours_mb, 0)
    if first and result.memory_met is not None:
        memory += f" <{result.workload.memory_mb} {_mark(result.memory_met)}"
    return (
        result.workload.title,
        peer or "-",
        _seconds(result.median("sterna", "wall")),
        _seconds(result.median("sterna", "cpu")),
        _seconds(result.median(peer, "wall") if peer else None),
        _seconds(result.median(peer, "cpu") if peer else None),
        _ratio(result, peer, "wall"),
        _ratio(result, peer, "cpu"),
        _seconds(result.median("floor", "wall")),
        _seconds(result.median("floor", "cpu")),
        memory,
        _number(their_mb, 0),
        f"{result.strangers:.0%}",
    )


def _ratio(result: Result, peer: str | None, measure: str) -> str:
    """`0.31 ±0.02 ≤0.40 ok`: the median of the pairs, half their range, the bound, and whether it is met."""
    bound = next((b for b in result.workload.bounds if b.peer == peer and b.measure == measure), None)
    verdict = result.verdict(bound or Bound(peer, measure, float("inf")))
    if bound is None and peer is None:
        return "-"
    if verdict.median is None:
        return f"- ≤{bound.at_most:.2f}" if bound else "-"
    text = f"{verdict.median:.3f}" if verdict.median < 0.1 else f"{verdict.median:.2f}"
    if len(verdict.ratios) > 1:
        text += f" ±{(max(verdict.ratios) - min(verdict.ratios)) / 2:.2f}"
    if bound is None:
        return text
    limit = f"{bound.at_most:.2f}" + ("s" if peer is None else "")
    return f"{text} ≤{limit} {_mark(verdict.met)}" + (" stretch" if verdict.stretched else "")


def _mark(met: bool | None) -> str:
    return {True: "ok", False: "MISS", None: ""}[met]


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if value < 1 else f"{value:.2f}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def as_json(results: list[Result], notes: list[str], options: dict[str, object]) -> dict[str, object]:
    return {
        "machine": machine(),
        "options": options,
        "notes": notes,
        "workloads": [_workload_json(result) for result in results],
    }


def _workload_json(result: Result) -> dict[str, object]:
    tools = list(dict.fromkeys(run.tool for run in result.runs))
    return {
        "name": result.workload.name,
        "title": result.workload.title,
        "files": result.workload.tree.files,
        "file_size": result.workload.tree.size,
        "medians": {
            tool: {
                "wall_s": result.median(tool, "wall"),
                "cpu_s": result.median(tool, "cpu"),
                "peak_memory_mb": result.memory_mb(tool),
            }
            for tool in tools
        },
        "verdicts": [_verdict_json(verdict) for verdict in result.verdicts],
        "memory": {"most_mb": result.workload.memory_mb, "met": result.memory_met},
        "problems": result.problems,
        "runs": [dataclasses.asdict(run) for run in result.runs],
    }


def _verdict_json(verdict: Verdict) -> dict[str, object]:
    own = {"ratios": verdict.ratios, "median": verdict.median, "met": verdict.met, "stretched": verdict.stretched}
    return {**dataclasses.asdict(verdict.bound), **own}


def machine() -> dict[str, object]:
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    memory_gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": round(memory_gib, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
