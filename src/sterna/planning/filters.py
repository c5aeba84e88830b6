"""Decide which keys a run looks at, and say by which rule.

**What is filtered out is invisible on both sides**: it is not moved, not overwritten and never deleted. There are two
kinds of filters, and they mean that in two ways.

*By name* (``--include``, ``--exclude``, ``--filter-from``, ``--files-from``): a key is visible or it is not, and so it
is the same on both sides. ``visible`` takes it out of the listing of each side, before they are merged.

*By what the listing says of it* (size, time, storage class): the two sides may differ, so it is defined on pairs.

- Where the source has the key, its entry decides for the pair. What the destination has under it plays no part: else
  a large object would look absent to ``--max-size`` and be written over by its small source, and one whose source is
  too large would look like one without a source and be deleted.
- Where only the destination has the key, the source's entry is not known any more, only what a transfer had carried
  over: the key and the size. The size is judged. Time and class are the source's own (an object's time is that at
  which it was stored, its class is chosen at the destination), so with a filter by one of them nothing that lacks a
  source is visible: what is not known to have been chosen is never deleted.

``chosen`` takes such pairs out after the merge. ``takes_pair`` is both in one, for one pair; ``takes`` is for commands
with one listing (ls, du, rm), where each entry decides for itself.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from hashlib import sha256
from typing import NamedTuple

import msgspec

from sterna.model.entry import Entry, Trouble
from sterna.model.errors import WrongSetting
from sterna.model.units import printable, size_words
from sterna.planning.matching import Test, always, compiled, covers, reaching
from sterna.planning.merge import Pair
from sterna.planning.moments import Moment
from sterna.planning.patterns import spelling
from sterna.planning.rules import Rule
from sterna.stores.beside import is_manifest, without_manifests

_STANDARD = "STANDARD"  # the class of an object whose listing names none


class Decision(NamedTuple):
    """Whether a key is looked at, and what decided that: one rule or limit, or nothing, which includes.

    ``number`` counts the rules in the order of decision, from 1; it is 0 where no rule by name decided. ``origin`` is
    an option or ``file:line``, empty where nothing was said.
    """

    included: bool
    because: str
    number: int = 0
    origin: str = ""


class Filter(msgspec.Struct, frozen=True, dict=True):
    """What a run looks at; all of it, unless told otherwise. Compiled when first asked, compared by what was said.

    ``rules`` are in the order of decision: the first that matches a key decides, and a key that none matches is
    included. ``listed`` are the only keys there are, if given; rules narrow them. Limits include their own value,
    except ``older_than``: two runs, one with ``--newer-than`` and one with ``--older-than`` the same moment, see each
    file once. Raises WrongSetting where nothing could pass, or where rules could not change anything.
    """

    rules: tuple[Rule, ...] = ()
    listed: frozenset[str] | None = None
    min_size: int | None = None
    max_size: int | None = None
    newer_than: Moment | None = None
    older_than: Moment | None = None
    storage_classes: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.min_size is not None and self.max_size is not None and self.min_size > self.max_size:
            raise WrongSetting(
                f"--min-size {size_words(self.min_size)} is more than --max-size {size_words(self.max_size)}, so "
                "nothing could pass; change one of them."
            )
        if self.newer_than and self.older_than and self.newer_than.ns >= self.older_than.ns:
            raise WrongSetting(
                f"--newer-than {self.newer_than.text} and --older-than {self.older_than.text} leave no time between "
                "them, so nothing could pass; change one of them."
            )
        if self.rules and all(rule.includes for rule in self.rules) and not self._includes_all():
            first = self.rules[0]
            where, remedy = ("", "put --exclude '*' before it")
            if not first.text.startswith("--"):
                where, remedy = f"{printable(first.origin)}: ", "end the file with - **"
            raise WrongSetting(
                f"{where}{printable(first.text)} changes nothing, since what no rule excludes is included; {remedy}."
            )

    def _includes_all(self) -> bool:
        return any(compiled(rule.sequences) is always for rule in self.rules)

    def __reduce__(self) -> tuple[type[Filter], tuple[object, ...]]:
        said = self.rules, self.listed, self.min_size, self.max_size, self.newer_than, self.older_than
        return Filter, (*said, self.storage_classes)  # what is compiled is compiled anew in another process

    # By name

    @property
    def takes_all_keys(self) -> bool:
        """Whether no filter by name was given."""
        return not self.rules and self.listed is None

    def takes_key(self, key: str) -> bool:
        """Whether a key is visible, on either side."""
        return bool(self._takes_key(key))

    @cached_property
    def _takes_key(self) -> Test:
        """The same as one call that gives true or false: for the usual rules about half a microsecond a key."""
        by_rules = _first_match(self._runs)
        listed = self.listed
        if listed is None:
            return by_rules
        if not self.rules:
            return listed.__contains__
        return lambda key: key in listed and by_rules(key)

    @cached_property
    def _runs(self) -> list[tuple[bool, list[Rule]]]:
        """The rules in order, those next to each other that decide alike put together: among them order is nothing."""
        runs: list[tuple[bool, list[Rule]]] = []
        for rule in self.rules:
            if runs and runs[-1][0] is rule.includes:
                runs[-1][1].append(rule)
            else:
                runs.append((rule.includes, [rule]))
        return runs

    @cached_property
    def may_hold(self) -> Callable[[str], bool]:
        """Whether a key that begins with a text, as with ``folder/``, can be visible.

        False is certain: a walk need not enter the folder, a listing may go on behind it. True may be in vain. The
        folder's own marker, the key ``folder/``, is one of those that begin with it.
        """
        steps = []
        for includes, rules in self._runs:
            sequences = [sequence for rule in rules for sequence in rule.sequences]
            if includes:
                steps.append((True, reaching(sequences)))
            else:
                steps.append((False, compiled(filter(covers, sequences))))
        listed = sorted(self.listed) if self.listed is not None else None

        @lru_cache(maxsize=1024)  # a listing asks for the same folders again and again
        def may_hold(prefix: str) -> bool:
            if listed is not None:
                at = bisect_left(listed, prefix)
                if at == len(listed) or not listed[at].startswith(prefix):
                    return False
            for includes, holds in steps:
                if holds(prefix):
                    return includes
            return True

        return may_hold

    def barren(self, key: str) -> str:
        """The highest folder of a key, as ``a/b/``, below which nothing is visible; empty where there is none.

        A listing that meets the key may go on behind the last key that begins so.
        """
        at = key.find("/")
        while at >= 0:
            folder = key[: at + 1]
            if not self.may_hold(folder):
                return folder
            at = key.find("/", at + 1)
        return ""

    def visible(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """The entries of a listing whose keys are visible: to be asked of both sides, before they are merged. Manifests,
        which earlier runs left beside the data, never are."""
        entries = without_manifests(entries)
        if self.takes_all_keys:
            return entries
        takes_key = self._takes_key
        return [entry for entry in entries if takes_key(entry.key)]

    def concerns(self, trouble: Trouble) -> bool:
        """Whether a name that a listing could not carry is, or may hold, something that this run looks at."""
        key = trouble.raw or trouble.key
        if not trouble.subtree:
            return self.takes_key(key) and not is_manifest(key)
        if not key:
            return True  # the location itself
        if key.endswith("/"):
            return self.may_hold(key)
        return self.takes_key(key) or self.may_hold(key + "/")

    # By what a listing says

    @property
    def takes_all_entries(self) -> bool:
        """Whether no filter by size, time or class was given."""
        return (
            self.min_size is None
            and self.max_size is None
            and self.newer_than is None
            and self.older_than is None
            and not self.storage_classes
        )

    @property
    def takes_everything(self) -> bool:
        return self.takes_all_keys and self.takes_all_entries

    def takes(self, entry: Entry) -> bool:
        """Whether an entry passes all filters, name and all: for the source's side alone, or for a single listing."""
        return self.takes_key(entry.key) and self._limit(entry) is None

    def takes_pair(self, pair: Pair) -> bool:
        """Whether what the two sides have under a key is looked at at all."""
        source, target = pair
        entry = source or target
        return entry is not None and self.takes_key(entry.key) and self._chosen(pair)

    def chosen(self, pairs: list[Pair]) -> list[Pair]:
        """The pairs of visible keys that pass the filters by size, time and class."""
        return pairs if self.takes_all_entries else [pair for pair in pairs if self._chosen(pair)]

    def _chosen(self, pair: Pair) -> bool:
        source, target = pair
        if source is not None:
            return self._limit(source) is None
        return target is not None and self._limit_of_orphan(target) is None

    def _limit(self, entry: Entry) -> str | None:
        """The option that leaves an entry out, with its value; None where it passes."""
        if (by_size := self._limit_of_size(entry.size)) is not None:
            return by_size
        if self.newer_than and entry.mtime_ns < self.newer_than.ns:
            return f"--newer-than {self.newer_than.text}"
        if self.older_than and entry.mtime_ns >= self.older_than.ns:
            return f"--older-than {self.older_than.text}"
        if self.storage_classes and (entry.storage_class or _STANDARD) not in self.storage_classes:
            return self._classes_option()
        return None

    def _limit_of_orphan(self, entry: Entry) -> str | None:
        """The same for what only the destination has."""
        for moment, option in ((self.newer_than, "--newer-than"), (self.older_than, "--older-than")):
            if moment:
                return f"{option} {moment.text}"
        if self.storage_classes:
            return self._classes_option()
        return self._limit_of_size(entry.size)

    def _limit_of_size(self, size: int) -> str | None:
        if self.min_size is not None and size < self.min_size:
            return f"--min-size {size_words(self.min_size)}"
        if self.max_size is not None and size > self.max_size:
            return f"--max-size {size_words(self.max_size)}"
        return None

    def _classes_option(self) -> str:
        return "--storage-class-is " + " ".join(sorted(self.storage_classes))

    # What is said of it

    def explain(self, key: str, entry: Entry | None = None, *, only_at_destination: bool = False) -> Decision:
        """What decided about a key: by its name, and where an entry is given, by that too.

        The entry is the source's; with ``only_at_destination`` it is of a key that the source does not have.
        """
        if self.listed is not None and key not in self.listed:
            return Decision(False, "no list of --files-from names it", origin="--files-from")
        by_name = self._by_name(key)
        if not by_name.included or entry is None:
            return by_name
        option = self._limit_of_orphan(entry) if only_at_destination else self._limit(entry)
        if option is None:
            return by_name
        because = option
        if only_at_destination and self._limit_of_size(entry.size) != option:
            because += ", by which nothing is judged that only the destination has"
        return Decision(False, because, origin=option.split(" ", 1)[0])

    def _by_name(self, key: str) -> Decision:
        for number, (rule, matches) in enumerate(zip(self.rules, self._tests, strict=True), 1):
            if matches(key):
                return Decision(rule.includes, rule.text, number, rule.origin)
        if self.listed is not None:
            return Decision(True, "a list of --files-from names it", origin="--files-from")
        return Decision(True, "no rule excludes it" if self.rules else "nothing is filtered by name")

    @cached_property
    def _tests(self) -> list[Test]:
        return [compiled(rule.sequences) for rule in self.rules]

    @cached_property
    def fingerprint(self) -> str:
        """The same for filters that say the same, in this run and in later ones, whatever files they come from.

        ``7d`` is the same today and tomorrow. Comments and names of files play no part; the order of rules, and the
        keys of a list, do.
        """
        digest = sha256(b"sterna filters 1\0")
        for rule in self.rules:
            _add(digest.update, "rule", str(rule.includes), *map(spelling, rule.sequences))
        if self.listed is not None:
            _add(digest.update, "listed", *sorted(self.listed))
        _add(digest.update, "sizes", str(self.min_size), str(self.max_size))
        for moment in (self.newer_than, self.older_than):
            _add(digest.update, "time", moment.meaning if moment else "")
        _add(digest.update, "classes", *sorted(self.storage_classes))
        return digest.hexdigest()[:32]


def _add(update: Callable[[bytes], object], *texts: str) -> None:
    for text in texts:
        data = text.encode("utf-8", "surrogateescape")
        update(b"%d:" % len(data) + data)
    update(b"\n")


def _first_match(runs: list[tuple[bool, list[Rule]]]) -> Test:
    """The decision of the first run of rules that matches; a key that none matches is included."""
    steps = [
        (includes, compiled([sequence for rule in rules for sequence in rule.sequences])) for includes, rules in runs
    ]
    otherwise = True
    for number, (includes, matches) in enumerate(steps):
        if matches is always:
            del steps[number:]
            otherwise = includes
            break
    while steps and steps[-1][0] is otherwise:
        steps.pop()
    if not steps:
        return lambda key: otherwise
    if len(steps) == 1:
        matches = steps[0][1]
        return matches if steps[0][0] else lambda key: not matches(key)

    def takes(key: str) -> bool:
        for includes, matches in steps:
            if matches(key):
                return includes
        return otherwise

    return takes


EVERYTHING = Filter()
