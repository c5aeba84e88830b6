"""Turn results into an SVG: ours over theirs on a logarithmic scale, with the bounds and the floor."""

import math
from html import escape

from harness.verdicts import Result

LEFT, WIDTH, ROW, TOP, BAR = 270, 620, 34, 64, 11
LOW, HIGH = 0.01, 3.0
COLOURS = {"wall": "#2f6f9f", "cpu": "#7fb3d5"}
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#222}.small{font-size:10px;fill:#666}"
    ".miss{fill:#b03030}.grid{stroke:#ddd}.one{stroke:#222}.bound{stroke:#b03030;stroke-width:2}"
    ".floor{stroke:#3a8a3a;stroke-width:2}"
)


def svg(results: list[Result], shown_peers: dict[str, list[str]]) -> str:
    """A row per workload and peer, with a bar for wall time and one for CPU."""
    rows = [(result, peer) for result in results for peer in shown_peers[result.workload.name]]
    height = TOP + ROW * len(rows) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 90} {height}" role="img">',
        f"<title>Sterna beside its peers</title><style>{STYLE}</style>",
        f'<rect width="{LEFT + WIDTH + 90}" height="{height}" fill="#fff"/>',
        '<text x="12" y="22">Cost of sterna over the peer\'s (left is better)</text>',
        *_legend(),
    ]
    for tick in (0.01, 0.03, 0.1, 0.3, 1, 3):
        kind = "one" if tick == 1 else "grid"
        x = _x(tick)
        parts.append(f'<line class="{kind}" x1="{x}" x2="{x}" y1="{TOP - 6}" y2="{height - 26}"/>')
        parts.append(f'<text class="small" x="{x}" y="{height - 10}" text-anchor="middle">{tick:g}</text>')
    for n, (result, peer) in enumerate(rows):
        parts += _row(result, peer, TOP + ROW * n)
    return "\n".join([*parts, "</svg>", ""])


def _legend() -> list[str]:
    return [
        f'<rect x="12" y="34" width="20" height="{BAR}" fill="{COLOURS["wall"]}"/><text x="38" y="44">wall</text>',
        f'<rect x="80" y="34" width="20" height="{BAR}" fill="{COLOURS["cpu"]}"/><text x="106" y="44">CPU</text>',
        '<line class="bound" x1="150" x2="150" y1="32" y2="48"/><text x="158" y="44">bound</text>',
        '<line class="floor" x1="210" x2="210" y1="32" y2="48"/><text x="218" y="44">floor over the peer</text>',
    ]


def _row(result: Result, peer: str, top: int) -> list[str]:
    parts = [f'<text x="12" y="{top + 16}">{escape(result.workload.title)} / {escape(peer)}</text>']
    for n, measure in enumerate(("wall", "cpu")):
        y = top + n * (BAR + 2)
        bound = next((b for b in result.workload.bounds if b.peer == peer and b.measure == measure), None)
        ratios = sorted(result.ratios(peer, measure))
        if ratios:
            middle = ratios[len(ratios) // 2] if len(ratios) % 2 else sum(ratios[len(ratios) // 2 - 1 :][:2]) / 2
            x = _x(middle)
            kind = "small miss" if bound and middle > bound.at_most else "small"
            bar = f'<rect x="{LEFT}" y="{y}" width="{max(1.0, x - LEFT):.1f}" height="{BAR}"'
            parts.append(f'{bar} fill="{COLOURS[measure]}"/>')
            spread = f'<line x1="{_x(ratios[0])}" x2="{_x(ratios[-1])}" y1="{y + BAR / 2}" y2="{y + BAR / 2}"'
            parts.append(f'{spread} stroke="#222"/>')
            parts.append(f'<text class="{kind}" x="{x + 4}" y="{y + 9}">{middle:.2g}</text>')
        if bound:
            parts.append(_tick("bound", bound.at_most, y))
        floor, theirs = result.median("floor", measure), result.median(peer, measure)
        if floor and theirs:
            parts.append(_tick("floor", floor / theirs, y))
    return parts


def _tick(kind: str, ratio: float, y: int) -> str:
    return f'<line class="{kind}" x1="{_x(ratio)}" x2="{_x(ratio)}" y1="{y - 1}" y2="{y + BAR + 1}"/>'


def _x(ratio: float) -> float:
    share = math.log(min(max(ratio, LOW), HIGH) / LOW) / math.log(HIGH / LOW)
    return round(LEFT + WIDTH * share, 1)
