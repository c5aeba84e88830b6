"""Find the keys that a folder cannot hold, alone or beside another, while they pass by in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum

from msgspec.structs import replace

from sterna.model.actions import Action
from sterna.model.entry import Entry
from sterna.model.units import printable
from sterna.planning.merge import Pair
from sterna.stores.escape import apart, escaped
from sterna.stores.named import TARGET_MAX
from sterna.stores.walk import LINK_SUFFIX

Fold = Callable[[str], str]

MOST_HELD = 10_000  # pairs that wait for what follows; then the store is asked


class OnCollision(str, Enum):
    """What becomes of keys that a folder cannot hold, alone or beside each other (``--on-collision``)."""

    FAIL = "fail"  # all of them are refused by name, and fail the run
    SKIP = "skip"  # all of them are left out by name
    ESCAPE = "escape"  # they are given other names, which stand for the same keys


class _Open:
    """A file of which the keys that follow may still show that a folder needs its name."""

    __slots__ = ("at", "is_contested", "is_known", "key", "path")

    def __init__(self, key: str, path: str, at: int) -> None:
        self.key = key
        self.path = path
        self.at = at
        self.is_known = self.is_contested = False


class Collisions:
    """Takes the pairs of a run in key order, and gives them back when it is known what becomes of them.

    ``a`` must not be written before it is sure that no ``a/b`` follows, and between the two come ``a-x`` and ``a.x``. So
    pairs are held back from the first of which that is not known, in their order: mostly the last one until the next
    has come. What may still be needed as a folder is a chain of keys, each the beginning of the next. Where more than
    ``MOST_HELD`` pairs have come (a million keys ``a-…``), ``overdue`` names what to ask the store, and ``answer`` takes
    the answer: memory is bounded, and a run needs a request for each such key at most.

    ``holds`` gives the reason why no file can have a path, or None. ``links``: keys that end in ``LINK_SUFFIX`` stand for
    a link of the name before it. ``folded`` are the paths, without a slash at the end, that the folder's file system
    would take for another one, and that other one; see Folds. ``windows``: what to escape.
    """

    def __init__(
        self,
        holds: Callable[[str], str | None],
        policy: OnCollision = OnCollision.FAIL,
        *,
        links: bool = False,
        windows: bool = False,
        folded: dict[str, str] | None = None,
    ) -> None:
        self._holds = holds
        self._escapes = policy is OnCollision.ESCAPE
        self._links = links
        self._windows = windows
        self.folded = folded or {}
        self._held: list[Pair] = []
        self._passed = 0  # pairs that were given back
        self._last = ""
        self._open: list[_Open] = []
        self._refusals: dict[str, str] = {}
        self._places: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<Collisions, {len(self._held)} pairs held, {len(self._open)} names open>"

    # While they pass by

    def settled(self, page: Sequence[Pair]) -> list[Pair]:
        """Take a page; gives those pairs of which all is known now."""
        held, still_open = self._held, self._open
        for pair in page:
            held.append(pair)
            source = pair[0]
            if source is None:
                continue
            key = self._last = source.key
            if still_open:
                if len(still_open) == 1 and not key.startswith(still_open[0].path):
                    still_open.clear()
                else:
                    self._follow(key)
                    still_open = self._open
            path = key
            if self._links and key.endswith(LINK_SUFFIX):
                path = key.removesuffix(LINK_SUFFIX)
            if (self.folded or self._escapes or self._holds(path) is not None or key[-1] == "/" or path != key) and (
                not self._judge(source, path)
            ):
                continue
            if key[-1] != "/" and key not in self._refusals:
                still_open.append(_Open(key, path, self._passed + len(held) - 1))
        return self._take()

    def rest(self) -> list[Pair]:
        """The end: no key follows any more."""
        self._open.clear()
        return self._take()

    @property
    def overdue(self) -> str:
        """The folder of which is to be asked whether anything is below it; empty while there is time."""
        if len(self._held) <= MOST_HELD:
            return ""
        return next((one.path + "/" for one in self._open if not one.is_known), "")

    def answer(self, folder: str, *, is_there: bool) -> list[Pair]:
        """What the store said; gives the pairs of which all is known by that."""
        for one in self._open:
            if one.path + "/" == folder and not one.is_known:
                one.is_known = True
                if is_there:
                    self._contest(one, folder)
        return self._take()

    # When they are planned

    def refusal(self, entry: Entry) -> str | None:
        """Why a key that was given back is refused; None for most. It is asked once.

        Of a key that has not passed by: what is known by those that have.
        """
        if entry.key > self._last:
            self.settled([(entry, None)])
            self._passed += len(self._held)
            self._held.clear()
        return self._refusals.pop(entry.key, None)

    def placed(self, actions: list[Action]) -> list[Action]:
        """Actions for keys that were given back, with the places of those that get another name than their key."""
        places = self._places
        if not places:
            return actions
        held = {pair[0].key for pair in self._held if pair[0] is not None}
        self._places = {key: place for key, place in places.items() if key in held}
        return [replace(one, place=places[one.key]) if one.key in places else one for one in actions]

    # Within

    def _take(self) -> list[Pair]:
        first = next((one.at for one in self._open if not one.is_known), None)
        count = len(self._held) if first is None else first - self._passed
        given, self._held = self._held[:count], self._held[count:]
        self._passed += count
        return given

    def _follow(self, key: str) -> None:
        """A key has come: what it does not begin with, up to a slash at most, no folder can need any more."""
        still_open = []
        for one in self._open:
            length = len(one.path)
            if not key.startswith(one.path) or key[length : length + 1] > "/":
                continue
            still_open.append(one)
            if key[length : length + 1] == "/":
                if not one.is_known:
                    one.is_known = True
                    self._contest(one, key)
                if not self._escapes or not one.is_contested:  # the store said that nothing is there, and now it is
                    sentence = f"{printable(key)} needs a folder where {printable(one.key)} is a file"
                    self._refusals[key] = f"{sentence}; rename one of the two."
        self._open = still_open

    def _contest(self, one: _Open, other: str) -> None:
        one.is_contested = True
        if one.key in self._refusals:
            return
        if self._escapes:
            self._give_place(one.key, one.path, is_contested=True)
        else:
            sentence = f"{printable(one.key)} is a file where {printable(other)} needs a folder"
            self._refusals[one.key] = f"{sentence}; rename one of the two."

    def _judge(self, source: Entry, path: str) -> bool:
        """A key that is not an ordinary one in an ordinary run. False where it is refused for itself, and claims no
        name."""
        key = source.key
        if key.endswith("/") and source.size:
            why = f"{printable(key)} ends in a slash and has {source.size} bytes; a folder cannot hold them."
        elif path != key and source.size > TARGET_MAX:
            why = f"{printable(key)} stands for a link and has {source.size} bytes, which no link's target can have."
        elif path != key and not path.rpartition("/")[2]:
            why = f"{printable(key)} stands for a link without a name."
        elif not self._escapes:
            why = self._holds(path) or ""
            if not why:
                self._refuse_folded(key, path)
        else:
            why = ""
            self._give_place(key, path, is_contested=False)
        if why:
            self._refusals[key] = why
            return False
        if path != key:
            for one in self._open:
                if one.path == path and one.key != key:
                    sentence = f"{printable(one.key)} and {printable(key)} stand for one name"
                    self._refusals[one.key] = self._refusals[key] = f"{sentence}; rename one of the two."
                    one.is_known = True
            return key not in self._refusals
        return True

    def _refuse_folded(self, key: str, path: str) -> None:
        at = 0
        while self.folded and at >= 0:
            at = path.find("/", at + 1)
            name = path if at < 0 else path[:at]
            other = self.folded.get(name)
            if other is not None:
                sentence = f"{printable(name)} and {printable(other)} are one name on this file system"
                self._refusals[key] = f"{sentence}; rename one of the two."
                return

    def _give_place(self, key: str, path: str, *, is_contested: bool) -> None:
        """The path under which a key is written where names are escaped."""
        *folders, name = path.split("/")
        names = []
        above = ""
        try:
            for folder in folders:
                above += folder
                is_taken = above in self.folded
                names.append(apart(folder, is_folder=True) if is_taken
                             else escaped(folder, is_folder=True, windows=self._windows))  # fmt: skip
                above += "/"
            if name:
                is_taken = is_contested or path in self.folded
                names.append(apart(name, is_folder=False) if is_taken
                             else escaped(name, is_folder=False, windows=self._windows))  # fmt: skip
        except UnicodeEncodeError:
            self._refusals[key] = f"{printable(key)} is not valid Unicode, so it has no file name."
            return
        place = "/".join(names)
        why = self._holds(place)
        if why is not None:
            self._refusals[key] = why
        elif place != path.removesuffix("/"):
            self._places[key] = place if name else place + "/"


class Folds:
    """Finds the names that a file system which folds them would take for one, while keys pass by in order (H70, H71).

    Memory holds the names in the folders between the root and the present key, and what was found: ``found`` has, for
    every path that is one of two or more, without a slash at its end, another one of them.
    """

    def __init__(self, fold: Fold) -> None:
        self._fold = fold
        self._folders: list[tuple[str, dict[str, str]]] = [("", {})]
        self.found: dict[str, str] = {}

    def see(self, key: str) -> None:
        """The next key."""
        while not key.startswith(self._folders[-1][0]):
            self._folders.pop()
        prefix, names = self._folders[-1]
        while True:
            rest = key[len(prefix) :]
            name, slash, below = rest.partition("/")
            if name:
                self._name(prefix, name, names)
            if not slash or not below:
                return
            prefix, names = prefix + name + "/", {}
            self._folders.append((prefix, names))

    def _name(self, prefix: str, name: str, names: dict[str, str]) -> None:
        folded = self._fold(name)
        other = names.setdefault(folded, name)
        if other != name:
            self.found[prefix + name] = prefix + other
            self.found.setdefault(prefix + other, prefix + name)
