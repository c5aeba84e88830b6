"""Draw where a run stands on a terminal: a bar, and the figures below it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sterna.model.events import Tally
from sterna.reporting.meter import Reading
from sterna.reporting.plain import standing

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

EVERY_S = 0.125  # eight times a second: a drawing takes about 1 ms of CPU, so this is below one percent of a core
_START_S = 0.3  # a run that is over by then needs no display, and rich takes 50 ms to import
_LINES_MOST = 4
_GAP = "  "
_ROOM_FOR_SHARE = 16  # below that the bar alone has more to say


class Screen:
    """A live display on standard error. It reads the tally when told to and holds no thread of its own.

    If the terminal goes away, the display ends and the run goes on.
    """

    def __init__(self, now_s: float) -> None:
        self._start_s = now_s + _START_S
        self._console: Console | None = None
        self._live: Live | None = None
        self._is_gone = False

    def tick(self, tally: Tally, reading: Reading, now_s: float) -> None:
        """Draw anew."""
        if self._is_gone or now_s < self._start_s:
            return
        try:
            if self._live is None:
                self._open()
            self._draw(tally, reading)
        except OSError:
            self._is_gone = True

    def lines(self, lines: Sequence[str]) -> None:
        """Print lines above the display, all in one drawing. The text is already escaped."""
        text = "\n".join(lines)
        if self._is_gone:
            return
        try:
            if self._console is None:
                sys.stderr.write(text + "\n")
                sys.stderr.flush()
            else:
                from rich.text import Text

                self._console.print(Text(text), soft_wrap=True)
        except (OSError, ValueError):
            self._is_gone = True

    def close(self) -> None:
        """Take the display away and give the cursor back."""
        live, self._live = self._live, None
        if live is not None:
            try:
                live.stop()
            except OSError:
                self._is_gone = True

    def _open(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(stderr=True, highlight=False)
        self._live = Live(
            console=self._console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self._live.start()

    def _draw(self, tally: Tally, reading: Reading) -> None:
        from rich.text import Text

        assert self._console is not None
        assert self._live is not None
        plain = self._console.options.ascii_only
        bar, *figures = display_lines(tally, reading, self._console.width, plain=plain)
        done = bar.count(_bar_signs(plain)[0])
        text = Text(no_wrap=True, overflow="crop", end="")
        text.append(bar[:done], style="cyan")
        text.append(bar[done:], style="dim")
        for line in figures:
            text.append("\n" + line)
        self._live.update(text, refresh=True)


def display_lines(tally: Tally, reading: Reading, width: int, *, plain: bool = False) -> list[str]:
    """The display as lines that fit: the bar with its share, then the figures, the most telling first."""
    width = max(1, width - 1)  # some terminals break a line that is exactly full
    share = "" if reading.fraction is None or width < _ROOM_FOR_SHARE else f" {int(reading.fraction * 100):>3} %"
    signs = _bar_signs(plain)
    room = max(0, width - len(share))
    filled = int(room * (reading.fraction or 0.0))
    lines = [(signs[0] * filled + signs[1] * (room - filled) + share)[:width]]
    line = ""
    for piece in standing(tally, reading):
        piece = piece[:width]
        if line and len(line) + len(_GAP) + len(piece) > width:
            lines.append(line)
            line = piece
        else:
            line = f"{line}{_GAP}{piece}" if line else piece
    lines.append(line)
    return lines[:_LINES_MOST]


def _bar_signs(plain: bool) -> str:
    return "#-" if plain else "━─"
