"""Turn a workload into runs: each tool in turn, round after round, from a clean state, each checked for work done."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from harness.measure import Measurement, measure
from harness.programs import Programs
from harness.server import NullServer, null_server
from harness.tools import LISTS, PREFIX, Job, Kind, Tool, environment_of
from harness.trees import made
from harness.workloads import Workload

WRITES = ("put", "part", "create", "complete", "copy", "delete", "delete_objects")
VERSION_RUNS_A_ROUND = 5
MANY_FILES = 100

# ext4 does not give an inode out again for minutes after its deletion, and passes over the young ones one by one for
# each file that it creates: where 20,000 files were just deleted, the floor took 20 times its CPU to create 2,000 (perf
# shows recently_deleted). So small files stay until the end, and each run's folder is put somewhere else on the disk:
# below a folder with this flag (chattr +T) ext4 chooses the place by a hash of the name.
FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_TOPDIR_FL = 0x80086601, 0x40086602, 0x00020000


@dataclass(frozen=True)
class Run:
    """One run of one tool. `problem` says what was not done; such a run counts for nothing else."""

    tool: str
    round: int
    measurement: Measurement
    requests: dict[str, int]
    problem: str | None


@dataclass(frozen=True)
class Stage:
    """What all runs of a workload share."""

    workload: Workload
    tools: dict[str, Tool]
    programs: Programs
    scratch: Path
    source: Path  # the tree for uploads
    names: Path  # what the floor is told to move
    server: NullServer | None
    timeout_s: float


MEMORY_ROUND = -1


def runs_of(
    workload: Workload,
    tools: dict[str, Tool],
    programs: Programs,
    cache: Path,
    scratch: Path,
    *,
    rounds: int,
    timeout_s: float,
) -> Iterator[Run]:
    """All rounds in turn, then one in which memory is sampled (and time is not looked at)."""
    with _stage(workload, tools, programs, cache, scratch / workload.name, timeout_s) as stage:
        failed: set[str] = set()
        if workload.kind is Kind.UNCHANGED:
            for run in _first_uploads(stage):
                if run.problem:
                    failed.add(run.tool)
                    yield run
        repeats = VERSION_RUNS_A_ROUND if workload.kind is Kind.VERSION else 1
        for number in [*range(min(rounds, workload.most_rounds)), MEMORY_ROUND]:
            if number == MEMORY_ROUND and workload.memory_mb is None:
                break
            for tool in tools.values():
                if tool.name in failed or (number == MEMORY_ROUND and tool.name == "floor"):
                    continue
                for _ in range(repeats):
                    run = _one_run(stage, tool, number)
                    yield run
                    if run.problem:
                        failed.add(tool.name)
                        break


@contextmanager
def scratch_folder(cache: Path, parent: Path | None) -> Iterator[Path]:
    """A folder for all that is written, gone at the end; what a killed run left is removed first."""
    place = parent or cache / "scratch"
    place.mkdir(parents=True, exist_ok=True)
    for left in place.glob("bench-*"):
        if not Path(f"/proc/{left.name.removeprefix('bench-')}").exists():
            shutil.rmtree(left, ignore_errors=True)
    mine = place / f"bench-{os.getpid()}"
    mine.mkdir()
    try:
        yield mine
    finally:
        shutil.rmtree(mine, ignore_errors=True)


def _spread(folder: Path) -> None:
    """Ask for the folders in here to be put far from each other; other file systems than ext4 need not listen."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        flags = bytearray(8)
        fcntl.ioctl(opened, FS_IOC_GETFLAGS, flags)
        number = int.from_bytes(flags[:4], sys.byteorder) | FS_TOPDIR_FL
        fcntl.ioctl(opened, FS_IOC_SETFLAGS, number.to_bytes(8, sys.byteorder))
    except OSError:
        pass
    finally:
        os.close(opened)


@contextmanager
def _stage(
    workload: Workload, tools: dict[str, Tool], programs: Programs, cache: Path, scratch: Path, timeout_s: float
) -> Iterator[Stage]:
    scratch.mkdir()
    _spread(scratch)
    names = scratch / "names"
    moved = workload.tree.synthetic_keys() if workload.kind is Kind.DOWN else workload.tree.names()
    if workload.kind not in LISTS:
        names.write_text("".join(f"{name}\n" for name in moved))
    source = made(cache, workload.tree) if workload.kind in (Kind.UP, Kind.UNCHANGED) else scratch
    server = (
        nullcontext(None)
        if workload.kind is Kind.VERSION
        else null_server(programs.nullserver, workload.server_options, programs.certificate)
    )
    with server as running:
        yield Stage(workload, tools, programs, scratch, source, names, running, timeout_s)


def _first_uploads(stage: Stage) -> Iterator[Run]:
    """Before a sync of unchanged files: ours by its own first sync, the bucket of the others by the floor."""
    for name in ("sterna", "floor"):
        if name in stage.tools:
            job = _job(stage, stage.tools[name], MEMORY_ROUND)
            uploading = Job(**{**vars(job), "kind": Kind.UP})
            yield _measured(stage, stage.tools[name], uploading, MEMORY_ROUND)


