"""Remember of which keys a listing could not tell whether they are there."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable

from sterna.model.entry import Trouble

_MOST = 100_000  # names that are remembered; where more could not be listed, nothing is known of anything


class Unknown:
    """What a listing met and could not carry: of these keys, and all below them, nobody knows that they are absent.

    That holds for a folder that could not be read, and as much for a single file, a link that was left out by rule, a
    name that is no key: something stands there. ``failed`` says that some of it was not left out by rule, nor by the
    filters. Memory is bounded: beyond ``most`` names everything is unknown.
    """

    def __init__(self, troubles: Iterable[Trouble] = (), *, most: int = _MOST) -> None:
        self._most = most
        self._names: list[str] = []  # without the slash at their end, ascending; none is below another one
        self._everything = False
        self._bytes_of_names = False
        self.failed = False
        self.add(troubles)

    def __repr__(self) -> str:
        return "<Unknown: everything>" if self._everything else f"<Unknown: {len(self._names)} names>"

    def __bool__(self) -> bool:
        return self._everything or bool(self._names) or self._bytes_of_names

    def add(self, troubles: Iterable[Trouble], concerns: Callable[[Trouble], bool] | None = None) -> None:
        """Remember these too, in any order. Those that do not concern the run are unknown as well, and no failure."""
        for trouble in troubles:
            if not trouble.skipped and (concerns is None or concerns(trouble)):
                self.failed = True
            if "\\x" in trouble.key:
                # The listing shows names that are not UTF-8 by their bytes, so which keys they would be is not certain.
                self._bytes_of_names = True
            self._remember(trouble.key.rstrip("/"))

    def _remember(self, name: str) -> None:
        if not name:  # the root itself
            self._everything = True
        if self._everything or self._is_below(name):
            return
        names = self._names
        start = bisect_left(names, name + "/")
        end = bisect_left(names, name + "0", start)  # "0" follows "/"
        names[start:end] = []
        names.insert(bisect_left(names, name), name)
        if len(names) > self._most:
            self._everything, self._names = True, []

    def _is_below(self, key: str) -> bool:
        """Whether a name is remembered that is the key, or a folder above it."""
        names = self._names
        end = len(key)
        while end > 0:
            above = key[:end]
            at = bisect_right(names, above) - 1
            if at < 0:
                return False
            if names[at] == above:
                return True
            end = key.rfind("/", 0, end)
        return False

    def covers(self, key: str) -> bool:
        """Whether nobody knows if this key is there."""
        if self._everything:
            return True
        if self._bytes_of_names and not _is_text(key):
            return True
        return bool(self._names) and self._is_below(key.rstrip("/") or key)


def _is_text(key: str) -> bool:
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True
