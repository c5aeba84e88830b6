"""The workloads and their bounds as values: what is moved, against whom, and what ours may cost of theirs."""

from dataclasses import dataclass, replace

from harness.server import ServerOptions
from harness.tools import LISTS, Kind
from harness.trees import Tree

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


@dataclass(frozen=True)
class Bound:
    """Ours over the peer's must be at most this; with no peer, ours itself (in seconds)."""

    peer: str | None
    measure: str  # "wall" or "cpu"
    at_most: float
    stretch: float | None = None


@dataclass(frozen=True)
class Workload:
    name: str
    title: str
    kind: Kind
    tree: Tree
    bounds: tuple[Bound, ...]
    memory_mb: int | None = None
    durable: bool = False
    latency_ms: int = 0
    tls: bool = False
    list_latency_ms: int | None = None
    layout: str = "tree"
    most_rounds: int = 99
    most_pages: float | None = None  # of those that a serial listing needs
    floor_connections: int = 8

    @property
    def server_options(self) -> ServerOptions:
        keys = self.tree.files if self.kind in (Kind.DOWN, *LISTS) else 0
        return ServerOptions(
            keys=keys,
            size=self.tree.size,
            latency_ms=self.latency_ms,
            list_latency_ms=self.list_latency_ms,
            layout=self.layout,
            tls=self.tls,
        )

    @property
    def peers(self) -> list[str]:
        """Those it is judged against, in the order of its bounds."""
        return list(dict.fromkeys(bound.peer for bound in self.bounds if bound.peer))


def both(peer: str, wall: float, cpu: float, stretch: float | None = None) -> tuple[Bound, Bound]:
    return Bound(peer, "wall", wall), Bound(peer, "cpu", cpu, stretch)


MILLION = Tree(1_000_000, 4 * KIB)
SMALL, LARGE = Tree(20_000, 4 * KIB), Tree(8, 256 * MIB)
SMALL_MB, LARGE_MB = 200, 600  # peak memory of all processes together

UP_SMALL = Workload(
    "up-small", "up 20,000 × 4 KiB", Kind.UP, SMALL, both("s5cmd", 0.40, 0.35, 0.25), memory_mb=SMALL_MB
)
DOWN_SMALL = Workload(
    "down-small", "down 20,000 × 4 KiB", Kind.DOWN, SMALL, both("s5cmd", 0.50, 0.40, 0.25), memory_mb=SMALL_MB
)
UP_LARGE = Workload(
    "up-large",
    "up 8 × 256 MiB",
    Kind.UP,
    LARGE,
    both("s5cmd", 0.40, 0.30, 0.15) + both("mc", 1.0, 1.0),
    memory_mb=LARGE_MB,
    floor_connections=4,
)
DOWN_LARGE = Workload(
    "down-large",
    "down 8 × 256 MiB",
    Kind.DOWN,
    LARGE,
    both("s5cmd", 1.0, 0.90, 0.80),
    memory_mb=LARGE_MB,
    floor_connections=4,
)


def over_tls(workload: Workload, cpu: float) -> Workload:
    name, title = f"{workload.name}-tls", f"{workload.title}, TLS"
    return replace(workload, name=name, title=title, tls=True, bounds=(Bound("s5cmd", "cpu", cpu),))


def durable(workload: Workload, wall: float) -> Workload:
    name, title = f"{workload.name}-durable", f"{workload.title}, durable"
    return replace(workload, name=name, title=title, durable=True, bounds=(Bound("s5cmd", "wall", wall),))


def listed(layout: str) -> Workload:
    """A million keys behind 50 ms a page: one by one that is 50 s. One round: their figures are the latency's."""
    bounds = Bound("s5cmd", "wall", 0.10), Bound("rclone", "wall", 0.10)
    return Workload(
        f"list-{layout}", f"list 1,000,000 keys, 50 ms, {layout}", Kind.LIST, MILLION, bounds, memory_mb=None,
        list_latency_ms=50, layout=layout, most_rounds=1, most_pages=1.5,
    )  # fmt: skip


def counted(name: str, title: str, kind: Kind) -> Workload:
    bounds = Bound("s5cmd", "wall", 0.50), Bound("rclone", "wall", 0.50)
    return Workload(name, title, kind, MILLION, bounds, memory_mb=None, most_pages=1.5)


WORKLOADS = (
    UP_SMALL,
    DOWN_SMALL,
    UP_LARGE,
    DOWN_LARGE,
    durable(DOWN_SMALL, 0.60),
    durable(DOWN_LARGE, 1.1),
    over_tls(UP_SMALL, 0.60),
    over_tls(DOWN_SMALL, 0.60),
    over_tls(UP_LARGE, 0.60),
    over_tls(DOWN_LARGE, 0.75),
    Workload(
        "up-medium",
        "up 10,000 × 256 KiB",
        Kind.UP,
        Tree(10_000, 256 * KIB),
        both("s5cmd", 0.50, 0.50),
        memory_mb=LARGE_MB,
    ),
    Workload(
        "up-huge",
        "up 1 × 5 GiB",
        Kind.UP,
        Tree(1, 5 * GIB),
        both("s5cmd", 0.50, 0.50),
        memory_mb=LARGE_MB,
        floor_connections=4,
    ),
    # aws-cli takes a minute and a half for each: one round, for a ratio that noise cannot turn
    replace(UP_SMALL, name="up-small-aws", bounds=both("aws", 0.10, 0.10), memory_mb=None, most_rounds=1),
    replace(DOWN_SMALL, name="down-small-aws", bounds=both("aws", 0.10, 0.10), memory_mb=None, most_rounds=1),
    Workload(
        "up-small-20ms",
        "up 20,000 × 4 KiB, 20 ms",
        Kind.UP,
        SMALL,
        (Bound("s5cmd", "wall", 1.0),),
        memory_mb=SMALL_MB,
        latency_ms=20,
        floor_connections=256,
    ),
    Workload(
        "unchanged-200k",
        "200,000 unchanged files",
        Kind.UNCHANGED,
        Tree(200_000, 64),
        both("s5cmd", 0.10, 0.10) + both("rclone", 0.40, 0.40),
        memory_mb=SMALL_MB,
    ),
    listed("tree"),
    listed("flat"),
    listed("skewed"),
    counted("list-1m", "list 1,000,000 keys", Kind.LIST),
    counted("usage-1m", "count 1,000,000 keys", Kind.USAGE),
    Workload("unchanged-10", "10 unchanged files", Kind.UNCHANGED, Tree(10, 4 * KIB), (Bound("aws", "wall", 0.50),)),
    Workload("version", "--version", Kind.VERSION, Tree(0, 0), (Bound(None, "cpu", 0.060),)),
)

QUICK_TREES = {
    SMALL: Tree(2_000, 4 * KIB),
    LARGE: Tree(4, 64 * MIB),
    Tree(10_000, 256 * KIB): Tree(1_000, 256 * KIB),
    Tree(1, 5 * GIB): Tree(1, 512 * MIB),
    Tree(200_000, 64): Tree(10_000, 64),
    MILLION: Tree(20_000, 4 * KIB),
}
QUICK_AWS = Tree(300, 4 * KIB)


def quick(workload: Workload) -> Workload:
    """The same work on less: it shows that all works, and a first impression, not a verdict."""
    tree = QUICK_AWS if workload.name.endswith("-aws") else QUICK_TREES.get(workload.tree, workload.tree)
    return replace(workload, tree=tree, title=f"{workload.title} (cut)")