def _one_run(stage: Stage, tool: Tool, number: int) -> Run:
    job = _job(stage, tool, number)
    if job.kind is Kind.UP:
        _warm(stage)
    if job.kind is Kind.DOWN:
        os.sync()  # the writes of the run before are not this one's burden
    try:
        return _measured(stage, tool, job, number)
    finally:
        if job.kind is Kind.DOWN and stage.workload.tree.files < MANY_FILES:
            shutil.rmtree(job.folder, ignore_errors=True)


def _job(stage: Stage, tool: Tool, number: int) -> Job:
    """Its own bucket, folder and home; where nothing is to change, one of each for all rounds."""
    workload = stage.workload
    unique = f"{tool.name}-{'memory' if number == MEMORY_ROUND else number}"
    bucket, home = f"bench-{unique}", stage.scratch / f"home-{unique}"
    folder = stage.source
    if workload.kind is Kind.UNCHANGED:
        bucket, home = f"bench-{'sterna' if tool.name == 'sterna' else 'filled'}", stage.scratch / f"home-{tool.name}"
    elif workload.kind is Kind.DOWN:
        folder = stage.scratch / f"down-{unique}-{uuid.uuid4().hex[:8]}"
        folder.mkdir()
    home.mkdir(exist_ok=True)
    return Job(
        kind=workload.kind,
        folder=folder,
        bucket=bucket,
        server=stage.server,
        home=home,
        durable=workload.durable,
        names=stage.names,
        object_size=workload.tree.size,
        connections=workload.floor_connections,
    )


def _measured(stage: Stage, tool: Tool, job: Job, number: int) -> Run:
    before = stage.server.statistics() if stage.server else {}
    measurement = measure(
        tool.command(job),
        environment_of(tool, job),
        stage.scratch,
        server_pid=stage.server.pid if stage.server else None,
        memory=number == MEMORY_ROUND,
        timeout_s=stage.timeout_s,
    )
    after = stage.server.statistics() if stage.server else {}
    requests = {name: after[name] - before[name] for name in after if after[name] != before[name]}
    problem = _failure(measurement) or _undone(stage.workload, tool, job, requests)
    return Run(tool.name, number, measurement, requests, problem)


def _warm(stage: Stage) -> None:
    """Read what will be uploaded, so that no tool pays for a cold page cache."""
    with open(stage.names, "rb") as names:
        command = [str(stage.programs.floor), "read", "0", "-", str(stage.source)]
        subprocess.run(command, stdin=names, check=True)


def _failure(measurement: Measurement) -> str | None:
    if measurement.killed:
        return "killed: it took too long, or left processes behind"
    if measurement.exit_code:
        return f"exit {measurement.exit_code}: {measurement.errors.strip()[-300:] or 'nothing on stderr'}"
    return None


def _undone(workload: Workload, tool: Tool, job: Job, requests: dict[str, int]) -> str | None:
    """What a tool that answered 0 did not do, in a sentence."""
    if job.kind is Kind.VERSION:
        return None
    if job.kind in LISTS:
        serial = -(-workload.tree.files // 1000)
        pages = requests.get("list", 0)
        if pages < serial:
            return f"it asked for {pages} pages, and there are {serial}"
        if tool.name == "sterna" and workload.most_pages and pages > workload.most_pages * serial:
            return f"it asked for {pages} pages, more than {workload.most_pages} times the {serial} that there are"
        return None
    if job.kind is Kind.UNCHANGED:
        written = {name: requests[name] for name in WRITES if name in requests}
        if written:
            return f"files were unchanged, yet it wrote: {json.dumps(written)}"
        return None if requests.get("list") else "it did not look at the bucket"
    if job.kind is Kind.UP:
        assert job.server is not None
        have = job.server.objects(job.bucket, f"{PREFIX}/")
        if tool.name == "floor":  # it puts large files as several objects
            missing = workload.tree.total - sum(have.values())
            return f"{missing} bytes are missing in the bucket" if missing else None
        return _differences(dict.fromkeys(workload.tree.names(), workload.tree.size), have)
    wanted = dict.fromkeys(workload.tree.synthetic_keys(), workload.tree.size)
    return _differences(wanted, _files(job.folder)) or _wrong_content(job.folder, list(wanted))


def _files(folder: Path) -> dict[str, int]:
    """Names and sizes below a folder; a file with holes counts with what is really there."""
    found: dict[str, int] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            stat = os.lstat(path)
            found[os.path.relpath(path, folder)] = min(stat.st_size, stat.st_blocks * 512)
    return found


def _differences(wanted: dict[str, int], have: dict[str, int]) -> str | None:
    if wanted == have:
        return None
    missing = [name for name in wanted if name not in have]
    extra = [name for name in have if name not in wanted]
    short = [name for name in wanted if name in have and have[name] != wanted[name]]
    examples = ", ".join([*missing[:1], *extra[:1], *short[:1]])
    return f"{len(missing)} missing, {len(extra)} too many, {len(short)} of another size: {examples}"


def _wrong_content(folder: Path, names: list[str]) -> str | None:
    """Bodies are zeros; a look at the ends of a few files."""
    for name in {names[0], names[len(names) // 2], names[-1]}:
        with open(folder / name, "rb") as file:
            head = file.read(65536)
            file.seek(-min(len(head), 4096), os.SEEK_END)
            if head.strip(b"\0") or file.read().strip(b"\0"):
                return f"{name} has other bytes than were sent"
    return None
